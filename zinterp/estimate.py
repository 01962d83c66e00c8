"""What a job will cost, before it is run."""

import time
from dataclasses import dataclass

import numpy as np

from zinterp.compute import context_planes
from zinterp.drift import shifted
from zinterp.interpolators import Interpolator
from zinterp.job import Job
from zinterp.plan import Slab
from zinterp.slabs import read_slab
from zinterp.threads import side_by_side
from zinterp.volume import VolumeReader


@dataclass(frozen=True)
class Estimate:
    """Seconds of computing on this machine, and what they are made of."""

    tiles: int
    seconds_per_tile: float

    @property
    def seconds(self) -> float:
        """All tiles of all gaps."""
        return self.tiles * self.seconds_per_tile


def estimate(job: Job, reader: VolumeReader, interpolator: Interpolator) -> Estimate:
    """Time the interpolator on one tile of the volume's middle gap, with all depths of a gap."""
    grid = job.stacks[0].grid
    gap = grid.kept[(len(grid.kept) - 2) // 2]
    around = grid.around(gap, job.needs.context)
    slab = Slab(sorted({*around}), range(0))
    planes = job.stacks[0].normalizer.normalize(context_planes(job, slab, read_slab(reader, slab), around))
    rows, cols = job.layout.tile
    padding = [(0, 0), (0, max(0, rows - planes.shape[1])), (0, max(0, cols - planes.shape[2]))]
    tile = np.pad(planes, padding, mode="symmetric")[None, :, :rows, :cols]
    drift = job.stacks[0].drift
    depths = 1 if drift else max(grid.per_gap - 1, 1)  # aligned planes are made one by one
    times = np.linspace(0, 1, depths + 2, dtype=np.float32)[1:-1]
    interpolator(tile, times)  # the first call also loads and sets up

    def call(_: int) -> None:
        interpolator(shifted(tile[0], [(0.5, 0.5)] * tile.shape[1])[None] if drift else tile, times)

    start = time.perf_counter()
    for _ in side_by_side(call, range(job.at_once), job.at_once):
        pass
    seconds = (time.perf_counter() - start) / job.at_once
    made = job.synthesised / len(times)  # in gaps of this many planes
    return Estimate(round(job.layout.counts[0] * job.layout.counts[1] * made), seconds)
