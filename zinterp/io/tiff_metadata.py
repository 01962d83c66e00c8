"""Voxel sizes, positions and names from what microscopes and programs leave in a TIFF file."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree import ElementTree

import tifffile

from zinterp.io.vendors import UNREADABLE, number, positive, tag_value, unit_name, vendor_pixel_size
from zinterp.volume import MICROMETRES, SECONDS, VoxelSize

logger = logging.getLogger(__name__)

MAKE_TAG = 271
RESOLUTION_TAGS = (283, 282)  # Y, X
RESOLUTION_UNIT_TAG = 296
RESOLUTION_UNITS = {2: MICROMETRES["inch"], 3: MICROMETRES["cm"]}
USUAL_DPI = (72, 90, 96, 100, 120, 150, 180, 200, 240, 300, 350, 360, 400, 600, 720, 1200, 2400)
PRINT_DPI = 1200  # up to which a resolution in inches says how to print a picture
UNCHOSEN_DPI = (72.0, 96.0, 300.0)  # what programs write when nobody asked

OME_UNITS: Mapping[str, float] = {
    **{"Ym": 1e30, "Zm": 1e27, "Em": 1e24, "Pm": 1e21, "Tm": 1e18, "Gm": 1e15, "Mm": 1e12, "km": 1e9, "hm": 1e8},
    **{"dam": 1e7, "m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "nm": 1e-3, "pm": 1e-6, "fm": 1e-9, "am": 1e-12},
    **{"zm": 1e-15, "ym": 1e-18, "thou": 25.4, "pt": 25400 / 72, "li": 25400 / 12, "in": 25400.0, "ft": 304800.0},
    **{"yd": 914400.0, "mi": 1609344000.0},
}
"""In micrometres, those that MICROMETRES lacks, and those that differ from it by case alone."""


@dataclass(frozen=True)
class FoundVoxelSize:
    """What a file says of lengths and names.

    Parameters
    ----------
    size : VoxelSize
    source : str
        Where it was found; "" if it was not.
    unit : str
        The unit that the file writes lengths in, or one that suits them; "" if no size was found.
    origin : tuple of float or None
        Where the centre of the first voxel lies, (z, y, x) in micrometres; None where the file does not say.
    time_step : float or None
        Seconds from one time to the next; None where the file does not say.
    channel_names : tuple of str
        As many as there are channels, "" for one without a name; empty if none has one.
    """

    size: VoxelSize = field(default_factory=VoxelSize)
    source: str = ""
    unit: str = ""
    origin: tuple[float, float, float] | None = None
    channel_names: tuple[str, ...] = ()
    time_step: float | None = None


def find_voxel_size(tif: tifffile.TiffFile) -> FoundVoxelSize:
    """The voxel size of an open TIFF, from the first that knows one.

    OME-XML, ImageJ's description, which someone may have calibrated later, an electron microscope's own metadata, and
    the resolution tags.

    Parameters
    ----------
    tif : tifffile.TiffFile

    Returns
    -------
    FoundVoxelSize
        Nothing in a file makes this raise: what cannot be understood is not known.
    """
    ome = from_ome(tif.ome_metadata) if tif.ome_metadata else FoundVoxelSize()
    found = next((candidate for candidate in candidates(tif, ome) if candidate.source), ome)
    step = ome.time_step or imagej_time_step(tif)
    return replace(found, origin=ome.origin or found.origin, channel_names=ome.channel_names, time_step=step)


def candidates(tif: tifffile.TiffFile, ome: FoundVoxelSize) -> Iterator[FoundVoxelSize]:
    """What each kind of metadata says, the best first."""
    page = tif.pages.first
    yield ome
    try:
        imagej = tif.imagej_metadata
    except UNREADABLE:
        imagej = None
    if imagej:
        yield from_imagej(imagej, page)
    size, source = vendor_pixel_size(page)
    yield FoundVoxelSize(size, source, "nm" if (size.x or size.y or 0) < 1 else "um")
    yield from_resolution(page)


def from_resolution(page: Any) -> FoundVoxelSize:
    """Resolution tags, unless they only say how to print or show a picture."""
    unit = resolution_unit(page)
    y, x = resolution(page)
    if not (unit and x and y) or is_for_print(x, unit) or is_for_print(y, unit):
        return FoundVoxelSize()
    if str(tag_value(page, MAKE_TAG)).startswith("JEOL"):  # counts pixels on the detector, not on the specimen
        return FoundVoxelSize()
    size = VoxelSize(None, positive(1 / y, unit), positive(1 / x, unit))
    return FoundVoxelSize(size, "TIFF resolution tags" if size.y and size.x else "", "um")


def is_for_print(per_unit: float, unit: float) -> bool:
    """Whether a resolution is a printer's or a screen's, or one pixel in a unit, which says as little."""
    dpi = per_unit * MICROMETRES["inch"] / unit
    if unit == MICROMETRES["inch"] and dpi <= PRINT_DPI:
        return True
    return per_unit == 1 or any(abs(dpi - usual) <= 0.005 * usual for usual in USUAL_DPI)


def resolution_unit(page: Any) -> float:
    """Length of the unit of the resolution tags in micrometres, 0 if there is none."""
    unit = tag_value(page, RESOLUTION_UNIT_TAG)
    return RESOLUTION_UNITS.get(unit, 0.0) if isinstance(unit, int) else 0.0


def resolution(page: Any) -> tuple[float, float]:
    """Pixels in a unit along y and x; 0 where the tag is missing or says nothing."""

    def per_unit(value: Any) -> float:
        numerator, denominator = value if isinstance(value, tuple) and len(value) == 2 else (value, 1)
        top, bottom = number(numerator) or 0.0, number(denominator) or 0.0
        return top / bottom if top > 0 and bottom > 0 else 0.0

    y, x = (per_unit(tag_value(page, code)) for code in RESOLUTION_TAGS)
    return y, x


def from_imagej(metadata: Mapping[str, Any], page: Any) -> FoundVoxelSize:
    """ImageJ: resolution tags count pixels per ``unit``, ``spacing`` is z in ``unit``, the origin is in pixels.

    SCIFIO, which also writes these, counts pixels per centimetre and says so in the tag; its z is in ``scales``.
    """
    unit = unit_name(metadata.get("unit", ""))
    scale = MICROMETRES.get(unit)
    if scale is None:
        return FoundVoxelSize()
    counts = resolution(page)
    tag_unit = resolution_unit(page)
    in_cm = tag_unit == MICROMETRES["cm"]
    plane_scale = MICROMETRES["cm"] if in_cm else scale
    if scale in RESOLUTION_UNITS.values():
        if any(n and is_for_print(n, plane_scale) for n in counts):
            return FoundVoxelSize()  # ImageJ takes a printer's resolution for a calibration, and saves it as one
    elif tag_unit == MICROMETRES["inch"] and set(counts) & set(UNCHOSEN_DPI):  # others in inches ImageJ reads per unit
        counts = (0.0, 0.0)
    z_scale, y_scale = (
        MICROMETRES.get(unit_name(metadata[name]), 0.0) if name in metadata else scale for name in ("zunit", "yunit")
    )
    y, x = (
        positive(1 / n if n else None, axis_scale)
        for n, axis_scale in zip(counts, (plane_scale if in_cm else y_scale, plane_scale), strict=True)
    )
    z = positive(metadata.get("spacing"), z_scale) or scifio_z(metadata)
    size = VoxelSize(z, y, x)
    return FoundVoxelSize(size, "ImageJ metadata" if z or y or x else "", unit, imagej_origin(metadata, size))


def imagej_time_step(tif: tifffile.TiffFile) -> float | None:
    """Seconds from frame to frame, by ImageJ's description."""
    try:
        metadata = tif.imagej_metadata or {}
    except UNREADABLE:
        return None
    return positive(metadata.get("finterval"), SECONDS.get(str(metadata.get("tunit", "s")), 0.0))


