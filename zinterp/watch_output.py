"""An output that grows: which planes it holds, what they were made from, and which are to be made again.

What each output plane is to be made from is its recipe: the planes of its context, by their digests, and its depth. A
plane whose recipe is as it was stays; one whose recipe has moved to another place in the output is moved; all others
are made. So a slice that arrives late, is imaged again or goes away costs what depends on it, and nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from typing import Any

import numpy as np

from zinterp.finishing import Measures, from_json, to_json
from zinterp.job import Job
from zinterp.journal import Journal
from zinterp.volume import GrowingWriter, Planes, VolumeInfo

DRAFT = "draft"
"""In place of a full recipe: the plane was interpolated quickly, to be there at once."""

RECENT_BLOCKS = 2  # that are kept in memory: planes that move up or down come from the next one


@dataclass(frozen=True)
class Recipe:
    """What a plane is made from.

    Parameters
    ----------
    pair : str
        Stands for the depth and the two acquired planes on either side.
    full : str
        Stands for all that decides the plane: with the whole context, which at the end of a stack that grows is not
        there yet. Two planes of one job whose full recipes are equal are equal bit for bit.
    """

    pair: str
    full: str


@dataclass(frozen=True)
class Held:
    """A plane in the output: its recipe, and what was measured of it, as JSON holds it."""

    recipe: Recipe
    measures: Mapping[str, Any]


def recipes(job: Job, digests: Sequence[str]) -> list[Recipe]:
    """The recipes of a job's output planes, by the digests of its input planes."""
    grid, grain = job.stacks[0].grid, job.finishing.grain_seed is not None
    found = []
    for i, located in groupby(((k, *grid.locate(k)) for k in range(len(grid))), key=lambda plane: plane[1]):
        context = ""
        for k, _, t in located:
            if not t:
                found.append(Recipe(digests[i], digests[i]))
                continue
            if not context:
                context = " ".join(digests[j] for j in grid.around(i, job.needs.context))
                pair = f"{digests[i]} {digests[grid.after(i)]}"
            place = f" {k}" if grain else ""  # by which grain is drawn
            found.append(Recipe(short(f"{t} {pair}"), short(f"{t} {context}{place}")))
    return found


