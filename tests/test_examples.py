"""The examples run and do what they say, in folders whose names have spaces."""

import fcntl
import os
import re
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import zinterp
from tests.conftest import make_stack, write_imagej
from zinterp.completion import finish_shares
from zinterp.io import open_volume, read_record

EXAMPLES = Path(__file__).parents[1] / "examples"
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a copy of the examples in ``zinterp``, and zinterp installed beside them as the README says."""
    home = tmp_path / "my home"
    command = home / "zinterp" / ".venv" / "bin" / "zinterp"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zinterp "$@"\n')
    command.chmod(0o755)
    shutil.copytree(EXAMPLES, home / "zinterp" / "examples")
    (home / "acquired").mkdir()
    return home


def sh(home: Path, script: str, *arguments: str, **environment: str) -> Done:
    """Run an example from the home folder, with zinterp on the PATH and cubic interpolation."""
    path = f"{home}/zinterp/.venv/bin:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", f"zinterp/examples/{script}", *arguments],
        cwd=home,
        env={**os.environ, "PATH": path, "ZINTERP_UPSAMPLE_MODEL": "cubic", **environment},
        capture_output=True,
        text=True,
    )


def names(folder: Path) -> list[str]:
    """What lies in a folder, but for logs."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".log")


def assert_acquired_planes_are_in(path: Path, factor: int, planes: int = 5) -> None:
    """An output of ``make_stack()`` has all planes, and the acquired ones bit for bit."""
    with open_volume(path) as reader:
        dense = reader.read(range(reader.info.shape[0]))
    assert len(dense) == (planes - 1) * factor + 1
    assert np.array_equal(dense[::factor], make_stack((planes, *dense.shape[1:])))


def model_of(path: Path) -> str:
    """The model that made an output, as it says itself."""
    record = read_record(path)
    assert record is not None
    return str(record["model"])


@pytest.mark.parametrize("script", sorted(path.name for path in EXAMPLES.glob("*.sh")))
def test_without_arguments_a_script_says_in_one_line_how_it_is_used(script: str, home: Path) -> None:
    result = sh(home, script)
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    arguments = line.split(f"{script} ")[1].removesuffix(" [OPTION]...")
    assert f"# usage: sh {script} {arguments}" in (EXAMPLES / script).read_text()


def test_array_in_memory(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "array_in_memory.py"), run_name="__main__")
    scores = {name: float(psnr) for name, psnr, _ in map(str.split, capsys.readouterr().out.splitlines())}
    assert scores["fast"] > max(scores["cubic"], scores["linear"])


