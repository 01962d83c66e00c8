"""Every kind of input and output, through one set of tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import DTYPES, Stack, Write, make_stack, write_plain_tiff
from zinterp.errors import BadOptionError, BadVolumeError, InputError, OutputError, OutputExistsError
from zinterp.io import (
    FORMATS,
    OUTPUT_FORMATS,
    OutputOptions,
    create_volume,
    format_of,
    open_volume,
    output_format,
    stem_of,
)
from zinterp.volume import VolumeInfo, VoxelSize

Kind = tuple[str, Write, bool]
SUFFIX = {format: next(iter(FORMATS[format].suffixes), "") for format in OUTPUT_FORMATS}


def held(format: str, stack: Stack) -> Stack:
    """The stack in a dtype that the format holds without a change; 16 bit instead where it does not."""
    if format == "mrc" and stack.dtype == np.uint8:
        return stack.astype(np.uint16)
    if format == "png-slices" and stack.dtype not in (np.uint8, np.uint16):
        return make_stack(stack.shape, "uint16")
    return stack


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_is_read_as_it_is(kind: Kind, dtype: str, tmp_path: Path) -> None:
    name, write, has_size = kind
    stack = make_stack(dtype=dtype)
    write(tmp_path / name, stack)
    with open_volume(tmp_path / name) as reader:
        info = reader.info
        assert info.shape == stack.shape
        assert info.dtype == stack.dtype
        assert info.dtype.isnative
        assert np.array_equal(reader.read(range(5)), stack)
        assert np.array_equal(reader.read(range(3, 5)), stack[3:5])
        assert reader.read(range(2, 3)).dtype.isnative
    if has_size:
        size = info.voxel_size
        assert (size.z, size.y, size.x) == pytest.approx((0.02, 0.008, 0.008), rel=1e-6)
        assert info.voxel_size_source
    else:
        assert info.voxel_size == VoxelSize()
        assert info.voxel_size_source == ""


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_what_is_written_is_read_back(format: str, dtype: str, tmp_path: Path) -> None:
    stack = held(format, make_stack((7, 40, 48), dtype))
    info = VolumeInfo((7, 40, 48), stack.dtype, VoxelSize(0.02, 0.008, 0.004), unit="nm", origin=(1.5, 0.25, 0.5))
    path = tmp_path / f"out{SUFFIX[format]}"
    writer = create_volume(path, info, OutputOptions(format, z_chunk=2), {"program": "test"})
    for z in (4, 0, 2, 6):
        writer.write(z, stack[z : z + 2])
        assert not path.exists()
    writer.finish()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with open_volume(path) as reader:
        assert reader.info.format == format
        assert np.array_equal(reader.read(range(7)), stack)
        size = reader.info.voxel_size
        assert (size.z, size.y, size.x) == pytest.approx((0.02, 0.008, 0.004), rel=1e-6)
        assert reader.info.origin == pytest.approx((1.5, 0.25, 0.5), rel=1e-6)


@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_what_is_not_known_stays_unknown(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{SUFFIX[format]}"
    for size in (VoxelSize(), VoxelSize(None, 0.008, 0.008), VoxelSize(0.02, None, None)):
        info = VolumeInfo((2, 20, 20), np.dtype("uint16"), size)
        writer = create_volume(path, info, OutputOptions(format, overwrite=True), {})
        writer.write(0, np.zeros((2, 20, 20), np.uint16))
        writer.finish()
        with open_volume(path) as reader:
            found = reader.info.voxel_size
        if format == "png-slices":
            size = VoxelSize(size.z, *((size.y, size.x) if size.x else (None, None)))
        if format == "tiff" and size.x is None:
            size = VoxelSize()  # ImageJ has one unit for all axes, and pixels without a size would be one unit wide
        for wanted, got in zip((size.z, size.y, size.x), (found.z, found.y, found.x), strict=True):
            assert got == (pytest.approx(wanted, rel=1e-6) if wanted else None)


@given(shape=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40)), dtype=st.sampled_from(DTYPES))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_write_then_read_is_equal(
    format: str, shape: tuple[int, int, int], dtype: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if format == "tiff" and shape[2] == 1:
        format = "ome-tiff"  # as output_format chooses
    stack = held(format, make_stack(shape, dtype))
    path = tmp_path_factory.mktemp("any") / f"out{SUFFIX[format]}"
    writer = create_volume(path, VolumeInfo(shape, stack.dtype), OutputOptions(format, z_chunk=shape[0]), {})
    writer.write(0, stack)
    writer.finish()
    with open_volume(path) as reader:
        assert np.array_equal(reader.read(range(shape[0])), stack)


@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_a_discarded_volume_leaves_nothing(format: str, tmp_path: Path) -> None:
    writer = create_volume(
        tmp_path / f"out{SUFFIX[format]}", VolumeInfo((2, 20, 20), np.dtype("uint8")), OutputOptions(format), {}
    )
    writer.write(0, np.ones((2, 20, 20), np.uint8))
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_a_partial_volume_can_be_gone_on_with(format: str, tmp_path: Path) -> None:
    stack = make_stack((4, 20, 24), "uint16")
    path = tmp_path / f"out{SUFFIX[format]}"
    info = VolumeInfo(stack.shape, stack.dtype)
    first = create_volume(path, info, OutputOptions(format, z_chunk=2), {})
    first.write(0, stack[:2])
    first.close()
    second = create_volume(path, info, OutputOptions(format, z_chunk=2, resume=True), {})
    second.write(2, stack[2:])
    second.finish()
    with open_volume(path) as reader:
        assert np.array_equal(reader.read(range(4)), stack)


@pytest.mark.parametrize("format", OUTPUT_FORMATS)
def test_an_output_that_exists_is_replaced_only_when_told(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{SUFFIX[format]}"
    info = VolumeInfo((2, 20, 20), np.dtype("uint8"))
    for value, overwrite in ((1, False), (2, True)):
        writer = create_volume(path, info, OutputOptions(format, overwrite=overwrite), {})
        writer.write(0, np.full((2, 20, 20), value, np.uint8))
        writer.finish()
    with pytest.raises(OutputExistsError, match="give --overwrite"):
        create_volume(path, info, OutputOptions(format), {})
    with open_volume(path) as reader:
        assert reader.read(range(2)).min() == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_is_missing_or_too_small_is_refused(tmp_path: Path) -> None:
    small = VolumeInfo((2, 20, 20), np.dtype("uint8"))
    with pytest.raises(OutputError, match="does not exist"):
        create_volume(tmp_path / "no" / "out.tif", small, OutputOptions("tiff"), {})
    huge = VolumeInfo((10**6, 10**5, 10**5), np.dtype("uint16"))
    with pytest.raises(OutputError, match=r"GB and .* GB free"):
        create_volume(tmp_path / "out.ome.tif", huge, OutputOptions("ome-tiff"), {})
    with pytest.raises(BadOptionError, match="got the format None"):
        create_volume(tmp_path / "out.tif", small, OutputOptions(), {})
    with pytest.raises(BadOptionError, match="got the format hdf5, expected one of ome-tiff"):
        create_volume(tmp_path / "out.h5", small, OutputOptions("hdf5"), {})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)  # a mode of 0555 does not stop root
    with pytest.raises(OutputError, match=r"may not be written \(Permission denied\)"):
        create_volume(tmp_path / "out.tif", VolumeInfo((2, 9, 9), np.dtype("uint8")), OutputOptions("tiff"), {})


def test_inputs_that_are_not_there_or_not_known_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_volume(tmp_path / "none.tif")
    (tmp_path / "a.nrrd").write_bytes(b"x")
    with pytest.raises(InputError, match="no known suffix"):
        open_volume(tmp_path / "a.nrrd")
    (tmp_path / "a.zarr").write_bytes(b"x")
    with pytest.raises(InputError, match="is a file, not a folder"):
        open_volume(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="does not exist"):
        open_volume(tmp_path / "none.h5:/raw")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="not a Zarr group"):
        open_volume(tmp_path / "folder")


@pytest.mark.parametrize("dtype", ["bool", "complex64", "uint64", "int64"])
def test_dtypes_that_are_not_grey_values_are_refused(dtype: str, tmp_path: Path) -> None:
    import zarr

    zarr.create_array(tmp_path / "a.zarr", shape=(3, 8, 8), dtype=dtype)
    with pytest.raises(BadVolumeError, match=f"holds {dtype} values"):
        open_volume(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("name", "format", "stem"),
    [
        ("a.tif", "tiff", "a"),
        ("a.b.TIFF", "tiff", "a.b"),
        ("a.ome.tif", "ome-tiff", "a"),
        ("a.zarr", "ome-zarr", "a"),
        ("a.ome.zarr", "ome-zarr", "a"),
        ("a.nrrd", None, "a"),
        ("a.mrc", "mrc", "a"),
        ("a.H5", "hdf5", "a"),
        ("a.h5:/group/raw", "hdf5", "raw"),
    ],
)
def test_suffixes(name: str, format: str | None, stem: str) -> None:
    assert format_of(Path(name)) == format
    assert stem_of(Path(name)) == stem


def test_the_output_keeps_the_inputs_family_unless_its_suffix_or_size_says_otherwise() -> None:
    def choose(source: str, path: str | None, dtype: str = "uint8", planes: int = 5, wanted: str | None = None) -> str:
        info = VolumeInfo((planes, 2000, 2000), np.dtype(dtype), format=source)
        return output_format(info, info, Path(path) if path else None, wanted)[0]

    assert choose("tiff", None) == "tiff"
    assert choose("ome-tiff", "b.tif") == "ome-tiff"
    assert choose("ome-tiff", "b.tif", wanted="tiff") == "tiff"
    assert choose("tiff", "b.ome.zarr") == "ome-zarr"
    assert choose("zarr", None) == "ome-zarr"
    assert choose("tiff", "b.tif", dtype="int32") == "ome-tiff"
    assert choose("tiff", "b.tif", planes=1100) == "ome-tiff"
    one_column = VolumeInfo((5, 9, 1), np.dtype("uint8"), format="tiff")
    assert output_format(one_column, one_column, None, None)[0] == "ome-tiff"
    with pytest.raises(BadOptionError, match="no known suffix"):
        choose("tiff", "b.xyz")
    with pytest.raises(BadOptionError, match="named like ome-zarr and to be tiff"):
        choose("tiff", "b.zarr", wanted="tiff")
    with pytest.raises(BadOptionError, match=r"ome-tiff holds .* and the planes are float16"):
        choose("tiff", None, dtype="float16")
    assert choose("hdf5", None) == "ome-zarr"
    assert choose("tiff-slices", None) == "tiff-slices"
    assert choose("tiff-slices", "b") == "tiff-slices"
    assert choose("tiff", "b", wanted="png-slices") == "png-slices"
    assert choose("mrc", "b.tif") == "tiff"
    with pytest.raises(BadOptionError, match="hdf5 can only be read"):
        choose("tiff", "b.h5")
    with pytest.raises(BadOptionError, match="png-slices holds uint8, uint16, and the planes are float32"):
        choose("tiff", "b", dtype="float32", wanted="png-slices")


@pytest.mark.parametrize("format", ["mrc", "tiff-slices", "png-slices"])
def test_formats_of_one_stack_refuse_several(format: str) -> None:
    info = VolumeInfo((5, 9, 9), np.dtype("uint8"), format="tiff", channels=2, times=3)
    with pytest.raises(BadOptionError, match="holds one stack, and there are 2 channels and 3 times"):
        output_format(info, info, None, format)


def test_unsigned_bytes_in_mrc_are_widened_with_a_word_unless_the_input_has_them() -> None:
    def why(source: str) -> str:
        info = VolumeInfo((5, 9, 9), np.dtype("uint8"), format=source)
        return output_format(info, info, Path("b.mrc"), None)[1]

    assert "written as 16 bit" in why("tiff")
    assert why("mrc") == ""


@pytest.mark.parametrize("format", ["tiff", "ome-tiff", "ome-zarr"])
def test_channels_and_times_are_read_back_in_their_order(format: str, tmp_path: Path) -> None:
    stacks = [make_stack((4, 20, 24), "uint16", seed) for seed in range(6)]
    info = VolumeInfo((4, 20, 24), np.dtype("uint16"), VoxelSize(0.02, 0.008, 0.008), channels=2, times=3)
    info = replace(info, channel_names=("BSE", "SE"), unit="nm")
    path = tmp_path / f"out{SUFFIX[format]}"
    writer = create_volume(path, info, OutputOptions(format, z_chunk=2), {})
    for stack in (5, 0, 3, 1, 4, 2):
        for z in (2, 0):
            writer.write(z, stacks[stack][z : z + 2], stack)
    writer.finish()
    with open_volume(path) as reader:
        assert (reader.info.channels, reader.info.times, reader.info.stacks) == (2, 3, 6)
        assert reader.info.channel_names == (() if format == "tiff" else ("BSE", "SE"))
        for stack in range(6):
            assert np.array_equal(reader.read(range(4), stack), stacks[stack])
    with open_volume(path, channel=1, time=2) as reader:
        assert (reader.info.channels, reader.info.times) == (1, 1)
        assert np.array_equal(reader.read(range(4)), stacks[5])
    with open_volume(path, channel=1) as reader:
        assert (reader.info.channels, reader.info.times) == (1, 3)
        assert np.array_equal(reader.read(range(1, 3), 1), stacks[3][1:3])


def test_only_slices_have_gaps_to_fill(tmp_path: Path) -> None:
    write_plain_tiff(tmp_path / "a.tif", make_stack())
    with pytest.raises(BadVolumeError, match="is no folder of slices"):
        open_volume(tmp_path / "a.tif", fill_gaps=True)
