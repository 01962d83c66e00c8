"""What commands print about volumes and jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zinterp.job import Job
    from zinterp.volume import VolumeInfo


def printable(text: str) -> str:
    """Text on one line, with what could steer a terminal shown as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text.strip().replace("\n", " "))


def describe_volume(info: "VolumeInfo") -> str:
    """Planes, pixels, dtype and bytes on one line."""
    depth, height, width = info.shape
    from zinterp.volume import readable

    planes = "planes" if depth > 1 else "plane"
    counts = ((info.times, "times"), (info.channels, "channels"))
    several = "".join(f"{count} {name} of " for count, name in counts if count > 1)
    return f"{several}{depth} {planes} of {width} x {height} pixels, {info.dtype.name}, {readable(info.bytes)}"


def describe_job(job: "Job") -> list[str]:
    """The lines about a job that is planned."""
    ranges = dict.fromkeys(f"{stack.normalizer.low:g} to {stack.normalizer.high:g}" for stack in job.stacks)
    tiles = job.layout.counts[0] * job.layout.counts[1]
    return [
        f"  output      {describe_volume(job.output)}, {job.output.format}",
        f"  of these    {job.planes - job.synthesised} acquired, {job.synthesised} synthesised, {len(job.slabs)} slabs",
        f"  voxel size  {job.output.voxel_size} (z, y, x)",
        f"  model       {job.model}, {tiles} tiles of {job.layout.tile[1]} x {job.layout.tile[0]} pixels a plane",
        f"  intensity   {', '.join(ranges)} as 0 to 1",
        *(f"  note        {note}" for note in job.notes),
    ]


@contextmanager
def named(source: Path, inputs: tuple[Path, ...]) -> Iterator[None]:
    """Say in errors which of several inputs they are about."""
    from zinterp.errors import ZinterpError

    try:
        yield
    except ZinterpError as error:
        if len(inputs) == 1 or str(source) in str(error):
            raise
        raise type(error)(f"{source}: {error}") from error
