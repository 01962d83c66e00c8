"""Many inputs in turn: what is done is left out, what fails does not stop the others, no two jobs do one stack."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from zinterp.errors import BadOptionError, OutputBusyError, OutputExistsError, ZinterpError
from zinterp.executors import Crew, create_crew
from zinterp.finished import find_difference, other_weights
from zinterp.interpolators import Interpolator
from zinterp.io import is_taken, on_disk, read_record, recorded_name
from zinterp.job import default_target
from zinterp.journal import forget, is_begun, is_ended, locked
from zinterp.options import UpsampleOptions
from zinterp.outcome import Outcome
from zinterp.pipeline import build_interpolator, make
from zinterp.run import Progress, ignore

logger = logging.getLogger(__name__)

DONE, SKIPPED, FAILED = "done", "skipped", "failed"


@dataclass(frozen=True)
class Result:
    """What became of one input.

    Parameters
    ----------
    source, target : Path
    status : str
        ``done``, ``skipped`` or ``failed``.
    seconds : float
        That it took.
    reason : str
        Why it was skipped or failed, or that a share of it is done, on one line; "" if it is done.
    outcome : Outcome or None
        What was measured, if it is done, and not a share only.
    """

    source: Path
    target: Path
    status: str
    seconds: float
    reason: str = ""
    outcome: Outcome | None = None


def upsample_many(
    sources: Sequence[str | Path],
    *,
    output_dir: str | Path | None = None,
    targets: Sequence[str | Path] | None = None,
    skip_existing: bool = False,
    keep_going: bool = False,
    report: Callable[[Path, Progress], None] = ignore,
    ended: Callable[[Result], None] = ignore,
    **options: Any,  # the fields of UpsampleOptions, as in ``upsample``
) -> list[Result]:
    """Make many stacks denser in z, one after the other, with a model that is loaded once.

    Two such calls over the same inputs, in two processes, share the work where ``skip_existing`` is set: an output that
    the other one has made, or is at, is left out.

    Parameters
    ----------
    sources : sequence of str or Path
        Stacks or folders of slices, see ``open_volume``.
    output_dir : str, Path or None
        The folder for the outputs, under the names that ``upsample`` gives them; None is beside each input.
    targets : sequence of str or Path or None
        The outputs, one for each source, instead.
    skip_existing : bool
        Leave out inputs whose outputs are there already, and outputs of other inputs that are among them. An output
        that is there but was made from another stack, or with another model or geometry, is a failure.
    keep_going : bool
        Go on with the next input after one that failed.
    report : callable
        Called with an input and a Progress after each slab.
    ended : callable
        Called with the Result of each input as soon as it is known.
    **options
        The fields of ``UpsampleOptions``. With ``resume``, outputs that were begun are gone on with.

    Returns
    -------
    list of Result
        One for each input.

    Raises
    ------
    ZinterpError
        If the options or names of outputs cannot be, or, unless ``keep_going`` is set, one of the inputs fails.
    """
    chosen = UpsampleOptions(**options)
    if skip_existing and chosen.overwrite:
        raise BadOptionError("got both skip-existing and overwrite, expected one: what is there is left or replaced")
    inputs = [Path(source) for source in sources]
    outputs = targets_of(inputs, chosen, output_dir) if targets is None else [Path(target) for target in targets]

    with create_crew(chosen.workers, chosen.scheduler) as crew:
        return one_by_one(
            inputs, outputs, chosen, report, ended, crew, skip_existing=skip_existing, keep_going=keep_going
        )


def one_by_one(
    inputs: Sequence[Path],
    outputs: Sequence[Path],
    chosen: UpsampleOptions,
    report: Callable[[Path, Progress], None],
    ended: Callable[[Result], None],
    crew: Crew | None,
    *,
    skip_existing: bool,
    keep_going: bool,
) -> list[Result]:
    """Take one input after the other; see ``upsample_many``."""

    @cache
    def build() -> Interpolator:
        return build_interpolator(chosen)

    results = []
    for source, target in zip(inputs, outputs, strict=True):
        start = time.monotonic()
        try:
            reason = is_output(source, inputs) if skip_existing else ""
            outcome, status = None, SKIPPED
            if not reason:
                reason, outcome = take(source, target, chosen, build, report, crew, skip_existing=skip_existing)
                status = SKIPPED if reason else DONE
            if status == DONE and outcome is None:
                reason = f"share {chosen.share} of its slabs; 'zinterp finish {target}' completes it when all are made"
        except Exception as error:
            status, reason, outcome = FAILED, reason_in_words(error), None
            if not isinstance(error, ZinterpError | OSError | MemoryError) and keep_going:
                logger.exception("%s: a fault in zinterp, please report it", source)
            if not keep_going:
                ended(Result(source, target, status, time.monotonic() - start, reason))
                if isinstance(error, ZinterpError) and len(inputs) > 1 and str(source) not in reason:
                    raise type(error)(f"{source}: {error}") from error
                raise
        results.append(Result(source, target, status, time.monotonic() - start, reason, outcome))
        ended(results[-1])
    return results


def targets_of(sources: Sequence[Path], options: UpsampleOptions, folder: str | Path | None = None) -> list[Path]:
    """The outputs of several inputs, under the names that ``upsample`` gives them, each another one.

    Raises
    ------
    BadOptionError
        If the folder is not there, or two inputs would be written to one output.
    """
    folder = None if folder is None else Path(folder)
    if folder is not None and not folder.is_dir():
        raise BadOptionError(f"the folder {folder} does not exist, expected one for the outputs: create it first")
    targets = [default_target(source, options, folder) for source in sources]
    if doubled := sorted({str(target) for target in targets if targets.count(target) > 1}):
        raise BadOptionError(
            f"several inputs would be written to {', '.join(doubled)}, expected one each: run them apart"
        )
    return targets


def take(
    source: Path,
    target: Path,
    options: UpsampleOptions,
    build: Callable[[], Interpolator],
    report: Callable[[Path, Progress], None],
    crew: Crew | None,
    *,
    skip_existing: bool,
) -> tuple[str, Outcome | None]:
    """Make one output -> why it was left out, "" if it was not, and its outcome.

    Whether it is there is asked while it is locked, so that no other job can be about to make it.
    """
    try:
        with locked(target) if options.share is None else nullcontext():  # shares hold what they must
            unfinished = options.resume and (is_begun(target) or is_ended(target))
            if skip_existing and is_taken(target) and not unfinished:
                return leave(source, target, options), None
            return "", make(source, target, options, build, lambda progress: report(source, progress), crew=crew)
    except OutputBusyError:
        if skip_existing:
            return "another job is at it", None
        raise


def leave(source: Path, target: Path, options: UpsampleOptions) -> str:
    """Why an output that is there is left as it is; an error if it is not what the job would make."""
    if difference := find_difference(source, target, options):
        raise OutputExistsError(
            f"{target} is there, and is not what this job would make: {difference}; move it, give another name, or "
            "--overwrite it"
        )
    forget(target)
    weights = other_weights(target, options)
    return f"it is there already{', ' if weights else ''}{weights}"


def is_output(source: Path, sources: Sequence[Path]) -> str:
    """That an input was made from another one among all, in words; "" if it was not."""
    others = {recorded_name(other) for other in sources if other != source}
    if not on_disk(source).exists():
        return ""
    name = (read_record(source) or {}).get("source")
    return f"it was made from {name}" if isinstance(name, str) and name in others else ""


def reason_in_words(error: Exception) -> str:
    """What an error says, on one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ZinterpError):
        return text
    if isinstance(error, MemoryError):
        return "there is not enough memory: give a smaller --max-memory or --tile"
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}"
    return f"{type(error).__name__}: {text}"


def counted(results: Sequence[Result]) -> Iterator[tuple[str, int]]:
    """How many are done, skipped and failed."""
    for status in (DONE, SKIPPED, FAILED):
        yield status, sum(result.status == status for result in results)
