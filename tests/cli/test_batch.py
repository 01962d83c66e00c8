"""Many inputs on the command line: what is said of each, the summary, exit codes, two jobs over one folder."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.conftest import make_stack, write_imagej
from zinterp.pipeline import upsample

FAST = ["--factor", "2", "--model", "linear"]


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Three inputs, the second of which is no stack, and a folder for outputs."""
    for seed, name in enumerate("ac"):
        write_imagej(tmp_path / f"{name}.tif", make_stack(seed=seed))
    (tmp_path / "b.tif").write_text("not a stack")
    (tmp_path / "dense").mkdir()
    return ["a.tif", "b.tif", "c.tif"]


def test_keep_going_ends_with_a_summary_and_exit_code_1(run: Run, inputs: list[str], tmp_path: Path) -> None:
    log = ["--log-file", "run.log"]
    result = run("upsample", *inputs, "--output-dir", "dense", "--skip-existing", "--keep-going", *FAST, "-q", *log)
    assert result.returncode == 1
    assert result.stdout == "dense/a_x2.tif\ndense/c_x2.tif\n"
    first, last = result.stderr.splitlines()
    assert "ERROR" in first
    assert "failed: b.tif: b.tif cannot be read as TIFF" in first
    assert last.endswith("2 done, 0 skipped, 1 failed")
    assert "2 done, 0 skipped, 1 failed" in (tmp_path / "run.log").read_text()
    again = run("upsample", "a.tif", "c.tif", "--output-dir", "dense", "--skip-existing", "--keep-going", *FAST)
    assert (again.returncode, again.stdout) == (0, "")
    assert "a.tif skipped: it is there already" in again.stderr
    assert again.stderr.splitlines()[-1].endswith("0 done, 2 skipped, 0 failed")
    quiet = run("upsample", "a.tif", "c.tif", "--output-dir", "dense", "--skip-existing", *FAST, "-q")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_json_lines_have_one_object_an_input(run: Run, inputs: list[str], tmp_path: Path) -> None:
    upsample(tmp_path / "a.tif", tmp_path / "dense" / "a_x2.tif", factor=2, model="linear")
    options = ["--output-dir", "dense", "--skip-existing", "--keep-going", "--json-lines"]
    result = run("upsample", *inputs, *options, *FAST, "-q")
    assert result.returncode == 1
    skipped, failed, done = map(json.loads, result.stdout.splitlines())
    assert skipped["seconds"] >= 0
    del skipped["seconds"], failed["seconds"]
    assert skipped == {
        "status": "skipped",
        "source": "a.tif",
        "output": "dense/a_x2.tif",
        "reason": "it is there already",
    }
    assert (failed["status"], failed["source"], failed["output"]) == ("failed", "b.tif", "dense/b_x2.tif")
    assert "cannot be read as TIFF" in failed["reason"]
    assert (done["status"], done["source"], done["output"], done["reason"]) == (
        "done",
        "c.tif",
        "dense/c_x2.tif",
        None,
    )
    assert done["model"] == "linear"
    assert done["pulsing"]


def test_without_keep_going_the_failure_is_the_last_thing_said(run: Run, inputs: list[str]) -> None:
    result = run("upsample", "b.tif", "a.tif", "--output-dir", "dense", "--json-lines", *FAST)
    assert result.returncode == 1
    assert json.loads(result.stdout)["status"] == "failed"
    (line,) = result.stderr.splitlines()
    assert line.startswith("zinterp: b.tif cannot be read as TIFF")


def test_what_contradicts_itself_is_refused(run: Run, inputs: list[str]) -> None:
    result = run("upsample", "a.tif", *FAST, "--json", "--json-lines")
    assert result.returncode == 2
    assert "--json-lines says all that --json says" in result.stderr
    result = run("upsample", "a.tif", *FAST, "--skip-existing", "--overwrite")
    assert result.returncode == 1
    assert "got both skip-existing and overwrite" in result.stderr


def test_a_dry_run_says_what_is_there(run: Run, inputs: list[str], tmp_path: Path) -> None:
    upsample(tmp_path / "a.tif", tmp_path / "dense" / "a_x2.tif", factor=2, model="linear")
    result = run("upsample", "a.tif", "c.tif", "--output-dir", "dense", "--skip-existing", "--dry-run", *FAST)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()[:2]
    assert first == "a.tif: dense/a_x2.tif is there already"
    assert second == "c.tif -> dense/c_x2.tif"
    assert [path.name for path in (tmp_path / "dense").iterdir()] == ["a_x2.tif"]


def test_two_jobs_over_one_folder_never_do_a_stack_twice(tmp_path: Path) -> None:
    names = [f"{letter}.tif" for letter in "abcdefgh"]
    for seed, name in enumerate(names):
        write_imagej(tmp_path / name, make_stack((20, 60, 60), seed=seed))
    (tmp_path / "dense").mkdir()
    options = ["--output-dir", "dense", "--skip-existing", "--resume", "--keep-going", "--json-lines", "-q"]
    command = [sys.executable, "-m", "zinterp", "upsample", *names, *options, *FAST, "--slab-depth", "2"]
    jobs = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [job.communicate(timeout=120) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    ended = [json.loads(line) for stdout, _ in said for line in stdout.splitlines()]
    assert Counter((each["source"], each["status"]) for each in ended) == Counter(
        (name, status) for name in names for status in ("done", "skipped")
    )
    assert sorted(path.name for path in (tmp_path / "dense").iterdir()) == [name.replace(".", "_x2.") for name in names]
