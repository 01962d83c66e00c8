"""Print the peak memory of a job against the number of planes, and against their size.

usage: python tests/benchmarks/memory.py [--planes 50,500,5000] [--model linear] [--edges 256,1024,4096]
       [--tiled fast] [--max-memory 4GB] [--deep 7]

Each job upsamples an OME-Zarr twofold into an OME-Zarr, in a process of its own. Planes are of noise with structure, as
many different ones as fit into one block. The first table has planes of 512 x 512 pixels, the second three planes of
each size, with ``--max-memory``. Peak memory is what Linux says of the process.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr

JOB = """
from zinterp.cli.main import main
try:
    main()
finally:
    print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024)
"""
BLOCK = 16  # planes


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


def make(path: Path, planes: int, edge: int) -> None:
    """Write a stack of planes that differ a little from each other."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 200, (edge // 16, edge // 16), np.uint8)
    base = np.kron(coarse, np.ones((16, 16), np.uint8))
    depth = min(BLOCK, planes)
    array = zarr.create_array(
        path, shape=(planes, edge, edge), chunks=(1, min(edge, 1024), min(edge, 1024)), dtype="uint8", zarr_format=2
    )
    for start in range(0, planes, depth):
        for k in range(start, min(start + depth, planes)):
            array[k] = base + rng.integers(0, 16, (edge, edge), np.uint8)


def peak_of(folder: Path, planes: int, edge: int, *options: str) -> tuple[float, float]:
    """Peak bytes and seconds of a job."""
    source, target = folder / "a.zarr", folder / "b.ome.zarr"
    make(source, planes, edge)
    command = [sys.executable, "-c", JOB, "upsample", str(source), "-o", str(target), "--factor", "2", "--quiet"]
    start = time.monotonic()
    done = subprocess.run([*command, *options, "--overwrite"], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]), time.monotonic() - start


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--planes", default="50,500,5000")
    parser.add_argument("--model", default="linear")
    parser.add_argument("--edges", default="256,1024,4096")
    parser.add_argument("--tiled", default="fast")
    parser.add_argument("--max-memory", default="4GB")
    parser.add_argument("--deep", type=int, default=7)
    arguments = parser.parse_args()
    say(f"| planes of 512 x 512, {arguments.model} | peak MB | seconds |")
    say("|---|---|---|")
    for planes in map(int, filter(None, arguments.planes.split(","))):
        with tempfile.TemporaryDirectory() as folder:
            peak, seconds = peak_of(Path(folder), planes, 512, "--model", arguments.model)
        say(f"| {planes} | {peak / 1e6:.0f} | {seconds:.0f} |")
    say(f"\n| {arguments.deep} planes, {arguments.tiled}, --max-memory {arguments.max_memory} | peak MB | seconds |")
    say("|---|---|---|")
    for edge in map(int, filter(None, arguments.edges.split(","))):
        with tempfile.TemporaryDirectory() as folder:
            options = ("--model", arguments.tiled, "--max-memory", arguments.max_memory)
            peak, seconds = peak_of(Path(folder), arguments.deep, edge, *options)
        say(f"| {edge} x {edge} | {peak / 1e6:.0f} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
