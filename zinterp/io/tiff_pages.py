"""Whether the pages of a TIFF file can be gone through at all, before tifffile does."""

import io
import math
import struct
from pathlib import Path
from typing import Any

import tifffile
from PIL import Jpeg2KImagePlugin, JpegImagePlugin, PngImagePlugin

from zinterp.errors import BadVolumeError, InputError
from zinterp.io.limits import DAMAGE, LARGE, MOST_PLANES

SAMPLE = 200  # pages that are looked at where they are not alike
MOST_SHAPES = 50  # among these
MOST_CHILDREN = 100  # sub-pages of a page
IMAGE_CODECS: dict[int, Any] = {
    **dict.fromkeys((6, 7, 33007, 34892), JpegImagePlugin.JpegImageFile),
    **dict.fromkeys((33003, 33004, 33005, 34712), Jpeg2KImagePlugin.Jpeg2KImageFile),
    34933: PngImagePlugin.PngImageFile,
}
"""What tells the size of a strip or tile that is an image of its own, by the code of its compression."""


def check_pages(tif: tifffile.TiffFile, path: Path) -> None:
    """Refuse pages in a circle, and so many different ones that to sort them would take for ever.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Just opened.
    path : Path
        For the error.

    Raises
    ------
    InputError, BadVolumeError
        If it is so.
    """
    count = count_pages(tif, path)
    first: Any = tif.pages.first
    check_children(first, path)
    if count <= MOST_SHAPES or tif.is_uniform:
        return
    shapes = set()
    for i in range(0, count, -(-count // SAMPLE)):
        page: Any = tif.pages[i]
        check_children(page, path)
        shapes.add(page.shape)
    if len(shapes) > MOST_SHAPES:
        raise BadVolumeError(
            f"{path} holds {count} images of many different shapes, expected planes that are all alike: split the file"
        )


def count_pages(tif: tifffile.TiffFile, path: Path) -> int:
    """How many pages follow each other; tifffile looks for circles only among the first hundred, and not always."""
    form, file, offset = tif.tiff, tif.filehandle, int(tif.pages.first.offset)
    seen: set[int] = set()
    while 0 < offset < file.size and offset not in seen and len(seen) <= MOST_PLANES:
        seen.add(offset)
        file.seek(offset)
        tags = struct.unpack(form.tagnoformat, file.read(form.tagnosize))[0]
        file.seek(offset + form.tagnosize + tags * form.tagsize)
        found = file.read(form.offsetsize)
        offset = struct.unpack(form.offsetformat, found)[0] if len(found) == form.offsetsize else 0
    if len(seen) > MOST_PLANES:
        raise BadVolumeError(f"{path} has more than {MOST_PLANES} pages, expected a stack: it is damaged")
    if offset in seen:
        raise InputError(f"{path} has pages that follow each other in a circle: it is damaged; copy it again")
    return len(seen)


def check_children(page: Any, path: Path) -> None:
    """Refuse a page of very many sub-pages."""
    if len(page.subifds or ()) > MOST_CHILDREN:
        raise BadVolumeError(
            f"{path} has a page of {len(page.subifds)} sub-images, expected at most {MOST_CHILDREN}: it is damaged"
        )


def check_images(page: Any, path: Path) -> None:
    """Refuse strips and tiles that are images of their own, as JPEG is, and far larger than the page says.

    Parameters
    ----------
    page : tifffile.TiffPage or TiffFrame
        ``Any``, as tifffile types pages loosely.
    path : Path
        For the error.

    Raises
    ------
    InputError
        If there is one.
    """
    reader, file = IMAGE_CODECS.get(int(page.compression)), page.parent.filehandle
    if reader is None:
        return
    declared = math.prod(page.chunks)
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        file.seek(offset)
        try:
            width, height = reader(io.BytesIO(file.read(count))).size
        except DAMAGE:
            continue  # which tifffile will say better
        if width * height > max(LARGE // 4, 2 * declared):
            raise InputError(
                f"{path} has a strip or tile of {width} x {height} pixels, expected {declared}: it is damaged or "
                "made to fill the memory"
            )
