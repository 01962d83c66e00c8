"""Slabs in several processes of this machine. One that is lost costs the slab that it was at, and is replaced."""

import logging
import os
import pickle
import signal
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Self, TypeVar

from zinterp.allocator import keep_freed_memory
from zinterp.errors import BadOptionError, WorkerError, reason_of
from zinterp.executors import Order
from zinterp.executors.answers import Failure, attempt
from zinterp.threads import THREADS, cores

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

MOST_LOSSES = 3  # of one slab, after which it is the slab that is at fault, or the machine


@dataclass(frozen=True)
class Ready:
    """A worker says that it is there."""


@dataclass(frozen=True)
class News:
    """A worker says something to be passed on."""

    text: str


@dataclass
class Worker:
    """A process, the line to it, the item that it is at, and the order that it has."""

    process: SpawnProcess
    line: Connection
    item: int | None = None
    order: bytes | None = None
    ready: bool = False


class ProcessCrew:
    """A number of processes that take items off an order. See ``Crew``.

    They are started when there is something to do, live until the context is left, and end at once when this process
    does, however it ends. The cores are shared out among them.

    Parameters
    ----------
    count : int
        Processes, at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._workers: dict[int, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._dismiss(list(self._workers))

    @property
    def processes(self) -> list[int]:
        """The system's numbers of the processes that there are."""
        return [worker.process.pid for worker in self._workers.values() if worker.process.pid is not None]

    def run(self, items: Sequence[int], order: Order[Result]) -> Iterator[Result]:
        """Have all items done -> their results, in any order.

        Raises
        ------
        WorkerError
            If workers are lost again and again.
        """
        todo, losses, packed = deque(items), Counter[int | None](), pack(order)
        try:
            while todo or self._busy():
                for number in range(min(self._count, len(todo) + len(self._busy()))):
                    if number not in self._workers:
                        self._workers[number] = start(number, self._count)
                    self._occupy(self._workers[number], todo, packed)
                for number in self._heard():
                    yield from self._take(number, todo, losses)
        finally:
            self._dismiss(self._busy())
            for worker in self._workers.values():
                worker.order = None
                with suppress(OSError):  # of one that was lost meanwhile, which is seen at the next order
                    worker.line.send(None)

    def _busy(self) -> list[int]:
        """The numbers of the workers that are at an item."""
        return [number for number, worker in self._workers.items() if worker.item is not None]

    def _occupy(self, worker: Worker, todo: deque[int], order: bytes) -> None:
        """Give a worker that is free the next item, and the order first if it has another."""
        if not todo or not worker.ready or worker.item is not None:
            return
        worker.item = todo.popleft()
        with suppress(OSError):  # it was lost, which its line says in a moment
            if worker.order is not order:
                worker.line.send_bytes(order)
                worker.order = order
            worker.line.send(worker.item)

    def _heard(self) -> list[int]:
        """Wait until workers have said something or were lost -> their numbers."""
        lines = {line: n for n, w in self._workers.items() for line in (w.line, w.process.sentinel)}
        return sorted({lines[line] for line in wait(list(lines))})  # type: ignore[index]  # as they were given

    def _take(self, number: int, todo: deque[int], losses: Counter[int | None]) -> Iterator[Any]:
        """Take what a worker says: its result if it has one."""
        worker = self._workers[number]
        try:
            answer = worker.line.recv()
        except (EOFError, OSError):
            self._replace(number, todo, losses)
            return
        if isinstance(answer, Failure):
            answer.raise_again()
        if isinstance(answer, Ready):
            worker.ready = True
        elif isinstance(answer, News):
            logger.warning("%s", answer.text)
        else:
            worker.item = None
            yield answer

    def _replace(self, number: int, todo: deque[int], losses: Counter[int | None]) -> None:
        """Put what a lost worker was at back, first in the row, where another worker takes it up."""
        worker = self._workers.pop(number)
        worker.line.close()
        worker.process.join()
        how, item = how_it_ended(worker.process.exitcode), worker.item
        losses[item] += 1
        if losses[item] >= MOST_LOSSES:
            what = "before they had a slab" if item is None else f"at slab {item + 1}"
            raise WorkerError(
                f"{MOST_LOSSES} workers were lost {what} (the last one {how}), expected them to last: give fewer "
                "--workers or a smaller --max-memory; in a script, call zinterp under if __name__ == '__main__'"
            )
        if item is None:
            logger.warning("a worker was lost (%s): another takes its place", how)
            return
        todo.appendleft(item)
        logger.warning("a worker was lost (%s): another takes its place and makes slab %d again", how, item + 1)

    def _dismiss(self, numbers: Sequence[int]) -> None:
        """End workers at once: what they are at is not known to be done, and is made again."""
        gone = [self._workers.pop(number) for number in numbers]
        for worker in gone:
            worker.process.kill()
        for worker in gone:
            worker.process.join()
            worker.line.close()


def pack(order: Order[Any]) -> bytes:
    """An order as it is sent."""
    try:
        return bytes(ForkingPickler.dumps(order))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise BadOptionError(
            f"the interpolator cannot be sent to other processes ({reason_of(error)}), expected one that can be "
            "pickled: leave workers out"
        ) from error


def start(number: int, count: int) -> Worker:
    """Start a worker with its share of the cores, deaf to the Ctrl-C that this process gets too."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, number), name=f"zinterp-{number}", daemon=True)
    with theirs, share_of_cores(max(1, cores() // count)), without_interrupts():
        process.start()
    return Worker(process, ours)


@contextmanager
def share_of_cores(count: int) -> Iterator[None]:
    """Let processes that are started now have so many threads, or what the user gave, if that is less."""
    before = os.environ.get(THREADS)
    given = int(before) if before is not None and before.isdecimal() else count
    os.environ[THREADS] = str(min(count, given))
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Hold interrupts back, here until the end and in processes that are started now for good."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which the first process would start, letting interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def how_it_ended(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return f"{name}, as where memory runs out" if -code == signal.SIGKILL else name


def serve(line: Connection, number: int) -> None:
    """What a worker does: take orders and items until the line is cut."""
    logging.getLogger("zinterp").addHandler(logging.NullHandler())  # what there is to say, its parent has said
    keep_freed_memory()
    threading.Thread(target=end_with_parent, daemon=True).start()
    do: Callable[[int], object] | Failure | None = None
    line.send(Ready())
    while True:
        try:
            message = line.recv()
            if not isinstance(message, int):
                do = None  # so that what an earlier order holds open is closed first
                do = opened(message, line, number) if message is not None else None
                continue
            line.send(do if isinstance(do, Failure) or do is None else attempt(partial(do, message)))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def opened(order: Order[object], line: Connection, number: int) -> Callable[[int], object] | Failure:
    """What does an item, or why that cannot be."""
    return attempt(lambda: order(lambda text: line.send(News(text)), number))


def end_with_parent() -> None:
    """End this process when its parent does, also if that was killed."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
