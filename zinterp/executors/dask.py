"""Slabs on a cluster of any kind that dask.distributed runs on. The only file that knows dask."""

import logging
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from zinterp.errors import WorkerError, reason_of
from zinterp.executors import Order
from zinterp.executors.answers import Failure, attempt

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PATIENCE_S = 10.0  # until a scheduler is taken not to be there
AHEAD = 2  # slabs that each worker has, so that it need not wait for the next one


class DaskCrew:
    """The workers of a dask scheduler. See ``Crew``.

    A worker that is lost costs the slab that it was at: the scheduler gives that to another one.

    Parameters
    ----------
    address : str
        Of the scheduler, as in ``tcp://10.0.0.1:8786``.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._client: Any = None

    def __enter__(self) -> Self:
        try:
            from distributed import Client
            from distributed.comm.addressing import get_address_host_port
        except ImportError as error:
            raise WorkerError(
                "dask.distributed is not installed, which a scheduler needs: pip install 'zinterp[dask]'"
            ) from error
        try:
            socket.create_connection(
                get_address_host_port(self._address), PATIENCE_S
            ).close()  # a client tries for long
            self._client = Client(self._address, timeout=PATIENCE_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise WorkerError(
                f"there is no dask scheduler at {self._address} ({reason_of(error)}), expected the address that "
                "'dask scheduler' prints: give tcp://HOST:8786"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def run(self, items: Sequence[int], order: Order[Result]) -> Iterator[Result]:
        """Have all items done -> their results, in any order.

        Raises
        ------
        WorkerError
            If workers are lost again and again at one item, or the scheduler gives up.
        """
        from distributed import as_completed
        from distributed.client import FutureCancelledError
        from distributed.scheduler import KilledWorker

        placed = self._client.submit(Placed, uuid.uuid4().hex, order, pure=False)  # made again where it is lost
        left = iter(items)
        done = as_completed(loop=self._client.loop)
        under_way: dict[Any, int] = {}
        try:
            while True:
                for item in left:
                    future = self._client.submit(do, placed, item, pure=False)
                    under_way[future] = item
                    done.add(future)
                    if len(under_way) >= self._room():
                        break
                if not under_way:
                    return
                future = next(done)
                item = under_way.pop(future)
                try:
                    answer = future.result()
                except KilledWorker as error:
                    raise WorkerError(
                        f"dask lost worker after worker at slab {item + 1}, expected them to last: give them more "
                        "memory, or zinterp a smaller --max-memory"
                    ) from error
                except FutureCancelledError as error:
                    raise WorkerError(
                        f"the dask scheduler at {self._address} gave slab {item + 1} up ({reason_of(error)}), expected "
                        "it to go on: install this zinterp for scheduler and workers too, and see what they say"
                    ) from error
                if isinstance(answer, Failure):
                    answer.raise_again()
                yield answer
        finally:
            deque(done, maxlen=0)  # waited for, so that none writes when this is over

    def _room(self) -> int:
        """How many items may be under way."""
        workers = len(self._client.nthreads())
        if not workers:
            logger.warning("the dask scheduler at %s has no workers yet: waiting for one", self._address)
        return max(AHEAD * workers, 1)


@dataclass(frozen=True)
class Placed:
    """An order under a name, by which a worker knows it again."""

    name: str
    order: Order[Any]


class Bench:
    """What a worker has open for the order at hand."""

    lock = threading.Lock()
    name = ""
    do: Callable[[int], Any] | Failure


def do(placed: Placed, item: int) -> Any:  # the order's results
    """Do an item in a worker, one at a time whatever its threads: files are open once, and torch has threads too."""
    with Bench.lock:
        if Bench.name != placed.name:
            Bench.name = ""
            Bench.do = attempt(lambda: placed.order(lambda text: logger.warning("%s", text)))
            Bench.name = placed.name
        ready = Bench.do
        return ready if isinstance(ready, Failure) else attempt(lambda: ready(item))
