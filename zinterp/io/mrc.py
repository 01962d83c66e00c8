"""MRC volumes, image stacks and volume stacks: MRC2014, CCP4, IMOD and older, either byte order."""

import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from zinterp.errors import BadOptionError, BadVolumeError, InputError, OutputError
from zinterp.io.folders import replace_file
from zinterp.io.limits import check_size, room_for
from zinterp.io.record import checked_record
from zinterp.io.selection import InputOptions, select
from zinterp.volume import MICROMETRES, Closing, Planes, VolumeInfo, VoxelSize, partial_path

logger = logging.getLogger(__name__)

Header = Any  # numpy.void of HEADER_DTYPE, whose fields have no static types

HEADER_BYTES = 1024
ANGSTROM = MICROMETRES["Å"]
MODES = {0: "int8", 1: "int16", 2: "float32", 6: "uint16", 12: "float16"}
REFUSED_MODES = {
    3: "complex integers",
    4: "complex floats",
    16: "red, green and blue",
    101: "4-bit integers",
}
WRITTEN_MODES = {name: mode for mode, name in MODES.items()} | {"uint8": 6}
"""What each dtype is written as; unsigned 8 bit, which MRC lacks, is widened unless it is to be as IMOD has it."""

IMOD_STAMP, IMOD_STAMP_AT = 1146047817, 152  # "this file heeds the flags below", and at which byte of the header
SIGNED_BYTES, INVERTED_ORIGIN, PACKED_4_BIT = 1, 4, 16  # IMOD's flags
LABELS, LABEL_LENGTH = 10, 79  # of the header's texts, which end in a zero byte
UNPRINTABLE = "?"  # in labels
TABLE = "planes"  # in a record: too long for a label
SKEW = 0.01  # degrees: smaller ones are rounding
BLOCK = 2**22
"""Voxels whose statistics are taken at a time."""


