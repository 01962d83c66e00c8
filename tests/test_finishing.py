"""What is done to one synthesised plane, step by step."""

import json
from dataclasses import astuple, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tests.conftest import make_stack
from zinterp.finishing import (
    BLEND,
    Finished,
    Finishing,
    Measures,
    Region,
    Surroundings,
    decibels,
    even_out,
    fall_back,
    finish,
    from_json,
    restore,
    to_json,
    unsure,
)
from zinterp.interpolators.cubic import CubicInterpolator
from zinterp.pulsing import Pair, Statistics
from zinterp.sharpening import Sharpening, sharpen

Plane = NDArray[np.float32]
ALL = Finishing(fallback_above=0.1, sharpening=Sharpening(), even_contrast=True, grain_seed=5, flag_below=30)
STEPS = {
    "none": Finishing(),
    "fallback": Finishing(fallback_above=0.1),
    "sharpening": Finishing(sharpening=Sharpening(), even_contrast=True),
    "amount": Finishing(sharpening=Sharpening(1.5), even_contrast=True),
    "grain": Finishing(grain_seed=5, even_contrast=True),
    "all": ALL,
}


def context(shape: tuple[int, int] = (40, 48), planes: int = 4, seed: int = 0) -> Plane:
    """Planes around a gap."""
    return make_stack((planes, *shape), "float32", seed)


def blend(planes: Plane, t: float = 0.5) -> Plane:
    """Linear interpolation between the middle two."""
    middle = len(planes) // 2
    return planes[middle - 1] + np.float32(t) * (planes[middle] - planes[middle - 1])


def finished(
    finishing: Finishing, planes: Plane, plane: Plane | None = None, sigma: Plane | float | None = 0.05, number: int = 1
) -> Finished:
    """A plane in the middle of a gap, taken through all steps."""
    plane = blend(planes) if plane is None else plane
    deviations = np.full_like(plane, sigma) if isinstance(sigma, float) else sigma
    return finish(
        finishing, plane=plane, sigma=deviations, restored=None, around=Surroundings(planes), t=0.5, number=(0, number)
    )


def measures(made: Finished) -> Measures:
    """What was measured, the plane being written as it is."""
    return made.measures(Statistics.of(made.plane))


def test_without_any_step_the_plane_stays_as_it_is() -> None:
    planes = context()
    made = finished(Finishing(), planes)
    assert np.array_equal(made.plane, blend(planes))
    found = measures(made)
    pair = Pair.of(planes[1], planes[2])
    assert found == Measures(
        Statistics.of(blend(planes)),
        pair.expected(0.5),
        pair.blended(0.5),
        sigma=pytest.approx(0.05),
        decibels=pytest.approx(26.0206, abs=1e-4),
    )


def test_a_model_without_uncertainty_has_none() -> None:
    made = finished(replace(ALL, fallback_above=None), context(), sigma=None)
    assert made.sigma is None
    assert (measures(made).sigma, measures(made).decibels, measures(made).regions) == (None, None, ())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("shape", [(40, 48), (1, 1), (1, 40), (40, 1), (17, 2)])
def test_equal_planes_give_back_that_plane(step: str, shape: tuple[int, int]) -> None:
    plane = context(shape)[0]
    made = finished(STEPS[step], np.stack([plane] * 4), plane, sigma=1e-3)
    if step == "amount":  # an amount that is given is obeyed
        assert np.isfinite(made.plane).all()
    else:
        assert np.array_equal(made.plane, plane)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_planes_stay_constant(step: str, value: float) -> None:
    planes = np.full((4, 30, 40), value, np.float32)
    planes[2:] += np.float32(0.1)
    made = finished(STEPS[step], planes)
    assert np.allclose(made.plane, value + 0.05, atol=1e-6)
    assert np.isfinite(list(astuple(measures(made).statistics))).all()


def test_what_sharpening_and_grain_add_widens_the_deviations() -> None:
    planes = context((96, 96))
    plane = blend(planes)
    sharper, amount, radius = sharpen(plane, planes[1], planes[2], 0.5, Sharpening())
    made = finished(Finishing(sharpening=Sharpening()), planes)
    assert (measures(made).sharpening, measures(made).radius) == (amount, radius)
    assert amount > 0
    assert np.array_equal(made.plane, sharper)
    assert made.sigma is not None
    assert np.allclose(made.sigma, np.hypot(0.05, sharper - plane))
    grainy = finished(Finishing(grain_seed=3), planes)
    assert grainy.sigma is not None
    added = measures(grainy).grain
    assert added is not None
    assert added > 0.01
    assert np.std(grainy.plane - plane) == pytest.approx(added, rel=0.1)
    assert np.mean(grainy.sigma**2) == pytest.approx(0.05**2 + added**2, rel=1e-4)


