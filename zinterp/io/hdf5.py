"""HDF5 datasets: ilastik, PlantSeg, ImageJ's HDF5 plug-in and plain arrays. Only read."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from zinterp.errors import BadVolumeError, InputError, reason_of
from zinterp.io.hdf5_limits import check_chunks, check_filters, check_size_of, check_sources, datasets
from zinterp.io.limits import DAMAGE
from zinterp.io.paths import split_dataset
from zinterp.io.selection import InputOptions, select
from zinterp.volume import Closing, Planes, VolumeInfo, VoxelSize

logger = logging.getLogger(__name__)

Dataset = Any  # h5py has no types
Node = Any  # a dataset or group

AXES = "tczyx"
SIZE_ATTRIBUTE = "element_size_um"
LISTED = 10
"""Datasets that an error message names at most."""


class Hdf5Reader(Closing):
    """Planes of one dataset of an HDF5 file, named as in ``file.h5:/group/dataset``. See ``VolumeReader``."""

    def __init__(self, path: Path, options: InputOptions) -> None:
        self._path = path
        self._checked: set[tuple[int, ...]] = set()
        file, name = split_dataset(path)
        with reading(path):
            # a reader's lock would stop the program that records the file, and network shares often have none
            self._file = h5py.File(file, "r", locking=False)
        try:
            with reading(path):
                self._open(file, name, options)
        except BaseException:
            self._file.close()
            raise

    def _open(self, file: Path, name: str, options: InputOptions) -> None:
        self._dataset = named_dataset(self._file, name, file) if name else only_dataset(self._file, file)
        path = self._path if name else Path(f"{file}:{self._dataset.name}")
        check_filters(self._dataset, path)
        check_sources(self._dataset, path, file.parent)
        self._axes = find_axes(self._dataset, path)
        check_size_of(self._dataset, self._axes, path)
        counts = dict(zip(self._axes, self._dataset.shape, strict=True))
        self._selection = select(path, options, channels=counts.get("c", 1), times=counts.get("t", 1))
        size = find_voxel_size(self._dataset, self._axes, path)
        self.info = VolumeInfo(
            shape=(counts["z"], counts["y"], counts["x"]),
            dtype=np.dtype(self._dataset.dtype).newbyteorder("="),
            voxel_size=size,
            voxel_size_source="" if size == VoxelSize() else f"HDF5 {SIZE_ATTRIBUTE}",
            unit="" if size == VoxelSize() else "µm",
            format="hdf5",
            channels=len(self._selection.channels),
            times=len(self._selection.times),
        )

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z of a stack -> (len(z), Y, X)."""
        time, channel = self._selection.index(stack)
        chosen = {"t": time, "c": channel, "z": slice(z.start, z.stop), "y": slice(None), "x": slice(None)}
        kept = [axis for axis in self._axes if axis in "zyx"]
        index: tuple[Any, ...] = tuple(chosen.get(axis, 0) for axis in self._axes)
        with reading(self._path):
            check_chunks(self._dataset, index, self._checked, self._path)
            planes = self._dataset[index]
        return np.ascontiguousarray(np.transpose(planes, [kept.index(axis) for axis in "zyx"]), self.info.dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn everything that a broken file makes h5py raise into one InputError."""
    try:
        yield
    except (BadVolumeError, InputError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist, expected an HDF5 file: check the path") from error
    except DAMAGE as error:
        reason = reason_of(error)
        raise InputError(
            f"{path} cannot be read as HDF5 ({reason}): it is damaged, still being written, or something else"
        ) from error


def named_dataset(file: Node, name: str, path: Path) -> Dataset:
    """The dataset of that name."""
    node = file.get(name)
    if isinstance(node, h5py.Dataset):
        return node
    if isinstance(node, h5py.Group):
        raise InputError(f"{path}:/{name} is a group, expected a dataset: {list_datasets(node, path)}")
    raise InputError(f"{path} has no dataset /{name}: {list_datasets(file, path)}")


def only_dataset(file: Node, path: Path) -> Dataset:
    """The dataset that can be a stack, where there is only one."""
    stacks = [dataset for dataset in datasets(file) if dataset.dtype.kind in "iuf" and len(dataset.shape or ()) >= 3]
    if len(stacks) != 1:
        raise InputError(
            f"{path} has {len(stacks)} numeric datasets of three or more axes, expected one or its name: "
            f"{list_datasets(file, path)}"
        )
    return stacks[0]


def list_datasets(group: Node, path: Path) -> str:
    """What to write instead, for an error message."""
    found = datasets(group)
    if not found:
        return f"{group.name} holds no dataset"
    names = [f"{path}:{dataset.name} (shape {dataset.shape}, {dataset.dtype})" for dataset in found[:LISTED]]
    more = [f"and {len(found) - LISTED} more"] if len(found) > LISTED else []
    return "write " + ", ".join([" or ".join(names), *more])


def find_axes(dataset: Dataset, path: Path) -> str:
    """What each axis is, one letter of AXES each and ``-`` for those of one element that are left out.

    By vigra's axistags, as ilastik writes them; by HDF5's dimension labels; else z, y, x for the three axes that are
    longer than one.
    """
    shape = dataset.shape or ()
    axes = tagged_axes(dataset, path) or labelled_axes(dataset, path)
    if not axes and len(shape) == 3:
        return "zyx"
    if not axes:
        long = [n > 1 for n in shape]
        if sum(long) != 3:
            raise BadVolumeError(
                f"{path} has shape {shape} and does not say which axes are z, y and x, expected a stack (z, y, x) or "
                "the attribute axistags or dimension labels: add them, or save it with three axes"
            )
        names = iter("zyx")
        return "".join(next(names) if is_long else "-" for is_long in long)
    missing = [axis for axis in "zyx" if axis not in axes]
    if missing or set(axes) - set(AXES) or len(set(axes)) < len(axes):
        lacks = f" and lacks {' and '.join(missing)}" if missing else ""
        raise BadVolumeError(
            f"{path} has axes {', '.join(axes)} of shape {shape}{lacks}, expected z, y and x, and at most t and c "
            "besides: correct its axis tags"
        )
    return "".join(axes)


def tagged_axes(dataset: Dataset, path: Path) -> Sequence[str]:
    """The keys of vigra's axistags; empty without any that fit."""
    text = dataset.attrs.get("axistags")
    if text is None:
        return ()
    try:
        keys = [str(axis["key"]) for axis in json.loads(text)["axes"]]
    except (ValueError, KeyError, TypeError):
        keys = []
    if len(keys) != len(dataset.shape or ()):
        logger.warning("%s has axistags that do not fit its shape %s, which are left out", path, dataset.shape)
        return ()
    return keys


def labelled_axes(dataset: Dataset, path: Path) -> Sequence[str]:
    """HDF5's dimension labels in lower case; empty unless each axis has one of AXES."""
    found = np.atleast_1d(dataset.attrs.get("DIMENSION_LABELS", ())).tolist()
    names = [(name.decode(errors="replace") if isinstance(name, bytes) else str(name)).lower() for name in found]
    if not any(names):
        return ()
    if set(names) - set(AXES) or len(names) != len(dataset.shape or ()):
        logger.warning("%s has dimension labels %s, which are left out: they are not of %s", path, names, list(AXES))
        return ()
    return names


def find_voxel_size(dataset: Dataset, axes: str, path: Path) -> VoxelSize:
    """``element_size_um`` of the dataset or the nearest group above it: z, y, x, or as many as there are axes."""
    node = dataset
    while SIZE_ATTRIBUTE not in node.attrs and node.name != "/":
        node = node.parent
    if SIZE_ATTRIBUTE not in node.attrs:
        return VoxelSize()
    try:
        values = np.atleast_1d(node.attrs[SIZE_ATTRIBUTE]).astype(float).tolist()
    except (ValueError, TypeError):
        values = []
    names = "zyx" if len(values) == 3 else axes
    if len(values) != len(names):
        logger.warning("%s has an %s that is not three lengths, which is left out", path, SIZE_ATTRIBUTE)
        return VoxelSize()
    known = {name: v for name, v in zip(names, values, strict=True) if 0 < v < math.inf}
    return VoxelSize(known.get("z"), known.get("y"), known.get("x"))
