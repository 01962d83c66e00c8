"""What a volume is, and what reads and writes one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from zinterp.errors import BadOptionError

Planes = NDArray[Any]

MICROMETRES: Mapping[str, float] = MappingProxyType(
    {
        "pm": 1e-6,
        "picometer": 1e-6,
        "Å": 1e-4,
        "A": 1e-4,
        "angstrom": 1e-4,
        "ångström": 1e-4,
        "nm": 1e-3,
        "nanometer": 1e-3,
        "nanometre": 1e-3,
        "um": 1.0,
        "µm": 1.0,  # micro sign
        "μm": 1.0,  # Greek mu
        "micron": 1.0,
        "microns": 1.0,
        "micrometer": 1.0,
        "micrometre": 1.0,
        "mm": 1e3,
        "millimeter": 1e3,
        "millimetre": 1e3,
        "cm": 1e4,
        "centimeter": 1e4,
        "centimetre": 1e4,
        "inch": 25400.0,
        "in": 25400.0,
        "m": 1e6,
        "meter": 1e6,
        "metre": 1e6,
    }
)
"""Length of each unit in micrometres. TIFF, OME and NGFF names."""

SECONDS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("ns", "nanosecond"), 1e-9),
        **dict.fromkeys(("µs", "μs", "us", "microsecond"), 1e-6),
        **dict.fromkeys(("ms", "msec", "millisecond"), 1e-3),
        **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
        **dict.fromkeys(("min", "minute", "minutes"), 60.0),
        **dict.fromkeys(("h", "hour", "hours"), 3600.0),
        **dict.fromkeys(("d", "day", "days"), 86400.0),
    }
)
"""Length of each unit of time in seconds. OME, ImageJ and NGFF names."""

LONGEST_TEXT = 10  # ranges that a message names

SHORT_UNITS = ("pm", "Å", "nm", "um", "mm", "cm", "m")
"""Those that error messages name."""


@dataclass(frozen=True)
class VoxelSize:
    """Distance between neighbouring voxels along each axis, in micrometres; None where it is not known."""

    z: float | None = None
    y: float | None = None
    x: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``ZxYxXUNIT``, as in ``5x8x8nm``, z first, or ``ZUNIT``, as in ``20nm``; any unit of MICROMETRES.

        Raises
        ------
        BadOptionError
            If the text is not one or three positive numbers and a unit.
        """
        match = re.fullmatch(r"(.*?[\d.])\s*([^\d.\s]+)", text.strip())
        try:
            lengths = [parse_length(f"{number}{match[2]}") for number in match[1].split("x")] if match else []
        except BadOptionError:
            lengths = []
        if len(lengths) not in (1, 3):
            raise BadOptionError(
                f"the voxel size is {text!r}, expected ZxYxXUNIT, three positive numbers with a unit, or ZUNIT for the "
                "plane distance alone: write 5x8x8nm or 5nm"
            )
        return cls(*map(float, lengths))

    def with_z_step(self, step: Fraction | None) -> Self:
        """The size when planes lie ``step`` input planes apart; z unknown when they are not evenly spaced."""
        if self.z is None or step is None:
            return replace(self, z=None)
        return replace(self, z=float(exact(self.z) * step))

    def otherwise(self, other: Self) -> Self:
        """This size, with what is not known taken from another one."""
        pairs = zip((self.z, self.y, self.x), (other.z, other.y, other.x), strict=True)
        return type(self)(*(theirs if ours is None else ours for ours, theirs in pairs))

    def __str__(self) -> str:
        known = [v for v in (self.z, self.y, self.x) if v is not None]
        if not known:
            return "unknown"
        unit, scale = ("nm", 1e3) if min(known) < 1 else ("µm", 1.0)
        return " x ".join("?" if v is None else f"{v * scale:.6g}" for v in (self.z, self.y, self.x)) + f" {unit}"


def exact(length: float) -> Fraction:
    """A length as the decimal that it stands for: twelve digits, beyond which floats only round."""
    return Fraction(f"{length:.12g}")


def decimal(number: float) -> float:
    """A number without the digits beyond which floats only round."""
    return float(f"{number:.12g}")


def in_unit(length: float, unit: float) -> float:
    """A length as a multiple of a unit, both in micrometres, as the decimal that it stands for."""
    return decimal(length / unit)


