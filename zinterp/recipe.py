"""How an unfinished output is being made, noted in its journal, so that others can complete it without being told."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zinterp.errors import WorkerError
from zinterp.interpolators.base import Needs, Planes
from zinterp.job import usable_memory
from zinterp.options import AUTO, UpsampleOptions
from zinterp.slabs import Order
from zinterp.volume import VoxelSize

RECIPE = "recipe"
"""The name of the note."""

OF_A_RUN = ("workers", "scheduler", "slab", "resume", "overwrite")
"""Options that only the run that they were given to goes by."""


@dataclass(frozen=True)
class Recipe:
    """What a job was begun with.

    Parameters
    ----------
    source : Path
        Wherever the one who reads it is at home.
    options : UpsampleOptions
        As they were given, with the memory that went into the choice of slabs and tiles.
    needs : Needs
        Of the interpolator.
    choice : mapping or None
        Why the model was chosen; see ``Job``.
    """

    source: Path
    options: UpsampleOptions
    needs: Needs
    choice: Mapping[str, Any] | None

    @classmethod
    def of(cls, note: Mapping[str, Any]) -> Self:
        """Read what ``recipe_of`` made."""
        options = dict(note["options"])
        if options.get("voxel_size") is not None:
            options["voxel_size"] = VoxelSize(*options["voxel_size"])
        return cls(Path(note["source"]), UpsampleOptions(**options), Needs(**note["needs"]), note["choice"])


def recipe_of(order: Order) -> dict[str, Any]:
    """The recipe of a job, as JSON holds it."""
    job, options = order.job, order.anywhere().options
    options = replace(
        options, max_memory=usable_memory(options), model=None if options.model == AUTO else options.model
    )
    paths = {
        name: str(Path(value).absolute())
        for name in ("confidence", "planes_table", "positions")
        if isinstance(value := getattr(options, name), str | Path) and value != "names"
    }
    given = {
        field.name: plain(getattr(options, field.name))
        for field in fields(options)
        if field.name not in OF_A_RUN and getattr(options, field.name) != field.default
    }
    return {
        "source": str(order.source.absolute()),
        "options": {**given, **paths},
        "needs": asdict(job.needs),
        "choice": job.choice,
    }


def plain(value: Any) -> Any:
    """The value of an option, of any kind, as JSON holds it."""
    if isinstance(value, VoxelSize):
        return [value.z, value.y, value.x]
    if isinstance(value, Fraction | Path):
        return str(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


class Absent:
    """Stands for an interpolator whose planes are all made. See ``Interpolator`` and ``Uncertain``."""

    def __init__(self, identity: str, needs: Needs) -> None:
        self.identity, self.needs = identity, needs

    def __call__(self, planes: Planes, times: NDArray[np.float32]) -> Planes:
        """Refuse."""
        raise WorkerError(f"planes of {self.identity} lack, expected all to be made before: begin their shares again")

    def uncertainty(self, planes: Planes, times: NDArray[np.float32]) -> tuple[Planes, Planes]:
        """Refuse."""
        self(planes, times)
        raise AssertionError
