"""Running a planned job: slab by slab into files that can be gone on with, until the output has its name."""

import logging
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import zinterp
from zinterp.duplicates import Duplicate, describe
from zinterp.errors import (
    BadVolumeError,
    InputChangedError,
    InputError,
    NoRoomError,
    OutputError,
    OutputExistsError,
)
from zinterp.executors import Crew
from zinterp.finishing import to_json
from zinterp.guard import GuardedReader
from zinterp.interpolators import Interpolator
from zinterp.io import recorded_name
from zinterp.job import Job, with_smaller_tiles
from zinterp.journal import Journal, is_begun, is_ended, may_replace, notes_of, notes_on_replacing
from zinterp.options import UpsampleOptions
from zinterp.outcome import Outcome
from zinterp.outputs import Outputs, check_places, create_outputs
from zinterp.planes_table import planes_table, write_table
from zinterp.recipe import RECIPE, recipe_of
from zinterp.slabs import MadeSlab, Order, SlabMaker
from zinterp.volume import partial_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a job is, in output planes."""

    done: int
    total: int


def ignore(*news: object) -> None:
    """Report nothing."""


def run_job(
    order: Order,
    reader: GuardedReader,
    interpolator: Interpolator,
    report: Callable[[Progress], None],
    crew: Crew | None = None,
) -> Outcome:
    """Run the slabs that the journal lacks, then give the output its final name; no other job may be at it.

    A fault in the input's content removes what was written. Anything else, an interruption, a full disk or a disk that
    cannot be reached among it, leaves the partial output and its journal, and ``resume`` goes on from them. Where the
    device has no memory for a tile, all slabs are made again with smaller ones, so that an output has tiles of one
    shape.

    Parameters
    ----------
    order : Order
        What to make, from what, and where.
    reader, interpolator
        Of this process.
    report : callable
    crew : Crew or None
        The processes that make the slabs; None is this one.
    """
    target = order.target
    order = replace(order, options=going_on(target, order.options))
    begun = check_place(target, order.options)
    resume = order.options.resume and (begun or is_ended(target))
    notes = notes_of(target) if resume else first_notes(order)
    order = with_halvings(order, notes)
    while True:
        journal = Journal(target, order.fingerprint(), resume=resume, notes=notes)
        try:
            return complete(order, reader, interpolator, journal, report, crew, resume=resume)
        except NoRoomError as error:
            order, resume = replace(order, job=smaller(order.job, order.options, error)), False
            notes["halvings"] = notes.get("halvings", 0) + 1


def check_place(target: Path, options: UpsampleOptions) -> bool:
    """Whether an output was begun before; an error if it may not be begun or gone on with."""
    begun = is_begun(target)
    if partial_path(target).exists() and not begun:
        raise OutputError(f"{partial_path(target)} is in the way and not known to be an unfinished output: move it")
    if begun and not options.resume and not options.overwrite:
        raise OutputExistsError(
            f"{target} was begun before and is unfinished: --resume goes on, --overwrite makes it again from the start"
        )
    return begun


def first_notes(order: Order) -> dict[str, Any]:
    """What the journal of an output that is begun now notes for those who go on with it, or complete it."""
    options = order.options
    notes: dict[str, Any] = {RECIPE: recipe_of(order)}
    if options.overwrite:
        notes |= notes_on_replacing(order.target, *beside(options))
    return notes


def with_halvings(order: Order, notes: Mapping[str, Any]) -> Order:
    """The order with its tiles as small as they were made before."""
    for _ in range(notes.get("halvings", 0)):
        order = replace(order, job=with_smaller_tiles(order.job, order.options) or order.job)
    return order


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
    order: Order,
    reader: GuardedReader,
    interpolator: Interpolator,
    journal: Journal,
    report: Callable[[Progress], None],
    crew: Crew | None,
    *,
    resume: bool,
) -> Outcome:
    """Run the slabs that the journal lacks, with tiles of the job's shape, and give the output its final name."""
    job, target, options = order.job, order.target, order.options
    made = journal.measures.keys() >= set(range(len(job.slabs)))
    if is_ended(target) and made:  # stopped when all was done but this
        report(Progress(job.planes, job.planes))
        return conclude(Outcome.of(job, journal), journal, options)
    if is_ended(target) and resume:
        raise OutputExistsError(f"{target} exists already, and its journal says that it is unfinished: move one away")
    resume = resume and bool(journal.done)  # else it may have been stopped while the output was laid out
    record = first_record(order)
    try:
        writer = create_outputs(job, target, options, record, resume=resume, complete=made)
    except BaseException:
        if not resume:
            journal.remove()
        raise
    try:
        numbers = [i for i in range(len(job.slabs)) if i not in journal.measures]
        doubled = run_slabs(order, numbers, job.planes, reader, writer, interpolator, journal, report, crew)
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
    warn_of_doubled(order, doubled)
    return conclude(outcome, journal, options)


def first_record(order: Order) -> dict[str, Any]:
    """How an output is made, as far as that is known before it is."""
    return {
        "program": f"zinterp {zinterp.__version__}",
        "source": recorded_name(order.source),
        **order.job.record(),
        "planes": planes_table(order.job),
    }


def warn_of_doubled(order: Order, doubled: Collection[Duplicate]) -> None:
    """Name the planes that are equal bit for bit, unless they were looked for."""
    if doubled and not order.options.drop_duplicates:
        logger.warning(
            "%s: planes that are equal bit for bit, kept as they are: %s; --drop-duplicates would make them anew",
            order.source,
            describe(sorted(doubled, key=lambda duplicate: duplicate.plane)),
        )


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
    order: Order,
    numbers: Sequence[int],
    planes: int,
    reader: GuardedReader,
    writer: Outputs,
    interpolator: Interpolator,
    journal: Journal,
    report: Callable[[Progress], None],
    crew: Crew | None,
) -> set[Duplicate]:
    """Take the missing slabs of so many planes through the straight line -> neighbours met that are equal bit for bit.

    In this process they come in order, from a crew as they are made.
    """
    job = order.job
    done = planes - sum(len(job.slabs[i].target) for i in numbers)
    report(Progress(done, planes))
    doubled: set[Duplicate] = set()
    maker = SlabMaker(job, reader, interpolator, writer, lambda text: logger.warning("%s: %s", order.source, text))
    with closing(maker.run(numbers) if crew is None else hired(crew, numbers, order, reader)) as made:
        for slab in made:
            reader.check(sparingly=True)
            writer.check()
            journal.add(slab.number, {"planes": to_json(slab.measures)})
            doubled.update(slab.doubled)
            done += len(job.slabs[slab.number].target)
            report(Progress(done, planes))
    return doubled


def hired(crew: Crew, numbers: Sequence[int], order: Order, reader: GuardedReader) -> Generator[MadeSlab]:
    """Have slabs made by other processes, while the input is watched here."""
    depth = len(order.job.slabs[0].target)
    assert all(slab.target.start % depth == 0 for slab in order.job.slabs)  # so that no two write to one shard
    try:
        yield from crew.run(numbers, order.anywhere())
    except (InputError, BadVolumeError):
        reader.check()  # what became another volume cannot be read as the old one, which is not its fault
        raise


def going_on(target: Path, options: UpsampleOptions) -> UpsampleOptions:
    """The options, with leave to replace what an unfinished job was begun to replace, or itself has made."""
    if options.resume and (is_ended(target) or may_replace(target, *beside(options))):
        return replace(options, overwrite=True)
    return options


def beside(options: UpsampleOptions) -> list[Path]:
    """The volumes that a job writes beside its output."""
    return [] if options.confidence is None else [Path(options.confidence)]
