"""What microscopes and programs leave in TIFF files."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from zinterp.io.tiff_metadata import FoundVoxelSize, find_voxel_size
from zinterp.io.vendors import image_rows
from zinterp.volume import VoxelSize

FEI = "[Scan]\nPixelWidth=4e-09\nPixelHeight=5e-09\n"
ZEISS = "0\r\n0\r\n2.5e-09\r\n"  # some numbers without a name come first
Tag = tuple[int, Any, int, Any, bool]


def text_tag(code: int, text: str, encoding: str = "utf-8") -> Tag:
    """A tag of text, in bytes of any encoding, as TIFF's ASCII is more than that in practice."""
    data = text.encode(encoding) + b"\0"
    return code, 2, len(data), data, True


def written(path: Path, *tags: Tag, shape: tuple[int, ...] = (48, 64), **options: Any) -> Path:
    """A TIFF of zeros."""
    tifffile.imwrite(
        path, np.zeros(shape, np.uint8), photometric="minisblack", extratags=tags, **{"metadata": None, **options}
    )
    return path


def found(path: Path, *tags: Tag, **options: Any) -> FoundVoxelSize:
    """What is found in a TIFF of zeros."""
    with tifffile.TiffFile(written(path, *tags, **options)) as tif:
        return find_voxel_size(tif)


def ome(**attributes: str) -> str:
    """OME-XML with these attributes of the pixels, and what they hold as ``inside``."""
    inside = attributes.pop("inside", "")
    pixels = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Pixels DimensionOrder="XYZCT" \
Type="uint8" SizeX="64" SizeY="48" SizeZ="1" SizeC="1" SizeT="1" {pixels}>{inside}</Pixels></Image></OME>'


def found_in_ome(path: Path, *tags: Tag, **attributes: str) -> FoundVoxelSize:
    """What is found beside OME-XML with these attributes."""
    return found(path, *tags, description=ome(**attributes).encode())


def found_in_imagej(path: Path, *tags: Tag, lines: str, **options: Any) -> FoundVoxelSize:
    """What is found beside an ImageJ description."""
    return found(path, *tags, description=f"ImageJ=1.54p\n{lines}\n".encode(), **options)


def lengths(result: FoundVoxelSize) -> list[float | None]:
    """z, y, x rounded to what a comparison needs."""
    return [v and float(f"{v:.7g}") for v in (result.size.z, result.size.y, result.size.x)]


REAL: Mapping[str, tuple[Sequence[float | None], str, int | None]] = {
    "fei_helios_8bit.tif": ((None, 3.3724, 3.3724), "FEI tag 34682", 442),
    "fei_helios_16bit.tif": ((None, 3.3724, 3.3724), "FEI tag 34682", 442),
    "fei_helios_g4_pfib.tif": ((None, 0.0976562, 0.0976562), "FEI tag 34682", None),
    "fei_navcam_no_pixel_size.tif": ((None, None, None), "", 512),
    "fei_navcam_bad_floats.tif": ((None, None, None), "", 512),
    "openfibsem.tif": ((None, 0.09765625, 0.09765625), "OpenFIBSEM metadata", None),
    "zeiss_1k.tif": ((None, 2.615, 2.615), "Zeiss tag 34118", None),
    "zeiss_512.tif": ((None, 0.01165, 0.01165), "Zeiss tag 34118", None),  # its "Width" is 5.965 um of 512 pixels
    "imagej_hyperstack_tzcyx.tif": ((None, 0.0885, 0.0885), "ImageJ metadata", None),
    "imagej_zstack_scifio.tif": ((0.235, 0.15, 0.15), "ImageJ metadata", None),
    "ome_multichannel_z.ome.tif": ((None, None, None), "", None),
    "ome_time_z.ome.tif": ((None, None, None), "", None),
}


