"""Memory that was freed stays with the process, for the next array of its kind.

A job makes arrays of the same sizes again and again. By default the C library of Linux gives large ones back to the
system each time, which then has to clear every page of the next one: a tenth of the time where several threads ask for
pages at once.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # of mallopt(3)
KEPT = 2**30  # bytes at the end of the heap
LARGEST = 2**25  # bytes of an array that may come from the heap, the most that mallopt takes
SETTINGS = {TRIM_THRESHOLD: KEPT, MMAP_THRESHOLD: LARGEST, ARENA_MAX: 1}


def keep_freed_memory() -> bool:
    """Have this process keep what it frees; False where the C library has no such setting."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, value) for name, value in SETTINGS.items())
