"""Pixel sizes of TIFF slices, which should be alike in all of them."""

import logging
import re
from collections.abc import Hashable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from zinterp.io.tiff_metadata import MAKE_TAG, RESOLUTION_TAGS, RESOLUTION_UNIT_TAG
from zinterp.io.vendors import FEI_TAGS, GATAN_TAGS, TESCAN_TAG, ZEISS_TAG, tag_value
from zinterp.volume import VoxelSize

logger = logging.getLogger(__name__)

SHORT_TAGS = (MAKE_TAG, *RESOLUTION_TAGS, RESOLUTION_UNIT_TAG, *(code for pair in GATAN_TAGS for code in pair))
LONG_TAGS = (*FEI_TAGS, ZEISS_TAG, TESCAN_TAG)
LINES = (re.compile(rb"Pixel[^\r\n]*"), re.compile(rb"Scan=[^\r\n]*"))  # of long tags; one pattern takes longer
ALIKE = 0.01  # by which pixel sizes may differ


def length_clues(page: Any) -> Hashable:
    """All that the size of a page's pixels depends on, as it is stored: to understand it may take ten times as long.

    Parameters
    ----------
    page : tifffile.TiffPage
        ``Any``, as tifffile types pages loosely.

    Returns
    -------
    tuple
        Pages of slices for which it is equal have pixels of equal size.
    """
    lines: list[bytes] = []
    for tag in filter(None, map(page.tags.get, LONG_TAGS)):
        page.parent.filehandle.seek(tag.valueoffset)
        text = page.parent.filehandle.read(tag.valuebytecount)
        lines += [line for pattern in LINES for line in pattern.findall(text)]
    described = re.findall("PhysicalSize[^>]*", page.description) if page.is_ome else [page.description]
    return (*(tag_value(page, code) for code in SHORT_TAGS), *lines, *described)


def warn_of_other_pixels(path: Path, sizes: Iterable[tuple[str, VoxelSize]]) -> None:
    """Name the first slice whose pixels are not as large as those of the first of all, as far as both are known.

    Parameters
    ----------
    path : Path
        Of the slices.
    sizes : iterable of str and VoxelSize
        Names of slices, with their sizes.
    """
    (first, size), *others = sizes
    for name, other in others:
        if any(a and b and abs(a - b) > ALIKE * a for a, b in ((size.y, other.y), (size.x, other.x))):
            logger.warning(
                "%s: pixels of %s are %s and those of %s %s: taking those of %s for all; a change of magnification "
                "cannot be undone here",
                *(path, first, pixel(size), name, pixel(other), first),
            )
            return


def pixel(size: VoxelSize) -> str:
    """The size of a pixel as text: ``5 x 5 nm``."""
    return str(replace(size, z=None)).removeprefix("? x ")