def test_grain_goes_by_seed_and_plane() -> None:
    planes = context((64, 64))
    once = finished(Finishing(grain_seed=3), planes).plane
    assert np.array_equal(once, finished(Finishing(grain_seed=3), planes).plane)
    assert not np.array_equal(once, finished(Finishing(grain_seed=4), planes).plane)
    assert not np.array_equal(once, finished(Finishing(grain_seed=3), planes, number=2).plane)


def test_the_cubic_value_comes_where_the_model_is_too_unsure() -> None:
    planes = context((60, 80))
    plane, cubic = blend(planes), CubicInterpolator()(planes[None], np.float32([0.5]))[0, 0]
    sigma = np.full_like(plane, 0.05)
    sigma[:, 40:] = 0.2
    made, share = fall_back(plane, sigma, planes, 0.5, threshold=0.1)
    reach = int(3 * BLEND)
    assert np.array_equal(made[:, : 40 - reach], plane[:, : 40 - reach])
    assert np.allclose(made[:, 40 + reach :], cubic[:, 40 + reach :], atol=1e-6)
    assert share == pytest.approx(0.5, abs=1e-6)
    found = np.mean((made - plane) * (cubic - plane), axis=0) / np.mean((cubic - plane) ** 2, axis=0)
    assert (np.diff(found) >= -1e-3).all()
    assert np.diff(found).max() < 0.25  # no seam
    assert measures(finished(Finishing(fallback_above=0.1), planes, sigma=sigma)).fallback == share


@pytest.mark.parametrize(("sigma", "share"), [(0.07, 0), (0.0875, 0.25), (0.1, 0.5), (0.1125, 0.75), (0.13, 1)])
def test_how_unsure_decides_how_cubic(sigma: float, share: float) -> None:
    planes = context()
    assert fall_back(blend(planes), np.full((40, 48), sigma, np.float32), planes, 0.5, 0.1)[1] == pytest.approx(
        share, abs=1e-5
    )


@pytest.mark.parametrize("threshold", [1e3, 1e300])
def test_a_threshold_that_is_never_reached_changes_nothing(threshold: float) -> None:
    planes = context()
    made, share = fall_back(blend(planes), np.full((40, 48), 0.9, np.float32), planes, 0.5, threshold)
    assert np.array_equal(made, blend(planes))
    assert share == 0


@pytest.mark.parametrize("threshold", [1e-7, 1e-50])
def test_a_threshold_that_is_always_reached_makes_it_cubic(threshold: float) -> None:
    planes = context()
    sigma = np.full((40, 48), 1e-3, np.float32)
    cubic = CubicInterpolator()(planes[None], np.float32([0.3]))[0, 0]
    made, share = fall_back(blend(planes), sigma, planes, 0.3, threshold)
    assert np.allclose(made, cubic, atol=1e-6)
    assert share == pytest.approx(1)
    sigma[:] = 0
    assert np.array_equal(fall_back(blend(planes), sigma, planes, 0.3, threshold)[0], blend(planes))


@pytest.mark.parametrize(("count", "used"), [(2, [0, 0, 1, 1]), (4, [0, 1, 2, 3]), (6, [1, 2, 3, 4])])
def test_the_cubic_value_takes_the_two_planes_on_each_side(count: int, used: list[int]) -> None:
    planes = context(planes=count)
    cubic = CubicInterpolator()(planes[used][None], np.float32([0.25]))[0, 0]
    made, _ = fall_back(blend(planes), np.ones((40, 48), np.float32), Surroundings(planes).near, 0.25, 0.1)
    assert np.allclose(made, cubic, atol=1e-6)


