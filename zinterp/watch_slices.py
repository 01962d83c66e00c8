"""The slices of a running acquisition: which were taken, what they held, and what was odd about them."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from zinterp.errors import BadVolumeError, InputError
from zinterp.io.arriving import (
    UNKNOWN,
    Kind,
    Slice,
    folder_of,
    lacking,
    list_files,
    one_series,
    read_again,
    slice_from_json,
    slice_to_json,
    take_slice,
)
from zinterp.io.selection import InputOptions
from zinterp.io.slice_names import natural_order
from zinterp.run import is_passing
from zinterp.volume import Planes, ranges
from zinterp.watch_folder import WatchedFolder
from zinterp.watch_status import Findings

logger = logging.getLogger(__name__)

KIND = "kind"  # the fact in a journal that says what the slices are like; all others are names of slices
PATIENCE = 3  # slices that have to follow a number that lacks before it counts as missing
RETRY_S = 10.0  # after which a file that could not be used is tried again though it looks unchanged
KEPT_PLANES = 10  # in memory


class TakenSlices:
    """The slices that were taken so far. A slice is taken once it has settled and was read in full.

    Parameters
    ----------
    source : Path
        The folder, or a pattern of names in it.
    options : InputOptions
    settle : int
        See ``WatchedFolder``.
    known : mapping
        What the journal of an earlier run has: slices that did not change since are not read again.

    Attributes
    ----------
    folder : WatchedFolder
    taken : dict of str to Slice
        All that could be read, also those that do not belong to the stack.
    kind : Kind or None
        What those of the stack have in common; None until there are two alike.
    changed : bool
        Whether the slices are other ones than when this was last set to False.
    """

    def __init__(self, source: Path, options: InputOptions, settle: int, known: Mapping[str, Any]) -> None:
        self.source, self.options = source, options
        self.folder = WatchedFolder(source, settle)
        values = {name: value for name, value in known.items() if value is not None}
        kind = values.pop(KIND, None)
        self.kind: Kind | None = slice_from_json("", kind).kind if kind else None
        self.taken: dict[str, Slice] = {name: slice_from_json(name, value) for name, value in values.items()}
        self.folder.trust({name: taken.stamp for name, taken in self.taken.items()})
        self.changed = bool(self.taken)
        self._noted: dict[str, Any] = dict(known)
        self._names: list[str] | None = None
        self._planes: dict[str, Planes] = {}
        self._refused: dict[str, tuple[object, float, str]] = {}  # stamp, when, why
        self._verified: dict[str, Slice] = {}
        self._late: list[str] = []
        self._reimaged: list[str] = []
        self._gone: list[str] = []
        self._missing: list[int] = []
        self._duplicated: dict[str, str] = {}
        self._other: dict[str, str] = {}

    def path_of(self, name: str) -> Path:
        """Where a slice lies."""
        return folder_of(self.source) / name

    def look(self) -> None:
        """See what has changed in the folder; InputError if it cannot be read."""
        self.folder.look()
        there = set(self.folder.files)
        if there.isdisjoint(self.taken):  # a share that went away looks so too
            return
        for name in [name for name in self.taken if self.folder.has_gone(name)]:
            logger.warning("%s is gone, and what was made from it is made anew without it", self.path_of(name))
            self._gone.append(name)
            self._drop(name)
        self._refused = {name: refusal for name, refusal in self._refused.items() if name in there}

    def waiting(self) -> list[str]:
        """The files that have settled and are to be read, in their natural order."""
        now = time.monotonic()
        found = []
        for name, stamp in self.folder.files.items():
            known = self.taken.get(name)
            if not self.folder.has_settled(name) or (known is not None and known.stamp == stamp):
                continue
            refused = self._refused.get(name)
            if refused is None or refused[0] != stamp or now - refused[1] > RETRY_S:
                found.append(name)
        return natural_order(found)

    def take(self, name: str) -> None:
        """Read a file that has settled; what is wrong with it is reported, and it then counts as missing."""
        path, stamp = self.path_of(name), self.folder.files[name]
        before = self.taken.get(name)
        try:
            found, plane = take_slice(path, stamp, self.options)
        except (InputError, BadVolumeError) as error:
            if is_passing(error):  # a share that hiccups, or a file that is locked while it is written
                self.folder.doubt(name)
                return
            refused = self._refused.get(name)
            if refused is None or refused[0] != stamp:
                logger.warning("%s; it counts as missing until it changes", error)
            self._refused[name] = (stamp, time.monotonic(), str(error))
            if before is not None:
                self._drop(name)
            return
        self._refused.pop(name, None)
        self._keep(found.digest, plane)
        self.taken[name] = found
        if before is not None and (before.digest, before.kind) == (found.digest, found.kind):
            return  # it was written again as it was
        self.changed, self._names = True, None
        if before is not None:
            logger.warning("%s was imaged again: what was made from it is made anew", path)
            self._reimaged.append(name)
        elif name in (names := self.names()) and name != names[-1]:
            logger.warning("%s arrived late, after %s: the planes around it are made anew", path, names[-1])
            self._late.append(name)

    def begin(self) -> list[str]:
        """Decide by the first slices what those of the stack are like -> their names; none while that is not clear."""
        if self.kind is None:
            kinds = Counter(taken.kind for taken in self.taken.values()).most_common(2)
            if not kinds or kinds[0][1] < 2 or (len(kinds) > 1 and kinds[0][1] == kinds[1][1]):
                return []
            self.kind, self._names = kinds[0][0], None
        return self.names()

    def names(self) -> list[str]:
        """The slices of the stack, in their natural order."""
        if self._names is None:
            alike = [name for name, taken in self.taken.items() if self.kind in (None, taken.kind)]
            self._names = one_series(alike)
            self._inspect(self._names)
        return self._names

    def _inspect(self, names: list[str]) -> None:
        """Report what is odd about the slices, each once."""
        if self.kind is None:
            return
        inside = set(names)
        other = {name: self._oddity(taken, names) for name, taken in self.taken.items() if name not in inside}
        for name in other.keys() - self._other.keys():
            logger.warning("%s %s; it is left out", self.path_of(name), other[name])
        self._other = other
        settled = lacking(names[: 1 - PATIENCE]) if len(names) > PATIENCE else []
        if new := sorted({*settled} - {*self._missing}):
            logger.warning("%s lacks the slices numbered %s, and later ones are there", self.source, ranges(new))
        self._missing = settled
        duplicated = {b: a for a, b in pairwise(names) if self.taken[a].digest == self.taken[b].digest}
        for name in duplicated.keys() - self._duplicated.keys():
            logger.warning("%s equals %s bit for bit, and is kept", self.path_of(name), duplicated[name])
        self._duplicated = duplicated

    def _oddity(self, taken: Slice, names: list[str]) -> str:
        """Why a file that can be read does not belong to the stack."""
        if self.kind == taken.kind:
            return f"is not of one series with {names[0]}"
        png, header = self.kind or taken.kind
        if png != taken.png:
            return f"is {'PNG' if taken.png else 'TIFF'}, expected {'PNG' if png else 'TIFF'}"
        return f"is {taken.header}, expected {header}"

    def plane(self, name: str) -> Planes | None:
        """The plane of a slice (Y, X), bit for bit as it was taken; None if the file no longer holds it."""
        taken = self.taken[name]
        if (plane := self._planes.get(taken.digest)) is not None:
            return plane
        try:
            plane = read_again(self.path_of(name), taken)
        except InputError:
            plane = None
        if plane is None:
            self.distrust(name)
        else:
            self._keep(taken.digest, plane)
        return plane

    def distrust(self, name: str) -> None:
        """Have a slice settle and be read again, whose file is not what it was, though it may look so."""
        self.folder.doubt(name)
        if name in self.taken and name in self.folder.files:
            taken = self.taken[name]
            self.taken[name] = Slice(name, UNKNOWN, taken.png, taken.header, taken.digest)

    def is_doubtful(self, name: str) -> bool:
        """Whether a slice cannot be read as it was taken, so that it is no use to try."""
        taken = self.taken.get(name)
        return taken is not None and taken.digest not in self._planes and taken.stamp != self.folder.files.get(name)

    def verify(self) -> bool:
        """Read all slices once more; whether each is what was taken, and nothing has changed meanwhile.

        A slice that was verified before and looks unchanged is not read again.
        """
        for name in self.names():
            if self._verified.get(name) == self.taken[name]:
                continue
            try:
                fits = read_again(self.path_of(name), self.taken[name]) is not None
            except InputError:
                fits = False
            if not fits:
                self.distrust(name)
                return False
            self._verified[name] = self.taken[name]
        stamps = list_files(self.source)
        return all(stamps.get(name) == self.taken[name].stamp for name in self.names())

    def news(self) -> dict[str, Any]:
        """What the journal does not know yet of the slices."""
        facts: dict[str, Any] = {name: slice_to_json(taken) for name, taken in self.taken.items()}
        if self.kind is not None:
            facts[KIND] = next(slice_to_json(taken) for taken in self.taken.values() if taken.kind == self.kind)
            facts[KIND] = self._noted.get(KIND) or facts[KIND]
        facts |= dict.fromkeys(self._noted.keys() - facts.keys())
        new = {name: fact for name, fact in facts.items() if self._noted.get(name) != fact}
        self._noted = facts
        return new

    def belongs(self, name: str) -> bool:
        """Whether a file may become or is a slice of the stack, as far as is known."""
        return name not in self._refused and name not in self._other

    def findings(self) -> Findings:
        """What was odd so far."""
        return Findings(
            missing=tuple(self._missing),
            late=tuple(self._late),
            duplicated=dict(self._duplicated),
            reimaged=tuple(self._reimaged),
            unreadable={name: why for name, (_, _, why) in self._refused.items()},
            other=dict(self._other),
            gone=tuple(self._gone),
        )

    def _drop(self, name: str) -> None:
        """Let a slice count as missing."""
        del self.taken[name]
        self.changed, self._names = True, None

    def _keep(self, digest: str, plane: Planes) -> None:
        """Keep a plane in memory, and let the one go that was used least lately."""
        self._planes.pop(digest, None)
        while len(self._planes) >= KEPT_PLANES:
            del self._planes[next(iter(self._planes))]
        self._planes[digest] = plane
