"""Which planes are called defects, and which variations of a stack never are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from zinterp.defects import Defect, describe_defects, find_defects
from zinterp.phantom import Phantom
from zinterp.pipeline import ArrayReader

Stack = NDArray[np.generic]
Image = NDArray[np.float64]
AT = 9  # the plane that is spoilt
RNG = np.random.default_rng


def found(stack: Stack) -> dict[int, str]:
    """What is wrong with which plane."""
    return {defect.plane: defect.kind for defect in find_defects(ArrayReader(stack))}


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.uint8]:
    """Eighteen planes of tissue, with noise."""
    return Phantom.random((18, 192, 208), cell=32.0, seed=3).volume(range(18), (192, 208), noise=0.03)


def with_plane(stack: Stack, change: Callable[[Image], Image], at: int = AT) -> Stack:
    """The stack with one plane changed, in its own dtype."""
    planes = stack.copy()
    plane = change(stack[at].astype(np.float64))
    planes[at] = np.clip(np.rint(plane), 0, 255).astype(stack.dtype) if stack.dtype.kind in "iu" else plane
    return planes


def rows(change: Callable[[Image], Image], first: float = 0.5, last: float = 1.0) -> Callable[[Image], Image]:
    """A change of some rows only, from a part of the height to another."""

    def changed(plane: Image) -> Image:
        part = slice(int(first * len(plane)), int(last * len(plane)))
        plane[part] = change(plane[part])
        return plane

    return changed


def noise(plane: Image) -> Image:
    """What a camera gives with the beam off."""
    return 40 + 8 * RNG(0).standard_normal(plane.shape)


def clip_brightest(part: float) -> Callable[[Image], Image]:
    """A detector that is overloaded by a part of the pixels."""
    return lambda plane: np.where(plane >= np.quantile(plane, 1 - part), 255, plane)


def sideways(pixels: int) -> Callable[[Image], Image]:
    """Rows that are displaced."""
    return lambda plane: np.take(plane, np.arange(plane.shape[1]) - pixels, axis=1, mode="clip")


def curtains(plane: Image) -> Image:
    """Stripes along y, a third as strong as the image."""
    stripes = ndimage.gaussian_filter1d(RNG(1).standard_normal(plane.shape[1]), 1.5)
    return plane + 0.3 * plane.std() / stripes.std() * stripes


DEFECTS = {
    "constant": (np.zeros_like, "blank"),
    "grey": (lambda plane: np.full_like(plane, 90), "blank"),
    "noise": (noise, "blank"),
    "white": (lambda plane: np.full_like(plane, 255), "saturated"),
    "clipped": (clip_brightest(0.3), "saturated"),
    "clipped more": (clip_brightest(0.8), "saturated"),
    "dark": (lambda plane: np.where(plane <= np.quantile(plane, 0.5), 0, plane), "saturated"),
    "lower half empty": (rows(np.zeros_like), "torn"),
    "lower half noise": (rows(noise), "torn"),
    "middle empty": (rows(np.zeros_like, 0.35, 0.65), "torn"),
    "lower half 8 px off": (rows(sideways(8)), "torn"),
    "middle 16 px off": (rows(sideways(16), 0.3, 0.7), "torn"),
    "lower half upside down": (rows(np.flipud), "torn"),
}


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_spoilt_plane_is_found_and_no_other(kind: str, tissue: Stack) -> None:
    change, name = DEFECTS[kind]
    assert found(with_plane(tissue, change)) == {AT: name}


ORDINARY = {
    "brighter": lambda plane: plane * 1.2,
    "darker": lambda plane: plane * 0.8,
    "offset": lambda plane: plane + 20,
    "less contrast": lambda plane: (plane - plane.mean()) * 0.6 + plane.mean(),
    "lower half brighter": rows(lambda plane: plane * 1.2),
    "shifted": lambda plane: ndimage.shift(plane, (3, 6), order=1, mode="nearest"),
    "turned": lambda plane: ndimage.rotate(plane, 2, reshape=False, order=1, mode="nearest"),
    "out of focus": lambda plane: ndimage.gaussian_filter(plane, 2),
    "noisier": lambda plane: plane + 20 * RNG(2).standard_normal(plane.shape),
    "curtains": curtains,
    "curtains below": rows(curtains),
    "a hot pixel": lambda plane: np.where(np.arange(plane.size).reshape(plane.shape) == 5000, 255, plane),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_ordinary_variations_are_none(kind: str, tissue: Stack) -> None:
    assert found(with_plane(tissue, ORDINARY[kind])) == {}


def test_brightness_that_drifts_or_jumps_for_good_is_none(tissue: Stack) -> None:
    assert found(tissue) == {}
    gain = np.linspace(0.5, 1.0, len(tissue))[:, None, None]
    gain[AT:] *= 0.8
    assert found(np.rint(tissue * gain).astype(np.uint8)) == {}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda stack: stack.astype(np.uint16) * 16, id="12 of 16 bit"),
        pytest.param(lambda stack: stack.astype(np.int16) - 128, id="signed"),
        pytest.param(lambda stack: stack.astype(np.int32) * 2**23, id="32 bit"),
        pytest.param(lambda stack: stack.astype(np.float32) / 7e4 - 3, id="float"),
    ],
)
def test_defects_do_not_depend_on_the_dtype(change: Callable[[Stack], Stack], tissue: Stack) -> None:
    stack = tissue.copy()
    for at, kind in ((3, "noise"), (7, "clipped"), (11, "lower half empty"), (15, "middle 16 px off")):
        stack = with_plane(stack, DEFECTS[kind][0], at)
    assert found(change(stack)) == {3: "blank", 7: "saturated", 11: "torn", 15: "torn"}


def test_missing_values_are_what_a_plane_does_not_show(tissue: Stack) -> None:
    stack = tissue.astype(np.float32)
    stack[:, :20, :30] = np.nan
    assert found(stack) == {}
    stack[4] = np.nan
    stack[8, 96:] = np.nan
    stack[12, 50, 50] = np.inf
    assert found(stack) == {4: "blank", 8: "torn"}


@pytest.mark.parametrize("length", [2, 3, 10])
@pytest.mark.parametrize("change", [np.zeros_like, noise])
def test_runs_are_found_whole(change: Callable[[Image], Image], length: int, tissue: Stack) -> None:
    stack, run = tissue, range(4, 4 + length)
    for k in run:
        stack = with_plane(stack, change, k)
    assert found(stack) == dict.fromkeys(run, "blank")
    stack = tissue
    for k in run:
        stack = with_plane(stack, rows(change), k)
    assert found(stack) == dict.fromkeys(run, "torn")


def test_defects_next_to_each_other_are_told_apart(tissue: Stack) -> None:
    stack = with_plane(with_plane(tissue, np.zeros_like, 6), rows(noise), 7)
    stack = np.insert(with_plane(stack, clip_brightest(0.5), 12), 16, stack[15], axis=0)
    assert found(stack) == {6: "blank", 7: "torn", 12: "saturated", 16: "duplicate"}


def test_a_stack_that_breaks_off_is_blank_there_and_one_that_ends_gradually_is_not(tissue: Stack) -> None:
    stack = tissue.copy()
    stack[:2], stack[-3:] = 0, 7
    assert found(stack) == dict.fromkeys((0, 1, 15, 16, 17), "blank")
    y, x = np.indices(tissue.shape[1:])
    radius = np.hypot(y - 96, x - 104)
    for air in (np.zeros(tissue.shape), 60 + 3 * RNG(3).standard_normal(tissue.shape)):
        grown = np.linspace(-20, 80, len(tissue))[:, None, None]
        specimen = np.where(radius < grown, tissue, np.rint(air)).astype(np.uint8)
        assert set(found(specimen).values()) <= {"duplicate"}


def test_sections_that_hardly_resemble_their_neighbours_and_stacks_without_structure_are_left_alone() -> None:
    sections = Phantom.random((200, 192, 208), cell=32.0, seed=5).volume(range(0, 200, 12), (192, 208))
    shifts = RNG(4).integers(-6, 7, (len(sections), 2))
    moved = np.stack([np.roll(plane, shift, (0, 1)) for plane, shift in zip(sections, shifts, strict=True)])
    assert found(sections) == found(moved) == {}
    assert found(RNG(5).integers(0, 255, (12, 96, 96), np.uint8)) == {}
    assert found(with_plane(moved, DEFECTS["lower half empty"][0])) == {AT: "torn"}


def test_tiny_stacks_are_no_trouble(tissue: Stack) -> None:
    assert found(np.arange(4.0).reshape(4, 1, 1)) == {}
    assert found(np.arange(60).reshape(4, 3, 5)) == {}
    assert found(tissue[:1]) == found(tissue[:2]) == found(tissue[:3]) == {}
    assert found(np.zeros((4, 20, 24), np.uint8)) == {1: "duplicate", 2: "duplicate", 3: "duplicate"}
    assert found(np.full((3, 20, 24), np.nan, np.float32)) == {1: "duplicate", 2: "duplicate"}


def test_a_line_about_defects_stays_short() -> None:
    assert describe_defects(()) == ""
    some = [Defect(17, "blank"), Defect(18, "blank"), Defect(19, "torn"), Defect(31, "torn"), Defect(40, "duplicate")]
    assert describe_defects(some) == "17-18 blank, 19 torn, 31 torn, 40 duplicate"
    assert describe_defects([Defect(k, "torn") for k in range(0, 40, 2)]).endswith("14 torn and 12 more")


REAL = ("val/fibsem_medulla_val", "val/uct_mouse_head", "val/sstem_cremi", "val/sstem_vnc", "train/uct_fiberform")


@pytest.mark.parametrize("name", REAL)
def test_no_plane_of_a_real_volume_is_called_and_a_spoilt_one_is(name: str, data: Path) -> None:
    volume: Stack = tifffile.imread(data / f"{name}.tif")
    first = max(0, len(volume) // 2 - 16)
    stack = volume[first : first + 32]
    for planes in (stack, stack[::2], volume[:24, :, :200].transpose(2, 0, 1)):
        assert found(planes) == {}
    kinds = ["constant", "clipped", "white", "middle empty"]
    if name == "val/fibsem_medulla_val":
        kinds += ["lower half 8 px off", "lower half upside down"]
    for kind in kinds:
        change, label = DEFECTS[kind]
        assert found(with_plane(stack, change)) == {AT: label}
