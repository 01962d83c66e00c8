"""Measured positions of planes: from a text file or a column of a table, and what they amount to."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from math import lcm
from pathlib import Path
from statistics import median_low

from zinterp.errors import BadOptionError, InputError
from zinterp.volume import MICROMETRES, exact

Z_NAMES = re.compile(r"(z|pos|position|positions|depth)([^a-z]|$)", re.IGNORECASE)
NUMBER = r"[+-]?(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][+-]?\d{1,2})?"
LARGEST_FILE = 2**26  # bytes: beyond it is no list of positions
EVEN = Fraction(1, 10**6)  # of a plane distance: positions as even as this are evenly spaced
FINE = 10  # times the last digit: plane distances of at least this are known well enough to allow for rounding


@dataclass(frozen=True)
class Positions:
    """Where planes were measured to lie.

    Parameters
    ----------
    values : tuple of Fraction
        One a plane, exactly as written.
    unit : str
        A key of MICROMETRES, "" where the file does not say.
    """

    values: tuple[Fraction, ...]
    unit: str = ""


def read_positions(name: str | Path) -> Positions:
    """Read positions from ``FILE`` or ``FILE:COLUMN``.

    Parameters
    ----------
    name : str or Path
        A text file with one number a line, or a table with commas, semicolons or tabs and a header, of which the
        column that is named, or the one called z or position, or the only one, is taken. A unit may follow each
        number, or stand in the header, as in ``z_nm`` or ``z [nm]``.

    Raises
    ------
    InputError
        If the file cannot be read.
    BadOptionError
        If it holds no such numbers.
    """
    path, column = split_column(str(name))
    try:
        with path.open("rb") as file:  # which may be a pipe
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise BadOptionError(
                f"{path} has more than {LARGEST_FILE} bytes, expected one number a line: name another file"
            )
        lines = decoded(content).splitlines()
    except UnicodeDecodeError as error:
        raise BadOptionError(f"{path} is no text, expected positions, one number a line: name another file") from error
    except OSError as error:
        raise InputError(f"cannot read the positions {path} ({error.strerror}): check the path") from error
    try:
        cells = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter_of(lines))]
    except csv.Error as error:
        raise BadOptionError(f"{path} is no table ({error}), expected positions, one number a line") from error
    rows = [row for row in cells if any(row)]
    rows = [row for row in rows if not row[0].startswith("#") or not is_number(row[0].lstrip("# "))]
    header = [cell.lstrip("# ") for cell in rows.pop(0)] if rows and not any(map(is_number, rows[0])) else []
    rows = [row for row in rows if not row[0].startswith("#")]
    index = choose_column(path, header, column, len(rows[0]) if rows else 0)
    columns = len(header or rows[0]) if rows else 0
    if uneven := next((row for row in rows if len(row) != columns), None):
        raise BadOptionError(
            f"{path} has {len(uneven)} columns in {','.join(uneven)!r} and {columns} before, expected as many in each "
            "line: write decimals with a point, or separate columns with semicolons"
        )
    unit = unit_of(header[index]) if header else ""
    values: list[Fraction] = []
    for row in rows:
        match = re.fullmatch(rf"({NUMBER})\s*(\D*)", row[index].replace(",", "."))
        if match is None or (match[2] and match[2] not in MICROMETRES) or (unit and match[2] not in ("", unit)):
            raise BadOptionError(
                f"{path} has {','.join(row)!r} for plane {len(values)}, expected a number: one position a line"
            )
        unit = match[2] or unit
        values.append(Fraction(match[1]))
    if not values:
        raise BadOptionError(f"{path} holds no numbers, expected the position of each plane, one a line")
    return Positions(tuple(values), unit)


def decoded(content: bytes) -> str:
    """Text in UTF-8, or as spreadsheets write it: UTF-16 with its mark, or the code page of Windows."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


def split_column(name: str) -> tuple[Path, str]:
    """File and column of ``FILE:COLUMN``; the column is "" where none is named."""
    file, colon, column = name.rpartition(":")
    if colon and not Path(name).exists() and Path(file).exists():
        return Path(file), column
    return Path(name), ""


