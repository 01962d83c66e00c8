"""Slabs in several processes: the bytes of one process, whatever happens to the others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from tests.conftest import Doubtful, make_stack, write_imagej
from tests.executors.orders import Errand, Slow, Unpicklable
from tests.test_faults import HALVED, HUNGRY, Hungry, at, content, interrupt
from zinterp.batch import upsample_many
from zinterp.errors import BadOptionError, BadVolumeError, InputChangedError, WorkerError
from zinterp.executors import create_crew
from zinterp.executors.processes import MOST_LOSSES, ProcessCrew, how_it_ended
from zinterp.interpolators import Interpolator
from zinterp.journal import journal_path, locked
from zinterp.options import UpsampleOptions
from zinterp.pipeline import build_interpolator, make, upsample
from zinterp.run import Progress, ignore
from zinterp.threads import cores
from zinterp.volume import partial_path

OPTIONS = {"factor": 2, "model": "cubic", "slab_depth": 2}


@pytest.fixture(scope="module")
def crew() -> Iterator[ProcessCrew]:
    """Two processes."""
    with ProcessCrew(2) as crew:
        yield crew


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Nine planes of 40 x 48 pixels."""
    write_imagej(tmp_path / "a.tif", make_stack((9, 40, 48)))
    return tmp_path / "a.tif"


def crewed(
    crew: ProcessCrew,
    source: Path,
    target: Path,
    *,
    interpolator: Interpolator | None = None,
    report: Callable[[Progress], None] = ignore,
    **options: object,
) -> Path:
    """What ``upsample`` does with workers, by those that are there."""
    chosen = UpsampleOptions(**{**OPTIONS, **options})
    with locked(target):
        build = lambda: interpolator or build_interpolator(chosen)  # noqa: E731
        make(source, target, chosen, build, report, crew=crew, given=interpolator)
    return target


def serial(source: Path, name: str, **options: object) -> dict[str, bytes]:
    """What one process writes."""
    (source.parent / "serial").mkdir(exist_ok=True)
    target = source.parent / "serial" / name
    return content(upsample(source, target, **{**OPTIONS, "overwrite": True, **options}))


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif", "b.mrc", "b", "b.ome.zarr"])
def test_outputs_are_those_of_one_process_to_the_bit(
    name: str, crew: ProcessCrew, source: Path, tmp_path: Path
) -> None:
    options = {"format": "png-slices"} if name == "b" else {}
    assert content(crewed(crew, source, tmp_path / name, **options)) == serial(source, name, **options)
    assert not list(tmp_path.glob("*.journal"))


@pytest.mark.parametrize(("ngff", "depth"), [("0.5", 4), ("0.4", 4), ("0.5", 3)])
def test_pyramids_are_those_of_one_process_to_the_bit(ngff: str, depth: int, crew: ProcessCrew, tmp_path: Path) -> None:
    stack = make_stack((7, 300, 540), "uint16")
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(1 / 8, 1 / 8), metadata={"spacing": 8})
    options = {"ngff": ngff, "slab_depth": depth}
    made = content(crewed(crew, tmp_path / "a.tif", tmp_path / "b.ome.zarr", **options))
    assert made == serial(tmp_path / "a.tif", "b.ome.zarr", **options)
    assert {path.split("/")[0] for path in made} >= {"0", "1", "2"}


def test_channels_and_deviations_come_out_the_same(crew: ProcessCrew, tmp_path: Path) -> None:
    values = np.stack([make_stack((5, 24, 40), seed=seed) for seed in range(2)], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "ZCYX"})
    found = []
    for name in ("crew", "serial"):
        (tmp_path / name).mkdir()
        options = {"confidence": tmp_path / name / "sigma.ome.zarr", "interpolator": Doubtful(), "flag_below": 20}
        target = tmp_path / name / "b.ome.zarr"
        if name == "crew":
            crewed(crew, tmp_path / "a.tif", target, **options)
        else:
            upsample(tmp_path / "a.tif", target, **OPTIONS, **options)
        found.append(content(tmp_path / name))
    assert found[0] == found[1]


