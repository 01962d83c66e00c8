"""TIFF stacks: multi-page, ImageJ hyperstacks, OME-TIFF, BigTIFF, either byte order, any compression."""

import logging
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from zinterp.errors import BadVolumeError, InputError, OutputError, reason_of
from zinterp.io.folders import replace_file
from zinterp.io.limits import DAMAGE, check_density, check_size, room_for
from zinterp.io.record import parse_record
from zinterp.io.selection import InputOptions, select
from zinterp.io.tiff_metadata import find_voxel_size
from zinterp.io.tiff_pages import check_images, check_pages
from zinterp.io.tiff_record import padded, record_text, replace_record
from zinterp.io.vendors import image_rows
from zinterp.volume import MICROMETRES, Closing, Planes, VolumeInfo, decimal, in_unit, partial_path

logger = logging.getLogger(__name__)

IMAGEJ_DTYPES = ("uint8", "uint16", "int16", "float32")
IMAGEJ_UNITS = {"nm": "nm", "um": "um", "µm": "\\u00B5m", "micron": "micron", "mm": "mm", "cm": "cm", "inch": "inch"}
"""Units that are written as found, and how; others become nm or um."""
IMAGEJ_LIMIT = 2**32 - 2**25  # bytes: beyond this only the first slice is seen by other readers
LEADING = "TCZQI"  # axes before YX; Q and I are what tifffile calls axes without a name


