"""The table of output planes: where each lies and what it was made from."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from zinterp.documents import check_document, write_document
from zinterp.errors import OutputError
from zinterp.finishing import Measures
from zinterp.interpolators import parts_of
from zinterp.job import Job
from zinterp.normalize import Normalizer
from zinterp.volume import decimal

ACQUIRED, SYNTHESISED = "acquired", "synthesised"


@dataclass(frozen=True)
class PlaneRow:
    """One output plane; planes, channels and times are numbered from 0.

    Parameters
    ----------
    time, channel : int
        As the input counts them.
    plane : int
        Number in the output.
    z_um : float or None
        Position in micrometres: the first input plane lies at the file's origin, or at 0 where it gives none, also with
        measured positions. None where the plane distance is not known.
    kind : str
        ``acquired`` or ``synthesised``.
    before, after : int
        Input planes on either side of it; both are the plane itself where it was acquired.
    t : str
        Depth in the gap between these, a decimal from 0 to 1.
    model : str
        What synthesised it, with the hash of its weights; "" where it was acquired.
    restoration : str
        What restored its boundaries, with the hash of its weights; "" where nothing did.
    restoration_amount : float or None
        How many times what it adds was added; None without.
    grain_seed : int or None
        Of the grain that was added; None without.
    grain : float or None
        Root mean square of that grain in grey levels; None without.
    sharpening, sharpening_radius : float or None
        Amount and radius in pixels of the unsharp mask; None without.
    fallback : float or None
        Share of the plane that is cubic, 0 to 1; None without that option.
    mean_sigma : float or None
        Mean predicted deviation of its errors in grey levels; None where it was acquired or the model predicts none.
    mean, contrast, gradient_energy : float or None
        Statistics of the plane in grey levels: mean, standard deviation, mean square of the gradient. Like all from
        ``restoration_amount`` on they are None until the plane is made.
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
    restoration: str
    grain_seed: int | None
    restoration_amount: float | None = None
    grain: float | None = None
    sharpening: float | None = None
    sharpening_radius: float | None = None
    fallback: float | None = None
    mean_sigma: float | None = None
    mean: float | None = None
    contrast: float | None = None
    gradient_energy: float | None = None


MEASURED = (
    *("restoration_amount", "grain", "sharpening", "sharpening_radius", "fallback", "mean_sigma"),
    *("mean", "contrast", "gradient_energy"),
)
COLUMNS = tuple(field.name for field in fields(PlaneRow))
FIRST_COLUMNS = 9
"""Those that all tables have had."""


MEASURED_WIDTH = len(MEASURED) * len("-1.2345e-05")
"""Characters of a row that are known only once the plane is made, at most."""


def plane_rows(job: Job, measures: Sequence[Sequence[Measures]] = ()) -> Iterator[PlaneRow]:
    """The output planes of a job, by time, channel and z, with what was measured of each, by stack, if it is known."""
    model, restoration = parts_of(job.model)
    for number, stack in enumerate(job.stacks):
        time, channel = divmod(number, job.source.channels)
        for k, place in enumerate(stack.grid.outputs):
            before, t = stack.grid.locate(k)
            z = job.geometry.z(place)
            after = stack.grid.after(before) if t else before
            row = PlaneRow(
                job.time + time,
                job.channel + channel,
                k,
                None if z is None else decimal(z),
                SYNTHESISED if t else ACQUIRED,
                before,
                after,
                f"{float(t):.9g}",
                model if t else "",
                restoration if t else "",
                job.finishing.grain_seed if t else None,
            )
            yield measured(row, measures[number][k], stack.normalizer) if measures else row


def measured(row: PlaneRow, measures: Measures, normalizer: Normalizer) -> PlaneRow:
    """A row with what was measured of its plane, in grey levels."""
    scale, statistics = normalizer.high - normalizer.low, measures.statistics
    return replace(
        row,
        restoration_amount=measures.restoration,
        grain=None if measures.grain is None else measures.grain * scale,
        sharpening=measures.sharpening,
        sharpening_radius=measures.radius,
        fallback=measures.fallback,
        mean_sigma=None if measures.sigma is None else measures.sigma * scale,
        mean=normalizer.low + statistics.mean * scale,
        contrast=statistics.contrast * scale,
        gradient_energy=statistics.gradient_energy * scale * scale,
    )


def planes_table(job: Job, measures: Sequence[Sequence[Measures]] = ()) -> str:
    """The table as CSV; see ``plane_rows``. Measured numbers have five digits."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in plane_rows(job, measures):
        values = vars(row)
        short = {name: f"{values[name]:.5g}" for name in MEASURED if values[name] is not None}
        table.writerow((values | short).values())
    return text.getvalue()


def check_table(path: Path, volumes: Sequence[Path], *, replace: bool) -> None:
    """Refuse a table that could not be written, lies in one of the volumes, or would replace anything but a table.

    Parameters
    ----------
    path : Path
    volumes : sequence of Path
        Input and output.
    replace : bool
        Whether an older table may be replaced.
    """
    check_document(path, "planes table", "planes.csv", volumes, replace=replace)
    if path.exists() and not is_table(path):
        raise OutputError(
            f"{path} is there and no table of planes, which alone is replaced: give another --planes-table"
        )


def is_table(path: Path) -> bool:
    """Whether a file begins as our tables do, which have had more and more columns."""
    with path.open("rb") as file:
        return file.read(256).startswith(",".join(COLUMNS[:FIRST_COLUMNS]).encode())


def write_table(path: Path, table: str) -> None:
    """Write a table, whole or not at all."""
    write_document(path, "planes table", table)