def test_the_default_network_and_the_choice_of_a_model_come_out_the_same(crew: ProcessCrew, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((5, 32, 40)))
    for options in ({"model": None, "precision": "fp32"}, {"model": "auto", "precision": "fp32"}):
        (tmp_path / str(options["model"])).mkdir()
        made = crewed(crew, tmp_path / "a.tif", tmp_path / str(options["model"]) / "b.tif", **options)
        assert content(made) == serial(tmp_path / "a.tif", "b.tif", **options)


def test_a_killed_worker_costs_its_slab_and_is_replaced(
    crew: ProcessCrew, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill() -> None:
        os.kill(crew.processes[0], signal.SIGKILL)

    target = crewed(crew, source, tmp_path / "b.ome.zarr", interpolator=Slow(), report=at(4, kill))
    said = [record.getMessage() for record in caplog.records if "lost" in record.getMessage()]
    assert len(said) == 1
    assert "a worker was lost (SIGKILL, as where memory runs out): another takes its place and makes slab" in said[0]
    assert content(target) == serial(source, "b.ome.zarr", interpolator=Slow())
    assert len(crew.processes) == 2


def test_a_slab_that_costs_worker_after_worker_is_an_error_that_says_so(crew: ProcessCrew) -> None:
    with pytest.raises(WorkerError, match=rf"{MOST_LOSSES} workers were lost at slab 3 \(the last one SIGKILL"):
        list(crew.run(range(4), Errand(2)))
    assert sorted(crew.run(range(4), Errand())) == [0, 2, 4, 6]


def test_an_error_comes_back_with_its_cause_and_ends_the_order(crew: ProcessCrew) -> None:
    with pytest.raises(BadVolumeError, match="bad") as caught:
        list(crew.run(range(4), Errand(1, partial(BadVolumeError, "bad"))))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == 5
    assert "in another process:" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match="Unpicklable: two words"):
        list(crew.run([1], Errand(1, partial(Unpicklable, "two", "words"))))


