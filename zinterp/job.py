"""One job, decided before any work is done: options and an open volume in, a plan out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from zinterp import __version__
from zinterp.drift import Drift
from zinterp.errors import BadOptionError, BadVolumeError
from zinterp.finishing import Finishing
from zinterp.geometry import Geometry, place_planes
from zinterp.interpolators.base import Needs
from zinterp.io import (
    DEFAULTS,
    FORMATS,
    OutputOptions,
    check_target,
    files_of,
    format_of,
    is_pattern,
    is_zarr,
    name_of,
    on_disk,
    output_format,
    sample_digest,
    stem_of,
)
from zinterp.normalize import Normalizer
from zinterp.options import UpsampleOptions, parse_skip
from zinterp.plan import Slab, ZGrid, plan_slabs
from zinterp.preflight import align, leave_out
from zinterp.tiling import TileLayout, tile_layout
from zinterp.volume import OneStack, VolumeInfo, VolumeReader, decimal, ranges, readable

LARGEST_TILE = 1280  # pixels: beyond this a CPU gains nothing
SMALLEST_TILE = 64  # pixels: where the device has no memory for that, smaller ones will not help
DEEPEST_SLAB = 32  # planes
PROGRAM = 450 * 10**6  # bytes that a process takes with a network, three times as many as without
TILE_SHARE = 3  # the part of the memory that is for tiles
WIDEST_RANGE = 1000  # times the stack's own: beyond it float32 has too few digits left
SAMPLE_PLANES = 16
SAMPLE_PIXELS = 2**20


@dataclass(frozen=True)
class Stack:
    """The plan for one channel and time: its grid, its intensity map, and its drift where that is taken out."""

    grid: ZGrid
    normalizer: Normalizer
    drift: Drift | None = None


@dataclass(frozen=True)
class Job:
    """What is to be done, in full; made by ``plan_job`` and only read from then on.

    The grids of all stacks have the same output planes, and differ in what they dropped. ``channel`` and ``time`` are
    the first of those that are read, as the file counts them; ``choice`` is why the model was chosen, as JSON holds it,
    where that was left to zinterp. ``sample`` is a digest of some of the input's pixels, "" of an array. ``at_once`` is
    how many calls of the interpolator there may be at the same time.
    """

    source: VolumeInfo
    output: VolumeInfo
    geometry: Geometry
    stacks: tuple[Stack, ...]
    slabs: tuple[Slab, ...]
    layout: TileLayout
    needs: Needs
    at_once: int
    fill_nonfinite: bool
    notes: tuple[str, ...]
    model: str
    finishing: Finishing = field(default_factory=Finishing)
    channel: int = 0
    time: int = 0
    choice: Mapping[str, Any] | None = None
    sample: str = ""

    @property
    def planes(self) -> int:
        """Output planes of all stacks."""
        return sum(len(stack.grid) for stack in self.stacks)

    @property
    def synthesised(self) -> int:
        """Output planes of all stacks that are not acquired."""
        return sum(stack.grid.synthesised for stack in self.stacks)

    @property
    def dropped(self) -> list[int]:
        """Input planes that are dropped, in one stack at least."""
        return sorted({plane for stack in self.stacks for plane in stack.grid.dropped})

    def record(self) -> dict[str, Any]:
        """What decides the output's grey values, as JSON holds it; kept in the output's metadata."""
        grid = self.geometry.grid
        return {
            "first_channel": self.channel,
            "first_time": self.time,
            "source_shape": list(self.source.shape),
            "dtype": self.source.dtype.name,
            "step": str(grid.step) if grid.step else None,
            "outputs": None if grid.step else [decimal(float(place)) for place in grid.outputs],
            "positions": None if grid.is_even else [decimal(float(place)) for place in grid.acquired],
            "dropped_planes": [list(stack.grid.dropped) for stack in self.stacks],
            "aligned": any(stack.drift is not None for stack in self.stacks),
            "model": self.model,
            "choice": self.choice,
            "finishing": self.finishing.record(),
            "intensity_range": [[stack.normalizer.low, stack.normalizer.high] for stack in self.stacks],
            "tile": list(self.layout.tile),
            "overlap": self.layout.overlap,
            "fill_nonfinite": self.fill_nonfinite,
            "source_sample": self.sample,
        }


def plan_job(
    reader: VolumeReader,
    options: UpsampleOptions,
    geometry: Geometry | None = None,
    *,
    needs: Needs,
    model: str,
    target: Path | None = None,
) -> Job:
    """Decide a job: grid, slabs, tiles, intensity map and output, all checked.

    Parameters
    ----------
    reader : VolumeReader
        The open input; some planes are read to fit the intensity map, all where defects or drift are looked for.
    options : UpsampleOptions
    geometry : Geometry or None
        What ``place_planes`` made of both, where that is known already.
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
    files = target is not None or bool(reader.info.format)
    geometry = geometry or place_planes(reader.info, options)
    geometry = replace(geometry, grid=geometry.grid.without(parse_skip(options.skip)[0]))
    info = geometry.source
    depth, layout = choose_sizes(info, geometry.grid, options, needs)
    volumes = [OneStack(reader, number) for number in range(info.stacks)]
    grids, notes = leave_out(volumes, geometry.grid, options)
    for volume, grid in zip(volumes, grids, strict=True):
        if info.dtype.kind == "f" and not options.fill_nonfinite:
            refuse_nonfinite(volume, grid.kept)
    geometry = replace(geometry, grid=replace(geometry.grid, outputs=grids[0].outputs))
    if not any(grid.synthesised for grid in grids):
        raise BadOptionError(
            f"all {len(grids[0])} output planes are acquired ones, expected some to be made: give a larger factor or a "
            "smaller step"
        )
    output = output_info(geometry)
    if files:
        name, why = output_format(reader.info, output, target, options.format)
        output = replace(output, format=name)
        notes += [*geometry.notes, *notes_on_planes(geometry), *([why] if why else [])]
    drifts, drift_notes = align(volumes, grids, options)
    stacks = tuple(
        Stack(grid, choose_range(Normalizer.fit(sample_planes(volume, grid.kept)), options), drift)
        for volume, grid, drift in zip(volumes, grids, drifts, strict=True)
    )
    return Job(
        source=info,
        output=output,
        geometry=geometry,
        stacks=stacks,
        slabs=cut(grids, depth, needs),
        layout=layout,
        needs=needs,
        at_once=calls_at_once(layout, needs, usable_memory(options)),
        fill_nonfinite=options.fill_nonfinite,
        notes=(*notes, *drift_notes),
        model=model,
        finishing=options.finishing(),
        channel=options.channel or 0,
        time=options.time or 0,
        sample=sample_digest(reader) if files else "",
    )


