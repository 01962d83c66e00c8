"""MirrorUNet, zinterp's own network: a residual U-Net over four planes, symmetric in z by construction.

It works in units of what the planes say about themselves. What it sees is divided by local root mean squares: the step
from plane to plane, its bend (the second difference along z), the structure in the plane. What it adds to classical
interpolation is a bounded multiple of the local bend. Three things follow, whatever the weights are:

* brightness, contrast and bit depth of the volume do not matter, since they cancel;
* where the planes are equal, or change in a straight line, exactly that comes back, and where they nearly do nothing
  can be invented;
* grainy FIB-SEM and glass-smooth tomograms are seen on one scale, and how much the planes bend tells them apart.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import MirrorConv2d, TimeModulation, local_mean, local_rms


@dataclass(frozen=True)
class MirrorUNetSize:
    """Sizes of a MirrorUNet: channels of each level, the finest first, all even."""

    channels: tuple[int, ...] = (32, 64, 128, 192, 192)

    @classmethod
    def from_json(cls, sizes: Mapping[str, object]) -> "MirrorUNetSize":
        """From what ``dataclasses.asdict`` and JSON made of one.

        Raises
        ------
        ValueError
            If a field is unknown or the channels are not a list of even numbers.
        """
        channels = sizes.get("channels", cls.channels)
        if set(sizes) - {"channels"} or not isinstance(channels, list | tuple):
            raise ValueError(f"got sizes {dict(sizes)}, expected 'channels': a list of even numbers")
        if len(channels) < 2 or not all(isinstance(c, int) and c > 0 and c % 2 == 0 for c in channels):
            raise ValueError(f"got channels {channels}, expected two or more even numbers")
        return cls(tuple(channels))


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


class Decoder(nn.Module):
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

    def forward(self, features: list[Tensor], t: Tensor) -> Tensor:
        x = F.relu(self.bottom(self.bottom_time(features[-1], t)))
        levels = zip(features[-2::-1], self.narrow, self.time, self.first, self.second, strict=True)
        for skip, narrow, time, first, second in levels:
            x = F.interpolate(narrow(x), scale_factor=2, mode="bilinear", align_corners=False)
            x = time(x + skip, t)
            x = F.relu(x + second(F.relu(first(x))))  # (N, C_level, H / 2^level, W / 2^level)
        return x


class MirrorUNet(nn.Module):
    """Synthesise planes between the middle two of four planes.

    Parameters
    ----------
    size : MirrorUNetSize
        Channels of each level.

    Attributes
    ----------
    context : int
        Planes needed on each side of the gap: 2.
    multiple_of : int
        Height and width of the planes must be multiples of this.
    """

    context = 2
    window = 16  # pixels, of the local statistics
    bound = 8.0  # the residual never exceeds this many times the local bend of the planes
    floor = 1e-5  # of the intensity range, under a grey level of 16 bit: the least that the planes are divided by

    def __init__(self, size: MirrorUNetSize | None = None) -> None:
        super().__init__()
        self.size = size or MirrorUNetSize()
        self.multiple_of = max(self.window, 2 ** (len(self.size.channels) - 1))
        self.encoder = Encoder(10, self.size.channels)
        self.decoder = Decoder(self.size.channels)
        half = self.size.channels[0] // 2
        self.head = nn.Conv2d(half, 2, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, planes: Tensor, times: Tensor) -> Tensor:
        """Synthesise one plane for each depth.

        Parameters
        ----------
        planes : Tensor, shape (N, 4, H, W), float32
            Acquired planes at -1, 0, 1 and 2, normalised to about [0, 1].
        times : Tensor, shape (N, K), float32
            Depths between plane 0 and plane 1, in (0, 1).

        Returns
        -------
        Tensor, shape (N, K, H, W), float32
        """
        inputs, unit = self.normalise(planes)
        features = self.encoder(inputs.contiguous(memory_format=torch.channels_last))
        return torch.stack(
            [self.synthesise(planes, features, unit, t) for t in times.unbind(1)],
            dim=1,
        )

    def normalise(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Planes (N, 4, H, W) -> mirrored input channels (N, 10, H, W) and the unit of the residual (N, 1, H, W)."""
        step = planes[:, 2:3] - planes[:, 1:2]  # from the plane before to the plane after
        bends = 2 * planes[:, 1:3] - planes[:, 0:2] - planes[:, 2:4]  # (N, 2, H, W), at the planes before and after
        disagreement = local_rms(step, self.window).clamp(min=self.floor)
        roughness = local_rms(bends, self.window)
        unit = roughness.clamp(min=self.floor)
        middle = (planes[:, 1:2] + planes[:, 2:3]) / 2
        centred = middle - local_mean(middle, self.window)
        contrast = local_rms(centred, self.window).clamp(min=self.floor)
        scene = torch.cat((centred / contrast, (disagreement / contrast).log(), (unit / disagreement).log()), dim=1)
        step, bends = step / disagreement, bends / unit
        inputs = torch.cat((-step, bends[:, :1], scene, step, bends[:, 1:], scene), dim=1)  # (N, 10, H, W)
        return inputs, roughness

    def synthesise(self, planes: Tensor, features: list[Tensor], unit: Tensor, t: Tensor) -> Tensor:
        """One plane (N, H, W) at depths t (N,); everything from the head on is float32."""
        decoded = self.decoder(features, t)
        with torch.autocast(planes.device.type, enabled=False):
            both = torch.cat((self.head.weight, self.head.weight), dim=1)
            residual, blend = F.conv2d(decoded.float(), both, self.head.bias, padding=1).unbind(1)  # each (N, H, W)
            t = t[:, None, None]
            linear = planes[:, 1] + t * (planes[:, 2] - planes[:, 1])
            bend = cubic_minus_linear(planes, t)
            residual = self.bound * torch.tanh(residual / self.bound)
            return linear + 2 * torch.sigmoid(blend) * bend + unit[:, 0] * residual


def cubic_minus_linear(planes: Tensor, t: Tensor) -> Tensor:
    """What a Catmull-Rom cubic over four planes (N, 4, H, W) adds to the line between the middle two at t (N, 1, 1)."""
    p0, p1, p2, p3 = planes.unbind(1)
    before, after = 2 * p1 - p0 - p2, 2 * p2 - p1 - p3  # twice the bend at either plane
    return 0.5 * t * (1 - t) * ((1 - t) * before + t * after)
