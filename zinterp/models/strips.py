"""Work on a few rows of a plane at a time, so that what is worked on stays in the processor's cache.

Where resolution is high a network has little to compute for each byte that it moves. Done plane by plane, each step
would bring everything from memory and take it back; done strip by strip, a strip is brought once. Where there are no
such caches, or gradients are wanted, there is one strip.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

STRIP = 2**16  # pixels
EVEN = 16  # rows, of which strips are multiples


def strips(shape: Sequence[int]) -> Iterator[range]:
    """The rows of planes of some shape (N, C, H, W) in strips, each but the last a multiple of 16."""
    *_, height, width = shape
    rows = height if torch.is_grad_enabled() else max(STRIP // width // EVEN, 1) * EVEN
    return (range(start, min(start + rows, height)) for start in range(0, height, rows))


def in_strips(function: Callable[[range], Tensor], shape: Sequence[int], *, reach: int) -> Tensor:
    """Apply a function to planes strip by strip.

    Parameters
    ----------
    function : callable
        Rows -> (N, C, rows, W).
    shape : sequence of int
        (N, any, H, W) of the planes.
    reach : int
        How many rows beyond a strip its result depends on. The function is given these too, where they are there.

    Returns
    -------
    Tensor, shape (N, C, H, W)
    """
    height, whole = shape[2], None
    for rows in strips(shape):
        seen = range(max(rows.start - reach, 0), min(rows.stop + reach, height))
        made = function(seen)
        if len(rows) == height:
            return made
        if whole is None:
            packed = made.is_contiguous(memory_format=torch.channels_last)
            form = torch.channels_last if packed else torch.contiguous_format
            larger = (*made.shape[:2], height, made.shape[3])
            whole = torch.empty(larger, dtype=made.dtype, device=made.device, memory_format=form)
        first = rows.start - seen.start
        whole[:, :, rows.start : rows.stop] = made[:, :, first : first + len(rows)]
    assert whole is not None
    return whole


def cut(x: Tensor, rows: range) -> Tensor:
    """Some rows of (N, C, H, W)."""
    return x[:, :, rows.start : rows.stop]


def upsampled_rows(x: Tensor, rows: range, scale: int) -> Tensor:
    """Some rows of x, (N, C, H / scale, W / scale), bilinearly ``scale`` times as high and wide."""
    first, last = max(rows.start // scale - 1, 0), -(-rows.stop // scale) + 1
    larger = F.interpolate(x[:, :, first:last], scale_factor=scale, mode="bilinear", align_corners=False)
    return larger[:, :, rows.start - first * scale : rows.stop - first * scale]
