"""Reading folders of slices: one TIFF or PNG file a plane, as microscopes write them."""

import logging
import math
import operator
import os
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import PngImagePlugin

from zinterp.errors import BadVolumeError, InputError, reason_of
from zinterp.io import slice_names
from zinterp.io.limits import DAMAGE, check_density, check_regular, check_size, room_for
from zinterp.io.paths import SIDECAR, is_pattern
from zinterp.io.record import checked_record, parse_json, read_json
from zinterp.io.selection import InputOptions, select
from zinterp.io.slice_pixels import length_clues, warn_of_other_pixels
from zinterp.io.tiff import check_colours, count_colours, reading, rows_to_read
from zinterp.io.tiff_metadata import PRINT_DPI, FoundVoxelSize, find_voxel_size
from zinterp.io.tiff_pages import check_images, check_pages
from zinterp.io.vendors import image_rows
from zinterp.positions import spacing
from zinterp.volume import MICROMETRES, Closing, Planes, VolumeInfo, VoxelSize

logger = logging.getLogger(__name__)

KINDS = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG"}
UIC2_TAG = 33629  # of MetaMorph stacks
PNG_DTYPES = {"L": "uint8", "I;16": "uint16", "I": "uint16"}  # I is what older Pillow reads 16 bit as
PNG_END = b"IEND\xaeB`\x82"
PNG_TAIL = 4096  # bytes: some programs append a few of their own behind the end
SIZE, ORIGIN, RECORD = "voxel_size_micrometres", "origin_micrometres", "record"
DIGITS = 5  # of the numbers in the names that are written, at least
OURS = re.compile(rf".+_([0-9]{{{DIGITS},}})\.(?:tif|png)")


@dataclass(frozen=True)
class Header:
    """What all slices must have in common; ``rows`` are those above a data bar."""

    height: int
    width: int
    dtype: np.dtype[Any]
    rows: int
    white_is_0: bool = False

    def __str__(self) -> str:
        bar = f" with a data bar of {self.height - self.rows} rows" if self.rows < self.height else ""
        return f"{self.height} x {self.width} {self.dtype.name}{bar}{' storing white as 0' if self.white_is_0 else ''}"


@dataclass(frozen=True)
class Lengths:
    """Where voxels lie, as far as it is known. See ``VolumeInfo``."""

    size: VoxelSize = field(default_factory=VoxelSize)
    source: str = ""
    unit: str = ""
    origin: tuple[float, float, float] | None = None
    places: tuple[Fraction, ...] | None = None
    measured: tuple[Fraction, ...] | None = None


@dataclass(frozen=True)
class Written:
    """What ``SlicesWriter`` wrote about a folder."""

    lengths: Lengths
    shape: tuple[int, ...]
    dtype: str

    def fits(self, names: Sequence[str], header: Header) -> bool:
        """Whether slices of these names can be those that it was written about."""
        numbers = [int(match[1]) for match in map(OURS.fullmatch, names) if match]
        ours = len(numbers) == len(names) and max(numbers) < self.shape[0]
        return ours and (*self.shape[1:], self.dtype) == (header.rows, header.width, header.dtype.name)


class SlicesReader(Closing):
    """Planes of a folder, or of the files in it that match a pattern; only the one being read is open.

    Parameters
    ----------
    path : Path
        A folder, or a pattern of file names, as in ``run/*.tif``.
    options : InputOptions
    files : sequence of Path or None
        The slices to take, in order, where it is known which of those at ``path`` they are; None finds them.

    Raises
    ------
    InputError
        If there are no slices, or one cannot be read.
    BadVolumeError
        If they are not single grey planes that are all alike, or are several stacks or channels, or lack numbers where
        ``fill_gaps`` needs them.
    """

    def __init__(self, path: Path, options: InputOptions, files: Sequence[Path] | None = None) -> None:
        select(path, options)
        self._files = find_slices(path) if files is None else list(files)
        self._png = is_png(self._files[0])
        first = self._files[0]
        if self._png:
            header = common({file: png_header(file) for file in self._files})
            found = read_lengths(first)
        else:
            headers, found = tiff_headers(self._files, path, options)
            header = common(headers)
            with open_tiff(first) as tif:
                rows_to_read(tif, header.height, path, options)
                check_colours(tif.pages.first, path)
        self._header = header
        check_size(path, (len(self._files), header.height, header.width), header.dtype)
        plane = header.height * header.width * header.dtype.itemsize
        check_density(path, len(self._files) * plane, sum(file.stat().st_size for file in self._files), at_a_time=plane)
        self.info = volume_info(path, [file.name for file in self._files], header, found, options)

    def read(self, z: range, stack: int = 0) -> Planes:
        """Read planes z -> (len(z), Y, X)."""
        planes = room_for(self._files[0].parent, (len(z), *self.info.shape[1:]), self.info.dtype)
        for i, k in enumerate(z):
            planes[i] = read_slice(self._files[k], self._header)
        return planes


