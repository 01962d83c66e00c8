"""What is found out about a stack before it is upsampled: spoilt planes, stripes, drift, blur, and what factor fits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np

from zinterp.defects import judge_planes
from zinterp.displacements import Look, supported_steps
from zinterp.drift import finite
from zinterp.duplicates import LISTED
from zinterp.plane_faults import FROM_HERE, Fault, faults_among
from zinterp.stripes import Stripes, measure_stripes
from zinterp.structure import FACTORS, FINEST, Structure, measure_structure
from zinterp.volume import Chosen, Planes, VolumeReader, VoxelSize

SAMPLE = 16  # planes whose stripes are measured
CURTAINS = 0.2  # of the contrast: stronger curtains are named; straight structures make up to 0.19
STREAKED = 1 / 2  # of the planes, and three: with more, streaks are named; edges along x make up to a quarter


@dataclass(frozen=True)
class Drift:
    """How far planes wander, displaced planes and jumps of the stage not counted.

    Parameters
    ----------
    largest_step : float
        From one plane to the next, in pixels.
    after : int
        The plane after which that is.
    total : float
        From the first plane to the last, in pixels.
    """

    largest_step: float
    after: int
    total: float


@dataclass(frozen=True)
class Inspection:
    """What was found out about one stack.

    Parameters
    ----------
    planes : int
        All planes of the stack.
    size : VoxelSize
        As far as it is known.
    faults : tuple of Fault
        Rising by plane.
    stripes : Stripes
    drift : Drift or None
        None where planes are too small, or there are fewer than two that are sound.
    structure : Structure
    """

    planes: int
    size: VoxelSize
    faults: tuple[Fault, ...]
    stripes: Stripes
    drift: Drift | None
    structure: Structure

    @property
    def blur(self) -> float | None:
        """Width of the blur along z, in micrometres, beyond that in the plane; see ``Structure.blur``."""
        return self.structure.blur(self.size)

    @property
    def factors(self) -> tuple[int, ...]:
        """The factors that are reasonable; see ``Structure.factors``."""
        return self.structure.factors(self.size)

    @property
    def is_fine(self) -> bool:
        """Whether planes are about as close as pixels already, so that no factor is reasonable."""
        return bool(self.size.z and self.size.x and self.size.z < FACTORS[0] * FINEST * self.size.x)

    @property
    def curtains(self) -> bool:
        """Whether curtains are strong enough to be seen."""
        return self.stripes.curtaining >= CURTAINS

    @property
    def streaks(self) -> bool:
        """Whether a good part of the planes has streaks."""
        return self.stripes.streaked_planes > max(STREAKED * self.stripes.planes, 2)

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.faults or self.curtains or self.streaks)


def inspect(reader: VolumeReader, size: VoxelSize | None = None, planes: Sequence[int] | None = None) -> Inspection:
    """Look through a stack for all that may spoil an interpolation.

    Parameters
    ----------
    reader : VolumeReader
        Each plane is read three times, and some once more, a few at a time.
    size : VoxelSize or None
        None is that of the reader.
    planes : sequence of int or None
        Rising; the only ones to look at. Faults and drift have their numbers. None is all.

    Returns
    -------
    Inspection
    """
    if planes is not None:
        part = inspect(Chosen(reader, planes), size)
        faults = tuple(replace(fault, plane=planes[fault.plane]) for fault in part.faults)
        drift = part.drift and replace(part.drift, after=planes[part.drift.after])
        return replace(part, faults=faults, drift=drift)
    judged = judge_planes(reader)
    faults = faults_among(judged)
    depth = reader.info.shape[0]
    bad = {defect.plane for defect in judged.defects}
    good = [k for k in range(depth) if k not in bad] or list(range(depth))

    def read(k: int) -> Planes:
        return finite(reader.read(range(k, k + 1))[0])

    chosen = sorted({good[i] for i in np.linspace(0, len(good) - 1, SAMPLE).astype(int)})
    stripes = measure_stripes(read(k) for k in chosen)
    spoilt = {fault.plane for fault in faults}
    structure = measure_structure(read, depth, spoilt if len(spoilt) < depth - 1 else bad)
    return Inspection(depth, size or reader.info.voxel_size, faults, stripes, drift_of(judged.looks, faults), structure)


def drift_of(looks: Sequence[Look], faults: Sequence[Fault]) -> Drift | None:
    """The drift of planes that are not displaced; None where it was measured nowhere."""
    aside = {fault.plane for fault in faults if fault.shift is not None}
    aside |= {fault.plane + 1 for fault in faults if fault.kind == "shifted"}
    steps = {before: step for before, step in supported_steps(looks).items() if before + 1 not in aside}
    if not steps:
        return None
    largest, after = max((float(np.hypot(*step)), -before) for before, step in steps.items())
    return Drift(largest, -after, float(np.hypot(*np.sum(list(steps.values()), axis=0))))


def describe_faults(faults: Sequence[Fault]) -> str:
    """Which planes are what, short enough for a line: ``17-18 blank, 40 shifted by 6.1 pixels``."""
    texts = []
    numbered = groupby(enumerate(faults), key=lambda pair: (pair[1].plane - pair[0], describe_kind(pair[1])))
    for (_, kind), run in numbered:
        planes = [fault.plane for _, fault in run]
        texts.append(f"{'-'.join(map(str, sorted({planes[0], planes[-1]})))} {kind}")
    more = len(texts) - LISTED
    return ", ".join(texts[:LISTED]) + (f" and {more} more" if more > 0 else "")


def describe_kind(fault: Fault) -> str:
    """What is wrong, and by how much."""
    lasting = " from here on" if fault.kind.endswith(FROM_HERE) else ""
    if fault.shift is not None:
        return f"shifted by {np.hypot(*fault.shift):.1f} pixels{lasting}"
    words = []
    if fault.brightness:
        words.append(f"{abs(fault.brightness):.2g} deviations {'brighter' if fault.brightness > 0 else 'darker'}")
    if fault.contrast is not None and fault.contrast != 1:
        words.append(f"{fault.contrast:.2g} times the contrast")
    return " and ".join(words) + lasting if words else fault.kind


def thinnest(size: VoxelSize) -> str:
    """The physics: what no interpolation can know, as a sentence."""
    about = f"about {in_words(size.z)}" if size.z else "the distance of two planes"
    return f"structures thinner than {about} in z may be absent from synthesised planes"


def in_words(length: float) -> str:
    """A length in micrometres, with a fitting unit."""
    return f"{length * 1e3:.3g} nm" if length < 1 else f"{length:.3g} µm"
