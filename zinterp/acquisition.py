"""A microscope that writes slices one by one, with what goes wrong in practice: for tests, benchmarks and trials."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zinterp.errors import BadOptionError
from zinterp.io.slices_writer import slice_bytes
from zinterp.volume import Planes

HICCUPS = ("late", "missing", "duplicated", "half-written", "preallocated", "reimaged", "wrong-sized", "stray")
NAME = "slice_{:05d}.tif"


@dataclass(frozen=True)
class Hiccup:
    """What goes wrong with one slice.

    Parameters
    ----------
    kind : str
        * late: it is written after others that follow it.
        * missing: it is never written.
        * duplicated: it holds the plane before it.
        * half-written: its first half is written, and the rest later.
        * preallocated: a file of its size, but black, is written, and the plane later: no size tells.
        * reimaged: it is written again later, with another image.
        * wrong-sized: an image of another size is written, and the right one later.
        * stray: files that are no slices appear beside it.
    plane : int
        The slice, from 0.
    later : float
        How much later, in slices; infinite is never.
    """

    kind: str
    plane: int
    later: float = 3.0

    def __post_init__(self) -> None:
        if self.kind not in HICCUPS:
            raise BadOptionError(f"got the hiccup {self.kind!r}, expected one of {', '.join(HICCUPS)}")


class Event(NamedTuple):
    """Something is written: when, in slices from the start; to which file; from which byte on; what."""

    when: float
    name: str
    start: int
    content: bytes


def events(planes: Sequence[Planes], hiccups: Iterable[Hiccup] = ()) -> list[Event]:
    """All that is written in an acquisition, in order.

    Parameters
    ----------
    planes : sequence of ndarray, each (Y, X)
        What each slice shows.
    hiccups : iterable of Hiccup
        At most one a slice, and strays.
    """
    odd = {hiccup.plane: hiccup for hiccup in hiccups if hiccup.kind != "stray"}
    found = [event for k in range(len(planes)) for event in events_of(k, planes, odd.get(k))]
    for hiccup in hiccups:
        if hiccup.kind == "stray":
            found += [Event(hiccup.plane, name, 0, b"no slice") for name in strays(hiccup.plane)]
    return sorted((event for event in found if event.when < inf), key=lambda event: event.when)


def strays(k: int) -> Iterator[str]:
    """Names of files that lie beside slices, and are none."""
    name = NAME.format(k)
    yield from (f".{name}", f"{name}.tmp", f"{name}.partial", f"{Path(name).stem}.tmp.tif", "log.txt", "overview.tif")


def events_of(k: int, planes: Sequence[Planes], hiccup: Hiccup | None) -> Iterator[Event]:
    """What is written of one slice."""
    name, whole, plane = NAME.format(k), slice_bytes(planes[k]), planes[k]
    kind, later = (hiccup.kind, k + hiccup.later) if hiccup else ("", inf)
    if kind == "missing":
        return
    if kind == "half-written":
        middle = len(whole) // 2
        yield Event(k, name, 0, whole[:middle])
        yield Event(later, name, middle, whole[middle:])
        return
    instead = {
        "preallocated": np.zeros_like(plane),
        "duplicated": planes[max(k - 1, 0)],
        "reimaged": plane[::-1],
        "wrong-sized": plane[: plane.shape[0] // 2],
    }
    yield Event(later if kind == "late" else k, name, 0, slice_bytes(instead[kind]) if kind in instead else whole)
    if kind in ("preallocated", "reimaged", "wrong-sized"):
        yield Event(later, name, 0, whole)


def acquire(
    folder: str | Path,
    planes: Sequence[Planes],
    *,
    seconds: float,
    hiccups: Sequence[Hiccup] = (),
    written: Callable[[Event], None] = lambda event: None,
) -> None:
    """Write slices into a folder as a microscope does, and return when the last one is there.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    planes : sequence of ndarray, each (Y, X)
    seconds : float
        From one slice to the next.
    hiccups : sequence of Hiccup
    written : callable
        Called with each Event once it is on disk.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for event in events(planes, hiccups):
        time.sleep(max(start + event.when * seconds - time.monotonic(), 0.0))
        with (folder / event.name).open("r+b" if event.start else "wb") as file:
            file.seek(event.start)
            file.write(event.content)
        written(event)
