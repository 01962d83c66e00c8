"""Stripes that an acquisition leaves in planes: curtains along y, and bright or dark streaks along x.

A focused ion beam leaves curtains, stripes that run down a plane where the specimen is milled unevenly. Their strength
is what distant rows share column by column, which no structure does that ends between them. Where a specimen charges,
scan lines are brighter or darker than those above and below, over much of their length.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.volume import Planes

Image = NDArray[np.float32]

LARGEST = 1024  # pixels of either edge that are looked at, in the middle of a plane
STRIPS = 8  # of rows, whose profiles are compared
SMOOTH = 16.0  # pixels, standard deviation: what varies more slowly across is no curtain
FEWEST = 32  # pixels of the shorter edge: below there is no room for strips
GROUPS = 4  # of columns
LINES = 9  # rows whose median a row is compared with
OUTSIDE = 6.0  # standard deviations of the rows that a streak is off by at least, and
VISIBLE = 0.3  # of the plane's contrast


@dataclass(frozen=True)
class Stripes:
    """How strong stripes are in the planes that were looked at.

    Parameters
    ----------
    curtaining : float
        Standard deviation of the curtains along y, as part of that of the planes; the median over planes.
    planes : int
        Looked at.
    streaked_planes : int
        Of these, with a streak along x at least.
    streaked_rows : float
        Part of all rows that are streaks.
    """

    curtaining: float
    planes: int
    streaked_planes: int
    streaked_rows: float


def measure_stripes(planes: Iterable[Planes]) -> Stripes:
    """Measure curtains and streaks.

    Parameters
    ----------
    planes : iterable of ndarray, (Y, X)
        Finite.

    Returns
    -------
    Stripes
        Zeros where planes are smaller than 32 pixels, or constant.
    """
    strengths, shares = [], []
    for plane in planes:
        image = middle(plane)
        contrast = float(image.std(dtype=np.float64))
        large = min(image.shape) >= FEWEST and contrast > 0
        strengths.append(curtaining(image, contrast) if large else 0.0)
        shares.append(float(streaks(image, contrast).mean()) if large else 0.0)
    streaked = sum(share > 0 for share in shares)
    strength = float(np.median(strengths)) if strengths else 0.0
    return Stripes(strength, len(shares), streaked, float(np.mean(shares)) if shares else 0.0)


def middle(plane: Planes) -> Image:
    """The middle of a plane, at most 1024 x 1024 pixels, as float32."""
    starts = [(n - min(n, LARGEST)) // 2 for n in plane.shape]
    rows, cols = (slice(start, start + LARGEST) for start in starts)
    return np.asarray(plane[rows, cols], np.float32)


def curtaining(image: Image, contrast: float) -> float:
    """Standard deviation of what strips of rows that do not adjoin share column by column, as part of the contrast."""
    profiles = np.stack([strip.mean(0, dtype=np.float64) for strip in np.array_split(image, STRIPS)])
    profiles -= ndimage.gaussian_filter1d(profiles, SMOOTH, axis=1, mode="nearest")
    products = profiles @ profiles.T / profiles.shape[1]
    apart = np.subtract.outer(range(STRIPS), range(STRIPS)) >= 2
    return float(np.sqrt(max(np.mean(products[apart]), 0.0))) / contrast


def streaks(image: Image, contrast: float) -> NDArray[np.bool_]:
    """Which rows are streaks: far off those around, in the same direction, in neighbouring groups of columns."""
    levels = np.stack([group.mean(1, dtype=np.float64) for group in np.array_split(image, GROUPS, axis=1)])
    off = levels - ndimage.median_filter(levels, (1, LINES), mode="nearest")
    scatter = 1.4826 * np.median(np.abs(off), axis=1, keepdims=True)
    far = np.sign(off) * (np.abs(off) > np.maximum(OUTSIDE * scatter, VISIBLE * contrast))
    found: NDArray[np.bool_] = ((far[1:] == far[:-1]) & (far[1:] != 0)).any(0)
    return found
