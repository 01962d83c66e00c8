"""A quick look at a stack before a job: pairs of planes from all over it, and more only where a pair looks odd.

What is odd is looked at with the planes around it, as the inspection of a whole stack does it, so that nothing is named
on account of one pair. Rows that are displaced are not seen this way.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from zinterp.breaks import MEDIAN, WIDTH
from zinterp.defects import BLANK, CLIPPED, LACKS, STRIPS, percentiles
from zinterp.defects import SHOWS as DEFECTS_SHOW
from zinterp.displacements import FAR, overview
from zinterp.drift import (
    FEW_TILES,
    SAMPLE,
    Shift,
    View,
    finite,
    is_measurable,
    repaired,
    sampled_pairs,
    shift_between,
    view,
)
from zinterp.duplicates import SMALL, see
from zinterp.plane_faults import GREY_JUMP, Fault, find_faults
from zinterp.stripes import measure_stripes
from zinterp.volume import Chosen, Planes, VolumeReader

AROUND = 4  # planes on either side of an odd pair that are looked at too
ODD = 3  # odd pairs at most that are looked at so
CURTAINED = 8  # planes at most whose curtains are measured


@dataclass(frozen=True)
class Glance:
    """What a quick look saw.

    Parameters
    ----------
    pairs : int
        How many pairs of planes were looked at.
    steps : list of (int, (float, float))
        As ``drift.sample_steps`` gives them.
    faults : tuple of Fault
        Rising by plane; only of planes in, or close to, pairs that looked odd.
    curtaining : float
        Strength of curtains, as part of the contrast, the median over some planes.
    """

    pairs: int
    steps: list[tuple[int, Shift]]
    faults: tuple[Fault, ...]
    curtaining: float


@dataclass(frozen=True)
class Mark:
    """What is kept of a plane.

    Parameters
    ----------
    level, contrast : float
        Mean and standard deviation of the blocks of its overview.
    blocks : ndarray of float64, (rows, columns)
        These, their mean taken out.
    levels : ndarray of float64, (101,)
        Percentiles of its grey values.
    constant : float
        Part of the strips of its overview that are constant.
    """

    level: float
    contrast: float
    blocks: NDArray[np.float64]
    levels: NDArray[np.float64]
    constant: float


def glance_at(reader: VolumeReader, planes: Sequence[int], *, measure_drift: bool = True) -> Glance:
    """Look quickly at a stack.

    Parameters
    ----------
    reader : VolumeReader
        Up to 64 planes are read, two at a time, and up to 30 more where something looks odd.
    planes : sequence of int
        Rising; those that count.
    measure_drift : bool
        Whether to measure steps; there are none otherwise.

    Returns
    -------
    Glance
        Of no pairs where planes are smaller than 64 pixels.
    """
    if not is_measurable(reader):
        return Glance(0, [], (), 0.0)
    pairs = sampled_pairs(planes, SAMPLE)
    steps, strengths = [], []
    marks: list[tuple[Mark, Mark]] = []
    seen: dict[int, tuple[Mark, View | None]] = {}
    for number, (before, after) in enumerate(pairs):
        fresh = {}
        for k in (before, after):
            if k not in seen:
                fresh[k] = reader.read(range(k, k + 1))[0]
                seen[k] = mark(fresh[k]), view(repaired(fresh[k])) if measure_drift else None
        if number % -(-len(pairs) // CURTAINED) == 0:
            strengths += [measure_stripes([finite(plane)]).curtaining for plane in fresh.values()][:1]
        (one, a), (other, b) = seen[before], seen.pop(after)
        seen = {after: (other, b)}
        marks.append((one, other))
        if a is not None and b is not None:
            steps.append((before, shift_between(a, b, FEW_TILES) or (0.0, 0.0)))
    windows: list[Sequence[int]] = []
    for i in odd_pairs(marks, [shift for _, shift in steps]):
        if len(windows) < ODD and not any({*pairs[i]} <= {*window} for window in windows):
            at = planes.index(pairs[i][0])
            windows.append(planes[max(at - AROUND, 0) : at + AROUND + 2])
    faults = {(fault.plane, fault.kind): fault for window in windows for fault in faults_among(reader, window)}
    found = tuple(faults[key] for key in sorted(faults))
    return Glance(len(pairs), steps, found, float(np.median(strengths or [0.0])))


def mark(plane: Planes) -> Mark:
    """What is kept of a plane."""
    image, _ = overview(finite(plane))
    seen = see(image)
    strips = np.array([np.ptp(strip) for strip in np.array_split(image, STRIPS)])
    return Mark(seen.level, seen.contrast, seen.blocks, percentiles(plane), float(np.mean(strips == 0)))


def faults_among(reader: VolumeReader, planes: Sequence[int]) -> list[Fault]:
    """The faults among some planes."""
    return [replace(fault, plane=planes[fault.plane]) for fault in find_faults(Chosen(reader, planes))]


def odd_pairs(marks: Sequence[tuple[Mark, Mark]], shifts: Sequence[Shift]) -> list[int]:
    """Which pairs differ otherwise than pairs of this stack do, the oddest first."""
    contrasts = np.array([[one.contrast, other.contrast] for one, other in marks]).reshape(-1, 2)
    least = DEFECTS_SHOW * float(np.quantile(contrasts, 0.75)) if contrasts.size else 0.0
    shown = contrasts.max(1) > max(least, np.finfo(float).tiny)
    unit = float(np.median(contrasts)) or 1.0
    odd = np.zeros(len(marks))
    for i, (one, other) in enumerate(marks):
        clipped = max(abs(share_at_end(one, end) - share_at_end(other, end)) for end in (1, -1))
        empty = abs(one.constant - other.constant)
        odd[i] = (contrasts[i].min() < BLANK * contrasts[i].max()) + (clipped > CLIPPED) + (empty > LACKS)
    ratios = np.log(np.maximum(contrasts, least or 1.0))
    odd += outside(np.array([(b.level - a.level) / unit for a, b in marks])[:, None], GREY_JUMP)
    odd += outside(np.diff(ratios, axis=1), GREY_JUMP)
    odd += outside(np.array(shifts).reshape(-1, 2), FAR) if shifts else 0
    changes = np.array([float(np.sqrt(np.mean((a.blocks - b.blocks) ** 2))) for a, b in marks])
    odd += changes < SMALL * np.median(changes)
    return [int(i) for i in np.argsort(-odd, kind="stable") if odd[i] and shown[i]]


def share_at_end(one: Mark, end: int) -> float:
    """Part of a plane's grey values that are its highest, or its lowest if ``end`` is -1."""
    levels = end * one.levels[::end]
    return float(np.mean(levels >= levels[-2]))


def outside(steps: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """By how many times each of the steps (n, d) exceeds what would stand out among them; 0 where it does not."""
    sizes = np.linalg.norm(steps - np.median(steps, axis=0), axis=1)
    times: NDArray[np.float64] = sizes / max(least, WIDTH * float(np.median(sizes)) / MEDIAN[steps.shape[1]])
    return np.where(times > 1, times, 0)
