"""A folder of slices that is still being written: which files are there, and the volume that some of them make."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import blake2b
from pathlib import Path

import numpy as np

from zinterp.errors import BadVolumeError, InputError
from zinterp.io import slice_names
from zinterp.io.paths import is_pattern
from zinterp.io.selection import InputOptions
from zinterp.io.slices import (
    KINDS,
    Header,
    Lengths,
    SlicesReader,
    is_png,
    read_header,
    read_lengths,
    read_slice,
    volume_info,
)
from zinterp.volume import Planes, VolumeInfo

UNFINISHED = (".tmp", ".partial", ".part", ".temp", ".crdownload")
"""Endings, before the last suffix too, of files that some program is still writing."""


@dataclass(frozen=True)
class Stamp:
    """What the file system says of a file; two that differ mean that it was written in between, whatever the clock."""

    size: int
    modified_ns: int


UNKNOWN = Stamp(-1, -1)
"""That of no file."""

Kind = tuple[bool, Header]
"""What slices of one stack have in common: whether they are PNG, and their header."""


@dataclass(frozen=True)
class Slice:
    """A slice that was read in full.

    Parameters
    ----------
    name : str
    stamp : Stamp
        Of the file when it was read.
    png : bool
    header : Header
    digest : str
        Of its plane, as it is read: two slices whose digests are equal are equal bit for bit.
    """

    name: str
    stamp: Stamp
    png: bool
    header: Header
    digest: str

    @property
    def kind(self) -> Kind:
        """What slices of one stack have in common."""
        return self.png, self.header


def list_files(path: Path) -> dict[str, Stamp]:
    """The files of a folder, or those that match a pattern, that are named like slices.

    Hidden files, folders, and files that some program is still writing by their names are not among them.

    Raises
    ------
    InputError
        If the folder cannot be read.
    """
    pattern = path.name if is_pattern(path) else "*"
    found = {}
    try:
        with os.scandir(folder_of(path)) as entries:
            for entry in entries:
                if is_slice(entry.name) and fnmatchcase(entry.name, pattern):
                    try:
                        status = entry.stat()
                        if entry.is_file():
                            found[entry.name] = Stamp(status.st_size, status.st_mtime_ns)
                    except FileNotFoundError:  # renamed in between, or a link to nothing
                        continue
    except OSError as error:
        raise InputError(f"the folder {folder_of(path)} cannot be read ({error.strerror}): check the path") from error
    return found


def folder_of(path: Path) -> Path:
    """The folder that a path or pattern is about."""
    return path.parent if is_pattern(path) else path


def is_slice(name: str) -> bool:
    """Whether a file is a slice by its name, and none that is still being written."""
    path = Path(name.lower())
    return path.suffix in KINDS and not name.startswith(".") and not path.stem.endswith(UNFINISHED)


def take_slice(path: Path, stamp: Stamp, options: InputOptions) -> tuple[Slice, Planes]:
    """Read a slice in full -> what is known of it, and its plane (Y, X).

    Raises
    ------
    InputError
        If it cannot be read, or not in full.
    BadVolumeError
        If it is not a single grey plane, or has values that are not finite.
    """
    header = read_header(path, options)
    plane = np.ascontiguousarray(read_slice(path, header))
    if plane.dtype.kind == "f" and not np.isfinite(plane).all():
        raise BadVolumeError(f"{path} has NaN or infinite values, expected finite ones")
    return Slice(path.name, stamp, is_png(path), header, digest_of(plane)), plane


def read_again(path: Path, taken: Slice) -> Planes | None:
    """The plane of a slice that was taken (Y, X); None if it is no longer what it was."""
    plane = np.ascontiguousarray(read_slice(path, taken.header))
    return plane if digest_of(plane) == taken.digest else None


def digest_of(plane: Planes) -> str:
    """A number that two planes share only if they are equal bit for bit."""
    header = f"{plane.shape} {plane.dtype.str} "
    return blake2b(plane.data, digest_size=16, key=header.encode()[:64]).hexdigest()


def one_series(names: Sequence[str]) -> list[str]:
    """Of names in any order those of the largest series, in their natural order; see ``check_one_series``."""
    ordered = slice_names.natural_order(names)
    return slice_names.series(ordered)[0] if ordered else []


def lacking(names: Sequence[str]) -> list[int]:
    """The numbers that lack in names of one series; none where numbers do not tell."""
    numbers = slice_names.numbers(names)
    return [] if numbers is None or slice_names.irregularity(numbers) else slice_names.missing(numbers)


class ArrivingVolume:
    """The volume that the slices make which have arrived.

    Parameters
    ----------
    path : Path
        The folder or pattern.
    first : Path
        The slice that lengths are read from.
    header : Header
        Of all slices.
    options : InputOptions
    """

    def __init__(self, path: Path, first: Path, header: Header, options: InputOptions) -> None:
        self._path, self._header, self._options = path, header, options
        self._lengths: Lengths = read_lengths(first)

    def info(self, names: Sequence[str]) -> VolumeInfo:
        """The volume of slices of these names, in their order; nothing is read.

        Raises
        ------
        BadVolumeError
            If the names do not tell what is needed.
        """
        return volume_info(self._path, names, self._header, self._lengths, self._options, say_nothing)


def finished_volume(path: Path, names: Sequence[str], options: InputOptions) -> SlicesReader:
    """The volume of slices that are all there, of which each header is read once more, as ``open_volume`` opens it."""
    return SlicesReader(path, options, [folder_of(path) / name for name in names])


def say_nothing(*message: object) -> None:
    """Keep quiet about names that are still changing."""


def slice_to_json(taken: Slice) -> list[object]:
    """A slice as a journal keeps it."""
    header = taken.header
    size = (header.height, header.width, header.dtype.name, header.rows, header.white_is_0)
    return [taken.stamp.size, taken.stamp.modified_ns, taken.png, *size, taken.digest]


def slice_from_json(name: str, values: Sequence[object]) -> Slice:
    """What ``slice_to_json`` made, back."""
    size, modified_ns, png, height, width, dtype, rows, white_is_0, digest = values
    header = Header(int(str(height)), int(str(width)), np.dtype(str(dtype)), int(str(rows)), bool(white_is_0))
    return Slice(name, Stamp(int(str(size)), int(str(modified_ns))), bool(png), header, str(digest))
