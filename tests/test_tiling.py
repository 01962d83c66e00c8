"""Tiles: cover all, blend without a seam, and do not care how many are made at once."""

import math
import threading
import time
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from zinterp.errors import BadOptionError
from zinterp.tiling import TileLayout, apply_tiled, blend_weights, tile_layout

layouts = st.builds(
    lambda y, x, tile, overlap, multiple: tile_layout(
        (y, x), tile=tile * multiple + 6 * (overlap + multiple), overlap=overlap, multiple_of=multiple
    ),
    y=st.integers(1, 90),
    x=st.integers(1, 90),
    tile=st.integers(5, 8),
    overlap=st.integers(0, 12),
    multiple=st.sampled_from([1, 4, 8]),
)


@given(layout=layouts)
@settings(max_examples=60, deadline=None)
def test_tiling_the_identity_is_the_identity(layout: TileLayout) -> None:
    planes = np.random.default_rng(1).random((2, *layout.shape), dtype=np.float32)
    made, twice = apply_tiled(lambda tiles: (tiles, 2 * tiles), planes, layout)
    assert np.abs(made - planes).max() < 1e-6
    assert np.abs(twice - 2 * planes).max() < 2e-6


@given(layout=layouts)
@settings(max_examples=60, deadline=None)
def test_blend_weights_sum_to_one_and_are_zero_near_the_borders_of_tiles(layout: TileLayout) -> None:
    for starts, tile, padded in zip(layout.starts, layout.tile, layout.padded, strict=True):
        weights = blend_weights(starts, tile, layout.overlap, layout.margin)
        total = np.zeros(padded)
        for start, weight in zip(starts, weights, strict=True):
            total[start : start + tile] += weight
        assert np.allclose(total, 1)
        assert not weights[1:, : layout.margin].any()
        assert not weights[:-1, tile - layout.margin :].any()


@given(layout=layouts)
def test_tiles_share_at_least_the_overlap_and_cover_the_padded_plane(layout: TileLayout) -> None:
    for starts, tile, n, padded in zip(layout.starts, layout.tile, layout.shape, layout.padded, strict=True):
        assert starts[0] == 0
        assert starts[-1] + tile == padded
        assert 0 <= padded - n < layout.multiple_of
        assert all(0 < after - start <= tile - layout.overlap for start, after in pairwise(starts))
        assert not any(start % layout.multiple_of for start in starts)


def blur(tiles: np.ndarray) -> list[np.ndarray]:
    """A function that looks 6 pixels around, as a network does, and sees zeros beyond its tile."""
    return [ndimage.gaussian_filter(tiles, (0, 0, 1.5, 1.5), mode="constant", truncate=4).astype(np.float32)]


def test_tiled_equals_untiled_where_the_margin_holds_what_the_function_sees() -> None:
    planes = np.random.default_rng(2).random((3, 150, 170), dtype=np.float32)
    (whole,) = apply_tiled(blur, planes, tile_layout((150, 170), tile=None, overlap=32, multiple_of=8))
    (tiled,) = apply_tiled(blur, planes, tile_layout((150, 170), tile=88, overlap=32, multiple_of=8))
    assert np.abs(whole - tiled).max() < 1e-6


def test_neither_the_batch_nor_calls_at_once_change_a_bit() -> None:
    planes = np.random.default_rng(3).random((1, 100, 90), dtype=np.float32)
    layout = tile_layout((100, 90), tile=48, overlap=16, multiple_of=4)
    assert math.prod(layout.counts) > 4
    (reference,) = apply_tiled(blur, planes, layout)
    lock, under_way, most = threading.Lock(), 0, 0

    def slow(tiles: np.ndarray) -> list[np.ndarray]:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        with suppress(threading.BrokenBarrierError):  # of the last ones, if they are fewer
            together.wait(timeout=0.3)
        time.sleep(0.02 * float(tiles.sum() % 1))  # so that they do not end in the order in which they began
        made = blur(tiles)
        with lock:
            under_way -= 1
        return made

    for batch, at_once in ((4, 1), (1, 3), (2, 2)):
        most, together = 0, threading.Barrier(at_once)
        (made,) = apply_tiled(slow, planes, layout, batch=batch, at_once=at_once)
        assert np.array_equal(made, reference)
        assert most == at_once


def test_planes_of_any_type_are_given_to_the_function_as_they_are() -> None:
    planes = np.random.default_rng(3).integers(0, 2**16, (2, 100, 90), dtype=np.uint16)
    layout = tile_layout((100, 90), tile=48, overlap=16, multiple_of=4)
    kinds = set()

    def function(tiles: np.ndarray) -> list[np.ndarray]:
        kinds.add(tiles.dtype)
        return [tiles.astype(np.float32)]

    (made,) = apply_tiled(function, planes, layout)
    assert kinds == {np.dtype(np.uint16)}
    assert np.abs(made - planes).max() < 0.02


def test_every_call_has_the_full_batch() -> None:
    sizes = []

    def record(tiles: np.ndarray) -> list[np.ndarray]:
        sizes.append(len(tiles))
        return [tiles]

    planes = np.zeros((1, 100, 90), np.float32)
    apply_tiled(record, planes, tile_layout((100, 90), tile=48, overlap=16, multiple_of=4), batch=4)
    apply_tiled(record, planes, tile_layout((100, 90), tile=None, overlap=16, multiple_of=4), batch=4)
    assert set(sizes) == {4}


@given(layout=layouts)
def test_no_row_or_column_of_tiles_is_more_than_the_plane_needs(layout: TileLayout) -> None:
    for padded, tile, count in zip(layout.padded, layout.tile, layout.counts, strict=True):
        if count > 1:
            assert tile + (count - 2) * (tile - layout.overlap) < padded


@given(layout=layouts)
def test_neighbours_are_always_blended(layout: TileLayout) -> None:
    assert layout.overlap == 0 or layout.overlap > 2 * layout.margin


def test_unusable_tiles_are_refused() -> None:
    with pytest.raises(BadOptionError, match="expected a tile of at least 160"):
        tile_layout((500, 500), tile=64, overlap=64, multiple_of=16)
    with pytest.raises(BadOptionError, match="expected more than 0"):
        tile_layout((500, 500), tile=0, overlap=64, multiple_of=16)
    with pytest.raises(BadOptionError, match="at least 0"):
        tile_layout((500, 500), tile=64, overlap=-1, multiple_of=16)
