"""The record of how an output was made: what all formats have in common about reading it back."""

import json
import logging
from pathlib import Path
from typing import Any

from zinterp.io.limits import check_regular

logger = logging.getLogger(__name__)

LONGEST = 2**26  # characters: none that we write comes near it
DEEPEST = 8  # lists within lists
PROGRAM = "zinterp "
"""What the program's name and version in our records begin with."""


def parse_record(text: str, path: Path) -> dict[str, Any] | None:
    """The record that a text holds.

    Parameters
    ----------
    text : str
        What a file has in the place of a record: ours is JSON, and other programs put other things there.
    path : Path
        For the log.

    Returns
    -------
    dict or None
        None where it is not ours, and with a warning where it is and is damaged.
    """
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = parse_json(text)
    except ValueError as error:
        if f'"program": "{PROGRAM}' in text[:LONGEST]:
            logger.warning("%s: its record of how it was made is damaged (%s), and is left out", path, error)
        return None
    return checked_record(found, path)


def read_json(path: Path) -> object:
    """What a file of JSON holds; None if it is not there, and with a warning if it is damaged."""
    try:
        check_regular(path)
        if path.stat().st_size > LONGEST:
            raise ValueError(f"{path.stat().st_size} bytes")
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read (%s), so that how the volume was made is not known", path, error)
        return None


def parse_json(text: str) -> object:
    """What a text of JSON holds; a ValueError for whatever is wrong with it."""
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("too many lists within lists") from error


def checked_record(found: object, path: Path) -> dict[str, Any] | None:
    """A record, if this is one of ours and its planes table is text; else None."""
    if not isinstance(found, dict) or not str(found.get("program")).startswith(PROGRAM):
        return None
    if not isinstance(found.get("planes", ""), str) or not is_shallow(found):
        logger.warning("%s: its record of how it was made is not as we write it, and is left out", path)
        return None
    return found


def is_shallow(value: object, levels: int = DEEPEST) -> bool:
    """Whether lists and mappings lie no more than so many levels within each other."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(is_shallow(item, levels - 1) for item in inner)
