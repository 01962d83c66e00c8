"""An input that is watched while it is read, so that no output is made from two inputs."""

import time
from collections.abc import Callable

from zinterp.errors import BadVolumeError, InputChangedError, InputError
from zinterp.io import Identity, sample_digest
from zinterp.volume import Closing, Planes, VolumeReader

SHARE = 0.05  # of the time, at most, goes into looking at the files


class GuardedReader(Closing):
    """A volume that notices when its files are replaced, cut short or written to. See ``VolumeReader``.

    ``sample`` is the digest of its pixels, "" until it is known.

    Parameters
    ----------
    reader : VolumeReader
        Closed with this one.
    identity : Identity
        The files, as they were before the reader was opened.
    reopen : callable
        Opens the same volume once more.
    """

    def __init__(self, reader: VolumeReader, identity: Identity, reopen: Callable[[], VolumeReader]) -> None:
        self.info = reader.info
        self.sample = ""
        self._reader = reader
        self._identity = identity
        self._reopen = reopen
        self._due = time.monotonic()

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z of a stack -> (len(z), Y, X)."""
        try:
            return self._reader.read(z, stack)
        except (InputError, BadVolumeError):
            self.check()  # what became another volume cannot be read as the old one, which is not its fault
            raise

    def check(self, *, sparingly: bool = False) -> None:
        """See whether the files are what they were at first.

        Parameters
        ----------
        sparingly : bool
            Look only if that costs little, compared with the time since the last look.

        Raises
        ------
        InputChangedError
            If they hold, or may hold, something else now.
        InputError
            If one is not there, which may be a share that went away.
        """
        start = time.monotonic()
        if sparingly and start < self._due:
            return
        now = self._identity.now()
        if lost := [path for path, state in self._identity.files.items() if state and not now.files.get(path)]:
            raise InputError(f"{lost[0]} is gone, and was read until now: bring it back") from FileNotFoundError(2, "")
        what = self._identity.difference(now)
        if not what and self.sample and now != self._identity:  # rights or links, or a write whose time was set back
            with self._reopen() as reader:
                what = "" if sample_digest(reader) == self.sample else "its pixels are others"
            self._identity = now
        if what:
            raise InputChangedError(
                f"{self._identity.path} was changed while it was read ({what}), and an output is made from one input: "
                "start again when it stays as it is"
            )
        end = time.monotonic()
        self._due = end + (end - start) / SHARE

    def close(self) -> None:
        """Close the volume."""
        self._reader.close()
