"""What is decided and checked about an output before it is created, and its creation."""

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from zinterp.errors import BadOptionError, OutputError, OutputExistsError
from zinterp.io.folders import bytes_in, can_write, holds_only_levels, holds_only_slices
from zinterp.io.formats import FORMATS, OUTPUT_FORMATS, SLICES, SUFFIXES, OutputOptions
from zinterp.io.paths import format_of
from zinterp.volume import GrowingWriter, VolumeInfo, VolumeWriter, partial_path, readable

SINGLE = ("mrc", *SLICES)
"""Formats that hold one channel and time."""

DTYPES = {
    "ome-tiff": ("int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64"),
    "mrc": ("int8", "uint8", "int16", "uint16", "float16", "float32"),
    "png-slices": ("uint8", "uint16"),
}
"""What each format holds, where it does not hold all; ImageJ's limits lead to OME-TIFF."""

DEFAULTS = {"zarr": "ome-zarr", "hdf5": "ome-zarr"}
"""What outputs are where an input's own format has no geometry or is only read."""


def output_format(source: VolumeInfo, info: VolumeInfo, path: Path | None, wanted: str | None) -> tuple[str, str]:
    """Which format an output takes, and why where it is not the obvious one.

    Parameters
    ----------
    source, info : VolumeInfo
        Of the input and of the output.
    path : Path or None
        The output's path, None where it is still to be named after the input.
    wanted : str or None
        A key of FORMATS asked for by name.

    Returns
    -------
    tuple of str
        The format's name, and a sentence for the log or "".
    """
    by_suffix = format_of(path) if path else None
    is_folder = path is not None and source.format in SLICES and not re.search(r"\.[A-Za-z]\w{0,4}$", path.name)
    if path and not by_suffix and not wanted and not is_folder:
        raise BadOptionError(
            f"the output {path} has no known suffix, expected one of {', '.join(SUFFIXES)}: rename it, or give "
            "--format tiff-slices for a folder of slices"
        )
    name = wanted or by_suffix or DEFAULTS.get(source.format, source.format)
    if name == "tiff" and source.format == "ome-tiff" and not wanted:
        name = "ome-tiff"  # OME in, OME out, also where -o says just .tif
    if path and not by_suffix and FORMATS[name].suffixes and not FORMATS[name].folder:
        raise BadOptionError(f"the output {path} lacks a suffix, expected one of {', '.join(FORMATS[name].suffixes)}")
    if by_suffix and name != by_suffix and {name, by_suffix} != {"tiff", "ome-tiff"}:
        raise BadOptionError(
            f"the output {path} is named like {by_suffix} and to be {name}, expected one of them: rename it"
        )
    if name not in OUTPUT_FORMATS:
        raise BadOptionError(
            f"{name} can only be read, expected an output as one of {', '.join(OUTPUT_FORMATS)}: rename it or give "
            "--format"
        )
    why = ""
    if name == "tiff":
        from zinterp.io.tiff import imagej_limits

        if limits := imagej_limits(info):
            name, why = "ome-tiff", f"{' and '.join(limits)}: writing OME-TIFF instead of an ImageJ stack"
    if name in SINGLE and info.stacks > 1:
        raise BadOptionError(
            f"{name} holds one stack, and there are {info.channels} channels and {info.times} times: choose with "
            "--channel and --time, or give --format ome-zarr"
        )
    if name in DTYPES and info.dtype.name not in DTYPES[name]:
        raise BadOptionError(
            f"{name} holds {', '.join(DTYPES[name])}, and the planes are {info.dtype.name}: give --format ome-zarr"
        )
    if name == "mrc" and source.format != "mrc" and info.dtype == np.uint8:
        why = "MRC has no unsigned 8 bit, so that grey values are written as 16 bit"
    return name, why


def create_volume(path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]) -> VolumeWriter:
    """Create a volume under a temporary name beside ``path``.

    Parameters
    ----------
    path : Path
    info : VolumeInfo
        Shape, dtype, voxel size and unit of the output.
    options : OutputOptions
        ``format`` must be given.
    record : mapping
        How the volume was made, kept in its metadata.

    Returns
    -------
    VolumeWriter

    Raises
    ------
    OutputExistsError
        If the path is taken and ``overwrite`` is False.
    OutputError
        If the folder is missing, may not be written, or has too little room.
    """
    create = FORMATS[options.format].create if options.format in FORMATS else None
    if options.format is None or create is None:
        raise BadOptionError(f"got the format {options.format}, expected one of {', '.join(OUTPUT_FORMATS)}")
    check_target(path, replace(info, format=options.format), overwrite=options.overwrite, resume=options.resume)
    return create(path, replace(info, format=options.format), options, record)


def create_growing(path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]) -> GrowingWriter:
    """Create an OME-Zarr image that is to grow, or go on in the one that is there; see ``create_volume``."""
    from zinterp.io.ngff_writer import NgffWriter

    check_target(path, info, overwrite=options.overwrite, resume=options.resume)
    return NgffWriter(
        path,
        info,
        version=options.ngff,
        z_chunk=options.z_chunk,
        record=record,
        resume=options.resume,
        growing=True,
    )


def check_free(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that is there already and is not to be replaced."""
    if is_taken(path) and not overwrite:
        raise OutputExistsError(f"{path} exists already: give --overwrite to replace it, or another -o")


def check_target(path: Path, info: VolumeInfo, *, overwrite: bool, resume: bool) -> None:
    """Everything about an output that can be known before the work begins."""
    check_free(path, overwrite=overwrite)
    if path.exists() and not is_replaceable(path, info.format):
        raise OutputError(
            f"{path} is there, and was not written by zinterp as {info.format} or holds other things too: move it, or "
            "choose another -o"
        )
    if (partial := partial_path(path)).is_symlink():
        raise OutputError(f"{partial} is a link, which writing would follow, expected none there: remove it")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(
            f"the folder {folder} does not exist, expected one to write {path.name} into: create it first"
        )
    if reason := can_write(folder):
        raise OutputError(f"the folder {folder} may not be written ({reason}): choose another -o")
    needed, free = bytes_on_disk(info), shutil.disk_usage(folder).free + bytes_in(partial_path(path))
    if needed > free and not resume:
        raise OutputError(
            f"the output {path.name} needs {readable(needed)} and {folder} has {readable(free)} free: "
            "free some space or choose another -o"
        )


def bytes_on_disk(info: VolumeInfo) -> int:
    """The room that a volume of a format takes, uncompressed; of OME-Zarr with its pyramid, but for a few per mille."""
    if info.format == "ome-zarr":
        from zinterp.io.ngff_writer import level_shapes

        return sum(math.prod(shape) for shape, _ in level_shapes(info)) * info.dtype.itemsize * info.stacks
    return info.bytes


def is_replaceable(path: Path, format: str) -> bool:
    """Whether what is there may give way to an output: a file to a file, a folder only if we wrote all of it."""
    if FORMATS[format].folder and is_empty(path):
        return True
    if format in SLICES:
        return holds_only_slices(path)
    return holds_only_levels(path) if FORMATS[format].folder else path.is_file()


def is_taken(path: Path) -> bool:
    """Whether there is something in the place of an output."""
    return path.exists() and not is_empty(path)


def is_empty(path: Path) -> bool:
    """Whether a path is a folder made beforehand, with nothing in it."""
    return path.is_dir() and not any(path.iterdir())
