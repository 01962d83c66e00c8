"""``zinterp info``."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zinterp.cli.check import check_facts, describe_checks
from zinterp.cli.options import (
    duplicates_option,
    geometry_options,
    given,
    input_options,
    log_options,
    network_options,
)
from zinterp.cli.text import describe_job, describe_provenance, describe_volume, named, printable

if TYPE_CHECKING:
    from zinterp.duplicates import Duplicate
    from zinterp.inspection import Inspection
    from zinterp.interpolators import Interpolator
    from zinterp.job import Job
    from zinterp.options import UpsampleOptions
    from zinterp.volume import VolumeInfo

Step = tuple[int, tuple[float, float]]  # a plane, and the shift (y, x) from it to the next in pixels


@dataclass(frozen=True)
class Findings:
    """What was found out about one input; ``repeated``, ``job`` and ``seconds`` are None where nobody asked.

    ``checks`` are of all stacks, or none of them.
    """

    source: Path
    info: "VolumeInfo"
    steps: "list[Step]"
    record: dict[str, Any] | None
    whole: bool
    repeated: "list[Duplicate] | None" = None
    job: "Job | None" = None
    seconds: float | None = None
    checks: "tuple[Inspection, ...]" = ()

    @property
    def size_from(self) -> str:
        """Where the voxel size was found."""
        return self.info.voxel_size_source or "nothing in the file"


@click.command("info")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@geometry_options
@network_options
@input_options
@duplicates_option("--duplicates", "Also say which planes repeat the one before them.")
@click.option(
    "--check",
    is_flag=True,
    help="Look through the whole stack for what may spoil an interpolation: planes that are blank, saturated, torn, "
    "repeated or shifted, jumps of brightness or contrast, curtains, streaks, drift, blur along z; and say which "
    "factors are reasonable.",
)
@click.option("--drift", is_flag=True, help="Measure the drift between all planes, not some.")
@click.option(
    "--planes", is_flag=True, help="Of an output, print only its table of planes: what each was made from, as CSV."
)
@click.option("--json", "as_json", is_flag=True, envvar="ZINTERP_INFO_JSON", help="As JSON, one object an input.")
@log_options
def command(
    inputs: tuple[Path, ...],
    duplicates: float | None,
    check: bool,
    drift: bool,
    planes: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_file: str | None,
    **options: Any,  # the fields of UpsampleOptions that were declared above
) -> None:
    """Say what stacks are, where their voxel size was found, and what upsampling them would cost.

    Of an output of zinterp it also says how that was made.

    \b
    Examples:
      zinterp info stack.tif
      zinterp info stack.tif --factor 4
      zinterp info stack.tif --check
      zinterp info stack.tif --duplicates
      zinterp info stack_x4.tif --planes
    """
    from zinterp.options import GEOMETRIES, UpsampleOptions
    from zinterp.pipeline import build_interpolator

    if planes and (as_json or len(inputs) > 1):
        raise click.UsageError("--planes prints the table of one output and nothing else, expected one, without --json")
    if planes:
        click.echo(table_of(inputs[0]), nl=False)
        return
    chosen = given(options)
    settings = UpsampleOptions(**chosen) if set(GEOMETRIES) & set(chosen) else None
    build = cache(build_interpolator)
    for source in inputs:
        with named(source, inputs):
            found = look(source, chosen, settings, build, duplicates=duplicates, all_drift=drift, check=check)
        click.echo(json.dumps(facts(found)) if as_json else "\n".join(describe(found)))


def table_of(output: Path) -> str:
    """The planes table in an output's file, with what could steer a terminal shown as escapes."""
    from zinterp.errors import BadVolumeError
    from zinterp.provenance import read_provenance

    made = read_provenance(output)
    if made is None or not made.table:
        raise BadVolumeError(
            f"{output} holds no table of planes, expected an output of zinterp in a format that has room for one, not "
            "MRC: see the file of upsample --planes-table"
        )
    return "".join(f"{printable(line)}\n" for line in made.table.splitlines())


