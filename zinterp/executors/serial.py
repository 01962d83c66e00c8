"""One slab after the other in this process: the next is read and the last is written while one is computed."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Computed = TypeVar("Computed")


def run_serial(
    items: Iterable[Item],
    *,
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Computed],
    write: Callable[[Item, Computed], None],
) -> Iterator[Item]:
    """Take every item through read, compute and write; yield it once it is written.

    At most one item is read ahead and one waits to be written, so memory stays flat. An error in any of the three ends
    the run after the write that is under way.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        writing: tuple[Item, Future[None]] | None = None
        ahead: tuple[Item, Future[Read]] | None = None
        for item in [*items, None]:
            following = None if item is None else (item, reader.submit(read, item))
            if ahead is not None:
                now, future = ahead
                computed = compute(now, future.result())
                if writing is not None:
                    writing[1].result()
                    yield writing[0]
                writing = (now, writer.submit(write, now, computed))
            ahead = following
        if writing is not None:
            writing[1].result()
            yield writing[0]
