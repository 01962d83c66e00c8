"""Writing OME-Zarr (NGFF 0.4 and 0.5) with its pyramid."""

import math
import os
import shutil
from collections.abc import Mapping
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from yaozarrs import v04, v05

from zinterp.errors import OutputError
from zinterp.io.folders import RECORD, replace_folder, sync_files
from zinterp.volume import Planes, VolumeInfo, VoxelSize, in_unit, partial_path

Lengths = tuple[int, int, int]
CHUNK = 256  # pixels, along y and x
SHARD = 1024  # pixels, along y and x
CHUNK_DEPTH = 16  # planes, at most
READ_DEPTH = 8  # planes of a coarser level that are made at a time
ALL_CHUNKS = {"array.write_empty_chunks": True}  # so that a chunk that lacks is one that was lost
SAMPLE_PLANES = 16  # from which the grey values to show are taken
COLOURS = ("FF0000", "00FF00", "0000FF", "FFFFFF", "00FFFF", "FF00FF", "FFFF00")
SMALLEST_LEVEL = 256  # pixels: no level is made once the plane's longer edge is this short


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
                for litter in self.partial.rglob("*.partial"):  # left by a write that was killed
                    litter.unlink()
                self._group = zarr.open_group(self.partial, mode="r+")
            else:
                if self.partial.exists():
                    shutil.rmtree(self.partial)
                self._group = zarr.open_group(self.partial, mode="w", zarr_format=3 if version == "0.5" else 2)
                self._create_level(0, info.shape)
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error}): choose another -o") from error
        if not isinstance(self._group.get("0"), zarr.Array):
            raise OutputError(f"cannot go on in {self.partial}: it holds no level 0; start again with --overwrite")
        with zarr.config.set(ALL_CHUNKS):
            self._level0 = zarr.open_array(self.partial / "0", mode="r+")

    def _create_level(self, level: int, shape: tuple[int, int, int]) -> zarr.Array[Any]:
        """An empty array for one level; chunks of one slab never reach into another."""
        depth = next(d for d in range(min(CHUNK_DEPTH, self.z_chunk), 0, -1) if self.z_chunk % d == 0)
        outer = (self._info.times, self._info.channels) if self._info.stacks > 1 else ()
        ones = (1,) * len(outer)
        chunks = (depth, min(CHUNK, shape[1]), min(CHUNK, shape[2]))
        if self._version == "0.4":
            return self._group.create_array(
                str(level),
                shape=(*outer, *shape),
                dtype=self._info.dtype,
                chunks=(*ones, *chunks),
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
        shards = (self.z_chunk, *(math.ceil(min(n, SHARD) / c) * c for n, c in zip(shape[1:], chunks[1:], strict=True)))
        return self._group.create_array(
            str(level),
            shape=(*outer, *shape),
            dtype=self._info.dtype,
            chunks=(*ones, *chunks),
            shards=(*ones, *shards),
            dimension_names=tuple(self._axes),
        )

    @property
    def _axes(self) -> str:
        return "tczyx" if self._info.stacks > 1 else "zyx"

    def _place(self, stack: int) -> tuple[int, ...]:
        """Time and channel of a stack, as the arrays are indexed; nothing where there is one stack."""
        return divmod(stack, self._info.channels) if self._info.stacks > 1 else ()

    def write(self, z: int, planes: Planes, stack: int = 0) -> None:
        """Write planes (n, Y, X) of a stack from z on, a multiple of z_chunk; only the last block may be shorter."""
        if z % self.z_chunk or (len(planes) % self.z_chunk and z + len(planes) != self._info.shape[0]):
            raise ValueError(f"got {len(planes)} planes at {z}, expected whole blocks of {self.z_chunk}")
        try:
            place: Any = (*self._place(stack), slice(z, z + len(planes)))
            self._level0[place] = planes
            self._sync(z, len(planes), stack)
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error})") from error

    def resize(self, info: VolumeInfo) -> None:
        """Let the image have the planes and lengths of ``info``, planes that are new still empty.

        From then on viewers open it, without a pyramid until ``finish``. Planes that it keeps stay as they are.
        """
        try:
            self._info = info
            if self._level0.shape[-3] != info.shape[0]:
                self._level0.resize((*self._level0.shape[:-3], *info.shape))
            attributes = self._metadata([(1, 1, 1)])
            if self._group.attrs.asdict() != attributes:
                self._group.attrs.put(attributes)
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error})") from error

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z that were written -> (len(z), Y, X)."""
        place: Any = (*self._place(stack), slice(z.start, z.stop))
        try:
            return np.asarray(self._level0[place])
        except OSError as error:
            raise OutputError(f"cannot read {self.partial} ({error.strerror or error})") from error

    def _sync(self, z: int, count: int, stack: int) -> None:
        """Wait until the chunks or shards of some planes of level 0 are on disk."""
        depth = (self._level0.shards or self._level0.chunks)[-3]
        folder = self.partial / "0" / ("c" if self._version == "0.5" else "")
        folder = folder.joinpath(*map(str, self._place(stack)))
        for i in range(z // depth, -(-(z + count) // depth)):
            for path in (folder / str(i)).rglob("*"):
                if path.is_file():
                    with path.open("rb") as file:
                        os.fsync(file.fileno())

    def finish(self, record: Mapping[str, object] | None = None) -> None:
        """Build the pyramid, write the metadata, give the folder its final name.

        A record takes the place of the one given at first.
        """
        self._record = self._record if record is None else record
        try:
            with zarr.config.set(ALL_CHUNKS):
                factors = self._build_pyramid()
            self._group.attrs.update(self._metadata(factors))
            finest = self.partial / "0"  # whose chunks were waited for when they were written
            sync_files(path for path in self.partial.rglob("*") if finest not in path.parent.parents)
            replace_folder(self.partial, self.path)
        except OSError as error:
            raise OutputError(f"cannot complete {self.path} ({error.strerror or error})") from error

    def _build_pyramid(self) -> list[tuple[int, int, int]]:
        """Make the coarser levels from the finer ones, block by block; returns each level's total factors (z, y, x)."""
        levels, source = level_shapes(self._info), self._level0
        for number, ((_, before), (shape, now)) in enumerate(pairwise(levels), start=1):
            if str(number) in self._group:
                del self._group[str(number)]
            target = self._create_level(number, shape)
            step = (now[0] // before[0], now[1] // before[1], now[2] // before[2])
            for stack in range(self._info.stacks):
                fill_level(source, target, step, self.z_chunk, self._place(stack))
            source = target
        return [factors for _, factors in levels]

    def _metadata(self, factors: list[tuple[int, int, int]]) -> dict[str, Any]:
        """NGFF attributes, built and checked by yaozarrs."""
        size, lead = self._info.voxel_size, [1.0] * (len(self._axes) - 3)
        lengths = (size.z, size.y, size.x)
        nanometres = size != VoxelSize() and min(v for v in lengths if v) < 1
        unit, length = ("nanometer", 1e-3) if nanometres else ("micrometer", 1.0)
        scale = [in_unit(v, length) if v else 1.0 for v in lengths]
        start = [in_unit(v, length) if n else 0.0 for v, n in zip(self._info.origin or (0, 0, 0), lengths, strict=True)]
        units = [unit if v else None for v in lengths]
        types = {"t": {"type": "time"}, "c": {"type": "channel"}}
        if self._info.time_step and lead:
            lead[0], types["t"]["unit"] = self._info.time_step, "second"
        multiscale: dict[str, Any] = {
            "name": self.path.name,
            "axes": [
                *({"name": name} | types[name] for name in self._axes[:-3]),
                *({"name": n, "type": "space"} | ({"unit": u} if u else {}) for n, u in zip("zyx", units, strict=True)),
            ],
            "datasets": [
                {
                    "path": str(i),
                    "coordinateTransformations": [
                        {"type": "scale", "scale": lead + [s * k for s, k in zip(scale, f, strict=True)]},
                        {
                            "type": "translation",
                            "translation": [0.0 for _ in lead]
                            + [o + s * (k - 1) / 2 for o, s, k in zip(start, scale, f, strict=True)],
                        },
                    ],
                }
                for i, f in enumerate(factors)
            ],
        }
        extra: dict[str, Any] = {RECORD: dict(self._record)}
        settings = {"omero": {"channels": self._channels()}} if self._info.channels > 1 else {}
        if self._version == "0.4":
            image04 = v04.Image.model_validate({"multiscales": [multiscale | {"version": "0.4"}]} | settings)
            return image04.model_dump(mode="json", exclude_none=True) | extra
        image05 = v05.Image.model_validate({"version": "0.5", "multiscales": [multiscale]} | settings)
        return {"ome": image05.model_dump(mode="json", exclude_none=True)} | extra

    def _channels(self) -> list[dict[str, Any]]:
        """How viewers are to show the channels: name, colour, and a window of grey values from some planes."""
        coarsest = self._group[str(len(list(self._group.array_keys())) - 1)]
        assert isinstance(coarsest, zarr.Array)
        some = range(0, coarsest.shape[-3], -(-coarsest.shape[-3] // SAMPLE_PLANES))
        channels = []
        for c in range(self._info.channels):
            values = np.stack([np.asarray(coarsest[(0, c, k)]) for k in some])
            finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
            low, high = (float(v) for v in np.percentile(finite, (0.1, 99.9))) if finite.size else (0.0, 1.0)
            name = self._info.channel_names[c] if self._info.channel_names else f"channel {c}"
            window = {"min": low, "max": high, "start": low, "end": high}
            channels.append({"label": name, "color": COLOURS[c % len(COLOURS)], "active": True, "window": window})
        return channels

    def close(self) -> None:
        """Leave the partial folder there."""

    def discard(self) -> None:
        """Remove the partial folder."""
        shutil.rmtree(self.partial, ignore_errors=True)


def level_shapes(info: VolumeInfo) -> list[tuple[Lengths, Lengths]]:
    """The levels of a pyramid, the finest first: shape of one stack, and total factors, both (z, y, x)."""
    lengths = np.array([v or 1.0 for v in (info.voxel_size.z, info.voxel_size.y, info.voxel_size.x)])
    levels: list[tuple[Lengths, Lengths]] = [(info.shape, (1, 1, 1))]
    while max(levels[-1][0][1:]) > SMALLEST_LEVEL:
        shape, factors = map(np.array, levels[-1])
        now = lengths * factors
        finest = min(length for length, n in zip(now[1:], shape[1:], strict=True) if n > 1)
        step = np.where((now <= 1.5 * finest) & (shape > 1), 2, 1)  # the axes that are still fine
        levels.append((as_lengths(-(-shape // step)), as_lengths(factors * step)))
    return levels


def as_lengths(values: NDArray[np.int64]) -> Lengths:
    """Three whole numbers."""
    z, y, x = (int(value) for value in values)
    return z, y, x


def fill_level(
    source: zarr.Array[Any], target: zarr.Array[Any], step: tuple[int, int, int], depth: int, place: tuple[int, ...]
) -> None:
    """Shrink one stack of a level into the next, a shard at a time, reading a few planes of it at a time."""
    planes_in, *edges = target.shape[-3:]
    for z, y, x in product(*(range(0, n, s) for n, s in zip((planes_in, *edges), (depth, SHARD, SHARD), strict=True))):
        window = tuple(slice(y0 * s, (y0 + SHARD) * s) for y0, s in ((y, step[1]), (x, step[2])))
        last = min(z + depth, planes_in)
        parts = []
        for k in range(z, last, READ_DEPTH):
            planes = slice(k * step[0], min(k + READ_DEPTH, last) * step[0])
            read: Any = (*place, planes, *window)
            parts.append(shrink(np.asarray(source[read]), step))
        written: Any = (*place, slice(z, last), slice(y, y + SHARD), slice(x, x + SHARD))
        target[written] = np.concatenate(parts)


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
