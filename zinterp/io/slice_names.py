"""What the names of slices say: their order, their numbers, and where they lie."""

import glob
import logging
import math
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from natsort import natsorted

from zinterp.errors import BadVolumeError
from zinterp.volume import MICROMETRES, exact, ranges

logger = logging.getLogger(__name__)

Say = Callable[..., None]
"""How a caller is told of what is odd: a level of ``logging``, a message with its arguments."""

WORDS = {"A", "in", "m"}  # which in a name are more often something else than units
UNITS = "|".join(sorted(set(MICROMETRES) - WORDS, key=len, reverse=True))
Z_POSITION = re.compile(rf"(?<![^\W\d_])[zZ]\s*=\s*([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)\s*({UNITS})(?![^\W\d_])")
"""``z=0.1250um``, as Atlas and Auto Slice & View write it."""

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
DATE = r"(?:19|20)[0-9]{2}(?P<date>[-_.]?)[01][0-9](?P=date)[0-3][0-9]"
CLOCK = r"[-_ T][0-2][0-9](?P<clock>[-_.:h]?)[0-5][0-9](?:(?P=clock)[0-5][0-9])?"  # behind a date
TIME = r"[0-2][0-9](?P<time>[-.:])[0-5][0-9](?P=time)[0-5][0-9]"
MOMENT = re.compile(rf"[+-]?(?<![0-9])(?:{DATE}(?:{CLOCK})?|{TIME})(?![0-9])|{NUMBER.pattern}")
"""A date, a time, or both, as one; else a number."""

COUNTS_PLANES = re.compile(r"(?<![a-z])(z|slices?|sections?|planes?)[ _=-]*$", re.IGNORECASE)
"""What stands before the number of a plane."""

STARS: tuple[Callable[[str], str], ...] = (lambda _: "*", lambda _: "*[0-9]", lambda number: "?" * len(number))
"""What may stand for a number in a pattern, the shortest first."""

FULL = 0.9  # of all combinations: as many are several series, even if some slices lack


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


def check_one_series(names: Sequence[str], path: Path, folder: Path) -> None:
    """Refuse names of several stacks or channels, which would be taken for neighbours.

    Parameters
    ----------
    names : sequence of str
        In their natural order.
    path : Path
        The folder or pattern that a user gave.
    folder : Path
        Where the slices are.

    Raises
    ------
    BadVolumeError
        With the pattern that chooses one series.
    """
    found = series(names)
    if len(found) == 1:
        return
    pattern = pattern_of(found[0], names)
    advice = f"give the pattern of one, as in '{folder / pattern}'" if pattern else "keep those of one"
    raise BadVolumeError(
        f"{path} holds {len(names)} slices of {len(found)} series, as {found[0][0]} and {found[1][0]}, expected one "
        f"stack: {advice}, or rename them so that one number rises from each to the next"
    )


def series(names: Sequence[str]) -> list[list[str]]:
    """Names put together where they seem to be of one stack or channel, the most first.

    Texts around the numbers tell series apart, unless a number or position rises through all of them, or each name has
    a text of its own. So do numbers that come in all combinations with the others.
    """
    by_text = grouped(names, [NUMBER.sub("\0", Path(name).stem) for name in names])  # which is in no name
    if len(by_text) == 1:
        return combined(names)
    count, z = numbers(names), positions(names)
    rising = any(column and is_rising(column) for column in (count, z, z and z[::-1]))
    return [list(names)] if rising or len(by_text) == len(names) else by_text


def combined(names: Sequence[str]) -> list[list[str]]:
    """Names of one text put together by what all values of one of their numbers are combined with."""
    stems = [Path(name).stem for name in names]
    group = MOMENT if len({len(MOMENT.findall(stem)) for stem in stems}) == 1 else NUMBER
    before = [stems[0][: match.start()] for match in group.finditer(stems[0])]
    columns: dict[tuple[int, ...], bool] = {}  # numbers that change together, once, and whether they count planes
    for text, column in zip(before, zip(*([m[0] for m in group.finditer(s)] for s in stems), strict=True), strict=True):
        labels = labelled(column)
        columns[labels] = columns.get(labels, False) or COUNTS_PLANES.search(text) is not None
    varying = sorted(filter(max, columns), key=lambda labels: (columns[labels], max(labels)), reverse=True)
    for labels in varying if len(varying) > 1 else []:
        others = labelled(list(zip(*(other for other in varying if other != labels), strict=True)))
        values, combinations = max(labels) + 1, max(others) + 1
        if len(set(zip(labels, others, strict=True))) >= FULL * values * combinations:
            return grouped(names, others if columns[labels] or values >= combinations else labels)
    return [list(names)]


