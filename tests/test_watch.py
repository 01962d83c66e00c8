"""Watching a running acquisition: whatever happens, the output is that of the finished folder."""

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.conftest import Doubtful, Stack, make_stack
from zinterp.acquisition import NAME, Hiccup, acquire, events, strays
from zinterp.errors import BadOptionError, BadVolumeError, InputError, OutputError, OutputExistsError, ZinterpError
from zinterp.io import open_volume, slice_names
from zinterp.io.ngff_writer import NgffWriter
from zinterp.journal import facts_of, journal_path, locked
from zinterp.pipeline import upsample
from zinterp.plan import ZGrid, evenly
from zinterp.volume import partial_path
from zinterp.watch import REFUSED, Watched, WatchOptions, watch
from zinterp.watch_folder import WatchedFolder
from zinterp.watch_plan import has_context, runs_in_gaps
from zinterp.watch_status import Status

SHAPE = (14, 24, 32)
QUICK = {"interval": 0.02, "settle": 1, "idle_timeout": 0.4}
OPTIONS = {"factor": 4, "model": "cubic", "voxel_size": "20x8x8nm"}


def write(folder: Path, numbers: Sequence[int], stack: Stack) -> None:
    """Some slices."""
    folder.mkdir(exist_ok=True)
    for k in numbers:
        tifffile.imwrite(folder / NAME.format(k), stack[k], photometric="minisblack", metadata=None)


def clean(folder: Path) -> None:
    """Take out of a folder what upsample would refuse."""
    for path in folder.iterdir():
        if path.suffix != ".tif" or path.name in {*strays(0)} or ".tmp" in path.name or path.name.startswith("."):
            path.unlink()


def at_once(folder: Path, watched: Watched, place: Path, **options: object) -> Path:
    """What upsample makes of the finished folder with the same range."""
    clean(folder)
    place.mkdir()
    given = {**OPTIONS, **options}
    return upsample(folder, place / "dense.ome.zarr", intensity_range=watched.status.intensity_range, **given)


