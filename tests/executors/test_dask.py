"""Slabs on a dask cluster: the bytes of one process, also where workers are lost."""

import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from tests.conftest import make_stack, write_imagej
from tests.executors.orders import Errand, Slow, Unknown
from tests.test_faults import HALVED, HUNGRY, Hungry, at, content
from zinterp.errors import BadVolumeError, WorkerError
from zinterp.executors.dask import DaskCrew
from zinterp.pipeline import upsample

OPTIONS = {"factor": 2, "model": "cubic", "slab_depth": 2}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A scheduler with two workers, each a process."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture
def address(cluster: LocalCluster) -> str:
    """Where the scheduler is."""
    return str(cluster.scheduler_address)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Nine planes of 40 x 48 pixels."""
    write_imagej(tmp_path / "a.tif", make_stack((9, 40, 48)))
    (tmp_path / "serial").mkdir()
    return tmp_path / "a.tif"


@pytest.mark.parametrize("name", ["b.tif", "b.ome.zarr"])
def test_outputs_are_those_of_one_process_to_the_bit(
    name: str, address: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where the workers are not at home
    made = upsample("a.tif", name, **OPTIONS, scheduler=address)
    assert content(made) == content(upsample(source, tmp_path / "serial" / name, **OPTIONS))


def test_a_killed_worker_costs_its_slab_only(address: str, source: Path, tmp_path: Path) -> None:
    with Client(address, set_as_default=False) as client:
        victims = list(client.run(os.getpid).values())
    report = at(4, lambda: os.kill(victims[0], signal.SIGKILL))
    options = {**OPTIONS, "interpolator": Slow()}
    made = upsample(source, tmp_path / "b.ome.zarr", **options, report=report, scheduler=address)
    assert content(made) == content(upsample(source, tmp_path / "serial" / "b.ome.zarr", **options))


def test_memory_that_runs_out_halves_the_tiles_here_too(address: str, source: Path, tmp_path: Path) -> None:
    write_imagej(source, make_stack((3, 300, 300)))
    options = {"model": None, "interpolator": Hungry(150)}
    made = upsample(source, tmp_path / "b.tif", **options, **HUNGRY, scheduler=address)
    assert content(made) == content(upsample(source, tmp_path / "serial" / "b.tif", **options, **HALVED))


def test_a_slab_that_costs_worker_after_worker_is_an_error_that_says_so(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster.scheduler, "allowed_failures", 0)
    with DaskCrew(cluster.scheduler_address) as crew, pytest.raises(WorkerError, match="worker after worker at slab 2"):
        list(crew.run([1], Errand(1)))


def test_errors_come_back_with_their_cause(address: str) -> None:
    with DaskCrew(address) as crew:
        with pytest.raises(BadVolumeError, match="bad") as caught:
            list(crew.run(range(4), Errand(1, partial(BadVolumeError, "bad"))))
        assert isinstance(caught.value.__cause__, OSError)
        assert sorted(crew.run(range(4), Errand())) == [0, 2, 4, 6]


def test_a_scheduler_that_gives_up_is_an_error_that_says_so(address: str) -> None:
    with (
        DaskCrew(address) as crew,
        pytest.raises(WorkerError, match=r"gave slab 2 up \(.*install this zinterp for sch"),
    ):
        list(crew.run([1], Unknown()))  # type: ignore[arg-type]


def test_what_is_not_there_is_said_in_one_line(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("tcp://127.0.0.1:1", "nonsense://x", "tcp://127.0.0.1"):
        with pytest.raises(WorkerError, match=r"there is no dask scheduler at .*: give tcp://HOST:8786"):
            upsample(source, tmp_path / "b.tif", **OPTIONS, scheduler=address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WorkerError, match=r"pip install 'zinterp\[dask\]'"):
        upsample(source, tmp_path / "b.tif", **OPTIONS, scheduler="tcp://127.0.0.1:8786")
    assert not list(tmp_path.glob("b.tif*"))
