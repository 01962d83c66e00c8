"""One job, decided before any work is done: options and an open volume in, a plan out."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from zinterp import __version__
from zinterp.duplicates import Duplicate, checked_threshold, describe, find_duplicates
from zinterp.errors import BadOptionError, BadVolumeError
from zinterp.interpolators.base import Needs
from zinterp.io import FORMATS, NGFF_VERSIONS, OutputOptions, check_target, output_format, stem_of
from zinterp.normalize import Normalizer
from zinterp.plan import Slab, ZGrid, plan_slabs
from zinterp.tiling import TileLayout, tile_layout
from zinterp.volume import VolumeInfo, VolumeReader, VoxelSize, readable

logger = logging.getLogger(__name__)

LARGEST_TILE = 1280  # pixels: beyond this a CPU gains nothing
DEEPEST_SLAB = 32  # planes
WIDEST_RANGE = 1000  # times the stack's own: beyond it float32 has too few digits left
SAMPLE_PLANES = 16
SAMPLE_PIXELS = 2**20


@dataclass(frozen=True, kw_only=True)
class UpsampleOptions:
    """Everything a user may choose; the command's flags have the same names.

    Parameters
    ----------
    factor : int or None
        Planes are made ``factor`` times denser, so that ``factor - 1`` lie in each gap.
    depths : sequence of numbers or None
        Instead of a factor: where planes are put in each gap, between 0 and 1.
    model : str or None
        ``linear``, ``cubic``, ``optical-flow``, a shipped network's name, or a weights file; None is the default
        network.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : str
        ``auto``, ``fp32``, ``bf16`` or ``fp16``, of the network's convolutions.
    tile, overlap : int or None
        Edge of the tiles and what neighbours share, in pixels; None chooses by memory and by network.
    max_memory : int or None
        Bytes that the job may use; None is half of the machine's memory.
    intensity_range : pair of float or None
        Grey values that the network sees as 0 and 1; None takes the 0.1 and 99.9 percentiles of sampled planes.
    voxel_size : VoxelSize or None
        Of the input, where the file's is wrong or missing.
    channel, time : int or None
        Which one to take from a file with several.
    fill_nonfinite : bool
        Let the network see the nearest finite pixel in place of NaN and infinite ones. Acquired planes keep them.
    drop_duplicates : float or bool
        Synthesise planes that repeat the one before them instead of keeping them: those of which less than this part of
        the pixels, 0 to 1, differ as planes do there. True is 0.01; 0 and False keep all. See ``find_duplicates``.
    format : str or None
        A key of ``zinterp.io.FORMATS``; None goes by the output's suffix or the input's format.
    ngff : str
        Version of OME-Zarr, ``0.5`` or ``0.4``.
    slab_depth : int or None
        Output planes that are made at a time; None chooses by memory. Does not change the result.
    overwrite : bool
        Replace the output if there is one.
    resume : bool
        Go on where an interrupted job stopped.
    """

    factor: int | None = None
    depths: Sequence[float | str | Fraction] | None = None
    model: str | None = None
    device: str = "auto"
    precision: str = "auto"
    tile: int | None = None
    overlap: int | None = None
    max_memory: int | None = None
    intensity_range: tuple[float, float] | None = None
    voxel_size: VoxelSize | None = None
    channel: int | None = None
    time: int | None = None
    fill_nonfinite: bool = False
    drop_duplicates: float | bool = False
    format: str | None = None
    ngff: str = "0.5"
    slab_depth: int | None = None
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if (self.factor is None) == (self.depths is None):
            given = "neither" if self.factor is None else "both"
            raise BadOptionError(f"got {given} of factor and depths, expected one of them: give --factor 4")
        if self.format is not None and self.format not in FORMATS:
            raise BadOptionError(f"the format is {self.format!r}, expected one of {', '.join(FORMATS)}")
        if self.ngff not in NGFF_VERSIONS:
            raise BadOptionError(f"the OME-Zarr version is {self.ngff!r}, expected one of {', '.join(NGFF_VERSIONS)}")
        if self.max_memory is not None and self.max_memory < 1:
            raise BadOptionError(f"the memory limit is {self.max_memory} bytes, expected more than none: write 8GB")
        checked_threshold(self.drop_duplicates)
        if self.overwrite and self.resume:
            raise BadOptionError("got both overwrite and resume, expected one: resume goes on, overwrite starts again")

    def grid(self, planes: int) -> ZGrid:
        """The output planes of a stack of ``planes`` planes."""
        if planes < 2:
            raise BadVolumeError(f"the stack has {planes} plane, expected at least 2: there is nothing in between")
        if self.factor is not None:
            return ZGrid.by_factor(planes, self.factor)
        return ZGrid.by_depths(planes, self.depths or ())


@dataclass(frozen=True)
class Job:
    """What is to be done, in full; made by ``plan_job`` and only read from then on."""

    source: VolumeInfo
    output: VolumeInfo
    grid: ZGrid
    slabs: tuple[Slab, ...]
    layout: TileLayout
    needs: Needs
    normalizer: Normalizer
    fill_nonfinite: bool
    notes: tuple[str, ...]
    model: str

    def record(self) -> dict[str, Any]:
        """What decides the output's grey values, as JSON holds it; kept in the output's metadata."""
        return {
            "source_shape": list(self.source.shape),
            "dtype": self.source.dtype.name,
            "depths": [str(t) for t in self.grid.depths],
            "acquired_every": self.grid.period,
            "dropped_planes": list(self.grid.dropped),
            "model": self.model,
            "intensity_range": [self.normalizer.low, self.normalizer.high],
            "tile": list(self.layout.tile),
            "overlap": self.layout.overlap,
            "fill_nonfinite": self.fill_nonfinite,
        }


def plan_job(
    reader: VolumeReader, options: UpsampleOptions, *, needs: Needs, model: str, target: Path | None = None
) -> Job:
    """Decide a job: grid, slabs, tiles, intensity map and output, all checked.

    Parameters
    ----------
    reader : VolumeReader
        The open input; some planes are read to fit the intensity map.
    options : UpsampleOptions
    needs : Needs
        Of the interpolator.
    model : str
        The interpolator's identity.
    target : Path or None
        The output's path, None for an array in memory.

    Raises
    ------
    BadOptionError, BadVolumeError
        If the options do not fit the volume.
    """
    info = replace(reader.info, voxel_size=options.voxel_size or reader.info.voxel_size)
    grid = options.grid(info.shape[0])
    memory = options.max_memory or psutil.virtual_memory().total // 2
    depth = options.slab_depth or choose_slab_depth(info, grid, needs, memory)
    layout = choose_tiles(info, options, needs, memory)
    notes: list[str] = []
    files = target is not None or bool(info.format)
    if info.voxel_size.z is None and files:
        notes.append("the plane distance is not known, so the output has none: give --voxel-size ZxYxXUNIT")
    if grid.step is None and files:
        notes.append("the planes are not evenly spaced, which no voxel size can say: the output has none along z")
    output = replace(
        info, shape=(len(grid), *info.shape[1:]), voxel_size=info.voxel_size.with_z_step(grid.step), channels=1, times=1
    )
    if files:
        name, why = output_format(info, output, target, options.format)
        output = replace(output, format=name)
        notes += [why] if why else []
    if info.dtype.kind == "f" and not options.fill_nonfinite:
        refuse_nonfinite(reader)
    if options.drop_duplicates:
        duplicates = find_duplicates(reader, options.drop_duplicates)
        if len(duplicates) == grid.planes - 1:
            raise BadVolumeError(
                f"all {grid.planes} planes are the same, expected at least two that differ: there is nothing in between"
            )
        grid = replace(grid, dropped=tuple(d.plane for d in duplicates if d.plane < grid.planes - 1))
        notes += notes_on(duplicates, grid)
    normalizer = choose_range(Normalizer.fit(sample_planes(reader)), options)
    return Job(
        source=info,
        output=output,
        grid=grid,
        slabs=tuple(plan_slabs(grid, depth=depth, context=needs.context)),
        layout=layout,
        needs=needs,
        normalizer=normalizer,
        fill_nonfinite=options.fill_nonfinite,
        notes=tuple(notes),
        model=model,
    )


def notes_on(duplicates: Sequence[Duplicate], grid: ZGrid) -> list[str]:
    """What a user is told about duplicates."""
    dropped = [d for d in duplicates if d.plane in grid.dropped]
    notes = []
    if dropped:
        notes.append(
            f"dropped {len(dropped)} of {grid.planes} planes as duplicates, to be made from the planes around them: "
            + describe(dropped)
        )
    if len(dropped) < len(duplicates):
        notes.append(f"the last plane is a duplicate but stays, as none follows it: {describe(duplicates[-1:])}")
    if not duplicates:
        logger.info("no plane repeats the one before it")
    return notes


def choose_range(fitted: Normalizer, options: UpsampleOptions) -> Normalizer:
    """The intensity map: the fitted one, or that of a given range, which must have to do with the stack."""
    if options.intensity_range is None:
        return fitted
    given = Normalizer(*options.intensity_range)
    apart = given.high < fitted.low or given.low > fitted.high
    if apart or given.high - given.low > WIDEST_RANGE * (fitted.high - fitted.low):
        raise BadOptionError(
            f"the intensity range is {given.low:g} to {given.high:g}, expected one that fits the stack's grey values, "
            f"about {fitted.low:g} to {fitted.high:g}"
        )
    return given


def choose_slab_depth(info: VolumeInfo, grid: ZGrid, needs: Needs, memory: int) -> int:
    """Output planes a slab: whole gaps as far as a quarter of the memory goes."""
    pixels = info.shape[1] * info.shape[2]
    item = info.dtype.itemsize
    fixed = 2 * needs.context * pixels * (3 * item + 8)  # context planes as read, twice ahead, and as float32
    each = pixels * (4 * item + 24)  # one plane computed, blended in float64, and waiting to be written
    affordable = (memory // 2 - fixed) // each
    if affordable < 1:
        raise BadVolumeError(
            f"planes of {info.shape[2]} x {info.shape[1]} pixels need {readable(2 * (fixed + each))}, and "
            f"{readable(memory)} may be used: give a larger --max-memory"
        )
    depth = min(affordable, DEEPEST_SLAB, len(grid))
    return max(depth // grid.period * grid.period, 1) if depth >= grid.period else depth


def choose_tiles(info: VolumeInfo, options: UpsampleOptions, needs: Needs, memory: int) -> TileLayout:
    """Tiles as large as half of the memory allows; no tiles for interpolators that look at one pixel only."""
    overlap = needs.overlap if options.overlap is None else options.overlap
    if overlap > max(*info.shape[1:], needs.overlap):
        raise BadOptionError(
            f"the overlap is {overlap} pixels, expected no more than the planes have, {max(info.shape[1:])}"
        )
    tile = options.tile
    if tile is None and needs.overlap:
        affordable = int((memory // 2 / needs.bytes_per_pixel / needs.batch) ** 0.5)
        tile = max(min(LARGEST_TILE, affordable), 2 * overlap + needs.multiple_of)
    return tile_layout(info.shape[1:], tile=tile, overlap=overlap, multiple_of=needs.multiple_of)


def sample_planes(reader: VolumeReader) -> list[np.ndarray[Any, Any]]:
    """Up to 16 planes from all over the volume, thinned to a million pixels each."""
    count = reader.info.shape[0]
    indices = sorted({round(i * (count - 1) / (SAMPLE_PLANES - 1)) for i in range(SAMPLE_PLANES)})
    step = max(1, int((reader.info.shape[1] * reader.info.shape[2] / SAMPLE_PIXELS) ** 0.5))
    return [reader.read(range(k, k + 1))[0, ::step, ::step].copy() for k in indices]


def refuse_nonfinite(reader: VolumeReader) -> None:
    """Look through a float volume and refuse it if it has NaN or infinite values, saying how many and where."""
    counts = {k: int(np.count_nonzero(~np.isfinite(reader.read(range(k, k + 1))))) for k in range(reader.info.shape[0])}
    bad = [k for k, count in counts.items() if count]
    if bad:
        where = ", ".join(map(str, bad[:8])) + (f" and {len(bad) - 8} more" if len(bad) > 8 else "")
        raise BadVolumeError(
            f"the stack has {sum(counts.values())} NaN or infinite values, in planes {where}; expected finite ones: "
            "repair them, or give --fill-nonfinite to interpolate around them"
        )


def default_target(source: Path, options: UpsampleOptions, folder: Path | None = None) -> Path:
    """``<stem>_x4`` with the input's own suffix, or that of the format asked for, beside the input or in a folder."""
    stem = stem_of(source)
    suffix = source.name[len(stem) :] or ".ome.zarr"  # a folder without a suffix is a Zarr store
    if options.format is not None and not any(suffix.lower() == s for s in FORMATS[options.format].suffixes):
        suffix = FORMATS[options.format].suffixes[0]
    density = f"x{options.factor}" if options.factor is not None else f"d{len(options.depths or ())}"
    return (folder or source.parent) / f"{stem}_{density}{suffix}"


