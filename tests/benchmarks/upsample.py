"""Print what upsampling costs, file to file and of the bare network, and how far that is from what the machine can do.

usage: python tests/benchmarks/upsample.py [--edge 1024] [--planes 17] [--factors 2,4] [--models NAME,...]
       [--yardsticks super-slomo] [--device auto] [--workers 1]

For each model and factor: synthesised megapixels a second of the bare interpolator on one tile, as many calls at once
as it is worth, and from file to file;
the share of the time that goes into reading, computing and writing, which overlap; peak memory of the job; and the
floor, the seconds that the convolutions' multiplications take at the rate at which this machine multiplies matrices,
and the bytes at the rate of its disk. Yardsticks are networks at their published sizes, with random weights, in float32
as their authors ship them: of these only the bare rate counts, the better of one pair of planes for all threads and of
one for each.

All figures are taken in one run, each the best of several, so that their ratios hold on a noisy machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from zinterp.allocator import keep_freed_memory
from zinterp.models import PUBLISHED
from zinterp.threads import side_by_side

ROUNDS = 3
JOB = """
import sys, time, json
from zinterp.allocator import keep_freed_memory
from zinterp.options import UpsampleOptions
from zinterp.pipeline import build_interpolator, upsample
from zinterp.slabs import SlabMaker
from zinterp.executors import create_crew
spent = dict.fromkeys(("_read", "_compute", "_write"), 0.0)
def timed(name):
    function = getattr(SlabMaker, name)
    def wrapper(*arguments):
        start = time.perf_counter()
        try:
            return function(*arguments)
        finally:
            spent[name] += time.perf_counter() - start
    setattr(SlabMaker, name, wrapper)
for name in spent:
    timed(name)
source, model, factor, device, workers = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
options = dict(factor=factor, model=model, device=device)
if workers > 1:
    options["workers"] = workers
else:
    options["interpolator"] = build_interpolator(UpsampleOptions(**options))
if __name__ == "__main__":
    keep_freed_memory()  # as the command does
    start = time.perf_counter()
    upsample(source, source + ".out.tif", overwrite=True, **options)
    seconds = time.perf_counter() - start
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
    print(json.dumps({"seconds": seconds, "peak": peak, "shares": [part / seconds for part in spent.values()]}))
"""


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


def best(function: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds that the fastest of several calls takes."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        found.append(time.perf_counter() - start)
    return min(found)


def rate_of(interpolator: Any, edge: int, factor: int, rounds: int = ROUNDS) -> float:
    """Synthesised megapixels a second of an interpolator on tiles of edge x edge pixels."""
    planes = np.random.default_rng(0).random((1, 2 * interpolator.needs.context, edge, edge), dtype=np.float32)
    times = np.arange(1, factor, dtype=np.float32) / factor
    interpolator(planes, times)
    at_once = interpolator.needs.at_once
    calls = 2 * at_once

    def work() -> None:
        for _ in side_by_side(lambda _: interpolator(planes, times), range(calls), at_once):
            pass

    return calls * edge * edge * (factor - 1) / best(work, rounds) / 1e6


def bare_rate(model: str, edge: int, factor: int, device: str = "auto") -> float:
    """The same of a model by its name."""
    from zinterp.interpolators import create_interpolator

    return rate_of(create_interpolator(model, device=device), edge, factor)


def yardstick_rate(name: str, edge: int, factor: int, device: str) -> float:
    """The same of an architecture at its published size, in float32, with random weights."""
    from zinterp.interpolators.network import interpolator_of
    from zinterp.models import ARCHITECTURES

    interpolator = interpolator_of(ARCHITECTURES[name](PUBLISHED[name]), identity=name, device=device, precision="fp32")
    one_by_one = replace(interpolator.needs, at_once=1)
    rates = [rate_of(interpolator, edge, factor, rounds=2)]
    interpolator.needs, interpolator.in_one_thread = one_by_one, nullcontext
    return max(*rates, rate_of(interpolator, edge, factor, rounds=2))


def matrix_rate(interpolator: Any) -> float:
    """Multiplications a second of large matrices, in the type that an interpolator convolves in."""
    import torch

    matrix = torch.rand(2048, 2048).to(interpolator.device, interpolator.dtype)

    def multiply() -> None:
        torch.mm(matrix, matrix)
        if matrix.is_cuda:
            torch.cuda.synchronize()

    multiply()
    return 2048**3 / best(multiply, 5)


def disk_rate(folder: Path) -> float:
    """Bytes a second that are written to a folder, and are on disk."""
    content = np.random.default_rng(0).bytes(2**26)

    def write() -> None:
        with (folder / "disk").open("wb", buffering=0) as file:
            file.write(content)
            os.fsync(file.fileno())

    return len(content) / best(write)


def copy_rate(source: Path, edge: int) -> float:
    """Megapixels a second of copying a TIFF file plane by plane with tifffile."""
    target = source.with_name("copy.tif")

    def copy() -> None:
        with tifffile.TiffFile(source) as tif, tifffile.TiffWriter(target) as writer:
            for page in tif.pages:
                writer.write(page.asarray(), contiguous=False)

    copy()
    with tifffile.TiffFile(source) as tif:
        count = len(tif.pages)
    return count * edge * edge / best(copy) / 1e6


def run_job(source: Path, model: str, factor: int, device: str, workers: int) -> dict[str, Any]:
    """Seconds, shares and peak bytes of the fastest of several jobs from file to file, each in a process of its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as program:
        program.write(JOB)
        program.flush()
        command = [sys.executable, program.name, str(source), model, str(factor), device, str(workers)]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(2)
        ]
    return dict(min(runs, key=lambda run: run["seconds"]))


