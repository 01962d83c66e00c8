"""Ways to run slabs, each giving the same result to the bit: in this process, in several, or on a cluster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

Result_co = TypeVar("Result_co", covariant=True)


class Order(Protocol[Result_co]):
    """Work for other processes, which can be pickled."""

    def __call__(self, say: Callable[[str], None], process: int | None = None) -> Callable[[int], Result_co]:
        """Open in the process what it needs there -> what does an item, by its number.

        Parameters
        ----------
        say : callable
            Takes news in words, such as that a disk is waited for.
        process : int or None
            The number of the process among those of one machine; None where others share out its devices.
        """


class Crew(Protocol):
    """Processes that take items off an order; they live until they are dismissed."""

    def run(self, items: Sequence[int], order: Order[Result_co]) -> Iterator[Result_co]:
        """Have all items done -> their results, in any order. Once it is closed, nothing of the order goes on."""


def create_crew(workers: int | None, scheduler: str | None) -> AbstractContextManager[Crew | None]:
    """The processes that a job is to be run by; None is this one alone.

    Parameters
    ----------
    workers : int or None
        Processes on this machine.
    scheduler : str or None
        Address of a dask scheduler.
    """
    if scheduler is not None:
        from zinterp.executors.dask import DaskCrew

        return DaskCrew(scheduler)
    if workers is not None and workers > 1:
        from zinterp.executors.processes import ProcessCrew

        return ProcessCrew(workers)
    return nullcontext()
