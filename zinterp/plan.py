"""Which planes are read and which are written: exact arithmetic, no data."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import groupby, pairwise
from typing import Self

from zinterp.errors import BadOptionError

LARGEST_FACTOR = 1000
TOLERANCE = Fraction(1, 200)  # of a step: places are measured and lengths are rounded no better than that


@dataclass(frozen=True)
class ZGrid:
    """Output planes placed among the input planes. All places are in one unit, the usual distance of input planes.

    Parameters
    ----------
    acquired : tuple of Fraction
        Where the input planes lie, rising.
    outputs : tuple of Fraction
        Where the output planes lie, rising, from the first to the last input plane that is not dropped.
    step : Fraction or None
        Distance of the output planes, None where they are not evenly spaced. An input plane that lies within a
        two-hundredth of a step from an output plane is that plane.
    dropped : tuple of int
        Input planes that count as not acquired, rising. The output planes stay where they are, and those at and
        beside a dropped plane lie in the wider gap between its neighbours.
    """

    acquired: tuple[Fraction, ...]
    outputs: tuple[Fraction, ...]
    step: Fraction | None = None
    dropped: tuple[int, ...] = ()

    @classmethod
    def by_step(cls, acquired: Sequence[Fraction], step: Fraction) -> Self:
        """A grid with planes every ``step`` from the first input plane on, none beyond the last.

        Parameters
        ----------
        acquired : sequence of Fraction
            Where the input planes lie.
        step : Fraction
            In the same unit.

        Raises
        ------
        BadOptionError
            If places or step cannot be used.
        """
        checked_places(acquired)
        if not 0 < step <= max(b - a for a, b in pairwise(acquired)):
            raise BadOptionError(
                f"output planes {float(step):g} plane distances apart are farther apart than acquired ones, expected "
                "a denser stack: give a smaller step"
            )
        steps = (acquired[-1] - acquired[0]) / step + TOLERANCE
        if steps > LARGEST_FACTOR * len(acquired):
            raise BadOptionError(
                f"the step is {float(step):g} of a plane distance, expected at least a {LARGEST_FACTOR}th of it: "
                "give a larger one"
            )
        return cls(tuple(acquired), tuple(acquired[0] + k * step for k in range(int(steps) + 1)), step)

    @classmethod
    def by_depths(cls, acquired: Sequence[Fraction], depths: Sequence[float | str | Fraction]) -> Self:
        """A grid with planes at the same depths in each gap, as decimals (0.25 is exactly a quarter)."""
        checked_places(acquired)
        try:
            exact = tuple(sorted(exact_depth(str(t)) for t in depths))
        except (ValueError, ZeroDivisionError) as error:
            raise BadOptionError(
                f"the depths are {list(depths)}, expected numbers: write 0.25,0.5 or 1/3,2/3"
            ) from error
        if not exact or len(set(exact)) < len(exact) or not 0 < exact[0] <= exact[-1] < 1:
            given = ", ".join(str(float(t)) for t in exact) or "none"
            raise BadOptionError(
                f"the depths are {given}, expected different numbers between 0 and 1: write 0.25,0.5,0.75"
            )
        outputs = [a + t * (b - a) for a, b in pairwise(acquired) for t in (Fraction(0), *exact)]
        distances = {b - a for a, b in pairwise([*outputs, acquired[-1]])}
        step = distances.pop() if len(distances) == 1 else None
        return cls(tuple(acquired), (*outputs, acquired[-1]), step)

    def without(self, planes: Sequence[int]) -> Self:
        """The grid with these input planes dropped; where the ends are dropped it is shorter.

        Raises
        ------
        BadOptionError
            If fewer than two planes would be left, or one is not there.
        """
        dropped = tuple(sorted({*self.dropped, *planes}))
        count = len(self.acquired)
        if dropped and not 0 <= dropped[0] <= dropped[-1] < count:
            wrong = dropped[0] if dropped[0] < 0 else dropped[-1]
            raise BadOptionError(f"got plane {wrong} to leave out, expected planes from 0 to {count - 1}")
        if len(dropped) > count - 2:
            raise BadOptionError(
                f"{len(dropped)} of {count} planes are to be left out, expected at least two that stay: there is "
                "nothing in between"
            )
        out = set(dropped)
        kept = [place for i, place in enumerate(self.acquired) if i not in out]
        first, last = kept[0] - self.tolerance, kept[-1] + self.tolerance
        inside = tuple(place for place in self.outputs if first <= place <= last)
        if not inside:
            raise BadOptionError("no output plane lies between the planes that stay: give a smaller step")
        return replace(self, outputs=inside, dropped=dropped)

    def __len__(self) -> int:
        return len(self.outputs)

    @property
    def tolerance(self) -> Fraction:
        """How far an input plane may be from an output plane to be the same."""
        return TOLERANCE * self.step if self.step else Fraction(0)

    @property
    def per_gap(self) -> int:
        """Output planes from one input plane to the next, as a rule."""
        return max((len(self.outputs) - 1) // (len(self.acquired) - 1), 1)

    @property
    def is_even(self) -> bool:
        """Whether the input planes follow each other evenly."""
        return self.acquired == evenly(len(self.acquired))

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """The input planes that are not dropped, rising."""
        dropped = set(self.dropped)
        return tuple(i for i in range(len(self.acquired)) if i not in dropped)

    @cached_property
    def _kept_places(self) -> tuple[Fraction, ...]:
        return tuple(self.acquired[i] for i in self.kept)

    @cached_property
    def _located(self) -> tuple[tuple[int, Fraction], ...]:
        located, gap, places, tolerance = [], 0, self._kept_places, self.tolerance
        for place in self.outputs:
            while gap + 1 < len(places) and places[gap + 1] <= place + tolerance:
                gap += 1
            inside = place - places[gap]
            if inside <= tolerance or gap + 1 == len(places):
                located.append((self.kept[gap], Fraction(0)))
            else:
                located.append((self.kept[gap], inside / (places[gap + 1] - places[gap])))
        return tuple(located)

    def locate(self, k: int) -> tuple[int, Fraction]:
        """The kept plane at or before output plane k, and k's depth t in [0, 1) in the gap after it."""
        if not 0 <= k < len(self):
            raise IndexError(f"got output plane {k}, expected 0 to {len(self) - 1}")
        return self._located[k]

    @property
    def missed(self) -> int:
        """How many kept planes fall between output planes, and so are not in the output."""
        return len(self.kept) - (len(self) - self.synthesised)

    @property
    def synthesised(self) -> int:
        """How many output planes are not acquired."""
        return sum(t > 0 for _, t in self._located)

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
        near, far = self.acquired[before], self.acquired[self.after(before)]
        width = far - near
        left = [self._nearest(near - j * width, outwards=-1) for j in reversed(range(context))]
        return (*left, *(self._nearest(far + j * width, outwards=1) for j in range(context)))

    def _nearest(self, place: Fraction, *, outwards: int) -> int:
        """The kept plane nearest to a place; of two at one distance that farther out, -1 down or 1 up."""
        above = bisect_left(self._kept_places, place)
        pair = max(above - 1, 0), min(above, len(self.kept) - 1)
        return self.kept[min(pair, key=lambda i: (abs(self._kept_places[i] - place), -i * outwards))]


