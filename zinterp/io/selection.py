"""Choosing one channel and time point of a file that has several."""

from pathlib import Path

from zinterp.errors import BadVolumeError


def choose_index(count: int, wanted: int | None, *, name: str, path: Path) -> int:
    """Index of the channel or time (``name``) to take; must be given where there are several.

    Raises
    ------
    BadVolumeError
        If there are several and none was chosen, or the chosen one is not there.
    """
    if wanted is None and count > 1:
        raise BadVolumeError(f"{path} has {count} {name}s, expected one: choose it with --{name} 0 to {count - 1}")
    if not 0 <= (wanted or 0) < count:
        raise BadVolumeError(f"{path} has {count} {name}s, got --{name} {wanted}: expected 0 to {count - 1}")
    return wanted or 0
