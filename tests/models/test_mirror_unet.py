"""Our own network: what holds whatever its weights are."""

import pytest
import torch
from torch import Tensor

from zinterp.models.layers import (
    MirrorConv2d,
    TimeModulation,
    local_mean,
    local_rms,
    smoothed,
    upsampled,
    warp,
    widely_smoothed,
)
from zinterp.models.mirror_unet import BOUND, MOST, MirrorUNet, MirrorUNetSize, Scene, cubic_minus_linear, mean_of_nine
from zinterp.models.strips import cut, strip_by_strip, strips, upsampled_rows


@pytest.fixture(params=[2, 3])
def network(request: pytest.FixtureRequest) -> MirrorUNet:
    """A network with random weights everywhere."""
    torch.manual_seed(0)
    network = MirrorUNet(MirrorUNetSize((8, 16, 16), request.param))
    for name, parameter in network.named_parameters():
        if any(part in name for part in ("head", ".net.", "flow", "moved")):  # these begin as zeros
            torch.nn.init.normal_(parameter, std=0.1)
    return network


@pytest.fixture
def planes(network: MirrorUNet) -> Tensor:
    """Two sets of planes of noise."""
    return torch.rand(2, 2 * network.context, 48, 64, generator=torch.Generator().manual_seed(1))


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


def test_wide_means_reach_further_than_local_ones() -> None:
    spot = torch.zeros(1, 1, 16, 16)
    spot[..., 8, 8] = 1
    assert torch.allclose(widely_smoothed(torch.ones(1, 2, 4, 4)), torch.ones(1, 2, 4, 4))
    assert float(widely_smoothed(spot)[..., 8, 12]) > 0
    assert float(smoothed(spot)[..., 8, 12]) == 0


def test_warping_moves_by_pixels_and_repeats_the_border() -> None:
    x = torch.arange(48.0).view(1, 1, 6, 8)
    flow = torch.zeros(1, 2, 6, 8)
    assert torch.allclose(warp(x, flow), x, atol=1e-5)
    flow[:, 0] = 1.5  # in x
    assert torch.allclose(warp(x, flow)[..., :6], x[..., :6] + 1.5, atol=1e-4)
    assert torch.allclose(warp(x, flow)[..., 7], x[..., 7], atol=1e-4)
    flow[:, 0], flow[:, 1] = 0, -2  # in y
    assert torch.allclose(warp(x, flow)[..., 2:, :], x[..., :4, :], atol=1e-4)
    assert torch.allclose(warp(x, flow)[..., 0, :], x[..., 0, :], atol=1e-4)


def test_cubic_is_the_catmull_rom_spline() -> None:
    planes = torch.rand(1, 4, 5, 6, generator=torch.Generator().manual_seed(1))
    p0, p1, p2, p3 = planes[0]
    t = 0.3
    published = 0.5 * (
        2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3
    )
    ours = (1 - t) * p1 + t * p2 + cubic_minus_linear(planes, torch.tensor([[[t]]]))[0]
    assert torch.allclose(ours, published, atol=1e-6)


