"""How far neighbouring planes are shifted against each other, and planes shifted by parts of a pixel.

A stage or a beam that drifts shifts all that a plane shows, while structures that run obliquely through the stack move
each in its own way. A shift is therefore the median over tiles of what phase correlation finds in each, and how much
the tiles differ tells how far it can be trusted: where they contradict each other, as they do in noise and between
serial sections that have little in common, it is 0. What all structures do together cannot be told from drift.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from zinterp.errors import BadOptionError
from zinterp.volume import Planes, VolumeReader

Image = NDArray[np.float32]
Spectrum = NDArray[np.complex64]
Shift = tuple[float, float]

SIZE = 2048  # pixels of the longer edge: larger planes are binned, and still measured to 0.1 to 0.2 pixels
OVERVIEW = 512  # pixels of the longer edge where the first guess is made
SMALLEST = 64  # pixels of the shorter edge: smaller planes have no room for tiles, and no drift is measured
TILE = (64, 128)  # pixels of a tile's edge, a quarter of the plane's; smaller ones make errors, larger ones cost time
TILES = 7  # along each edge at most, half overlapping where there is no room for more
FEW_TILES = 4  # the same where a rough idea will do
LARGEST = (1 / 4, 64.0)  # of the shorter edge, and pixels: what seems farther away resembles by chance
BLUR = 2.0  # pixels: finer grain is noise, and where planes share theirs, as after denoising, it says 0
WHITENING = 0.75  # 1 is phase correlation, which noise spoils; 0 plain correlation, which a few large structures rule
LARGE = 1e15  # grey values beyond it are scaled down, lest their squares overflow
FLOOR = 1e-6  # of the strongest frequency's power: rounding
FRACTION = 20  # parts of a pixel that are told apart
SPREAD = 0.09  # of a tile's edge: unrelated planes' tiles differ by 0.1 to 0.16, serial sections' by up to 0.06
LIKENESS = 0.3  # correlation: serial sections of brain have 0.45 to 0.77, unrelated planes less, if they are not tiny
ERROR = 0.2  # pixels: a smaller standard error makes any shift a measurement,
PART = 1 / 2  # of the shift: or one smaller than this; with other shifts the error is as likely to grow
SAMPLE = 32  # pairs of planes that are looked at where a rough idea will do
BRIDGE = 3  # planes after a break that are compared with the last one before it


@dataclass(frozen=True)
class Drift:
    """Where each plane lies relative to the first.

    Parameters
    ----------
    offsets : tuple of (float, float)
        (y, x) of each plane in pixels; the first is (0, 0). What plane 0 shows at p, plane k shows at p + offset.
    """

    offsets: tuple[Shift, ...]

    def between(self, one: int, other: int) -> Shift:
        """How far what plane ``one`` shows is shifted in plane ``other``: (y, x) in pixels."""
        (y, x), (other_y, other_x) = self.offsets[one], self.offsets[other]
        return other_y - y, other_x - x

    def shifts_to(self, before: int, after: int, t: float, planes: Sequence[int]) -> list[Shift]:
        """The shifts that bring planes to where depth t between two planes lies, if drift is linear between these."""
        (y0, x0), (y1, x1) = self.offsets[before], self.offsets[after]
        y, x = y0 + t * (y1 - y0), x0 + t * (x1 - x0)
        return [(y - self.offsets[k][0], x - self.offsets[k][1]) for k in planes]

    @property
    def largest_step(self) -> tuple[float, int]:
        """The largest distance between neighbouring planes in pixels, and the plane after which it is; or (0.0, 0)."""
        steps = [float(np.hypot(*self.between(k, k + 1))) for k in range(len(self.offsets) - 1)]
        return max(((step, k) for k, step in enumerate(steps)), key=lambda pair: pair[0], default=(0.0, 0))


def measure_drift(reader: VolumeReader, planes: Sequence[int] | None = None) -> Drift:
    """Measure where each plane lies relative to the first, by phase correlation of neighbours.

    A plane that resembles neither neighbour, blank or damaged, is passed over: the next ones are compared with the last
    one before it. Where a shift is not supported it is 0.

    Parameters
    ----------
    reader : VolumeReader
        Each plane is read once.
    planes : sequence of int or None
        Rising; the planes to measure. Offsets of others, and of planes passed over, are interpolated linearly, before
        the first and after the last continued. None is all.

    Returns
    -------
    Drift

    Raises
    ------
    BadOptionError
        If the planes do not rise or are not in the volume.
    """
    depth = reader.info.shape[0]
    chosen = list(range(depth)) if planes is None else list(planes)
    if not chosen or chosen != sorted({*chosen}) or chosen[0] < 0 or chosen[-1] >= depth:
        raise BadOptionError(f"got planes {chosen[:8]} to measure the drift of, expected rising numbers below {depth}")
    places = follow((k, view(read(reader, k))) for k in chosen)
    y, x = (np.interp(range(depth), list(places), [place[axis] for place in places.values()]) for axis in (0, 1))
    return Drift(tuple((float(a - y[0]), float(b - x[0])) for a, b in zip(y, x, strict=True)))


def is_measurable(reader: VolumeReader) -> bool:
    """Whether there are two planes, and large enough for tiles."""
    return reader.info.shape[0] > 1 and min(reader.info.shape[1:]) >= SMALLEST


def sample_steps(
    reader: VolumeReader, count: int = SAMPLE, planes: Sequence[int] | None = None
) -> list[tuple[int, Shift]]:
    """Measure the shifts between some neighbouring planes, spread evenly over the stack.

    Parameters
    ----------
    reader : VolumeReader
    count : int
        How many at most.
    planes : sequence of int or None
        Rising; those that count. None is all.

    Returns
    -------
    list of (int, (float, float))
        The first plane of each pair, rising, and by how much (y, x) the second is shifted, in pixels; 0 where no shift
        is supported.
    """
    if not is_measurable(reader):
        return []
    steps: list[tuple[int, Shift]] = []
    seen: dict[int, View] = {}
    for pair in sampled_pairs(range(reader.info.shape[0]) if planes is None else planes, count):
        seen = {k: seen[k] if k in seen else view(read(reader, k)) for k in pair}
        steps.append((pair[0], shift_between(seen[pair[0]], seen[pair[1]]) or (0.0, 0.0)))
    return steps


def sampled_pairs(planes: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Some pairs of planes that follow each other, ``count`` at most, spread evenly."""
    pairs = list(pairwise(planes))
    return [pairs[i] for i in np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int)]


