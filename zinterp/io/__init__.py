"""Data files, one module a format. ``open_volume`` and ``create_volume`` are the only functions that open them."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from zinterp.errors import BadOptionError, BadVolumeError, InputError, OutputError, OutputExistsError
from zinterp.volume import VolumeInfo, VolumeReader, VolumeWriter, readable

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


@dataclass(frozen=True)
class OutputOptions:
    """How an output is written.

    Parameters
    ----------
    format : str or None
        A key of FORMATS; None goes by the path's suffix.
    ngff : str
        Version of OME-Zarr, ``0.5`` or ``0.4``.
    z_chunk : int
        Planes that are always written together.
    overwrite : bool
        Replace an output that is there.
    resume : bool
        Go on in the partial output that is there.
    """

    format: str | None = None
    ngff: str = "0.5"
    z_chunk: int = 16
    overwrite: bool = False
    resume: bool = False


Opener = Callable[[Path, int | None, int | None], VolumeReader]
Creator = Callable[[Path, VolumeInfo, OutputOptions, Mapping[str, object]], VolumeWriter]


@dataclass(frozen=True)
class Format:
    """A file format: the suffixes it goes by, what opens it, and what creates it."""

    suffixes: tuple[str, ...]
    open: Opener
    create: Creator


def _open_tiff(path: Path, channel: int | None, time: int | None) -> VolumeReader:
    from zinterp.io.tiff import TiffReader

    return TiffReader(path, channel=channel, time=time)


def _create_tiff(path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]) -> VolumeWriter:
    from zinterp.io.tiff import TiffWriter

    return TiffWriter(path, info, ome=False, record=record, resume=options.resume)


def _create_ome_tiff(
    path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]
) -> VolumeWriter:
    from zinterp.io.tiff import TiffWriter

    return TiffWriter(path, info, ome=True, record=record, resume=options.resume)


def _open_zarr(path: Path, channel: int | None, time: int | None) -> VolumeReader:
    from zinterp.io.ngff import NgffReader

    return NgffReader(path, channel=channel, time=time)


def _create_ome_zarr(
    path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]
) -> VolumeWriter:
    from zinterp.io.ngff import NgffWriter

    return NgffWriter(path, info, version=options.ngff, z_chunk=options.z_chunk, record=record, resume=options.resume)


FORMATS: dict[str, Format] = {
    "ome-tiff": Format((".ome.tif", ".ome.tiff"), _open_tiff, _create_ome_tiff),
    "tiff": Format((".tif", ".tiff"), _open_tiff, _create_tiff),
    "ome-zarr": Format((".ome.zarr", ".zarr"), _open_zarr, _create_ome_zarr),
}
"""Formats by name. Of the suffixes that end a path, the longest decides."""

NGFF_VERSIONS = ("0.5", "0.4")


def format_of(path: Path) -> str | None:
    """The name of the format that a path's suffix stands for, None if it stands for none."""
    matches = [
        (len(suffix), name)
        for name, format in FORMATS.items()
        for suffix in format.suffixes
        if path.name.lower().endswith(suffix)
    ]
    return max(matches)[1] if matches else None


def stem_of(path: Path) -> str:
    """The path's name without the suffix of its format."""
    suffixes = [s for format in FORMATS.values() for s in format.suffixes if path.name.lower().endswith(s)]
    return path.name[: -len(max(suffixes, key=len))] if suffixes else path.stem


def open_volume(path: str | Path, *, channel: int | None = None, time: int | None = None) -> VolumeReader:
    """Open a volume for reading.

    Parameters
    ----------
    path : str or Path
        A TIFF file or an OME-Zarr folder.
    channel, time : int or None
        Which one to take; must be given where the file has several.

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
    if not path.exists():
        raise InputError(f"{path} does not exist, expected a TIFF stack or an OME-Zarr folder: check the path")
    name = "ome-zarr" if path.is_dir() else (format_of(path) or "")
    if name not in FORMATS or (name == "ome-zarr" and not path.is_dir()):
        suffixes = ", ".join(s for format in FORMATS.values() for s in format.suffixes)
        raise InputError(f"{path} has no known suffix, expected one of {suffixes}: rename or convert it")
    reader = FORMATS[name].open(path, channel, time)
    try:
        check_dtype(reader.info.dtype, path)
        if 0 in reader.info.shape:
            raise BadVolumeError(f"{path} has shape {reader.info.shape}, expected at least one voxel along each axis")
    except BadVolumeError:
        reader.close()
        raise
    return reader


def check_dtype(dtype: "DTypeLike", name: object) -> None:
    """Refuse what cannot be interpolated as grey values."""
    dtype = np.dtype(dtype)
    if dtype.kind not in "iuf" or dtype.itemsize > (4 if dtype.kind in "iu" else 8):
        hint = "segmentations cannot be interpolated as grey values" if dtype.kind == "b" else "convert it first"
        raise BadVolumeError(f"{name} holds {dtype.name} values, expected 8, 16 or 32 bit integers or floats: {hint}")


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
    if path and not by_suffix and not wanted:
        suffixes = ", ".join(s for format in FORMATS.values() for s in format.suffixes)
        raise BadOptionError(
            f"the output {path} has no known suffix, expected one of {suffixes}: rename it or give --format"
        )
    name = wanted or by_suffix or ("ome-zarr" if source.format == "zarr" else source.format)
    if name == "tiff" and source.format == "ome-tiff" and not wanted:
        name = "ome-tiff"  # OME in, OME out, also where -o says just .tif
    if by_suffix and name != by_suffix and {name, by_suffix} != {"tiff", "ome-tiff"}:
        raise BadOptionError(
            f"the output {path} is named like {by_suffix} and to be {name}, expected one of them: rename it"
        )
    why = ""
    if name == "tiff":
        from zinterp.io.tiff import imagej_limits

        if limits := imagej_limits(info):
            name, why = "ome-tiff", f"{' and '.join(limits)}: writing OME-TIFF instead of an ImageJ stack"
    if name == "ome-tiff" and info.dtype.name == "float16":
        raise BadOptionError("neither ImageJ nor OME-TIFF can hold float16, expected --format ome-zarr for it")
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
    if options.format is None:
        raise BadOptionError("got no format, expected one of " + ", ".join(FORMATS))
    check_target(path, replace(info, format=options.format), overwrite=options.overwrite, resume=options.resume)
    return FORMATS[options.format].create(path, replace(info, format=options.format), options, record)


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that holds a Zarr group or array."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def check_target(path: Path, info: VolumeInfo, *, overwrite: bool, resume: bool) -> None:
    """Everything about an output that can be known before the work begins."""
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already: give --overwrite to replace it, or another -o")
    same_kind = is_zarr(path) if info.format == "ome-zarr" else path.is_file()
    if path.exists() and not same_kind:
        raise OutputError(f"{path} is there and is not of the kind that would replace it: choose another -o")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(
            f"the folder {folder} does not exist, expected one to write {path.name} into: create it first"
        )
    probe = folder / f".{path.name}.probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(f"the folder {folder} may not be written ({error.strerror}): choose another -o") from error
    free = shutil.disk_usage(folder).free
    if info.bytes > free and not resume:
        raise OutputError(
            f"the output {path.name} needs {readable(info.bytes)} and {folder} has {readable(free)} free: "
            "free some space or choose another -o"
        )
