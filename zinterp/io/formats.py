"""The table of formats: what each goes by, what opens it and what creates it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zinterp.io.selection import InputOptions
from zinterp.volume import VolumeInfo, VolumeReader, VolumeWriter


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
    unsigned_bytes : bool
        In MRC, unsigned 8 bit as IMOD has it, rather than widened.
    record_room : int
        Characters by which the record given at the end, as JSON, may be longer than that given at first. Only TIFF
        needs to know, whose metadata lie before the pixels.
    overwrite : bool
        Replace an output that is there.
    resume : bool
        Go on in the partial output that is there.
    """

    format: str | None = None
    ngff: str = "0.5"
    z_chunk: int = 16
    unsigned_bytes: bool = False
    overwrite: bool = False
    resume: bool = False
    record_room: int = 0


Opener = Callable[[Path, InputOptions], VolumeReader]
Creator = Callable[[Path, VolumeInfo, OutputOptions, Mapping[str, object]], VolumeWriter]
RecordReader = Callable[[Path], dict[str, Any] | None]


def _open_tiff(path: Path, options: InputOptions) -> VolumeReader:
    from zinterp.io.tiff import TiffReader

    return TiffReader(path, options)


def _open_zarr(path: Path, options: InputOptions) -> VolumeReader:
    from zinterp.io.ngff import NgffReader

    return NgffReader(path, options)


def _open_mrc(path: Path, options: InputOptions) -> VolumeReader:
    from zinterp.io.mrc import MrcReader

    return MrcReader(path, options)


def _open_hdf5(path: Path, options: InputOptions) -> VolumeReader:
    from zinterp.io.hdf5 import Hdf5Reader
    from zinterp.io.hdf5_probe import probe

    probe(path)
    return Hdf5Reader(path, options)


def _open_slices(path: Path, options: InputOptions) -> VolumeReader:
    from zinterp.io.slices import SlicesReader

    return SlicesReader(path, options)


def _create_tiff(path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]) -> VolumeWriter:
    from zinterp.io.tiff import TiffWriter

    ome, room = info.format == "ome-tiff", options.record_room
    return TiffWriter(path, info, ome=ome, record=record, record_room=room, resume=options.resume)


def _create_zarr(path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]) -> VolumeWriter:
    from zinterp.io.ngff_writer import NgffWriter

    return NgffWriter(path, info, version=options.ngff, z_chunk=options.z_chunk, record=record, resume=options.resume)


def _create_mrc(path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]) -> VolumeWriter:
    from zinterp.io.mrc import MrcWriter

    return MrcWriter(path, info, record=record, unsigned_bytes=options.unsigned_bytes, resume=options.resume)


def _create_slices(path: Path, info: VolumeInfo, options: OutputOptions, record: Mapping[str, object]) -> VolumeWriter:
    from zinterp.io.slices_writer import SlicesWriter

    return SlicesWriter(path, info, png=info.format == "png-slices", record=record, resume=options.resume)


def _tiff_record(path: Path) -> dict[str, Any] | None:
    from zinterp.io.tiff import read_tiff_record

    return read_tiff_record(path)


def _zarr_record(path: Path) -> dict[str, Any] | None:
    from zinterp.io.ngff import read_ngff_record

    return read_ngff_record(path)


def _mrc_record(path: Path) -> dict[str, Any] | None:
    from zinterp.io.mrc import read_mrc_record

    return read_mrc_record(path)


def _slices_record(path: Path) -> dict[str, Any] | None:
    from zinterp.io.slices import read_slices_record

    return read_slices_record(path)


@dataclass(frozen=True)
class Format:
    """A file format.

    Parameters
    ----------
    suffixes : tuple of str
        That it goes by; none for folders of slices.
    open : callable
    create, record : callable or None
        ``record`` reads back the record of an output; None where the format is only read.
    folder : bool
        Whether a volume is a folder rather than a file.
    """

    suffixes: tuple[str, ...]
    open: Opener
    create: Creator | None = None
    record: RecordReader | None = None
    folder: bool = False


FORMATS: dict[str, Format] = {
    "ome-tiff": Format((".ome.tif", ".ome.tiff"), _open_tiff, _create_tiff, _tiff_record),
    "tiff": Format((".tif", ".tiff"), _open_tiff, _create_tiff, _tiff_record),
    "ome-zarr": Format((".ome.zarr", ".zarr"), _open_zarr, _create_zarr, _zarr_record, folder=True),
    "mrc": Format((".mrc", ".map", ".rec", ".st"), _open_mrc, _create_mrc, _mrc_record),
    "hdf5": Format((".h5", ".hdf5"), _open_hdf5),
    "tiff-slices": Format((), _open_slices, _create_slices, _slices_record, folder=True),
    "png-slices": Format((), _open_slices, _create_slices, _slices_record, folder=True),
}
"""Formats by name. Of the suffixes that end a path, the longest decides; a folder without one holds slices."""

OUTPUT_FORMATS = tuple(name for name, format in FORMATS.items() if format.create)
SLICES = ("tiff-slices", "png-slices")
SUFFIXES = tuple(suffix for format in FORMATS.values() for suffix in format.suffixes)

NGFF_VERSIONS = ("0.5", "0.4")
