"""``zinterp upsample``."""

from pathlib import Path
from typing import Any

import click

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
    wide_options,
)
from zinterp.cli.results import Speaker, say_plans, summarize

SAID = "said"  # what --report alone stands for: a few lines on stderr


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
@wide_options
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
@click.option("--skip-existing", is_flag=True, help="Leave out inputs whose outputs are there, or being made.")
@click.option("--keep-going", is_flag=True, help="Go on with the next input after one that failed.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    envvar="ZINTERP_UPSAMPLE_JSON",
    help="Say what was done as JSON, one object an output.",
)
@click.option(
    "--json-lines",
    is_flag=True,
    help="Say what became of each input as JSON, one object a line as soon as it is known: that of --json with status "
    "(done, skipped, failed), source, output, seconds and reason.",
)
@log_options
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    output_dir: Path | None,
    report: str | None,
    dry_run: bool,
    skip_existing: bool,
    keep_going: bool,
    as_json: bool,
    json_lines: bool,
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
      zinterp upsample *.tif --output-dir dense --factor 4 --skip-existing --resume --keep-going
      zinterp upsample stack.tif --factor 4 --restore --confidence sigma.tif --report
      zinterp upsample stack.tif --factor 4 --report report.html
      zinterp upsample stack.tif --factor 4 --workers 4
      zinterp upsample stack.tif -o dense.ome.zarr --factor 4 --slab 3/8
      zinterp upsample slices --voxel-size 20nm --z-step 5nm --skip auto -o dense.ome.zarr
    """
    from zinterp.batch import FAILED, targets_of, upsample_many
    from zinterp.documents import check_document
    from zinterp.options import UpsampleOptions

    if output is not None and (output_dir is not None or len(inputs) > 1):
        raise click.UsageError("-o names the output of one input, expected --output-dir for several")
    for name in ("planes_table", "confidence"):
        if options[name] is not None and len(inputs) > 1:
            raise click.UsageError(f"--{name.replace('_', '-')} names a file for one input, expected one input")
    page = None if report in (None, SAID) else Path(report or "")
    if page is not None and len(inputs) > 1:
        raise click.UsageError("--report FILE.html is about one input, expected one")
    if page is not None and options["slab"] is not None:
        raise click.UsageError("--report FILE.html is about a whole output, and --slab makes a share: leave one out")
    if as_json and json_lines:
        raise click.UsageError("got both --json and --json-lines, expected one: --json-lines says all that --json says")
    chosen = given(options)
    settings = UpsampleOptions(**chosen)
    targets = [output] if output is not None else targets_of(inputs, settings, output_dir)
    if page is not None:
        volumes = [*inputs, *targets, *([options["confidence"]] if options["confidence"] is not None else [])]
        check_document(page, "report", "report.html", volumes, replace=bool(settings.overwrite or settings.resume))
    if dry_run:
        say_plans(inputs, targets, settings, skip_existing=skip_existing, as_json=as_json or json_lines)
        return
    with Speaker(
        settings,
        page,
        evenness=report == SAID,
        as_json=as_json,
        json_lines=json_lines,
        name_failures=keep_going,
    ) as speaker:
        results = upsample_many(
            inputs,
            targets=targets,
            skip_existing=skip_existing,
            keep_going=keep_going,
            report=speaker.progress,
            ended=speaker.ended,
            **chosen,
        )
    if len(inputs) > 1 or keep_going or skip_existing:
        summarize(results)
    if any(result.status == FAILED for result in results):
        click.get_current_context().exit(1)