@pytest.mark.parametrize(("off", "corrected"), [(0.03, False), (0.05, True), (-0.03, False), (-0.05, True)])
def test_the_mean_is_evened_out_where_it_is_farther_off_than_the_neighbours_differ(off: float, corrected: bool) -> None:
    planes = context()
    planes[2] += planes[1].mean() + np.float32(0.04) - planes[2].mean()
    plane = blend(planes)
    made = even_out(plane + np.float32(off), Surroundings(planes), 0.5, contrast=False)
    assert np.allclose(made, plane + (0 if corrected else np.float32(off)), atol=1e-6)


@pytest.mark.parametrize("contrast", [False, True])
@pytest.mark.parametrize(("gain", "left"), [(0.9, 1.0), (0.98, 0.98), (0.5, 0.625), (1.1, 1.0), (2.0, 1.6)])
def test_the_contrast_is_evened_out_where_it_is_asked_for(gain: float, left: float, contrast: bool) -> None:
    """Neighbours whose contrasts differ by 4 %, and a plane of these; it is changed by a quarter at most."""
    plane = context()[0]
    mean = plane.mean()
    planes = np.stack([plane, plane, mean + np.float32(1.04) * (plane - mean), plane])
    expected = Surroundings(planes).pair.expected(0.5).contrast
    given = mean + np.float32(gain * 1.02) * (plane - mean)
    made = even_out(given, Surroundings(planes), 0.5, contrast=contrast)
    assert made.std() == pytest.approx(expected * (left if contrast else gain), rel=1e-4)
    assert made.mean() == pytest.approx(mean, abs=1e-6)


def test_grey_levels_keep_their_digits_where_the_mean_is_evened_out() -> None:
    plane = context()[0]
    plane[:30] += np.float32(90)  # so that the mean has fewer digits than the rows below
    made = even_out(plane + np.float32(1 / 128), Surroundings(np.stack([plane] * 4)), 0.5, contrast=False)
    assert np.abs(made[30:] - plane[30:]).max() < 5e-7


@pytest.mark.parametrize("value", [1e3, 1e12, 1e36, -1e36])
@pytest.mark.parametrize("step", ["none", "fallback", "all"])
def test_hot_pixels_do_not_change_the_others(value: float, step: str) -> None:
    planes = context((64, 64))
    clean = finished(STEPS[step], planes).plane
    planes[1:3, 20, 20] = value
    plane = blend(planes)
    plane[20, 20] *= np.float32(1.125)  # as cubic interpolation overshoots
    made = finished(STEPS[step], planes, plane).plane
    assert np.isfinite(made).all()
    far = np.hypot(*np.indices((64, 64)) - 20) > 12
    assert np.abs(made - clean)[far].max() < (0.2 if step == "all" else 1e-6)  # grain is drawn anew
    assert np.abs(made[far]).max() < 2
    assert made[20, 20] == pytest.approx(plane[20, 20], rel=1e-3)


def test_a_plane_with_values_that_are_not_finite_is_not_spoilt_altogether() -> None:
    planes = context((64, 64))
    plane = blend(planes)
    plane[3, 4], plane[5, 6] = np.nan, np.inf
    made = finished(Finishing(even_contrast=True), planes, plane).plane
    assert np.isfinite(made).sum() == made.size - 2


def test_planes_as_acquired_say_what_is_expected_where_drift_was_taken_out() -> None:
    planes = context((64, 64))
    seen = np.stack([ndimage.gaussian_filter(plane, 1) for plane in planes])
    around = Surroundings(seen, planes[1:3])
    assert around.pair == Pair.of(planes[1], planes[2])
    assert around.mixture == Pair.of(seen[1], seen[2])
    made = finish(Finishing(), blend(seen), None, None, around, 0.5, (0, 1))
    assert measures(made).expected == around.pair.expected(0.5)
    assert measures(made).linear == around.mixture.blended(0.5)
    assert around.pair.expected(0.5).gradient_energy > 1.5 * around.mixture.expected(0.5).gradient_energy
    shift = np.float32(0.2)  # as where drift moves what is dark out of sight
    plane = blend(seen) + shift
    assert np.array_equal(even_out(plane, Surroundings(seen + shift, planes[1:3]), 0.5, contrast=False), plane)


@pytest.mark.parametrize(("sigma", "psnr"), [(1.0, 0), (0.1, 20), (0.01, 40), (0.0, 120)])
def test_deviations_let_expect_a_psnr(sigma: float, psnr: float) -> None:
    assert decibels(np.full((30, 40), sigma, np.float32)) == pytest.approx(psnr, abs=1e-5)


