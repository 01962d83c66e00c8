"""What is looked for in the planes before a job: which are no use, and how they drift."""

import logging
from collections.abc import Sequence
from itertools import takewhile

import numpy as np

from zinterp.defects import Defect, describe_defects, find_defects
from zinterp.drift import Drift, measure_drift, sample_steps
from zinterp.duplicates import describe, find_duplicates
from zinterp.errors import BadVolumeError
from zinterp.options import UpsampleOptions, parse_skip
from zinterp.plan import ZGrid
from zinterp.volume import OneStack

logger = logging.getLogger(__name__)

LARGE_DRIFT = 2.0  # pixels from plane to plane: beyond it --align is worth its while


def leave_out(volumes: Sequence[OneStack], grid: ZGrid, options: UpsampleOptions) -> tuple[list[ZGrid], list[str]]:
    """The grid of each stack without its duplicates and defects, where these are to be dropped, and notes on them."""
    notes = (
        [f"left out {len(grid.dropped)} of {len(grid.acquired)} planes: {numbered(grid.dropped)}"]
        if grid.dropped
        else []
    )
    found = [find_bad(volume, options, notes) for volume in volumes]
    bad = [{*planes} - {*grid.dropped} for planes in found]
    common = set.intersection(*bad)
    grids = []
    for number, planes in enumerate(bad):
        of = f" of stack {number}" if len(volumes) > 1 else ""
        listed = describe_defects([found[number][plane] for plane in sorted(planes)])
        if len(grid.kept) - len(planes) < 2:
            raise BadVolumeError(
                f"{len(planes)} of {len(grid.acquired)} planes{of} are no use ({listed}), expected at least two that "
                "differ: there is nothing in between"
            )
        ends = {*takewhile(planes.__contains__, grid.kept), *takewhile(planes.__contains__, reversed(grid.kept))}
        # an end that only repeats has nothing beyond it and is no worse than its likes; all stacks end alike
        stay = {k for k in ends if found[number][k].kind == "duplicate" and k == grid.kept[-1]} | (ends - common)
        if out := sorted(planes - stay):
            listed = describe_defects([found[number][plane] for plane in out])
            notes.append(f"left out {len(out)} of {len(grid.acquired)} planes{of}: {listed}")
        if stay:
            listed = describe_defects([found[number][plane] for plane in sorted(stay)])
            notes.append(f"kept, as the stack ends there{of}: {listed}")
        grids.append(grid.without(out))
    if not any(bad) and (options.drop_duplicates or parse_skip(options.skip)[1]):
        logger.info("no plane is to be left out")
    return grids, notes


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


def numbered(planes: Sequence[int]) -> str:
    """Planes for a log line, not too many of them."""
    return ", ".join(map(str, planes[:8])) + (f" and {len(planes) - 8} more" if len(planes) > 8 else "")


def align(
    volumes: Sequence[OneStack], grids: Sequence[ZGrid], options: UpsampleOptions
) -> tuple[list[Drift | None], list[str]]:
    """The drift of each stack where it is to be taken out; else a note where it looks large."""
    if options.align:
        drifts = [measure_drift(volume, grid.kept) for volume, grid in zip(volumes, grids, strict=True)]
        step, plane = max(drift.largest_step for drift in drifts)
        if not step:
            return [None] * len(volumes), ["no drift could be measured, so that there is none to take out"]
        logger.info("taking out drift of up to %.1f pixels from plane to plane, after plane %d", step, plane)
        return [drift if drift.largest_step[0] else None for drift in drifts], []
    steps = [
        (float(np.hypot(*step)), plane)
        for volume, grid in zip(volumes, grids, strict=True)
        for plane, step in sample_steps(volume, planes=grid.kept)
    ]
    largest, plane = max(steps, default=(0.0, 0))
    if largest <= LARGE_DRIFT:
        return [None] * len(volumes), []
    return [None] * len(volumes), [
        f"planes drift by {largest:.1f} pixels or more, after plane {plane}: --align takes that out"
    ]
