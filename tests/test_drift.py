"""How exactly drift is found, and where none may be."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.drift import Drift, measure_drift, sample_steps, shifted
from zinterp.errors import BadOptionError
from zinterp.phantom import Phantom
from zinterp.volume import Planes, VolumeInfo

RNG = np.random.default_rng
MARGIN = 40


class Reader:
    """A reader of an array that counts how often each plane is read."""

    def __init__(self, stack: Planes) -> None:
        self.stack = stack
        z, y, x = stack.shape
        self.info = VolumeInfo((z, y, x), stack.dtype)
        self.times_read = [0] * z

    def read(self, z: range) -> Planes:
        """One plane."""
        assert len(z) == 1
        self.times_read[z.start] += 1
        return self.stack[z.start : z.stop]


def measured(stack: Planes, planes: list[int] | None = None) -> NDArray[np.float64]:
    """Offsets of all planes, (Z, 2)."""
    return np.array(measure_drift(Reader(stack), planes).offsets)  # type: ignore[arg-type]


def noisy(planes: NDArray[np.floating], sigma: float, seed: int = 0) -> NDArray[np.uint8]:
    """Planes of 0 to 1 as 8 bit, with noise of their own."""
    return np.clip(np.rint((planes + sigma * RNG(seed).standard_normal(planes.shape)) * 255), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def plane() -> NDArray[np.float64]:
    """One plane of tissue, and around it a margin."""
    return Phantom.random((4, 336, 368), cell=32.0, seed=3).plane(2, (336, 368), noise=0).astype(np.float64)


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.float64]:
    """Ten planes of tissue that change as they go, and around them a margin."""
    phantom = Phantom.random((10, 240, 256), cell=32.0, seed=4)
    return np.stack([phantom.plane(z, (240, 256), noise=0) for z in range(10)]).astype(np.float64)


def cut(plane: NDArray[np.float64], offset: tuple[int, int] = (0, 0), margin: int = MARGIN) -> NDArray[np.float64]:
    """What is inside of the margin if all is shifted by whole pixels."""
    y, x = (margin - d for d in offset)
    return plane[y : plane.shape[0] - 2 * margin + y, x : plane.shape[1] - 2 * margin + x]


@pytest.mark.parametrize(("sigma", "mean", "worst"), [(0.05, 0.05, 0.1), (0.2, 0.08, 0.15)])
def test_shifts_by_parts_of_a_pixel_are_found(
    sigma: float, mean: float, worst: float, plane: NDArray[np.float64]
) -> None:
    true = np.array([(0, 0), (0.3, 0), (0.7, -0.4), (-0.5, 1.2), (2.5, -3.3), (-5.25, 6.5), (6.6, -5.4), (-1.4, 0.9)])
    stack = np.stack([cut(ndimage.shift(plane, offset, order=5, mode="mirror")) for offset in true])
    error = np.hypot(*np.diff(measured(noisy(stack, sigma)) - true, axis=0).T)
    assert error.mean() < mean
    assert error.max() < worst


def test_drift_of_tissue_that_changes_is_found(tissue: NDArray[np.float64]) -> None:
    true = np.vstack([[0, 0], RNG(2).integers(-6, 7, (9, 2)).cumsum(0)])
    true = np.clip(true, -MARGIN, MARGIN)
    stack = noisy(np.stack([cut(p, (y, x)) for p, (y, x) in zip(tissue, true.tolist(), strict=True)]), 0.05)
    assert np.abs(np.diff(measured(stack) - true, axis=0)).max() < 0.5  # it moves by up to 0.4 of its own
    kept = [1, 3, 4, 8]
    offsets = measured(stack, kept)
    assert np.abs(np.diff((offsets - true)[kept], axis=0)).max() < 2  # over up to 4 planes
    assert np.allclose(offsets[0], 0)
    assert np.allclose(offsets[2], offsets[[1, 3]].mean(0))
    assert np.allclose(offsets[6], offsets[[4, 8]].mean(0))
    assert np.allclose(offsets[9], offsets[8])


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
def test_any_dtype_and_nonfinite_pixels(dtype: str, tissue: NDArray[np.float64]) -> None:
    stack = (
        noisy(np.stack([cut(tissue[0]), cut(tissue[1], (4, -7))]), 0.05) * 20.0 - 2000 * (dtype == "int16")
    ).astype(dtype)
    if dtype.startswith("float"):
        stack[:, 20:30, 40:60] = np.nan
        stack[1, 5, 5] = np.inf
    assert np.abs(measured(stack)[1] - (4, -7)).max() < 0.3


def test_large_planes_are_measured_as_exactly() -> None:
    image = ndimage.zoom(RNG(0).standard_normal((280, 130)), 8, order=1) + RNG(1).standard_normal((2240, 1040))
    stack = np.stack([cut(image), cut(image, (-37, 14))]).astype(np.float32)
    assert np.abs(measured(stack)[1] - (-37, 14)).max() < 0.2


def test_a_fixed_vignette_and_stripes_do_not_hold_planes_in_place(tissue: NDArray[np.float64]) -> None:
    stack = np.stack([cut(tissue[0]), cut(tissue[1], (3, -5))])
    y, x = np.indices(stack.shape[1:])
    vignette = 1 - 0.5 * (((y - 80) / 160) ** 2 + ((x - 88) / 176) ** 2)
    stripes = 1 + 0.1 * RNG(0).standard_normal(stack.shape[2])
    assert np.abs(measured(noisy(stack * vignette * stripes, 0.03))[1] - (3, -5)).max() < 0.4


@pytest.mark.parametrize("grain", [0, 1.5, 5])
def test_planes_of_noise_do_not_drift(grain: float) -> None:
    stack = RNG(int(grain)).standard_normal((8, 200, 240))
    assert not measured(ndimage.gaussian_filter(stack, (0, grain, grain)) if grain else stack).any()


def test_stacks_that_stand_still_do_not_drift(plane: NDArray[np.float64], tissue: NDArray[np.float64]) -> None:
    still = noisy(np.stack([cut(plane)] * 6), 0.1)
    assert np.abs(measured(still)).max() <= 0.1
    assert measure_drift(Reader(noisy(cut(tissue[0])[None].repeat(3, 0), 0))).largest_step == (0.0, 0)  # type: ignore[arg-type]
    step, _ = measure_drift(Reader(noisy(tissue, 0.05))).largest_step  # type: ignore[arg-type]
    assert step < 0.5


@pytest.mark.parametrize("bad", ["blank", "noise", "another", "two"])
def test_a_damaged_plane_does_not_move_those_after_it(bad: str, tissue: NDArray[np.float64]) -> None:
    true = np.array([(2 * k, -3 * k) for k in range(10)])
    stack = noisy(np.stack([cut(p, (y, x)) for p, (y, x) in zip(tissue, true.tolist(), strict=True)]), 0.05)
    before = measured(stack)
    damaged = [4, 5] if bad == "two" else [4]
    for k in damaged:
        other = RNG(k).integers(0, 256, stack[0].shape)
        stack[k] = {"blank": np.full_like(other, 7), "another": stack[9][::-1, ::-1]}.get(bad, other)
    assert np.abs(measured(stack) - before).max() < 1


def test_a_break_that_lasts_is_no_drift(tissue: NDArray[np.float64]) -> None:
    stack = noisy(np.concatenate([tissue[:4], tissue[:6, ::-1, ::-1]]), 0.05)
    assert np.abs(measured(stack)).max() < 1.5


def test_a_shift_by_more_than_drift_is_none() -> None:
    image = ndimage.gaussian_filter(RNG(3).standard_normal((200, 400)), 2)
    assert not measured(np.stack([image[:, :200], image[:, 120:320]])).any()


def test_every_plane_is_read_once_and_only_planes_asked_for(tissue: NDArray[np.float64]) -> None:
    reader = Reader(noisy(tissue, 0.05))
    measure_drift(reader)  # type: ignore[arg-type]
    assert reader.times_read == [1] * 10
    reader = Reader(reader.stack)
    measure_drift(reader, [1, 4, 9])  # type: ignore[arg-type]
    assert [k for k, times in enumerate(reader.times_read) if times] == [1, 4, 9]


@pytest.mark.parametrize("shape", [(1, 90, 90), (3, 1, 1), (3, 20, 300), (2, 64, 2000)])
def test_single_tiny_and_narrow_planes(shape: tuple[int, int, int]) -> None:
    stack = np.stack([RNG(0).integers(0, 255, shape[1:], np.uint8)] * shape[0])
    assert not measured(stack).any()
    assert all(shift == (0, 0) for _, shift in sample_steps(Reader(stack)))  # type: ignore[arg-type]


@pytest.mark.parametrize("planes", [[], [2, 1], [1, 1], [-1, 2], [0, 3]])
def test_planes_that_are_not_there_or_do_not_rise_are_refused(planes: list[int]) -> None:
    with pytest.raises(BadOptionError, match="expected rising numbers below 3"):
        measured(np.zeros((3, 80, 80)), planes)


def test_what_a_drift_says() -> None:
    drift = Drift(((0.0, 0.0), (1.0, -1.0), (4.0, 3.0), (4.0, 3.0)))
    assert drift.between(1, 2) == (3, 4)
    assert drift.between(2, 0) == (-4, -3)
    assert drift.largest_step == (5.0, 1)
    assert Drift(((0.0, 0.0),)).largest_step == (0.0, 0)


def test_a_sample_of_steps_is_spread_over_the_stack(tissue: NDArray[np.float64]) -> None:
    stack = noisy(np.stack([cut(p, (3 * k, -2 * k)) for k, p in enumerate(tissue)]), 0.05)
    steps = sample_steps(Reader(stack), 4)  # type: ignore[arg-type]
    assert [k for k, _ in steps] == [0, 2, 5, 8]
    assert all(np.abs(np.subtract(shift, (3, -2))).max() < 0.5 for _, shift in steps)
    assert [k for k, _ in sample_steps(Reader(stack))] == list(range(9))  # type: ignore[arg-type]


def test_shifting_by_whole_pixels_copies() -> None:
    planes = RNG(0).random((3, 20, 24), np.float32)
    out = shifted(planes, [(0, 0), (3, -4), (100, 0)])
    assert out.dtype == np.float32
    assert np.array_equal(out[0], planes[0])
    assert np.array_equal(out[1, 3:, :-4], planes[1, :-3, 4:])
    assert np.array_equal(out[1, :3, :-4], np.repeat(planes[1, :1, 4:], 3, axis=0))
    assert np.array_equal(out[2], np.repeat(planes[2, :1], 20, axis=0))


def test_shifting_by_parts_of_a_pixel() -> None:
    y, x = np.indices((2, 40, 50), np.float32)[1:]
    wave = np.sin(y / 4 + x / 5)
    out = shifted(wave, [(0.5, -1.25), (0.0, 0.3)])
    true = np.stack([np.sin((y[0] - 0.5) / 4 + (x[0] + 1.25) / 5), np.sin(y[0] / 4 + (x[0] - 0.3) / 5)])
    assert out.dtype == np.float32
    assert np.abs(out - true)[:, 6:-6, 6:-6].max() < 1e-3


def drifting(stack: Planes, most: int, seed: int) -> tuple[Planes, NDArray[np.int64]]:
    """Crops of a stack that walk at random by whole pixels, and their offsets."""
    size = stack.shape[1] - 2 * MARGIN
    walk = [np.zeros(2, int)]
    for step in RNG(seed).integers(-most, most + 1, (len(stack) - 1, 2)):
        there = walk[-1] + step
        walk.append(np.where(np.abs(there) > MARGIN, walk[-1] - step, there))
    crops = [p[MARGIN - y :, MARGIN - x :][:size, :size] for p, (y, x) in zip(stack, walk, strict=True)]
    return np.stack(crops), np.array(walk)


@pytest.mark.parametrize("kept", [1, 2, 4])
def test_drift_of_a_real_volume_is_found(kept: int, data: Path) -> None:
    stack = tifffile.imread(data / "train" / "fibsem_medulla_0.tif")[:24]
    crops, true = drifting(stack, 6, seed=kept)
    planes = list(range(0, len(stack), kept))
    error = np.diff((measured(crops, planes) - true)[planes], axis=0)
    # structures lie obliquely and move by 0.2 pixels from plane to plane of their own
    assert np.hypot(*error.T).mean() < 0.35 * kept


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("val/fibsem_medulla_val", 0.9),  # fibres of this one lie obliquely, and all in the same direction
        ("train/uct_soil", 0.2),
        ("train/tomo_filaments_1", 0.3),
        ("val/cryoet_microtubule", 0.5),
        ("val/uct_mouse_head", 0.6),
    ],
)
def test_real_volumes_do_not_drift(name: str, most: float, data: Path) -> None:
    stack = tifffile.imread(data / f"{name}.tif")[:16]
    assert measure_drift(Reader(stack)).largest_step[0] < most  # type: ignore[arg-type]
