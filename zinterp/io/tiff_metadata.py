"""Voxel sizes from what TIFF writers leave in a file."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import tifffile

from zinterp.volume import MICROMETRES, VoxelSize

logger = logging.getLogger(__name__)

RESOLUTION_UNIT_CM = 3  # of the TIFF tag


@dataclass(frozen=True)
class FoundVoxelSize:
    """A voxel size, where it was found, and the unit that the file writes lengths in."""

    size: VoxelSize = field(default_factory=VoxelSize)
    source: str = ""
    unit: str = ""


def find_voxel_size(tif: tifffile.TiffFile) -> FoundVoxelSize:
    """The voxel size of an open TIFF: OME-XML, else ImageJ's description, else resolution tags in centimetres."""
    if tif.ome_metadata:
        return from_ome(tif.ome_metadata)
    page = tif.pages.first
    pixel = {axis: pixel_length(page, tag) for axis, tag in (("x", "XResolution"), ("y", "YResolution"))}
    resolution_unit = page.tags.valueof("ResolutionUnit", 1)
    if tif.imagej_metadata:
        return from_imagej(tif.imagej_metadata, pixel, int(resolution_unit))
    if resolution_unit == RESOLUTION_UNIT_CM and all(pixel.values()):
        # resolution in inches says how to print a picture, and 72 or 96 is nobody's pixel size
        scale = MICROMETRES["cm"]
        return FoundVoxelSize(VoxelSize(None, scale * pixel["y"], scale * pixel["x"]), "TIFF resolution tags", "um")
    return FoundVoxelSize()


def pixel_length(page: Any, tag: str) -> float:
    """Length of a pixel in resolution units; 0 where the tag is missing or says nothing."""
    value = page.tags.valueof(tag, (0, 1))
    numerator, denominator = value if isinstance(value, tuple) and len(value) == 2 else (0, 1)
    return denominator / numerator if numerator > 0 else 0.0


def from_imagej(metadata: Mapping[str, Any], pixel: Mapping[str, float], resolution_unit: int) -> FoundVoxelSize:
    """ImageJ: resolution tags count pixels per ``unit``, ``spacing`` is z in ``unit``.

    SCIFIO, which also writes these, counts pixels per centimetre and says so in the tag; its z is in ``scales``.
    """
    unit = unescaped(metadata.get("unit", ""))
    scale = MICROMETRES.get(unit)
    if scale is None:
        return FoundVoxelSize(unit="")
    plane_scale = MICROMETRES["cm"] if resolution_unit == RESOLUTION_UNIT_CM else scale
    scales = {axis: MICROMETRES.get(unescaped(metadata.get(f"{axis}unit", unit)), scale) for axis in "yz"}
    x = plane_scale * pixel["x"] or None
    y = (plane_scale if resolution_unit == RESOLUTION_UNIT_CM else scales["y"]) * pixel["y"] or None
    z = positive(metadata.get("spacing"), scales["z"])
    if z is None and metadata.get("scales"):
        names = str(metadata.get("axes", "")).split(",")
        lengths = str(metadata["scales"]).split(",")
        units = [unescaped(name) for name in str(metadata.get("units", "")).split(",")]
        if "Z" in names and len(names) == len(lengths) == len(units):
            i = names.index("Z")
            z = positive(lengths[i], MICROMETRES.get(units[i], 0.0))
    return FoundVoxelSize(VoxelSize(z, y, x), "ImageJ metadata", unit)


def from_ome(xml: str) -> FoundVoxelSize:
    """OME-XML: PhysicalSizeX, Y, Z of the first image, in micrometres unless a unit is given."""
    try:
        images: Any = tifffile.xml2dict(xml).get("OME", {}).get("Image", {})
    except ElementTree.ParseError as error:
        logger.warning("the OME-XML is not well-formed (%s), so the voxel size is not known from it", error)
        return FoundVoxelSize()
    pixels = (images[0] if isinstance(images, list) else images).get("Pixels", {})
    lengths = {
        axis: positive(
            pixels.get(f"PhysicalSize{axis}"), MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"), 0.0)
        )
        for axis in "ZYX"
    }
    found = any(lengths.values())
    return FoundVoxelSize(VoxelSize(lengths["Z"], lengths["Y"], lengths["X"]), "OME-XML" if found else "", "µm")


def unescaped(unit: Any) -> str:
    """A unit of length as ImageJ writes it, with its micro sign."""
    return re.sub(r"\\u00[bB]5|\\u03[bB][cC]", "µ", str(unit))


def positive(value: Any, scale: float) -> float | None:
    """Length of value times scale in micrometres, None unless it is finite and not 0; some write it below 0."""
    try:
        length = abs(float(value)) * scale
    except (TypeError, ValueError):
        return None
    return length if 0 < length < float("inf") else None
