"""Jobs that are killed at random moments, and gone on with: the output is the same to the bit.

``pytest -m slow tests/test_kills.py -s`` kills fifty of each kind and prints when; without ``-m slow`` it is a few.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import make_stack, write_imagej

OPTIONS = ["--factor", "4", "--model", "cubic", "--slab-depth", "4", "--quiet"]
FORMATS = {"tiff": "b.tif", "ome-zarr": "b.ome.zarr"}
STATES = ("before its journal", "begun", "some slabs done", "all slabs done", "named")


def start(folder: Path, name: str, *options: str) -> subprocess.Popen[str]:
    """Begin to upsample the stack above a folder into it, as a shell would."""
    command = [sys.executable, "-m", "zinterp", "upsample", str(folder.parent / "a.tif"), "-o", str(folder / name)]
    return subprocess.Popen(
        [*command, *OPTIONS, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def content(path: Path) -> dict[str, bytes]:
    """All that a volume consists of."""
    return {str(p.relative_to(path)): p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()}


def wait_for(process: subprocess.Popen[str], folder: Path, suffix: str) -> None:
    """Wait until a job has made its lock or its journal: what it does before is to load Python, or to look around."""
    deadline = time.monotonic() + 120
    while not list(folder.glob(f"*{suffix}")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


def kill_after(process: subprocess.Popen[str], folder: Path, suffix: str, seconds: float) -> bool:
    """Kill a job so long after it made a file -> whether it was still at work."""
    wait_for(process, folder, suffix)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    return process.returncode == -signal.SIGKILL


def state(folder: Path, name: str) -> str:
    """How far a job came that was killed."""
    journal, partial = folder / f"{name}.journal", folder / f"{name}.partial"
    if (folder / name).exists():
        return "named"
    if not journal.exists():
        return "before its journal"
    done = journal.read_text().count(";\n") if partial.exists() else 0
    return "begun" if not done else "some slabs done" if done < 24 else "all slabs done"


def kill_and_resume(folder: Path, name: str, kills: int, seed: int) -> dict[str, int]:
    """Kill jobs until as many as asked for were at work, go on with each, compare -> how far they had come."""
    rng = random.Random(seed)
    write_imagej(folder / "a.tif", make_stack((24, 270, 40)))
    (folder / "whole").mkdir()
    process = start(folder / "whole", name)
    wait_for(process, folder / "whole", ".journal")
    begun = time.monotonic()
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    longest, expected = time.monotonic() - begun, content(folder / "whole" / name)
    counts = dict.fromkeys(STATES, 0)
    while sum(counts.values()) < kills:
        trial = folder / "trial"
        trial.mkdir()
        suffix = ".lock" if rng.random() < 0.2 else ".journal"
        if kill_after(start(trial, name), trial, suffix, rng.uniform(0, longest)):
            counts[state(trial, name)] += 1
            if (trial / name).exists():
                assert content(trial / name) == expected, "half an output has its final name"
            if rng.random() < 0.3:
                kill_after(start(trial, name, "--resume", "--skip-existing"), trial, ".lock", rng.uniform(0, longest))
            process = start(trial, name, "--resume", "--skip-existing")
            _, stderr = process.communicate(timeout=300)
            assert process.returncode == 0, stderr
            assert content(trial / name) == expected
            assert [path.name for path in trial.iterdir()] == [name]
        shutil.rmtree(trial)
    return counts


@pytest.mark.parametrize("format", FORMATS)
def test_a_job_that_was_killed_goes_on_to_the_same_bytes(format: str, tmp_path: Path) -> None:
    assert sum(kill_and_resume(tmp_path, FORMATS[format], kills=2, seed=len(format)).values()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_fifty_jobs_that_were_killed_go_on_to_the_same_bytes(format: str, tmp_path: Path) -> None:
    counts = kill_and_resume(tmp_path, FORMATS[format], kills=50, seed=50)
    killed = ", ".join(f"{count} {state}" for state, count in counts.items())
    sys.stdout.write(f"\n{format}: 50 of 50 the same; when killed: {killed}\n")