def labelled(values: Sequence[Hashable]) -> tuple[int, ...]:
    """A number for each value, equal for equal ones, in the order in which they first come."""
    found: dict[Hashable, int] = {}
    return tuple(found.setdefault(value, len(found)) for value in values)


def grouped(names: Sequence[str], keys: Sequence[Hashable]) -> list[list[str]]:
    """Names put together by their keys, the largest group first."""
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for name, key in zip(names, keys, strict=True):
        groups[key].append(name)
    return sorted(groups.values(), key=len, reverse=True)


def pattern_of(chosen: Sequence[str], names: Sequence[str]) -> str:
    """The pattern that chooses these of the names, which differ in their numbers alone; "" if there is none."""
    stem, suffixes = Path(chosen[0]).stem, {Path(name).suffix for name in chosen}
    columns = list(zip(*(NUMBER.findall(Path(name).stem) for name in chosen), strict=True))
    for star in STARS:
        numbers = [c[0] if len(set(c)) == 1 else common_sign(c) + star(c[0].lstrip("+-")) for c in columns]
        texts = [glob.escape(text) for text in NUMBER.split(stem)]
        end = suffixes.copy().pop() if len(suffixes) == 1 else ".*"
        pattern = "".join(a + b for a, b in zip(texts, [*numbers, end], strict=True))
        if [name for name in names if fnmatchcase(name, pattern)] == list(chosen):
            return pattern
    return ""


def common_sign(numbers: Sequence[str]) -> str:
    """The sign that all numbers have; "" if they differ."""
    signs = {number[0] for number in numbers}
    return signs.pop() if len(signs) == 1 and signs < {"+", "-"} else ""


def step(numbers: Sequence[int]) -> int:
    """The greatest step that leads from each number to the next: 10 for 0, 10, 30; 1 for a single number."""
    return math.gcd(*(b - a for a, b in pairwise(numbers))) or 1


def count_missing(numbers: Sequence[int]) -> int:
    """How many numbers lack between the first and the last of rising ones."""
    return (numbers[-1] - numbers[0]) // step(numbers) + 1 - len(numbers)


def missing(numbers: Sequence[int]) -> list[int]:
    """The numbers that lack between the first and the last of rising ones."""
    return sorted(set(range(numbers[0], numbers[-1], step(numbers))) - set(numbers))


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


def rising_positions(names: Sequence[str], path: Path, *, say: Say = logger.log) -> tuple[Fraction, ...] | None:
    """The positions in the names of the slices at ``path``, their distances from the first where they fall.

    None where there are none, or they are not in the names' order.
    """
    found = positions(names)
    if found is None or is_rising(found):
        return found
    depths = tuple(found[0] - position for position in found)
    if is_rising(depths):
        return depths
    say(
        logging.WARNING,
        "%s: the z positions in the names neither rise nor fall from slice to slice: they are left out",
        path,
    )
    return None


def places(
    numbers: Sequence[int] | None, path: Path, *, fill: bool, say: Say = logger.log
) -> tuple[Fraction, ...] | None:
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
    if numbers is not None and any(a > b for a, b in pairwise(numbers)):
        raise BadVolumeError(
            f"{path} has slices whose order cannot be told: {reason} in the order of their names, as signs have none; "
            "expected one number that rises: rename the slices"
        )
    if reason or numbers is None:
        message = "%s: numbering is irregular (%s), taking the planes as evenly spaced"
        say(logging.WARNING, message, path, reason)
        return None
    lacking = missing(numbers)
    if not lacking:
        return None
    gaps = f"{len(lacking)} plane{'s are' if len(lacking) > 1 else ' is'} missing ({ranges(lacking, step(numbers))})"
    if not fill:
        message = "%s: %s, and those beside count as neighbours: --fill-gaps makes the missing planes"
        say(logging.WARNING, message, path, gaps)
        return None
    say(logging.INFO, "%s: %s, and will be made", path, gaps)
    return tuple(Fraction(number - numbers[0], step(numbers)) for number in numbers)
