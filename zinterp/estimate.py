"""What a job will cost, before it is run."""

import time
from dataclasses import dataclass

import numpy as np

from zinterp.interpolators import Interpolator
from zinterp.job import Job
from zinterp.pipeline import context_planes, read_slab
from zinterp.plan import Slab
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
    gap = job.grid.kept[(len(job.grid.kept) - 2) // 2]
    slab = Slab(sorted({*job.grid.around(gap, job.needs.context)}), range(0))
    planes = context_planes(job, slab, read_slab(reader, slab), gap)
    rows, cols = job.layout.tile
    padding = [(0, 0), (0, max(0, rows - planes.shape[1])), (0, max(0, cols - planes.shape[2]))]
    tile = np.pad(planes, padding, mode="symmetric")[None, :, :rows, :cols]
    times = np.array([float(t) for t in job.grid.depths], np.float32)
    interpolator(tile, times)  # the first call also loads and sets up
    start = time.perf_counter()
    interpolator(tile, times)
    made = (len(job.grid) - len(job.grid.kept)) / len(times)  # in gaps of this many planes
    count = round(job.layout.counts[0] * job.layout.counts[1] * made)
    return Estimate(count, time.perf_counter() - start)
