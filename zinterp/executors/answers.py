"""What comes back from another process: a result, or why there is none."""

import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Failure:
    """An error of another process: itself, the system's number of what caused it (None: no error of the system), trace.

    An error that is pickled loses its cause, by which a share that went away is told from a damaged file.
    """

    error: Exception
    number: int | None
    trace: str

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """An error as it can be sent."""
        number = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
        trace = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001, whatever a library's error does in there
            error = RuntimeError(f"{type(error).__name__}: {error}")
        return cls(error, number, trace)

    def raise_again(self) -> NoReturn:
        """Raise the error here, with its cause, and the trace for those who look for a fault in zinterp."""
        self.error.add_note(f"in another process:\n{self.trace}")
        raise self.error from None if self.number is None else OSError(self.number, "in another process")


def attempt(function: Callable[[], Result]) -> Result | Failure:
    """What a function gives, or how it failed."""
    try:
        return function()
    except Exception as error:  # noqa: BLE001, raised again where it is heard of
        return Failure.of(error)
