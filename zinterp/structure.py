"""How far structure reaches in the plane and along z, and what follows for upsampling.

Correlations are those of structure, without noise: the noise of neighbouring pixels is taken to be independent, so that
the peak of the autocorrelation is extrapolated from the first pixels beside it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zinterp.stripes import Image, middle
from zinterp.volume import Planes, VoxelSize

POSITIONS = 8  # planes from all over a stack, each compared with some before or after it
PIXEL_LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
PLANE_LAGS = (1, 2, 3, 4, 6, 8, 12, 16)
HALF = 0.5  # the correlation at which a length ends
SHARP = 0.8  # the correlation at which blur is measured: what is smeared differs most in what is fine
LONGER = 1.15  # times as far as along the longer axis of the plane: less along z is no blur, but how specimens are
KNOWN = ((0.85, 8), (0.65, 4), (0.4, 2))  # part of the structure between planes, and the largest factor for it
FACTORS = (2, 3, 4, 5, 6, 8)
FWHM = 2.355  # standard deviations of a Gaussian
FINEST = 0.9  # of the pixel size: planes need not be closer


@dataclass(frozen=True)
class Reach:
    """How far structure reaches: where its correlation falls to a half, in pixels or plane distances.

    Parameters
    ----------
    length : float
    is_beyond : bool
        Whether it reaches farther than this, which is as far as was looked.
    """

    length: float
    is_beyond: bool = False


@dataclass(frozen=True)
class Structure:
    """What is known of the structure that a stack shows; None where it shows none, or has a single plane.

    Parameters
    ----------
    neighbours : float or None
        Correlation of the structure in neighbouring planes, 0 to 1.
    in_plane : Reach or None
        In pixels, the mean of both axes.
    along_z : Reach or None
        In plane distances.
    sharp_in_plane, sharp_along_z : Reach or None
        The same where correlation falls to 0.8, the first along that axis of the plane in which it is longer.
    """

    neighbours: float | None = None
    in_plane: Reach | None = None
    along_z: Reach | None = None
    sharp_in_plane: Reach | None = None
    sharp_along_z: Reach | None = None

    @property
    def known_between(self) -> float | None:
        """Part of the structure halfway between two planes that follows from both.

        It is the variance that linear prediction explains if the correlation falls exponentially, as it does across
        boundaries.
        """
        return None if self.neighbours is None else 2 * self.neighbours / (1 + self.neighbours)

    def blur(self, size: VoxelSize) -> float | None:
        """How far structure is smeared along z beyond what it is in the plane, in micrometres.

        The full width at half maximum of a Gaussian; 0 where structure reaches no farther along z. None where that
        cannot be told: the voxel size is not known, a length was not found, or planes are too far apart. Structures
        that run along z cannot be told from blur.
        """
        a, b = self.sharp_in_plane, self.sharp_along_z
        if a is None or b is None or a.is_beyond or b.is_beyond or b.length < 1 or not size.z or not size.x:
            return None
        along, across = b.length * size.z, a.length * size.x
        # a Gaussian correlation falls to c at d² = -2 ln(c) s², and blur of deviation σ adds 2 σ² to s²
        variance = (along**2 - across**2) / (-4 * np.log(SHARP))
        return float(FWHM * np.sqrt(variance)) if along > LONGER * across else 0.0

    def factors(self, size: VoxelSize) -> tuple[int, ...]:
        """The factors that are reasonable: planes no closer than pixels, and most of what is between them known."""
        known = self.known_between or 0.0
        largest = next((factor for part, factor in KNOWN if known >= part), 0)
        if size.z and size.x:
            largest = min(largest, int(size.z / (FINEST * size.x)))
        return tuple(factor for factor in FACTORS if factor <= largest)


def measure_structure(read: Callable[[int], Planes], depth: int, left_out: Collection[int] = ()) -> Structure:
    """Measure how far structure reaches.

    Parameters
    ----------
    read : callable
        Gives plane k, (Y, X), finite. Some 60 planes are read, two at a time.
    depth : int
        Planes of the stack.
    left_out : collection of int
        Planes that do not show what is there.
    """
    good = [k for k in range(depth) if k not in left_out]
    chosen = sorted({good[i] for i in np.linspace(0, len(good) - 1, POSITIONS).astype(int)}) if good else []
    within = np.zeros((2, 1 + len(PIXEL_LAGS)))
    along: dict[int, list[float]] = {lag: [] for lag in PLANE_LAGS}
    for k in chosen:
        image = centred(middle(read(k)))
        within += [autocovariance(image, axis) for axis in (0, 1)]
        for lag, found in along.items():
            other = next((j for j in (k + lag, k - lag) if j in good), None)
            if other is not None:
                found.append(float(np.vdot(image, centred(middle(read(other))))) / image.size)
    within /= max(len(chosen), 1)
    signal = without_noise(within.mean(0))
    if not signal > 0:
        return Structure()
    in_plane = reach(PIXEL_LAGS, within.mean(0)[1:] / signal)
    sharp = max((reach(PIXEL_LAGS, axis[1:] / signal, SHARP) for axis in within), key=lambda found: found.length)
    lags = [lag for lag, found in along.items() if found]
    if not lags or lags[0] != 1:
        return Structure(in_plane=in_plane, sharp_in_plane=sharp)
    shared = np.array([np.mean(along[lag]) for lag in lags]) / signal
    neighbours = float(np.clip(shared[0], 0, 1))
    return Structure(neighbours, in_plane, reach(lags, shared), sharp, reach(lags, shared, SHARP))


def centred(image: Image) -> Image:
    """An image with its mean taken out."""
    return np.asarray(image - np.float32(image.mean(dtype=np.float64)))


def autocovariance(image: Image, axis: int) -> NDArray[np.float64]:
    """Mean products of pixels that lie 0, and the lags, apart along an axis; nan where an image is smaller."""
    rows = np.moveaxis(image, axis, 0)
    values = [float(np.vdot(image, image)) / image.size]
    for lag in PIXEL_LAGS:
        a, b = rows[lag:], rows[:-lag]
        values.append(float(np.vdot(a, b)) / a.size if a.size else np.nan)
    return np.array(values)


def without_noise(within: NDArray[np.float64]) -> float:
    """The variance of structure: the parabola through the values one and two pixels away, at 0."""
    own, one, two = (float(value) for value in within[:3])
    return own if np.isnan(two) else min(max(one + (one - two) / 3, one), own)


def reach(lags: Sequence[int], correlations: NDArray[np.float64], level: float = HALF) -> Reach:
    """Where correlation, 1 at 0, falls to a level."""
    before, high = 0.0, 1.0
    for lag, correlation in zip(lags, correlations.tolist(), strict=True):
        if np.isnan(correlation):
            break
        if correlation < level:
            return Reach(before + (lag - before) * (high - level) / max(high - correlation, 1e-9))
        before, high = float(lag), correlation
    return Reach(before, is_beyond=True)
