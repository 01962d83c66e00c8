"""Whether a stack pulses: how brightness, contrast and sharpness of its planes change from acquired to synthesised."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
Convert = Callable[[Plane], NDArray[np.float32]]
MOST_PIXELS = 2**18  # that are looked at in each plane
STRIP, FEWEST_ROWS, STRIPS = 8, 3, 16  # rows of a strip, and fewer of them rather than fewer strips than these


def as_float32(plane: Plane) -> NDArray[np.float32]:
    """Grey levels as they are."""
    return plane.astype(np.float32)


@dataclass(frozen=True)
class Statistics:
    """Of one plane, in grey levels.

    Parameters
    ----------
    mean : float
    contrast : float
        Standard deviation.
    gradient_energy : float
        Mean square of the gradient, by central differences along y and x, per pixel squared.
    """

    mean: float
    contrast: float
    gradient_energy: float

    @classmethod
    def of(cls, plane: Plane, convert: Convert = as_float32) -> Self:
        """Measure a plane (Y, X) of finite values, a large one in strips of rows, after these are converted."""
        strips = convert(sampled_strips(plane))
        mean = float(strips.mean(dtype=np.float64))
        variance, energy = products(strips, strips, mean, mean)
        return cls(mean, variance**0.5, energy)


@dataclass(frozen=True)
class Pair:
    """Statistics of two acquired planes and how alike they are, from which follow those of any mixture of both.

    ``covariance`` is of their grey levels, ``coenergy`` the mean product of their gradients.
    """

    before: Statistics
    after: Statistics
    covariance: float
    coenergy: float

    @classmethod
    def of(cls, before: Plane, after: Plane) -> Self:
        """Measure two planes (Y, X) of one shape."""
        one, two = Statistics.of(before), Statistics.of(after)
        ones, others = (as_float32(sampled_strips(plane)) for plane in (before, after))
        return cls(one, two, *products(ones, others, one.mean, two.mean))

    def expected(self, t: float) -> Statistics:
        """What an acquired plane at depth t is expected to have: the values in between."""
        pairs = zip(vars(self.before).values(), vars(self.after).values(), strict=True)
        return Statistics(*((1 - t) * a + t * b for a, b in pairs))

    def blended(self, t: float) -> Statistics:
        """What linear interpolation at depth t has."""
        a, b, s = self.before, self.after, 1 - t
        variance = (s * a.contrast) ** 2 + (t * b.contrast) ** 2 + 2 * s * t * self.covariance
        energy = s * s * a.gradient_energy + t * t * b.gradient_energy + 2 * s * t * self.coenergy
        return Statistics(s * a.mean + t * b.mean, max(variance, 0.0) ** 0.5, max(energy, 0.0))


def sampled_strips(plane: Plane) -> Plane:
    """A plane (1, Y, X), or, beyond a quarter of a million pixels, strips of a few rows from all over it, (n, y, X)."""
    height, width = plane.shape
    if plane.size <= MOST_PIXELS or height < STRIPS * STRIP:
        return plane[None]
    rows = min(max(MOST_PIXELS // (STRIPS * width), FEWEST_ROWS), STRIP)
    count = max(MOST_PIXELS // (rows * width), STRIPS)
    starts = ((np.arange(count) + 0.5) * height / count - rows / 2).astype(int)
    strips: Plane = plane[starts[:, None] + np.arange(rows)]
    return strips


def products(
    ones: NDArray[np.float32], others: NDArray[np.float32], mean: float, other_mean: float
) -> tuple[float, float]:
    """Mean products of two planes' deviations from their means, and of their gradients, of strips (n, y, X) of both.

    Products are float64, which squares of any float32 fit into.
    """
    a = ones - np.float32(mean)
    b = a if others is ones else others - np.float32(other_mean)
    these = slopes(a)
    those = these if b is a else slopes(b)
    count = a[:, 1:-1].size if len(a) > 1 else a.size
    return dot(a, b) / a.size, sum(map(dot, these, those)) / count


def slopes(strips: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Gradients of strips (n, y, X) along y and x: central differences, and one-sided ones at the ends of a plane.

    Of several strips, rows count whose neighbours are in the strip.
    """
    inner = strips[:, 1:-1] if len(strips) > 1 else strips
    found = []
    for axis, x, ends in ((1, strips, len(strips) == 1), (2, inner, True)):
        along = np.moveaxis(x, axis, 0)
        found.append((along[2:] - along[:-2]) / np.float32(2))
        if ends and len(along) > 1:
            found += [along[1] - along[0], along[-1] - along[-2]]
    return found


