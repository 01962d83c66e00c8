"""What is particular to HDF5."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Stack, make_stack
from zinterp.errors import BadVolumeError, InputError
from zinterp.io import open_volume
from zinterp.io.hdf5 import Hdf5Reader
from zinterp.io.selection import InputOptions
from zinterp.volume import VolumeInfo, VoxelSize

OPTIONS = InputOptions()


def tags(axes: str) -> str:
    """What vigra writes."""
    return json.dumps({"axes": [{"key": key, "typeFlags": 2, "resolution": 0, "description": ""} for key in axes]})


def write(path: Path, stack: Stack, name: str = "data", **attributes: object) -> None:
    """One more dataset of a file."""
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=stack).attrs.update(attributes)


def read_all(path: Path, options: InputOptions = OPTIONS) -> tuple[VolumeInfo, Stack]:
    """Info and all planes of the first stack."""
    with Hdf5Reader(path, options) as reader:
        return reader.info, reader.read(range(reader.info.shape[0]))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is still to be written."""
    return tmp_path / "a.h5"


@pytest.mark.parametrize("dtype", ["uint8", "int16", ">u2", "uint32", "float16", ">f4", "float64"])
def test_a_plain_stack_is_read(dtype: str, path: Path) -> None:
    stack = make_stack(dtype="float64").astype(dtype)
    write(path, stack)
    with Hdf5Reader(path, OPTIONS) as reader:
        info = reader.info
        assert (info.shape, info.format, info.unit) == (stack.shape, "hdf5", "")
        assert (info.channels, info.times, info.origin) == (1, 1, None)
        assert (info.voxel_size, info.voxel_size_source) == (VoxelSize(), "")
        assert info.dtype == stack.dtype.newbyteorder("=")
        for z in (range(5), range(3, 5), range(2, 3)):
            planes = reader.read(z)
            assert np.array_equal(planes, stack[z.start : z.stop])
            assert planes.dtype.isnative
            assert planes.flags.c_contiguous


@pytest.mark.parametrize("options", [{"chunks": (2, 16, 16), "compression": "gzip"}, {"chunks": True, "shuffle": True}])
def test_chunks_and_compression_make_no_difference(options: dict[str, Any], path: Path, stack: Stack) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=stack, **options)
    assert np.array_equal(read_all(path)[1], stack)


@pytest.mark.parametrize("name", [":/group/raw", ":group/raw", ":/group/raw/"])
def test_a_dataset_is_named_behind_a_colon(name: str, path: Path, stack: Stack) -> None:
    write(path, stack, "group/raw")
    write(path, stack + 1, "other")
    write(path, stack[0], "flat")
    assert np.array_equal(read_all(Path(f"{path}{name}"))[1], stack)
    with open_volume(f"{path}:/other") as reader:
        assert np.array_equal(reader.read(range(5)), stack + 1)


def test_the_only_stack_needs_no_name(path: Path, stack: Stack) -> None:
    write(path, stack, "deep/down/raw")
    write(path, stack[0], "flat")
    write(path, stack > 9, "mask")
    with h5py.File(path, "a") as file:
        file["number"] = 3
        file["empty"] = h5py.Empty("f4")
        file["text"] = "abc"
        file["link"] = h5py.SoftLink("/nowhere")
    assert np.array_equal(read_all(path)[1], stack)


def test_several_stacks_are_listed_with_what_to_write(path: Path, stack: Stack) -> None:
    write(path, stack, "b/raw")
    write(path, stack, "a")
    with pytest.raises(InputError, match=r"has 2 numeric datasets.*write .*a\.h5:/a \(shape \(5, 40, 48\), uint8\) or"):
        Hdf5Reader(path, OPTIONS)


def test_a_long_list_is_cut(path: Path) -> None:
    for i in range(12):
        write(path, np.zeros((2, 2, 2)), f"d{i:02}")
    with pytest.raises(InputError, match=r"h5:/d09 \([^)]*\), float64\), and 2 more$"):
        Hdf5Reader(path, OPTIONS)


