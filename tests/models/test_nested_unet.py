"""Nested U-Net."""

import pytest
import torch

from tests.models.conftest import random_network
from zinterp.models.nested_unet import NestedUNet, NestedUNetSize, U2Net, UBlock


def test_a_block_is_residual_and_keeps_the_size() -> None:
    block = UBlock(4, 4, 6, height=4)
    x = torch.rand(1, 4, 32, 48)
    assert block(x).shape == (1, 6, 32, 48)
    torch.nn.init.zeros_(block.up[0].weight)
    assert torch.equal(block(x), torch.relu(block.enter(x)))


def test_the_lowest_level_of_a_block_is_dilated() -> None:
    assert UBlock(4, 4, 6, height=3).bottom.dilation == 2


def test_sides_are_fused_by_their_mean_at_first() -> None:
    net = U2Net(4, 6, (3, 2), (4, 4), (4, 8))
    for side in net.side:
        torch.nn.init.normal_(side.weight)
    fused, *sides = net(torch.rand(1, 4, 32, 32))
    assert len(sides) == 2
    assert all(side.shape == (1, 6, 32, 32) for side in sides)
    assert torch.allclose(fused, torch.stack(sides).mean(dim=0), atol=1e-5)


def test_in_training_every_level_makes_a_plane() -> None:
    network = random_network("nested-unet")
    planes, t = torch.rand(1, 2, 32, 32), torch.tensor([0.5])
    assert network.details(planes, t).sides == ()
    network.train()
    details = network.details(planes, t)
    assert len(details.sides) == 2
    assert all(side.shape == details.plane.shape for side in details.sides)
    assert not torch.allclose(details.sides[0], details.sides[1], atol=1e-4)


def test_sizes_must_go_together() -> None:
    with pytest.raises(ValueError, match="as many heights"):
        NestedUNet(NestedUNetSize(heights=(3, 3), middle=(4,), channels=(4, 8)))
    assert NestedUNet(NestedUNetSize(heights=(7, 6), middle=(4, 4), channels=(4, 8))).multiple_of == 32
