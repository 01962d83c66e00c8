"""``zinterp watch`` as a shell or a service runs it: signals, kills, and what it prints."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
import tifffile

from tests.cli.conftest import Run
from tests.conftest import Stack, make_stack
from zinterp.acquisition import NAME
from zinterp.cli.options import Seconds
from zinterp.io import open_volume
from zinterp.pipeline import upsample

WATCH = ("watch", "run", "-o", "dense.ome.zarr", "-f", "4", "-m", "cubic", "--interval", "50ms", "--settle", "1")


def write(folder: Path, count: int) -> Stack:
    """Slices that are all there."""
    stack = make_stack((count, 24, 32))
    folder.mkdir()
    for k, plane in enumerate(stack):
        tifffile.imwrite(folder / NAME.format(k), plane, photometric="minisblack", metadata=None)
    return stack


def start(tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    """A watch that runs on."""
    command = [sys.executable, "-m", "zinterp", *WATCH, "--status", "status.json", *more]
    return subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)


def wait_for_planes(process: subprocess.Popen[str], tmp_path: Path, planes: int) -> dict[str, object]:
    """Wait until so many output planes are there -> the status."""
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        if (tmp_path / "status.json").exists():
            facts: dict[str, object] = json.loads((tmp_path / "status.json").read_text())
            if facts["process"] == process.pid and int(str(facts["planes_written"])) >= planes:
                return facts
        time.sleep(0.005)
    raise AssertionError(process.communicate()[1])


def check_same(tmp_path: Path, facts: dict[str, object]) -> None:
    """That the output is that of upsample."""
    low_high = facts["intensity_range"]
    other = upsample(tmp_path / "run", tmp_path / "at_once.ome.zarr", factor=4, model="cubic", intensity_range=low_high)
    with open_volume(tmp_path / "dense.ome.zarr") as ours, open_volume(other) as theirs:
        planes = range(theirs.info.shape[0])
        assert np.array_equal(ours.read(planes), theirs.read(planes))


def test_it_prints_the_output_or_how_it_went(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "run", 9)
    result = run(*WATCH, "--expect", "9", "--voxel-size", "20x8x8nm")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "dense.ome.zarr\n"
    assert "9 of 9 slices, 33 planes in the output" in result.stderr
    result = run(*WATCH, "--idle-timeout", "0.3", "--overwrite", "--json", "-q")
    facts = json.loads(result.stdout)
    assert (facts["output"], facts["state"], facts["slices_taken"]) == ("dense.ome.zarr", "done", 9)
    assert facts["findings"]["missing"] == []
    check_same(tmp_path, facts)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_leave_what_another_run_goes_on_with(number: int, code: int, run: Run, tmp_path: Path) -> None:
    stack = write(tmp_path / "run", 12)
    process = start(tmp_path)
    wait_for_planes(process, tmp_path, 45)
    second = run(*WATCH, "--resume")
    assert second.returncode == 1
    assert "another job is writing dense.ome.zarr" in second.stderr
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "dense.ome.zarr is unfinished: the same command with --resume goes on" in said
    assert "Traceback" not in said
    assert json.loads((tmp_path / "status.json").read_text())["state"] == "stopped"
    assert not (tmp_path / "dense.ome.zarr").exists()
    with open_volume(tmp_path / "dense.ome.zarr.partial") as reader:
        assert np.array_equal(reader.read(range(45))[::4], stack)
    result = run(*WATCH, "--resume", "--expect", "12", "--json")
    assert result.returncode == 0, result.stderr
    check_same(tmp_path, json.loads(result.stdout))


def test_a_watch_that_is_killed_again_and_again_loses_nothing(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "run", 60)
    for planes in (40, 90, 150):
        process = start(tmp_path, "--resume")
        wait_for_planes(process, tmp_path, planes)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    result = run(*WATCH, "--resume", "--idle-timeout", "0.5", "--json")
    assert result.returncode == 0, result.stderr
    check_same(tmp_path, json.loads(result.stdout))
    left = {path.name for path in tmp_path.iterdir()} - {"dense.ome.zarr.lock"}
    assert left == {"run", "dense.ome.zarr", "status.json", "at_once.ome.zarr"}


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--interval", "soon"), 2, "'soon' is not a time, expected a number of seconds, or a unit: write 30min"),
        (("--idle-timeout", "0.1"), 1, "expected more than a file takes to settle"),
        (("--model", "auto"), 1, "needs the whole stack"),
    ],
)
def test_bad_options_cost_one_line(run: Run, tmp_path: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    write(tmp_path / "run", 3)
    result = run(*WATCH, *arguments)
    assert result.returncode == code
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("0.5 s", 0.5), ("50ms", 0.05), ("30min", 1800), ("2h", 7200)]
)
def test_times_have_units(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == pytest.approx(seconds)
    with pytest.raises(click.BadParameter):
        Seconds().convert("5 nm", None, None)
