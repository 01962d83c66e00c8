"""One slab: acquired planes in, output planes out. Pure: nothing is read or written here."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.drift import shifted
from zinterp.errors import NoRoomError
from zinterp.finishing import Measures, Surroundings, finish
from zinterp.interpolators import Interpolator
from zinterp.interpolators.base import Restoring, Uncertain
from zinterp.job import Job
from zinterp.plan import Slab
from zinterp.pulsing import Statistics
from zinterp.threads import side_by_side
from zinterp.tiling import TileLayout, apply_tiled
from zinterp.volume import Planes


@dataclass(frozen=True)
class Made:
    """The output planes of a slab (n, Y, X) in the file's dtype, and what is known of each.

    ``sigma`` (n, Y, X), float32, are deviations of the errors in grey levels, 0 on acquired planes; None where they are
    not kept, or the model predicts none.
    """

    planes: Planes
    sigma: NDArray[np.float32] | None
    measures: list[Measures]


def compute_slab(job: Job, interpolator: Interpolator, slab: Slab, planes: Planes, *, keep_sigma: bool = False) -> Made:
    """Input planes of a slab (n, Y, X) -> its output planes, both in the file's dtype.

    Acquired planes are copied; the planes of one gap are made together, so that a network sees each gap once. Gaps are
    independent of each other, and some are made at the same time.
    """
    stack, first = job.stacks[slab.stack], slab.target.start
    output = np.zeros((len(slab.target), *planes.shape[1:]), planes.dtype)
    sigmas = np.zeros(output.shape, np.float32) if keep_sigma else None
    measures: dict[int, Measures] = {}

    def make(part: Part) -> None:
        if part.acquired is not None:
            acquired = slab.source.index(part.before)
            output[part.acquired - first] = planes[acquired]
            (plane,) = finite(job, planes[acquired : acquired + 1])
            measures[part.acquired] = Measures(Statistics.of(plane, stack.normalizer.normalize))
        for gap in gaps(job, slab, planes, part):
            raw = interpolate_gap(job, interpolator, gap, at_once=tiles_at_once)
            around = Surroundings(gap.context, gap.acquired, gap.see)
            for j, k in enumerate(gap.numbers):
                finished = finish(
                    job.finishing,
                    raw.planes[j],
                    None if raw.sigma is None else raw.sigma[j],
                    None if raw.restored is None else raw.restored[j],
                    around,
                    float(gap.times[j]),
                    (slab.stack, k),
                )
                output[k - first] = stack.normalizer.denormalize(finished.plane, planes.dtype)
                measures[k] = finished.measures(Statistics.of(output[k - first], stack.normalizer.normalize))
                if sigmas is not None and finished.sigma is not None:
                    sigmas[k - first] = stack.normalizer.denormalize_deviations(finished.sigma)

    parts = parts_of(job, slab)
    gaps_at_once, tiles_at_once = spread(min(job.at_once, interpolator.needs.at_once), parts, job.layout)
    for _ in side_by_side(make, parts, gaps_at_once):
        pass
    return Made(output, sigmas, [measures[k] for k in slab.target])


class Part(NamedTuple):
    """Output planes from an acquired plane on: that plane, where it is one, and those before the next, with depths."""

    before: int
    acquired: int | None
    made: list[tuple[int, Fraction]]


def parts_of(job: Job, slab: Slab) -> list[Part]:
    """What a slab consists of, in turn."""
    grid = job.stacks[slab.stack].grid
    parts = []
    for before, group in groupby(slab.target, key=lambda k: grid.locate(k)[0]):
        located = [(k, grid.locate(k)[1]) for k in group]
        acquired = next((k for k, t in located if not t), None)
        parts.append(Part(before, acquired, [(k, t) for k, t in located if t]))
    return parts


def spread(at_once: int, parts: Sequence[Part], layout: TileLayout) -> tuple[int, int]:
    """How many gaps are made at the same time, and how many tiles of each.

    Tiles rather than gaps, of which each takes memory for whole planes; but two gaps, so that there is something to
    compute while planes are finished.
    """
    tiles = math.prod(layout.counts)
    gaps = min(max(at_once // tiles, min(at_once, 2)), sum(bool(part.made) for part in parts) or 1)
    return gaps, min(-(-at_once // gaps), tiles)


@dataclass(frozen=True)
class Gap:
    """What to make between two acquired planes: numbers of output planes, depths (K,), planes around (2c, Y, X).

    ``see`` makes of these, or of parts of them, what the model sees, normalised float32. ``acquired`` (2, Y, X) are the
    middle two, normalised, where drift was taken out of them, else None.
    """

    numbers: list[int]
    times: NDArray[np.float32]
    context: Planes
    see: Callable[[Planes], NDArray[np.float32]]
    acquired: NDArray[np.float32] | None = None


def gaps(job: Job, slab: Slab, planes: Planes, part: Part) -> Iterator[Gap]:
    """What to make of a part: all at once, or, where drift is taken out, each depth with a context of its own."""
    if not part.made:
        return
    stack = job.stacks[slab.stack]
    around = stack.grid.around(part.before, job.needs.context)
    context, see = context_planes(job, slab, planes, around), stack.normalizer.normalize
    if stack.drift is None:
        numbers, times = zip(*part.made, strict=True)
        yield Gap(list(numbers), np.array([float(t) for t in times], np.float32), context, see)
        return
    context, middle = see(context), len(context) // 2
    for k, t in part.made:
        shifts = stack.drift.shifts_to(part.before, stack.grid.after(part.before), float(t), around)
        moved, acquired = shifted(context, shifts), context[middle - 1 : middle + 1]
        yield Gap([k], np.array([float(t)], np.float32), moved, np.asarray, acquired)


def context_planes(job: Job, slab: Slab, planes: Planes, around: Sequence[int]) -> Planes:
    """Some planes of a slab (2 * context, Y, X), as they were read; no copy where they follow each other."""
    indices = [slab.source.index(k) for k in around]
    first, last = indices[0], indices[-1] + 1
    return finite(job, planes[first:last] if indices == list(range(first, last)) else planes[indices])


def finite(job: Job, planes: Planes) -> Planes:
    """Planes (n, Y, X), with finite values in place of NaN and infinite ones where the job is to fill these."""
    if planes.dtype.kind != "f" or not job.fill_nonfinite:
        return planes
    return np.stack([fill_nonfinite(plane) for plane in planes])


class Raw(NamedTuple):
    """What the model makes of a gap, normalised, (K, Y, X): planes, deviations, restored planes."""

    planes: NDArray[np.float32]
    sigma: NDArray[np.float32] | None = None
    restored: NDArray[np.float32] | None = None


def interpolate_gap(job: Job, interpolator: Interpolator, gap: Gap, *, at_once: int) -> Raw:
    """Run the model on a gap, some tiles at once; all that it makes goes through the tiles together."""

    def model(tiles: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        if isinstance(interpolator, Restoring):
            planes, restored, sigma = interpolator.restored(tiles, gap.times)
            return planes, sigma, restored
        if isinstance(interpolator, Uncertain):
            return interpolator.uncertainty(tiles, gap.times)
        return (interpolator(tiles, gap.times),)

    def call(tiles: Planes) -> Sequence[NDArray[np.float32]]:
        try:
            return model(gap.see(tiles))
        except NoRoomError:
            raise
        except MemoryError as error:
            size = "x".join(map(str, tiles.shape[2:]))
            raise NoRoomError(f"there is no memory for a tile of {size} pixels: give a smaller --tile") from error

    return Raw(*apply_tiled(call, gap.context, job.layout, batch=job.needs.batch, at_once=at_once))


def fill_nonfinite(plane: Planes) -> Planes:
    """The plane with the nearest finite value in place of NaN and infinite ones, 0 if none is finite."""
    bad = ~np.isfinite(plane)
    if not bad.any():
        return plane
    if bad.all():
        return np.zeros_like(plane)
    nearest = ndimage.distance_transform_edt(bad, return_distances=False, return_indices=True)
    filled: Planes = plane[tuple(nearest)]
    return filled
