"""Whole jobs, from file to file and in memory."""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile

import zinterp
from tests.conftest import Write, break_reads, make_stack, write_imagej, write_png_slices, write_zarr_05
from zinterp.compute import compute_slab, fill_nonfinite
from zinterp.errors import (
    BadOptionError,
    BadVolumeError,
    InputError,
    OutputError,
    OutputExistsError,
    ZinterpError,
)
from zinterp.estimate import estimate
from zinterp.interpolators import create_interpolator
from zinterp.interpolators.base import Needs
from zinterp.io import open_volume
from zinterp.io.tiff import TiffReader, TiffWriter
from zinterp.job import choose_slab_depth, default_target, notes_on_memory, plan_job
from zinterp.journal import journal_path
from zinterp.options import UpsampleOptions
from zinterp.pipeline import (
    ArrayReader,
    Progress,
    interpolate,
    interpolate_with_uncertainty,
    read_slab,
    upsample,
)
from zinterp.plan import ZGrid, evenly
from zinterp.volume import VolumeInfo, VoxelSize, partial_path

Kind = tuple[str, Write, bool]


def read(path: Path) -> np.ndarray:
    """A whole volume."""
    with open_volume(path) as reader:
        return reader.read(range(reader.info.shape[0]))


def test_every_kind_of_input_becomes_denser_in_its_own_family(kind: Kind, tmp_path: Path) -> None:
    name, write, has_size = kind
    stack = make_stack()
    write(tmp_path / name, stack)
    target = upsample(tmp_path / name, factor=4, model="cubic")
    assert target.name == {"a.h5": "a_x4.ome.zarr", "a": "a_x4"}.get(name, name.replace("a.", "a_x4.", 1))
    with open_volume(target) as reader:
        dense = reader.read(range(17))
        info = reader.info
    assert info.shape == (17, 40, 48)
    assert info.dtype == stack.dtype
    assert np.array_equal(dense[::4], stack)
    p0, p1, p2, p3 = stack[0:4].astype(float)
    middle = np.clip(np.rint(0.5625 * (p1 + p2) - 0.0625 * (p0 + p3)), 0, 255)
    assert np.abs(dense[6] - middle).max() <= 1
    if has_size:
        assert (info.voxel_size.z, info.voxel_size.x) == pytest.approx((0.005, 0.008), rel=1e-6)
    else:
        assert info.voxel_size == VoxelSize()
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {name, target.name}


@pytest.mark.parametrize("model", ["linear", "cubic", None])
@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_the_slab_depth_does_not_change_a_bit(model: str | None, suffix: str, tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack((6, 110, 120)))
    outputs = []
    for depth in (1, 3, 16):
        target = tmp_path / f"out{depth}{suffix}"
        upsample(source, target, factor=3, model=model, slab_depth=depth, tile=96, overlap=16, device="cpu")
        outputs.append(read(target))
    assert np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2])


def test_depths_put_planes_where_asked_and_leave_z_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "a.tif"
    stack = make_stack(dtype="float32")
    write_imagej(source, stack)
    with caplog.at_level(logging.WARNING):
        target = upsample(source, depths=["0.2", "0.5"], model="linear")
    assert target.name == "a_d2.tif"
    dense = read(target)
    assert len(dense) == 13
    assert np.allclose(dense[1], 0.8 * stack[0] + 0.2 * stack[1], atol=1e-5)
    with open_volume(target) as reader:
        assert reader.info.voxel_size.z is None
        assert reader.info.voxel_size.x == pytest.approx(0.008)
    assert "not evenly spaced" in caplog.text


