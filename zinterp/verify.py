"""Proof that the acquired planes are in an output bit for bit."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from zinterp.errors import BadVolumeError, InputError
from zinterp.io import open_volume
from zinterp.planes_table import ACQUIRED
from zinterp.provenance import Provenance, TableRow, count_made, read_provenance, read_table
from zinterp.volume import Planes, VolumeInfo, VolumeReader, ranges


@dataclass(frozen=True)
class Verified:
    """What a comparison found.

    Parameters
    ----------
    acquired : int
        Output planes that are marked as acquired, all of which were compared.
    differing : tuple of TableRow
        Those of them that are not the input's planes bit for bit.
    made : mapping of str to int
        How many planes each model synthesised.
    absent : tuple of int
        Input planes that are not in the output, for one channel or time at least: they were left out, or lie between
        output planes.
    widened : bool
        Whether the output holds 8 bit as 16 bit, as MRC does, so that values were compared and not bits.
    stacks : int
        Channels times times of the output.
    source : str
        The name that the input had, by the output's record; "" if that does not say.
    """

    acquired: int
    differing: tuple[TableRow, ...]
    made: Mapping[str, int]
    absent: tuple[int, ...]
    widened: bool
    stacks: int
    source: str = ""


def ignore(done: int, total: int) -> None:
    """Report nothing."""


def verify(
    output: str | Path,
    source: str | Path,
    *,
    planes_table: str | Path | None = None,
    report: Callable[[int, int], None] = ignore,
) -> Verified:
    """Compare the acquired planes of an output with the stack that it was made from.

    One plane of each is in memory at a time. Values that are NaN are equal if their bits are.

    Parameters
    ----------
    output : str or Path
        What ``upsample`` wrote.
    source : str or Path
        What it was made from, under whatever name.
    planes_table : str, Path or None
        The file that ``upsample`` wrote, where the output holds no table, as MRC, or no record any more.
    report : callable
        Called with the number of planes that were compared, and of all that are to be.

    Returns
    -------
    Verified

    Raises
    ------
    InputError
        If one of the three cannot be read.
    BadVolumeError
        If the output does not say how it was made, what it says is not about these two files, or its table is not one
        of acquired planes and planes between them.
    """
    output, source = Path(output), Path(source)
    made, rows = table_of(output, planes_table)
    with open_volume(output) as ours, open_source(source, output, made, ours.info) as theirs:
        widened = check_dtypes(output, source, made, ours.info, theirs.info)
        stacks = by_stack(rows, output, ours.info, theirs.info)
        for number, stack in enumerate(stacks):
            check_order(stack, output, theirs.info.shape[0], made.dropped(number) if made else None)
        acquired = [(number, row) for number, stack in enumerate(stacks) for row in stack if row.kind == ACQUIRED]
        differing = []
        for done, (number, row) in enumerate(acquired):
            report(done, len(acquired))
            plane = ours.read(range(row.plane, row.plane + 1), number)
            if differ(plane, theirs.read(range(row.before, row.before + 1), stack_in_source(row, theirs.info))):
                differing.append(row)
        report(len(acquired), len(acquired))
        absent = {k for stack in stacks for k in set(range(theirs.info.shape[0])) - copied(stack)}
    named = made.source if made else ""
    return Verified(
        len(acquired), tuple(differing), count_made(rows), tuple(sorted(absent)), widened, len(stacks), named
    )


def table_of(output: Path, planes_table: str | Path | None) -> tuple[Provenance | None, tuple[TableRow, ...]]:
    """What the output's file says about how it was made, and the planes table: the one given, else that in the file."""
    made = read_provenance(output)
    if planes_table is not None:
        try:
            text = Path(planes_table).read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot read the planes table {planes_table} ({reason}): check the path") from error
        return made, read_table(text, planes_table)
    if made is None:
        raise BadVolumeError(
            f"{output} does not say how it was made, expected an output of zinterp that no other program has written "
            "anew: give the output itself, or --planes-table with the table that was written beside it"
        )
    if made.table is None:
        raise BadVolumeError(
            f"{output} holds no planes table, expected one to say which planes are acquired: give --planes-table with "
            "the file that upsample --planes-table wrote"
        )
    return made, made.rows


def open_source(source: Path, output: Path, made: Provenance | None, ours: VolumeInfo) -> VolumeReader:
    """The input, all channels and times, with the data bar that a microscope burnt in if the output has it."""
    shape = made.source_shape if made else None
    fill_gaps = made is not None and made.options.get("fill_gaps") is True
    for keep_databar in (False, True):
        reader = open_volume(source, keep_databar=keep_databar, fill_gaps=fill_gaps)
        found = reader.info.shape
        if found == shape or (shape is None and found[1:] == ours.shape[1:]):
            return reader
        reader.close()
    was = f"of shape {shape}" if shape else f"with planes of {ours.shape[1]} x {ours.shape[2]} pixels"
    raise BadVolumeError(
        f"{source} has shape {found}, and {output} was made from a stack {was}: give the stack that it was made from, "
        "as it was then"
    )


