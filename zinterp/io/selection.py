"""Choosing channels and times of a file that has several."""

from dataclasses import dataclass
from pathlib import Path

from zinterp.errors import BadVolumeError


@dataclass(frozen=True)
class InputOptions:
    """How an input is read.

    Parameters
    ----------
    channel, time : int or None
        The only one to read; None reads all.
    keep_databar : bool
        Leave the data bar that a microscope burnt in below the image.
    fill_gaps : bool
        Take numbers that lack in the names of slices for planes that lack, see ``VolumeInfo.places``.
    """

    channel: int | None = None
    time: int | None = None
    keep_databar: bool = False
    fill_gaps: bool = False


@dataclass(frozen=True)
class Selection:
    """The channels and times of a file that are read."""

    channels: range
    times: range

    def index(self, stack: int) -> tuple[int, int]:
        """Time and channel, as the file counts them, of a stack that is read."""
        time, channel = divmod(stack, len(self.channels))
        return self.times[time], self.channels[channel]


def select(path: Path, options: InputOptions, *, channels: int = 1, times: int = 1) -> Selection:
    """Which of a file's channels and times are read.

    Raises
    ------
    BadVolumeError
        If the one asked for is not there.
    """
    return Selection(
        chosen(channels, options.channel, name="channel", path=path),
        chosen(times, options.time, name="time", path=path),
    )


def chosen(count: int, wanted: int | None, *, name: str, path: Path) -> range:
    """All of ``count``, or the wanted one."""
    if wanted is None:
        return range(count)
    if not 0 <= wanted < count:
        number = f"{count} {name}s" if count > 1 else f"1 {name}"
        raise BadVolumeError(f"{path} has {number}, got --{name} {wanted}: expected 0 to {count - 1}")
    return range(wanted, wanted + 1)
