"""One output made by separate commands, share by share, and completed by ``zinterp finish``."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from tests.cli.conftest import Run
from tests.conftest import Doubtful, make_stack, write_imagej
from tests.test_faults import HUNGRY, Hungry, at, content, interrupt, overwrite
from zinterp.batch import upsample_many
from zinterp.cli.main import cli
from zinterp.completion import finish_shares
from zinterp.errors import (
    BadOptionError,
    InputChangedError,
    NoRoomError,
    OutputBusyError,
    OutputError,
    OutputExistsError,
    WorkerError,
)
from zinterp.interpolators.base import Needs
from zinterp.io import read_record
from zinterp.journal import in_turn, journal_path, locked
from zinterp.pipeline import upsample
from zinterp.plan import Share
from zinterp.recipe import Absent
from zinterp.volume import partial_path

OPTIONS = {"factor": 2, "model": "cubic", "slab_depth": 2}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Nine planes of 40 x 48 pixels: nine slabs."""
    write_imagej(tmp_path / "a.tif", make_stack((9, 40, 48)))
    return tmp_path / "a.tif"


def serial(source: Path, name: str, **options: object) -> dict[str, bytes]:
    """What one job writes."""
    (source.parent / "serial").mkdir(exist_ok=True)
    target = source.parent / "serial" / name
    return content(upsample(source, target, **{**OPTIONS, "overwrite": True, **options}))


def left(folder: Path, name: str) -> list[str]:
    """What there is of an output in a folder."""
    return sorted(path.name for path in folder.glob(f"{name}*"))


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif", "b.mrc", "b", "b.ome.zarr"])
def test_shares_in_any_order_make_the_bytes_of_one_job(name: str, source: Path, tmp_path: Path) -> None:
    options = {"format": "tiff-slices"} if name == "b" else {}
    target = tmp_path / name
    for share in ("3/4", "1/4", "3/4", "4/4"):
        upsample(source, target, **OPTIONS, **options, slab=share)
    assert left(tmp_path, f"{name}.")[:3] == [f"{name}.{i}of4.journal" for i in (1, 3, 4)]
    with pytest.raises(
        OutputError, match=r"lacks 2 of 9 slabs \(3-4\), expected all: begin share 2/4 again with --sla"
    ):
        finish_shares(target)
    upsample(source, target, **OPTIONS, **options, slab="2/4", resume=True)
    finish_shares(target)
    assert content(target) == serial(source, name, **options)
    assert left(tmp_path, name) == [name]
    with pytest.raises(OutputError, match="is complete already, expected one whose slabs were made by"):
        finish_shares(target)
    with pytest.raises(OutputExistsError, match="exists already"):
        upsample(source, target, **OPTIONS, **options, slab="2/4")


def test_commands_at_the_same_time_share_one_output(run: Run, tmp_path: Path) -> None:
    stack = make_stack((13, 300, 340))
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(1 / 8, 1 / 8), metadata={"spacing": 8})
    command = [sys.executable, "-m", "zinterp", "upsample", "a.tif", "-f", "2", "-m", "cubic", "--slab-depth", "4"]
    tasks = [
        subprocess.Popen(
            [*command, "-o", "b.ome.zarr", "--slab", f"{i}/2", "--quiet", "--planes-table", "p.csv", *more],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, more in ((1, ["--workers", "2"]), (2, ["--resume"]))
    ]
    for task in tasks:
        stdout, stderr = task.communicate(timeout=120)
        assert (task.returncode, stdout) == (0, ""), stderr
    assert not (tmp_path / "p.csv").exists()
    result = run("finish", "b.ome.zarr", "--json")
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["output"], facts["model"]) == ("b.ome.zarr", "cubic")
    assert content(tmp_path / "b.ome.zarr") == serial(tmp_path / "a.tif", "b.ome.zarr", slab_depth=4)
    assert (tmp_path / "p.csv").exists()
    with pytest.raises(OutputError, match=r"none.tif was not begun by zinterp upsample, expected one whose slabs"):
        finish_shares(tmp_path / "none.tif")
    refused = CliRunner().invoke(cli, ["upsample", "a.tif", "-f", "2", "--slab", "1/2", "--report", "r.html"])
    assert refused.exit_code == 2
    assert "--slab makes a share: leave one out" in refused.stderr


