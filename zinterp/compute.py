"""One slab: acquired planes in, output planes out. Pure: nothing is read or written here."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from zinterp.tiling import apply_tiled
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

    Acquired planes are copied; the planes of one gap are made together, so that a network sees each gap once.
    """
    stack, first = job.stacks[slab.stack], slab.target.start
    output = np.zeros((len(slab.target), *planes.shape[1:]), planes.dtype)
    sigmas = np.zeros(output.shape, np.float32) if keep_sigma else None
    measures: dict[int, Measures] = {}
    for k in slab.target:
        i, t = stack.grid.locate(k)
        if not t:
            acquired = slab.source.index(i)
            output[k - first] = planes[acquired]
            (plane,) = finite(job, planes[acquired : acquired + 1])
            measures[k] = Measures(Statistics.of(plane, stack.normalizer.normalize))
    for gap in gaps(job, slab, planes):
        raw = interpolate_gap(job, interpolator, gap)
        around = Surroundings(gap.context, gap.acquired)
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
    return Made(output, sigmas, [measures[k] for k in slab.target])


@dataclass(frozen=True)
class Gap:
    """What to make between two acquired planes: numbers of output planes, depths (K,), planes around (2c, Y, X).

    ``acquired`` (2, Y, X) are the middle two of these where drift was taken out of them, else None.
    """

    numbers: list[int]
    times: NDArray[np.float32]
    context: NDArray[np.float32]
    acquired: NDArray[np.float32] | None = None


def gaps(job: Job, slab: Slab, planes: Planes) -> Iterator[Gap]:
    """The gaps of a slab in which planes are to be made; where drift is taken out, each depth has its own context."""
    stack = job.stacks[slab.stack]
    for i, group in groupby(slab.target, key=lambda k: stack.grid.locate(k)[0]):
        located = [(k, t) for k in group if (t := stack.grid.locate(k)[1])]
        if not located:
            continue
        around = stack.grid.around(i, job.needs.context)
        context = context_planes(job, slab, planes, around)
        if stack.drift is None:
            yield Gap([k for k, _ in located], np.array([float(t) for _, t in located], np.float32), context)
            continue
        for k, t in located:
            aligned = shifted(context, stack.drift.shifts_to(i, stack.grid.after(i), float(t), around))
            middle = len(context) // 2
            yield Gap([k], np.array([float(t)], np.float32), aligned, context[middle - 1 : middle + 1])


def context_planes(job: Job, slab: Slab, planes: Planes, around: Sequence[int]) -> NDArray[np.float32]:
    """Some planes of a slab, normalised, shape (2 * context, Y, X)."""
    chosen = finite(job, planes[[slab.source.index(k) for k in around]])
    return job.stacks[slab.stack].normalizer.normalize(chosen)


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


def interpolate_gap(job: Job, interpolator: Interpolator, gap: Gap) -> Raw:
    """Run the model on a gap, tile by tile; all that it makes goes through the tiles together."""

    def tiled(function: Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
        def joined(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
            try:
                return np.concatenate(function(tiles), axis=1)
            except NoRoomError:
                raise
            except MemoryError as error:
                size = "x".join(map(str, tiles.shape[2:]))
                raise NoRoomError(f"there is no memory for a tile of {size} pixels: give a smaller --tile") from error

        made = apply_tiled(joined, gap.context, job.layout, batch=job.needs.batch)
        return np.split(made, len(made) // len(gap.times))

    if isinstance(interpolator, Restoring):
        planes, restored, sigma = tiled(lambda tiles: interpolator.restored(tiles, gap.times))
        return Raw(planes, sigma, restored)
    if isinstance(interpolator, Uncertain):
        return Raw(*tiled(lambda tiles: interpolator.uncertainty(tiles, gap.times)))
    return Raw(*tiled(lambda tiles: [interpolator(tiles, gap.times)]))


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
