"""Calls side by side in threads: numpy and torch let go of the interpreter while they compute."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = "OMP_NUM_THREADS"  # which torch and numpy go by from their start on
Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """The threads that this process is to use: as many as there are cores, or fewer where the user says so."""
    given = os.environ.get(THREADS, "")
    return min(max(int(given), 1), cores()) if given.isdecimal() else cores()


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item], at_once: int) -> Iterator[Result]:
    """What a function makes of each item, in their order.

    No more than ``at_once`` calls are under way or wait to be taken. After an error no further call is begun, and those
    that are under way are waited for.
    """
    if at_once < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(at_once) as pool:
        calls: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(calls) == at_once:
                    yield calls.popleft().result()
                calls.append(pool.submit(function, item))
            while calls:
                yield calls.popleft().result()
        finally:
            for call in calls:
                call.cancel()
