"""What the networks that follow motion between two planes share. Tensors are (N, C, H, W), flows are in pixels.

``flow01`` is the flow from the first plane to the second: the first plane is the second one warped by it. ``to0`` and
``to1`` are the flows from the plane at t to either plane, by which both are warped to t.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import (
    MirrorConv2d,
    Prediction,
    local_mean,
    local_rms,
    mirror_cat,
    starting_at_zero,
    upsampled,
    warp,
)

WINDOW = 16  # pixels, of the local statistics
BOUND = 8.0  # what is made differs from the line between the planes by no more than this many local steps
FLOOR = 1e-5  # of the intensity range, the least that planes are divided by
MOST = 10.0  # what a network sees never exceeds this many units
SLOPE = 0.1  # of the leaky rectifiers


@dataclass(frozen=True)
class Size:
    """Sizes of a network, each a positive number or several."""

    @classmethod
    def from_json(cls, sizes: Mapping[str, Any]) -> Self:
        """From what ``dataclasses.asdict`` and JSON made of one.

        Raises
        ------
        ValueError
            If a field is unknown or is not of positive numbers, as many as by default where the number is fixed.
        """
        known = {field.name: field.default for field in fields(cls)}
        chosen = {name: tuple(v) if isinstance(v, list | tuple) else v for name, v in sizes.items()}
        for name, value in chosen.items():
            numbers = value if isinstance(value, tuple) else (value,)
            if name not in known or isinstance(value, tuple) != isinstance(known[name], tuple):
                raise ValueError(f"got sizes {dict(sizes)}, expected such as {known}")
            if not numbers or not all(isinstance(n, int) and n > 0 for n in numbers):
                raise ValueError(f"got {name} {value}, expected positive numbers")
        return cls(**chosen)


class Pair:
    """Two planes (N, 2, H, W), as a network sees them: each centred and divided by its local contrast.

    What is made of them lies near the line between the two where they agree, whatever the network says: equal planes
    come back, and brightness and contrast of the volume do not matter.
    """

    def __init__(self, planes: Tensor) -> None:
        self.frame0, self.frame1 = planes[:, :1], planes[:, 1:]
        (self.seen0, contrast0), (self.seen1, contrast1) = normalised(self.frame0), normalised(self.frame1)
        self.disagreement = local_rms(self.frame1 - self.frame0, WINDOW)
        self.unit = torch.minimum((contrast0 + contrast1) / 2, self.disagreement)  # of what is added to moved planes

    def linear(self, t: Tensor) -> Tensor:
        """The line between the planes at t (N,), (N, 1, H, W)."""
        return blend(self.frame0, self.frame1, t)

    def bounded(self, plane: Tensor, t: Tensor) -> Tensor:
        """A plane at t (N,) held near the line, (N, 1, H, W)."""
        linear, most = self.linear(t), BOUND * self.disagreement
        return linear + torch.minimum(torch.maximum(plane - linear, -most), most)


def normalised(frame: Tensor) -> tuple[Tensor, Tensor]:
    """A plane (N, 1, H, W) centred and divided by its local contrast, and that contrast."""
    centred = frame - local_mean(frame, WINDOW)
    contrast = local_rms(centred, WINDOW).clamp(min=FLOOR)
    return (centred / contrast).clamp(-MOST, MOST), contrast


def at_pixels(t: Tensor) -> Tensor:
    """Depths (N,) for use with (N, C, H, W)."""
    return t[:, None, None, None]


def blend(first: Tensor, second: Tensor, t: Tensor) -> Tensor:
    """From what there is at 0 and at 1, (N, C, H, W) each, in a straight line to t (N,)."""
    return first + at_pixels(t) * (second - first)


def arbitrary_time_flows(flow01: Tensor, flow10: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Flows from the plane at t (N,) to both planes, by linear combination of those between them, (N, 2, H, W) each.

    References
    ----------
    H. Jiang et al., "Super SloMo: High Quality Estimation of Multiple Intermediate Frames for Video Interpolation",
    CVPR 2018, arXiv:1712.00080, equation 4.
    """
    t = at_pixels(t)
    return -(1 - t) * t * flow01 + t * t * flow10, (1 - t) * (1 - t) * flow01 - t * (1 - t) * flow10


def fuse(warped0: Tensor, warped1: Tensor, visible0: Tensor, t: Tensor) -> Tensor:
    """Both planes warped to t (N,), weighted by how near they are and by the visibility of the first, in (0, 1)."""
    weight0, weight1 = (1 - at_pixels(t)) * visible0, at_pixels(t) * (1 - visible0)
    return (weight0 * warped0 + weight1 * warped1) / (weight0 + weight1)


class Motion(NamedTuple):
    """What is found once for a pair and used for every t: both flows (N, 2, H, W), and features of a network's own."""

    flow01: Tensor
    flow10: Tensor
    features: Any = ()


class Details(NamedTuple):
    """A plane at one t and what led to it, for losses to look at.

    ``plane`` (N, 1, H, W); ``motion``; ``warped``: the planes moved to t, (N, 1, H, W) each; ``sides``: planes made of
    single levels of a network, (N, 1, H, W) each, none for most.
    """

    plane: Tensor
    motion: Motion
    warped: tuple[Tensor, Tensor]
    sides: tuple[Tensor, ...] = ()


