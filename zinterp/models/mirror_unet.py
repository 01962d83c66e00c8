"""MirrorUNet, zinterp's own network: a residual U-Net over four or six planes, symmetric in z by construction.

It works in units of what the planes say about themselves. What it sees is divided by local root mean squares: the step
from plane to plane, its bend (the second difference along z), the structure in the plane. What it adds to classical
interpolation is a bounded multiple of the local bend. Three things follow, whatever the weights are:

* brightness, contrast and bit depth of the volume do not matter, since they cancel;
* where the planes are equal, or change in a straight line, exactly that comes back, and where they nearly do nothing
  can be invented: motion is bounded in the same way;
* grainy FIB-SEM and glass-smooth tomograms are seen on one scale, and how much the planes bend tells them apart.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import (
    MirrorConv2d,
    Prediction,
    TimeModulation,
    local_mean,
    local_rms,
    starting_at_zero,
    upsampled,
    warp,
    wide_mean,
)


@dataclass(frozen=True)
class MirrorUNetSize:
    """Sizes of a MirrorUNet: channels of each level, the finest first, all even, and planes on each side of the gap."""

    channels: tuple[int, ...] = (32, 72, 144, 256, 256)
    context: int = 3

    @classmethod
    def from_json(cls, sizes: Mapping[str, object]) -> "MirrorUNetSize":
        """From what ``dataclasses.asdict`` and JSON made of one.

        Raises
        ------
        ValueError
            If a field is unknown, the channels are not a list of even numbers, or the context is neither 2 nor 3.
        """
        channels, context = sizes.get("channels", cls.channels), sizes.get("context", cls.context)
        if set(sizes) - {"channels", "context"} or not isinstance(channels, list | tuple):
            raise ValueError(f"got sizes {dict(sizes)}, expected 'channels': a list of even numbers, and 'context'")
        if len(channels) < 2 or not all(isinstance(c, int) and c > 0 and c % 2 == 0 for c in channels):
            raise ValueError(f"got channels {channels}, expected two or more even numbers")
        if context not in (2, 3):
            raise ValueError(f"got a context of {context} planes, expected 2 or 3")
        return cls(tuple(channels), int(context))


WINDOW = 16  # pixels, of the local statistics
BOUND = 8.0  # neither motion nor residual change a plane by more than this many times the local bend
FLOOR = 1e-5  # of the intensity range, under a grey level of 16 bit: the least that planes are divided by
MOST = 10.0  # what the network sees never exceeds this many units
STEEPEST = 2.5  # bends that are this many times the step count no more: of independent noise they are 1.7 times it
REACH = 4.0  # pixels of a level, the most that it can add to the flow


class Encoder(nn.Module):
    """Two convolutions a level, mean pooling between levels."""

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        sources = (in_channels, *channels[:-1])
        self.first = nn.ModuleList(MirrorConv2d(a, b, 3) for a, b in zip(sources, channels, strict=True))
        self.second = nn.ModuleList(MirrorConv2d(b, b, 3) for b in channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        for level, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            x = F.avg_pool2d(x, 2) if level else x
            x = F.relu(second(F.relu(first(x))))  # (N, C_level, H / 2^level, W / 2^level)
            features.append(x)
        return features


class UpwardPath(nn.Module):
    """From the coarsest level up: narrow, upsample, add the encoder's features, modulate by t, two convolutions."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.bottom_time = TimeModulation(channels[-1])
        self.bottom = MirrorConv2d(channels[-1], channels[-1], 3)
        pairs = list(zip(channels[1:], channels[:-1], strict=True))[::-1]
        self.narrow = nn.ModuleList(MirrorConv2d(a, b, 1) for a, b in pairs)
        self.time = nn.ModuleList(TimeModulation(b) for _, b in pairs)
        self.first = nn.ModuleList(MirrorConv2d(b, b, 3) for _, b in pairs)
        self.second = nn.ModuleList(MirrorConv2d(b, b, 3) for _, b in pairs)

    def start(self, features: list[Tensor], t: Tensor) -> Tensor:
        """The coarsest level, of the features of each level and t (N,)."""
        return F.relu(self.bottom(self.bottom_time(features[-1], t)))

    def up(self, i: int, x: Tensor) -> Tensor:
        """From one level to the next finer one, the i-th from below."""
        return upsampled(self.narrow[i](x))

    def refine(self, i: int, x: Tensor) -> Tensor:
        """The convolutions of that level."""
        return F.relu(x + self.second[i](F.relu(self.first[i](x))))


