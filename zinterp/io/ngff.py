"""Reading OME-Zarr (NGFF 0.4 and 0.5) and bare Zarr arrays."""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaozarrs
import zarr
import zarr.errors
from pydantic import ValidationError
from yaozarrs import v04, v05

from zinterp.errors import BadVolumeError, InputError, reason_of
from zinterp.io.folders import RECORD
from zinterp.io.limits import DAMAGE, check_density, check_emptiness, check_size
from zinterp.io.ngff_store import bounded, check_link, check_metadata, held_beside, stored
from zinterp.io.paths import is_zarr, store_around
from zinterp.io.record import checked_record, read_json
from zinterp.io.selection import InputOptions, select
from zinterp.volume import MICROMETRES, SECONDS, Closing, Planes, VolumeInfo, VoxelSize

logger = logging.getLogger(__name__)


class NgffReader(Closing):
    """Planes of the finest level of an OME-Zarr image, or of a Zarr array. See ``VolumeReader``."""

    def __init__(self, path: Path, options: InputOptions) -> None:
        self._path = path
        with reading(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of units, which are checked here
            level = open_level(path)
        self._array, self._place, axes = level.array, level.place, level.axes
        if len(axes) != self._array.ndim or axes[-2:] != "yx" or "z" not in axes or set(axes) - set("tczyx"):
            raise BadVolumeError(
                f"{path} has axes {axes!r} and shape {self._array.shape}, expected a stack of planes zyx: "
                "only volumes with z, y, x (and t, c) can be upsampled"
            )
        counts = dict(zip(axes, self._array.shape, strict=True))
        with reading(path):
            self._check(path, counts)
        self._axes = axes
        channels, times = counts.get("c", 1), counts.get("t", 1)
        self._selection = select(path, options, channels=channels, times=times)
        names, kept = level.channel_names, self._selection.channels
        self.info = VolumeInfo(
            shape=(counts["z"], counts["y"], counts["x"]),
            dtype=np.dtype(self._array.dtype).newbyteorder("="),
            voxel_size=level.voxel_size,
            voxel_size_source="NGFF transformations" if level.voxel_size != VoxelSize() else "",
            unit=level.unit,
            format=level.format,
            channels=len(kept),
            times=len(self._selection.times),
            channel_names=tuple(names[c] for c in kept) if len(names) == channels else (),
            time_step=level.time_step,
            origin=level.origin,
        )

    def _check(self, path: Path, counts: Mapping[str, int]) -> None:
        """Refuse what the array cannot hold or nobody could read; say so where chunks lack."""
        array, shape = self._array, (counts["z"], counts["y"], counts["x"])
        root = store_around(path).resolve()
        beside, chunk = held_beside(array, shape[1:], path)
        stacks = counts.get("c", 1) * counts.get("t", 1)
        check_size(path, shape, np.dtype(array.dtype), stacks=stacks, beside=beside)
        found = stored(array, self._place, root)
        declared = math.prod(array.shape) * array.dtype.itemsize
        check_emptiness(path, declared, found.bytes)
        check_density(path, min(declared, found.chunks * chunk), found.bytes, at_a_time=chunk)
        if found.chunks < found.expected:
            lacking = found.expected - found.chunks
            logger.warning(
                "%s lacks %d of %d chunks, which read as %s", *(path, lacking, found.expected, array.fill_value)
            )

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z of a stack -> (len(z), Y, X)."""
        time, channel = self._selection.index(stack)
        chosen = {"z": slice(z.start, z.stop), "t": time, "c": channel}
        index: Any = tuple(chosen.get(axis, slice(None)) for axis in self._axes)
        with reading(self._path):
            return np.asarray(self._array[index]).astype(self.info.dtype, copy=False)


def read_ngff_record(path: Path) -> dict[str, Any] | None:
    """The record of how an image of ours was made, None if it holds none; also by the path of one of its levels."""
    path = path.resolve()
    for group in (path, path.parent) if path.name.isdecimal() else (path,):
        content = read_json(group / "zarr.json")
        attributes = content.get("attributes") if isinstance(content, dict) else read_json(group / ".zattrs")
        if isinstance(attributes, dict) and RECORD in attributes:
            return checked_record(attributes[RECORD], group)
    return None


@dataclass(frozen=True)
class Level:
    """One array of a store, where it lies, and what its metadata say about it."""

    array: zarr.Array[Any]
    place: Path
    axes: str
    format: str
    voxel_size: VoxelSize
    unit: str = ""
    origin: tuple[float, float, float] | None = None
    channel_names: tuple[str, ...] = ()
    time_step: float | None = None


def open_level(path: Path) -> Level:
    """The finest level of an image, the level that a path leads to, or a bare array."""
    path = path.resolve()
    root = store_around(path)
    if "labels" in path.relative_to(root).parts:
        raise BadVolumeError(f"{path} lies among labels, expected grey values: labels cannot be interpolated")
    check_metadata(path, root)
    group = parent = None
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Group):
        node = only_image(node, path)
    if isinstance(node, zarr.Group):
        group, wanted = node, None
    elif (parent := image_around(path)) is not None:
        group, wanted = zarr.open_group(parent, mode="r"), path.absolute().relative_to(parent).as_posix()
    if group is None:
        assert isinstance(node, zarr.Array)
        return Level(bounded(node), path, axes_of(node), "zarr", VoxelSize())
    multiscale: Any = image_metadata(group, path).multiscales[0]
    numbers = [i for i, dataset in enumerate(multiscale.datasets) if wanted in (None, dataset.path)]
    if not numbers:
        paths = ", ".join(dataset.path for dataset in multiscale.datasets)
        raise BadVolumeError(f"{path} is no level of its image, which has {paths}: name one of them")
    dataset = multiscale.datasets[numbers[0]]
    place = Path(str(group.store_path.store.root), group.path, str(dataset.path))  # type: ignore[attr-defined]
    check_link(place, root)
    check_metadata(place, root)
    array = group.get(str(dataset.path))
    if not isinstance(array, zarr.Array):
        raise BadVolumeError(f"{path}: level {dataset.path!r} is not an array")
    axes = "".join(axis.name for axis in multiscale.axes)
    scales, shifts, unit = lengths_of(multiscale, dataset)
    size = VoxelSize(*(length if (length := scales.get(axis)) and length > 0 else None for axis in "zyx"))
    origin = (shifts["z"], shifts["y"], shifts["x"]) if any(map(shifts.get, "zyx")) and len(shifts) > 2 else None
    return Level(
        *(bounded(array), place, axes, "ome-zarr", size, unit, origin, channel_labels(group)),
        time_step_of(multiscale, dataset),
    )


def axes_of(array: zarr.Array[Any]) -> str:
    """The axes of a bare array: those it names, else zyx after any of length 1."""
    named = getattr(array.metadata, "dimension_names", None) or array.attrs.asdict().get("_ARRAY_DIMENSIONS")
    if isinstance(named, list | tuple) and all(isinstance(name, str) and len(name) == 1 for name in named):
        return "".join(map(str, named)).lower()
    if all(n == 1 for n in array.shape[:-3]):
        return "tczyx"[-array.ndim :]
    return "zyx"[-array.ndim :]


def image_around(path: Path) -> Path | None:
    """The nearest group around an array that is an image; None if there is none."""
    for parent in path.absolute().parents:
        if not is_zarr(parent):
            return None
        check_metadata(parent, store_around(path))
        if is_image(zarr.open_group(parent, mode="r")):
            return parent
    return None


def ome_attributes(group: zarr.Group) -> Mapping[str, Any]:
    """The attributes of a group that NGFF speaks of, which 0.5 keeps apart from others."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, Mapping) else {}


def is_image(group: zarr.Group) -> bool:
    """Whether a group has the metadata of an image."""
    return "multiscales" in ome_attributes(group)


def only_image(group: zarr.Group, path: Path) -> zarr.Group:
    """The group, or the one image in it where it is a collection of images, as bioformats2raw writes."""
    if is_image(group):
        return group
    images = {name: child for name, child in group.groups() if is_image(child)}
    if len(images) > 1:
        raise BadVolumeError(f"{path} holds the images {', '.join(sorted(images))}, expected one: give its path")
    return next(iter(images.values()), group)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a broken store makes zarr raise into one InputError."""
    try:
        yield
    except (BadVolumeError, InputError):
        raise
    except (zarr.errors.GroupNotFoundError, zarr.errors.NodeNotFoundError, FileNotFoundError) as error:
        raise InputError(f"{path} is not a Zarr group or array, expected OME-Zarr: check the path") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
        reason = " ".join(f"{place}: {first['msg']}".split())
        raise InputError(f"{path} has NGFF metadata that do not hold ({reason}): repair or rewrite them") from error
    except DAMAGE as error:
        reason = reason_of(error)
        raise InputError(f"{path} cannot be read as Zarr ({reason}): it is damaged or incomplete") from error


def image_metadata(group: zarr.Group, path: Path) -> v04.Image | v05.Image:
    """NGFF metadata of an image group, checked; anything else is refused with what it is."""
    ome = ome_attributes(group)
    if "multiscales" not in ome:
        raise BadVolumeError(
            f"{path} is a Zarr group without multiscales, expected an OME-Zarr image: give the path of one"
        )
    if "image-label" in ome:
        raise BadVolumeError(f"{path} is a label image, expected grey values: labels cannot be interpolated")
    image = yaozarrs.validate_ome_object({k: v for k, v in ome.items() if k in ("version", "multiscales")})
    if not isinstance(image, v04.Image | v05.Image):
        raise BadVolumeError(f"{path} is an NGFF {type(image).__name__}, expected an image")
    return image


def lengths_of(multiscale: Any, dataset: Any) -> tuple[dict[str, float], dict[str, float], str]:
    """Scale and translation of a level by axis, in micrometres, and the unit they are written in.

    An axis without a unit of length has none. The image's own transformations follow those of the level.
    """
    scales, shifts, known = {}, {}, ""
    for i, axis in enumerate(multiscale.axes):
        unit = str(getattr(axis, "unit", None) or "")
        if unit not in MICROMETRES:
            continue
        scale, shift = transformation(multiscale, dataset, i)
        known = known or unit
        if math.isfinite(scale) and math.isfinite(shift):
            scales[axis.name], shifts[axis.name] = scale * MICROMETRES[unit], shift * MICROMETRES[unit]
    return scales, shifts, known


def transformation(multiscale: Any, dataset: Any, axis: int) -> tuple[float, float]:
    """Scale and translation of a level along an axis, in the axis's unit."""
    scale, shift = 1.0, 0.0
    for step in (*(dataset.coordinateTransformations or ()), *(multiscale.coordinateTransformations or ())):
        if step.type == "scale":
            scale, shift = scale * step.scale[axis], shift * step.scale[axis]
        elif step.type == "translation":
            shift += step.translation[axis]
    return scale, shift


def time_step_of(multiscale: Any, dataset: Any) -> float | None:
    """Seconds from one time to the next, None where the axis has no unit of time."""
    for i, axis in enumerate(multiscale.axes):
        if axis.name == "t" and (unit := SECONDS.get(str(getattr(axis, "unit", None) or ""))):
            step = transformation(multiscale, dataset, i)[0] * unit
            return step if 0 < step < math.inf else None
    return None


def channel_labels(group: zarr.Group) -> tuple[str, ...]:
    """Names of the channels in the group's rendering settings."""
    settings = ome_attributes(group).get("omero", {})
    channels = settings.get("channels", ()) if isinstance(settings, Mapping) else ()
    return tuple(str(channel.get("label", "")) for channel in channels if isinstance(channel, Mapping))
