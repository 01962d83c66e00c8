"""Where a series of steps from plane to plane has one that is far beyond the others: a break.

A break that the next step takes back is one plane that is out of line; one that stays is a change for good.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AROUND = 2  # steps on either side whose median is what a step is expected to be
REACH = 16  # steps on either side that say how much steps scatter
WIDTH = 5.0  # standard deviations: in 80 healthy series, thinned too, the largest is 2 to 5 of what would matter
BACK = 0.5  # of the smaller of two breaks may be left of both, where one takes the other back
MEDIAN = {1: 0.6745, 2: 1.1774}  # of the size of a vector of normally distributed numbers, in standard deviations
FEW = 4  # steps at least, for one to stand out


@dataclass(frozen=True)
class Break:
    """A step that stands out: ``first`` is the first plane after it, as a place in the series, counted from 0.

    Parameters
    ----------
    first : int
    lasting : bool
        Whether all planes from the first on are changed, not just that one.
    step : tuple of float
        What is beyond the ordinary step, in the units of the series.
    """

    first: int
    lasting: bool
    step: tuple[float, ...]

    @property
    def size(self) -> float:
        """Length of the step."""
        return float(np.linalg.norm(self.step))


def find_breaks(steps: NDArray[np.float64], least: float, apart: NDArray[np.int_] | None = None) -> list[Break]:
    """Find the steps that stand out.

    Parameters
    ----------
    steps : ndarray of float64, (n, d)
        From each of n + 1 planes to the next.
    least : float
        The length of a step that would matter; smaller ones do not stand out.
    apart : ndarray of int, (n,), or None
        How many plane distances each step goes: as many times as far may it be. None is one.

    Returns
    -------
    list of Break
        Rising. The first and the last plane of all are not judged: nothing tells whether they alone are out of line.
    """
    if len(steps) < FEW:
        return []
    excess = steps - expected(steps)
    sizes = np.linalg.norm(excess, axis=1)
    distances = np.ones(len(steps)) if apart is None else apart
    far = sizes > np.maximum(least, WIDTH * scatter(sizes, steps.shape[1])) * distances
    far[[0, -1]] = False
    breaks, k = [], 0
    while k < len(steps):
        if k + 1 < len(steps) and (far[k] or far[k + 1]):
            left = np.linalg.norm(excess[k] + excess[k + 1])
            if left < BACK * min(sizes[k], sizes[k + 1]):
                breaks.append(Break(k + 1, False, tuple(((excess[k] - excess[k + 1]) / 2).tolist())))
                k += 2
                continue
        if far[k]:
            breaks.append(Break(k + 1, True, tuple(excess[k].tolist())))
        k += 1
    return breaks


def expected(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each step the median of those around it, itself left out."""
    count = len(steps)
    reach = min(2 * AROUND, count - 1)
    medians = np.empty_like(steps)
    for k in range(count):
        first = min(max(k - AROUND, 0), count - 1 - reach)
        medians[k] = np.median(np.delete(steps[first : first + reach + 1], k - first, axis=0), axis=0)
    return medians


def scatter(sizes: NDArray[np.float64], dimensions: int) -> NDArray[np.float64]:
    """Standard deviation along one dimension, by the median of sizes: of those around each or of all, if larger."""
    around = [np.median(sizes[max(0, k - REACH) : k + REACH + 1]) for k in range(len(sizes))]
    return np.maximum(around, np.median(sizes)) / MEDIAN[dimensions]
