"""What may lie in a Zarr store that somebody else made, and how much its chunks may decompress to."""

import asyncio
import bz2
import math
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numcodecs.abc
import zarr
from zarr.abc.codec import BytesBytesCodec
from zarr.codecs import Crc32cCodec, ShardingCodec

from zinterp.errors import BadVolumeError, InputError
from zinterp.io.limits import LONGEST_METADATA, check_regular
from zinterp.io.paths import ZARR_FILES

METADATA_FILES = (*ZARR_FILES, ".zattrs", ".zmetadata")
CHUNK_NAME = re.compile(r"(?:c[./])?([0-9]{1,18}(?:[./][0-9]{1,18})*)")
MOST_CHUNKS = 10**6  # of a plane, or of a shard
AT_ONCE = 10  # chunks, as zarr reads them
INDEX_ENTRY = 16  # bytes, of each chunk of a shard
ROOM = 2**16  # bytes by which compressed data may be longer than others


@dataclass(frozen=True)
class Stored:
    """What an array has in its store: chunks or shards, out of how many, and their bytes."""

    chunks: int
    expected: int
    bytes: int


def check_metadata(path: Path, root: Path) -> None:
    """Refuse metadata of a group or array, or right below it, that are no ordinary files or too long to be any.

    Parameters
    ----------
    path : Path
        Of the group or array.
    root : Path
        The whole store: links may lead to anything in it and nowhere else.

    Raises
    ------
    InputError
        If there are such.
    """
    if not path.is_dir():
        return
    with os.scandir(path) as entries:
        folders = [path, *(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))]
    for file in (folder / name for folder in folders for name in METADATA_FILES):
        check_link(file, root)
        check_regular(file)
        if file.exists() and file.stat().st_size > LONGEST_METADATA:
            raise InputError(
                f"{file} has {file.stat().st_size} bytes, expected metadata of at most {LONGEST_METADATA}: it is "
                "damaged"
            )


def check_link(path: Path, root: Path) -> None:
    """Refuse a path that leads out of the store, by links or dots."""
    place = path.resolve()
    if place != root and root not in place.parents:
        raise InputError(
            f"{path} leads to {place}, outside of the store {root}, expected all of it inside: copy what is meant into "
            "the store, or give its own path"
        )


