"""The model that suits a stack: the quick check behind ``model="auto"``, which hides some of its planes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zinterp.compute import fill_nonfinite
from zinterp.drift import shifted
from zinterp.interpolators import Interpolator
from zinterp.interpolators.cubic import CubicInterpolator
from zinterp.job import Job, Stack
from zinterp.plan import ZGrid
from zinterp.tiling import apply_tiled, tile_layout
from zinterp.volume import OneStack, VolumeReader

SAMPLE = 12  # hidden planes that are looked at in each stack
EDGE = 256  # pixels of the squares that are looked at, one in each of these planes
SPREAD = (0.7548776662466927, 0.5698402909980532)  # steps by which such squares cover a plane evenly
LEAST_GAIN = 0.05  # decibels
LEAST = 1e-12  # of a squared error, the intensity range being 1


@dataclass(frozen=True)
class Choice:
    """Which model was chosen, and why.

    Parameters
    ----------
    model : str
        The identity of the chosen one.
    psnr_db : mapping of str to float
        Of each candidate, by identity, on the planes that were hidden, relative to the intensity range; empty where
        the stack has too few planes to hide any.
    planes : int
        How many were hidden.
    """

    model: str
    psnr_db: Mapping[str, float]
    planes: int

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"psnr_db": {name: round(value, 2) for name, value in self.psnr_db.items()}, "planes": self.planes}

    def __str__(self) -> str:
        if not self.planes:
            return f"{self.model}, as there are too few planes to hide any"
        figures = ", ".join(f"{name} {value:.2f} dB" for name, value in self.psnr_db.items())
        return f"{self.model}, on {self.planes} hidden planes: {figures}"


class Sample(NamedTuple):
    """A square of a hidden plane (Y, X), the planes around it (2c, Y, X), normalised, and its depth t."""

    truth: NDArray[np.float32]
    context: NDArray[np.float32]
    t: float


def choose_interpolator(reader: VolumeReader, job: Job, network: Interpolator) -> tuple[Interpolator, Choice]:
    """Choose between a network and cubic interpolation by which predicts hidden planes of a stack better.

    Every second plane is hidden, and up to twelve of these, spread over each stack, are predicted in a square of 256
    pixels that moves over the plane. The gap is then twice as wide as those of the job.

    Parameters
    ----------
    reader : VolumeReader
    job : Job
        Says where planes lie, which are not used, how they drift, and what the intensity range is.
    network : Interpolator

    Returns
    -------
    Interpolator, Choice
        Cubic unless the network's PSNR is better by 0.05 dB, and on most of the planes; and where there are too few
        planes to hide any.
    """
    candidates: tuple[Interpolator, ...] = (network, CubicInterpolator())
    errors: dict[str, list[float]] = {candidate.identity: [] for candidate in candidates}
    for number, stack in enumerate(job.stacks):
        volume = OneStack(reader, number)
        for sample in samples(volume, stack, max(c.needs.context for c in candidates), job.fill_nonfinite):
            for candidate in candidates:
                errors[candidate.identity].append(squared_error(candidate, sample))
    psnr = {name: float(-10 * np.log10(max(float(np.mean(e)), LEAST))) for name, e in errors.items() if e}
    ours, theirs = (candidate.identity for candidate in candidates)
    ahead = sum(a < b for a, b in zip(errors[ours], errors[theirs], strict=True))
    helps = bool(psnr) and psnr[ours] > psnr[theirs] + LEAST_GAIN and 2 * ahead > len(errors[ours])
    chosen = candidates[0 if helps else 1]
    return chosen, Choice(chosen.identity, psnr, len(errors[ours]))


def samples(volume: OneStack, stack: Stack, context: int, fill: bool) -> Iterator[Sample]:
    """Squares of hidden planes, with as much context as the greediest model wants."""
    kept = stack.grid.kept
    seen, hidden = kept[::2], kept[1:-1:2]
    if not hidden:
        return
    places = [stack.grid.acquired[k] for k in (*seen, *hidden)]
    grid = ZGrid(tuple(places[: len(seen)]), tuple(places[len(seen) :]))
    height, width = volume.info.shape[1:]
    edges = min(EDGE, height), min(EDGE, width)
    for n, i in enumerate(np.linspace(0, len(hidden) - 1, min(SAMPLE, len(hidden))).astype(int).tolist()):
        before, t = grid.locate(i)
        around = [seen[j] for j in grid.around(before, context)]
        top, left = (
            int(n * step % 1 * (edge - part + 1))
            for step, edge, part in zip(SPREAD, (height, width), edges, strict=True)
        )
        square = slice(top, top + edges[0]), slice(left, left + edges[1])
        planes = {k: volume.read(range(k, k + 1))[0] for k in {*around, hidden[i]}}
        if fill:
            planes = {k: fill_nonfinite(plane) for k, plane in planes.items()}
        normalised = {k: stack.normalizer.normalize(plane) for k, plane in planes.items()}
        near = np.stack([normalised[k] for k in around])
        if stack.drift is not None:
            near = shifted(near, [stack.drift.between(k, hidden[i]) for k in around])
        yield Sample(normalised[hidden[i]][square], near[:, *square], float(t))


def squared_error(interpolator: Interpolator, sample: Sample) -> float:
    """Mean squared error of what a model makes of a sample."""
    middle, own = len(sample.context) // 2, interpolator.needs.context
    layout = tile_layout(
        sample.truth.shape, tile=None, overlap=interpolator.needs.overlap, multiple_of=interpolator.needs.multiple_of
    )
    times = np.array([sample.t], np.float32)
    context = sample.context[middle - own : middle + own]
    ((made,),) = apply_tiled(lambda tiles: [interpolator(tiles, times)], context, layout)
    return float(np.mean((made - sample.truth) ** 2, dtype=np.float64))
