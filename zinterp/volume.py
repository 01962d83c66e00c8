"""What a volume is, and what reads and writes one."""

import re
from collections.abc import Mapping
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


@dataclass(frozen=True)
class VoxelSize:
    """Distance between neighbouring voxels along each axis, in micrometres; None where it is not known."""

    z: float | None = None
    y: float | None = None
    x: float | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``ZxYxXUNIT``, as in ``5x8x8nm``: z first, any unit of MICROMETRES.

        Raises
        ------
        BadOptionError
            If the text is not three positive numbers and a unit.
        """
        match = re.fullmatch(r"([\d.eE+-]+)x([\d.eE+-]+)x([\d.eE+-]+)\s*(\S+)", text.strip())
        scale = MICROMETRES.get(match[4]) if match else None
        try:
            lengths = [float(match[i]) * scale for i in (1, 2, 3)] if match and scale else []
        except ValueError:
            lengths = []
        if not lengths or not all(np.isfinite(v) and v > 0 for v in lengths):
            raise BadOptionError(
                f"the voxel size is {text!r}, expected ZxYxXUNIT, three positive numbers with a unit: write 5x8x8nm"
            )
        return cls(*lengths)

    def with_z_step(self, step: Fraction | None) -> Self:
        """The size when planes lie ``step`` input planes apart; z unknown when they are not evenly spaced."""
        if self.z is None or step is None:
            return replace(self, z=None)
        return replace(self, z=self.z * step.numerator / step.denominator)

    def __str__(self) -> str:
        known = [v for v in (self.z, self.y, self.x) if v is not None]
        if not known:
            return "unknown"
        unit, scale = ("nm", 1e3) if min(known) < 1 else ("µm", 1.0)
        return " x ".join("?" if v is None else f"{v * scale:.6g}" for v in (self.z, self.y, self.x)) + f" {unit}"


@dataclass(frozen=True)
class VolumeInfo:
    """What one channel and time point of a file holds.

    Parameters
    ----------
    shape : tuple of int
        (Z, Y, X).
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
        How many the file has; a volume is one of them.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxel_size: VoxelSize = VoxelSize()
    voxel_size_source: str = ""
    unit: str = ""
    format: str = ""
    channels: int = 1
    times: int = 1

    @property
    def plane_bytes(self) -> int:
        """Bytes of one plane in the file's dtype."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Bytes of all planes in the file's dtype."""
        return self.shape[0] * self.plane_bytes


def readable(size: float) -> str:
    """Bytes with a unit: kB, MB or GB."""
    unit, scale = ("GB", 1e9) if size >= 1e9 else ("MB", 1e6) if size >= 1e6 else ("kB", 1e3)
    return f"{size / scale:.1f} {unit}"


def partial_path(path: Path) -> Path:
    """What an unfinished volume is called until it is complete: ``<name>.partial``."""
    return path.with_name(path.name + ".partial")


class VolumeReader(Protocol):
    """An open volume."""

    info: VolumeInfo

    def read(self, z: range) -> Planes:
        """Read planes z, a range of step 1 within the volume -> (len(z), Y, X), the file's dtype, native byte order."""

    def close(self) -> None:
        """Close the file; closing twice does no harm."""

    def __enter__(self) -> Self:
        """The reader itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""


class VolumeWriter(Protocol):
    """A volume being written under a temporary name. Planes may come in any order, in whole slabs."""

    def write(self, z: int, planes: Planes) -> None:
        """Write planes (n, Y, X) of the output's dtype at z, z + 1, ...; they are on disk when this returns."""

    def finish(self) -> None:
        """Make the volume complete and give it its final name."""

    def close(self) -> None:
        """Let go of an unfinished volume and leave what was written."""

    def discard(self) -> None:
        """Remove what was written."""


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
