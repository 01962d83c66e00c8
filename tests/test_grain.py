"""Grain: that of the neighbours comes back, and structure does not pass for it."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import fft, ndimage

from zinterp.grain import add_grain, grain_generator
from zinterp.phantom import Phantom

Plane = NDArray[np.float32]
SHAPE = (256, 256)


def smooth(shape: tuple[int, int] = SHAPE, seed: int = 0) -> Plane:
    """Something without grain, about 0.2 to 0.8."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 12, mode="wrap")
    return np.float32(0.5 + 0.1 * field / field.std())


def noise(sigma: float, seed: int, shape: tuple[int, int] = SHAPE, *, blur: float = 0.0) -> Plane:
    """Gaussian noise, blurred before it gets its deviation."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), blur, mode="wrap")
    return np.float32(sigma * field / field.std())


def rings(plane: Plane) -> NDArray[np.float64]:
    """Mean power in 16 rings of spatial frequency up to the Nyquist frequency."""
    power = np.abs(fft.fft2(plane - plane.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(edge) for edge in plane.shape), indexing="ij"))
    ring = np.minimum(frequency * 32, 16).astype(int).ravel()
    return (np.bincount(ring, power.ravel()) / np.bincount(ring))[:16]


def tissue(z: float) -> Plane:
    """A plane of a piece of tissue, without grain."""
    return Phantom.random((24, *SHAPE), seed=3).plane(z, SHAPE, noise=0)


@pytest.mark.parametrize("sigma", [0.003, 0.05, 0.2])
@pytest.mark.parametrize("shape", [SHAPE, (100, 140), (40, 700)])
def test_white_noise_comes_back(sigma: float, shape: tuple[int, int]) -> None:
    plane = smooth(shape)
    before, after = plane + noise(sigma, 1, shape), plane + noise(sigma, 2, shape)
    grainy, deviations = add_grain(plane, before, after, 0.5, grain_generator(0, 0, 1))
    assert (grainy - plane).std() == pytest.approx(sigma, rel=0.1)
    assert deviations.mean() == pytest.approx(sigma, rel=0.1)
    assert grainy.dtype == deviations.dtype == np.float32
    assert abs(np.corrcoef((grainy - plane).ravel(), noise(sigma, 1, shape).ravel())[0, 1]) < 0.05  # it is new noise


def test_blurred_noise_keeps_its_spectrum() -> None:
    plane, blur = smooth(), 0.7
    grain = noise(0.06, 1, blur=blur), noise(0.06, 2, blur=blur)
    grainy, _ = add_grain(plane, plane + grain[0], plane + grain[1], 0.5, grain_generator(0, 0, 1))
    decibels = 10 * np.log10(rings(grainy - plane) * 2 / (rings(grain[0]) + rings(grain[1])))
    assert np.abs(decibels[6:]).max() < 1
    assert decibels[:5].max() < 0  # coarser than 6 pixels it is taken to be level


def test_scan_lines_come_back_as_lines() -> None:
    plane, rng = smooth(), np.random.default_rng(0)
    before, after = (
        np.float32(plane + 0.05 * rng.standard_normal((256, 1)) + 0.02 * rng.standard_normal(SHAPE)) for _ in range(2)
    )
    added = add_grain(plane, before, after, 0.5, grain_generator(0, 0, 1))[0] - plane
    along, across = (
        np.corrcoef(added[y:, x:].ravel(), added[: 256 - y, : 256 - x].ravel())[0, 1] for y, x in ((0, 4), (4, 0))
    )
    assert along > 0.5
    assert abs(across) < 0.2


def test_noise_that_grows_with_the_signal_does_so_again() -> None:
    plane = np.float32(np.tile(np.linspace(0.1, 0.9, 256), (256, 1)))
    rng = np.random.default_rng(0)
    before, after = (np.float32(plane + np.sqrt(0.01 * plane) * rng.standard_normal(SHAPE)) for _ in range(2))
    grainy, deviations = add_grain(plane, before, after, 0.5, grain_generator(0, 0, 1))
    assert np.allclose(deviations[:, ::16] ** 2, 0.01 * plane[:, ::16], rtol=0.25)
    for part in np.split(np.arange(256), 4):
        assert (grainy - plane)[:, part].var() == pytest.approx(0.01 * plane[:, part].mean(), rel=0.15)


def test_what_is_empty_stays_empty() -> None:
    inside = smooth(seed=5) > 0.45
    plane = np.where(inside, smooth(), 0)
    before, after = (np.where(inside, plane + noise(0.05, seed), 0) for seed in (1, 2))
    _, deviations = add_grain(plane, before, after, 0.5, grain_generator(0, 0, 1))
    core = ndimage.binary_erosion(inside, iterations=8)
    assert deviations[ndimage.binary_erosion(~inside, iterations=8)].max() < 1e-6
    assert deviations[core].mean() == pytest.approx(0.05, rel=0.2)


@pytest.mark.parametrize("gap", [1, 4, 8])
def test_structure_is_no_grain(gap: int) -> None:
    before, after = tissue(4), tissue(4 + gap)
    assert (after - before).std() > 0.08
    for plane in ((before + after) / 2, ndimage.gaussian_filter(tissue(4 + gap / 2), 1.5)):
        grainy, deviations = add_grain(plane, before, after, 0.5, grain_generator(0, 0, 1))
        assert np.sqrt(np.mean(deviations**2)) < 0.002
        assert (grainy - plane).std() < 0.002


@pytest.mark.parametrize("gap", [1, 4, 8])
def test_grain_is_found_beside_structure(gap: int) -> None:
    before, after = tissue(4) + noise(0.03, 1), tissue(4 + gap) + noise(0.03, 2)
    plane = ndimage.gaussian_filter(tissue(4 + gap / 2), 1.0)
    _, deviations = add_grain(plane, before, after, 0.5, grain_generator(0, 0, 1))
    assert 0.9 * 0.03 < np.median(deviations) < 1.3 * 0.03


def test_texture_without_grain_that_changes_has_little_grain() -> None:
    before, after = (noise(0.2, seed, blur=3) + 0.5 for seed in (1, 2))
    _, deviations = add_grain(np.full(SHAPE, 0.5, np.float32), before, after, 0.5, grain_generator(0, 0, 1))
    assert deviations.max() < 0.01


def test_specks_that_come_and_go_are_no_grain() -> None:
    rng = np.random.default_rng(0)
    before, after = (smooth() + noise(0.02, seed) + (rng.random(SHAPE) < 0.02) for seed in (1, 2))
    _, deviations = add_grain(smooth(), np.float32(before), np.float32(after), 0.5, grain_generator(0, 0, 1))
    assert 0.9 * 0.02 < np.median(deviations) < 1.5 * 0.02


def test_where_grey_levels_tell_of_change_the_grain_is_bounded() -> None:
    base = smooth()
    bright = [np.float32(2 * (ndimage.gaussian_filter(noise(1, seed), 2) > 0.25)) for seed in (3, 4)]  # new everywhere
    before, after = (base + noise(0.02, seed) + spots for seed, spots in zip((1, 2), bright, strict=True))
    _, deviations = add_grain(base + bright[0], before, after, 0.5, grain_generator(0, 0, 1))
    assert deviations.max() < 2.5 * np.median(deviations)


def test_a_brighter_plane_gets_no_more_power_than_its_neighbours_have() -> None:
    ramp = np.float32(np.tile(np.linspace(0.1, 0.5, 256), (256, 1)))
    rng = np.random.default_rng(0)
    before, after = (np.float32(ramp + np.sqrt(0.01 * ramp) * rng.standard_normal(SHAPE)) for _ in range(2))
    grainy, _ = add_grain(np.maximum(ramp, 0.45), before, after, 0.5, grain_generator(0, 0, 1))
    assert (rings(grainy)[4:] * 2 / (rings(before) + rings(after))[4:]).mean() < 1.02


@pytest.mark.parametrize("t", [0.25, 0.5])
def test_a_plane_gets_what_it_lacks(t: float) -> None:
    base = smooth()
    before, after = base + noise(0.04, 1), base + noise(0.04, 2)
    half = np.float32(base + noise(0.04 * np.sqrt(0.5), 3))
    _, deviations = add_grain(half, before, after, t, grain_generator(0, 0, 1))
    assert deviations.mean() == pytest.approx(0.04 * np.sqrt(0.5), rel=0.1)
    full = np.float32(base + noise(0.05, 3))
    assert add_grain(full, before, after, t, grain_generator(0, 0, 1))[1].mean() < 0.01
    uneven = base + noise(0.06, 2)
    _, deviations = add_grain(half, before, uneven, t, grain_generator(0, 0, 1))
    assert deviations.mean() ** 2 == pytest.approx((0.5 - t) * 0.04**2 + t * 0.06**2, rel=0.15)


def test_the_mean_is_kept() -> None:
    plane = smooth()
    for number in range(5):
        grain = add_grain(plane, plane + noise(0.2, 1), plane + noise(0.2, 2), 0.5, grain_generator(0, 0, number))[0]
        assert grain.mean() == pytest.approx(plane.mean(), abs=1e-5)


def test_each_plane_has_its_own_grain_and_always_the_same() -> None:
    plane = smooth()

    def grain(seed: int, stack: int, number: int) -> Plane:
        rng = grain_generator(seed, stack, number)
        return add_grain(plane, plane + noise(0.05, 1), plane + noise(0.05, 2), 0.5, rng)[0] - plane

    first = grain(7, 2, 1)
    assert np.array_equal(first, grain(7, 2, 1))
    for other in ((8, 2, 1), (7, 1, 2), (7, 2, 2), (7, 3, 1)):
        assert abs(np.corrcoef(first.ravel(), grain(*other).ravel())[0, 1]) < 0.02


def test_nothing_to_measure_is_no_grain() -> None:
    plane, flat = smooth(), np.full(SHAPE, 0.3, np.float32)
    grainy = plane + noise(0.05, 1)
    for one, before, after in (
        (plane, flat, flat),
        (plane, flat, flat + 0.2),
        (flat, flat, flat),
        (grainy, grainy, grainy),
        (plane, grainy, grainy),
    ):
        result, deviations = add_grain(one, before, after, 0.3, grain_generator(0, 0, 1))
        assert np.array_equal(result, one)
        assert not deviations.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (2, 2), (15, 300)])
def test_tiny_planes_come_back_as_they_are(shape: tuple[int, int]) -> None:
    plane, before, after = np.float32(np.random.default_rng(0).random((3, *shape)))
    result, deviations = add_grain(plane, before, after, 0.5, grain_generator(0, 0, 1))
    assert np.array_equal(result, plane)
    assert deviations.shape == shape
    assert not deviations.any()


@pytest.mark.parametrize("shape", [(16, 16), (17, 91), (33, 16)])
def test_small_planes_get_grain(shape: tuple[int, int]) -> None:
    plane = np.full(shape, 0.5, np.float32)
    _, deviations = add_grain(
        plane, plane + noise(0.05, 1, shape), plane + noise(0.05, 2, shape), 0.5, grain_generator(0, 0, 1)
    )
    assert deviations.mean() == pytest.approx(0.05, rel=0.3)
