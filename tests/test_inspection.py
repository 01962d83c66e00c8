"""What an inspection finds in stacks that are spoilt on purpose, and that healthy ones are left alone."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy import ndimage

from tests.faults import KINDS, damage, matched
from zinterp.breaks import find_breaks
from zinterp.cli.info import command
from zinterp.glance import glance_at
from zinterp.inspection import Inspection, describe_faults, inspect, thinnest
from zinterp.interpolators import create_interpolator
from zinterp.job import plan_job
from zinterp.options import UpsampleOptions
from zinterp.phantom import Phantom
from zinterp.pipeline import ArrayReader
from zinterp.plane_faults import Fault, find_faults
from zinterp.stripes import measure_stripes
from zinterp.structure import Reach, Structure, measure_structure
from zinterp.volume import VoxelSize

Stack = NDArray[np.generic]
Image = NDArray[np.float64]
RNG = np.random.default_rng
AT = 15
MARGIN = 16


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.uint8]:
    """Thirty planes of tissue, with noise, and a margin of 16 pixels around 160 x 176."""
    return Phantom.random((30, 192, 208), cell=32.0, seed=8).volume(range(30), (192, 208), noise=0.03)


def cut(plane: Stack, y: int = 0, x: int = 0) -> Stack:
    """What is inside of the margin if all is shifted by (y, x)."""
    return plane[..., MARGIN - y : plane.shape[-2] - MARGIN - y, MARGIN - x : plane.shape[-1] - MARGIN - x]


def found(stack: Stack) -> dict[int, str]:
    """What is wrong with which plane."""
    return {fault.plane: fault.kind for fault in find_faults(ArrayReader(stack))}


def inspected(stack: Stack, size: VoxelSize | None = None) -> Inspection:
    """The inspection of an array."""
    return inspect(ArrayReader(stack), size)


def brighter(offset: float) -> Callable[[Stack], Stack]:
    """Adds grey levels."""
    return lambda plane: np.clip(plane.astype(float) + offset, 0, 255).astype(plane.dtype)


def contrasted(gain: float) -> Callable[[Stack], Stack]:
    """Multiplies contrast about the mean."""
    return lambda plane: np.clip((plane.astype(float) - plane.mean()) * gain + plane.mean(), 0, 255).astype(plane.dtype)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_healthy_stacks_have_no_faults_even_if_sparse(step: int, tissue: Stack) -> None:
    assert find_faults(ArrayReader(cut(tissue)[::step])) == ()


@pytest.mark.parametrize("shift", [(5, 0), (0, -7), (-9, 12), (3, 3)])
def test_a_shifted_plane_and_a_jump_of_the_stage_are_found(shift: tuple[int, int], tissue: Stack) -> None:
    stack = cut(tissue).copy()
    stack[AT] = cut(tissue[AT], *shift)
    (one,) = find_faults(ArrayReader(stack))
    assert (one.plane, one.kind) == (AT, "shifted")
    assert one.shift == pytest.approx(shift, abs=0.7)
    stack[AT:] = cut(tissue[AT:], *shift)
    (one,) = find_faults(ArrayReader(stack))
    assert (one.plane, one.kind) == (AT, "shifted from here")
    assert one.shift == pytest.approx(shift, abs=1)


def test_drift_is_no_fault_and_does_not_hide_a_shift(tissue: Stack) -> None:
    drifting = np.stack([cut(plane, (k - 15) // 3, 15 - k) for k, plane in enumerate(tissue)])
    assert found(drifting) == {}
    drift = inspected(drifting).drift
    assert drift is not None
    assert drift.largest_step == pytest.approx(np.sqrt(2), abs=0.7)
    assert drift.total == pytest.approx(np.hypot(10, 29), abs=4)
    drifting[AT] = cut(tissue[AT], 8, -6)
    assert found(drifting) == {AT: "shifted"}
    shifted = inspected(drifting).drift
    assert shifted is not None
    assert shifted.largest_step < 2


@pytest.mark.parametrize("change", [brighter(25), brighter(-25), contrasted(0.7), contrasted(1.4)])
def test_jumps_of_brightness_and_contrast_are_found(change: Callable[[Stack], Stack], tissue: Stack) -> None:
    stack = cut(tissue).copy()
    stack[AT] = change(stack[AT])
    assert found(stack) == {AT: "jump"}
    stack = cut(tissue).copy()
    stack[AT:] = [change(plane) for plane in stack[AT:]]
    assert found(stack) == {AT: "jump from here"}


def test_amounts_of_jumps_are_told(tissue: Stack) -> None:
    stack = cut(tissue).astype(np.float32)
    contrast = float(np.median([ndimage.uniform_filter(plane, 8)[4::8, 4::8].std() for plane in stack]))
    stack[AT] += contrast
    stack[AT + 5] = (stack[AT + 5] - stack[AT + 5].mean()) * 1.5 + stack[AT + 5].mean()
    one, other = find_faults(ArrayReader(stack))
    assert one.brightness == pytest.approx(1, abs=0.15)
    assert one.contrast == 1
    assert other.contrast == pytest.approx(1.5, abs=0.05)


def test_brightness_that_fades_is_no_jump(tissue: Stack) -> None:
    gain = np.linspace(0.6, 1.0, len(tissue))[:, None, None]
    assert found((cut(tissue) * gain).astype(np.uint8)) == {}


def test_rows_that_are_displaced_a_little_are_found_and_turning_is_no_tear(tissue: Stack) -> None:
    for rows in (slice(80, 160), slice(50, 110)):
        stack = cut(tissue).copy()
        stack[AT, rows] = cut(tissue[AT], 0, 5)[rows]
        assert found(stack) == {AT: "torn"}
    stack = cut(tissue).copy()
    stack[AT] = ndimage.rotate(stack[AT], 3, reshape=False, order=1, mode="nearest")
    assert "torn" not in found(stack).values()


def test_rows_that_are_empty_in_small_planes_are_torn(tissue: Stack) -> None:
    stack = tissue[:, :96, :96].copy()
    stack[AT, 60:] = 0
    stack[AT - 8, 30:60] = 90
    assert found(stack) == {AT: "torn", AT - 8: "torn"}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda stack: stack.astype(np.uint16) * 200, id="uint16"),
        pytest.param(lambda stack: (stack.astype(np.int16) - 128).astype(np.int8), id="int8"),
        pytest.param(lambda stack: stack.astype(np.int16) * 100 - 9000, id="int16"),
        pytest.param(lambda stack: stack.astype(np.float32) / 7e4 - 3, id="float32"),
        pytest.param(lambda stack: stack.astype(np.float32) * 1e30, id="huge"),
    ],
)
def test_faults_do_not_depend_on_the_dtype(change: Callable[[Stack], Stack], tissue: Stack) -> None:
    stack = cut(tissue).copy()
    stack[6] = cut(tissue[6], 6, -4)
    stack[12] = 0
    stack[18] = contrasted(0.6)(stack[18])
    stack[24, 80:] = cut(tissue[24], 0, 9)[80:]
    assert found(change(stack)) == {6: "shifted", 12: "blank", 18: "jump", 24: "torn"}


def test_missing_values_are_passed_over(tissue: Stack) -> None:
    stack = cut(tissue).astype(np.float32)
    stack[:, :20, :30] = np.nan
    stack[7, 90, 90] = np.inf
    stack[20] += 40
    check = inspected(stack)
    assert [(fault.plane, fault.kind) for fault in check.faults] == [(20, "jump")]
    assert check.structure.neighbours is not None


@pytest.mark.parametrize(
    "stack",
    [
        np.zeros((2, 1, 1), np.uint8),
        np.zeros((3, 40, 50), np.uint8),
        np.full((4, 30, 40), np.nan, np.float32),
        np.arange(60).reshape(4, 3, 5),
        RNG(0).integers(0, 255, (2, 90, 100), np.uint8),
        RNG(0).integers(0, 255, (1, 90, 100), np.uint8),
        RNG(0).integers(0, 255, (12, 90, 20), np.uint8),
        RNG(1).standard_normal((6, 400, 3)).astype(np.float32),
    ],
    ids=lambda stack: "x".join(map(str, stack.shape)),
)
def test_tiny_and_constant_stacks_are_no_trouble(stack: Stack) -> None:
    check = inspected(stack)
    assert {fault.kind for fault in check.faults} <= {"duplicate"}
    assert check.factors == () or check.structure.neighbours is not None
    assert glance_at(ArrayReader(stack), list(range(len(stack)))).faults == ()


def test_where_all_is_well_nothing_is_wrong(tissue: Stack) -> None:
    check = inspected(cut(tissue), VoxelSize(0.04, 0.01, 0.01))
    assert check.is_sound
    assert not check.is_fine
    assert check.stripes.curtaining < 0.1
    assert check.factors == (2, 3, 4)


def curtains(plane: Image, strength: float) -> Image:
    """The plane with stripes along y."""
    stripes = ndimage.gaussian_filter1d(RNG(1).standard_normal(plane.shape[1]), 1.5)
    return plane + strength * plane.std() / stripes.std() * stripes


@pytest.mark.parametrize("strength", [0.1, 0.4, 0.8])
def test_curtains_are_measured_along_y_only(strength: float, tissue: Stack) -> None:
    planes = [curtains(plane.astype(float), strength) for plane in tissue[:6]]
    expected = strength / np.hypot(1, strength)  # of the contrast that the curtains are part of
    assert measure_stripes(planes).curtaining == pytest.approx(expected, abs=0.05)
    assert measure_stripes([plane.T for plane in planes]).curtaining < 0.1
    assert inspected(np.stack(planes)).curtains == (strength > 0.2)


def test_streaks_are_counted(tissue: Stack) -> None:
    planes = cut(tissue).astype(np.float32)
    for k in range(0, 30, 2):
        planes[k, 40 + 3 * k, 30:150] += 60
    check = inspected(planes)
    assert check.stripes.streaked_planes >= 6
    assert 0.002 < check.stripes.streaked_rows < 0.006
    assert measure_stripes(cut(tissue)).streaked_rows < 0.002  # edges that lie along x
    assert not inspected(cut(tissue)).streaks
    for k in range(1, 30, 2):
        planes[k, 40 + 3 * k, 30:150] -= 60
    assert inspected(planes).streaks
    assert not inspected(planes).is_sound


def structure_of(planes: Stack) -> Structure:
    """How far structure reaches in an array."""
    return measure_structure(lambda k: planes[k], len(planes))


def grains(sigmas: tuple[float, float, float], noise: float, shape: tuple[int, int, int] = (48, 160, 160)) -> Stack:
    """Smoothed noise, whose correlation is a Gaussian of a root of two times as wide a deviation, and fresh noise."""
    smooth = ndimage.gaussian_filter(RNG(3).standard_normal(shape), sigmas, mode="wrap")
    return smooth / smooth.std() + noise * RNG(4).standard_normal(shape)


@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_correlation_lengths_are_those_of_structure_without_noise(noise: float) -> None:
    found = structure_of(grains((2, 4, 4), noise))
    assert found.in_plane is not None
    assert found.along_z is not None
    half = np.sqrt(4 * np.log(2))  # of a Gaussian correlation, in deviations of the filter
    assert found.in_plane.length == pytest.approx(4 * half, rel=0.15)
    assert found.along_z.length == pytest.approx(2 * half, rel=0.15)
    assert found.neighbours == pytest.approx(np.exp(-1 / 16), abs=0.03)


def test_blur_along_z_is_what_goes_beyond_the_plane() -> None:
    size = VoxelSize(0.01, 0.01, 0.01)
    blur = structure_of(grains((5, 3, 3), 0.2)).blur(size)
    assert blur == pytest.approx(2.355 * 4 * 0.01, rel=0.25)  # filters of deviations 3 and 4 make one of 5
    assert structure_of(grains((3, 3, 3), 0.2)).blur(size) == 0
    assert structure_of(grains((3, 3, 3), 0.2)).blur(VoxelSize(None, 0.01, 0.01)) is None
    assert structure_of(grains((0.3, 3, 3), 0.2)).blur(size) is None


def test_factors_follow_from_the_pixel_size_and_what_neighbours_share() -> None:
    alike, related, strangers = (Structure(neighbours, Reach(5), Reach(2)) for neighbours in (0.9, 0.4, 0.1))
    assert alike.factors(VoxelSize()) == (2, 3, 4, 5, 6, 8)
    assert alike.factors(VoxelSize(0.04, 0.01, 0.01)) == (2, 3, 4)
    assert alike.factors(VoxelSize(0.01, 0.01, 0.01)) == ()
    assert related.factors(VoxelSize(0.04, 0.01, 0.01)) == (2,)
    assert strangers.factors(VoxelSize()) == Structure().factors(VoxelSize()) == ()
    assert thinnest(VoxelSize(0.04)) == "structures thinner than about 40 nm in z may be absent from synthesised planes"
    assert "the distance of two planes" in thinnest(VoxelSize())


def test_a_step_that_is_taken_back_is_one_and_one_that_stays_another() -> None:
    steps = 0.1 * RNG(0).standard_normal((40, 2))
    assert find_breaks(steps, 1.0) == []
    steps[10], steps[11] = (5, 1), (-5, -1)
    steps[25] = (0, 4)
    one, other = find_breaks(steps, 1.0)
    assert (one.first, one.lasting, other.first, other.lasting) == (11, False, 26, True)
    assert one.step == pytest.approx((5, 1), abs=0.4)
    assert other.size == pytest.approx(4, abs=0.4)
    assert find_breaks(steps, 6.0) == find_breaks(steps[:3], 1.0) == []
    apart = np.ones(40, int)
    apart[25] = 5
    assert [b.first for b in find_breaks(steps, 1.0, apart)] == [11]


def test_a_line_about_faults_stays_short() -> None:
    assert describe_faults(()) == ""
    faults = [
        Fault(3, "blank"),
        Fault(4, "blank"),
        Fault(9, "shifted", (3.0, 4.0)),
        Fault(20, "jump from here", brightness=-0.5, contrast=1.25),
    ]
    assert describe_faults(faults) == (
        "3-4 blank, 9 shifted by 5.0 pixels, 20 0.5 deviations darker and 1.2 times the contrast from here on"
    )
    assert describe_faults([Fault(k, "torn") for k in range(0, 40, 2)]).endswith("14 torn and 12 more")


def test_a_quick_look_names_what_it_meets(tissue: Stack) -> None:
    stack = cut(tissue).copy()
    healthy = glance_at(ArrayReader(stack), list(range(30)))
    assert (healthy.pairs, healthy.faults) == (29, ())
    stack[8] = 0
    stack[16] = brighter(40)(stack[16])
    stack[24] = stack[23]
    planes = list(range(30))
    assert {(f.plane, f.kind) for f in glance_at(ArrayReader(stack), planes).faults} == {
        (8, "blank"),
        (16, "jump"),
        (24, "duplicate"),
    }
    kept = [k for k in planes if k not in (8, 24)]
    assert {(f.plane, f.kind) for f in glance_at(ArrayReader(stack), kept, measure_drift=False).faults} == {
        (16, "jump")
    }
    curtained = np.stack([curtains(plane.astype(float), 0.8) for plane in stack[:5]])
    assert glance_at(ArrayReader(curtained), list(range(5))).curtaining > 0.4


REAL = {
    "val/fibsem_medulla_val": (slice(60), slice(160), slice(160)),
    "train/fibsem_medulla_4": (slice(60), slice(90, 250), slice(90, 250)),
    "train/tomo_filaments_1": (slice(None), slice(None), slice(None)),
    "train/uct_soil": (slice(None), slice(200), slice(160)),
    "train/uct_fiberform": (slice(None), slice(None), slice(None)),
}
ROUNDS = 3


def test_faults_put_into_real_volumes_are_found_and_healthy_planes_are_not_named(data: Path) -> None:
    counts: Counter[str] = Counter()
    for name, part in REAL.items():
        stack = tifffile.imread(data / f"{name}.tif")[part]
        for step in (1, 2):
            counts.update(false=len(found(stack[::step])), healthy=len(stack[::step]))
        for seed in range(ROUNDS):
            damaged, injected = damage(stack, seed)
            faults = find_faults(ArrayReader(damaged))
            for row in matched(injected, faults).values():
                counts.update(injected=row[0], found=row[1])
            spoilt = {fault.plane for fault in injected}
            counts.update(false=len({fault.plane for fault in faults} - spoilt), healthy=len(stack) - len(spoilt))
    assert counts["injected"] > len(KINDS)
    assert counts["found"] >= 0.95 * counts["injected"], counts
    assert counts["false"] < 0.01 * counts["healthy"], counts


@pytest.mark.parametrize("name", ["val/uct_mouse_head", "val/sstem_cremi", "val/sstem_vnc", "val/cryoet_microtubule"])
def test_other_real_volumes_have_no_faults(name: str, data: Path) -> None:
    stack = tifffile.imread(data / f"{name}.tif")[:40, :256, :256]
    assert found(stack) == found(stack[::2]) == {}


def notes_of(stack: Stack, **options: object) -> list[str]:
    """What a job says about a stack before it begins."""
    with ArrayReader(stack) as reader:
        needs = create_interpolator("linear").needs
        return [*plan_job(reader, UpsampleOptions(factor=2, **options), needs=needs, model="linear").notes]  # type: ignore[arg-type]


def test_a_job_warns_of_what_it_meets_in_one_line_a_kind_and_is_silent_otherwise(tissue: Stack) -> None:
    stack = cut(tissue).copy()
    assert notes_of(stack) == []
    stack[8] = 0
    stack[16] = brighter(40)(stack[16])
    stack[24] = cut(tissue[24], 0, 9)
    drift, spoilt, jump = notes_of(stack)
    assert drift.startswith("planes drift by ")
    assert spoilt == "planes that look spoilt: 8 blank: --skip auto leaves out all of that kind"
    assert jump.startswith("grey values jump: 16 ")
    left_out, *others = notes_of(stack, skip="auto", align=True)
    assert left_out == "left out 1 of 30 planes: 8 blank"
    assert [note.split(":")[0] for note in others] == ["grey values jump"]
    curtained = np.stack([curtains(plane.astype(float), 0.8) for plane in cut(tissue)[:5]])
    assert [note.split(" are ")[0] for note in notes_of(curtained)] == ["curtains"]


def test_info_prints_a_check_and_gives_it_as_json(tissue: Stack, tmp_path: Path) -> None:
    stack = cut(tissue).copy()
    good, bad, several = (str(tmp_path / f"{name}.tif") for name in ("good", "bad", "several"))
    metadata = {"spacing": 40.0, "unit": "nm"}
    tifffile.imwrite(good, stack, imagej=True, resolution=(0.1, 0.1), metadata=metadata | {"axes": "ZYX"})
    stack[AT] = 0
    tifffile.imwrite(bad, stack, photometric="minisblack")
    tifffile.imwrite(several, np.stack([stack[:9]] * 2, 1), imagej=True, metadata={"axes": "ZCYX"})
    result = CliRunner().invoke(command, ["--check", good, bad, several])
    assert result.exit_code == 0
    first, second, third = result.output.split(".tif\n")[1:]
    assert "  check       nothing wrong\n" in first
    assert "  factors     2, 3, 4 are reasonable" in first
    assert "structures thinner than about 40 nm in z may be absent from synthesised planes" in first
    assert "  check       1 faulty plane\n  faults      15 blank\n" in second
    assert "  z blur      not known without the voxel size\n" in second
    assert "nothing wrong in channel 1 at time 0" in third
    result = CliRunner().invoke(command, ["--check", "--json", bad])
    (check,) = json.loads(result.output)["check"]
    assert not check["sound"]
    assert [(fault["plane"], fault["kind"]) for fault in check["faults"]] == [(AT, "blank")]
    assert check["thinnest_um"] is None
    assert "check" not in json.loads(CliRunner().invoke(command, ["--json", bad]).output)


def test_info_says_where_nothing_can_be_measured(tmp_path: Path) -> None:
    for name, shape in {"empty": (3, 40, 50), "one": (1, 60, 60)}.items():
        path = tmp_path / f"{name}.tif"
        stack = np.zeros(shape, np.uint8) if name == "empty" else RNG(0).integers(0, 255, shape, np.uint8)
        tifffile.imwrite(path, stack, photometric="minisblack")
        result = CliRunner().invoke(command, ["--check", str(path)])
        assert result.exit_code == 0, result.output
        assert "  structure   " in result.output


def test_some_planes_alone_are_inspected_and_keep_their_numbers() -> None:
    stack = Phantom.random((24, 96, 96), cell=32.0, seed=3).volume(range(24), (96, 96))
    stack[15] = 0
    found = inspect(ArrayReader(stack), planes=range(8, 24))
    assert [(fault.plane, fault.kind) for fault in found.faults] == [(15, "blank")]
    assert found.planes == 16
    assert found.drift is None or found.drift.after >= 8
    assert inspect(ArrayReader(stack), planes=range(14)).is_sound