def test_a_file_without_stacks_is_refused(path: Path, stack: Stack) -> None:
    with h5py.File(path, "w"):
        pass
    with pytest.raises(InputError, match=r"has 0 numeric datasets.*/ holds no dataset"):
        Hdf5Reader(path, OPTIONS)
    write(path, stack > 9, "mask")
    with pytest.raises(InputError, match=r"has 0 numeric datasets.*a\.h5:/mask \(shape \(5, 40, 48\), bool\)"):
        Hdf5Reader(path, OPTIONS)


def test_a_name_that_is_not_there_lists_those_that_are(path: Path, stack: Stack) -> None:
    write(path, stack, "group/raw")
    with h5py.File(path, "a") as file:
        file["link"] = h5py.SoftLink("/nowhere")
        file["type"] = np.dtype("f4")
    for name in ("raw", "link", "type", "group/raw/below"):
        with pytest.raises(InputError, match=rf"a\.h5 has no dataset /{name}: write .*a\.h5:/group/raw"):
            Hdf5Reader(Path(f"{path}:/{name}"), OPTIONS)


def test_a_group_is_refused(path: Path, stack: Stack) -> None:
    write(path, stack, "group/raw")
    with pytest.raises(InputError, match=r"a\.h5:/group is a group, expected a dataset: write .*a\.h5:/group/raw"):
        Hdf5Reader(Path(f"{path}:/group"), OPTIONS)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    axes=st.sampled_from(["zyx", "czyx", "tzyx", "tczyx"]).flatmap(lambda axes: st.permutations(axes)),
    kind=st.sampled_from(["axistags", "bytes", "labels", "DIMENSION_LABELS"]),
)
def test_any_order_of_axes_is_read(axes: list[str], kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.unlink(missing_ok=True)
    lengths = {"t": 2, "c": 3, "z": 4, "y": 5, "x": 6}
    volume = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.uint16).reshape(2, 3, 4, 5, 6)
    kept = volume[tuple(slice(None) if axis in axes else slice(1) for axis in "tczyx")]
    stored = np.squeeze(kept, tuple(i for i, axis in enumerate("tczyx") if axis not in axes))
    order = [axis for axis in "tczyx" if axis in axes]
    write(path, np.transpose(stored, [order.index(axis) for axis in axes]))
    with h5py.File(path, "a") as file:
        dataset = file["data"]
        if kind == "labels":
            for i, axis in enumerate(axes):
                dataset.dims[i].label = axis.upper()
        elif kind == "DIMENSION_LABELS":
            dataset.attrs[kind] = [axis.encode() for axis in axes]
        else:
            dataset.attrs["axistags"] = np.bytes_(tags(axes)) if kind == "bytes" else tags(axes)
    with Hdf5Reader(path, OPTIONS) as reader:
        info = reader.info
        assert info.shape == (4, 5, 6)
        assert (info.times, info.channels) == tuple(lengths[axis] if axis in axes else 1 for axis in "tc")
        for number in range(info.stacks):
            time, channel = divmod(number, info.channels)
            assert np.array_equal(reader.read(range(1, 4), number), kept[time, channel, 1:])


def test_channels_and_times_are_chosen(path: Path) -> None:
    volume = np.arange(2 * 3 * 4 * 5 * 6, dtype=np.uint16).reshape(2, 3, 4, 5, 6)
    write(path, volume, axistags=tags("tczyx"))
    info, planes = read_all(path, InputOptions(channel=2, time=1))
    assert (info.channels, info.times) == (1, 1)
    assert np.array_equal(planes, volume[1, 2])
    with Hdf5Reader(path, InputOptions(channel=1)) as reader:
        assert np.array_equal(reader.read(range(4), 1), volume[1, 1])
    with pytest.raises(BadVolumeError, match="3 channels, got --channel 3"):
        Hdf5Reader(path, InputOptions(channel=3))


@pytest.mark.parametrize("shape", [(5, 40, 48, 1), (1, 5, 1, 40, 48), (1, 5, 40, 1, 48)])
def test_axes_of_one_element_are_left_out(shape: tuple[int, ...], path: Path, stack: Stack) -> None:
    write(path, stack.reshape(shape))
    info, planes = read_all(path)
    assert info.shape == (5, 40, 48)
    assert np.array_equal(planes, stack)


