"""Cubic interpolation over four planes."""

import numpy as np
from numpy.typing import NDArray

from zinterp.interpolators.base import Needs, Planes
from zinterp.threads import threads


class CubicInterpolator:
    """Catmull-Rom spline through four planes. See ``Interpolator``.

    References
    ----------
    E. Catmull, R. Rom, "A class of local interpolating splines", 1974, doi:10.1016/B978-0-12-079050-0.50020-5.
    """

    identity = "cubic"
    needs = Needs(context=2, at_once=threads())

    def __call__(self, planes: Planes, times: NDArray[np.float32]) -> Planes:
        """Planes (N, 4, Y, X) and times (K,) -> (N, K, Y, X)."""
        p0, p1, p2, p3 = (planes[:, i : i + 1] for i in range(4))
        t = times[:, None, None].astype(np.float32)
        slope, next_slope = (p2 - p0) / np.float32(2), (p3 - p1) / np.float32(2)
        # Hermite form, written as p1 and differences so that equal planes come back exactly
        step = p2 - p1
        result: Planes = p1 + t * (
            slope + t * (3 * step - 2 * slope - next_slope + t * (slope + next_slope - 2 * step))
        )
        return result
