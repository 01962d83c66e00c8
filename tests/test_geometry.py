"""Where output planes lie: steps, positions, gaps, and planes that are left out."""

import csv
import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from tests.conftest import make_stack, write_imagej, write_plain_tiff, write_tiff_slices, write_zarr_05
from zinterp.errors import BadOptionError, BadVolumeError
from zinterp.geometry import place_planes, simple, with_voxel_size
from zinterp.io import open_volume
from zinterp.options import UpsampleOptions, parse_skip
from zinterp.phantom import Phantom
from zinterp.pipeline import interpolate, upsample
from zinterp.volume import VolumeInfo, VoxelSize

NANOMETRES = VoxelSize(0.008, 0.005, 0.005)


def info(planes: int = 11, size: VoxelSize = NANOMETRES, **fields: object) -> VolumeInfo:
    """A stack of small planes."""
    return VolumeInfo((planes, 20, 24), np.dtype("uint8"), size, **fields)  # type: ignore[arg-type]


def test_a_step_of_3_nm_on_planes_8_nm_apart_gives_planes_every_3_nm(tmp_path: Path) -> None:
    stack = make_stack((17, 40, 48))
    metadata = {"axes": "ZYX", "spacing": 8.0, "unit": "nm"}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(1 / 5, 1 / 5), metadata=metadata)
    target = upsample(tmp_path / "a.tif", z_step="3nm", model="cubic")
    assert target.name == "a_z3nm.tif"
    with open_volume(target) as reader:
        assert reader.info.shape == (43, 40, 48)  # 0 to 126 of 128 nm
        assert reader.info.voxel_size.z == 0.003
        planes = reader.read(range(43))
    assert np.array_equal(planes[::8], stack[::3])  # those that lie on the grid
    with tifffile.TiffFile(target) as tif:
        assert tif.imagej_metadata is not None
        assert tif.imagej_metadata["spacing"] == 3.0


@pytest.mark.parametrize(
    ("options", "count", "z"),
    [
        ({"z_step": "3nm"}, 27, 0.003),
        ({"z_step": 0.004}, 21, 0.004),
        ({"z_step": "0.008um", "skip": "5"}, 11, 0.008),
        ({"isotropic": True}, 17, 0.005),
        ({"factor": 3}, 31, 0.008 / 3),
        ({"depths": ["0.5"]}, 21, 0.004),
        ({"depths": ["0.3"]}, 21, None),
    ],
)
def test_count_and_plane_distance(options: dict[str, object], count: int, z: float | None) -> None:
    geometry = place_planes(info(), UpsampleOptions(**options))  # type: ignore[arg-type]
    assert len(geometry.grid) == count
    assert geometry.voxel_size.z == (z and pytest.approx(z, rel=1e-12))
    last = geometry.z(geometry.grid.outputs[-1])
    assert last is not None
    assert last <= 0.08 + 1e-12


def test_rounded_lengths_are_taken_for_the_simple_ratio_they_stand_for() -> None:
    assert simple(Fraction(1, 3) + Fraction(1, 10**8)) == Fraction(1, 3)
    assert simple(Fraction(1, 3) + Fraction(1, 10**4)) == Fraction(1, 3) + Fraction(1, 10**4)
    near = place_planes(info(size=VoxelSize(0.0149999999, 0.005, 0.005)), UpsampleOptions(isotropic=True))
    assert near.grid.step == Fraction(1, 3)
    assert near.voxel_size.z == 0.005


