"""Print how good models are on real volumes: decibels over the better of linear and cubic interpolation.

usage: python tests/benchmarks/quality.py [--models NAME|FILE,...] [--precision fp32] [--flips] [--json FILE]
       [--picture FILE.png] VOLUME[@PLANES][:AXES] ...

The planes between every 2nd, 4th and 8th plane of the middle of each volume (33 planes of 256 x 256 pixels at most) are
hidden and made again at all their depths. soil.tif@-20 is the last 20 planes of a volume only, octant.tif:zyx scores
along all three axes and prints the mean. The same crops every time.

The ceiling is the gain that knowing everything but the noise would have. The noise is estimated where three
neighbouring planes differ least, as if each plane had its own: where planes share noise, or no two are alike, it means
little.

The last columns are the parts of the true values within one and two predicted standard deviations. --flips averages the
predictions for the eight flips and transposes of the planes, which costs eight times the time. --picture shows a plane
in the middle of a gap of four: predicted, true, error and predicted deviation.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from zinterp.interpolators import create_interpolator
from zinterp.interpolators.base import Uncertain

GAPS = (2, 4, 8)
PLANES, EDGE = 33, 256
Volume = NDArray[Any]


def volumes(argument: str) -> Iterator[tuple[str, Volume]]:
    """Name and crops of VOLUME[@PLANES][:AXES], hidden planes along axis 0."""
    path, _, axes = argument.partition(":")
    path, _, planes = path.partition("@")
    volume = tifffile.imread(path)
    count = int(planes or 0)
    volume = volume[count:] if count < 0 else volume[: count or None]
    for axis in axes or "z":
        yield Path(path).stem, middle(np.moveaxis(volume, "zyx".index(axis), 0)).astype(np.float32)


def middle(volume: Volume) -> Volume:
    """The part of a volume that is looked at."""
    sizes = zip(volume.shape, (PLANES, EDGE, EDGE), strict=True)
    return volume[tuple(slice((n - min(n, m)) // 2, (n + min(n, m)) // 2) for n, m in sizes)]


def gaps_of(volume: Volume, gap: int) -> Iterator[tuple[NDArray[np.float32], Volume]]:
    """For each gap the six planes around it, the ends repeated, and the hidden planes in it."""
    kept = range(0, len(volume) - gap, gap)
    for first in kept:
        around = np.clip(first + gap * np.arange(-2, 4), 0, kept[-1] + gap)
        yield volume[around], volume[first + 1 : first + gap]


def noise(volume: Volume) -> float:
    """Standard deviation of the noise, from the blocks of 16 x 16 pixels where three planes differ, but least."""
    bend = volume[1:-1] - (volume[:-2] + volume[2:]) / 2
    n, height, width = (bend.shape[0], bend.shape[1] // 16, bend.shape[2] // 16)
    blocks = bend[:, : height * 16, : width * 16].reshape(n, height, 16, width, 16)
    variances = blocks.var(axis=(2, 4))
    return float(np.sqrt(np.percentile(variances[variances > 0], 10) / 1.5))


def score(model: Any, argument: str, gap: int) -> dict[str, float]:
    """Figures of a model on one volume and gap, averaged over its axes; PSNR from the error averaged over planes."""
    rows = []
    classical = {name: create_interpolator(name) for name in ("linear", "cubic")}
    for _, volume in volumes(argument):
        if len(volume) <= gap:
            continue
        low, high = np.percentile(volume, [0.1, 99.9])
        scaled = ((volume - low) / (high - low)).astype(np.float32)
        errors: dict[str, list[float]] = {"model": [], "linear": [], "cubic": [], "noise": [noise(scaled) ** 2]}
        inside = []
        times = np.arange(1, gap, dtype=np.float32) / gap
        for planes, truth in gaps_of(scaled, gap):
            made, sigma = predict(model, planes, times)
            guesses = {"model": made, **{name: predict(each, planes, times)[0] for name, each in classical.items()}}
            for name, guess in guesses.items():
                errors[name].append(float(np.mean((guess - truth) ** 2)))
            if sigma is not None:
                z = np.abs(made - truth) / sigma
                inside.append((float((z < 1).mean()), float((z < 2).mean())))
        db = {name: -10 * np.log10(max(np.mean(e), 1e-12)) for name, e in errors.items()}
        best = max(db["linear"], db["cubic"])
        within = np.mean(inside, axis=0) if inside else (np.nan, np.nan)
        rows.append([db["linear"], db["cubic"], db["model"], db["model"] - best, db["noise"] - best, *within])
    names = ("linear", "cubic", "model", "gain", "ceiling", "within 1", "within 2")
    return dict(zip(names, map(float, np.mean(rows, axis=0)), strict=True)) if rows else {}


def predict(model: Any, planes: Volume, times: NDArray[np.float32]) -> tuple[Volume, Volume | None]:
    """Planes and standard deviations in the gap in the middle of six planes."""
    c, m = model.needs.context, model.needs.multiple_of
    height, width = planes.shape[1:]
    padded = np.pad(planes[3 - c : 3 + c], ((0, 0), (0, -height % m), (0, -width % m)), mode="symmetric")[None]
    made, sigma = model.uncertainty(padded, times) if isinstance(model, Uncertain) else (model(padded, times), None)
    return made[0, :, :height, :width], None if sigma is None else sigma[0, :, :height, :width]


class Flipped:
    """A model of which the predictions for the eight symmetries of the square are averaged."""

    def __init__(self, model: Any) -> None:
        self.model, self.needs = model, model.needs

    def __call__(self, planes: Volume, times: NDArray[np.float32]) -> Volume:
        made = []
        for k in range(8):
            turned = planes.swapaxes(2, 3) if k & 1 else planes
            turned = turned[:, :, :: -1 if k & 2 else 1, :: -1 if k & 4 else 1]
            result = self.model(np.ascontiguousarray(turned), times)[:, :, :: -1 if k & 2 else 1, :: -1 if k & 4 else 1]
            made.append(result.swapaxes(2, 3) if k & 1 else result)
        return np.mean(made, axis=0)


def draw(path: Path, model: Any, argument: str) -> None:
    """A plane in the middle of a gap of four: predicted, true, error, and predicted deviation, the last two x 4."""
    _, volume = next(volumes(argument))
    low, high = np.percentile(volume, [0.1, 99.9])
    gaps = list(gaps_of(((volume - low) / (high - low)).astype(np.float32), 4))
    planes, truth = gaps[len(gaps) // 2]
    made, sigma = predict(model, planes, np.array([0.5], np.float32))
    if sigma is None:
        raise SystemExit("the model does not know its uncertainty")
    panels = [made[0], truth[1], 4 * np.abs(made[0] - truth[1]), 4 * sigma[0]]
    grey = np.clip(255 * np.concatenate([np.pad(p, 4, constant_values=1) for p in panels], axis=1), 0, 255)
    Image.fromarray(grey.astype(np.uint8)).resize((2 * grey.shape[1], 2 * grey.shape[0])).save(path)


def table(models: Iterable[tuple[str, Any]], arguments: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Score, print as it goes, and return the figures by model and volume."""
    results: dict[str, dict[str, dict[str, float]]] = {}
    say(
        f"{'volume':24} {'gap':>3} {'linear':>7} {'cubic':>7} {'ceiling':>7} {'gain':>7} {'1 sd':>5} {'2 sd':>5}  model"
    )
    for name, model in models:
        results[name] = {}
        for argument in arguments:
            for gap in GAPS:
                row = score(model, argument, gap)
                if row:
                    stem = Path(argument).name
                    results[name][f"{stem} x{gap}"] = row
                    say(
                        f"{stem:24} {gap:>3} {row['linear']:7.2f} {row['cubic']:7.2f} {row['ceiling']:+7.2f} "
                        f"{row['gain']:+7.2f} {row['within 1']:5.2f} {row['within 2']:5.2f}  {name}",
                    )
        gains = [row["gain"] for row in results[name].values()]
        if gains:
            say(f"{name}: mean {np.mean(gains):+.3f} dB, least {min(gains):+.2f} dB over {len(gains)} rows")
    return results


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--models", default="fast")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--flips", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    models: list[tuple[str, Any]] = [
        (name, create_interpolator(name, precision=args.precision)) for name in args.models.split(",")
    ]
    if args.picture:
        draw(args.picture, models[0][1], args.volumes[0])
        return
    if args.flips:
        models += [(f"{name} of flips", Flipped(model)) for name, model in models]
    results = table(models, args.volumes)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
