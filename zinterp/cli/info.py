"""``zinterp info``."""

import json
from dataclasses import asdict
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
from zinterp.cli.text import describe_job, describe_volume, printable


@click.command("info")
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@geometry_options
@network_options
@input_options
@duplicates_option("--duplicates", "Also say which planes repeat the one before them.")
@click.option("--json", "as_json", is_flag=True, envvar="ZINTERP_INFO_JSON", help="As JSON, one object an input.")
@log_options
def command(
    inputs: tuple[Path, ...],
    duplicates: float | None,
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
    from zinterp.duplicates import describe, find_duplicates
    from zinterp.estimate import estimate
    from zinterp.io import open_volume
    from zinterp.job import UpsampleOptions, plan_job
    from zinterp.pipeline import build_interpolator

    chosen = given(options)
    settings = UpsampleOptions(**chosen) if {"factor", "depths"} & set(chosen) else None
    for source in inputs:
        with open_volume(source, channel=chosen.get("channel", 0), time=chosen.get("time", 0)) as reader:
            info = reader.info
            repeated = None if duplicates is None else find_duplicates(reader, duplicates)
            job = cost = None
            if settings is not None:
                interpolator = build_interpolator(settings)
                job = plan_job(reader, settings, needs=interpolator.needs, model=interpolator.identity)
                cost = estimate(job, reader, interpolator)
        size = chosen.get("voxel_size", info.voxel_size)
        origin = "--voxel-size" if "voxel_size" in chosen else info.voxel_size_source or "nothing in the file"
        if as_json:
            facts = {
                "input": str(source),
                "format": info.format,
                "shape": list(info.shape),
                "dtype": info.dtype.name,
                "bytes": info.bytes,
                "voxel_size_um": [size.z, size.y, size.x],
                "voxel_size_from": origin,
                "channels": info.channels,
                "times": info.times,
            }
            if repeated is not None:
                facts["duplicates"] = [asdict(duplicate) for duplicate in repeated]
            if job is not None and cost is not None:
                facts["job"] = {"planes": len(job.grid), "bytes": job.output.bytes, "seconds": round(cost.seconds, 1)}
            click.echo(json.dumps(facts))
            continue
        click.echo(printable(str(source)))
        click.echo(f"  format      {info.format}")
        click.echo(f"  volume      {describe_volume(info)}")
        click.echo(f"  voxel size  {size} (z, y, x), from {origin}")
        if info.channels * info.times > 1:
            click.echo(
                f"  holds       {info.channels} channels and {info.times} times, of which one is upsampled at a time"
            )
        if repeated is not None:
            click.echo(f"  duplicates  {describe(repeated) or 'none'}")
        if job is not None and cost is not None:
            click.echo("\n".join(describe_job(job)))
            click.echo(f"  time        about {cost.seconds:.0f} s of computing here, from one tile timed")
