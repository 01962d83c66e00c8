"""Which planes are taken for repetitions, and which must never be."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.duplicates import THRESHOLD, Duplicate, describe, find_duplicates
from zinterp.errors import BadOptionError
from zinterp.phantom import Phantom
from zinterp.pipeline import ArrayReader

GRAIN = 0.03  # of the full range, standard deviation
Stack = NDArray[np.generic]


def found(stack: Stack, threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """Each duplicate with the plane that it repeats."""
    return [(d.plane, d.repeats) for d in find_duplicates(ArrayReader(stack), threshold)]


def noisy(planes: NDArray[np.floating], seed: int, sigma: float = GRAIN, grain: float = 0.0) -> NDArray[np.uint8]:
    """Planes of 0 to 1 as a camera gives them: 8 bit, with noise of its own on each; ``grain`` blurs the noise."""
    noise = np.random.default_rng(seed).standard_normal(planes.shape)
    if grain:
        noise = ndimage.gaussian_filter(noise, (0, grain, grain))
    return np.clip(np.rint((planes + sigma * noise / noise.std()) * 255), 0, 255).astype(np.uint8)


PHANTOM = Phantom.random((24, 160, 192), cell=32.0, seed=3)


def draw(places: Sequence[float]) -> NDArray[np.float64]:
    """Noiseless tissue at some z, about 0 to 1, (Z, Y, X)."""
    return np.stack([PHANTOM.plane(z, (160, 192), noise=0) for z in places]).astype(np.float64)


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.float64]:
    """Twelve noiseless planes."""
    return draw(range(0, 24, 2))


SAME = [0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 8, 9, 10]
"""A stage that stalled once at 4 and twice at 8; what a duplicate repeats is numbered in this list."""
REPEATS = [(5, 4), (10, 9), (11, 9)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda planes, seed: noisy(planes, seed), id="fresh noise"),
        pytest.param(lambda planes, seed: noisy(planes, seed, sigma=0.06), id="strong noise"),
        pytest.param(lambda planes, seed: noisy(planes, seed, grain=0.5), id="correlated noise"),
        pytest.param(lambda planes, seed: noisy(planes, 0, sigma=0), id="bit for bit"),
        pytest.param(lambda planes, seed: noisy(planes, seed).astype(np.float32) / 7 - 3, id="float"),
        pytest.param(lambda planes, seed: noisy(planes, seed).astype(np.int16) - 128, id="signed"),
    ],
)
def test_repeated_planes_are_found(change: Callable[..., Stack], tissue: NDArray[np.float64]) -> None:
    assert found(change(tissue[SAME], 1)) == REPEATS
    assert found(change(tissue, 1)) == []


@pytest.mark.parametrize("shift", [lambda plane: plane * 1.01, lambda plane: plane + 0.01])
def test_a_plane_repeated_a_little_brighter_is_found(
    shift: Callable[[NDArray[np.float64]], NDArray[np.float64]], tissue: NDArray[np.float64]
) -> None:
    planes = tissue[SAME]
    planes[5] = shift(planes[5])
    assert found(noisy(planes, 2)) == REPEATS


def test_a_higher_threshold_finds_no_less_and_0_keeps_all(tissue: NDArray[np.float64]) -> None:
    stack = noisy(tissue[SAME], 3, sigma=0.15)
    counts = [len(found(stack, threshold)) for threshold in (0, 0.01, 0.1, 1)]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert found(np.stack([stack[0]] * 3), 0) == []


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_that_is_no_part_is_refused(threshold: float) -> None:
    with pytest.raises(BadOptionError, match=r"expected a part of the pixels from 0 to 1"):
        find_duplicates(ArrayReader(np.zeros((3, 8, 8))), threshold)


def test_smooth_stacks_lose_nothing(tissue: NDArray[np.float64]) -> None:
    fine = draw(np.arange(0, 12, 0.5))  # a quarter of the spacing
    blurred = ndimage.gaussian_filter1d(tissue, 2, axis=0)[2:-2]
    for stack in (noisy(fine, 4), noisy(fine, 4, sigma=0.003), noisy(blurred, 4), noisy(blurred, 4, sigma=0)):
        assert found(stack) == []


def test_planes_of_noise_alone_and_empty_planes_are_not_duplicates(tissue: NDArray[np.float64]) -> None:
    shape = tissue.shape
    assert found(noisy(np.full(shape, 0.5), 5)) == []
    margin = np.zeros((6, *shape[1:]), np.uint8)
    assert found(np.concatenate([margin, noisy(tissue, 5), margin])) == []
    margin[:, 50, 60] = 40  # a hot pixel
    assert found(np.concatenate([margin, noisy(tissue, 5), margin])) == []
    resin = noisy(np.full((6, *shape[1:]), 0.5), 6)
    assert found(np.concatenate([resin, noisy(tissue, 5), resin])) == []


def test_jumps_do_not_make_the_calm_planes_between_them_duplicates() -> None:
    calm = [*np.arange(0, 3, 0.25), *np.arange(8, 10, 0.25), *np.arange(16, 18, 0.25)]
    assert found(noisy(draw(calm), 7)) == []


def test_a_stage_that_creeps_is_compared_with_the_last_kept_plane() -> None:
    creeping = [0, 2, 4, 6, 8, 8.2, 8.4, 8.6, 8.8, 9, 11, 13, 15, 17, 19, 21]
    assert found(noisy(draw(creeping), 8, sigma=0.005)) == [(5, 4), (6, 4), (8, 7)]


def test_brightness_that_changes_evenly_is_not_a_repetition() -> None:
    image = np.random.default_rng(0).integers(0, 100, (40, 48))
    for stack in (
        np.stack([image + 10 * z for z in (0, 1, 2, 3, 3, 4, 5, 6)]),
        np.stack([image * (z + 1) for z in (0, 1, 2, 3, 3, 4, 5, 6)]).astype(np.float32),
        np.stack([np.full((40, 48), 10.0 * z) for z in (0, 1, 2, 3, 3, 4, 5, 6)]),
    ):
        assert found(stack) == [(4, 3)]


def test_the_last_plane_is_named_too_and_long_runs_bit_for_bit_are_found(tissue: NDArray[np.float64]) -> None:
    stack = noisy(tissue[[*range(9), *[9] * 40]], 9, sigma=0)
    assert found(stack) == [(k, 9) for k in range(10, 49)]


def test_where_all_planes_are_the_same_all_repeat_the_first(tissue: NDArray[np.float64]) -> None:
    plane = noisy(tissue[:1], 0)[0]
    for stack in (np.stack([plane] * 5), np.zeros((5, 20, 24), np.uint8), plane[None]):
        assert found(stack) == [(k, 0) for k in range(1, len(stack))]


def test_nonfinite_pixels_and_tiny_planes_are_no_trouble(tissue: NDArray[np.float64]) -> None:
    stack = noisy(tissue[SAME], 1).astype(np.float32)
    stack[:, :3, :5] = np.nan
    stack[3, 9, 9] = np.inf
    assert found(stack) == REPEATS
    assert found(np.arange(4.0).reshape(4, 1, 1)) == []
    assert found(np.arange(60).reshape(4, 3, 5)[[0, 1, 2, 2, 3]]) == [(3, 2)]


def test_a_line_about_duplicates_stays_short() -> None:
    assert describe([Duplicate(18, 17)]) == "18 (as 17)"
    assert describe([Duplicate(18, 17), Duplicate(19, 17), Duplicate(31, 30)]) == "18-19 (as 17), 31 (as 30)"
    many = [Duplicate(k, k - 1) for k in range(1, 40, 2)]
    assert describe(many).endswith("15 (as 14) and 12 more")


REAL = (
    "val/fibsem_medulla_val",
    "val/uct_mouse_head",
    "val/sstem_cremi",
    "val/sstem_vnc",
    "val/cryoet_microtubule",
    "train/uct_soil",
    "train/tomo_filaments_1",
)


def real(name: str, data: Path) -> Stack:
    """A part of a real volume."""
    stack: Stack = tifffile.imread(data / f"{name}.tif")[:48, :256, :256]
    return stack


@pytest.mark.parametrize("name", REAL)
def test_no_plane_of_a_real_volume_is_taken_for_a_duplicate_even_if_it_is_made_smooth(name: str, data: Path) -> None:
    stack = real(name, data)
    blurred = np.rint(ndimage.gaussian_filter1d(stack.astype(np.float32), 1, axis=0)).astype(np.uint8)
    halved = np.rint(ndimage.zoom(stack.astype(np.float32), (2, 1, 1), order=1)).astype(np.uint8)
    for planes in (stack, blurred, halved):
        assert found(planes) == []


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("kind", ["bit for bit", "brighter", "fresh noise"])
def test_a_repeated_plane_of_a_real_volume_is_found(name: str, kind: str, data: Path) -> None:
    stack = real(name, data)
    at = len(stack) // 3
    plane = stack[at].astype(np.float64)
    rough = ndimage.convolve(plane, np.outer([1, -2, 1], [1, -2, 1]) / 6)
    sigma = float(np.median(np.abs(rough))) / 0.6745  # of the plane's noise, most of which is in the finest grain
    if kind == "fresh noise" and "cryoet" in name:
        pytest.skip("neighbours share their noise there, so a plane with fresh noise is farther off than they are")
    if kind == "brighter":
        plane = plane * 1.01
    elif kind == "fresh noise":
        plane = plane + np.sqrt(2) * sigma * np.random.default_rng(0).standard_normal(plane.shape)
    again = np.clip(np.rint(plane), 0, 255).astype(np.uint8)
    assert found(np.insert(stack, at + 1, again, axis=0)) == [(at + 1, at)]
