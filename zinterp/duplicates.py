"""Planes that repeat the one before them: a stage that stalled, or an export that doubled them.

A stage that stalls is imaged again with fresh noise, so that no pixel need be equal. What tells a repeated plane is
that it changes far less than the planes around it do, averaged over blocks, which suppresses noise, and apart from
brightness and contrast. A stack that is smooth along z changes little everywhere, and loses nothing.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from zinterp.errors import BadOptionError
from zinterp.volume import Planes, VolumeReader

THRESHOLD = 0.01
BLOCK = 8  # pixels
NEIGHBOURS = 16  # changes on either side that say what is ordinary: a stall with fresh noise is found up to so long
SMALL = 0.5  # of an ordinary change: less than the calmest plane of any real volume, more than noise makes
LEAST = 1e-6  # of a plane's contrast: smaller changes are rounding
EMPTY = 0.01  # of the highest contrast: planes with less show nothing but a few odd pixels
LISTED = 8


@dataclass(frozen=True)
class Duplicate:
    """A plane, and the plane before it that it repeats; both are numbered from 0."""

    plane: int
    repeats: int


@dataclass(frozen=True)
class Change:
    """How a plane differs from one before it.

    Parameters
    ----------
    none : bool
        Not at all, bit for bit.
    contrast : float
        Standard deviation of the blocks of that plane that shows less.
    size : float
        Root mean square over blocks, in standard deviations of a plane's blocks; infinite if either shows nothing.
    most : float
        What less than the threshold's part of the blocks exceed, in the same unit.
    """

    none: bool
    contrast: float
    size: float
    most: float

    def is_repetition(self, ordinary: float) -> bool:
        """Whether the plane repeats the other where changes of the size ``ordinary`` are what is to be expected."""
        return self.none or (ordinary > LEAST and self.size < SMALL * ordinary and self.most <= ordinary)


def find_duplicates(reader: VolumeReader, threshold: float | bool = THRESHOLD) -> tuple[Duplicate, ...]:
    """Find the planes that repeat the last one before them that is no repetition itself.

    A plane is one if it differs by less than half of what is ordinary there, and if less than a part ``threshold`` of
    its pixels differ by more than that. A pixel is judged by the mean of a block of 8 x 8. Planes that are empty while
    others are not repeat nothing.

    Parameters
    ----------
    reader : VolumeReader
        Read once, with two planes in memory; runs of duplicates twice.
    threshold : float or bool
        Part of the pixels, 0 to 1; 0 and False find nothing, True is 0.01.

    Returns
    -------
    tuple of Duplicate
        Rising. The last plane of the stack may be among them, the first is not.

    Raises
    ------
    BadOptionError
        If the threshold is not a part.
    """
    part = checked_threshold(threshold)
    if not part:
        return ()
    changes = list(scan(reader, part))
    highest = max((change.contrast for change in changes), default=0)
    changes = [replace(c, none=False, size=np.inf) if c.contrast < EMPTY * highest else c for c in changes]
    ordinary = ordinary_sizes(changes)
    duplicates: list[Duplicate] = []
    for is_repetition, run in groupby(range(len(changes)), key=lambda i: changes[i].is_repetition(ordinary[i])):
        if is_repetition:
            duplicates += follow(reader, list(run), changes, ordinary, part)
    return tuple(duplicates)


def checked_threshold(threshold: float | bool) -> float:
    """The threshold as a number; True is the default, False is 0."""
    part = float(threshold and THRESHOLD) if isinstance(threshold, bool) else threshold
    if not 0 <= part <= 1:
        raise BadOptionError(
            f"the threshold of duplicates is {part:g}, expected a part of the pixels from 0 to 1: give {THRESHOLD}"
        )
    return part


def scan(reader: VolumeReader, part: float) -> Iterator[Change]:
    """The change from each plane to the next."""
    before = read(reader, 0)
    for k in range(1, reader.info.shape[0]):
        after = read(reader, k)
        yield compare(before, after, part)
        before = after


def ordinary_sizes(changes: Sequence[Change]) -> list[float]:
    """The median size of the changes around each, repetitions bit for bit not counted; at most a plane's contrast."""
    counted = [i for i, change in enumerate(changes) if not change.none]
    sizes = np.array([min(changes[i].size, 1.0) for i in counted])
    places = [bisect_left(counted, i) for i in range(len(changes))]
    around = [sizes[max(j - NEIGHBOURS, 0) : j + NEIGHBOURS + 1] for j in places]
    return [float(np.median(part)) if len(part) else 0.0 for part in around]


def follow(
    reader: VolumeReader, run: Sequence[int], changes: Sequence[Change], ordinary: Sequence[float], part: float
) -> Iterator[Duplicate]:
    """The duplicates in a run of small changes, each plane compared with the last kept one, lest many steps add up.

    The changes at both ends of the run must be ordinary too: a stack that calms down gradually has no duplicates.
    """
    ends = [changes[i].size for i in (run[0] - 1, run[-1] + 1) if 0 <= i < len(changes)]
    kept = run[0]
    for i in run:
        change = changes[i]
        if not change.none and kept != i:
            change = compare(read(reader, kept), read(reader, i + 1), part)
        if change.is_repetition(min([ordinary[i], *ends])):
            yield Duplicate(i + 1, kept)
        else:
            kept = i + 1


@dataclass(frozen=True)
class Seen:
    """A plane, the means of its blocks with their mean taken out, that mean, and how much these vary."""

    plane: Planes
    blocks: NDArray[np.float64]
    level: float
    contrast: float


def read(reader: VolumeReader, k: int) -> Seen:
    """Plane k in blocks."""
    return see(reader.read(range(k, k + 1))[0])


def see(plane: Planes) -> Seen:
    """A plane in blocks of 8 to 15 pixels; values that are not finite are as the mean of the others."""
    values = plane
    if plane.dtype.kind == "f" and not (finite := np.isfinite(plane)).all():
        values = np.where(finite, plane, plane[finite].mean(dtype=np.float64) if finite.any() else 0)
    height, width = (max(1, edge // BLOCK) for edge in plane.shape)
    rows, cols = plane.shape[0] // height, plane.shape[1] // width
    blocks = values[: height * rows, : width * cols].reshape(height, rows, width, cols).mean((1, 3), dtype=np.float64)
    level = blocks.mean()
    return Seen(plane, blocks - level, float(level), float(blocks.std()) if np.ptp(blocks) else 0.0)


def compare(before: Seen, after: Seen, part: float) -> Change:
    """The change from one plane to another."""
    none = np.array_equal(before.plane, after.plane, equal_nan=after.plane.dtype.kind == "f")
    contrast = min(before.contrast, after.contrast)
    if contrast == 0:
        return Change(none, contrast, np.inf, np.inf)
    distance = np.abs(after.blocks / after.contrast - before.blocks / before.contrast)
    size, most = np.sqrt(np.mean(distance**2)), np.quantile(distance, 1 - part, method="higher")
    return Change(none, contrast, float(size), float(most))


def describe(duplicates: Sequence[Duplicate]) -> str:
    """Which planes repeat which, short enough for a line: ``18-19 (as 17), 31 (as 30)``."""
    runs = [(kept, [d.plane for d in run]) for kept, run in groupby(duplicates, key=lambda d: d.repeats)]
    listed = [f"{'-'.join(map(str, sorted({run[0], run[-1]})))} (as {kept})" for kept, run in runs[:LISTED]]
    left = sum(len(run) for _, run in runs[LISTED:])
    return ", ".join(listed) + (f" and {left} more" if left else "")
