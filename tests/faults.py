"""Faults of an acquisition, put into healthy stacks by script, and what an inspection is expected to call them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.plane_faults import Fault

Stack = NDArray[Any]
Image = NDArray[np.float64]
Rng = np.random.Generator
Change = Callable[[Image, Stack, int, Rng], Image]

SHIFTS = (4, 16)  # pixels
APART = 6  # planes from one fault to the next, and to the ends of a stack
SHOWS = 0.3  # of the contrast of the upper quarter of planes: in planes with less, air, no fault shows
SHARE = 0.06  # of a stack's planes, about, get a fault


def noise_of(plane: Image) -> float:
    """Standard deviation of a plane's noise, most of which is in its finest grain."""
    rough = ndimage.convolve(plane, np.outer([1, -2, 1], [1, -2, 1]) / 6)
    return float(np.median(np.abs(rough))) / 0.6745


def displaced(plane: Image, shift: tuple[int, int]) -> Image:
    """The plane moved by whole pixels, its edge continued."""
    rows, cols = (np.clip(np.arange(n) - d, 0, n - 1) for n, d in zip(plane.shape, shift, strict=True))
    return np.asarray(plane[rows[:, None], cols])


def direction(rng: Rng) -> tuple[int, int]:
    """A shift (y, x) of 4 to 16 pixels in any direction."""
    size, angle = rng.uniform(*SHIFTS), rng.uniform(0, 2 * np.pi)
    return round(size * np.sin(angle)), round(size * np.cos(angle))


def part_of_rows(height: int, rng: Rng) -> slice:
    """The lower part of the rows, or some in the middle, 30 to 60 % of them."""
    share = rng.uniform(0.3, 0.6)
    first = 1 - share if rng.random() < 0.5 else rng.uniform(0.15, 0.85 - share)
    return slice(round(first * height), round((first + share) * height))


def gain_and_offset(plane: Image, rng: Rng) -> Callable[[Image], Image]:
    """A change of brightness by 0.5 to 1.2 standard deviations, or of contrast to 0.6 to 0.8 or 1.25 to 1.6 times."""
    middle, contrast = float(plane.mean()), float(plane.std())
    if rng.random() < 0.5:
        offset = rng.uniform(0.5, 1.2) * contrast * (1 if middle < 128 else -1)
        return lambda image: image + offset
    gain = rng.uniform(1.25, 1.6) if rng.random() < 0.5 else rng.uniform(0.6, 0.8)
    return lambda image: (image - middle) * gain + middle


def repeat(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """The plane before, once more."""
    return stack[k - 1].astype(np.float64)


def repeat_imaged_again(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """The plane before, with noise of its own."""
    before = stack[k - 1].astype(np.float64)
    return before + np.sqrt(2) * noise_of(before) * rng.standard_normal(before.shape)


def constant(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """Nothing at all, black or grey."""
    return np.full_like(plane, rng.choice([0, 90]))


def noise_only(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """What a detector gives with the beam off."""
    return plane.mean() + max(noise_of(plane), 2) * rng.standard_normal(plane.shape)


def clip(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """A detector that is overloaded by a third to four fifths of the pixels."""
    return np.where(plane >= np.quantile(plane, rng.uniform(0.2, 0.67)), 255, plane)


def shift(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """All of a plane moved."""
    return displaced(plane, direction(rng))


def tear(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """Some rows moved sideways."""
    rows, way = part_of_rows(len(plane), rng), rng.choice([-1, 1])
    plane[rows] = displaced(plane[rows], (0, way * int(rng.integers(SHIFTS[0], SHIFTS[1] + 1))))
    return plane


def tear_off(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """Some rows empty."""
    plane[part_of_rows(len(plane), rng)] = 0
    return plane


def jump(plane: Image, stack: Stack, k: int, rng: Rng) -> Image:
    """Other brightness or contrast."""
    return gain_and_offset(plane, rng)(plane)


ONE_PLANE: Mapping[str, tuple[Change, str]] = {
    "repeated": (repeat, "duplicate"),
    "repeated, new noise": (repeat_imaged_again, "duplicate"),
    "constant": (constant, "blank"),
    "noise only": (noise_only, "blank"),
    "clipped": (clip, "saturated"),
    "shifted": (shift, "shifted"),
    "rows displaced": (tear, "torn"),
    "rows empty": (tear_off, "torn"),
    "jump": (jump, "jump"),
}
"""What happens to one plane, and what that is called."""

LASTING = {"shifted for good": "shifted from here", "jump for good": "jump from here"}
"""What happens to a plane and all after it."""

KINDS = {name: called for name, (_, called) in ONE_PLANE.items()} | LASTING


@dataclass(frozen=True)
class Injected:
    """A fault that was put in: its plane, what was done, and what it is to be called."""

    plane: int
    name: str

    @property
    def called(self) -> str:
        """The kind that an inspection is to find."""
        return KINDS[self.name]


def as_before(plane: Image, stack: Stack) -> Stack:
    """A changed plane in the stack's dtype."""
    if stack.dtype.kind == "f":
        return plane.astype(stack.dtype)
    limits = np.iinfo(stack.dtype)
    return np.clip(np.rint(plane), limits.min, limits.max).astype(stack.dtype)


def damage(stack: Stack, seed: int, names: tuple[str, ...] = tuple(KINDS)) -> tuple[Stack, list[Injected]]:
    """A copy of an 8-bit stack with faults of all kinds in random planes, and what they are.

    There is one lasting fault of a kind at most, lest the last planes be far out of place.
    """
    rng = np.random.default_rng([seed, *stack.shape, int(stack[0].sum())])
    contrast = stack.std((1, 2), dtype=np.float64)
    shown = contrast > SHOWS * np.quantile(contrast, 0.75)
    places = np.arange(APART, len(stack) - APART, APART) + rng.integers(0, 2)
    places = places[[bool(shown[k - 1 : k + 2].all()) for k in places]]
    wanted = min(max(1, round(SHARE * len(stack))), len(places))
    chosen = sorted(rng.choice(places, wanted, replace=False).tolist())
    single = [name for name in names if name not in LASTING]
    repeats = -(-wanted // max(1, len(single)))
    drawn = [*rng.permutation(names), *rng.permutation([*single] * repeats)][:wanted]
    injected, out = [], stack.copy()
    for k, name in zip(chosen, rng.permutation(drawn).tolist(), strict=True):
        if name in LASTING:
            shift, change = direction(rng), gain_and_offset(stack[k].astype(np.float64), rng)
            make = partial(displaced, shift=shift) if name.startswith("shift") else change
            for j in range(k, len(stack)):
                out[j] = as_before(make(out[j].astype(np.float64)), stack)
        else:
            injected_plane = ONE_PLANE[name][0](out[k].astype(np.float64), out, k, rng)
            out[k] = as_before(injected_plane, stack)
        injected.append(Injected(k, name))
    return out, injected


def matched(injected: list[Injected], faults: tuple[Fault, ...]) -> dict[str, list[int]]:
    """For each name how many were injected, found as what they are, and found as something else."""
    kinds = {fault.plane: fault.kind for fault in faults}
    counts: dict[str, list[int]] = {}
    for fault in injected:
        row = counts.setdefault(fault.name, [0, 0, 0])
        found = kinds.get(fault.plane)
        row[0] += 1
        row[1] += found == fault.called
        row[2] += found not in (None, fault.called)
    return counts
