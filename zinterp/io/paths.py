"""What the names of volumes stand for."""

import re
from pathlib import Path

from zinterp.io.formats import FORMATS, SUFFIXES

IMAGE_SUFFIXES = (".tif", ".tiff", ".png")
"""Of slices."""

ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")
SIDECAR = "zinterp.json"
"""The file in a folder of slices that says what they are and how they were made."""


def format_of(path: Path) -> str | None:
    """The name of the format that a path's suffix stands for, None if it stands for none."""
    name = split_dataset(path)[0].name.lower()
    matches = [
        (len(suffix), key) for key, format in FORMATS.items() for suffix in format.suffixes if name.endswith(suffix)
    ]
    return max(matches)[1] if matches else None


def stem_of(path: Path) -> str:
    """The path's name without the suffix of its format."""
    suffixes = [suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)]
    return path.name[: -len(max(suffixes, key=len))] if suffixes else path.stem


def split_dataset(path: Path) -> tuple[Path, str]:
    """File and dataset of ``file.h5:/dataset``; the dataset is "" where none is named."""
    match = re.fullmatch(r"(.+\.(?:h5|hdf5)):(.*)", str(path), re.IGNORECASE)
    return (Path(match[1]), match[2].strip("/")) if match else (path, "")


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that holds a Zarr group or array."""
    return any((path / name).is_file() for name in ZARR_FILES)


def is_pattern(path: Path) -> bool:
    """Whether a path is a pattern of file names, as in ``slices/*.tif``."""
    return any(c in path.name for c in "*?[") and not path.exists()


def on_disk(path: Path) -> Path:
    """The file or folder that holds a volume: that of an HDF5 dataset, of a pattern, of a level of a Zarr store."""
    if is_pattern(path):
        return path.parent
    path = split_dataset(path)[0]
    return store_around(path) if is_zarr(path) else path


def store_around(path: Path) -> Path:
    """The outermost Zarr group that a Zarr group or array lies in; itself where that is it. Links are followed."""
    place = path.resolve() if path.is_symlink() or ".." in path.parts else path.absolute()
    outermost = place
    while is_zarr(outermost.parent):
        outermost = outermost.parent
    return path if outermost == place else outermost


def name_of(path: Path) -> str:
    """What outputs made from a volume are named after: its stem, with that of the level or dataset in it."""
    disk, dataset = on_disk(path), split_dataset(path)[1]
    if disk != path and is_zarr(path):
        dataset = path.resolve().relative_to(disk.resolve()).as_posix()
    stem = disk.resolve().name if disk.is_dir() and not is_zarr(disk) else stem_of(disk)
    return "_".join([stem, *dataset.split("/")]) if dataset else stem


def recorded_name(path: Path) -> str:
    """The name under which a volume is kept in the records of its outputs: that of its file, with the dataset in it."""
    folder = on_disk(path).parent
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name


def files_of(path: Path) -> list[Path]:
    """The files on disk that a volume is read from, sorted."""
    disk = on_disk(path)
    if is_pattern(path):
        return sorted(disk.glob(path.name))
    if not disk.is_dir():
        return [disk]
    if is_zarr(disk):
        return sorted(file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in disk.iterdir() if file.suffix.lower() in (*IMAGE_SUFFIXES, ".json"))
