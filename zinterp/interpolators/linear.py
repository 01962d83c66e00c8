"""Linear interpolation: the two planes beside the gap, weighted by how near they are."""

import numpy as np
from numpy.typing import NDArray

from zinterp.interpolators.base import Needs, Planes
from zinterp.threads import threads


class LinearInterpolator:
    """Linear interpolation between two planes. See ``Interpolator``."""

    identity = "linear"
    needs = Needs(context=1, at_once=threads())

    def __call__(self, planes: Planes, times: NDArray[np.float32]) -> Planes:
        """Planes (N, 2, Y, X) and times (K,) -> (N, K, Y, X)."""
        before, after = planes[:, :1], planes[:, 1:]
        t = times[:, None, None].astype(np.float32)
        return before + t * (after - before)
