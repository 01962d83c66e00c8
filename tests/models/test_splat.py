"""Forward warping."""

import pytest
import torch
from torch import Tensor

from zinterp.models.splat import QUANTUM, softmax_splat, splat


def random_case(dtype: torch.dtype = torch.float64, scale: float = 1.5) -> tuple[Tensor, Tensor]:
    """Values (2, 3, 5, 7) and a flow (2, 2, 5, 7) that also leads out of the plane."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 7, generator=generator, dtype=dtype)
    return x, scale * torch.randn(2, 2, 5, 7, generator=generator, dtype=dtype)


def reference(x: Tensor, flow: Tensor) -> Tensor:
    """Pixel by pixel."""
    n, _, height, width = x.shape
    total = torch.zeros_like(x)
    for i in range(n):
        for y in range(height):
            for column in range(width):
                ty, tx = y + float(flow[i, 1, y, column]), column + float(flow[i, 0, y, column])
                y0, x0 = int(ty // 1), int(tx // 1)
                for yy, xx in ((y0, x0), (y0, x0 + 1), (y0 + 1, x0), (y0 + 1, x0 + 1)):
                    if 0 <= yy < height and 0 <= xx < width:
                        total[i, :, yy, xx] += x[i, :, y, column] * (1 - abs(ty - yy)) * (1 - abs(tx - xx))
    return total


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.5, 10.0])
def test_splatting_agrees_with_a_slow_reference(scale: float) -> None:
    x, flow = random_case(scale=scale)
    assert torch.allclose(splat(x, flow), reference(x, flow), atol=1e-9)


def test_softmax_splatting_agrees_with_a_slow_reference() -> None:
    x, flow = random_case()
    importance = 0.5 * torch.randn(2, 1, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weight = importance.exp()
    covered = reference(torch.ones_like(weight), flow)
    made = reference(x * weight, flow) / reference(weight, flow).clamp(min=1e-12)
    expected = torch.where(covered > 0, (covered * made + 1e-3 * 5) / (covered + 1e-3), 5.0)
    assert torch.allclose(softmax_splat(x, flow, importance, torch.full_like(x, 5.0)), expected, atol=1e-7)


def test_splatting_has_the_right_gradients() -> None:
    x, flow = random_case()
    assert torch.autograd.gradcheck(splat, (x.requires_grad_(), flow.requires_grad_()))


def test_softmax_splatting_has_the_right_gradients() -> None:
    x, flow = random_case()
    importance = 0.5 * torch.randn(2, 1, 5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    fill = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    inputs = tuple(a.requires_grad_() for a in (x, flow, importance, fill))
    assert torch.autograd.gradcheck(softmax_splat, inputs, eps=1e-4)  # far above the rounding


def test_sums_do_not_depend_on_their_order() -> None:
    x = 10 * torch.randn(1, 1, 1, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    meet = 250.25 - torch.arange(500, dtype=torch.float64)
    flow = torch.stack((meet, torch.zeros(500)))[None, :, None]  # all meet at one place
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    moved = flow[..., order] + torch.stack((order - torch.arange(500), torch.zeros(500)))[None, :, None]
    total, shuffled = splat(x, flow), splat(x[..., order], moved)
    assert torch.equal(total, shuffled)
    assert torch.equal(total / QUANTUM, (total / QUANTUM).round())


def test_no_motion_gives_back_what_came() -> None:
    x, flow = random_case(torch.float32, 0.0)
    assert torch.equal(splat(x, flow), x)


@pytest.mark.parametrize("importance", [-20.0, -10.0, -4.0, 0.0, 2.0])
def test_what_counts_alike_counts_fully_however_little(importance: float) -> None:
    x, flow = random_case(torch.float32, 0.0)
    found = softmax_splat(x, flow, torch.full((2, 1, 5, 7), importance), torch.full_like(x, 100.0))
    assert torch.allclose(found, x + (100 - x) * 1e-3 / (1 + 1e-3), atol=1e-3)


def test_a_flow_that_is_not_a_number_stays_one() -> None:
    x, flow = random_case(torch.float32)
    flow[0, 0, 2, 2] = float("nan")
    assert splat(x, flow).isnan().any()


def test_holes_are_filled_and_the_more_important_wins() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 1, 4)
    flow = torch.zeros(1, 2, 1, 4)
    flow[0, 0, 0, 0] = 1  # the first pixel moves onto the second
    fill = torch.full_like(x, 9.0)
    equal = softmax_splat(x, flow, torch.zeros_like(x), fill)
    assert torch.allclose(equal, torch.tensor([9, 1.5, 3, 4]).view_as(x), atol=0.01)
    first = softmax_splat(x, flow, torch.tensor([2.0, -8, 0, 0]).view_as(x), fill)
    assert torch.allclose(first, torch.tensor([9, 1.0, 3, 4]).view_as(x), atol=0.01)
