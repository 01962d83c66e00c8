"""Statistics of planes, and how far a stack pulses by them."""

from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.conftest import DTYPES, make_stack
from zinterp.pulsing import (
    FEWEST_ROWS,
    MOST_PIXELS,
    STRIPS,
    Pair,
    Pulsing,
    Statistics,
    Synthesised,
    own_variation,
    pulsing,
    sampled_strips,
)

Plane = NDArray[np.generic]
FLAT = Statistics(0.5, 0.2, 0.01)
TIMES = (0.0, 0.25, 0.5, 0.9, 1.0)


def by_numpy(plane: Plane) -> tuple[float, float, float]:
    """Mean, standard deviation and gradient energy in float64."""
    values = plane.astype(np.float64)
    slopes = [np.gradient(values, axis=axis) for axis in (0, 1) if values.shape[axis] > 1]
    return values.mean(), values.std(), sum(float(np.mean(slope**2)) for slope in slopes)


def large(shape: tuple[int, int], seed: int = 0) -> NDArray[np.float32]:
    """A plane with a ramp, waves and grain."""
    rng = np.random.default_rng(seed)
    y, x = (np.linspace(0, 1, n, dtype=np.float32) for n in shape)
    smooth = y[:, None] + 0.5 * x + 0.3 * np.sin(40 * x) * np.cos(25 * y[:, None] + seed)
    return smooth + np.float32(0.05) * rng.standard_normal(shape, np.float32)


def off(t: float, mean: float = 0.0, contrast: float = 0.0, energy: float = 0.0) -> Synthesised:
    """A synthesised plane that is off by so much, while linear interpolation is off by twice as much."""
    there = [Statistics(0.5 + k * mean, 0.2 + k * contrast, 0.01 + k * energy) for k in (1, 0, 2)]
    return Synthesised(t, *there)


@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    dtype=st.sampled_from(DTYPES),
    scale=st.sampled_from([1, 1e-30, 1e18]),
)
def test_statistics_are_those_of_numpy(shape: tuple[int, int], dtype: str, scale: float) -> None:
    plane = make_stack((1, *shape), dtype)[0]
    if dtype == "float32":
        plane = plane * np.float32(scale)
    assert astuple(Statistics.of(plane)) == pytest.approx(by_numpy(plane), rel=1e-4, abs=1e-42)


def test_squares_that_float32_cannot_hold_do_not_overflow() -> None:
    plane = np.float32(1e35) * np.array([[0, 1], [3, 5]], np.float32)
    assert astuple(Statistics.of(plane)) == pytest.approx(by_numpy(plane), rel=1e-6)


def test_a_plane_without_any_difference_has_none() -> None:
    for value in (0.3, 1e30):
        assert Statistics.of(np.full((7, 9), value, np.float32)) == Statistics(float(np.float32(value)), 0.0, 0.0)


@pytest.mark.parametrize("shape", [(1300, 1700), (400, 12000), (200, 30000)])
def test_strips_of_large_planes_are_near_the_whole(shape: tuple[int, int]) -> None:
    plane = large(shape)
    fewest = STRIPS * FEWEST_ROWS * shape[1]
    assert sum(strip.size for strip in sampled_strips(plane)) <= min(max(2.5 * MOST_PIXELS, fewest), 0.6 * plane.size)
    assert astuple(Statistics.of(plane)) == pytest.approx(by_numpy(plane), rel=0.02)
    grain = np.random.default_rng(1).standard_normal(shape, np.float32) + 10  # ends of strips must not count as edges
    assert astuple(Statistics.of(grain)) == pytest.approx(by_numpy(grain), rel=0.02)


def test_strips_come_from_all_over_a_large_plane() -> None:
    rows = np.broadcast_to(np.arange(5000)[:, None], (5000, 6000))
    found = np.concatenate([strip[:, 0] for strip in sampled_strips(rows)])
    assert np.histogram(found, 10, (0, 5000))[0].min() > 0
    assert 4900 < found.min() + found.max() < 5100


def test_grey_levels_are_converted_before_they_are_measured() -> None:
    plane = make_stack((1, 30, 40), "uint16")[0]
    half = plane.astype(np.float32) / 2
    assert Statistics.of(plane, lambda strip: strip.astype(np.float32) / 2) == Statistics.of(half)


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (40, 48), (1200, 1000)])
@pytest.mark.parametrize("t", TIMES)
def test_the_statistics_of_a_linear_blend_follow_from_those_of_its_parts(shape: tuple[int, int], t: float) -> None:
    before, after = large(shape, 1), large(shape, 2)
    blend = before + np.float32(t) * (after - before)
    assert astuple(Pair.of(before, after).blended(t)) == pytest.approx(astuple(Statistics.of(blend)), rel=1e-4)


