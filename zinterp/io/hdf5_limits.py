"""What an HDF5 file may ask for: data of other files, datasets made of each other, chunks that inflate."""

import math
import zlib
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from zinterp.errors import BadVolumeError, InputError
from zinterp.io.limits import LARGE, check_density, check_emptiness, check_regular, check_size

Dataset = Any  # h5py has no types
Node = Any  # a dataset or group

MOST_OBJECTS = 10**5  # of a file
MOST_CHUNKS = 10**6  # of a plane
DEFLATE, FLETCHER32 = 1, 3  # filters, by their codes
INFLATION = 1032  # times: what deflate can make of a byte, at most
ROOM = 2**16  # bytes by which compressed data may be longer than others
STEP = 2**20  # bytes that are decompressed at a time, to see how many there are
BLOCK = "%b"  # in the names of sources stands for numbers


def datasets(group: Node) -> list[Dataset]:
    """All datasets below a group, by name; what links of a name lead outside of the file is left out."""
    found: list[Dataset] = []
    seen, groups = {address(group)}, [group]
    while groups:
        parent = groups.pop()
        for name in parent:
            if not isinstance(parent.get(name, getlink=True), h5py.HardLink):
                continue
            node = parent[name]
            if address(node) in seen:
                continue
            seen.add(address(node))
            if len(seen) > MOST_OBJECTS:
                raise InputError(
                    f"{group.file.filename} holds more than {MOST_OBJECTS} datasets and groups, expected few: name "
                    "one, as in file.h5:/dataset"
                )
            if isinstance(node, h5py.Dataset):
                found.append(node)
            elif isinstance(node, h5py.Group):
                groups.append(node)
    return sorted(found, key=lambda dataset: str(dataset.name))


def address(node: Node) -> tuple[int, int]:
    """What tells an object from all others."""
    info = h5py.h5o.get_info(node.id)
    return info.fileno, info.addr


