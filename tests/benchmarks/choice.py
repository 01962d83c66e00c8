"""Print what ``--model auto`` chooses for real volumes, and whether that was right.

usage: python tests/benchmarks/choice.py [--factors 2,4] [--blurs 0,2] [--thin 1,2] VOLUME.tif[:AXES] ...

Of each volume (the middle 129 planes of 256 x 256 pixels at most), as it is and blurred, every --thin-th plane is taken
to be all there is. Every 2nd, 4th, ... of these is kept and upsampled; the others are hidden. auto sees the kept ones
only. Printed are the gain of the default network over cubic on the hidden planes, which of the two auto took, and how
far what it took is below cubic, which should never be more than 0.05 dB.
"""

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.evaluation.metrics import psnr
from zinterp.options import UpsampleOptions
from zinterp.pipeline import ArrayReader, build_interpolator, decide, interpolate

PLANES, EDGE = 129, 256
TOLERANCE = 0.05  # dB
Volume = NDArray[Any]


def volumes(argument: str) -> Iterator[tuple[str, Volume]]:
    """Name and middle of VOLUME[:AXES], hidden planes along axis 0."""
    path, _, axes = argument.partition(":")
    volume = tifffile.imread(path)
    for axis in axes or "z":
        turned = np.moveaxis(volume, "zyx".index(axis), 0)
        sizes = zip(turned.shape, (PLANES, EDGE, EDGE), strict=True)
        yield (
            f"{Path(path).stem}:{axis}",
            turned[tuple(slice((n - min(n, m)) // 2, (n + min(n, m)) // 2) for n, m in sizes)],
        )


def blurred(volume: Volume, sigma: float) -> Volume:
    """The volume under a Gaussian, in 16 bit so that grey levels do not count."""
    if not sigma:
        return volume
    smooth = ndimage.gaussian_filter(volume.astype(np.float32), sigma)
    return np.clip(np.rint(smooth * 200), 0, 65535).astype(np.uint16)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Print a line for each case, and exit with 1 if one is worse than it may be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--factors", default="2,4")
    parser.add_argument("--blurs", default="0,2")
    parser.add_argument("--thin", default="1,2")
    arguments = parser.parse_args()
    logging.getLogger("zinterp").setLevel(logging.ERROR)
    network = build_interpolator(UpsampleOptions(factor=2))
    say(f"{'volume':26}{'blur':>5}{'thin':>5}{'x':>3}{'network dB':>11}{'seen dB':>9} {'chosen':8}{'below cubic':>12}")
    worse = cases = 0
    for name, whole in (pair for argument in arguments.volumes for pair in volumes(argument)):
        for blur in map(float, arguments.blurs.split(",")):
            for thin in map(int, arguments.thin.split(",")):
                for factor in map(int, arguments.factors.split(",")):
                    truth = blurred(whole, blur)[::thin]
                    truth = truth[: (len(truth) - 1) // factor * factor + 1]
                    if len(truth) <= 2 * factor:
                        continue
                    settings = UpsampleOptions(factor=factor, model="auto")
                    job, chosen = decide(ArrayReader(truth[::factor]), settings, interpolator=network)
                    hidden = [k for k in range(len(truth)) if k % factor]
                    span = float(np.subtract(*np.percentile(truth, [99.9, 0.1])))
                    scores = [
                        psnr(truth[hidden], made[hidden], data_range=span)
                        for made in (
                            interpolate(truth[::factor], factor=factor, interpolator=network),
                            interpolate(truth[::factor], factor=factor, model="cubic"),
                        )
                    ]
                    seen = list((job.choice or {})["psnr_db"].values())
                    gain, took = scores[0] - scores[1], "network" if chosen is network else "cubic"
                    below = max(-gain, 0.0) if chosen is network else 0.0
                    cases, worse = cases + 1, worse + (below > TOLERANCE)
                    case = f"{name:26}{blur:5g}{thin:5}{factor:3}"
                    say(f"{case}{gain:+11.2f}{seen[0] - seen[1]:+9.2f} {took:8}{below:12.2f}")
    say(f"{worse} of {cases} cases are more than {TOLERANCE} dB below cubic")
    sys.exit(worse > 0)


if __name__ == "__main__":
    main()
