"""One slab after the other in this process: the next is read and the last is written while one is computed."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Computed = TypeVar("Computed")
Result = TypeVar("Result")
PATIENCE_S = 30.0  # until it is said that a read or a write is waited for; then twice as long, and so on


def say_nothing(what: str, item: object, seconds: float) -> None:
    """Report no waiting."""


def run_serial(
    items: Iterable[Item],
    *,
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Computed],
    write: Callable[[Item, Computed], None],
    waiting: Callable[[str, Item, float], None] = say_nothing,
) -> Iterator[Item]:
    """Take every item through read, compute and write; yield it once it is written.

    At most one item is read ahead and one waits to be written, so memory stays flat. An error in any of the three ends
    the run after the write that is under way. ``waiting`` is told, now and then, of a read or write that takes long:
    which of them, of which item, and the seconds that it has been waited for.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        writing: tuple[Item, Future[None]] | None = None
        ahead: tuple[Item, Future[Read]] | None = None
        for item in [*items, None]:
            following = None if item is None else (item, reader.submit(read, item))
            if ahead is not None:
                now, future = ahead
                computed = compute(now, wait(future, lambda s: waiting("read", now, s)))  # noqa: B023, called at once
                if writing is not None:
                    yield written(writing, waiting)
                writing = (now, writer.submit(write, now, computed))
            ahead = following
        if writing is not None:
            yield written(writing, waiting)


def written(writing: tuple[Item, Future[None]], waiting: Callable[[str, Item, float], None]) -> Item:
    """The item of a write, once it is done."""
    item, future = writing
    wait(future, lambda seconds: waiting("write", item, seconds))
    return item


def wait(future: Future[Result], waiting: Callable[[float], None]) -> Result:
    """The result of a future, with word of how long it has been waited for."""
    start, patience = time.monotonic(), PATIENCE_S
    while True:
        try:
            return future.result(timeout=patience)
        except NotYet:
            if future.done():  # an error of its own, such as that of a share that does not answer
                return future.result()
            waiting(time.monotonic() - start)
            patience *= 2
