"""Overlapping tiles in XY, blended so that no seam shows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zinterp.errors import BadOptionError
from zinterp.threads import side_by_side

Plane = NDArray[np.float32]
Planes = NDArray[Any]


@dataclass(frozen=True)
class Tile:
    """An XY window with its overlap, in pixels of the padded plane."""

    rows: slice
    cols: slice


@dataclass(frozen=True)
class TileLayout:
    """How planes of one size are padded and cut into tiles of one shape.

    The plane is padded by reflection at its ends, up to a multiple that the network needs, whether it is cut into tiles
    or not: at its borders the network sees the same. Along each axis tiles of length ``tile`` are spread evenly and
    share at least ``overlap`` pixels. Where they meet, the outermost three eighths of the overlap, where the network
    sees the border of a tile, are thrown away (``margin``); over the quarter in the middle neighbours are blended.
    """

    shape: tuple[int, int]
    padded: tuple[int, int]
    tile: tuple[int, int]
    overlap: int
    margin: int
    multiple_of: int

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles along y and along x."""
        rest = ((n - t, t - self.overlap) for n, t in zip(self.padded, self.tile, strict=True))
        rows, cols = (1 + -(-n // step) if n else 1 for n, step in rest)
        return rows, cols

    @property
    def starts(self) -> tuple[list[int], list[int]]:
        """Where tiles start along y and along x, multiples of what the network needs."""
        spread = ((n - t, count) for n, t, count in zip(self.padded, self.tile, self.counts, strict=True))
        rows, cols = (
            [i * n // max(count - 1, 1) // self.multiple_of * self.multiple_of for i in range(count)]
            for n, count in spread
        )
        return rows, cols

    def tiles(self) -> list[Tile]:
        """All tiles, row by row."""
        rows, cols = self.starts
        return [Tile(slice(y, y + self.tile[0]), slice(x, x + self.tile[1])) for y in rows for x in cols]


def tile_layout(shape: tuple[int, int], *, tile: int | None, overlap: int, multiple_of: int) -> TileLayout:
    """Lay tiles over planes.

    Parameters
    ----------
    shape : tuple of int
        (Y, X) of the planes in pixels.
    tile : int or None
        Longest edge of a tile in pixels; as many tiles as this takes are then made as small as still covers the plane.
        None is one tile that holds all.
    overlap : int
        Pixels that neighbouring tiles share, rounded up to multiples with room to blend; 0 for interpolators that look
        at one pixel only.
    multiple_of : int
        Edges and positions of tiles are multiples of this.

    Raises
    ------
    BadOptionError
        If the overlap is negative, or the tile is not larger than twice the overlap.
    """
    if overlap < 0 or (tile is not None and tile < 1):
        raise BadOptionError(
            f"got a tile of {tile} with an overlap of {overlap} pixels, expected more than 0 and at least 0"
        )
    margin = round_up(-(-3 * overlap // 8), multiple_of)
    overlap = max(round_up(overlap, multiple_of), 2 * margin + multiple_of) if overlap else 0
    edges, padded = [], []
    for n in shape:
        whole = round_up(n, multiple_of)
        padded.append(whole)
        longest = whole if tile is None else min(whole, tile // multiple_of * multiple_of)
        if longest < whole and longest < max(2 * overlap, multiple_of):
            raise BadOptionError(
                f"the tile is {tile} pixels with an overlap of {overlap}, expected a tile of at least "
                f"{max(2 * overlap, multiple_of)}: give a larger --tile or a smaller --overlap"
            )
        count = 1 if longest == whole else -(-(whole - overlap) // (longest - overlap))
        edges.append(round_up(-(-(whole + (count - 1) * overlap) // count), multiple_of))
    return TileLayout(shape, (padded[0], padded[1]), (edges[0], edges[1]), overlap, margin, multiple_of)


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is at least n."""
    return -(-n // multiple) * multiple


def blend_weights(starts: Sequence[int], length: int, overlap: int, margin: int) -> Plane:
    """Weights along one axis of tiles, shape (len(starts), length): smooth ramps that sum to 1 at every pixel."""
    weights = np.ones((len(starts), length))
    ramp_length = overlap - 2 * margin
    x = (np.arange(ramp_length) + 0.5) / max(ramp_length, 1)
    ramp = x * x * (3 - 2 * x)
    edge = np.concatenate([np.zeros(margin), ramp, np.ones(margin)])
    for i, (start, after) in enumerate(pairwise(starts)):
        weights[i + 1, :overlap] = edge
        weights[i, after - start : after - start + overlap] *= 1 - edge
        weights[i, after - start + overlap :] = 0
    return weights.astype(np.float32)


def apply_tiled(
    function: Callable[[Planes], Sequence[Plane]],
    planes: Planes,
    layout: TileLayout,
    *,
    batch: int = 1,
    at_once: int = 1,
) -> list[Plane]:
    """Apply a function to planes tile by tile.

    Parameters
    ----------
    function : callable
        (N, C, tile_y, tile_x) -> some arrays (N, K, tile_y, tile_x), float32; N is always ``batch``.
    planes : ndarray, shape (C, Y, X)
    layout : TileLayout
        Made for planes of this size.
    batch : int
        Tiles a call; the last call is filled up with copies of its last tile.
    at_once : int
        Calls at the same time. Their results are taken in turn, so that it changes nothing.

    Returns
    -------
    list of ndarray, each shape (K, Y, X), float32
    """
    height, width = layout.shape
    rows, cols = layout.starts
    padding = [(0, 0), *((0, p - n) for p, n in zip(layout.padded, layout.shape, strict=True))]
    padded = np.pad(planes, padding, mode="reflect") if any(map(sum, padding)) else planes
    tiles = layout.tiles()
    if len(tiles) == 1:
        results = function(np.stack([padded] * batch) if batch > 1 else padded[None])
        return [np.ascontiguousarray(result[0, :, :height, :width]) for result in results]
    weights_y = blend_weights(rows, layout.tile[0], layout.overlap, layout.margin)
    weights_x = blend_weights(cols, layout.tile[1], layout.overlap, layout.margin)
    calls = list(batches(range(len(tiles)), batch))

    def call(indices: list[int]) -> Sequence[Plane]:
        filled = indices + [indices[-1]] * (batch - len(indices))
        return function(np.stack([padded[:, tiles[i].rows, tiles[i].cols] for i in filled]))

    totals: list[Plane] = []
    for indices, results in zip(calls, side_by_side(call, calls, at_once), strict=True):
        totals = totals or [np.zeros((result.shape[1], *layout.padded), np.float32) for result in results]
        for n, i in enumerate(indices):
            weight = np.outer(weights_y[i // len(cols)], weights_x[i % len(cols)])
            for total, result in zip(totals, results, strict=True):
                total[:, tiles[i].rows, tiles[i].cols] += result[n] * weight
    return [total[:, :height, :width] for total in totals]


def batches(indices: Sequence[int], size: int) -> Iterator[list[int]]:
    """Cut indices into lists of ``size``, the last one shorter."""
    for start in range(0, len(indices), size):
        yield list(indices[start : start + size])