def check_dtypes(output: Path, source: Path, made: Provenance | None, ours: VolumeInfo, theirs: VolumeInfo) -> bool:
    """Refuse planes that cannot be equal by their dtype or size -> whether 8 bit were widened, which MRC asks for."""
    then = made.dtype if made else ""
    widened = ours.format == "mrc" and (ours.dtype, theirs.dtype) == (np.dtype("uint16"), np.dtype("uint8"))
    if theirs.dtype.name != (then or theirs.dtype.name) or not (widened or ours.dtype == theirs.dtype):
        held = f"{ours.dtype.name}{f' made from {then}' if then else ''}"
        raise BadVolumeError(
            f"{output} holds {held}, and {source} {theirs.dtype.name}, expected the same: give the stack that it was "
            "made from"
        )
    if ours.shape[1:] != theirs.shape[1:]:
        raise BadVolumeError(
            f"{output} has planes of {ours.shape[1]} x {ours.shape[2]} pixels and {source} of {theirs.shape[1]} x "
            f"{theirs.shape[2]}, expected the same: one of them was cropped or scaled since"
        )
    return widened


def by_stack(rows: Sequence[TableRow], output: Path, ours: VolumeInfo, theirs: VolumeInfo) -> list[list[TableRow]]:
    """The rows of each of the output's stacks in their order, which must be as many as it has planes."""
    found: dict[tuple[int, int], list[TableRow]] = defaultdict(list)
    for row in rows:
        found[row.time, row.channel].append(row)
    times, channels = (sorted({place[axis] for place in found}) for axis in (0, 1))
    stacks = [found[time, channel] for time in times for channel in channels]
    numbers = list(range(ours.shape[0]))
    fits = (len(times), len(channels)) == (ours.times, ours.channels)
    if not fits or any([row.plane for row in stack] != numbers for stack in stacks):
        raise BadVolumeError(
            f"the planes table of {output} is about {len(rows)} planes of {len(channels)} channels and {len(times)} "
            f"times, and the file has {ours.stacks * ours.shape[0]} of {ours.channels} and {ours.times}, expected the "
            "same, each once and in order: one of them was changed since"
        )
    if times[-1] >= theirs.times or channels[-1] >= theirs.channels:
        raise BadVolumeError(
            f"{output} was made from time {times[-1]} and channel {channels[-1]} at last, and the input has "
            f"{theirs.times} and {theirs.channels}: give the stack that it was made from"
        )
    return stacks


def check_order(stack: Sequence[TableRow], output: Path, depth: int, dropped: frozenset[int] | None) -> None:
    """Refuse rows that are not acquired planes in the input's order and planes between two of them."""
    wrong = {row.plane for row in stack if not is_sound(row, depth, dropped)}
    for row, following in pairwise(stack):
        same_gap = (row.before, row.after) == (following.before, following.after) and row.t < following.t
        next_one = following.before >= row.after and (following.before > row.before or following.t > 0)
        fell = row.z_um is not None and following.z_um is not None and row.z_um >= following.z_um
        if fell or not (same_gap or next_one):
            wrong.add(following.plane)
    if wrong:
        raise BadVolumeError(
            f"the planes table of {output} says of planes {ranges(sorted(wrong))} that they lie where they cannot, "
            "expected acquired planes in their order and each other plane between the two that it was made from: the "
            "table was changed or is damaged"
        )


def is_sound(row: TableRow, depth: int, dropped: frozenset[int] | None) -> bool:
    """Whether a row can be right by itself, for an input of so many planes of which some were dropped."""
    if row.after >= depth or {row.before, row.after} & (dropped or frozenset()):
        return False
    if row.kind == ACQUIRED:
        return row.before == row.after and row.t == 0
    between = range(row.before + 1, row.after)
    return row.before < row.after and 0 < row.t < 1 and (dropped is None or dropped.issuperset(between))


def stack_in_source(row: TableRow, theirs: VolumeInfo) -> int:
    """The number of the input's stack that a plane is from."""
    return row.time * theirs.channels + row.channel


def copied(stack: Sequence[TableRow]) -> set[int]:
    """The input planes that are in a stack of the output."""
    return {row.before for row in stack if row.kind == ACQUIRED}


def differ(ours: Planes, theirs: Planes) -> bool:
    """Whether two planes differ in a bit, once the other one has the dtype of ours."""
    one, other = (np.ascontiguousarray(planes, ours.dtype).view(np.uint8) for planes in (ours, theirs))
    return not np.array_equal(one, other)
