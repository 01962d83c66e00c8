"""What all networks that follow motion share."""

import pytest
import torch
from torch import Tensor

from tests.models.conftest import SMALL
from zinterp.models import ARCHITECTURES, PUBLISHED
from zinterp.models.layers import MirrorConv2d, mirror_cat, starting_at_zero
from zinterp.models.motion import BOUND, MotionNetwork, Pair, UNet, arbitrary_time_flows, fuse

TIMES = torch.tensor([[0.25, 0.5], [0.1, 0.9]])


@pytest.fixture
def planes() -> Tensor:
    """Two pairs of planes of noise."""
    return torch.rand(2, 2, 64, 96, generator=torch.Generator().manual_seed(1))


def flows() -> tuple[Tensor, Tensor]:
    """Flows at random, (1, 2, 4, 5) each."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, 2, 4, 5, generator=generator), torch.randn(1, 2, 4, 5, generator=generator)


def test_arbitrary_time_flows_are_the_papers_combination() -> None:
    flow01, flow10 = flows()
    to0, to1 = arbitrary_time_flows(flow01, flow10, torch.tensor([0.0]))
    assert torch.equal(to0, torch.zeros_like(to0))
    assert torch.equal(to1, flow01)
    to0, to1 = arbitrary_time_flows(flow01, flow10, torch.tensor([0.5]))
    assert torch.allclose(to0, (flow10 - flow01) / 4)
    assert torch.allclose(to1, (flow01 - flow10) / 4)
    to0, to1 = arbitrary_time_flows(flow01, flow10, torch.tensor([1.0]))
    assert torch.equal(to0, flow10)
    assert torch.equal(to1, torch.zeros_like(to1))
    to0, to1 = arbitrary_time_flows(flow01, flow10, torch.tensor([0.25]))
    assert torch.allclose(to0, -0.75 * 0.25 * flow01 + 0.0625 * flow10)
    assert torch.allclose(to1, 0.5625 * flow01 - 0.25 * 0.75 * flow10)


def test_fusion_weighs_by_nearness_and_visibility() -> None:
    first, second = torch.full((1, 1, 2, 2), 3.0), torch.full((1, 1, 2, 2), 7.0)
    for t in (0.0, 0.25, 0.5, 1.0):
        both_seen = fuse(first, second, torch.full_like(first, 0.5), torch.tensor([t]))
        assert torch.allclose(both_seen, (1 - t) * first + t * second)
    hidden = fuse(first, second, torch.full_like(first, 1e-6), torch.tensor([0.5]))
    assert torch.allclose(hidden, second, atol=1e-4)
    v0, t = 0.3, 0.25
    expected = ((1 - t) * v0 * 3 + t * (1 - v0) * 7) / ((1 - t) * v0 + t * (1 - v0))
    assert torch.allclose(fuse(first, second, torch.full_like(first, v0), torch.tensor([t])), torch.tensor(expected))


def test_a_pair_is_seen_without_brightness_and_contrast(planes: Tensor) -> None:
    seen, changed = Pair(planes), Pair(0.02 * planes + 0.4)
    assert torch.allclose(changed.seen0, seen.seen0, atol=1e-3)
    assert torch.allclose(changed.unit, 0.02 * seen.unit, rtol=1e-4)


def test_what_is_added_is_measured_by_contrast_and_disagreement() -> None:
    plane = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    alike = Pair(torch.cat((plane, plane + 0.001 * plane), dim=1))
    assert torch.equal(alike.unit, alike.disagreement)
    flat = torch.full((1, 1, 64, 64), 0.5) + 1e-3 * plane
    assert (Pair(torch.cat((flat, flat + 0.5), dim=1)).unit < 1e-3).all()


def test_what_is_made_is_held_near_the_line(planes: Tensor) -> None:
    pair, t = Pair(planes), torch.tensor([0.25, 0.5])
    off = pair.bounded(torch.full_like(pair.frame0, 1e6), t) - pair.linear(t)
    assert torch.allclose(off, BOUND * pair.disagreement, rtol=1e-4)
    assert torch.allclose(pair.bounded(pair.linear(t) + 0.01, t), pair.linear(t) + 0.01, atol=1e-6)


def test_u_net_begins_with_large_kernels_and_with_no_flow() -> None:
    net = UNet(2, 4, (4, 8, 8, 8))
    kernels = [layer.weight.shape[-1] for layer in net.down.modules() if isinstance(layer, MirrorConv2d)]
    assert kernels == [7, 7, 5, 5, 3, 3, 3, 3]
    assert torch.equal(net(torch.rand(1, 2, 32, 32)), torch.zeros(1, 4, 32, 32))


def test_mirrored_concatenation_keeps_the_halves_apart() -> None:
    first, second = torch.arange(4.0).view(1, 4, 1, 1), 10 + torch.arange(2.0).view(1, 2, 1, 1)
    assert mirror_cat(first, second).flatten().tolist() == [0, 1, 10, 2, 3, 11]


def test_starting_at_zero() -> None:
    layer = starting_at_zero(torch.nn.Conv2d(1, 1, 3))
    assert torch.equal(layer(torch.rand(1, 1, 4, 4)), torch.zeros(1, 1, 2, 2))


def test_shape_and_dtype(network: MotionNetwork, planes: Tensor) -> None:
    made = network(planes, TIMES)
    assert made.planes.shape == (2, 2, 64, 96)
    assert made.planes.dtype == torch.float32
    assert made.sigma is None
    assert made.planes.isfinite().all()


def test_any_multiple_will_do(network: MotionNetwork) -> None:
    for height, width in ((1, 1), (1, 3), (2, 1)):
        shape = (1, 2, height * network.multiple_of, width * network.multiple_of)
        assert network(torch.rand(shape), torch.tensor([[0.5]])).planes.shape == (1, 1, *shape[2:])


def test_equal_planes_come_back_whatever_the_weights(network: MotionNetwork, planes: Tensor) -> None:
    equal = planes[:, :1].repeat(1, 2, 1, 1)
    assert torch.equal(network(equal, TIMES).planes, equal)


def test_turning_the_stack_mirrors_t_whatever_the_weights(network: MotionNetwork, planes: Tensor) -> None:
    up, down = network(planes, TIMES).planes, network(planes.flip(1), 1 - TIMES).planes
    assert not torch.allclose(up[:, 0], up[:, 1], atol=1e-3)
    assert torch.allclose(up, down, atol=1e-4)


def test_flows_of_the_turned_pair_are_the_others(network: MotionNetwork, planes: Tensor) -> None:
    flow01, flow10 = network.flows(planes)
    assert flow01.shape == flow10.shape == (2, 2, 64, 96)
    assert flow01.abs().max() > 1e-4
    back10, back01 = network.flows(planes.flip(1))
    assert torch.allclose(flow01, back01, atol=1e-4)
    assert torch.allclose(flow10, back10, atol=1e-4)


def test_motion_is_found_once_for_all_t(
    network: MotionNetwork, planes: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    find = type(network).motion
    monkeypatch.setattr(type(network), "motion", lambda self, pair: calls.append(1) or find(self, pair))
    together = network(planes, TIMES).planes
    assert calls == [1]
    assert torch.equal(network(planes, TIMES[:, 1:]).planes, together[:, 1:])


def test_details_are_of_the_same_plane(network: MotionNetwork, planes: Tensor) -> None:
    details = network.details(planes, TIMES[:, 0])
    assert torch.equal(details.plane, network(planes, TIMES[:, :1]).planes)
    assert all(warped.shape == (2, 1, 64, 96) for warped in details.warped)
    assert torch.equal(details.motion.flow01, network.flows(planes)[0])


def test_every_weight_has_a_say(network: MotionNetwork, planes: Tensor) -> None:
    network.train()
    details = network.details(planes, TIMES[:, 0])
    torch.stack([details.plane, *details.sides]).square().sum().backward()
    unused = [name for name, p in network.named_parameters() if p.grad is None]
    assert not unused


def test_bf16_is_near_fp32(network: MotionNetwork, planes: Tensor) -> None:
    exact = network(planes, TIMES).planes
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(planes, TIMES).planes
    assert rough.dtype == torch.float32
    assert (exact - rough).square().mean().sqrt() < 0.02


def test_torch_compile_takes_it_whole(network: MotionNetwork, planes: Tensor) -> None:
    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(network, backend="eager", fullgraph=True)(planes, TIMES)
        assert torch.allclose(compiled.planes, network(planes, TIMES).planes, atol=1e-5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_are_sizes(name: str) -> None:
    network, default = ARCHITECTURES[name](PUBLISHED[name]), ARCHITECTURES[name]({})
    assert network.size != default.size
    assert sum(p.numel() for p in network.parameters()) > 2 * sum(p.numel() for p in default.parameters())
    planes = torch.rand(1, 2, network.multiple_of, network.multiple_of)
    with torch.inference_mode():
        assert network(planes, torch.tensor([[0.5]])).planes.shape == (1, 1, *planes.shape[2:])


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("wrong", [{"depth": 3}, {"channels": 0}, {"channels": [4, -8]}, {"channels": "big"}])
def test_wrong_sizes_are_refused(name: str, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        ARCHITECTURES[name](wrong)


@pytest.mark.parametrize(
    ("name", "odd"), [("super-slomo", {"channels": (5, 7)}), ("nested-unet", {"middle": (3, 5, 7)})]
)
def test_channels_that_cannot_be_halved_are_refused(name: str, odd: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected even numbers"):
        ARCHITECTURES[name](odd)
