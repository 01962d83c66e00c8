"""What an analysis measures in a segmented volume: volume fraction, surface area, connectivity."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import euler_number

from zinterp.volume import VoxelSize

Volume = NDArray[np.generic]
BLUR = 1.0  # pixels, in the plane: what one smooths noise with before a threshold


@dataclass(frozen=True)
class Morphology:
    """Measures of what is brighter than a threshold.

    Parameters
    ----------
    fraction : float
        Part of the volume, 0 to 1; the porosity is this, or 1 minus this, as pores are bright or dark.
    surface : float
        Area of its surface per volume: in 1/µm where the voxel size is known, else in 1/voxel.
    euler : int
        Euler number: objects minus tunnels plus cavities, voxels being connected by corners.
    """

    fraction: float
    surface: float
    euler: int


def smoothed(volume: Volume) -> NDArray[np.float32]:
    """Each plane of a volume (Z, Y, X) under a Gaussian of one pixel."""
    return np.stack([ndimage.gaussian_filter(plane.astype(np.float32), BLUR) for plane in volume])


def choose_threshold(volume: Volume) -> float | None:
    """Otsu's threshold of a volume (Z, Y, X), smoothed as for ``measure``; None if it is constant.

    References
    ----------
    N. Otsu, "A threshold selection method from gray-level histograms", 1979, doi:10.1109/TSMC.1979.4310076.
    """
    values = smoothed(volume)
    return float(threshold_otsu(values)) if np.ptp(values) else None  # type: ignore[no-untyped-call]


def measure(volume: Volume, threshold: float, voxel_size: VoxelSize) -> Morphology:
    """Measure what is brighter than a threshold.

    Parameters
    ----------
    volume : ndarray, shape (Z, Y, X)
        Grey values; each plane is smoothed by a Gaussian of one pixel first, lest grain counts as objects.
    threshold : float
    voxel_size : VoxelSize
        In micrometres; voxels count as cubes of edge 1 where it is not known along some axis.

    Returns
    -------
    Morphology
        The surface is estimated from how often lines along the three axes cross it.

    References
    ----------
    J. Ohser, F. Mücklich, "Statistical Analysis of Microstructures in Materials Science", 2000, chapter 4.
    """
    inside = smoothed(volume) > threshold
    sizes = [length or 0.0 for length in (voxel_size.z, voxel_size.y, voxel_size.x)]
    lengths = sizes if all(sizes) else [1.0, 1.0, 1.0]
    crossings = (float(np.count_nonzero(np.diff(inside, axis=axis))) / lengths[axis] for axis in range(3))
    return Morphology(
        fraction=float(inside.mean()),
        surface=sum(crossings) * 2 / 3 / inside.size,  # a surface of any direction is crossed half as often as met
        euler=int(euler_number(inside, connectivity=3)),  # type: ignore[no-untyped-call]
    )