class TiffReader(Closing):
    """Planes of one TIFF file. See ``VolumeReader``."""

    def __init__(self, path: Path, options: InputOptions) -> None:
        with reading(path):
            self._file = path.open("rb")
        try:
            with reading(path):
                self._tif = tifffile.TiffFile(self._file, name=path.name)
                check_pages(self._tif, path)
                self._open(path, options)
        except BaseException:
            self._file.close()
            raise

    def _open(self, path: Path, options: InputOptions) -> None:
        self._path = path
        series = single_series(self._tif, path)
        if "S" in series.axes:
            raise BadVolumeError(
                f"{path} is a colour image (axes {series.axes}, shape {series.shape}), expected grey planes: "
                "convert it to 8 or 16 bit grey first"
            )
        leading = dict(zip(series.axes[:-2], series.shape[:-2], strict=True))
        if series.axes[-2:] != "YX" or set(leading) - set(LEADING) or len(leading) < len(series.axes) - 2:
            raise BadVolumeError(
                f"{path} has axes {series.axes} of shape {series.shape}, expected a stack of planes ZYX"
            )
        z_axis = choose_z_axis(leading, path)
        if extra := [axis for axis, n in leading.items() if n > 1 and axis not in ("C", "T", z_axis)]:
            raise BadVolumeError(
                f"{path} has axes {series.axes} of shape {series.shape}, expected a stack of planes ZYX: "
                f"split it along {' and '.join(extra)}"
            )
        check_colours(series.keyframe, path)
        channels = 1 if z_axis == "C" else leading.get("C", 1)
        times = 1 if z_axis == "T" else leading.get("T", 1)
        self._selection = select(path, options, channels=channels, times=times)
        names = [{z_axis: "Z"}.get(axis, axis) for axis in leading]
        order = [names.index(axis) for axis in "TCZ" if axis in names]
        index = np.arange(int(np.prod(series.shape[:-2], dtype=int))).reshape(series.shape[:-2])
        index = index.transpose(*order, *(i for i in range(len(names)) if i not in order))
        self._pages = index.reshape(times, channels, -1)
        self._series = series
        self._page_shape = height, width = int(series.shape[-2]), int(series.shape[-1])
        self._rows = rows_to_read(self._tif, height, path, options)
        self._check_extent(path)
        found = find_voxel_size(self._tif)
        kept = self._selection.channels
        self.info = VolumeInfo(
            shape=(self._pages.shape[-1], self._rows, width),
            dtype=np.dtype(series.dtype).newbyteorder("="),
            voxel_size=found.size,
            voxel_size_source=found.source,
            unit=found.unit,
            format="ome-tiff" if series.kind == "ome" else "tiff",
            channels=len(kept),
            times=len(self._selection.times),
            channel_names=tuple(found.channel_names[c] for c in kept) if len(found.channel_names) == channels else (),
            time_step=found.time_step,
            origin=found.origin,
        )

    def _check_extent(self, path: Path) -> None:
        """Refuse a file that ends before its pixels do, or declares far more than it holds, without reading any."""
        size, series = self._tif.filehandle.size, self._series
        depth, stacks = self._pages.shape[-1], self._stacks()
        check_size(path, (depth, *self._page_shape), np.dtype(series.dtype), stacks=stacks)
        if series.dataoffset is not None:
            end = series.dataoffset + series.nbytes
        else:
            pages = [self._series.pages[int(i)] for stack in range(self._stacks()) for i in self._planes(stack)]
            if None in pages:
                raise InputError(
                    f"{path} lacks {pages.count(None)} of its planes: they are in other files, or it was cut short; "
                    "make one file of all planes"
                )
            ends = (o + n for p in pages for o, n in zip(p.dataoffsets, p.databytecounts, strict=False))
            end = max(ends, default=0)
            plane = math.prod(self._page_shape) * np.dtype(series.dtype).itemsize
            check_density(path, depth * stacks * plane, stored_bytes(pages, size), at_a_time=plane)
        if end > size:
            raise InputError(f"{path} has {size} bytes, expected {end}: it was cut short; copy it again")

    def _stacks(self) -> int:
        return len(self._selection.times) * len(self._selection.channels)

    def _planes(self, stack: int) -> NDArray[np.int64]:
        """The pages of a stack."""
        planes: NDArray[np.int64] = self._pages[self._selection.index(stack)]
        return planes

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z of a stack -> (len(z), Y, X)."""
        planes = room_for(self._path, (len(z), *self.info.shape[1:]), self.info.dtype)
        pages = self._planes(stack)
        with reading(self._path):
            for i, k in enumerate(z):
                planes[i] = self._plane(int(pages[k]))
        return planes

    def _plane(self, index: int) -> Planes:
        """One plane in the file's byte order."""
        series, (height, width) = self._series, self._page_shape
        if series.dataoffset is None:
            check_images(series.pages[index], self._path)
            return np.asarray(series.pages[index].asarray()).reshape(height, width)[: self._rows]
        dtype = np.dtype(series.dtype).newbyteorder(self._tif.byteorder)
        offset = series.dataoffset + index * height * width * dtype.itemsize
        plane = self._tif.filehandle.read_array(dtype, self._rows * width, offset)
        return np.asarray(plane).reshape(self._rows, width)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def stored_bytes(pages: Sequence[Any], size: int) -> int:
    """Bytes that pages take in a file of some size; where they share them, these count once at most."""
    return min(sum(sum(page.databytecounts) for page in pages), size)


def rows_to_read(tif: tifffile.TiffFile, rows: int, path: Path, options: InputOptions) -> int:
    """The rows of a plane without the data bar that a microscope may have burnt in below the image."""
    image = image_rows(tif)
    if image is None:
        return rows
    if options.keep_databar:
        logger.info("%s: %d of %d rows are a data bar, which is kept", path, rows - image, rows)
        return rows
    logger.info("%s: cut off a data bar of %d of %d rows; --keep-databar leaves it", path, rows - image, rows)
    return image


