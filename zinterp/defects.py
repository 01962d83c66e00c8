"""Planes that should not be interpolated from: blank, saturated or torn ones, and duplicates.

A plane is judged by the planes right before and right after it. It is a defect where it is unlike both while they are
like each other, so that a specimen that ends, drifts or changes is none, and serial sections, which hardly resemble
their neighbours at all, are left alone. What is kept of a plane is 101 grey values, a few sums over bands of rows, and
how far its parts are shifted against the plane before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zinterp.displacements import Displacement, Look, find_displacements, look_at
from zinterp.drift import finite
from zinterp.duplicates import BLOCK, LISTED, find_duplicates, read
from zinterp.volume import VolumeReader

BAND = 2 * BLOCK  # rows of a band, at least: fewer do not tell one plane from another
BANDS = 16  # at most
STRIPS = 32  # of rows, at most
SAMPLES = 256  # rows and columns whose grey values are looked at, so that shares of them are right within 0.01
BLANK = 0.25  # of the contrast around: real volumes dip to 0.66, their bands to 0.49; noise as strong as that to 0.13
ALIKE = 0.5  # of each other's contrast have the planes around a dip: those around a specimen's end have less
SHOWS = 0.3  # of the contrast of the upper quarter of planes: what shows less is air, which fits or not by chance
FULL = 0.7  # of the same: where a stack breaks off, the last plane shows as much, where a specimen ends it does not
GREY = 0.5  # of a grey value: contrast below is rounding
CLIPPED = 0.2  # of the pixels more than around at an end of the grey values: in real volumes up to 0.05 more
LACKS = 0.1  # of the strips must be constant
FIT = 0.95  # correlation above which rows fit: noise, or curtains a third as strong as the image, leave as much
ROUNDING = 0.9999  # correlation above which nothing but rounding is left
PART = 0.1  # of the variance: rows with less, air say, do not tell whether they belong
CHANCE = 3.0  # standard errors, so that crops of real volumes score 0.12 at the most instead of 0.9
TORN = 0.3  # Fisher's z, above that: rows of isotropic FIB-SEM 8 pixels off score 0.4 to 0.8, 16 pixels off 0.8 to 1.2
UNUSUAL = 4  # deviations above the stack's median score: where scores scatter, a high one says little
FEW = 8  # planes scored at least, for a median to mean something


@dataclass(frozen=True)
class Defect:
    """A plane that is not to be trusted, numbered from 0, and what is wrong with it.

    Parameters
    ----------
    plane : int
    kind : str
        blank, saturated, torn or duplicate.
    """

    plane: int
    kind: str


@dataclass(frozen=True)
class Profile:
    """What is kept of a stack: of its blocks, each band of rows with its mean taken out.

    Parameters
    ----------
    levels : ndarray of float64, (Z, 101)
        Percentiles of the grey values.
    blocks : ndarray of float64, (bands,)
        How many blocks each band has.
    squares, fourths : ndarray of float64, (Z, bands)
        Sums of their second and fourth powers.
    beside, across : ndarray of float64, (Z, bands)
        Sums of products with the plane before, and with the last but one; 0 where there is none.
    strips : ndarray of float64, (Z, strips)
        Standard deviation of the pixels in strips of rows that are as high as a block, or higher.
    """

    levels: NDArray[np.float64]
    blocks: NDArray[np.float64]
    squares: NDArray[np.float64]
    fourths: NDArray[np.float64]
    beside: NDArray[np.float64]
    across: NDArray[np.float64]
    strips: NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """All planes of a stack: the defects, rising, what was seen of the others, and which of these are displaced."""

    defects: tuple[Defect, ...]
    looks: tuple[Look, ...]
    displacements: tuple[Displacement, ...]


def find_defects(reader: VolumeReader) -> tuple[Defect, ...]:
    """Find the planes that should not be interpolated from.

    * blank: shows nothing, or noise only, between planes that do. At the ends of a stack only if it is constant.
    * saturated: far more pixels than in the planes around are at the highest or at the lowest grey value.
    * torn: some rows show nothing, are displaced or from elsewhere; the other rows, and both neighbours, fit.
    * duplicate: repeats the plane before it, see ``duplicates.find_duplicates``.

    Parameters
    ----------
    reader : VolumeReader
        Read three times, with the blocks of three planes in memory; runs of duplicates once more.

    Returns
    -------
    tuple of Defect
        Rising, one per plane.
    """
    return judge_planes(reader).defects


def judge_planes(reader: VolumeReader) -> Judged:
    """Find the defects and the displaced planes, see ``find_defects`` and ``displacements.find_displacements``."""
    found = defects_by_grey_values(reader)
    looks = look_at(reader, [k for k in range(reader.info.shape[0]) if k not in found])
    displaced = find_displacements(reader, looks)
    torn = {displacement.plane for displacement in displaced if displacement.torn}
    found |= dict.fromkeys(torn, "torn")
    return Judged(
        tuple(Defect(plane, found[plane]) for plane in sorted(found)),
        tuple(look for look in looks if look.plane not in torn),
        tuple(displacement for displacement in displaced if not displacement.torn),
    )


def defects_by_grey_values(reader: VolumeReader) -> dict[int, str]:
    """The kind of each defect that the grey values of a plane and its neighbours show."""
    profile = scan(reader)
    contrast = np.sqrt(profile.squares.sum(1) / profile.blocks.sum())
    ordinary = float(np.quantile(contrast[contrast > 0], 0.75)) if contrast.any() else 0.0
    least = max(SHOWS * ordinary, GREY if reader.info.dtype.kind in "iu" else 0.0)
    high, low = clipped(profile.levels), clipped(-profile.levels[:, ::-1])
    blank = dips(contrast, least) | breaks_off(profile.levels, contrast, max(FULL * ordinary, least))
    highest = profile.levels[:, -2] >= profile.levels.max()
    empty = cut_off(np.sqrt(profile.squares / profile.blocks), least) | lacks_rows(profile.strips, least)
    found = {duplicate.plane: "duplicate" for duplicate in find_duplicates(reader)}
    for planes, kind in (  # the later, the surer
        (misfits(profile, contrast > least), "torn"),
        (high | low, "saturated"),
        (empty, "torn"),
        (blank, "blank"),
        (blank & high & highest, "saturated"),
    ):
        found |= dict.fromkeys(np.flatnonzero(planes).tolist(), kind)
    return found


def scan(reader: VolumeReader) -> Profile:
    """Read each plane once and keep what tells whether it is a defect."""
    planes, height, _ = reader.info.shape
    bands = min(BANDS, max(1, height // BAND))
    levels, sums = np.zeros((planes, 101)), np.zeros((4, planes, bands))
    strips = np.zeros((planes, min(STRIPS, max(1, height // BLOCK))))
    blocks = np.zeros(bands)
    before: list[list[NDArray[np.float64]]] = []  # the last plane, and the one before it
    for k in range(planes):
        seen = read(reader, k)
        levels[k] = percentiles(seen.plane)
        strips[k] = [strip.std(dtype=np.float64) for strip in np.array_split(finite(seen.plane), strips.shape[1])]
        here = [band - band.mean() for band in np.array_split(seen.blocks * (seen.contrast > 0), bands)]
        squares = [band**2 for band in here]
        blocks[:] = [band.size for band in here]
        pairs = [(here, here), (squares, squares), *((here, old) for old in before)]
        for kept, (a, b) in zip(sums, pairs, strict=False):  # the first planes have fewer before them
            kept[k] = [np.vdot(x, y) for x, y in zip(a, b, strict=True)]
        before = [here, *before[:1]]
    return Profile(levels, blocks, sums[0], sums[1], sums[2], sums[3], strips)


def percentiles(plane: NDArray[Any]) -> NDArray[np.float64]:
    """Grey values of a grid of pixels, from the lowest to the highest; infinite and missing ones are left out."""
    step_y, step_x = (-(-edge // SAMPLES) for edge in plane.shape)
    values = plane[::step_y, ::step_x].astype(np.float64)
    values = np.sort(values[np.isfinite(values)])
    return values[np.linspace(0, values.size - 1, 101).astype(int)] if values.size else np.zeros(101)


def runs(
    count: int, worse: Callable[[int, int], bool], alike: Callable[[int, int], bool] = lambda k, other: True
) -> NDArray[np.bool_]:
    """Which planes are in runs that are worse than both the plane before and the plane after, which are alike."""
    found = np.zeros(count, bool)
    k = 1
    while k < count:
        end = next((j for j in range(k, count) if not worse(j, k - 1)), count)
        between = k < end < count and not worse(k - 1, end) and alike(k - 1, end)
        if between and all(worse(j, end) for j in range(k, end)):
            found[k:end] = True
            k = end
        k += 1
    return found


def dips(contrast: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Which planes show far less than the planes around them, which show something."""

    def worse(k: int, other: int) -> bool:
        return bool(contrast[k] < BLANK * contrast[other] and contrast[other] > least)

    def alike(k: int, other: int) -> bool:
        return bool(min(contrast[k], contrast[other]) > ALIKE * max(contrast[k], contrast[other]))

    return runs(len(contrast), worse, alike)


