"""What tests have other processes do; it imports little, so that these start quickly."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np
from numpy.typing import NDArray

from zinterp.interpolators.base import Needs


class Slow:
    """Linear interpolation that takes its time. See ``Interpolator``."""

    identity = "slow"
    needs = Needs(context=1)

    def __call__(self, planes: NDArray[np.float32], times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Planes (N, 2, Y, X) and times (K,) -> (N, K, Y, X)."""
        time.sleep(0.1)
        return planes[:, :1] + times[:, None, None] * (planes[:, 1:] - planes[:, :1])


@dataclass(frozen=True)
class Errand:
    """An order that doubles numbers, but for one, which ends the process or raises an error."""

    wrong: int = -1
    error: Callable[[], Exception] | None = None

    def __call__(self, say: Callable[[str], None], process: int | None = None) -> Callable[[int], int]:
        """What does an item."""

        def do(item: int) -> int:
            if item == self.wrong:
                if self.error is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                else:
                    raise self.error() from OSError(5, "Input/output error")
            say(f"at {item}, {os.environ['OMP_NUM_THREADS']} threads")
            return 2 * item

        return do


class Unpicklable(Exception):  # noqa: N818
    """An error that cannot be made again from what it says."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


class Unknown:
    """An order that cannot be read where it arrives, as where zinterp is not installed."""

    def __reduce__(self) -> tuple[object, ...]:
        return import_module, ("no_such_module",)
