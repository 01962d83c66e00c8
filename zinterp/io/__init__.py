"""Data files, one module a format. ``open_volume`` and ``create_volume`` are the only functions that open them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zinterp.errors import BadVolumeError, InputError
from zinterp.io.folders import bytes_in, can_write, sync_folder
from zinterp.io.formats import FORMATS, NGFF_VERSIONS, OUTPUT_FORMATS, SLICES, SUFFIXES, OutputOptions
from zinterp.io.identity import Identity, identify, sample_digest
from zinterp.io.limits import check_regular
from zinterp.io.output import (
    DEFAULTS,
    bytes_on_disk,
    check_free,
    check_target,
    create_growing,
    create_volume,
    is_taken,
    output_format,
)
from zinterp.io.paths import files_of, format_of, is_pattern, is_zarr, name_of, on_disk, recorded_name, stem_of
from zinterp.io.selection import InputOptions
from zinterp.volume import VolumeReader

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = [
    "DEFAULTS",
    "FORMATS",
    "NGFF_VERSIONS",
    "OUTPUT_FORMATS",
    "Identity",
    "OutputOptions",
    "bytes_in",
    "bytes_on_disk",
    "can_write",
    "check_dtype",
    "check_free",
    "check_target",
    "create_growing",
    "create_volume",
    "files_of",
    "format_of",
    "identify",
    "is_pattern",
    "is_taken",
    "is_zarr",
    "name_of",
    "on_disk",
    "open_volume",
    "output_format",
    "read_record",
    "recorded_name",
    "sample_digest",
    "stem_of",
    "sync_folder",
]


def open_volume(
    path: str | Path,
    *,
    channel: int | None = None,
    time: int | None = None,
    keep_databar: bool = False,
    fill_gaps: bool = False,
) -> VolumeReader:
    """Open a volume for reading.

    Parameters
    ----------
    path : str or Path
        A TIFF or MRC file; ``file.h5:/dataset``; an OME-Zarr image, one of its levels, or a Zarr array; a folder of
        TIFF or PNG slices, or a pattern of their names, as in ``run/*.tif``.
    channel, time : int or None
        The only one to read; None reads all, each as a stack of its own.
    keep_databar : bool
        Leave the data bar that a microscope burnt in below the image.
    fill_gaps : bool
        Take numbers that lack in the names of slices for planes that lack, see ``VolumeInfo.places``.

    Returns
    -------
    VolumeReader
        A context manager.

    Raises
    ------
    InputError
        If the path is missing, unreadable or not in a known format.
    BadVolumeError
        If the file is fine but holds no stack of grey planes.
    """
    path = Path(path)
    options = InputOptions(channel, time, keep_databar, fill_gaps)
    reader = FORMATS[input_format(path)].open(path, options)
    try:
        check_dtype(reader.info.dtype, path)
        if 0 in reader.info.shape:
            raise BadVolumeError(f"{path} has shape {reader.info.shape}, expected at least one voxel along each axis")
        if options.fill_gaps and reader.info.format not in SLICES:
            raise BadVolumeError(f"{path} is no folder of slices, expected one for --fill-gaps: leave that option out")
    except BadVolumeError:
        reader.close()
        raise
    return reader


def read_record(path: str | Path) -> dict[str, Any] | None:
    """How a volume was made, if zinterp made it and its file still says so. No pixels are read.

    Parameters
    ----------
    path : str or Path
        As in ``open_volume``.

    Returns
    -------
    dict or None
        What ``create_volume`` or ``finish`` was given: ``program``, ``source``, ``model``, ...; where there is one,
        ``planes`` is the table of planes as CSV text. Of MRC what its labels keep, which is no table. None where the
        file holds no record, one that is not ours, or one that is damaged, which is logged. The other values may be
        of any kind: a record is read as it is found.

    Raises
    ------
    InputError
        If the path is missing or not in a known format.
    """
    path = Path(path)
    read = FORMATS[input_format(path)].record
    return read(path) if read else None


def input_format(path: Path) -> str:
    """The name of the format that a path is to be read as."""
    if is_pattern(path):
        return SLICES[0]
    if not on_disk(path).exists():
        raise InputError(f"{path} does not exist, expected a stack or a folder of slices: check the path")
    check_regular(on_disk(path))
    if path.is_dir():
        return "ome-zarr" if is_zarr(on_disk(path)) or path.suffix.lower() == ".zarr" else SLICES[0]
    name = format_of(path)
    if name is None or FORMATS[name].folder:
        kind = "is a file, not a folder" if name else "has no known suffix"
        raise InputError(f"{path} {kind}, expected one of {', '.join(SUFFIXES)}: rename or convert it")
    return name


def check_dtype(dtype: "DTypeLike", name: object) -> None:
    """Refuse what cannot be interpolated as grey values."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "iuf" or dtype.itemsize > (4 if dtype.kind in "iu" else 8):
        hint = "segmentations cannot be interpolated as grey values" if dtype.kind == "b" else "convert it first"
        raise BadVolumeError(f"{name} holds {dtype.name} values, expected 8, 16 or 32 bit integers or floats: {hint}")