def shifted(planes: Image, shifts: Sequence[Shift]) -> Image:
    """Move what each plane shows, by cubic splines.

    Parameters
    ----------
    planes : ndarray, shape (n, Y, X), float32
        Finite.
    shifts : sequence of (float, float)
        (y, x) of each plane, in pixels. By whole pixels values are copied as they are.

    Returns
    -------
    ndarray, shape (n, Y, X), float32
        What comes in from outside continues the edge.
    """
    moved = [
        copied(plane, (int(shift[0]), int(shift[1])))
        if all(float(length).is_integer() for length in shift)
        else ndimage.shift(plane, shift, order=3, mode="nearest")
        for plane, shift in zip(planes, shifts, strict=True)
    ]
    return np.stack(moved)


def copied(plane: Image, shift: tuple[int, int]) -> Image:
    """The plane moved by whole pixels, its edge continued."""
    if shift == (0, 0):
        return plane
    rows, cols = (np.clip(np.arange(n) - d, 0, n - 1) for n, d in zip(plane.shape, shift, strict=True))
    moved: Image = plane[rows[:, None], cols]
    return moved


@dataclass(frozen=True)
class View:
    """What is kept of a plane to compare it: itself, binned if large; an overview of it, blurred, and its spectrum."""

    plane: Image
    pixel: int  # of the plane, in the file's
    overview: Image
    spectrum: Spectrum
    bin: int  # of the overview, in the plane's pixels


def read(reader: VolumeReader, k: int) -> Planes:
    """Plane k, fit for a view."""
    return repaired(reader.read(range(k, k + 1))[0])


