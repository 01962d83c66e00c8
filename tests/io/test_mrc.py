"""What is particular to MRC."""

import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mrcfile.dtypes import HEADER_DTYPE

from tests.conftest import Stack, make_stack
from zinterp.errors import BadOptionError, BadVolumeError, InputError, OutputError
from zinterp.io.mrc import IMOD_STAMP, MrcReader, MrcWriter, add_statistics
from zinterp.io.selection import InputOptions
from zinterp.volume import VolumeInfo, VoxelSize, partial_path

DTYPES = ("int8", "int16", "uint16", "float32", "float16")
WRITTEN_DTYPES = ("uint8", *DTYPES)
OPTIONS = InputOptions()
SHAPE = (5, 12, 14)
RECORD = {
    "program": "zinterp 0.1.0",
    "source": "tomö.mrc",
    "source_shape": [3, 12, 14],
    "model": "m" * 100,
    "tile": [8],
}

Change = Callable[[Any], None]


def values(dtype: str = "float32", shape: tuple[int, int, int] = SHAPE) -> Stack:
    """A stack of any dtype that MRC holds."""
    return make_stack(shape, dtype)


def write(path: Path, stack: Stack, change: Change | None = None, order: str = "<") -> None:
    """An MRC file as mrcfile writes it, 30 x 20 x 10 angstrom, whose byte order and header are changed afterwards."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(stack.astype(stack.dtype.newbyteorder("<")))
        mrc.voxel_size = (10, 20, 30)  # x, y, z
    header = np.frombuffer(path.read_bytes(), HEADER_DTYPE.newbyteorder("<"), 1).astype(
        HEADER_DTYPE.newbyteorder(order)
    )
    if order == ">":
        header["machst"] = (0x11, 0x11, 0, 0)
    if change:
        change(header)
    path.write_bytes(header.tobytes() + stack.astype(stack.dtype.newbyteorder(order)).tobytes())


def setting(fields: Mapping[str, object]) -> Change:
    """Put values into header fields."""

    def change(header: Any) -> None:
        for name, value in fields.items():
            header[name] = value

    return change


def imod(flags: int, order: str = "<", **fields: object) -> Change:
    """Mark a header as IMOD's."""

    def change(header: Any) -> None:
        extra = bytearray(84)
        extra[40:48] = np.array([IMOD_STAMP, flags], order + "i4").tobytes()
        header["extra2"] = np.void(bytes(extra))
        setting({"nversion": 0, **fields})(header)

    return change


def near(found: Iterable[float | None], expected: Iterable[float | None], scale: float = 1e4) -> bool:
    """Whether micrometres are the expected angstrom; None only where None is expected."""
    pairs = list(zip(found, expected, strict=True))
    return all((a is None) == (b is None) and (a is None or a * scale == pytest.approx(b, rel=1e-5)) for a, b in pairs)


def lengths_of(info: VolumeInfo) -> tuple[float | None, float | None, float | None]:
    """Voxel size as a tuple."""
    return info.voxel_size.z, info.voxel_size.y, info.voxel_size.x


def read_all(path: Path, options: InputOptions = OPTIONS) -> tuple[VolumeInfo, Stack]:
    """Info and all planes of the first stack."""
    with MrcReader(path, options) as reader:
        return reader.info, reader.read(range(reader.info.shape[0]))