def volume_info(
    path: Path,
    names: Sequence[str],
    header: Header,
    found: Lengths,
    options: InputOptions,
    say: slice_names.Say = slice_names.logger.log,
) -> VolumeInfo:
    """The volume that slices of these names make, in their order, and what is to be said about their names."""
    found = place(path, names, header, found, options, say) if len(names) > 1 else found
    return VolumeInfo(
        shape=(len(names), header.rows, header.width),
        dtype=header.dtype,
        voxel_size=found.size,
        voxel_size_source=found.source,
        unit=found.unit,
        format="png-slices" if is_png(Path(names[0])) else "tiff-slices",
        origin=found.origin,
        places=found.places,
        measured=found.measured,
    )


def is_png(path: Path) -> bool:
    """Whether a slice is PNG rather than TIFF, by its name."""
    return KINDS[path.suffix.lower()] == "PNG"


def read_slice(path: Path, header: Header) -> Planes:
    """The one plane of a file that has this header, without its data bar, (Y, X)."""
    plane = read_png(path) if is_png(path) else read_tiff(path)
    if plane.shape != (header.height, header.width):
        raise InputError(f"{path} is no longer {header}: it was changed while being read")
    return plane[: header.rows]


def read_header(path: Path, options: InputOptions) -> Header:
    """Check one file, of which only the header is read."""
    if is_png(path):
        return png_header(path)
    with open_tiff(path) as tif:
        return tiff_header(tif, path, options)


def find_slices(path: Path) -> list[Path]:
    """The slices of a folder or pattern, all TIFF or all PNG, in their natural order."""
    try:
        entries = path.parent.glob(path.name) if is_pattern(path) else path.iterdir()
        slices = [f for f in entries if f.suffix.lower() in KINDS and f.name[0] != "."]
        held = {f: f.is_file() for f in slices}
        names = [f.name for f, is_file in held.items() if is_file]
        dangling = [f for f, is_file in held.items() if not is_file and not f.exists()]
    except OSError as error:
        raise InputError(f"the folder {path} cannot be read ({error.strerror}): check the path") from error
    if dangling:
        raise InputError(f"{min(dangling)} is a link to nothing, expected a slice: restore it, or remove the link")
    folder = path.parent if is_pattern(path) else path
    kinds = Counter(KINDS[Path(name).suffix.lower()] for name in names)
    if not kinds and is_pattern(path):
        raise InputError(f"{path} matches no TIFF or PNG slices, expected one file a plane: check the pattern")
    if not kinds:
        raise InputError(f"{path} is not a Zarr group and holds no TIFF or PNG slices, expected either: check the path")
    if len(kinds) > 1:
        raise BadVolumeError(
            f"{path} holds {kinds['TIFF']} TIFF and {kinds['PNG']} PNG slices, expected one kind: give a pattern, "
            f"as in {folder / '*.tif'}"
        )
    return [folder / name for name in slice_names.natural_order(names)]


def common(headers: Mapping[Path, Header]) -> Header:
    """The header that all slices share, or an error that names the first one that is not like most."""
    header, count = Counter(headers.values()).most_common(1)[0]
    for path, other in headers.items():
        if other != header:
            raise BadVolumeError(
                f"{path} is {other}, expected {header} like {count} of the {len(headers)} slices: move it elsewhere, "
                "or give a pattern of file names that leaves it out"
            )
    return header


@contextmanager
def open_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """An open TIFF file; what is wrong with it becomes one InputError."""
    with reading(path), path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise InputError(f"{path} is empty, expected a TIFF slice: copy it again, or move it elsewhere")
        with tifffile.TiffFile(file, name=path.name) as tif:
            check_pages(tif, path)
            yield tif


