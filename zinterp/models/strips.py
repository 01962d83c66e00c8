"""Work on a few rows of a plane at a time, in several threads, so that what is worked on stays in a processor's cache.

Where resolution is high a network has little to compute for each byte that it moves. Done plane by plane, each step
would bring everything from memory and take it back; done strip by strip, a strip is brought once. Each strip is worked
on by one thread alone, so that the number of threads changes nothing, not even rounding, and threads need not wait for
each other at every step, which costs most where the processor is shared. Strips are for inference on CPUs: without
``strip_by_strip``, on other devices and where gradients are wanted, there is one strip.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from zinterp.models.layers import upsampled

STRIP = 2**16  # pixels, at most
FEWEST = 4  # strips, where there are rows enough
EVEN = 16  # rows, of which strips are multiples

Item = TypeVar("Item")
Result = TypeVar("Result")


class Mode(threading.local):
    """How this thread works: in strips or not, and in how many threads."""

    threads = 0  # no strips


mode = Mode()


@contextmanager
def strip_by_strip() -> Iterator[None]:
    """Have what this thread does within done strip by strip, in as many threads as torch is to use."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    mode.threads = threads
    try:
        yield
    finally:
        mode.threads = 0
        torch.set_num_threads(threads)


@lru_cache(maxsize=1)
def pool_of(threads: int) -> ThreadPoolExecutor:
    """Threads for strips, each of which torch is to leave alone."""
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What a function makes of each item, in their order; the items are shared out to threads."""
    items = list(items)
    if mode.threads < 2 or len(items) < 2:
        return [function(item) for item in items]
    reduced, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
    inference = torch.is_inference_mode_enabled()

    def in_thread(item: Item) -> Result:
        with torch.inference_mode(inference), torch.autocast("cpu", dtype, enabled=reduced):
            return function(item)

    return list(pool_of(mode.threads).map(in_thread, items))


def strips(shape: Sequence[int]) -> list[range]:
    """The rows of planes of some shape (N, C, H, W) in strips, each but the last a multiple of 16."""
    *_, height, width = shape
    rows = max(min(STRIP // width, height // FEWEST) // EVEN, 1) * EVEN if mode.threads else height
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
    whole: list[Tensor] = []
    lock = threading.Lock()

    def make(rows: range) -> None:
        seen = range(max(rows.start - reach, 0), min(rows.stop + reach, height))
        made, first = function(seen), rows.start - seen.start
        with lock:
            if not whole:
                whole.append(empty_like(made, height))
        whole[0][:, :, rows.start : rows.stop] = made[:, :, first : first + len(rows)]

    side_by_side(make, parts)
    return whole[0]


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
