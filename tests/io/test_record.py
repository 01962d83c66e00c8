"""Records of how outputs were made: written, replaced at the end, and read back, in every format."""

import json
import logging
import os
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from tests.conftest import Write, make_stack, write_imagej, write_zarr_05
from zinterp.errors import InputError, OutputError
from zinterp.io import FORMATS, OUTPUT_FORMATS, OutputOptions, create_volume, open_volume, read_record
from zinterp.io.record import parse_record
from zinterp.io.tiff_record import ome_description, replace_record
from zinterp.volume import VolumeInfo, VolumeWriter, VoxelSize, partial_path

SUFFIX = {format: next(iter(FORMATS[format].suffixes), "") for format in OUTPUT_FORMATS}
CASES = [*((format, "0.5") for format in OUTPUT_FORMATS), ("ome-zarr", "0.4")]
STACK = make_stack((4, 20, 24), "uint16")
NAME = 'böse "<&>" 核.tif'
FIRST: dict[str, Any] = {
    "program": "zinterp 0.1.0",
    "source": "tom.tif",
    "source_shape": [2, 20, 24],
    "model": "fast@abc, fp32 on cpu",
    "tile": [20, 24],
    "planes": "plane,kind,sigma\n0,acquired,\n1,synthesised,\n",
}
LAST = FIRST | {"planes": "plane,kind,sigma\n0,acquired,0\n1,synthesised,0.125\n", "new <&>": True}
ROOM = 60


def create(
    path: Path, format: str, ngff: str = "0.5", *, record: dict[str, Any] = FIRST, resume: bool = False
) -> VolumeWriter:
    """Begin an output, or go on with it, and write all its planes."""
    info = VolumeInfo(STACK.shape, STACK.dtype, VoxelSize(0.02, 0.008, 0.008), unit="nm")
    options = OutputOptions(format, ngff, z_chunk=2, resume=resume, record_room=ROOM)
    writer = create_volume(path, info, options, record)
    for z in (2, 0):
        writer.write(z, STACK[z : z + 2])
    return writer