@pytest.mark.parametrize(
    ("volume", "options", "match"),
    [
        (info(size=VoxelSize()), {"z_step": "3nm"}, "give --voxel-size 20nm"),
        (info(size=VoxelSize(0.02)), {"isotropic": True}, "the pixel size is not known"),
        (info(size=VoxelSize(None, 0.005, 0.005)), {"isotropic": True}, "the plane distance is not known"),
        (info(size=VoxelSize(0.02, 0.005, 0.006)), {"isotropic": True}, "expected square ones"),
        (info(), {"z_step": "20nm"}, "planes 8 nm apart and a step of 20 nm: .* give a smaller step"),
        (info(), {"z_step": "0.001nm"}, "expected at least a 1000th"),
        (info(planes=1, format="tiff"), {"factor": 2}, "name the folder of such files, or their pattern in quotes"),
        (info(), {"factor": 2, "positions": [0.0, 1.0]}, "got 2 positions, expected 11"),
        (info(), {"factor": 2, "positions": [*range(9), 9, 9]}, "expected positions that rise"),
        (info(), {"factor": 2, "positions": [*range(10), float("nan")]}, "positions are not all finite"),
    ],
)
def test_what_cannot_be_placed_is_refused(volume: VolumeInfo, options: dict[str, object], match: str) -> None:
    with pytest.raises((BadVolumeError, BadOptionError), match=match):
        place_planes(volume, UpsampleOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({}, "got none of factor, depths, z_step, isotropic"),
        ({"factor": 2, "z_step": "5nm"}, "got factor and z_step, expected one of them"),
        ({"z_step": "5"}, "expected a positive number and a unit"),
        ({"z_step": -0.1}, "expected a positive length"),
        ({"depths": [0.5], "positions": [0, 1]}, "got positions and depths"),
        ({"factor": 2, "skip": "1;2"}, "write 17,20-22"),
        ({"factor": 2, "skip": "9-3"}, "write 17,20-22"),
        ({"factor": 2, "skip": 3}, "expected whole numbers"),
        ({"factor": 2, "skip": [1.5]}, "expected whole numbers"),
        ({"factor": 0}, "expected a whole number from 1"),
        ({"z_step": True}, "expected a positive length"),
        ({"z_step": "5nm", "voxel_size": VoxelSize(0.0)}, "expected positive lengths"),
        ({"depths": [0.5], "fill_gaps": True}, "got gaps to fill and depths"),
        ({"factor": 2, "positions": [0, 1], "fill_gaps": True}, "got positions and gaps to fill"),
    ],
)
def test_options_that_contradict_or_mean_nothing_are_refused(options: dict[str, object], match: str) -> None:
    with pytest.raises(BadOptionError, match=match):
        UpsampleOptions(**options)  # type: ignore[arg-type]


def test_planes_to_leave_out_are_numbers_ranges_and_auto() -> None:
    assert parse_skip("17, 20-22") == ((17, 20, 21, 22), False)
    assert parse_skip("auto,3") == ((3,), True)
    assert parse_skip([3, 4]) == ((3, 4), False)
    assert parse_skip(None) == ((), False)


def test_a_voxel_size_given_in_part_keeps_the_rest_and_says_so() -> None:
    volume = info(size=VoxelSize(None, 0.005, 0.005), voxel_size_source="FEI tag 34682")
    found = with_voxel_size(volume, VoxelSize(0.02))
    assert found.voxel_size == VoxelSize(0.02, 0.005, 0.005)
    assert found.voxel_size_source == "--voxel-size, and FEI tag 34682"
    assert with_voxel_size(volume, VoxelSize(1.0, 1.0, 1.0)).voxel_size_source == "--voxel-size"
    assert with_voxel_size(volume, None) == volume


def moving_phantom() -> tuple[np.ndarray, list[float]]:
    """Planes of a phantom, whose structures move linearly with z, half a unit to three and a half apart."""
    steps = np.random.default_rng(4).uniform(0.5, 3.5, 16)
    positions = [0.0, *(float(round(z, 3)) for z in np.cumsum(steps))]
    phantom = Phantom.random((64, 96, 96), seed=1)
    return phantom.volume(positions, (96, 96), noise=0.02), positions


@pytest.mark.parametrize(("model", "least"), [("cubic", 1.5), (None, 1.5)])
def test_measured_positions_bring_a_regular_grid_closer_to_the_truth(model: str | None, least: float) -> None:
    stack, positions = moving_phantom()
    mean = positions[-1] / (len(positions) - 1)
    truth = Phantom.random((64, 96, 96), seed=1).volume(
        [k * mean / 4 for k in range((len(positions) - 1) * 4 + 1)], (96, 96), noise=0
    )
    errors = []
    for known in (None, positions):
        dense = interpolate(stack, factor=4, model=model, positions=known)
        assert dense.shape == truth.shape
        errors.append(float(np.mean((dense.astype(float) - truth) ** 2)))
    gain = 10 * np.log10(errors[0] / errors[1])
    assert gain > least


