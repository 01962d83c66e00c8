"""The straight line from a stack to a denser stack: read, normalise, interpolate in tiles, denormalise, write."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import zinterp
from zinterp.choice import choose_interpolator
from zinterp.compute import Made, compute_slab
from zinterp.duplicates import Duplicate, describe
from zinterp.errors import BadOptionError, BadVolumeError, InputError, OutputError, OutputExistsError
from zinterp.executors.serial import run_serial
from zinterp.finishing import Measures, to_json
from zinterp.geometry import Geometry, place_planes
from zinterp.inspection import thinnest
from zinterp.interpolators import Interpolator, create_interpolator
from zinterp.interpolators.base import Uncertain
from zinterp.io import check_dtype, check_free, open_volume, recorded_name
from zinterp.job import Job, check_output, default_target, fingerprint, plan_job, with_interpolator
from zinterp.journal import Journal, is_begun, locked
from zinterp.options import AUTO, UpsampleOptions
from zinterp.outcome import Outcome
from zinterp.outputs import Outputs, check_confidence, check_places, create_outputs
from zinterp.plan import Slab
from zinterp.planes_table import check_table, planes_table, write_table
from zinterp.volume import Closing, Planes, VolumeInfo, VolumeReader, VoxelSize, partial_path

logger = logging.getLogger(__name__)


OF_FILES = (
    *("channel", "time", "keep_databar", "fill_gaps"),
    *("confidence", "flag_below", "planes_table", "format", "overwrite", "resume"),
)
"""Options that an array in memory has no use for."""


@dataclass(frozen=True)
class Progress:
    """How far a job is, in output planes."""

    done: int
    total: int


def ignore(news: object) -> None:
    """Report nothing."""


def upsample(
    source: str | Path,
    target: str | Path | None = None,
    *,
    interpolator: Interpolator | None = None,
    report: Callable[[Progress], None] = ignore,
    decided: Callable[[Job], None] = ignore,
    measured: Callable[[Outcome], None] = ignore,
    **options: Any,  # the fields of UpsampleOptions, so that each name and default stands once
) -> Path:
    """Make a stack denser in z and write it.

    Parameters
    ----------
    source : str or Path
        A stack or a folder of slices, see ``open_volume``.
    target : str or Path or None
        The output; None is ``<stem>_x4`` with the input's suffix beside the input.
    interpolator : Interpolator or None
        One that is built already, for many stacks in turn; None builds that of ``model``.
    report : callable
        Called with a Progress after each slab.
    decided : callable
        Called with the Job once, before any plane is made.
    measured : callable
        Called with the Outcome once, after the last plane is made.
    **options
        The fields of ``UpsampleOptions``: ``factor=4``, ``depths=[0.25, 0.5]``, ``model="cubic"``, ...

    Returns
    -------
    Path
        The output. Every acquired plane that lies on its grid and is not dropped is in it bit for bit.

    Raises
    ------
    ZinterpError
        If input, options or output cannot be what they are.
    """
    chosen = UpsampleOptions(**options)
    source = Path(source)
    target = Path(target) if target is not None else default_target(source, chosen)
    with locked(target), opened(source, target, chosen, interpolator) as (job, reader, interpolator):
        for note in job.notes:
            logger.warning("%s: %s", source, note)
        logger.info("%s", thinnest(job.source.voxel_size))
        decided(job)
        measured(run_job(job, reader, interpolator, source, target, chosen, report))
    return target


@contextmanager
def opened(
    source: Path, target: Path, options: UpsampleOptions, interpolator: Interpolator | None = None
) -> Iterator[tuple[Job, VolumeReader, Interpolator]]:
    """Open the input, build the interpolator and plan the job, all checked, with nothing written yet."""
    reader = open_volume(
        source,
        channel=options.channel,
        time=options.time,
        keep_databar=options.keep_databar,
        fill_gaps=options.fill_gaps,
    )
    try:
        geometry = place_planes(reader.info, options)  # a hopeless request fails before a network is loaded
        check_free(target, overwrite=options.overwrite)
        if options.planes_table is not None:
            volumes = [source, target, *([Path(options.confidence)] if options.confidence is not None else [])]
            check_table(Path(options.planes_table), volumes, replace=options.overwrite or options.resume)
        job, interpolator = decide(reader, options, geometry, interpolator, target)
        check_output(source, target, job, options)
        if options.confidence is not None:
            check_confidence(Path(options.confidence), source, target, job, options)
        yield job, reader, interpolator
    finally:
        reader.close()


def decide(
    reader: VolumeReader,
    options: UpsampleOptions,
    geometry: Geometry | None = None,
    interpolator: Interpolator | None = None,
    target: Path | None = None,
) -> tuple[Job, Interpolator]:
    """Plan a job, with the interpolator that it is for: the one given, else the one that the options name.

    Where they leave the choice of the model, it is made by how well planes of the stack are predicted that are known;
    see ``choose_interpolator``.
    """
    interpolator = interpolator or build_interpolator(options)
    if options.wants_uncertainty:
        check_uncertain(interpolator)
    job = plan_job(reader, options, geometry, needs=interpolator.needs, model=interpolator.identity, target=target)
    if options.model != AUTO:
        return job, interpolator
    interpolator, choice = choose_interpolator(reader, job, interpolator)
    logger.info("model auto: %s", choice)
    job = with_interpolator(job, options, needs=interpolator.needs, model=interpolator.identity)
    return replace(job, choice=choice.record()), interpolator


def build_interpolator(options: UpsampleOptions) -> Interpolator:
    """The interpolator that the options name; where they leave the choice, the default network."""
    return create_interpolator(
        None if options.model == AUTO else options.model,
        device=options.device,
        precision=options.precision,
        restore=options.restore,
    )


def interpolate(
    array: Planes,
    *,
    interpolator: Interpolator | None = None,
    **options: Any,  # the fields of UpsampleOptions
) -> Planes:
    """Make a stack in memory denser in z.

    Parameters
    ----------
    array : ndarray, shape (Z, Y, X)
        8, 16 or 32 bit integers or floats.
    interpolator : Interpolator or None
        As in ``upsample``.
    **options
        The fields of ``UpsampleOptions`` that do not concern files: ``factor=4``, ``model="cubic"``, ...

    Returns
    -------
    ndarray, shape ((Z - 1) * factor + 1, Y, X) with a factor and no end plane left out, dtype of the input

    Raises
    ------
    ZinterpError
        If the array or an option cannot be used.
    """
    job, reader, interpolator = planned(array, interpolator, options)
    output = np.empty(job.output.shape, job.output.dtype)
    for slab in job.slabs:
        made = compute_slab(job, interpolator, slab, read_slab(reader, slab))
        output[slab.target.start : slab.target.stop] = made.planes
    return output


def interpolate_with_uncertainty(
    array: Planes,
    *,
    interpolator: Interpolator | None = None,
    **options: Any,  # the fields of UpsampleOptions
) -> tuple[Planes, NDArray[np.float32]]:
    """Make a stack in memory denser in z, and say how far off each synthesised pixel may be.

    Parameters
    ----------
    array, interpolator, **options
        As in ``interpolate``; the model must be one that knows its uncertainty.

    Returns
    -------
    planes : ndarray, shape ((Z - 1) * factor + 1, Y, X), dtype of the input
        What ``interpolate`` returns.
    sigma : ndarray, same shape, float32
        Standard deviation of the error in grey levels, the noise that an acquired plane would have included; 0 on
        acquired planes. On volumes left out of training 70 % of the true values lay within one and 90 % within two.

    Raises
    ------
    ZinterpError
        If the array or an option cannot be used, or the model does not know its uncertainty.
    """
    job, reader, interpolator = planned(array, interpolator, options)
    check_uncertain(interpolator)
    output, sigma = np.empty(job.output.shape, job.output.dtype), np.empty(job.output.shape, np.float32)
    for slab in job.slabs:
        made = compute_slab(job, interpolator, slab, read_slab(reader, slab), keep_sigma=True)
        output[slab.target.start : slab.target.stop] = made.planes
        sigma[slab.target.start : slab.target.stop] = made.sigma
    return output, sigma


def check_uncertain(interpolator: Interpolator) -> None:
    """Refuse a model that does not predict how far off it may be."""
    if not isinstance(interpolator, Uncertain):
        raise BadOptionError(
            f"the model {interpolator.identity} does not know its uncertainty, which confidence, flags and fallback "
            "need: leave --model out, or give fast or mirror-unet"
        )


def planned(
    array: Planes, interpolator: Interpolator | None, options: dict[str, Any]
) -> tuple[Job, "ArrayReader", Interpolator]:
    """The plan of a job in memory."""
    chosen = UpsampleOptions(**options)
    if given := [name for name in OF_FILES if getattr(chosen, name) not in (None, False)]:
        raise BadOptionError(f"got {' and '.join(given)} for an array in memory, expected these for files only")
    array = np.asarray(array)
    if array.ndim != 3 or 0 in array.shape:
        raise BadVolumeError(f"got an array of shape {array.shape}, expected planes (Z, Y, X)")
    check_dtype(array.dtype, "the array")
    reader = ArrayReader(array)
    geometry = place_planes(reader.info, chosen)
    job, interpolator = decide(reader, chosen, geometry, interpolator)
    for note in job.notes:
        logger.warning("%s", note)
    return job, reader, interpolator


class ArrayReader(Closing):
    """An array in memory as a volume. See ``VolumeReader``."""

    def __init__(self, array: Planes) -> None:
        depth, height, width = array.shape
        self.array = array
        self.info = VolumeInfo((depth, height, width), array.dtype.newbyteorder("="), VoxelSize())

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z -> (len(z), Y, X)."""
        return self.array[z.start : z.stop].astype(self.info.dtype, copy=False)


