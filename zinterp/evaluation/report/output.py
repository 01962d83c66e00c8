"""The pictures of a job's output: of its middle, and what the input was like there."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from zinterp.errors import BadVolumeError
from zinterp.evaluation.report.parts import Comparison, Panel, Strip
from zinterp.evaluation.report.pictures import (
    WIDEST,
    Cut,
    Heat,
    Shade,
    middle,
    number,
    part,
    pixel_aspect,
    scale_bar,
)
from zinterp.evaluation.report.views import CUBES
from zinterp.io import open_volume
from zinterp.job import Job
from zinterp.outcome import Outcome
from zinterp.volume import Planes, VolumeInfo, VolumeReader


@dataclass(frozen=True)
class Made:
    """A finished job.

    Parameters
    ----------
    target, source : Path
        Output and input, which are read for pictures of the middle of the first stack.
    outcome : Outcome
    seconds : float
        That it took.
    confidence : Path or None
        The volume of deviations, if one was written.
    """

    target: Path
    source: Path
    outcome: Outcome
    seconds: float
    confidence: Path | None


@dataclass(frozen=True)
class Middle:
    """What is drawn of an output: a plane, cuts along z, the cut as it would be of input planes, and deviations.

    ``plane`` is the number of the plane; ``sigma`` its predicted deviations, None where none were written.
    """

    plane: int
    xy: Planes
    xz: Planes
    yz: Planes
    repeated: Planes
    sigma: Planes | None


@dataclass(frozen=True)
class OutputViews:
    """Pictures of the middle of the first stack of an output."""

    made: Made

    @property
    def job(self) -> Job:
        """The job."""
        return self.made.outcome.job

    @cached_property
    def cuts(self) -> tuple[Cut, Cut]:
        """XZ and YZ."""
        info = self.job.output
        xz, yz = (Cut.along(name, info.shape, info.voxel_size) for name in ("XZ", "YZ"))
        return xz, yz

    @cached_property
    def window(self) -> tuple[range, range]:
        """Rows and columns that pictures of planes show."""
        _, height, width = self.job.output.shape
        return middle(height, WIDEST), middle(width, WIDEST)

    @cached_property
    def shade(self) -> Shade:
        """The grey values of all pictures."""
        normalizer = self.job.stacks[0].normalizer
        return Shade(normalizer.low, normalizer.high)

    @cached_property
    def middle(self) -> Middle:
        """Read what is drawn, plane by plane, so that one plane is in memory at a time."""
        (xz, yz), (rows, cols), grid = self.cuts, self.window, self.job.stacks[0].grid
        centre = len(grid) // 2
        shown = min((k for k in range(len(grid)) if grid.locate(k)[1]), key=lambda k: abs(k - centre))
        with open_volume(self.made.target) as reader:
            plane = one_plane(reader, shown)[part(rows), part(cols)].copy()
            lines: dict[str, list[Planes]] = {"XZ": [], "YZ": []}
            for k in sorted({*xz.planes, *yz.planes}):
                read = one_plane(reader, k)
                for cut in (xz, yz):
                    if k in cut.planes:
                        lines[cut.name].append(cut.of_plane(read).copy())
        sigma = None
        if self.made.confidence is not None:
            with open_volume(self.made.confidence) as reader:
                sigma = one_plane(reader, shown)[part(rows), part(cols)].copy()
        return Middle(shown, plane, np.stack(lines["XZ"]), np.stack(lines["YZ"]), self.repeated(xz), sigma)

    def repeated(self, cut: Cut) -> Planes:
        """A cut in which each output plane is the input plane next to it."""
        grid = self.job.stacks[0].grid
        nearest = []
        for k in cut.planes:
            before, t = grid.locate(k)
            nearest.append(grid.after(before) if t > 0.5 else before)
        with open_source(self.made.source, self.job) as reader:
            lines = {k: cut.of_plane(one_plane(reader, k)).copy() for k in sorted(set(nearest))}
        return np.stack([lines[k] for k in nearest])

    @property
    def comparison(self) -> Comparison:
        """The cut along z before and after."""
        cut, size = self.cuts[0], self.job.output.voxel_size
        before, after = (
            self.shade.draw(lines, f"XZ cut, {what}", aspect=cut.aspect, coarse=True)
            for lines, what in ((self.middle.repeated, "input planes, each repeated"), (self.middle.xz, "output"))
        )
        return Comparison(
            "job",
            "A cut along z, before and after",
            Panel("input planes repeated", before),
            Panel("output", after),
            f"{self.cut_place(cut)}. Grey values {self.shade}. {self.cubes}",
            scale_bar(len(cut.line), size.x),
        )

    @property
    def sections(self) -> list[Strip]:
        """The middle of the output along each plane of axes."""
        (xz, yz), (rows, cols), found, size = self.cuts, self.window, self.middle, self.job.output.voxel_size
        aspect, name = pixel_aspect(size), f"plane {found.plane}, synthesised"
        panels = [Panel("output", self.shade.draw(found.xy, f"XY, {name}", aspect=aspect))]
        said = f"Rows {rows.start}–{rows.stop - 1}, columns {cols.start}–{cols.stop - 1}."
        if found.sigma is not None:
            heat = Heat(float(np.percentile(found.sigma, 99.5)))
            panels.append(
                Panel("predicted σ", heat.draw(found.sigma, f"XY, {name}, predicted deviation", aspect=aspect))
            )
            said += f" σ from 0 (dark) to {number(heat.top)} grey levels (bright)."
        strips = [Strip(f"XY, {name}", panels, said, scale_bar(len(cols), size.x))]
        for cut, lines, pixel in ((xz, found.xz, size.x), (yz, found.yz, size.y)):
            picture = self.shade.draw(lines, f"{cut.name} cut through the output", aspect=cut.aspect, coarse=True)
            strips.append(
                Strip(cut.name, [Panel("output", picture)], f"{self.cut_place(cut)}.", scale_bar(len(cut.line), pixel))
            )
        return strips

    def cut_place(self, cut: Cut) -> str:
        """Where a cut lies in the output."""
        what, along = ("Row", "columns") if cut.name == "XZ" else ("Column", "rows")
        return (
            f"{what} {cut.at}, {along} {cut.line.start}–{cut.line.stop - 1}, output planes "
            f"{cut.planes.start}–{cut.planes.stop - 1}, z downwards"
        )

    @property
    def cubes(self) -> str:
        """What holds for cuts where the voxel size is not known."""
        size = self.job.output.voxel_size
        return "" if size.z and size.x else CUBES


def one_plane(reader: VolumeReader, k: int) -> Planes:
    """Plane k (Y, X) of the first stack."""
    planes: Planes = reader.read(range(k, k + 1))[0]
    return planes


def open_source(path: Path, job: Job) -> VolumeReader:
    """The input of a job, with or without the data bar, as the job read it."""
    seen: VolumeInfo | None = None
    for keep in (False, True):
        reader = open_volume(path, channel=job.channel, time=job.time, keep_databar=keep)
        if reader.info.shape == job.source.shape:
            return reader
        seen = reader.info
        reader.close()
    raise BadVolumeError(
        f"{path} has shape {seen.shape if seen else None}, expected {job.source.shape} as the job had it: it was "
        "changed since"
    )