def test_a_blend_of_opposite_planes_is_flat() -> None:
    plane = large((30, 40))
    half = Pair.of(plane, -plane).blended(0.5)
    assert astuple(half) == pytest.approx((0, 0, 0), abs=1e-4)


def test_what_is_expected_lies_between_the_neighbours() -> None:
    pair = Pair(Statistics(0, 1, 4), Statistics(1, 3, 8), 0, 0)
    assert [astuple(pair.expected(t)) for t in (0, 0.25, 1)] == [(0, 1, 4), (0.25, 1.5, 5), (1, 3, 8)]


def test_planes_that_are_as_expected_do_not_pulse() -> None:
    assert pulsing([off(t) for t in (0.25, 0.5, 0.75)] * 3) == Pulsing(0, 0, 0)
    assert pulsing([]) == Pulsing(0, 0, 0)


def test_pulsing_is_the_deviation_of_the_profile_in_a_gap() -> None:
    profile = (0.0, -0.02, -0.04, -0.01)
    gaps = [[off(k / 4, value + scatter) for k, value in enumerate(profile) if k] for scatter in (-0.01, 0.01)]
    found = pulsing([plane for gap in gaps for plane in gap])
    assert found.mean == pytest.approx(np.std(profile) / 0.2)  # what differs from gap to gap is no pulsing
    assert (found.contrast, found.gradient_energy) == (0, 0)
    assert found.index == found.mean


def test_each_is_a_part_of_the_contrast_or_of_the_gradient_energy() -> None:
    found = pulsing([off(0.5, 0.01, 0.02, 0.003)])  # half of the planes are off: the deviation is half of it
    assert astuple(found) == pytest.approx((0.005 / 0.2, 0.01 / 0.2, 0.0015 / 0.01))
    assert found.index == found.gradient_energy


def test_linear_interpolation_is_measured_in_place_of_the_planes() -> None:
    planes = [off(0.5, 0.01, 0.02, 0.003)]
    assert astuple(pulsing(planes, linear=True)) == pytest.approx([2 * part for part in astuple(pulsing(planes))])


def test_one_wide_gap_does_not_count_for_all() -> None:
    """With ten gaps of which one is twice as wide, its planes at a quarter and three quarters are 2 of 12."""
    usual = [off(0.5)] * 10
    wide = [off(0.25, 0.1), off(0.75, 0.1)]
    signal = [0.0] * 10 + [0.0] * 10 + [0.1] * 2  # acquired, at a half, at the quarters
    assert pulsing([*usual, *wide]).mean == pytest.approx(np.std(signal) / 0.2)


def test_depths_that_differ_by_rounding_are_one() -> None:
    planes = [off(1 / 3, 0.01), off(float(np.float32(1 / 3)), -0.01)]
    assert pulsing(planes).mean == pytest.approx(0, abs=1e-12)


def test_planes_without_contrast_give_numbers() -> None:
    plain = Statistics(0.5, 0.0, 0.0)
    assert pulsing([Synthesised(0.5, plain, plain, plain)]) == Pulsing(0, 0, 0)
    brighter = Statistics(0.6, 0.0, 0.0)
    assert pulsing([Synthesised(0.5, brighter, plain, plain)]).mean == pytest.approx(0.05)
    assert own_variation([plain] * 4) == Pulsing(0, 0, 0)


def test_the_acquired_planes_own_variation_is_their_scatter() -> None:
    rng = np.random.default_rng(0)
    steady = [Statistics(0.1 * k, 0.2 + 0.01 * k, 0.01 + 0.001 * k) for k in range(10)]
    assert astuple(own_variation(steady)) == pytest.approx((0, 0, 0), abs=1e-12)
    scattered = [Statistics(0.5 + 0.01 * rng.standard_normal(), 0.2, 0.01) for _ in range(4000)]
    assert own_variation(scattered).mean == pytest.approx(0.01 / 0.2, rel=0.05)
    assert own_variation(scattered[:2]) == Pulsing(0, 0, 0)
    assert own_variation([FLAT, Statistics(0.8, 0.2, 0.01), FLAT]).mean == pytest.approx(0.3 / 1.5**0.5 / 0.2)