def test_the_least_sure_squares_are_named_in_order() -> None:
    sigma = np.full((300, 400), 0.01, np.float32)
    sigma[130:140, 260:270] = 0.5
    sigma[256:, 384:] = 0.1
    first, second = unsure(sigma, 30)
    assert first == Region(20.0, 256, 384)
    assert (second.row, second.column) == (128, 256)
    assert second.decibels == pytest.approx(-10 * np.log10((100 * 0.25 + (128**2 - 100) * 1e-4) / 128**2), abs=0.01)
    assert unsure(sigma, 15) == []
    everywhere = unsure(sigma, 60)
    assert len(everywhere) == 8
    assert everywhere[:2] == [first, second]


def test_regions_are_named_only_where_planes_are_to_be_flagged() -> None:
    planes = context()
    assert measures(finished(Finishing(flag_below=26.5), planes)).regions == (Region(26.02, 0, 0),)
    assert measures(finished(Finishing(flag_below=25), planes)).regions == ()
    assert measures(finished(Finishing(), planes)).regions == ()


def test_measures_go_through_json_and_come_back() -> None:
    rows = [
        measures(finished(ALL, context((64, 64)))),
        Measures(Statistics(-1e30, 0.1 + 0.2, 1e60)),
        Measures(Statistics(0.5, float("inf"), 5e-324), regions=(Region(1.25, 0, 128), Region(3.0, 128, 0))),
    ]
    assert rows[0].regions
    assert from_json(json.loads(json.dumps(to_json(rows)))) == rows


def test_the_record_has_all_that_decides_grey_values() -> None:
    assert json.loads(json.dumps(ALL.record())) == {
        "fallback_above": 0.1,
        "sharpening": {"amount": "auto", "radius": None, "threshold": 0.0},
        "even_contrast": True,
        "grain_seed": 5,
    }
    assert Finishing(sharpening=Sharpening(2.0)).record()["sharpening"]["amount"] == 2
    assert Finishing(flag_below=3).record() == Finishing().record()


def test_fallback_widens_the_deviations_by_what_it_changes() -> None:
    context = np.random.default_rng(0).random((4, 40, 48), dtype=np.float32)
    plane, sigma = context[1:3].mean(axis=0), np.full((40, 48), 0.3, np.float32)
    made = finish(Finishing(fallback_above=0.1), plane, sigma, None, Surroundings(context), 0.5, (0, 1))
    assert made.sigma is not None
    changed = np.abs(made.plane - plane)
    assert changed.max() > 0.05
    assert np.allclose(made.sigma, np.hypot(0.3, changed), atol=2e-3)


def test_restoration_is_added_until_a_plane_is_nearly_as_sharp_as_its_neighbours() -> None:
    context = np.random.default_rng(0).random((2, 60, 70), dtype=np.float32)
    around = Surroundings(context)
    plane, target = context.mean(axis=0), around.pair.expected(0.5).gradient_energy
    added = np.random.default_rng(1).normal(0, 0.25, plane.shape).astype(np.float32)
    restored, amount = restore(plane, plane + added, around, 0.5)
    assert 0.1 < amount < 1.5
    assert Statistics.of(restored).gradient_energy == pytest.approx(0.94 * target, rel=1e-3)
    assert np.allclose(restored, plane + np.float32(amount) * added, atol=1e-6)
    assert restore(plane, plane + added / 100, around, 0.5)[1] == 1.5
    sharp = context[0].copy()
    same, none = restore(sharp, sharp + added, around, 0.5)
    assert (same is sharp, none) == (True, 0.0)


def test_grain_and_contrast_make_no_plane_sharper_than_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    context = (0.5 + 0.1 * rng.standard_normal((2, 96, 96))).astype(np.float32)
    around = Surroundings(context)
    target = around.pair.expected(0.5).gradient_energy
    grainy = finish(Finishing(grain_seed=3, even_contrast=True), context.mean(axis=0), None, None, around, 0.5, (0, 1))
    assert 0.9 * target < Statistics.of(grainy.plane).gradient_energy < 1.02 * target
    sharp = context[0] * np.float32(0.9)  # of little contrast, and yet nearly as sharp
    again = finish(Finishing(grain_seed=3, even_contrast=True), sharp, None, None, around, 0.5, (0, 1))
    assert Statistics.of(again.plane).gradient_energy < 1.02 * target
