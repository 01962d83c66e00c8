"""``zinterp evaluate``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zinterp.cli.check import rows_for_report
from zinterp.cli.options import given, input_options, log_options, machine_options, places_options
from zinterp.cli.progress import logger, show_progress
from zinterp.cli.text import named, printable

if TYPE_CHECKING:
    from zinterp.evaluation.hidden_planes import Evaluation
    from zinterp.evaluation.scores import ModelScore
    from zinterp.interpolators import Interpolator

COLUMNS = ("PSNR dB", "SSIM", "FRC 1/7", "sharpness", "edges", "fraction", "surface", "Euler", "pulsing", "Mpx/s")


@click.command("evaluate")
@click.argument("inputs", metavar="STACK...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-f", "--factor", type=int, default=2, show_default=True, help="Keep every so many-th plane, and hide the others."
)
@click.option(
    "--models",
    metavar="NAME|FILE,...",
    help="The models to compare, each with +restore or +sharpen behind it if that is to follow; linear and cubic are "
    "always among them.  [default: the default network]",
)
@click.option(
    "--planes", type=click.IntRange(min=0), help="At most so many, of the middle; 0 takes all.  [default: 65]"
)
@click.option(
    "--size",
    type=click.IntRange(min=0),
    help="At most so many pixels along each edge, of the middle; 0 takes all.  [default: 512]",
)
@places_options
@machine_options
@input_options
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Also write a page with pictures, curves and the worst regions.",
)
@click.option(
    "--csv",
    "table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the scores of each hidden plane.",
)
@click.option("--overwrite", is_flag=True, help="Replace report and table if they are there.")
@click.option(
    "--json", "as_json", is_flag=True, envvar="ZINTERP_EVALUATE_JSON", help="The scores as JSON, one object a stack."
)
@log_options
def command(
    inputs: tuple[Path, ...],
    factor: int,
    models: str | None,
    report: Path | None,
    table: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_file: str | None,
    **options: Any,  # the arguments of evaluate that were declared above
) -> None:
    """Find out what interpolation does to a stack: hide some of its planes, predict them, and compare.

    Hidden planes are predicted by each model from the others, as upsample would, and scored: PSNR relative to the
    0.1-99.9 percentile span, SSIM with Gaussian weights (sigma 1.5), the detail down to which planes agree with the
    true ones (Fourier ring correlation above 1/7), gradient energy over that of the true planes, F-score of Canny
    edges; and how far measures at Otsu's threshold are off: volume fraction, surface area, Euler number. At the end
    stands whether a network is worth its while here.

    \b
    Examples:
      zinterp evaluate stack.tif
      zinterp evaluate stack.tif --factor 4 --models mirror-unet,mirror-unet+restore,fast
      zinterp evaluate stack.tif --models tuned.safetensors,mirror-unet --report stack.html --csv planes.csv
    """
    from zinterp.documents import check_document, write_document
    from zinterp.evaluation.hidden_planes import evaluate
    from zinterp.evaluation.tables import facts, planes_csv

    for name, path, example in (("report", report, "report.html"), ("table", table, "planes.csv")):
        if path is not None and len(inputs) > 1:
            raise click.UsageError(f"--{'csv' if name == 'table' else name} names a file for one stack, expected one")
        if path is not None:
            check_document(path, name, example, inputs, replace=overwrite)
    names = [name.strip() for name in models.split(",")] if models else []
    built: dict[str, Interpolator] = {}
    for source in inputs:
        with named(source, inputs), show_progress(source.name, "models") as show:
            found = evaluate(source, factor=factor, models=names, interpolators=built, report=show, **given(options))
        if report is not None:
            from zinterp.evaluation.report import write_report

            write_report(report, found, stack=rows_for_report(source, given(options)), overwrite=overwrite)
            logger.info("wrote %s", report)
        if table is not None:
            write_document(table, "table", planes_csv(found))
            logger.info("wrote %s", table)
        click.echo(json.dumps(facts(found)) if as_json else "\n".join(describe(found)))


def describe(found: "Evaluation") -> list[str]:
    """The scores as a table, and what to take from them."""
    from zinterp.volume import ordinal

    hidden, window = len(found.truth.hidden), found.window
    width = max(len(score.model) for score in found.scores)
    return [
        printable(found.source),
        f"  looked at   {window}; {hidden} of {len(window.planes)} planes hidden, every {ordinal(found.factor)} kept",
        f"  {'':{width}}" + "".join(f"{name:>11}" for name in COLUMNS),
        *(f"  {printable(score.model):{width}}" + row(found, score) for score in found.scores),
        f"  verdict     {printable(found.verdict)}",
        f"  note        {found.caveat}",
    ]


def row(found: "Evaluation", score: "ModelScore") -> str:
    """The figures of one model."""
    errors = score.errors(found.truth)
    cells = (
        f"{score.psnr_db:.2f}",
        f"{score.ssim:.4f}",
        detail(score),
        f"{score.sharpness:.2f}",
        f"{score.edges:.3f}",
        "" if errors is None else f"{100 * errors.fraction:+.2f} %",
        "" if errors is None else f"{100 * errors.surface:+.1f} %",
        "" if errors is None else f"{errors.euler:+d}",
        f"{score.pulsing:.3f}",
        f"{score.megapixels_per_second:.2g}",
    )
    return "".join(f"{cell:>11}" for cell in cells)


def detail(score: "ModelScore") -> str:
    """The finest period that agrees with the true planes."""
    if score.resolution_px is None:
        return "none"
    if score.resolution_um is None:
        return f"{score.resolution_px:.1f} px"
    return f"{score.resolution_um * 1e3:.1f} nm" if score.resolution_um < 1 else f"{score.resolution_um:.1f} µm"