def check_size_of(dataset: Dataset, axes: str, path: Path) -> None:
    """Refuse a dataset of which no plane can be read, or which declares far more than it holds.

    Parameters
    ----------
    dataset : h5py.Dataset
    axes : str
        A letter for each of its axes.
    path : Path
        For the error.

    Raises
    ------
    BadVolumeError
        If it is so.
    """
    counts = dict(zip(axes, dataset.shape, strict=True))
    shape = (counts["z"], counts["y"], counts["x"])
    chunk_shape = dataset.chunks or ()
    chunk = math.prod(chunk_shape) * dataset.dtype.itemsize if chunk_shape else 0
    stacks = counts.get("t", 1) * counts.get("c", 1)
    check_size(path, shape, np.dtype(dataset.dtype), stacks=stacks, beside=2 * chunk)
    if dataset.is_virtual or dataset.external:
        return
    declared = math.prod(dataset.shape) * dataset.dtype.itemsize
    held = min(dataset.id.get_storage_size(), dataset.file.id.get_filesize())
    check_emptiness(path, declared, held)
    if not chunk_shape:
        return
    edges = zip(axes, dataset.shape, chunk_shape, strict=True)
    in_plane = math.prod(-(-n // edge) for axis, n, edge in edges if axis in "yx")
    if in_plane > MOST_CHUNKS:
        raise BadVolumeError(
            f"{path} has {in_plane} chunks in a plane, expected at most {MOST_CHUNKS}: it is damaged, or save it with "
            "larger chunks"
        )
    check_density(path, min(declared, dataset.id.get_num_chunks() * chunk), held, at_a_time=chunk)


def check_filters(dataset: Dataset, path: Path) -> None:
    """Refuse a compression that is not built in, before a plane is missing in the middle of a job, or is odd."""
    codes = []
    for code, name in filters(dataset):
        codes.append(code)
        if not h5py.h5z.filter_avail(code):
            raise InputError(
                f"{path} is compressed with HDF5 filter {code} {name}, expected gzip, lzf or none: copy it with "
                "h5repack -f GZIP=1, or name the filter's folder in HDF5_PLUGIN_PATH"
            )
    after = codes[codes.index(DEFLATE) + 1 :] if DEFLATE in codes else []
    if set(after) - {FLETCHER32}:
        raise InputError(
            f"{path} has the HDF5 filters {', '.join(map(str, codes))}, expected none behind gzip: copy it with "
            "h5repack -f GZIP=1"
        )


def filters(dataset: Dataset) -> Iterator[tuple[int, str]]:
    """Code and name of each filter, in the order in which they are applied when chunks are written."""
    properties = dataset.id.get_create_plist()
    for i in range(properties.get_nfilters()):
        code, _, _, name = properties.get_filter(i)
        yield code, name.decode(errors="replace")


def check_chunks(dataset: Dataset, index: Sequence[int | slice], checked: set[tuple[int, ...]], path: Path) -> None:
    """Refuse to read chunks that would inflate to far more than a chunk; HDF5 inflates them whatever they become.

    Parameters
    ----------
    dataset : h5py.Dataset
    index : sequence of int or slice
        What is to be read, along each axis.
    checked : set
        Where chunks lie that were looked at before; grows.
    path : Path
        For the error.

    Raises
    ------
    InputError
        If there is such a chunk.
    """
    codes = [code for code, _ in filters(dataset)]
    if DEFLATE not in codes or dataset.id.get_storage_size() * INFLATION <= LARGE:
        return
    limit = 2 * math.prod(dataset.chunks) * dataset.dtype.itemsize + ROOM
    spans = [
        (span.start or 0, n if span.stop is None else min(span.stop, n))
        if isinstance(span, slice)
        else (span, span + 1)
        for span, n in zip(index, dataset.shape, strict=True)
    ]
    ranges = [range(a // edge * edge, b, edge) for (a, b), edge in zip(spans, dataset.chunks, strict=True)]
    for place in product(*ranges):
        if place in checked:
            continue
        checked.add(place)
        stored = dataset.id.get_chunk_info_by_coord(place)
        size = stored.size or 0
        skipped = (stored.filter_mask or 0) >> codes.index(DEFLATE) & 1
        if not skipped and size * INFLATION > LARGE and inflated(dataset.id.read_direct_chunk(place)[1], limit) > limit:
            raise InputError(
                f"{path} has a chunk at {place} that inflates to more than {limit} bytes, expected a chunk of "
                f"{dataset.chunks}: it is damaged or made to fill the memory"
            )


def inflated(content: bytes, limit: int) -> int:
    """How many bytes a chunk inflates to; no more than a little above the limit are counted."""
    count, decompressor = 0, zlib.decompressobj()
    while content and not decompressor.eof and count <= limit:
        count += len(decompressor.decompress(content, STEP))
        content = decompressor.unconsumed_tail
    return count


def check_sources(dataset: Dataset, path: Path, folder: Path, above: tuple[tuple[str, str], ...] = ()) -> None:
    """Refuse a dataset made of files that are not there, which HDF5 would read as zeros, are elsewhere, or of itself.

    Parameters
    ----------
    dataset : h5py.Dataset
    path : Path
        For the error.
    folder : Path
        Which these files must be in or below: no file is to bring the data of any other into an output.
    above : tuple
        Files and names of the datasets that this one is a source of.

    Raises
    ------
    InputError
        If it is so.
    """
    check_place(path, str(dataset.file.filename), folder)
    here = (str(Path(dataset.file.filename).resolve()), str(dataset.name))
    if here in above:
        raise InputError(f"{path} is made of itself, by way of {dataset.name}, expected data: it is damaged")
    for name, *_ in dataset.external or ():
        check_place(path, name, folder)
    for file, name in {(s.file_name, s.dset_name) for s in dataset.virtual_sources()} if dataset.is_virtual else ():
        if file == ".":
            check_datasets(dataset.file, name, path, folder, (*above, here))
            continue
        places = [folder / file] if BLOCK not in file else sorted(folder.glob(file.replace(BLOCK, "*")))
        for place in places:
            check_place(path, str(place if place.exists() else file), folder)
            with h5py.File(place, "r", locking=False) as other:
                check_datasets(other, name, path, folder, (*above, here))


def check_datasets(file: Node, name: str, path: Path, folder: Path, above: tuple[tuple[str, str], ...]) -> None:
    """Check the sources of the datasets in a file that a name stands for."""
    named = [file.get(name)] if BLOCK not in name else datasets(file)
    for dataset in named:
        if isinstance(dataset, h5py.Dataset):
            check_sources(dataset, path, folder, above)


def check_place(path: Path, name: str, folder: Path) -> None:
    """Refuse a file that is not there, or not in or below a folder."""
    place = folder / name
    if not place.exists() and not Path(name).exists():
        raise InputError(f"{path} takes planes from {name}, which is not there: copy that file beside it")
    if folder.resolve() not in place.resolve().parents:
        raise InputError(
            f"{path} takes planes from {name}, outside of its folder, expected only files beside it or below: copy "
            "that file beside it, or name it as the input"
        )
    check_regular(place)