def stored(array: zarr.Array[Any], folder: Path, root: Path) -> Stored:
    """Count the chunks, or shards, of an array, and refuse what is among them and is no file of the store."""
    grid = [-(-n // edge) for n, edge in zip(array.shape, array.shards or array.chunks, strict=True)]
    count = size = 0
    for entry in walk(folder):
        if entry.is_symlink():
            check_link(Path(entry.path), root)
        if not entry.is_file():
            check_regular(Path(entry.path))
            continue
        match = CHUNK_NAME.fullmatch(os.path.relpath(entry.path, folder).replace(os.sep, "/"))
        place = [int(number) for number in re.split("[./]", match[1])] if match else []
        if len(place) == len(grid) and all(i < n for i, n in zip(place, grid, strict=True)):
            count += 1
            size += entry.stat().st_size
    return Stored(count, math.prod(grid), size)


def walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All that lies in a folder and below it; links are named, not followed."""
    folders = [str(folder)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    yield entry


def held_beside(array: zarr.Array[Any], plane: tuple[int, int], path: Path) -> tuple[int, int]:
    """Bytes that zarr holds while it reads a plane, beside the plane, and those of one chunk.

    Raises
    ------
    BadVolumeError
        If a plane or shard consists of so many chunks that to go through them would take for ever.
    """
    chunk = math.prod(array.chunks) * array.dtype.itemsize
    in_plane = math.prod(-(-n // max(c, 1)) for n, c in zip(plane, array.chunks[-2:], strict=True))
    shards = array.shards or array.chunks
    in_shard = math.prod(s // max(c, 1) for s, c in zip(shards, array.chunks, strict=True))
    if max(in_plane, in_shard) > MOST_CHUNKS:
        raise BadVolumeError(
            f"{path} has {max(in_plane, in_shard)} chunks in a plane or shard, expected at most {MOST_CHUNKS}: it is "
            "damaged, or save it with larger chunks"
        )
    return min(AT_ONCE, in_plane) * chunk + in_shard * INDEX_ENTRY, chunk


def bounded(array: zarr.Array[Any]) -> zarr.Array[Any]:
    """The same array, none of whose chunks is decompressed to more than it is to hold."""
    metadata: Any = array.metadata
    if metadata.zarr_format == 2:
        limit = limit_of(array.chunks, array.dtype.itemsize)
        wrap: Callable[[Any], Any] = lambda codec: BoundedNumcodec(codec, limit)  # noqa: E731
        metadata = replace(
            metadata,
            compressor=metadata.compressor and wrap(metadata.compressor),
            filters=metadata.filters and tuple(map(wrap, metadata.filters)),
        )
    else:
        metadata = replace(metadata, codecs=tuple(map(bounded_codec, metadata.codecs)))
    return zarr.Array(type(array.async_array)(metadata, array.store_path, array.config))


def limit_of(shape: tuple[int, ...], item: int) -> int:
    """Bytes that the codecs of a chunk may give: twice the chunk, as some add to what they cannot compress."""
    return 2 * math.prod(shape) * item + ROOM


def bounded_codec(codec: Any) -> Any:
    """A codec of Zarr 3 that stops where it gives too much."""
    if isinstance(codec, ShardingCodec):
        return ShardingCodec(
            chunk_shape=codec.chunk_shape,
            codecs=tuple(map(bounded_codec, codec.codecs)),
            index_codecs=codec.index_codecs,
            index_location=codec.index_location,
        )
    return BoundedCodec(codec) if isinstance(codec, BytesBytesCodec) and not isinstance(codec, Crc32cCodec) else codec


@dataclass(frozen=True)
class BoundedCodec(BytesBytesCodec):
    """A compression of Zarr 3 that stops where it gives more than twice a chunk. Only for reading."""

    codec: BytesBytesCodec
    is_fixed_size = False

    def to_dict(self) -> Any:
        """What metadata say of it."""
        return self.codec.to_dict()

    def evolve_from_array_spec(self, array_spec: Any) -> "BoundedCodec":
        """The same for an array."""
        return BoundedCodec(self.codec.evolve_from_array_spec(array_spec))

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        name = str(self.codec.to_dict()["name"]).removeprefix("numcodecs.")
        limit = limit_of(chunk_spec.shape, chunk_spec.dtype.to_native_dtype().itemsize)
        plain = await asyncio.to_thread(inflate, name, chunk_bytes.to_bytes(), limit)
        if plain is None:
            return await self.codec._decode_single(chunk_bytes, chunk_spec)
        return chunk_spec.prototype.buffer.from_bytes(plain)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Not known beforehand."""
        raise NotImplementedError


class BoundedNumcodec(numcodecs.abc.Codec):  # type: ignore[misc]  # which has no types
    """A compression or filter of Zarr 2 that stops where it gives more than ``limit`` bytes. Only for reading."""

    codec_id = "bounded"

    def __init__(self, codec: Any, limit: int) -> None:
        self.codec = codec
        self.limit = limit

    def get_config(self) -> Any:
        """What metadata say of it."""
        return self.codec.get_config()

    def encode(self, buf: Any) -> Any:
        """As the codec itself."""
        return self.codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """As the codec itself, within the limit."""
        plain = inflate(str(self.codec.codec_id), bytes(buf), self.limit)
        return self.codec.decode(buf, out) if plain is None else plain


def inflate(codec: str, data: bytes, limit: int) -> bytes | None:
    """Decompress to at most so many bytes; None for a codec that is not among those of which that can be asked."""
    try:
        match codec:
            case "gzip" | "zlib":
                return whole(zlib.decompressobj(wbits=31 if codec == "gzip" else 15), data, limit)
            case "bz2":
                return whole(bz2.BZ2Decompressor(), data, limit)
            case "zstd":
                return bytes(imagecodecs.zstd_decode(data, out=limit))
            case "lz4":
                return bytes(imagecodecs.lz4_decode(data, header=True, out=limit))
            case "blosc":
                return bytes(imagecodecs.blosc2_decode(data, out=limit))  # which reads the older format too, and safely
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"a chunk is damaged or holds more than {limit} bytes: {error}") from error
    return None


def whole(decompressor: Any, data: bytes, limit: int) -> bytes:
    """All that is compressed, if that is no more than so many bytes."""
    plain: bytes = decompressor.decompress(data, limit + 1)
    if len(plain) > limit:
        raise ValueError(f"a chunk holds more than {limit} bytes")
    if not decompressor.eof:
        raise ValueError("a chunk was cut short")
    return plain