def content(path: Path) -> dict[str, bytes]:
    """The bytes of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def kept(format: str, record: dict[str, Any]) -> dict[str, Any]:
    """What a format keeps of a record."""
    texts = ("program", "source", "source_shape", "model")
    return {key: record[key] for key in texts if key in record} if format == "mrc" else record


@pytest.mark.parametrize(("format", "ngff"), CASES)
def test_the_record_is_read_back_and_the_last_one_counts(format: str, ngff: str, tmp_path: Path) -> None:
    for number, last in enumerate((None, LAST)):
        path = tmp_path / f"out{number}{SUFFIX[format]}"
        create(path, format, ngff).finish(last)
        assert read_record(path) == kept(format, last or FIRST)
        with open_volume(path) as reader:
            assert np.array_equal(reader.read(range(4)), STACK)
            assert reader.info.voxel_size.z == pytest.approx(0.02)


@pytest.mark.parametrize(("format", "ngff"), CASES)
def test_names_of_any_characters_survive(format: str, ngff: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{SUFFIX[format]}"
    record = FIRST | {"source": NAME}
    create(path, format, ngff, record=record).finish({**record, "planes": LAST["planes"]})
    found = read_record(path)
    assert found is not None
    if format == "mrc":
        assert "source" not in found  # labels have question marks for some of these, which name another file
    else:
        assert found == record | {"planes": LAST["planes"]}


@pytest.mark.parametrize(("format", "ngff"), CASES)
def test_an_output_whose_end_was_cut_short_ends_in_the_same_bytes(
    format: str, ngff: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    whole, path = tmp_path / "whole" / f"out{SUFFIX[format]}", tmp_path / f"out{SUFFIX[format]}"
    create(whole, format, ngff).finish(LAST)
    move = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target) == path:
            raise OSError(28, "No space left on device")
        move(source, target)

    writer = create(path, format, ngff)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OutputError, match="No space left"):
            writer.finish(LAST)
    writer.close()
    assert not path.exists()
    create(path, format, ngff, resume=True).finish(LAST)
    assert content(path) == content(whole)


@pytest.mark.parametrize("format", ["tiff", "ome-tiff"])
def test_a_record_that_was_half_replaced_is_replaced_again(format: str, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, path = tmp_path / "whole" / f"out{SUFFIX[format]}", tmp_path / f"out{SUFFIX[format]}"
    create(whole, format).finish(LAST)
    create(path, format).close()
    old, new = partial_path(path).read_bytes(), whole.read_bytes()
    first, end = (int(k) for k in np.flatnonzero(np.frombuffer(old, "u1") != np.frombuffer(new, "u1"))[[0, -1]])
    for cut in range(first, end + 1, 7):
        partial_path(path).write_bytes(new[:cut] + old[cut:])
        create(path, format, resume=True).finish(LAST)
        assert path.read_bytes() == new
        os.replace(path, partial_path(path))


@pytest.mark.parametrize("format", ["tiff", "ome-tiff"])
def test_in_tiff_only_the_record_changes_and_others_read_it(format: str, tmp_path: Path) -> None:
    record = FIRST | {"source": NAME}
    last = LAST | {"source": NAME}
    path = tmp_path / f"out{SUFFIX[format]}"
    writer = create(path, format, record=record)
    with tifffile.TiffFile(partial_path(path)) as tif:
        place, size = tif.series[0].dataoffset, tif.filehandle.size
        first_name = (tif.ome_metadata or "").partition("UUID=")[2][:50]
    writer.finish(last)
    with tifffile.TiffFile(path) as tif:
        assert (tif.series[0].dataoffset, tif.filehandle.size) == (place, size)
        assert np.array_equal(tif.asarray(), STACK)
        if format == "tiff":
            text = (tif.imagej_metadata or {})["Info"]
        else:
            text = tifffile.xml2dict(tif.ome_metadata or "")["OME"]["Image"]["Description"]
            assert ElementTree.fromstring(tif.ome_metadata or "").findtext("{*}Image/{*}Description") is not None
            assert (tif.ome_metadata or "").partition("UUID=")[2][:50] == first_name
    assert json.loads(text) == last


@pytest.mark.parametrize("format", ["tiff", "ome-tiff"])
def test_the_room_is_what_was_asked_for(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{SUFFIX[format]}"
    longest = FIRST | {"planes": FIRST["planes"] + '"' * (ROOM // 2)}  # which JSON escapes
    assert len(json.dumps(longest)) == len(json.dumps(FIRST)) + ROOM
    create(path, format).finish(longest)
    assert read_record(path) == longest
    too_long = FIRST | {"planes": FIRST["planes"] + "x" * 1000}
    writer = create(tmp_path / f"b{SUFFIX[format]}", format)
    with pytest.raises(OutputError, match=r"has room for a record of \d+ bytes and it takes \d+"):
        writer.finish(too_long)
    writer.finish(LAST)
    assert read_record(tmp_path / f"b{SUFFIX[format]}") == LAST


def test_the_room_is_counted_in_bytes_of_the_file(tmp_path: Path) -> None:
    writer = create(tmp_path / "a.ome.tif", "ome-tiff")
    with pytest.raises(OutputError, match="has room for"):  # five bytes each, in XML
        writer.finish(FIRST | {"planes": FIRST["planes"] + "&" * ROOM})
    writer.discard()


def test_the_record_stands_where_a_file_of_the_other_byte_order_has_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    info = json.dumps(FIRST) + " " * ROOM
    tifffile.imwrite(path, STACK, imagej=True, byteorder=">", metadata={"axes": "ZYX", "Info": info})
    with path.open("r+b") as file:
        replace_record(file, path, LAST, ome=False)
    assert read_record(path) == LAST


def test_files_that_are_not_ours_have_no_record(kind: tuple[str, Write, bool], tmp_path: Path) -> None:
    name, write, _ = kind
    write(tmp_path / name, make_stack())
    assert read_record(tmp_path / name) is None


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_record(tmp_path / "none.tif")


def test_levels_and_patterns_lead_to_the_record(tmp_path: Path) -> None:
    create(tmp_path / "a.ome.zarr", "ome-zarr").finish()
    assert read_record(tmp_path / "a.ome.zarr" / "0") == FIRST
    create(tmp_path / "a", "tiff-slices").finish()
    assert read_record(tmp_path / "a" / "*.tif") == FIRST


@pytest.mark.parametrize(
    ("text", "damaged"),
    [
        ("ImageJ=1.53\nslices=4", False),
        ("{no JSON} of ours", False),
        ('{"program": "another 2.0", "planes": 5}', False),
        ('{"program": ["zinterp 1"]}', False),
        ("[]", False),
        ("", False),
        (json.dumps(FIRST)[:-5], True),
        (json.dumps(FIRST | {"planes": 5}), True),
        (json.dumps(FIRST | {"planes": None}), True),
        (json.dumps(FIRST)[:-1] + ', "deep": ' + "[" * 20 + "]" * 20 + "}", True),
        (json.dumps(FIRST)[:-1] + ', "deep": ' + '{"a":' * 100_000 + "1" + "}" * 100_001, True),
        (json.dumps(FIRST)[:-1] + f', "n": {"9" * 5000}}}', True),
    ],
)
def test_what_is_not_a_record_counts_as_none(text: str, damaged: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "zinterp"):
        assert parse_record(text, Path("a.tif")) is None
    assert bool(caplog.records) == damaged


def test_a_record_longer_than_any_is_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / f"out{format}{SUFFIX[format]}" for format in OUTPUT_FORMATS if format != "mrc"]
    for path, format in zip(paths, (format for format in OUTPUT_FORMATS if format != "mrc"), strict=True):
        create(path, format).finish()
        assert read_record(path) is not None
    monkeypatch.setattr("zinterp.io.record.LONGEST", 200)
    monkeypatch.setattr("zinterp.io.tiff_record.LONGEST", 200)
    assert [read_record(path) for path in paths] == [None] * len(paths)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"attributes": []}', '{"record": 5}', "\xff"])
def test_damaged_files_of_json_hold_no_record(text: str, tmp_path: Path) -> None:
    write_zarr_05(tmp_path / "a.zarr", STACK)
    (tmp_path / "a.zarr" / "zarr.json").write_text(text, encoding="latin-1")
    assert read_record(tmp_path / "a.zarr") is None
    create(tmp_path / "a", "tiff-slices").finish()
    (tmp_path / "a" / "zinterp.json").write_text(text, encoding="latin-1")
    assert read_record(tmp_path / "a") is None


def test_damaged_tiff_and_mrc_hold_no_record(tmp_path: Path) -> None:
    for name in ("a.tif", "a.mrc"):
        for damage in (b"", b"II*\0", b"x" * 2000):
            (tmp_path / name).write_bytes(damage)
            assert read_record(tmp_path / name) is None
    assert ome_description("<OME><Image></OME>") == ""
    write_imagej(tmp_path / "b.tif", STACK)
    whole = (tmp_path / "b.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(whole[:300])
    assert read_record(tmp_path / "b.tif") is None
