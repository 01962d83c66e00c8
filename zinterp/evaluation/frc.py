"""Fourier ring correlation: down to which detail synthesised planes agree with the true ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Planes = NDArray[np.generic]
LIMIT = 1 / 7
SMOOTHED = 3  # rings, whose mean is compared with the limit, so that one ring by chance below it does not count


@dataclass(frozen=True)
class RingCorrelation:
    """Correlation of planes with the true ones, by spatial frequency.

    Parameters
    ----------
    frequencies : tuple of float
        Middle of each ring in cycles per pixel, rising to 0.5.
    correlations : tuple of float
        Of each ring, from -1 to 1.
    """

    frequencies: tuple[float, ...]
    correlations: tuple[float, ...]

    @property
    def resolution_px(self) -> float | None:
        """The period in pixels at which the correlation first falls below 1/7.

        2 pixels, the finest there is, where it never does; None where it is below from the start.
        """
        padded = np.pad(self.correlations, SMOOTHED // 2, mode="edge")
        smooth = np.convolve(padded, np.full(SMOOTHED, 1 / SMOOTHED), mode="valid")
        below = np.flatnonzero(smooth < LIMIT)
        if not below.size:
            return 2.0
        first = int(below[0])
        if first == 0:
            return None
        (before, after), (low, high) = smooth[first - 1 : first + 1], self.frequencies[first - 1 : first + 1]
        return float(1 / (low + (high - low) * (before - LIMIT) / (before - after)))


def ring_correlation(truth: Planes, guess: Planes) -> RingCorrelation:
    """Correlate planes with the true ones ring by ring in Fourier space, all planes together.

    Parameters
    ----------
    truth, guess : ndarray, shape (n, Y, X)
        Grey values. Each plane has its mean taken out and is weighted by a Hann window, so that its edges do not count
        as detail.

    Returns
    -------
    RingCorrelation
        Rings are one frequency step of the shorter edge wide; the mean grey level is in none.

    References
    ----------
    M. van Heel, M. Schatz, "Fourier shell correlation threshold criteria", J. Struct. Biol. 2005,
    doi:10.1016/j.jsb.2005.05.009. R. Banterle et al., "Fourier ring correlation as a resolution criterion for
    super-resolution microscopy", J. Struct. Biol. 2013, doi:10.1016/j.jsb.2013.05.004.
    """
    height, width = truth.shape[1:]
    count = max(min(height, width) // 2, 1)
    radius = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width))
    ring = np.rint(radius * 2 * count).astype(int)  # 0 is the mean, count is 0.5 cycles per pixel
    weights = np.where((ring >= 1) & (ring <= count), 2.0, 0.0)  # rfft has half of the frequencies, but for
    weights[:, 0] /= 2  # its first column,
    if width % 2 == 0:
        weights[:, -1] /= 2  # and its last
    sums = np.zeros((3, count + 1))
    for one, other in zip(truth, guess, strict=True):
        a, b = spectrum(one), spectrum(other)
        for total, product in zip(sums, ((a * b.conj()).real, abs(a) ** 2, abs(b) ** 2), strict=True):
            total += np.bincount(np.minimum(ring, count).ravel(), (product * weights).ravel(), count + 1)
    size = np.sqrt(sums[1] * sums[2])
    correlations = np.divide(sums[0], size, out=np.zeros(count + 1), where=size > 0)[1:]
    return RingCorrelation(tuple((np.arange(1, count + 1) / (2 * count)).tolist()), tuple(correlations.tolist()))


def spectrum(plane: NDArray[np.generic]) -> NDArray[np.complex128]:
    """Fourier transform of a plane (Y, X) under a Hann window, its mean taken out; (Y, X // 2 + 1)."""
    values = plane.astype(np.float64)
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in plane.shape))
    transformed: NDArray[np.complex128] = fft.rfft2((values - np.average(values, weights=window)) * window)
    return transformed


def power_along(volume: NDArray[np.generic], axis: int) -> tuple[Sequence[float], Sequence[float]]:
    """Power spectrum of a volume along one axis, mean over all lines.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X)
    axis : int

    Returns
    -------
    frequencies, power : sequence of float
        Cycles per voxel, from the first above 0 to 0.5, and power in grey levels squared per frequency; lines have
        their mean taken out and are weighted by a Hann window.
    """
    lines = np.moveaxis(volume, axis, -1).astype(np.float32)
    length = lines.shape[-1]
    window = np.hanning(length + 2)[1:-1].astype(np.float32)
    lines = (lines - np.average(lines, axis=-1, weights=window)[..., None].astype(np.float32)) * window
    power = (np.abs(fft.rfft(lines, axis=-1)) ** 2).mean(axis=(0, 1), dtype=np.float64) / float((window**2).sum())
    return fft.rfftfreq(length)[1:].tolist(), power[1:].tolist()