class MrcReader(Closing):
    """Planes of one MRC file, read by ordinary file calls. See ``VolumeReader``.

    A voxel size of exactly 1 Å along all axes is taken as unknown: it is what many programs write who do not know it.
    """

    def __init__(self, path: Path, options: InputOptions) -> None:
        self._path = path
        with reading(path):
            self._file = path.open("rb")
        try:
            with reading(path):
                self._open(options)
        except BaseException:
            self._file.close()
            raise

    def _open(self, options: InputOptions) -> None:
        path = self._path
        raw = self._file.read(HEADER_BYTES)
        size = self._file.seek(0, os.SEEK_END)
        if len(raw) < HEADER_BYTES:
            raise InputError(f"{path} has {size} bytes, expected a header of 1024: it was cut short; copy it again")
        header = parse_header(raw, size, path)
        self._stored = stored_dtype(header, path)
        end = end_of(header)
        if size < end:
            raise InputError(f"{path} has {size} bytes, expected {end}: it was cut short; copy it again")
        if size > end:
            logger.warning("%s is %d bytes longer than its header says, which are left out", path, size - end)
        planes, height, width = (int(header[name]) for name in ("nz", "ny", "nx"))
        self._depth = stack_depth(header, path)
        check_size(path, (self._depth, height, width), self._stored, stacks=planes // self._depth)
        self._selection = select(path, options, times=planes // self._depth)
        self._offset = HEADER_BYTES + int(header["nsymbt"])
        axes = axis_names(header, path)
        warn_of_angles(header, path)
        voxel_size = find_voxel_size(header, axes, path)
        self.info = VolumeInfo(
            shape=(self._depth, height, width),
            dtype=self._stored.newbyteorder("="),
            voxel_size=voxel_size,
            voxel_size_source="" if voxel_size == VoxelSize() else "MRC header",
            unit="Å",
            format="mrc",
            times=len(self._selection.times),
            origin=find_origin(header, axes, voxel_size),
        )

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z of a stack -> (len(z), Y, X)."""
        planes = room_for(self._path, (len(z), *self.info.shape[1:]), self._stored)
        first = self._selection.index(stack)[0] * self._depth + z.start
        with reading(self._path):
            self._file.seek(self._offset + first * self.info.plane_bytes)
            if self._file.readinto(planes.reshape(-1).view(np.uint8).data) < planes.nbytes:
                raise InputError(f"{self._path} ends before plane {z.stop - 1}: it was cut short; copy it again")
        return planes.astype(self.info.dtype, copy=False)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system says about a file that cannot be read into an InputError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist, expected an MRC file: check the path") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check the file and its disk") from error


def parse_header(raw: bytes, size: int, path: Path) -> Header:
    """The header in the byte order in which it makes sense; machine stamps are missing or wrong in many files."""
    headers = {order: np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order))[0] for order in "<>"}
    ends = {order: end_of(header) for order, header in headers.items() if is_plausible(header)}
    if not ends:
        raise InputError(f"{path} is no MRC file: it has no known mode and size in either byte order; check what it is")
    stamped = {0x44: "<", 0x11: ">"}.get(raw[212], "")
    if ends.get(stamped, math.inf) <= size:
        return headers[stamped]
    return headers[min(ends, key=lambda order: ends[order])]  # sizes in the wrong byte order are huge


def is_plausible(header: Header) -> bool:
    """Whether a header has a mode and a size."""
    sizes_fit = all(header[name] > 0 for name in ("nx", "ny", "nz")) and header["nsymbt"] >= 0
    return sizes_fit and int(header["mode"]) in (*MODES, *REFUSED_MODES)


def end_of(header: Header) -> int:
    """Where the voxels end, in bytes; where they begin if they are of a kind that is not read."""
    item = np.dtype(MODES.get(int(header["mode"]), "V0")).itemsize
    return HEADER_BYTES + int(header["nsymbt"]) + math.prod(int(header[name]) for name in ("nx", "ny", "nz")) * item


def imod_flags(header: Header) -> int | None:
    """IMOD's flags, None for other files."""
    stamp, flags = np.frombuffer(header["extra2"].tobytes(), header.dtype["nx"], 2, offset=40)
    return int(flags) if stamp == IMOD_STAMP else None


def stored_dtype(header: Header, path: Path) -> np.dtype[Any]:
    """The dtype of the voxels in the file's byte order.

    Bytes are signed by MRC2014, while older programs and IMOD wrote unsigned ones under the same mode. IMOD's flag
    decides. Without it they are signed, unless the header gives grey values below and above 127, which come in another
    order if they are read as signed.
    """
    mode = int(header["mode"])
    flags = imod_flags(header)
    kind = REFUSED_MODES.get(101 if mode == 0 and (flags or 0) & PACKED_4_BIT else mode)
    if kind:
        raise BadVolumeError(
            f"{path} holds {kind} (MRC mode {mode}), expected grey values of mode 0, 1, 2, 6 or 12: convert it first"
        )
    unsigned = 0 <= header["dmin"] < 128 <= header["dmax"] if flags is None else not flags & SIGNED_BYTES
    if mode == 0 and unsigned:
        logger.info("%s holds unsigned bytes, by %s", path, "its grey values" if flags is None else "IMOD's flag")
        return np.dtype(np.uint8)
    if mode == 0 and flags is None and header["dmin"] >= 128:
        logger.warning(
            "%s holds signed bytes, as MRC has them, and gives its grey values as unsigned: %g to %g are read as %g to "
            "%g, in the same order",
            *(path, header["dmin"], header["dmax"], header["dmin"] - 256, header["dmax"] - 256),
        )
    return np.dtype(MODES[mode]).newbyteorder(header.dtype["nx"].byteorder)


def stack_depth(header: Header, path: Path) -> int:
    """Planes of each stack: all, except in a stack of volumes."""
    planes, grid = int(header["nz"]), int(header["mz"])
    if not 401 <= header["ispg"] <= 630:
        return planes
    if grid < 1 or planes % grid:
        raise BadVolumeError(
            f"{path} is a stack of volumes of {grid} planes each and has {planes} planes, expected a multiple: "
            "its header is wrong; repair mz or the space group"
        )
    return grid


def axis_names(header: Header, path: Path) -> tuple[str, ...]:
    """Which of x, y and z the sections, rows and columns run along."""
    axes = [int(header[name]) for name in ("maps", "mapr", "mapc")]
    if sorted(axes) != [1, 2, 3]:
        if any(axes):
            logger.warning("%s has the axis order %s, which is none: taking sections for z, rows for y", path, axes)
        axes = [3, 2, 1]
    names = tuple("xyz"[axis - 1] for axis in axes)
    if names != ("z", "y", "x"):
        logger.warning(
            "%s has its sections along %s, rows along %s and columns along %s; planes are its sections, and an output "
            "has these along z, y and x",
            *(path, *names),
        )
    return names


def warn_of_angles(header: Header, path: Path) -> None:
    """Say so where the cell is not rectangular."""
    angles = [float(header["cellb"][name]) for name in ("alpha", "beta", "gamma")]
    if any(math.isfinite(angle) and 0 < angle < 180 and abs(angle - 90) > SKEW for angle in angles):
        logger.warning("%s has a cell with the angles %g, %g and %g, taken as 90 degrees", path, *angles)


def find_voxel_size(header: Header, axes: tuple[str, ...], path: Path) -> VoxelSize:
    """Lengths of the cell over its grid steps; see ``MrcReader`` for 1 Å."""
    lengths = []
    for axis in axes:
        cell, steps = float(header["cella"][axis]), int(header[f"m{axis}"])
        lengths.append(cell / steps if steps > 0 and 0 < cell < math.inf else None)
    if lengths == [1.0, 1.0, 1.0]:
        logger.warning(
            "%s has voxels of exactly 1 Å, which many programs write who do not know: taken as not known; if it is "
            "true, give --voxel-size 1x1x1Å",
            path,
        )
        return VoxelSize()
    return VoxelSize(*(length and length * ANGSTROM for length in lengths))


def find_origin(header: Header, axes: tuple[str, ...], size: VoxelSize) -> tuple[float, float, float] | None:
    """Where the first voxel lies, by the origin, else by the number of the first plane, row and column."""
    if header["map"][:3] != b"MAP":
        return None  # headers from before 2000 hold other things there
    flags = imod_flags(header)
    # IMOD gave the position of the coordinate system in the volume, until MRC2014 said the opposite
    inverted = flags is not None and not flags & INVERTED_ORIGIN and header["nversion"] < 20140
    z, y, x = (float(header["origin"][axis]) * (-ANGSTROM if inverted else ANGSTROM) for axis in axes)
    if not any((z, y, x)):
        starts = (int(header[name]) for name in ("nzstart", "nystart", "nxstart"))
        z, y, x = (start * (length or 0.0) for start, length in zip(starts, (size.z, size.y, size.x), strict=True))
    return (z, y, x) if any((z, y, x)) and all(map(math.isfinite, (z, y, x))) else None


class MrcWriter:
    """An MRC2014 volume laid out in advance, whose planes may be written in any order. See ``VolumeWriter``.

    Parameters
    ----------
    path : Path
        The final name; until ``finish`` the file is called ``<name>.partial``.
    info : VolumeInfo
        Of the output: one stack of a dtype of WRITTEN_MODES.
    record : mapping
        How the volume was made, of which the header's ten labels keep what is text.
    unsigned_bytes : bool
        Write unsigned 8 bit under mode 0 with IMOD's flag, rather than as 16 bit.
    resume : bool
        Go on in the partial file that is there.

    Raises
    ------
    BadOptionError
        If MRC cannot hold the volume.
    OutputError
        If the file cannot be written, or the partial file is not the one that was begun.
    """

    def __init__(
        self,
        path: Path,
        info: VolumeInfo,
        *,
        record: Mapping[str, object],
        unsigned_bytes: bool = False,
        resume: bool = False,
    ) -> None:
        if info.dtype.name not in WRITTEN_MODES or info.stacks != 1:
            raise BadOptionError(
                f"got {info.stacks} stacks of {info.dtype.name}, and MRC holds one of {', '.join(WRITTEN_MODES)}: "
                "give --format ome-zarr"
            )
        self.path = path
        self.partial = partial_path(path)
        as_imod = unsigned_bytes and info.dtype == np.uint8
        self._dtype = info.dtype if as_imod else np.dtype(MODES[WRITTEN_MODES[info.dtype.name]])
        self._header = make_header(info, record, as_imod=as_imod)
        self._plane_bytes = info.shape[1] * info.shape[2] * self._dtype.itemsize
        size = HEADER_BYTES + info.shape[0] * self._plane_bytes
        with writing(self.partial):
            self._file = self.partial.open("r+b" if resume else "w+b")
        try:
            with writing(self.partial):
                if resume:
                    self._resume(size)
                else:
                    self._lay_out(size)
        except BaseException:
            self._file.close()
            if not resume:
                self.partial.unlink(missing_ok=True)
            raise

    def _lay_out(self, size: int) -> None:
        """Write the header and take the room now, where the system can, so that the disk is not full at the end."""
        self._file.write(self._header.tobytes())
        self._file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self._file.fileno(), 0, size)

    def _resume(self, size: int) -> None:
        """Refuse a partial file that another job began or that was cut short."""
        found = self._file.seek(0, os.SEEK_END)
        if found != size:
            raise OutputError(f"{self.partial} has {found} bytes, expected {size}: start again with --overwrite")

    def write(self, z: int, planes: Planes, stack: int = 0) -> None:
        """Write planes (n, Y, X) from z on."""
        with writing(self.partial):
            self._file.seek(HEADER_BYTES + z * self._plane_bytes)
            self._file.write(np.ascontiguousarray(planes, self._dtype).data)
            self._file.flush()
            os.fsync(self._file.fileno())

    def finish(self, record: Mapping[str, object] | None = None) -> None:
        """Add the statistics, for which the file is read once, and give it its final name.

        The labels become those of the record, where one is given.
        """
        with writing(self.path):
            if record is not None:
                put_labels(self._header, record)
            add_statistics(self._header, self._file, self._dtype)
            self._file.seek(0)
            self._file.write(self._header.tobytes())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            replace_file(self.partial, self.path)

    def close(self) -> None:
        """Close the partial file and leave it there."""
        self._file.close()

    def discard(self) -> None:
        """Remove the partial file."""
        self._file.close()
        self.partial.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says about a file that cannot be written into an OutputError."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write {path} ({reason}): free space or choose another -o") from error


