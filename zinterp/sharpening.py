"""Unsharp masking of synthesised planes, as far as the acquired planes around them are sharp.

A network that is unsure averages, so that its planes are softer than those of the microscope. An unsharp mask lifts
what fine detail is left. It brings back nothing that is not in the plane, and it takes the plane a little further from
the truth in squared error: it is for looking and for segmenting, not for measuring grey values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from zinterp.errors import BadOptionError

Plane = NDArray[np.float32]
RADIUS = 1.5  # pixels, with an amount that is given
RADII = (0.7, 1.0, 1.5, 2.5)  # pixels, tried where both are to be found
MOST = 8.0  # amount that is found
MOST_GIVEN, WIDEST = 10.0, 50.0
STEPS = 12  # of bisection: the amount is found to 0.002
HALO = 0.1
EXCESS = 10**0.1  # 1 dB
RINGS = 12  # up to the Nyquist frequency
COARSE = RINGS // 2  # rings up to half of it, where structure is and where too much of it is seen as halos
FLAT = 1e-6  # of the neighbours' gradient energy: what has less shows nothing that could be lifted
WINDOW, WINDOWS = 256, 3  # pixels along an edge, windows along an axis


@dataclass(frozen=True)
class Sharpening:
    """How synthesised planes are sharpened.

    Parameters
    ----------
    amount : float or None
        How many times the detail is added, above 0 up to 10; None finds it for each plane, so that the plane becomes
        as sharp as its acquired neighbours.
    radius : float or None
        Standard deviation of the Gaussian blur in pixels, above 0 up to 50. None is 1.5 with an amount that is given;
        with one that is found it is that of 0.7, 1, 1.5 and 2.5 whose spectrum comes nearest to the neighbours'.
    threshold : float
        Part of the intensity range, from 0 to below 1, that is taken off the detail (towards 0): less detail than this
        is not lifted, as it may be grain.

    Raises
    ------
    BadOptionError
        If any is out of its range.
    """

    amount: float | None = None
    radius: float | None = None
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if self.amount is not None and not 0 < self.amount <= MOST_GIVEN:
            raise BadOptionError(
                f"the amount of sharpening is {self.amount:g}, expected more than 0 and at most {MOST_GIVEN:g}: "
                "give 1, or none to have it found"
            )
        if self.radius is not None and not 0 < self.radius <= WIDEST:
            raise BadOptionError(
                f"the radius of sharpening is {self.radius:g} pixels, expected more than 0 and at most {WIDEST:g}: "
                f"give {RADIUS}"
            )
        if not 0 <= self.threshold < 1:
            raise BadOptionError(
                f"the threshold of sharpening is {self.threshold:g}, expected a part of the intensity range "
                "from 0 to below 1: give 0.02, or 0 to sharpen everything"
            )


class Sharpened(NamedTuple):
    """A plane and what was done to it: the amount, 0 if nothing, and the radius in pixels."""

    plane: Plane
    amount: float
    radius: float


def sharpen(plane: Plane, before: Plane, after: Plane, t: float, sharpening: Sharpening) -> Sharpened:
    """Add to a synthesised plane its difference from a blurred copy.

    No pixel goes further beyond the least and the greatest value that this plane and its two neighbours have within
    two radii along y and x than 0.1 of their difference.

    An amount that is found is the one at which the plane's gradient energy is that of its neighbours, or less where
    more would lift the power of any of six rings of spatial frequency up to half the Nyquist frequency more than 1 dB
    above the neighbours' (or above the plane's own, where that is higher), and at most 8. It is measured on up to nine
    windows of 256 x 256 pixels spread over the plane, which hold all of it up to 768 x 768.

    Parameters
    ----------
    plane, before, after : ndarray, shape (Y, X), float32
        The synthesised plane and the acquired ones around it, intensity range 0 to 1, no NaN.
    t : float
        Where the plane is from ``before`` (0) to ``after`` (1); the neighbours' sharpness is weighted by it.
    sharpening : Sharpening

    Returns
    -------
    Sharpened
        The plane, shape (Y, X), float32, the amount and the radius. Where the plane is as sharp as its neighbours
        already, or shows nothing, an amount that is found is 0 and the plane comes back as it is.
    """
    amount, radius = sharpening.amount, sharpening.radius or RADIUS
    if amount is None:
        around = (windows(plane), windows(before), windows(after))
        amount, radius = find_amount(*around, t, sharpening)
    if not amount:
        return Sharpened(plane, 0.0, radius)
    mask = unsharp_mask(plane[None], before[None], after[None], radius, sharpening.threshold)
    return Sharpened(mask.added(amount)[0], amount, radius)


def gradient_energy(planes: NDArray[np.generic]) -> float:
    """How sharp planes are: mean square of their gradient along y and x.

    Parameters
    ----------
    planes : ndarray, shape (..., Y, X)
        Grey values. The gradient is ``numpy.gradient``'s, in grey values per pixel; along an edge of one pixel it is 0.

    Returns
    -------
    float
    """
    axes = [axis for axis in (-2, -1) if planes.shape[axis] > 1]
    return float(sum(np.mean(np.square(np.gradient(planes, axis=axis)), dtype=np.float64) for axis in axes))


@dataclass(frozen=True)
class Mask:
    """What may be added to planes, and between which values the sum stays; all of shape (N, Y, X), float32."""

    planes: Plane
    detail: Plane
    low: Plane
    high: Plane

    def added(self, amount: float) -> Plane:
        """The planes with the detail added."""
        return np.clip(self.planes + np.float32(amount) * self.detail, self.low, self.high)


def unsharp_mask(planes: Plane, before: Plane, after: Plane, radius: float, threshold: float) -> Mask:
    """The detail finer than a radius, and the bounds of the sum."""
    detail = planes - ndimage.gaussian_filter(planes, (0, radius, radius))
    if threshold:
        detail = np.sign(detail) * np.maximum(np.abs(detail) - np.float32(threshold), 0)
    edge = 2 * int(np.ceil(2 * radius)) + 1
    low = ndimage.minimum_filter(np.minimum(np.minimum(before, after), planes), (1, edge, edge))
    high = ndimage.maximum_filter(np.maximum(np.maximum(before, after), planes), (1, edge, edge))
    halo = np.float32(HALO) * (high - low)
    return Mask(planes, detail, low - halo, high + halo)


def find_amount(planes: Plane, before: Plane, after: Plane, t: float, sharpening: Sharpening) -> tuple[float, float]:
    """Amount and radius that bring windows of a plane, shape (N, Y, X), nearest to those of its neighbours."""
    radii = (sharpening.radius,) if sharpening.radius else RADII
    energy = (1 - t) * gradient_energy(before) + t * gradient_energy(after)
    own = gradient_energy(planes)
    if own >= energy or own <= FLAT * energy:
        return 0.0, sharpening.radius or RADIUS
    target = (1 - t) * gradient_spectrum(before) + t * gradient_spectrum(after)
    most = EXCESS * np.maximum(target, gradient_spectrum(planes))[:COARSE]
    found = []
    for radius in radii:
        mask = unsharp_mask(planes, before, after, radius, sharpening.threshold)

        def too_sharp(amount: float, mask: Mask = mask) -> bool:
            sharper = mask.added(amount)
            return gradient_energy(sharper) > energy or bool((gradient_spectrum(sharper)[:COARSE] > most).any())

        amount = greatest(too_sharp)
        distance = float(np.abs(gradient_spectrum(mask.added(amount)) - target).sum())
        found.append((distance, amount, radius))
    _, amount, radius = min(found)
    return amount, radius


def greatest(too_much: Callable[[float], bool]) -> float:
    """The greatest amount from 0 to 8 that is not too much, by bisection."""
    low, high = 0.0, 2 * MOST  # so that the first amount tried is the most
    for _ in range(STEPS + 1):
        middle = (low + high) / 2
        if middle > MOST or too_much(middle):
            high = middle
        else:
            low = middle
    return low


def gradient_spectrum(planes: Plane) -> NDArray[np.float64]:
    """Power of the gradient in rings of spatial frequency up to the Nyquist frequency, summed over planes, (RINGS,)."""
    height, width = planes.shape[1:]
    taper = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
    means = np.sum(planes * taper, axis=(1, 2), keepdims=True) / taper.sum()
    power = np.square(np.abs(fft.rfft2((planes - means) * taper))).sum(axis=0)
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    power *= np.sin(2 * np.pi * fy) ** 2 + np.sin(2 * np.pi * fx) ** 2  # what a central difference passes
    power[:, 1 : (width + 1) // 2] *= 2  # the half that rfft leaves out
    ring = np.minimum(np.hypot(fy, fx) * 2 * RINGS, RINGS - 1).astype(int)
    return np.asarray(np.bincount(ring.ravel(), power.ravel(), RINGS), np.float64)


def windows(plane: Plane) -> Plane:
    """Windows spread evenly over a plane, up to three along y and along x, shape (N, height, width)."""
    cuts = []
    for length in plane.shape:
        count = min(WINDOWS, -(-length // WINDOW))
        edge = min(WINDOW, length // count)
        cuts.append([slice(start, start + edge) for start in np.linspace(0, length - edge, count).astype(int)])
    return np.stack([plane[rows, cols] for rows in cuts[0] for cols in cuts[1]])
