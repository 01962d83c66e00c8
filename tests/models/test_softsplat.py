"""Softmax splatting network."""

import pytest
import torch

from tests.models.conftest import random_network
from zinterp.models.motion import Pair
from zinterp.models.softsplat import GridNet, SoftSplat, SoftSplatSize, correlation


def test_correlation_agrees_with_a_slow_reference() -> None:
    first, second = torch.rand(2, 3, 5, 6), torch.rand(2, 3, 5, 6)
    found = correlation(first, second, radius=2)
    assert found.shape == (2, 25, 5, 6)
    for i, (dy, dx) in enumerate((dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)):
        for y, x in ((0, 0), (2, 3), (4, 5)):
            inside = 0 <= y + dy < 5 and 0 <= x + dx < 6
            expected = cosine(first[:, :, y, x], second[:, :, y + dy, x + dx]) if inside else torch.zeros(2)
            assert torch.allclose(found[:, i, y, x], expected, atol=1e-6)


def cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Of vectors (N, C), their means taken out, (N,)."""
    first, second = first - first.mean(dim=1, keepdim=True), second - second.mean(dim=1, keepdim=True)
    return (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))


def test_the_grid_passes_down_and_then_up() -> None:
    net = GridNet((4, 4, 4), (4, 6, 8), columns=4)
    rows = [torch.rand(1, 4, 16 // 2**k, 16 // 2**k) for k in range(3)]
    made = net(rows)
    assert made.shape == (1, 4, 16, 16)
    for k in range(3):  # every row reaches the finest one
        changed = [x + (0.5 if i == k else 0) for i, x in enumerate(rows)]
        assert not torch.allclose(net(changed), made, atol=1e-4)


def test_what_is_found_again_counts_more() -> None:
    network = SoftSplat()
    planes = torch.rand(1, 2, 64, 192)
    planes[:, 1, :, :96] = planes[:, 0, :, :96]
    _, importance = network.motion(Pair(planes)).features
    assert importance.shape == (2, 1, 64, 192)
    assert importance[..., :40].abs().max() < 1e-4 < 0.5 < importance[..., 100:].abs().mean()
    assert (importance <= 0).all()  # before it has learnt to refine it


def test_alpha_is_learnt() -> None:
    network = random_network("softsplat").train()
    network.details(torch.rand(1, 2, 32, 32), torch.tensor([0.5])).plane.sum().backward()
    assert network.alpha.grad is not None
    assert network.alpha.grad.abs() > 0


def test_sizes_must_go_together() -> None:
    with pytest.raises(ValueError, match="even number of columns"):
        SoftSplatSize(columns=3)
