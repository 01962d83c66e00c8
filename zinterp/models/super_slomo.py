"""Super SloMo: one U-Net finds the flows between two planes, a second one refines them at any t.

After H. Jiang et al., "Super SloMo: High Quality Estimation of Multiple Intermediate Frames for Video Interpolation",
CVPR 2018, arXiv:1712.00080. Other than there the planes are grey and divided by their local contrast, the flows and
their refinement are limited, the kernels are tied so that turning the stack upside down turns the result, and what is
made stays near both planes where they agree.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from zinterp.models.layers import warp
from zinterp.models.motion import WINDOW, Details, Motion, MotionNetwork, Pair, Size, UNet, fuse, to_refine

FARTHEST, FARTHEST_CHANGE = 32.0, 8.0  # pixels, of the flows and of their refinement


@dataclass(frozen=True)
class SuperSloMoSize(Size):
    """Channels of each level of both U-Nets, the finest first, all even."""

    channels: tuple[int, ...] = (12, 24, 48, 96, 128)


class SuperSloMo(MotionNetwork):
    """See the module; ``size`` says how large it is."""

    architecture = "super-slomo"

    def __init__(self, size: SuperSloMoSize | None = None) -> None:
        super().__init__()
        self.size = size or SuperSloMoSize()
        coarsest = 2 ** (len(self.size.channels) - 1)  # pixels
        self.multiple_of, self.overlap = max(WINDOW, coarsest), 10 * max(WINDOW, coarsest)
        self.bytes_per_pixel = (46 * self.size.channels[0], 34 * self.size.channels[0])
        self.flow = UNet(2, 4, self.size.channels)
        self.refine = UNet(12, 6, self.size.channels)

    def motion(self, pair: Pair) -> Motion:
        """Both flows, from the first U-Net."""
        flows = limited(self.flow(torch.cat((pair.seen0, pair.seen1), dim=1)), FARTHEST)
        return Motion(*flows.chunk(2, dim=1))

    def synthesise(self, pair: Pair, motion: Motion, t: Tensor) -> Details:
        """Arbitrary-time flows by linear combination, refined, with visibility maps; both planes warped and fused."""
        to0, to1, seen = to_refine(pair, motion, t)
        first, second = self.refine(seen).chunk(2, dim=1)  # (N, 3, H, W): change of the flow, evidence of visibility
        visible0 = torch.sigmoid(first[:, 2:] - second[:, 2:])
        warped0 = warp(pair.frame0, to0 + limited(first[:, :2], FARTHEST_CHANGE))
        warped1 = warp(pair.frame1, to1 + limited(second[:, :2], FARTHEST_CHANGE))
        plane = pair.bounded(fuse(warped0, warped1, visible0, t), t)
        return Details(plane, motion, (warped0, warped1))


def limited(flow: Tensor, most: float) -> Tensor:
    """A flow that turns to ``most`` pixels as it grows: one that leads out of the plane could not be learnt from."""
    return most * torch.tanh(flow / most)