def test_a_share_that_is_killed_is_run_again(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((150, 80, 80)))
    options = {"factor": 4, "model": "cubic", "slab_depth": 4}
    command = ["upsample", "a.tif", "-o", "b.tif", "-f", "4", "-m", "cubic", "--slab-depth", "4", "--slab", "1/2"]
    process = subprocess.Popen([sys.executable, "-m", "zinterp", *command, "-q"], cwd=tmp_path)
    journal, deadline = tmp_path / "b.tif.1of2.journal", time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text().count(";") > 3):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL
    seen: list[int] = []
    upsample(tmp_path / "a.tif", tmp_path / "b.tif", **options, slab="2/2")
    upsample(tmp_path / "a.tif", tmp_path / "b.tif", **options, slab="1/2", report=lambda p: seen.append(p.done))
    assert seen[0] >= 12  # what was made before it was killed stays
    finish_shares(tmp_path / "b.tif")
    assert content(tmp_path / "b.tif") == serial(tmp_path / "a.tif", "b.tif", **options)


def test_all_options_are_those_that_the_first_share_had(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "z.csv").write_text("".join(f"{z}\n" for z in (0, 20, 41, 60, 80, 99, 120, 140, 160)))
    options = {
        **OPTIONS,
        "interpolator": Doubtful(),
        "factor": None,
        "z_step": "7.5nm",
        "positions": "z.csv",
        "voxel_size": "20x8x8nm",
        "skip": [3],
        "intensity_range": (0, 250.5),
        "sharpen": 0.5,
        "grain": 7,
        "confidence": "sigma.tif",
        "planes_table": "planes.csv",
        "max_memory": 10**9,
    }
    monkeypatch.chdir(tmp_path)
    for share in ("1/2", "2/2"):
        upsample("a.tif", "b.tif", **options, slab=share)
    monkeypatch.chdir("/")
    done = finish_shares(tmp_path / "b.tif")
    assert done.options.voxel_size is not None
    assert done.outcome.job.finishing.grain_seed == 7
    table = (tmp_path / "planes.csv").read_text()
    found = content(tmp_path / "b.tif"), content(tmp_path / "sigma.tif")
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path)
    options |= {"confidence": "again/sigma.tif", "planes_table": "again/planes.csv"}
    assert (content(upsample("a.tif", "again/b.tif", **options)), content(tmp_path / "again/sigma.tif")) == found
    assert (tmp_path / "again" / "planes.csv").read_text() == table


def test_the_choice_of_a_model_is_that_of_the_shares(source: Path, tmp_path: Path) -> None:
    write_imagej(source, make_stack((5, 32, 40)))
    options = {**OPTIONS, "model": "auto", "precision": "fp32"}
    upsample(source, tmp_path / "b.tif", **options, slab="1/1")
    finish_shares(tmp_path / "b.tif")
    record = read_record(tmp_path / "b.tif")
    assert record is not None
    assert record["choice"]


def test_shares_and_one_job_go_on_with_each_other(source: Path, tmp_path: Path) -> None:
    target, seen = tmp_path / "b.ome.zarr", []
    with pytest.raises(KeyboardInterrupt):
        upsample(source, target, **OPTIONS, report=at(6, interrupt))
    upsample(source, target, **OPTIONS, slab="1/2", report=lambda p: seen.append((p.done, p.total)))
    assert seen == [(6, 8), (8, 8)]
    with pytest.raises(KeyboardInterrupt):
        upsample(source, target, **OPTIONS, slab="2/3", report=at(4, interrupt))
    seen.clear()
    upsample(source, target, **OPTIONS, resume=True, report=lambda p: seen.append((p.done, p.total)))
    assert seen[0] == (10, 17)
    assert content(target) == serial(source, target.name)
    assert left(tmp_path, "b") == ["b.ome.zarr"]


def test_a_share_may_be_empty_and_says_what_is_to_follow(source: Path, tmp_path: Path) -> None:
    (result,) = upsample_many([source], targets=[tmp_path / "b.tif"], **OPTIONS, slab="1/20")
    assert (result.status, result.outcome) == ("done", None)
    assert result.reason.startswith("share 1/20 of its slabs; 'zinterp finish ")
    with pytest.raises(OutputError, match=r"lacks 9 of 9 slabs \(1-9\), expected all: begin shares 3/20, 5/20, "):
        finish_shares(tmp_path / "b.tif")
    for path in tmp_path.glob("b.tif.*of*"):
        path.unlink()
    with pytest.raises(OutputError, match="expected all: go on with --resume"):
        finish_shares(tmp_path / "b.tif")


