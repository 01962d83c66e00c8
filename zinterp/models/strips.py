"""Work on a few rows of a plane at a time, so that what is worked on stays in a processor's cache.

Where resolution is high a network has little to compute for each byte that it moves. Done plane by plane, each step
would bring everything from memory and take it back; done strip by strip, a strip is brought once. Strips are for
inference on CPUs: without ``strip_by_strip``, on other devices and where gradients are wanted, there is one strip.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from zinterp.models.layers import upsampled

STRIP = 2**17  # pixels, at most
EVEN = 16  # rows, of which strips are multiples


class Mode(threading.local):
    """How this thread works: in strips or not."""

    in_strips = False


mode = Mode()


@contextmanager
def strip_by_strip() -> Iterator[None]:
    """Have what this thread does within done strip by strip."""
    mode.in_strips = True
    try:
        yield
    finally:
        mode.in_strips = False


def strips(shape: Sequence[int]) -> list[range]:
    """The rows of planes of some shape (N, C, H, W) in strips, each but the last a multiple of 16."""
    *_, height, width = shape
    rows = max(STRIP // width // EVEN, 1) * EVEN if mode.in_strips else height
    return [range(start, min(start + rows, height)) for start in range(0, height, rows)]


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
    height, parts = shape[2], strips(shape)
    if len(parts) == 1:
        return function(parts[0])
    whole: Tensor | None = None
    for rows in parts:
        seen = range(max(rows.start - reach, 0), min(rows.stop + reach, height))
        made, first = function(seen), rows.start - seen.start
        whole = empty_like(made, height) if whole is None else whole
        whole[:, :, rows.start : rows.stop] = made[:, :, first : first + len(rows)]
    assert whole is not None
    return whole


def empty_like(x: Tensor, height: int) -> Tensor:
    """An empty tensor (N, C, height, W), in memory as x (N, C, H, W) is."""
    packed = x.is_contiguous(memory_format=torch.channels_last)
    form = torch.channels_last if packed else torch.contiguous_format
    shape = (*x.shape[:2], height, x.shape[3])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=form)


def cut(x: Tensor, rows: range) -> Tensor:
    """Some rows of (N, C, H, W)."""
    return x[:, :, rows.start : rows.stop]


def upsampled_rows(x: Tensor, rows: range, scale: int) -> Tensor:
    """Some rows of x, (N, C, H / scale, W / scale), bilinearly ``scale`` times as high and wide."""
    first, last = max(rows.start // scale - 1, 0), -(-rows.stop // scale) + 1
    larger = upsampled(x[:, :, first:last], scale)
    return larger[:, :, rows.start - first * scale : rows.stop - first * scale]
