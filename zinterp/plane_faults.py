"""Planes of a stack that an acquisition spoilt: bad ones, displaced ones, and jumps of brightness and contrast."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from zinterp.breaks import Break, find_breaks
from zinterp.defects import Judged, judge_planes
from zinterp.displacements import Look
from zinterp.drift import Shift
from zinterp.volume import VolumeReader

GREY_JUMP = 0.15  # of the contrast, and of the contrast's logarithm: smaller jumps are hardly seen
LASTING = 1.33  # times as much must a jump be that lasts: nothing takes it back
MOST = 0.75  # of the regions jump where the plane does: where a specimen changes, some get brighter and some darker
MIDDLE: Mapping[str, Callable[[NDArray[np.float64]], float]] = {"brightness": np.mean, "contrast": np.median}
SHOWS = 0.3  # of the contrast of the upper quarter of planes: what is less is air, whose contrast says little
FROM_HERE = " from here"
DEFECTS = ("blank", "saturated", "torn", "duplicate")
KINDS = (*DEFECTS, "shifted", "jump", f"shifted{FROM_HERE}", f"jump{FROM_HERE}")


@dataclass(frozen=True)
class Fault:
    """What is wrong with a plane, or with all planes from it on.

    Parameters
    ----------
    plane : int
        Counted from 0.
    kind : str
        One of KINDS. ``shifted`` and ``jump`` (of brightness or contrast) are about this plane alone, with ``from
        here`` about it and all after it.
    shift : tuple of (float, float) or None
        (y, x) in pixels, of a plane that is shifted.
    brightness, contrast : float or None
        Where it jumps: by how much it is brighter, in standard deviations of the stack's planes, and how many times as
        high its contrast is.
    """

    plane: int
    kind: str
    shift: Shift | None = None
    brightness: float | None = None
    contrast: float | None = None


def find_faults(reader: VolumeReader) -> tuple[Fault, ...]:
    """Find the planes that an acquisition spoilt.

    * blank, saturated, torn, duplicate: see ``defects.find_defects``. These are passed over in what follows.
    * shifted: displaced against both neighbours, which agree with each other, or against all planes before, by at least
      2 pixels and far more than is ordinary there.
    * jump: brighter, darker, or of other contrast than both neighbours, or than all planes before, by at least 15 % of
      the contrast, and far more than is ordinary there.

    Parameters
    ----------
    reader : VolumeReader
        Read three times, with three planes in memory.

    Returns
    -------
    tuple of Fault
        Rising by plane; a plane may be shifted and jump at once.
    """
    return faults_among(judge_planes(reader))


def faults_among(judged: Judged) -> tuple[Fault, ...]:
    """The faults of planes that have been judged, rising."""
    faults = [Fault(defect.plane, defect.kind) for defect in judged.defects]
    for moved in judged.displacements:
        faults.append(Fault(moved.plane, f"shifted{FROM_HERE}" if moved.lasting else "shifted", moved.shift))
    faults += find_jumps(judged.looks)
    return tuple(sorted(faults, key=lambda fault: (fault.plane, KINDS.index(fault.kind))))


def find_jumps(looks: Sequence[Look]) -> list[Fault]:
    """The planes that are brighter, darker, or of other contrast than those around or before them, all over."""
    contrast = np.array([look.contrast for look in looks])
    if not contrast.any():
        return []
    shown = [look for look in looks if look.contrast > SHOWS * np.quantile(contrast[contrast > 0], 0.75)]
    if len(shown) < 2:
        return []
    unit = float(np.median([look.contrast for look in shown]))
    apart = np.diff([look.plane for look in shown])
    found: dict[int, Fault] = {}
    for name, steps in (
        ("brightness", [(after.means - before.means) / unit for before, after in pairwise(shown)]),
        ("contrast", [contrast_steps(before, after) for before, after in pairwise(shown)]),
    ):
        for one in find_breaks(np.array([[MIDDLE[name](step)] for step in steps]), GREY_JUMP, apart):
            step = one.step[0]
            if (one.lasting and abs(step) < LASTING * GREY_JUMP) or not all_over(steps, one):
                continue
            kind = f"jump{FROM_HERE}" if one.lasting else "jump"
            plane = shown[one.first].plane
            fault = found.get(plane, Fault(plane, kind, brightness=0.0, contrast=1.0))
            is_level = name == "brightness"
            found[plane] = replace(fault, brightness=step) if is_level else replace(fault, contrast=float(np.exp(step)))
    return list(found.values())


def contrast_steps(before: Look, after: Look) -> NDArray[np.float64]:
    """Logarithm of how many times as high the contrast is in each region that shows something in both planes."""
    least = np.minimum(before.deviations, after.deviations)
    shows = least > SHOWS * max(np.median(before.deviations), np.median(after.deviations))
    return np.log(after.deviations[shows] / before.deviations[shows]) if shows.any() else np.zeros(1)


def all_over(steps: Sequence[NDArray[np.float64]], one: Break) -> bool:
    """Whether most regions step the way the plane does, on the near side, and back on the far side."""
    sides = [(one.first - 1, 1)] if one.first else []
    sides += [(one.first, -1)] if not one.lasting and one.first < len(steps) else []
    return all(np.mean(way * steps[i] * one.step[0] > 0) >= MOST for i, way in sides)