def scifio_z(metadata: Mapping[str, Any]) -> float | None:
    """The plane distance in micrometres that SCIFIO writes, None if it does not."""
    names, lengths, units = (str(metadata.get(key, "")).split(",") for key in ("axes", "scales", "units"))
    if "Z" not in names or not len(names) == len(lengths) == len(units):
        return None
    i = names.index("Z")
    return positive(lengths[i], MICROMETRES.get(unit_name(units[i]), 0.0))


def imagej_origin(metadata: Mapping[str, Any], size: VoxelSize) -> tuple[float, float, float] | None:
    """Where the first voxel lies: ImageJ says which voxel lies at 0."""
    if not any(f"{axis}origin" in metadata for axis in "zyx"):
        return None
    pixels = [number(metadata.get(f"{axis}origin", 0.0)) for axis in "zyx"]
    lengths = (size.z, size.y, size.x)
    z, y, x = (
        None if n is None or (n and length is None) else number(0.0 - n * (length or 0.0))
        for n, length in zip(pixels, lengths, strict=True)
    )
    return None if z is None or y is None or x is None else (z, y, x)


def from_ome(xml: str) -> FoundVoxelSize:
    """OME-XML: PhysicalSizeX, Y, Z of the first image, where its first plane lies, and its channels' names."""
    try:
        pixels = ElementTree.fromstring(xml).find("{*}Image/{*}Pixels")
    except (ElementTree.ParseError, ValueError) as error:
        logger.warning("the OME-XML is not well-formed (%s), so the voxel size is not known from it", error)
        return FoundVoxelSize()
    if pixels is None:
        return FoundVoxelSize()
    size = VoxelSize(*(positive(*ome_length(pixels, f"PhysicalSize{axis}", "µm")) for axis in "ZYX"))
    known = size != VoxelSize()
    names = tuple(channel.get("Name", "") for channel in pixels.findall("{*}Channel"))
    return FoundVoxelSize(
        size,
        "OME-XML" if known else "",
        "µm" if known else "",
        ome_origin(pixels),
        names if any(names) else (),
        positive(pixels.get("TimeIncrement"), SECONDS.get(pixels.get("TimeIncrementUnit", "s"), 0.0)),
    )


def ome_length(element: ElementTree.Element, name: str, unit: str) -> tuple[str | None, float]:
    """An attribute, and its unit in micrometres, 0 for what is no length; ``unit`` is OME's default."""
    unit = element.get(f"{name}Unit", unit)
    return element.get(name), OME_UNITS.get(unit, MICROMETRES.get(unit_name(unit), 0.0))


def ome_origin(pixels: ElementTree.Element) -> tuple[float, float, float] | None:
    """Where the first plane lies; an axis that is not named counts as 0, one without a length leaves all unknown."""
    planes = [plane for plane in pixels.findall("{*}Plane") if plane.get("TheZ") == "0"]
    if not planes:
        return None
    plane = min(planes, key=lambda p: (p.get("TheT", "0") != "0", p.get("TheC", "0") != "0"))
    names = [f"Position{axis}" for axis in "ZYX"]
    if not any(name in plane.attrib for name in names):
        return None
    position = []
    for name in names:
        text, scale = ome_length(plane, name, "reference frame")
        value = number("0" if text is None else text)
        length = None if value is None else number(value * scale)
        if length is None or (text is not None and not scale):
            return None
        position.append(length)
    z, y, x = position
    return z, y, x