def run_job(
    job: Job,
    reader: VolumeReader,
    interpolator: Interpolator,
    source: Path,
    target: Path,
    options: UpsampleOptions,
    report: Callable[[Progress], None],
) -> Outcome:
    """Run the slabs that the journal lacks, then give the output its final name; no other job may be at it.

    A fault in the input's content removes what was written. Anything else, an interruption, a full disk or a disk that
    cannot be reached among it, leaves the partial output and its journal, and ``resume`` goes on from them.
    """
    begun = is_begun(target)
    if partial_path(target).exists() and not begun:
        raise OutputError(f"{partial_path(target)} is in the way and not known to be an unfinished output: move it")
    if begun and not options.resume and not options.overwrite:
        raise OutputExistsError(
            f"{target} was begun before and is unfinished: --resume goes on, --overwrite makes it again from the start"
        )
    resume = options.resume and begun
    journal = Journal(target, fingerprint(source, job, options), resume=resume)
    record = {
        "program": f"zinterp {zinterp.__version__}",
        "source": recorded_name(source),
        **job.record(),
        "planes": planes_table(job),
    }
    try:
        complete = journal.measures.keys() >= set(range(len(job.slabs)))
        writer = create_outputs(job, target, options, record, resume=resume, complete=complete)
    except BaseException:
        if not resume:
            journal.remove()
        raise
    try:
        doubled = run_slabs(job, reader, writer, interpolator, journal, report)
        outcome = Outcome.of(job, journal)
        table = planes_table(job, outcome.measures)
        check_places(writer, job, target, options)
        writer.finish({**record, "pulsing": outcome.record(), "planes": table})
    except BaseException as error:
        if isinstance(error, InputError | BadVolumeError) and not is_passing(error) and not resume:
            writer.discard()
            journal.remove()
        else:
            with suppress(OSError):
                writer.close()
            logger.warning("%s is unfinished: the same command with --resume goes on", target)
        raise
    journal.remove()
    if options.planes_table is not None:
        write_table(Path(options.planes_table), table)
    if doubled and not options.drop_duplicates:
        logger.warning(
            "%s: planes that are equal bit for bit, kept as they are: %s; --drop-duplicates would make them anew",
            source,
            describe(sorted(doubled, key=lambda duplicate: duplicate.plane)),
        )
    return outcome


def is_passing(error: BaseException) -> bool:
    """Whether an error in reading is the system's (a share that went away) and may be gone at the next try."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno is not None


def run_slabs(
    job: Job,
    reader: VolumeReader,
    writer: Outputs,
    interpolator: Interpolator,
    journal: Journal,
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
    )
    for i in finished:
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