def read_tiff_record(path: Path) -> dict[str, Any] | None:
    """The record of how an output of ours was made, None if the file holds none. No pixels are read."""
    try:
        with reading(path), path.open("rb") as file, tifffile.TiffFile(file, name=path.name) as tif:
            text = record_text(tif)
    except InputError as error:
        logger.debug("%s", error)  # also of metadata of other programs, without which the pixels can be read
        return None
    return parse_record(text, path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn everything that a broken file makes tifffile raise, or merely log as an error, into one InputError."""
    complaints = Complaints()
    log = logging.getLogger("tifffile")
    log.addHandler(complaints)
    propagate, log.propagate = log.propagate, False
    try:
        with np.errstate(all="ignore"):  # which tifffile computes with what damaged tags say
            yield
    except (BadVolumeError, InputError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist, expected a TIFF stack: check the path") from error
    except DAMAGE as error:
        reason = reason_of(error)
        raise InputError(f"{path} cannot be read as TIFF ({reason}): it is damaged or something else") from error
    finally:
        log.removeHandler(complaints)
        log.propagate = propagate
    if complaints.errors:
        raise InputError(f"{path} is damaged ({complaints.errors[0]}): it was cut short or overwritten; copy it again")


class Complaints(logging.Handler):
    """Keep what tifffile logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep errors, pass warnings on."""
        if record.levelno >= logging.ERROR:
            self.errors.append(record.getMessage().splitlines()[0])
        else:
            logger.debug("%s", record.getMessage())


def single_series(tif: tifffile.TiffFile, path: Path) -> Any:
    """The one series of a file; pages of several shapes are refused."""
    all_series = tif.series
    if not all_series:
        raise InputError(f"{path} holds no image, expected a stack of planes")
    if len(all_series) > 1 and all_series[0].kind in ("generic", "uniform", "shaped"):
        shapes = ", ".join(
            f"{int(np.prod(s.shape[:-2]))} of {'x'.join(map(str, s.shape[-2:]))} {s.dtype}" for s in all_series[:4]
        )
        raise BadVolumeError(
            f"{path} holds images of different shapes ({shapes}), expected planes that are all alike: split the file"
        )
    if len(all_series) > 1:
        logger.warning("%s holds %d images, taking the first", path, len(all_series))
    return all_series[0]


def check_colours(page: Any, path: Path) -> None:
    """Refuse colours; say so where stored values, which are taken as they are, are not levels from black to white."""
    if count := count_colours(page, path):
        logger.warning(
            "%s has a colour map of which %d of %d entries are colours, as for annotations: its values are taken as "
            "grey levels",
            *(path, count, page.colormap.shape[-1]),
        )
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        logger.warning("%s stores white as 0: values are kept, and the output will look inverted beside it", path)


def count_colours(page: Any, path: Path) -> int:
    """How many entries of a colour map are not the grey level of their value; more than a quarter are refused."""
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE:
        return 0
    known = page.colormap is not None and page.colormap.shape[-1] <= 2**16  # a longer one is damaged
    colours = page.colormap.astype(np.int64) if known else np.zeros((3, 0), np.int64)
    entries = colours.shape[-1]
    off = abs(colours // (2**16 // max(entries, 1)) - np.arange(entries)) > entries // 256  # 255 is 65280 or 65535
    count = int(off.any(axis=0).sum())
    if 4 * count > entries or not entries:
        raise BadVolumeError(
            f"{path} is a colour image ({count} of {entries} entries of its colour map are colours), expected grey "
            "planes: convert it to 8 or 16 bit grey first"
        )
    return count


def choose_z_axis(leading: dict[str, int], path: Path) -> str:
    """The axis along which planes follow each other: Z, an axis without a name, else the only other one there is."""
    for axis in "ZQI":
        if axis in leading:
            return axis
    long = [axis for axis in leading if leading[axis] > 1]
    if len(long) == 1:
        logger.warning(
            "%s has an axis %s and no Z, taking its %d planes as a stack in z", path, long[0], leading[long[0]]
        )
        return long[0]
    if len(long) > 1:
        raise BadVolumeError(f"{path} has axes {''.join(leading)}YX and no Z, expected a stack of planes ZYX")
    return ""


class TiffWriter:
    """An uncompressed TIFF stack laid out in advance, whose planes may be written in any order. See ``VolumeWriter``.

    Parameters
    ----------
    path : Path
        The final name; until ``finish`` the file is called ``<name>.partial``.
    info : VolumeInfo
        Of the output. Lengths are written in ``info.unit``, micrometres if that is "".
    ome : bool
        OME-TIFF (BigTIFF beyond 4 GB) rather than ImageJ hyperstack.
    record : mapping
        How the volume was made, kept as JSON in ImageJ's info or the OME description.
    record_room : int
        Characters by which the record that ``finish`` gets may be longer.
    resume : bool
        Go on in the partial file that is there.
    """

    def __init__(
        self,
        path: Path,
        info: VolumeInfo,
        *,
        ome: bool,
        record: Mapping[str, object],
        record_room: int = 0,
        resume: bool = False,
    ) -> None:
        self.path = path
        self.partial = partial_path(path)
        self._info = info
        self._ome = ome
        try:
            if not resume:
                lay_out(self.partial, info, ome=ome, record=padded(record, record_room))
                reserve(self.partial, self.partial.stat().st_size)
            with tifffile.TiffFile(self.partial) as tif:
                self._offset = int(tif.pages.first.dataoffsets[0])  # also where OME-XML is half replaced
                if tif.filehandle.size < self._offset + info.bytes:
                    raise OutputError(f"{self.partial} was cut short: start again with --overwrite")
                self._dtype = info.dtype.newbyteorder(tif.byteorder)
            self._file = self.partial.open("r+b")
        except (OSError, tifffile.TiffFileError, IndexError) as error:
            if not resume:
                self.partial.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or error
            raise OutputError(f"cannot write {self.partial} ({reason}): free space or choose another -o") from error

    def write(self, z: int, planes: Planes, stack: int = 0) -> None:
        """Write planes (n, Y, X) of a stack from z on."""
        try:
            for k, plane in enumerate(np.ascontiguousarray(planes, self._dtype), start=z):
                self._file.seek(self._offset + self._index(k, stack) * self._info.plane_bytes)
                self._file.write(plane.data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {self.partial} ({error.strerror or error})") from error

    def _index(self, z: int, stack: int) -> int:
        """Where a plane comes among all: in OME by time, channel, z, in ImageJ by time, z, channel."""
        time, channel = divmod(stack, self._info.channels)
        depth = self._info.shape[0]
        return stack * depth + z if self._ome else (time * depth + z) * self._info.channels + channel

    def finish(self, record: Mapping[str, object] | None = None) -> None:
        """Put the record in place of the first one, where one is given, and give the complete file its final name."""
        try:
            if record is not None:
                replace_record(self._file, self.partial, record, ome=self._ome)
                self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            replace_file(self.partial, self.path)
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"cannot complete {self.path} ({error.strerror or error})") from error

    def close(self) -> None:
        """Close the partial file and leave it there."""
        self._file.close()

    def discard(self) -> None:
        """Remove the partial file."""
        self._file.close()
        self.partial.unlink(missing_ok=True)


def reserve(path: Path, size: int) -> None:
    """Take the room for ``size`` bytes on disk now, where the system can, so that the disk is not full at the end."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def lay_out(path: Path, info: VolumeInfo, *, ome: bool, record: str) -> None:
    """Write a TIFF of the right size and metadata whose pixels are still empty."""
    counts = {"T": info.times, "C": info.channels, "Z": info.shape[0]}
    leading = [axis for axis in ("TCZ" if ome else "TZC") if counts[axis] > 1 or axis == "Z"]
    tifffile.imwrite(
        path,
        data=None,
        shape=(*(counts[axis] for axis in leading), *info.shape[1:]),
        dtype=info.dtype,
        photometric="minisblack",
        bigtiff=info.bytes > IMAGEJ_LIMIT,
        **(ome_options if ome else imagej_options)(path, info, "".join(leading) + "YX", record),
    )


def ome_options(path: Path, info: VolumeInfo, axes: str, record: str) -> dict[str, Any]:
    """What tifffile needs to write OME-XML with lengths in micrometres, which all its readers understand."""
    size = info.voxel_size
    lengths = {f"PhysicalSize{axis}": v for axis, v in zip("ZYX", (size.z, size.y, size.x), strict=True) if v}
    units = {f"{name}Unit": "µm" for name in lengths}
    # an identifier that equal jobs share, so that they write the same bytes
    identifier = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, f'{path.name} {info.shape} {record.rstrip()}')}"
    metadata: dict[str, Any] = {"axes": axes, "UUID": identifier, "Description": record, **lengths, **units}
    if info.time_step and info.times > 1:
        metadata |= {"TimeIncrement": info.time_step, "TimeIncrementUnit": "s"}
    if info.channel_names:
        metadata["Channel"] = {"Name": list(info.channel_names)}
    if info.origin is not None:
        metadata["Plane"] = plane_positions(info)
    resolution = (1e4 / size.x, 1e4 / size.y) if size.x and size.y else None
    options = {"ome": True, "metadata": metadata, "resolution": resolution}
    return options | {"resolutionunit": "CENTIMETER" if resolution else None}


