"""Running a planned job: slab by slab into files that can be gone on with, until the output has its name."""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

import zinterp
from zinterp.compute import Made, compute_slab
from zinterp.duplicates import Duplicate, describe
from zinterp.errors import (
    BadVolumeError,
    InputChangedError,
    InputError,
    NoRoomError,
    OutputError,
    OutputExistsError,
)
from zinterp.executors.serial import run_serial
from zinterp.finishing import Measures, to_json
from zinterp.guard import GuardedReader
from zinterp.interpolators import Interpolator
from zinterp.io import open_volume, recorded_name
from zinterp.job import Job, fingerprint, with_smaller_tiles
from zinterp.journal import Journal, is_begun, is_ended, may_replace, notes_of, notes_on_replacing
from zinterp.options import UpsampleOptions
from zinterp.outcome import Outcome
from zinterp.outputs import Outputs, check_places, create_outputs
from zinterp.plan import Slab
from zinterp.planes_table import planes_table, write_table
from zinterp.volume import Planes, VolumeReader, partial_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a job is, in output planes."""

    done: int
    total: int


def ignore(*news: object) -> None:
    """Report nothing."""


def run_job(
    job: Job,
    reader: GuardedReader,
    interpolator: Interpolator,
    source: Path,
    target: Path,
    options: UpsampleOptions,
    report: Callable[[Progress], None],
) -> Outcome:
    """Run the slabs that the journal lacks, then give the output its final name; no other job may be at it.

    A fault in the input's content removes what was written. Anything else, an interruption, a full disk or a disk that
    cannot be reached among it, leaves the partial output and its journal, and ``resume`` goes on from them. Where the
    device has no memory for a tile, all slabs are made again with smaller ones, so that an output has tiles of one
    shape.
    """
    options, begun = going_on(target, options), is_begun(target)
    if partial_path(target).exists() and not begun:
        raise OutputError(f"{partial_path(target)} is in the way and not known to be an unfinished output: move it")
    if begun and not options.resume and not options.overwrite:
        raise OutputExistsError(
            f"{target} was begun before and is unfinished: --resume goes on, --overwrite makes it again from the start"
        )
    resume = options.resume and (begun or is_ended(target))
    notes = notes_of(target) if resume else {}
    if options.overwrite and not resume:
        others = [] if options.confidence is None else [Path(options.confidence)]
        notes = notes_on_replacing(target, *others)
    for _ in range(notes.get("halvings", 0)):
        job = with_smaller_tiles(job, options) or job
    while True:
        journal = Journal(target, fingerprint(source, job, options), resume=resume, notes=notes)
        try:
            return complete(job, reader, interpolator, journal, source, target, options, report, resume=resume)
        except NoRoomError as error:
            job, resume = smaller(job, options, error), False
            notes["halvings"] = notes.get("halvings", 0) + 1


def smaller(job: Job, options: UpsampleOptions, error: NoRoomError) -> Job:
    """The job with the next smaller tiles, which is said, or an error if there are none."""
    halved = with_smaller_tiles(job, options)
    if halved is None:
        raise NoRoomError(
            f"{error}, and this is as small as tiles can be made: free memory on the device, or give --device cpu or a "
            "smaller --overlap"
        ) from error
    size = "x".join(map(str, halved.layout.tile))
    logger.warning("%s; starting this stack again with tiles of %s pixels", str(error).partition(":")[0], size)
    return halved


def complete(
    job: Job,
    reader: GuardedReader,
    interpolator: Interpolator,
    journal: Journal,
    source: Path,
    target: Path,
    options: UpsampleOptions,
    report: Callable[[Progress], None],
    *,
    resume: bool,
) -> Outcome:
    """Run the slabs that the journal lacks, with tiles of the job's shape, and give the output its final name."""
    made = journal.measures.keys() >= set(range(len(job.slabs)))
    if is_ended(target) and made:  # stopped when all was done but this
        report(Progress(job.planes, job.planes))
        return conclude(Outcome.of(job, journal), journal, options)
    if is_ended(target) and resume:
        raise OutputExistsError(f"{target} exists already, and its journal says that it is unfinished: move one away")
    resume = resume and bool(journal.done)  # else it may have been stopped while the output was laid out
    record = {
        "program": f"zinterp {zinterp.__version__}",
        "source": recorded_name(source),
        **job.record(),
        "planes": planes_table(job),
    }
    try:
        writer = create_outputs(job, target, options, record, resume=resume, complete=made)
    except BaseException:
        if not resume:
            journal.remove()
        raise
    try:
        doubled = run_slabs(job, reader, writer, interpolator, journal, source, report)
        outcome = Outcome.of(job, journal)
        reader.check()
        check_places(writer, job, target, options)
        table = planes_table(job, outcome.measures)
        writer.finish({**record, "pulsing": outcome.record(), "planes": table})
    except BaseException as error:
        changed = isinstance(error, InputChangedError)
        if changed or not journal.path.exists() or (is_fault(error) and not resume):
            writer.discard()
            journal.remove()
        else:
            with suppress(OSError):
                writer.close()
            if not isinstance(error, NoRoomError):
                logger.warning("%s is unfinished: the same command with --resume goes on", target)
        raise
    if doubled and not options.drop_duplicates:
        logger.warning(
            "%s: planes that are equal bit for bit, kept as they are: %s; --drop-duplicates would make them anew",
            source,
            describe(sorted(doubled, key=lambda duplicate: duplicate.plane)),
        )
    return conclude(outcome, journal, options)