@pytest.mark.parametrize(
    ("name", "dtype", "size", "origin"),
    [
        ("emd_3197.map", "float32", (11.4, 11.4, 11.4), (0, 0, -2 * 11.4)),
        # columns run along z, rows along x, sections along y
        ("emd_3001_anisotropic.map", "float32", (0.3925, 0.44825, 0.45875), (-12 * 0.3925, -21 * 0.44825, 0)),
        ("tomogram.mrc", "int8", (23.2, 23.2, 23.2), None),
        ("infinite_z_voxel.mrc", "int8", (None, 23.2, 23.2), None),
    ],
)
def test_files_of_other_programs_are_read(
    name: str, dtype: str, size: tuple[float | None, ...], origin: tuple[float, ...] | None, data: Path
) -> None:
    path = data / "formats" / name
    info, planes = read_all(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with mrcfile.open(path, permissive=True) as mrc:
            truth = mrc.data if mrc.data.ndim == 3 else mrc.data[None]
            grey = (float(mrc.header.dmin), float(mrc.header.dmax))
    assert info.shape == truth.shape
    assert info.dtype == planes.dtype == np.dtype(dtype)
    assert np.array_equal(planes, truth)
    shift = 256 if dtype == "int8" else 0  # their grey values are unsigned, and come in the same order as signed ones
    assert (float(planes.min()) + shift, float(planes.max()) + shift) == pytest.approx(grey, rel=1e-5)
    assert near(lengths_of(info), size)
    assert info.voxel_size_source == "MRC header"
    assert near(info.origin or [None], origin or [None])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_mode_is_read_in_either_byte_order(dtype: str, order: str, tmp_path: Path) -> None:
    stack = values(dtype)
    write(tmp_path / "a.mrc", stack, order=order)
    with MrcReader(tmp_path / "a.mrc", OPTIONS) as reader:
        info = reader.info
        assert (info.shape, info.dtype, info.format, info.unit) == (SHAPE, stack.dtype, "mrc", "Å")
        assert (info.channels, info.times, info.origin) == (1, 1, None)
        assert info.dtype.isnative
        assert near(lengths_of(info), (30, 20, 10))
        for z in (range(5), range(3, 5), range(2, 3)):
            assert np.array_equal(reader.read(z), stack[z.start : z.stop])
        assert reader.read(range(1)).dtype.isnative


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_files_without_map_and_machine_stamp_are_read(dtype: str, order: str, tmp_path: Path) -> None:
    stack = values(dtype)
    old = setting({"map": b"\0\0\x91E", "machst": (0, 0, 0, 0), "nversion": 0, "origin": (1, 2, 3)})
    write(tmp_path / "a.mrc", stack, old, order)
    info, planes = read_all(tmp_path / "a.mrc")
    assert np.array_equal(planes, stack)
    assert info.dtype == stack.dtype
    assert info.origin is None


@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_a_wrong_machine_stamp_does_no_harm(dtype: str, tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", values(dtype), setting({"machst": (0x11, 0x11, 0, 0)}))
    assert np.array_equal(read_all(tmp_path / "a.mrc")[1], values(dtype))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("flags", "grey", "dtype"),
    [
        (0, (-128, 127), "uint8"),
        (1, (0, 255), "int8"),
        (None, (0, 255), "uint8"),
        (None, (130, 255), "int8"),
        (None, (-100, 100), "int8"),
        (None, (0, 100), "int8"),
    ],
)
def test_bytes_are_signed_by_imods_flag_or_by_their_grey_values(
    flags: int | None, grey: tuple[int, int], dtype: str, order: str, tmp_path: Path
) -> None:
    stack = values("int8")
    fields = {"dmin": grey[0], "dmax": grey[1]}
    write(tmp_path / "a.mrc", stack, setting(fields) if flags is None else imod(flags, order, **fields), order)
    info, planes = read_all(tmp_path / "a.mrc")
    assert info.dtype == planes.dtype == np.dtype(dtype)
    assert np.array_equal(planes, stack.view(dtype))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (setting({"mode": 3}), "complex integers"),
        (setting({"mode": 4}), "complex floats"),
        (setting({"mode": 16}), "red, green and blue"),
        (setting({"mode": 101}), "4-bit"),
        (imod(16, mode=0), "4-bit"),
    ],
)
def test_modes_without_grey_values_are_refused(change: Change, kind: str, tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", values(), change)
    with pytest.raises(BadVolumeError, match=f"a.mrc holds {kind}.*expected grey values.*convert"):
        MrcReader(tmp_path / "a.mrc", OPTIONS)


def test_a_single_image_is_one_plane(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(values()[0])
    info, planes = read_all(tmp_path / "a.mrc")
    assert info.shape == (1, 12, 14)
    assert np.array_equal(planes[0], values()[0])


def test_an_image_stack_is_a_stack(tmp_path: Path) -> None:
    write(tmp_path / "a.st", values(), setting({"ispg": 0, "mz": 1}))
    info, planes = read_all(tmp_path / "a.st")
    assert (info.shape, info.times) == (SHAPE, 1)
    assert np.array_equal(planes, values())


def test_the_volumes_of_a_stack_are_times(tmp_path: Path) -> None:
    volumes = np.arange(3 * 2 * 4 * 5, dtype=np.int16).reshape(3, 2, 4, 5)
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(volumes)
        mrc.voxel_size = (10, 20, 30)
        assert mrc.is_volume_stack()
    with MrcReader(tmp_path / "a.mrc", OPTIONS) as reader:
        assert (reader.info.shape, reader.info.times) == ((2, 4, 5), 3)
        assert reader.info.voxel_size.z == pytest.approx(0.003)
        for time in range(3):
            assert np.array_equal(reader.read(range(1, 2), time), volumes[time, 1:])
    info, planes = read_all(tmp_path / "a.mrc", InputOptions(time=2))
    assert info.times == 1
    assert np.array_equal(planes, volumes[2])
    with pytest.raises(BadVolumeError, match="3 times, got --time 3"):
        MrcReader(tmp_path / "a.mrc", InputOptions(time=3))
    with pytest.raises(BadVolumeError, match="1 channel, got --channel 1"):
        MrcReader(tmp_path / "a.mrc", InputOptions(channel=1))


@pytest.mark.parametrize("grid", [0, -1, 2])
def test_a_stack_of_volumes_that_does_not_come_out_even_is_refused(grid: int, tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", values(), setting({"ispg": 401, "mz": grid}))
    with pytest.raises(BadVolumeError, match="expected a multiple"):
        MrcReader(tmp_path / "a.mrc", OPTIONS)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"mapc": 0, "mapr": 0, "maps": 0}, (30, 20, 10)),
        ({"mapc": 3, "mapr": 1, "maps": 2, "mx": 12, "my": 5, "mz": 14}, (48, 140 / 12, 150 / 14)),
        ({"cella": (140, 240, np.inf)}, (None, 20, 10)),
        ({"cella": (140, np.nan, 150)}, (30, None, 10)),
        ({"cella": (0, -240, 150)}, (30, None, None)),
        ({"cella": (0, 0, 0)}, (None, None, None)),
        ({"mx": 0, "my": -1}, (30, None, None)),
        ({"cella": (14, 12, 5)}, (None, None, None)),  # 1 angstrom: not known
        ({"cella": (14, 12, 10)}, (2, 1, 1)),
    ],
)
def test_voxel_sizes_go_to_their_axes_and_only_lengths_are_taken(
    fields: dict[str, Any], expected: tuple[float | None, ...], tmp_path: Path
) -> None:
    write(tmp_path / "a.mrc", values(), setting(fields))
    info, planes = read_all(tmp_path / "a.mrc")
    assert near(lengths_of(info), expected)
    assert info.voxel_size_source == ("MRC header" if any(expected) else "")
    assert np.array_equal(planes, values())