@pytest.mark.parametrize("shape", [(2, 5, 40, 48), (1, 1, 40, 48)])
def test_axes_that_are_not_said_are_refused(shape: tuple[int, ...], path: Path) -> None:
    write(path, np.zeros(shape))
    with pytest.raises(BadVolumeError, match=r"a\.h5:/data has shape .* does not say which axes are z, y and x"):
        Hdf5Reader(path, OPTIONS)


def test_an_image_a_number_and_nothing_are_refused(path: Path, stack: Stack) -> None:
    write(path, stack[0], "flat")
    with h5py.File(path, "a") as file:
        file["number"] = 3
        file["empty"] = h5py.Empty("f4")
    for name in ("flat", "number", "empty"):
        with pytest.raises(BadVolumeError, match=rf"a\.h5:/{name} has shape \(.*expected a stack"):
            Hdf5Reader(Path(f"{path}:/{name}"), OPTIONS)


@pytest.mark.parametrize(
    ("axes", "lacks"), [("tcyx", "lacks z"), ("tzcx", "lacks y"), ("tcze", "lacks y and x"), ("zyxe", ""), ("zyxx", "")]
)
def test_axes_that_make_no_stack_are_refused(axes: str, lacks: str, path: Path) -> None:
    write(path, np.zeros((2, 3, 4, 5)), axistags=tags(axes))
    with pytest.raises(BadVolumeError, match=rf"has axes {', '.join(axes)} of shape .*{lacks}, expected z, y and x"):
        Hdf5Reader(path, OPTIONS)


@pytest.mark.parametrize("text", ["{", "[]", '{"axes": [{}]}', tags("zy"), 3])
def test_axis_tags_that_do_not_fit_are_left_out(
    text: object, path: Path, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, stack, axistags=text)
    assert np.array_equal(read_all(path)[1], stack)
    assert "a.h5:/data has axistags that do not fit" in caplog.text


@pytest.mark.parametrize(
    ("labels", "said"), [(["depth", "y", "x"], True), (["z", "", "x"], True), (["", "", ""], False)]
)
def test_dimension_labels_that_are_no_axes_are_left_out(
    labels: list[str], said: bool, path: Path, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, stack, DIMENSION_LABELS=labels)
    assert np.array_equal(read_all(path)[1], stack)
    assert ("has dimension labels" in caplog.text) == said


@pytest.mark.parametrize("place", ["group/raw", "group", "/"])
def test_the_voxel_size_is_that_of_the_dataset_or_what_holds_it(place: str, path: Path, stack: Stack) -> None:
    write(path, stack, "group/raw")
    with h5py.File(path, "a") as file:
        file[place].attrs["element_size_um"] = np.array([0.02, 0.008, 0.004], np.float32)
    info = read_all(path)[0]
    assert (info.voxel_size.z, info.voxel_size.y, info.voxel_size.x) == pytest.approx((0.02, 0.008, 0.004), rel=1e-6)
    assert (info.voxel_size_source, info.unit) == ("HDF5 element_size_um", "µm")


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((0, 0.2, -1), VoxelSize(None, 0.2, None)),
        ((np.nan, np.inf, 0.1), VoxelSize(None, None, 0.1)),
        ((0.3, 0.2, 0.1), VoxelSize(0.3, 0.2, 0.1)),
        ((0.1, 0.2, 0.3, 1), VoxelSize(0.3, 0.2, 0.1)),  # one for each axis
    ],
)
def test_only_lengths_are_taken(size: tuple[float, ...], expected: VoxelSize, path: Path) -> None:
    write(path, np.zeros((6, 5, 4, 2)), axistags=tags("xyzc"), element_size_um=size)
    assert read_all(path)[0].voxel_size == expected


