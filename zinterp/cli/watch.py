"""``zinterp watch``."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zinterp.cli.options import (
    Length,
    Range,
    Seconds,
    Voxel,
    finishing_options,
    given,
    log_options,
    network_options,
)
from zinterp.cli.progress import LINE_EVERY_S, logger

if TYPE_CHECKING:
    from zinterp.watch_status import Status

WHEN = ("interval", "settle", "expect", "sentinel", "idle_timeout", "status")


@click.command("watch")
@click.argument("source", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The output, an OME-Zarr.")
@click.option("-f", "--factor", type=int, help="Make planes this many times denser: 2, 3, 4, ...")
@click.option("--z-step", type=Length(), help="Planes this far apart, as in 5nm, from the first plane on.")
@click.option("--isotropic", is_flag=True, default=None, help="Planes as far apart as pixels.")
@click.option("--fill-gaps", is_flag=True, default=None, help="Make the planes whose numbers lack.")
@click.option("--interval", type=Seconds(), help="From one look at the folder to the next.  [default: 5s]")
@click.option(
    "--settle",
    type=click.IntRange(min=1),
    help="Take a slice once so many looks have found its size and time unchanged.  [default: 2]",
)
@click.option("--expect", type=click.IntRange(min=2), metavar="N", help="Complete the output once N slices are there.")
@click.option(
    "--sentinel",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Complete it once this file is there and all slices have settled; a name alone is looked for in DIR.",
)
@click.option("--idle-timeout", type=Seconds(), help="Complete it once nothing in DIR has changed for so long.")
@click.option(
    "--status",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep a file of JSON that says how far it is: slices, planes, lag, time left, and what was odd.",
)
@network_options
@finishing_options
@click.option(
    "--voxel-size",
    type=Voxel(),
    metavar="ZxYxXUNIT|ZUNIT",
    help="Of the slices, z first, as in 20x5x5nm, or z alone, as in 20nm, where they are wrong or silent.",
)
@click.option(
    "--keep-databar", is_flag=True, default=None, help="Leave the data bar that a microscope burnt into the slices."
)
@click.option(
    "--intensity-range",
    type=Range(),
    help="Grey values that bound what is of interest.  [default: 0.1 and 99.9 percentiles of the first slices]",
)
@click.option("--ngff", type=click.Choice(["0.5", "0.4"]), help="Version of OME-Zarr.  [default: 0.5]")
@click.option("--slab-depth", type=click.IntRange(min=1), help="Output planes kept together.  [default: by memory]")
@click.option("--overwrite", is_flag=True, default=None, help="Replace the output, or an unfinished one.")
@click.option("--resume", is_flag=True, default=None, help="Go on where a run was stopped; begin if there was none.")
@click.option(
    "--json", "as_json", is_flag=True, envvar="ZINTERP_WATCH_JSON", help="Say at the end how it went as JSON."
)
@log_options
def command(
    source: Path,
    output: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_file: str | None,
    **options: Any,  # the fields of WatchOptions and UpsampleOptions that were declared above
) -> None:
    """Make a stack denser while it is being acquired.

    DIR is the folder that TIFF or PNG slices are written to, or a pattern of their names in quotes. The gap before each
    new slice is made at once, and can be seen in OUTPUT.partial; the finished output is what 'zinterp upsample' makes
    of the finished folder with the same --intensity-range. It is completed at --expect, --sentinel or --idle-timeout,
    whichever comes first, and its path is printed. Ctrl-C and SIGTERM stop the watch, and --resume goes on.

    \b
    Examples:
      zinterp watch run7 -o run7_x4.ome.zarr --factor 4 --expect 2000
      zinterp watch run7 -o run7_x4.ome.zarr --factor 4 --idle-timeout 30min --status run7.json --resume
      zinterp watch 'run7/slice_*.tif' -o dense.ome.zarr --voxel-size 20x5x5nm --isotropic --sentinel finished.txt
    """
    from zinterp.watch import WatchOptions, watch

    chosen = given(options)
    when = WatchOptions(**{name: chosen.pop(name) for name in WHEN if name in chosen})
    start = time.monotonic()
    watched = watch(source, output, when=when, report=Lines(), **chosen)
    seconds = time.monotonic() - start
    logger.info("wrote %s in %.1f s", output, seconds)
    if not as_json:
        click.echo(output)
        return
    facts = {"source": str(source), "output": str(output), "seconds": round(seconds, 3)}
    outcome = watched.outcome
    click.echo(
        json.dumps({**facts, "model": outcome.job.model, **watched.status.record(), "pulsing": outcome.record()})
    )


class Lines:
    """Log how far a watch is: each time that its state changes, and every 30 s while slices arrive."""

    def __init__(self) -> None:
        self.state, self.last, self.planes = "", 0.0, -1

    def __call__(self, status: "Status") -> None:
        """Say it if it is time."""
        now = time.monotonic()
        due = now - self.last >= LINE_EVERY_S and status.planes_written != self.planes
        if status.state == self.state and not due:
            return
        expected = f" of {status.slices_expected}" if status.slices_expected else ""
        left = "" if status.eta_seconds is None else f", {status.eta_seconds:.0f} s left"
        logger.info(
            "%s: %d%s slices, %d planes in the output, %d of them provisional, %d slices behind%s",
            *(status.state, status.slices_taken, expected, status.planes_written, status.planes_provisional),
            *(status.lag_slices, left),
        )
        self.state, self.last, self.planes = status.state, now, status.planes_written