@pytest.mark.parametrize("name", list(REAL))
def test_real_files(name: str, data: Path) -> None:
    size, source, rows = REAL[name]
    with tifffile.TiffFile(data / "formats" / name) as tif:
        result = find_voxel_size(tif)
        assert image_rows(tif) == rows
    assert lengths(result) == list(size)
    assert result.source == source
    assert bool(result.unit) == bool(source)
    assert (result.origin, result.channel_names) == (None, ())


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("0.008", None, 0.008),
        ("0.008", "µm", 0.008),
        ("0.008", "\u03bcm", 0.008),
        ("8", "nm", 0.008),
        ("8000", "pm", 0.008),
        ("80", "Å", 0.008),
        ("80", "\u212b", 0.008),
        ("0.5", "mm", 500.0),
        ("0.05", "cm", 500.0),
        ("0.005", "dm", 500.0),
        ("0.0005", "m", 500.0),
        ("5e-10", "Mm", 500.0),
        ("5e-28", "Ym", 500.0),
        ("5e20", "ym", 500.0),
        ("5e-19", "Pm", 500.0),
        ("0.01", "in", 254.0),
        ("0.001", "ft", 304.8),
        ("10", "thou", 254.0),
        ("8", "pixel", None),
        ("8", "reference frame", None),
        ("8", "furlong", None),
        ("0", "µm", None),
        ("nan", "µm", None),
        ("inf", "µm", None),
        ("1,5", "µm", None),
        ("", "µm", None),
        ("1e400", "µm", None),
        ("1e300", "µm", None),
        ("1e-300", "µm", None),
    ],
)
def test_units_of_ome(value: str, unit: str | None, expected: float | None, tmp_path: Path) -> None:
    units = {} if unit is None else {"PhysicalSizeXUnit": unit}
    result = found_in_ome(tmp_path / "a.tif", PhysicalSizeX=value, PhysicalSizeY="2", PhysicalSizeZ="3", **units)
    assert lengths(result) == [3.0, 2.0, expected]
    assert (result.source, result.unit) == ("OME-XML", "µm")


def test_positions_and_names_of_ome(tmp_path: Path) -> None:
    inside = """
        <Channel Name="DAPI, 405"/><Channel/><Channel Name="488"/>
        <Plane TheZ="1" TheC="0" TheT="0" PositionX="7" PositionXUnit="µm"/>
        <Plane TheZ="0" TheC="1" TheT="0" PositionX="8" PositionXUnit="µm"/>
        <Plane TheZ="0" TheC="0" TheT="0" PositionX="-9" PositionXUnit="nm" PositionZ="1e2" PositionZUnit="mm"/>"""
    result = found_in_ome(tmp_path / "a.tif", PhysicalSizeX="1", inside=inside)
    assert result.origin == pytest.approx((1e5, 0.0, -0.009))
    assert result.channel_names == ("DAPI, 405", "", "488")
    assert lengths(result) == [None, None, 1.0]


@pytest.mark.parametrize(
    "plane",
    [
        'TheZ="0"',
        'TheZ="1" PositionX="1" PositionXUnit="µm"',
        'TheZ="0" PositionX="1"',  # OME's default is a reference frame
        'TheZ="0" PositionX="1" PositionXUnit="reference frame" PositionY="2" PositionYUnit="µm"',
        'TheZ="0" PositionX="here" PositionXUnit="µm"',
        'TheZ="0" PositionX="1e308" PositionXUnit="km"',
    ],
)
def test_a_position_of_no_length_is_unknown(plane: str, tmp_path: Path) -> None:
    result = found_in_ome(tmp_path / "a.tif", PhysicalSizeX="1", inside=f"<Channel/><Plane {plane}/>")
    assert (result.origin, result.channel_names) == (None, ())


def test_ome_without_lengths_leaves_them_to_others_and_keeps_names(tmp_path: Path) -> None:
    result = found_in_ome(tmp_path / "a.tif", text_tag(34682, FEI), inside='<Channel Name="SE"/>')
    assert (lengths(result), result.source) == ([None, 0.005, 0.004], "FEI tag 34682")
    assert result.channel_names == ("SE",)
    result = found_in_ome(tmp_path / "b.tif", text_tag(34682, FEI), PhysicalSizeX="1")
    assert (lengths(result), result.source) == ([None, None, 1.0], "OME-XML")


