"""One output made by separate jobs, each a share of its slabs, such as the tasks of a job array."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace

from zinterp.errors import InputChangedError, NoRoomError
from zinterp.executors import Crew
from zinterp.guard import GuardedReader
from zinterp.interpolators import Interpolator
from zinterp.journal import (
    Journal,
    begun_with,
    check_same,
    facts_of,
    in_turn,
    locked,
    notes_of,
    slabs_of,
)
from zinterp.outputs import attach_outputs, create_outputs
from zinterp.plan import Share
from zinterp.run import (
    Progress,
    check_place,
    first_notes,
    first_record,
    going_on,
    run_slabs,
    warn_of_doubled,
    with_halvings,
)
from zinterp.slabs import Order

LAID_OUT = "laid out"
"""The fact that an output is ready for shares to be written, though no slab may be yet."""


def run_share(
    order: Order,
    share: Share,
    reader: GuardedReader,
    interpolator: Interpolator,
    report: Callable[[Progress], None],
    crew: Crew | None = None,
) -> None:
    """Make those slabs of a share that lack, beside other jobs that make theirs, and leave the output unfinished.

    The first job to come lays the output out, the others wait for that. What is done of a share is noted in a journal
    of its own. Whatever stops it, what others have made stays.

    Parameters
    ----------
    order, reader, interpolator, report, crew
        As in ``run_job``.
    share : Share

    Raises
    ------
    OutputBusyError
        If another job is at this share, or at the output as a whole.
    NoRoomError
        If the device has no memory for a tile: those of all shares must have one shape.
    """
    target = order.target
    with ExitStack() as held:
        with in_turn(target):
            with locked(target, beside=True):
                order = laid_out(replace(order, options=going_on(target, order.options)))
                held.enter_context(locked(target, share))
            journal = Journal(target, order.fingerprint(), share=share)
        done, wanted = slabs_of(target), share.of(len(order.job.slabs))
        planes = sum(len(order.job.slabs[i].target) for i in wanted)
        writer = attach_outputs(order.job, target, order.options)
        try:
            numbers = [i for i in wanted if i not in done]
            doubled = run_slabs(order, numbers, planes, reader, writer, interpolator, journal, report, crew)
            reader.check()
        except InputChangedError:
            journal.remove()  # what it says may be of the other input
            raise
        except NoRoomError as error:
            raise NoRoomError(
                f"{str(error).partition(':')[0]}, and tiles of all shares must have one shape: begin all of them again "
                "with a smaller --tile"
            ) from error
        finally:
            with suppress(OSError):
                writer.close()
        warn_of_doubled(order, doubled)


def laid_out(order: Order) -> Order:
    """The order as the output was laid out for, which is done now if it was not before."""
    target = order.target
    if check_place(target, order.options) and (slabs_of(target) or facts_of(target).get(LAID_OUT)):
        order = with_halvings(order, notes_of(target))
        check_same(begun_with(target), order.fingerprint())
        return order
    journal = Journal(target, order.fingerprint(), notes=first_notes(order))
    try:
        create_outputs(order.job, target, order.options, first_record(order), resume=False, complete=False).close()
        journal.note({LAID_OUT: True})
    except BaseException:
        journal.remove(in_turn=True)
        raise
    return order