def make_header(info: VolumeInfo, record: Mapping[str, object], *, as_imod: bool) -> Header:
    """The header of a volume, whose statistics are still undetermined."""
    raw = bytearray(HEADER_BYTES)
    if as_imod:  # without the flag for signed bytes
        raw[IMOD_STAMP_AT : IMOD_STAMP_AT + 8] = np.array([IMOD_STAMP, INVERTED_ORIGIN], np.int32).tobytes()
    header = np.frombuffer(raw, HEADER_DTYPE).reshape(())
    header["mode"] = 0 if as_imod else WRITTEN_MODES[info.dtype.name]
    lengths = (info.voxel_size.z, info.voxel_size.y, info.voxel_size.x)
    for axis, planes, length, position in zip("zyx", info.shape, lengths, info.origin or (0, 0, 0), strict=True):
        header[f"n{axis}"] = header[f"m{axis}"] = planes
        header["cella"][axis] = planes * (length or 0) / ANGSTROM
        header["origin"][axis] = position / ANGSTROM
    header["cellb"] = (90, 90, 90)
    header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
    header["ispg"] = 1  # a volume rather than an image stack
    header["nversion"] = 20141
    header["map"] = b"MAP "
    header["machst"] = (0x44, 0x44, 0, 0) if sys.byteorder == "little" else (0x11, 0x11, 0, 0)
    header["dmin"], header["dmax"], header["dmean"], header["rms"] = 0, -1, -2, -1  # undetermined, by MRC2014
    put_labels(header, record)
    return header


