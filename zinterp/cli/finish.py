"""``zinterp finish``."""

import time
from pathlib import Path

import click

from zinterp.cli.options import log_options
from zinterp.cli.results import Speaker


@click.command("finish")
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--json", "as_json", is_flag=True, envvar="ZINTERP_FINISH_JSON", help="Say what was done as JSON, as upsample does."
)
@log_options
def command(output: Path, as_json: bool, quiet: bool, verbose: bool, log_file: str | None) -> None:
    """Complete an output whose slabs were made by separate jobs.

    OUTPUT is what the jobs, zinterp upsample --slab 1/8 to 8/8, say, were told to write. If slabs lack, the shares
    that they belong to are named. Options are those that the first job had.

    \b
    Examples:
      zinterp finish dense.ome.zarr
    """
    from zinterp.batch import DONE, Result
    from zinterp.completion import finish_shares

    start = time.monotonic()
    done = finish_shares(output)
    result = Result(done.source, output, DONE, time.monotonic() - start, outcome=done.outcome)
    with Speaker(done.options, None, evenness=False, as_json=as_json, json_lines=False, name_failures=False) as speaker:
        speaker.ended(result)