def to_refine(pair: Pair, motion: Motion, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Arbitrary-time flows at t (N,), (N, 2, H, W) each, and what a second stage refines them by, (N, 12, H, W).

    That is both planes, the flows between them and to t, and both planes moved to t.
    """
    to0, to1 = arbitrary_time_flows(motion.flow01, motion.flow10, t)
    first = torch.cat((pair.seen0, motion.flow01, to0, warp(pair.seen0, to0)), dim=1)
    second = torch.cat((pair.seen1, motion.flow10, to1, warp(pair.seen1, to1)), dim=1)
    return to0, to1, torch.cat((first, second), dim=1)


class MotionNetwork(nn.Module):
    """Base of the networks that follow motion: motion once a pair, one synthesis for each t.

    Attributes
    ----------
    architecture : str
        A name of ``zinterp.models.ARCHITECTURES``.
    size : Size
        What it was built with.
    context : int
        Planes needed on each side of the gap.
    multiple_of : int
        Height and width of the planes must be multiples of this.
    uncertain : bool
        They predict no standard deviations.
    overlap : int
        Pixels that neighbouring tiles should share.
    bytes_per_pixel : tuple of int
        Measured peak of a call, rounded up, in float32 and in fewer bits.
    """

    architecture: str
    size: Size
    context = 1
    multiple_of: int
    uncertain = False
    overlap: int
    bytes_per_pixel: tuple[int, int]

    def motion(self, pair: Pair) -> Motion:
        """Find the motion between two planes."""
        raise NotImplementedError

    def synthesise(self, pair: Pair, motion: Motion, t: Tensor) -> Details:
        """Make the plane at t (N,)."""
        raise NotImplementedError

    def forward(self, planes: Tensor, times: Tensor) -> Prediction:
        """Synthesise one plane for each depth.

        Parameters
        ----------
        planes : Tensor, shape (N, 2, H, W), float32
            The two planes beside the gap, normalised to about [0, 1].
        times : Tensor, shape (N, K), float32
            Depths in the gap, in (0, 1).

        Returns
        -------
        Prediction
            Planes (N, K, H, W), float32, without standard deviations.
        """
        pair = Pair(planes)
        motion = self.motion(pair)
        return Prediction(torch.cat([self.synthesise(pair, motion, t).plane for t in times.unbind(1)], dim=1), None)

    def details(self, planes: Tensor, t: Tensor) -> Details:
        """Make the plane at t (N,) of planes (N, 2, H, W), and say how."""
        pair = Pair(planes)
        return self.synthesise(pair, self.motion(pair), t)

    def flows(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        """Flows from the first of two planes (N, 2, H, W) to the second and back, (N, 2, H, W) each, in pixels."""
        motion = self.motion(Pair(planes))
        return motion.flow01, motion.flow10


class UNet(nn.Module):
    """U-Net with large kernels at the top: 7 x 7, then 5 x 5, then 3 x 3; mean pooling, bilinear upsampling.

    All convolutions commute with swapping the two planes; see ``MirrorConv2d``.

    Parameters
    ----------
    inputs, outputs : int
        Channels, both planes' together.
    channels : tuple of int
        Of each level, the finest first.
    """

    def __init__(self, inputs: int, outputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        kernels = [7, 5, *[3] * len(channels)]
        sources = (inputs, *channels[:-1])
        self.down = nn.ModuleList(twice(a, b, k) for a, b, k in zip(sources, channels, kernels, strict=False))
        pairs = list(zip(channels[1:], channels[:-1], strict=True))[::-1]
        self.narrow = nn.ModuleList(MirrorConv2d(a, b, 3) for a, b in pairs)
        self.merge = nn.ModuleList(MirrorConv2d(2 * b, b, 3) for _, b in pairs)
        self.head = starting_at_zero(MirrorConv2d(channels[0], outputs, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Channels in, (N, inputs, H, W), to channels out, (N, outputs, H, W), float32."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
            skips.append(x)  # (N, C_level, H / 2^level, W / 2^level)
        for narrow, merge, skip in zip(self.narrow, self.merge, skips[-2::-1], strict=True):
            x = F.leaky_relu(narrow(upsampled(x)), SLOPE)
            x = F.leaky_relu(merge(mirror_cat(x, skip)), SLOPE)
        return in_float32(self.head, x)


def twice(inputs: int, outputs: int, kernel_size: int) -> nn.Sequential:
    """Two mirrored convolutions with leaky rectifiers."""
    first, second = MirrorConv2d(inputs, outputs, kernel_size), MirrorConv2d(outputs, outputs, kernel_size)
    return nn.Sequential(first, nn.LeakyReLU(SLOPE), second, nn.LeakyReLU(SLOPE))


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer's result in float32 even where others run in fewer bits: flows and grey values need them."""
    with torch.autocast(x.device.type, enabled=False):
        result: Tensor = layer(x.float())
        return result
