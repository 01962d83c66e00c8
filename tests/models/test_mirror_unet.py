"""Our own network: what holds whatever its weights are."""

import pytest
import torch
from torch import Tensor

from zinterp.models.layers import MirrorConv2d, TimeModulation, local_mean, local_rms
from zinterp.models.mirror_unet import MirrorUNet, MirrorUNetSize, cubic_minus_linear


@pytest.fixture
def network() -> MirrorUNet:
    """A network with random weights everywhere."""
    torch.manual_seed(0)
    network = MirrorUNet(MirrorUNetSize((8, 16, 16)))
    for name, parameter in network.named_parameters():
        if "head" in name or ".net." in name:  # these begin as zeros
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def planes() -> Tensor:
    """Two sets of four planes of noise."""
    return torch.rand(2, 4, 48, 64, generator=torch.Generator().manual_seed(1))


TIMES = torch.tensor([[0.25, 0.5], [0.1, 0.9]])


def test_mirror_convolution_commutes_with_swapping_the_halves() -> None:
    layer = MirrorConv2d(6, 10, 3)
    x = torch.rand(2, 6, 9, 9)
    swapped = layer(torch.cat((x[:, 3:], x[:, :3]), dim=1))
    expected = layer(x)
    assert torch.allclose(swapped, torch.cat((expected[:, 5:], expected[:, :5]), dim=1), atol=1e-5)


def test_time_modulation_gives_the_halves_t_and_one_minus_t() -> None:
    layer = TimeModulation(4)
    torch.nn.init.normal_(layer.net[2].weight)
    x = torch.rand(1, 4, 2, 2)
    at_t = layer(x, torch.tensor([0.3]))
    mirrored = layer(torch.cat((x[:, 2:], x[:, :2]), dim=1), torch.tensor([0.7]))
    assert torch.allclose(at_t, torch.cat((mirrored[:, 2:], mirrored[:, :2]), dim=1), atol=1e-6)
    assert not torch.allclose(at_t, layer(x, torch.tensor([0.6])))


def test_local_statistics() -> None:
    flat = torch.full((1, 2, 32, 32), 3.0)
    assert torch.allclose(local_mean(flat, 16), flat)
    assert torch.allclose(local_rms(flat, 16), torch.full((1, 1, 32, 32), 3.0))
    noise = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    assert abs(float(local_rms(noise, 16).mean()) - 1) < 0.05


def test_cubic_is_the_catmull_rom_spline(planes: Tensor) -> None:
    p0, p1, p2, p3 = planes[0]
    t = 0.3
    published = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    ours = (1 - t) * p1 + t * p2 + cubic_minus_linear(planes[:1], torch.tensor([[[t]]]))[0]
    assert torch.allclose(ours, published, atol=1e-6)


def test_it_begins_as_cubic_interpolation(planes: Tensor) -> None:
    network = MirrorUNet(MirrorUNetSize((8, 16)))
    t = TIMES[:, :1, None]
    expected = (1 - t) * planes[:, 1] + t * planes[:, 2] + cubic_minus_linear(planes, t)
    assert torch.allclose(network(planes, TIMES[:, :1])[:, 0], expected, atol=1e-6)


def test_mirror_symmetry_scale_and_equal_planes_hold_for_any_weights(network: MirrorUNet, planes: Tensor) -> None:
    result = network(planes, TIMES)
    assert torch.allclose(network(planes.flip(1), 1 - TIMES), result, atol=1e-4)
    assert torch.allclose(network(planes * 5 + 3, TIMES), result * 5 + 3, atol=1e-3)
    equal = planes[:, :1].expand(-1, 4, -1, -1)
    assert torch.equal(network(equal, TIMES), equal[:, :2])


def test_the_residual_is_bounded_by_the_local_bend(network: MirrorUNet, planes: Tensor) -> None:
    torch.nn.init.normal_(network.head.weight, std=100)
    _, bend = network.normalise(planes)
    t = TIMES[:, :1, None]
    linear = (1 - t) * planes[:, 1] + t * planes[:, 2]
    most = network.bound * bend[:, 0] + 2 * cubic_minus_linear(planes, t).abs()
    assert ((network(planes, TIMES[:, :1])[:, 0] - linear).abs() <= most + 1e-5).all()


def test_every_parameter_has_a_gradient(network: MirrorUNet, planes: Tensor) -> None:
    network(planes, TIMES).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


@pytest.mark.parametrize("sizes", [{"channels": [8]}, {"channels": [8, 7]}, {"channels": "8"}, {"width": 8}])
def test_impossible_sizes_are_refused(sizes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="even numbers"):
        MirrorUNetSize.from_json(sizes)
