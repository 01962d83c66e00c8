"""Print the gain of a model when its input is not as the training data: other pixels, dtypes, contrast, noise.

usage: python tests/benchmarks/robustness.py [--model NAME|FILE] [--factor 4] VOLUME.tif ...

Each volume (33 planes of 256 x 256 pixels at most, 8 bit) is changed as a whole, every 4th plane of the changed volume
is upsampled, and the planes between are compared with those of the changed volume: gain in dB over the better of linear
and cubic.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parent))
from quality import say, volumes

from zinterp import interpolate
from zinterp.evaluation.metrics import psnr
from zinterp.interpolators import create_interpolator

Volume = NDArray[Any]


def as_uint8(volume: Volume) -> Volume:
    """Rounded and clipped to 8 bit."""
    return np.clip(np.rint(volume), 0, 255).astype(np.uint8)


def halved(volume: Volume) -> Volume:
    """Means of 2 x 2 pixels."""
    even = volume[:, : volume.shape[1] // 2 * 2, : volume.shape[2] // 2 * 2]
    return as_uint8(even.reshape(len(even), even.shape[1] // 2, 2, -1, 2).mean(axis=(2, 4)))


def enlarged(volume: Volume) -> Volume:
    """1.5 times the pixels in y and x."""
    return as_uint8(ndimage.zoom(volume, (1, 1.5, 1.5), order=3))


def noisy(volume: Volume) -> Volume:
    """With Gaussian noise of 8 grey levels."""
    return as_uint8(volume + np.random.default_rng(0).normal(0, 8, volume.shape))


CHANGES: dict[str, Callable[[Volume], Volume]] = {
    "as it is": as_uint8,
    "half the pixels": halved,
    "1.5 x the pixels": enlarged,
    "uint16": lambda volume: as_uint8(volume).astype(np.uint16) * 257,
    "float32": lambda volume: volume.astype(np.float32) / 255,
    "inverted": lambda volume: 255 - as_uint8(volume),
    "noise of sigma 8": noisy,
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--model")
    parser.add_argument("--factor", type=int, default=4)
    args = parser.parse_args()
    model = create_interpolator(args.model)
    say(f"{'volume':24}" + "".join(f"{name:>18}" for name in CHANGES))
    for path in args.volumes:
        name, volume = next(volumes(path))
        gains = []
        for change in CHANGES.values():
            changed = change(volume)
            changed = changed[: (len(changed) - 1) // args.factor * args.factor + 1]
            kept = changed[:: args.factor]
            hidden = [k for k in range(len(changed)) if k % args.factor]
            span = float(np.subtract(*np.percentile(changed, [99.9, 0.1])))
            truth = changed[hidden]
            ours = psnr(truth, interpolate(kept, factor=args.factor, interpolator=model)[hidden], data_range=span)
            exact = kept.astype(np.float32)
            classical = (interpolate(exact, factor=args.factor, model=m)[hidden] for m in ("linear", "cubic"))
            gains.append(ours - max(psnr(truth, made, data_range=span) for made in classical))
        say(f"{name:24}" + "".join(f"{gain:+18.2f}" for gain in gains))


if __name__ == "__main__":
    main()