@pytest.mark.parametrize(
    ("unit", "per_unit", "spacing", "expected"),
    [
        ("nm", 0.125, 20, (0.02, 0.008)),
        ("um", 125, 0.02, (0.02, 0.008)),
        ("\\u00B5m", 125, -0.02, (0.02, 0.008)),
        ("\\u03bcm", 125, 0.02, (0.02, 0.008)),
        ("Âµm", 125, 0.02, (0.02, 0.008)),
        ("micron", 125, 0.02, (0.02, 0.008)),
        ("Microns", 125, 0.02, (0.02, 0.008)),
        ("micrometers", 125, 0.02, (0.02, 0.008)),
        ("nanometers", 0.125, 20, (0.02, 0.008)),
        ("\\u00C5", 0.0125, 200, (0.02, 0.008)),
        ("mm", 2, 1.5, (1500.0, 500.0)),
        ("cm", 1000, 0.01, (100.0, 10.0)),
        ("inch", 25400, 0.001, (25.4, 1.0)),
        ("inches", 25400, 0.001, (25.4, 1.0)),
        ("pixel", 1, 1, (None, None)),
        ("MM", 1, 1, (None, None)),
        ("", 1, 1, (None, None)),
        ("um", 125, "1,5", (None, 0.008)),
        ("um", 125, "nan", (None, 0.008)),
        ("um", 0, 2, (2.0, None)),
    ],
)
def test_units_of_imagej(
    unit: str, per_unit: float, spacing: object, expected: tuple[float | None, float | None], tmp_path: Path
) -> None:
    lines = f"images=1\nunit={unit}\nspacing={spacing}"
    options = {"resolution": (per_unit, per_unit), "resolutionunit": "NONE"}
    result = found_in_imagej(tmp_path / "a.tif", lines=lines, **options)
    assert lengths(result) == [expected[0], expected[1], expected[1]]
    assert result.source == ("ImageJ metadata" if any(expected) else "")


def test_axes_of_imagej_have_units_of_their_own(tmp_path: Path) -> None:
    options = {"resolution": (2, 4), "resolutionunit": "NONE"}
    result = found_in_imagej(tmp_path / "a.tif", lines="unit=um\nyunit=mm\nzunit=nm\nspacing=30", **options)
    assert lengths(result) == [0.03, 250.0, 0.5]
    result = found_in_imagej(tmp_path / "b.tif", lines="unit=um\nzunit=sec\nspacing=30", **options)
    assert lengths(result) == [None, 0.25, 0.5]


@pytest.mark.parametrize(
    ("unit", "tag", "per_unit", "expected"),
    [
        ("um", "CENTIMETER", 1e6, 0.01),
        ("micrometer", "CENTIMETER", 1e6, 0.01),
        ("cm", "CENTIMETER", 1e6, 0.01),
        ("inch", "INCH", 2.54e6, 0.01),
        ("um", "INCH", 100.0, 0.01),  # TIFF's default unit, which ImageJ does not heed
        ("um", "INCH", 96.0, None),
        ("inch", "INCH", 300.0, None),
        ("inch", "INCH", 72.0, None),
        ("cm", "CENTIMETER", 118.11, None),
        ("", "CENTIMETER", 1e6, 0.01),
    ],
)
def test_imagej_beside_a_resolution_unit(
    unit: str, tag: str, per_unit: float, expected: float | None, tmp_path: Path
) -> None:
    options = {"resolution": (per_unit, per_unit), "resolutionunit": tag}
    assert lengths(found_in_imagej(tmp_path / "a.tif", lines=f"unit={unit}", **options)) == [None, expected, expected]


