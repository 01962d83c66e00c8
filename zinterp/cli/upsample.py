"""``zinterp upsample``."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zinterp.cli.check import rows_for_report
from zinterp.cli.options import (
    OrAlone,
    duplicates_option,
    finishing_options,
    geometry_options,
    given,
    input_options,
    log_options,
    network_options,
    optional,
)
from zinterp.cli.progress import logger, show_progress
from zinterp.cli.text import describe_flags, describe_job, describe_outcome, named, printable, printable_line

if TYPE_CHECKING:
    from zinterp.options import UpsampleOptions
    from zinterp.outcome import Outcome

SAID = "said"  # what --report alone stands for: a few lines on stderr
REPORT_PLANES, REPORT_SIZE = 33, 256  # of the window in which planes are hidden for a page


def html_file(text: str) -> str:
    """The name of a page."""
    if not text.lower().endswith((".html", ".htm")):
        raise ValueError
    return text


@click.command("upsample")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The output.  [default: <stem>_x4 beside the input]"
)
@click.option("--output-dir", type=click.Path(path_type=Path), help="The folder for outputs with default names.")
@geometry_options
@network_options
@finishing_options
@input_options
@duplicates_option("--drop-duplicates", "Make planes anew that repeat the one before them.")
@click.option(
    "--format",
    type=click.Choice(["tiff", "ome-tiff", "ome-zarr", "mrc", "tiff-slices", "png-slices"]),
    help="Of the output.  [default: by suffix]",
)
@click.option("--ngff", type=click.Choice(["0.5", "0.4"]), help="Version of OME-Zarr.  [default: 0.5]")
@click.option("--slab-depth", type=click.IntRange(min=1), help="Output planes made at a time.  [default: by memory]")
@click.option(
    "--confidence",
    type=click.Path(path_type=Path),
    help="Also write a stack of the standard deviation of the error at each voxel, 0 where it was acquired.",
)
@click.option(
    "--flag-below",
    type=float,
    metavar="DECIBELS",
    help="Name planes and regions whose predicted deviations let expect a lower PSNR, relative to the intensity range; "
    "20 finds bad ones.",
)
@optional(
    "--report",
    OrAlone("FILE.html", SAID, html_file, "a file named .html"),
    "Also say how even the output is, and how sure the model; or write a page with that, with pictures, and with what "
    "interpolation does to hidden planes of the stack.",
)
@click.option(
    "--planes-table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a CSV file: of each output plane its z, and what it was made from.",
)
@click.option("--overwrite", is_flag=True, default=None, help="Replace the output if there is one.")
@click.option("--resume", is_flag=True, default=None, help="Go on where an interrupted job stopped.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    envvar="ZINTERP_UPSAMPLE_JSON",
    help="Say what was done as JSON, one object an output.",
)
@log_options
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    output_dir: Path | None,
    report: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_file: str | None,
    **options: Any,  # the fields of UpsampleOptions that were declared above
) -> None:
    """Make stacks denser in z.

    INPUT is a stack (TIFF, MRC, OME-Zarr, file.h5:/dataset), a folder of TIFF or PNG slices, or a pattern of their
    names in quotes. Every acquired plane that falls on the output's grid is in it bit for bit, but for those that are
    to be left out. The path of the output is printed.

    \b
    Examples:
      zinterp upsample stack.tif --factor 4
      zinterp upsample stack.ome.zarr -o dense.ome.zarr --depths 0.25,0.5,0.75
      zinterp upsample *.tif --output-dir dense --factor 2 --model cubic
      zinterp upsample stack.tif --factor 4 --restore --confidence sigma.tif --report
      zinterp upsample stack.tif --factor 4 --report report.html
      zinterp upsample slices --voxel-size 20nm --z-step 5nm --skip auto -o dense.ome.zarr
    """
    from zinterp.documents import check_document
    from zinterp.errors import BadOptionError
    from zinterp.io import name_of
    from zinterp.job import default_target
    from zinterp.options import UpsampleOptions
    from zinterp.pipeline import build_interpolator, opened, upsample

    if output is not None and (output_dir is not None or len(inputs) > 1):
        raise click.UsageError("-o names the output of one input, expected --output-dir for several")
    for name in ("planes_table", "confidence"):
        if options[name] is not None and len(inputs) > 1:
            raise click.UsageError(f"--{name.replace('_', '-')} names a file for one input, expected one input")
    page = None if report in (None, SAID) else Path(report or "")
    if page is not None and len(inputs) > 1:
        raise click.UsageError("--report FILE.html is about one input, expected one")
    if output_dir is not None and not output_dir.is_dir():
        raise BadOptionError(f"the folder {output_dir} does not exist, expected one for the outputs: create it first")
    chosen = given(options)
    settings = UpsampleOptions(**chosen)
    interpolator = None
    targets = [output or default_target(source, settings, output_dir) for source in inputs]
    if doubled := sorted({str(target) for target in targets if targets.count(target) > 1}):
        raise BadOptionError(
            f"several inputs would be written to {', '.join(doubled)}, expected one each: run them apart"
        )
    if page is not None:
        volumes = [*inputs, *targets, *([options["confidence"]] if options["confidence"] is not None else [])]
        check_document(page, "report", "report.html", volumes, replace=bool(settings.overwrite or settings.resume))
    for source, target in zip(inputs, targets, strict=True):
        if len(inputs) > 1 and interpolator is None:
            interpolator = build_interpolator(settings)
        if dry_run:
            with named(source, inputs), opened(source, target, settings, interpolator) as (job, _, _):
                facts = {"source": str(source), "output": str(target), "planes": job.planes, "dropped": job.dropped}
                lines = map(printable_line, [f"{source} -> {target}", *describe_job(job)])
                click.echo(json.dumps(facts) if as_json else "\n".join(lines))
            continue
        start = time.monotonic()
        outcomes: list[Outcome] = []
        with named(source, inputs), show_progress(name_of(source), "planes") as show:
            upsample(
                source,
                target,
                interpolator=interpolator,
                report=lambda p: show(p.done, p.total),
                measured=outcomes.append,
                **chosen,
            )
        seconds = time.monotonic() - start
        logger.info("wrote %s in %.1f s", target, seconds)
        (outcome,) = outcomes
        say(source, target, options["confidence"], seconds, outcome, as_json=as_json, evenness=report == SAID)
        if page is not None:
            write_page(page, source, target, settings, outcome, seconds)


def say(
    source: Path,
    target: Path,
    confidence: Path | None,
    seconds: float,
    outcome: "Outcome",
    *,
    as_json: bool,
    evenness: bool,
) -> None:
    """Say what was done."""
    if as_json:
        facts: dict[str, Any] = {"source": str(source), "output": str(target), "seconds": round(seconds, 3)}
        if confidence is not None:
            facts["confidence"] = str(confidence)
        facts |= {"model": outcome.job.model, "choice": outcome.job.choice, "dropped": outcome.job.dropped}
        click.echo(json.dumps({**facts, "pulsing": outcome.record(), "flagged": outcome.flagged()}))
        return
    click.echo(printable(str(target)) if sys.stdout.isatty() else target)  # scripts get the name as it is
    if confidence is not None:
        logger.info("wrote %s, standard deviations of errors in grey levels", confidence)
    for line in [*(describe_outcome(outcome) if evenness else []), *describe_flags(outcome)]:
        click.echo(line, err=True)


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
