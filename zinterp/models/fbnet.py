"""FBNet, the frame booster: features of a pyramid, flows refined from coarse to fine, both planes' features fused.

Built from the published description: four levels, features shared between them, flows in both directions at each, about
1.2 million parameters. Published for the middle between two frames; here the flows are scaled to any t, and the fusion
weighs both planes' features by how near they are. Other than there the network makes what is added to the blend of both
warped planes, in units of how they disagree, not the plane from nothing; what the coarser level made is put beside both
planes' features and not added to them; and the planes are divided by their local contrast.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import starting_at_zero, upsampled, warp
from zinterp.models.motion import (
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

LEVELS = 4


@dataclass(frozen=True)
class FBNetSize(Size):
    """Filters of the shared features, of a level's flow estimation, and of the fusion, its finest level first."""

    features: tuple[int, ...] = (16, 32, 64)
    flow: tuple[int, ...] = (16, 32, 32, 16)
    fusion: tuple[int, ...] = (16, 32, 64, 96)

    def __post_init__(self) -> None:
        if (len(self.features), len(self.flow), len(self.fusion)) != (3, 4, LEVELS):
            raise ValueError(f"got {self}, expected three features, four flow and {LEVELS} fusion filters")


class FlowEstimator(nn.Module):
    """Change of the flow from one plane to the other at one level, from both planes' features."""

    def __init__(self, channels: int, filters: tuple[int, ...]) -> None:
        super().__init__()
        sources, kernels = (2 * channels, *filters[:-1]), (3, 3, 1, 1)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, k, padding=k // 2) for a, b, k in zip(sources, filters, kernels, strict=True)
        )
        self.head = starting_at_zero(nn.Conv2d(filters[-1], 2, 1))

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """Features of a plane and of the other one warped to it, (N, C, h, w) each -> (N, 2, h, w), float32."""
        x = torch.cat((own, other), dim=1)
        for conv in self.convs:
            x = F.relu(conv(x))
        return in_float32(self.head, x)


class Fusion(nn.Module):
    """Two convolutions at one level, of both planes' features and of what the coarser level made."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, h, w)."""
        return F.relu(self.second(F.relu(self.first(x))))


class FBNet(MotionNetwork):
    """See the module; ``size`` says how large it is."""

    architecture = "fbnet"
    overlap = 160

    def __init__(self, size: FBNetSize | None = None) -> None:
        super().__init__()
        self.size = size or FBNetSize()
        self.multiple_of = WINDOW
        self.bytes_per_pixel = (48 * max(self.size.flow), 30 * max(self.size.flow))
        filters = self.size.features
        sources = (1, *filters[:-1])
        self.features = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in zip(sources, filters, strict=True)
        )
        channels = [sum(filters[: level + 1]) for level in range(LEVELS)]  # of the features of each level
        self.flow = nn.ModuleList(FlowEstimator(c, self.size.flow) for c in channels)
        coarser = (*self.size.fusion[1:], 0)
        self.fusion = nn.ModuleList(
            Fusion(c + d, f) for c, d, f in zip(channels, coarser, self.size.fusion, strict=True)
        )
        self.head = starting_at_zero(nn.Conv2d(self.size.fusion[0], 1, 3, padding=1))

    def pyramid(self, frame: Tensor) -> list[Tensor]:
        """Features of each level, the finest first: of depth one there, of one and more from the levels above."""
        first, second, third = self.features
        shallow: list[Tensor] = []
        for level in range(LEVELS):
            shallow.append(F.relu(first(frame)))
            frame = F.avg_pool2d(frame, 2) if level < LEVELS - 1 else frame
        middle = [F.relu(second(F.avg_pool2d(x, 2))) for x in shallow[:-1]]
        deep = [F.relu(third(F.avg_pool2d(x, 2))) for x in middle[:-1]]
        return [torch.cat(x, dim=1) for x in self.by_level(shallow, middle, deep)]

    @staticmethod
    def by_level(shallow: list[Tensor], middle: list[Tensor], deep: list[Tensor]) -> list[list[Tensor]]:
        """Features of equal size together: level k has the shallow ones, from 1 on the middle, from 2 on the deep."""
        columns = [(0, shallow), (1, middle), (2, deep)]
        return [[column[k - start] for start, column in columns if k >= start] for k in range(LEVELS)]

    def motion(self, pair: Pair) -> Motion:
        """Both flows, from coarse to fine; both directions are estimated at once, as a batch."""
        own = self.pyramid(torch.cat((pair.seen0, pair.seen1)))  # (2N, C_level, H / 2^level, W / 2^level)
        flow = own[-1].new_zeros(own[-1].shape[0], 2, *own[-1].shape[2:], dtype=torch.float32)
        for level in range(LEVELS - 1, -1, -1):
            other = warp(torch.cat(own[level].chunk(2)[::-1]), flow)
            flow = flow + self.flow[level](own[level], other)
            flow = 2 * upsampled(flow) if level else flow
        flow01, flow10 = flow.chunk(2)
        return Motion(flow01, flow10, own)

    def synthesise(self, pair: Pair, motion: Motion, t: Tensor) -> Details:
        """Planes and features warped by scaled flows, the latter fused from the coarsest level up."""
        to0, to1 = at_pixels(t) * motion.flow10, at_pixels(1 - t) * motion.flow01
        warped0, warped1 = warp(pair.frame0, to0), warp(pair.frame1, to1)
        x: Tensor | None = None
        for level in range(LEVELS - 1, -1, -1):
            features0, features1 = motion.features[level].chunk(2)
            near, far = (F.avg_pool2d(f, 2**level) / 2**level if level else f for f in (to0, to1))
            both = blend(warp(features0, near), warp(features1, far), t)
            x = both if x is None else torch.cat((both, F.interpolate(x, scale_factor=2, mode="nearest")), dim=1)
            x = self.fusion[level](x)
        assert x is not None
        plane = blend(warped0, warped1, t) + pair.unit * in_float32(self.head, x)
        return Details(pair.bounded(plane, t), motion, (warped0, warped1))
