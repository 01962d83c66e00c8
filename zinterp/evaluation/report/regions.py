"""The squares of hidden planes where a model is farthest off."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zinterp.evaluation.metrics import psnr
from zinterp.evaluation.scores import Truth
from zinterp.volume import Planes

EDGE, COUNT = 64, 4  # pixels, squares


@dataclass(frozen=True)
class Region:
    """A square of a hidden plane.

    Parameters
    ----------
    index : int
        Of the plane in the window.
    rows, cols : slice
        In the window.
    psnr_db : float
    error, sigma : float or None
        Root mean square of the error and of the predicted deviation in grey levels; None if the model predicts none.
    """

    index: int
    rows: slice
    cols: slice
    psnr_db: float
    error: float
    sigma: float | None


def worst_regions(truth: Truth, made: Planes, sigma: NDArray[np.float32] | None) -> list[Region]:
    """Find the squares of 64 pixels with the largest squared errors, at most one at each place, whatever its plane.

    Parameters
    ----------
    truth : Truth
    made : ndarray, shape of the window
        A model's planes.
    sigma : ndarray or None, shape of the window
        Predicted deviations in grey levels.

    Returns
    -------
    list of Region
        Four at most, the worst first.
    """
    height, width = truth.planes.shape[1:]
    ys, xs = starts(height), starts(width)
    edges = min(EDGE, height), min(EDGE, width)
    found = []
    for k in truth.hidden:
        squared = (made[k].astype(np.float64) - truth.planes[k]) ** 2
        for y in ys:
            for x in xs:
                found.append((float(squared[y : y + edges[0], x : x + edges[1]].mean()), k, y, x))
    chosen: list[tuple[float, int, int, int]] = []
    for square in sorted(found, key=lambda item: (-item[0], item[1:])):
        if len(chosen) < COUNT and not any(overlap(square, other) for other in chosen):
            chosen.append(square)
    return [describe(truth, made, sigma, k, y, x, edges) for _, k, y, x in chosen]


def starts(length: int) -> list[int]:
    """First pixels of the squares that cover an axis."""
    count = -(-length // EDGE)
    return [round(start) for start in np.linspace(0, max(length - EDGE, 0), count)]


def overlap(one: tuple[float, int, int, int], other: tuple[float, int, int, int]) -> bool:
    """Whether two squares (error, plane, y, x) share rows and columns."""
    return abs(one[2] - other[2]) < EDGE and abs(one[3] - other[3]) < EDGE


def describe(
    truth: Truth,
    made: Planes,
    sigma: NDArray[np.float32] | None,
    k: int,
    y: int,
    x: int,
    edges: tuple[int, int],
) -> Region:
    """What is to be said of a square."""
    rows, cols = slice(y, y + edges[0]), slice(x, x + edges[1])
    true, guess = truth.planes[k, rows, cols], made[k, rows, cols]
    error = float(np.sqrt(np.mean((guess.astype(np.float64) - true) ** 2)))
    predicted = None if sigma is None else float(np.sqrt(np.mean(sigma[k, rows, cols].astype(np.float64) ** 2)))
    return Region(k, rows, cols, psnr(true, guess, data_range=truth.data_range), error, predicted)
