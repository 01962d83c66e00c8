"""Upsampling beside a running acquisition: planes as they arrive -> the same planes as ``upsample`` makes at the end.

There is no second pipeline. After each slice the output is planned as if the stack ended there; what is not there yet
is made, gap by gap, as a slab is. The gap before the newest slice is drafted at once, by cubic interpolation, and made
by the model when its context is there; while the model has nothing else to do it makes drafts anew with the end plane
repeated as context. In the end every slice is read again, and what was made from anything else than what is on disk
then is made anew: so the output is that of the finished folder, whatever happened in between.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from zinterp.compute import Made
from zinterp.errors import BadOptionError, InputError, OutputError
from zinterp.interpolators import Interpolator
from zinterp.io import check_free, format_of, on_disk
from zinterp.io.selection import InputOptions
from zinterp.journal import facts_of, is_begun, locked
from zinterp.options import AUTO, UpsampleOptions
from zinterp.outcome import Outcome
from zinterp.pipeline import build_interpolator
from zinterp.run import check_place, ignore
from zinterp.volume import partial_path
from zinterp.watch_plan import GrowingJob, Task
from zinterp.watch_slices import TakenSlices
from zinterp.watch_status import (
    DONE,
    FAILED,
    FINISHING,
    RUNNING,
    STOPPED,
    VERIFYING,
    WAITING,
    Status,
    check_status,
    write_status,
)

logger = logging.getLogger(__name__)

REFUSED = (
    *("depths", "positions", "skip", "channel", "time", "align", "fill_nonfinite", "drop_duplicates"),
    *("format", "confidence", "flag_below", "planes_table"),
)
"""Options that need the whole stack, or write files beside the output."""

RECENT_SLICES = 20  # by which the rate of the acquisition is known


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """How a folder is watched; the command's flags have the same names.

    Parameters
    ----------
    interval : float
        Seconds from one look at the folder to the next.
    settle : int
        A file is taken once so many looks have found its size and time unchanged.
    expect : int or None
        The output is completed when so many slices are there.
    sentinel : str, Path or None
        It is completed when this file is there and all slices have settled; a name alone is looked for in the folder.
    idle_timeout : float or None
        It is completed when nothing in the folder has changed for so many seconds. With none of the three it goes on
        until it is stopped.
    status : str, Path or None
        A file of JSON to write, that says how far the watch is.
    """

    interval: float = 5.0
    settle: int = 2
    expect: int | None = None
    sentinel: str | Path | None = None
    idle_timeout: float | None = None
    status: str | Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.interval < float("inf"):
            raise BadOptionError(f"the interval is {self.interval:g} s, expected more than 0: give 5")
        if self.settle < 1:
            raise BadOptionError(f"files are to settle for {self.settle} looks, expected at least 1: give 2")
        if self.expect is not None and self.expect < 2:
            raise BadOptionError(f"{self.expect} slices are expected, which make no stack: give 2 or more")
        if self.idle_timeout is not None and not self.idle_timeout > self.interval * (self.settle + 1):
            raise BadOptionError(
                f"the idle timeout is {self.idle_timeout:g} s, expected more than a file takes to settle, "
                f"{self.interval * (self.settle + 1):g} s: give a longer one, or a shorter interval"
            )


@dataclass(frozen=True)
class Watched:
    """A finished watch: the job and what was measured of its planes, and how it went."""

    outcome: Outcome
    status: Status


def watch(
    source: str | Path,
    target: str | Path,
    *,
    when: WatchOptions | None = None,
    interpolator: Interpolator | None = None,
    report: Callable[[Status], None] = ignore,
    **options: Any,  # the fields of UpsampleOptions, so that each name and default stands once
) -> Watched:
    """Make a folder of slices denser in z while it is being written.

    Parameters
    ----------
    source : str or Path
        A folder of TIFF or PNG slices, or a pattern of their names.
    target : str or Path
        The output, an OME-Zarr. Until it is complete it is ``<name>.partial``, which viewers open too.
    when : WatchOptions or None
        How the folder is watched, and when the output is completed; None is the defaults.
    interpolator : Interpolator or None
        As in ``upsample``.
    report : callable
        Called with a Status after each look at the folder, and whenever planes were made.
    **options
        The fields of ``UpsampleOptions``, but for those that need the whole stack. ``resume`` goes on where another
        run stopped, and begins anew where there is nothing to go on with.

    Returns
    -------
    Watched
        The output is what ``upsample`` makes of the finished folder with the same options and the intensity range that
        is in the status, bit for bit.

    Raises
    ------
    ZinterpError
        If folder, options or output cannot be what they are. What was made by then can be gone on with.
    """
    chosen = UpsampleOptions(**options)
    source, target, when = Path(source), Path(target), when or WatchOptions()
    check_options(chosen)
    if format_of(target) != "ome-zarr":
        raise BadOptionError(
            f"the output {target} is no OME-Zarr, which alone can grow: give -o {target.stem}.ome.zarr"
        )
    if not on_disk(source).is_dir():
        raise InputError(f"{source} is no folder, expected the one that slices are written to: check the path")
    check_free(target, overwrite=chosen.overwrite)
    if when.status is not None:
        check_status(Path(when.status), source, target)
    with locked(target):
        check_place(target, chosen)
        return Watch(source, target, when, chosen, interpolator or build_interpolator(chosen), report).to_the_end()


def check_options(options: UpsampleOptions) -> None:
    """Refuse what cannot be had while slices are still arriving."""
    if given := [name for name in REFUSED if getattr(options, name) not in (None, False)]:
        raise BadOptionError(
            f"got {' and '.join(given)} for a stack that is still growing, expected these for finished ones only: run "
            "upsample"
        )
    if options.model == AUTO:
        raise BadOptionError("got model auto, which needs the whole stack, expected the name of one: leave it out")
    if options.factor == 1 and not options.fill_gaps:
        raise BadOptionError("the factor is 1 and no gaps are to be filled, expected planes to make: give --factor 4")


class Watch:
    """One run of ``watch``, which alone has the output."""

    def __init__(
        self,
        source: Path,
        target: Path,
        when: WatchOptions,
        options: UpsampleOptions,
        interpolator: Interpolator,
        report: Callable[[Status], None],
    ) -> None:
        self.source, self.target, self.when, self.report = source, target, when, report
        resume = options.resume and is_begun(target)
        files = InputOptions(keep_databar=options.keep_databar, fill_gaps=options.fill_gaps)
        self.slices = TakenSlices(source, files, when.settle, facts_of(target) if resume else {})
        self.job = GrowingJob(source, target, options, interpolator, self.slices, resume=resume)
        self.state, self.message = WAITING, ""
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self.made: SimpleQueue[tuple[Task, Made, float]] = SimpleQueue()
        self.stopping, self.wake = Event(), Event()
        self.gap_seconds: float | None = None
        self.looked, self.fresh = -float("inf"), False  # when, and whether nothing was made or concluded since
        self.unreachable, self.unwritable = False, False  # the folder, the status: said once

    def to_the_end(self) -> Watched:
        """Watch until the output is complete; whatever ends it before leaves what another run goes on with."""
        try:
            outcome = self.run()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            self.state, self.message = (STOPPED, "") if stopped else (FAILED, str(error))
            with suppress(OSError):
                self.job.close()
            self.say()
            if is_begun(self.target):
                logger.warning("%s is unfinished: the same command with --resume goes on", self.target)
            raise
        self.state = DONE
        return Watched(outcome, self.say())

    def run(self) -> Outcome:
        """Attend to the folder until its slices are all in the output, and are what is on disk."""
        while True:
            self.attend()
            if self.is_complete():
                self.say()
                return self.job.complete()

    def attend(self) -> None:
        """Look, take and draft in a thread of its own, so that no slice waits for the model.

        The model computes in the thread that signals interrupt, so that they need not wait for it either.
        """
        self.stopping.clear()
        with ThreadPoolExecutor(1) as pool:
            try:
                attending = pool.submit(self.attend_folder)
                attending.add_done_callback(lambda _: self.tasks.put(None))
                for task in iter(self.tasks.get, None):
                    start = time.monotonic()
                    self.made.put((task, task.compute(), time.monotonic() - start))
                    self.wake.set()
                attending.result()
            finally:
                self.stopping.set()
                self.wake.set()

    def attend_folder(self) -> None:
        """Look, take, draft, and have the model make what it can; until no more slices are to come and all is made."""
        computing = False
        while not self.stopping.is_set():
            self.look()
            ending = self.ends()
            with suppress(Empty):
                task, made, seconds = self.made.get_nowait()
                self.job.take(task, made)
                last, computing, self.fresh = self.gap_seconds, False, False
                self.gap_seconds = seconds if last is None else 0.8 * last + 0.2 * seconds
                self.say()
            if waiting := self.slices.waiting():
                self.slices.take(waiting[0])
                self.job.plan(ending=False)
            if self.job.draft():
                self.say()
            elif waiting:
                continue
            elif not computing and (next_task := self.job.next_task(ending=ending)):
                self.tasks.put(next_task)
                computing = True
            elif ending and self.fresh and not computing:
                return
            else:
                self.fresh = self.fresh and computing
                self.wake.wait(max(self.looked + self.when.interval - time.monotonic(), 0.0))
                self.wake.clear()

    def look(self) -> None:
        """See what has changed in the folder, if it is time."""
        if time.monotonic() < self.looked + self.when.interval:
            return
        try:
            self.slices.look()
            if self.unreachable:
                self.slices.folder.changed = time.monotonic()  # as something may have, unseen
            self.unreachable = False
        except InputError as error:
            if self.looked < 0:  # not even once
                raise
            if not self.unreachable:
                logger.warning("%s; trying again", error)
            self.unreachable = True
        self.looked, self.fresh = time.monotonic(), not self.unreachable
        self.job.plan(ending=self.ends())
        if self.state == WAITING and self.job.job is not None:
            self.state = RUNNING
        self.say()

    def ends(self) -> bool:
        """Whether no more slices are to be waited for."""
        if self.when.expect is not None and len(self.slices.names()) >= self.when.expect:
            return True
        if self.slices.waiting() or self.slices.folder.settling:
            return False
        idle = time.monotonic() - self.slices.folder.changed
        timed_out = self.when.idle_timeout is not None and idle >= self.when.idle_timeout
        return timed_out or (self.when.sentinel is not None and self.sentinel(Path(self.when.sentinel)).exists())

    def sentinel(self, path: Path) -> Path:
        """Where the sentinel is looked for."""
        return self.slices.path_of(str(path)) if path.parent == Path() else path

    def is_complete(self) -> bool:
        """Whether nothing is left to do but to finish."""
        self.state = VERIFYING
        self.say()
        done, self.fresh = self.job.is_complete(), False
        self.state = FINISHING if done else RUNNING
        if done and self.when.expect is not None and len(self.job.names) != self.when.expect:
            logger.warning("%s: %d slices, expected %d", self.source, len(self.job.names), self.when.expect)
        return done

    def say(self) -> Status:
        """Tell how far it is, and write it down where asked to."""
        status = self.status()
        self.report(status)
        if self.when.status is not None:
            try:
                write_status(Path(self.when.status), status, self.source, self.target)
                self.unwritable = False
            except OutputError as error:  # which is no reason to stop
                if not self.unwritable:
                    logger.warning("%s", error)
                self.unwritable = True
        return status

    def status(self) -> Status:
        """How far it is."""
        slices, since, job = self.slices, self.slices.folder.since, self.job.job
        now, inside, names = time.monotonic(), {*self.job.names}, slices.names()
        seen = [name for name in slices.folder.files if slices.belongs(name)]
        waiting = [since[name] for name in seen if name not in inside]
        waiting += [max(since.get(name, now) for name in pair) for pair in self.job.lacking()]
        written, provisional = self.job.count()
        normalizer = job.stacks[0].normalizer if job is not None else None
        readable = self.target if self.state == DONE else partial_path(self.target)
        return Status(
            state=self.state,
            readable=str(readable) if job is not None else "",
            slices_seen=len(seen),
            slices_taken=len(names),
            slices_expected=self.when.expect,
            last_slice=names[-1] if names else "",
            planes_written=written,
            planes_provisional=provisional,
            lag_slices=len(waiting),
            lag_seconds=round(max((now - each for each in waiting), default=0.0), 3),
            eta_seconds=self.eta(),
            seconds_per_gap=None if self.gap_seconds is None else round(self.gap_seconds, 4),
            intensity_range=(normalizer.low, normalizer.high) if normalizer else None,
            message=self.message or str(self.job.trouble or ""),
            findings=slices.findings(),
        )

    def eta(self) -> float | None:
        """Seconds until the output is complete, where it is known how many slices there will be."""
        if self.state == DONE:
            return 0.0
        since = self.slices.folder.since
        recent = sorted(since[name] for name in self.job.names if name in since)[-RECENT_SLICES:]
        if self.when.expect is None or len(recent) < 2:
            return None
        rate = (recent[-1] - recent[0]) / (len(recent) - 1)
        left = max(self.when.expect - len(self.job.names), 0)
        return round(max(left * rate, (left + self.job.provisional_gaps()) * (self.gap_seconds or 0.0)), 1)
