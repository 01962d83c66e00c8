"""Grain for synthesised planes, like that of the acquired planes around them.

A network predicts what planes have in common, and noise is not among it, so that synthesised planes are smooth between
grainy ones. Here noise is drawn that has the spectrum and the dependence on grey level of the neighbours' noise. It is
made up: it holds no measurement, and takes the plane further from the truth.

What only changes from one plane to the next must not pass for noise. Of the power in which the neighbours differ, as
grain is taken

* what is there in the quietest parts of the plane too, as structure is in places and noise all over,
* no more than pixels typically differ by beside a blurred copy, as few of them are on edges,
* no more than the synthesised plane lacks,
* no more than a blurred white spectrum can have. Such a one falls the faster the finer the detail; where a measured
  spectrum gets steeper towards coarse detail, structure begins,
* at every size above 6 pixels no more than at 6 pixels.

All this errs on the side of too little: noise that was blurred much, or is less than the rounding of the file, is left
out. Texture that is everywhere, of the size of grain, and new in each plane cannot be told from grain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Plane = NDArray[np.float32]
Spectrum = NDArray[np.float64]
Pixel = TypeVar("Pixel", np.float32, np.bool_)
WINDOW, WINDOWS = 32, 16  # pixels along an edge, most windows along an axis
SMALLEST = 16  # pixels along an edge of a plane on which grain can be measured
SMOOTH = 0.7  # bins of the spectrum
QUIET = 0.2  # of the windows
QUIET_POWER = 0.52  # that so many windows of white noise have less than, as part of the mean power
COARSEST = 6  # pixels
FLATTEST = 10**0.05  # 0.5 dB a ring: what a white spectrum may rise by
LOCAL = 2.0  # pixels: blur that leaves the grey level
FINE = 1.0  # pixels: blur that takes the noise off
MEDIAN = 0.6745  # of the absolute value of Gaussian noise, in standard deviations
BINS = 32  # of grey levels, at most
FEWEST = 500  # pixels in one
LARGEST = 3.0  # times the median variance: where more changes it is structure
SAMPLES = 512  # pixels along an axis that the dependence on grey level is read from
SILENT = 0.1  # of the mean variance: pixels with less have hardly any noise
LEAST = 1e-5  # of the intensity range: a smaller deviation is rounding


def grain_generator(seed: int, stack: int, plane: int) -> np.random.Generator:
    """A generator for the grain of one plane, whatever other planes are made and in which order.

    The same three numbers give the same grain on the same machine with the same versions of numpy and scipy.

    Parameters
    ----------
    seed : int
        Of the job, 0 or more.
    stack, plane : int
        Which stack (channel and time), which of its output planes; 0 or more.

    Returns
    -------
    numpy.random.Generator
        Philox [1]_ with the seed as its key, counting from a number that the stack and the plane alone have.

    References
    ----------
    .. [1] J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, doi:10.1145/2063384.2063405.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, plane, stack]))


def add_grain(
    plane: Plane, before: Plane, after: Plane, t: float, rng: np.random.Generator
) -> tuple[Plane, NDArray[np.float32]]:
    """Add Gaussian noise with the spectrum and the dependence on grey level of the neighbours' noise.

    Parameters
    ----------
    plane, before, after : ndarray, shape (Y, X), float32
        The synthesised plane and the acquired ones around it, intensity range 0 to 1, no NaN.
    t : float
        Where the plane is from ``before`` (0) to ``after`` (1); their power is weighted by it.
    rng : numpy.random.Generator
        From ``grain_generator``.

    Returns
    -------
    plane : ndarray, shape (Y, X), float32
        Its mean is kept. Where no noise is found, and if an edge is shorter than 16 pixels, it comes back as it is.
    deviations : ndarray, shape (Y, X), float32
        Standard deviation of the noise that each pixel got.
    """
    none = plane, np.zeros_like(plane)
    if min(plane.shape) < SMALLEST:
        return none
    response = measure_response(before, after)
    strength = response.strength(local_grey(plane))
    lacking = measure_lack(plane, before, after, t) / max(float(np.mean(strength**2)), LEAST)
    spectrum = without_structure(np.minimum(lacking, measure_spectrum(before, after, response)))
    deviation = float(np.sqrt(spectrum.mean()))
    if deviation < LEAST:
        return none
    noise = draw(spectrum, plane.shape, rng) * strength
    return plane + (noise - noise.mean()), np.float32(deviation) * strength


@dataclass(frozen=True)
class Response:
    """How the noise depends on the local grey level.

    Parameters
    ----------
    greys : ndarray, shape (n,)
        Rising.
    variances : ndarray, shape (n,)
        Of the noise there, relative to the mean over the neighbours' pixels.
    fine : float
        That mean, of noise less its blurred copy.
    """

    greys: NDArray[np.float64]
    variances: NDArray[np.float64]
    fine: float

    def strength(self, grey: Plane) -> Plane:
        """Standard deviation of the noise at pixels of some grey level, relative to the root of the mean variance."""
        return np.sqrt(np.interp(grey, self.greys, self.variances)).astype(np.float32)


