"""OME-Zarr (NGFF 0.4 and 0.5) and bare Zarr arrays."""

import logging
import lzma
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaozarrs
import zarr
import zarr.errors
from pydantic import ValidationError
from yaozarrs import v04, v05

from zinterp.errors import BadVolumeError, InputError, OutputError
from zinterp.io.selection import choose_index
from zinterp.volume import MICROMETRES, Closing, Planes, VolumeInfo, VoxelSize, partial_path

logger = logging.getLogger(__name__)

CHUNK = 256  # pixels, along y and x
SHARD = 1024  # pixels, along y and x
CHUNK_DEPTH = 16  # planes, at most
READ_DEPTH = 8  # planes of a coarser level that are made at a time
SMALLEST_LEVEL = 256  # pixels: no level is made once the plane's longer edge is this short


DAMAGE = (
    *(OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, EOFError, ValidationError),
    *(zlib.error, lzma.LZMAError),
)
"""What zarr and its codecs raise where a store is broken."""


class NgffReader(Closing):
    """Planes of the finest level of an OME-Zarr image, or of a Zarr array. See ``VolumeReader``."""

    def __init__(self, path: Path, *, channel: int | None = None, time: int | None = None) -> None:
        self._path = path
        with reading(path):
            node = zarr.open(path, mode="r")
            if isinstance(node, zarr.Array):
                self._array, axes, size, source, unit = node, "zyx"[-node.ndim :], VoxelSize(), "", ""
                name = "zarr"
            else:
                image = image_metadata(node, path)
                multiscale = image.multiscales[0]
                axes = "".join(axis.name for axis in multiscale.axes)
                size, unit = voxel_size(multiscale)
                source = "NGFF transformations" if size != VoxelSize() else ""
                array = node[multiscale.datasets[0].path]
                if not isinstance(array, zarr.Array):
                    raise BadVolumeError(f"{path}: level {multiscale.datasets[0].path!r} is not an array")
                self._array, name = array, "ome-zarr"
            if len(axes) != self._array.ndim or axes[-2:] != "yx" or "z" not in axes or set(axes) - set("tczyx"):
                raise BadVolumeError(
                    f"{path} has axes {axes!r} and shape {self._array.shape}, expected a stack of planes zyx: "
                    "only volumes with z, y, x (and t, c) can be upsampled"
                )
            missing = self._array.nchunks - self._array.nchunks_initialized
        if missing:
            logger.warning(
                "%s lacks %d of %d chunks, which read as %s", path, missing, self._array.nchunks, self._array.fill_value
            )
        counts = dict(zip(axes, self._array.shape, strict=True))
        self._axes = axes
        self._fixed = {
            "c": choose_index(counts.get("c", 1), channel, name="channel", path=path),
            "t": choose_index(counts.get("t", 1), time, name="time", path=path),
        }
        self.info = VolumeInfo(
            shape=(counts["z"], counts["y"], counts["x"]),
            dtype=np.dtype(self._array.dtype).newbyteorder("="),
            voxel_size=size,
            voxel_size_source=source,
            unit=unit,
            format=name,
            channels=counts.get("c", 1),
            times=counts.get("t", 1),
        )

    def read(self, z: range) -> Planes:
        """Read planes z -> (len(z), Y, X)."""
        index = tuple(
            slice(z.start, z.stop) if axis == "z" else self._fixed.get(axis, slice(None)) for axis in self._axes
        )
        with reading(self._path):
            return np.asarray(self._array[index]).astype(self.info.dtype, copy=False)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a broken store makes zarr raise into one InputError."""
    try:
        yield
    except (BadVolumeError, InputError):
        raise
    except (zarr.errors.GroupNotFoundError, zarr.errors.NodeNotFoundError, FileNotFoundError) as error:
        raise InputError(f"{path} is not a Zarr group or array, expected OME-Zarr: check the path") from error
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as Zarr ({reason}): it is damaged or incomplete") from error


def image_metadata(group: zarr.Group, path: Path) -> v04.Image | v05.Image:
    """NGFF metadata of an image group, checked; anything else is refused with what it is."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping) or "multiscales" not in ome:
        raise BadVolumeError(
            f"{path} is a Zarr group without multiscales, expected an OME-Zarr image: give the path of one"
        )
    if "image-label" in ome:
        raise BadVolumeError(f"{path} is a label image, expected grey values: labels cannot be interpolated")
    image = yaozarrs.validate_ome_object({k: v for k, v in ome.items() if k in ("version", "multiscales")})
    if not isinstance(image, v04.Image | v05.Image):
        raise BadVolumeError(f"{path} is an NGFF {type(image).__name__}, expected an image")
    return image