def test_planes_at_measured_positions_stay_bit_for_bit_where_the_grid_meets_them() -> None:
    stack = make_stack((5, 40, 48))
    dense = interpolate(stack, factor=2, model="linear", positions=[0.0, 1.0, 2.5, 3.0, 4.0])
    assert len(dense) == 9
    for k, i in ((0, 0), (2, 1), (5, 2), (6, 3), (8, 4)):
        assert np.array_equal(dense[k], stack[i])
    between = np.rint(stack[1] + (stack[2].astype(float) - stack[1]) / 3)
    assert np.abs(dense[3] - between).max() <= 1


def test_positions_give_the_plane_distance_and_a_table_says_where_planes_lie(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    (tmp_path / "z.csv").write_text("plane,z_nm\n0,0\n1,20\n2,45\n3,60\n4,88\n")
    with caplog.at_level(logging.WARNING):
        target = upsample(
            tmp_path / "a.tif",
            z_step="11nm",
            model="linear",
            positions=tmp_path / "z.csv",
            planes_table=tmp_path / "planes.csv",
        )
    assert "22 nm apart by their positions, and not 20 nm: the positions hold" in caplog.text
    with open_volume(target) as reader:
        assert reader.info.voxel_size.z == 0.011
        assert reader.info.shape[0] == 9
    rows = (tmp_path / "planes.csv").read_text().splitlines()
    assert rows[0].startswith("time,channel,plane,z_um,kind,before,after,t,model,")
    assert rows[1].startswith("0,0,0,0.0,acquired,0,0,0,,")
    assert rows[4].startswith("0,0,3,0.033,synthesised,1,2,0.52,linear,")
    assert rows[9].startswith("0,0,8,0.088,acquired,4,4,0,,")


def test_gaps_in_the_numbering_of_slices_become_planes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stack = make_stack((8, 40, 48))
    write_tiff_slices(tmp_path / "a", stack)
    for number in (11, 12):
        (tmp_path / "a" / f"slice_{number}.tif").unlink()
    with caplog.at_level(logging.WARNING):
        assert len(upsample(tmp_path / "a", tmp_path / "b.tif", factor=2, model="linear").read_bytes())
    assert "11-12" in caplog.text
    target = upsample(tmp_path / "a", tmp_path / "c.tif", factor=1, model="linear", fill_gaps=True)
    with open_volume(target) as reader:
        filled = reader.read(range(reader.info.shape[0]))
    assert len(filled) == 8
    for k in (0, 1, 2, 5, 6, 7):
        assert np.array_equal(filled[k], stack[k])
    third = np.rint(stack[2] + (stack[5].astype(float) - stack[2]) / 3)
    assert np.abs(filled[3] - third).max() <= 1


def test_planes_left_out_widen_the_gap_and_do_not_matter(tmp_path: Path) -> None:
    stack = make_stack((9, 40, 48))
    broken = stack.copy()
    broken[3:5] = 255
    write_plain_tiff(tmp_path / "a.tif", broken)
    target = upsample(tmp_path / "a.tif", factor=1, skip="3-4", model="linear")
    with open_volume(target) as reader:
        repaired = reader.read(range(9))
    assert np.array_equal(np.delete(repaired, (3, 4), 0), np.delete(stack, (3, 4), 0))
    third = np.rint(stack[2] + (stack[5].astype(float) - stack[2]) / 3)
    assert np.abs(repaired[3] - third).max() <= 1


def test_ends_that_are_left_out_shorten_the_output_and_move_its_origin(tmp_path: Path) -> None:
    stack = make_stack((7, 40, 48))
    write_imagej(tmp_path / "a.tif", stack)
    target = upsample(tmp_path / "a.tif", tmp_path / "b.ome.zarr", factor=2, skip=[0, 1, 6], model="linear")
    with open_volume(target) as reader:
        assert reader.info.shape[0] == 7
        assert np.array_equal(reader.read(range(7))[::2], stack[2:6])
        assert reader.info.origin == pytest.approx((0.04, 0, 0))


def test_auto_leaves_out_what_is_blank_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    phantom = Phantom.random((24, 128, 128), seed=2)
    stack = phantom.volume([float(z) for z in range(24)], (128, 128))
    stack[9] = 12
    stack[0] = 12
    write_plain_tiff(tmp_path / "a.tif", stack)
    with caplog.at_level(logging.WARNING):
        target = upsample(tmp_path / "a.tif", factor=1, skip="auto", model="cubic")
    assert "left out 2 of 24 planes: 0 blank, 9 blank" in caplog.text
    with open_volume(target) as reader:
        assert reader.info.shape[0] == 23
        repaired = reader.read(range(23))
    assert np.array_equal(np.delete(repaired, 8, 0), np.delete(stack, (0, 9), 0))
    assert repaired[8].std() > 0.5 * stack[8].std()


def test_drift_is_taken_out_and_put_back_and_acquired_planes_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plane = Phantom.random((4, 320, 320), seed=4).plane(1.0, (320, 320), noise=0)
    drifting = np.stack([plane[20 + 4 * k : 212 + 4 * k, 60 - 6 * k : 252 - 6 * k] for k in range(6)])
    dense = np.stack([plane[20 + 2 * k : 212 + 2 * k, 60 - 3 * k : 252 - 3 * k] for k in range(11)])
    errors = {}
    with caplog.at_level(logging.WARNING):
        for align in (False, True):
            made = interpolate(drifting, factor=2, model="cubic", align=align)
            assert np.array_equal(made[::2], drifting)
            errors[align] = float(np.mean((made - dense)[:, 24:-24, 24:-24] ** 2))
    assert errors[True] < 0.02 * errors[False]
    assert "drift by 7.2 pixels or more, after plane" in caplog.text
    assert caplog.text.count("drift") == 1


def test_the_origin_of_a_shortened_output_is_right_on_either_side_of_zero(tmp_path: Path) -> None:
    stack = make_stack((6, 40, 48))
    write_zarr_05(tmp_path / "a.zarr", stack)
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
    ome: Any = group.attrs["ome"]
    shift = {"type": "translation", "translation": [-20.0, 0.0, 4.0]}
    ome["multiscales"][0]["datasets"][0]["coordinateTransformations"].append(shift)
    group.attrs["ome"] = ome
    for skip, z in (([], -0.02), ([0], 0.0), ([0, 1], 0.02)):
        target = upsample(tmp_path / "a.zarr", tmp_path / f"{len(skip)}.ome.zarr", factor=2, model="linear", skip=skip)
        with open_volume(target) as reader:
            assert reader.info.origin == pytest.approx((z, 0, 0.004))


def test_acquired_planes_between_output_planes_are_counted_in_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    with caplog.at_level(logging.WARNING):
        upsample(tmp_path / "a.tif", z_step="15nm", model="linear")
    assert "3 of 5 acquired planes lie between output planes and are not in the output" in caplog.text


def test_positions_in_names_hold_only_where_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stack = make_stack((5, 40, 48))
    (tmp_path / "a").mkdir()
    for plane, z in zip(stack, (0, 20, 45, 60, 80), strict=True):
        tifffile.imwrite(tmp_path / "a" / f"s_z={z}nm.tif", plane, photometric="minisblack", metadata=None)
    with caplog.at_level(logging.WARNING):
        even = upsample(tmp_path / "a", tmp_path / "even.tif", factor=2, model="linear")
    assert "lie 0.015 to 0.025 µm apart, and count as evenly spaced: --positions names" in caplog.text
    true = upsample(tmp_path / "a", tmp_path / "true.tif", factor=4, model="linear", positions="names")
    with open_volume(even) as reader:
        assert np.array_equal(reader.read(range(9))[::2], stack)
    with open_volume(true) as reader:
        assert reader.info.voxel_size.z == 0.005
        planes = reader.read(range(17))
    assert np.array_equal(planes[[0, 4, 9, 12, 16]], stack)
    write_plain_tiff(tmp_path / "b.tif", stack)
    with pytest.raises(BadVolumeError, match="the names of the slices hold no positions"):
        upsample(tmp_path / "b.tif", factor=2, positions="names")


def test_defects_and_duplicates_are_both_left_out_and_a_last_one_that_repeats_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    phantom = Phantom.random((24, 128, 128), seed=2)
    stack = phantom.volume([float(z) for z in range(24)], (128, 128))
    stack[9], stack[15], stack[23] = 12, stack[14], stack[22]
    write_plain_tiff(tmp_path / "a.tif", stack)
    with caplog.at_level(logging.WARNING):
        upsample(tmp_path / "a.tif", factor=1, skip="auto", drop_duplicates=True, model="linear")
    assert "left out 2 of 24 planes: 9 blank, 15 duplicate" in caplog.text
    assert "kept, as the stack ends there: 23 duplicate" in caplog.text


def test_a_plane_of_nan_can_be_left_out(tmp_path: Path) -> None:
    stack = make_stack((6, 40, 48), "float32")
    stack[3] = np.nan
    write_plain_tiff(tmp_path / "a.tif", stack)
    with pytest.raises(BadVolumeError, match="NaN or infinite values, in planes 3"):
        upsample(tmp_path / "a.tif", factor=2, model="linear")
    target = upsample(tmp_path / "a.tif", factor=2, model="linear", skip=np.flatnonzero(np.isnan(stack).any((1, 2))))
    with open_volume(target) as reader:
        assert np.isfinite(reader.read(range(11))).all()


def test_no_drift_to_take_out_is_said(caplog: pytest.LogCaptureFixture) -> None:
    stack = make_stack((4, 40, 48))
    with caplog.at_level(logging.WARNING):
        aligned = interpolate(stack, factor=2, model="cubic", align=True)
    assert "no drift could be measured" in caplog.text
    assert np.array_equal(aligned, interpolate(stack, factor=2, model="cubic"))


def test_drift_of_any_channel_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plane = Phantom.random((4, 192, 256), seed=4).plane(1.0, (192, 256), noise=0)
    still = np.stack([plane[:, :192]] * 5)
    drifting = np.stack([plane[:, 6 * k : 192 + 6 * k] for k in range(5)])
    values = np.stack([still, drifting], axis=1).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "ZCYX"})
    with caplog.at_level(logging.WARNING):
        upsample(tmp_path / "a.tif", factor=2, model="linear")
    assert "planes drift by 6.0 pixels or more" in caplog.text