def repaired(plane: Planes) -> Planes:
    """A plane whose values that are not finite are as the mean of the others, and none too large to be squared."""
    plane = finite(plane)
    if plane.dtype.kind == "f" and (largest := float(np.abs(plane).max())) > LARGE:
        plane = plane / largest
    return plane


def finite(plane: Planes) -> Planes:
    """A plane whose values that are not finite are as the mean of the others."""
    if plane.dtype.kind == "f" and not (known := np.isfinite(plane)).all():
        plane = np.where(known, plane, plane[known].mean(dtype=np.float64) if known.any() else 0)
    return plane


def view(plane: Planes) -> View:
    """Prepare a plane for comparing."""
    pixel = -(-max(plane.shape) // SIZE)
    small = binned(plane, pixel)
    bin = -(-max(small.shape) // OVERVIEW)
    overview = binned(small, bin)
    spectrum = spectrum_of(overview, window(overview.shape))
    return View(small, pixel, ndimage.gaussian_filter(overview, BLUR), spectrum, bin)


def binned(plane: Planes, edge: int) -> Image:
    """Means of blocks of ``edge`` x ``edge`` pixels."""
    rows, cols = (max(n // edge, 1) * edge for n in plane.shape)
    total = np.zeros(plane[:rows:edge, :cols:edge].shape, np.float32)
    for y in range(edge):
        for x in range(edge):
            total += plane[y:rows:edge, x:cols:edge]
    total /= edge * edge
    return total


def window(shape: tuple[int, ...]) -> Image:
    """A Hann window."""
    y, x = (np.hanning(n + 2)[1:-1] for n in shape)
    return np.outer(y, x).astype(np.float32)


def spectrum_of(image: Image, weights: Image) -> Spectrum:
    """Fourier transform under a window, the mean taken out."""
    spectrum: Spectrum = fft.fft2((image - np.average(image, weights=weights)).astype(np.float32) * weights)
    return spectrum


def follow(views: Iterable[tuple[int, View]]) -> dict[int, Shift]:
    """Where each plane lies relative to the first, planes passed over left out."""
    remaining = iter(views)
    previous, seen = next(remaining)
    places: dict[int, Shift] = {previous: (0.0, 0.0)}
    last: tuple[int, View] | None = None  # before a break
    after: list[int] = []  # planes since then
    for k, this in remaining:
        shift = shift_between(seen, this)
        bridge = shift_between(last[1], this) if shift is None and last else None
        if last and bridge:
            for passed in after:
                del places[passed]
            previous, shift, last = last[0], bridge, None
        elif shift is None and not last:
            last, after = (previous, seen), []
        elif len(after) >= BRIDGE:
            last = None
        places[k] = plus(places[previous], shift or (0.0, 0.0))
        after.append(k)
        previous, seen = k, this
    return places


def plus(one: Shift, other: Shift) -> Shift:
    """One shift after the other."""
    return one[0] + other[0], one[1] + other[1]


def shift_between(one: View, other: View, tiles: int = TILES) -> Shift | None:
    """How far what one plane shows is shifted in the other, (0, 0) if that is not certain; None if they are unrelated.

    The first guess comes from the overviews, and is kept if they then resemble each other more than they do in place.
    ``tiles`` along each edge at most have a say then.
    """
    shape = one.plane.shape
    if min(shape) * one.pixel < SMALLEST or not np.ptp(one.overview) or not np.ptp(other.overview):
        return None
    limit = min(LARGEST[0] * min(shape), LARGEST[1] / one.pixel)
    start = peak(one.spectrum, other.spectrum, lowpass(one.overview.shape), 1)[0] * one.bin
    if not np.hypot(*start) <= limit or likeness(one, other, start) <= likeness(one, other, (0, 0)):
        start = np.zeros(2)
    shift, spread, error = vote(one.plane, other.plane, start, tiles)
    before, after = likeness(one, other, (0, 0)), likeness(one, other, shift)
    size = float(np.hypot(*shift))
    if not spread <= SPREAD or max(before, after) < LIKENESS or size > limit:
        return None
    certain = error * one.pixel <= ERROR or error <= PART * size
    if not certain or after < before:
        return 0.0, 0.0
    return float(shift[0]) * one.pixel, float(shift[1]) * one.pixel


def likeness(one: View, other: View, shift: Iterable[float]) -> float:
    """Correlation of the overviews, one of them shifted by whole pixels not beyond ``shift``."""
    a, b = overlap(one.overview, other.overview, [int(d / one.bin) for d in shift])
    a, b = a - a.mean(), b - b.mean()
    power = float(np.vdot(a, a)) * float(np.vdot(b, b))
    return float(np.vdot(a, b)) / power**0.5 if power else 0.0


def overlap(one: Image, other: Image, shift: Sequence[int]) -> tuple[Image, Image]:
    """The parts of two images that show the same if what the other shows is shifted."""
    parts = [
        (slice(max(0, -d), n - max(0, d)), slice(max(0, d), n - max(0, -d)))
        for n, d in zip(one.shape, shift, strict=True)
    ]
    (rows, other_rows), (cols, other_cols) = parts
    return one[rows, cols], other[other_rows, other_cols]


def vote(one: Image, other: Image, start: NDArray[np.float64], tiles: int) -> tuple[NDArray[np.float64], float, float]:
    """The median shift over tiles; how much they differ, in edges of a tile; and the standard error, in pixels.

    Tiles count by how much they resemble each other, so that empty ones do not. If the median is far from the start,
    tiles are cut anew there, where they show the same.
    """
    for _ in range(2):
        whole = np.rint(start).astype(int)
        found, weights, edge = tile_shifts(*overlap(one, other, whole.tolist()), tiles)
        if not weights.sum():
            return start, np.inf, np.inf
        median = np.array([weighted_median(found[:, axis], weights) for axis in (0, 1)])
        deviations = np.abs(found - median)
        # 1.48 and 1.25 make a standard error of it if shifts are normally distributed; tiles that overlap count half
        spread = 1.48 * np.array([weighted_median(deviations[:, axis], weights) for axis in (0, 1)])
        start = whole + median
        if np.abs(median).max() <= 0.6:  # it was the nearest whole pixel, about
            break
    count = weights.sum() ** 2 / (weights**2).sum() / 2
    return start, float(spread.max()) / edge, 1.25 * float(np.hypot(*spread)) / count**0.5


def tile_shifts(one: Image, other: Image, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """The shift in each tile, (n, 2); how much the tiles resemble each other then, (n,), 0 to 1; their edge."""
    shortest = min(one.shape)
    edge = min(max(shortest // 4, TILE[0]), TILE[1], shortest // 2)
    rows, cols = (np.linspace(0, n - edge, min(count, 2 * n // edge - 1)).astype(int) for n in one.shape)
    weights, blur = window((edge, edge)), lowpass((edge, edge))
    tiles = [(slice(y, y + edge), slice(x, x + edge)) for y in rows for x in cols]
    peaks = [peak(spectrum_of(one[tile], weights), spectrum_of(other[tile], weights), blur, FRACTION) for tile in tiles]
    return np.array([shift for shift, _ in peaks]), np.array([match for _, match in peaks]), edge


def peak(one: Spectrum, other: Spectrum, blur: Image, fraction: int) -> tuple[NDArray[np.float64], float]:
    """The shift at which two images, partly whitened, match best, and their squared correlation there."""
    from skimage.registration import phase_cross_correlation

    power = np.abs(one) * np.abs(other)
    highest = float(power.max())
    if not highest:
        return np.zeros(2), 0.0
    scale = blur / np.maximum(power / highest, FLOOR) ** np.float32(WHITENING / 2)
    shift, error, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        one * scale, other * scale, upsample_factor=fraction, space="fourier", normalization=None
    )
    return -np.asarray(shift, np.float64), float(np.clip(1 - error**2, 0, 1))


def lowpass(shape: tuple[int, ...]) -> Image:
    """What a Gaussian of ``BLUR`` leaves of each frequency of two images' product; a root of it is for either."""
    y, x = (fft.fftfreq(n) for n in shape)
    left: Image = np.exp(-((np.pi * BLUR) ** 2) * (y[:, None] ** 2 + x**2)).astype(np.float32)
    return left


def weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The value with half of the weight on either side."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