def plane_positions(info: VolumeInfo) -> dict[str, Any]:
    """Where each plane lies, as OME-XML has it; z too where the planes' distance is known."""
    z0, y, x = info.origin or (0.0, 0.0, 0.0)
    count = info.stacks * info.shape[0]
    positions: dict[str, Any] = {"PositionX": [x] * count, "PositionY": [y] * count}
    if info.voxel_size.z:
        positions["PositionZ"] = [decimal(z0 + k * info.voxel_size.z) for k in range(info.shape[0])] * info.stacks
    return positions | {f"{name}Unit": ["µm"] * count for name in list(positions)}


def imagej_options(path: Path, info: VolumeInfo, axes: str, record: str) -> dict[str, Any]:
    """What tifffile needs to write ImageJ's metadata, with lengths in the unit that the input has."""
    size = info.voxel_size
    unit = info.unit if info.unit in IMAGEJ_UNITS else "nm" if 0 < (size.x or 0) < 1 else "um"
    scale = MICROMETRES[unit]
    metadata: dict[str, Any] = {"axes": axes, "Info": record}
    if info.channels > 1:
        metadata["mode"] = "grayscale"
    if info.time_step and info.times > 1:
        metadata["finterval"] = info.time_step
    resolution = (scale / size.x, scale / size.y) if size.x and size.y else None
    if resolution:  # without it ImageJ would take pixels for one unit wide
        metadata["unit"] = IMAGEJ_UNITS[unit]
        if size.z:
            metadata["spacing"] = in_unit(size.z, scale)
        if info.origin is not None:  # in pixels, and of the zero point as seen from the first voxel
            for axis, start, length in zip("zyx", info.origin, (size.z, size.y, size.x), strict=True):
                if start and length:
                    metadata[f"{axis}origin"] = in_unit(-start, length)
    return {"imagej": True, "metadata": metadata, "resolution": resolution}


def imagej_limits(info: VolumeInfo) -> Sequence[str]:
    """Why an ImageJ TIFF cannot hold this volume; empty if it can."""
    reasons = []
    if info.dtype.name not in IMAGEJ_DTYPES:
        reasons.append(f"ImageJ has no {info.dtype.name}")
    if info.voxel_size.z and not (info.voxel_size.y and info.voxel_size.x):
        reasons.append("ImageJ cannot hold a plane distance without a pixel size")
    if info.shape[2] == 1:
        reasons.append("ImageJ has no planes of one column")
    if info.bytes > IMAGEJ_LIMIT:
        reasons.append(f"{info.bytes / 1e9:.1f} GB is above ImageJ's 4 GB")
    return reasons
