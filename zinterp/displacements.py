"""Planes that are displaced against those around them, as a whole or in some of their rows.

Each plane is compared with the one before it as a whole and in strips of rows, by phase correlation of an overview. A
plane whose strips all step aside and back is shifted, one of which only some rows do is torn, and where all planes from
one on are aside, the stage has jumped. Steps that are ordinary in a stack, by drift, structures that lie obliquely, or
sections that resemble each other by chance, do not stand out, however large they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft, ndimage

from zinterp.breaks import Break, find_breaks
from zinterp.drift import (
    BLUR,
    FLOOR,
    OVERVIEW,
    WHITENING,
    Image,
    Shift,
    Spectrum,
    binned,
    finite,
    likeness,
    overlap,
    read,
    shift_between,
    view,
    window,
)
from zinterp.duplicates import see
from zinterp.volume import VolumeReader

STRIP, STRIPS = 24, 8  # rows of a strip at least, and strips at most, of an overview
REGIONS = 4  # along each edge of a plane
FAR = 2.0  # pixels: a smaller displacement is within what specimens do of their own
PIXEL = 0.75  # of the overview's: less is not measured well
REACH = (1 / 3, 1 / 4, 32)  # of a strip's rows and columns, and pixels: what seems farther away resembles by chance
AGREE, NEAR = 0.35, 1.5  # of a displacement, and pixels of the overview: what two ways of measuring it may differ by
SHOWS = 0.25  # of the contrast of the median strip: others are air, and do not tell
BETTER = 0.3  # Fisher's z: so much better must rows that are displaced fit where they belong
HIGH = 0.9999  # a correlation above which nothing but rounding is left
MOST = 0.75  # of the strips of a torn plane step aside at the most,
MOST_AGREE = 0.5  # of the strips, on an ordinary step
STAY = 0.5  # and of the others so many are more like their neighbours in place, those that the tear runs through not
LASTING = 1.5  # times as far as a single plane's must a shift be that lasts: nothing takes it back


@dataclass(frozen=True)
class Look:
    """What is kept of a plane.

    Parameters
    ----------
    plane : int
    level, contrast : float
        Mean and standard deviation of its blocks of 8 x 8 pixels, in grey levels.
    means, deviations : ndarray of float64, (16,)
        Mean and standard deviation of its pixels in a grid of 4 x 4 regions, in grey levels.
    shown : ndarray of float64, (strips,)
        Contrast of each strip.
    steps : ndarray of float64, (1 + strips, 2)
        How far the plane and each of its strips is shifted (y, x) against the plane looked at before, in pixels.
    pixel : int
        Edge of an overview's pixel, in pixels.
    """

    plane: int
    level: float
    contrast: float
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]
    shown: NDArray[np.float64]
    steps: NDArray[np.float64]
    pixel: int


@dataclass(frozen=True)
class Displacement:
    """A plane that is displaced, by (y, x) in pixels: alone, it and all after it, or in some of its rows only."""

    plane: int
    shift: Shift
    lasting: bool = False
    torn: bool = False


def look_at(reader: VolumeReader, planes: Iterable[int]) -> list[Look]:
    """Read each of these planes once, one at a time, and keep what tells whether it is out of line."""
    looks: list[Look] = []
    before: tuple[Spectrum, Spectrum] | None = None
    for k in planes:
        plane = reader.read(range(k, k + 1))[0]
        seen = see(plane)
        image, pixel = overview(finite(plane))
        means, deviations = in_regions(image)
        strips = cut(image / np.float32(np.abs(image).max() or 1))
        here = tapered_spectra(strips.reshape(1, -1, strips.shape[2])), tapered_spectra(strips)
        steps = np.zeros((1 + len(strips), 2))
        if before is not None:
            steps[:1] = pixel * peaks(before[0], here[0], (len(strips) * strips.shape[1], strips.shape[2]))
            steps[1:] = pixel * peaks(before[1], here[1], strips.shape[1:])
        shown = cut(image).std((1, 2), dtype=np.float64)
        looks.append(Look(k, seen.level, seen.contrast, means, deviations, shown, steps, pixel))
        before = here
    return looks


def overview(plane: NDArray[np.generic]) -> tuple[Image, int]:
    """A plane of at most 512 x 512 pixels, and how many of the file's are one of these along each edge."""
    pixel = -(-max(plane.shape) // OVERVIEW)
    return binned(plane, pixel), pixel


def in_regions(image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation in each of 4 x 4 regions, fewer of a tiny image."""
    rows, cols = (min(REGIONS, n) for n in image.shape)
    height, width = image.shape[0] // rows, image.shape[1] // cols
    regions = image[: rows * height, : cols * width].reshape(rows, height, cols, width)
    means = regions.mean((1, 3), dtype=np.float64)
    return means.ravel(), regions.std((1, 3), dtype=np.float64).ravel()


def cut(image: Image) -> Image:
    """Strips of equal height, (n, h, w); at least one."""
    count = min(max(len(image) // STRIP, 1), STRIPS)
    height = len(image) // count
    return image[: count * height].reshape(count, height, -1)


def tapered_spectra(images: Image) -> Spectrum:
    """Fourier transforms of images (n, h, w) under a window, the mean taken out."""
    weights = np.sqrt(window(images.shape[1:]))
    means = (images * weights).sum((1, 2), keepdims=True) / weights.sum()
    spectra: Spectrum = fft.rfft2(((images - means) * weights).astype(np.float32))
    return spectra


def peaks(ones: Spectrum, others: Spectrum, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """By how much (y, x) each of the others is shifted against each of the ones, from tapered spectra; (n, 2)."""
    height, width = shape
    power = np.abs(ones) * np.abs(others)
    power /= np.maximum(power.max((1, 2), keepdims=True), np.finfo(np.float32).tiny)
    y, x = fft.fftfreq(height), fft.rfftfreq(width)
    blur = np.exp(-2 * (np.pi * BLUR) ** 2 * (y[:, None] ** 2 + x**2)).astype(np.float32)
    match = fft.irfft2(ones.conj() * others * blur / np.maximum(power, FLOOR) ** np.float32(WHITENING), s=shape)
    reach_y, reach_x = (int(min(n * part, REACH[2])) for n, part in zip(shape, REACH, strict=False))
    rows, cols = (np.arange(-reach, reach + 1) for reach in (reach_y, reach_x))
    match = match[:, rows[:, None], cols]
    best = match.reshape(len(match), -1).argmax(1)
    return np.array(
        [
            (rows[i] + vertex(image[:, j], i), cols[j] + vertex(image[i], j))
            for image, (i, j) in zip(match, zip(*np.unravel_index(best, match.shape[1:]), strict=True), strict=True)
        ]
    )


def vertex(values: Image, i: int) -> float:
    """Where the parabola through the highest value and its neighbours is highest, as a distance from it."""
    if not 0 < i < len(values) - 1:
        return 0.0
    before, at, after = (float(v) for v in values[i - 1 : i + 2])
    bend = before - 2 * at + after
    return (before - after) / 2 / bend if bend < 0 else 0.0


def find_displacements(reader: VolumeReader, looks: Sequence[Look]) -> list[Displacement]:
    """Find the planes that are displaced, rising.

    Parameters
    ----------
    reader : VolumeReader
        What stands out is read once more.
    looks : sequence of Look
        Of planes that are no defects.

    Returns
    -------
    list of Displacement
    """
    if len(looks) < 2:
        return []
    steps = np.stack([look.steps for look in looks[1:]])
    least = least_shift(looks)
    apart = np.diff([look.plane for look in looks])
    whole, *strips = ({b.first: b for b in find_breaks(steps[:, i], least, apart)} for i in range(steps.shape[1]))
    found = []
    for first in sorted({*whole, *(first for breaks in strips for first in breaks)}):
        here = [breaks.get(first) for breaks in strips]
        displaced = torn(reader, looks, first, here) or shifted(reader, looks, first, whole.get(first), here)
        if displaced:
            found.append(displaced)
    return found


def told(looks: Sequence[Look], first: int) -> NDArray[np.bool_]:
    """Which strips show something, in a plane and those beside it."""
    shown = np.min([look.shown for look in looks[max(first - 1, 0) : first + 2]], axis=0)
    tells: NDArray[np.bool_] = shown > SHOWS * np.median(looks[first].shown)
    return tells


def supported_steps(looks: Sequence[Look]) -> dict[int, Shift]:
    """The step (y, x) in pixels from each plane to the next, where most of the strips that tell agree on it."""
    steps = {}
    for first in range(1, len(looks)):
        before, look = looks[first - 1], looks[first]
        whole, *strips = look.steps
        agreeing = [
            agree(strip, whole, look.pixel) for strip, tells in zip(strips, told(looks, first), strict=True) if tells
        ]
        if look.plane == before.plane + 1 and np.mean(agreeing or [False]) > MOST_AGREE:
            steps[before.plane] = (float(whole[0]), float(whole[1]))
    return steps


def agree(one: ArrayLike, other: ArrayLike, pixel: int) -> bool:
    """Whether two shifts are the same but for errors."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return bool(np.linalg.norm(a - b) <= max(NEAR * pixel, AGREE * float(np.linalg.norm(b))))


def torn(reader: VolumeReader, looks: Sequence[Look], first: int, here: Sequence[Break | None]) -> Displacement | None:
    """A plane of which the strips of one part step aside and back, all by the same, and the others stay."""
    tells = told(looks, first)
    aside = np.array([b is not None and not b.lasting for b in here]) & tells
    if not aside.any() or not 0 < first < len(looks) - 1 or aside.sum() > MOST * tells.sum():
        return None
    rows = np.flatnonzero(aside)
    if (tells & ~aside)[rows[0] : rows[-1] + 1].any():
        return None
    steps = np.array([b.step for i, b in enumerate(here) if aside[i] and b is not None])
    shift = np.median(steps, axis=0)
    pixel = looks[first].pixel
    if not all(agree(step, shift, pixel) for step in steps):
        return None
    planes = [overview(read(reader, looks[j].plane))[0] for j in (first - 1, first, first + 1)]
    before, at, after = (cut(ndimage.gaussian_filter(plane, BLUR)) for plane in planes)
    stay, moved_by = [], (shift / pixel).tolist()
    for i in np.flatnonzero(tells):
        beside = alike(before[i], after[i], (0, 0))
        in_place = max(alike(other[i], at[i], (0, 0)) for other in (before, after))
        moved = min(alike(other[i], at[i], moved_by) for other in (before, after))
        if aside[i] and min(beside, moved) < in_place + BETTER:
            return None
        if not aside[i]:
            stay.append(in_place > moved)
    if np.mean(stay) < STAY:
        return None
    return Displacement(looks[first].plane, (float(shift[0]), float(shift[1])), torn=True)


def alike(one: Image, other: Image, shift: Sequence[float]) -> float:
    """Correlation of two images, of which the other is shifted by about so many pixels, as Fisher's z."""
    a, b = overlap(one, other, [round(float(d)) for d in shift])
    a, b = a - a.mean(), b - b.mean()
    power = float(np.vdot(a, a)) * float(np.vdot(b, b))
    return float(np.arctanh(np.clip(float(np.vdot(a, b)) / power**0.5, -HIGH, HIGH))) if power else 0.0


def shifted(
    reader: VolumeReader, looks: Sequence[Look], first: int, whole: Break | None, here: Sequence[Break | None]
) -> Displacement | None:
    """A plane that is displaced as a whole, tile by tile too, against all planes that it must show against."""
    if whole is None or (whole.lasting and whole.size < LASTING * least_shift(looks)):
        return None
    seen = {j: view(read(reader, looks[j].plane)) for j in range(max(first - 2, 0), min(first + 2, len(looks)))}
    sides = [first - 1] if first else []
    sides += [first + 1] if not whole.lasting and first + 1 < len(looks) else []
    for j in sides:
        shift = shift_between(seen[j], seen[first])
        if shift is None or not agree(shift, whole.step, looks[first].pixel):
            return None
    for i, j in product((first - 2, first - 1), (first, first + 1)) if whole.lasting else ():
        if i >= 0 and likeness(seen[i], seen[j], whole.step) <= likeness(seen[i], seen[j], (0, 0)):
            return None  # the planes on one side do not agree with each other
    return Displacement(looks[first].plane, (whole.step[0], whole.step[1]), lasting=whole.lasting)


def least_shift(looks: Sequence[Look]) -> float:
    """The smallest displacement that matters and can be measured, in pixels."""
    return max(FAR, PIXEL * looks[0].pixel)