def test_each_channel_leaves_out_its_own_planes(tmp_path: Path) -> None:
    phantom = Phantom.random((24, 128, 128), seed=2)
    stack = phantom.volume([float(z) for z in range(24)], (128, 128))
    stacks = [stack.copy(), stack.copy()]
    stacks[0][9] = 12
    stacks[1][[0, 17]] = 12
    tifffile.imwrite(tmp_path / "a.tif", np.stack(stacks, axis=1), imagej=True, metadata={"axes": "ZCYX"})
    target = upsample(tmp_path / "a.tif", factor=1, skip="auto", model="linear", planes_table=tmp_path / "planes.csv")
    with open_volume(target) as reader:
        for number, bad in ((0, 9), (1, 17)):
            made = reader.read(range(24), number)
            assert np.array_equal(np.delete(made, bad, 0), np.delete(stacks[number], bad, 0))  # 0 is fine in channel 0
            assert made[bad].std() > 0.5 * stack[bad].std()
    with (tmp_path / "planes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "synthesised"]
    assert [(row["channel"], row["plane"], row["before"], row["after"], row["t"]) for row in rows] == [
        ("0", "9", "8", "10", "0.5"),
        ("1", "17", "16", "18", "0.5"),
    ]


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".ome.zarr"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_channels_that_end_differently_have_the_same_output_planes(
    order: tuple[int, int], suffix: str, tmp_path: Path
) -> None:
    phantom = Phantom.random((24, 128, 128), seed=2)
    stack = phantom.volume([float(z) for z in range(24)], (128, 128))
    repeated, blank = stack.copy(), stack.copy()
    repeated[23], blank[23], repeated[0], blank[:2] = stack[22], 12, 12, 12
    values = np.stack([(repeated, blank)[i] for i in order], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "ZCYX"})
    target = upsample(tmp_path / "a.tif", tmp_path / f"b{suffix}", factor=2, skip="auto", model="linear")
    with open_volume(target) as reader:
        assert reader.info.shape[0] == 45  # plane 0 is bad in both, 1 and 23 in one only
        for number in range(2):
            made = reader.read(range(45), number)
            assert np.array_equal(made[2:-2:2], values[2:-1, number])
            assert np.array_equal(made[-1], values[-1, number])


def test_a_plane_measured_off_the_grid_is_not_taken_to_be_on_it() -> None:
    stack = make_stack((6, 40, 48))
    dense = interpolate(
        stack, z_step=0.01, voxel_size="10nm", positions=[0, 0.009, 0.02, 0.031, 0.04, 0.05], model="linear"
    )
    assert len(dense) == 6
    assert not np.array_equal(dense[1], stack[1])
    assert np.array_equal(dense[[0, 2, 4, 5]], stack[[0, 2, 4, 5]])
