"""Print what upsampling costs: megapixels of synthesised planes a second, from file to file and of the bare network.

usage: python tests/benchmarks/upsample.py [--edge 1024] [--planes 5] [--factors 2,4] [--models linear,cubic]

All figures are taken in one run, each the best of three, so that their ratios hold on a noisy machine. Peak memory is
that of a process of its own for each job.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

ROUNDS = 3


def bare_rate(model: str, edge: int, factor: int) -> float:
    """Synthesised megapixels a second of the interpolator on one tile of edge x edge pixels."""
    from zinterp.interpolators import create_interpolator

    interpolator = create_interpolator(model)
    planes = np.random.default_rng(0).random((1, 2 * interpolator.needs.context, edge, edge), dtype=np.float32)
    times = np.arange(1, factor, dtype=np.float32) / factor
    interpolator(planes, times)
    best = min(timed(lambda: interpolator(planes, times)) for _ in range(ROUNDS))
    return edge * edge * (factor - 1) / best / 1e6


def timed(function: object) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()  # type: ignore[operator]
    return time.perf_counter() - start


def job(source: Path, model: str, factor: int) -> dict[str, float]:
    """Seconds and peak bytes of one job from file to file, in a process of its own."""
    code = (
        "import sys, time, json, resource\nfrom zinterp.job import UpsampleOptions\n"
        "from zinterp.pipeline import build_interpolator, upsample\n"
        "source, model, factor = sys.argv[1], sys.argv[2], int(sys.argv[3])\n"
        "made = build_interpolator(UpsampleOptions(factor=factor, model=model))\n"
        "start = time.perf_counter()\n"
        "upsample(source, source + '.out.tif', factor=factor, interpolator=made, overwrite=True)\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "print(json.dumps({'seconds': time.perf_counter() - start, 'peak': peak}))\n"
    )
    command = [sys.executable, "-c", code, str(source), model, str(factor)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", type=int, default=1024)
    parser.add_argument("--planes", type=int, default=5)
    parser.add_argument("--factors", default="2,4")
    parser.add_argument("--models", default="linear,cubic,mirror-unet")
    arguments = parser.parse_args()
    stack = np.random.default_rng(0).integers(
        0, 255, (arguments.planes, arguments.edge, arguments.edge), dtype=np.uint8
    )
    print(f"{'model':14}{'factor':>7}{'bare Mpx/s':>12}{'file to file':>14}{'share':>8}{'peak MB':>9}")  # noqa: T201
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "a.tif")
        tifffile.imwrite(source, stack, imagej=True, metadata={"axes": "ZYX"})
        for model in arguments.models.split(","):
            for factor in map(int, arguments.factors.split(",")):
                bare = bare_rate(model, arguments.edge, factor)
                runs = [job(source, model, factor) for _ in range(ROUNDS)]
                made = arguments.edge**2 * (arguments.planes - 1) * (factor - 1) / 1e6
                whole = made / min(run["seconds"] for run in runs)
                peak = max(run["peak"] for run in runs) / 1e6
                line = f"{model:14}{factor:7}{bare:12.2f}{whole:14.2f}{whole / bare:8.0%}{peak:9.0f}"
                print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
