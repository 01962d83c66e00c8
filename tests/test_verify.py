"""Proof that acquired planes are in an output, and what makes it fail."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from tests.conftest import Stack, make_stack, write_imagej, write_mrc, write_tiff_slices, write_zarr_05
from zinterp.errors import BadVolumeError, InputError
from zinterp.io import FORMATS, OUTPUT_FORMATS, OutputOptions, create_volume, open_volume
from zinterp.pipeline import upsample
from zinterp.provenance import Provenance, read_provenance, read_table
from zinterp.verify import differ, verify
from zinterp.volume import VolumeInfo

SUFFIX = {format: next(iter(FORMATS[format].suffixes), "") for format in OUTPUT_FORMATS}
Row = dict[str, str]


def write_output(path: Path, stack: Stack, rows: list[Row] | str, **record: Any) -> None:
    """An OME-TIFF that says of itself what a test wants it to say."""
    text = io.StringIO()
    if not isinstance(rows, str):
        table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    made = {"program": "zinterp 0.1.0", "planes": rows if isinstance(rows, str) else text.getvalue()} | record
    info = VolumeInfo((stack.shape[0], stack.shape[1], stack.shape[2]), stack.dtype)
    writer = create_volume(path, info, OutputOptions("ome-tiff", z_chunk=len(stack), overwrite=True), made)
    writer.write(0, stack)
    writer.finish()


def rows_at_factor_2(planes: int = 3) -> list[Row]:
    """The table of a stack made twice as dense."""
    rows = []
    for k in range(2 * planes - 1):
        kind = "synthesised" if k % 2 else "acquired"
        row = {"time": 0, "channel": 0, "plane": k, "z_um": k / 100, "kind": kind, "before": k // 2}
        rows.append(row | {"after": -(-k // 2), "t": k % 2 / 2, "model": "linear" if k % 2 else ""})
    return [{name: str(value) for name, value in row.items()} for row in rows]


@pytest.mark.parametrize("format", OUTPUT_FORMATS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_kind_of_output_is_verified(format: str, dtype: str, tmp_path: Path) -> None:
    source, output, table = tmp_path / "a.tif", tmp_path / f"b{SUFFIX[format]}", tmp_path / "planes.csv"
    write_imagej(source, make_stack(dtype=dtype))
    upsample(source, output, factor=3, model="linear", format=format, planes_table=table, skip="2")
    found = verify(output, source, planes_table=table if format == "mrc" else None)
    assert (found.acquired, found.differing, found.made, found.absent) == (4, (), {"linear": 9}, (2,))
    assert found.widened == (format == "mrc" and dtype == "uint8")
    if format == "mrc":
        with pytest.raises(BadVolumeError, match=r"b\.mrc holds no planes table, .* give --planes-table"):
            verify(output, source)


@pytest.mark.parametrize(
    "options", [{"depths": [0.3, 0.6]}, {"z_step": "7nm"}, {"isotropic": True}, {"factor": 2, "align": True}]
)
def test_every_geometry_is_verified(options: dict[str, Any], tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack((8, 96, 112), "uint16"))
    output = upsample(source, tmp_path / "b.tif", model="linear", **options)
    found = verify(output, source)
    assert not found.differing
    assert found.acquired == 8 - len(found.absent)
    assert bool(found.absent) == ("z_step" in options or "isotropic" in options)


def test_slices_with_gaps_and_measured_positions_are_verified(tmp_path: Path) -> None:
    write_tiff_slices(tmp_path / "a", make_stack((6, 40, 48)))
    (tmp_path / "a" / "slice_10.tif").unlink()
    output = upsample(tmp_path / "a", tmp_path / "b", model="linear", factor=2, fill_gaps=True)
    found = verify(output, tmp_path / "a")
    assert (found.acquired, found.made, found.absent) == (5, {"linear": 6}, ())
    output = upsample(tmp_path / "a", tmp_path / "c.tif", model="linear", factor=1, positions=[0, 1, 2.5, 3, 4])
    assert verify(output, tmp_path / "a").absent == (2,)


@pytest.mark.parametrize("chosen", [{}, {"channel": 1}, {"time": 2}, {"channel": 0, "time": 1}])
def test_channels_and_times_are_compared_with_their_own(chosen: dict[str, int], tmp_path: Path) -> None:
    stacks = np.stack([make_stack((4, 24, 32), "uint16", seed) for seed in range(6)]).reshape(3, 2, 4, 24, 32)
    source = tmp_path / "a.tif"
    tifffile.imwrite(source, stacks.transpose(0, 2, 1, 3, 4), imagej=True, metadata={"axes": "TZCYX"})
    output = upsample(source, tmp_path / "b.ome.zarr", model="linear", factor=2, ngff="0.4", **chosen)
    count = (1 if "channel" in chosen else 2) * (1 if "time" in chosen else 3)
    found = verify(output, source)
    assert (found.acquired, found.differing, found.stacks) == (4 * count, (), count)
    array = zarr.open_array(output / "0", mode="r+")
    place: Any = (*((1, 1) if not chosen else (0, 0)), 4, 3, 5)[-array.ndim :]
    array[place] = np.asarray(array[place]) ^ 1
    wrong = verify(output, source).differing
    assert [(row.time, row.channel, row.plane) for row in wrong] == [
        (1, 1, 4) if not chosen else (chosen.get("time", 0), chosen.get("channel", 0), 4)
    ]


def test_one_bit_is_enough_to_be_found_out_and_made_planes_may_be_anything(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack(dtype="uint16"))
    output = upsample(source, factor=4, model="linear")
    planes = tifffile.memmap(output)
    planes[5] ^= 1
    assert not verify(output, source).differing
    planes[4, 39, 47] ^= 1
    planes[16, 0, 0] ^= 1 << 15
    planes.flush()
    assert [row.plane for row in verify(output, source).differing] == [4, 16]


def test_nan_and_signed_zeros_are_compared_bit_for_bit(tmp_path: Path) -> None:
    stack = make_stack(dtype="float32")
    stack[1, 2, 3], stack[2, 0, 0], stack[3, 1, 1] = np.nan, -0.0, np.inf
    write_zarr_05(tmp_path / "a.zarr", stack)
    output = upsample(tmp_path / "a.zarr", tmp_path / "b.tif", model="linear", factor=2, fill_nonfinite=True)
    assert not verify(output, tmp_path / "a.zarr").differing
    planes = tifffile.memmap(output)
    planes[2].view("uint32")[2, 3] ^= 1  # another NaN
    planes[4, 0, 0] = 0.0
    planes.flush()
    assert [row.plane for row in verify(output, tmp_path / "a.zarr").differing] == [2, 4]
    assert differ(np.array([[np.nan]], "f4"), np.array([[np.nan]], "f8")) is False


def test_a_data_bar_is_kept_where_the_output_has_it(tmp_path: Path) -> None:
    stack = make_stack((3, 44, 48))
    tag = (34682, "s", 0, "[Image]\nResolutionX=48\nResolutionY=40\n", True)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", metadata={"axes": "ZYX"}, extratags=[tag])
    for number, kept in enumerate((True, False)):
        output = upsample(tmp_path / "a.tif", tmp_path / f"{number}.tif", model="linear", factor=2, keep_databar=kept)
        with open_volume(output) as reader:
            assert reader.info.shape[1] == (44 if kept else 40)
        assert verify(output, tmp_path / "a.tif").acquired == 3


def test_a_dataset_and_a_stack_of_mrc_are_verified_under_their_names(tmp_path: Path) -> None:
    write_mrc(tmp_path / "a.mrc", make_stack())
    output = upsample(tmp_path / "a.mrc", tmp_path / "b.mrc", model="linear", factor=2, planes_table=tmp_path / "p.csv")
    found = verify(output, tmp_path / "a.mrc", planes_table=tmp_path / "p.csv")
    assert (found.acquired, found.widened) == (5, False)
    write_zarr_05(tmp_path / "a.zarr", make_stack())
    output = upsample(tmp_path / "a.zarr" / "s0", tmp_path / "c.tif", model="linear", factor=2)
    assert verify(output, tmp_path / "a.zarr" / "s0").acquired == 5
    assert verify(output, tmp_path / "a.zarr").source == "a.zarr/s0"


def test_progress_is_reported(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    seen: list[tuple[int, int]] = []
    verify(upsample(tmp_path / "a.tif", factor=2, model="linear"), tmp_path / "a.tif", report=lambda *n: seen.append(n))
    assert seen == [(k, 5) for k in range(6)]


def test_a_table_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((3, 20, 24)))
    rows = [{"note": "x, y", **dict(reversed(row.items()))} for row in rows_at_factor_2()]
    write_output(tmp_path / "b.ome.tif", make_stack((3, 20, 24))[[0, 1, 1, 2, 2]], rows)
    assert verify(tmp_path / "b.ome.tif", tmp_path / "a.tif").made == {"linear": 2}


def change(row: int, **values: Any) -> Callable[[list[Row]], None]:
    """A change of some values of one row."""
    return lambda rows: rows[row].update({name: str(value) for name, value in values.items()})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(1, before=1), "says of planes 1-2 that they lie where they cannot"),
        (change(1, after=0), "says of planes 1 "),
        (change(1, after=2), "says of planes 2 "),
        (change(1, t=1), "says of planes 1"),
        (change(1, t=0), "says of planes 1"),
        (change(1, before=1, after=2), "says of planes 2 "),
        (change(2, kind="synthesised"), "says of planes 2 "),
        (change(2, t=0.5), "says of planes 2"),
        (change(1, kind="acquired"), "says of planes 1 "),
        (change(2, before=0, after=0), "says of planes 2"),
        (change(4, before=3, after=3), "says of planes 4 "),
        (change(2, z_um=0.005), "says of planes 2 "),
        (change(3, z_um=9), "says of planes 4 "),
        (change(3, kind="guessed"), r"row 4 cannot be read \('guessed' is neither acquired nor synthesised\)"),
        (change(3, plane=""), "row 4 cannot be read"),
        (change(3, before=-1), r"row 4 cannot be read \(a number is negative"),
        (change(3, t="nan"), r"row 4 cannot be read \(a number is negative or not finite"),
        (change(3, plane=2), "is about 5 planes of 1 channels and 1 times, and the file has 5"),
        (change(3, channel=1), "is about 5 planes of 2 channels and 1 times"),
        (lambda rows: rows.pop(), "is about 4 planes of 1 channels and 1 times, and the file has 5"),
        (lambda rows: [row.pop("before") for row in rows], "without the column 'before'"),
        (
            lambda rows: [row.update(channel="1") for row in rows],
            "from time 0 and channel 1 at last, and the input has",
        ),
    ],
)
def test_a_table_that_cannot_be_true_is_refused(
    spoil: Callable[[list[Row]], object], message: str, tmp_path: Path
) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((3, 20, 24)))
    rows = rows_at_factor_2()
    stack = make_stack((3, 20, 24))[[0, 0, 1, 1, 2]]
    write_output(tmp_path / "b.ome.tif", stack, rows)
    assert verify(tmp_path / "b.ome.tif", tmp_path / "a.tif").acquired == 3
    spoil(rows)
    write_output(tmp_path / "b.ome.tif", stack, rows)
    with pytest.raises(BadVolumeError, match=message):
        verify(tmp_path / "b.ome.tif", tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("dropped", "sound"), [([[]], False), ([[1]], True), ([[0]], False), ("x", True), ([["1"]], True)]
)
def test_what_was_dropped_must_agree_with_the_gaps(dropped: object, sound: bool, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((3, 20, 24)))
    rows = [row | {"z_um": ""} for row in rows_at_factor_2()[:3]]
    rows[1]["after"] = rows[2]["before"] = rows[2]["after"] = "2"
    write_output(tmp_path / "b.ome.tif", make_stack((3, 20, 24)), rows, dropped_planes=dropped)
    if sound:
        assert [row.plane for row in verify(tmp_path / "b.ome.tif", tmp_path / "a.tif").differing] == []
        return
    with pytest.raises(BadVolumeError, match="lie where they cannot"):
        verify(tmp_path / "b.ome.tif", tmp_path / "a.tif")


@pytest.mark.parametrize("table", ["", "plane\n", "time,channel\n0,0\n", '"' + "x" * 200_000, "time,\0channel\n1\n"])
def test_a_text_that_is_no_table_is_refused(table: str, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((3, 20, 24)))
    write_output(tmp_path / "b.ome.tif", make_stack((3, 20, 24)), table)
    with pytest.raises(BadVolumeError, match=r"is about 0 planes|without the column|cannot be read"):
        verify(tmp_path / "b.ome.tif", tmp_path / "a.tif")


def test_a_source_that_is_another_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack((3, 20, 24)))
    output = upsample(source, tmp_path / "b.tif", model="linear", factor=2)
    (tmp_path / "c.tif").write_bytes(source.read_bytes())
    renamed = verify(output, tmp_path / "c.tif")
    assert (renamed.acquired, renamed.differing, renamed.source) == (3, (), "a.tif")
    write_imagej(source, make_stack((4, 20, 24)))
    with pytest.raises(BadVolumeError, match=r"has shape \(4, 20, 24\), and .* of shape \(3, 20, 24\)"):
        verify(output, source)
    write_imagej(source, make_stack((3, 20, 24), "uint16"))
    with pytest.raises(BadVolumeError, match=r"holds uint8 made from uint8, and .*a\.tif uint16"):
        verify(output, source)


def test_a_file_without_a_record_is_verified_by_a_table_alone(tmp_path: Path) -> None:
    source, table = tmp_path / "a.tif", tmp_path / "p.csv"
    write_imagej(source, make_stack((3, 20, 24)))
    output = upsample(source, tmp_path / "b.tif", model="linear", factor=2, planes_table=table)
    tifffile.imwrite(output, tifffile.imread(output), photometric="minisblack")  # as another program would
    with pytest.raises(BadVolumeError, match=r"b\.tif does not say how it was made, expected an output of zinterp"):
        verify(output, source)
    assert verify(output, source, planes_table=table).acquired == 3
    with pytest.raises(InputError, match=r"cannot read the planes table .*none\.csv"):
        verify(output, source, planes_table=tmp_path / "none.csv")
    tifffile.imwrite(output, tifffile.imread(output)[:, :-1], photometric="minisblack")
    with pytest.raises(BadVolumeError, match="was made from a stack with planes of 19 x 24 pixels"):
        verify(output, source, planes_table=table)


def test_planes_that_were_cropped_are_refused(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((3, 20, 24)))
    rows = rows_at_factor_2()
    write_output(tmp_path / "b.ome.tif", make_stack((5, 20, 20)), rows, source_shape=[3, 20, 24])
    with pytest.raises(BadVolumeError, match=r"has planes of 20 x 20 pixels and .* of 20 x 24, expected the same"):
        verify(tmp_path / "b.ome.tif", tmp_path / "a.tif")


def test_provenance_takes_only_what_is_of_its_kind(tmp_path: Path) -> None:
    hostile = {"program": "zinterp 1", "source": 5, "source_shape": [1, "2", 3], "dtype": None, "model": [], "x": {}}
    made = Provenance.of_record(hostile, "a.tif")
    assert (made.source, made.source_shape, made.dtype, made.model, made.rows) == ("", None, "", "", ())
    assert made.options == {"x": {}}
    assert made.dropped(0) is None
    write_imagej(tmp_path / "a.tif", make_stack())
    assert read_provenance(tmp_path / "a.tif") is None
    assert read_table("plane\n", "b") == ()
    with pytest.raises(BadVolumeError, match="b has a planes table without the column"):
        read_table(json.dumps({"a": 1}) + "\n1\n", "b")
