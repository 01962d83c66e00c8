"""Writing OME-Zarr (NGFF 0.4 and 0.5) with its pyramid."""

import math
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
        Planes that are always written together: the depth of a shard. A coarser level whose share of them is a whole
        number of planes has shards of that depth, written with them; the others are made by ``finish``. So several
        processes, each with a writer of its own, can write blocks of planes, and no two of them meet in a file.
    record : mapping
        How the volume was made, kept in the group's attributes under ``zinterp``.
    resume : bool
        Go on in the partial folder that is there, in which others may be at work.
    growing : bool
        The volume is to be resized: all coarser levels are made by ``finish``.
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
        growing: bool = False,
    ) -> None:
        self.path = path
        self.partial = partial_path(path)
        self.z_chunk = z_chunk
        self._version = version
        self._info = info
        self._record = record
        shapes = level_shapes(info)
        written = 1 if growing else next((i for i, (_, f) in enumerate(shapes) if z_chunk % f[0]), len(shapes))
        try:
            if resume:
                self._group = zarr.open_group(self.partial, mode="r+")
            else:
                if self.partial.exists():
                    shutil.rmtree(self.partial)
                self._group = zarr.open_group(self.partial, mode="w", zarr_format=3 if version == "0.5" else 2)
                for level, (shape, factors) in enumerate(shapes[:written]):
                    self._create_level(level, shape, factors)
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error}): choose another -o") from error
        self._levels = [self._open_level(level) for level in range(written)]  # the finest first

    def _create_level(self, level: int, shape: Lengths, factors: Lengths) -> None:
        """An empty array for one level; chunks of one block of planes never reach into another."""
        share = self.z_chunk // factors[0] if self.z_chunk % factors[0] == 0 else self.z_chunk
        depth = next(d for d in range(min(CHUNK_DEPTH, share), 0, -1) if share % d == 0)
        outer = (self._info.times, self._info.channels) if self._info.stacks > 1 else ()
        ones = (1,) * len(outer)
        chunks = (depth, min(CHUNK, shape[1]), min(CHUNK, shape[2]))
        if self._version == "0.4":
            self._group.create_array(
                str(level),
                shape=(*outer, *shape),
                dtype=self._info.dtype,
                chunks=(*ones, *chunks),
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            return
        shards = (share, *(math.ceil(min(n, SHARD) / c) * c for n, c in zip(shape[1:], chunks[1:], strict=True)))
        self._group.create_array(
            str(level),
            shape=(*outer, *shape),
            dtype=self._info.dtype,
            chunks=(*ones, *chunks),
            shards=(*ones, *shards),
            dimension_names=tuple(self._axes),
        )

    def _open_level(self, level: int) -> zarr.Array[Any]:
        """The array of one level, of which all chunks are written."""
        if not isinstance(self._group.get(str(level)), zarr.Array):
            raise OutputError(
                f"cannot go on in {self.partial}: it holds no level {level}; start again with --overwrite"
            )
        with zarr.config.set(ALL_CHUNKS):
            return zarr.open_array(self.partial / str(level), mode="r+")

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
            self._put(0, z, planes, stack)
            shapes = level_shapes(self._info)[: len(self._levels)]
            for level, ((_, before), (_, now)) in enumerate(pairwise(shapes), start=1):
                planes = shrink_planes(planes, step_of(before, now))
                self._put(level, z // now[0], planes, stack)
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error})") from error

    def _put(self, level: int, z: int, planes: Planes, stack: int) -> None:
        """Write planes of a level and wait until they are on disk."""
        place: Any = (*self._place(stack), slice(z, z + len(planes)))
        self._levels[level][place] = planes
        self._sync(level, z, len(planes), stack)

    def resize(self, info: VolumeInfo) -> None:
        """Let the image have the planes and lengths of ``info``, planes that are new still empty.

        From then on viewers open it, without a pyramid until ``finish``. Planes that it keeps stay as they are.
        """
        try:
            self._info = info
            if self._levels[0].shape[-3] != info.shape[0]:
                self._levels[0].resize((*self._levels[0].shape[:-3], *info.shape))
            attributes = self._metadata([(1, 1, 1)])
            if self._group.attrs.asdict() != attributes:
                self._group.attrs.put(attributes)
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error})") from error

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z that were written -> (len(z), Y, X)."""
        place: Any = (*self._place(stack), slice(z.start, z.stop))
        try:
            return np.asarray(self._levels[0][place])
        except OSError as error:
            raise OutputError(f"cannot read {self.partial} ({error.strerror or error})") from error

    def _sync(self, level: int, z: int, count: int, stack: int) -> None:
        """Wait until the chunks or shards of some planes of a level are on disk."""
        depth = (self._levels[level].shards or self._levels[level].chunks)[-3]
        folder = self.partial / str(level) / ("c" if self._version == "0.5" else "")
        folder = folder.joinpath(*map(str, self._place(stack)))
        for i in range(z // depth, -(-(z + count) // depth)):
            sync_files((folder / str(i)).rglob("*"))

    def finish(self, record: Mapping[str, object] | None = None) -> None:
        """Complete the pyramid, write the metadata, give the folder its final name.

        A record takes the place of the one given at first.
        """
        self._record = self._record if record is None else record
        try:
            for litter in self.partial.rglob("*.partial"):  # left by a write that was killed
                litter.unlink()
            factors = self._complete_pyramid()
            self._group.attrs.update(self._metadata(factors))
            written = [self.partial / str(level) for level in range(len(self._levels))]  # and waited for
            sync_files(path for path in self.partial.rglob("*") if not any(w in path.parent.parents for w in written))
            replace_folder(self.partial, self.path)
        except OSError as error:
            raise OutputError(f"cannot complete {self.path} ({error.strerror or error})") from error

    def _complete_pyramid(self) -> list[Lengths]:
        """Make the levels that were not written with the planes, each from the one before it -> factors of all."""
        levels, source = level_shapes(self._info), self._levels[-1]
        first = len(self._levels)
        for number, ((_, before), (shape, now)) in enumerate(pairwise(levels[first - 1 :]), start=first):
            if str(number) in self._group:
                del self._group[str(number)]
            self._create_level(number, shape, now)
            target = self._open_level(number)
            for stack in range(self._info.stacks):
                fill_level(source, target, step_of(before, now), self._place(stack))
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


def step_of(before: Lengths, now: Lengths) -> Lengths:
    """How many voxels of a level become one of the next, along (z, y, x), by their total factors."""
    return now[0] // before[0], now[1] // before[1], now[2] // before[2]


def fill_level(source: zarr.Array[Any], target: zarr.Array[Any], step: Lengths, place: tuple[int, ...]) -> None:
    """Shrink one stack of a level into the next, a shard at a time, reading a few planes of it at a time."""
    planes_in, *edges = target.shape[-3:]
    depth = (target.shards or target.chunks)[-3]
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


def shrink_planes(planes: Planes, step: Lengths) -> Planes:
    """As ``shrink``, plane by plane of the result, so that little memory is needed beside it."""
    return np.concatenate([shrink(planes[k : k + step[0]], step) for k in range(0, len(planes), step[0])])


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
