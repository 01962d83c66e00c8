"""Fourier ring correlation and spectra along one axis."""

import numpy as np
import pytest
from scipy import ndimage

from zinterp.evaluation.frc import RingCorrelation, power_along, ring_correlation

RNG = np.random.default_rng


@pytest.mark.parametrize("shape", [(3, 64, 64), (2, 65, 91), (1, 40, 128), (1, 3, 5), (2, 1, 8)])
def test_equal_planes_agree_in_all_rings(shape: tuple[int, int, int]) -> None:
    planes = RNG(0).normal(size=shape)
    found = ring_correlation(planes, planes * 3 + 7)
    assert found.correlations == pytest.approx([1.0] * len(found.correlations))
    assert found.frequencies[-1] == 0.5
    assert len(found.frequencies) == len(found.correlations) == max(min(shape[1:]) // 2, 1)
    assert found.resolution_px == 2.0


def test_planes_that_have_nothing_in_common_agree_nowhere() -> None:
    one, other = RNG(1).normal(size=(2, 6, 128, 128))
    found = ring_correlation(one, other)
    assert np.abs(found.correlations[3:]).max() < 0.15
    assert found.resolution_px is None or found.resolution_px > 30
    constant = ring_correlation(one, np.zeros_like(one))
    assert set(constant.correlations) == {0.0}
    assert constant.resolution_px is None


@pytest.mark.parametrize("period", [4.0, 8.0, 16.0])
def test_the_resolution_is_the_period_below_which_planes_differ(period: float) -> None:
    common, one, other = RNG(2).normal(size=(3, 4, 192, 160))
    y, x = np.fft.fftfreq(192)[:, None], np.fft.fftfreq(160)
    coarse = np.hypot(y, x) < 1 / period

    def mixed(own: np.ndarray) -> np.ndarray:
        return np.fft.ifft2(np.where(coarse, np.fft.fft2(common), np.fft.fft2(own))).real

    assert ring_correlation(mixed(one), mixed(other)).resolution_px == pytest.approx(period, rel=0.1)


def test_a_single_ring_below_the_limit_is_chance() -> None:
    frequencies = tuple(np.arange(1, 21) / 40)
    correlations = [1.0] * 10 + [0.0] + [0.5] * 4 + [0.0] * 5
    found = RingCorrelation(frequencies, tuple(correlations))
    assert found.resolution_px is not None
    assert 1 / 0.41 < found.resolution_px < 1 / 0.37


def test_noise_has_the_same_power_along_all_axes_and_blur_takes_it_from_one() -> None:
    volume = RNG(3).normal(size=(48, 64, 80)).astype(np.float32)
    for axis in range(3):
        frequencies, power = power_along(volume, axis)
        assert (frequencies[0], frequencies[-1]) == (1 / volume.shape[axis], 0.5)
        assert power[1:] == pytest.approx([1.0] * (len(power) - 1), rel=0.15)  # the first has lost to the mean
    _, power = power_along(ndimage.gaussian_filter1d(volume, 2.0, axis=0), 0)
    assert power[-1] < 1e-3
    assert power[1] == pytest.approx(1.0, rel=0.3)
    wave = np.sin(np.arange(40) * 2 * np.pi / 8)[:, None, None] * np.ones((1, 5, 6))
    frequencies, power = power_along(wave, 0)
    assert frequencies[int(np.argmax(power))] == 1 / 8