def delimiter_of(lines: list[str]) -> str:
    """What separates the columns; a comma is a decimal one where something else does."""
    return next((c for c in (";", "\t") if any(c in line for line in lines)), ",")


def is_number(cell: str) -> bool:
    """Whether a cell is a number, with a unit or without."""
    return re.fullmatch(rf"({NUMBER}|\d+,\d+)\s*\D{{0,3}}", cell) is not None


def unit_of(title: str) -> str:
    """The unit at the end of a column's title; "" if there is none."""
    match = re.search(r"[\s_(\[]([a-zA-ZÅµμ]+)[)\]]?$", title)
    return match[1] if match and match[1] in MICROMETRES else ""


def choose_column(path: Path, header: list[str], column: str, columns: int) -> int:
    """The number of the column to read."""
    if column:
        if column in header:
            return header.index(column)
        raise BadOptionError(
            f"{path} has the columns {', '.join(header) or 'without names'}, expected one called {column}"
        )
    if columns <= 1:
        return 0
    called_z = [i for i, title in enumerate(header) if Z_NAMES.match(title)]
    if len(called_z) == 1:
        return called_z[0]
    raise BadOptionError(
        f"{path} has {columns} columns ({', '.join(header) or 'without names'}), expected one: name it as {path}:COLUMN"
    )


def in_micrometres(positions: Positions, plane_distance: float | None) -> Positions | None:
    """Positions in micrometres; without a unit, in that of nm, µm and mm that agrees with the plane distance.

    Parameters
    ----------
    positions : Positions
    plane_distance : float or None
        Of the file, in micrometres.

    Returns
    -------
    Positions or None
        Their unit is that which was found; None where neither positions nor file have one.

    Raises
    ------
    BadOptionError
        If no unit agrees.
    """
    unit = positions.unit
    mean = (positions.values[-1] - positions.values[0]) / max(len(positions.values) - 1, 1)
    if not unit:
        if plane_distance is None:
            return None
        fitting = [u for u in ("nm", "um", "mm") if 0.5 <= mean * exact(MICROMETRES[u]) / exact(plane_distance) <= 2]
        if not fitting:
            raise BadOptionError(
                f"the positions have a mean distance of {float(mean):g} without a unit, and the file's is "
                f"{plane_distance:g} µm: write the unit into their first line, as in z_nm"
            )
        unit = fitting[0]
    return Positions(tuple(value * exact(MICROMETRES[unit]) for value in positions.values), unit)


def spacing(positions: Sequence[Fraction], *, rounded: bool = False) -> tuple[Fraction, tuple[Fraction, ...] | None]:
    """The plane distance, and where planes lie in plane distances from the first.

    Parameters
    ----------
    positions : sequence of Fraction
        Rising, at least two.
    rounded : bool
        Whether they may be off by what the last of their decimals stands for, where that is fine enough.

    Returns
    -------
    tuple
        Where planes follow each other evenly: their distance and None. Where they do so but for planes that lack: that
        distance, and whole numbers. Else the mean distance, and any numbers.
    """
    steps = [b - a for a, b in pairwise(positions)]
    typical = median_low(steps)
    digit = Fraction(1, lcm(*(p.denominator for p in positions))) if rounded else Fraction(0)
    counts = [0, *accumulate(round(s / typical) for s in steps)]
    distance = (positions[-1] - positions[0]) / max(counts[-1], 1)
    tolerance = max(EVEN * distance, digit if FINE * digit <= typical else Fraction(0))
    off = max(abs(p - positions[0] - k * distance) for p, k in zip(positions, counts, strict=True))
    if off <= tolerance and all(a < b for a, b in pairwise(counts)):
        even = counts[-1] == len(steps)
        return distance, None if even else tuple(map(Fraction, counts))
    mean = (positions[-1] - positions[0]) / len(steps)
    return mean, tuple((p - positions[0]) / mean for p in positions)