def short(text: str) -> str:
    """A number that stands for a text."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


class GrowingOutput:
    """The planes of an output that grows, on disk, and its journal.

    Before planes are written the journal says that what was at their places no longer holds, and after they are on
    disk it says what holds: whenever a run ends, what the journal says of a plane is so.

    Parameters
    ----------
    writer : GrowingWriter
    journal : Journal
        With what it knows of planes that were written before.
    depth : int
        Planes that lie together on disk, and are always written together.
    """

    def __init__(self, writer: GrowingWriter, journal: Journal, depth: int) -> None:
        self.writer = writer
        self.wanted: list[Recipe] = []
        self._journal = journal
        self._depth = depth
        self._held: dict[int, Held] = {
            k: Held(Recipe(known["pair"], known["full"]), known["measures"])
            for k, known in journal.measures.items()
            if known
        }
        self._recent: dict[int, Planes] = {}  # blocks used last: planes are often followed by those right after them

    def want(self, info: VolumeInfo, wanted: Sequence[Recipe]) -> None:
        """Have the output hold these planes from now on; those that are there at other places are moved."""
        if beyond := [k for k in self._held if k >= len(wanted)]:
            self._forget(beyond)
        self.wanted = list(wanted)
        self.writer.resize(info)
        self._move()

    def lacks(self, k: int) -> bool:
        """Whether plane k is not there: not even made with a part of its context."""
        held = self._held.get(k)
        return held is None or held.recipe.pair != self.wanted[k].pair

    def is_final(self, k: int) -> bool:
        """Whether plane k is there as it is to be, as far as is known."""
        held = self._held.get(k)
        return held is not None and held.recipe.full == self.wanted[k].full

    def is_provisional(self, k: int) -> bool:
        """Whether plane k is there, made with a part of its context."""
        return not self.lacks(k) and not self.is_final(k)

    def is_draft(self, k: int) -> bool:
        """Whether plane k was drafted, and not made by the model of the job."""
        held = self._held.get(k)
        return held is not None and held.recipe.full == DRAFT

    def write(self, made: Sequence[Recipe], planes: Planes, measures: Sequence[Measures]) -> None:
        """Write planes (n, Y, X) that were made by some recipes to where these are wanted now, if they still are.

        A plane whose context has changed meanwhile takes the place of a draft only.
        """
        full = {recipe.full: j for j, recipe in enumerate(made)}
        pair = {recipe.pair: j for j, recipe in enumerate(made)}
        chosen: dict[int, int] = {}  # output planes, and which of those made belongs there
        for k, recipe in enumerate(self.wanted):
            if self.is_final(k):
                continue
            if (j := full.get(recipe.full)) is not None or (
                (j := pair.get(recipe.pair)) is not None
                and (self.lacks(k) or (self.is_draft(k) and made[j].full != DRAFT))
            ):
                chosen[k] = j
        rows = to_json(measures)
        self._write({k: planes[j] for k, j in chosen.items()}, {k: Held(made[j], rows[j]) for k, j in chosen.items()})

    def measures(self) -> tuple[Measures, ...]:
        """What was measured of all planes."""
        return tuple(from_json([dict(self._held[k].measures) for k in range(len(self.wanted))]))

    def _move(self) -> None:
        """Move planes to where they are wanted now, in an order in which none is overwritten before it was moved."""
        full = {held.recipe.full: k for k, held in sorted(self._held.items())}
        pair = {held.recipe.pair: k for k, held in sorted(self._held.items())}
        sources: dict[int, int] = {}
        for k, recipe in enumerate(self.wanted):
            if not self.is_final(k):
                source = full.get(recipe.full, pair.get(recipe.pair) if self.lacks(k) else None)
                if source is not None and source != k:
                    sources[k] = source
        up = sorted((k for k in sources if sources[k] < k), reverse=True)
        down = sorted(k for k in sources if sources[k] > k)
        for numbers in (up, down):
            for _, group in groupby(numbers, key=lambda k: k // self._depth):
                block = list(group)
                held = {k: self._held.get(sources[k]) for k in block}
                fitting = {k: h for k, h in held.items() if h is not None and h.recipe.pair == self.wanted[k].pair}
                if fitting:
                    self._write({k: self._plane(sources[k]) for k in fitting}, fitting)

    def _write(self, planes: Mapping[int, Planes], held: Mapping[int, Held]) -> None:
        """Write planes to their places, block by block."""
        for number, group in groupby(sorted(planes), key=lambda k: k // self._depth):
            numbers, start = list(group), number * self._depth
            block = self._open(number)
            self._forget(numbers)
            for k in numbers:
                block[k - start] = planes[k]
            self.writer.write(start, block)
            self._journal.add_all(
                {
                    k: {"pair": held[k].recipe.pair, "full": held[k].recipe.full, "measures": held[k].measures}
                    for k in numbers
                }
            )
            self._held |= {k: held[k] for k in numbers}

    def _plane(self, k: int) -> Planes:
        """A copy of one plane."""
        plane: Planes = self._open(k // self._depth)[k % self._depth].copy()
        return plane

    def _open(self, number: int) -> Planes:
        """The planes of a block, as far as the output reaches; what is written into it is still to be saved."""
        start = number * self._depth
        count = min(self._depth, len(self.wanted) - start)
        block = self._recent.pop(number, None)
        if block is None:
            block = np.array(self.writer.read(range(start, start + count)))
        elif len(block) != count:
            fresh = np.zeros((max(count - len(block), 0), *block.shape[1:]), block.dtype)
            block = np.concatenate([block[:count], fresh])
        while len(self._recent) >= RECENT_BLOCKS:
            del self._recent[next(iter(self._recent))]
        self._recent[number] = block
        return block

    def _forget(self, numbers: Iterable[int]) -> None:
        """Note that what was at some places no longer holds."""
        if gone := [k for k in numbers if k in self._held]:
            self._journal.add_all({k: {} for k in gone})
            for k in gone:
                del self._held[k]
