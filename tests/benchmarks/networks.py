"""Compare all models in one run: size, multiplications, speed, and gain over linear interpolation on real volumes.

usage: python tests/benchmarks/networks.py [--models NAME|FILE,...] [--edge 512] [--json FILE] VOLUME ...

Prints a table in Markdown. Parameters are in millions. Multiplications, of convolutions, are in thousands for each
output pixel, at factors 2 and 8: at 8 what is found once for a gap serves seven planes. Seconds are for a megapixel at
factors 2 and 8, on tiles of edge x edge pixels, on as many cores as torch has (OMP_NUM_THREADS), the best of three.
For each volume stands the gain in dB over linear interpolation at factors 2 / 4 / 8, on the crops of quality.py.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))
from quality import say, score
from upsample import bare_rate

from zinterp.interpolators import CLASSICAL, create_interpolator
from zinterp.interpolators.weights import shipped_weights

GAPS = (2, 4, 8)
EDGE = 256  # pixels, for counting multiplications


def multiplications(network: Any, factor: int, device: object = "cpu") -> float:
    """Of convolutions and matrices, for each pixel that is made."""
    times = torch.arange(1, factor, dtype=torch.float32, device=device)[None] / factor
    planes = torch.rand(1, 2 * network.context, EDGE, EDGE, device=device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(planes, times)
    return counter.get_total_flops() / 2 / EDGE**2 / (factor - 1)


def row(model: str, volumes: list[str], edge: int) -> dict[str, Any]:
    """All figures of a model."""
    interpolator: Any = create_interpolator(model)
    figures: dict[str, Any] = {"model": model}
    if model not in CLASSICAL:
        figures["parameters"] = sum(p.numel() for p in interpolator.network.parameters())
        figures["multiplications"] = [multiplications(interpolator.network, factor) for factor in (2, 8)]
    figures["seconds"] = [1 / bare_rate(model, edge, factor) for factor in (2, 8)]
    figures["scores"] = {Path(v).stem: [score(interpolator, v, gap) for gap in GAPS] for v in volumes}
    return figures


def line(figures: dict[str, Any]) -> str:
    """One line of the table."""
    size, macs = figures.get("parameters"), figures.get("multiplications")
    gains = (
        [f"{s['model'] - s['linear']:+.2f}" if s else "-" for s in scores] for scores in figures["scores"].values()
    )
    cells = [
        f"`{figures['model']}`",
        f"{size / 1e6:.2f}" if size else "",
        " / ".join(f"{n / 1e3:.0f}" for n in macs) if macs else "",
        " / ".join(f"{s:.2g}" for s in figures["seconds"]),
        *map(" / ".join, gains),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--models", default=",".join([*CLASSICAL, *shipped_weights()]))
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    heads = ["model", "M parameters", "k multiplications", "s / Mpx", *(Path(v).stem for v in args.volumes)]
    say(f"| {' | '.join(heads)} |")
    say("|---" * len(heads) + "|")
    rows = []
    for model in args.models.split(","):
        rows.append(row(model, args.volumes, args.edge))
        say(line(rows[-1]))
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
