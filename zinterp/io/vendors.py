"""Pixel sizes, and the rows that are image, from what electron microscopes write into their TIFF files.

No header says how far slices lie apart: what looks like it was asked for, belongs to another beam, or is left over.
"""

import json
import math
import re
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import tifffile

from zinterp.volume import MICROMETRES, VoxelSize

FEI_TAGS = (34682, 34680)  # Helios and newer, SFEG
ZEISS_TAG = 34118
ZEISS_COLUMNS = 1024  # of the screen that "Pixel Size" is of, however many are stored
TESCAN_TAG = 50431
GATAN_TAGS = ((65010, 65004), (65009, 65003))  # length and unit, of y and x
DESCRIPTION_TAG = 270

UNREADABLE = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError, struct.error)
"""What parsing of a damaged tag raises."""

Pixel = tuple[float | None, float | None]
"""Height and width of a pixel in micrometres, None where not known."""


def vendor_pixel_size(page: Any) -> tuple[VoxelSize, str]:
    """The pixel size that an electron microscope left in a page, and where; z is not known.

    Parameters
    ----------
    page : tifffile.TiffPage
        ``Any``, as tifffile types pages loosely.

    Returns
    -------
    VoxelSize, str
        With "" if nothing is known.
    """
    for source, (y, x) in vendor_pixels(page):
        if y or x:
            return VoxelSize(None, y, x), source
    return VoxelSize(), ""


def vendor_pixels(page: Any) -> Iterator[tuple[str, Pixel]]:
    """What each vendor's metadata says, by the name of where that stands."""
    for code in FEI_TAGS:
        yield f"FEI tag {code}", fei_pixel(tag_value(page, code))
    yield f"Zeiss tag {ZEISS_TAG}", zeiss_pixel(tag_value(page, ZEISS_TAG), page.imagewidth)
    yield f"TESCAN tag {TESCAN_TAG}", tescan_pixel(tag_value(page, TESCAN_TAG))
    yield "Gatan tags", gatan_pixel(page)
    yield "OpenFIBSEM metadata", openfibsem_pixel(tag_value(page, DESCRIPTION_TAG), page.imagewidth)


def image_rows(tif: tifffile.TiffFile) -> int | None:
    """How many rows, from the top, are image where a Thermo or FEI microscope added a data bar below.

    Parameters
    ----------
    tif : tifffile.TiffFile

    Returns
    -------
    int or None
        None if there is no data bar, or it was cropped off.
    """
    page: Any = tif.pages.first
    for code in FEI_TAGS:
        image = section(tag_value(page, code), "Image")
        rows, columns = number(image.get("ResolutionY")), number(image.get("ResolutionX"))
        if rows is None or rows != int(rows) or columns != page.imagewidth:
            continue
        if 0 < page.imagelength - rows <= page.imagelength / 4:
            return int(rows)
    return None


def fei_pixel(tag: Any) -> Pixel:
    """Thermo, FEI: metres in the section of the scan, as scanned, whatever the tilt."""
    beam = str(section(tag, "Beam").get("Scan"))  # the beam that made this image, where there are two
    for name in ("Scan", beam, "EScan", "IScan", "CScan"):
        scan = section(tag, name)
        y, x = (positive(scan.get(f"Pixel{side}"), MICROMETRES["m"]) for side in ("Height", "Width"))
        if y or x:
            return y, x
    return None, None


def zeiss_pixel(tag: Any, columns: int) -> Pixel:
    """Zeiss SmartSEM: "Image Pixel Size" of the stored image, else "Pixel Size", which is of a screen 1024 wide."""
    sizes = {}
    for name in ("ap_image_pixel_size", "ap_pixel_size"):
        entry = tag.get(name) if isinstance(tag, dict) else None
        _, value, unit = entry if isinstance(entry, tuple) and len(entry) == 3 else ("", None, "")
        sizes[name] = positive(value, MICROMETRES.get(unit_name(unit), 0.0))
    stored, on_screen = sizes.values()
    size = stored or positive(on_screen, ZEISS_COLUMNS / max(columns, 1))
    return size, size


def tescan_pixel(tag: Any) -> Pixel:
    """TESCAN: metres in lines of text, between bytes that are not."""
    text = tag.decode("latin-1") if isinstance(tag, bytes) else str(tag)
    found = dict(re.findall(r"^PixelSize([XY])=(\S+)", text, re.MULTILINE))
    return positive(found.get("Y"), MICROMETRES["m"]), positive(found.get("X"), MICROMETRES["m"])


def gatan_pixel(page: Any) -> Pixel:
    """Gatan DigitalMicrograph: a number and a unit for each axis, in tags of their own."""
    y, x = (
        positive(tag_value(page, length), MICROMETRES.get(unit_name(tag_value(page, unit)), 0.0))
        for length, unit in GATAN_TAGS
    )
    return y, x


def openfibsem_pixel(description: Any, columns: int) -> Pixel:
    """OpenFIBSEM: JSON with the pixel size in metres, else the field of view's width."""
    if not isinstance(description, str) or not description.startswith("{"):
        return None, None
    try:
        metadata = json.loads(description)
    except UNREADABLE:
        return None, None
    image = section(metadata, "image") or metadata  # settings of the image, which version 1 keeps beside the rest
    if "hfw" not in image:
        return None, None
    pixel = section(metadata, "pixel_size")
    y, x = (positive(pixel.get(axis), MICROMETRES["m"]) for axis in "yx")
    if y or x:
        return y, x
    resolution = re.match(r"\W*(\d{1,6})(?!\d)", str(image.get("resolution")))  # "1536x1024" or [1536, 1024]
    # of the whole field, of which the image may be a part
    width = positive(resolution[1] if resolution else columns, 1.0)
    size = positive(image.get("hfw"), MICROMETRES["m"] / width) if width else None
    return size, size


def tag_value(page: Any, code: int) -> Any:
    """The value of a page's tag; None where it is missing or damaged."""
    try:
        return page.tags.valueof(code)
    except UNREADABLE:
        return None


def section(metadata: Any, name: str) -> Mapping[str, Any]:
    """What a mapping holds by that name, if it is a mapping too; else an empty one."""
    found = metadata.get(name) if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


def number(value: Any) -> float | None:
    """A finite number, None for anything else."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def positive(value: Any, scale: float) -> float | None:
    """Length of value times scale in micrometres; some programs write it below 0.

    None unless it is between a femtometre and a kilometre: what is beyond is damage, and its inverse may not be finite.
    """
    length = abs(number(value) or 0.0) * scale
    return length if 1e-9 <= length <= 1e9 else None


def unit_name(text: Any) -> str:
    """A unit of length by its name in MICROMETRES, where it can be told; else as it is."""
    text = text.decode("latin-1") if isinstance(text, bytes) else str(text)
    name = re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text)  # as ImageJ writes
    name = unicodedata.normalize("NFC", name.strip().strip("\0"))  # the sign of ångström to the letter
    if name in MICROMETRES:
        return name
    if re.fullmatch(r"(?:[^\x00-\x7f]+|\?)m", name):  # a micro sign read in another encoding
        return "µm"
    word = name.lower()
    # not the short ones, where case tells mega from milli
    known = (n for n in (word, word.removesuffix("s"), word.removesuffix("es")) if n in MICROMETRES and len(n) > 2)
    return next(known, name)
