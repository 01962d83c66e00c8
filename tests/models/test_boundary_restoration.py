"""Boundary restoration: what holds whatever its weights are."""

import pytest
import torch
from torch import Tensor

from zinterp.models import RESTORERS
from zinterp.models.boundary_restoration import BOUND, BoundaryRestoration, BoundaryRestorationSize
from zinterp.models.layers import local_rms


@pytest.fixture
def network() -> BoundaryRestoration:
    """One with random weights everywhere, strong ones at the end."""
    torch.manual_seed(0)
    network = BoundaryRestoration(BoundaryRestorationSize((8, 12, 16)))
    for name, parameter in network.named_parameters():
        if "head" in name or ".net." in name:  # these begin as zeros
            torch.nn.init.normal_(parameter, std=0.5)
    return network.eval()


@pytest.fixture
def planes() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Neighbours, synthesised plane, deviations, times."""
    generator = torch.Generator().manual_seed(1)
    neighbours = torch.rand(2, 2, 48, 64, generator=generator)
    plane = neighbours.mean(dim=1, keepdim=True)
    return neighbours, plane, torch.full_like(plane, 0.1), torch.tensor([0.25, 0.6])


def test_untrained_it_leaves_planes_and_deviations_as_they_are(planes: tuple[Tensor, ...]) -> None:
    made = BoundaryRestoration()(*planes)
    assert torch.equal(made.planes, planes[1])
    assert torch.equal(made.sigma, planes[2])


def test_where_acquired_planes_are_equal_nothing_is_added(network: BoundaryRestoration) -> None:
    plane = torch.rand(1, 1, 32, 48)
    made = network(plane.expand(-1, 2, -1, -1), plane, torch.full_like(plane, 0.1), torch.tensor([0.5]))
    assert torch.equal(made.planes, plane)


def test_what_is_added_is_bounded(network: BoundaryRestoration, planes: tuple[Tensor, ...]) -> None:
    torch.nn.init.normal_(network.head.weight, std=100.0)
    made = network(*planes)
    most = BOUND * local_rms(planes[0][:, 1:] - planes[0][:, :1], 16)
    change = (made.planes - planes[1]).abs()
    assert (change <= most * (1 + 1e-5)).all()
    assert (change > 0.9 * most).any()
    ratio = made.sigma / planes[2]
    assert (ratio >= 0.36).all()
    assert (ratio <= 2.72).all()


def test_turned_upside_down_it_makes_the_same_plane(network: BoundaryRestoration, planes: tuple[Tensor, ...]) -> None:
    neighbours, plane, sigma, times = planes
    made = network(*planes)
    turned = network(neighbours.flip(1), plane, sigma, 1 - times)
    assert torch.allclose(made.planes, turned.planes, atol=1e-4)
    assert torch.allclose(made.sigma, turned.sigma, atol=1e-4)
    assert not torch.allclose(made.planes, network(neighbours, plane, sigma, 1 - times).planes, atol=1e-4)


def test_brightness_and_contrast_cancel(network: BoundaryRestoration, planes: tuple[Tensor, ...]) -> None:
    neighbours, plane, sigma, times = planes
    made = network(*planes)
    other = network(3 + 7 * neighbours, 3 + 7 * plane, 7 * sigma, times)
    assert torch.allclose(3 + 7 * made.planes, other.planes, atol=2e-2)
    assert torch.allclose(7 * made.sigma, other.sigma, rtol=1e-2)


def test_it_sees_the_uncertainty(network: BoundaryRestoration, planes: tuple[Tensor, ...]) -> None:
    neighbours, plane, sigma, times = planes
    assert not torch.allclose(network(*planes).planes, network(neighbours, plane, 3 * sigma, times).planes, atol=1e-4)


def test_the_shipped_size_has_no_more_than_two_million_parameters() -> None:
    assert sum(parameter.numel() for parameter in BoundaryRestoration().parameters()) < 2e6


@pytest.mark.parametrize("sizes", [{"channels": 3}, {"channels": (8,)}, {"channels": (8, 9)}, {"other": 1}])
def test_impossible_sizes(sizes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RESTORERS["boundary-restoration"](sizes)
