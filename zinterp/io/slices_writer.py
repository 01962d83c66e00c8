"""Writing folders of slices: one TIFF or PNG file a plane, and a file that says what they are."""

import io
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from zinterp.errors import OutputError
from zinterp.io.folders import replace_folder, sync_folder
from zinterp.io.paths import SIDECAR
from zinterp.io.slices import DIGITS, ORIGIN, RECORD, SIZE
from zinterp.io.tiff import IMAGEJ_DTYPES, IMAGEJ_UNITS
from zinterp.volume import MICROMETRES, Planes, VolumeInfo, in_unit, partial_path, ranges

PNG_LONGEST = 2**31 - 1  # pixels per metre
PNG_STRATEGY = zlib.Z_RLE  # as small as the default on grainy planes, in half the time


class SlicesWriter:
    """A folder of uncompressed TIFF or of PNG slices, and a file that says what they are. See ``VolumeWriter``.

    Parameters
    ----------
    path : Path
        The final name; until ``finish`` the folder is called ``<name>.partial``.
    info : VolumeInfo
        Of the output. TIFF lengths are in ``info.unit`` where ImageJ knows it.
    png : bool
        PNG, which holds uint8 and uint16, rather than TIFF.
    record : mapping
        How the volume was made, kept beside the slices.
    resume : bool
        Go on in the partial folder that is there.

    Raises
    ------
    OutputError
        If the folder cannot be written, or is not one to go on in.
    """

    def __init__(
        self, path: Path, info: VolumeInfo, *, png: bool, record: Mapping[str, object], resume: bool = False
    ) -> None:
        self.path = path
        self.partial = partial_path(path)
        self._info = info
        self._save: Callable[[Planes, Path], None] = self._save_png if png else self._save_tiff
        digits = max(DIGITS, len(str(info.shape[0] - 1)))
        suffix = "png" if png else "tif"
        self._names = [f"{path.name}_{z:0{digits}d}.{suffix}" for z in range(info.shape[0])]
        if resume:
            self._check_partial()
            return
        with self._writing():
            if self.partial.exists():
                shutil.rmtree(self.partial)
            self.partial.mkdir()
            self._describe(record)

    def _describe(self, record: Mapping[str, object]) -> None:
        """Write the file that says what the slices are."""
        info, size = self._info, self._info.voxel_size
        about = {
            SIZE: [size.z, size.y, size.x],
            "unit": info.unit,
            "shape": info.shape,
            "dtype": info.dtype.name,
            ORIGIN: info.origin,
            RECORD: dict(record),
        }
        self._put(SIDECAR, lambda path: path.write_text(json.dumps(about, indent=1), encoding="utf-8"))

    def _check_partial(self) -> None:
        """Whether the partial folder is of this volume."""
        try:
            about = json.loads((self.partial / SIDECAR).read_text(encoding="utf-8"))
            found = (tuple(about["shape"]), about["dtype"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(
                f"cannot go on in {self.partial}: it lacks a {SIDECAR}; start again with --overwrite"
            ) from error
        if found != (self._info.shape, self._info.dtype.name):
            raise OutputError(
                f"cannot go on in {self.partial}: it is for {found[1]} of shape {found[0]}, and the output is "
                f"{self._info.dtype.name} of shape {self._info.shape}; start again with --overwrite"
            )

    def write(self, z: int, planes: Planes, stack: int = 0) -> None:
        """Write planes (n, Y, X) from z on."""
        for name, plane in zip(self._names[z : z + len(planes)], planes, strict=True):
            pixels = np.ascontiguousarray(plane, self._info.dtype)
            with self._writing():
                self._put(name, partial(self._save, pixels))

    def _put(self, name: str, save: Callable[[Path], object]) -> None:
        """Write a file that has its name only once it is whole and on disk."""
        unfinished = partial_path(self.partial / name)
        save(unfinished)
        with unfinished.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, self.partial / name)

    def _save_tiff(self, plane: Planes, path: Path) -> None:
        size, unit = self._info.voxel_size, self._info.unit
        imagej = self._info.dtype.name in IMAGEJ_DTYPES and plane.shape[1] > 1
        if unit not in IMAGEJ_UNITS:
            unit = "nm" if 0 < (size.x or 0) < 1 else "um"
        scale = MICROMETRES[unit if imagej else "cm"]
        resolution = (scale / size.x, scale / size.y) if size.x and size.y else None
        metadata: dict[str, Any] = {"unit": IMAGEJ_UNITS[unit]} if resolution else {}
        if resolution and size.z:
            metadata["spacing"] = in_unit(size.z, scale)
        tifffile.imwrite(
            path,
            plane,
            imagej=imagej,
            photometric="minisblack",
            resolution=resolution,
            resolutionunit="CENTIMETER" if resolution and not imagej else None,
            metadata=metadata if imagej else None,
        )

    def _save_png(self, plane: Planes, path: Path) -> None:
        size = self._info.voxel_size
        options: dict[str, Any] = {}
        if size.x and size.y and MICROMETRES["m"] / min(size.x, size.y) < PNG_LONGEST:
            options["dpi"] = (MICROMETRES["inch"] / size.x, MICROMETRES["inch"] / size.y)
        Image.fromarray(plane).save(path, format="PNG", compress_type=PNG_STRATEGY, **options)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error}): choose another -o") from error

    def finish(self, record: Mapping[str, object] | None = None) -> None:
        """Put the record in place of the first one, where one is given, and give the folder its final name."""
        try:
            held = {file.name for file in self.partial.iterdir()}
            if lacking := [z for z, name in enumerate(self._names) if name not in held]:
                raise OutputError(f"{self.partial} lacks {len(lacking)} planes ({ranges(lacking)})")
            for name in held - {SIDECAR, *self._names}:  # left by a run that was killed
                (self.partial / name).unlink()
            if record is not None:
                self._describe(record)
            sync_folder(self.partial)
            replace_folder(self.partial, self.path)
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"cannot complete {self.path} ({error.strerror or error})") from error

    def close(self) -> None:
        """Leave the partial folder there."""

    def discard(self) -> None:
        """Remove the partial folder."""
        shutil.rmtree(self.partial, ignore_errors=True)


def slice_bytes(plane: Planes) -> bytes:
    """A plane (Y, X) as a microscope stores it: an uncompressed TIFF file."""
    file = io.BytesIO()
    tifffile.imwrite(file, plane, photometric="minisblack", metadata=None)
    return file.getvalue()
