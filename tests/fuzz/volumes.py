"""What is done with every volume that a fuzzer makes, and small files to start from."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from tests.conftest import make_stack
from zinterp.cli.text import describe_provenance, describe_volume
from zinterp.io import FORMATS, OutputOptions, create_volume, open_volume, read_record
from zinterp.provenance import Provenance
from zinterp.volume import VolumeInfo, VoxelSize

TABLE = (
    "time,channel,plane,z_um,kind,before,after,t,model,restoration,grain_seed\n"
    "0,0,0,0.0,acquired,0,0,0,,,\n0,0,1,0.01,synthesised,0,1,0.5,fast@0123,,7\n"
)
RECORD = {
    "program": "zinterp 0.1.0",
    "source": "a.tif",
    "source_shape": [2, 24, 20],
    "dtype": "uint8",
    "model": "fast@0123",
    "dropped_planes": [[1]],
    "finishing": {"sharpening": None, "grain_seed": 7},
    "pulsing": [{"index": {"mean": 0.1}, "linear": {"mean": 0.2}, "acquired": {"mean": 0.3}}],
    "planes": TABLE,
}


def read_volume(path: Path) -> None:
    """Open, describe, read the first and the last plane, and the record."""
    with open_volume(path) as reader:
        info = reader.info
        describe_volume(info)
        str(info.voxel_size)
        for stack in {0, info.stacks - 1}:
            for z in {0, info.shape[0] - 1}:
                planes = reader.read(range(z, z + 1), stack)
                assert planes.shape == (1, *info.shape[1:])
                assert planes.dtype == info.dtype
    record = read_record(path)
    if record is not None:
        made = Provenance.of_record(record, str(path))
        made.dropped(0)
        describe_provenance(made, info.shape[0])


@cache
def written(format: str) -> Path:
    """A small volume of ours in a format."""
    folder = Path(tempfile.mkdtemp(prefix="zinterp-seed-"))
    path = folder / f"a{next(iter(FORMATS[format].suffixes), '')}"
    dtype = "float32" if format == "mrc" else "uint8"
    info = VolumeInfo((5, 24, 20), np.dtype(dtype), VoxelSize(0.02, 0.008, 0.004), unit="nm", origin=(1.5, 0.25, 0.5))
    writer = create_volume(path, info, OutputOptions(format, z_chunk=2), RECORD)
    stack = make_stack((5, 24, 20), dtype)
    for z in (0, 2, 4):
        writer.write(z, stack[z : z + 2])
    writer.finish()
    return path


@cache
def made(name: str, write: Callable[[Path], None]) -> Path:
    """A file that a function writes, once."""
    path = Path(tempfile.mkdtemp(prefix="zinterp-seed-")) / name
    write(path)
    return path
