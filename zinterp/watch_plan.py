"""What a growing output is to hold, and what of it is to be made next."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import zinterp
from zinterp.compute import Made, compute_slab
from zinterp.errors import BadOptionError, BadVolumeError
from zinterp.interpolators import Interpolator
from zinterp.interpolators.cubic import CubicInterpolator
from zinterp.io import OutputOptions, check_free, create_growing, recorded_name, sample_digest
from zinterp.io.arriving import ArrivingVolume, finished_volume
from zinterp.job import Job, check_output, growing_depth, plan_growing, sample_planes
from zinterp.journal import Journal, begun_with
from zinterp.normalize import Normalizer
from zinterp.options import UpsampleOptions
from zinterp.outcome import Outcome
from zinterp.pipeline import ArrayReader
from zinterp.plan import Slab, ZGrid, slab_of
from zinterp.planes_table import planes_table
from zinterp.volume import Planes, VolumeInfo, partial_path
from zinterp.watch_output import DRAFT, GrowingOutput, Recipe, recipes
from zinterp.watch_slices import TakenSlices

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A slab that is to be made, with the input planes that it needs (n, Y, X), and the recipes of what it makes."""

    job: Job
    interpolator: Interpolator
    slab: Slab
    planes: Planes
    recipes: list[Recipe]

    def compute(self) -> Made:
        """Make it; nothing else is touched."""
        return compute_slab(self.job, self.interpolator, self.slab, self.planes)