def test_it_begins_as_cubic_interpolation(planes: Tensor) -> None:
    network = MirrorUNet(MirrorUNetSize((8, 16), planes.shape[1] // 2))
    near = planes[:, network.context - 2 : network.context + 2]
    t = TIMES[:, :1, None]
    expected = (1 - t) * near[:, 1] + t * near[:, 2] + cubic_minus_linear(near, t)
    assert torch.allclose(network(planes, TIMES[:, :1]).planes[:, 0], expected, atol=1e-6)


def test_mirror_symmetry_scale_and_equal_planes_hold_for_any_weights(network: MirrorUNet, planes: Tensor) -> None:
    result = network(planes, TIMES)
    mirrored = network(planes.flip(1), 1 - TIMES)
    scaled = network(planes * 5 + 3, TIMES)
    assert torch.allclose(mirrored.planes, result.planes, atol=1e-4)
    assert torch.allclose(mirrored.sigma, result.sigma, rtol=1e-3)
    assert torch.allclose(scaled.planes, result.planes * 5 + 3, atol=2e-3)
    assert torch.allclose(scaled.sigma, result.sigma * 5, rtol=1e-2)
    equal = planes[:, :1].expand(-1, planes.shape[1], -1, -1)
    assert torch.equal(network(equal, TIMES).planes, equal[:, :2])


def test_planes_are_moved_by_the_flow_and_never_far_from_what_they_were(network: MirrorUNet, planes: Tensor) -> None:
    scene = Scene(planes)
    flow = torch.zeros(2, 4, 48, 64)
    flow[:, 0] = 3
    moved = scene.moved(flow, scene.units())
    c = network.context
    assert torch.allclose(moved[:, :c, :, 3:-3], planes[:, :c, :, 6:], atol=1e-4)
    assert torch.allclose(moved[:, c:], planes[:, c:], atol=1e-4)
    depths = torch.arange(planes.shape[1])[:, None, None]
    nearly_straight = planes[:, :1] + 0.1 * depths * planes[:, 1:2] + 1e-3 * planes
    scene = Scene(nearly_straight)
    moved = scene.moved(flow, scene.units())
    assert ((moved - nearly_straight).abs() <= BOUND * scene.units().roughness + 1e-6).all()
    assert not torch.allclose(moved, nearly_straight)


def test_the_grain_channels_tell_shared_noise_from_independent_noise() -> None:
    noise = torch.randn(1, 7, 128, 128, generator=torch.Generator().manual_seed(0))
    independent, shared = noise[:, :4], (noise + noise.roll(1, dims=1))[:, 1:5]  # the latter correlated by one half
    assert float(Scene(independent).grain().abs().mean()) < 0.1
    bend, step = Scene(shared).grain().mean(dim=(0, 2, 3)).tolist()
    assert bend < -0.2
    assert step < -1


def test_the_residual_is_bounded_by_the_local_bend(network: MirrorUNet, planes: Tensor) -> None:
    torch.nn.init.normal_(network.head.weight, std=100)
    scene, t = Scene(planes), TIMES[:, 0]
    features = network.encoder(scene.inputs, planes.shape)
    rows = range(planes.shape[2])
    _, moved, roughness = network.decoder.finest(*network.decoder.coarse(features, t), features[0], t, scene, rows)
    near = moved[:, network.context - 2 : network.context + 2]
    t = TIMES[:, :1, None]
    linear = (1 - t) * near[:, 1] + t * near[:, 2]
    most = BOUND * roughness[:, 0] + 2 * cubic_minus_linear(near, t).abs()
    assert ((network(planes, TIMES[:, :1]).planes[:, 0] - linear).abs() <= most + 1e-5).all()


def test_planes_that_repeat_across_the_gap_come_back_whatever_lies_around_them(
    network: MirrorUNet, planes: Tensor
) -> None:
    c = network.context
    planes[:, c] = planes[:, c - 1]
    made = network(planes, TIMES[:, :1]).planes[:, 0]
    cubic = cubic_minus_linear(planes[:, c - 2 : c + 2], TIMES[:, :1, None])
    assert ((made - planes[:, c]).abs() <= 2 * cubic.abs() + 1e-5).all()


def test_what_the_network_sees_is_bounded_for_any_planes(planes: Tensor) -> None:
    c = planes.shape[1] // 2
    flat = planes.clone()
    flat[:, 1:-1] = 0.3  # as in a padded or saturated part, the outermost planes not
    repeated = planes.clone()
    repeated[:, c] = planes[:, c - 1]
    speck = torch.zeros_like(planes)
    speck[:, 0, 5, 5] = 1
    for odd in (flat, repeated, speck, torch.zeros_like(planes), planes * 1e6):
        seen = Scene(odd).inputs()
        assert seen.isfinite().all()
        assert float(seen.abs().max()) <= MOST


def test_every_parameter_has_a_gradient(network: MirrorUNet, planes: Tensor) -> None:
    made = network(planes, TIMES)
    (made.planes.square().mean() + made.sigma.mean()).backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


@pytest.mark.parametrize("sizes", [{"channels": [8, 16], "context": 4}, {"channels": [8, 16], "context": "2"}])
def test_an_impossible_context_is_refused(sizes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected 2 or 3"):
        MirrorUNetSize.from_json(sizes)


@pytest.mark.parametrize("sizes", [{"channels": [8]}, {"channels": [8, 7]}, {"channels": "8"}, {"width": 8}])
def test_impossible_sizes_are_refused(sizes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="even numbers"):
        MirrorUNetSize.from_json(sizes)


def test_strips_do_not_change_the_result(network: MirrorUNet) -> None:
    planes = torch.rand(1, 2 * network.context, 224, 4096, generator=torch.Generator().manual_seed(2))
    assert len(strips(planes.shape)) == 1
    with torch.inference_mode():
        whole = network(planes, TIMES[:1])
        with strip_by_strip():
            assert len(strips(planes.shape)) > 3
            made = network(planes, TIMES[:1])
    assert len(strips(planes.shape)) == 1
    assert torch.allclose(made.planes, whole.planes, atol=2e-3)
    assert torch.allclose(made.sigma, whole.sigma, atol=2e-3)


def test_rows_of_an_upsampled_map_are_those_of_the_whole() -> None:
    x = torch.rand(1, 3, 6, 5, generator=torch.Generator().manual_seed(3))
    for scale in (2, 16):
        whole = upsampled(x, scale)
        for rows in (
            range(0, 6 * scale),
            range(0, 2),
            range(scale - 1, 3 * scale + 1),
            range(6 * scale - 1, 6 * scale),
        ):
            assert torch.allclose(upsampled_rows(x, rows, scale), cut(whole, rows), atol=1e-6)


def test_the_mean_of_nine_leaves_out_what_is_not_there() -> None:
    x = torch.rand(2, 3, 7, 9, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(mean_of_nine(x), smoothed(x), atol=1e-6)
