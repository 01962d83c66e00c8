"""The straight line from a stack to a denser stack: read, normalise, interpolate in tiles, denormalise, write."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zinterp.choice import choose_interpolator
from zinterp.compute import compute_slab
from zinterp.errors import (
    BadOptionError,
    BadVolumeError,
    NoRoomError,
)
from zinterp.executors import Crew, create_crew
from zinterp.geometry import Geometry, place_planes
from zinterp.guard import GuardedReader
from zinterp.inspection import thinnest
from zinterp.interpolators import Interpolator, create_interpolator
from zinterp.interpolators.base import Uncertain
from zinterp.io import check_dtype, check_free, identify
from zinterp.job import Job, check_output, default_target, notes_on_memory, plan_job, with_interpolator
from zinterp.journal import locked
from zinterp.options import AUTO, UpsampleOptions
from zinterp.outcome import Outcome
from zinterp.outputs import check_confidence, check_room
from zinterp.planes_table import check_table
from zinterp.run import Progress, beside, going_on, ignore, run_job, smaller
from zinterp.shares import run_share
from zinterp.slabs import Order, open_source, read_slab
from zinterp.volume import Closing, Planes, VolumeInfo, VolumeReader, VoxelSize

logger = logging.getLogger(__name__)

OF_FILES = (
    *("channel", "time", "keep_databar", "fill_gaps"),
    *("confidence", "flag_below", "planes_table", "format", "overwrite", "resume"),
    *("workers", "scheduler", "slab"),
)
"""Options that an array in memory has no use for."""


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
        Called with the Outcome once, after the last plane is made; not with ``slab``.
    **options
        The fields of ``UpsampleOptions``: ``factor=4``, ``depths=[0.25, 0.5]``, ``model="cubic"``, ...

    Returns
    -------
    Path
        The output. Every acquired plane that lies on its grid and is not dropped is in it bit for bit. With ``slab`` it
        is still unfinished; see ``finish_shares``.

    Raises
    ------
    ZinterpError
        If input, options or output cannot be what they are.
    """
    chosen = UpsampleOptions(**options)
    source = Path(source)
    target = Path(target) if target is not None else default_target(source, chosen)
    with (
        create_crew(chosen.workers, chosen.scheduler) as crew,
        locked(target) if chosen.share is None else nullcontext(),  # shares hold what they must
    ):
        outcome = make(
            source,
            target,
            chosen,
            lambda: interpolator or build_interpolator(chosen),
            report,
            decided,
            crew=crew,
            given=interpolator,
        )
    if outcome is not None:
        measured(outcome)
    return target


def make(
    source: Path,
    target: Path,
    options: UpsampleOptions,
    build: Callable[[], Interpolator],
    report: Callable[[Progress], None] = ignore,
    decided: Callable[[Job], None] = ignore,
    *,
    crew: Crew | None = None,
    given: Interpolator | None = None,
) -> Outcome | None:
    """Make an output that is locked, or a share of one that is not, of which there is no outcome yet; see ``upsample``.

    The interpolator is built once it is known to be needed; ``given`` is one that the options do not name, for the
    processes of a crew.
    """
    with opened(source, target, options, build) as (job, reader, interpolator):
        for note in [*job.notes, *notes_on_memory(job, options)]:
            logger.warning("%s: %s", source, note)
        logger.info("%s", thinnest(job.source.voxel_size))
        decided(job)
        order = Order(job, source, target, options, given)
        if options.share is not None:
            run_share(order, options.share, reader, interpolator, report, crew)
            return None
        return run_job(order, reader, interpolator, report, crew)


@contextmanager
def opened(
    source: Path, target: Path, options: UpsampleOptions, build: Callable[[], Interpolator] | None = None
) -> Iterator[tuple[Job, GuardedReader, Interpolator]]:
    """Open the input, build the interpolator and plan the job, all checked, with nothing written yet."""
    options = going_on(target, options)
    identity = identify(source)
    reader = GuardedReader(open_source(source, options), identity, lambda: open_source(source, options))
    try:
        geometry = place_planes(reader.info, options)  # a hopeless request fails before a network is loaded
        check_free(target, overwrite=options.overwrite)
        if options.planes_table is not None:
            volumes = [source, target, *beside(options)]
            check_table(Path(options.planes_table), volumes, replace=options.overwrite or options.resume)
        job, interpolator = decide(reader, options, geometry, build() if build else None, target)
        reader.sample = job.sample
        check_output(source, target, job, options)
        if options.confidence is not None:
            check_confidence(Path(options.confidence), source, target, job, options)
        check_room(job, target, options)
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
    return in_memory(array, interpolator, options, keep_sigma=False)[0]


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
    return in_memory(array, interpolator, options, keep_sigma=True)


def in_memory(
    array: Planes, interpolator: Interpolator | None, options: dict[str, Any], *, keep_sigma: bool
) -> tuple[Planes, NDArray[np.float32]]:
    """Planes of an array and, where they are to be kept, their deviations; see ``interpolate``."""
    job, reader, interpolator = planned(array, interpolator, options)
    if keep_sigma:
        check_uncertain(interpolator)
    output = np.empty(job.output.shape, job.output.dtype)
    sigma = np.empty(job.output.shape if keep_sigma else 0, np.float32)
    while True:
        try:
            for slab in job.slabs:
                made = compute_slab(job, interpolator, slab, read_slab(reader, slab), keep_sigma=keep_sigma)
                output[slab.target.start : slab.target.stop] = made.planes
                if keep_sigma:
                    sigma[slab.target.start : slab.target.stop] = made.sigma
            return output, sigma
        except NoRoomError as error:
            job = smaller(job, UpsampleOptions(**options), error)


def check_uncertain(interpolator: Interpolator) -> None:
    """Refuse a model that does not predict how far off it may be."""
    if not isinstance(interpolator, Uncertain):
        raise BadOptionError(
            f"the model {interpolator.identity} does not know its uncertainty, which confidence, flags and fallback "
            "need: leave --model out, or give mirror-unet or fast"
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
