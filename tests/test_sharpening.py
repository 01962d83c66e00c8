"""Unsharp masking: its bounds, and the amount that is found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.errors import BadOptionError
from zinterp.phantom import Phantom
from zinterp.sharpening import MOST, Sharpening, gradient_energy, gradient_spectrum, sharpen

AUTO = Sharpening()


def tissue(z: float, edge: int = 160, noise: float = 0.03) -> NDArray[np.float32]:
    """A plane of a piece of tissue."""
    return Phantom.random((24, edge, edge), seed=3).plane(z, (edge, edge), noise=noise)


def blurred(plane: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """What a network that is unsure makes of a plane."""
    return np.asarray(ndimage.gaussian_filter(plane, radius))


def test_gradient_energy_is_that_of_numpy() -> None:
    plane = np.random.default_rng(0).random((30, 40))
    gy, gx = np.gradient(plane)
    assert gradient_energy(plane) == pytest.approx(np.mean(gy * gy + gx * gx), rel=1e-12)
    assert gradient_energy(np.float32([[0, 2, 4]])) == pytest.approx(4)
    assert gradient_energy(np.full((5, 1), 3, np.uint8)) == 0


def test_the_detail_is_added() -> None:
    plane = tissue(5)
    expected = plane + 0.5 * (plane - blurred(plane, 1.2))
    sharper = sharpen(plane, plane, plane, 0.5, Sharpening(0.5, 1.2))
    assert (sharper.amount, sharper.radius) == (0.5, 1.2)
    assert sharper.plane.dtype == np.float32
    inside = np.abs(plane - blurred(plane, 1.2)) < 0.02
    assert inside.mean() > 0.2
    assert np.allclose(sharper.plane[inside], expected[inside], atol=1e-6)


def test_a_given_amount_has_a_radius_of_one_and_a_half() -> None:
    plane = tissue(5)
    sharper = sharpen(plane, plane, plane, 0.5, Sharpening(1.0))
    assert sharper.radius == 1.5
    assert np.array_equal(sharper.plane, sharpen(plane, plane, plane, 0.5, Sharpening(1.0, 1.5)).plane)


@given(
    amount=st.one_of(st.none(), st.floats(0.01, 10)),
    radius=st.floats(0.3, 4),
    threshold=st.floats(0, 0.2),
    seed=st.integers(0, 99),
)
def test_no_pixel_goes_beyond_its_surroundings_by_more_than_the_halo(
    amount: float | None, radius: float, threshold: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    plane, before, after = np.float32(rng.normal(0.5, 0.3, (3, 20, 24)))
    sharper = sharpen(plane, before, after, 0.5, Sharpening(amount, radius, threshold)).plane
    reach = int(np.ceil(2 * radius))
    stack = np.pad(np.stack([plane, before, after]), ((0, 0), (reach, reach), (reach, reach)), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(stack, (2 * reach + 1, 2 * reach + 1), axis=(1, 2))
    low, high = np.nanmin(around, axis=(0, 3, 4)), np.nanmax(around, axis=(0, 3, 4))
    halo = 0.1 * (high - low) + 1e-6
    assert (sharper >= low - halo).all()
    assert (sharper <= high + halo).all()


def test_a_bright_step_gets_a_halo_of_a_tenth_and_no_more() -> None:
    step = blurred(np.float32(np.tile(np.arange(40) >= 20, (40, 1))), 1.0)
    sharper = sharpen(step, step, step, 0.5, Sharpening(10.0, 2.0)).plane
    assert sharper.max() == pytest.approx(1.1, abs=0.005)
    assert sharper.min() == pytest.approx(-0.1, abs=0.005)


def test_detail_below_the_threshold_is_left_and_no_edge_appears() -> None:
    x = np.linspace(0, 0.1, 400, dtype=np.float32)
    plane = np.float32(x * np.cos(np.arange(400) * np.pi / 4))[None] + np.zeros((8, 1), np.float32)
    added = sharpen(plane, plane, plane, 0.5, Sharpening(0.1, 1.5, 0.02)).plane - plane  # too little to meet the halo
    detail = plane - blurred(plane, 1.5)
    assert np.abs(added[:, :40]).max() == 0
    assert np.abs(added).max() > 0.003
    assert np.allclose(added, 0.1 * np.sign(detail) * np.maximum(np.abs(detail) - 0.02, 0), atol=1e-6)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("blur", [0.5, 0.6, 0.7])
def test_the_amount_found_makes_a_plane_as_sharp_as_its_neighbours(t: float, blur: float) -> None:
    before, after = tissue(4), 0.8 * tissue(5)
    grain = before - tissue(4, noise=0)
    plane = blurred((1 - t) * tissue(4, noise=0) + t * 0.8 * tissue(5, noise=0), blur) + 0.3 * grain
    sharper = sharpen(plane, before, after, t, AUTO)
    energy = (1 - t) * gradient_energy(before) + t * gradient_energy(after)
    assert gradient_energy(plane) < 0.75 * energy
    assert 0.99 * energy < gradient_energy(sharper.plane) <= energy
    assert 0 < sharper.amount < MOST


def test_no_coarse_ring_gains_more_than_a_decibel_over_the_neighbours() -> None:
    before, after = tissue(4, noise=0.15), tissue(5, noise=0.15)
    plane = blurred(tissue(4.5, noise=0), 1.0)  # all that it lacks is grain
    target = gradient_spectrum(np.stack([before, after])) / 2
    for sharpening in (AUTO, Sharpening(radius=0.7), Sharpening(radius=1.0), Sharpening(radius=2.5)):
        sharper = sharpen(plane, before, after, 0.5, sharpening)
        assert sharper.amount > 0
        own = np.maximum(target, gradient_spectrum(plane[None]))
        assert (gradient_spectrum(sharper.plane[None])[:6] <= own[:6] * 10**0.1001).all()
    reaching = sharpen(plane, before, after, 0.5, Sharpening(sharper.amount * 1.2, 2.5)).plane
    assert (gradient_spectrum(reaching[None])[:6] > own[:6] * 10**0.1).any()  # so it was this bound that held
    assert gradient_energy(reaching) < (gradient_energy(before) + gradient_energy(after)) / 2


def test_the_radius_found_is_that_of_the_nearest_spectrum() -> None:
    before, after = tissue(4), tissue(5)
    plane = blurred(tissue(4.5), 0.7)
    target = gradient_spectrum(np.stack([before, after])) / 2

    def distance(sharper: NDArray[np.float32]) -> float:
        return float(np.abs(gradient_spectrum(sharper[None]) - target).sum())

    found = sharpen(plane, before, after, 0.5, AUTO)
    tried = [sharpen(plane, before, after, 0.5, Sharpening(radius=radius)) for radius in (0.7, 1.0, 1.5, 2.5)]
    assert [one.radius for one in tried] == [0.7, 1.0, 1.5, 2.5]
    assert min(tried, key=lambda one: distance(one.plane)).radius == found.radius
    assert distance(found.plane) < 0.5 * distance(plane)


def test_rings_up_to_half_the_nyquist_frequency_are_bounded() -> None:
    acquired = np.float32(np.random.default_rng(0).normal(0.5, 0.1, (128, 128)))
    spectrum = np.fft.fft2(acquired)
    fy, fx = np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None]
    plane = np.float32(np.fft.ifft2(spectrum * (np.hypot(fy, fx) < 0.25)).real)  # it lacks nothing up to there
    sharper = sharpen(plane, acquired, acquired, 0.5, AUTO)
    gains = gradient_spectrum(sharper.plane[None])[:6] / gradient_spectrum(acquired[None])[:6]
    assert 1.05 < gains.max() < 10**0.1001


@pytest.mark.parametrize("radius", [0.7, 2.5])
def test_the_radius_that_undoes_what_was_done_is_found(radius: float) -> None:
    acquired = tissue(5, noise=0.05)
    plane = acquired - 0.5 * (acquired - blurred(acquired, radius))
    assert sharpen(plane, acquired, acquired, 0.5, AUTO).radius == radius


def test_the_spectrum_is_that_of_the_gradient() -> None:
    y = np.arange(240)[:, None] + np.zeros(200)
    spectra = [gradient_spectrum(np.float32(np.cos(2 * np.pi * frequency * y))[None]) for frequency in (0.1, 0.3)]
    assert [int(spectrum.argmax()) for spectrum in spectra] == [2, 7]  # of rings 1/24 wide
    expected = np.square(np.sin(2 * np.pi * 0.3) / np.sin(2 * np.pi * 0.1))
    assert spectra[1].sum() / spectra[0].sum() == pytest.approx(expected, rel=0.02)


def test_the_most_is_added_where_the_neighbours_cannot_be_reached() -> None:
    rng = np.random.default_rng(0)
    before, after = np.float32(rng.normal(0.5, 0.2, (2, 64, 64)))
    plane = blurred((before + after) / 2, 2.0)
    assert sharpen(plane, before, after, 0.5, Sharpening(radius=0.7)).amount == MOST


@pytest.mark.parametrize("t", [0.1, 0.3, 0.5, 0.7])
def test_a_plane_that_is_sharp_enough_comes_back_as_it_is(t: float) -> None:
    plane = tissue(5)
    for before, after in ((plane, plane), (blurred(plane, 1), plane * 0.9), (plane * 0, plane * 0)):
        sharper = sharpen(plane, before, after, t, AUTO)
        assert sharper.amount == 0
        assert np.array_equal(sharper.plane, plane)


def test_a_flat_plane_stays_flat() -> None:
    flat = np.full((50, 50), 0.3, np.float32)
    assert np.array_equal(sharpen(flat, tissue(1, 50), tissue(2, 50), 0.5, AUTO).plane, flat)
    assert sharpen(flat, tissue(1, 50), tissue(2, 50), 0.5, AUTO).amount == 0
    assert np.allclose(sharpen(flat, flat, flat, 0.5, Sharpening(10.0, 3.0)).plane, flat, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2), (3, 5), (257, 3)])
@pytest.mark.parametrize("sharpening", [AUTO, Sharpening(2.0, 5.0)])
def test_tiny_planes(shape: tuple[int, int], sharpening: Sharpening) -> None:
    plane, before, after = np.float32(np.random.default_rng(1).random((3, *shape)))
    plane = (plane + 1) / 4
    sharper = sharpen(plane, before, after, 0.5, sharpening)
    assert sharper.plane.shape == shape
    assert np.isfinite(sharper.plane).all()


def test_a_large_plane_is_judged_by_windows_all_over_it() -> None:
    rng = np.random.default_rng(0)
    acquired = np.zeros((900, 1100), np.float32)
    acquired[-256:, -256:] = ndimage.gaussian_filter(rng.standard_normal((256, 256)), 1.0)
    plane = blurred(acquired, 1.0)
    sharper = sharpen(plane, acquired, acquired, 0.5, AUTO)
    assert gradient_energy(sharper.plane) == pytest.approx(gradient_energy(acquired), rel=0.1)


@pytest.mark.parametrize("amount", [0.0, -1.0, 10.5, np.inf, np.nan])
def test_amounts_out_of_range_are_refused(amount: float) -> None:
    with pytest.raises(BadOptionError, match="expected more than 0 and at most 10: give 1"):
        Sharpening(amount)


@pytest.mark.parametrize("radius", [0.0, -1.0, 51.0, np.nan])
def test_radii_out_of_range_are_refused(radius: float) -> None:
    with pytest.raises(BadOptionError, match="pixels, expected more than 0 and at most 50: give"):
        Sharpening(radius=radius)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, np.inf, np.nan])
def test_thresholds_out_of_range_are_refused(threshold: float) -> None:
    with pytest.raises(BadOptionError, match="expected a part of the intensity range"):
        Sharpening(threshold=threshold)
