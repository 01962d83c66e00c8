"""Outputs that are folders: which may give way to another, and how."""

import os
import re
import shutil
from itertools import count
from pathlib import Path

from zinterp.io.paths import SIDECAR


def holds_only_slices(path: Path) -> bool:
    """Whether a folder holds slices that were written here, and nothing else."""
    ours = re.compile(rf"{re.escape(path.name)}_[0-9]+\.(tif|png)")
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    return SIDECAR in names and all(name == SIDECAR or ours.fullmatch(name) for name in names)


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder onto a name that may be taken; the old folder goes only once the new one is in place."""
    if not target.exists():
        os.replace(source, target)
        return
    names = (target.with_name(f"{target.name}.replaced{n or ''}") for n in count())
    aside = next(name for name in names if not name.exists())
    os.replace(target, aside)
    os.replace(source, target)
    shutil.rmtree(aside)