def look(
    source: Path,
    chosen: Mapping[str, Any],
    settings: "UpsampleOptions | None",
    build: "Callable[[UpsampleOptions], Interpolator]",
    *,
    duplicates: float | None,
    all_drift: bool,
    check: bool = False,
) -> Findings:
    """Find out about one input; with settings, from which an interpolator is built, also about a job."""
    from zinterp.drift import SAMPLE, sample_steps
    from zinterp.duplicates import find_duplicates
    from zinterp.estimate import estimate
    from zinterp.geometry import measured
    from zinterp.inspection import inspect
    from zinterp.io import open_volume, read_record
    from zinterp.options import UpsampleOptions
    from zinterp.pipeline import decide
    from zinterp.volume import OneStack

    read = {name: chosen[name] for name in ("channel", "time", "keep_databar", "fill_gaps") if name in chosen}
    with open_volume(source, **read) as reader:
        info, _ = measured(reader.info, settings or UpsampleOptions(factor=1, **chosen))
        stacks = [OneStack(reader, number) for number in range(info.stacks)]
        repeated = None
        if duplicates is not None:
            found = {duplicate for stack in stacks for duplicate in find_duplicates(stack, duplicates)}
            repeated = sorted(found, key=lambda duplicate: duplicate.plane)
        steps = [step for stack in stacks for step in sample_steps(stack, info.shape[0] if all_drift else SAMPLE)]
        checks = tuple(inspect(stack, info.voxel_size) for stack in stacks) if check else ()
        job = seconds = None
        if settings is not None:
            interpolator = build(settings)
            job, interpolator = decide(reader, settings, interpolator=interpolator)
            seconds = estimate(job, reader, interpolator).seconds
    whole = not {"channel", "time"} & set(read)
    return Findings(source, info, steps, read_record(source), whole, repeated, job, seconds, checks)


def length(step: Step) -> float:
    """How far a plane is shifted against the one before, in pixels."""
    return hypot(*step[1])


def facts(found: Findings) -> dict[str, Any]:
    """What was found, as JSON holds it."""
    info, size = found.info, found.info.voxel_size
    said: dict[str, Any] = {
        "input": str(found.source),
        "format": info.format,
        "shape": list(info.shape),
        "dtype": info.dtype.name,
        "bytes": info.bytes,
        "voxel_size_um": [size.z, size.y, size.x],
        "voxel_size_from": found.size_from,
        "origin_um": info.origin,
        "channels": info.channels,
        "times": info.times,
        "even_planes": info.places is None,
        "largest_drift_px": round(max(map(length, found.steps)), 2) if found.steps else None,
    }
    if found.record is not None:
        said["made"] = found.record
    if found.repeated is not None:
        said["duplicates"] = [asdict(duplicate) for duplicate in found.repeated]
    if found.checks:
        said["check"] = [check_facts(check) for check in found.checks]
    if found.job is not None and found.seconds is not None:
        job = found.job
        said["job"] = {"planes": job.planes, "bytes": job.output.bytes, "seconds": round(found.seconds, 1)}
    return said


def describe(found: Findings) -> list[str]:
    """What was found, line by line."""
    from zinterp.duplicates import describe as describe_duplicates
    from zinterp.provenance import Provenance
    from zinterp.volume import VoxelSize

    info = found.info
    lines = [
        printable(str(found.source)),
        f"  format      {info.format}",
        f"  volume      {describe_volume(info)}",
        f"  voxel size  {info.voxel_size} (z, y, x), from {found.size_from}",
    ]
    if info.origin is not None:
        lines.append(f"  origin      {VoxelSize(*info.origin)} (z, y, x)")
    if info.channel_names:
        lines.append(f"  channels    {printable(', '.join(info.channel_names))}")
    if found.record is not None:
        made = Provenance.of_record(found.record, str(found.source))
        lines += describe_provenance(made, info.stacks * info.shape[0] if found.whole else None)
    lines += [*describe_places(info), *describe_drift(found)]
    if found.repeated is not None:
        lines.append(f"  duplicates  {describe_duplicates(found.repeated) or 'none'}")
    if found.checks:
        lines += describe_checks(found.checks, stack_names(info))
    if found.job is not None and found.seconds is not None:
        lines += describe_job(found.job)
        lines.append(f"  time        about {found.seconds:.0f} s of computing here, from one tile timed")
    return lines


def stack_names(info: "VolumeInfo") -> list[str]:
    """Which channel and time each stack is, as they were read; "" where there is one."""
    if info.stacks == 1:
        return [""]
    return [f"channel {number % info.channels} at time {number // info.channels}" for number in range(info.stacks)]


def describe_places(info: "VolumeInfo") -> list[str]:
    """The line about planes that do not follow each other evenly, if they do not."""
    if info.places is None:
        return []
    distances = [float(b - a) * (info.voxel_size.z or 1) for a, b in pairwise(info.places)]
    unit = "µm" if info.voxel_size.z else "plane distances"
    return [f"  planes      unevenly spaced, {min(distances):g} to {max(distances):g} {unit} apart"]


def describe_drift(found: Findings) -> list[str]:
    """The line about drift, where it could be measured."""
    if not found.steps:
        return []
    largest, pairs = max(found.steps, key=length), found.info.stacks * (found.info.shape[0] - 1)
    looked = "" if len(found.steps) == pairs else f" ({len(found.steps)} pairs looked at; --drift looks at all)"
    where = f"after plane {largest[0]}{looked}"
    return [f"  drift       {length(largest):.1f} pixels from plane to plane at most, {where}"]
