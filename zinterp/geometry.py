"""Where the planes of a job lie: what the file says and what the user says, put together."""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import isfinite
from pathlib import Path

from zinterp.errors import BadOptionError, BadVolumeError
from zinterp.options import UpsampleOptions
from zinterp.plan import ZGrid, checked_places, evenly
from zinterp.positions import Positions, in_micrometres, read_positions, spacing
from zinterp.volume import VolumeInfo, VoxelSize, exact, parse_length

NAMES = "names"  # as positions: those in the names of slices
SQUARE = 0.01  # by which the edges of pixels that count as square may differ
SIMPLE = 1000  # largest denominator of a ratio that a rounded one is taken for
ROUNDING = Fraction(1, 10**6)  # how exactly files give lengths


@dataclass(frozen=True)
class Geometry:
    """Input and output planes in z.

    Parameters
    ----------
    source : VolumeInfo
        Of the input, with the voxel size that holds for the job.
    grid : ZGrid
    voxel_size : VoxelSize
        Of the output.
    notes : tuple of str
        What a user is told about lengths and positions.
    """

    source: VolumeInfo
    grid: ZGrid
    voxel_size: VoxelSize
    notes: tuple[str, ...] = ()

    def z(self, place: Fraction) -> float | None:
        """Where a place of the grid lies in micrometres, the first input plane at its origin or 0; None if unknown."""
        size = self.source.voxel_size.z
        if size is None:
            return None
        return (self.source.origin[0] if self.source.origin else 0.0) + float(place * exact(size))


def place_planes(info: VolumeInfo, options: UpsampleOptions) -> Geometry:
    """Decide where the output planes lie.

    Parameters
    ----------
    info : VolumeInfo
        Of the input, as its file says.
    options : UpsampleOptions

    Raises
    ------
    BadVolumeError, BadOptionError, InputError
        If the file does not say what the options need, or the positions do not fit the stack.
    """
    if info.shape[0] < 2:
        hint = ""
        if info.format in ("tiff", "ome-tiff"):
            hint = "; name the folder of such files, or their pattern in quotes, to have them as one stack"
        raise BadVolumeError(
            f"the stack has {info.shape[0]} plane, expected at least 2: there is nothing in between{hint}"
        )
    info, notes = measured(info, options)
    places = info.places or evenly(info.shape[0])
    if options.depths is not None:
        grid = ZGrid.by_depths(places, options.depths)
        return Geometry(info, grid, info.voxel_size.with_z_step(grid.step), notes)
    if options.factor is not None:
        grid = ZGrid.by_step(places, Fraction(1, options.factor))
        return Geometry(info, grid, info.voxel_size.with_z_step(grid.step), notes)
    length = wanted_step(info.voxel_size, options)
    if info.voxel_size.z is None:
        raise BadVolumeError(
            "the plane distance is not known, expected one to make steps of a length: give --voxel-size 20nm"
        )
    try:
        grid = ZGrid.by_step(places, simple(length / exact(info.voxel_size.z)))
    except BadOptionError as error:
        raise BadOptionError(
            f"with planes {info.voxel_size.z * 1e3:g} nm apart and a step of {float(length) * 1e3:g} nm: {error}"
        ) from error
    return Geometry(info, grid, replace(info.voxel_size, z=float(length)), notes)


def with_voxel_size(info: VolumeInfo, given: VoxelSize | None) -> VolumeInfo:
    """The volume with the voxel size that the user gave, where one was given."""
    if given is None:
        return info
    partly = None in (given.z, given.y, given.x) and info.voxel_size_source
    source = f"--voxel-size, and {info.voxel_size_source}" if partly else "--voxel-size"
    return replace(info, voxel_size=given.otherwise(info.voxel_size), voxel_size_source=source)


def measured(info: VolumeInfo, options: UpsampleOptions) -> tuple[VolumeInfo, tuple[str, ...]]:
    """The volume with the voxel size and the positions that hold for a job, and what a user is told about them."""
    info = with_voxel_size(info, options.voxel_size)
    if options.positions is not None:
        return with_positions(info, options)
    if info.measured is None or info.places is not None or spacing(info.measured, rounded=True)[1] is None:
        return info, ()
    steps = [float(b - a) for a, b in pairwise(info.measured)]
    return info, (
        f"by their names, planes lie {min(steps):g} to {max(steps):g} µm apart, and count as evenly spaced: "
        "--positions names takes them to lie there",
    )


def with_positions(info: VolumeInfo, options: UpsampleOptions) -> tuple[VolumeInfo, tuple[str, ...]]:
    """The volume with planes at measured positions; the plane distance becomes theirs."""
    positions, source = given_positions(info, options)
    if len(positions.values) != info.shape[0]:
        raise BadOptionError(
            f"got {len(positions.values)} positions, expected {info.shape[0]}, one for each plane of the stack"
        )
    checked_places(positions.values)
    in_unit = in_micrometres(positions, info.voxel_size.z)
    if in_unit is None:
        return replace(info, places=spacing(positions.values)[1]), ()
    distance, places = spacing(in_unit.values)
    old, new = info.voxel_size.z, float(distance)
    notes: tuple[str, ...] = ()
    if old and not 0.99 < new / old < 1.01:
        notes = (f"planes are {new * 1e3:g} nm apart by their positions, and not {old * 1e3:g} nm: the positions hold",)
    if not positions.unit:
        source += f", taken in {in_unit.unit}"
    source = " and ".join(filter(None, (info.voxel_size_source, source)))
    size = replace(info.voxel_size, z=new)
    return replace(info, places=places, voxel_size=size, voxel_size_source=source), notes


def given_positions(info: VolumeInfo, options: UpsampleOptions) -> tuple[Positions, str]:
    """The positions that a user gave or named, and how to call them."""
    given = options.positions
    if isinstance(given, str) and given == NAMES:
        if info.measured is None:
            raise BadVolumeError(
                "the names of the slices hold no positions, expected some like z=0.1250um in each of them"
            )
        return Positions(info.measured, "um"), "positions in names"
    if isinstance(given, str | Path):
        return read_positions(given), "measured positions"
    try:
        values = [float(value) for value in (() if given is None else given)]
    except (TypeError, ValueError) as error:
        raise BadOptionError(
            f"the positions are {given!r}, expected numbers in micrometres, one for each plane"
        ) from error
    if not all(map(isfinite, values)):
        raise BadOptionError("the positions are not all finite, expected one in micrometres for each plane")
    return Positions(tuple(map(exact, values)), "um"), "measured positions"


def wanted_step(size: VoxelSize, options: UpsampleOptions) -> Fraction:
    """The distance of output planes in micrometres, from --z-step or --isotropic."""
    if options.z_step is not None:
        return parse_length(options.z_step) if isinstance(options.z_step, str) else exact(options.z_step)
    if size.y is None or size.x is None:
        raise BadVolumeError("the pixel size is not known, expected one for cubic voxels: give --voxel-size ZxYxXUNIT")
    if abs(size.y - size.x) > SQUARE * max(size.y, size.x):
        raise BadVolumeError(
            f"pixels are {size} (z, y, x), expected square ones for cubic voxels: give --z-step instead"
        )
    return exact(size.x)


def simple(ratio: Fraction) -> Fraction:
    """The simple ratio that one is meant to be, where rounding explains the difference; else the ratio itself."""
    near = ratio.limit_denominator(SIMPLE)
    return near if abs(near - ratio) <= ROUNDING * ratio else ratio