def dot(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Sum of the products of all elements, without a copy in float64.

    By this thread alone, as BLAS would not do it where others wait for a core.
    """
    axes = "ijk"[: a.ndim]
    return float(np.einsum(f"{axes},{axes}->", a, b, dtype=np.float64))


@dataclass(frozen=True)
class Synthesised:
    """Statistics of a synthesised plane at depth t, of what was expected there, and of linear interpolation."""

    t: float
    measured: Statistics
    expected: Statistics
    linear: Statistics


@dataclass(frozen=True)
class Pulsing:
    """How strongly a stack pulses, as parts of one: of the contrast for mean and contrast, else of gradient energy.

    Synthesised planes are compared with what lies between the values of their two neighbours; what is left is averaged
    over all gaps, depth by depth. The standard deviation of this profile, acquired planes with their 0 in it, is the
    root of the power of all components along z whose period is a gap. Depths count as often as they occur, so that one
    wide gap does not count for all, and acquired planes as often as the most frequent depth.

    Parameters
    ----------
    mean, contrast, gradient_energy : float
        Each 0 where nothing pulses.
    """

    mean: float
    contrast: float
    gradient_energy: float

    @property
    def index(self) -> float:
        """The strongest of the three."""
        return max(self.mean, self.contrast, self.gradient_energy)


def pulsing(planes: Sequence[Synthesised], *, linear: bool = False) -> Pulsing:
    """The pulsing of synthesised planes, or of linear interpolation in their place.

    Parameters
    ----------
    planes : sequence of Synthesised
        All of one stack.
    linear : bool
        Of linear interpolation in their place.

    Returns
    -------
    Pulsing
        Zeros where there is no plane.
    """
    if not planes:
        return Pulsing(0.0, 0.0, 0.0)
    contrast = float(np.mean([plane.expected.contrast for plane in planes])) or 1.0
    energy = float(np.mean([plane.expected.gradient_energy for plane in planes])) or 1.0
    scales = {"mean": contrast, "contrast": contrast, "gradient_energy": energy}
    values = {}
    for name, scale in scales.items():
        off: dict[float, list[float]] = defaultdict(list)
        for plane in planes:
            had = plane.linear if linear else plane.measured
            off[round(plane.t, 6)].append(getattr(had, name) - getattr(plane.expected, name))
        counts = [len(residuals) for residuals in off.values()]
        profile = np.array([0.0, *(np.mean(residuals) for residuals in off.values())])
        weights = [max(counts), *counts]
        middle = np.average(profile, weights=weights)
        values[name] = float(np.average((profile - middle) ** 2, weights=weights)) ** 0.5 / scale
    return Pulsing(**values)


def own_variation(acquired: Iterable[Statistics]) -> Pulsing:
    """How much acquired planes differ from what their two neighbours let expect, as parts like those of ``Pulsing``.

    A plane is compared with the mean of those before and after it, and the root mean square of what is left is divided
    by what independent scatter would make of one; zeros for fewer than three planes.
    """
    rows = list(acquired)
    if len(rows) < 3:
        return Pulsing(0.0, 0.0, 0.0)
    table = np.array([[getattr(row, field.name) for field in fields(Statistics)] for row in rows])
    second = table[1:-1] - (table[:-2] + table[2:]) / 2
    scatter = np.sqrt(np.mean(second**2, axis=0) / 1.5)
    contrast, energy = table[:, 1].mean() or 1.0, table[:, 2].mean() or 1.0
    return Pulsing(*(float(x) for x in scatter / [contrast, contrast, energy]))
