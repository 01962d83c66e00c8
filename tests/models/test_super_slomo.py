"""Super SloMo."""

import torch
from torch import Tensor

from tests.models.conftest import random_network
from zinterp.models import PUBLISHED, build_super_slomo
from zinterp.models.motion import Motion, Pair, arbitrary_time_flows, fuse
from zinterp.models.super_slomo import SuperSloMo, SuperSloMoSize


def test_the_published_size() -> None:
    network = build_super_slomo(PUBLISHED["super-slomo"])
    assert network.multiple_of == 32
    tied = sum(p.numel() for p in network.parameters())
    assert 19.5e6 < tied < 20.5e6  # the published 40 million, every kernel serving both planes


def test_without_refinement_it_is_the_papers_formula() -> None:
    network = SuperSloMo(SuperSloMoSize((4, 8)))  # whose second U-Net begins with zeros
    pair, t = Pair(torch.rand(1, 2, 32, 32)), torch.tensor([0.3])
    flow01, flow10 = torch.rand(1, 2, 32, 32), -torch.rand(1, 2, 32, 32)
    made = network.synthesise(pair, Motion(flow01, flow10), t)
    to0, to1 = arbitrary_time_flows(flow01, flow10, t)
    warped0, warped1 = pixel_by_pixel(pair.frame0, to0), pixel_by_pixel(pair.frame1, to1)
    assert torch.allclose(made.warped[0], warped0, atol=1e-5)
    assert torch.allclose(made.warped[1], warped1, atol=1e-5)
    assert torch.allclose(made.plane, fuse(warped0, warped1, torch.tensor(0.5), t), atol=1e-5)


def pixel_by_pixel(frame: Tensor, flow: Tensor) -> Tensor:
    """Backward warping, slowly."""
    height, width = frame.shape[2:]
    warped = torch.zeros_like(frame)
    for y in range(height):
        for x in range(width):
            sy = min(max(y + float(flow[0, 1, y, x]), 0), height - 1)
            sx = min(max(x + float(flow[0, 0, y, x]), 0), width - 1)
            y0, x0 = min(int(sy), height - 2), min(int(sx), width - 2)
            corner = frame[0, 0, y0 : y0 + 2, x0 : x0 + 2]
            down, right = torch.tensor([1.0 - sy + y0, sy - y0]), torch.tensor([1.0 - sx + x0, sx - x0])
            warped[0, 0, y, x] = down @ corner @ right
    return warped


def test_visibilities_sum_to_one() -> None:
    network = random_network("super-slomo")
    pair, t = Pair(torch.rand(1, 2, 32, 32)), torch.tensor([0.5])
    motion = network.motion(pair)
    made = network.synthesise(pair, motion, t)
    turned = Pair(torch.cat((pair.frame1, pair.frame0), dim=1))
    other = network.synthesise(turned, network.motion(turned), t)
    first = visibility(made.plane, *made.warped)
    second = visibility(other.plane, *other.warped)  # of the other plane, found by turning the pair
    apart = (made.warped[0] - made.warped[1]).abs() > 0.1
    assert apart.sum() > 100
    assert torch.allclose((first + second)[apart], torch.ones(int(apart.sum())), atol=1e-3)
    assert first[apart].std() > 0.01


def visibility(plane: Tensor, warped0: Tensor, warped1: Tensor) -> Tensor:
    """The visibility of the first plane that a plane in the middle was fused with."""
    return (plane - warped1) / (warped0 - warped1)
