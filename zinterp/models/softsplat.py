"""Softmax splatting: flows by warping and correlation, features splatted forward to t, a grid network to finish.

After S. Niklaus, F. Liu, "Softmax Splatting for Video Frame Interpolation", CVPR 2020, arXiv:2003.05534, with the flow
pyramid of D. Sun et al., "PWC-Net", CVPR 2018, arXiv:1709.02371, and the synthesis of D. Fourure et al., "Residual
Conv-Deconv Grid Network for Semantic Segmentation", BMVC 2017, arXiv:1707.07958. Other than there all is trained
together, the planes are grey and divided by their local contrast, the grid network makes what is added to the blend of
both splatted planes, in units of how they disagree, and its kernels are tied so that turning the stack upside down
turns the result.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import MirrorConv2d, starting_at_zero, upsampled, warp
from zinterp.models.motion import (
    SLOPE,
    WINDOW,
    Details,
    Motion,
    MotionNetwork,
    Pair,
    Size,
    at_pixels,
    blend,
    in_float32,
)
from zinterp.models.splat import softmax_splat


@dataclass(frozen=True)
class SoftSplatSize(Size):
    """Sizes, the finest level first.

    ``flow``: channels of the flow pyramid, from half the pixels on. ``radius``: of the correlation, in pixels of a
    level. ``decoder``: filters that estimate a level's flow. ``features``: channels of the three levels that are
    splatted, and for each plane of the grid network's rows. ``columns``: of the grid network, even.
    """

    flow: tuple[int, ...] = (16, 32, 48, 64)
    radius: int = 2
    decoder: tuple[int, ...] = (48, 32, 16)
    features: tuple[int, ...] = (10, 20, 32)
    columns: int = 4

    def __post_init__(self) -> None:
        if len(self.features) != 3 or self.columns % 2:
            raise ValueError(f"got {self}, expected three features and an even number of columns")


class FlowPyramid(nn.Module):
    """PWC-Net in small: features by strides of two, then from coarse to fine warp, correlate, refine."""

    def __init__(self, channels: tuple[int, ...], radius: int, filters: tuple[int, ...]) -> None:
        super().__init__()
        self.radius = radius
        self.encoders = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride=2, padding=1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(b, b, 3, padding=1),
                nn.LeakyReLU(SLOPE),
            )
            for a, b in zip((1, *channels[:-1]), channels, strict=True)
        )
        shifts = (2 * radius + 1) ** 2
        self.decoders = nn.ModuleList(FlowDecoder(shifts + c + 2, filters) for c in channels)

    def forward(self, own: Tensor) -> Tensor:
        """Planes and after them the other planes, (2N, 1, H, W), to flows from each to the other, (2N, 2, H, W)."""
        pyramid = []
        x = own
        for encoder in self.encoders:
            x = encoder(x)
            pyramid.append(x)  # (2N, C_level, H / 2^(level + 1), W / 2^(level + 1))
        flow = x.new_zeros(x.shape[0], 2, *x.shape[2:], dtype=torch.float32)
        for features, decoder in zip(pyramid[::-1], list(self.decoders)[::-1], strict=True):
            if flow.shape[-1] != features.shape[-1]:
                flow = 2 * upsampled(flow)
            other = warp(torch.cat(features.chunk(2)[::-1]), flow)
            alike = correlation(features, other, self.radius)
            flow = flow + decoder(torch.cat((alike, features.float(), flow), dim=1))
        return 2 * upsampled(flow)


class FlowDecoder(nn.Module):
    """Convolutions that estimate the change of the flow at one level."""

    def __init__(self, inputs: int, filters: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in zip((inputs, *filters[:-1]), filters, strict=True):
            layers += [nn.Conv2d(a, b, 3, padding=1), nn.LeakyReLU(SLOPE)]
        self.convs = nn.Sequential(*layers)
        self.head = starting_at_zero(nn.Conv2d(filters[-1], 2, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, 2, h, w), float32."""
        return in_float32(self.head, self.convs(x))


def correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """How alike features are to those up to ``radius`` pixels away, (N, C, H, W) -> (N, (2 radius + 1)^2, H, W).

    The cosine between them, their means over the channels taken out: without that, the flow is hardly learnt.
    """
    _, _, height, width = first.shape
    first, second = (F.normalize(x.float() - x.float().mean(dim=1, keepdim=True), dim=1) for x in (first, second))
    padded = F.pad(second, (radius,) * 4)
    shifts = range(2 * radius + 1)
    products = [(first * padded[:, :, y : y + height, x : x + width]).sum(dim=1) for y in shifts for x in shifts]
    return torch.stack(products, dim=1)


