"""Which slices of a folder have settled: by looking again and again, so that network shares work too."""

import time
from pathlib import Path

from zinterp.io.arriving import Stamp, list_files


class WatchedFolder:
    """The files of a folder that are named like slices, and for how long each has stayed as it is.

    Only how files change from one look to the next counts, never what their times say, and waiting goes by a clock
    that nobody sets: a clock that is put back does no harm.

    Parameters
    ----------
    path : Path
        The folder, or a pattern of names in it.
    settle : int
        After so many looks at which a file was as before it has settled.

    Attributes
    ----------
    files : dict of str to Stamp
        What was there at the last look.
    since : dict of str to float
        Since when each file is as it is, by ``time.monotonic``.
    changed : float
        When something last changed, by the same clock.
    """

    def __init__(self, path: Path, settle: int) -> None:
        self.path = path
        self.files: dict[str, Stamp] = {}
        self.since: dict[str, float] = {}
        self.changed = time.monotonic()
        self._settle = settle
        self._calm: dict[str, int] = {}
        self._absent: dict[str, int] = {}

    def trust(self, known: dict[str, Stamp]) -> None:
        """Count files that had settled before this run as settled, if they are still the same at the next look."""
        self.files |= known
        self._calm |= dict.fromkeys(known, self._settle)
        self.since |= dict.fromkeys(known, time.monotonic())

    def look(self) -> None:
        """See what is there now.

        Raises
        ------
        InputError
            If the folder cannot be read; what was there before then counts as still there.
        """
        found, now = list_files(self.path), time.monotonic()
        if found != self.files:
            self.changed = now
        self._calm = {name: self._calm.get(name, 0) + 1 if self.files.get(name) == found[name] else 0 for name in found}
        self._absent = {name: self._absent.get(name, 0) + 1 for name in self.since if name not in found}
        self.since |= {name: now for name in found if self.files.get(name) != found[name] or name not in self.since}
        self.files = found

    def doubt(self, name: str) -> None:
        """Let a file settle anew, which was found to have changed without looking so."""
        if name in self._calm:
            self._calm[name] = 0
            self.changed = time.monotonic()

    def has_settled(self, name: str) -> bool:
        """Whether a file is there and has stayed as it is."""
        return self._calm.get(name, -1) >= self._settle

    def has_gone(self, name: str) -> bool:
        """Whether a file that was there is gone for as long as one takes to settle."""
        return self._absent.get(name, 0) > self._settle

    @property
    def settling(self) -> list[str]:
        """The files that have not settled."""
        return [name for name in self.files if not self.has_settled(name)]