def tiff_headers(files: Sequence[Path], path: Path, options: InputOptions) -> tuple[dict[Path, Header], Lengths]:
    """Check all files, of which only the headers are read; with the pixel size, which is that of the first."""
    headers: dict[Path, Header] = {}
    sizes: dict[Hashable, tuple[Path, FoundVoxelSize]] = {}
    for file in files:
        with open_tiff(file) as tif:
            headers[file] = tiff_header(tif, file, options)
            if (clues := length_clues(tif.pages.first)) not in sizes:
                sizes[clues] = (file, find_voxel_size(tif))
    warn_of_other_pixels(path, [(file.name, found.size) for file, found in sizes.values()])
    _, found = next(iter(sizes.values()))
    return headers, tiff_lengths(found)


def tiff_lengths(found: FoundVoxelSize) -> Lengths:
    """What a TIFF file says of its lengths."""
    return Lengths(found.size, found.source, found.unit, found.origin)


def read_lengths(path: Path) -> Lengths:
    """What one file says of its lengths."""
    if is_png(path):
        return png_lengths(path)
    with open_tiff(path) as tif:
        return tiff_lengths(find_voxel_size(tif))


def tiff_header(tif: tifffile.TiffFile, path: Path, options: InputOptions) -> Header:
    """Check one file."""
    page: Any = tif.pages.first
    if (count := count_planes(tif)) > 1:
        raise BadVolumeError(
            f"{path} holds {count} planes, expected one in each file of a folder: for a stack in one file, "
            "name the file itself"
        )
    count_colours(page, path)
    kind = getattr(page.photometric, "name", page.photometric)
    if page.axes != "YX" or page.photometric == tifffile.PHOTOMETRIC.RGB:
        raise BadVolumeError(
            f"{path} is a colour image (axes {page.axes}, shape {page.shape}, {kind}), expected a "
            "grey plane: convert the slices to 8 or 16 bit grey first"
        )
    if page.dtype is None:
        raise BadVolumeError(f"{path} has pixels of {page.bitspersample} bit, expected 8, 16 or 32: convert it first")
    end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
    if end > tif.filehandle.size:
        raise InputError(f"{path} has {tif.filehandle.size} bytes, expected {end}: it was cut short; copy it again")
    height, width = map(operator.index, page.shape)  # of a damaged file these may be anything
    rows = None if options.keep_databar else image_rows(tif)
    white_is_0 = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    return Header(height, width, page.dtype.newbyteorder("="), rows or height, white_is_0)


