"""The volumes of a job together: acquired planes, deviations, interruptions, names that are taken."""

import csv
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.conftest import (
    DTYPES,
    Doubtful,
    Stack,
    break_reads,
    make_stack,
    write_imagej,
    write_tiff_slices,
    write_zarr_05,
)
from zinterp import compute
from zinterp.errors import BadOptionError, InputError, OutputError, OutputExistsError
from zinterp.interpolators import create_interpolator
from zinterp.io import FORMATS, OUTPUT_FORMATS, open_volume, read_record
from zinterp.io.ngff_writer import NgffWriter
from zinterp.io.tiff import TiffWriter
from zinterp.journal import journal_path
from zinterp.pipeline import Progress, interpolate, interpolate_with_uncertainty, upsample
from zinterp.volume import VolumeInfo, VoxelSize

SUFFIX = {format: next(iter(FORMATS[format].suffixes), "") for format in OUTPUT_FORMATS}
STEPS: dict[str, dict[str, object]] = {
    "sharpen": {"sharpen": "auto"},
    "amount": {"sharpen": 2.5, "sharpen_radius": 1, "sharpen_threshold": 0.01},
    "grain": {"grain": 7},
    "fallback": {"fallback": "cubic", "fallback_above": 0.1},
    "flag": {"flag_below": 30},
}
ALL = {"sharpen": "auto", "grain": 7, "fallback": "cubic", "fallback_above": 0.1, "flag_below": 30}


def volume(path: Path) -> tuple[VolumeInfo, list[Stack]]:
    """What a file is, and its stacks."""
    with open_volume(path) as reader:
        return reader.info, [reader.read(range(reader.info.shape[0]), k) for k in range(reader.info.stacks)]


def made(path: Path) -> Stack:
    """The only stack of a file."""
    (stack,) = volume(path)[1]
    return stack


def files(path: Path) -> dict[str, bytes]:
    """All that a volume consists of."""
    return {str(p.relative_to(path)): p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()}


def finished(source: Path, target: Path, **options: object) -> Path:
    """A job with all steps, by a model that costs nothing."""
    return upsample(source, target, **{"interpolator": Doubtful(), "factor": 2, "slab_depth": 2, **ALL, **options})