def test_the_cores_are_shared_out_and_news_are_passed_on(crew: ProcessCrew, caplog: pytest.LogCaptureFixture) -> None:
    before = os.environ.get("OMP_NUM_THREADS")
    assert list(crew.run([7], Errand())) == [14]
    most = min(max(1, cores() // 2), int(before) if before else 10**6)
    assert f"at 7, {most} threads" in caplog.text
    assert os.environ.get("OMP_NUM_THREADS") == before


def test_workers_live_from_input_to_input_and_one_that_fails_stops_none(tmp_path: Path) -> None:
    for name in "ac":
        write_imagej(tmp_path / f"{name}.tif", make_stack())
    (tmp_path / "b.tif").write_text("not a stack")
    sources = [tmp_path / f"{name}.tif" for name in "abc"]
    alive: list[set[int]] = []
    results = upsample_many(
        sources,
        **OPTIONS,
        workers=2,
        keep_going=True,
        report=lambda *_: alive.append({p.pid for p in psutil.Process().children(recursive=True) if is_worker(p)}),
    )
    assert [result.status for result in results] == ["done", "failed", "done"]
    assert content(tmp_path / "c_x2.tif") == serial(sources[2], "c_x2.tif")
    assert len(set().union(*alive) - alive[-1]) == 0


def is_worker(process: psutil.Process) -> bool:
    """Whether a process is one of ours, and not what multiprocessing counts resources with."""
    try:
        return "spawn_main" in " ".join(process.cmdline())
    except psutil.Error:
        return False


@pytest.mark.parametrize("crew_first", [True, False])
def test_what_one_way_began_the_other_goes_on_with(
    crew_first: bool, crew: ProcessCrew, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "b.ome.zarr"

    def one(**options: object) -> None:
        crewed(crew, source, target, **options) if crew_first else upsample(source, target, **OPTIONS, **options)

    def other(**options: object) -> None:
        upsample(source, target, **OPTIONS, **options) if crew_first else crewed(crew, source, target, **options)

    with pytest.raises(KeyboardInterrupt):
        one(report=at(6, interrupt))
    seen: list[int] = []
    other(resume=True, report=lambda progress: seen.append(progress.done))
    assert seen[0] >= 5
    assert content(target) == serial(source, target.name)


def test_memory_that_runs_out_halves_the_tiles_here_too(crew: ProcessCrew, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((3, 300, 300)))
    options = {"model": None, "interpolator": Hungry(150)}
    made = content(crewed(crew, tmp_path / "a.tif", tmp_path / "b.ome.zarr", **options, **HUNGRY))
    assert made == serial(tmp_path / "a.tif", "b.ome.zarr", **options, **HALVED)


def test_an_input_that_changes_and_planes_that_repeat_are_noticed(
    crew: ProcessCrew, source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_imagej(tmp_path / "twice.tif", make_stack((6, 40, 48))[[0, 1, 1, 2, 3, 4]])
    crewed(crew, tmp_path / "twice.tif", tmp_path / "twice_x2.tif")
    assert "planes that are equal bit for bit, kept as they are: 2 (as 1)" in caplog.text
    target = tmp_path / "b.tif"
    with pytest.raises(InputChangedError):
        crewed(crew, source, target, report=at(4, lambda: os.truncate(source, 5000)))
    assert not partial_path(target).exists()
    assert not journal_path(target).exists()


def test_a_worker_that_would_compute_otherwise_is_refused(crew: ProcessCrew, source: Path, tmp_path: Path) -> None:
    chosen = UpsampleOptions(**OPTIONS)
    linear = build_interpolator(UpsampleOptions(factor=2, model="optical-flow"))
    linear.identity = "fast@other"
    with locked(tmp_path / "b.tif"), pytest.raises(BadOptionError, match="a worker would compute by cubic"):
        make(source, tmp_path / "b.tif", chosen, lambda: linear, crew=crew)


def test_more_memory_than_there_is_is_warned_of(
    crew: ProcessCrew, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    memory = psutil.virtual_memory()
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory._replace(total=700 * 10**6))
    crewed(crew, source, tmp_path / "b.tif", workers=2)
    assert caplog.text.count("2 workers may need") == 0
    crewed(crew, source, tmp_path / "c.tif", workers=9)
    assert "9 workers may need" in caplog.text
    assert "this machine has 700.0 MB: give fewer, or --max-memory 38MB, which is for each" in caplog.text


def test_an_interpolator_that_cannot_be_sent_is_refused(crew: ProcessCrew, source: Path, tmp_path: Path) -> None:
    interpolator = Slow()
    interpolator.identity = lambda: "no text"  # type: ignore[assignment]
    with pytest.raises(BadOptionError, match=r"cannot be sent to other processes \(.*pickled: leave workers out"):
        list(crew.run([0], partial(Errand(), interpolator)))


def test_options_that_cannot_be() -> None:
    with pytest.raises(BadOptionError, match="got 0 workers, expected at least 1"):
        UpsampleOptions(factor=2, workers=0)
    with pytest.raises(BadOptionError, match="got workers and a scheduler, expected one"):
        UpsampleOptions(factor=2, workers=2, scheduler="tcp://localhost:1")
    with create_crew(1, None) as nobody:
        assert nobody is None


def test_ends_are_named() -> None:
    assert how_it_ended(1) == "exit code 1"
    assert how_it_ended(-15) == "SIGTERM"
    assert how_it_ended(-63) == "signal 63"


def at_work(tmp_path: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A command with two workers in mid-run, and these."""
    write_imagej(tmp_path / "a.tif", make_stack((400, 200, 200)))
    arguments = ["upsample", "a.tif", "-f", "4", "-m", "cubic", "--slab-depth", "4", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "zinterp", *arguments],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    journal, deadline = tmp_path / "a_x4.tif.journal", time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text().count(";") > 3):
        time.sleep(0.01)
    return process, [p for p in psutil.Process(process.pid).children(recursive=True) if is_worker(p)]


def are_gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether processes end soon."""
    return not psutil.wait_procs(processes, timeout=5)[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_workers_end_with_their_parent_however_that_ends(number: int, code: int, tmp_path: Path) -> None:
    process, workers = at_work(tmp_path)
    assert len(workers) == 2
    if number == signal.SIGINT:  # as a terminal sends it, to all
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert "lost" not in stderr
    assert are_gone(workers)
    assert partial_path(tmp_path / "a_x4.tif").exists()


def test_workers_that_a_script_without_a_guard_starts_are_an_error_that_says_so(source: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import zinterp\n"
        f"zinterp.upsample({str(source)!r}, {str(tmp_path / 'b.tif')!r}, factor=2, model='linear', workers=2)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "in a script, call zinterp under if __name__ == '__main__'" in done.stderr
