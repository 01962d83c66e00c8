"""The fast network: what holds whatever its weights are."""

import pytest
import torch
from torch import Tensor

from zinterp.models.half_unet import MIRROR, SIGNS, HalfScene, HalfUNet, HalfUNetSize, Stem
from zinterp.models.layers import folded, unfolded
from zinterp.models.mirror_unet import BOUND, MOST, Scene, cubic_minus_linear

TIMES = torch.tensor([[0.25, 0.5], [0.1, 0.9]])


@pytest.fixture
def network() -> HalfUNet:
    """A network with random weights everywhere."""
    torch.manual_seed(0)
    network = HalfUNet(HalfUNetSize((8, 16, 16)))
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def planes() -> Tensor:
    """Two sets of planes of noise."""
    return torch.rand(2, 6, 48, 64, generator=torch.Generator().manual_seed(1))


def cubic(planes: Tensor, times: Tensor) -> Tensor:
    """Catmull-Rom interpolation of six planes."""
    t = times[:, :, None, None]
    linear = (1 - t) * planes[:, 2:3] + t * planes[:, 3:4]
    bent = [cubic_minus_linear(planes[:, 1:5], times[:, k, None, None]) for k in range(times.shape[1])]
    return linear + torch.stack(bent, dim=1)


def test_it_begins_as_cubic_interpolation(planes: Tensor) -> None:
    assert torch.allclose(HalfUNet(HalfUNetSize((8, 16, 16)))(planes, TIMES).planes, cubic(planes, TIMES), atol=1e-5)


def test_mirror_symmetry_scale_and_equal_planes_hold_for_any_weights(network: HalfUNet, planes: Tensor) -> None:
    result = network(planes, TIMES)
    mirrored = network(planes.flip(1), 1 - TIMES)
    scaled = network(planes * 5 + 3, TIMES)
    assert not torch.allclose(result.planes, cubic(planes, TIMES), atol=0.1)
    assert torch.allclose(mirrored.planes, result.planes, atol=1e-4)
    assert torch.allclose(mirrored.sigma, result.sigma, rtol=1e-3)
    assert torch.allclose(scaled.planes, result.planes * 5 + 3, atol=2e-3)
    assert torch.allclose(scaled.sigma, result.sigma * 5, rtol=1e-2)
    equal = planes[:, :1].expand(-1, 6, -1, -1)
    assert torch.equal(network(equal, TIMES).planes, equal[:, :2])


def test_the_first_layer_sees_a_stack_upside_down_from_the_other_side(planes: Tensor) -> None:
    torch.manual_seed(0)
    stem = Stem(MIRROR, SIGNS, 6)
    up, down = (stem(HalfScene(x).half_inputs()) for x in (planes, planes.flip(1)))
    assert torch.allclose(down, torch.cat((up[:, 3:], up[:, :3]), dim=1), atol=1e-4)


def test_its_inputs_are_those_of_the_full_resolution_four_pixels_in_one(planes: Tensor) -> None:
    half, full = HalfScene(planes).half_inputs(), Scene(planes).inputs()
    assert half.shape == (2, len(MIRROR), 24, 32)
    step, bends, structure = full[:, 8], full[:, [2, 1, 9, 10]], full[:, 3]
    assert torch.allclose(unfolded(half[:, :4])[:, 0], step, atol=1e-5)
    assert torch.allclose(unfolded(half[:, 4:20]), bends, atol=1e-5)
    assert torch.allclose(unfolded(half[:, 20:24])[:, 0], structure, atol=1e-5)


def test_grain_is_judged_alike_by_some_of_the_rows() -> None:
    noise = torch.randn(1, 7, 512, 512, generator=torch.Generator().manual_seed(0))
    for stack in (noise[:, :6], (noise + noise.roll(1, dims=1))[:, 1:]):
        some, all_rows = HalfScene(stack).grain(), Scene(stack).grain()
        assert float((some - all_rows).abs().mean()) < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pixels_are_folded_and_unfolded_alike_with_gradients_and_without(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x, more = (torch.rand(2, c, n, n + 4, generator=generator).to(dtype) for c, n in ((3, 8), (6, 4)))
    more = more[..., :6]
    with_gradients = folded(x, more)
    with torch.no_grad():
        without = folded(x, more)
        back = unfolded(without[:, :12])
    assert torch.equal(with_gradients, without)
    assert torch.equal(back, x)
    assert torch.equal(unfolded(with_gradients[:, :12]), x)
    assert without.is_contiguous(memory_format=torch.channels_last)


def test_planes_are_moved_by_the_flow_and_never_far_from_what_they_were(planes: Tensor) -> None:
    flow = torch.zeros(2, 4, 48, 64)
    flow[:, 0] = 3 * 2 / 64  # three pixels
    flow[:, 3] = 2 * 2 / 48
    moved = HalfScene(planes).moved_near(flow)
    assert torch.allclose(moved[:, 0, :, 3:-3], planes[:, 2, :, 6:], atol=1e-3)
    assert torch.allclose(moved[:, 1, 2:-2], planes[:, 3, 4:], atol=1e-3)
    nearly_straight = planes[:, :1] + 0.1 * torch.arange(6)[:, None, None] * planes[:, 1:2] + 1e-3 * planes
    scene = HalfScene(nearly_straight)
    change = (scene.moved_near(flow) - nearly_straight[:, 2:4]).abs()
    assert (change <= BOUND * scene.roughness + 1e-6).all()
    assert change.max() > 1e-3


def test_what_is_made_is_bounded_by_the_local_bend(network: HalfUNet, planes: Tensor) -> None:
    torch.nn.init.normal_(network.head.weight, std=100)
    scene, t = HalfScene(planes), TIMES[:, :1]
    linear = cubic(planes, t) - torch.stack([cubic_minus_linear(planes[:, 1:5], t[:, :, None])], dim=1)
    most = 2 * BOUND * scene.roughness + 2 * (cubic(planes, t) - linear).abs()
    assert ((network(planes, t).planes - linear).abs() <= most + 1e-5).all()


def test_what_the_network_sees_is_bounded_for_any_planes(planes: Tensor) -> None:
    flat, speck = planes.clone(), torch.zeros_like(planes)
    flat[:, 1:-1] = 0.3
    speck[:, 0, 5, 5] = 1
    for odd in (flat, speck, torch.zeros_like(planes), planes * 1e6):
        seen = HalfScene(odd).half_inputs()
        assert seen.isfinite().all()
        assert float(seen.abs().max()) <= MOST


def test_every_parameter_has_a_gradient(network: HalfUNet, planes: Tensor) -> None:
    made = network(planes, TIMES)
    (made.planes.square().mean() + made.sigma.mean()).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


@pytest.mark.parametrize("channels", [[8, 16], [8, 7, 16], [8, 16, 0]])
def test_impossible_sizes_are_refused(channels: list[int]) -> None:
    with pytest.raises(ValueError, match=r"expected (three or more even|positive) numbers"):
        HalfUNetSize.from_json({"channels": channels})