def test_the_given_voxel_size_wins_over_the_files(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    target = upsample(source, factor=2, model="linear", voxel_size=VoxelSize(0.05, 0.004, 0.004))
    with open_volume(target) as reader:
        size = reader.info.voxel_size
    assert (size.z, size.y, size.x) == pytest.approx((0.025, 0.004, 0.004))


def test_an_unknown_plane_distance_is_warned_about_once(
    kind: Kind, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, write, has_size = kind
    write(tmp_path / name, make_stack())
    with caplog.at_level(logging.WARNING):
        upsample(tmp_path / name, factor=2, model="linear")
    assert caplog.text.count("plane distance is not known") == (0 if has_size else 1)


def test_in_memory_is_as_from_file(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    stack = make_stack((4, 50, 60), "uint16")
    write_imagej(source, stack)
    assert np.array_equal(interpolate(stack, factor=3, device="cpu"), read(upsample(source, factor=3, device="cpu")))


@pytest.mark.parametrize("tile", [None, 320])
def test_uncertainty_is_in_grey_levels_and_none_for_acquired_planes(tile: int | None) -> None:
    stack = make_stack((4, 340, 64), "uint8")
    planes, sigma = interpolate_with_uncertainty(stack, factor=2, device="cpu", tile=tile)
    assert np.array_equal(planes, interpolate(stack, factor=2, device="cpu", tile=tile))
    assert sigma.shape == planes.shape
    assert sigma.dtype == np.float32
    assert (sigma[::2] == 0).all()
    assert (sigma[1::2] > 0).all()
    wide, twice = interpolate_with_uncertainty(stack.astype(np.uint16) * 257, factor=2, device="cpu", tile=tile)
    assert np.allclose(twice, sigma * 257, rtol=0.02)
    assert wide.dtype == np.uint16


def test_uncertainty_is_refused_where_the_model_does_not_know_it() -> None:
    with pytest.raises(BadOptionError, match="cubic does not know its uncertainty, which confidence, flags and"):
        interpolate_with_uncertainty(make_stack((4, 16, 16)), factor=2, model="cubic")


def test_a_constant_volume_comes_back() -> None:
    for model in ("linear", "cubic", None):
        for dtype, value in (("uint8", 7), ("uint16", 65535), ("float32", -3.5)):
            stack = np.full((3, 20, 24), value, dtype)
            assert np.array_equal(interpolate(stack, factor=2, model=model), np.full((5, 20, 24), value, dtype))


def test_two_planes_and_tiny_planes_are_enough() -> None:
    for shape in ((2, 1, 1), (2, 3, 5), (2, 1, 40)):
        dense = interpolate(make_stack(shape), factor=2, device="cpu")
        assert dense.shape == (3, *shape[1:])


def test_brightness_does_not_pulse() -> None:
    """Truncation instead of rounding would darken synthesised planes by half a grey level."""
    stack = np.random.default_rng(0).integers(100, 140, (6, 64, 64)).astype(np.uint8)
    for model in ("linear", "cubic"):
        dense = interpolate(stack, factor=4, model=model)
        made = np.delete(dense, np.s_[::4], axis=0)
        assert abs(float(made.mean()) - float(stack.mean())) < 0.1


def test_nan_and_infinite_values_are_refused_with_count_and_place_or_interpolated_around(tmp_path: Path) -> None:
    stack = make_stack((5, 40, 48), "float32")
    stack[1, 3:5, 7] = np.nan
    stack[3, 0, 0] = np.inf
    source = tmp_path / "a.tif"
    write_imagej(source, stack)
    with pytest.raises(BadVolumeError, match="has 3 NaN or infinite values, in planes 1, 3; expected finite ones"):
        upsample(source, factor=2, model="linear")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]
    for model in ("linear", None):
        dense = interpolate(stack, factor=2, model=model, fill_nonfinite=True, device="cpu")
        assert np.array_equal(dense[::2], stack, equal_nan=True)
        assert np.isfinite(dense[1::2]).all()
        assert np.abs(dense[1::2]).max() < 10


def test_fill_nonfinite_takes_the_nearest_finite_value() -> None:
    plane = np.array([[1, np.nan, np.nan, 4]], np.float32)
    assert fill_nonfinite(plane).tolist() == [[1, 1, 4, 4]]
    assert fill_nonfinite(np.full((1, 2), np.nan, np.float32)).tolist() == [[0, 0]]
    assert fill_nonfinite(plane[:, :1]) is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "got none of factor, depths, z_step, isotropic"),
        ({"factor": 2, "depths": [0.5]}, "got factor and depths, expected one"),
        ({"factor": 1}, "expected some to be made: give a larger factor"),
        ({"factor": 2.5}, "the factor is 2.5, expected a whole number"),
        ({"depths": [0.5, 2]}, "expected different numbers"),
        ({"factor": 2, "model": "rife"}, "the model is 'rife'"),
        ({"factor": 2, "format": "png"}, "the format is 'png'"),
        ({"factor": 2, "ngff": "0.6"}, "OME-Zarr version is '0.6'"),
        ({"factor": 2, "max_memory": 0}, "memory limit is 0"),
        ({"factor": 2, "intensity_range": (5, 5)}, "intensity range is 5 to 5"),
        ({"factor": 2, "intensity_range": (1e20, 2e20)}, "expected one that fits the stack's grey values"),
        ({"factor": 2, "intensity_range": (-1e30, 1e30)}, "expected one that fits the stack's grey values"),
        ({"factor": 2, "overlap": 10**6}, "expected no more than the planes have, 300"),
        ({"factor": 2, "tile": 16}, "expected a tile of at least"),
        ({"factor": 2, "device": "cuda:99"}, "the device is 'cuda:99'"),
        ({"factor": 2, "drop_duplicates": 1.5}, "the threshold of duplicates is 1.5, expected a part of the pixels"),
    ],
)
def test_bad_options_cost_one_line_and_leave_nothing(options: dict[str, object], message: str, tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack((3, 300, 300)))
    with pytest.raises(BadOptionError, match=message):
        upsample(source, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_bad_arrays_are_refused() -> None:
    with pytest.raises(BadVolumeError, match="expected planes"):
        interpolate(np.zeros((4, 4)), factor=2)
    with pytest.raises(BadVolumeError, match="bool values"):
        interpolate(np.zeros((4, 4, 4), bool), factor=2)
    with pytest.raises(BadVolumeError, match="the stack has 1 plane"):
        interpolate(np.zeros((1, 4, 4)), factor=2)
    with pytest.raises(TypeError, match="no_such_option"):
        interpolate(np.zeros((4, 4, 4)), factor=2, no_such_option=1)


def test_the_output_is_never_the_input_nor_replaced_unless_told(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    before = source.read_bytes()
    (tmp_path / "link.tif").symlink_to(source)
    for target in (source, tmp_path / "link.tif"):
        with pytest.raises(BadOptionError, match="is the input itself"):
            upsample(source, target, factor=2, model="linear", overwrite=True)
    assert source.read_bytes() == before
    target = upsample(source, factor=2, model="linear")
    with pytest.raises(OutputExistsError, match="give --overwrite"):
        upsample(source, factor=2, model="linear")
    upsample(source, target, factor=2, model="cubic", overwrite=True)
    assert not journal_path(target).exists()


def test_a_folder_that_is_missing_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    with pytest.raises(OutputError, match="does not exist"):
        upsample(source, tmp_path / "no" / "b.tif", factor=2, model="linear")


def test_planes_beyond_the_memory_limit_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack((3, 500, 500)))
    with pytest.raises(BadVolumeError, match="give a larger --max-memory"):
        upsample(source, factor=2, model="linear", max_memory=10**6)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_less_memory_means_thinner_slabs_and_smaller_tiles_and_the_same_planes() -> None:
    stack = make_stack((5, 300, 300))
    needs = create_interpolator("cubic").needs
    info = VolumeInfo((500, 300, 300), stack.dtype)
    grid = ZGrid.by_step(evenly(500), Fraction(1, 4))
    depths = [
        choose_slab_depth(info, grid, UpsampleOptions(factor=4), needs, memory)
        for memory in (15 * 10**6, 60 * 10**6, 10**9)
    ]
    assert depths == sorted(depths)
    assert depths[0] < depths[-1] == 32
    assert np.array_equal(
        interpolate(stack, factor=4, model="cubic", max_memory=15 * 10**6), interpolate(stack, factor=4, model="cubic")
    )


def test_progress_is_reported_to_the_end(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    seen: list[Progress] = []
    upsample(source, factor=2, model="linear", slab_depth=2, report=seen.append)
    assert [p.done for p in seen] == [0, 2, 4, 6, 8, 9]
    assert {p.total for p in seen} == {9}


class Interrupted(KeyboardInterrupt):
    """Stands for Ctrl-C."""


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_an_interrupted_job_goes_on_where_it_stopped(suffix: str, tmp_path: Path) -> None:
    source, target = tmp_path / "a.tif", tmp_path / f"b{suffix}"
    write_imagej(source, make_stack((8, 40, 48)))
    options = {"factor": 3, "model": "cubic", "slab_depth": 3}
    whole = read(upsample(source, tmp_path / f"whole{suffix}", **options))
    made: list[int] = []

    def stop(progress: Progress) -> None:
        if progress.done >= 9:
            raise Interrupted

    with pytest.raises(Interrupted):
        upsample(source, target, report=stop, **options)
    assert not target.exists()
    assert journal_path(target).exists()
    with pytest.raises(BadOptionError, match="begun with model 'cubic', this job has 'linear'"):
        upsample(source, target, **{**options, "model": "linear"}, resume=True)
    upsample(source, target, report=lambda p: made.append(p.done), **options, resume=True)
    assert made[0] >= 9
    assert np.array_equal(read(target), whole)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"a.tif", target.name, f"whole{suffix}"}


def test_a_changed_input_is_not_gone_on_with(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())

    def stop(progress: Progress) -> None:
        if progress.done:
            raise Interrupted

    with pytest.raises(Interrupted):
        upsample(source, factor=2, model="linear", slab_depth=2, report=stop)
    os.utime(source, ns=(1, 1))
    with pytest.raises(BadOptionError, match="source_modified"):
        upsample(source, factor=2, model="linear", slab_depth=2, resume=True)


def test_resume_without_a_beginning_just_begins(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    journal_path(tmp_path / "a_x2.tif").write_text('{"version": "of an output whose partial file was deleted"}')
    assert upsample(source, factor=2, model="linear", resume=True).exists()


@pytest.mark.parametrize("suffix", [".journal", ".lock", ".partial"])
def test_files_that_only_are_named_like_ours_are_left_alone(suffix: str, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    mine = tmp_path / f"a_x2.tif{suffix}"
    mine.write_text("my lab journal")
    with pytest.raises(OutputError, match="is in the way"):
        upsample(tmp_path / "a.tif", factor=2, model="linear")
    assert mine.read_text() == "my lab journal"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_input_that_breaks_in_mid_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    break_reads(monkeypatch)
    with pytest.raises(InputError, match="the disk is gone"):
        upsample(source, factor=2, model="linear", slab_depth=1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A disk that has no room for TIFF planes from the fifth on."""
    write = TiffWriter.write

    def fail(self: TiffWriter, z: int, planes: np.ndarray, stack: int) -> None:
        if z >= 4:
            raise OutputError("no space left")
        write(self, z, planes, stack)

    with monkeypatch.context() as patch:
        patch.setattr(TiffWriter, "write", fail)
        yield


def test_a_full_disk_in_mid_run_keeps_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    with full_disk(monkeypatch), pytest.raises(OutputError, match="no space left"):
        upsample(source, factor=2, model="linear", slab_depth=2)
    assert {p.name for p in tmp_path.iterdir()} == {"a.tif", "a_x2.tif.partial", "a_x2.tif.journal"}
    target = upsample(source, factor=2, model="linear", slab_depth=2, resume=True)
    assert np.array_equal(read(target), interpolate(make_stack(), factor=2, model="linear"))


def test_an_output_that_cannot_be_created_leaves_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())

    def fail(*_: object, **__: object) -> None:
        raise OutputError("cannot write")

    monkeypatch.setattr("zinterp.outputs.create_volume", fail)
    with pytest.raises(OutputError, match="cannot write"):
        upsample(source, factor=2, model="linear")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_default_names() -> None:
    def name(source: str, folder: str | None = None, **options: object) -> str:
        settings = UpsampleOptions(**options)  # type: ignore[arg-type]
        return str(default_target(Path(source), settings, Path(folder) if folder else None))

    assert name("d/a.tif", factor=4) == "d/a_x4.tif"
    assert name("d/a.ome.tiff", factor=2) == "d/a_x2.ome.tiff"
    assert name("d/a.tif", "e", factor=3) == "e/a_x3.tif"
    assert name("d/a.tif", factor=3, format="ome-zarr") == "d/a_x3.ome.zarr"
    assert name("d/a.zarr", depths=[0.1, 0.2]) == "d/a_d2.zarr"


def test_a_slab_reads_only_what_it_was_planned_to() -> None:
    stack = make_stack((9, 20, 24))
    reader = ArrayReader(stack)
    interpolator = create_interpolator("cubic")
    job = plan_job(reader, UpsampleOptions(factor=2, slab_depth=4), needs=interpolator.needs, model="cubic")
    parts = [compute_slab(job, interpolator, slab, reader.read(slab.source)).planes for slab in job.slabs]
    assert np.array_equal(np.concatenate(parts), interpolate(stack, factor=2, model="cubic"))


STALLED = [0, 1, 2, 2, 3, 4, 5, 5, 5, 6, 7]
"""Planes of a longer stack that a stage which stalled gives: 3 repeats 2, 7 and 8 repeat 6."""


def stalled(seed: int = 0) -> np.ndarray:
    """A stack with repeated planes, of which one is imaged with fresh noise."""
    stack = make_stack((8, 96, 112), seed=seed)[STALLED]
    grain = np.random.default_rng(seed).standard_normal(stack[3].shape)
    stack[3] = np.clip(np.rint(stack[3] + 4 * grain), 0, 255)
    return stack


def test_a_duplicate_on_a_straight_line_is_replaced_by_the_line(kind: Kind, tmp_path: Path) -> None:
    name, write, _ = kind
    rng = np.random.default_rng(0)
    base, slope = rng.integers(0, 120, (40, 48)), rng.integers(-3, 4, (40, 48)) * 4
    line = np.stack([base + 40 + slope * z for z in range(7)]).astype(np.int16)
    repeated = line.copy()
    repeated[3] = repeated[2]
    write(tmp_path / name, repeated)
    dense = read(upsample(tmp_path / name, factor=4, model="linear", drop_duplicates=True))
    assert np.array_equal(dense, interpolate(line, factor=4, model="linear"))


def test_dropped_planes_are_made_from_their_neighbours_and_kept_ones_stay_bit_for_bit() -> None:
    stack = stalled()
    dense = interpolate(stack, factor=2, model="linear", drop_duplicates=0.01)
    assert len(dense) == 21
    for k in range(len(stack)):
        assert np.array_equal(dense[2 * k], stack[k]) == (k not in (3, 7, 8))
    for k, t in ((5, 1 / 4), (6, 2 / 4), (7, 3 / 4)):
        assert np.abs(dense[k] - (stack[2] + t * (stack[4].astype(float) - stack[2]))).max() <= 0.5
    for k, t in ((13, 1 / 6), (14, 2 / 6), (16, 4 / 6)):
        assert np.abs(dense[k] - (stack[6] + t * (stack[9].astype(float) - stack[6]))).max() <= 0.5


def test_without_duplicates_the_option_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack((6, 96, 112)))
    with caplog.at_level(logging.INFO):
        targets = [upsample(source, tmp_path / f"{d}.tif", factor=2, model="cubic", drop_duplicates=d) for d in (0, 1)]
    assert targets[0].read_bytes().replace(b"0.tif", b"1.tif") == targets[1].read_bytes()
    assert caplog.text.count("no plane is to be left out") == 1


@pytest.mark.parametrize(
    ("model", "suffix", "planes"), [("cubic", ".tif", 11), ("cubic", ".ome.zarr", 11), (None, ".tif", 6)]
)
def test_the_slab_depth_does_not_change_a_bit_where_planes_are_dropped(
    model: str | None, suffix: str, planes: int, tmp_path: Path
) -> None:
    source, stack = tmp_path / "a.tif", stalled()[:planes]
    write_imagej(source, stack)
    options = {"factor": 2, "model": model, "device": "cpu", "drop_duplicates": True}
    outputs = [
        read(upsample(source, tmp_path / f"out{depth}{suffix}", slab_depth=depth, **options)) for depth in (1, 3, 16)
    ]
    assert np.array_equal(outputs[0], outputs[1])
    assert np.array_equal(outputs[0], outputs[2])
    assert np.array_equal(outputs[0], interpolate(stack, **options))


def test_a_network_fills_a_wide_gap_as_it_would_one_of_a_thinned_stack() -> None:
    """Around a wide gap the planes that the network sees are as far apart as the gap is wide."""
    planes = make_stack((11, 64, 80))
    repeated = planes.copy()
    repeated[5] = repeated[4]
    options = UpsampleOptions(factor=2, drop_duplicates=True, intensity_range=(0, 255), slab_depth=5)
    interpolator = create_interpolator(None, device="cpu")
    reader = ArrayReader(repeated)
    job = plan_job(reader, options, needs=interpolator.needs, model="fast")
    wide = compute_slab(job, interpolator, job.slabs[1], read_slab(reader, job.slabs[1])).planes  # planes 5 to 9
    thin = interpolate(planes[::2], factor=4, interpolator=interpolator, intensity_range=(0, 255))
    assert np.array_equal(wide[3:], thin[8:10])


def test_uncertainty_knows_dropped_planes() -> None:
    stack = stalled()[:6]
    planes, sigma = interpolate_with_uncertainty(stack, factor=2, device="cpu", drop_duplicates=True)
    assert [k for k in range(6) if (sigma[2 * k] > 0).any()] == [3]
    assert np.array_equal(planes, interpolate(stack, factor=2, device="cpu", drop_duplicates=True))


def test_the_last_plane_stays_if_it_is_a_duplicate(caplog: pytest.LogCaptureFixture) -> None:
    stack = stalled()[:9]
    with caplog.at_level(logging.INFO):
        dense = interpolate(stack, factor=2, model="linear", drop_duplicates=True)
    assert np.array_equal(dense[16], stack[8])
    assert np.array_equal(dense[14], stack[7])  # made from two equal planes
    assert "planes that repeat others: 3 (as 2), 7-8 (as 6)" in caplog.text
    assert "left out 2 of 9 planes: 3 duplicate, 7 duplicate" in caplog.text
    assert "kept, as the stack ends there: 8 duplicate" in caplog.text


def test_a_long_run_of_duplicates_does_not_read_what_it_leaves_out() -> None:
    stack = np.concatenate([make_stack((4, 40, 48)), np.repeat(make_stack((5, 40, 48))[4:], 200, axis=0)])
    interpolator = create_interpolator("cubic")
    options = UpsampleOptions(factor=2, model="cubic", drop_duplicates=True)
    job = plan_job(ArrayReader(stack), options, needs=interpolator.needs, model="cubic")
    assert max(len(slab.source) for slab in job.slabs) < 40
    assert job.dropped == list(range(5, 203))


def test_a_stack_of_equal_planes_is_refused_where_duplicates_are_dropped(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack()[[0, 0, 0]])
    with pytest.raises(BadVolumeError, match="2 of 3 planes are no use"):
        upsample(source, factor=2, model="linear", drop_duplicates=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_resume_goes_on_only_with_the_same_planes_dropped(tmp_path: Path) -> None:
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    write_imagej(source, stalled())
    options = {"factor": 2, "model": "linear", "slab_depth": 2, "drop_duplicates": True}
    interrupt(source, target, **options)
    with pytest.raises(BadOptionError, match=r"begun with dropped_planes \[\[3, 7, 8\]\], this job has \[\[\]\]"):
        upsample(source, target, **{**options, "drop_duplicates": 0}, resume=True)
    upsample(source, target, **{**options, "drop_duplicates": 0.02}, resume=True)
    assert np.array_equal(read(target), interpolate(stalled(), factor=2, model="linear", drop_duplicates=True))


@pytest.mark.parametrize("drop", [False, True])
def test_equal_neighbours_are_warned_about_once_unless_they_are_dropped(
    drop: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, np.concatenate([np.zeros((2, 96, 112), np.uint8), stalled()]))
    with caplog.at_level(logging.WARNING):
        upsample(source, factor=2, model="linear", slab_depth=3, drop_duplicates=drop)
    assert caplog.text.count("equal bit for bit, kept as they are: 9 (as 8), 10 (as 9); --drop-dup") == (not drop)


def test_all_errors_are_zinterp_errors_and_the_fitting_builtin() -> None:
    assert issubclass(BadOptionError, ValueError)
    assert issubclass(InputError, OSError)
    assert issubclass(OutputExistsError, FileExistsError)
    assert zinterp.ZinterpError is ZinterpError


def test_an_output_that_holds_or_lies_in_the_input_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_imagej(folder / "a.tif", make_stack())
    write_zarr_05(tmp_path / "z.zarr", make_stack())
    before = sorted(p for p in tmp_path.rglob("*"))
    for source, target in (
        (folder / "a.tif", folder),
        (tmp_path / "z.zarr", tmp_path / "z.zarr" / "x.ome.zarr"),
        (tmp_path / "z.zarr" / "s0", tmp_path / "z.zarr"),
    ):
        with pytest.raises(BadOptionError, match="holds it or lies in it"):
            upsample(source, target, factor=2, model="linear", format="ome-zarr", overwrite=True)
    assert sorted(p for p in tmp_path.rglob("*")) == before


def test_only_an_output_of_the_same_kind_is_replaced(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("years of work")
    (tmp_path / "file.zarr").write_text("something else")
    (tmp_path / "folder.tif").mkdir()
    for name in ("mine.zarr", "file.zarr", "folder.tif"):
        with pytest.raises(OutputError, match=r"was not written by zinterp as (ome-zarr|tiff)"):
            upsample(source, tmp_path / name, factor=2, model="linear", overwrite=True)
    assert (tmp_path / "mine.zarr" / "thesis.txt").exists()


def test_a_second_job_on_one_output_is_refused_at_once(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())

    def second(progress: Progress) -> None:
        if progress.done == 2:
            with pytest.raises(OutputError, match="another job is writing"):
                upsample(source, factor=2, model="cubic")

    target = upsample(source, factor=2, model="linear", slab_depth=2, report=second)
    assert np.array_equal(read(target), interpolate(make_stack(), factor=2, model="linear"))
    assert {p.name for p in tmp_path.iterdir()} == {"a.tif", "a_x2.tif"}


def test_an_output_that_appears_during_the_run_is_not_replaced(tmp_path: Path) -> None:
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    write_imagej(source, make_stack())
    with pytest.raises(OutputExistsError, match="exists already"):
        upsample(source, target, factor=2, model="linear", report=lambda p: target.write_text("another's"))
    assert target.read_text() == "another's"


def test_a_file_that_looks_like_an_unfinished_output_but_is_not_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    (tmp_path / "a_x2.tif.partial").write_text("mine")
    with pytest.raises(OutputError, match="is in the way"):
        upsample(source, factor=2, model="linear")
    assert (tmp_path / "a_x2.tif.partial").read_text() == "mine"


def interrupt(source: Path, target: Path, **options: object) -> None:
    """Begin a job and stop it after its first slabs."""

    def stop(progress: Progress) -> None:
        if progress.done >= 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        upsample(source, target, report=stop, **options)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"channel": 1}, "first_channel"),
        ({"voxel_size": VoxelSize(1, 1, 1)}, "voxel_size"),
        ({"ngff": "0.4"}, "ngff"),
        ({"factor": 3}, "step"),
    ],
)
def test_resume_with_another_option_is_refused_by_name(change: dict[str, object], field: str, tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    values = np.stack([make_stack((9, 20, 24), seed=s) for s in (0, 1)], axis=1)
    tifffile.imwrite(source, values, imagej=True, metadata={"axes": "ZCYX"})
    options = {"factor": 2, "model": "linear", "slab_depth": 2, "channel": 0, "intensity_range": (0, 255)}
    interrupt(source, tmp_path / "b.ome.zarr", **options)
    with pytest.raises(BadOptionError, match=f"begun with {field}"):
        upsample(source, tmp_path / "b.ome.zarr", **{**options, **change}, resume=True)


def test_a_zarr_input_that_was_rewritten_is_not_gone_on_with(tmp_path: Path) -> None:
    source = tmp_path / "a.zarr"
    write_zarr_05(source, make_stack())
    options = {"factor": 2, "model": "linear", "slab_depth": 2, "intensity_range": (0, 255)}
    interrupt(source, tmp_path / "b.tif", **options)
    chunk = next(p for p in (source / "s0" / "c").rglob("*") if p.is_file())
    os.utime(chunk, ns=(2**62, 2**62))
    with pytest.raises(BadOptionError, match="source_modified"):
        upsample(source, tmp_path / "b.tif", **options, resume=True)


def test_a_partial_output_that_lost_its_end_is_not_gone_on_with(tmp_path: Path) -> None:
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    write_imagej(source, make_stack())
    options = {"factor": 2, "model": "linear", "slab_depth": 2}
    interrupt(source, target, **options)
    partial = partial_path(target)
    partial.write_bytes(partial.read_bytes()[:-5000])
    with pytest.raises(OutputError, match=r"start again with --overwrite|cannot write"):
        upsample(source, target, **options, resume=True)
    with pytest.raises(OutputExistsError, match="--resume goes on, --overwrite makes it again from the start"):
        upsample(source, target, **options)
    upsample(source, target, **options, overwrite=True)
    assert np.array_equal(read(target), interpolate(make_stack(), factor=2, model="linear"))


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"99999;\n-1;\n;\n"])
def test_a_damaged_journal_is_refused_or_ignored_and_never_a_traceback(damage: bytes, tmp_path: Path) -> None:
    source, target = tmp_path / "a.tif", tmp_path / "b.tif"
    write_imagej(source, make_stack())
    options = {"factor": 2, "model": "linear", "slab_depth": 2}
    interrupt(source, target, **options)
    journal = journal_path(target)
    if damage.endswith(b"\n"):
        journal.write_bytes(journal.read_bytes() + damage)
        upsample(source, target, **options, resume=True)
        assert np.array_equal(read(target), interpolate(make_stack(), factor=2, model="linear"))
    else:
        journal.write_bytes(damage)
        with pytest.raises(BadOptionError, match="use the same options"):
            upsample(source, target, **options, resume=True)


def test_a_share_that_goes_away_keeps_what_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    plane = TiffReader._plane
    calls: list[int] = []

    def fail(self: TiffReader, index: int) -> np.ndarray:
        calls.append(index)
        if len(calls) == 12:
            raise OSError(116, "Stale file handle")
        return plane(self, index)

    monkeypatch.setattr(TiffReader, "_plane", fail)
    with pytest.raises(InputError, match="Stale file handle"):
        upsample(source, factor=2, model="linear", slab_depth=1)
    assert journal_path(tmp_path / "a_x2.tif").exists()
    target = upsample(source, factor=2, model="linear", slab_depth=1, resume=True)
    assert np.array_equal(read(target), interpolate(make_stack(), factor=2, model="linear"))


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif"])
def test_the_same_job_writes_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    files = [
        upsample(source, tmp_path / f"b{suffix}", factor=2, model="cubic", overwrite=True).read_bytes() for _ in "ab"
    ]
    assert files[0] == files[1]


def test_a_folder_without_a_suffix_becomes_ome_zarr(tmp_path: Path) -> None:
    write_zarr_05(tmp_path / "plain", make_stack())
    assert upsample(tmp_path / "plain", factor=2, model="linear").name == "plain_x2.ome.zarr"


def test_float_values_near_the_largest_do_not_become_infinite() -> None:
    stack = np.full((4, 8, 8), 3.0e38, np.float32)
    stack[1] = -3.0e38
    stack[2] = 3.3e38
    assert np.isfinite(interpolate(stack, factor=4, model="cubic")).all()
    half = (stack / 6e33).astype(np.float16)
    assert np.isfinite(interpolate(half, factor=4, model="cubic")).all()


def test_a_folder_of_slices_with_other_files_in_it_is_never_replaced(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    options = {"factor": 2, "model": "linear", "format": "tiff-slices", "overwrite": True}
    target = upsample(tmp_path / "a.tif", tmp_path / "b", **options)
    (tmp_path / "b.replaced").mkdir()
    (tmp_path / "b.replaced" / "mine.txt").write_text("mine")
    upsample(tmp_path / "a.tif", target, **options)
    (target / "notes.txt").write_text("mine")
    before = sorted(path.name for path in target.iterdir())
    with pytest.raises(OutputError, match="or holds other things too"):
        upsample(tmp_path / "a.tif", target, **options)
    assert sorted(path.name for path in target.iterdir()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b", "b.replaced"]
    assert (tmp_path / "b.replaced" / "mine.txt").read_text() == "mine"


def test_an_output_that_exists_is_found_before_any_plane_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    (tmp_path / "b.tif").write_bytes(b"mine")

    def fail(*_: object) -> None:
        raise AssertionError("a plane was read")

    monkeypatch.setattr(TiffReader, "read", fail)
    with pytest.raises(OutputExistsError, match="exists already"):
        upsample(tmp_path / "a.tif", tmp_path / "b.tif", factor=2, skip="auto", align=True)


def test_files_that_are_no_slices_do_not_hinder_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_png_slices(tmp_path / "a", make_stack())
    with full_disk(monkeypatch), pytest.raises(OutputError, match="no space left"):
        upsample(tmp_path / "a", tmp_path / "b.tif", factor=2, model="linear", slab_depth=2)
    (tmp_path / "a" / "run.log").write_text("mine")
    target = upsample(tmp_path / "a", tmp_path / "b.tif", factor=2, model="linear", slab_depth=2, resume=True)
    assert np.array_equal(read(target), interpolate(make_stack(), factor=2, model="linear"))


@pytest.mark.parametrize(
    ("suffix", "format"), [(".ome.zarr", None), (".mrc", None), ("", "tiff-slices"), ("", "png-slices")]
)
def test_every_format_goes_on_and_gives_the_same_bytes(suffix: str, format: str | None, tmp_path: Path) -> None:
    stack = np.stack([make_stack((5, 40, 48), "uint16", seed) for seed in range(2)], axis=1)
    several = suffix == ".ome.zarr"
    tifffile.imwrite(
        tmp_path / "a.tif",
        stack if several else stack[:, 0],
        imagej=True,
        metadata={"axes": "ZCYX" if several else "ZYX"},
    )
    options = {"factor": 2, "model": "cubic", "slab_depth": 2, "format": format}
    whole = upsample(tmp_path / "a.tif", tmp_path / f"b{suffix}", **options)
    before = {path.relative_to(whole): path.read_bytes() for path in [whole, *whole.rglob("*")] if path.is_file()}

    def stop(progress: Progress) -> None:
        if progress.done >= 6:
            raise KeyboardInterrupt

    shutil.rmtree(whole) if whole.is_dir() else whole.unlink()
    with pytest.raises(KeyboardInterrupt):
        upsample(tmp_path / "a.tif", whole, report=stop, **options)
    assert not whole.exists()
    upsample(tmp_path / "a.tif", whole, resume=True, **options)
    after = {path.relative_to(whole): path.read_bytes() for path in [whole, *whole.rglob("*")] if path.is_file()}
    assert after == before


def test_the_estimate_counts_the_planes_of_a_gap(tmp_path: Path) -> None:
    stack = make_stack((9, 40, 48))
    seen: list[int] = []
    linear = create_interpolator("linear")

    def counting(planes: np.ndarray, times: np.ndarray) -> np.ndarray:
        seen.append(len(times))
        return linear(planes, times)

    for factor in (2, 4):
        options = UpsampleOptions(factor=factor)
        job = plan_job(ArrayReader(stack), options, needs=linear.needs, model="linear")
        cost = estimate(job, ArrayReader(stack), counting)  # type: ignore[arg-type]
        assert seen[-1] == factor - 1
        assert cost.tiles == 8


def test_a_store_with_more_than_our_levels_is_never_replaced(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    for version in ("0.5", "0.4"):
        target = upsample(tmp_path / "a.tif", tmp_path / f"{version}.ome.zarr", factor=2, model="linear", ngff=version)
        upsample(tmp_path / "a.tif", target, factor=2, model="linear", ngff=version, overwrite=True)
        (target / "labels").mkdir()
        with pytest.raises(OutputError, match="or holds other things too"):
            upsample(tmp_path / "a.tif", target, factor=2, model="linear", ngff=version, overwrite=True)
        assert (target / "labels").is_dir()
    write_zarr_05(tmp_path / "theirs.zarr", make_stack())
    with pytest.raises(OutputError, match="was not written by zinterp"):
        upsample(tmp_path / "a.tif", tmp_path / "theirs.zarr", factor=2, model="linear", overwrite=True)


def test_a_link_to_a_store_is_replaced_and_the_store_stays(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    target = upsample(tmp_path / "a.tif", tmp_path / "b.ome.zarr", factor=2, model="linear")
    link = tmp_path / "c.ome.zarr"
    link.symlink_to(target)
    upsample(tmp_path / "a.tif", link, factor=4, model="linear", overwrite=True)
    assert len(read(target)) == 9
    assert len(read(link)) == 17
    assert not link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "b.ome.zarr", "c.ome.zarr"]


def test_planes_without_a_finite_value_are_made_anew_where_others_are_filled(tmp_path: Path) -> None:
    stack = np.full((5, 40, 48), 500, np.float32) + np.arange(5, dtype=np.float32)[:, None, None]
    stack[2] = np.nan
    stack[3, 4, 5] = np.inf
    dense = interpolate(stack, factor=2, model="linear", fill_nonfinite=True)
    assert np.allclose(dense[:, 20, 20], 500 + np.arange(9) / 2, atol=1e-3)
    assert np.isinf(dense[6, 4, 5])


def test_the_time_step_goes_through(tmp_path: Path) -> None:
    values = np.stack([make_stack((3, 40, 48), seed=seed) for seed in range(2)])
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "TZYX", "finterval": 2.5})
    for name in ("b.tif", "b.ome.tif", "b.ome.zarr"):
        target = upsample(tmp_path / "a.tif", tmp_path / name, factor=2, model="linear")
        with open_volume(target) as reader:
            assert (reader.info.times, reader.info.time_step) == (2, 2.5)


def test_numbers_of_any_kind_are_taken_and_what_is_none_is_refused_in_a_line() -> None:
    stack = make_stack()
    dense = interpolate(
        stack, factor=np.int64(2), model="linear", positions=np.arange(5) * 0.02, intensity_range=np.array([0, 255])
    )
    assert np.array_equal(dense, interpolate(stack, factor=2, model="linear", intensity_range=(0, 255)))
    for options, match in (
        ({"positions": ["a"]}, "expected numbers in micrometres"),
        ({"positions": [None] * 5}, "expected numbers in micrometres"),
        ({"voxel_size": (1, 1, 1)}, "expected a VoxelSize or text like 20x5x5nm"),
        ({"max_memory": "8GB"}, "expected a whole number"),
        ({"intensity_range": (1, 2, 3)}, "expected two numbers"),
        ({"channel": 3, "fill_gaps": True}, "got channel and fill_gaps for an array in memory"),
    ):
        with pytest.raises(BadOptionError, match=match):
            interpolate(stack, **({"factor": 2, "model": "linear"} | options))  # type: ignore[arg-type]


def test_a_folder_made_beforehand_is_filled_and_one_with_slices_may_hold_another_output(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    for name, format in (("b", "tiff-slices"), ("c.ome.zarr", None)):
        (tmp_path / name).mkdir()
        target = upsample(tmp_path / "a.tif", tmp_path / name, factor=2, model="linear", format=format)
        assert len(read(target)) == 9
    pattern = tmp_path / "b" / "*.tif"
    assert len(read(upsample(pattern, tmp_path / "b" / "d.ome.zarr", factor=2, model="linear"))) == 17
    with pytest.raises(BadOptionError, match="holds it or lies in it"):
        upsample(pattern, tmp_path / "b" / "e.tif", factor=2, model="linear")


def test_a_second_job_is_refused_before_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())

    def second(job: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(TiffReader, "read", None)
            with pytest.raises(OutputError, match="another job is writing"):
                upsample(tmp_path / "a.tif", tmp_path / "b.tif", factor=2, model="linear", skip="auto")

    upsample(tmp_path / "a.tif", tmp_path / "b.tif", factor=2, model="linear", decided=second)


@pytest.mark.parametrize("at_once", [1, 4])
def test_each_of_several_workers_needs_memory_for_a_tile_of_its_own(at_once: int) -> None:
    tile = 40 * 48 * 10**8  # bytes, far more than any machine has
    options = UpsampleOptions(factor=2, tile=1000, max_memory=10**15)
    needs = Needs(context=1, overlap=8, bytes_per_pixel=10**8, at_once=at_once)
    job = plan_job(ArrayReader(make_stack()), options, needs=needs, model="linear")
    for workers in (4, 8):
        (note,) = notes_on_memory(job, replace(options, workers=workers))
        needed = float(re.findall(r"may need ([0-9.]+) GB", note)[0])
        assert needed == pytest.approx(workers * tile / 1e9, rel=0.05)