def measure_response(before: Plane, after: Plane) -> Response:
    """The variance of the fine difference between two planes in bins of local grey level."""
    step_y, step_x = (-(-edge // SAMPLES) for edge in before.shape)
    every = slice(None, None, step_y), slice(None, None, step_x)
    grey0, grey1 = local_grey(before)[every], local_grey(after)[every]
    difference = after - before
    fine = np.abs(difference - ndimage.gaussian_filter(difference, FINE))[every]
    grey, change = (grey0 + grey1) / 2, np.abs(grey1 - grey0)
    bins = min(BINS, max(1, grey.size // FEWEST))
    edges = np.unique(np.quantile(grey, np.linspace(0, 1, bins + 1)))
    edges = edges if len(edges) > 1 else np.repeat(edges, 2)
    greys, variances = np.zeros((2, len(edges) - 1))
    for k, (low, high) in enumerate(pairwise(edges)):
        inside = (grey >= low) & (grey <= high)
        same = inside & (change <= np.median(change[inside]))  # where structure changes least
        greys[k], variances[k] = grey[inside].mean(), (np.median(fine[same]) / MEDIAN) ** 2 / 2
    if not variances.any():
        return Response(greys, variances, 0.0)
    variances = np.minimum(variances, LARGEST * np.median(variances[variances > 0]))
    mean = float(np.interp(np.concatenate([grey0, grey1]), greys, variances).mean())
    return Response(greys, variances / mean, mean)


def local_grey(plane: Plane) -> Plane:
    """The plane without its grain."""
    return np.asarray(ndimage.gaussian_filter(plane, LOCAL))


def measure_spectrum(before: Plane, after: Plane, response: Response) -> Spectrum:
    """Power that differs between two planes all over them, where the strength is 1; in the layout of ``fft2``."""
    strength = response.strength(local_grey((before + after) / np.float32(2)))
    there = strength**2 > SILENT
    difference = np.divide(after - before, strength, out=np.zeros_like(before), where=there) / np.float32(np.sqrt(2))
    powers = power(windows(difference))[windows(there).all(axis=(1, 2))]
    if not len(powers):
        return np.zeros(powers.shape[1:])
    spectrum = np.quantile(powers, QUIET, axis=0) / QUIET_POWER
    fy, fx = (np.fft.fftfreq(edge) for edge in spectrum.shape)
    passed = (1 - np.outer(np.exp(-2 * (np.pi * FINE * fy) ** 2), np.exp(-2 * (np.pi * FINE * fx) ** 2))) ** 2
    return np.asarray(spectrum * min(1.0, response.fine / max(float(np.mean(spectrum * passed)), LEAST**2)))


def measure_lack(plane: Plane, before: Plane, after: Plane, t: float) -> Spectrum:
    """Power that a plane lacks beside its neighbours, at least 0; in the layout of ``fft2``."""
    own, power0, power1 = (power(windows(one)).mean(axis=0) for one in (plane, before, after))
    return np.asarray(np.maximum((1 - t) * power0 + t * power1 - own, 0))


def without_structure(spectrum: Spectrum) -> Spectrum:
    """The spectrum, lowered where it gets steeper towards coarse detail, and level where that is coarser than grain."""
    height, width = spectrum.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    rings = min(height, width) // 2  # up to the Nyquist frequency
    position = frequency * 2 * rings
    ring = np.rint(position).astype(int)
    sums = np.bincount(ring.ravel(), spectrum.ravel())[: rings + 1]
    profile = sums / np.bincount(ring.ravel())[: rings + 1]
    fine = profile[rings * 3 // 4 :]
    steepest = max(FLATTEST, *np.divide(fine[:-1], fine[1:], out=np.zeros_like(fine[1:]), where=fine[1:] > 0))
    lowered = profile.copy()
    for k in range(rings * 3 // 4 - 1, -1, -1):
        rise = steepest if k * COARSEST >= 2 * rings else 1.0
        lowered[k] = min(profile[k], lowered[k + 1] * rise)
    kept = np.divide(lowered, profile, out=np.zeros_like(profile), where=profile > 0)
    return np.asarray(spectrum * np.interp(position, np.arange(rings + 1), kept))


def power(stack: Plane) -> NDArray[np.float64]:
    """Smoothed power spectra of windows, shape (N, height, width); that of white noise is its variance everywhere."""
    taper = np.outer(*(np.hanning(edge + 2)[1:-1] for edge in stack.shape[1:])).astype(np.float32)
    means = np.sum(stack * taper, axis=(1, 2), keepdims=True) / taper.sum()
    powers = np.square(np.abs(fft.fft2((stack - means) * taper))) / np.square(taper).sum()
    smooth = ndimage.gaussian_filter(powers.astype(np.float64), (0, SMOOTH, SMOOTH), mode="wrap")
    return np.asarray(smooth)


def windows(plane: NDArray[Pixel]) -> NDArray[Pixel]:
    """Windows spread evenly over a plane, shape (N, height, width)."""
    cuts = []
    for length in plane.shape:
        edge = min(WINDOW, length)
        starts = np.linspace(0, length - edge, min(WINDOWS, 2 * length // edge - 1)).astype(int)
        cuts.append([slice(start, start + edge) for start in starts])
    return np.stack([plane[rows, cols] for rows in cuts[0] for cols in cuts[1]])


def draw(spectrum: Spectrum, shape: Sequence[int], rng: np.random.Generator) -> Plane:
    """Gaussian noise of a given power spectrum, of another shape than the spectrum."""
    kernel = np.fft.fftshift(fft.ifft2(np.sqrt(spectrum)).real)
    padded = [fft.next_fast_len(n + k, real=True) for n, k in zip(shape, kernel.shape, strict=True)]
    noise = fft.rfft2(rng.standard_normal(padded, dtype=np.float32))
    noise *= fft.rfft2(kernel.astype(np.float32), padded)
    return np.asarray(fft.irfft2(noise, padded)[: shape[0], : shape[1]], np.float32)