def check_output(source: Path, target: Path, job: Job, options: UpsampleOptions) -> None:
    """Refuse an output that is the input, holds it or lies in it, is there already, or has no room."""
    ours, theirs = target.resolve(), source.resolve()
    same = target.exists() and target.samefile(source)
    if same or ours in theirs.parents or theirs in ours.parents:
        raise BadOptionError(
            f"the output {target} is the input itself, holds it or lies in it, expected a path apart from it: "
            "acquired data stay as they are"
        )
    check_target(target, job.output, overwrite=options.overwrite, resume=options.resume)


def output_options(job: Job, options: UpsampleOptions, *, resume: bool) -> OutputOptions:
    """How the job's output is to be created."""
    depth = len(job.slabs[0].target)
    return OutputOptions(job.output.format, options.ngff, depth, options.overwrite, resume)


def fingerprint(source: Path, job: Job, options: UpsampleOptions) -> Mapping[str, Any]:
    """What two jobs must share for one to go on with the other's output."""
    files = [source] if source.is_file() else [p for p in source.rglob("*") if p.is_file()]
    status = [path.stat() for path in files]
    size = job.output.voxel_size
    return {
        "source": str(source.resolve()),
        "source_modified": max((s.st_mtime_ns for s in status), default=0),
        "source_bytes": sum(s.st_size for s in status),
        **job.record(),
        "channel": options.channel,
        "time": options.time,
        "voxel_size": [size.z, size.y, size.x],
        "slab_depth": len(job.slabs[0].target),
        "format": job.output.format,
        "ngff": options.ngff,
        "version": __version__,
    }
