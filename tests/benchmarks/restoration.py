"""Print how much synthesised planes look like acquired ones, and what that costs.

usage: python tests/benchmarks/restoration.py [--restore FILE] [--gaps 2,4,8] [--picture FILE.png] VOLUME ...

The planes between every 2nd, 4th and 8th plane of the middle of each volume (33 planes of 256 x 256 pixels at most) are
hidden and made again, by linear and cubic interpolation, by the default model as it is (plain), and with --sharpen,
--restore and --grain. --restore takes other weights than the shipped ones. Printed are

    PSNR      of all hidden planes in dB, the squared error averaged over planes, the 0.1-99.9 percentile span as range
    sharp     gradient energy of the middle planes of gaps over that of the two acquired planes beside them, averaged
    edges     F-score of the edges of these planes against the true ones, a pixel off allowed
    pulsing   the pulsing index of the whole stack
    1 sd 2 sd parts of the true values within one and two predicted standard deviations
    spectrum  power of these planes over that of the true ones in dB, in rings of 1/32 cycles a pixel, the first 8 of
              which end at half the Nyquist frequency

--picture shows a plane in the middle of a gap of four of the first volume: true, plain, sharpened and restored, and
below each the same plane 3 times larger.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from quality import middle, say

from zinterp.evaluation.metrics import edge_f_score, psnr, sharpness
from zinterp.pipeline import interpolate, interpolate_with_uncertainty
from zinterp.pulsing import Pair, Statistics, Synthesised, pulsing

RINGS, RING = 8, 1 / 32  # cycles a pixel
WAYS: dict[str, dict[str, Any]] = {
    "linear": {"model": "linear"},
    "cubic": {"model": "cubic"},
    "plain": {},
    "sharpened": {"sharpen": "auto"},
    "restored": {"restore": True},
    "with grain": {"grain": 0},
    "both": {"restore": True, "grain": 0},
}
Volume = NDArray[Any]


def made(kept: Volume, gap: int, options: dict[str, Any]) -> tuple[Volume, Volume | None]:
    """The stack made denser, and its deviations where the model predicts them."""
    if options.get("model") in ("linear", "cubic"):
        return interpolate(kept, factor=gap, **options), None
    return interpolate_with_uncertainty(kept, factor=gap, **options)


def power(plane: Volume) -> Volume:
    """Mean power in rings of spatial frequency."""
    window = np.hanning(plane.shape[0])[:, None] * np.hanning(plane.shape[1])
    spectrum = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(plane.shape[0])[:, None], np.fft.fftfreq(plane.shape[1]))
    ring = (radius / RING).astype(int)
    return np.array([spectrum[ring == i].mean() for i in range(RINGS)])


def index_of(dense: Volume, gap: int) -> float:
    """The pulsing index of a stack whose every ``gap``-th plane was acquired."""
    rows = []
    for first in range(0, len(dense) - gap, gap):
        pair = Pair.of(dense[first], dense[first + gap])
        for k in range(1, gap):
            t, found = k / gap, Statistics.of(dense[first + k])
            rows.append(Synthesised(t, found, pair.expected(t), pair.blended(t)))
    return pulsing(rows).index


def figures(volume: Volume, gap: int, options: dict[str, Any]) -> str:
    """A line of the table."""
    truth = volume[: (len(volume) - 1) // gap * gap + 1]
    kept = np.ascontiguousarray(truth[::gap])
    dense, sigma = made(kept, gap, options)
    low, high = np.percentile(truth, [0.1, 99.9])
    hidden = np.arange(len(truth)) % gap > 0
    halves = range(gap // 2, len(truth), gap)
    sharp = float(np.mean([sharpness(kept[i : i + 2], dense[[k]]) for i, k in enumerate(halves)]))
    edges = float(np.mean([edge_f_score(dense[k], truth[k]) for k in halves]))
    spectra = [np.mean([power(v[k].astype(float)) for k in halves], axis=0) for v in (dense, truth)]
    decibels = " ".join(f"{x:+5.1f}" for x in 10 * np.log10(spectra[0] / spectra[1]))
    within = "    -     -"
    if sigma is not None:
        z = np.abs(dense[hidden].astype(float) - truth[hidden]) / np.maximum(sigma[hidden], 1e-6)
        within = f"{(z < 1).mean():5.2f} {(z < 2).mean():5.2f}"
    return (
        f"{psnr(truth[hidden], dense[hidden], data_range=high - low):6.2f} {sharp:5.2f} {edges:6.3f} "
        f"{index_of(dense, gap):7.3f} {within}  {decibels}"
    )


def draw(path: Path, volume: Volume, restore: dict[str, Any]) -> None:
    """A plane in the middle of a gap: true, plain, sharpened, restored; below a part of each, larger."""
    kept, k = np.ascontiguousarray(volume[::4]), len(volume) // 8 * 4 + 2
    ways = [{}, {"sharpen": "auto"}, restore]
    planes = [volume[k], *(interpolate(kept, factor=4, **way)[k] for way in ways)]
    low, high = np.percentile(volume, [0.1, 99.9])
    rows = []
    for part in (planes, [np.kron(p[80:160, 80:160], np.ones((3, 3)))[: p.shape[0], : p.shape[1]] for p in planes]):
        grey = [np.clip(255 * (p - low) / (high - low), 0, 255) for p in part]
        rows.append(np.concatenate([np.pad(p[:240, :240], 3, constant_values=255) for p in grey], axis=1))
    Image.fromarray(np.concatenate(rows).astype(np.uint8)).save(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", nargs="+", type=Path)
    parser.add_argument("--restore")
    parser.add_argument("--gaps", default="2,4,8")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args(arguments)
    restore = {"restore": args.restore or True}
    if args.picture:
        draw(args.picture, middle(tifffile.imread(args.volumes[0])), restore)
        return
    head = "  PSNR sharp  edges pulsing  1 sd  2 sd  spectrum in dB"
    say(f"{'volume':20} {'gap':>3} {'way':10} {head}")
    for path in args.volumes:
        volume = middle(tifffile.imread(path))
        for gap in map(int, args.gaps.split(",")):
            for name in args.ways.split(","):
                options = WAYS[name] | (restore if "restore" in WAYS[name] else {})
                say(f"{path.stem:20} {gap:>3} {name:10} {figures(volume, gap, options)}")


if __name__ == "__main__":
    main()