def conclude(outcome: Outcome, journal: Journal, options: UpsampleOptions) -> Outcome:
    """Write what comes beside an output that has its final name, and remove its journal."""
    if options.planes_table is not None:
        write_table(Path(options.planes_table), planes_table(outcome.job, outcome.measures))
    journal.remove()
    return outcome


def is_fault(error: BaseException) -> bool:
    """Whether the input's content is at fault, so that there is nothing to go on with."""
    return isinstance(error, InputError | BadVolumeError) and not is_passing(error)


def is_passing(error: BaseException) -> bool:
    """Whether an error in reading is the system's (a share that went away) and may be gone at the next try."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno is not None


def run_slabs(
    job: Job,
    reader: GuardedReader,
    writer: Outputs,
    interpolator: Interpolator,
    journal: Journal,
    source: Path,
    report: Callable[[Progress], None],
) -> set[Duplicate]:
    """Take the missing slabs through the straight line, in order -> neighbours met that are equal bit for bit."""
    numbers = [i for i in range(len(job.slabs)) if i not in journal.measures]
    done = job.planes - sum(len(job.slabs[i].target) for i in numbers)
    report(Progress(done, job.planes))
    doubled: set[Duplicate] = set()
    measures: dict[int, list[Measures]] = {}

    def compute(i: int, planes: Planes) -> Made:
        doubled.update(equal_neighbours(job.slabs[i], planes))
        made = compute_slab(job, interpolator, job.slabs[i], planes, keep_sigma=writer.confidence is not None)
        measures[i] = made.measures
        return made

    finished = run_serial(
        numbers,
        read=lambda i: read_slab(reader, job.slabs[i]),
        compute=compute,
        write=lambda i, made: writer.write(job.slabs[i], made),
        waiting=lambda what, i, seconds: logger.warning(
            "%s: waiting for the disk to %s slab %d of %d for %.0f s now", source, what, i + 1, len(job.slabs), seconds
        ),
    )
    for i in finished:
        reader.check(sparingly=True)
        writer.check()
        journal.add(i, {"planes": to_json(measures.pop(i))})
        done += len(job.slabs[i].target)
        report(Progress(done, job.planes))
    return doubled


def equal_neighbours(slab: Slab, planes: Planes) -> Iterator[Duplicate]:
    """Planes of a slab that equal the one before them and are not empty; others cost a look at their first row."""
    for (one, before), (other, after) in pairwise(zip(slab.source, planes, strict=True)):
        if np.array_equal(before[0], after[0]) and np.array_equal(before, after) and np.ptp(after):
            yield Duplicate(other, one)


def read_slab(reader: VolumeReader, slab: Slab) -> Planes:
    """The input planes of a slab, (n, Y, X)."""
    runs = [reader.read(run, slab.stack) for run in slab.runs()]
    return runs[0] if len(runs) == 1 else np.concatenate(runs)


def going_on(target: Path, options: UpsampleOptions) -> UpsampleOptions:
    """The options, with leave to replace what an unfinished job was begun to replace, or itself has made."""
    others = [] if options.confidence is None else [Path(options.confidence)]
    if options.resume and (is_ended(target) or may_replace(target, *others)):
        return replace(options, overwrite=True)
    return options


def open_source(source: Path, options: UpsampleOptions) -> VolumeReader:
    """Open an input as the options have it."""
    return open_volume(
        source,
        channel=options.channel,
        time=options.time,
        keep_databar=options.keep_databar,
        fill_gaps=options.fill_gaps,
    )