def breaks_off(levels: NDArray[np.float64], contrast: NDArray[np.float64], full: float) -> NDArray[np.bool_]:
    """Which planes at the ends are constant, next to a plane that is not and has the full contrast."""
    empty = np.zeros(len(contrast), bool)
    shown = np.flatnonzero(contrast > 0)
    if len(shown):
        constant = levels[:, 1] == levels[:, -2]  # but for hot pixels
        for end, last in ((slice(0, shown[0]), shown[0]), (slice(shown[-1] + 1, None), shown[-1])):
            empty[end] = constant[end] & (contrast[last] > full)
    return empty


def clipped(levels: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which planes have many more pixels at their highest grey value than the planes around, which hardly reach it."""
    top = levels[:, -2]  # the very highest may be a hot pixel
    own = np.mean(levels >= top[:, None], axis=1)

    def worse(k: int, other: int) -> bool:
        reached = np.mean(levels[other] >= top[k])
        return bool(own[k] - max(own[other], reached) > CLIPPED and reached < own[k] / 4)

    return runs(len(levels), worse)


def cut_off(contrast: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Which planes show nothing from some row on, or from one row to another, where the planes around do."""
    empty = np.stack([dips(band, least) for band in contrast.T], axis=1)
    return in_one_piece(empty, contrast > least, 0)


def in_one_piece(empty: NDArray[np.bool_], shown: NDArray[np.bool_], part: float) -> NDArray[np.bool_]:
    """Which planes have two bands or more, and so large a part of all, that are empty, with none between that shows."""
    torn = np.zeros(len(empty), bool)
    for k in np.flatnonzero(empty.sum(1) >= max(2, part * empty.shape[1])):
        first, *_, last = np.flatnonzero(empty[k])
        torn[k] = shown[k].sum() >= 2 and not shown[k, first:last].any()
    return torn


def lacks_rows(strips: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Which planes are constant from some row on, or from one row to another, where the planes around show something.

    Finer than ``cut_off``, but blind to rows that are not quite empty.
    """
    empty = np.stack([dips(strip, least) for strip in strips.T], axis=1) & (strips == 0)
    return in_one_piece(empty, strips > least, LACKS)


def misfits(profile: Profile, shows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which planes are, in some rows only, less like either neighbour than these are like each other.

    A plane's score is how much less, beyond what chance makes of so few blocks, in those rows that score highest.
    """
    planes, bands = profile.squares.shape
    scores = np.full(planes, -np.inf)
    if planes < FEW:
        return np.zeros(planes, bool)
    outer = np.minimum(profile.squares[:-2], profile.squares[2:])
    for first, last in combinations(range(bands + 1), 2):
        inside = np.arange(first, last)
        outside = np.r_[0 : max(first - 1, 0), last + 1 : bands]  # the tear may run through the bands between
        if min(len(inside), len(outside)) < 2:
            continue
        told = np.minimum(outer[:, inside].sum(1), outer[:, outside].sum(1)) > PART * outer.sum(1)
        rest = misfit(profile, outside, ROUNDING)
        told &= shows[:-2] & shows[2:] & (rest <= min(float(np.median(rest)) / 2, 0.0))
        score = misfit(profile, inside, FIT) - CHANCE * error(profile, inside)
        np.maximum(scores[1:-1], np.where(told, score, -np.inf), out=scores[1:-1])
    scored = scores[np.isfinite(scores)]
    if len(scored) < FEW:
        return np.zeros(planes, bool)
    deviation = 1.4826 * np.median(np.abs(scored - np.median(scored)))
    return scores > max(TORN, float(np.median(scored) + UNUSUAL * deviation))


def misfit(profile: Profile, bands: NDArray[np.intp], cap: float) -> NDArray[np.float64]:
    """How much better the neighbours of each plane fit each other than either fits it, as Fisher's z; (Z - 2,).

    Correlations above ``cap`` are as good as that.
    """
    size = np.sqrt(profile.squares[:, bands].sum(1))

    def fit(products: NDArray[np.float64], step: int) -> NDArray[np.float64]:
        sizes = np.maximum(size[step:] * size[:-step], np.finfo(float).tiny)
        fisher: NDArray[np.float64] = np.arctanh(np.clip(products[step:, bands].sum(1) / sizes, -cap, cap))
        return fisher

    beside, across = fit(profile.beside, 1), fit(profile.across, 2)
    return across - np.maximum(beside[:-1], beside[1:])


def error(profile: Profile, bands: NDArray[np.intp]) -> NDArray[np.float64]:
    """Standard error of Fisher's z, from how many blocks the neighbours' variance comes from; (Z - 2,)."""
    squares = np.maximum(profile.squares[:, bands].sum(1), np.finfo(float).tiny)
    relative = np.sqrt(profile.fourths[:, bands].sum(1)) / squares
    larger: NDArray[np.float64] = np.maximum(relative[:-2], relative[2:])
    return larger


def describe_defects(defects: Sequence[Defect]) -> str:
    """Which planes are what, short enough for a line: ``17-18 blank, 31 torn``."""
    numbered = groupby(enumerate(defects), key=lambda pair: (pair[1].plane - pair[0], pair[1].kind))
    joined = [(kind, [defect.plane for _, defect in run]) for (_, kind), run in numbered]
    listed = [f"{'-'.join(map(str, sorted({run[0], run[-1]})))} {kind}" for kind, run in joined[:LISTED]]
    left = sum(len(run) for _, run in joined[LISTED:])
    return ", ".join(listed) + (f" and {left} more" if left else "")
