"""Outputs that are folders: which may give way to another, and how."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from zinterp.io.limits import LONGEST_METADATA
from zinterp.io.paths import SIDECAR, ZARR_FILES

RECORD = "zinterp"
"""The attribute of our OME-Zarr groups that says how they were made."""


def holds_only_slices(path: Path) -> bool:
    """Whether a folder holds slices that were written here, and nothing else."""
    shape = json_of(path / SIDECAR).get("shape")
    if not isinstance(shape, list) or not shape or not isinstance(shape[0], int):
        return False
    ours = re.compile(rf"{re.escape(path.resolve().name)}_([0-9]{{5,}})\.(tif|png)")
    files = {entry.name: entry.is_file() for entry in path.iterdir() if entry.name != SIDECAR}
    matches = {name: ours.fullmatch(name) for name in files}
    return all(files[name] and match and int(match[1]) < shape[0] for name, match in matches.items())


def holds_only_levels(path: Path) -> bool:
    """Whether a Zarr group was written here, and holds its levels and nothing else."""
    if not path.is_dir():
        return False
    attributes = json_of(path / "zarr.json").get("attributes") or json_of(path / ".zattrs")
    ours = isinstance(attributes, dict) and RECORD in attributes
    kept = (*ZARR_FILES, ".zattrs", "c")
    folders = [path, *(entry for entry in path.iterdir() if entry.is_dir())]
    return ours and all(
        entry.name in kept or entry.name.isdecimal() for folder in folders for entry in folder.iterdir()
    )


def json_of(path: Path) -> dict[str, Any]:
    """What a file of JSON holds; nothing if it is not there or holds something else."""
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_METADATA:
            return {}
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder onto a name that may be taken; the old folder goes only once the new one is in place.

    Where the name is a link, the link goes and what it leads to stays.
    """
    if not target.exists() and not target.is_symlink():
        os.replace(source, target)
        sync_folder(target.parent)
        return
    names = (target.with_name(f"{target.name}.replaced{n or ''}") for n in count())
    aside = next(name for name in names if not name.exists())
    os.replace(target, aside)
    os.replace(source, target)
    sync_folder(target.parent)
    if aside.is_symlink():
        aside.unlink()
    else:
        shutil.rmtree(aside)


def replace_file(source: Path, target: Path) -> None:
    """Rename a file onto a name that may be taken, and wait until that is on disk."""
    os.replace(source, target)
    sync_folder(target.parent)


def sync_files(paths: Iterable[Path]) -> None:
    """Wait until the files among some paths are on disk."""
    for path in paths:
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the names of the files in a folder are on disk, where the system can tell."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # of network shares that cannot
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def bytes_in(path: Path) -> int:
    """The room that a file, or all files in a folder, take on disk; 0 if there is none."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(getattr(file.stat(), "st_blocks", 0) * 512 for file in files)


def can_write(folder: Path) -> str:
    """Why no file can be made in a folder; "" if one can."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)
