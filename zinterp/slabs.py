"""Making the slabs of a job, in this process or in one that was told to: the same line for all."""

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from zinterp.compute import Made, compute_slab
from zinterp.duplicates import Duplicate
from zinterp.errors import BadOptionError
from zinterp.executors.serial import run_serial
from zinterp.finishing import Measures
from zinterp.interpolators import CLASSICAL, Interpolator, create_interpolator
from zinterp.io import open_volume
from zinterp.job import Job, fingerprint
from zinterp.options import AUTO, UpsampleOptions
from zinterp.outputs import Outputs, attach_outputs
from zinterp.plan import Slab
from zinterp.volume import Planes, VolumeReader

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MadeSlab:
    """A slab that is on disk: its number, what was measured of its planes, and neighbours met that are equal."""

    number: int
    measures: tuple[Measures, ...]
    doubled: tuple[Duplicate, ...]


class SlabMaker:
    """Takes slabs of a job through the straight line: read, compute, write.

    Parameters
    ----------
    job : Job
    reader : VolumeReader
    interpolator : Interpolator
    writer : Outputs
    say : callable
        Told, in words, of a read or a write that takes long.
    """

    def __init__(
        self,
        job: Job,
        reader: VolumeReader,
        interpolator: Interpolator,
        writer: Outputs,
        say: Callable[[str], None],
    ) -> None:
        self._job, self._reader, self._interpolator, self._writer = job, reader, interpolator, writer
        self._say = say
        self._made: dict[int, MadeSlab] = {}

    def run(self, numbers: Iterable[int]) -> Generator[MadeSlab]:
        """Make slabs in turn; each is reported once it is on disk."""
        for i in run_serial(
            numbers, read=self._read, compute=self._compute, write=self._write, waiting=self._say_waiting
        ):
            yield self._made.pop(i)

    def make(self, number: int) -> MadeSlab:
        """Make one slab."""
        (made,) = self.run([number])
        return made

    def _read(self, i: int) -> Planes:
        return read_slab(self._reader, self._job.slabs[i])

    def _compute(self, i: int, planes: Planes) -> Made:
        slab, keep_sigma = self._job.slabs[i], self._writer.confidence is not None
        made = compute_slab(self._job, self._interpolator, slab, planes, keep_sigma=keep_sigma)
        self._made[i] = MadeSlab(i, tuple(made.measures), tuple(equal_neighbours(slab, planes)))
        return made

    def _write(self, i: int, made: Made) -> None:
        self._writer.write(self._job.slabs[i], made)

    def _say_waiting(self, what: str, i: int, seconds: float) -> None:
        self._say(f"waiting for the disk to {what} slab {i + 1} of {len(self._job.slabs)} for {seconds:.0f} s now")


@dataclass(frozen=True)
class Order:
    """What another process must know to make slabs of a job, in an output that is there already.

    Called there, with what takes news in words and the number of the process, it opens what it needs and gives back
    what makes a slab by its number.

    Parameters
    ----------
    job : Job
    source, target : Path
    options : UpsampleOptions
    interpolator : Interpolator or None
        One that was given by the caller; None is that which the options name.
    """

    job: Job
    source: Path
    target: Path
    options: UpsampleOptions
    interpolator: Interpolator | None = None

    def fingerprint(self) -> Mapping[str, Any]:
        """What two jobs must share for one to go on with the other's output."""
        return fingerprint(self.source, self.job, self.options)

    def anywhere(self) -> "Order":
        """The same for a process that is at home in another folder."""
        confidence = self.options.confidence
        options = replace(self.options, confidence=None if confidence is None else Path(confidence).absolute())
        return replace(self, source=self.source.absolute(), target=self.target.absolute(), options=options)

    def __call__(self, say: Callable[[str], None], process: int | None = None) -> Callable[[int], MadeSlab]:
        """Open input, model and output -> what makes a slab."""
        interpolator = self.interpolator or self._built(process)
        reader = open_source(self.source, self.options)
        writer = attach_outputs(self.job, self.target, self.options)
        return SlabMaker(self.job, reader, interpolator, writer, lambda text: say(f"{self.source}: {text}")).make

    def _built(self, process: int | None) -> Interpolator:
        """The interpolator that the options name, which must be that of the job; built once in a process."""
        options = self.options
        device = options.device if process is None or self.job.model in CLASSICAL else spread(options.device, process)
        chosen = self.job.model if self.job.model in CLASSICAL else options.model
        model = None if chosen == AUTO else chosen
        interpolator = built(model, device, options.precision, options.restore)
        if interpolator.identity != self.job.model:
            raise BadOptionError(
                f"a worker would compute by {interpolator.identity}, and the job is for {self.job.model}: give "
                "--device and --precision that all machines have, and the same weights"
            )
        return interpolator


@lru_cache(maxsize=1)
def built(model: str | None, device: str, precision: str, restore: bool | str) -> Interpolator:
    """An interpolator, kept for the next job of this process."""
    return create_interpolator(model, device=device, precision=precision, restore=restore)


def spread(device: str, process: int) -> str:
    """The device of a process among several; see ``spread_device``."""
    from zinterp.interpolators.network import spread_device

    return spread_device(device, process)


def equal_neighbours(slab: Slab, planes: Planes) -> Iterator[Duplicate]:
    """Planes of a slab that equal the one before them and are not empty; others cost a look at their first row."""
    for (one, before), (other, after) in pairwise(zip(slab.source, planes, strict=True)):
        if np.array_equal(before[0], after[0]) and np.array_equal(before, after) and np.ptp(after):
            yield Duplicate(other, one)


def read_slab(reader: VolumeReader, slab: Slab) -> Planes:
    """The input planes of a slab, (n, Y, X)."""
    runs = [reader.read(run, slab.stack) for run in slab.runs()]
    return runs[0] if len(runs) == 1 else np.concatenate(runs)


def open_source(source: Path, options: UpsampleOptions) -> VolumeReader:
    """Open an input as the options have it."""
    return open_volume(
        source,
        channel=options.channel,
        time=options.time,
        keep_databar=options.keep_databar,
        fill_gaps=options.fill_gaps,
    )
