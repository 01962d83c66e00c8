"""What the names of slices say: their order, their numbers, and where they lie."""

import logging
import math
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from natsort import natsorted

from zinterp.errors import BadVolumeError
from zinterp.volume import MICROMETRES, exact

logger = logging.getLogger(__name__)

WORDS = {"A", "in", "m"}  # which in a name are more often something else than units
UNITS = "|".join(sorted(set(MICROMETRES) - WORDS, key=len, reverse=True))
Z_POSITION = re.compile(rf"(?<![^\W\d_])[zZ]\s*=\s*([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)\s*({UNITS})(?![^\W\d_])")
"""``z=0.1250um``, as Atlas and Auto Slice & View write it."""

LONGEST_TEXT = 10  # ranges that a message names


def natural_order(names: Iterable[str]) -> list[str]:
    """Names in the order in which people count: 1, 2, 10. Equal numbers, as in 1 and 01, go by the text."""
    return natsorted(sorted(names))


def is_rising(values: Sequence[int | Fraction]) -> bool:
    """Whether each value is above the one before."""
    return all(a < b for a, b in pairwise(values))


def numbers(names: Sequence[str]) -> list[int] | None:
    """The numbers that count the planes.

    Names may hold other numbers: z positions, dates, times and tile numbers.

    Parameters
    ----------
    names : sequence of str
        In their natural order.

    Returns
    -------
    list of int or None
        Of the digit groups that rise from each name to the next, that with the fewest missing. Where none does, the
        only group that varies at all, which then has repetitions; else None.
    """
    groups = [[int(digits) for digits in re.findall("[0-9]+", Z_POSITION.sub("", Path(name).stem))] for name in names]
    if len({len(group) for group in groups}) != 1:
        return None
    varying = [list(column) for column in zip(*groups, strict=True) if len(set(column)) > 1]
    if rising := [column for column in varying if is_rising(column)]:
        return min(rising, key=count_missing)
    return varying[0] if len(varying) == 1 else None


def step(numbers: Sequence[int]) -> int:
    """The greatest step that leads from each number to the next: 10 for 0, 10, 30; 1 for a single number."""
    return math.gcd(*(b - a for a, b in pairwise(numbers))) or 1


def count_missing(numbers: Sequence[int]) -> int:
    """How many numbers lack between the first and the last of rising ones."""
    return (numbers[-1] - numbers[0]) // step(numbers) + 1 - len(numbers)


def missing(numbers: Sequence[int]) -> list[int]:
    """The numbers that lack between the first and the last of rising ones."""
    return sorted(set(range(numbers[0], numbers[-1], step(numbers))) - set(numbers))


def ranges(numbers: Sequence[int], step: int = 1) -> str:
    """Rising numbers as text: ``17-18, 40``."""
    held = set(numbers)
    starts = [n for n in numbers if n - step not in held]
    ends = [n for n in numbers if n + step not in held]
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    more = len(texts) - LONGEST_TEXT
    return ", ".join(texts[:LONGEST_TEXT]) + (f" and {more} more" if more > 0 else "")


def irregularity(numbers: Sequence[int] | None) -> str:
    """Why numbers do not tell which planes lack; "" where they do."""
    if numbers is None:
        return "no number in the names rises from each to the next"
    if clash := [(a, b) for a, b in pairwise(numbers) if a >= b]:
        a, b = clash[0]
        return f"the number {a} is there twice" if a == b else f"the number {b} comes after {a}"
    lacking = count_missing(numbers)
    return f"{len(numbers)} numbers are there and {lacking} lack" if lacking > len(numbers) else ""


def positions(names: Sequence[str]) -> tuple[Fraction, ...] | None:
    """Where planes lie by ``z=NUMBERunit`` in each of their names, exactly, in micrometres; None where one has none."""
    found = [Z_POSITION.search(name) for name in names]
    matches = [match for match in found if match]
    if not found or len(matches) < len(found):
        return None
    return tuple(
        Fraction(sign + number) * exact(MICROMETRES[unit]) for sign, number, unit in (m.groups() for m in matches)
    )


def last_digit(names: Sequence[str]) -> Fraction:
    """What the last digit of the most roughly written position stands for, in micrometres."""
    matches = [match for name in names if (match := Z_POSITION.search(name))]
    return max(
        (Fraction(1, 10 ** len(m[2].partition(".")[2])) * exact(MICROMETRES[m[3]]) for m in matches),
        default=Fraction(0),
    )


def positions_that_rise(names: Sequence[str], path: Path) -> tuple[Fraction, ...] | None:
    """The positions in the names of the slices at ``path``, None where there are none, or not in the names' order."""
    found = positions(names)
    if found and not is_rising(found):
        logger.warning("%s: the z positions in the names do not rise from slice to slice and are left out", path)
        return None
    return found


def places(numbers: Sequence[int] | None, path: Path, *, fill: bool) -> tuple[Fraction, ...] | None:
    """Where planes lie by their numbers, in plane distances; None where none lacks or gaps are not to be filled.

    Raises
    ------
    BadVolumeError
        If gaps are to be filled and the numbers do not tell where they are.
    """
    reason = irregularity(numbers)
    if fill and (reason or numbers is None):
        raise BadVolumeError(
            f"{path} does not tell which planes lack: {reason}; expected names with rising numbers for --fill-gaps: "
            "rename the slices, or leave that option out"
        )
    if reason or numbers is None:
        logger.warning("%s: numbering is irregular (%s), taking the planes as evenly spaced", path, reason)
        return None
    lacking = missing(numbers)
    if not lacking:
        return None
    gaps = f"{len(lacking)} plane{'s are' if len(lacking) > 1 else ' is'} missing ({ranges(lacking, step(numbers))})"
    if not fill:
        logger.warning("%s: %s, and those beside count as neighbours: --fill-gaps makes the missing planes", path, gaps)
        return None
    logger.info("%s: %s, and will be made", path, gaps)
    return tuple(Fraction(number - numbers[0], step(numbers)) for number in numbers)
