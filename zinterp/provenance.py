"""What an output says about how it was made, read back from its file."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any, Self

from zinterp.errors import BadVolumeError
from zinterp.io import read_record
from zinterp.planes_table import ACQUIRED, SYNTHESISED

FACTS = ("program", "source", "source_shape", "source_sample", "dtype", "model", "planes")
"""Of a record; what else is in it are options."""


@dataclass(frozen=True)
class TableRow:
    """One output plane in a table that was read back; see ``PlaneRow``, of which it has what a check needs."""

    time: int
    channel: int
    plane: int
    kind: str
    before: int
    after: int
    t: float
    model: str
    z_um: float | None

    @classmethod
    def parse(cls, row: Mapping[str, str | None]) -> Self:
        """Read a row of CSV by the names of its columns; a ValueError or LookupError if it is none of ours."""
        time, channel, plane, before, after = (
            int(row[name] or "") for name in ("time", "channel", "plane", "before", "after")
        )
        kind, t, z = row["kind"], float(row["t"] or ""), row.get("z_um")
        if kind not in (ACQUIRED, SYNTHESISED):
            raise ValueError(f"{kind!r} is neither {ACQUIRED} nor {SYNTHESISED}")
        if not isfinite(t) or min(time, channel, plane, before, after) < 0:
            raise ValueError("a number is negative or not finite")
        grain = f"grain from seed {row['grain_seed']}" if row.get("grain_seed") else ""
        made_by = " + ".join(filter(None, (row["model"], row.get("restoration"), grain)))
        return cls(time, channel, plane, kind, before, after, t, made_by, float(z) if z else None)


def read_table(text: str, name: object) -> tuple[TableRow, ...]:
    """The rows of a planes table.

    Parameters
    ----------
    text : str
        CSV with a header; columns are found by their names, and there may be others.
    name : object
        Of the file, for the error.

    Raises
    ------
    BadVolumeError
        If it is no such table.
    """
    rows: list[TableRow] = []
    try:
        for row in csv.DictReader(io.StringIO(text, newline="")):
            rows.append(TableRow.parse(row))
    except KeyError as error:
        raise BadVolumeError(
            f"{name} has a planes table without the column {error}, expected one that zinterp wrote"
        ) from error
    except (ValueError, csv.Error) as error:
        raise BadVolumeError(
            f"{name} has a planes table whose row {len(rows) + 1} cannot be read ({error}), expected one as zinterp "
            "wrote it: it was changed or is damaged"
        ) from error
    return tuple(rows)


@dataclass(frozen=True)
class Provenance:
    """How an output was made, by the record in its file.

    Parameters
    ----------
    name : str
        The output's path.
    program : str
        Name and version.
    source : str
        The input's name; "" where the record does not say, and so below.
    source_shape : tuple of int or None
        (Z, Y, X) of the input.
    dtype : str
    model : str
        What synthesised planes.
    table : str or None
        The planes table as CSV; None where the format has no room for it.
    options : mapping
        Whatever else the record says: options that were set and what was decided from them.
    """

    name: str
    program: str
    source: str
    source_shape: tuple[int, ...] | None
    dtype: str
    model: str
    table: str | None
    options: Mapping[str, Any]

    @classmethod
    def of_record(cls, record: Mapping[str, Any], name: str) -> Self:
        """What a record says; a value that is not of its kind counts as not said."""
        names = ("program", "source", "dtype", "model")
        program, source, dtype, model = (v if isinstance(v := record.get(key), str) else "" for key in names)
        shape = record.get("source_shape")
        known = isinstance(shape, Sequence) and len(shape) == 3 and all(isinstance(n, int) for n in shape)
        return cls(
            name,
            program,
            source,
            tuple(shape) if shape and known else None,
            dtype,
            model,
            record.get("planes"),
            {key: value for key, value in record.items() if key not in FACTS},
        )

    @cached_property
    def rows(self) -> tuple[TableRow, ...]:
        """The planes table, row by row, empty where there is none; a BadVolumeError if it cannot be read."""
        return read_table(self.table, self.name) if self.table else ()

    def dropped(self, stack: int) -> frozenset[int] | None:
        """The input planes that a stack was made without; None where the record does not say."""
        planes = self.options.get("dropped_planes")
        of_stack = planes[stack] if isinstance(planes, list) and stack < len(planes) else None
        return frozenset(of_stack) if isinstance(of_stack, list) and all(isinstance(k, int) for k in of_stack) else None


def read_provenance(path: Path) -> Provenance | None:
    """How an output was made; None where its file does not say. See ``zinterp.io.read_record``."""
    record = read_record(path)
    return None if record is None else Provenance.of_record(record, str(path))


def count_made(rows: Sequence[TableRow]) -> dict[str, int]:
    """How many planes each model synthesised."""
    return dict(Counter(row.model for row in rows if row.kind == SYNTHESISED))
