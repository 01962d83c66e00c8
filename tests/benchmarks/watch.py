"""Print how far ``zinterp watch`` lags behind a simulated acquisition, and whether its output is that of ``upsample``.

usage: python tests/benchmarks/watch.py [--slices 300] [--edge 512] [--seconds 1] [--factor 4] [--model fast]

The acquisition is a process of its own, with every hiccup there is. A slice lags from the moment it was written in full
until the gap before it can be read in the output; the acquisition writes down the former, the watch's status the
latter. Slices that are late or spoilt on purpose count from when they are right.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from zinterp.acquisition import NAME, Event, Hiccup, acquire
from zinterp.io.arriving import digest_of
from zinterp.options import UpsampleOptions
from zinterp.phantom import Phantom
from zinterp.pipeline import build_interpolator, upsample
from zinterp.watch import WatchOptions, watch
from zinterp.watch_status import Status

COARSE = 4  # pixels, of which one is drawn


def hiccups(slices: int) -> list[Hiccup]:
    """Every kind of hiccup, several times where there is room for it."""
    kinds = ("late", "missing", "duplicated", "half-written", "preallocated", "reimaged", "wrong-sized", "stray")
    found = [
        Hiccup(kind, start + 5 * i, later=2.5 if start < slices / 2 else 8.0)
        for start in range(7, max(slices - 50, 8), 100)
        for i, kind in enumerate(kinds)
    ]
    return [*found, Hiccup("late", slices - 30, later=20.0)]


def run_acquisition(arguments: argparse.Namespace) -> None:
    """Write the slices, and when each was there in full, by the clock that all processes share."""
    planes = np.load(arguments.acquire)
    time.sleep(2.0)  # until the watch is there
    with Path(arguments.acquire).with_suffix(".times").open("w") as times:

        def written(event: Event) -> None:
            times.write(f"{time.monotonic():.4f} {event.name}\n")
            times.flush()

        acquire(arguments.folder, planes, seconds=arguments.seconds, hiccups=hiccups(len(planes)), written=written)
    Path(arguments.folder, "finished").touch()


def draw(slices: int, edge: int) -> np.ndarray:
    """The planes, drawn coarsely and beforehand, so that drawing takes no time from the watch, and with fresh grain."""
    coarse = -(-edge // COARSE)
    phantom = Phantom.random((slices, coarse, coarse), cell=48 / COARSE, seed=1)
    planes = np.kron(phantom.volume(range(slices), (coarse, coarse), noise=0), np.ones((1, COARSE, COARSE), np.uint8))
    grain = np.random.default_rng(1).integers(-9, 10, (slices, edge, edge), np.int16)
    return np.clip(planes[:, :edge, :edge] + grain, 0, 255).astype(np.uint8)


class Readable:
    """When each slice could first be read in the output, with the gap before it, by the journal of the watch."""

    def __init__(self, journal: Path, ended: Callable[[], None]) -> None:
        self.journal, self.place, self.ended, self.over = journal, 0, ended, False
        self.since: dict[str, float] = {}
        self.behind: list[int] = []
        self.loads: list[float] = []

    def __call__(self, status: Status) -> None:
        """Note the acquired planes that are in the output now."""
        self.behind.append(status.lag_slices)
        self.loads.append(os.getloadavg()[0])
        if not self.journal.exists():
            return
        with self.journal.open() as file:
            file.seek(self.place)
            lines = file.readlines()
            self.place = file.tell()
        for line in lines:
            number, _, text = line.rstrip(";\n").partition(" ")
            known = json.loads(text) if number.isdecimal() else {}
            if known and known["pair"] == known["full"]:
                self.since.setdefault(known["full"], time.monotonic())
        if not self.over and status.lag_slices == 0 and (self.journal.parent / "run" / "finished").exists():
            self.over = True
            say(f"all slices are in; of {status.planes_written} planes {status.planes_provisional} are provisional")
            self.ended()


def lags_of(place: Path, planes: np.ndarray, since: dict[str, float]) -> dict[str, float]:
    """Seconds from when each slice was there in full to when it could be read in the output."""
    written = dict(reversed(line.split()) for line in place.with_suffix(".times").read_text().splitlines())
    digests = {NAME.format(k): digest_of(plane) for k, plane in enumerate(planes)}
    return {
        name: since[digest] - float(written[name])
        for name, digest in digests.items()
        if name in written and digest in since
    }


def say(text: str, end: str = "\n") -> None:
    """Print a line at once."""
    print(text, end=end, flush=True)  # noqa: T201


def report(lags: dict[str, float], readable: Readable, seconds: float) -> None:
    """Print statistics of the lag, once the acquisition is over."""
    slices = np.array(list(lags.values())) / seconds
    worst = max(lags, key=lambda name: lags[name])
    say(
        f"lag in slices: mean {slices.mean():.2f}, median {np.median(slices):.2f}, "
        f"95 % {np.quantile(slices, 0.95):.2f}, most {slices.max():.2f} ({worst}); "
        f"{np.mean(slices < 2):.1%} of {len(slices)} below 2"
    )
    behind, load = max(readable.behind), np.mean(readable.loads)
    say(f"behind by the status: {behind} slices at most; load {load:.1f} on average, {os.cpu_count()} cores")


def compare(ours: Path, theirs: Path) -> str:
    """How many files of two folders are equal byte for byte."""
    names = [sorted(path.relative_to(top) for path in top.rglob("*") if path.is_file()) for top in (ours, theirs)]
    same = sum((ours / name).read_bytes() == (theirs / name).read_bytes() for name in names[0] if name in names[1])
    return f"{same} of {len(names[0])} files, {len(names[1])} in the other"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--acquire", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.acquire:
        run_acquisition(arguments)
        return
    logging.getLogger("zinterp").setLevel(logging.ERROR)
    options = {"factor": arguments.factor, "model": arguments.model, "precision": arguments.precision}
    interpolator = build_interpolator(UpsampleOptions(**options))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name, "planes.npy")
        planes = draw(arguments.slices, arguments.edge)
        np.save(place, planes)
        folder, target = Path(name, "run"), Path(name, "dense.ome.zarr")
        folder.mkdir()
        readable = Readable(
            Path(name, "dense.ome.zarr.journal"),
            lambda: report(lags_of(place, planes, readable.since), readable, arguments.seconds),
        )
        command = [sys.executable, __file__, "--folder", str(folder), "--seconds", str(arguments.seconds)]
        acquisition = subprocess.Popen([*command, "--acquire", str(place)])
        when = WatchOptions(interval=0.1, settle=2, sentinel="finished", status=Path(name, "status.json"))
        start = time.monotonic()
        watched = watch(folder, target, when=when, interpolator=interpolator, report=readable, **options)
        seconds, findings = time.monotonic() - start, watched.status.findings.record()
        acquisition.wait()
        say(f"{watched.status.slices_taken} slices in {seconds:.1f} s; {interpolator.identity}: ", end="")
        say(f"{watched.status.seconds_per_gap} s a gap of late")
        say(", ".join(f"{len(found)} {what}" for what, found in findings.items()))
        for path in folder.iterdir():
            if not path.name.startswith("slice_") or ".tmp" in path.name or path.suffix != ".tif":
                path.unlink()
        Path(name, "at_once").mkdir()
        start, again = time.monotonic(), Path(name, "at_once", target.name)
        upsample(folder, again, interpolator=interpolator, intensity_range=watched.status.intensity_range, **options)
        say(f"upsample of the finished folder: {time.monotonic() - start:.1f} s")
        say(f"equal to it byte for byte: {compare(target, again)}")


if __name__ == "__main__":
    main()
