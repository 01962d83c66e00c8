"""Optical flow: the planes on either side of the gap are moved towards each other, and blended.

The flow is found by iterative Lucas-Kanade on a pyramid, as scikit-image's ``optical_flow_ilk`` does, but for two
things. The pyramid has a fixed depth, so that a pixel depends on its surroundings alone and tiles fit together:
scikit-image's goes on until the whole tile is 16 to 32 pixels, where chance decides, and tiles then differ by tens of
grey levels of 255, with its TV-L1 too. And steps are damped, most where structure does not tell the motion. On hidden
planes of eleven real volumes, between each 2nd, 4th and 8th, this is 0.44 dB better than linear, as is scikit-image's
ILK in six times the time; its TV-L1 is 0.37 dB better in three times the time.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter, uniform_filter, zoom

from zinterp.interpolators.base import Needs, Planes
from zinterp.threads import threads

LEVELS = 3  # of the pyramid: motion of up to about 8 pixels is found
ITERATIONS = 3  # a level
SIGMA = 5.0  # pixels of a level, of the Gaussian window that moves as one
DAMPING = 0.5  # of a step, as a part of the mean eigenvalue of the structure tensor
BACKGROUND = 31  # pixels, of the brightness that the flow does not see
WINDOW = 15  # pixels, of the statistics of the step from plane to plane
BOUND = 8.0  # motion changes no plane by more than this many times the local step
FLOOR = 1e-5  # of the intensity range, under a grey level of 16 bit: the least that is divided by
OVERLAP = 224  # beyond the margin of 84 that this gives, a tile's border changes nothing by a grey level of 255


class OpticalFlowInterpolator:
    """Bidirectional Lucas-Kanade optical flow between two planes. See ``Interpolator``.

    At t the plane before is fetched from t times the flow back, the plane after from (1 - t) times the flow forth.
    Their blend replaces the linear one by the share of the step between the planes that the motion explains: the part
    of its local mean square that is gone once both planes are moved. Where nothing has a partner, as in independent
    noise, this is nothing, and linear interpolation remains.

    References
    ----------
    G. Le Besnerais, F. Champagnat, "Dense optical flow by iterative local window registration", 2005,
    doi:10.1109/ICIP.2005.1529706.
    """

    identity = "optical-flow"
    needs = Needs(context=1, multiple_of=2 ** (LEVELS - 1), overlap=OVERLAP, bytes_per_pixel=150, at_once=threads())

    def __call__(self, planes: Planes, times: NDArray[np.float32]) -> Planes:
        """Planes (N, 2, Y, X) and times (K,) -> (N, K, Y, X)."""
        return np.stack([between(before, after, times) for before, after in planes])


def between(before: Planes, after: Planes, times: NDArray[np.float32]) -> Planes:
    """Planes (Y, X) before and after the gap and times (K,) -> (K, Y, X)."""
    reference, moving = (plane - local_mean(plane, BACKGROUND) for plane in (before, after))
    forth, back = flow(reference, moving), flow(moving, reference)
    before_spline, after_spline = (spline_filter(plane, output=np.float32, mode="mirror") for plane in (before, after))
    step = after - before
    change = np.maximum(local_mean(step**2, WINDOW), 0)  # running sums may end a little below
    most = BOUND * np.sqrt(change)
    made = []
    for t in times.astype(np.float32):
        linear = before + t * step
        first, second = warp(before_spline, t * back), warp(after_spline, (1 - t) * forth)
        left = local_mean((second - first) ** 2, WINDOW)
        explained = np.clip(1 - left / np.maximum(change, FLOOR**2), 0, 1)
        made.append(linear + np.clip(explained * (first + t * (second - first) - linear), -most, most))
    return np.stack(made)


def flow(reference: Planes, moving: Planes, levels: int = LEVELS) -> Planes:
    """Where the pixels of the reference (Y, X) are in the moving plane: how far along y and x, in pixels, (2, Y, X)."""
    height, width = reference.shape
    offsets = np.zeros((2, height, width), np.float32)
    if min(height, width) < 2:  # no gradient
        return offsets
    if levels > 1:
        coarse = flow(halve(reference), halve(moving), levels - 1)
        offsets = 2 * zoom(coarse, (1, 2, 2), order=1, mode="nearest", grid_mode=True)[:, :height, :width]
    for _ in range(ITERATIONS):
        moved = warp(moving, offsets, order=1)
        error = reference - moved
        gy, gx = np.gradient(moved)
        yy, yx, xx, ey, ex = (
            gaussian_filter(product, SIGMA) for product in (gy * gy, gy * gx, gx * gx, gy * error, gx * error)
        )
        damping = DAMPING / 2 * (yy + xx) + FLOOR**2
        yy, xx = yy + damping, xx + damping
        offsets += np.stack((xx * ey - yx * ex, yy * ex - yx * ey)) / (yy * xx - yx * yx)
    return offsets


def halve(plane: Planes) -> Planes:
    """Means of 2 x 2 pixels, the last row and column repeated where their number is odd."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    return np.asarray(even.reshape(-1, 2, even.shape[1] // 2, 2).mean(axis=(1, 3)))


def warp(plane: Planes, offsets: Planes, order: int = 3) -> Planes:
    """Fetch each pixel of a plane, for order 3 given as its spline coefficients, from offsets (2, Y, X) away."""
    places = np.indices(plane.shape, np.float32) + offsets
    return np.asarray(map_coordinates(plane, places, output=np.float32, order=order, mode="mirror", prefilter=False))


def local_mean(plane: Planes, window: int) -> Planes:
    """Mean over a square window around each pixel."""
    return np.asarray(uniform_filter(plane, window))