@pytest.mark.parametrize("size", [0.1, (0.1, 0.2), "5 nm", ()])
def test_a_voxel_size_that_is_none_is_said(
    size: object, path: Path, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, stack, element_size_um=size)
    assert read_all(path)[0].voxel_size == VoxelSize()
    assert "element_size_um that is not three lengths" in caplog.text


@pytest.mark.parametrize("kind", ["bool", "complex64", "uint64", [("a", "i4"), ("b", "f4")]])
def test_what_is_no_grey_value_does_not_crash(kind: Any, path: Path) -> None:
    write(path, np.zeros((2, 3, 4), kind))
    named = f"{path}:/data"
    with Hdf5Reader(Path(named), OPTIONS) as reader:
        assert reader.info.dtype == np.dtype(kind)
    with pytest.raises(BadVolumeError, match="values, expected 8, 16 or 32 bit integers or floats"):
        open_volume(named)


def test_texts_are_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (2, 3, 4), h5py.string_dtype())
    with pytest.raises(BadVolumeError, match="object values"):
        open_volume(f"{path}:/data")


def test_missing_and_damaged_files_are_refused(path: Path, tmp_path: Path, stack: Stack) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Hdf5Reader(path, OPTIONS)
    path.write_bytes(b"%PDF-1.4 not a volume at all" * 100)
    with pytest.raises(InputError, match=r"a\.h5 cannot be read as HDF5 \(.*signature"):
        Hdf5Reader(path, OPTIONS)
    path.unlink()
    write(path, stack)
    for share in (0.2, 0.9, 0.999):
        cut = tmp_path / "cut.h5"
        cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(InputError, match=r"cut\.h5 cannot be read as HDF5 \(.*truncated"):
            Hdf5Reader(cut, OPTIONS)


def test_a_chunk_that_is_damaged_is_reported(path: Path, stack: Stack) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=stack, chunks=(1, 40, 48), fletcher32=True)
        place = data.id.get_chunk_info(3).byte_offset
    with path.open("r+b") as raw:
        raw.seek(place)
        raw.write(bytes(100))
    with Hdf5Reader(path, OPTIONS) as reader:
        assert np.array_equal(reader.read(range(3)), stack[:3])
        with pytest.raises(InputError, match=r"a\.h5 cannot be read as HDF5"):
            reader.read(range(3, 4))


def test_a_file_that_is_being_recorded_is_refused(path: Path, stack: Stack) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file["data"] = stack
        file.flush()
        copy = path.with_name("copy.h5")
        copy.write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="still being written"):
        Hdf5Reader(copy, OPTIONS)


@pytest.mark.skipif(os.name == "nt", reason="HDF5 locks differently on Windows")
def test_a_reader_takes_no_lock(path: Path, stack: Stack) -> None:
    import fcntl

    write(path, stack)
    with path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert np.array_equal(read_all(path)[1], stack)


def test_a_compression_that_is_not_built_in_is_refused(path: Path) -> None:
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((1, 4, 5))
        properties.set_filter(32008, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((3, 4, 5))
        h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_UINT8, space, properties)
    with pytest.raises(InputError, match=r"a\.h5:/data is compressed with HDF5 filter 32008 .*h5repack"):
        Hdf5Reader(path, OPTIONS)


def test_planes_of_other_files_must_be_there(path: Path, stack: Stack) -> None:
    part = path.with_name("part.h5")
    write(part, stack)
    layout = h5py.VirtualLayout(stack.shape, stack.dtype)
    layout[:] = h5py.VirtualSource("part.h5", "data", stack.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)
    assert np.array_equal(read_all(path)[1], stack)
    part.unlink()
    with pytest.raises(InputError, match=r"a\.h5:/data takes planes from part\.h5, which is not there"):
        Hdf5Reader(path, OPTIONS)


def test_closing_twice_does_no_harm_and_reading_says_nothing(
    path: Path, stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, stack, element_size_um=(1, 1, 1), axistags=tags("zyx"))
    with caplog.at_level(logging.INFO), Hdf5Reader(path, OPTIONS) as reader:
        reader.read(range(5))
    reader.close()
    assert caplog.text == ""
    with pytest.raises(InputError, match="cannot be read"):
        reader.read(range(5))
