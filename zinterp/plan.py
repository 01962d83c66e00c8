"""Which planes are read and which are written: exact arithmetic, no data."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import groupby
from typing import Self

from zinterp.errors import BadOptionError

LARGEST_FACTOR = 1000


@dataclass(frozen=True)
class ZGrid:
    """Output planes placed on the axis of the input planes.

    Parameters
    ----------
    planes : int
        Input planes; they lie at 0, 1, ..., planes - 1.
    depths : tuple of Fraction
        Where in each gap planes are put, strictly between 0 and 1, rising.
    dropped : tuple of int
        Input planes that count as not acquired, rising; never the first or the last. The output planes stay where they
        are, and those at and beside a dropped plane lie in the wider gap between its neighbours.
    """

    planes: int
    depths: tuple[Fraction, ...]
    dropped: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.planes < 2:
            raise BadOptionError(f"got {self.planes} plane, expected at least 2: there is nothing in between")
        rising = all(a < b for a, b in zip(self.depths, self.depths[1:], strict=False))
        if not self.depths or not rising or not (self.depths[0] > 0 and self.depths[-1] < 1):
            given = ", ".join(str(float(t)) for t in self.depths) or "none"
            raise BadOptionError(
                f"the depths are {given}, expected different numbers between 0 and 1: write 0.25,0.5,0.75"
            )
        if list(self.dropped) != sorted({*self.dropped} & {*range(1, self.planes - 1)}):
            raise BadOptionError(
                f"the planes to drop are {', '.join(map(str, self.dropped))}, expected rising numbers from 1 to "
                f"{self.planes - 2}: the first and the last plane stay"
            )

    @classmethod
    def by_factor(cls, planes: int, factor: int) -> Self:
        """A grid of ``factor`` times the density: ``(planes - 1) * factor + 1`` planes.

        Raises
        ------
        BadOptionError
            If the factor is not a whole number of at least 2.
        """
        whole = isinstance(factor, int) and not isinstance(factor, bool)
        if not whole or not 2 <= factor <= LARGEST_FACTOR:
            raise BadOptionError(
                f"the factor is {factor}, expected a whole number of at least 2 and at most {LARGEST_FACTOR}; "
                "other spacings are given by --depths"
            )
        return cls(planes, tuple(Fraction(i, factor) for i in range(1, factor)))

    @classmethod
    def by_depths(cls, planes: int, depths: Sequence[float | str | Fraction]) -> Self:
        """A grid with planes at the same depths in each gap, as decimals (0.25 is exactly a quarter)."""
        try:
            exact = tuple(sorted(exact_depth(str(t)) for t in depths))
        except (ValueError, ZeroDivisionError) as error:
            raise BadOptionError(
                f"the depths are {list(depths)}, expected numbers: write 0.25,0.5 or 1/3,2/3"
            ) from error
        return cls(planes, exact)

    def __len__(self) -> int:
        return (self.planes - 1) * self.period + 1

    @property
    def period(self) -> int:
        """Output planes from one acquired plane to the next."""
        return len(self.depths) + 1

    @property
    def step(self) -> Fraction | None:
        """Distance of the output planes in input planes; None when they are not evenly spaced."""
        even = tuple(Fraction(i, self.period) for i in range(1, self.period))
        return Fraction(1, self.period) if self.depths == even else None

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """The input planes that are not dropped, rising."""
        dropped = set(self.dropped)
        return tuple(i for i in range(self.planes) if i not in dropped)

    def locate(self, k: int) -> tuple[int, Fraction]:
        """The kept plane at or before output plane k, and k's depth t in [0, 1) in the gap after it."""
        if not 0 <= k < len(self):
            raise IndexError(f"got output plane {k}, expected 0 to {len(self) - 1}")
        i, inside = divmod(k, self.period)
        depth = self.depths[inside - 1] if inside else Fraction(0)
        before = self.kept[bisect_right(self.kept, i) - 1]
        if depth == 0 and before == i:
            return i, depth
        return before, (i - before + depth) / (self.after(before) - before)

    def after(self, plane: int) -> int:
        """The kept plane that follows a kept plane, which must not be the last."""
        return self.kept[bisect_right(self.kept, plane)]

    def around(self, before: int, context: int) -> tuple[int, ...]:
        """The planes that an interpolator is to see for the gap after a kept plane.

        Parameters
        ----------
        before : int
            The kept plane on the near side of the gap.
        context : int
            Planes on each side of the gap, at least 1.

        Returns
        -------
        tuple of int, length 2 * context
            In order, as far apart as the gap is wide or as nearly so as the kept planes allow; the ends of the stack
            are repeated.
        """
        after = self.after(before)
        width = after - before
        left = [self._nearest(before - j * width, outwards=-1) for j in reversed(range(context))]
        return (*left, *(self._nearest(after + j * width, outwards=1) for j in range(context)))

    def _nearest(self, place: int, *, outwards: int) -> int:
        """The kept plane nearest to a place; of two at one distance that farther out, -1 down or 1 up."""
        above = bisect_left(self.kept, place)
        pair = self.kept[max(above - 1, 0)], self.kept[min(above, len(self.kept) - 1)]
        return min(pair, key=lambda i: (abs(i - place), -i * outwards))


def exact_depth(text: str) -> Fraction:
    """A decimal or a fraction, exactly; numbers out of range are refused before they grow."""
    if "/" not in text and not 0 < float(text) < 1:
        return Fraction(2)  # which no grid takes
    return Fraction(text)


@dataclass(frozen=True)
class Slab:
    """The unit of work: the input planes it reads, context included, and the output planes that it alone writes.

    ``source`` rises, and is a range unless planes in between are dropped.
    """

    source: Sequence[int]
    target: range

    def runs(self) -> Iterator[range]:
        """The input planes in runs without a gap."""
        for _, run in groupby(enumerate(self.source), key=lambda pair: pair[1] - pair[0]):
            planes = [plane for _, plane in run]
            yield range(planes[0], planes[-1] + 1)


def plan_slabs(grid: ZGrid, *, depth: int, context: int) -> list[Slab]:
    """Cut the output into slabs at multiples of ``depth``.

    Parameters
    ----------
    grid : ZGrid
    depth : int
        Output planes a slab, the last one excepted.
    context : int
        Input planes that an interpolator needs on each side of a gap, at least 1.

    Returns
    -------
    list of Slab
        They cover the output once, in order. A slab made longer by more input planes keeps its number.
    """
    if depth < 1:
        raise BadOptionError(f"the slab depth is {depth}, expected at least 1 plane")
    slabs = []
    for start in range(0, len(grid), depth):
        target = range(start, min(start + depth, len(grid)))
        needed: set[int] = set()
        for before, group in groupby(map(grid.locate, target), key=lambda located: located[0]):
            needed |= {before} if all(t == 0 for _, t in group) else {before, *grid.around(before, context)}
        source = range(min(needed), max(needed) + 1)
        slabs.append(Slab(source if len(source) == len(needed) else tuple(sorted(needed)), target))
    return slabs
