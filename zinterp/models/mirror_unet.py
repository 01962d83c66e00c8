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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import (
    MirrorConv2d,
    Prediction,
    TimeModulation,
    smoothed,
    starting_at_zero,
    upsampled,
    warp,
    widely_smoothed,
)
from zinterp.models.strips import cut, in_strips, strips, upsampled_rows


@dataclass(frozen=True)
class MirrorUNetSize:
    """Sizes of a MirrorUNet: channels of each level, the finest first, all even, and planes on each side of the gap."""

    channels: tuple[int, ...] = (16, 36, 64, 128, 128)
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
CONVOLUTIONS = 2  # of 3 x 3 pixels, of a level


class Encoder(nn.Module):
    """Two convolutions a level, mean pooling between levels."""

    def __init__(self, in_channels: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        sources = (in_channels, *channels[:-1])
        self.first = nn.ModuleList(MirrorConv2d(a, b, 3) for a, b in zip(sources, channels, strict=True))
        self.second = nn.ModuleList(MirrorConv2d(b, b, 3) for b in channels)

    def forward(self, inputs: Callable[[range], Tensor], shape: Sequence[int]) -> list[Tensor]:
        """Features of each level, (N, C_level, H / 2^level, W / 2^level), of inputs that are made some rows at a time.

        ``shape`` (N, any, H, W) is that of the inputs.
        """
        features = [in_strips(lambda rows: self.level(0, packed(inputs(rows))), shape, reach=CONVOLUTIONS)]
        for level in range(1, len(self.first)):
            features.append(self.pooled(level, features[-1]))
        return features

    def pooled(self, level: int, finer: Tensor) -> Tensor:
        """The features of a level of those of the one before."""
        shape = (*finer.shape[:2], finer.shape[2] // 2, finer.shape[3] // 2)
        return in_strips(
            lambda rows: self.level(level, F.avg_pool2d(cut(finer, range(2 * rows.start, 2 * rows.stop)), 2)),
            shape,
            reach=CONVOLUTIONS,
        )

    def level(self, level: int, x: Tensor) -> Tensor:
        """The convolutions of a level."""
        x = F.relu(self.first[level](x), inplace=True)
        return F.relu(self.second[level](x), inplace=True)


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
        return F.relu(self.bottom(self.bottom_time(features[-1], t)), inplace=True)

    def level(self, i: int, coarse: Tensor, skip: Callable[[range], Tensor], shape: Sequence[int], t: Tensor) -> Tensor:
        """A level of some shape, the i-th from below: of what comes from the coarser one, and the encoder's rows."""
        return in_strips(
            lambda rows: self.refine(i, upsampled_rows(coarse, rows, 2), skip(rows), t), shape, reach=CONVOLUTIONS
        )

    def refine(self, i: int, x: Tensor, skip: Tensor, t: Tensor) -> Tensor:
        """The convolutions of a level, the i-th from below, at t (N,)."""
        x = x + skip
        x = self.time[i](x, t)
        change = self.second[i](F.relu(self.first[i](x), inplace=True))
        return F.relu(change.add_(x), inplace=True)


class Decoder(UpwardPath):
    """The upward path with motion.

    Each level but the finest refines a flow by which the next one's features, and at last the planes, are moved to t.
    """

    def __init__(self, channels: tuple[int, ...], context: int) -> None:
        super().__init__(channels)
        self.flow = nn.ModuleList(starting_at_zero(MirrorConv2d(c, 4, 3)) for c in channels[-2:0:-1])
        self.moved = starting_at_zero(MirrorConv2d(2 * context, channels[0], 3))

    def coarse(self, features: list[Tensor], t: Tensor) -> tuple[Tensor, Tensor | None]:
        """All levels but the finest, of features of each level and t (N,).

        Returns what the finest level begins with, (N, C_0, H / 2, W / 2), and a flow (N, 4, H / 2, W / 2), or None if
        there is no level between: from t to the plane before and to the one after, in pixels of the full resolution.
        """
        x = self.start(features, t)
        flow: Tensor | None = None
        for i, skip in enumerate(features[-2:0:-1]):
            flow = None if flow is None else upsampled(flow)
            x = self.moving_level(i, self.narrow[i](x), flow, skip, t)  # (N, C_level, H / 2^level, W / 2^level)
            more = time_shares(t) * REACH * torch.tanh(self.flow[i](x).float() / REACH)
            flow = 2 * (more if flow is None else flow + more)  # in pixels of the next level
        return self.narrow[-1](x), flow

    def moving_level(self, i: int, coarse: Tensor, flow: Tensor | None, skip: Tensor, t: Tensor) -> Tensor:
        """A level, as ``level``, with features that the flow moves to t, once there is one."""
        if flow is None:
            return self.level(i, coarse, partial(cut, skip), skip.shape, t)
        exact = skip.float()  # once, and not for each strip

        def moved(rows: range) -> Tensor:
            sides = zip(exact.chunk(2, dim=1), cut(flow, rows).chunk(2, dim=1), strict=True)
            return packed(torch.cat([warp(side, f, top=rows.start).to(skip.dtype) for side, f in sides], dim=1))

        return self.level(i, coarse, moved, skip.shape, t)

    def finest(
        self, coarse: Tensor, flow: Tensor | None, skip: Tensor, t: Tensor, scene: "Scene", rows: range
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Some rows of the finest level.

        Returns decoded features (N, C_0, rows, W), planes moved to t (N, 2c, rows, W), how these bend (N, 1, rows, W).
        """
        x, planes, units = upsampled_rows(coarse, rows, 2), cut(scene.planes, rows), scene.units(rows)
        if flow is not None:
            planes = scene.moved(upsampled_rows(flow, rows, 2), units, rows)
            x = x + self.moved(packed(scene.differences(planes, units)))
        return self.refine(-1, x, cut(skip, rows), t), planes, units.roughness


def time_shares(t: Tensor) -> Tensor:
    """How far the plane at t (N,) is from the plane before (twice: x, y) and from the plane after, (N, 4, 1, 1)."""
    return torch.stack((t, t, 1 - t, 1 - t), dim=1)[..., None, None]


def packed(x: Tensor) -> Tensor:
    """The same as convolutions take it: in the bits that they compute in, the channels of a pixel side by side."""
    return reduced(x).contiguous(memory_format=torch.channels_last)


def reduced(x: Tensor) -> Tensor:
    """The same in the bits that convolutions compute in."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


class Units(NamedTuple):
    """What values are divided by, (N, 1, rows, W): the local rms of the step from plane to plane, and of its bend."""

    disagreement: Tensor
    roughness: Tensor


class Scene:
    """Planes (N, 2c, H, W) and the units that they give for everything: steps, bends, contrast.

    What varies slowly is kept as means of blocks. Everything can be had for some rows, else is for all.
    """

    grain_rows = WINDOW  # of a block, that are looked at

    def __init__(self, planes: Tensor) -> None:
        self.context = planes.shape[1] // 2
        self.planes = planes
        self._rows = range(planes.shape[2])
        means = smoothed(self._block_means(self._first_look))
        self._squares, self._mean = means[:, :2], means[:, 2:]  # of step and bend; of grey values
        self._contrast = smoothed(self._block_means(lambda rows: self._centred(rows).square()))
        grain = self._block_means(self._look_at_grain, self.grain_rows)
        self._fine = widely_smoothed(grain)  # squared: bend, step, plane

    def _block_means(self, function: Callable[[range], Tensor], height: int = WINDOW) -> Tensor:
        """Means over blocks of what is made of some rows, (N, C, H / 16, W / 16), ``height`` rows of it a block."""
        parts = [F.avg_pool2d(function(rows), (height, WINDOW)) for rows in strips(self.planes.shape)]
        return torch.cat(parts, dim=2)

    def _first_look(self, rows: range) -> Tensor:
        near = self._near(rows)
        squares = [x.square().mean(dim=1, keepdim=True) for x in (near[:, 2:3] - near[:, 1:2], bends(near))]
        return torch.cat((*squares, self._middle(near)), dim=1)

    def _look_at_grain(self, rows: range) -> Tensor:
        seen = range(max(rows.start - 1, 0), min(rows.stop + 1, self._rows.stop))
        near = self._near(seen)
        first = rows.start - seen.start
        fine = (near - mean_of_nine(near))[:, :, first : first + len(rows)]
        return self._powers(fine)

    def _powers(self, near: Tensor) -> Tensor:
        """Squares of bend, step and grey values of four planes, (N, 3, rows, W)."""
        kinds = (bends(near), near[:, 2:3] - near[:, 1:2], near[:, 1:3])
        return torch.cat([x.square().mean(dim=1, keepdim=True) for x in kinds], dim=1)

    def _near(self, rows: range) -> Tensor:
        """The middle four planes."""
        return cut(self.planes, rows)[:, self.context - 2 : self.context + 2]

    def _middle(self, near: Tensor) -> Tensor:
        """The mean of the middle two of four planes."""
        return (near[:, 1:2] + near[:, 2:3]) / 2

    def _centred(self, rows: range) -> Tensor:
        return self._middle(self._near(rows)) - upsampled_rows(self._mean, rows, WINDOW)

    def units(self, rows: range | None = None, window: int = WINDOW) -> Units:
        """What changes from plane to plane and how that bends, (N, 1, rows, W), ``window`` values a block."""
        step, bend = upsampled_rows(self._squares, rows or self._rows, window).sqrt_().chunk(2, dim=1)
        return Units(step, torch.minimum(bend, STEEPEST * step))

    def differences(self, planes: Tensor, units: Units) -> Tensor:
        """Step and bends of planes (N, 2c, rows, W) in these units, mirrored, each half seen from it; same shape."""
        c = self.context
        step = (planes[:, c : c + 1] - planes[:, c - 1 : c]) / units.disagreement.clamp(min=FLOOR)
        bend = bends(planes) / units.roughness.clamp(min=FLOOR)
        seen = torch.cat((-step, bend[:, : c - 1].flip(1), step, bend[:, c - 1 :]), dim=1)
        return seen.clamp_(-MOST, MOST)

    def inputs(self, rows: range | None = None) -> Tensor:
        """What the encoder sees, (N, 2 (c + 5), rows, W): differences, structure, and what kind of planes these are."""
        rows = rows or self._rows
        kind = torch.cat((self.structure(rows), self.kind(rows)), dim=1).clamp_(-MOST, MOST)
        before, after = self.differences(cut(self.planes, rows), self.units(rows)).chunk(2, dim=1)
        return torch.cat((before, kind, after, kind), dim=1)

    def structure(self, rows: range | None = None) -> Tensor:
        """What is seen in the planes, by its local contrast, (N, 1, rows, W)."""
        rows = rows or self._rows
        return self._centred(rows) / self.contrast(rows)

    def contrast(self, rows: range, window: int = WINDOW) -> Tensor:
        """What structure is divided by, (N, 1, rows, W)."""
        return upsampled_rows(self._contrast, rows, window).sqrt().clamp(min=FLOOR)

    def kind(self, rows: range, window: int = WINDOW) -> Tensor:
        """What kind of planes these are, (N, 4, rows, W): step to contrast, bend to step, and grain."""
        units = self.units(rows, window)
        disagreement, unit = units.disagreement.clamp(min=FLOOR), units.roughness.clamp(min=FLOOR)
        ratios = (disagreement / self.contrast(rows, window)).log(), (unit / disagreement).log()
        return torch.cat((*ratios, self.grain(rows, window)), dim=1)

    def grain(self, rows: range | None = None, window: int = WINDOW) -> Tensor:
        """How the finest structure bends and steps over a wide area, (N, 2, rows, W): whether planes share their grain.

        Of independent noise the bend is sqrt(6), the step sqrt(2) times the deviation; noise that is correlated along z
        has less of both, and structure less still.
        """
        powers = (upsampled_rows(self._fine, rows or self._rows, window) + FLOOR**2).log() / 2
        bend, step, plane = powers.chunk(3, dim=1)
        return torch.cat((4 * (bend - step - math.log(3) / 2), 4 * (step - plane - math.log(2) / 2)), dim=1)

    def moved(self, flow: Tensor, units: Units, rows: range | None = None) -> Tensor:
        """The planes on either side moved by a flow (N, 4, rows, W), by no more than a multiple of the local bend."""
        c, rows = self.context, rows or self._rows
        here = cut(self.planes, rows)
        sides = zip((self.planes[:, :c], self.planes[:, c:]), flow.chunk(2, dim=1), strict=True)
        change = torch.cat([warp(side, f, top=rows.start) for side, f in sides], dim=1).sub_(here)
        most = BOUND * units.roughness
        return torch.minimum(torch.maximum(change, -most), most).add_(here)


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
    by_strips : bool
        On a CPU it is faster strip by strip.
    overlap : int
        Pixels that neighbouring tiles should share: beyond the margin of 64 that this gives, a tile's border changes
        nothing by a grey level of 255.
    bytes_per_pixel : tuple of int
        Measured peak of a call, rounded up, in float32 and in fewer bits.
    """

    architecture = "mirror-unet"
    uncertain = True
    by_strips = True
    overlap = 160

    def __init__(self, size: MirrorUNetSize | None = None) -> None:
        super().__init__()
        self.size = size or MirrorUNetSize()
        self.bytes_per_pixel = (150 + 16 * self.size.channels[0], 130 + 10 * self.size.channels[0])
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
        features = self.encoder(scene.inputs, planes.shape)
        made = [self.synthesise(scene, features, t) for t in times.unbind(1)]
        return Prediction(*torch.stack(made, dim=2).unbind(1))

    def synthesise(self, scene: Scene, features: list[Tensor], t: Tensor) -> Tensor:
        """One plane and its standard deviation (N, 2, H, W) at depths t (N,); from the head on all is float32."""
        coarse, flow = self.decoder.coarse(features, t)

        def finest(rows: range) -> Tensor:
            return self.finish(*self.decoder.finest(coarse, flow, features[0], t, scene, rows), t)

        return in_strips(finest, scene.planes.shape, reach=CONVOLUTIONS + 2)  # and of moved planes, and the head

    def finish(self, decoded: Tensor, planes: Tensor, roughness: Tensor, t: Tensor) -> Tensor:
        """From what was decoded (N, C_0, rows, W) and planes moved to t, and how they bend, to plane and deviation."""
        with torch.autocast(planes.device.type, enabled=False):
            both = torch.cat((self.head.weight, self.head.weight), dim=1)
            maps = F.conv2d(decoded.float(), both, self.head.bias, padding=1)
            near = planes[:, self.context - 2 : self.context + 2]
            return torch.stack(combined(near[:, 1:3], bends(near), maps, roughness, t), dim=1)


def combined(beside: Tensor, bend: Tensor, maps: Tensor, roughness: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """The plane at t (N,) and its standard deviation, (N, H, W) each.

    Parameters
    ----------
    beside : Tensor, shape (N, 2, H, W)
        The two planes beside the gap, moved to t.
    bend : Tensor, shape (N, 2, H, W)
        Their bends, by which classical interpolation bends.
    maps : Tensor, shape (N, 3, H, W)
        What a network says: what to add, how much to bend, and how much to doubt.
    roughness : Tensor, shape (N, 1, H, W)
        The unit of what is added, and of doubt.
    t : Tensor, shape (N,)
    """
    residual, blend, doubt = maps.unbind(1)
    t, roughness = t[:, None, None], roughness[:, 0]
    plane = beside[:, 0] + t * (beside[:, 1] - beside[:, 0])
    plane = plane + 2 * torch.sigmoid(blend) * bent(bend, t)
    plane = plane + roughness * BOUND * torch.tanh(residual / BOUND)
    sigma = roughness.clamp(min=FLOOR) * torch.exp(BOUND * torch.tanh(doubt / BOUND) - 1)
    return plane, sigma


def mean_of_nine(x: Tensor) -> Tensor:
    """The mean of each pixel and its neighbours, of those that are there; quicker than pooling."""
    total = x
    for axis in (2, 3):
        sums, length = total.clone(), x.shape[axis] - 1
        sums.narrow(axis, 0, length).add_(total.narrow(axis, 1, length))
        sums.narrow(axis, 1, length).add_(total.narrow(axis, 0, length))
        sums.narrow(axis, 1, length - 1).div_(3)
        for end in (0, length):
            sums.narrow(axis, end, 1).div_(2)
        total = sums
    return total


def bends(planes: Tensor) -> Tensor:
    """Twice each plane less its two neighbours, (N, n, H, W) -> (N, n - 2, H, W)."""
    steps = planes[:, 1:] - planes[:, :-1]
    return steps[:, :-1] - steps[:, 1:]


def cubic_minus_linear(planes: Tensor, t: Tensor) -> Tensor:
    """What a Catmull-Rom cubic over four planes (N, 4, H, W) adds to the line between the middle two at t (N, 1, 1)."""
    return bent(bends(planes), t)


def bent(bend: Tensor, t: Tensor) -> Tensor:
    """The same of the bends at either plane (N, 2, H, W)."""
    before, after = bend.unbind(1)
    return 0.5 * t * (1 - t) * ((1 - t) * before + t * after)