class Lateral(nn.Module):
    """Residual block along a row of the grid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = MirrorConv2d(channels, channels, 3)
        self.second = starting_at_zero(MirrorConv2d(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        residual: Tensor = self.second(F.leaky_relu(self.first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x + residual


class Column(nn.Module):
    """A column of the grid: a block along each row, then every row feeds the next coarser or finer one.

    Parameters
    ----------
    channels : tuple of int
        Of each row, the finest first.
    first : bool
        Whether rows come from outside the grid, and pass no block.
    down : bool
        Whether rows feed coarser ones, or finer ones.
    """

    def __init__(self, channels: tuple[int, ...], *, first: bool, down: bool) -> None:
        super().__init__()
        self.down = down
        self.lateral = nn.ModuleList(nn.Identity() if first else Lateral(c) for c in channels)
        pairs = list(pairwise(channels if down else channels[::-1]))
        self.between = nn.ModuleList(MirrorConv2d(a, b, 3) for a, b in pairs)

    def forward(self, rows: list[Tensor]) -> list[Tensor]:
        """Features of each row, the finest first, (N, channels, H / 2^row, W / 2^row)."""
        rows = [lateral(x) for lateral, x in zip(self.lateral, rows, strict=True)]
        rows = rows if self.down else rows[::-1]
        for i, between in enumerate(self.between):
            x = F.leaky_relu(rows[i], SLOPE)
            rows[i + 1] = rows[i + 1] + between(F.avg_pool2d(x, 2) if self.down else upsampled(x))
        return rows if self.down else rows[::-1]


class GridNet(nn.Module):
    """Three rows of different scale, columns that pass down at first and then up.

    Parameters
    ----------
    inputs : tuple of int
        Channels that come into each row, the finest first, both planes' together.
    channels : tuple of int
        Of each row.
    columns : int
        Even.
    """

    def __init__(self, inputs: tuple[int, ...], channels: tuple[int, ...], columns: int) -> None:
        super().__init__()
        self.enter = nn.ModuleList(MirrorConv2d(a, b, 3) for a, b in zip(inputs, channels, strict=True))
        self.columns = nn.Sequential(*(Column(channels, first=k == 0, down=k < columns // 2) for k in range(columns)))

    def forward(self, rows: list[Tensor]) -> Tensor:
        """Inputs of each row, (N, inputs, H / 2^row, W / 2^row), to features of the finest, (N, channels[0], H, W)."""
        finest: Tensor = self.columns([enter(x) for enter, x in zip(self.enter, rows, strict=True)])[0]
        return finest


class SoftSplat(MotionNetwork):
    """See the module; ``size`` says how large it is."""

    architecture = "softsplat"

    def __init__(self, size: SoftSplatSize | None = None) -> None:
        super().__init__()
        self.size = size or SoftSplatSize()
        coarsest = 2 ** len(self.size.flow)  # pixels
        self.multiple_of, self.overlap = max(WINDOW, coarsest), 10 * max(WINDOW, coarsest)
        self.bytes_per_pixel = (220 * self.size.features[0], 220 * self.size.features[0])
        self.flow = FlowPyramid(self.size.flow, self.size.radius, self.size.decoder)
        self.alpha = nn.Parameter(torch.ones(1))
        last = starting_at_zero(nn.Conv2d(8, 1, 3, padding=1))
        self.importance = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.LeakyReLU(SLOPE), last)
        channels = self.size.features
        self.features = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(b, b, 3, padding=1), nn.LeakyReLU(SLOPE)
            )
            for a, b in zip((1, *channels[:-1]), channels, strict=True)
        )
        inputs = tuple(2 * (c + (2 if level == 0 else 0)) for level, c in enumerate(channels))
        self.grid = GridNet(inputs, tuple(2 * c for c in channels), self.size.columns)
        self.head = starting_at_zero(MirrorConv2d(2 * channels[0], 2, 3))

    def motion(self, pair: Pair) -> Motion:
        """Both flows, and of both planes what is splatted: features of three levels and how much each pixel counts.

        A pixel counts less the worse it is found again in the other plane, by a learnt scale and two convolutions.
        """
        own = torch.cat((pair.seen0, pair.seen1))  # (2N, 1, H, W)
        flow = self.flow(own)
        missed = (own - warp(torch.cat((pair.seen1, pair.seen0)), flow)).abs()
        importance = -F.softplus(self.alpha) * missed
        importance = importance + in_float32(self.importance, torch.cat((own, importance), dim=1))
        x, features = own, []
        for level, block in enumerate(self.features):
            x = block(F.avg_pool2d(x, 2) if level else x)
            features.append(x)
        flow01, flow10 = flow.chunk(2)
        return Motion(flow01, flow10, (features, importance))

    def synthesise(self, pair: Pair, motion: Motion, t: Tensor) -> Details:
        """Planes and features splatted to t, holes filled from the blend of both planes', finished by the grid."""
        features, importance = motion.features
        shares = at_pixels(torch.cat((t, 1 - t)))  # of the way that each plane has to t
        flow = shares * torch.cat((motion.flow01, motion.flow10))
        frames, seen = torch.cat((pair.frame0, pair.frame1)), torch.cat((pair.seen0, pair.seen1))
        both = torch.cat((frames, seen, features[0].float()), dim=1)
        splatted = softmax_splat(both, flow, importance, twice_blended(both, t))
        warped0, warped1 = splatted[:, :1].chunk(2)
        rows = [torch.cat((splatted[:, 1:], shares.expand_as(frames)), dim=1)]
        for level, x in enumerate(features[1:], start=1):
            coarse_flow, coarse = F.avg_pool2d(flow, 2**level) / 2**level, F.avg_pool2d(importance, 2**level)
            rows.append(softmax_splat(x.float(), coarse_flow, coarse, twice_blended(x.float(), t)))
        finished = self.grid([torch.cat(row.chunk(2), dim=1) for row in rows])
        halves = in_float32(self.head, finished)
        plane = blend(warped0, warped1, t) + pair.unit * halves.mean(dim=1, keepdim=True)
        return Details(pair.bounded(plane, t), motion, (warped0, warped1))


def twice_blended(both: Tensor, t: Tensor) -> Tensor:
    """Of the first planes and after them the second ones (2N, C, H, W) the blend at t (N,), twice."""
    first, second = both.chunk(2)
    return blend(first, second, t).repeat(2, 1, 1, 1)
