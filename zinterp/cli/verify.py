"""``zinterp verify``."""

import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zinterp.cli.options import log_options
from zinterp.cli.progress import show_progress
from zinterp.cli.text import printable

if TYPE_CHECKING:
    from zinterp.verify import Verified


@click.command("verify")
@click.argument("output", type=click.Path(path_type=Path))
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--planes-table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file that upsample --planes-table wrote, where OUTPUT holds no table, as MRC.",
)
@click.option("--json", "as_json", is_flag=True, envvar="ZINTERP_VERIFY_JSON", help="Say what was found as JSON.")
@log_options
def command(
    output: Path,
    source: Path,
    planes_table: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_file: str | None,
) -> None:
    """Prove that the acquired planes are in an output bit for bit.

    OUTPUT is what upsample wrote, and SOURCE is the stack that it was made from. Each plane that OUTPUT says was
    acquired is compared with that of SOURCE; each other one must lie between the two that it says it was made from.
    If a plane differs, the exit code is 1.

    \b
    Examples:
      zinterp verify stack_x4.tif stack.tif
      zinterp verify dense.mrc stack.mrc --planes-table planes.csv
    """
    from zinterp.errors import BadVolumeError
    from zinterp.verify import verify

    with show_progress(output.name, "planes") as show:
        found = verify(output, source, planes_table=planes_table, report=show)
    if as_json:
        click.echo(json.dumps(facts(output, source, found)))
    if found.differing:
        raise BadVolumeError(
            f"{output} differs from {source} in {len(found.differing)} of {found.acquired} acquired planes "
            f"({describe_differing(found)}), expected them bit for bit: one of the two was changed or damaged since"
        )
    if not as_json:
        click.echo(printable(f"{output}: {describe(source, found)}"))


def facts(output: Path, source: Path, found: "Verified") -> dict[str, Any]:
    """What was found, as JSON holds it."""
    return {
        "output": str(output),
        "source": str(source),
        "acquired": found.acquired,
        "identical": found.acquired - len(found.differing),
        "differing": [{"time": row.time, "channel": row.channel, "plane": row.plane} for row in found.differing],
        "synthesised": dict(found.made),
        "absent": list(found.absent),
        "widened": found.widened,
    }


def describe(source: Path, found: "Verified") -> str:
    """What was found where no plane differs."""
    from zinterp.io import recorded_name
    from zinterp.volume import ranges

    how = "value for value, 8 bit as 16 bit" if found.widened else "bit for bit"
    made = ", ".join(f"{count} synthesised by {model}" for model, count in found.made.items()) or "none synthesised"
    absent = ""
    if found.absent:
        everywhere = " everywhere" if found.stacks > 1 else ""
        absent = f"; not in it{everywhere}: plane{'s' * (len(found.absent) > 1)} {ranges(found.absent)} of {source}"
    renamed = ""
    if found.source and found.source != recorded_name(source):
        renamed = f"; the stack that it was made from was called {found.source}"
    return f"{found.acquired} of {found.acquired} acquired planes are those of {source} {how}; {made}{absent}{renamed}"


def describe_differing(found: "Verified") -> str:
    """The planes that differ, by time and channel where there are several."""
    from zinterp.volume import ranges

    planes: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in found.differing:
        planes[row.time, row.channel].append(row.plane)
    several = found.stacks > 1
    texts = (
        f"time {time} channel {channel}: {ranges(numbers)}" if several else ranges(numbers)
        for (time, channel), numbers in planes.items()
    )
    return "; ".join(texts)
