"""What is done to a synthesised plane before it is written, from restoration to grain, and what is measured of it.

Everything here sees whole planes, normalised, so that tiles leave no trace, and one gap at a time, so that slabs leave
none either. Acquired planes never come here.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.grain import add_grain, grain_generator
from zinterp.interpolators.cubic import CubicInterpolator
from zinterp.pulsing import Pair, Statistics, dot, products, sampled_strips
from zinterp.sharpening import Sharpening, sharpen

Plane = NDArray[np.float32]
SHARP, MOST_RESTORED = 0.94, 1.5  # of the neighbours' gradient energy; times what restoration adds
BLEND = 2.0  # pixels, over which cubic and synthesised pixels are blended
STEEPNESS = 0.25  # of the threshold: pixels whose deviation is this far above it are cubic, this far below it are not
LEAST = 1e-5  # of the intensity range, under a grey level of 16 bit: what is less off is as it should be
FAR = 100.0  # intensity ranges: pixels farther out, hot ones as a rule, say nothing of the others
MOST_CONTRAST = 1.25  # times: contrast is not changed by more
BLOCK = 128  # pixels along an edge of the regions that are looked at for doubt
MOST_REGIONS = 8  # that are named of a plane


@dataclass(frozen=True)
class Finishing:
    """The steps that a job takes with each synthesised plane, in this order.

    Parameters
    ----------
    fallback_above : float or None
        Where the predicted deviation exceeds this part of the intensity range, the cubic value takes the pixel's place.
    sharpening : Sharpening or None
    even_contrast : bool
        Give planes the contrast of their neighbours, where they differ more than these do. Their mean grey level is
        evened out in any case.
    grain_seed : int or None
        Add the neighbours' grain, from this seed.
    flag_below : float or None
        Name planes and regions of which the predicted PSNR is less than so many decibels.
    """

    fallback_above: float | None = None
    sharpening: Sharpening | None = None
    even_contrast: bool = False
    grain_seed: int | None = None
    flag_below: float | None = None

    def record(self) -> dict[str, Any]:
        """All that decides grey values, as JSON holds it."""
        settings = asdict(self)
        settings.pop("flag_below")
        if self.sharpening is not None and self.sharpening.amount is None:
            settings["sharpening"]["amount"] = "auto"
        return settings


class Surroundings:
    """The planes around a gap, and what they let expect of a plane in it.

    ``pair`` are the statistics of the two planes beside it as they were acquired; ``mixture`` those of the two that are
    mixed, in one field of view where drift was taken out, and ``calm`` the same without pixels that are far out.

    Parameters
    ----------
    context : ndarray, shape (2c, Y, X)
    acquired : ndarray or None, shape (2, Y, X), float32, normalised
        The middle two as they were acquired; None is as in ``context``.
    see : callable
        Makes of the context, or of some of it, what the model sees, float32, normalised.
    """

    def __init__(
        self, context: Plane, acquired: Plane | None = None, see: Callable[[Plane], Plane] = np.asarray
    ) -> None:
        middle = len(context) // 2
        seen = see(context[middle - 1 : middle + 1])
        self._context, self._see = context, see
        self.mixture = Pair.of(*seen)
        self.pair = self.mixture if acquired is None else Pair.of(*acquired)
        self.before, self.after = calm = near_range(seen)
        self.calm = self.mixture if calm is seen else Pair.of(*calm)

    @property
    def near(self) -> Plane:
        """The four planes around the gap, (4, Y, X), those beside it repeated where there are no others."""
        middle, last = len(self._context) // 2, len(self._context) - 1
        return self._see(self._context[[max(middle - 2, 0), middle - 1, middle, min(middle + 1, last)]])


def near_range(planes: Plane) -> Plane:
    """Planes with the middle of the intensity range in place of pixels that are far outside of it; else themselves."""
    if planes.min() >= -FAR and planes.max() <= 1 + FAR:
        return planes
    return np.where((planes >= -FAR) & (planes <= 1 + FAR), planes, np.float32(0.5))


class Region(NamedTuple):
    """A square of which the network is unsure: its predicted PSNR in decibels, first row and column."""

    decibels: float
    row: int
    column: int


@dataclass(frozen=True)
class Measures:
    """What is known of an output plane only once it is made; grey levels are normalised.

    Parameters
    ----------
    statistics : Statistics
        Of the plane.
    expected, linear : Statistics or None
        What lies between its neighbours' values, and what linear interpolation would have; None for acquired planes.
    restoration : float or None
        How many times what restoration adds was added, None without.
    sharpening, radius : float or None
        Amount and radius of the unsharp mask, None without.
    fallback : float or None
        Share of the plane that is cubic, 0 to 1; None without that option.
    grain : float or None
        Root mean square of the grain that was added, None without.
    sigma : float or None
        Mean predicted deviation; None where the model predicts none, and for acquired planes.
    decibels : float or None
        Predicted PSNR of the plane.
    regions : tuple of Region
        The least sure ones of those that were to be named.
    """

    statistics: Statistics
    expected: Statistics | None = None
    linear: Statistics | None = None
    restoration: float | None = None
    sharpening: float | None = None
    radius: float | None = None
    fallback: float | None = None
    grain: float | None = None
    sigma: float | None = None
    decibels: float | None = None
    regions: tuple[Region, ...] = ()


class Finished(NamedTuple):
    """A plane (Y, X), the deviations of its errors (Y, X) or None, and its measures, once its statistics are known."""

    plane: Plane
    sigma: Plane | None
    measures: Callable[[Statistics], Measures]


def finish(
    finishing: Finishing,
    plane: Plane,
    sigma: Plane | None,
    restored: Plane | None,
    around: Surroundings,
    t: float,
    number: tuple[int, int],
) -> Finished:
    """Take a synthesised plane through all steps.

    Parameters
    ----------
    finishing : Finishing
    plane, sigma : ndarray, shape (Y, X), float32, normalised
        What the model made, and the deviations that it predicts; None if it predicts none.
    restored : ndarray or None, shape (Y, X), float32, normalised
        The plane with its boundaries restored, if they are to be; ``sigma`` is then of this.
    around : Surroundings
    t : float
        Depth of the plane in the gap.
    number : tuple of int
        Stack and output plane, by which grain is drawn.

    Returns
    -------
    Finished
        What fallback, sharpening and grain change counts as further deviation; of restored planes the deviations are
        those of the whole restoration, also where less of it is added.
    """
    known: dict[str, Any] = {}
    if restored is not None:
        plane, known["restoration"] = restore(plane, restored, around, t)
    if finishing.fallback_above is not None and sigma is not None:
        blended, known["fallback"] = fall_back(plane, sigma, around.near, t, finishing.fallback_above)
        plane, sigma = blended, widened(sigma, blended - plane)
    if finishing.sharpening is not None:
        calm = near_range(plane)
        sharper, known["sharpening"], known["radius"] = sharpen(
            calm, around.before, around.after, t, finishing.sharpening
        )
        plane, sigma = np.where(calm == plane, sharper, plane), widened(sigma, sharper - calm)
    plane = even_out(plane, around, t, contrast=finishing.even_contrast)
    if finishing.grain_seed is not None:
        rng, calm = grain_generator(finishing.grain_seed, *number), near_range(plane)
        grainy, deviations = add_grain(calm, around.before, around.after, t, rng)
        amount = amount_to_reach(around.pair.expected(t).gradient_energy, calm, grainy - calm, most=1.0)
        grainy, deviations = calm + amount * (grainy - calm), amount * deviations
        plane, sigma = np.where(calm == plane, grainy, plane), widened(sigma, deviations)
        known["grain"] = float(np.sqrt(np.mean(deviations.astype(np.float64) ** 2)))
    regions: list[Region] = []
    if sigma is not None:
        known |= {"sigma": float(sigma.mean(dtype=np.float64)), "decibels": decibels(sigma)}
        if finishing.flag_below is not None:
            regions = unsure(sigma, finishing.flag_below)
    expected, linear = around.pair.expected(t), around.mixture.blended(t)

    return Finished(plane, sigma, partial(Measures, expected=expected, linear=linear, **known, regions=tuple(regions)))


def restore(plane: Plane, restored: Plane, around: Surroundings, t: float) -> tuple[Plane, float]:
    """Add as much of what restoration adds as makes a plane nearly as sharp as its neighbours -> plane, and how much.

    The measure is the gradient energy of the whole plane: 0.94 of what lies between the neighbours', which costs fewer
    errors than all of it. No more than one and a half times what restoration adds; nothing where the plane is as
    sharp already.
    """
    added = restored - plane
    amount = amount_to_reach(SHARP * around.pair.expected(t).gradient_energy, plane, added, most=MOST_RESTORED)
    return (plane + amount * added if amount else plane), float(amount)


def amount_to_reach(energy: float, plane: Plane, added: Plane, *, most: float) -> np.float32:
    """How many times something must be added to a plane to give it a gradient energy; 0 if it has more already."""
    here, there = sampled_strips(plane), sampled_strips(added)
    own, cross, more = (products(a, b, 0.0, 0.0)[1] for a, b in ((here, here), (here, there), (there, there)))
    lacking = energy - own
    if lacking <= 0 or more == 0:
        return np.float32(0)
    return np.float32(min((np.sqrt(cross**2 + more * lacking) - cross) / more, most))


def fall_back(plane: Plane, sigma: Plane, near: Plane, t: float, threshold: float) -> tuple[Plane, float]:
    """Blend towards the cubic value where deviations exceed a threshold -> the plane, and the cubic share of it."""
    cubic = CubicInterpolator()(near[None], np.array([t], np.float32))[0, 0]
    limit = np.float32(np.clip(threshold, LEAST**2, LEAST**-2))  # by which float32 can be divided
    excess = (sigma / limit - 1) / np.float32(STEEPNESS)
    share = ndimage.gaussian_filter(np.clip((excess + 1) / 2, 0, 1), BLEND, truncate=3)
    return plane + share * (cubic - plane), float(share.mean(dtype=np.float64))


def even_out(plane: Plane, around: Surroundings, t: float, *, contrast: bool) -> Plane:
    """Give a plane the mean, and if asked for the contrast, that lie between its neighbours', where it is far off.

    Far is further than these two differ from each other. Pixels that are far outside of the intensity range, of which
    interpolation can make any number, do not count.
    """
    pair, found, expected = around.calm, Statistics.of(near_range(plane)), around.calm.expected(t)
    mean, gain = found.mean, 1.0
    if abs(found.mean - expected.mean) > abs(pair.after.mean - pair.before.mean) + LEAST:
        mean = expected.mean
    far = abs(found.contrast - expected.contrast) > abs(pair.after.contrast - pair.before.contrast) + LEAST
    if contrast and far and found.contrast > 0:
        gain = float(np.clip(expected.contrast / found.contrast, 1 / MOST_CONTRAST, MOST_CONTRAST))
        if found.gradient_energy > 0:  # no sharper for it than its neighbours
            gain = min(gain, max((expected.gradient_energy / found.gradient_energy) ** 0.5, 1.0))
    if gain == 1 and mean == found.mean:
        return plane
    return np.float32(gain) * plane + np.float32(mean - gain * found.mean)


def widened(sigma: Plane | None, added: Plane) -> Plane | None:
    """Deviations when something independent, of this size, is added."""
    return None if sigma is None else np.hypot(sigma, added)


def decibels(sigma: Plane) -> float:
    """The PSNR that deviations let expect, the intensity range being 1; at most 120 dB."""
    return float(-10 * np.log10(max(dot(sigma, sigma) / sigma.size, 1e-12)))


def unsure(sigma: Plane, threshold: float) -> list[Region]:
    """The squares of a plane whose predicted PSNR is below a threshold, the least sure first, eight at most."""
    height, width = sigma.shape
    regions = [
        Region(round(decibels(sigma[y : y + BLOCK, x : x + BLOCK]), 2), y, x)
        for y in range(0, height, BLOCK)
        for x in range(0, width, BLOCK)
    ]
    return sorted(region for region in regions if region.decibels < threshold)[:MOST_REGIONS]


def to_json(measures: Sequence[Measures]) -> list[dict[str, Any]]:
    """Measures of a slab's planes as a journal keeps them."""
    return [asdict(row) for row in measures]


def from_json(rows: Sequence[dict[str, Any]]) -> list[Measures]:
    """What ``to_json`` made, back."""
    statistics = ("statistics", "expected", "linear")
    return [
        Measures(
            **{name: value for name, value in row.items() if name not in (*statistics, "regions")},
            **{name: Statistics(**row[name]) if row[name] else None for name in statistics},  # type: ignore[arg-type]
            regions=tuple(Region(*region) for region in row["regions"]),
        )
        for row in rows
    ]
