"""The record of how an output was made, in the metadata of a TIFF file: it has its place before the pixels."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import tifffile

from zinterp.errors import OutputError
from zinterp.io.record import LONGEST
from zinterp.io.vendors import DESCRIPTION_TAG

COUNTS_TAG, IMAGEJ_TAG = 50838, 50839
BEFORE, BEHIND = b"<Description>", b"</Description>"


def padded(record: Mapping[str, object], room: int) -> str:
    """A record as JSON, with blanks behind it that a longer one may take."""
    return json.dumps(record) + " " * room


def replace_record(file: BinaryIO, path: Path, record: Mapping[str, object], *, ome: bool) -> None:
    """Write a record over the one that a file of ours was laid out with, and change no other byte.

    Parameters
    ----------
    file : BinaryIO
        Open for reading and writing.
    path : Path
        Of this file.
    record : mapping
        As JSON, no longer than the first one and the room behind it.
    ome : bool
        Whether the record is in the OME description rather than in ImageJ's info.

    Raises
    ------
    OutputError
        If there is too little room.
    """
    with tifffile.TiffFile(path) as tif:
        start, length = (ome_place if ome else imagej_place)(tif)
        encoding = "ascii" if ome else "utf-16" + {">": "-be", "<": "-le"}[tif.byteorder]
    text = json.dumps(record)
    encoded, blank = (escape(text) if ome else text).encode(encoding), " ".encode(encoding)
    if len(encoded) > length:
        raise OutputError(
            f"{path} has room for a record of {length} bytes and it takes {len(encoded)}, expected it to fit: this is "
            "a fault of zinterp; report it"
        )
    file.seek(start)
    file.write(encoded + blank * ((length - len(encoded)) // len(blank)))


def ome_place(tif: tifffile.TiffFile) -> tuple[int, int]:
    """Where the text of the OME description begins in the file, and its bytes."""
    tag = tif.pages.first.tags[DESCRIPTION_TAG]
    tif.filehandle.seek(tag.valueoffset)
    xml = tif.filehandle.read(tag.count)
    start = xml.index(BEFORE) + len(BEFORE)
    return tag.valueoffset + start, xml.index(BEHIND, start) - start


def imagej_place(tif: tifffile.TiffFile) -> tuple[int, int]:
    """Where the text of ImageJ's info, the only metadata that we write there, begins in the file, and its bytes."""
    tags = tif.pages.first.tags
    header, length = (int(count) for count in tags[COUNTS_TAG].value)
    return tags[IMAGEJ_TAG].valueoffset + header, length


def record_text(tif: tifffile.TiffFile) -> str:
    """What an open TIFF holds where our records lie: the OME description, else ImageJ's info; "" if neither."""
    if tif.ome_metadata:
        return ome_description(tif.ome_metadata)
    return str((tif.imagej_metadata or {}).get("Info", ""))


def ome_description(xml: str) -> str:
    """The text that describes the first image of OME-XML; "" if there is none."""
    try:
        return ElementTree.fromstring(xml).findtext("{*}Image/{*}Description", "") if len(xml) <= LONGEST else ""
    except (ElementTree.ParseError, ValueError):
        return ""
