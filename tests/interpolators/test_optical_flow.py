"""Known motion is found and followed, and nothing else is."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from zinterp.interpolators import create_interpolator
from zinterp.interpolators.optical_flow import BOUND, WINDOW, OpticalFlowInterpolator, flow, local_mean, warp
from zinterp.tiling import apply_tiled, tile_layout

Plane = NDArray[np.float32]
HALF = np.array([0.5], np.float32)
INSIDE = (slice(16, -16), slice(16, -16))


def texture(shape: tuple[int, int] = (120, 140), seed: int = 0) -> Plane:
    """Smooth random structure, about 0 to 1."""
    grain = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2.5)
    return (0.5 + 0.15 * grain / grain.std()).astype(np.float32)


def waves(shape: tuple[int, int], amplitude: float) -> Plane:
    """Offsets along y and x that vary as sines with a period of 80 pixels, (2, Y, X)."""
    y, x = 2 * np.pi * np.indices(shape) / 80
    return (amplitude * np.stack((np.sin(y) * np.cos(x), np.cos(y) * np.sin(x)))).astype(np.float32)


def moved(plane: Plane, offsets: Plane) -> Plane:
    """The plane fetched from offsets away."""
    places = np.indices(plane.shape) + offsets
    return map_coordinates(plane, places, order=3, mode="mirror").astype(np.float32)


@pytest.mark.parametrize("amplitude", [0.5, 1.5, 4.0])
def test_known_motion_is_found(amplitude: float) -> None:
    plane = texture()
    expected = waves(plane.shape, amplitude)
    off = np.hypot(*(flow(moved(plane, expected), plane) - expected))[INSIDE]
    assert off.mean() < 0.1 * amplitude


def test_motion_of_many_pixels_is_found() -> None:
    plane = texture((120, 148))
    off = flow(plane[:, :-8], plane[:, 8:]) - np.array([0, -8], np.float32)[:, None, None]
    assert np.median(np.hypot(*off)[INSIDE]) < 0.2


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_the_plane_in_between_is_nearer_than_linear(t: float) -> None:
    plane = texture()
    motion = waves(plane.shape, 3.0)
    before, truth, after = (moved(plane, share * motion) for share in (0, t, 1))
    planes, times = np.stack((before, after))[None], np.array([t], np.float32)
    errors = [
        np.abs(create_interpolator(model)(planes, times)[0, 0] - truth)[INSIDE].mean()
        for model in ("optical-flow", "linear")
    ]
    assert errors[0] < errors[1] / 4


def test_independent_noise_is_interpolated_linearly() -> None:
    planes = np.random.default_rng(0).random((1, 2, 96, 96)).astype(np.float32)
    linear = create_interpolator("linear")(planes, HALF)
    step = (planes[:, 1] - planes[:, 0]).std()
    assert np.abs(OpticalFlowInterpolator()(planes, HALF) - linear).std() < 0.12 * step


def test_nothing_is_invented_where_planes_agree() -> None:
    plane = texture()
    changed = plane.copy()
    changed[:, 70:] = texture(seed=1)[:, 70:]
    planes = np.stack((plane, changed))[None]
    result = OpticalFlowInterpolator()(planes, HALF)[0, 0]
    assert np.abs(result - plane)[:, :60].max() < 1e-6
    rms = np.sqrt(np.maximum(local_mean((changed - plane) ** 2, WINDOW), 0))
    assert (np.abs(result - (plane + changed) / 2) <= BOUND * rms + 1e-6).all()


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_planes_without_texture_do_not_move(value: float) -> None:
    planes = np.full((1, 2, 24, 30), value, np.float32)
    assert np.array_equal(OpticalFlowInterpolator()(planes, HALF), planes[:, :1])
    planes[:, 1] += 0.5
    assert np.allclose(OpticalFlowInterpolator()(planes, HALF), value + 0.25, atol=1e-6)


def test_a_bar_whose_motion_along_itself_is_unknown_is_followed() -> None:
    x = np.arange(80, dtype=np.float32)
    bar, middle, shifted = (np.tile(np.exp(-(((x - centre) / 4) ** 2)), (60, 1)) for centre in (38, 40, 42))
    result = OpticalFlowInterpolator()(np.stack((bar, shifted))[None], HALF)[0, 0]
    assert np.abs(result - middle).max() < 0.05


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (3, 1), (5, 7)])
def test_tiny_planes_are_enough(shape: tuple[int, int]) -> None:
    planes = np.random.default_rng(0).random((1, 2, *shape)).astype(np.float32)
    result = OpticalFlowInterpolator()(planes, HALF)
    assert result.shape == (1, 1, *shape)
    assert np.isfinite(result).all()


def test_tiles_do_not_show() -> None:
    interpolator = OpticalFlowInterpolator()
    plane = texture((480, 300))
    planes = np.stack((plane, moved(plane, waves(plane.shape, 3.0))))
    planes += np.random.default_rng(1).normal(0, 0.03, planes.shape).astype(np.float32)
    overlap, multiple_of = interpolator.needs.overlap, interpolator.needs.multiple_of
    whole, tiled = (
        apply_tiled(
            lambda tiles: [interpolator(tiles, HALF)],
            planes,
            tile_layout(plane.shape, tile=tile, overlap=overlap, multiple_of=multiple_of),
        )[0]
        for tile in (None, 2 * overlap + multiple_of)
    )
    assert np.abs(tiled - whole).max() < 0.5 / 255


def test_warp_fetches_from_where_it_is_told() -> None:
    plane = texture((20, 24))
    offsets = np.zeros((2, 20, 24), np.float32)
    offsets[0], offsets[1] = 1, -2
    assert np.allclose(warp(plane, offsets, order=1)[:-1, 2:], plane[1:, :-2], atol=1e-6)