def test_the_origin_of_imagej(tmp_path: Path) -> None:
    options = {"resolution": (2, 4), "resolutionunit": "NONE"}
    lines = "unit=um\nspacing=3"
    result = found_in_imagej(tmp_path / "a.tif", lines=f"{lines}\nxorigin=-10\nzorigin=1.5", **options)
    assert result.origin == (-4.5, 0.0, 5.0)
    assert found_in_imagej(tmp_path / "b.tif", lines=lines, **options).origin is None
    assert found_in_imagej(tmp_path / "c.tif", lines="unit=um\nzorigin=2", **options).origin is None
    assert found_in_imagej(tmp_path / "d.tif", lines=f"{lines}\nxorigin=nan", **options).origin is None


def test_imagej_wins_over_a_microscope_only_with_a_unit_of_length(tmp_path: Path) -> None:
    tag = text_tag(34682, FEI)
    options = {"resolution": (2, 2), "resolutionunit": "NONE"}
    assert found_in_imagej(tmp_path / "a.tif", tag, lines="unit=um", **options).source == "ImageJ metadata"
    assert found_in_imagej(tmp_path / "b.tif", tag, lines="unit=pixel", **options).source == "FEI tag 34682"
    options = {"resolution": (96, 96), "resolutionunit": "INCH"}
    assert found_in_imagej(tmp_path / "c.tif", tag, lines="unit=inch", **options).source == "FEI tag 34682"


@pytest.mark.parametrize("shape", [(48, 64), (5, 48, 64)])
@pytest.mark.parametrize("code", [34680, 34682])
def test_fei(code: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    options = {"resolution": (1e6, 1e6), "resolutionunit": "CENTIMETER"}
    result = found(tmp_path / "a.tif", text_tag(code, FEI), shape=shape, **options)
    assert (lengths(result), result.source, result.unit) == ([None, 0.005, 0.004], f"FEI tag {code}", "nm")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[EScan]\nPixelWidth=4e-9\nPixelHeight=4e-9", 0.004),
        ("[IScan]\nPixelWidth=4e-9\nPixelHeight=4e-9", 0.004),
        ("[CScan]\nPixelWidth=4e-9\nPixelHeight=4e-9", 0.004),
        ("[EScan]\nPixelWidth=1\n[Beam]\nScan=IScan\n[IScan]\nPixelWidth=4e-9\nPixelHeight=4e-9", 0.004),
        ("[Scan]\nPixelWidth=\nPixelHeight=x\n[EScan]\nPixelWidth=4e-9\nPixelHeight=4e-9", 0.004),
        ("[Scan]\nSliceThickness=1e-8\n[Stage]\nStageZ=1", None),
        ("[Scan]\nPixelWidth=4,5e-9\nPixelHeight=4,5e-9", None),
        ("[Scan]\nPixelWidth=nan\nPixelHeight=inf", None),
        ("[Scan]\nPixelWidth=True\nPixelHeight=True", None),
        ("[Scan]\nPixelWidth=" + "9" * 400, None),
        ("Scan", None),
        ("", None),
    ],
)
def test_sections_of_fei(text: str, expected: float | None, tmp_path: Path) -> None:
    assert lengths(found(tmp_path / "a.tif", text_tag(34682, text))) == [None, expected, expected]


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("AP_PIXEL_SIZE\r\nPixel Size = 9 nm\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5 nm", "utf-8", 0.005),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5000 pm", "utf-8", 0.005),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5 um", "utf-8", 5.0),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5 µm", "utf-8", 5.0),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5 µm", "latin-1", 5.0),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5 Âµm", "utf-8", 5.0),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5 \ufffdm", "utf-8", 5.0),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 0.005 mm", "utf-8", 5.0),
        ("AP_PIXEL_SIZE\r\nPixel Size = 5 nm", "utf-8", 0.08),  # of 1024 columns, stored as 64
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 0 fm\r\nAP_PIXEL_SIZE\r\nPixel Size = 5 nm", "utf-8", 0.08),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5,8 nm", "utf-8", None),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5", "utf-8", None),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = nan nm", "utf-8", None),
        ("AP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 5 V", "utf-8", None),
        ("AP_FIB_SLICE_WIDTH\r\nSlice Width = 5 nm", "utf-8", None),
        ("AP_PIXEL_SIZE", "utf-8", None),
    ],
)
def test_zeiss(text: str, encoding: str, expected: float | None, tmp_path: Path) -> None:
    result = found(tmp_path / "a.tif", text_tag(34118, f"{ZEISS}{text}\r\n", encoding))
    assert lengths(result) == [None, expected, expected]
    assert result.source == ("Zeiss tag 34118" if expected else "")