def test_an_impossible_axis_order_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.mrc", values(), setting({"mapr": 1}))
    assert read_all(tmp_path / "a.mrc")[0].voxel_size.y == pytest.approx(0.002)
    assert "a.mrc has the axis order [3, 1, 1]" in caplog.text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (setting({"origin": (1, 2, 3)}), (3, 2, 1)),
        (setting({"origin": (1, 2, 3), "nxstart": 7}), (3, 2, 1)),
        (setting({"origin": (0, 0, -5), "mapc": 3, "maps": 1}), (0, 0, -5)),
        (setting({"nxstart": 1, "nystart": -2, "nzstart": 3}), (90, -40, 10)),
        (setting({"nxstart": 1, "cella": (0, 0, 0)}), None),
        (setting({"origin": (np.nan, 1, 2)}), None),
        (imod(0, origin=(1, 2, 3)), (-3, -2, -1)),
        (imod(4, origin=(1, 2, 3)), (3, 2, 1)),
    ],
)
def test_the_origin_is_found(change: Change, expected: tuple[float, ...] | None, tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", values(), change)
    assert near(read_all(tmp_path / "a.mrc")[0].origin or [None], expected or [None])


def test_an_extended_header_is_skipped(tmp_path: Path) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(values())
        mrc.set_extended_header(np.frombuffer(b"x" * 333, "V1"))
    assert np.array_equal(read_all(tmp_path / "a.mrc")[1], values())


@pytest.mark.parametrize("size", [0, 1023, 1024, 1100, 1024 + 5 * 12 * 14 * 4 - 1])
def test_a_truncated_file_is_refused(size: int, tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", values())
    (tmp_path / "a.mrc").write_bytes((tmp_path / "a.mrc").read_bytes()[:size])
    with pytest.raises(InputError, match=f"a.mrc has {size} bytes, expected .*: it was cut short; copy it again"):
        MrcReader(tmp_path / "a.mrc", OPTIONS)


def test_a_file_that_is_cut_while_it_is_read_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    write(path, values())
    with MrcReader(path, OPTIONS) as reader:
        os.truncate(path, 1500)
        with pytest.raises(InputError, match="ends before plane 4: it was cut short"):
            reader.read(range(5))


@pytest.mark.parametrize("fields", [{"nx": 2**31 - 1, "ny": 2**31 - 1, "nz": 2**31 - 1}, {"nsymbt": 2**31 - 1}])
def test_a_huge_declared_size_takes_no_memory(fields: dict[str, int], tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", values(), setting(fields))
    with pytest.raises(InputError, match="cut short"):
        MrcReader(tmp_path / "a.mrc", OPTIONS)


@pytest.mark.parametrize("fields", [{"nz": 0}, {"nx": -1}, {"mode": 7}, {"nsymbt": -1}])
def test_a_header_that_makes_no_sense_is_refused(fields: dict[str, int], tmp_path: Path) -> None:
    write(tmp_path / "a.mrc", values(), setting(fields))
    with pytest.raises(InputError, match=r"a\.mrc is no MRC file"):
        MrcReader(tmp_path / "a.mrc", OPTIONS)


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mrc").write_bytes(b"%PDF-1.4 not an image at all" * 100)
    with pytest.raises(InputError, match=r"a\.mrc is no MRC file"):
        MrcReader(tmp_path / "a.mrc", OPTIONS)
    with pytest.raises(InputError, match="does not exist"):
        MrcReader(tmp_path / "b.mrc", OPTIONS)
    with pytest.raises(InputError, match="cannot be read"):
        MrcReader(tmp_path, OPTIONS)


def test_bytes_behind_the_planes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.mrc", values())
    with (tmp_path / "a.mrc").open("ab") as file:
        file.write(bytes(10))
    assert np.array_equal(read_all(tmp_path / "a.mrc")[1], values())
    assert "a.mrc is 10 bytes longer" in caplog.text


def test_reading_says_nothing_of_usual_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.mrc", values())
    with caplog.at_level(logging.INFO):
        read_all(tmp_path / "a.mrc")
    assert caplog.text == ""


def info_of(stack: Stack, **fields: Any) -> VolumeInfo:
    """Of an output, 30 x 20 x 10 angstrom."""
    known = {"voxel_size": VoxelSize(0.003, 0.002, 0.001), "format": "mrc", **fields}
    return VolumeInfo((len(stack), *stack.shape[1:]), stack.dtype, **known)


def write_ours(path: Path, stack: Stack, **fields: Any) -> None:
    """A file of ours, its last planes first."""
    writer = MrcWriter(path, info_of(stack, **fields), record=RECORD)
    for z in (3, 0):
        writer.write(z, stack[z : z + 3])
        assert not path.exists()
    writer.finish()
    assert not partial_path(path).exists()


@pytest.mark.parametrize("dtype", WRITTEN_DTYPES)
def test_what_is_written_is_valid_and_read_back(dtype: str, tmp_path: Path) -> None:
    stack = values(dtype)
    path = tmp_path / "a.mrc"
    write_ours(path, stack, origin=(0.3, 0.2, 0.1))
    stored = "uint16" if dtype == "uint8" else dtype
    report = io.StringIO()
    assert mrcfile.validate(path, print_file=report), report.getvalue()
    with mrcfile.open(path) as mrc:
        assert mrc.data.dtype == np.dtype(stored)
        assert np.array_equal(mrc.data, stack)
        assert mrc.is_volume()
        assert mrc.voxel_size.tolist() == pytest.approx((10, 20, 30))
        assert mrc.header.origin.tolist() == pytest.approx((1000, 2000, 3000))
        exact = stack.astype(float)
        statistics = [float(mrc.header[name]) for name in ("dmin", "dmax", "dmean", "rms")]
        assert statistics == pytest.approx([exact.min(), exact.max(), exact.mean(), exact.std()], rel=1e-6)
        assert mrc.get_labels() == ["zinterp 0.1.0", "source: tom?.mrc", "source_shape: 3x12x14", f"model: {'m' * 72}"]
    info, planes = read_all(path)
    assert np.array_equal(planes, stack)
    assert info.dtype == np.dtype(stored)
    assert near(lengths_of(info), (30, 20, 10))
    assert info.origin == pytest.approx((0.3, 0.2, 0.1), rel=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "float32"])
def test_simpleitk_sees_values_and_spacing(dtype: str, tmp_path: Path) -> None:
    stack = values(dtype)
    write_ours(tmp_path / "a.mrc", stack, origin=(0.0003, 0.0002, 0.0001))
    image = SimpleITK.ReadImage(tmp_path / "a.mrc")
    assert np.array_equal(SimpleITK.GetArrayFromImage(image), stack)
    assert image.GetSpacing() == pytest.approx((10, 20, 30))
    assert image.GetOrigin() == pytest.approx((1, 2, 3))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    dtype=st.sampled_from(WRITTEN_DTYPES),
    lengths=st.tuples(*[st.none() | st.floats(1e-4, 100)] * 3),
    seed=st.integers(0, 99),
)
def test_write_then_read_is_equal(
    shape: tuple[int, int, int], dtype: str, lengths: tuple[float | None, ...], seed: int, tmp_path: Path
) -> None:
    stack = make_stack(shape, dtype, seed)
    size = VoxelSize(*lengths)
    writer = MrcWriter(tmp_path / "a.mrc", info_of(stack, voxel_size=size), record={})
    for z in reversed(range(shape[0])):
        writer.write(z, stack[z : z + 1])
    writer.finish()
    info, planes = read_all(tmp_path / "a.mrc")
    assert np.array_equal(planes, stack)
    if any(length != pytest.approx(1e-4, rel=1e-6) for length in lengths):  # which float32 makes exactly 1 angstrom
        assert near(lengths_of(info), lengths, scale=1)


def test_unknown_lengths_are_zero(tmp_path: Path) -> None:
    write_ours(tmp_path / "a.mrc", values(), voxel_size=VoxelSize(None, 0.002, 0.001))
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert mrc.header.cella.tolist() == pytest.approx((140, 240, 0))
    assert mrcfile.validate(tmp_path / "a.mrc", print_file=io.StringIO())
    assert read_all(tmp_path / "a.mrc")[0].voxel_size.z is None


def test_statistics_are_taken_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinterp.io.mrc.BLOCK", 7)
    stack = values("float32") + np.float32(1000)
    header = np.zeros((), HEADER_DTYPE)
    add_statistics(header, io.BytesIO(bytes(1024) + stack.tobytes()), stack.dtype)
    exact = stack.astype(float)
    assert header["rms"] == pytest.approx(exact.std(), rel=1e-5)
    assert header["dmean"] == pytest.approx(exact.mean(), rel=1e-7)
    assert (header["dmin"], header["dmax"]) == (stack.min(), stack.max())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_statistics_are_left_out_where_voxels_are_not_finite(bad: float, tmp_path: Path) -> None:
    stack = values("float32")
    stack[2, 3, 4] = bad
    stack[2, 3, 5] = -bad
    write_ours(tmp_path / "a.mrc", stack)
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert [float(mrc.header[name]) for name in ("dmin", "dmax", "dmean", "rms")] == [0, -1, -2, -1]
    assert mrcfile.validate(tmp_path / "a.mrc", print_file=io.StringIO())
    assert np.array_equal(read_all(tmp_path / "a.mrc")[1], stack, equal_nan=True)


def test_the_header_holds_ten_labels_at_most(tmp_path: Path) -> None:
    record: dict[str, object] = {"empty": 1, "program": " "} | {f"k{i}": "two\nlines" for i in range(20)}
    writer = MrcWriter(tmp_path / "a.mrc", info_of(values()), record=record)
    writer.write(0, values())
    writer.finish()
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert mrc.get_labels() == [f"k{i}: two?lines" for i in range(10)]
    assert mrcfile.validate(tmp_path / "a.mrc", print_file=io.StringIO())


@pytest.mark.parametrize("fields", [{"dtype": np.dtype("uint32")}, {"dtype": np.dtype("float64")}, {"times": 2}])
def test_what_mrc_cannot_hold_is_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    dtype = fields.pop("dtype", np.dtype("uint16"))
    with pytest.raises(BadOptionError, match=r"MRC holds one of .*give --format ome-zarr"):
        MrcWriter(tmp_path / "a.mrc", VolumeInfo(SHAPE, dtype, **fields), record={})
    assert not list(tmp_path.iterdir())


def test_a_writer_goes_on_in_its_partial_file(tmp_path: Path) -> None:
    stack = values("uint8")
    path = tmp_path / "a.mrc"
    first = MrcWriter(path, info_of(stack), record=RECORD)
    first.write(0, stack[:2])
    first.close()
    second = MrcWriter(path, info_of(stack), record=RECORD, resume=True)
    second.write(2, stack[2:])
    second.finish()
    assert np.array_equal(read_all(path)[1], stack)
    assert mrcfile.validate(path, print_file=io.StringIO())
    write_ours(tmp_path / "b.mrc", stack)
    assert path.read_bytes() == (tmp_path / "b.mrc").read_bytes()


def test_a_partial_file_of_another_size_is_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    MrcWriter(path, info_of(values()), record={}).close()
    size = partial_path(path).stat().st_size
    os.truncate(partial_path(path), size - 1)
    with pytest.raises(OutputError, match=f"has {size - 1} bytes, expected {size}: start again with --overwrite"):
        MrcWriter(path, info_of(values()), record={}, resume=True)
    assert partial_path(path).exists()
    partial_path(path).unlink()
    with pytest.raises(OutputError, match="No such file"):
        MrcWriter(path, info_of(values()), record={}, resume=True)


def test_discard_removes_what_was_written(tmp_path: Path) -> None:
    writer = MrcWriter(tmp_path / "a.mrc", info_of(values()), record={})
    writer.write(0, values())
    writer.discard()
    assert not list(tmp_path.iterdir())


def full(*_: object) -> None:
    """A disk without room."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.skipif(sys.platform != "linux", reason="posix_fallocate is there on Linux")
def test_a_full_disk_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match=r"a\.mrc\.partial \(No space left"):
        MrcWriter(tmp_path / "a.mrc", info_of(values()), record={})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_during_the_work_leaves_the_partial_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = MrcWriter(tmp_path / "a.mrc", info_of(values()), record={})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            writer.write(0, values())
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OutputError, match=r"a\.mrc \(No space left"):
            writer.finish()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrc.partial"]


def test_a_system_without_reservation_still_has_the_right_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    writer = MrcWriter(tmp_path / "a.mrc", info_of(values()), record={})
    assert partial_path(tmp_path / "a.mrc").stat().st_size == 1024 + values().nbytes
    writer.discard()


def test_unsigned_bytes_are_written_as_imod_has_them_where_asked(tmp_path: Path) -> None:
    stack = values("uint8")
    path = tmp_path / "a.mrc"
    writer = MrcWriter(path, info_of(stack), record=RECORD, unsigned_bytes=True)
    writer.write(0, stack)
    writer.finish()
    info, planes = read_all(path)
    assert info.dtype == np.uint8
    assert np.array_equal(planes, stack)
    with mrcfile.open(path) as mrc:
        assert np.array_equal(mrc.data.view(np.uint8), stack)