def floor(model: str, factor: int, device: str, gaps: int, pixels: int, disk: float) -> str:
    """Seconds that arithmetic and disk take at the least."""
    from networks import multiplications

    from zinterp.interpolators import CLASSICAL, create_interpolator

    moved = pixels * (1 + gaps) * 2 + pixels * gaps * (factor - 1)  # bytes, of 8 bit: read, written
    if model in CLASSICAL:
        return f"- / {moved / disk:.2f}"
    interpolator: Any = create_interpolator(model, device=device)
    work = multiplications(interpolator.network, factor, device=interpolator.device) * pixels * gaps * (factor - 1)
    return f"{work / matrix_rate(interpolator):.2f} / {moved / disk:.2f}"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=1024)
    parser.add_argument("--planes", type=int, default=17)
    parser.add_argument("--factors", default="2,4")
    parser.add_argument("--models", default="linear,cubic,mirror-unet,fast")
    parser.add_argument("--yardsticks", default="super-slomo", help=f"some of {', '.join(PUBLISHED)}")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    edge, gaps, device = arguments.edge, arguments.planes - 1, arguments.device
    keep_freed_memory()
    stack = np.random.default_rng(0).integers(0, 255, (arguments.planes, edge, edge), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        source, disk = Path(folder, "a.tif"), disk_rate(Path(folder))
        tifffile.imwrite(source, stack, imagej=True, metadata={"axes": "ZYX"})
        say(f"copying the file plane by plane: {copy_rate(source, edge):.0f} Mpx/s; disk: {disk / 1e6:.0f} MB/s\n")
        say("| | factor | bare Mpx/s | file to file | of bare | read / compute / write | peak MB | floor s | seconds |")
        say("|---|---|---|---|---|---|---|---|---|")
        for factor in map(int, arguments.factors.split(",")):
            for name in filter(None, arguments.yardsticks.split(",")):
                rate = yardstick_rate(name, edge, factor, device)
                say(f"| {name}, published size | {factor} | {rate:.3f} | | | | | | |")
            for model in arguments.models.split(","):
                bare = bare_rate(model, edge, factor, device)
                run = run_job(source, model, factor, device, arguments.workers)
                rate = edge * edge * gaps * (factor - 1) / run["seconds"] / 1e6
                shares = " / ".join(f"{share:.0%}" for share in run["shares"])
                least = floor(model, factor, device, gaps, edge * edge, disk)
                say(
                    f"| {model} | {factor} | {bare:.2f} | {rate:.2f} | {rate / bare:.0%} | {shares} | "
                    f"{run['peak'] / 1e6:.0f} | {least} | {run['seconds']:.1f} |"
                )


if __name__ == "__main__":
    main()
