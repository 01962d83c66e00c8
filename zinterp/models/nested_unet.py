"""Nested U-Net: flows of a U-Net, refined at any t by a U2-Net whose levels each make a plane of their own.

After the two-stage interpolation of X-ray video with a nested architecture, and for its second stage X. Qin et al.,
"U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern Recognition 2020, arXiv:2005.09007.
Other than there nothing is normalised over a batch, pooling takes means, the deepest blocks are pooled as all others,
and blocks have as many channels on the way up as on the way down. The planes are grey and divided by their local
contrast, and the kernels are tied so that turning the stack upside down turns the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import MirrorConv2d, mirror_cat, starting_at_zero, upsampled, warp
from zinterp.models.motion import (
    WINDOW,
    Details,
    Motion,
    MotionNetwork,
    Pair,
    Size,
    UNet,
    fuse,
    in_float32,
    to_refine,
)


@dataclass(frozen=True)
class NestedUNetSize(Size):
    """Sizes of both stages, the finest level first, all channels even.

    ``flow``: channels of the first stage's U-Net. ``heights``, ``middle``, ``channels``: levels inside each U-shaped
    block of the second stage, channels inside and between the blocks.
    """

    flow: tuple[int, ...] = (12, 24, 48, 96, 128)
    heights: tuple[int, ...] = (4, 4, 3)
    middle: tuple[int, ...] = (8, 16, 32)
    channels: tuple[int, ...] = (16, 32, 64)

    def __post_init__(self) -> None:
        if not len(self.heights) == len(self.middle) == len(self.channels) or min(self.heights) < 2:
            raise ValueError(f"got {self}, expected as many heights of at least 2 as middle and channels")


class UBlock(nn.Module):
    """Residual U-shaped block: a small U-Net, its lowest level dilated instead of pooled, added to its input.

    Parameters
    ----------
    inputs, middle, outputs : int
        Channels in, inside and out.
    height : int
        Levels, at least 2; all but the lowest are pooled one from another.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, height: int) -> None:
        super().__init__()
        self.enter = MirrorConv2d(inputs, outputs, 3)
        self.down = nn.ModuleList(MirrorConv2d(middle if i else outputs, middle, 3) for i in range(height - 1))
        self.bottom = MirrorConv2d(middle, middle, 3, dilation=2)
        self.up = nn.ModuleList(MirrorConv2d(2 * middle, middle if i else outputs, 3) for i in range(height - 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) -> (N, outputs, H, W)."""
        entered = x = F.relu(self.enter(x))
        skips = []
        for level, layer in enumerate(self.down):
            x = F.relu(layer(F.avg_pool2d(x, 2) if level else x))
            skips.append(x)
        x = F.relu(self.bottom(x))
        for level in range(len(skips) - 1, -1, -1):
            x = F.relu(self.up[level](mirror_cat(x, skips[level])))
            x = upsampled(x) if level else x
        return x + entered


class U2Net(nn.Module):
    """U-Net of U-shaped blocks with a side output at each level of its way up, and their fusion.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    heights, middle, channels : tuple of int
        As in ``NestedUNetSize``.
    """

    def __init__(
        self, inputs: int, outputs: int, heights: Sequence[int], middle: Sequence[int], channels: Sequence[int]
    ) -> None:
        super().__init__()
        sizes = list(zip(heights, middle, channels, strict=True))
        sources = (inputs, *channels[:-1])
        self.down = nn.ModuleList(UBlock(a, m, c, h) for a, (h, m, c) in zip(sources, sizes, strict=True))
        self.up = nn.ModuleList(
            UBlock(coarse + c, m, c, h) for coarse, (h, m, c) in zip(channels[1:], sizes[:-1], strict=True)
        )
        self.side = nn.ModuleList(starting_at_zero(MirrorConv2d(c, outputs, 3)) for c in channels)
        self.fuse = MirrorConv2d(len(channels) * outputs, outputs, 1)
        with torch.no_grad():  # begins as the mean of the sides
            own = torch.eye(outputs // 2).repeat(1, len(channels)) / len(channels)
            self.fuse.weight.copy_(torch.cat((own, torch.zeros_like(own)), dim=1)[..., None, None])

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, inputs, H, W) -> the fused output and those of the levels, the finest first, (N, outputs, H, W) each."""
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
            skips.append(x)
        tops = [x]
        for block, skip in zip(list(self.up)[::-1], skips[-2::-1], strict=True):
            x = block(mirror_cat(upsampled(x), skip))
            tops.append(x)
        sides = [upsampled(in_float32(s, x), 2**k) for k, (s, x) in enumerate(zip(self.side, tops[::-1], strict=True))]
        return [in_float32(self.fuse, mirror_cat(*sides)), *sides]


class NestedUNet(MotionNetwork):
    """See the module; ``size`` says how large it is."""

    architecture = "nested-unet"

    def __init__(self, size: NestedUNetSize | None = None) -> None:
        super().__init__()
        self.size = size or NestedUNetSize()
        deepest = max(level + height - 2 for level, height in enumerate(self.size.heights))
        coarsest = 2 ** (len(self.size.flow) - 1)  # pixels
        self.multiple_of, self.overlap = max(WINDOW, coarsest, 2**deepest), 10 * max(WINDOW, coarsest)
        self.bytes_per_pixel = (62 * self.size.channels[0], 42 * self.size.channels[0])
        self.flow = UNet(2, 4, self.size.flow)
        self.refine = U2Net(12, 6, self.size.heights, self.size.middle, self.size.channels)

    def motion(self, pair: Pair) -> Motion:
        """Both flows, from the first stage."""
        flow01, flow10 = self.flow(torch.cat((pair.seen0, pair.seen1), dim=1)).chunk(2, dim=1)
        return Motion(flow01, flow10)

    def synthesise(self, pair: Pair, motion: Motion, t: Tensor) -> Details:
        """Arbitrary-time flows by linear combination, refined and masked: the fused plane, in training one a level."""
        to0, to1, seen = to_refine(pair, motion, t)
        fused, *sides = self.refine(seen)
        plane, warped = self.plane(pair, to0, to1, fused, t)
        levels = [self.plane(pair, to0, to1, side, t)[0] for side in sides] if self.training else []
        return Details(plane, motion, warped, tuple(levels))

    def plane(
        self, pair: Pair, to0: Tensor, to1: Tensor, refined: Tensor, t: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The plane at t (N,) that flows and what refines them (N, 6, H, W) lead to, and both planes warped there."""
        first, second = refined.chunk(2, dim=1)  # (N, 3, H, W): change of the flow, evidence for the mask
        mask = torch.sigmoid(first[:, 2:] - second[:, 2:])
        warped0, warped1 = warp(pair.frame0, to0 + first[:, :2]), warp(pair.frame1, to1 + second[:, :2])
        return pair.bounded(fuse(warped0, warped1, mask, t), t), (warped0, warped1)