def with_interpolator(job: Job, options: UpsampleOptions, *, needs: Needs, model: str) -> Job:
    """The same job with another interpolator; see ``plan_job``."""
    grids = [stack.grid for stack in job.stacks]
    depth, layout = choose_sizes(job.source, job.geometry.grid, options, needs)
    at_once = calls_at_once(layout, needs, usable_memory(options))
    return replace(job, slabs=cut(grids, depth, needs), layout=layout, needs=needs, at_once=at_once, model=model)


def choose_sizes(info: VolumeInfo, grid: ZGrid, options: UpsampleOptions, needs: Needs) -> tuple[int, TileLayout]:
    """Output planes a slab, and tiles, by the memory that may be used."""
    memory = usable_memory(options)
    depth = options.slab_depth or choose_slab_depth(info, grid, options, needs, memory)
    return depth, choose_tiles(info, options, needs, memory)


def with_smaller_tiles(job: Job, options: UpsampleOptions) -> Job | None:
    """The same job with tiles of half the edge, or the least that makes sense; None if they are as small as that."""
    edge = max(max(job.layout.tile) // 2, SMALLEST_TILE, 2 * job.layout.overlap)
    if edge >= max(job.layout.tile):
        return None
    try:
        layout = choose_tiles(job.source, replace(options, tile=edge), job.needs, usable_memory(options))
    except BadOptionError:
        return None
    return replace(job, layout=layout) if layout.tile != job.layout.tile else None


def usable_memory(options: UpsampleOptions) -> int:
    """Bytes that a job may use: half of the machine's unless the options say otherwise."""
    return options.max_memory or psutil.virtual_memory().total // 2


def cut(grids: Sequence[ZGrid], depth: int, needs: Needs) -> tuple[Slab, ...]:
    """The slabs of all stacks."""
    return tuple(
        slab
        for number, grid in enumerate(grids)
        for slab in plan_slabs(grid, depth=depth, context=needs.context, stack=number)
    )


def plan_growing(
    info: VolumeInfo, options: UpsampleOptions, normalizer: Normalizer, *, needs: Needs, model: str
) -> Job:
    """Decide the job of one stack whose planes are still arriving, as ``plan_job`` would if it ended here.

    Nothing is read, and there are no slabs yet: planes are made gap by gap.

    Parameters
    ----------
    info : VolumeInfo
        Of the planes that are there.
    options : UpsampleOptions
    normalizer : Normalizer
        The intensity map, which stays as it is.
    needs : Needs
        Of the interpolator.
    model : str
        The interpolator's identity.

    Raises
    ------
    BadOptionError, BadVolumeError
        If the options do not fit the volume.
    """
    geometry = place_planes(info, options)
    layout = choose_tiles(geometry.source, options, needs, usable_memory(options))
    return Job(
        source=geometry.source,
        output=replace(output_info(geometry), format="ome-zarr"),
        geometry=geometry,
        stacks=(Stack(geometry.grid, normalizer),),
        slabs=(),
        layout=layout,
        needs=needs,
        at_once=calls_at_once(layout, needs, usable_memory(options)),
        fill_nonfinite=False,
        notes=(*geometry.notes, *notes_on_planes(geometry)),
        model=model,
        finishing=options.finishing(),
    )


def growing_depth(info: VolumeInfo, options: UpsampleOptions, needs: Needs) -> int:
    """Output planes that are kept together on disk where the stack is to become deep."""
    if options.slab_depth is not None:
        return options.slab_depth
    grid = place_planes(replace(info, shape=(4 * DEEPEST_SLAB, *info.shape[1:]), places=None), options).grid
    return choose_slab_depth(info, grid, options, needs, usable_memory(options))


def output_info(geometry: Geometry) -> VolumeInfo:
    """What the output will be, its format still that of the input."""
    info, first = geometry.source, geometry.z(geometry.grid.outputs[0])
    origin = info.origin
    if geometry.grid.outputs[0] and first is not None:
        origin = (first, *(origin[1:] if origin else (0.0, 0.0)))
    shape = (len(geometry.grid), *info.shape[1:])
    return replace(info, shape=shape, voxel_size=geometry.voxel_size, origin=origin, places=None, measured=None)


def notes_on_planes(geometry: Geometry) -> list[str]:
    """What a user is told about planes and lengths that the output will not have."""
    notes = []
    if geometry.source.voxel_size.z is None:
        known = geometry.source.voxel_size.x is not None
        what = "20nm for the plane distance" if known else "ZxYxXUNIT"
        notes.append(f"the plane distance is not known, so the output has none: give --voxel-size {what}")
    if geometry.grid.step is None:
        notes.append("the planes are not evenly spaced, which no voxel size can say: the output has none along z")
    if missed := geometry.grid.missed:
        notes.append(
            f"{missed} of {len(geometry.grid.kept)} acquired planes lie between output planes and are not in the output"
        )
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


def slab_memory(info: VolumeInfo, options: UpsampleOptions, needs: Needs) -> tuple[int, int]:
    """Bytes that a slab takes however deep it is, and for each of its output planes."""
    pixels = info.shape[1] * info.shape[2]
    item = info.dtype.itemsize
    context = 2 * needs.context * (3 * item + (12 if options.align or options.fill_nonfinite else 0))
    fixed = context + 16  # planes as read, twice ahead, or moved; those beside a gap, and one being finished
    each = 4 * item + 4 * needs.outputs + (8 if options.confidence else 0)  # computed, waiting to be written
    return pixels * fixed, pixels * each


def other_memory(needs: Needs, memory: int) -> int:
    """Bytes of so many that the program takes, and the largest tile that there can be."""
    tiles = needs.at_once * LARGEST_TILE**2 * tile_bytes(needs)
    return min(program_bytes(needs), memory // 4) + min(tiles, memory // TILE_SHARE)


def program_bytes(needs: Needs) -> int:
    """Bytes that a process takes before it has any planes."""
    return PROGRAM if needs.overlap else PROGRAM // 3


def tile_bytes(needs: Needs) -> int:
    """Bytes for each pixel of the tiles that a call takes, and of what they are cut from."""
    return needs.bytes_per_pixel * needs.batch + 8 * needs.context if needs.overlap else 0


def calls_at_once(layout: TileLayout, needs: Needs, memory: int) -> int:
    """Calls of an interpolator at the same time: as many as are worth it and have room in a third of the memory."""
    room = memory // TILE_SHARE // max(math.prod(layout.tile) * tile_bytes(needs), 1)
    return max(min(needs.at_once, room), 1)


def choose_slab_depth(info: VolumeInfo, grid: ZGrid, options: UpsampleOptions, needs: Needs, memory: int) -> int:
    """Output planes a slab: whole gaps as far as the memory goes that the program and its tiles leave."""
    fixed, each = slab_memory(info, options, needs)
    other = other_memory(needs, memory)
    affordable = (memory - other - fixed) // each
    if affordable < 1:
        raise BadVolumeError(
            f"planes of {info.shape[2]} x {info.shape[1]} pixels need {readable(other + fixed + each)}, and "
            f"{readable(memory)} may be used: give a larger --max-memory"
        )
    depth = min(affordable, DEEPEST_SLAB, len(grid))
    return max(depth // grid.per_gap * grid.per_gap, 1) if depth >= grid.per_gap else depth


def notes_on_memory(job: Job, options: UpsampleOptions) -> list[str]:
    """What a user is told where several processes may need more memory than there is."""
    workers = options.workers or 1
    fixed, each = slab_memory(job.source, options, job.needs)
    at_once = min(job.at_once, max(job.needs.at_once // workers, 1))  # a worker has its share of the cores
    tiles = at_once * math.prod(job.layout.tile) * tile_bytes(job.needs)
    needed = workers * (program_bytes(job.needs) + tiles + fixed + each * len(job.slabs[0].target))
    there = psutil.virtual_memory().total
    if workers == 1 or needed <= there:
        return []
    return [
        f"{workers} workers may need {readable(needed)}, and this machine has {readable(there)}: give fewer, or "
        f"--max-memory {max(there // 2 // workers // 10**6, 1)}MB, which is for each"
    ]


def choose_tiles(info: VolumeInfo, options: UpsampleOptions, needs: Needs, memory: int) -> TileLayout:
    """Tiles as large as a third of the memory allows; no tiles for interpolators that look at one pixel only."""
    overlap = needs.overlap if options.overlap is None else options.overlap
    if overlap > max(*info.shape[1:], needs.overlap):
        raise BadOptionError(
            f"the overlap is {overlap} pixels, expected no more than the planes have, {max(info.shape[1:])}"
        )
    tile = options.tile
    if tile is None and needs.overlap:
        affordable = int((memory // TILE_SHARE / tile_bytes(needs)) ** 0.5)
        tile = max(min(LARGEST_TILE, affordable), 2 * overlap + needs.multiple_of)
    return tile_layout(info.shape[1:], tile=tile, overlap=overlap, multiple_of=needs.multiple_of)


def sample_planes(reader: VolumeReader, kept: Sequence[int]) -> list[np.ndarray[Any, Any]]:
    """Up to 16 planes from all over those that are kept, thinned to a million pixels each."""
    last = len(kept) - 1
    indices = sorted({kept[round(i * last / (SAMPLE_PLANES - 1))] for i in range(SAMPLE_PLANES)})
    step = max(1, int((reader.info.shape[1] * reader.info.shape[2] / SAMPLE_PIXELS) ** 0.5))
    return [reader.read(range(k, k + 1))[0, ::step, ::step].copy() for k in indices]


def refuse_nonfinite(reader: VolumeReader, kept: Sequence[int]) -> None:
    """Look through the planes that are kept and refuse NaN or infinite values, saying how many and where."""
    counts = {k: int(np.count_nonzero(~np.isfinite(reader.read(range(k, k + 1))))) for k in kept}
    bad = [k for k, count in counts.items() if count]
    if bad:
        raise BadVolumeError(
            f"the stack has {sum(counts.values())} NaN or infinite values, in planes {ranges(bad)}; expected finite "
            "ones: repair them, or give --fill-nonfinite to interpolate around them"
        )


def default_target(source: Path, options: UpsampleOptions, folder: Path | None = None) -> Path:
    """``<stem>_x4`` with the input's own suffix, or that of the format asked for, beside the input or in a folder."""
    disk = on_disk(source)
    suffix = "" if disk.is_dir() and not is_zarr(disk) else disk.name[len(stem_of(disk)) :]
    wanted = options.format or ("ome-zarr" if is_zarr(disk) else DEFAULTS.get(format_of(disk) or ""))
    if wanted and suffix.lower() not in FORMATS[wanted].suffixes:
        suffix = next(iter(FORMATS[wanted].suffixes), "")
    parent = disk.parent if disk.name not in ("", "..") else disk.resolve().parent
    return (folder or parent) / f"{name_of(source)}_{options.density}{suffix}"


def check_output(source: Path, target: Path, job: Job, options: UpsampleOptions) -> None:
    """Refuse an output that is the input, holds it or lies in it, is there already, or has no room."""
    ours, theirs = target.resolve(), on_disk(source).resolve()
    same = target.exists() and target.samefile(theirs)
    inside = theirs in ours.parents and not (is_pattern(source) and not target.match(source.name))
    if same or ours in theirs.parents or inside:
        raise BadOptionError(
            f"the output {target} is the input itself, holds it or lies in it, expected a path apart from it: "
            "acquired data stay as they are"
        )
    check_target(target, job.output, overwrite=options.overwrite, resume=options.resume)


def output_options(job: Job, options: UpsampleOptions, *, resume: bool, record_room: int = 0) -> OutputOptions:
    """How the job's output is to be created; its record may grow by so many characters."""
    depth = len(job.slabs[0].target)
    unsigned_bytes = job.source.format == "mrc"  # as the input has them
    return OutputOptions(job.output.format, options.ngff, depth, unsigned_bytes, options.overwrite, resume, record_room)


def fingerprint(source: Path, job: Job, options: UpsampleOptions) -> Mapping[str, Any]:
    """What two jobs must share for one to go on with the other's output."""
    status = [path.stat() for path in files_of(source)]
    sizes = [job.source.voxel_size, job.output.voxel_size]
    record = job.record()
    record.pop("choice")  # of which only the outcome counts, and that is the model
    finishing = record.pop("finishing")  # each of them a field of its own, so that the one that differs can be named
    return {
        "source": str(source.resolve()),
        "source_modified": max((s.st_mtime_ns for s in status), default=0),
        "source_bytes": sum(s.st_size for s in status),
        **record,
        **finishing,
        "flag_below": options.flag_below,  # of which slabs that are done have kept only their least sure regions
        "channel": options.channel,
        "time": options.time,
        "voxel_size": [[size.z, size.y, size.x] for size in sizes],
        "origin": job.output.origin,
        "slab_depth": len(job.slabs[0].target),
        "format": job.output.format,
        "ngff": options.ngff,
        "confidence": None if options.confidence is None else str(Path(options.confidence).resolve()),
        "version": __version__,
    }