def test_tescan(tmp_path: Path) -> None:
    value = b"\x01\xff\x00\x00[MAIN]\r\nDepth=1e-8\r\nPixelSizeX=4e-9\r\nPixelSizeY=5e-9\r\n"
    result = found(tmp_path / "a.tif", (50431, 1, len(value), value, True))
    assert (lengths(result), result.source) == ([None, 0.005, 0.004], "TESCAN tag 50431")


def test_gatan(tmp_path: Path) -> None:
    tags: list[Tag] = [(65009, 12, 1, 4.0, True), (65010, 12, 1, 0.005, True), (65011, 12, 1, 30.0, True)]
    units = (text_tag(65003, "nm"), text_tag(65004, "µm", "latin-1"), text_tag(65005, "nm"))
    result = found(tmp_path / "a.tif", *tags, *units)
    assert (lengths(result), result.source) == ([None, 0.005, 0.004], "Gatan tags")
    assert found(tmp_path / "b.tif", *tags) == FoundVoxelSize()


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"hfw": 1e-6, "resolution": "1000x800"}, 0.001),
        ({"image": {"hfw": 1e-6, "resolution": [1000, 800]}}, 0.001),
        ({"hfw": 6.4e-6}, 0.1),
        ({"image": {"hfw": 1e-6}, "pixel_size": {"x": 2e-9, "y": 2e-9}}, 0.002),
        ({"hfw": 6.4e-6, "pixel_size": {"x": 0.0, "y": None}}, 0.1),
        ({"hfw": None, "pixel_size": [1, 2]}, None),
        ({"hfw": 1e-6, "resolution": "0x0"}, None),
        ({"pixel_size": {"x": 2e-9, "y": 2e-9}}, None),  # anyone's JSON
        ({"hfw": "wide"}, None),
        ({}, None),
    ],
)
def test_openfibsem(metadata: dict[str, object], expected: float | None, tmp_path: Path) -> None:
    result = found(tmp_path / "a.tif", description=json.dumps(metadata))
    assert lengths(result) == [None, expected, expected]
    assert result.source == ("OpenFIBSEM metadata" if expected else "")


@pytest.mark.parametrize("description", ['{"hfw": ', '{"a":' * 50000, '{"hfw": ' + "1" * 5000 + "}", "[1]"])
def test_json_that_is_damaged_says_nothing(description: str, tmp_path: Path) -> None:
    assert found(tmp_path / "a.tif", description=description) == FoundVoxelSize()


@pytest.mark.parametrize(
    ("unit", "per_unit", "expected"),
    [
        ("CENTIMETER", 1e6, 0.01),
        ("CENTIMETER", 100.0, 100.0),
        ("CENTIMETER", 28.35, None),  # 72 dpi
        ("CENTIMETER", 118.11, None),  # 300 dpi
        ("CENTIMETER", 119.0, 84.03361),
        ("CENTIMETER", 1.0, None),
        ("CENTIMETER", 0.0, None),
        ("INCH", 2.54e6, 0.01),
        ("INCH", 5080.0, 5.0),
        ("INCH", 2400.0, None),
        ("INCH", 1150.0, None),
        ("NONE", 1e6, None),
    ],
)
def test_resolution_tags(unit: str, per_unit: float, expected: float | None, tmp_path: Path) -> None:
    result = found(tmp_path / "a.tif", resolution=(per_unit, per_unit), resolutionunit=unit)
    assert lengths(result) == [None, expected, expected]
    assert (result.source, result.unit) == (("TIFF resolution tags", "um") if expected else ("", ""))