def test_who_is_at_work_is_not_disturbed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "b.tif"
    said: list[str] = []

    def try_all() -> None:
        for options in ({"slab": "1/2"}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(OutputBusyError) as caught:
                upsample(source, target, **OPTIONS, **options)
            said.append(str(caught.value))
        with pytest.raises(OutputBusyError):
            finish_shares(target)
        upsample(source, target, **OPTIONS, slab="2/2")

    upsample(source, target, **OPTIONS, slab="1/2", report=at(4, try_all))
    assert all("another job is writing share 1/2 of " in text for text in said)
    with locked(target), pytest.raises(OutputBusyError, match=r"another job is writing .*b\.tif: wait for it"):
        upsample(source, target, **OPTIONS, slab="1/2")
    monkeypatch.setattr("zinterp.journal.LONGEST_TURN_S", 0.1)
    with in_turn(target), pytest.raises(OutputBusyError, match="is being laid out for long: begin this share again"):
        upsample(source, target, **OPTIONS, slab="1/2")
    finish_shares(target)
    assert content(target) == serial(source, "b.tif")


def test_faults_of_one_share_leave_what_others_made(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.tif"
    upsample(source, target, **OPTIONS, slab="1/3")
    with pytest.raises(BadOptionError, match="begun with model 'cubic', this job has 'linear'"):
        upsample(source, target, **{**OPTIONS, "model": "linear"}, slab="2/3")
    with pytest.raises(InputChangedError):
        upsample(source, target, **OPTIONS, slab="2/3", report=at(4, lambda: overwrite(source)))
    assert left(tmp_path, "b") == ["b.tif.1of3.journal", "b.tif.journal", "b.tif.partial", "b.tif.shares.lock"]
    with pytest.raises(BadOptionError, match=r"begun with (source_sample|intensity_range)"):
        upsample(source, target, **OPTIONS, slab="3/3")
    with pytest.raises(BadOptionError, match="begun with"):
        upsample(source, target, **OPTIONS, resume=True)
    upsample(source, target, **OPTIONS, overwrite=True)
    assert left(tmp_path, "b") == ["b.tif"]
    upsample(source, target, **OPTIONS, slab="1/1", overwrite=True)
    before = content(target)
    finish_shares(target)
    assert content(target) == before


def test_an_output_that_was_half_laid_out_is_laid_out_anew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "b.ome.zarr"
    with monkeypatch.context() as patch:
        patch.setattr("zinterp.shares.create_outputs", lambda *_, **__: interrupt())
        with pytest.raises(KeyboardInterrupt):
            upsample(source, target, **OPTIONS, slab="1/1")
    assert left(tmp_path, "b") == ["b.ome.zarr.shares.lock"]  # by which others may be waiting for their turn
    upsample(source, target, **OPTIONS, slab="1/1", report=ignore_first)
    partial = partial_path(target)
    journal = journal_path(target)
    journal.write_text(journal.read_text().splitlines()[0] + "\n")  # as it was before it was noted to be laid out
    (tmp_path / "b.ome.zarr.1of1.journal").unlink()
    (partial / "0" / "zarr.json").unlink()
    upsample(source, target, **OPTIONS, slab="1/1")
    finish_shares(target)
    assert content(target) == serial(source, target.name)


def ignore_first(progress: object) -> None:
    """Report nothing."""


def test_tiles_of_all_shares_have_one_shape(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((3, 300, 300)))
    target = tmp_path / "b.tif"
    with pytest.raises(NoRoomError, match=r"no memory for a tile .*: begin all of them again with a smaller --tile"):
        upsample(tmp_path / "a.tif", target, interpolator=Hungry(150), **HUNGRY, slab="1/2")
    with pytest.raises(KeyboardInterrupt):  # one job halves them, and shares then do
        upsample(
            tmp_path / "a.tif", target, interpolator=Hungry(150), **HUNGRY, overwrite=True, report=at(2, interrupt)
        )
    for share in ("1/2", "2/2"):
        upsample(tmp_path / "a.tif", target, interpolator=Hungry(150), **HUNGRY, slab=share)
    finish_shares(target)
    record = read_record(target)
    assert record is not None
    assert max(record["tile"]) <= 80


def test_what_stands_for_the_interpolator_makes_no_planes() -> None:
    absent = Absent("fast@0, bf16 on cuda", Needs(context=1))
    planes = np.zeros((1, 2, 4, 4), np.float32)
    for call in (absent, absent.uncertainty):
        with pytest.raises(WorkerError, match="planes of fast@0, bf16 on cuda lack"):
            call(planes, np.array([0.5], np.float32))


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "a/b", "-1/2"])
def test_shares_that_cannot_be(text: str) -> None:
    with pytest.raises(BadOptionError, match="expected i/n with i from 1 to n: write 3/8"):
        Share.parse(text)


@pytest.mark.parametrize(("slabs", "count"), [(9, 4), (3, 7), (100, 1), (0, 2)])
def test_shares_cover_the_slabs_once_in_order(slabs: int, count: int) -> None:
    shares = [Share(number, count).of(slabs) for number in range(1, count + 1)]
    assert [i for share in shares for i in share] == list(range(slabs))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
