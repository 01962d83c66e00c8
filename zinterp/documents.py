"""Text files that are written beside volumes: tables and reports, each whole or not at all."""

import os
from collections.abc import Sequence
from pathlib import Path

from zinterp.errors import BadOptionError, OutputError, OutputExistsError
from zinterp.io import can_write, format_of, on_disk
from zinterp.volume import partial_path

RESERVED = (".partial", ".journal", ".lock")
"""Endings of what lies beside an unfinished output."""


def check_document(path: Path, what: str, example: str, volumes: Sequence[Path], *, replace: bool) -> None:
    """Refuse a text file that could not be written, lies in one of the volumes, or would replace what is there.

    Parameters
    ----------
    path : Path
    what : str
        What it is, for the errors: ``report``.
    example : str
        A name that would do: ``report.html``.
    volumes : sequence of Path
        Inputs and outputs.
    replace : bool
        Whether a file that is there may be replaced.

    Raises
    ------
    BadOptionError
        If it is named like a stack or an unfinished output, or lies in a volume.
    OutputExistsError, OutputError
        If it is there already, or cannot be written there.
    """
    named = format_of(path) is not None or path.suffix in RESERVED
    if named or any(on_disk(v).resolve() in (path.resolve(), *path.resolve().parents) for v in volumes):
        raise BadOptionError(
            f"the {what} {path} is named like a stack or lies in the input or output, expected a place of its own: "
            f"give {example}"
        )
    if path.exists() and not replace:
        raise OutputExistsError(f"{path} exists already: give --overwrite to replace it, or another {what}")
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"the {what} {path} cannot be written there, expected a file in a folder that exists")
    if reason := can_write(path.parent):
        raise OutputError(f"the {what} {path} cannot be written ({reason}): choose another place")


def write_document(path: Path, what: str, text: str) -> None:
    """Write a text file under a temporary name and rename it; an OutputError says why that failed."""
    partial = partial_path(path)
    try:
        if partial.is_symlink():
            partial.unlink()  # else what it leads to would be written over
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write the {what} {path} ({error.strerror or error})") from error