class GrowingJob:
    """The job of ``upsample`` on the slices that were taken so far, planned anew whenever these change.

    Parameters
    ----------
    source, target : Path
    options : UpsampleOptions
    interpolator : Interpolator
    slices : TakenSlices
    resume : bool
        Go on with the output that was begun.

    Attributes
    ----------
    job : Job or None
        None until there are slices to know the output by.
    names : list of str
        Of the slices that the job is about.
    trouble : ZinterpError or None
        Why the slices that are there cannot be planned.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        options: UpsampleOptions,
        interpolator: Interpolator,
        slices: TakenSlices,
        *,
        resume: bool,
    ) -> None:
        self.job: Job | None = None
        self.names: list[str] = []
        self.trouble: BadVolumeError | BadOptionError | None = None
        self._source, self._target, self._options, self._resume = source, target, options, resume
        self._interpolator, self._slices = interpolator, slices
        self._volume: ArrivingVolume | None = None
        self._output: GrowingOutput | None = None
        self._journal: Journal | None = None
        self._drafting: tuple[Job, Interpolator] | None = None  # None where the model is as quick
        self._exact = False  # whether lengths were read from the headers of all slices
        self._sample = ""  # of the finished folder

    def plan(self, *, ending: bool) -> None:
        """Plan for the slices that are there, if they are not those that were planned for.

        ``ending`` is whether no more are to come that could tell more about the stack.
        """
        if not self._slices.changed and not (ending and self.job is None):
            return
        self._slices.changed = self._exact = False
        names = self._slices.begin()
        if len(names) < 2:
            return
        try:
            if self._volume is None:
                first = self._slices.taken[names[0]]
                self._volume = ArrivingVolume(
                    self._source, self._slices.path_of(names[0]), first.header, self._slices.options
                )
            info = self._volume.info(names)
            if self.job is None and not self._begin(info, names, ending=ending):
                return
            self._arrange(info, names)
            self.trouble = None
        except BadVolumeError as error:  # of names, that may make sense when there are more
            if str(error) != str(self.trouble):
                logger.warning("%s; waiting for more slices", error)
            self.trouble = error
        assert self._journal is None or self.job is not None
        if self._journal is not None:
            self._journal.note(self._slices.news())

    def _begin(self, info: VolumeInfo, names: Sequence[str], *, ending: bool) -> bool:
        """Create the output, or go on in it; False while the slices do not show what grey values there are."""
        options, needs = self._options, self._interpolator.needs
        normalizer = self._choose_range(names, ending=ending)
        if normalizer is None:
            return False
        job = plan_growing(info, options, normalizer, needs=needs, model=self._interpolator.identity)
        check_output(self._source, self._target, job, options)
        depth = growing_depth(info, options, needs)
        self._journal = Journal(self._target, self._fingerprint(job, depth), resume=self._resume)
        creation = OutputOptions("ome-zarr", options.ngff, depth, overwrite=options.overwrite, resume=self._resume)
        try:
            writer = create_growing(self._target, job.output, creation, self._record(job))
        except BaseException:
            if not self._resume:
                self._journal.remove()
            raise
        self._output, self.job = GrowingOutput(writer, self._journal, depth), job
        for note in job.notes:
            logger.warning("%s: %s", self._source, note)
        logger.info(
            "%s: slices of %s; --intensity-range %s; readable from now on: %s",
            *(self._source, self._slices.taken[names[0]].header, as_option(normalizer), partial_path(self._target)),
        )
        return True

    def _choose_range(self, names: Sequence[str], *, ending: bool) -> Normalizer | None:
        """The intensity map: that of the run before, the one asked for, or one fitted to the first slices."""
        before = begun_with(self._target).get("intensity_range") if self._resume else None
        given = self._options.intensity_range or before
        if given is not None:
            return Normalizer(*given)
        planes = [plane for name in names if (plane := self._slices.plane(name)) is not None]
        shown = any(np.ptp(plane) > 0 for plane in planes)
        if len(planes) < 2 or not (shown or ending):
            return None
        return Normalizer.fit(sample_planes(ArrayReader(np.stack(planes)), range(len(planes))))

    def _arrange(self, info: VolumeInfo, names: Sequence[str]) -> None:
        """Have the output hold the planes that belong between these slices."""
        assert self.job is not None
        assert self._output is not None
        normalizer, model = self.job.stacks[0].normalizer, self._interpolator.identity
        self.job = plan_growing(info, self._options, normalizer, needs=self._interpolator.needs, model=model)
        self.names = list(names)
        if self._interpolator.needs.overlap:
            plain = replace(self._options, tile=None, overlap=None, restore=False, sharpen=None, sharpen_radius=None)
            plain = replace(plain, sharpen_threshold=None, grain=None, fallback=None, fallback_above=None)
            cubic = CubicInterpolator()
            job = plan_growing(info, plain, normalizer, needs=cubic.needs, model=cubic.identity)
            self._drafting = (job, cubic)
        self._output.want(self.job.output, recipes(self.job, [self._slices.taken[name].digest for name in names]))

    def draft(self) -> bool:
        """Make the first planes that lack, at once: by cubic interpolation where the model takes its time.

        False where none lacks, or none that lacks can be made.
        """
        if self.job is None or self._output is None:
            return False
        for planes in runs_in_gaps(self.job.stacks[0].grid, self._output.lacks):
            drafting = self._drafting or (self.job, self._interpolator)
            task = self._task(planes, *drafting)
            if task is not None:
                if self._drafting:
                    task = replace(
                        task, recipes=[r if r.pair == r.full else Recipe(r.pair, DRAFT) for r in task.recipes]
                    )
                self.take(task, task.compute())
                return True
        return False

    def next_task(self, *, ending: bool) -> "Task | None":
        """What the model is to make next: the first gap that has its context by now, else the last one in draft.

        At the end, when no more context is to come, all gaps that were made with a part of it too.
        """
        if self.job is None or self._output is None:
            return None
        grid, context = self.job.stacks[0].grid, self._interpolator.needs.context
        waiting = list(runs_in_gaps(grid, self._output.is_provisional))
        ready = [p for p in waiting if ending or has_context(grid, grid.locate(p.start)[0], context)]
        drafts = [p for p in reversed(waiting) if self._output.is_draft(p.start)]
        tasks = (self._task(planes, self.job, self._interpolator) for planes in (*ready, *drafts))
        return next((task for task in tasks if task is not None), None)

    def _task(self, planes: range, job: Job, interpolator: Interpolator) -> "Task | None":
        """All that is needed to make some planes; None if a slice is not what it was when it was taken."""
        assert self._output is not None
        slab = slab_of(job.stacks[0].grid, planes, context=interpolator.needs.context)
        if any(self._slices.is_doubtful(self.names[j]) for j in slab.source):
            return None
        read: list[Planes] = []
        for j in slab.source:
            plane = self._slices.plane(self.names[j])
            if plane is None:  # it will settle and be taken anew
                return None
            read.append(plane)
        return Task(job, interpolator, slab, np.stack(read), [self._output.wanted[k] for k in planes])

    def take(self, task: "Task", made: Made) -> None:
        """Write what was made."""
        assert self._output is not None
        self._output.write(task.recipes, made.planes, made.measures)

    def lacking(self) -> list[tuple[str, str]]:
        """The gaps of which planes lack, each by the slices on either side of it."""
        if self.job is None or self._output is None:
            return []
        grid, last = self.job.stacks[0].grid, len(self.names) - 1
        befores = [grid.locate(planes.start)[0] for planes in runs_in_gaps(grid, self._output.lacks)]
        return [(self.names[i], self.names[min(i + 1, last)]) for i in befores]

    def count(self) -> tuple[int, int]:
        """How many output planes are there, and how many of these are to be made again."""
        if self._output is None:
            return 0, 0
        planes = range(len(self._output.wanted))
        return sum(not self._output.lacks(k) for k in planes), sum(map(self._output.is_provisional, planes))

    def provisional_gaps(self) -> int:
        """How many gaps are to be made again."""
        if self.job is None or self._output is None:
            return 0
        return sum(1 for _ in runs_in_gaps(self.job.stacks[0].grid, self._output.is_provisional))

    def is_complete(self) -> bool:
        """Whether the output is that of the finished folder, of which all slices are looked at once more.

        Raises
        ------
        ZinterpError
            If the slices that are there make no stack.
        """
        if self.trouble is not None:
            raise self.trouble
        if self.job is None or self._output is None:
            count = len(self._slices.names())
            raise BadVolumeError(
                f"{self._source} holds {count} {'slice' if count == 1 else 'slices'} that can be used together, "
                "expected at least 2 by now: look at the warnings"
            )
        if not self._slices.verify() or self._slices.changed:
            return False
        if not self._exact:
            with finished_volume(self._source, self.names, self._slices.options) as finished:
                self._arrange(finished.info, self.names)
                self._sample = sample_digest(finished)
            self._exact = True
        return all(map(self._output.is_final, range(len(self._output.wanted))))

    def complete(self) -> Outcome:
        """Give the output its pyramid, its record and its final name."""
        assert self.job is not None
        assert self._output is not None
        assert self._journal is not None
        check_free(self._target, overwrite=self._options.overwrite)
        outcome = Outcome(replace(self.job, sample=self._sample), (self._output.measures(),))
        table = planes_table(outcome.job, outcome.measures)
        self._output.writer.finish({**self._record(outcome.job), "planes": table, "pulsing": outcome.record()})
        self._journal.remove()
        return outcome

    def close(self) -> None:
        """Leave what was written."""
        if self._output is not None:
            self._output.writer.close()

    def _fingerprint(self, job: Job, depth: int) -> dict[str, Any]:
        """What another run must share to go on with this one's output, however many slices there are by then."""
        options, normalizer, record = self._options, job.stacks[0].normalizer, job.record()
        size = options.voxel_size
        return {
            "watched": str(self._source.resolve()),
            "slices": f"{'PNG' if job.source.format == 'png-slices' else 'TIFF'} {job.source.shape[1:]} "
            f"{job.source.dtype.name}",
            "factor": options.factor,
            "z_step": None if options.z_step is None else str(options.z_step),
            "isotropic": options.isotropic,
            "fill_gaps": options.fill_gaps,
            "keep_databar": options.keep_databar,
            "voxel_size": None if size is None else [size.z, size.y, size.x],
            "model": record["model"],
            **record["finishing"],
            "intensity_range": [normalizer.low, normalizer.high],
            "tile": record["tile"],
            "overlap": record["overlap"],
            "slab_depth": depth,
            "ngff": options.ngff,
            "version": zinterp.__version__,
        }

    def _record(self, job: Job) -> dict[str, Any]:
        """How the output is made, kept in its metadata; as ``upsample`` has it."""
        return {"program": f"zinterp {zinterp.__version__}", "source": recorded_name(self._source), **job.record()}


def as_option(normalizer: Normalizer) -> str:
    """An intensity range in all its digits, as ``upsample`` takes it."""
    return f"{normalizer.low!r},{normalizer.high!r}"


def runs_in_gaps(grid: ZGrid, wants: Callable[[int], bool]) -> Iterator[range]:
    """Runs of output planes for which something holds, cut behind each acquired plane or else where a gap ends."""
    start = None
    for k in range(len(grid)):
        if start is not None:
            i, t = grid.locate(k)
            if not wants(k):
                yield range(start, k)
                start = None
            elif not t:
                yield range(start, k + 1)
                start = None
            elif i != grid.locate(start)[0]:
                yield range(start, k)
                start = k
        elif wants(k):
            start = k
    if start is not None:
        yield range(start, len(grid))


def has_context(grid: ZGrid, before: int, context: int) -> bool:
    """Whether the context of the gap after an input plane is there, so that planes yet to come do not change it."""
    near, far = grid.acquired[before], grid.acquired[grid.after(before)]
    return far + (context - 1) * (far - near) <= grid.acquired[-1]