def parse_length(text: str) -> Fraction:
    """Read a length with its unit, as in ``5nm`` -> micrometres, exactly.

    Raises
    ------
    BadOptionError
        If the text is not a positive number and a unit of MICROMETRES.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d{1,2}))?\s*([^\d\s.]+)", text.strip())
    scale = MICROMETRES.get(match[3]) if match else None
    length = Fraction(match[1]) * Fraction(10) ** int(match[2] or 0) * exact(scale) if match and scale else Fraction(0)
    if not length:
        raise BadOptionError(
            f"the length is {text!r}, expected a positive number and a unit of {', '.join(SHORT_UNITS)}: write 5nm"
        )
    return length


@dataclass(frozen=True)
class VolumeInfo:
    """What a file holds: one stack of planes for each channel and time.

    Parameters
    ----------
    shape : tuple of int
        (Z, Y, X) of each stack.
    dtype : numpy.dtype
        In native byte order.
    voxel_size : VoxelSize
    voxel_size_source : str
        Where in the file the voxel size was found; "" if it was not.
    unit : str
        The unit of length that the file uses, kept for the output; "" if it has none.
    format : str
        The format's name, a key of ``zinterp.io.FORMATS``, or ``zarr`` for an array without NGFF metadata.
    channels, times : int
        How many are read or written.
    channel_names : tuple of str
        As many as there are channels, or empty.
    time_step : float or None
        Seconds from one time to the next; None where the file does not say.
    origin : tuple of float or None
        Where the centre of the first voxel lies, (z, y, x) in micrometres; None where the file does not say.
    places : tuple of Fraction or None
        Where each plane lies, in plane distances from the first; None where they follow each other evenly.
    measured : tuple of Fraction or None
        Where each plane was measured to lie, in micrometres, by the names of its slices; used where it is asked for.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_size: VoxelSize = VoxelSize()
    voxel_size_source: str = ""
    unit: str = ""
    format: str = ""
    channels: int = 1
    times: int = 1
    channel_names: tuple[str, ...] = ()
    time_step: float | None = None
    origin: tuple[float, float, float] | None = None
    places: tuple[Fraction, ...] | None = None
    measured: tuple[Fraction, ...] | None = None

    @property
    def stacks(self) -> int:
        """Stacks of planes: that of channel c and time t has the number t * channels + c."""
        return self.channels * self.times

    @property
    def plane_bytes(self) -> int:
        """Bytes of one plane in the file's dtype."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Bytes of all planes of all stacks in the file's dtype."""
        return self.stacks * self.shape[0] * self.plane_bytes


def readable(size: float) -> str:
    """Bytes with a unit: kB, MB or GB."""
    unit, scale = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6) if size >= 1e6 else ("kB", 1e3)
    return f"{size / scale:.1f} {unit}"


def ranges(numbers: Sequence[int], step: int = 1) -> str:
    """Rising numbers as text: ``17-18, 40``."""
    held = set(numbers)
    starts = [n for n in numbers if n - step not in held]
    ends = [n for n in numbers if n + step not in held]
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    more = len(texts) - LONGEST_TEXT
    return ", ".join(texts[:LONGEST_TEXT]) + (f" and {more} more" if more > 0 else "")


def ordinal(number: int) -> str:
    """A number as one counts: 2nd, 3rd, 4th, 22nd."""
    teens = 10 <= number % 100 <= 20
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def partial_path(path: Path) -> Path:
    """What an unfinished volume is called until it is complete: ``<name>.partial``."""
    return path.with_name(path.name + ".partial")


class VolumeReader(Protocol):
    """An open volume."""

    info: VolumeInfo

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z of a stack, a range of step 1 -> (len(z), Y, X), the file's dtype, native byte order."""

    def close(self) -> None:
        """Close the file; closing twice does no harm."""

    def __enter__(self) -> Self:
        """The reader itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""


class VolumeWriter(Protocol):
    """A volume being written under a temporary name, ``partial``. Planes may come in any order, in whole slabs."""

    partial: Path

    def write(self, z: int, planes: Planes, stack: int = 0) -> None:
        """Write planes (n, Y, X) of the output's dtype at z, z + 1, ... of a stack; they are on disk on return."""

    def finish(self, record: Mapping[str, object] | None = None) -> None:
        """Make the volume complete and give it its final name; a record takes the place of the one given at first."""

    def close(self) -> None:
        """Let go of an unfinished volume and leave what was written."""

    def discard(self) -> None:
        """Remove what was written."""


class GrowingWriter(VolumeWriter, Protocol):
    """A volume that grows while it is written, and that others may look at meanwhile."""

    def resize(self, info: VolumeInfo) -> None:
        """Let it have the planes and lengths of ``info``, planes that are new still empty."""

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z that were written -> (len(z), Y, X)."""


class Closing:
    """``with`` for anything that has a ``close`` method."""

    def close(self) -> None:
        """Release what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OneStack(Closing):
    """One stack of an open volume, as a volume of its own; closing it leaves the volume open."""

    def __init__(self, reader: VolumeReader, stack: int) -> None:
        self._reader = reader
        self._stack = stack
        self.channels = reader.info.channels
        name = reader.info.channel_names[stack % reader.info.channels :][:1]
        self.info = replace(reader.info, channels=1, times=1, channel_names=name)

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z -> (len(z), Y, X)."""
        return self._reader.read(z, self._stack)


class Chosen(Closing):
    """Some planes of a volume, as a volume of their own; closing it leaves the volume open."""

    def __init__(self, reader: VolumeReader, planes: Sequence[int]) -> None:
        self._reader, self._planes = reader, planes
        self.info = replace(reader.info, shape=(len(planes), *reader.info.shape[1:]), places=None, measured=None)

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z -> (len(z), Y, X)."""
        parts = [self._reader.read(range(self._planes[k], self._planes[k] + 1), stack) for k in z]
        return np.concatenate(parts)
