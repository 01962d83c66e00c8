"""What a user may choose for a job."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import inf
from operator import index
from pathlib import Path
from typing import Any

from zinterp.duplicates import checked_threshold
from zinterp.errors import BadOptionError
from zinterp.finishing import Finishing
from zinterp.io import NGFF_VERSIONS, OUTPUT_FORMATS
from zinterp.plan import Share, checked_factor
from zinterp.sharpening import Sharpening
from zinterp.volume import VoxelSize, parse_length

AUTO = "auto"
FALLBACK_ABOVE = 0.2  # of the intensity range
GEOMETRIES = ("factor", "depths", "z_step", "isotropic")
"""The options of which one says where output planes lie."""


@dataclass(frozen=True, kw_only=True)
class UpsampleOptions:
    """Everything a user may choose; the command's flags have the same names.

    Parameters
    ----------
    factor : int or None
        Planes are made ``factor`` times denser, so that ``factor - 1`` lie in each gap.
    depths : sequence of numbers or None
        Instead of a factor: where planes are put in each gap, between 0 and 1.
    z_step : str, float or None
        Instead of a factor: distance of the output planes, as text with its unit (``5nm``) or in micrometres.
    isotropic : bool
        Instead of a factor: output planes as far apart as pixels.
    positions : str, Path, sequence of float or None
        Where each input plane was measured to lie: a file, see ``read_positions``, or micrometres; ``names`` goes by
        the names of slices, as in ``slice_00012_z=0.1250um.tif``.
    skip : str, sequence of int or None
        Input planes, counted from 0, to leave out, so that the gap around them is wider: numbers, or text like
        ``17,20-22``; ``auto`` in it leaves out what ``find_defects`` finds.
    model : str or None
        ``linear``, ``cubic``, ``optical-flow``, a shipped network's name, or a weights file; None is the default
        network, and ``auto`` takes cubic where that predicts hidden planes of the stack better than this.
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
        The only one to take from a file with several; None takes all, each on its own.
    keep_databar : bool
        Leave the data bar that a microscope burnt in below the image.
    fill_gaps : bool
        Synthesise the planes whose numbers lack in a folder of slices.
    align : bool
        Take drift from plane to plane out before interpolating, and put it back in equal steps.
    fill_nonfinite : bool
        Let the network see the nearest finite pixel in place of NaN and infinite ones. Acquired planes keep them.
    drop_duplicates : float or bool
        Synthesise planes that repeat the one before them instead of keeping them: those of which less than this part of
        the pixels, 0 to 1, differ as planes do there. True is 0.01; 0 and False keep all. See ``find_duplicates``.
    format : str or None
        One of ``zinterp.io.OUTPUT_FORMATS``; None goes by the output's suffix or the input's format.
    ngff : str
        Version of OME-Zarr, ``0.5`` or ``0.4``.
    slab_depth : int or None
        Output planes that are made at a time; None chooses by memory. Does not change the result.
    restore : bool or str
        Restore boundaries in synthesised planes by a second network: the shipped one, or that of a weights file.
    sharpen : str, float or None
        Unsharp mask for synthesised planes: its amount, or ``auto`` for as much as makes each as sharp as its acquired
        neighbours. See ``Sharpening``.
    sharpen_radius, sharpen_threshold : float or None
        Of the unsharp mask: standard deviation in pixels, and part of the intensity range below which detail is left.
    grain : int or None
        Add grain like that of the acquired planes to synthesised ones, from this seed.
    confidence : str, Path or None
        A second volume to write: the standard deviation of the error at each voxel, 0 where it was acquired.
    flag_below : float or None
        Name planes and regions of which the model lets expect a lower PSNR than this, in decibels.
    fallback : str or None
        ``cubic`` takes the cubic value where the model is too unsure.
    fallback_above : float or None
        What is too unsure: deviations above this part of the intensity range; None is 0.2.
    planes_table : str, Path or None
        A CSV file to write: for each output plane its z, whether it was acquired, and what it was made from.
    workers : int or None
        Processes of this machine that make slabs at a time; None and 1: this one alone. Does not change the result.
    scheduler : str or None
        Address of a dask scheduler whose workers make the slabs. Does not change the result.
    slab : str or None
        Make only this share of the slabs, ``i/n``, beside other jobs that make the others; see ``finish_shares``.
        What another one has begun is gone on with, as by ``resume``.
    overwrite : bool
        Replace the output if there is one.
    resume : bool
        Go on where an interrupted job stopped; with ``overwrite``, begin where there is none, and replace the output.
    """

    factor: int | None = None
    depths: Sequence[float | str | Fraction] | None = None
    z_step: str | float | None = None
    isotropic: bool = False
    positions: str | Path | Sequence[float] | None = None
    skip: str | Sequence[int] | None = None
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
    keep_databar: bool = False
    fill_gaps: bool = False
    align: bool = False
    fill_nonfinite: bool = False
    drop_duplicates: float | bool = False
    format: str | None = None
    ngff: str = "0.5"
    slab_depth: int | None = None
    restore: bool | str = False
    sharpen: str | float | None = None
    sharpen_radius: float | None = None
    sharpen_threshold: float | None = None
    grain: int | None = None
    confidence: str | Path | None = None
    flag_below: float | None = None
    fallback: str | None = None
    fallback_above: float | None = None
    planes_table: str | Path | None = None
    workers: int | None = None
    scheduler: str | None = None
    slab: str | None = None
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        for name in ("factor", "channel", "time", "tile", "overlap", "max_memory", "slab_depth", "grain", "workers"):
            self._convert(name, whole, "a whole number")
        for name in ("sharpen_radius", "sharpen_threshold", "flag_below", "fallback_above"):
            self._convert(name, number, "a number")
        self._convert("intensity_range", two_numbers, "two numbers")
        self._convert("voxel_size", voxel_size, "a VoxelSize or text like 20x5x5nm")
        wanted = [name for name in GEOMETRIES if getattr(self, name) is not None and getattr(self, name) is not False]
        if len(wanted) != 1:
            given = " and ".join(wanted) or f"none of {', '.join(GEOMETRIES)}"
            raise BadOptionError(f"got {given}, expected one of them: give --factor 4")
        if self.factor is not None:
            checked_factor(self.factor)
        if isinstance(self.z_step, str):
            parse_length(self.z_step)
        elif self.z_step is not None and not (not isinstance(self.z_step, bool) and 0 < self.z_step < inf):
            raise BadOptionError(f"the step is {self.z_step} µm, expected a positive length: give 0.005")
        if self.depths is not None and (self.positions is not None or self.fill_gaps):
            given = "positions" if self.positions is not None else "gaps to fill"
            raise BadOptionError(
                f"got {given} and depths, expected evenly spaced output planes: give --factor, --z-step or --isotropic"
            )
        if self.positions is not None and self.fill_gaps:
            raise BadOptionError("got positions and gaps to fill, expected one: positions say where planes lack")
        if self.voxel_size is not None:
            known = [v for v in (self.voxel_size.z, self.voxel_size.y, self.voxel_size.x) if v is not None]
            if not all(0 < length < inf for length in known):
                raise BadOptionError(f"the voxel size is {self.voxel_size}, expected positive lengths")
        parse_skip(self.skip)
        if self.share is not None:
            object.__setattr__(self, "resume", True)
        if self.workers is not None and self.workers < 1:
            raise BadOptionError(f"got {self.workers} workers, expected at least 1: leave --workers out")
        if self.workers is not None and self.scheduler is not None:
            raise BadOptionError("got workers and a scheduler, expected one: the scheduler has workers of its own")
        if self.format is not None and self.format not in OUTPUT_FORMATS:
            raise BadOptionError(f"the format is {self.format!r}, expected one of {', '.join(OUTPUT_FORMATS)}")
        if self.ngff not in NGFF_VERSIONS:
            raise BadOptionError(f"the OME-Zarr version is {self.ngff!r}, expected one of {', '.join(NGFF_VERSIONS)}")
        if self.max_memory is not None and self.max_memory < 1:
            raise BadOptionError(f"the memory limit is {self.max_memory} bytes, expected more than none: write 8GB")
        checked_threshold(self.drop_duplicates)
        self.finishing()
        if self.model == AUTO and (self.restore or self.wants_uncertainty):
            raise BadOptionError(
                "got model auto with restoration, confidence, flags or fallback, which cubic interpolation has not: "
                "name the model, or leave it out"
            )

    def _convert(self, name: str, convert: Callable[[Any], object], expected: str) -> None:
        """Give an option that is set its proper type."""
        value = getattr(self, name)
        try:
            object.__setattr__(self, name, None if value is None else convert(value))
        except BadOptionError:
            raise
        except (TypeError, ValueError) as error:
            raise BadOptionError(f"the {name.replace('_', ' ')} is {value!r}, expected {expected}") from error

    @property
    def share(self) -> Share | None:
        """The share of the slabs that is to be made, None for all."""
        return None if self.slab is None else Share.parse(self.slab)

    @property
    def wants_uncertainty(self) -> bool:
        """Whether a model that does not know its uncertainty will not do."""
        return any(value is not None for value in (self.confidence, self.flag_below, self.fallback))

    def finishing(self) -> Finishing:
        """What is done to synthesised planes before they are written, checked."""
        if self.sharpen is None and (self.sharpen_radius is not None or self.sharpen_threshold is not None):
            raise BadOptionError("got a radius or threshold and no sharpening, expected both: give --sharpen auto")
        sharpening = None
        if self.sharpen is not None:
            try:
                amount = None if self.sharpen == "auto" else number(self.sharpen)
            except (TypeError, ValueError) as error:
                raise BadOptionError(
                    f"the amount of sharpening is {self.sharpen!r}, expected a number or auto: put --sharpen after the "
                    "stack, or write --sharpen=auto"
                ) from error
            sharpening = Sharpening(amount, self.sharpen_radius, self.sharpen_threshold or 0.0)
        if self.fallback not in (None, "cubic"):
            raise BadOptionError(f"the fallback is {self.fallback!r}, expected cubic")
        if self.fallback is None and self.fallback_above is not None:
            raise BadOptionError("got a threshold and no fallback, expected both: give --fallback cubic")
        above = FALLBACK_ABOVE if self.fallback_above is None else self.fallback_above
        if not 0 < above < inf:
            raise BadOptionError(f"the fallback is above {above}, expected a positive part of the range: give 0.2")
        if self.flag_below is not None and not -inf < self.flag_below < inf:
            raise BadOptionError(f"planes are flagged below {self.flag_below} dB, expected a finite number: give 20")
        if self.grain is not None and (isinstance(self.grain, bool) or not 0 <= self.grain < 2**63):
            raise BadOptionError(f"the seed of the grain is {self.grain}, expected 0 to {2**63 - 1}: give 0")
        return Finishing(
            fallback_above=above if self.fallback else None,
            sharpening=sharpening,
            even_contrast=bool(self.restore) or sharpening is not None or self.grain is not None,
            grain_seed=self.grain,
            flag_below=self.flag_below,
        )

    @property
    def density(self) -> str:
        """How outputs are called after it: ``x4``, ``z5nm``, ``isotropic``, ``d3``."""
        if self.factor is not None:
            return f"x{self.factor}"
        if self.z_step is not None:
            step = self.z_step if isinstance(self.z_step, str) else f"{self.z_step:g}um"
            return "z" + re.sub(r"\s+|\.0*(?=[^0-9])", "", step)
        return "isotropic" if self.isotropic else f"d{len(self.depths or ())}"


def whole(value: Any) -> int | bool:
    """A whole number of any kind."""
    return value if isinstance(value, bool) else index(value)


def number(value: Any) -> float:
    """A number of any kind, which True and False are not."""
    if isinstance(value, bool):
        raise TypeError
    return float(value)


def two_numbers(value: Any) -> tuple[float, float]:
    """Two numbers of any kind."""
    low, high = value
    return float(low), float(high)


def voxel_size(value: Any) -> VoxelSize:
    """A voxel size, which may be text."""
    if isinstance(value, VoxelSize):
        return value
    if isinstance(value, str):
        return VoxelSize.parse(value)
    raise TypeError


def parse_skip(skip: str | Sequence[int] | None) -> tuple[tuple[int, ...], bool]:
    """Planes to leave out, as numbers or as text like ``17,20-22`` -> their numbers, and whether ``auto`` is among it.

    Raises
    ------
    BadOptionError
        If the text is something else.
    """
    if not isinstance(skip, str):
        try:
            return tuple(index(plane) for plane in (() if skip is None else skip)), False
        except TypeError as error:
            raise BadOptionError(
                f"the planes to leave out are {skip!r}, expected whole numbers: give [17, 20]"
            ) from error
    planes: list[int] = []
    parts = [part.strip() for part in skip.split(",")]
    for part in parts:
        match = re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", part)
        backwards = match is not None and match[2] is not None and int(match[2]) < int(match[1])
        if backwards or (match is None and part != "auto"):
            raise BadOptionError(f"the planes to leave out are {skip!r}, expected numbers or auto: write 17,20-22")
        if match:
            last = int(match[2] or match[1])
            planes += range(int(match[1]), min(last, int(match[1]) + 10**6) + 1)
    return tuple(planes), "auto" in parts