def test_resolution_of_a_detector_is_no_pixel_size(tmp_path: Path) -> None:
    options = {"resolution": (1e6, 1e6), "resolutionunit": "CENTIMETER"}
    assert found(tmp_path / "a.tif", text_tag(271, "JEOL Ltd."), **options) == FoundVoxelSize()


@pytest.mark.parametrize("code", [34680, 34682])
@pytest.mark.parametrize(
    ("image", "rows"),
    [
        ("ResolutionX=64\nResolutionY=44", 44),
        ("ResolutionX=64\nResolutionY=47", 47),
        ("ResolutionX=64.0\nResolutionY=36.0", 36),
        ("ResolutionX=64\nResolutionY=35", None),  # more than a quarter would go
        ("ResolutionX=64\nResolutionY=48", None),
        ("ResolutionX=64\nResolutionY=52", None),  # cropped already
        ("ResolutionX=63\nResolutionY=44", None),
        ("ResolutionX=64\nResolutionY=44.5", None),
        ("ResolutionX=64\nResolutionY=nan", None),
        ("ResolutionX=64\nResolutionY=inf", None),
        ("ResolutionX=64\nResolutionY=-1", None),
        ("ResolutionX=64", None),
        ("", None),
    ],
)
def test_rows_above_a_data_bar(image: str, rows: int | None, code: int, tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", text_tag(code, f"[Image]\n{image}\n"), shape=(3, 48, 64))
    with tifffile.TiffFile(path) as tif:
        assert image_rows(tif) == rows


def test_without_a_tag_all_rows_are_image(tmp_path: Path) -> None:
    with tifffile.TiffFile(written(tmp_path / "a.tif")) as tif:
        assert image_rows(tif) is None


@pytest.mark.parametrize("value", [None, 3, True, 1.5, b"\xff\x00", "text", [1], (1, 2, 3), {"Scan": 1}, {"": ()}])
def test_a_tag_of_any_type_is_survived(value: object, tmp_path: Path) -> None:
    with tifffile.TiffFile(written(tmp_path / "a.tif", resolution=(2, 2))) as tif:
        tags = tif.pages.first.tags
        for code in (270, 271, 282, 283, 296, 34118, 34680, 34682, 50431, 65003, 65004, 65009, 65010):
            tags.add(tifffile.TiffTag(tif, 0, code, 2, 1, value, 0))
        assert find_voxel_size(tif).size == VoxelSize()
        assert image_rows(tif) is None


def test_damage_is_survived(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = {
        34682: FEI + "[Beam]\nScan=EScan\n[Image]\nResolutionX=64\nResolutionY=44\n",
        34118: f"{ZEISS}AP_PIXEL_SIZE\r\nPixel Size = 5 µm\r\n",
        50431: "[MAIN]\nPixelSizeX=4e-9\nPixelSizeY=4e-9\n",
        270: "ImageJ=1.5\nunit=\\u00B5m\nspacing=2\nxorigin=1\nscales=1,2,3\nunits=um,um,um\naxes=X,Y,Z\n",
    }
    path = tmp_path / "a.tif"
    for i in range(120):
        tags: list[Tag] = []
        for code, text in texts.items():
            data = bytearray(text.encode())
            for _ in range(rng.randrange(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            tags.append((code, rng.choice((1, 2, 7)), len(data), bytes(data[: rng.randrange(1, len(data))]), True))
        tags = [(code, kind, len(data), data, once) for code, kind, _, data, once in tags]
        with tifffile.TiffFile(written(path, *(tags if i % 2 else tags[:3]), resolution=(2, 2))) as tif:
            size = find_voxel_size(tif).size
            assert all(v is None or 0 < v < 1e10 for v in (size.z, size.y, size.x))
            image_rows(tif)
