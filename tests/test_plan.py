"""The grid of output planes and its cut into slabs."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zinterp.errors import BadOptionError
from zinterp.plan import TOLERANCE, ZGrid, checked_factor, evenly, plan_slabs

depth_lists = st.lists(st.integers(1, 99), min_size=1, max_size=6, unique=True).map(
    lambda percents: [Fraction(p, 100) for p in sorted(percents)]
)


def by_factor(planes: int, factor: int) -> ZGrid:
    """A grid of a whole number of times the density."""
    return ZGrid.by_step(evenly(planes), Fraction(1, checked_factor(factor)))


@given(planes=st.integers(2, 60), factor=st.integers(2, 12))
def test_factor_gives_the_documented_count_and_exact_places(planes: int, factor: int) -> None:
    grid = by_factor(planes, factor)
    assert len(grid) == (planes - 1) * factor + 1
    places = [sum(grid.locate(k)) for k in range(len(grid))]
    assert places == [Fraction(k, factor) for k in range(len(grid))]
    assert grid.step == Fraction(1, factor)


def test_depths_are_exact_decimals_and_only_even_ones_have_a_step() -> None:
    grid = ZGrid.by_depths(evenly(3), ["0.1", 0.5])
    assert [grid.locate(k) for k in range(len(grid))] == [
        (0, 0),
        (0, Fraction(1, 10)),
        (0, Fraction(1, 2)),
        (1, 0),
        (1, Fraction(1, 10)),
        (1, Fraction(1, 2)),
        (2, 0),
    ]
    assert grid.step is None
    assert ZGrid.by_depths(evenly(3), [0.25, 0.5, 0.75]) == by_factor(3, 4)


@given(planes=st.integers(2, 30), depths=depth_lists, depth=st.integers(1, 40), context=st.integers(1, 3))
def test_slabs_cover_the_output_once_and_read_all_they_need(
    planes: int, depths: list[Fraction], depth: int, context: int
) -> None:
    grid = ZGrid.by_depths(evenly(planes), depths)
    slabs = plan_slabs(grid, depth=depth, context=context)
    assert [k for slab in slabs for k in slab.target] == list(range(len(grid)))
    for slab in slabs:
        assert slab.target.start % depth == 0
        for k in slab.target:
            i, t = grid.locate(k)
            needed = range(i - context + 1, i + context + 1) if t else range(i, i + 1)
            assert all(min(max(n, 0), planes - 1) in slab.source for n in needed)
        assert 0 <= slab.source.start < slab.source.stop <= planes


@st.composite
def gapped_grids(draw: st.DrawFn) -> ZGrid:
    """Grids of which some planes, never the first or last, are dropped."""
    planes = draw(st.integers(2, 30))
    inner = st.lists(st.sampled_from(range(1, planes - 1)), unique=True) if planes > 2 else st.just([])
    return ZGrid.by_depths(evenly(planes), draw(depth_lists)).without(draw(inner))


@given(grid=gapped_grids())
def test_dropped_planes_leave_all_output_planes_in_their_places(grid: ZGrid) -> None:
    whole = replace(grid, dropped=())
    assert len(grid) == len(whole)
    for k in range(len(grid)):
        before, t = grid.locate(k)
        assert before not in grid.dropped
        width = grid.after(before) - before if t else 1
        assert 0 <= t < 1
        assert before + t * width == sum(whole.locate(k))


def test_a_gap_around_dropped_planes_is_wide_and_its_depths_are_exact() -> None:
    grid = by_factor(6, 2).without((2, 3))
    assert grid.kept == (0, 1, 4, 5)
    assert [grid.locate(k) for k in range(2, 9)] == [(1, 0), *((1, Fraction(i, 6)) for i in range(1, 6)), (4, 0)]
    assert grid.after(1) == 4


@given(planes=st.integers(2, 9), context=st.integers(1, 4))
def test_the_planes_around_a_gap_are_its_neighbours_and_the_ends_are_repeated(planes: int, context: int) -> None:
    grid = by_factor(planes, 2)
    for i in range(planes - 1):
        around = [min(max(k, 0), planes - 1) for k in range(i + 1 - context, i + 1 + context)]
        assert list(grid.around(i, context)) == around


def test_the_planes_around_a_wide_gap_are_about_as_far_apart_as_it_is_wide() -> None:
    assert by_factor(20, 2).without((10,)).around(9, 3) == (5, 7, 9, 11, 13, 15)
    assert by_factor(20, 2).without((10,)).around(11, 3) == (9, 9, 11, 12, 13, 14)
    assert by_factor(20, 2).without((7, 8, 10)).around(9, 3) == (5, 6, 9, 11, 13, 15)
    assert by_factor(6, 2).without((2, 3)).around(1, 2) == (0, 1, 4, 5)


@given(grid=gapped_grids(), depth=st.integers(1, 40), context=st.integers(1, 3))
def test_slabs_read_kept_planes_only_and_all_they_need(grid: ZGrid, depth: int, context: int) -> None:
    slabs = plan_slabs(grid, depth=depth, context=context)
    assert [k for slab in slabs for k in slab.target] == list(range(len(grid)))
    for slab in slabs:
        needed = set()
        for k in slab.target:
            before, t = grid.locate(k)
            needed |= set(grid.around(before, context)) if t else {before}
        assert list(slab.source) == sorted(needed)
        assert [n for run in slab.runs() for n in run] == sorted(needed)
        assert isinstance(slab.source, range) or grid.dropped


@pytest.mark.parametrize(
    ("dropped", "match"), [((7,), "got plane 7"), ((-1,), "got plane -1"), ((0, 1, 2, 4), "4 of 5")]
)
def test_only_planes_of_the_stack_are_left_out_and_two_stay(dropped: tuple[int, ...], match: str) -> None:
    with pytest.raises(BadOptionError, match=match):
        by_factor(5, 2).without(dropped)


def test_a_grid_whose_ends_are_left_out_is_shorter_and_its_planes_stay_in_their_places() -> None:
    grid = by_factor(6, 2).without([0, 1, 3, 5])
    assert grid.outputs == tuple(Fraction(k, 2) for k in range(4, 9))
    assert [grid.locate(k) for k in range(5)] == [(2, 0), *((2, Fraction(i, 4)) for i in (1, 2, 3)), (4, 0)]
    assert by_factor(6, 2).without([3]).without([0, 1, 5]) == grid


@given(planes=st.integers(2, 40), numerator=st.integers(1, 30), denominator=st.integers(1, 40))
def test_any_step_gives_planes_up_to_the_last_acquired_one(planes: int, numerator: int, denominator: int) -> None:
    step = min(Fraction(numerator, denominator), Fraction(1))
    grid = ZGrid.by_step(evenly(planes), step)
    assert len(grid) == int((planes - 1) / step + TOLERANCE) + 1
    for k in range(len(grid)):
        i, t = grid.locate(k)
        assert abs(i + t - k * step) <= grid.tolerance
        assert t or i + t == i
        assert t == 0 or min(t, 1 - t) > grid.tolerance
    assert grid.synthesised == sum(grid.locate(k)[1] > 0 for k in range(len(grid)))


@given(
    distances=st.lists(st.fractions(Fraction(1, 2), Fraction(3)), min_size=1, max_size=20),
    factor=st.integers(1, 6),
)
def test_planes_at_unequal_places_are_met_at_their_true_depth(distances: list[Fraction], factor: int) -> None:
    places = [sum(distances[:i], Fraction(0)) for i in range(len(distances) + 1)]
    grid = ZGrid.by_step(places, min(max(distances), Fraction(1)) / factor)
    for k, place in enumerate(grid.outputs):
        i, t = grid.locate(k)
        found = places[i] + t * (places[grid.after(i)] - places[i]) if t else places[i]
        assert abs(found - place) <= (0 if t else grid.tolerance)
    for slab in plan_slabs(grid, depth=3, context=2):
        assert all(grid.locate(k)[0] in slab.source for k in slab.target)


def test_planes_that_fall_between_output_planes_are_counted() -> None:
    assert ZGrid.by_step(evenly(17), Fraction(3, 8)).missed == 11
    assert by_factor(17, 3).missed == 0
    with pytest.raises(BadOptionError, match="no output plane lies between the planes that stay"):
        ZGrid.by_step([Fraction(z) for z in (0, 3, 4, 30)], Fraction(10)).without([0, 3])


def test_planes_around_a_gap_are_as_far_apart_as_it_is_wide() -> None:
    grid = ZGrid.by_step([Fraction(z) for z in (0, 1, 2, 4, 6, 7, 8, 9)], Fraction(1, 2))
    assert grid.around(2, 2) == (0, 2, 3, 4)
    assert grid.around(4, 2) == (3, 4, 5, 6)


@pytest.mark.parametrize(
    ("places", "step", "match"),
    [
        ([0, 1, 1], 1, "expected positions that rise"),
        ([0], 1, "got 1 plane"),
        ([0, 1], 2, "give a smaller step"),
        ([0, 1], 0, "smaller step"),
        ([0, 1, 2], Fraction(1, 10**4), "give a larger one"),
    ],
)
def test_impossible_steps_and_places_are_refused(places: list[int], step: Fraction, match: str) -> None:
    with pytest.raises(BadOptionError, match=match):
        ZGrid.by_step([Fraction(z) for z in places], Fraction(step))


@given(planes=st.integers(3, 20), more=st.integers(1, 10), factor=st.integers(2, 5), depth=st.integers(1, 9))
def test_a_growing_stack_does_not_move_finished_slabs(planes: int, more: int, factor: int, depth: int) -> None:
    before = plan_slabs(by_factor(planes, factor), depth=depth, context=2)
    after = plan_slabs(by_factor(planes + more, factor), depth=depth, context=2)
    for number, slab in enumerate(before):
        if len(slab.target) == depth and slab.source.stop < planes:  # the end plane did not stand in for later ones
            assert after[number] == slab


@pytest.mark.parametrize("factor", [0, -3, 2.5, True, 1001, 10**9])
def test_impossible_factors_are_refused(factor: int) -> None:
    with pytest.raises(BadOptionError, match="expected a whole number from 1 to 1000"):
        by_factor(5, factor)


@pytest.mark.parametrize("depths", [[], [0], [1], [0.5, 0.5], [-0.5], [1.5]])
def test_impossible_depths_are_refused(depths: list[float]) -> None:
    with pytest.raises(BadOptionError, match="expected different numbers between 0 and 1"):
        ZGrid.by_depths(evenly(5), depths)


def test_depths_that_are_no_numbers_are_refused() -> None:
    for depth in ("half", "1/0", "1/x"):
        with pytest.raises(BadOptionError, match="expected numbers"):
            ZGrid.by_depths(evenly(5), [depth])


def test_thirds_can_be_said_and_absurd_numbers_cost_nothing() -> None:
    assert ZGrid.by_depths(evenly(5), ["1/3", "2/3"]).step == Fraction(1, 3)
    with pytest.raises(BadOptionError, match="expected different numbers"):
        ZGrid.by_depths(evenly(5), ["1e-99999999"])


def test_a_single_plane_has_nothing_in_between() -> None:
    with pytest.raises(BadOptionError, match="got 1 plane"):
        by_factor(1, 2)


def test_planes_outside_of_the_grid_and_empty_slabs_are_refused() -> None:
    grid = by_factor(3, 2)
    with pytest.raises(IndexError, match="expected 0 to 4"):
        grid.locate(5)
    with pytest.raises(BadOptionError, match="slab depth is 0"):
        plan_slabs(grid, depth=0, context=1)
