"""What is looked for in the planes before a job: which are no use, and how they drift."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

import numpy as np

from zinterp.defects import Defect, describe_defects, find_defects
from zinterp.drift import Drift, measure_drift
from zinterp.duplicates import describe, find_duplicates
from zinterp.errors import BadVolumeError
from zinterp.glance import Glance, glance_at
from zinterp.inspection import describe_faults
from zinterp.options import UpsampleOptions, parse_skip
from zinterp.plan import ZGrid
from zinterp.plane_faults import DEFECTS
from zinterp.volume import OneStack, ranges

logger = logging.getLogger(__name__)

STRONG_CURTAINS = 0.4  # of the contrast of planes
LARGE_DRIFT = 2.0  # pixels from plane to plane: beyond it --align is worth its while


def leave_out(volumes: Sequence[OneStack], grid: ZGrid, options: UpsampleOptions) -> tuple[list[ZGrid], list[str]]:
    """The grid of each stack without its duplicates and defects, where these are to be dropped, and notes on them.

    All stacks have the same output planes: an end is left out only where it is in all of them.
    """
    notes = []
    if grid.dropped:
        notes.append(f"left out {len(grid.dropped)} of {len(grid.acquired)} planes: {ranges(grid.dropped)}")
    found = [find_bad(volume, options, notes) for volume in volumes]
    wanted = []
    for number, bad in enumerate(found):
        planes = {*bad} - {*grid.dropped}
        if len(grid.kept) - len(planes) < 2:
            raise BadVolumeError(
                f"{len(planes)} of {len(grid.acquired)} planes{of_stack(number, volumes, options)} are no use "
                f"({described(bad, planes)}), expected at least two that differ: there is nothing in between"
            )
        if grid.kept[-1] in planes and bad[grid.kept[-1]].kind == "duplicate":
            planes -= {grid.kept[-1]}  # it has nothing beyond it, and is no worse than its likes
        wanted.append(planes)
    common = set.intersection(*wanted)
    ends = {*takewhile(common.__contains__, grid.kept), *takewhile(common.__contains__, reversed(grid.kept))}
    inside = [i for i in grid.kept if i not in ends]
    grids = []
    for number, (bad, planes) in enumerate(zip(found, wanted, strict=True)):
        out = planes - {inside[0], inside[-1]}
        if out:
            of = of_stack(number, volumes, options)
            notes.append(f"left out {len(out)} of {len(grid.acquired)} planes{of}: {described(bad, out)}")
        if stay := {*bad} & {inside[0], inside[-1]}:
            notes.append(f"kept, as the stack ends there{of_stack(number, volumes, options)}: {described(bad, stay)}")
        grids.append(grid.without(sorted(out)))
    if not any(found) and (options.drop_duplicates or parse_skip(options.skip)[1]):
        logger.info("no plane is to be left out")
    return grids, notes


def described(bad: Mapping[int, Defect], planes: Iterable[int]) -> str:
    """Some of the bad planes, and what is wrong with them."""
    return describe_defects([bad[plane] for plane in sorted(planes)])


def of_stack(number: int, volumes: Sequence[OneStack], options: UpsampleOptions) -> str:
    """Which channel and time a stack is, for a message; "" where there is one."""
    if len(volumes) == 1:
        return ""
    time, channel = divmod(number, volumes[0].channels)
    return f" of channel {(options.channel or 0) + channel} at time {(options.time or 0) + time}"


def find_bad(volume: OneStack, options: UpsampleOptions, notes: list[str]) -> dict[int, Defect]:
    """The planes of a stack that are not to be used, as far as the options say to look for them; adds notes."""
    bad: dict[int, Defect] = {}
    if options.drop_duplicates:
        duplicates = find_duplicates(volume, options.drop_duplicates)
        if duplicates:
            notes.append(f"planes that repeat others: {describe(duplicates)}")
        bad |= {d.plane: Defect(d.plane, "duplicate") for d in duplicates}
    if parse_skip(options.skip)[1]:
        bad |= {defect.plane: defect for defect in find_defects(volume)}
    if options.fill_nonfinite and volume.info.dtype.kind == "f":
        planes = (k for k in range(volume.info.shape[0]) if not np.isfinite(volume.read(range(k, k + 1))).any())
        bad |= {k: Defect(k, "blank") for k in planes}
    return bad


def align(
    volumes: Sequence[OneStack], grids: Sequence[ZGrid], options: UpsampleOptions
) -> tuple[list[Drift | None], list[str]]:
    """The drift of each stack where it is to be taken out, and notes on what a quick look sees in them."""
    glances = [
        glance_at(volume, grid.kept, measure_drift=not options.align)
        for volume, grid in zip(volumes, grids, strict=True)
    ]
    notes = [note for number, seen in enumerate(glances) for note in notes_on(seen, of_stack(number, volumes, options))]
    if options.align:
        drifts = [measure_drift(volume, grid.kept) for volume, grid in zip(volumes, grids, strict=True)]
        step, plane = max(drift.largest_step for drift in drifts)
        if not step:
            return [None] * len(volumes), ["no drift could be measured, so that there is none to take out", *notes]
        logger.info("taking out drift of up to %.1f pixels from plane to plane, after plane %d", step, plane)
        return [drift if drift.largest_step[0] else None for drift in drifts], notes
    steps = [(float(np.hypot(*step)), plane) for seen in glances for plane, step in seen.steps]
    largest, plane = max(steps, default=(0.0, 0))
    if largest > LARGE_DRIFT:
        notes.insert(0, f"planes drift by {largest:.1f} pixels or more, after plane {plane}: --align takes that out")
    return [None] * len(volumes), notes


def notes_on(seen: Glance, of: str) -> list[str]:
    """What a user is told about the planes of a stack that were looked at: a line for each kind of trouble."""
    notes = []
    if bad := [fault for fault in seen.faults if fault.kind in DEFECTS]:
        notes.append(f"planes{of} that look spoilt: {describe_faults(bad)}: --skip auto leaves out all of that kind")
    if jumps := [fault for fault in seen.faults if fault.kind.startswith("jump")]:
        notes.append(f"grey values{of} jump: {describe_faults(jumps)}: zinterp info --check looks at all planes")
    if seen.curtaining > STRONG_CURTAINS:
        notes.append(f"curtains{of} are {seen.curtaining:.1f} times as strong as the image: planes made will have them")
    return notes
