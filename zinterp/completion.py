"""Completing an output whose slabs were made by separate jobs."""

from dataclasses import dataclass, replace
from pathlib import Path

from zinterp.errors import OutputError
from zinterp.journal import begun_with, is_begun, is_ended, locked, notes_of, shares_of, slabs_of
from zinterp.options import UpsampleOptions
from zinterp.outcome import Outcome
from zinterp.pipeline import opened
from zinterp.plan import Share
from zinterp.recipe import RECIPE, Absent, Recipe
from zinterp.run import ignore, run_job
from zinterp.slabs import Order
from zinterp.volume import ranges


@dataclass(frozen=True)
class Completed:
    """An output that was completed: what it was made from and how, and what was measured."""

    source: Path
    options: UpsampleOptions
    outcome: Outcome


def finish_shares(target: str | Path) -> Completed:
    """Complete an output all of whose slabs were made before, by shares or otherwise, and give it its final name.

    Parameters
    ----------
    target : str or Path
        The output's final name.

    Returns
    -------
    Completed

    Raises
    ------
    OutputError
        If there is no such output, or slabs lack: says which, and of which shares.
    OutputBusyError
        If a job is at it.
    """
    target = Path(target)
    with locked(target):
        note = notes_of(target).get(RECIPE)
        if not (is_begun(target) or is_ended(target)) or note is None:
            there = "is complete already" if target.exists() else "was not begun by zinterp upsample"
            raise OutputError(f"{target} {there}, expected one whose slabs were made by zinterp upsample --slab i/n")
        recipe = Recipe.of(note)
        options = replace(recipe.options, resume=True)
        absent = Absent(str(begun_with(target).get("model")), recipe.needs)
        with opened(recipe.source, target, options, lambda: absent) as (job, reader, _):
            job = replace(job, choice=recipe.choice)
            check_complete(target, len(job.slabs))
            order = Order(job, recipe.source, target, options)
            return Completed(recipe.source, options, run_job(order, reader, absent, ignore))


def check_complete(target: Path, slabs: int) -> None:
    """Refuse to complete an output whose slabs are not all made."""
    done = slabs_of(target)
    lacking = [i for i in range(slabs) if i not in done]
    if not lacking:
        return
    counts = sorted({share.count for share in shares_of(target).values()})
    shares = [
        str(share)
        for count in counts
        for share in (Share(number, count) for number in range(1, count + 1))
        if not done.issuperset(share.of(slabs))
    ]
    again = f"begin {'shares' if len(shares) > 1 else 'share'} {', '.join(shares)} again with --slab"
    raise OutputError(
        f"{target} lacks {len(lacking)} of {slabs} slabs ({ranges([i + 1 for i in lacking])}), expected all: "
        f"{again if shares else 'go on with --resume'}"
    )
