"""Faults of a night, each made to happen: full, lost and stalling disks, inputs that change, memory that runs out."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import Stack, make_stack, write_imagej, write_tiff_slices, write_zarr_05
from zinterp.errors import BadOptionError, InputChangedError, InputError, NoRoomError, OutputError
from zinterp.executors import serial
from zinterp.interpolators.base import Needs
from zinterp.io import open_volume, read_record
from zinterp.io.tiff import TiffReader
from zinterp.journal import journal_path
from zinterp.pipeline import interpolate, upsample
from zinterp.run import Progress
from zinterp.volume import partial_path

OPTIONS = {"factor": 2, "model": "cubic", "slab_depth": 2}
SUFFIXES = (".tif", ".ome.zarr")


def content(path: Path) -> dict[str, bytes]:
    """All that a volume, or a folder, consists of."""
    return {str(p.relative_to(path)): p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()}


def whole(source: Path, name: str, **options: object) -> dict[str, bytes]:
    """What a job gives that nothing disturbs, under the same name."""
    folder = source.parent / "whole"
    folder.mkdir(exist_ok=True)
    return content(upsample(source, folder / name, **{**OPTIONS, "overwrite": True, **options}))


def at(done: int, action: Callable[[], object]) -> Callable[[Progress], None]:
    """Do something once, when so many planes are done."""
    left = [action]

    def report(progress: Progress) -> None:
        if progress.done >= done and left:
            left.pop()()

    return report


def interrupt() -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Nine planes of 40 x 48 pixels."""
    write_imagej(tmp_path / "a.tif", make_stack((9, 40, 48)))
    return tmp_path / "a.tif"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() or not mounted(disk, "size=400k"):
        pytest.skip("no disk may be mounted here")
    yield disk
    while subprocess.run(["mountpoint", "-q", disk]).returncode == 0:
        subprocess.run(["umount", "-l", disk], check=True)


def mounted(folder: Path, options: str) -> bool:
    """Mount a disk in memory, or mount it anew."""
    return subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode == 0


def fill(disk: Path) -> Path:
    """Fill a disk with other data."""
    with (disk / "other").open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return disk / "other"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_is_too_small_is_refused_with_figures_before_any_work(
    suffix: str, small_disk: Path, tmp_path: Path
) -> None:
    write_imagej(tmp_path / "large.tif", make_stack((9, 200, 200)))
    with pytest.raises(OutputError, match=r"needs 680\.0 kB and .* has \d+\.\d kB free: free some space or choose"):
        upsample(tmp_path / "large.tif", small_disk / f"b{suffix}", **OPTIONS)
    assert list(small_disk.iterdir()) == []