def count_planes(tif: tifffile.TiffFile) -> int:
    """Planes in a file, also where one page stands for many; not those that OME-XML says are in other files."""
    if len(tif.pages) > 1:
        return sum(not page.is_reduced for page in tif.pages)  # type: ignore[union-attr]  # previews do not count
    page: Any = tif.pages.first
    described = tif.imagej_metadata if page.is_imagej else None
    if described:
        return int(described.get("images", 1))
    if page.is_shaped and (shaped := tif.shaped_metadata):
        count = int(math.prod(shaped[0]["shape"]) // math.prod(page.shape))
        end = page.dataoffsets[0] + count * page.nbytes
        return count if end <= tif.filehandle.size else 1  # others keep the text and crop the image
    metamorph = page.tags.get(UIC2_TAG)  # its count is that of the planes
    return int(metamorph.count) if metamorph else 1


def read_tiff(path: Path) -> Planes:
    """The one plane of a file."""
    with open_tiff(path) as tif:
        check_images(tif.pages.first, path)
        return np.asarray(tif.pages.first.asarray())


@contextmanager
def open_png(path: Path) -> Iterator[PngImagePlugin.PngImageFile]:
    """An open PNG file of any size; what is wrong with it becomes one InputError."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(-min(size, PNG_TAIL), os.SEEK_END)
            if not size:
                raise InputError(f"{path} is empty, expected a PNG slice: copy it again, or move it elsewhere")
            whole = PNG_END in file.read()
            file.seek(0)
            with PngImagePlugin.PngImageFile(file) as image:
                if not whole:
                    raise InputError(f"{path} has {size} bytes and no end: it was cut short; copy it again")
                yield image
    except (BadVolumeError, InputError):
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist, expected a PNG slice: check the path") from error
    except DAMAGE as error:
        reason = reason_of(error)
        raise InputError(f"{path} cannot be read as PNG ({reason}): it is damaged or something else") from error


def png_header(path: Path) -> Header:
    """Check one file, of which only the header is read."""
    with open_png(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise BadVolumeError(f"{path} is an animation, expected one plane a file: split it first")
        if image.mode not in PNG_DTYPES:
            raise BadVolumeError(
                f"{path} has pixels of the kind {image.mode}, expected 8 or 16 bit grey without palette or alpha: "
                "convert the slices first"
            )
        return Header(image.height, image.width, np.dtype(PNG_DTYPES[image.mode]), image.height)


def png_lengths(path: Path) -> Lengths:
    """The pixel size of a PNG file, unless it is that of screens and printers."""
    with open_png(path) as image:
        dpi = image.info.get("dpi", (0, 0))
    if min(dpi) <= PRINT_DPI:
        return Lengths()
    return Lengths(VoxelSize(None, MICROMETRES["inch"] / dpi[1], MICROMETRES["inch"] / dpi[0]), "PNG resolution", "um")


def read_png(path: Path) -> Planes:
    """The one plane of a file."""
    with open_png(path) as image:
        return np.asarray(image).astype(PNG_DTYPES[image.mode], copy=False)


def place(
    path: Path,
    names: Sequence[str],
    header: Header,
    found: Lengths,
    options: InputOptions,
    say: slice_names.Say,
) -> Lengths:
    """Add what the names say, and what a folder that was written by us says about itself."""
    folder = path.parent if is_pattern(path) else path
    slice_names.check_one_series(names, path, folder)
    numbers = slice_names.numbers(names)
    if own := read_sidecar(folder / SIDECAR, names, header):
        found = part_of(own, numbers) if numbers else own
    elif measured := slice_names.rising_positions(names, path, say=say):
        distance, _ = spacing(measured, rounded=True)
        source = f"{found.source} and file names" if found.size.y or found.size.x else "file names"
        found = replace(found, size=replace(found.size, z=float(distance)), source=source, measured=measured)
        if numbers is None and not options.fill_gaps:
            return found
    return replace(found, places=slice_names.places(numbers, path, fill=options.fill_gaps, say=say))


def part_of(whole: Lengths, numbers: Sequence[int]) -> Lengths:
    """The geometry of some planes of a volume that we wrote, and numbered from 0."""
    if slice_names.irregularity(numbers):
        return whole
    z, origin = whole.size.z, whole.origin
    if origin and z:
        origin = (origin[0] + numbers[0] * z, *origin[1:])
    return replace(whole, size=whole.size.with_z_step(Fraction(slice_names.step(numbers))), origin=origin)


def read_sidecar(path: Path, names: Sequence[str], header: Header) -> Lengths | None:
    """What ``SlicesWriter`` wrote about these slices; None if there is nothing, or it is about others."""
    if not path.exists():
        return None
    try:
        check_regular(path)
        content: Any = parse_json(path.read_text(encoding="utf-8"))
        z, y, x = (None if v is None else float(v) for v in content[SIZE])
        size = VoxelSize(z, y, x)
        origin = content[ORIGIN] and tuple(map(float, content[ORIGIN]))
        known = [v for v in (z, y, x) if v is not None]
        if any(not 0 < v < math.inf for v in known) or (origin and len(origin) != 3):
            raise ValueError(f"lengths {content[SIZE]} and {content[ORIGIN]}")
        lengths = Lengths(size, SIDECAR if known else "", str(content["unit"]), origin)
        written = Written(lengths, tuple(map(int, content["shape"])), str(content["dtype"]))
        if len(written.shape) != 3:
            raise ValueError(f"shape {content['shape']}")
        if written.fits(names, header):
            return lengths
        logger.warning(
            "%s does not fit these slices, as it is about %s planes of shape %s, and is left out",
            *(path, written.dtype, written.shape),
        )
        return None
    except DAMAGE as error:
        raise InputError(
            f"{path} cannot be read ({reason_of(error)}), expected what zinterp wrote about these slices: remove it to "
            "go by the slices alone"
        ) from error


def read_slices_record(path: Path) -> dict[str, Any] | None:
    """The record of how a folder of ours was made, None if it holds none."""
    sidecar = (path.parent if is_pattern(path) else path) / SIDECAR
    content = read_json(sidecar)
    return checked_record(content.get(RECORD), sidecar) if isinstance(content, dict) else None
