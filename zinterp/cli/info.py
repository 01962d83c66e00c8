"""``zinterp info``."""

import json
from dataclasses import asdict
from itertools import pairwise
from math import hypot
from pathlib import Path
from typing import Any

import click

from zinterp.cli.options import (
    duplicates_option,
    geometry_options,
    given,
    input_options,
    log_options,
    network_options,
)
from zinterp.cli.text import describe_job, describe_volume, named, printable


def length(step: tuple[int, tuple[float, float]]) -> float:
    """How far a plane is shifted against the one before, in pixels."""
    return hypot(*step[1])


@click.command("info")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@geometry_options
@network_options
@input_options
@duplicates_option("--duplicates", "Also say which planes repeat the one before them.")
@click.option("--drift", is_flag=True, help="Measure the drift between all planes, not some.")
@click.option("--json", "as_json", is_flag=True, envvar="ZINTERP_INFO_JSON", help="As JSON, one object an input.")
@log_options
def command(
    inputs: tuple[Path, ...],
    duplicates: float | None,
    drift: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    log_file: str | None,
    **options: Any,  # the fields of UpsampleOptions that were declared above
) -> None:
    """Say what stacks are, where their voxel size was found, and what upsampling them would cost.

    \b
    Examples:
      zinterp info stack.tif
      zinterp info stack.tif --factor 4
      zinterp info stack.tif --duplicates
    """
    from zinterp.drift import SAMPLE, sample_steps
    from zinterp.duplicates import describe, find_duplicates
    from zinterp.estimate import estimate
    from zinterp.geometry import measured
    from zinterp.io import open_volume
    from zinterp.job import plan_job
    from zinterp.options import GEOMETRIES, UpsampleOptions
    from zinterp.pipeline import build_interpolator
    from zinterp.volume import OneStack, VoxelSize

    chosen = given(options)
    settings = UpsampleOptions(**chosen) if set(GEOMETRIES) & set(chosen) else None
    read = {name: chosen[name] for name in ("channel", "time", "keep_databar", "fill_gaps") if name in chosen}
    interpolator = None
    for source in inputs:
        with named(source, inputs), open_volume(source, **read) as reader:
            info, _ = measured(reader.info, settings or UpsampleOptions(factor=1, **chosen))
            stacks = [OneStack(reader, number) for number in range(info.stacks)]
            repeated = None
            if duplicates is not None:
                repeated = sorted(
                    {d for stack in stacks for d in find_duplicates(stack, duplicates)}, key=lambda d: d.plane
                )
            steps = [step for stack in stacks for step in sample_steps(stack, info.shape[0] if drift else SAMPLE)]
            job = cost = None
            if settings is not None:
                interpolator = interpolator or build_interpolator(settings)
                job = plan_job(reader, settings, needs=interpolator.needs, model=interpolator.identity)
                cost = estimate(job, reader, interpolator)
        size, source_of_size = info.voxel_size, info.voxel_size_source or "nothing in the file"
        if as_json:
            facts = {
                "input": str(source),
                "format": info.format,
                "shape": list(info.shape),
                "dtype": info.dtype.name,
                "bytes": info.bytes,
                "voxel_size_um": [size.z, size.y, size.x],
                "voxel_size_from": source_of_size,
                "origin_um": info.origin,
                "channels": info.channels,
                "times": info.times,
                "even_planes": info.places is None,
                "largest_drift_px": round(max(map(length, steps)), 2) if steps else None,
            }
            if repeated is not None:
                facts["duplicates"] = [asdict(duplicate) for duplicate in repeated]
            if job is not None and cost is not None:
                facts["job"] = {"planes": job.planes, "bytes": job.output.bytes, "seconds": round(cost.seconds, 1)}
            click.echo(json.dumps(facts))
            continue
        click.echo(printable(str(source)))
        click.echo(f"  format      {info.format}")
        click.echo(f"  volume      {describe_volume(info)}")
        click.echo(f"  voxel size  {size} (z, y, x), from {source_of_size}")
        if info.origin is not None:
            click.echo(f"  origin      {VoxelSize(*info.origin)} (z, y, x)")
        if info.channel_names:
            click.echo(f"  channels    {printable(', '.join(info.channel_names))}")
        if info.places is not None:
            distances = [float(b - a) * (size.z or 1) for a, b in pairwise(info.places)]
            unit = "µm" if size.z else "plane distances"
            click.echo(f"  planes      unevenly spaced, {min(distances):g} to {max(distances):g} {unit} apart")
        if steps:
            largest = max(steps, key=length)
            looked = (
                ""
                if len(steps) == info.stacks * (info.shape[0] - 1)
                else f" ({len(steps)} pairs looked at; --drift looks at all)"
            )
            where = f"after plane {largest[0]}{looked}"
            click.echo(f"  drift       {length(largest):.1f} pixels from plane to plane at most, {where}")
        if repeated is not None:
            click.echo(f"  duplicates  {describe(repeated) or 'none'}")
        if job is not None and cost is not None:
            click.echo("\n".join(describe_job(job)))
            click.echo(f"  time        about {cost.seconds:.0f} s of computing here, from one tile timed")
