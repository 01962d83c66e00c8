"""Overlapping tiles in XY, blended so that no seam shows and the order in which they come does not matter."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zinterp.errors import BadOptionError

Plane = NDArray[np.float32]
QUANTUM = 2.0**-30
"""Contributions of tiles are rounded to this, so that their float64 sum is exact in any order up to 2^22."""


@dataclass(frozen=True)
class Tile:
    """An XY window with its overlap, in pixels of the padded plane."""

    rows: slice
    cols: slice


@dataclass(frozen=True)
class TileLayout:
    """How planes of one size are padded and cut into tiles of one shape.

    Along each axis tiles of length ``tile`` start every ``tile - overlap`` pixels. The outermost three eighths of the
    overlap on either side of a tile, where the network sees its border, are thrown away (``margin``); over the quarter
    in the middle neighbours are blended. The plane is padded by the margin on all sides by reflection, whether it is
    cut into tiles or not, and further at the end until the last tile fits.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    overlap: int
    margin: int

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles along y and along x."""
        rest = (n + 2 * self.margin - t for n, t in zip(self.shape, self.tile, strict=True))
        rows, cols = (1 + -(-n // (t - self.overlap)) if n > 0 else 1 for n, t in zip(rest, self.tile, strict=True))
        return rows, cols

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the padded plane."""
        rows, cols = self.counts
        return (
            self.tile[0] + (rows - 1) * (self.tile[0] - self.overlap),
            self.tile[1] + (cols - 1) * (self.tile[1] - self.overlap),
        )

    def tiles(self) -> list[Tile]:
        """All tiles, row by row."""
        rows, cols = self.counts
        return [
            Tile(
                slice(r * (self.tile[0] - self.overlap), r * (self.tile[0] - self.overlap) + self.tile[0]),
                slice(c * (self.tile[1] - self.overlap), c * (self.tile[1] - self.overlap) + self.tile[1]),
            )
            for r in range(rows)
            for c in range(cols)
        ]


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
    edges = []
    for n in shape:
        whole = round_up(n + 2 * margin, multiple_of)
        longest = whole if tile is None else min(whole, tile // multiple_of * multiple_of)
        if longest < whole and longest < max(2 * overlap, multiple_of):
            raise BadOptionError(
                f"the tile is {tile} pixels with an overlap of {overlap}, expected a tile of at least "
                f"{max(2 * overlap, multiple_of)}: give a larger --tile or a smaller --overlap"
            )
        count = 1 if longest == whole else -(-(whole - overlap) // (longest - overlap))
        edges.append(round_up(-(-(whole + (count - 1) * overlap) // count), multiple_of))
    return TileLayout(shape, (edges[0], edges[1]), overlap, margin)


def round_up(n: int, multiple: int) -> int:
    """The least multiple that is at least n."""
    return -(-n // multiple) * multiple


def blend_weights(length: int, count: int, overlap: int, margin: int) -> NDArray[np.float64]:
    """Weights along one axis of ``count`` tiles, shape (count, length): smooth ramps that sum to 1 at every pixel."""
    weights = np.ones((count, length))
    ramp_length = overlap - 2 * margin
    x = (np.arange(ramp_length) + 0.5) / max(ramp_length, 1)
    ramp = x * x * (3 - 2 * x)
    edge = np.concatenate([np.zeros(margin), ramp, np.ones(margin)])
    for i in range(count):
        if i > 0:
            weights[i, :overlap] *= edge
        if i < count - 1:
            weights[i, length - overlap :] *= 1 - edge
    return weights


def apply_tiled(
    function: Callable[[Plane], Plane],
    planes: Plane,
    layout: TileLayout,
    *,
    batch: int = 1,
    order: Sequence[int] | None = None,
) -> Plane:
    """Apply a function to planes tile by tile.

    Parameters
    ----------
    function : callable
        (N, C, tile_y, tile_x) -> (N, K, tile_y, tile_x), float32; N is always ``batch``.
    planes : ndarray, shape (C, Y, X), float32
    layout : TileLayout
        Made for planes of this size.
    batch : int
        Tiles a call; the last call is filled up with copies of its last tile.
    order : sequence of int or None
        In which order the tiles are taken; the result is the same to the bit for any.

    Returns
    -------
    ndarray, shape (K, Y, X), float32
    """
    height, width = layout.shape
    rows, cols = layout.counts
    top = left = layout.margin
    padding = [(0, 0)] + [
        (layout.margin, p - n - layout.margin) for p, n in zip(layout.padded, layout.shape, strict=True)
    ]
    padded = np.pad(planes, padding, mode="reflect") if any(map(sum, padding)) else planes
    tiles = layout.tiles()
    if len(tiles) == 1:
        repeated = np.stack([padded] * batch)
        return np.ascontiguousarray(function(repeated)[0, :, top : top + height, left : left + width])
    weights_y = blend_weights(layout.tile[0], rows, layout.overlap, layout.margin)
    weights_x = blend_weights(layout.tile[1], cols, layout.overlap, layout.margin)
    total: NDArray[np.float64] | None = None
    for indices in batches(order if order is not None else range(len(tiles)), batch):
        filled = indices + [indices[-1]] * (batch - len(indices))
        results = function(np.stack([padded[:, tiles[i].rows, tiles[i].cols] for i in filled]))
        if total is None:
            total = np.zeros((results.shape[1], *layout.padded))
        for i, result in zip(indices, results, strict=False):
            weight = weights_y[i // cols][:, None] * weights_x[i % cols]
            total[:, tiles[i].rows, tiles[i].cols] += np.rint(result * (weight / QUANTUM)) * QUANTUM
    if total is None:
        raise ValueError("got no tile in the order, expected each tile once")
    return total[:, top : top + height, left : left + width].astype(np.float32)


def batches(indices: Sequence[int], size: int) -> Iterator[list[int]]:
    """Cut indices into lists of ``size``, the last one shorter."""
    for start in range(0, len(indices), size):
        yield list(indices[start : start + size])
