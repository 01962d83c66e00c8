"""What a watch says of itself while it runs, for people and for other programs."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zinterp
from zinterp.documents import check_document, write_document
from zinterp.errors import OutputError
from zinterp.io.record import PROGRAM, read_json

WAITING, RUNNING, VERIFYING, FINISHING = "waiting", "running", "verifying", "finishing"
DONE, STOPPED, FAILED = "done", "stopped", "failed"


@dataclass(frozen=True)
class Findings:
    """What was odd about the slices, by their names; each is reported when it is found.

    Parameters
    ----------
    missing : tuple of int
        Numbers that lack now, though slices after them are there.
    late : tuple of str
        Slices that arrived after one that follows them.
    duplicated : dict of str to str
        Slices that equal the one before them bit for bit, with that one; they are kept.
    reimaged : tuple of str
        Slices that changed after they were taken, so that what depends on them was made again.
    unreadable : dict of str to str
        Files that cannot be used now, with the reason; they count as missing.
    other : dict of str to str
        Files of another size, type or series, with the reason; they count as missing.
    gone : tuple of str
        Slices that were there and are no longer.
    """

    missing: tuple[int, ...] = ()
    late: tuple[str, ...] = ()
    duplicated: Mapping[str, str] | None = None
    reimaged: tuple[str, ...] = ()
    unreadable: Mapping[str, str] | None = None
    other: Mapping[str, str] | None = None
    gone: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {name: {} if value is None else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Status:
    """How far a watch is.

    Parameters
    ----------
    state : str
        ``waiting`` for the first two slices, ``running``, ``verifying``, ``finishing``, ``done``; ``stopped`` by a
        signal and ``failed`` can be resumed.
    readable : str
        Where the output can be read now; "" before it is begun.
    slices_seen : int
        Files that look like slices of the stack.
    slices_taken : int
        Of these, those that settled and were read in full.
    slices_expected : int or None
    last_slice : str
        The last of them in their order.
    planes_written : int
        Output planes that can be read.
    planes_provisional : int
        Of these, those that are to be made again, as their context was not there yet.
    lag_slices : int
        Slices that were seen and are not in the output yet, with the gap before them.
    lag_seconds : float
        How long the first of these has been there.
    eta_seconds : float or None
        Until the output is complete; None where that cannot be known.
    seconds_per_gap : float or None
        What it takes to make the planes of a gap.
    intensity_range : tuple of float or None
        The grey values that are 0 and 1 inside.
    message : str
        What went wrong, or is waited for; "" if nothing.
    findings : Findings
    """

    state: str = WAITING
    readable: str = ""
    slices_seen: int = 0
    slices_taken: int = 0
    slices_expected: int | None = None
    last_slice: str = ""
    planes_written: int = 0
    planes_provisional: int = 0
    lag_slices: int = 0
    lag_seconds: float = 0.0
    eta_seconds: float | None = None
    seconds_per_gap: float | None = None
    intensity_range: tuple[float, float] | None = None
    message: str = ""
    findings: Findings = Findings()

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "findings": self.findings.record()}


def check_status(path: Path, source: Path, target: Path) -> None:
    """Refuse a status file that could not be written, or would replace anything but another one.

    Raises
    ------
    BadOptionError, OutputError
        If the path cannot be.
    """
    check_document(path, "status", "status.json", [source, target], replace=True)
    if path.exists():
        found = read_json(path)
        if not isinstance(found, dict) or not str(found.get("program")).startswith(PROGRAM) or "state" not in found:
            raise OutputError(f"{path} is there and no status of ours, which alone is replaced: give another --status")


def write_status(path: Path, status: Status, source: Path, target: Path) -> None:
    """Write a status, whole or not at all, so that whoever reads it never finds half of one."""
    facts = {
        "program": f"{PROGRAM}{zinterp.__version__}",
        "process": os.getpid(),
        "updated": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "monotonic": round(time.monotonic(), 3),
        "source": str(source),
        "output": str(target),
        **status.record(),
    }
    write_document(path, "status", json.dumps(facts, indent=1) + "\n")