def voxel_size(multiscale: Any) -> tuple[VoxelSize, str]:
    """Voxel size of the finest level in micrometres, and the unit it is written in; unknown without a unit."""
    lengths: dict[str, float | None] = {}
    scales = [
        t.scale
        for t in (
            *(multiscale.datasets[0].coordinateTransformations or ()),
            *(multiscale.coordinateTransformations or ()),
        )
        if t.type == "scale"
    ]
    units = [getattr(axis, "unit", None) for axis in multiscale.axes]
    for i, axis in enumerate(multiscale.axes):
        unit = MICROMETRES.get(units[i] or "")
        length = math.prod(scale[i] for scale in scales) * unit if unit else None
        lengths[axis.name] = length if length and math.isfinite(length) and length > 0 else None
    known = next((str(u) for u in units if u in MICROMETRES), "")
    return VoxelSize(lengths.get("z"), lengths.get("y"), lengths.get("x")), known


class NgffWriter:
    """An OME-Zarr image with a pyramid. See ``VolumeWriter``.

    Parameters
    ----------
    path : Path
        The final name; until ``finish`` the folder is called ``<name>.partial``.
    info : VolumeInfo
        Of the output.
    version : str
        ``0.5`` (Zarr 3, sharded) or ``0.4`` (Zarr 2).
    z_chunk : int
        Planes that are always written together: the depth of a shard.
    record : mapping
        How the volume was made, kept in the group's attributes under ``zinterp``.
    resume : bool
        Go on in the partial folder that is there.
    """

    def __init__(
        self,
        path: Path,
        info: VolumeInfo,
        *,
        version: str,
        z_chunk: int,
        record: Mapping[str, object],
        resume: bool = False,
    ) -> None:
        self.path = path
        self.partial = partial_path(path)
        self.z_chunk = z_chunk
        self._version = version
        self._info = info
        self._record = record
        try:
            if resume:
                self._group = zarr.open_group(self.partial, mode="r+")
            else:
                if self.partial.exists():
                    shutil.rmtree(self.partial)
                self._group = zarr.open_group(self.partial, mode="w", zarr_format=3 if version == "0.5" else 2)
                self._create_level(0, info.shape)
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error}): choose another -o") from error
        level = self._group.get("0")
        if not isinstance(level, zarr.Array):
            raise OutputError(f"cannot go on in {self.partial}: it holds no level 0; start again without --resume")
        self._level0 = level

    def _create_level(self, level: int, shape: tuple[int, int, int]) -> zarr.Array[Any]:
        """An empty array for one level; chunks of one slab never reach into another."""
        depth = next(d for d in range(min(CHUNK_DEPTH, self.z_chunk), 0, -1) if self.z_chunk % d == 0)
        chunks = (depth, min(CHUNK, shape[1]), min(CHUNK, shape[2]))
        if self._version == "0.4":
            return self._group.create_array(
                str(level),
                shape=shape,
                dtype=self._info.dtype,
                chunks=chunks,
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
        shards = (self.z_chunk, *(math.ceil(min(n, SHARD) / c) * c for n, c in zip(shape[1:], chunks[1:], strict=True)))
        return self._group.create_array(
            str(level),
            shape=shape,
            dtype=self._info.dtype,
            chunks=chunks,
            shards=shards,
            dimension_names=("z", "y", "x"),
        )

    def write(self, z: int, planes: Planes) -> None:
        """Write planes (n, Y, X) from z on, a multiple of z_chunk; only the last block may be shorter."""
        if z % self.z_chunk or (len(planes) % self.z_chunk and z + len(planes) != self._info.shape[0]):
            raise ValueError(f"got {len(planes)} planes at {z}, expected whole blocks of {self.z_chunk}")
        try:
            self._level0[z : z + len(planes)] = planes
            self._sync(z, len(planes))
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error})") from error

    def _sync(self, z: int, count: int) -> None:
        """Wait until the chunks or shards of some planes of level 0 are on disk."""
        depth = (self._level0.shards or self._level0.chunks)[0]
        folder = self.partial / "0" / ("c" if self._version == "0.5" else "")
        for i in range(z // depth, -(-(z + count) // depth)):
            for path in (folder / str(i)).rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())

    def finish(self) -> None:
        """Build the pyramid, write the metadata, give the folder its final name."""
        try:
            factors = self._build_pyramid()
            self._group.attrs.update(self._metadata(factors))
            replace_folder(self.partial, self.path)
        except OSError as error:
            raise OutputError(f"cannot complete {self.path} ({error.strerror or error})") from error

    def _build_pyramid(self) -> list[tuple[int, int, int]]:
        """Make the coarser levels from the finer ones, block by block; returns each level's total factors (z, y, x)."""
        size = self._info.voxel_size
        lengths = np.array([v or 1.0 for v in (size.z, size.y, size.x)])
        factors, source, shape = [(1, 1, 1)], self._level0, np.array(self._info.shape)
        while max(shape[1:]) > SMALLEST_LEVEL:
            now = lengths * factors[-1]
            finest = min(length for length, n in zip(now[1:], shape[1:], strict=True) if n > 1)
            step = np.where((now <= 1.5 * finest) & (shape > 1), 2, 1)  # the axes that are still fine
            shape = -(-shape // step)
            name = len(factors)
            if str(name) in self._group:
                del self._group[str(name)]
            target = self._create_level(name, (int(shape[0]), int(shape[1]), int(shape[2])))
            fill_level(source, target, (int(step[0]), int(step[1]), int(step[2])), self.z_chunk)
            factors.append(
                (int(factors[-1][0] * step[0]), int(factors[-1][1] * step[1]), int(factors[-1][2] * step[2]))
            )
            source = target
        return factors

    def _metadata(self, factors: list[tuple[int, int, int]]) -> dict[str, Any]:
        """NGFF attributes, built and checked by yaozarrs."""
        size = self._info.voxel_size
        known = size != VoxelSize()
        nanometres = known and min(v for v in (size.z, size.y, size.x) if v) < 1
        unit = "nanometer" if nanometres else "micrometer"
        scale = [(v * (1e3 if nanometres else 1.0)) if v else 1.0 for v in (size.z, size.y, size.x)]
        units = [unit if v else None for v in (size.z, size.y, size.x)]
        multiscale: dict[str, Any] = {
            "name": self.path.name,
            "axes": [
                {"name": n, "type": "space"} | ({"unit": u} if u else {}) for n, u in zip("zyx", units, strict=True)
            ],
            "datasets": [
                {
                    "path": str(i),
                    "coordinateTransformations": [
                        {"type": "scale", "scale": [s * k for s, k in zip(scale, f, strict=True)]},
                        {
                            "type": "translation",
                            "translation": [s * (k - 1) / 2 for s, k in zip(scale, f, strict=True)],
                        },
                    ],
                }
                for i, f in enumerate(factors)
            ],
        }
        if self._version == "0.4":
            image04 = v04.Image.model_validate({"multiscales": [multiscale | {"version": "0.4"}]})
            return image04.model_dump(mode="json", exclude_none=True) | {"zinterp": dict(self._record)}
        image05 = v05.Image.model_validate({"version": "0.5", "multiscales": [multiscale]})
        return {"ome": image05.model_dump(mode="json", exclude_none=True), "zinterp": dict(self._record)}

    def close(self) -> None:
        """Leave the partial folder there."""

    def discard(self) -> None:
        """Remove the partial folder."""
        shutil.rmtree(self.partial, ignore_errors=True)


def fill_level(source: zarr.Array[Any], target: zarr.Array[Any], step: tuple[int, int, int], depth: int) -> None:
    """Shrink one level into the next, a shard at a time, reading a few planes of it at a time."""
    for z, y, x in product(*(range(0, n, s) for n, s in zip(target.shape, (depth, SHARD, SHARD), strict=True))):
        window = tuple(slice(y0 * s, (y0 + SHARD) * s) for y0, s in ((y, step[1]), (x, step[2])))
        last = min(z + depth, target.shape[0])
        parts = []
        for k in range(z, last, READ_DEPTH):
            planes = slice(k * step[0], min(k + READ_DEPTH, last) * step[0])
            parts.append(shrink(np.asarray(source[(planes, *window)]), step))
        target[z:last, y : y + SHARD, x : x + SHARD] = np.concatenate(parts)


def shrink(block: Planes, step: tuple[int, ...]) -> Planes:
    """Mean over 1 or 2 voxels along (z, y, x), rounded for integers; the last odd voxel stands for itself."""
    small = block.dtype.itemsize <= 2
    wide = (np.int32 if small else np.int64) if block.dtype.kind in "iu" else np.float64
    total: Planes = block.astype(wide)
    for axis, n in enumerate(step):
        if n == 2:
            odd = total.shape[axis] % 2
            padded = np.pad(total, [(0, odd if i == axis else 0) for i in range(3)], mode="edge") if odd else total
            even, next_ = ([slice(None)] * axis + [slice(start, None, 2)] for start in (0, 1))
            total = padded[tuple(even)] + padded[tuple(next_)]
    count = math.prod(step)
    mean = (total + count // 2) // count if block.dtype.kind in "iu" else total / count
    return mean.astype(block.dtype)


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder onto a name that may be taken; the old folder goes only once the new one is in place."""
    if not target.exists():
        os.replace(source, target)
        return
    aside = target.with_name(target.name + ".replaced")
    if aside.exists():
        shutil.rmtree(aside)
    os.replace(target, aside)
    os.replace(source, target)
    shutil.rmtree(aside)
