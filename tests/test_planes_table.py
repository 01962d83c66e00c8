"""The table of output planes, and what it may replace."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from tests.conftest import DTYPES, Doubtful, make_stack, write_imagej, write_png_slices
from zinterp.errors import BadOptionError, OutputError, OutputExistsError
from zinterp.io import open_volume, read_record
from zinterp.pipeline import upsample
from zinterp.planes_table import COLUMNS, MEASURED
from zinterp.pulsing import Statistics


def rows_of(text: str) -> list[dict[str, str]]:
    """A table as dictionaries."""
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".ome.zarr"])
def test_the_output_keeps_the_table_that_is_written(suffix: str, tmp_path: Path) -> None:
    values = np.stack([make_stack((4, 40, 48), "uint16", seed) for seed in range(6)]).reshape(3, 2, 4, 40, 48)
    metadata = {"axes": "TZCYX", "spacing": 20.0, "unit": "nm", "zorigin": -5.0}
    hyperstack = values.transpose(0, 2, 1, 3, 4)
    tifffile.imwrite(tmp_path / "a.tif", hyperstack, imagej=True, resolution=(1 / 8, 1 / 8), metadata=metadata)
    table = tmp_path / "planes.csv"
    target = upsample(tmp_path / "a.tif", tmp_path / f"b{suffix}", factor=2, model="cubic", planes_table=table)
    if suffix == ".ome.zarr":
        record = zarr.open_group(target, mode="r").attrs.asdict()["zinterp"]
    else:
        with tifffile.TiffFile(target) as tif:
            info = (tif.imagej_metadata or {}).get("Info") or tifffile.xml2dict(tif.ome_metadata or "")
            record = json.loads(info) if isinstance(info, str) else info["OME"]["Image"]["Description"]
            record = json.loads(record) if isinstance(record, str) else record
    assert record["planes"] == table.read_text()
    assert record["model"] == "cubic"
    rows = rows_of(table.read_text())
    assert len(rows) == 42
    assert list(rows[0]) == list(COLUMNS)
    assert list(rows[8].values())[:14] == ["0", "1", "1", "0.11", "synthesised", "0", "1", "0.5", "cubic", *[""] * 5]
    assert list(rows[41].values())[:15] == ["2", "1", "6", "0.16", "acquired", "3", "3", "0", *[""] * 7]


def test_the_table_never_replaces_anything_but_a_table(tmp_path: Path) -> None:
    source = tmp_path / "a.tif"
    write_imagej(source, make_stack())
    write_png_slices(tmp_path / "slices", make_stack())
    (tmp_path / "z.csv").write_text("z_nm\n0\n20\n40\n60\n80\n")
    (tmp_path / "empty.csv").write_text("")
    inside = next((tmp_path / "slices").iterdir())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    options = {"factor": 2, "model": "linear", "overwrite": True}
    for table in (tmp_path / "z.csv", tmp_path / "empty.csv"):
        with pytest.raises(OutputError, match="no table of planes, which alone is replaced"):
            upsample(source, planes_table=table, positions=tmp_path / "z.csv", **options)
        with pytest.raises(OutputError, match="no table of planes"):
            upsample(source, planes_table=table, **{**options, "overwrite": False, "resume": True})
    for table in (inside, tmp_path / "slices" / "new.csv", tmp_path / "a.tif", tmp_path / "o.ome.zarr" / "p.csv"):
        with pytest.raises(BadOptionError, match="lies in the input or output"):
            upsample(tmp_path / "slices", tmp_path / "o.ome.zarr", planes_table=table, **options)
    with pytest.raises(BadOptionError, match="expected a place of its own"):
        upsample(source, tmp_path / "o.tif", planes_table=tmp_path / "o.tif.lock", **options)
    with pytest.raises(OutputError, match="expected a file in a folder that exists"):
        upsample(source, planes_table=tmp_path / "no" / "p.csv", **options)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_an_older_table_is_replaced_only_when_told(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    table = tmp_path / "p.csv"
    upsample(tmp_path / "a.tif", factor=2, model="linear", planes_table=table)
    with pytest.raises(OutputExistsError, match=r"p\.csv exists already"):
        upsample(tmp_path / "a.tif", tmp_path / "b.tif", factor=4, model="linear", planes_table=table)
    assert not (tmp_path / "b.tif").exists()
    upsample(tmp_path / "a.tif", tmp_path / "b.tif", factor=4, model="linear", planes_table=table, overwrite=True)
    assert len(rows_of(table.read_text())) == 17


def test_a_table_of_an_older_version_is_replaced_when_told(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    table = tmp_path / "p.csv"
    table.write_text(",".join(COLUMNS[:9]) + "\n0,0,0,0,acquired,0,0,0,\n")
    upsample(tmp_path / "a.tif", factor=2, model="linear", planes_table=table, overwrite=True)
    assert len(rows_of(table.read_text())) == 9


ALL = {"sharpen": "auto", "grain": 12345, "fallback": "cubic", "fallback_above": 0.1}


@pytest.mark.parametrize("dtype", DTYPES)
def test_measures_are_those_of_the_planes_in_the_file_to_five_digits(dtype: str, tmp_path: Path) -> None:
    stack = make_stack((4, 60, 80), dtype)
    if dtype == "uint8":  # few grey levels, and planes that are cut off at the ends
        stack = np.clip(stack.astype(int) // 16 * 2 - 8, 0, 12).astype(np.uint8)
    write_imagej(tmp_path / "a.tif", stack)
    target, sigma, table = tmp_path / "b.tif", tmp_path / "sigma.tif", tmp_path / "p.csv"
    upsample(tmp_path / "a.tif", target, factor=2, interpolator=Doubtful(), confidence=sigma, planes_table=table, **ALL)
    with open_volume(target) as planes, open_volume(sigma) as deviations:
        for k, row in enumerate(rows_of(table.read_text())):
            found = Statistics.of(planes.read(range(k, k + 1))[0].astype(np.float64), np.asarray)
            for name in ("mean", "contrast", "gradient_energy"):
                assert float(row[name]) == pytest.approx(getattr(found, name), rel=6e-5), (k, name)
            mean_sigma = deviations.read(range(k, k + 1))[0].mean(dtype=float)
            if row["kind"] == "acquired":
                assert [row[name] for name in MEASURED[:-3]] == [""] * 6
                assert row["grain_seed"] == ""
                assert mean_sigma == 0
            else:
                assert float(row["mean_sigma"]) == pytest.approx(mean_sigma, rel=6e-5)
                assert row["grain_seed"] == "12345"
                assert 0 < float(row["fallback"]) < 1
                assert float(row["sharpening"]) >= 0
                assert float(row["sharpening_radius"]) > 0
    texts = [row[name].split("e")[0] for row in rows_of(table.read_text()) for name in MEASURED]
    assert max(len(text.lstrip("-0.").replace(".", "")) for text in texts) == 5


@pytest.mark.parametrize("format", ["tiff", "ome-tiff", "ome-zarr", "tiff-slices", "png-slices"])
def test_the_record_in_the_file_is_the_table_that_is_written_with_all_its_measures(format: str, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack(dtype="uint16"))
    table = tmp_path / "p.csv"
    suffix = {"tiff": ".tif", "ome-tiff": ".ome.tif", "ome-zarr": ".ome.zarr"}.get(format, "")
    target = tmp_path / f"b{suffix}"
    upsample(tmp_path / "a.tif", target, factor=2, interpolator=Doubtful(), planes_table=table, format=format, **ALL)
    record = read_record(target)
    assert record is not None
    assert record["planes"] == table.read_text()
    assert record["finishing"]["grain_seed"] == 12345
    assert record["pulsing"][0]["index"]["mean"] >= 0
    assert all(row["mean"] for row in rows_of(record["planes"]))


@pytest.mark.parametrize(
    ("dtype", "scale", "shift", "channels", "factor", "suffix"),
    [
        ("float32", 3.3e30, -9.9e30, 1, 150, ".tif"),
        ("float32", 3.3e30, -9.9e30, 7, 2, ".ome.tif"),
        ("float32", 1e-33, -1e-32, 7, 2, ".tif"),
        ("int16", 300, -32700, 7, 2, ".tif"),
        ("float64", 1e150, -3e150, 1, 60, ".ome.tif"),
        ("float64", 1e-150, -3e-150, 1, 60, ".ome.tif"),
    ],
)
def test_a_tiff_has_room_for_the_longest_numbers(
    dtype: str, scale: float, shift: float, channels: int, factor: int, suffix: str, tmp_path: Path
) -> None:
    """Of many planes or many channels, with long negative means and every column that there is."""
    stacks = [make_stack((2, 16, 17), "float64", seed) for seed in range(channels)]
    values = (np.stack(stacks, axis=1) * scale + shift).astype(dtype)
    axes = {"axes": "ZCYX"}
    tifffile.imwrite(tmp_path / f"a{suffix}", values, imagej=suffix == ".tif", ome=suffix == ".ome.tif", metadata=axes)
    target = tmp_path / f"b{suffix}"
    upsample(tmp_path / f"a{suffix}", target, factor=factor, interpolator=Doubtful(), **{**ALL, "grain": 2**63 - 1})
    record = read_record(target)
    assert record is not None
    rows = rows_of(record["planes"])
    assert len(rows) == channels * (factor + 1)
    assert all(float(row["mean"]) < 0 for row in rows)
    json.dumps(record, allow_nan=False)
    with open_volume(target) as reader:
        planes = [reader.read(range(factor + 1), k)[::factor] for k in range(channels)]
        assert np.array_equal(np.stack(planes, axis=1), values)


def test_grey_levels_whose_squares_no_number_holds_are_no_reason_to_fail(tmp_path: Path) -> None:
    values = make_stack((3, 16, 17), "float64") * 1e200
    tifffile.imwrite(tmp_path / "a.ome.tif", values, ome=True, metadata={"axes": "ZYX"})
    table = tmp_path / "p.csv"
    upsample(tmp_path / "a.ome.tif", factor=2, model="linear", planes_table=table)
    assert [row["gradient_energy"] for row in rows_of(table.read_text())] == ["inf"] * 5
    assert float(rows_of(table.read_text())[1]["contrast"]) > 1e198
