"""Put faults into healthy planes of volumes and print how many of them an inspection finds, and what else it finds.

usage: python tests/benchmarks/faults.py [--axes z] [--thin 1] [--rounds 2] VOLUME.tif ...

Each volume is inspected as it is and, for each round, with faults of random kinds in 6 % of its planes, of those that
show something; kinds and places follow from the round. With --axes zyx planes are also cut along the other axes, as
fits isotropic volumes, and with --thin 4 every 4th plane is used. A fault is found if its plane is named with the right
kind; a plane that is named and has no fault is a false alarm. Stacks of fewer than 12 planes are inspected as they are.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))
from quality import say

from tests.faults import KINDS, damage, matched
from zinterp.pipeline import ArrayReader
from zinterp.plane_faults import find_faults

Stack = NDArray[Any]
FEWEST = 12  # planes that there is room for a fault in
SMALL = 80  # planes: smaller stacks have three times the rounds


def stacks(path: str, axes: str, thin: int) -> Iterator[tuple[str, Stack]]:
    """The stacks of one volume, and what they are called."""
    volume = tifffile.imread(path)
    for axis in axes:
        yield f"{Path(path).stem} {axis}", np.moveaxis(volume, "zyx".index(axis), 0)[::thin]


def score(stack: Stack, rounds: int) -> tuple[Counter[tuple[str, str]], int, int]:
    """How many faults of which name were injected, found, and called something else; false alarms; healthy planes."""
    counts: Counter[tuple[str, str]] = Counter()
    false = len({fault.plane for fault in find_faults(ArrayReader(stack))})
    healthy = len(stack)
    rounds *= 3 if len(stack) < SMALL else 1
    for number in range(rounds if len(stack) >= FEWEST else 0):
        damaged, injected = damage(stack, number)
        faults = find_faults(ArrayReader(damaged))
        for name, row in matched(injected, faults).items():
            counts.update({(name, what): n for what, n in zip(("injected", "found", "wrong"), row, strict=True)})
        spoilt = {fault.plane for fault in injected}
        false += len({fault.plane for fault in faults} - spoilt)
        healthy += len(stack) - len(spoilt)
    return counts, false, healthy


def line(name: str, counts: Counter[tuple[str, str]], names: tuple[str, ...], false: int, healthy: int) -> str:
    """A row of the table."""
    injected, found, wrong = (sum(counts[n, what] for n in names) for what in ("injected", "found", "wrong"))
    part = f"{100 * found / injected:7.1f} %" if injected else "        -"
    alarms = f"{false:6} of {healthy:6} = {100 * false / healthy:5.2f} %" if healthy else ""
    return f"{name:26}{injected:10}{found:8}{part}{wrong:12}   {alarms}"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", nargs="+")
    parser.add_argument("--axes", default="z", help="z, or several as in zyx")
    parser.add_argument("--thin", type=int, default=1, help="use every nth plane")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    say(f"{'volume':26}{'injected':>10}{'found':>8}{'':9}{'wrong kind':>12}   false alarms")
    total: Counter[tuple[str, str]] = Counter()
    false = healthy = 0
    for path in args.volumes:
        for name, stack in stacks(path, args.axes, args.thin):
            counts, alarms, planes = score(np.ascontiguousarray(stack), args.rounds)
            say(line(name, counts, tuple(KINDS), alarms, planes))
            total, false, healthy = total + counts, false + alarms, healthy + planes
    say(line("all", total, tuple(KINDS), false, healthy))
    for name in KINDS:
        say(line(f"  {name}", total, (name,), 0, 0))


if __name__ == "__main__":
    main()
