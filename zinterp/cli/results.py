"""What ``zinterp upsample`` says about its inputs: plans, progress, what became of each, and of all."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from zinterp.cli.check import rows_for_report
from zinterp.cli.progress import logger, show_progress
from zinterp.cli.text import describe_flags, describe_job, describe_outcome, named, printable, printable_line

if TYPE_CHECKING:
    from zinterp.batch import Result
    from zinterp.options import UpsampleOptions
    from zinterp.outcome import Outcome
    from zinterp.run import Progress

REPORT_PLANES, REPORT_SIZE = 33, 256  # of the window in which planes are hidden for a page


def say_plans(
    sources: Sequence[Path], targets: Sequence[Path], settings: "UpsampleOptions", *, skip_existing: bool, as_json: bool
) -> None:
    """Say what would be done, and do nothing."""
    from functools import cache

    from zinterp.io import is_taken
    from zinterp.pipeline import build_interpolator, opened

    build = cache(lambda: build_interpolator(settings))
    for source, target in zip(sources, targets, strict=True):
        facts: dict[str, Any] = {"source": str(source), "output": str(target)}
        if skip_existing and is_taken(target):
            click.echo(json.dumps({**facts, "skipped": True}) if as_json else f"{source}: {target} is there already")
            continue
        with named(source, tuple(sources)), opened(source, target, settings, build) as (job, _, _):
            facts |= {"planes": job.planes, "dropped": job.dropped}
            lines = map(printable_line, [f"{source} -> {target}", *describe_job(job)])
            click.echo(json.dumps(facts) if as_json else "\n".join(lines))


class Speaker:
    """Says how far the input at hand is, and what became of it: on stdout what scripts want, else on stderr.

    Parameters
    ----------
    settings : UpsampleOptions
    page : Path or None
        A report to write about an input that is done.
    evenness : bool
        Say how even the output is.
    as_json, json_lines : bool
        One object an output; one object an input.
    name_failures : bool
        Say why an input failed, which otherwise ends the command, with that said.
    """

    def __init__(
        self,
        settings: "UpsampleOptions",
        page: Path | None,
        *,
        evenness: bool,
        as_json: bool,
        json_lines: bool,
        name_failures: bool,
    ) -> None:
        self._settings, self._page = settings, page
        self._evenness, self._as_json, self._json_lines = evenness, as_json, json_lines
        self._name_failures = name_failures
        self._confidence = None if settings.confidence is None else Path(settings.confidence)
        self._stack = ExitStack()
        self._show: Callable[[int, int], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def progress(self, source: Path, progress: "Progress") -> None:
        """Show how far an input is."""
        from zinterp.io import name_of

        if self._show is None:
            self._show = self._stack.enter_context(show_progress(name_of(source), "planes"))
        self._show(progress.done, progress.total)

    def ended(self, result: "Result") -> None:
        """Say what became of an input."""
        from zinterp.batch import FAILED

        self._stack.close()
        self._show = None
        if result.outcome is not None:
            logger.info("wrote %s in %.1f s", result.target, result.seconds)
        elif self._name_failures or result.status != FAILED:
            logger.info("%s %s: %s", result.source, result.status, result.reason)
        if self._as_json or self._json_lines:
            self._say_json(result)
        elif result.outcome is not None:
            target = str(result.target)
            click.echo(printable(target) if sys.stdout.isatty() else target)  # scripts get the name as it is
            self._say(result.outcome)
        if self._page is not None and result.outcome is not None:
            write_page(self._page, result.source, result.target, self._settings, result.outcome, result.seconds)

    def _say_json(self, result: "Result") -> None:
        """One object about an input."""
        facts: dict[str, Any] = {"source": str(result.source), "output": str(result.target)}
        facts["seconds"] = round(result.seconds, 3)
        if self._json_lines:
            facts = {"status": result.status, **facts, "reason": result.reason or None}
        if result.outcome is not None:
            outcome = result.outcome
            if self._confidence is not None:
                facts["confidence"] = str(self._confidence)
            facts |= {"model": outcome.job.model, "choice": outcome.job.choice, "dropped": outcome.job.dropped}
            facts |= {"pulsing": outcome.record(), "flagged": outcome.flagged()}
        if self._json_lines or result.outcome is not None:
            click.echo(json.dumps(facts))

    def _say(self, outcome: "Outcome") -> None:
        """A few lines about an output."""
        if self._confidence is not None:
            logger.info("wrote %s, standard deviations of errors in grey levels", self._confidence)
        for line in [*(describe_outcome(outcome) if self._evenness else []), *describe_flags(outcome)]:
            click.echo(line, err=True)


def summarize(results: Sequence["Result"]) -> None:
    """Say how many inputs are done, skipped and failed, and why they failed."""
    from zinterp.batch import FAILED, counted

    failed = [result for result in results if result.status == FAILED]
    for result in failed:
        logger.error("failed: %s: %s", result.source, result.reason)
    counts = ", ".join(f"{count} {status}" for status, count in counted(results))
    (logger.error if failed else logger.info)("%s", counts)


def write_page(
    page: Path, source: Path, target: Path, settings: "UpsampleOptions", outcome: "Outcome", seconds: float
) -> None:
    """Write the report of a job, with what its model does to hidden planes of the stack."""
    from zinterp.errors import BadVolumeError
    from zinterp.evaluation.hidden_planes import evaluate_job
    from zinterp.evaluation.report import Made, write_report

    evaluation, unmeasured = None, ""
    try:
        with show_progress("report", "models") as show:
            evaluation = evaluate_job(source, settings, planes=REPORT_PLANES, size=REPORT_SIZE, report=show)
    except BadVolumeError as error:  # too few planes to hide any, or none that shows something
        unmeasured = str(error)
        logger.warning("the report does not say what interpolation does to this stack: %s", error)
    confidence = None if settings.confidence is None else Path(settings.confidence)
    made = Made(target, source, outcome, seconds, confidence)
    stack = rows_for_report(source, vars(settings))
    write_report(page, evaluation, made=made, stack=stack, unmeasured=unmeasured, overwrite=True)
    logger.info("wrote %s", page)