def test_two_volumes_that_fit_alone_but_not_together_are_refused(small_disk: Path, source: Path) -> None:
    from tests.conftest import Doubtful

    write_imagej(source, make_stack((33, 40, 48)))  # 125 kB of planes, four times that of deviations
    options = {"factor": 2, "interpolator": Doubtful(), "confidence": small_disk / "sigma.ome.zarr"}
    subprocess.run(["mount", "-o", "remount,size=600k", small_disk], check=True)
    with pytest.raises(
        OutputError, match=r"the outputs b\.tif and sigma\.ome\.zarr need .* free some space or put one"
    ):
        upsample(source, small_disk / "b.tif", **options)
    assert list(small_disk.iterdir()) == []
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    upsample(source, small_disk / "b.tif", **options)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_others_fill_in_mid_run_keeps_what_was_made(suffix: str, small_disk: Path, source: Path) -> None:
    target = small_disk / f"b{suffix}"
    other: list[Path] = []
    with pytest.raises(OutputError, match="No space left on device"):
        upsample(source, target, **OPTIONS, report=at(6, lambda: other.append(fill(small_disk))))
    assert not target.exists()
    assert partial_path(target).exists()
    with pytest.raises(OutputError, match="No space left on device"):  # nothing is lost by trying
        upsample(source, target, **OPTIONS, resume=True)
    other[0].unlink()
    seen: list[int] = []
    upsample(source, target, **OPTIONS, resume=True, report=lambda progress: seen.append(progress.done))
    assert seen[0] >= 4
    assert content(target) == whole(source, target.name)
    assert [path.name for path in small_disk.iterdir()] == [target.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_becomes_read_only_in_mid_run_keeps_what_was_made(
    suffix: str, small_disk: Path, source: Path
) -> None:
    target = small_disk / f"b{suffix}"

    def lose() -> None:  # all names on it; what is open, a job holds its lock, would keep the disk itself from it
        subprocess.run(["mount", "--bind", small_disk, small_disk], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", small_disk], check=True)

    with pytest.raises(OutputError, match="Read-only file system"):
        upsample(source, target, **OPTIONS, report=at(6, lose))
    assert not target.exists()
    with pytest.raises(OutputError, match="may not be written"):
        upsample(source, target, **OPTIONS, resume=True)
    subprocess.run(["umount", small_disk], check=True)
    upsample(source, target, **OPTIONS, resume=True)
    assert content(target) == whole(source, target.name)
    assert [path.name for path in small_disk.iterdir()] == [target.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_output_folder_that_is_removed_in_mid_run_ends_the_job_with_a_line(
    suffix: str, source: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"is gone: it.* was removed while the job ran; start again|cannot write"):
        upsample(source, folder / f"b{suffix}", **OPTIONS, report=at(6, lambda: shutil.rmtree(folder)))
    folder.mkdir(exist_ok=True)
    target = upsample(source, folder / f"b{suffix}", **OPTIONS, resume=True)
    assert content(target) == whole(source, target.name)
    assert [path.name for path in folder.iterdir()] == [target.name]


def test_a_partial_output_that_is_removed_in_mid_run_is_noticed_at_once(source: Path, tmp_path: Path) -> None:
    target, seen = tmp_path / "b.tif", []

    def report(progress: Progress) -> None:
        seen.append(progress.done)
        if progress.done == 4:
            partial_path(target).unlink()

    with pytest.raises(OutputError, match=r"b\.tif\.partial is gone: it was removed while the job ran"):
        upsample(source, target, **OPTIONS, report=report)
    assert max(seen) == 4
    assert content(upsample(source, target, **OPTIONS, resume=True)) == whole(source, target.name)


def cut(path: Path) -> None:
    """Cut a file short."""
    os.truncate(path, path.stat().st_size - 5000)


def swap(path: Path) -> None:
    """Put another stack of the same size and time in the place of one, by renaming."""
    before = path.stat()
    write_imagej(path.with_name("other.tif"), make_stack((9, 40, 48), seed=1))
    assert path.with_name("other.tif").stat().st_size == before.st_size
    os.utime(path.with_name("other.tif"), ns=(before.st_atime_ns, before.st_mtime_ns))
    path.with_name("other.tif").replace(path)


def overwrite(path: Path) -> None:
    """Write another stack into a file and set its time back."""
    before = path.stat()
    write_imagej(path.with_name("other.tif"), make_stack((9, 40, 48), seed=1))
    with path.open("r+b") as file:
        file.write(path.with_name("other.tif").read_bytes())
    path.with_name("other.tif").unlink()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_size) == (before.st_ino, before.st_size)


CHANGES: dict[str, Callable[[Path], object]] = {
    "cut short": cut,
    "replaced": swap,
    "written to, its time set back": overwrite,
    "touched": lambda path: os.utime(path, ns=(0, 0)),
}


@pytest.mark.parametrize("done", [4, 17])
@pytest.mark.parametrize("change", CHANGES)
def test_an_input_that_changes_while_it_is_read_gives_no_output(
    change: str, done: int, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "b.tif"
    with pytest.raises(InputChangedError, match=r"a\.tif was changed while it was read \(.*start again when it stays"):
        upsample(source, target, **OPTIONS, report=at(done, lambda: CHANGES[change](source)))
    assert not target.exists()
    assert not journal_path(target).exists()
    assert not partial_path(target).exists()


@pytest.mark.parametrize("change", [swap, overwrite])
def test_a_job_is_not_gone_on_with_from_another_input_of_the_same_size_and_time(
    change: Callable[[Path], None], source: Path, tmp_path: Path
) -> None:
    options = {**OPTIONS, "intensity_range": (0, 255)}
    with pytest.raises(KeyboardInterrupt):
        upsample(source, tmp_path / "b.tif", **options, report=at(6, interrupt))
    change(source)
    with pytest.raises(BadOptionError, match="begun with source_sample"):
        upsample(source, tmp_path / "b.tif", **options, resume=True)


def test_rights_and_links_are_no_change(source: Path, tmp_path: Path) -> None:
    def touch() -> None:
        source.chmod(0o600)
        (tmp_path / "link.tif").hardlink_to(source)

    target = upsample(source, tmp_path / "b.tif", **OPTIONS, report=at(6, touch))
    assert content(target) == whole(source, target.name)


def test_a_folder_that_gets_more_slices_is_no_other_input_and_a_store_is(tmp_path: Path) -> None:
    write_tiff_slices(tmp_path / "slices", make_stack())
    more = tmp_path / "slices" / "slice_99.tif"
    upsample(tmp_path / "slices", tmp_path / "b.tif", **OPTIONS, report=at(4, lambda: more.write_bytes(b"later")))
    write_zarr_05(tmp_path / "a.zarr", make_stack())
    with pytest.raises(InputChangedError, match="appeared"):
        upsample(
            tmp_path / "a.zarr",
            tmp_path / "c.tif",
            **OPTIONS,
            report=at(4, lambda: (tmp_path / "a.zarr" / "s0" / "c" / "9").write_bytes(b"later")),
        )


def test_an_input_that_goes_away_and_comes_back_is_gone_on_with(source: Path, tmp_path: Path) -> None:
    target, away = tmp_path / "b.tif", tmp_path / "away.tif"
    with pytest.raises(InputError, match=r"a\.tif is gone, and was read until now"):
        upsample(source, target, **OPTIONS, report=at(6, lambda: source.rename(away)))
    away.rename(source)
    assert content(upsample(source, target, **OPTIONS, resume=True)) == whole(source, target.name)


class Hungry:
    """Linear interpolation, without memory for tiles beyond a size. See ``Interpolator``."""

    identity = "hungry"
    needs = Needs(context=1, multiple_of=4, overlap=8)

    def __init__(self, largest: int, *, from_call: int = 0) -> None:
        self.largest, self.from_call = largest, from_call
        self.tiles: list[int] = []

    def __call__(self, planes: NDArray[np.float32], times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Planes (N, 2, Y, X) and times (K,) -> (N, K, Y, X)."""
        self.tiles.append(max(planes.shape[2:]))
        if len(self.tiles) > self.from_call and self.tiles[-1] > self.largest:
            raise MemoryError
        t = times[:, None, None]
        return planes[:, :1] * (1 - t) + planes[:, 1:] * t


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Three planes of 300 x 300 pixels."""
    write_imagej(tmp_path / "a.tif", make_stack((3, 300, 300)))
    return tmp_path / "a.tif"


HUNGRY = {"factor": 2, "slab_depth": 2, "tile": 192}
HALVED = {**HUNGRY, "tile": 80}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("from_call", [0, 6])
def test_memory_that_runs_out_halves_the_tiles_of_the_whole_output_once(
    from_call: int, suffix: str, wide: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = tmp_path / f"b{suffix}"
    hungry = Hungry(150, from_call=from_call)
    upsample(wide, target, interpolator=hungry, **HUNGRY)
    said = [record.getMessage() for record in caplog.records if "no memory" in record.getMessage()]
    assert len(said) == 1
    assert "starting this stack again with tiles of" in said[0]
    record = read_record(target)
    assert record is not None
    assert max(record["tile"]) <= 80
    (tmp_path / "small").mkdir()
    small = upsample(wide, tmp_path / "small" / target.name, interpolator=Hungry(150), **HALVED)
    assert content(small) == content(target)
    assert not journal_path(target).exists()


def test_a_job_whose_tiles_were_halved_goes_on_with_the_smaller_ones(wide: Path, tmp_path: Path) -> None:
    target = tmp_path / "b.tif"
    with pytest.raises(KeyboardInterrupt):
        upsample(wide, target, interpolator=Hungry(150), **HUNGRY, report=at(2, interrupt))
    plenty = Hungry(10**6)
    upsample(wide, target, interpolator=plenty, **HUNGRY, resume=True)
    assert max(plenty.tiles) <= 80
    (tmp_path / "small").mkdir()
    small = upsample(wide, tmp_path / "small" / target.name, interpolator=Hungry(150), **HALVED)
    assert content(small) == content(target)


def test_memory_that_never_suffices_is_one_clear_error(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(NoRoomError, match=r"no memory for a tile of .* as small as tiles can be made: free memory"):
        upsample(wide, tmp_path / "b.tif", interpolator=Hungry(10), **HUNGRY)
    assert not (tmp_path / "b.tif").exists()
    with pytest.raises(NoRoomError, match="as small as tiles can be made"):
        interpolate(make_stack((3, 300, 300)), interpolator=Hungry(10), factor=2, tile=256)


def test_in_memory_tiles_are_halved_too() -> None:
    stack = make_stack((3, 300, 300))
    found = interpolate(stack, interpolator=Hungry(150), factor=2, tile=192)
    assert np.array_equal(found, interpolate(stack, interpolator=Hungry(150), factor=2, tile=80))


@pytest.mark.parametrize("stalled", ["read", "write"])
def test_a_disk_that_stalls_is_waited_for_and_said(
    stalled: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from zinterp.io.tiff import TiffWriter

    kind = TiffReader if stalled == "read" else TiffWriter
    method = getattr(kind, stalled)
    slow: list[bool] = []

    def stall(self: object, *arguments: object) -> object:
        if slow:
            time.sleep(slow.pop() * 0.35)
        return method(self, *arguments)

    monkeypatch.setattr(kind, stalled, stall)
    monkeypatch.setattr(serial, "PATIENCE_S", 0.05)
    seen: list[int] = []
    report = at(4, lambda: slow.append(True))
    target = upsample(source, tmp_path / "b.tif", **OPTIONS, report=lambda p: (report(p), seen.append(p.done))[0])
    said = [record.getMessage() for record in caplog.records if "waiting for the disk" in record.getMessage()]
    assert 1 <= len(said) <= 4
    assert f"waiting for the disk to {stalled} slab" in said[0]
    assert seen[-1] == 17
    assert content(target) == whole(source, target.name)


def test_a_clock_that_is_set_back_changes_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from zinterp.batch import Result, upsample_many

    now = [1e9]

    def back() -> float:
        now[0] -= 3600
        return now[0]

    os.utime(source, (2e9, 2e9))  # in the future
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", back)
        ended: list[Result] = []
        for _ in range(2):
            upsample_many([source], targets=[tmp_path / "b.tif"], **OPTIONS, skip_existing=True, ended=ended.append)
    assert [result.status for result in ended] == ["done", "skipped"]
    assert all(0 <= result.seconds < 60 for result in ended)
    assert content(tmp_path / "b.tif") == whole(source, "b.tif")


def test_no_decision_is_made_by_the_clock_of_the_wall() -> None:
    import zinterp

    root = Path(zinterp.__file__).parent
    users = {
        p.relative_to(root).as_posix()
        for p in root.rglob("*.py")
        if "time.time(" in p.read_text() or "datetime.now" in p.read_text()
    }
    assert users == {"evaluation/report/__init__.py", "watch_status.py"}  # which say when they were written


def test_a_job_begun_with_overwrite_goes_on_and_replaces_only_what_it_was_to(source: Path, tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        target = tmp_path / f"b{suffix}"
        upsample(source, target, factor=3, model="linear")
        old = content(target)
        with pytest.raises(KeyboardInterrupt):
            upsample(source, target, **OPTIONS, overwrite=True, report=at(6, interrupt))
        assert content(target) == old
        seen: list[int] = []
        upsample(source, target, **OPTIONS, resume=True, report=lambda progress, seen=seen: seen.append(progress.done))
        assert seen[0] == 6
        assert content(target) == whole(source, target.name)
    target = tmp_path / "b.tif"
    with pytest.raises(KeyboardInterrupt):
        upsample(source, target, **OPTIONS, overwrite=True, report=at(6, interrupt))
    target.unlink()
    target.write_bytes(b"another's")
    with pytest.raises(OSError, match="exists already: give --overwrite"):
        upsample(source, target, **OPTIONS, resume=True)
    assert target.read_bytes() == b"another's"
    upsample(source, target, **OPTIONS, resume=True, overwrite=True)
    assert content(target) == whole(source, target.name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_job_that_was_stopped_when_its_output_had_its_name_is_only_concluded(
    suffix: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, table = tmp_path / f"b{suffix}", tmp_path / "planes.csv"

    with monkeypatch.context() as patch:
        patch.setattr("zinterp.run.conclude", lambda *_: interrupt())
        with pytest.raises(KeyboardInterrupt):
            upsample(source, target, **OPTIONS, planes_table=table)
    assert target.exists()
    assert journal_path(target).exists()
    before = content(target)
    with pytest.raises(BadOptionError, match="begun with step"):
        upsample(source, target, **{**OPTIONS, "factor": 3}, planes_table=table, resume=True)
    seen: list[int] = []
    upsample(source, target, **OPTIONS, planes_table=table, resume=True, report=lambda p: seen.append(p.done))
    assert seen == [17]
    assert content(target) == before == whole(source, target.name)
    assert table.exists()
    assert not journal_path(target).exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_job_that_was_stopped_while_it_laid_its_output_out_begins_anew(
    suffix: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / f"b{suffix}"
    with pytest.raises(KeyboardInterrupt):
        upsample(source, target, **OPTIONS, report=at(0, interrupt))
    partial = partial_path(target)
    if partial.is_dir():
        shutil.rmtree(partial / "0")
    else:
        os.truncate(partial, 100)
    assert content(upsample(source, target, **OPTIONS, resume=True)) == whole(source, target.name)


def read(path: Path) -> Stack:
    """All planes of a file."""
    with open_volume(path) as reader:
        return reader.read(range(reader.info.shape[0]))


def test_a_killed_job_leaves_no_lock_that_hinders(source: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from zinterp.journal import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "b.tif"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    start = time.monotonic()
    with pytest.raises(OutputError, match="another job is writing"):
        upsample(source, tmp_path / "b.tif", **OPTIONS)
    assert time.monotonic() - start < 5
    holder.kill()
    holder.communicate()
    assert (tmp_path / "b.tif.lock").exists()
    assert len(read(upsample(source, tmp_path / "b.tif", **OPTIONS))) == 17
    assert not (tmp_path / "b.tif.lock").exists()
