"""What is particular to OME-Zarr."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaozarrs
import zarr

from tests.conftest import make_stack, write_zarr
from zinterp.errors import BadVolumeError, InputError, OutputError
from zinterp.io import OutputOptions, create_volume, open_volume
from zinterp.io.ngff_writer import NgffWriter, shrink
from zinterp.volume import VolumeInfo, VoxelSize


def write_output(path: Path, stack: np.ndarray, size: VoxelSize, version: str = "0.5", z_chunk: int = 4) -> None:
    """Write a whole stack through our writer."""
    info = VolumeInfo((stack.shape[0], stack.shape[1], stack.shape[2]), stack.dtype, size)
    writer = create_volume(path, info, OutputOptions("ome-zarr", ngff=version, z_chunk=z_chunk), {"model": "cubic"})
    for z in range(0, len(stack), z_chunk):
        writer.write(z, stack[z : z + z_chunk])
    writer.finish()


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_outputs_are_valid_ngff_with_si_units_and_a_pyramid(version: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    stack = make_stack((9, 600, 700))
    write_output(path, stack, VoxelSize(0.02, 0.008, 0.008), version)
    yaozarrs.validate_zarr_store(str(path))
    group = zarr.open_group(path, mode="r")
    attributes: Any = group.attrs.asdict()
    multiscale = attributes.get("ome", attributes)["multiscales"][0]
    assert [axis["unit"] for axis in multiscale["axes"]] == ["nanometer"] * 3
    scales = [d["coordinateTransformations"][0]["scale"] for d in multiscale["datasets"]]
    shifts = [d["coordinateTransformations"][1]["translation"] for d in multiscale["datasets"]]
    assert scales == pytest.approx(np.array([[20, 8, 8], [20, 16, 16], [40, 32, 32]]))
    assert shifts == pytest.approx(np.array([[0, 0, 0], [0, 4, 4], [10, 12, 12]]))
    assert [group[d["path"]].shape for d in multiscale["datasets"]] == [(9, 600, 700), (9, 300, 350), (5, 150, 175)]
    assert attributes["zinterp"] == {"model": "cubic"}
    middle = stack[3, 200:202, 300:302].astype(float).mean()
    assert abs(float(np.asarray(group["1"][3, 100, 150])) - middle) <= 0.5


def test_micrometres_for_large_voxels(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    write_output(path, make_stack(), VoxelSize(141.0, 141.0, 141.0))
    attributes: Any = zarr.open_group(path, mode="r").attrs.asdict()
    assert {axis["unit"] for axis in attributes["ome"]["multiscales"][0]["axes"]} == {"micrometer"}
    with open_volume(path) as reader:
        assert reader.info.voxel_size == VoxelSize(141.0, 141.0, 141.0)


def test_one_slab_is_one_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.zarr"
    write_output(path, make_stack((8, 40, 48)) + np.uint8(1), VoxelSize(), z_chunk=4)
    files = [p for p in (path / "0").rglob("*") if p.is_file() and p.name != "zarr.json"]
    assert len(files) == 2


@pytest.mark.parametrize("z_chunk", [1, 3, 16, 20])
def test_any_slab_depth_can_be_written(z_chunk: int, tmp_path: Path) -> None:
    stack = make_stack((23, 40, 48))
    write_output(tmp_path / "a.zarr", stack, VoxelSize(), z_chunk=z_chunk)
    with open_volume(tmp_path / "a.zarr") as reader:
        assert np.array_equal(reader.read(range(23)), stack)


def test_blocks_that_would_share_a_shard_are_refused(tmp_path: Path) -> None:
    info = VolumeInfo((8, 40, 48), np.dtype("uint8"))
    writer = NgffWriter(tmp_path / "a.zarr", info, version="0.5", z_chunk=4, record={})
    for z, count in ((2, 4), (0, 3)):
        with pytest.raises(ValueError, match="expected whole blocks of 4"):
            writer.write(z, np.zeros((count, 40, 48), np.uint8))


def test_channels_and_times_are_chosen(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4 * 8 * 9, dtype=np.uint16).reshape(2, 3, 4, 8, 9)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=3)
    array = group.create_array("0", shape=values.shape, dtype=values.dtype, chunks=(1, 1, 2, 8, 9))
    array[:] = values
    kinds = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
    axes = [{"name": name, "type": kind} for name, kind in kinds.items()]
    scale = [{"type": "scale", "scale": [1.0] * 5}]
    datasets = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    with open_volume(tmp_path / "a.zarr", time=1, channel=2) as reader:
        assert reader.info.shape == (4, 8, 9)
        assert reader.info.voxel_size == VoxelSize()
        assert np.array_equal(reader.read(range(1, 3)), values[1, 2, 1:3])
    with open_volume(tmp_path / "a.zarr") as reader:
        assert (reader.info.channels, reader.info.times) == (3, 2)
        assert np.array_equal(reader.read(range(1, 3), 5), values[1, 2, 1:3])
    with pytest.raises(BadVolumeError, match="2 times, got --time 2"):
        open_volume(tmp_path / "a.zarr", time=2)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_any_level_can_be_named_and_has_its_own_lengths(version: str, tmp_path: Path) -> None:
    stack = make_stack((4, 600, 40), "uint16")
    path = tmp_path / "a.ome.zarr"
    write_output(path, stack, VoxelSize(0.02, 0.008, 0.008), version)
    with open_volume(path / "1") as reader:
        assert reader.info.shape == (4, 300, 20)
        assert reader.info.voxel_size == VoxelSize(0.02, 0.016, 0.016)
        assert reader.info.origin == pytest.approx((0, 0.004, 0.004))
        assert reader.info.format == "ome-zarr"
    with open_volume(path / "0") as reader:
        assert np.array_equal(reader.read(range(4)), stack)


def test_an_array_that_is_no_level_of_its_image_is_refused(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.zarr", make_stack(), "0.5")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
    group.create_array("masks/cells", shape=(5, 40, 48), dtype="u1")
    with pytest.raises(BadVolumeError, match="is no level of its image, which has s0"):
        open_volume(tmp_path / "a.zarr" / "masks" / "cells")


def test_labels_are_refused_whether_image_or_level_is_named(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.zarr", make_stack(), "0.5")
    zarr.open_group(tmp_path / "a.zarr" / "labels", mode="w")
    write_zarr(tmp_path / "a.zarr" / "labels" / "cells", make_stack(), "0.5")
    group = zarr.open_group(tmp_path / "a.zarr" / "labels" / "cells", mode="r+")
    ome: Any = group.attrs["ome"]
    group.attrs["ome"] = {**ome, "image-label": {}}
    for path in (tmp_path / "a.zarr" / "labels" / "cells", tmp_path / "a.zarr" / "labels" / "cells" / "s0"):
        with pytest.raises(BadVolumeError, match="labels cannot be interpolated"):
            open_volume(path)
    with pytest.raises(BadVolumeError, match="labels cannot be interpolated"):
        open_volume(tmp_path / "a.zarr" / "labels")


def test_the_only_image_of_a_collection_is_opened_and_of_several_one_must_be_named(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    write_zarr(tmp_path / "a.zarr" / "0", make_stack(), "0.4")
    with open_volume(tmp_path / "a.zarr") as reader:
        assert np.array_equal(reader.read(range(5)), make_stack())
        assert reader.info.voxel_size.z == pytest.approx(0.02)
    write_zarr(tmp_path / "a.zarr" / "1", make_stack(), "0.4")
    with pytest.raises(BadVolumeError, match="holds the images 0, 1, expected one: give its path"):
        open_volume(tmp_path / "a.zarr")


def test_translations_are_read_and_written(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.zarr", make_stack(), "0.5")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
    ome: Any = group.attrs["ome"]
    dataset = ome["multiscales"][0]["datasets"][0]
    dataset["coordinateTransformations"].append({"type": "translation", "translation": [100.0, 20.0, 3.0]})
    ome["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [2.0, 1.0, 1.0]}]
    group.attrs["ome"] = ome
    with open_volume(tmp_path / "a.zarr") as reader:
        assert reader.info.origin == pytest.approx((0.2, 0.02, 0.003))


def test_scales_of_level_and_image_are_multiplied(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_zarr(path, make_stack(), "0.5")
    group = zarr.open_group(path, mode="r+")
    ome: Any = group.attrs["ome"]
    ome["multiscales"][0]["coordinateTransformations"] = [{"type": "scale", "scale": [2.0, 1.0, 1.0]}]
    group.attrs["ome"] = ome
    with open_volume(path) as reader:
        assert reader.info.voxel_size == VoxelSize(0.04, 0.008, 0.008)


def test_groups_that_are_no_images_are_refused(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    with pytest.raises(BadVolumeError, match="without multiscales"):
        open_volume(tmp_path / "a.zarr")
    write_zarr(tmp_path / "b.zarr", make_stack(), "0.5")
    group = zarr.open_group(tmp_path / "b.zarr", mode="r+")
    ome: Any = group.attrs["ome"]
    group.attrs["ome"] = {**ome, "image-label": {}}
    with pytest.raises(BadVolumeError, match="label image"):
        open_volume(tmp_path / "b.zarr")
    zarr.create_array(tmp_path / "c.zarr", shape=(8, 9), dtype="u1")
    with pytest.raises(BadVolumeError, match="expected a stack of planes zyx"):
        open_volume(tmp_path / "c.zarr")


def test_metadata_that_do_not_hold_are_refused(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.zarr", make_stack(), "0.5")
    group = zarr.open_group(tmp_path / "a.zarr", mode="r+")
    ome: Any = group.attrs["ome"]
    ome["multiscales"][0]["datasets"][0]["path"] = "nowhere"
    group.attrs["ome"] = ome
    with pytest.raises(BadVolumeError, match="'nowhere' is not an array"):
        open_volume(tmp_path / "a.zarr")
    group.create_group("inner")
    ome["multiscales"][0]["datasets"][0]["path"] = "inner"
    group.attrs["ome"] = ome
    with pytest.raises(BadVolumeError, match="is not an array"):
        open_volume(tmp_path / "a.zarr")
    ome["multiscales"][0]["axes"] = ome["multiscales"][0]["axes"][:2]
    group.attrs["ome"] = ome
    with pytest.raises(InputError, match=r"has NGFF metadata that do not hold .*does not match the number of axes"):
        open_volume(tmp_path / "a.zarr")


def test_a_damaged_chunk_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    write_zarr(path, make_stack(), "0.5")
    chunk = next(p for p in (path / "s0" / "c").rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:10])
    with open_volume(path) as reader, pytest.raises(InputError, match="damaged or incomplete"):
        reader.read(range(5))


def test_write_errors_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = VolumeInfo((4, 20, 20), np.dtype("uint8"))
    writer = NgffWriter(tmp_path / "a.zarr", info, version="0.5", z_chunk=4, record={})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(OutputError, match="No space left"):
        writer.write(0, np.zeros((4, 20, 20), np.uint8))
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OutputError, match="cannot complete"):
        writer.finish()
    monkeypatch.setattr(zarr, "open_group", full)
    with pytest.raises(OutputError, match="cannot write"):
        NgffWriter(tmp_path / "b.zarr", info, version="0.5", z_chunk=4, record={})


def test_going_on_needs_the_array(tmp_path: Path) -> None:
    info = VolumeInfo((4, 20, 20), np.dtype("uint8"))
    group = zarr.open_group(tmp_path / "a.zarr.partial", mode="w")
    group.create_group("0")
    with pytest.raises(OutputError, match="holds no level 0"):
        NgffWriter(tmp_path / "a.zarr", info, version="0.5", z_chunk=4, record={}, resume=True)


def test_shrink_rounds_and_lets_the_last_odd_voxel_stand_for_itself() -> None:
    block = np.array([[[0, 1, 9]]], np.uint8)
    assert shrink(block, (1, 1, 2)).tolist() == [[[1, 9]]]
    assert shrink(block.astype(np.float32), (1, 1, 2)).tolist() == [[[0.5, 9.0]]]


def test_missing_chunks_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.zarr"
    write_zarr(path, make_stack(), "0.5")
    next(p for p in (path / "s0" / "c").rglob("*") if p.is_file()).unlink()
    with caplog.at_level(logging.WARNING), open_volume(path):
        pass
    assert "lacks 1 of 27 chunks, which read as 0" in caplog.text


@pytest.mark.parametrize("compressor", ["gzip", "lzma"])
def test_damage_is_reported_for_other_codecs_too(compressor: str, tmp_path: Path) -> None:
    import numcodecs

    codec = numcodecs.GZip() if compressor == "gzip" else numcodecs.LZMA()
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(4, 20, 20), dtype="u1", chunks=(4, 20, 20), zarr_format=2, compressors=codec
    )
    array[:] = make_stack((4, 20, 20))
    chunk = tmp_path / "a.zarr" / "0.0.0"
    chunk.write_bytes(chunk.read_bytes()[:40])
    with open_volume(tmp_path / "a.zarr") as reader, pytest.raises(InputError, match="damaged or incomplete"):
        reader.read(range(4))


def test_the_pyramid_ends_for_planes_of_one_row(tmp_path: Path) -> None:
    write_output(tmp_path / "a.zarr", make_stack((4, 1, 600)), VoxelSize(0.02, 0.004, 0.008))
    assert len(list((tmp_path / "a.zarr").glob("[0-9]"))) == 3


def test_bare_arrays_are_read_along_the_axes_they_name(tmp_path: Path) -> None:
    def create(name: str, shape: tuple[int, ...], names: tuple[str, ...] | None) -> Path:
        zarr.create_array(tmp_path / name, shape=shape, dtype="u1", dimension_names=names)
        return tmp_path / name

    with open_volume(create("a.zarr", (2, 5, 8, 9), ("c", "z", "y", "x"))) as reader:
        assert (reader.info.channels, reader.info.shape) == (2, (5, 8, 9))
    with open_volume(create("b.zarr", (1, 5, 8, 9), None)) as reader:
        assert (reader.info.channels, reader.info.shape) == (1, (5, 8, 9))
    with pytest.raises(BadVolumeError, match="has axes 'xyz'"):
        open_volume(create("c.zarr", (9, 8, 5), ("x", "y", "z")))
    with pytest.raises(BadVolumeError, match="expected a stack of planes zyx"):
        open_volume(create("d.zarr", (2, 5, 8, 9), None))


def test_what_lies_among_labels_is_refused_even_if_it_does_not_call_itself_one(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.zarr", make_stack(), "0.5")
    zarr.open_group(tmp_path / "a.zarr" / "labels", mode="w")
    write_zarr(tmp_path / "a.zarr" / "labels" / "cells", make_stack(), "0.5")
    for inner in ("labels", "labels/cells", "labels/cells/s0"):
        with pytest.raises(BadVolumeError, match="labels cannot be interpolated"):
            open_volume(tmp_path / "a.zarr" / inner)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("shape", [(9, 64, 64), (17, 300, 1100), (3, 20, 24)])
def test_our_own_outputs_lack_no_chunks_and_a_lost_one_is_counted(
    shape: tuple[int, int, int], version: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stack = make_stack(shape)
    stack[:, :, shape[2] // 2 :] = 0  # chunks of the fill value are written too
    path = tmp_path / "a.ome.zarr"
    write_output(path, stack, VoxelSize(0.02, 0.008, 0.008), version)
    with caplog.at_level(logging.WARNING), open_volume(path) as reader:
        assert np.array_equal(reader.read(range(shape[0])), stack)
    assert caplog.text == ""
    next(
        file for file in sorted((path / "0").rglob("*")) if file.is_file() and not file.name.startswith((".", "z"))
    ).unlink()
    with caplog.at_level(logging.WARNING), open_volume(path):
        pass
    assert " lacks 1 of " in caplog.text


def test_a_link_to_a_level_has_its_lengths(tmp_path: Path) -> None:
    write_zarr(tmp_path / "a.zarr", make_stack(), "0.5")
    (tmp_path / "level").symlink_to(tmp_path / "a.zarr" / "s0")
    with open_volume(tmp_path / "level") as reader:
        assert reader.info.voxel_size == VoxelSize(0.02, 0.008, 0.008)


@pytest.mark.parametrize("version", ["0.5", "0.4"])
@pytest.mark.parametrize("depth", [1, 3, 4, 6, 8])
def test_levels_that_are_written_with_the_planes_are_those_that_are_made_at_the_end(
    depth: int, version: str, tmp_path: Path
) -> None:
    stack = make_stack((13, 300, 540), "uint16")
    info = VolumeInfo((13, 300, 540), stack.dtype, VoxelSize(0.008, 0.008, 0.008))
    options: dict[str, Any] = {"version": version, "z_chunk": depth, "record": {}}
    writers = [NgffWriter(tmp_path / "a.zarr", info, **options)]
    writers += [NgffWriter(tmp_path / "a.zarr", info, **options, resume=True) for _ in range(2)]
    for i, z in reversed(list(enumerate(range(0, 13, depth)))):
        writers[i % 3].write(z, stack[z : z + depth])
    with_planes = sorted(path.name for path in (tmp_path / "a.zarr.partial").glob("[0-9]"))
    assert with_planes == [str(level) for level in range(3) if depth % 2**level == 0]
    growing = NgffWriter(tmp_path / "b.zarr", info, **options, growing=True)
    for z in range(0, 13, depth):
        growing.write(z, stack[z : z + depth])
    assert [path.name for path in (tmp_path / "b.zarr.partial").glob("[0-9]")] == ["0"]
    for writer in (writers[0], growing):
        writer.finish()
    found = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "a.zarr" / str(level) for level in range(3))
    ]
    for level, files in enumerate(found):
        root = tmp_path / "b.zarr" / str(level)
        assert files == {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    half = zarr.open_array(tmp_path / "a.zarr" / "1", mode="r")[:]
    assert np.array_equal(half, shrink(stack, (2, 2, 2)))
    assert np.array_equal(zarr.open_array(tmp_path / "a.zarr" / "2", mode="r")[:], shrink(half, (2, 2, 2)))


def test_metadata_that_are_only_odd_bring_no_warning(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(3, 4, 5), dtype="uint8", zarr_format=2)
    array[:] = 7
    document = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
    (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps(document | {"filters": []}))
    with open_volume(tmp_path / "a.zarr") as reader:
        assert (reader.read(range(3)) == 7).all()
