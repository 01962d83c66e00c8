"""The table of output planes, and what it may replace."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from tests.conftest import make_stack, write_imagej, write_png_slices
from zinterp.errors import BadOptionError, OutputError, OutputExistsError
from zinterp.pipeline import upsample
from zinterp.planes_table import COLUMNS


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