class Decoder(UpwardPath):
    """The upward path with motion.

    Each level but the finest refines a flow by which the next one's features, and at last the planes, are moved to t.
    """

    def __init__(self, channels: tuple[int, ...], context: int) -> None:
        super().__init__(channels)
        self.flow = nn.ModuleList(starting_at_zero(MirrorConv2d(c, 4, 3)) for c in channels[-2:0:-1])
        self.moved = starting_at_zero(MirrorConv2d(2 * context, channels[0], 3))

    def forward(self, features: list[Tensor], t: Tensor, scene: "Scene") -> tuple[Tensor, Tensor]:
        """Features of each level and t (N,) -> decoded features (N, C_0, H, W) and planes moved to t (N, 2c, H, W)."""
        x = self.start(features, t)
        flow: Tensor | None = None  # (N, 4, h, w): from t to the plane before and to the one after, in pixels
        planes = scene.planes
        for i, skip in enumerate(features[-2::-1]):
            finest = i == len(self.flow)
            x = self.up(i, x)
            if flow is not None:
                flow = 2 * upsampled(flow)
            if finest and flow is not None:
                planes = scene.moved(flow)
                x = x + self.moved(scene.differences(planes))
            elif flow is not None:
                skip = torch.cat([warp(half, f) for half, f in zip(skip.chunk(2, 1), flow.chunk(2, 1), strict=True)], 1)
            x = self.time[i](x + skip, t)  # a line of its own: the former x is freed before the convolutions
            x = self.refine(i, x)  # (N, C_level, H / 2^level, W / 2^level)
            if not finest:
                more = time_shares(t) * REACH * torch.tanh(self.flow[i](x).float() / REACH)
                flow = more if flow is None else flow + more
        return x, planes


def time_shares(t: Tensor) -> Tensor:
    """How far the plane at t (N,) is from the plane before (twice: x, y) and from the plane after, (N, 4, 1, 1)."""
    return torch.stack((t, t, 1 - t, 1 - t), dim=1)[..., None, None]


class Scene:
    """Planes (N, 2c, H, W) and the units that they give for everything: steps, bends, contrast."""

    def __init__(self, planes: Tensor) -> None:
        c = self.context = planes.shape[1] // 2
        self.planes = planes
        step = planes[:, c : c + 1] - planes[:, c - 1 : c]
        near = bends(planes[:, c - 2 : c + 2])
        self.disagreement = local_rms(step, WINDOW)  # (N, 1, H, W), of what changes from plane to plane
        self.roughness = torch.minimum(local_rms(near, WINDOW), STEEPEST * self.disagreement)  # of how it bends

    def differences(self, planes: Tensor) -> Tensor:
        """Step and bends of planes (N, 2c, H, W) in these units, mirrored: (N, 2c, H, W), each half seen from it."""
        c = self.context
        step = (planes[:, c : c + 1] - planes[:, c - 1 : c]) / self.disagreement.clamp(min=FLOOR)
        bend = bends(planes) / self.roughness.clamp(min=FLOOR)
        seen = torch.cat((-step, bend[:, : c - 1].flip(1), step, bend[:, c - 1 :]), dim=1)
        return seen.clamp(-MOST, MOST)

    def inputs(self) -> Tensor:
        """What the encoder sees, (N, 2 (c + 5), H, W): differences, structure, and what kind of planes these are."""
        c = self.context
        first, second = self.planes[:, c - 1 : c], self.planes[:, c : c + 1]
        middle = (first + second) / 2
        centred = middle - local_mean(middle, WINDOW)
        contrast = local_rms(centred, WINDOW).clamp(min=FLOOR)
        disagreement, unit = self.disagreement.clamp(min=FLOOR), self.roughness.clamp(min=FLOOR)
        scene = (centred / contrast, (disagreement / contrast).log(), (unit / disagreement).log(), self.grain())
        kind = [x.clamp(-MOST, MOST) for x in scene]
        before, after = self.differences(self.planes).chunk(2, dim=1)
        return torch.cat((before, *kind, after, *kind), dim=1)

    def grain(self) -> Tensor:
        """How the finest structure bends and steps over a wide area, (N, 2, H, W): whether planes share their grain.

        Of independent noise the bend is sqrt(6), the step sqrt(2) times the deviation; noise that is correlated along z
        has less of both, and structure less still.
        """
        c = self.context
        near = self.planes[:, c - 2 : c + 2]
        fine = near - F.avg_pool2d(near, 3, stride=1, padding=1, count_include_pad=False)
        step, bend, plane = (
            (wide_mean(x.square().mean(dim=1, keepdim=True), WINDOW) + FLOOR**2).log() / 2
            for x in (fine[:, 2:3] - fine[:, 1:2], bends(fine), fine[:, 1:3])
        )
        return torch.cat((4 * (bend - step - math.log(3) / 2), 4 * (step - plane - math.log(2) / 2)), dim=1)

    def moved(self, flow: Tensor) -> Tensor:
        """The planes on either side moved by a flow (N, 4, H, W), by no more than a multiple of the local bend."""
        c = self.context
        planes = torch.cat((warp(self.planes[:, :c], flow[:, :2]), warp(self.planes[:, c:], flow[:, 2:])), dim=1)
        most = BOUND * self.roughness
        return self.planes + torch.minimum(torch.maximum(planes - self.planes, -most), most)


