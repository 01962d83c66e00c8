"""Running items with reading and writing beside computing."""

import threading
import time

import pytest

from zinterp.executors import serial
from zinterp.executors.serial import run_serial


def test_items_go_through_in_order() -> None:
    written: list[int] = []
    done = list(
        run_serial(range(5), read=lambda i: i * 10, compute=lambda i, r: r + i, write=lambda i, c: written.append(c))
    )
    assert done == [0, 1, 2, 3, 4]
    assert written == [0, 11, 22, 33, 44]
    assert list(run_serial([], read=lambda i: i, compute=lambda i, r: r, write=lambda i, c: None)) == []


def test_an_item_is_yielded_only_when_it_is_written() -> None:
    written: list[int] = []

    def write(i: int, _: int) -> None:
        time.sleep(0.01)
        written.append(i)

    for i in run_serial(range(4), read=lambda i: i, compute=lambda i, r: r, write=write):
        assert i in written


def test_reading_and_writing_overlap_computing_and_memory_stays_flat() -> None:
    alive, most, lock = 0, 0, threading.Lock()

    def read(i: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        time.sleep(0.02)
        return i

    def compute(i: int, r: int) -> int:
        time.sleep(0.02)
        return r

    def write(i: int, _: int) -> None:
        nonlocal alive
        time.sleep(0.02)
        with lock:
            alive -= 1

    list(run_serial(range(20), read=read, compute=compute, write=write))
    assert 2 <= most <= 4


@pytest.mark.parametrize("where", ["read", "compute", "write"])
def test_an_error_anywhere_ends_the_run(where: str) -> None:
    def fail_at(name: str, i: int) -> None:
        if name == where and i == 3:
            raise OSError(name)

    def read(i: int) -> int:
        fail_at("read", i)
        return i

    def compute(i: int, r: int) -> int:
        fail_at("compute", i)
        return r

    def write(i: int, _: int) -> None:
        fail_at("write", i)

    done: list[int] = []
    with pytest.raises(OSError, match=where):
        done.extend(run_serial(range(10), read=read, compute=compute, write=write))
    assert 3 not in done


@pytest.mark.parametrize("where", ["read", "write"])
def test_a_read_or_write_that_takes_long_is_told_now_and_then(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "PATIENCE_S", 0.05)
    told: list[tuple[str, int, float]] = []

    def stall(name: str, i: int) -> int:
        if (name, i) == (where, 1):
            time.sleep(0.4)
        return i

    done = run_serial(
        range(3),
        read=lambda i: stall("read", i),
        compute=lambda i, r: r,
        write=lambda i, _: stall("write", i) and None,
        waiting=lambda what, i, seconds: told.append((what, i, seconds)),
    )
    assert list(done) == [0, 1, 2]
    assert 1 <= len(told) <= 3  # after 0.05, 0.15 and 0.35 s
    assert {(what, i) for what, i, _ in told} == {(where, 1)}
    assert [seconds for _, _, seconds in told] == sorted(seconds for _, _, seconds in told)


def test_a_disk_that_does_not_answer_is_an_error_and_no_waiting() -> None:
    def read(i: int) -> int:
        raise TimeoutError("the share does not answer")

    with pytest.raises(TimeoutError, match="does not answer"):
        list(run_serial(range(3), read=read, compute=lambda i, r: r, write=lambda i, c: None))