def put_labels(header: Header, record: Mapping[str, object]) -> None:
    """Make what a record says the labels of a header."""
    texts = labels(record)
    header["nlabl"] = len(texts)
    header["label"] = [*texts, *[b""] * (LABELS - len(texts))]


def labels(record: Mapping[str, object]) -> list[bytes]:
    """The texts of a record and the shape it was made from, as lines of at most 79 printable ASCII characters."""
    shape = record.get("source_shape")
    known = {**record, "source_shape": "x".join(map(str, shape)) if isinstance(shape, list | tuple) else None}
    lines = [
        value if key == "program" else f"{key}: {value}"
        for key, value in known.items()
        if isinstance(value, str) and key != TABLE
    ]
    printable = ("".join(c if c.isascii() and c.isprintable() else UNPRINTABLE for c in line) for line in lines)
    return [line[:LABEL_LENGTH].encode() for line in printable if line.strip()][:LABELS]


def read_mrc_record(path: Path) -> dict[str, Any] | None:
    """What the labels keep of the record of how an output of ours was made, None if they keep none.

    They hold its texts and ``source_shape``, and no planes table. The source's name is left out where it was cut or
    has characters that labels lack.
    """
    try:
        with reading(path), path.open("rb") as file:
            raw, size = file.read(HEADER_BYTES), file.seek(0, os.SEEK_END)
        header = parse_header(raw, size, path) if len(raw) == HEADER_BYTES else None
    except InputError as error:
        logger.debug("%s", error)
        return None
    if header is None:
        return None
    lines = [label.decode("ascii", "replace").rstrip() for label in header["label"].tolist()]
    record: dict[str, Any] = {"program": lines[0]}
    record |= {key: value for key, colon, value in (line.partition(": ") for line in lines[1:]) if colon}
    if UNPRINTABLE in record.get("source", "") or len(f"source: {record.get('source')}") >= LABEL_LENGTH:
        record.pop("source", None)
    edges = record.pop("source_shape", "").split("x")
    if len(edges) == 3 and all(edge.isdecimal() for edge in edges):
        record["source_shape"] = [int(edge) for edge in edges]
    return checked_record(record, path)


def add_statistics(header: Header, file: BinaryIO, dtype: np.dtype[Any]) -> None:
    """Put minimum, maximum, mean and standard deviation into a header; undetermined where voxels are not finite."""
    count, mean, squares, low, high = 0, 0.0, 0.0, math.inf, -math.inf
    file.seek(HEADER_BYTES)
    while block := file.read(BLOCK * dtype.itemsize):
        values = np.frombuffer(block, dtype).astype(np.float64)
        if not np.isfinite(values).all():
            return
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        # joined so that a large mean does not drown the deviation
        step, total = float(values.mean()) - mean, count + len(values)
        squares += float(values.var()) * len(values) + step**2 * count * len(values) / total
        mean += step * len(values) / total
        count = total
    header["dmin"], header["dmax"], header["dmean"] = low, high, mean
    header["rms"] = math.sqrt(squares / count)