def test_upsample_folder_goes_on_after_a_failure_and_leaves_out_what_is_there(home: Path) -> None:
    acquired, dense = home / "acquired", home / "dense too"
    for name in ("a 1.tif", "c.ome.tif"):
        write_imagej(acquired / name, make_stack())
    (acquired / "b.tif").write_text("not a stack")
    (acquired / "notes.txt").write_text("not one either")
    first = sh(home, "upsample_folder.sh", "acquired", "dense too", "3")
    assert first.returncode == 1
    assert first.stdout == "dense too/a 1_x3.tif\ndense too/c_x3.ome.tif\n"
    assert "failed: acquired/b.tif: acquired/b.tif cannot be read as TIFF" in first.stderr
    assert first.stderr.endswith("2 done, 0 skipped, 1 failed\n")
    assert names(dense) == ["a 1_x3.tif", "c_x3.ome.tif"]
    assert_acquired_planes_are_in(dense / "a 1_x3.tif", 3)
    times = [path.stat().st_mtime_ns for path in sorted(dense.glob("*.tif"))]
    (acquired / "b.tif").unlink()
    again = sh(home, "upsample_folder.sh", "acquired", "dense too", "3", "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    other = sh(home, "upsample_folder.sh", "acquired", "dense too", "3", "--model", "linear", "--quiet")
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr.count("is not what this job would make: its model is cubic, and would be linear") == 2
    assert [path.stat().st_mtime_ns for path in sorted(dense.glob("*.tif"))] == times


def test_upsample_folder_goes_on_with_an_interrupted_stack_and_knows_its_own_outputs(home: Path) -> None:
    write_imagej(home / "acquired" / "a.TIF", make_stack((9, 40, 48)))
    target = home / "acquired" / "a_x2.TIF"

    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zinterp.upsample(home / "acquired" / "a.TIF", target, factor=2, model="cubic", slab_depth=2, report=interrupt)
    assert names(home / "acquired") == ["a.TIF", "a_x2.TIF.journal", "a_x2.TIF.partial"]
    result = sh(home, "upsample_folder.sh", "acquired", "acquired", "2", "--slab-depth", "2")
    assert result.returncode == 0, result.stderr
    assert names(home / "acquired") == ["a.TIF", "a_x2.TIF"]
    assert_acquired_planes_are_in(target, 2, planes=9)
    again = sh(home, "upsample_folder.sh", "acquired", "./acquired/", "2")
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr.endswith("0 done, 2 skipped, 0 failed\n")
    other = sh(home, "upsample_folder.sh", "acquired", "acquired", "3", "--model", "linear")
    assert other.stdout == "acquired/a_x3.TIF\n", other.stderr
    (home / "empty").mkdir()
    nothing = sh(home, "upsample_folder.sh", "empty", "dense", "2")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none", "dense", "4"], 1, "upsample_folder.sh: there is no folder none"),
        (["acquired", "dense", "four"], 2, "'four' is not a valid integer"),
    ],
)
def test_upsample_folder_stops_where_no_stack_could_be_upsampled(
    arguments: list[str], code: int, message: str, home: Path
) -> None:
    for name in ("a.tif", "b.tif"):
        write_imagej(home / "acquired" / name, make_stack())
    result = sh(home, "upsample_folder.sh", *arguments)
    assert result.returncode == code
    assert result.stderr.count(message) == 1


FIELDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}


def crontab_lines() -> list[list[str]]:
    """Five time fields and a command of each line of the crontab."""
    lines = (EXAMPLES / "crontab").read_text().splitlines()
    return [line.split(maxsplit=5) for line in lines if line and not line.startswith("#")]


def test_the_crontab_has_times_that_cron_understands() -> None:
    (line,) = crontab_lines()
    assert "%" not in line[5]  # to cron it is the end of the line
    for text, (lowest, highest) in zip(line[:5], FIELDS.values(), strict=True):
        for part in text.split(","):
            match = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/[1-9]\d*)?", part)
            assert match, f"{part} is no time"
            numbers = [int(group) for group in match.groups() if group is not None]
            assert numbers == sorted(numbers)
            assert all(lowest <= number <= highest for number in numbers)


