"""What every way to make planes between planes has in common."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]


@dataclass(frozen=True)
class Needs:
    """What an interpolator asks of those who call it.

    Parameters
    ----------
    context : int
        Acquired planes on each side of the gap.
    multiple_of : int
        Height and width of tiles, and their positions, are multiples of this.
    overlap : int
        Pixels that neighbouring tiles share by default; 0 where a pixel depends on itself alone.
    bytes_per_pixel : int
        Working memory for each pixel of a tile.
    batch : int
        Tiles that are worth taking in one call.
    outputs : int
        Values for each pixel of a plane: the plane, its deviation, the plane before it was restored.
    at_once : int
        Calls that are worth making at the same time, each in a thread of its own. Their results do not depend on it.
    """

    context: int
    multiple_of: int = 1
    overlap: int = 0
    bytes_per_pixel: int = 64
    batch: int = 1
    outputs: int = 1
    at_once: int = 1


class Interpolator(Protocol):
    """Make planes in the gap between the middle two of ``2 * needs.context`` planes.

    A call takes planes of shape (N, 2 * context, Y, X), float32, normalised to about [0, 1], and times of shape (K,),
    in (0, 1); it returns the planes at these depths, shape (N, K, Y, X), float32. ``identity`` names it for the record,
    with the hash of its weights, precision and kind of device where it has them: all that decides its results.
    """

    identity: str
    needs: Needs

    def __call__(self, planes: Planes, times: NDArray[np.float32]) -> Planes:
        """Planes (N, 2 * context, Y, X) and times (K,) -> (N, K, Y, X)."""


@runtime_checkable
class Uncertain(Protocol):
    """An interpolator that knows how far off its planes may be."""

    def uncertainty(self, planes: Planes, times: NDArray[np.float32]) -> tuple[Planes, Planes]:
        """As the call, and the standard deviations of the planes' errors, of the same shape and in the same unit."""


@runtime_checkable
class Restoring(Uncertain, Protocol):
    """An interpolator that restores the boundaries in its planes."""

    def restored(self, planes: Planes, times: NDArray[np.float32]) -> tuple[Planes, Planes, Planes]:
        """Planes as they were, planes restored, and the standard deviations of these."""