def stop_at(done: int) -> Callable[[Progress], None]:
    """Ctrl-C once so many planes are done."""

    def stop(progress: Progress) -> None:
        if progress.done >= done:
            raise KeyboardInterrupt

    return stop


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five planes of 40 x 48 pixels with a voxel size."""
    write_imagej(tmp_path / "a.tif", make_stack())
    return tmp_path / "a.tif"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_acquired_planes_stay_bit_for_bit_under_each_step(dtype: str, step: str) -> None:
    stack = make_stack(dtype=dtype)
    options = {name: value for name, value in STEPS[step].items() if name != "flag_below"}
    dense = interpolate(stack, factor=3, interpolator=Doubtful(), **options)
    assert dense.dtype == stack.dtype
    assert np.array_equal(dense[::3], stack)
    plain = interpolate(stack, factor=3, interpolator=Doubtful())
    assert np.array_equal(dense, plain) == (step == "flag")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_acquired_planes_stay_bit_for_bit_under_all_steps_in_every_format(
    format: str, dtype: str, tmp_path: Path
) -> None:
    stack = make_stack(dtype=dtype)
    if format == "png-slices" and dtype not in ("uint8", "uint16"):
        pytest.skip("PNG holds unsigned 8 and 16 bit only")
    write_imagej(tmp_path / "a.tif", stack)
    target, sigma = tmp_path / f"b{SUFFIX[format]}", tmp_path / "sigma.ome.zarr"
    finished(tmp_path / "a.tif", target, confidence=sigma, format=format)
    dense = made(target)
    if (format, dtype) == ("mrc", "uint8"):
        assert dense.dtype == np.uint16  # MRC has no unsigned 8 bit
    else:
        assert dense.dtype == stack.dtype
    assert np.array_equal(dense[::2], stack)
    assert not np.array_equal(dense, interpolate(stack, factor=2, interpolator=Doubtful()))
    assert np.array_equal(
        dense, interpolate(stack, factor=2, interpolator=Doubtful(), **STEPS["fallback"], sharpen="auto", grain=7)
    )


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
def test_neither_slab_depth_nor_an_interruption_changes_a_byte(suffix: str, source: Path, tmp_path: Path) -> None:
    target, sigma = tmp_path / f"b{suffix}", tmp_path / f"sigma{suffix}"
    found = []
    for depth in (1, 3, 16):
        finished(source, target, confidence=sigma, slab_depth=depth, overwrite=True)
        found.append([made(target), made(sigma)])
    for planes, deviations in found[1:]:
        assert np.array_equal(planes, found[0][0])
        assert np.array_equal(deviations, found[0][1])
    finished(source, target, confidence=sigma, overwrite=True)
    whole = files(target), files(sigma)
    (tmp_path / "old").mkdir()
    for path in (target, sigma):
        path.rename(tmp_path / "old" / path.name)
    with pytest.raises(KeyboardInterrupt):
        finished(source, target, confidence=sigma, report=stop_at(4))
    assert not target.exists()
    assert not sigma.exists()
    seen: list[int] = []
    finished(source, target, confidence=sigma, resume=True, report=lambda progress: seen.append(progress.done))
    assert seen[0] == 4
    assert (files(target), files(sigma)) == whole
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "old", target.name, sigma.name}


@pytest.mark.parametrize("tile", [48, 120])
def test_gaps_and_tiles_at_once_do_not_change_a_bit(tile: int) -> None:
    stack = make_stack((6, 100, 120))
    options = {"factor": 2, "tile": tile, "sharpen": "auto", "grain": 7, **STEPS["fallback"]}
    made = [interpolate_with_uncertainty(stack, interpolator=Doubtful(at_once), **options) for at_once in (1, 2, 3, 16)]
    for planes, sigma in made[1:]:
        assert np.array_equal(planes, made[0][0])
        assert np.array_equal(sigma, made[0][1])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"grain": 8}, "grain_seed 7, this job has 8"),
        ({"grain": None}, "grain_seed 7, this job has None"),
        ({"sharpen": 1.5}, "sharpening {'amount': 'auto'"),
        ({"sharpen_radius": 2}, "sharpening"),
        ({"fallback_above": 0.3}, "fallback_above 0.1, this job has 0.3"),
        ({"flag_below": 20}, "flag_below 30.0, this job has 20.0"),
        ({"confidence": "other.tif"}, "confidence '.*sigma.tif', this job has '.*other.tif'"),
        ({"confidence": None}, "confidence '.*sigma.tif', this job has None"),
    ],
)
def test_resume_with_other_steps_is_refused_by_name(
    change: dict[str, object], field: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        finished(source, Path("b.tif"), confidence="sigma.tif", report=stop_at(4))
    left = files(tmp_path)
    with pytest.raises(BadOptionError, match=f"begun with {field}"):
        finished(source, Path("b.tif"), **{"confidence": "sigma.tif", "resume": True, **change})
    assert files(tmp_path) == left


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OutputError])
def test_a_job_that_was_stopped_between_its_two_volumes_goes_on(
    suffix: str, error: type[BaseException], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, sigma = tmp_path / f"b{suffix}", tmp_path / f"sigma{suffix}"
    whole = files(finished(source, target, confidence=sigma)), files(sigma)
    writer, finish = (TiffWriter, TiffWriter.finish) if suffix == ".tif" else (NgffWriter, NgffWriter.finish)

    def stopped(self: TiffWriter, record: object = None) -> None:
        if self.path == target:
            raise error("stopped")
        finish(self, record)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(writer, "finish", stopped)
        (tmp_path / "old").mkdir()
        for path in (target, sigma):
            path.rename(tmp_path / "old" / path.name)
        with pytest.raises(error):
            finished(source, target, confidence=sigma)
    assert sigma.exists()
    assert not target.exists()
    seen: list[int] = []
    finished(source, target, confidence=sigma, resume=True, report=lambda progress: seen.append(progress.done))
    assert seen == [9]  # nothing was made again
    assert (files(target), files(sigma)) == whole
    assert not journal_path(target).exists()


def test_another_volume_in_the_place_of_the_deviations_is_not_taken_for_them(source: Path, tmp_path: Path) -> None:
    target, sigma = tmp_path / "b.tif", tmp_path / "sigma.tif"
    with pytest.raises(KeyboardInterrupt):
        finished(source, target, confidence=sigma, report=stop_at(4))
    (tmp_path / "sigma.tif.partial").unlink()
    sigma.write_bytes(b"another job's")
    with pytest.raises(
        OutputError, match=r"sigma\.tif\.partial of the unfinished output is gone: start again with --o"
    ):
        finished(source, target, confidence=sigma, resume=True)
    assert sigma.read_bytes() == b"another job's"
    finished(source, target, confidence=sigma, overwrite=True)
    assert made(sigma).dtype == np.float32


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr", ".mrc"])
def test_bad_input_in_mid_run_leaves_neither_volume(
    suffix: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_reads(monkeypatch)
    with pytest.raises(InputError, match="the disk is gone"):
        finished(source, tmp_path / f"b{suffix}", confidence=tmp_path / f"sigma{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize("full", ["b.tif", "sigma.tif"])
def test_a_full_disk_leaves_both_volumes_and_resume_goes_on(
    full: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, sigma = tmp_path / "b.tif", tmp_path / "sigma.tif"
    finished(source, target, confidence=sigma)
    whole = files(target), files(sigma)
    target.unlink()
    sigma.unlink()
    write = TiffWriter.write

    def fail(self: TiffWriter, z: int, planes: Stack, stack: int = 0) -> None:
        if z >= 4 and self.path.name == full:
            raise OutputError("no space left")
        write(self, z, planes, stack)

    with monkeypatch.context() as patch:
        patch.setattr(TiffWriter, "write", fail)
        with pytest.raises(OutputError, match="no space left"):
            finished(source, target, confidence=sigma)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a.tif", "b.tif.partial", "b.tif.journal", "sigma.tif.partial"}
    finished(source, target, confidence=sigma, resume=True)
    assert (files(target), files(sigma)) == whole


@pytest.mark.parametrize("fails", ["b.tif", "sigma.tif"])
def test_a_volume_that_cannot_be_created_takes_the_other_with_it(
    fails: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = TiffWriter.__init__

    def fail(self: TiffWriter, path: Path, *arguments: object, **options: object) -> None:
        if path.name == fails:
            raise OutputError("cannot write")
        init(self, path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(TiffWriter, "__init__", fail)
    with pytest.raises(OutputError, match="cannot write"):
        finished(source, tmp_path / "b.tif", confidence=tmp_path / "sigma.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_slabs_whose_measures_were_lost_are_made_again(source: Path, tmp_path: Path) -> None:
    target, sigma = tmp_path / "b.tif", tmp_path / "sigma.tif"
    whole = files(finished(source, target, confidence=sigma))
    target.unlink()
    sigma.unlink()
    with pytest.raises(KeyboardInterrupt):
        finished(source, target, confidence=sigma, report=stop_at(6))
    journal = journal_path(target)
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], "0;", *lines[2:], "99;", ""]))
    seen: list[int] = []
    finished(source, target, confidence=sigma, resume=True, report=lambda progress: seen.append(progress.done))
    assert seen[0] == 4
    assert files(target) == whole


def test_deviations_are_those_of_the_model_in_grey_levels(tmp_path: Path) -> None:
    stack = make_stack((3, 24, 32), "uint16")
    write_imagej(tmp_path / "a.tif", stack)
    fast = create_interpolator(device="cpu")
    target = upsample(tmp_path / "a.tif", factor=2, interpolator=fast, confidence=tmp_path / "sigma.tif")
    planes, sigma = interpolate_with_uncertainty(stack, factor=2, interpolator=fast)
    found = made(tmp_path / "sigma.tif")
    assert found.dtype == np.float32
    assert np.array_equal(found, sigma)
    assert np.array_equal(made(target), planes)
    assert (found[::2] == 0).all()
    assert (found[1::2] > 0).all()


def test_sharpening_and_grain_widen_the_deviations_that_are_written(source: Path, tmp_path: Path) -> None:
    finished(source, tmp_path / "b.tif", confidence=tmp_path / "sigma.tif", fallback=None, fallback_above=None)
    _, plain = interpolate_with_uncertainty(make_stack(), factor=2, interpolator=Doubtful())
    found = made(tmp_path / "sigma.tif")
    assert (found[::2] == 0).all()
    assert (found[1::2] >= plain[1::2]).all()
    assert found[1::2].mean() > 1.02 * plain[1::2].mean()


@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_deviations_lie_on_the_grid_of_the_planes(format: str, tmp_path: Path) -> None:
    stack = make_stack((4, 40, 48), "uint16")
    metadata = {"axes": "ZYX", "spacing": 20.0, "unit": "nm", "zorigin": -2.0, "xorigin": -3.0}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(1 / 8, 1 / 8), metadata=metadata)
    target, sigma = tmp_path / f"b{SUFFIX[format]}", tmp_path / f"sigma{SUFFIX[format]}"
    finished(tmp_path / "a.tif", target, confidence=sigma, format=format, skip="0")
    (ours, _), (theirs, (deviations,)) = volume(target), volume(sigma)
    assert theirs.format == {"png-slices": "tiff-slices"}.get(format, format)
    assert (theirs.shape, theirs.dtype) == (ours.shape, np.dtype(np.float32))
    for one, other in zip(
        (ours.voxel_size.z, ours.voxel_size.x, *(ours.origin or ())),
        (theirs.voxel_size.z, theirs.voxel_size.x, *(theirs.origin or ())),
        strict=True,
    ):
        assert one == pytest.approx(other, rel=1e-6)
    assert ours.origin is not None
    assert ours.origin[0] == pytest.approx(0.06)
    assert [k for k, plane in enumerate(deviations) if not plane.any()] == [0, 2, 4]
    record = read_record(sigma)
    assert record is not None
    assert record["program"].startswith("zinterp ")
    if format != "mrc":
        assert "standard deviation" in record["holds"]
        assert record["planes_in"] == target.name
        assert "planes" not in record


@pytest.mark.parametrize(("target", "sigma"), [("b.tif", "sigma.tif"), ("b.ome.zarr", "sigma.ome.tif")])
def test_deviations_of_several_channels_lie_with_their_planes(target: str, sigma: str, tmp_path: Path) -> None:
    stacks = [make_stack((4, 40, 48), "uint16", seed) for seed in (1, 2)]
    stacks[1] = stacks[1] // 16
    tifffile.imwrite(tmp_path / "a.tif", np.stack(stacks, axis=1), imagej=True, metadata={"axes": "ZCYX"})
    options = {"factor": 2, "interpolator": Doubtful(), "sharpen": "auto"}
    upsample(tmp_path / "a.tif", tmp_path / target, confidence=tmp_path / sigma, **options)
    info, found = volume(tmp_path / sigma)
    assert info.channels == 2
    for stack, deviations in zip(stacks, found, strict=True):
        assert np.array_equal(deviations, interpolate_with_uncertainty(stack, **options)[1])


def test_deviations_beyond_what_float32_holds_are_not_infinite() -> None:
    stack = (make_stack((3, 20, 24), "float32") - np.float32(0.5)) * np.float32(3e38) * np.float32(2)
    _, sigma = interpolate_with_uncertainty(stack, factor=2, interpolator=Doubtful())
    small, expected = interpolate_with_uncertainty(stack / np.float32(1e30), factor=2, interpolator=Doubtful())
    assert np.isfinite(sigma).all()
    assert np.allclose(sigma / np.float32(1e30), expected, rtol=1e-4)
    assert np.isfinite(small).all()


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30])
def test_the_scale_of_grey_levels_does_not_matter(scale: float) -> None:
    stack = make_stack((4, 40, 48), "float32")
    options = {"factor": 2, "model": "cubic", "sharpen": "auto", "grain": 1}
    scaled = interpolate((stack * scale).astype(np.float32), **options)
    assert np.allclose(scaled / np.float32(scale), interpolate(stack, **options), atol=1e-4 if scale > 1e-39 else 2e-3)


@pytest.mark.parametrize("model", ["linear", "cubic"])
def test_pixels_far_out_neither_overflow_nor_change_the_others(model: str) -> None:
    stack = make_stack((4, 40, 48), "float32")
    hot = stack.copy()
    hot[1, 5, 5], hot[2, 5, 5], hot[2, 30, 30] = 3e38, 3.2e38, -3e38
    options = {"factor": 2, "model": model, "intensity_range": (0, 1)}
    expected = interpolate(stack, **options)
    dense = interpolate(hot, **options)
    assert np.array_equal(dense[::2], hot)
    assert np.isfinite(dense).all()
    dense[:, [5, 30], [5, 30]] = expected[:, [5, 30], [5, 30]]
    assert np.allclose(dense, expected, atol=1e-6)
    all_steps = interpolate(hot, **options, sharpen="auto", grain=3)
    assert np.isfinite(all_steps).all()
    assert np.array_equal(all_steps[::2], hot)


@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 1, 40), (3, 40, 1), (2, 3, 2)])
def test_the_smallest_planes_go_through_all_steps(shape: tuple[int, int, int]) -> None:
    stack = make_stack(shape)
    dense, sigma = interpolate_with_uncertainty(
        stack, factor=2, interpolator=Doubtful(), sharpen="auto", grain=1, **STEPS["fallback"]
    )
    assert np.array_equal(dense[::2], stack)
    assert (sigma[::2] == 0).all()
    assert np.isfinite(sigma).all()


def test_values_that_are_not_finite_stay_where_they_are_and_are_not_measured(tmp_path: Path) -> None:
    stack = make_stack((5, 64, 64), "float32")
    stack[1, 3:9, 3:9], stack[2, 0, 0] = np.nan, np.inf
    write_imagej(tmp_path / "a.tif", stack)
    target, sigma, table = tmp_path / "b.tif", tmp_path / "sigma.tif", tmp_path / "p.csv"
    finished(tmp_path / "a.tif", target, confidence=sigma, planes_table=table, fill_nonfinite=True)
    dense = made(target)
    assert np.array_equal(dense[::2], stack, equal_nan=True)
    assert np.isfinite(dense[1::2]).all()
    assert np.abs(dense[1::2]).max() < 3
    assert np.isfinite(made(sigma)).all()
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    filled = [compute.fill_nonfinite(plane) for plane in stack]
    assert [float(row["mean"]) for row in rows[::2]] == pytest.approx([plane.mean() for plane in filled], rel=1e-4)
    assert all(np.isfinite(float(row["contrast"])) for row in rows)


@pytest.mark.parametrize("option", [{"confidence": "sigma.tif"}, {"flag_below": 20}, {"fallback": "cubic"}])
def test_models_without_uncertainty_are_refused_where_it_is_needed(
    option: dict[str, object], source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadOptionError, match="cubic does not know its uncertainty, which confidence, flags and"):
        upsample(source, factor=2, model="cubic", **option)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_in_memory_a_model_without_uncertainty_is_refused_too() -> None:
    with pytest.raises(BadOptionError, match="cubic does not know its uncertainty"):
        interpolate(make_stack(), factor=2, model="cubic", fallback="cubic")
    for option in ({"confidence": "sigma.tif"}, {"flag_below": 20}):
        with pytest.raises(BadOptionError, match="for an array in memory, expected these for files only"):
            interpolate(make_stack(), factor=2, interpolator=Doubtful(), **option)


@pytest.mark.parametrize(
    ("source", "target", "sigma", "message"),
    [
        ("a.tif", "b.tif", "a.tif", "is the input or output, holds it or lies in it"),
        ("a.tif", "b.tif", "b.tif", "is the input or output"),
        ("a.tif", "b.tif", "./x/../b.tif", "is the input or output"),
        ("a.tif", "b.tif", "link.tif", "is the input or output"),
        ("slices", "b.tif", "slices", "is the input or output"),
        ("slices", "b.tif", "slices/sigma.tif", "is the input or output"),
        ("slices", "b", "b/sigma.tif", "is the input or output"),
        ("z.zarr", "b.tif", "z.zarr/sigma.ome.zarr", "is the input or output"),
        ("z.zarr/s0", "b.tif", "z.zarr", "is the input or output"),
        ("slices", "b", "b.partial", "is named like an unfinished output"),
        ("a.tif", "b.tif", "sigma.png", "no known suffix"),
        ("a.tif", "b.tif", "sigma", "no known suffix"),
        ("a.tif", "b.tif", "sigma.h5", "hdf5 can only be read"),
    ],
)
def test_deviations_need_a_path_of_their_own(
    source: str, target: str, sigma: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_imagej(Path("a.tif"), make_stack())
    write_tiff_slices(Path("slices"), make_stack())
    write_zarr_05(Path("z.zarr"), make_stack())
    Path("x").mkdir()
    Path("link.tif").symlink_to("a.tif")
    before = files(tmp_path)
    with pytest.raises(BadOptionError, match=message):
        finished(Path(source), Path(target), confidence=sigma)
    with pytest.raises(BadOptionError, match=message):
        finished(Path(source), Path(target), confidence=sigma, overwrite=True)
    assert files(tmp_path) == before


def test_deviations_are_replaced_only_when_told(source: Path, tmp_path: Path) -> None:
    sigma = tmp_path / "sigma.tif"
    sigma.write_bytes(b"mine")
    for resume in (False, True):
        with pytest.raises(OutputExistsError, match=r"sigma\.tif exists already: give --overwrite"):
            finished(source, tmp_path / "b.tif", confidence=sigma, resume=resume)
    assert {path.name for path in tmp_path.iterdir()} == {"a.tif", "sigma.tif"}
    finished(source, tmp_path / "b.tif", confidence=sigma, overwrite=True)
    assert made(sigma).shape == (9, 40, 48)
    with pytest.raises(OutputError, match=r"the folder .* does not exist"):
        finished(source, tmp_path / "c.tif", confidence=tmp_path / "no" / "sigma.tif")


@pytest.mark.parametrize("taken", ["b.tif", "sigma.tif"])
def test_what_appears_during_the_run_is_not_replaced(taken: str, source: Path, tmp_path: Path) -> None:
    def appear(progress: Progress) -> None:
        (tmp_path / taken).write_text("another's")

    with pytest.raises(OutputExistsError, match=f"{taken} exists already"):
        finished(source, tmp_path / "b.tif", confidence=tmp_path / "sigma.tif", report=appear)
    assert (tmp_path / taken).read_text() == "another's"
    (tmp_path / taken).unlink()
    finished(source, tmp_path / "b.tif", confidence=tmp_path / "sigma.tif", resume=True)
    assert len(made(tmp_path / "sigma.tif")) == 9


@pytest.mark.parametrize("option", [{}, {"overwrite": True}, {"resume": True}])
def test_the_unfinished_deviations_of_another_job_are_left_alone(
    option: dict[str, object], source: Path, tmp_path: Path
) -> None:
    sigma = tmp_path / "sigma.tif"
    with pytest.raises(KeyboardInterrupt):
        finished(source, tmp_path / "b.tif", confidence=sigma, report=stop_at(4))
    left = files(tmp_path)
    with pytest.raises(
        OutputError, match=r"sigma\.tif\.partial is in the way and not of an unfinished c\.tif: move it"
    ):
        finished(source, tmp_path / "c.tif", confidence=sigma, **option)
    assert files(tmp_path) == left
    with pytest.raises(OutputExistsError, match="--resume goes on, --overwrite makes it again from the start"):
        finished(source, tmp_path / "b.tif", confidence=sigma)
    finished(source, tmp_path / "b.tif", confidence=sigma, overwrite=True)


def test_a_planes_table_does_not_lie_in_the_deviations(source: Path, tmp_path: Path) -> None:
    (tmp_path / "sigma.ome.zarr").mkdir()
    with pytest.raises(BadOptionError, match="lies in the input or output"):
        finished(
            source,
            tmp_path / "b.tif",
            confidence=tmp_path / "sigma.ome.zarr",
            planes_table=tmp_path / "sigma.ome.zarr" / "p.csv",
        )
    assert list((tmp_path / "sigma.ome.zarr").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sharpen": True}, "the amount of sharpening is True, expected a number or auto"),
        ({"sharpen": "much"}, "the amount of sharpening is 'much', expected a number or auto"),
        ({"sharpen_radius": 2}, "got a radius or threshold and no sharpening, expected both"),
        ({"sharpen": 1, "sharpen_radius": "wide"}, "the sharpen radius is 'wide', expected a number"),
        ({"sharpen": 1, "sharpen_threshold": True}, "the sharpen threshold is True, expected a number"),
        ({"grain": False}, "the seed of the grain is False, expected 0 to"),
        ({"grain": True}, "the seed of the grain is True, expected 0 to"),
        ({"grain": -1}, "the seed of the grain is -1, expected 0 to"),
        ({"grain": 2**63}, "the seed of the grain is 9223372036854775808, expected 0 to 9223372036854775807"),
        ({"grain": 1.5}, "the grain is 1.5, expected a whole number"),
        ({"fallback": "linear"}, "the fallback is 'linear', expected cubic"),
        ({"fallback_above": 0.1}, "got a threshold and no fallback, expected both"),
        ({"fallback": "cubic", "fallback_above": 0}, "the fallback is above 0.0, expected a positive part"),
        ({"fallback": "cubic", "fallback_above": np.nan}, "the fallback is above nan, expected a positive part"),
        ({"flag_below": np.nan}, "planes are flagged below nan dB, expected a finite number"),
    ],
)
def test_bad_steps_cost_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(BadOptionError, match=message):
        interpolate(make_stack(), factor=2, interpolator=Doubtful(), **options)


def test_numbers_of_any_kind_are_taken(source: Path, tmp_path: Path) -> None:
    options = {"sharpen": np.float32(0.5), "sharpen_radius": np.float32(2), "grain": np.int64(3)}
    finished(source, tmp_path / "b.tif", fallback_above=np.float32(0.25), **options)
    finished(source, tmp_path / "c.tif", fallback_above=0.25, sharpen=0.5, sharpen_radius=2, grain=3)
    assert np.array_equal(made(tmp_path / "b.tif"), made(tmp_path / "c.tif"))


def test_the_voxel_size_that_is_not_known_stays_unknown_in_both(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", make_stack(), photometric="minisblack")
    finished(tmp_path / "a.tif", tmp_path / "b.tif", confidence=tmp_path / "sigma.tif")
    for name in ("b.tif", "sigma.tif"):
        assert volume(tmp_path / name)[0].voxel_size == VoxelSize()
