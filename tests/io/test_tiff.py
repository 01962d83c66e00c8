"""What is particular to TIFF."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.conftest import make_stack, write_bigtiff, write_compressed, write_imagej, write_ome, write_plain_tiff
from zinterp.errors import BadVolumeError, InputError, OutputError
from zinterp.io import OutputOptions, create_volume, open_volume
from zinterp.io.selection import InputOptions
from zinterp.io.tiff import IMAGEJ_LIMIT, TiffWriter, count_colours
from zinterp.volume import VolumeInfo, VoxelSize

WRITERS = {
    "plain": write_plain_tiff,
    "imagej": write_imagej,
    "compressed": write_compressed,
    "ome": write_ome,
    "bigtiff": write_bigtiff,
}


@pytest.mark.parametrize("writer", list(WRITERS))
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused_and_never_read_as_a_shorter_stack(
    writer: str, share: float, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    WRITERS[writer](path, make_stack())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    if (writer, share) == ("imagej", 0.99):  # only metadata behind the pixels are lost
        with open_volume(path) as reader:
            assert np.array_equal(reader.read(range(5)), make_stack())
        return
    with pytest.raises(InputError, match=r"a\.tif"), open_volume(path) as reader:
        reader.read(range(reader.info.shape[0]))


def test_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"%PDF-1.4 not an image at all" * 10)
    with pytest.raises(InputError, match="cannot be read as TIFF"):
        open_volume(path)


def test_a_file_that_vanishes_is_reported(tmp_path: Path) -> None:
    from zinterp.io.tiff import TiffReader

    with pytest.raises(InputError, match="does not exist"):
        TiffReader(tmp_path / "a.tif", InputOptions())


def test_planes_of_different_shapes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for shape in ((20, 30), (20, 30), (10, 30)):
            tif.write(np.zeros(shape, np.uint8), photometric="minisblack", metadata=None, contiguous=False)
    with pytest.raises(BadVolumeError, match=r"different shapes \(2 of 20x30 uint8, 1 of 10x30 uint8\)"):
        open_volume(path)


def test_colour_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 20, 30, 3), np.uint8), photometric="rgb")
    with pytest.raises(BadVolumeError, match="colour image"):
        open_volume(path)


def test_one_bit_and_complex_pixels_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 16, 16), bool), photometric="minisblack")
    with pytest.raises(BadVolumeError, match="bool values"):
        open_volume(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((3, 16, 16), np.complex64), photometric="minisblack")
    with pytest.raises(BadVolumeError, match="complex64 values"):
        open_volume(tmp_path / "b.tif")


@pytest.mark.parametrize("imagej", [True, False])
def test_all_channels_and_times_are_read_or_one_that_is_chosen(imagej: bool, tmp_path: Path) -> None:
    path = tmp_path / ("a.tif" if imagej else "a.ome.tif")
    values = np.arange(2 * 3 * 2 * 8 * 9, dtype=np.uint16).reshape(2, 3, 2, 8, 9)
    if imagej:
        tifffile.imwrite(path, values, imagej=True, metadata={"axes": "TZCYX"})
    else:
        tifffile.imwrite(path, values, ome=True, photometric="minisblack", metadata={"axes": "TZCYX"})
    with open_volume(path, channel=1, time=0) as reader:
        assert (reader.info.channels, reader.info.times) == (1, 1)
        assert np.array_equal(reader.read(range(3)), values[0, :, 1])
    with open_volume(path) as reader:
        assert (reader.info.channels, reader.info.times) == (2, 2)
        for stack in range(4):
            assert np.array_equal(reader.read(range(3), stack), values[stack // 2, :, stack % 2])
    with pytest.raises(BadVolumeError, match="2 times, got --time 5: expected 0 to 1"):
        open_volume(path, time=5)


def test_a_data_bar_is_cut_off_unless_it_is_to_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stack = make_stack((3, 40, 48))
    bar = np.full((3, 4, 48), 255, np.uint8)
    text = "[Image]\r\nResolutionX=48\r\nResolutionY=40\r\n[Scan]\r\nPixelWidth=5e-09\r\nPixelHeight=5e-09\r\n"
    tag = (34682, "s", 0, text, True)
    for contiguous in (True, False):
        path = tmp_path / f"{contiguous}.tif"
        with tifffile.TiffWriter(path) as tif:
            for plane in np.concatenate([stack, bar], axis=1):
                tif.write(plane, photometric="minisblack", metadata=None, contiguous=contiguous, extratags=[tag])
        with caplog.at_level(logging.INFO), open_volume(path) as reader:
            assert np.array_equal(reader.read(range(3)), stack)
            assert reader.info.voxel_size == VoxelSize(None, pytest.approx(0.005), pytest.approx(0.005))
        assert "cut off a data bar of 4 of 44 rows; --keep-databar leaves it" in caplog.text
        with caplog.at_level(logging.INFO), open_volume(path, keep_databar=True) as reader:
            assert np.array_equal(reader.read(range(3)), np.concatenate([stack, bar], axis=1))
        assert "4 of 44 rows are a data bar, which is kept" in caplog.text


def test_an_axis_of_times_alone_is_taken_as_z_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tif"
    stack = make_stack()
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TYX"})
    with caplog.at_level(logging.WARNING), open_volume(path) as reader:
        assert np.array_equal(reader.read(range(5)), stack)
        assert reader.info.times == 1
    assert "taking its 5 planes as a stack in z" in caplog.text


def test_channels_and_times_without_z_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 2, 8, 9), np.uint8), imagej=True, metadata={"axes": "TCYX"})
    with pytest.raises(BadVolumeError, match="no Z"):
        open_volume(path)


def test_stacks_with_more_axes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((2, 3, 4, 8, 9), np.uint8), photometric="minisblack")
    with pytest.raises(BadVolumeError, match="expected a stack of planes ZYX"):
        open_volume(path)


def test_several_images_in_an_ome_tiff_give_the_first_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(make_stack(), photometric="minisblack", metadata={"axes": "ZYX"})
        tif.write(np.zeros((2, 9, 9), np.uint8), photometric="minisblack", metadata={"axes": "ZYX"})
    with caplog.at_level(logging.WARNING), open_volume(path) as reader:
        assert reader.info.shape == (5, 40, 48)
    assert "holds 2 images, taking the first" in caplog.text


@pytest.mark.parametrize(
    ("unit", "per_unit", "spacing", "expected"),
    [
        ("nm", 1 / 8, 20.0, (0.02, 0.008)),
        ("um", 125.0, 0.02, (0.02, 0.008)),
        ("micron", 125.0, 0.02, (0.02, 0.008)),
        ("\\u00B5m", 125.0, 0.02, (0.02, 0.008)),
        ("mm", 125000.0, 2e-5, (0.02, 0.008)),
        ("pixel", 1.0, 1.0, (None, None)),
    ],
)
def test_units_of_imagej(
    unit: str, per_unit: float, spacing: float, expected: tuple[float | None, float | None], tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        make_stack(),
        imagej=True,
        resolution=(per_unit, per_unit),
        metadata={"axes": "ZYX", "spacing": spacing, "unit": unit},
    )
    with open_volume(path) as reader:
        size = reader.info.voxel_size
    assert (size.z, size.x) == (expected[0] and pytest.approx(expected[0]), expected[1] and pytest.approx(expected[1]))


def test_resolution_is_a_pixel_size_unless_it_is_a_printers(tmp_path: Path) -> None:
    for unit, count, expected in (("CENTIMETER", 1e4, 1.0), ("INCH", 1e4, 2.54), ("INCH", 300, None)):
        path = tmp_path / f"{unit}{count}.tif"
        tifffile.imwrite(path, make_stack(), photometric="minisblack", resolution=(count, count), resolutionunit=unit)
        with open_volume(path) as reader:
            size = reader.info.voxel_size
        assert size == VoxelSize(None, expected and pytest.approx(expected), expected and pytest.approx(expected))


def test_a_missing_or_absurd_ome_size_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "reference frame", "PhysicalSizeZ": 0.0}
    tifffile.imwrite(path, make_stack(), ome=True, photometric="minisblack", metadata=metadata)
    with open_volume(path) as reader:
        assert reader.info.voxel_size == VoxelSize()


def test_the_record_is_kept_in_the_file(tmp_path: Path) -> None:
    info = VolumeInfo((2, 20, 20), np.dtype("uint8"))
    for format, name in (("tiff", "a.tif"), ("ome-tiff", "a.ome.tif")):
        writer = create_volume(tmp_path / name, info, OutputOptions(format), {"model": "cubic"})
        writer.write(0, np.zeros((2, 20, 20), np.uint8))
        writer.finish()
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert json.loads((tif.imagej_metadata or {})["Info"]) == {"model": "cubic"}
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        ome = tifffile.xml2dict(tif.ome_metadata or "")["OME"]
        assert json.loads(ome["Image"]["Description"]) == {"model": "cubic"}


def test_beyond_4_gb_the_layout_is_bigtiff(tmp_path: Path) -> None:
    from zinterp.io.tiff import lay_out

    info = VolumeInfo((3, 40000, 40000), np.dtype("uint8"))
    assert info.bytes > IMAGEJ_LIMIT
    lay_out(tmp_path / "a.tif", info, ome=True, record="{}")  # sparse: takes no room
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff
        assert tif.series[0].shape == info.shape


def test_a_disk_that_fills_up_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    info = VolumeInfo((2, 20, 20), np.dtype("uint8"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(OutputError, match="No space left"):
            TiffWriter(tmp_path / "a.tif", info, ome=False, record={})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.tif.partial").write_bytes(b"cut short")
    with pytest.raises(OutputError, match="cannot write"):
        TiffWriter(tmp_path / "a.tif", info, ome=False, record={}, resume=True)
    assert (tmp_path / "a.tif.partial").exists()
    writer = TiffWriter(tmp_path / "a.tif", info, ome=False, record={})

    class Full:
        seek = staticmethod(full)
        close = staticmethod(lambda: None)
        fileno = staticmethod(full)

    writer._file.close()
    writer._file = Full()  # type: ignore[assignment]
    with pytest.raises(OutputError, match="No space left"):
        writer.write(0, np.zeros((1, 20, 20), np.uint8))
    with pytest.raises(OutputError, match="cannot complete"):
        writer.finish()


def test_axes_can_have_units_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    metadata = {"axes": "ZYX", "spacing": -20.0, "unit": "um", "zunit": "nm"}
    tifffile.imwrite(path, make_stack(), imagej=True, resolution=(2, 2), metadata=metadata)
    with open_volume(path) as reader:
        size = reader.info.voxel_size
    assert (size.z, size.y, size.x) == pytest.approx((0.02, 0.5, 0.5))


def test_the_micro_sign_is_kept_as_imagej_writes_it(tmp_path: Path) -> None:
    info = VolumeInfo((2, 20, 20), np.dtype("uint8"), VoxelSize(1.5, 0.5, 0.5), unit="µm")
    writer = create_volume(tmp_path / "a.tif", info, OutputOptions("tiff"), {})
    writer.write(0, np.zeros((2, 20, 20), np.uint8))
    writer.finish()
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert (tif.imagej_metadata or {})["unit"] == "\\u00B5m"
        assert (tif.imagej_metadata or {})["spacing"] == 1.5
    with open_volume(tmp_path / "a.tif") as reader:
        assert reader.info.voxel_size == VoxelSize(1.5, 0.5, 0.5)


def test_a_stack_of_stacks_is_refused_and_not_cut_to_the_first(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    values = np.zeros((3, 6, 8, 9), np.uint8)
    tifffile.imwrite(path, values, photometric="minisblack", metadata={"axes": "QZYX"})
    with pytest.raises(BadVolumeError, match="expected a stack of planes ZYX"):
        open_volume(path)


def test_white_stored_as_0_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, make_stack(), photometric="miniswhite")
    with open_volume(path) as reader:
        assert np.array_equal(reader.read(range(5)), make_stack())
    assert "stores white as 0" in caplog.text


@pytest.mark.parametrize("scale", [256, 257])
@pytest.mark.parametrize("colours", [0, 1, 64, 65, 256])
def test_a_grey_colour_map_may_hold_some_colours(
    scale: int, colours: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.tif"
    levels = np.tile(np.arange(256, dtype=np.uint16) * scale, (3, 1))
    levels[1, :colours] ^= 0x8000
    tifffile.imwrite(path, make_stack(), photometric="palette", colormap=levels)
    if 4 * colours > 256:
        with pytest.raises(
            BadVolumeError, match=r"a\.tif is a colour image \(\d+ of 256 entries .* to 8 or 16 bit grey"
        ):
            open_volume(path)
        return
    with open_volume(path) as reader:
        assert np.array_equal(reader.read(range(5)), make_stack())
    assert len(caplog.records) == min(colours, 1)
    if colours:
        assert f"{colours} of 256 entries are colours, as for annotations: its values are taken as grey" in caplog.text


@pytest.mark.parametrize("entries", [2, 16, 256, 65536])
def test_colour_maps_may_have_any_number_of_entries(entries: int, tmp_path: Path) -> None:
    class Page:
        photometric = tifffile.PHOTOMETRIC.PALETTE
        colormap = np.tile(np.linspace(0, 65535, entries).round().astype(np.uint16), (3, 1))

    assert count_colours(Page(), tmp_path) == 0
    Page.colormap = np.roll(Page.colormap, entries // 2, axis=1)
    with pytest.raises(BadVolumeError, match="is a colour image"):
        count_colours(Page(), tmp_path)


@pytest.mark.parametrize("value", [0, 65535, None])
def test_colour_maps_without_levels_are_refused(value: int | None, tmp_path: Path) -> None:
    class Page:
        photometric = tifffile.PHOTOMETRIC.PALETTE
        colormap = None if value is None else np.full((3, 256), value, np.uint16)

    with pytest.raises(BadVolumeError, match="is a colour image"):
        count_colours(Page(), tmp_path)


@pytest.mark.parametrize(("name", "text"), [("zeiss_1k.tif", ""), ("zeiss_512.tif", "27 of 256 entries are colours")])
def test_colour_maps_of_a_real_microscope_are_read(
    name: str, text: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = data / "formats" / name
    if not source.exists():
        pytest.skip(f"no {source}")
    with open_volume(source) as reader:
        assert np.array_equal(reader.read(range(1))[0], tifffile.imread(source))
    assert text in caplog.text
    assert len(caplog.records) == bool(text)


def test_broken_ome_xml_leaves_the_voxel_size_unknown(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from zinterp.io.tiff_metadata import from_ome

    with caplog.at_level(logging.WARNING):
        assert from_ome('<OME><Image Name="a & b"></OME>').size == VoxelSize()
    assert "not well-formed" in caplog.text
