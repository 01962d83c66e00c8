"""Calls side by side, and memory that is kept for the next one."""

import subprocess
import sys
import threading
import time

import pytest

from zinterp.threads import cores, side_by_side, threads


@pytest.mark.parametrize("at_once", [1, 2, 5, 50])
def test_results_come_in_turn_and_no_more_calls_are_under_way_than_asked_for(at_once: int) -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    together = threading.Barrier(min(at_once, 20))

    def function(item: int) -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        if item < together.parties:
            together.wait(timeout=30)
        time.sleep(0.01 if item % 3 == 0 else 0.001)
        with lock:
            under_way -= 1
        return item * item

    assert list(side_by_side(function, range(20), at_once)) == [item * item for item in range(20)]
    assert most == together.parties


def test_items_are_taken_only_as_there_is_room() -> None:
    taken = []

    def items() -> "object":
        for item in range(10):
            taken.append(item)
            yield item

    results = side_by_side(lambda item: item, items(), 3)
    assert next(results) == 0
    assert len(taken) <= 4


def test_after_an_error_no_further_call_is_begun() -> None:
    begun = []

    def function(item: int) -> None:
        begun.append(item)
        time.sleep(0.01)
        if item == 2:
            raise MemoryError("for item 2")

    with pytest.raises(MemoryError, match="for item 2"):
        list(side_by_side(function, range(100), 2))
    count = len(begun)
    assert count < 8
    time.sleep(0.1)
    assert len(begun) == count


def test_the_user_may_ask_for_fewer_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads() == cores()
    for given, expected in (("1", 1), ("0", 1), ("1000", cores()), ("two", cores())):
        monkeypatch.setenv("OMP_NUM_THREADS", given)
        assert threads() == expected


FAULTS = """
import resource, sys
import numpy as np
from zinterp.allocator import keep_freed_memory
if len(sys.argv) > 1:
    assert keep_freed_memory()
def work():
    kept = [np.ones(2**20) for _ in range(3)]
for _ in range(3):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the setting is that of Linux")
def test_memory_that_was_freed_need_not_be_asked_for_again() -> None:
    without, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, *more], check=True, capture_output=True, text=True).stdout)
        for more in ([], ["keep"])
    )
    assert kept < 100
    assert without > 10 * kept