class MirrorUNet(nn.Module):
    """Synthesise planes between the middle two of four or six planes, and say how far off they may be.

    Parameters
    ----------
    size : MirrorUNetSize
        Channels of each level, and context.

    Attributes
    ----------
    context : int
        Planes needed on each side of the gap: 2 or 3.
    multiple_of : int
        Height and width of the planes must be multiples of this.
    uncertain : bool
        It predicts standard deviations.
    overlap : int
        Pixels that neighbouring tiles should share: beyond the margin of 64 that this gives, a tile's border changes
        nothing by a grey level of 255.
    bytes_per_pixel : tuple of int
        Measured peak of a call, rounded up, in float32 and in fewer bits.
    """

    architecture = "mirror-unet"
    uncertain = True
    overlap = 160
    bytes_per_pixel = (1000, 700)

    def __init__(self, size: MirrorUNetSize | None = None) -> None:
        super().__init__()
        self.size = size or MirrorUNetSize()
        self.context = self.size.context
        self.multiple_of = max(WINDOW, 2 ** (len(self.size.channels) - 1))
        self.encoder = Encoder(2 * (5 + self.context), self.size.channels)
        self.decoder = Decoder(self.size.channels, self.context)
        self.head = starting_at_zero(nn.Conv2d(self.size.channels[0] // 2, 3, 3, padding=1))

    def forward(self, planes: Tensor, times: Tensor) -> Prediction:
        """Synthesise one plane for each depth.

        Parameters
        ----------
        planes : Tensor, shape (N, 2 * context, H, W), float32
            Acquired planes, normalised to about [0, 1], the gap in the middle.
        times : Tensor, shape (N, K), float32
            Depths in the gap, in (0, 1).

        Returns
        -------
        Prediction
            Planes and standard deviations, each (N, K, H, W), float32.
        """
        scene = Scene(planes)
        features = self.encoder(scene.inputs().contiguous(memory_format=torch.channels_last))
        made = [self.synthesise(scene, features, t) for t in times.unbind(1)]
        return Prediction(*(torch.stack(each, dim=1) for each in zip(*made, strict=True)))

    def synthesise(self, scene: Scene, features: list[Tensor], t: Tensor) -> tuple[Tensor, Tensor]:
        """One plane and its standard deviation (N, H, W) at depths t (N,); from the head on all is float32."""
        decoded, planes = self.decoder(features, t, scene)
        with torch.autocast(planes.device.type, enabled=False):
            both = torch.cat((self.head.weight, self.head.weight), dim=1)
            residual, blend, doubt = F.conv2d(decoded.float(), both, self.head.bias, padding=1).unbind(1)  # (N, H, W)
            t = t[:, None, None]
            near = planes[:, self.context - 2 : self.context + 2]
            plane = near[:, 1] + t * (near[:, 2] - near[:, 1])
            plane = plane + 2 * torch.sigmoid(blend) * cubic_minus_linear(near, t)
            plane = plane + scene.roughness[:, 0] * BOUND * torch.tanh(residual / BOUND)
            sigma = scene.roughness[:, 0].clamp(min=FLOOR) * torch.exp(BOUND * torch.tanh(doubt / BOUND) - 1)
            return plane, sigma


def bends(planes: Tensor) -> Tensor:
    """Twice each plane less its two neighbours, (N, n, H, W) -> (N, n - 2, H, W)."""
    return 2 * planes[:, 1:-1] - planes[:, :-2] - planes[:, 2:]


def cubic_minus_linear(planes: Tensor, t: Tensor) -> Tensor:
    """What a Catmull-Rom cubic over four planes (N, 4, H, W) adds to the line between the middle two at t (N, 1, 1)."""
    before, after = bends(planes).unbind(1)  # at either plane
    return 0.5 * t * (1 - t) * ((1 - t) * before + t * after)