@pytest.mark.skipif(not shutil.which("flock"), reason="flock comes with Linux only")
def test_the_line_of_the_crontab_takes_settled_stacks_and_one_run_at_a_time(home: Path) -> None:
    def cron() -> Done:
        """Run the command as cron does: from the home folder, with next to no environment."""
        environment = {"HOME": str(home), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", "LOGNAME": "me"}
        return subprocess.run(
            ["/bin/sh", "-c", crontab_lines()[0][5]],
            cwd=home,
            env={**environment, "ZINTERP_UPSAMPLE_MODEL": "cubic"},
            capture_output=True,
            text=True,
        )

    dense = home / "dense"
    for name, hours in (("yesterday.tif", -2), ("still going on.tif", 0), ("before the clock went back.tif", 9)):
        write_imagej(home / "acquired" / name, make_stack())
        os.utime(home / "acquired" / name, (time.time() + 3600 * hours,) * 2)
    dense.mkdir()
    with (dense / ".nightly.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = cron()
    assert (busy.returncode, busy.stderr) == (0, "")
    assert busy.stdout == f"nightly.sh: an earlier run is still at work on {dense}\n"
    first = cron()
    assert (first.returncode, first.stderr) == (0, "")
    names = ("before the clock went back", "yesterday")
    assert first.stdout == "".join(f"{dense}/{name}_x4.tif\n" for name in names)
    assert_acquired_planes_are_in(dense / "yesterday_x4.tif", 4)
    assert "wrote" in (dense / "zinterp.log").read_text()
    again = cron()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    (home / "zinterp" / ".venv" / "bin" / "zinterp").unlink()
    assert "nightly.sh: there is no zinterp on the PATH " in cron().stderr


SHORT = {"ZINTERP_TRAIN_BATCH": "1", "ZINTERP_TRAIN_CROP": "32"}


def test_fine_tune_upsamples_with_the_weights_that_it_trained(home: Path) -> None:
    write_imagej(home / "my stack.tif", make_stack((9, 40, 48)))
    nothing_to_beat = {**SHORT, "ZINTERP_TRAIN_HELD_OUT": "0"}
    result = sh(home, "fine_tune.sh", "my stack.tif", "tuned", "0.01", **nothing_to_beat)
    assert result.returncode == 0, result.stderr
    assert "did not help" not in result.stderr
    assert result.stdout.startswith("tuned/my stack_tuned.safetensors  held-out gain")
    assert result.stdout.endswith("\ntuned/my stack_x4.tif\n")
    assert names(home / "tuned") == ["my stack_tuned.safetensors", "my stack_x4.tif"]
    assert model_of(home / "tuned" / "my stack_x4.tif").startswith("my stack_tuned@")
    assert_acquired_planes_are_in(home / "tuned" / "my stack_x4.tif", 4, planes=9)
    again = sh(home, "fine_tune.sh", "my stack.tif", "tuned", "0.01", **nothing_to_beat)
    assert again.returncode == 1
    assert "exists already" in again.stderr
    assert "step" not in again.stderr


def test_fine_tune_takes_the_shipped_network_where_training_did_not_help(home: Path) -> None:
    write_imagej(home / "mine.tif", make_stack((9, 40, 48)))
    result = sh(home, "fine_tune.sh", "mine.tif", "tuned", "0.01", **SHORT, ZINTERP_TRAIN_LEARNING_RATE="0.5")
    assert result.returncode == 0, result.stderr
    assert "fine_tune.sh: training did not help, so the shipped network mirror-unet is used\n" in result.stderr
    assert names(home / "tuned") == ["mine_x4.tif"]
    assert model_of(home / "tuned" / "mine_x4.tif").startswith("mirror-unet@")


def test_fine_tune_fails_where_training_fails(home: Path) -> None:
    write_imagej(home / "mine.tif", make_stack())
    result = sh(home, "fine_tune.sh", "mine.tif", "tuned", "soon")
    assert result.returncode == 2
    assert result.stderr.endswith("'soon' is not a valid float range.\n")
    assert names(home / "tuned") == []


def test_slurm_array_upsamples_a_share_of_one_stack_a_task(home: Path) -> None:
    write_imagej(home / "acquired" / "a 1.tif", make_stack((9, 40, 48)))

    def task(number: str, **slurm: str) -> Done:
        about = {"SLURM_ARRAY_TASK_ID": number, "SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "4096"}
        options = ("--slab-depth", "4", "--quiet")
        return sh(home, "slurm_array.sh", "acquired/a 1.tif", "a 4.ome.zarr", "2", *options, **about, **slurm)

    first = task("2", SLURM_ARRAY_TASK_COUNT="2")
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    again = task("1", SLURM_ARRAY_TASK_COUNT="1", SHARES="2")
    assert again.returncode == 0, again.stderr
    assert finish_shares(home / "a 4.ome.zarr").outcome.job.planes == 17
    assert_acquired_planes_are_in(home / "a 4.ome.zarr", 2, planes=9)


def test_dask_cluster(home: Path) -> None:
    write_imagej(home / "a.tif", make_stack())
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "dask_cluster.py"), "a.tif", "b.tif", "2", "cubic"],
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "b.tif\n"), done.stderr
    assert_acquired_planes_are_in(home / "b.tif", 2)


def test_slurm_finds_its_settings_before_the_first_command() -> None:
    lines = (EXAMPLES / "slurm_array.sh").read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    settings = [number for number, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert settings
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+=\S+", lines[number]) for number in settings)
    assert all(line.startswith("#") for line in lines[: settings[-1]])