def evenly(planes: int) -> tuple[Fraction, ...]:
    """The places of planes that follow each other evenly."""
    return tuple(map(Fraction, range(planes)))


def checked_places(acquired: Sequence[Fraction]) -> None:
    """Refuse places that do not rise, or fewer than two."""
    if len(acquired) < 2:
        raise BadOptionError(f"got {len(acquired)} plane, expected at least 2: there is nothing in between")
    for i, (one, other) in enumerate(pairwise(acquired)):
        if one >= other:
            raise BadOptionError(
                f"plane {i + 1} lies at {float(other):g} and plane {i} at {float(one):g}, expected positions that rise "
                "from plane to plane"
            )


def checked_factor(factor: int) -> int:
    """The factor, refused unless it is a whole number from 1 on."""
    whole = isinstance(factor, int) and not isinstance(factor, bool)
    if not whole or not 1 <= factor <= LARGEST_FACTOR:
        raise BadOptionError(
            f"the factor is {factor}, expected a whole number from 1 to {LARGEST_FACTOR}; other spacings are given by "
            "--z-step or --depths"
        )
    return factor


def exact_depth(text: str) -> Fraction:
    """A decimal or a fraction, exactly; numbers out of range are refused before they grow."""
    if "/" not in text and not 0 < float(text) < 1:
        return Fraction(2)  # which no grid takes
    return Fraction(text)


@dataclass(frozen=True)
class Slab:
    """The unit of work: the input planes it reads, context included, and the output planes that it alone writes.

    ``source`` rises, and is a range unless planes in between are dropped. ``stack`` is the number of the channel and
    time, see ``VolumeInfo.stacks``.
    """

    source: Sequence[int]
    target: range
    stack: int = 0

    def runs(self) -> Iterator[range]:
        """The input planes in runs without a gap."""
        for _, run in groupby(enumerate(self.source), key=lambda pair: pair[1] - pair[0]):
            planes = [plane for _, plane in run]
            yield range(planes[0], planes[-1] + 1)


@dataclass(frozen=True)
class Share:
    """One of ``count`` equal shares of a job's slabs, a run of them; ``number`` is from 1 on, as job arrays count."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``i/n``.

        Raises
        ------
        BadOptionError
            If the text is something else.
        """
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise BadOptionError(f"the share of slabs is {text!r}, expected i/n with i from 1 to n: write 3/8")
        return cls(int(match[1]), int(match[2]))

    def of(self, slabs: int) -> range:
        """The numbers of its slabs, among so many."""
        return range((self.number - 1) * slabs // self.count, self.number * slabs // self.count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def plan_slabs(grid: ZGrid, *, depth: int, context: int, stack: int = 0) -> list[Slab]:
    """Cut the output into slabs at multiples of ``depth``.

    Parameters
    ----------
    grid : ZGrid
    depth : int
        Output planes a slab, the last one excepted.
    context : int
        Input planes that an interpolator needs on each side of a gap, at least 1.
    stack : int
        The number of the stack, for files with several.

    Returns
    -------
    list of Slab
        They cover the output once, in order. A slab made longer by more input planes keeps its number.
    """
    if depth < 1:
        raise BadOptionError(f"the slab depth is {depth}, expected at least 1 plane")
    targets = (range(start, min(start + depth, len(grid))) for start in range(0, len(grid), depth))
    return [slab_of(grid, target, context=context, stack=stack) for target in targets]


def slab_of(grid: ZGrid, target: range, *, context: int, stack: int = 0) -> Slab:
    """The slab that makes some output planes, with all input planes that these need."""
    needed: set[int] = set()
    for before, group in groupby(map(grid.locate, target), key=lambda located: located[0]):
        needed |= {before} if all(t == 0 for _, t in group) else {before, *grid.around(before, context)}
    source = range(min(needed), max(needed) + 1)
    return Slab(source if len(source) == len(needed) else tuple(sorted(needed)), target, stack)