def files(top: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def check_same(folder: Path, target: Path, watched: Watched, *, to_the_byte: bool = True, **options: object) -> Stack:
    """That an output is that of upsample, to the last byte of the last file; returns its planes.

    A stack of less than a slab lies in slabs of another depth, and one that was longer leaves bytes behind its end.
    """
    other = at_once(folder, watched, target.parent / "at_once", **options)
    assert not to_the_byte or files(target) == files(other)
    record = "zarr.json" if (target / "zarr.json").exists() else ".zattrs"
    assert json.loads((target / record).read_text()) == json.loads((other / record).read_text())
    assert not partial_path(target).exists()
    assert not journal_path(target).exists()
    assert [*target.parent.glob("*.lock")] == []
    with open_volume(target) as ours, open_volume(other) as theirs:
        planes = ours.read(range(ours.info.shape[0]))
        assert np.array_equal(planes, theirs.read(range(theirs.info.shape[0])))
    return planes


PLANES = list(make_stack((36, 24, 32)))
EVERY_HICCUP = (
    *(Hiccup("late", 9), Hiccup("missing", 13), Hiccup("duplicated", 15), Hiccup("half-written", 17)),
    *(Hiccup("preallocated", 20), Hiccup("reimaged", 23), Hiccup("wrong-sized", 26), Hiccup("stray", 6)),
    Hiccup("late", 28, later=6),
)


class Stepwise:
    """Write the events of an acquisition one by one, each once the watch had the time to take the one before."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.left, self.reports = folder, events(PLANES, EVERY_HICCUP), 0

    def __call__(self, status: Status) -> None:
        """Write the next one, if it is time."""
        self.reports += 1
        if self.left and self.reports >= 4 and (status.lag_slices == 0 or self.reports >= 8):
            event, self.reports = self.left.pop(0), 0
            with (self.folder / event.name).open("r+b" if event.start else "wb") as file:
                file.seek(event.start)
                file.write(event.content)


def test_every_hiccup_is_handled_and_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, target = tmp_path / "run", tmp_path / "dense.ome.zarr"
    when = WatchOptions(interval=0.01, settle=1, idle_timeout=0.4)
    with caplog.at_level(logging.INFO, "zinterp"):
        watched = watch(folder, target, when=when, report=Stepwise(folder), **OPTIONS)
    dense = check_same(folder, target, watched)
    assert len(dense) == 34 * 4 + 1
    assert all(np.array_equal(dense[4 * k], PLANES[k]) for k in range(9))
    found, said = watched.status.findings, caplog.text
    assert found.missing == (13,)
    assert found.late == tuple(NAME.format(k) for k in (9, 17, 28))  # of 17 the second half
    assert found.duplicated == {NAME.format(15): NAME.format(14)}
    assert found.reimaged == tuple(NAME.format(k) for k in (20, 23, 26))
    assert list(found.unreadable or {}) == ["overview.tif"]
    assert f"{NAME.format(17)} has " in said
    assert "it was cut short; copy it again; it counts as missing until it changes" in said
    assert f"{NAME.format(26)} is 12 x 32 uint8, expected 24 x 32 uint8; it is left out" in said
    assert "lacks the slices numbered 13, and later ones are there" in said


def test_beside_a_running_acquisition_the_status_is_always_whole(tmp_path: Path) -> None:
    folder, target, status = tmp_path / "run", tmp_path / "dense.ome.zarr", tmp_path / "status.json"
    folder.mkdir()
    given = {"seconds": 0.06, "hiccups": EVERY_HICCUP}
    thread = threading.Thread(target=acquire, args=(folder, PLANES), kwargs=given)
    wrong: list[str] = []
    over = threading.Event()

    def read_status() -> None:
        while not over.wait(0.002):
            try:
                found = json.loads(status.read_text())
                assert {"state", "slices_seen", "planes_written", "lag_slices", "eta_seconds"} <= set(found)
            except FileNotFoundError:
                continue
            except (ValueError, AssertionError) as error:
                wrong.append(str(error))

    reader = threading.Thread(target=read_status)
    thread.start()
    reader.start()
    try:
        when = WatchOptions(interval=0.02, settle=2, idle_timeout=0.8, status=status)
        watched = watch(folder, target, when=when, **OPTIONS)
    finally:
        over.set()
        thread.join()
        reader.join()
    assert not wrong
    check_same(folder, target, watched)
    facts = json.loads(status.read_text())
    assert (facts["state"], facts["slices_taken"], facts["planes_written"]) == ("done", 35, 137)
    assert (facts["lag_slices"], facts["planes_provisional"], facts["readable"]) == (0, 0, str(target))


@pytest.mark.parametrize("options", [{"fill_gaps": True}, {"factor": None, "z_step": "7nm"}, {"ngff": "0.4"}])
def test_a_late_slice_and_other_geometries(options: dict[str, object], tmp_path: Path) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 13], stack)
    steps: list[int] = []

    def report(status: Status) -> None:
        if status.slices_taken == 12 and not steps:
            steps.append(status.slices_taken)
            write(folder, [4], stack)

    watched = watch(folder, target, when=WatchOptions(**QUICK), report=report, **OPTIONS | options)
    check_same(folder, target, watched, **options)
    assert watched.status.findings.late == (NAME.format(4),)
    assert watched.status.findings.missing == ()  # too few slices follow the one that lacks


class Counting(Doubtful):
    """Doubtful interpolation that counts its gaps."""

    def __init__(self) -> None:
        super().__init__()
        self.gaps = 0

    def uncertainty(self, planes: Stack, times: Stack) -> tuple[Stack, Stack]:
        """As it was, counted."""
        self.gaps += 1
        return super().uncertainty(planes, times)


@pytest.mark.parametrize("finishing", [{}, {"sharpen": "auto"}, {"grain": 3}])
def test_a_slow_model_has_drafts_before_it_and_makes_each_gap_about_once(
    finishing: dict[str, object], tmp_path: Path
) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack((30, 24, 32))
    write(folder, range(30), stack)
    (folder / NAME.format(20)).unlink()
    provisional: list[int] = []
    model, added = Counting(), []

    def report(status: Status) -> None:
        provisional.append(status.planes_provisional)
        if status.state == "running" and status.slices_taken == 29 and status.planes_provisional <= 3 and not added:
            added.append(model.gaps)
            write(folder, [20], stack)

    options = {**OPTIONS, **finishing, "model": None}
    watched = watch(folder, target, when=WatchOptions(**QUICK), interpolator=model, report=report, **options)
    made = model.gaps
    check_same(folder, target, watched, interpolator=Doubtful(), **{**finishing, "model": None})
    assert max(provisional) > 0
    assert added  # by when all but the last gap, which lacked its context, had been made
    if "grain" not in finishing:  # which is another at each place
        assert made - added[0] <= 8  # the late slice moved nine gaps, and only those beside it were made anew


def test_while_it_grows_the_output_can_be_opened(tmp_path: Path) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack((14, 300, 40))
    write(folder, range(3), stack)
    seen: list[int] = []

    def report(status: Status) -> None:
        k = len(list(folder.iterdir()))
        if status.slices_taken == k and not status.lag_slices and status.planes_written:
            with open_volume(status.readable) as reader:
                planes = reader.read(range(reader.info.shape[0]))
                assert reader.info.voxel_size.z == pytest.approx(0.005)
            assert np.array_equal(planes[::4], stack[:k])
            seen.append(len(planes))
            if k < 14:
                write(folder, [k], stack)

    watched = watch(folder, target, when=WatchOptions(**QUICK), report=report, **OPTIONS)
    assert {*seen} >= {9 + 4 * k for k in range(12)}
    check_same(folder, target, watched)


@pytest.mark.parametrize("how", ["expect", "sentinel", "sentinel elsewhere", "idle"])
def test_it_ends_as_it_is_told_to(how: str, tmp_path: Path) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, range(8), stack)
    elsewhere = tmp_path / "finished"
    chosen = {
        "expect": {"expect": 10},
        "sentinel": {"sentinel": "finished"},
        "sentinel elsewhere": {"sentinel": elsewhere},
        "idle": {"idle_timeout": 0.1},
    }[how]
    etas: list[float | None] = []

    def report(status: Status) -> None:
        etas.append(status.eta_seconds)
        if status.slices_taken == 8 and not (folder / NAME.format(8)).exists():
            write(folder, [8, 9], stack)
            (elsewhere if "elsewhere" in how else folder / "finished").touch()

    watched = watch(folder, target, when=WatchOptions(interval=0.02, settle=1, **chosen), report=report, **OPTIONS)
    assert watched.status.slices_taken == 10
    check_same(folder, target, watched)
    assert (etas[-2] is not None) == (how == "expect")


class StopError(BaseException):
    """As a signal ends a run."""


def stopping(at: int) -> Callable[[Status], None]:
    """Stop once so many output planes are written."""

    def report(status: Status) -> None:
        if status.planes_written >= at and status.state == "running":
            raise StopError

    return report


def test_a_stopped_watch_goes_on_and_nothing_else_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    status = tmp_path / "status.json"
    write(folder, range(9), stack)
    when = WatchOptions(**QUICK, status=status)
    with pytest.raises(StopError):
        watch(folder, target, when=when, report=stopping(13), **OPTIONS)
    assert json.loads(status.read_text())["state"] == "failed"
    assert "the same command with --resume goes on" in caplog.text
    with pytest.raises(OutputExistsError, match="--resume goes on"):
        watch(folder, target, when=when, **OPTIONS)
    with pytest.raises(BadOptionError, match="begun with factor 4, this job has 2"):
        watch(folder, target, when=when, **OPTIONS | {"factor": 2, "resume": True})
    with pytest.raises(BadOptionError, match="begun with intensity_range"):
        watch(folder, target, when=when, **OPTIONS, resume=True, intensity_range=(0, 9))
    with pytest.raises(BadOptionError, match="unfinished output was begun with"):
        upsample(folder, target, **OPTIONS, resume=True)
    write(folder, range(9, 14), stack)
    tifffile.imwrite(folder / NAME.format(2), stack[2][::-1], photometric="minisblack", metadata=None)
    with pytest.raises(StopError):
        watch(folder, target, when=when, report=stopping(45), **OPTIONS, resume=True)
    watched = watch(folder, target, when=when, **OPTIONS, resume=True)
    check_same(folder, target, watched)


def test_slices_that_were_taken_are_not_read_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, range(14), stack)
    when = WatchOptions(**QUICK)
    with pytest.raises(StopError):
        watch(folder, target, when=when, report=stopping(53), **OPTIONS)
    assert len(facts_of(target)) == 15  # and what they are like
    monkeypatch.setattr("zinterp.watch_slices.take_slice", None)
    watch(folder, target, when=when, **OPTIONS, resume=True)


def test_an_output_can_be_begun_anew(tmp_path: Path) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, range(9), stack)
    when = WatchOptions(**QUICK)
    with pytest.raises(StopError):
        watch(folder, target, when=when, report=stopping(13), **OPTIONS)
    watched = watch(folder, target, when=when, **OPTIONS | {"factor": 2, "overwrite": True})
    with pytest.raises(OutputExistsError, match="exists already"):
        watch(folder, target, when=when, **OPTIONS, resume=True)
    watched = watch(folder, target, when=when, **OPTIONS, overwrite=True)
    check_same(folder, target, watched)


def test_planes_that_were_being_written_at_a_crash_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, range(14), stack)
    real, calls = NgffWriter.write, []

    def fail(self: NgffWriter, z: int, planes: Stack, number: int = 0) -> None:
        calls.append(z)
        real(self, z, planes)
        if len(calls) == 9:  # on disk, and the journal does not know
            (self.partial / "0" / "c" / "0.1234.partial").write_text("of a write that was killed")
            raise OutputError("the disk is full")

    monkeypatch.setattr(NgffWriter, "write", fail)
    with pytest.raises(OutputError, match="disk is full"):
        watch(folder, target, when=WatchOptions(**QUICK), **OPTIONS)
    monkeypatch.setattr(NgffWriter, "write", real)
    watched = watch(folder, target, when=WatchOptions(**QUICK), **OPTIONS, resume=True)
    check_same(folder, target, watched)


def test_a_slice_that_changes_without_looking_so_is_found_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, range(14), stack)
    changed: list[int] = []

    def report(status: Status) -> None:
        if status.slices_taken == 14 and not changed:
            path = folder / NAME.format(3)
            stamp = path.stat()
            tifffile.imwrite(path, stack[3][::-1], photometric="minisblack", metadata=None)
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
            changed.append(3)

    watched = watch(folder, target, when=WatchOptions(**QUICK), report=report, **OPTIONS)
    dense = check_same(folder, target, watched)
    assert np.array_equal(dense[12], stack[3][::-1])
    assert watched.status.findings.reimaged == (NAME.format(3),)


def test_slices_that_go_away_are_taken_out(tmp_path: Path) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, range(14), stack)
    gone: list[int] = []

    def report(status: Status) -> None:
        if status.slices_taken == 14 and not gone:
            gone.append(5)
            (folder / NAME.format(5)).unlink()

    watched = watch(folder, target, when=WatchOptions(**QUICK), report=report, **OPTIONS)
    assert watched.status.findings.gone == (NAME.format(5),)
    assert len(check_same(folder, target, watched, to_the_byte=False)) == 49


def test_a_share_that_goes_away_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, range(10), stack)
    looks: list[str] = []

    def report(status: Status) -> None:
        if status.slices_taken == 10:
            looks.append(status.state)
        if len(looks) == 1:
            folder.rename(tmp_path / "away")
        elif len(looks) == 9:
            folder.mkdir()  # as an empty mount point looks
        elif len(looks) == 20:
            folder.rmdir()
            (tmp_path / "away").rename(folder)

    watched = watch(folder, target, when=WatchOptions(**QUICK), report=report, **OPTIONS)
    assert watched.status.findings.gone == ()
    assert caplog.text.count("cannot be read") == 1
    check_same(folder, target, watched)


def test_a_clock_that_is_put_back_does_no_harm(tmp_path: Path) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, range(14), stack)
    for k in range(7, 14):
        os.utime(folder / NAME.format(k), (0, 0))
    write(folder, [3], stack[::-1])
    os.utime(folder / NAME.format(3), (0, 0))
    check_same(folder, target, watch(folder, target, when=WatchOptions(**QUICK), **OPTIONS))


def test_equal_planes_and_first_planes_that_show_nothing(tmp_path: Path) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    stack[:4], stack[9:] = 7, 7
    write(folder, range(14), stack)
    watched = watch(folder, target, when=WatchOptions(**QUICK), **OPTIONS)
    assert watched.status.intensity_range is not None
    assert watched.status.intensity_range[1] > 100
    check_same(folder, target, watched)


def test_a_stack_that_shows_nothing_is_made_all_the_same(tmp_path: Path) -> None:
    folder, target = tmp_path / "run", tmp_path / "dense.ome.zarr"
    write(folder, range(5), np.full((5, 8, 9), 7, np.uint8))
    watched = watch(folder, target, when=WatchOptions(**QUICK), **OPTIONS)
    check_same(folder, target, watched, to_the_byte=False)


def test_png_slices_and_a_pattern(tmp_path: Path) -> None:
    from PIL import Image

    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE, "uint16")
    folder.mkdir()
    for k, plane in enumerate(stack):
        Image.fromarray(plane).save(folder / f"s{k}.png")
    Image.fromarray(stack[0]).save(folder / "other7.png")
    watched = watch(folder / "s*.png", target, when=WatchOptions(**QUICK), **OPTIONS)
    (tmp_path / "at_once").mkdir()
    chosen = {**OPTIONS, "intensity_range": watched.status.intensity_range}
    other = upsample(folder / "s*.png", tmp_path / "at_once" / "dense.ome.zarr", **chosen)
    assert files(target) == files(other)


def test_files_of_other_kinds_and_series_are_left_out(tmp_path: Path) -> None:
    from PIL import Image

    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE, "float32")
    write(folder, range(14), stack)
    Image.fromarray(np.zeros(SHAPE[1:], np.uint8)).save(folder / "slice_00003.png")
    tifffile.imwrite(folder / "copy of slice_00002.tif", stack[2], photometric="minisblack", metadata=None)
    stack[5, 3, 3] = np.nan
    write(folder, [5], stack)
    watched = watch(folder, target, when=WatchOptions(**QUICK), **OPTIONS)
    found = watched.status.findings
    assert {*(found.other or {})} == {"slice_00003.png", "copy of slice_00002.tif"}
    assert "NaN or infinite" in (found.unreadable or {})[NAME.format(5)]
    for name in ("slice_00003.png", "copy of slice_00002.tif", NAME.format(5)):
        (folder / name).unlink()
    check_same(folder, target, watched)


def test_names_that_do_not_tell_yet_what_lacks_are_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, target, stack = tmp_path / "run", tmp_path / "dense.ome.zarr", make_stack(SHAPE)
    write(folder, [0, 5, 6], stack)
    with pytest.raises(BadVolumeError, match="does not tell which planes lack"):
        watch(folder, target, when=WatchOptions(**QUICK), **OPTIONS, fill_gaps=True)
    assert "waiting for more slices" in caplog.text
    added: list[int] = []

    def report(status: Status) -> None:
        if status.slices_taken == 3 and not added:
            added.append(1)
            write(folder, [3, 4], stack)

    watched = watch(folder, target, when=WatchOptions(**QUICK), **OPTIONS, fill_gaps=True, report=report, resume=True)
    check_same(folder, target, watched, to_the_byte=False, fill_gaps=True)


@pytest.mark.parametrize(
    ("options", "when", "error", "text"),
    [
        ({"target": "a.tif"}, {}, BadOptionError, "is no OME-Zarr, which alone can grow"),
        ({"source": "none"}, {}, InputError, "is no folder"),
        ({"target": "run/a.ome.zarr"}, {}, BadOptionError, "lies in it"),
        ({"target": "no/a.ome.zarr"}, {}, OutputError, "does not exist"),
        ({"model": "auto"}, {}, BadOptionError, "needs the whole stack"),
        ({"factor": 1}, {}, BadOptionError, "no gaps are to be filled"),
        ({"align": True}, {}, BadOptionError, "got align for a stack that is still growing"),
        ({"factor": None, "isotropic": True, "voxel_size": None}, {}, BadVolumeError, "pixel size is not known"),
        ({}, {"interval": 0}, BadOptionError, "interval"),
        ({}, {"settle": 0}, BadOptionError, "settle"),
        ({}, {"expect": 1}, BadOptionError, "make no stack"),
        ({}, {"idle_timeout": 1}, BadOptionError, "expected more than a file takes to settle"),
        ({}, {"status": "there.txt"}, OutputError, "no status of ours"),
        ({}, {"status": "run/s.json"}, BadOptionError, "lies in the input or output"),
    ],
)
def test_what_cannot_be_is_refused(
    options: dict[str, object],
    when: dict[str, object],
    error: type[ZinterpError],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "run", range(4), make_stack(SHAPE))
    Path("there.txt").write_text("mine")
    given = {"source": "run", "target": "a.ome.zarr", **OPTIONS, **options}
    quick = {} if "idle_timeout" in when or "interval" in when else QUICK
    with pytest.raises(error, match=text):
        watch(given.pop("source"), given.pop("target"), when=WatchOptions(**{**quick, **when}), **given)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "there.txt"]
    assert Path("there.txt").read_text() == "mine"


def test_options_that_need_the_whole_stack_are_known_ones() -> None:
    from zinterp.options import UpsampleOptions

    assert set(REFUSED) < {*UpsampleOptions.__dataclass_fields__}


def test_too_few_slices_are_said_to_be(tmp_path: Path) -> None:
    stack = make_stack(SHAPE)
    write(tmp_path / "run", [0], stack)
    with pytest.raises(BadVolumeError, match="holds 1 slice that can be used together, expected at least 2 by now"):
        watch(tmp_path / "run", tmp_path / "a.ome.zarr", when=WatchOptions(**QUICK), **OPTIONS)
    write(tmp_path / "run", [1], stack[:, :5])
    with pytest.raises(BadVolumeError, match="holds 2 slices that can be used together"):
        watch(tmp_path / "run", tmp_path / "a.ome.zarr", when=WatchOptions(**QUICK), **OPTIONS)


def test_the_second_watch_of_an_output_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "run", range(4), make_stack(SHAPE))
    with locked(tmp_path / "a.ome.zarr"), pytest.raises(OutputError, match="another job is writing"):
        watch(tmp_path / "run", tmp_path / "a.ome.zarr", when=WatchOptions(**QUICK), **OPTIONS)


def test_what_is_in_the_way_of_an_unfinished_output_stays(tmp_path: Path) -> None:
    write(tmp_path / "run", range(4), make_stack(SHAPE))
    (tmp_path / "a.ome.zarr.partial").mkdir()
    with pytest.raises(OutputError, match="not known to be an unfinished output"):
        watch(tmp_path / "run", tmp_path / "a.ome.zarr", when=WatchOptions(**QUICK), **OPTIONS)


def test_a_status_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise OutputError("the status is not to be")

    monkeypatch.setattr("zinterp.watch.write_status", fail)
    write(tmp_path / "run", range(4), make_stack(SHAPE))
    when = WatchOptions(**QUICK, status=tmp_path / "s.json")
    watch(tmp_path / "run", tmp_path / "a.ome.zarr", when=when, **OPTIONS)
    assert caplog.text.count("the status is not to be") == 1


# settling


def test_a_file_settles_once_it_stays_as_it_is(tmp_path: Path) -> None:
    path, folder = tmp_path / "a1.tif", WatchedFolder(tmp_path, settle=2)
    for k in range(3):
        path.write_bytes(b"x" * (k + 1))
        folder.look()
        assert folder.settling == ["a1.tif"]
    folder.look()
    assert not folder.has_settled("a1.tif")
    folder.look()
    assert folder.has_settled("a1.tif")
    os.utime(path, (1, 1))  # of the same size, at another time
    folder.look()
    assert not folder.has_settled("a1.tif")
    path.unlink()
    for _ in range(3):
        assert not folder.has_gone("a1.tif")
        folder.look()
    assert folder.has_gone("a1.tif")


def test_what_is_no_slice_is_not_seen(tmp_path: Path) -> None:
    for name in (*strays(1), "Thumbs.db", "a.TIF"):
        (tmp_path / name).touch()
    (tmp_path / "b.tif").mkdir()
    (tmp_path / "c.tif").symlink_to(tmp_path / "nothing")
    folder = WatchedFolder(tmp_path, settle=1)
    folder.look()
    assert set(folder.files) == {"overview.tif", "a.TIF"}
    shutil.rmtree(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        folder.look()


# planes


def test_runs_of_planes_end_where_a_gap_does() -> None:
    thirds = ZGrid.by_step(evenly(4), evenly(2)[1] / 3)
    assert list(runs_in_gaps(thirds, lambda k: True)) == [range(0, 4), range(4, 7), range(7, 10)]
    assert list(runs_in_gaps(thirds, lambda k: k in (1, 2, 5, 9))) == [range(1, 3), range(5, 6), range(9, 10)]
    odd = ZGrid.by_step(evenly(4), evenly(2)[1] * 2 / 5)
    assert list(runs_in_gaps(odd, lambda k: True)) == [range(0, 3), range(3, 6), range(6, 8)]


def test_a_gap_has_its_context_once_no_later_plane_can_change_it() -> None:
    grid = ZGrid.by_step(evenly(6), evenly(2)[1] / 2)
    assert [has_context(grid, i, 3) for i in range(5)] == [True, True, True, False, False]
    assert [has_context(grid, i, 1) for i in range(5)] == [True] * 5


# the simulator


def test_the_simulated_acquisition_writes_what_it_says(tmp_path: Path) -> None:
    planes = list(make_stack((12, 8, 9)))
    kinds = ("late", "missing", "duplicated", "half-written", "preallocated", "reimaged", "wrong-sized")
    hiccups = [*(Hiccup(kind, k + 1) for k, kind in enumerate(kinds)), Hiccup("stray", 2)]
    acquire(tmp_path, planes, seconds=0.001, hiccups=hiccups)
    clean(tmp_path)
    names = slice_names.natural_order(path.name for path in tmp_path.iterdir())
    assert names == [NAME.format(k) for k in range(12) if k != 2]
    for name in names:
        k = int(name[6:11])
        assert np.array_equal(tifffile.imread(tmp_path / name), planes[k - 1 if k == 3 else k])
    late = events(planes[:6], [Hiccup("late", 1, later=2.5), Hiccup("late", 2, later=float("inf"))])
    assert [event.name for event in late] == [NAME.format(k) for k in (0, 3, 1, 4, 5)]
    with pytest.raises(BadOptionError, match="got the hiccup 'coffee', expected one of late"):
        Hiccup("coffee", 1)
