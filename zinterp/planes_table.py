"""The table of output planes: where each lies and what it was made from."""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from zinterp.errors import BadOptionError, OutputError, OutputExistsError
from zinterp.io import format_of
from zinterp.job import Job

ACQUIRED, SYNTHESISED = "acquired", "synthesised"


@dataclass(frozen=True)
class PlaneRow:
    """One output plane; planes, channels and times are numbered from 0.

    Parameters
    ----------
    time, channel : int
        Among those that were read.
    plane : int
        Number in the output.
    z_um : float or None
        Position in micrometres: the first input plane lies at the file's origin, or at 0. None where the plane distance
        is not known.
    kind : str
        ``acquired`` or ``synthesised``.
    before, after : int
        Input planes on either side of it; both are the plane itself where it was acquired.
    t : str
        Depth in the gap between these, an exact fraction or decimal from 0 to 1.
    model : str
        What synthesised it, "" where it was acquired.
    """

    time: int
    channel: int
    plane: int
    z_um: float | None
    kind: str
    before: int
    after: int
    t: str
    model: str


def planes_table(job: Job) -> Iterator[PlaneRow]:
    """The output planes of a job, by time, channel and z."""
    for number, stack in enumerate(job.stacks):
        time, channel = divmod(number, job.source.channels)
        for k, place in enumerate(stack.grid.outputs):
            before, t = stack.grid.locate(k)
            z = job.geometry.z(place)
            after = stack.grid.after(before) if t else before
            yield PlaneRow(
                time,
                channel,
                k,
                None if z is None else float(f"{z:.12g}"),
                SYNTHESISED if t else ACQUIRED,
                before,
                after,
                str(t) if t.denominator <= 10**6 else f"{float(t):.9g}",
                job.model if t else "",
            )


def as_columns(job: Job) -> dict[str, list[Any]]:
    """The table by columns, as an output's metadata keep it; the model, which is there already, is left out."""
    rows = list(planes_table(job))
    names = [field.name for field in fields(PlaneRow) if field.name != "model"]
    return {name: [getattr(row, name) for row in rows] for name in names}


def check_table(path: Path, *, overwrite: bool) -> None:
    """Refuse a table that is there already, or could not be written."""
    if format_of(path) is not None:
        raise BadOptionError(f"the planes table {path} is named like a stack, expected a table: give planes.csv")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already: give --overwrite to replace it, or another --planes-table")
    if not path.parent.is_dir() or path.is_dir():
        raise OutputError(f"the planes table {path} cannot be written there, expected a file in a folder that exists")


def write_table(path: Path, job: Job) -> None:
    """Write the table as CSV, whole or not at all."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(PlaneRow))
    table.writerows(astuple(row) for row in planes_table(job))
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text.getvalue(), encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"cannot write the planes table {path} ({error.strerror or error})") from error
