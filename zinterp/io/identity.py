"""Which input it is: the same as before, or one that took its place or was written to."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zinterp.io.paths import files_of, is_zarr, on_disk
from zinterp.volume import VolumeReader

SAMPLE_PIXELS = 2**20  # of a plane, at most, spread over it


@dataclass(frozen=True)
class FileState:
    """What the system says about a file. ``changed_ns`` moves with rights and links too, and cannot be set back."""

    bytes: int
    modified_ns: int
    inode: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> "FileState | None":
        """The state of a file, None if there is none, or a share does not tell."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    @property
    def content(self) -> tuple[int, int, int]:
        """What differs if it is another file, or was written to."""
        return self.bytes, self.modified_ns, self.inode


@dataclass(frozen=True)
class Identity:
    """The files that a volume is read from, and their states; None for one that is not there.

    ``closed`` is whether a file more makes it another volume: chunks of a Zarr store do, slices of an acquisition that
    goes on do not.
    """

    path: Path
    files: Mapping[Path, FileState | None]
    closed: bool

    def now(self) -> "Identity":
        """The same files, as they are now; those of a store are listed anew."""
        return identify(self.path) if self.closed else Identity(self.path, states(list(self.files)), self.closed)

    def difference(self, other: "Identity") -> str:
        """What happened to the content from this one to the other, in words; "" if nothing."""
        for path in self.files.keys() | other.files.keys():
            before, after = self.files.get(path), other.files.get(path)
            if before is not None and after is not None and before.content == after.content:
                continue
            if before is None or after is None:
                if before is not after:
                    return f"{path} {'appeared' if before is None else 'was removed'}"
                continue
            if before.bytes != after.bytes:
                return f"{path} had {before.bytes} bytes and has {after.bytes}"
            return f"{path} was {'replaced' if before.inode != after.inode else 'written to'}"
        return ""


def identify(path: Path) -> Identity:
    """The files of a volume as they are now. None is opened."""
    return Identity(path, states(files_of(path)), is_zarr(on_disk(path)))


def states(paths: list[Path]) -> dict[Path, FileState | None]:
    """The state of each file."""
    return {path: FileState.of(path) for path in paths}


def sample_digest(reader: VolumeReader) -> str:
    """16 hexadecimal digits that hardly two volumes share: of some pixels of the first, middle and last plane.

    Of several stacks, of the first and the last one.
    """
    info, digest = reader.info, hashlib.blake2b(digest_size=8)
    step = max(1, int((info.shape[1] * info.shape[2] / SAMPLE_PIXELS) ** 0.5))
    for stack in sorted({0, info.stacks - 1}):
        for z in sorted({0, info.shape[0] // 2, info.shape[0] - 1}):
            plane = reader.read(range(z, z + 1), stack)[0, ::step, ::step]
            digest.update(np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
