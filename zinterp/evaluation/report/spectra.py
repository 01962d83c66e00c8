"""Power by spatial frequency along z and in the plane: whether a stack has the same detail in all directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from zinterp.evaluation.frc import power_along
from zinterp.volume import Planes, VoxelSize

FEWEST = 5  # voxels along an axis, of which a spectrum says something


@dataclass(frozen=True)
class Spectra:
    """Power of a volume along z and in the plane, the mean over x and y.

    Parameters
    ----------
    z, plane : tuple of (frequencies, power)
        In cycles per micrometre and grey levels squared micrometres where the voxel size is known, else per voxel.
    """

    z: tuple[NDArray[np.float64], NDArray[np.float64]]
    plane: tuple[NDArray[np.float64], NDArray[np.float64]]

    @classmethod
    def of(cls, volume: Planes, size: VoxelSize) -> Self:
        """Measure a volume (Z, Y, X)."""
        z, y, x = (scaled(power_along(volume, axis), length) for axis, length in enumerate(lengths(size)))
        return cls(z, (x[0], (x[1] + np.interp(x[0], *y)) / 2))

    def anisotropy(self, low: float, high: float) -> float | None:
        """Power along z over power in the plane, between two frequencies; None where the plane has none as high."""
        high = min(high, float(self.z[0][-1]))
        if self.plane[0][-1] < high * 0.999:
            return None
        z, plane = (mean_power(spectrum, low, high) for spectrum in (self.z, self.plane))
        return z / plane if plane else None


def lengths(size: VoxelSize) -> tuple[float, float, float]:
    """Edges of a voxel along z, y and x in micrometres; ones where they are not all known."""
    return (size.z, size.y, size.x) if size.z and size.y and size.x else (1.0, 1.0, 1.0)


def scaled(
    spectrum: tuple[Sequence[float], Sequence[float]], length: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A spectrum per voxel as one per length, so that axes of different voxel edges can be compared."""
    frequencies, power = spectrum
    return np.asarray(frequencies) / length, np.asarray(power) * length


def missing_band(size: VoxelSize, factor: int) -> tuple[float, float]:
    """The frequencies that every ``factor``-th plane cannot hold and all planes can, in the unit of ``Spectra``."""
    finest = 0.5 / lengths(size)[0]
    return finest / factor, finest


def mean_power(spectrum: tuple[NDArray[np.float64], NDArray[np.float64]], low: float, high: float) -> float:
    """Mean power between two frequencies."""
    return float(np.interp(np.linspace(low, high, 65)[1:], *spectrum).mean())
