"""The pictures of an evaluation: before and after, sections along three axes, the worst regions."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zinterp.evaluation.hidden_planes import BASELINES, Evaluation
from zinterp.evaluation.report.parts import Comparison, Panel, Strip
from zinterp.evaluation.report.pictures import (
    WIDEST,
    Bar,
    Cut,
    Heat,
    Picture,
    Shade,
    middle,
    number,
    part,
    pixel_aspect,
    scale_bar,
)
from zinterp.evaluation.report.regions import Region, worst_regions
from zinterp.evaluation.scores import SPAN, ModelScore
from zinterp.volume import Planes

TRUTH = "as acquired"
CUBES = "The voxel size is not known: voxels are drawn as cubes."


@dataclass(frozen=True)
class Views:
    """Pictures of one model's planes beside the true ones, all in the same grey values."""

    found: Evaluation

    @cached_property
    def shown(self) -> ModelScore:
        """The model that pictures are of: the best network, or else the better classical one."""
        return self.found.best or self.found.classical

    @cached_property
    def reference(self) -> ModelScore:
        """The better classical one beside it."""
        if self.found.best is not None:
            return self.found.classical
        return next(self.found.score(name) for name in BASELINES if name != self.shown.model)

    @cached_property
    def shade(self) -> Shade:
        """The grey values of all pictures."""
        low, high = np.percentile(self.found.truth.planes, SPAN)
        return Shade(float(low), float(high))

    @cached_property
    def typical(self) -> int:
        """The hidden plane of the window with the median PSNR of the shown model."""
        planes = self.shown.planes
        order = sorted(range(len(planes)), key=lambda i: planes[i].psnr_db)
        return self.found.truth.hidden[order[len(order) // 2]]

    @property
    def volumes(self) -> list[tuple[str, Planes]]:
        """What is looked at side by side, with names."""
        models = (self.shown.model, self.reference.model)
        return [(TRUTH, self.found.truth.planes), *((name, self.found.predictions[name].planes) for name in models)]

    @property
    def comparisons(self) -> list[Comparison]:
        """Before and after: a hidden plane, and a cut along z."""
        (_, true), (model, made), _ = self.volumes
        plane, cut = f"plane {self.found.truth.numbers[self.typical]}", self.cut("XZ")
        score = self.shown.planes[self.found.truth.hidden.index(self.typical)]
        factor = self.found.factor
        repeated = np.stack([cut.of_plane(true[(i + (factor - 1) // 2) // factor * factor]) for i in cut.planes])
        return [
            Comparison(
                "plane",
                f"A hidden plane: {plane}",
                Panel(TRUTH, self.draw_plane(true, f"{plane.capitalize()} as it was acquired")),
                Panel(model, self.draw_plane(made, f"{plane.capitalize()} as {model} predicts it")),
                f"A typical one: its PSNR, {score.psnr_db:.1f}\u00a0dB, is the median of {model}. {self.plane_place}.",
                self.plane_bar,
            ),
            Comparison(
                "cut",
                "A cut along z",
                Panel("planes repeated", self.draw_cut(cut, repeated, "kept planes only, each repeated")),
                Panel(model, self.draw_cut(cut, cut.of(made), f"dense, by {model}")),
                f"The stack as models saw it, against the dense one. {self.cut_place(cut)}. {self.cubes}",
                scale_bar(len(cut.line), self.found.info.voxel_size.x),
            ),
        ]

    @property
    def sections(self) -> list[Strip]:
        """The window cut along each plane of axes: as acquired, by the shown model, by the classical one."""
        k, size = self.typical, self.found.info.voxel_size
        numbered = f"plane {self.found.truth.numbers[k]}, hidden"
        panels = [Panel(name, self.draw_plane(volume, f"XY, {numbered}, {name}")) for name, volume in self.volumes]
        strips = [Strip(f"XY, {numbered}", panels, f"{self.plane_place}.", self.plane_bar)]
        for name, pixel in (("XZ", size.x), ("YZ", size.y)):
            cut = self.cut(name)
            panels = [Panel(model, self.draw_cut(cut, cut.of(volume), model)) for model, volume in self.volumes]
            strips.append(Strip(name, panels, f"{self.cut_place(cut)}. {self.cubes}", scale_bar(len(cut.line), pixel)))
        return strips

    @cached_property
    def regions(self) -> list[Region]:
        """Where the shown model is farthest off."""
        made = self.found.predictions[self.shown.model]
        return worst_regions(self.found.truth, made.planes, made.sigma)

    @cached_property
    def heat(self) -> Heat:
        """The scale of all maps of errors and deviations: up to what few pixels exceed."""
        made = self.found.predictions[self.shown.model]
        tops = [np.percentile(self.error(region), 99.5) for region in self.regions]
        if made.sigma is not None:
            tops += [np.percentile(made.sigma[r.index, r.rows, r.cols], 99.5) for r in self.regions]
        return Heat(float(max(tops)))

    def error(self, region: Region) -> Planes:
        """How far each pixel of a region is off."""
        place = region.index, region.rows, region.cols
        made = self.found.predictions[self.shown.model].planes
        return np.abs(made[place].astype(np.float64) - self.found.truth.planes[place])

    @property
    def worst(self) -> list[Strip]:
        """The worst regions: true, predicted, how far off, and how far off by the model's own word."""
        return [self.draw_region(rank, region) for rank, region in enumerate(self.regions, start=1)]

    def draw_region(self, rank: int, region: Region) -> Strip:
        """One region."""
        found, made, place = (
            self.found,
            self.found.predictions[self.shown.model],
            (region.index, region.rows, region.cols),
        )
        aspect, model = pixel_aspect(found.info.voxel_size), self.shown.model
        where = (
            f"plane {found.truth.numbers[region.index]}, row {found.window.rows[region.rows.start]}, "
            f"column {found.window.cols[region.cols.start]}"
        )
        panels = [
            Panel(
                TRUTH, self.shade.draw(found.truth.planes[place], f"{where}, as acquired", aspect=aspect, coarse=True)
            ),
            Panel(model, self.shade.draw(made.planes[place], f"{where}, by {model}", aspect=aspect, coarse=True)),
            Panel("error", self.heat.draw(self.error(region), f"{where}, size of the error", aspect=aspect)),
        ]
        said = f"Actual error {number(region.error)} grey levels (root mean square); the model predicts none."
        if made.sigma is not None and region.sigma is not None:
            panels.append(
                Panel("predicted σ", self.heat.draw(made.sigma[place], f"{where}, predicted deviation", aspect=aspect))
            )
            said = (
                f"Actual error {number(region.error)}, predicted {number(region.sigma)} grey levels (root mean squares)"
                f"{verdict_on(region.error, region.sigma)}."
            )
        bar = scale_bar(region.cols.stop - region.cols.start, found.info.voxel_size.x)
        decibels = f"{region.psnr_db:.1f}\u00a0dB".replace("-", "−")
        return Strip(f"{rank}. {where.capitalize()}: {decibels}", panels, said, bar)

    def draw_plane(self, volume: Planes, alt: str) -> Picture:
        """The typical plane, its middle if it is large."""
        rows, cols = self.plane_part
        return self.shade.draw(
            volume[self.typical, part(rows), part(cols)], alt, aspect=pixel_aspect(self.found.info.voxel_size)
        )

    def draw_cut(self, cut: Cut, lines: Planes, what: str) -> Picture:
        """A cut along z."""
        return self.shade.draw(lines, f"{cut.name} cut, {what}", aspect=cut.aspect, coarse=True)

    def cut(self, name: str) -> Cut:
        """A cut along z through the window."""
        return Cut.along(name, self.found.window.shape, self.found.info.voxel_size)

    @property
    def plane_part(self) -> tuple[range, range]:
        """Rows and columns of the window that pictures of planes show."""
        rows, cols = self.found.window.rows, self.found.window.cols
        return middle(len(rows), WIDEST), middle(len(cols), WIDEST)

    @property
    def plane_bar(self) -> Bar | None:
        """The scale bar of pictures of planes."""
        return scale_bar(len(self.plane_part[1]), self.found.info.voxel_size.x)

    @property
    def plane_place(self) -> str:
        """Where pictures of planes lie in the stack."""
        window, (rows, cols) = self.found.window, self.plane_part
        (top, bottom), (left, right) = (
            (axis[r.start], axis[r.stop - 1]) for axis, r in ((window.rows, rows), (window.cols, cols))
        )
        return f"Rows {top}–{bottom}, columns {left}–{right}"

    def cut_place(self, cut: Cut) -> str:
        """Where a cut lies in the stack."""
        window, numbers = self.found.window, self.found.truth.numbers
        across, line = (window.rows, window.cols) if cut.name == "XZ" else (window.cols, window.rows)
        what, along = ("Row", "columns") if cut.name == "XZ" else ("Column", "rows")
        return (
            f"{what} {across[cut.at]}, {along} {line[cut.line.start]}–{line[cut.line.stop - 1]}, planes "
            f"{numbers[cut.planes.start]}–{numbers[cut.planes.stop - 1]}, z downwards"
        )

    @property
    def cubes(self) -> str:
        """What holds for cuts where the voxel size is not known."""
        size = self.found.info.voxel_size
        return "" if size.z and size.x else CUBES


def verdict_on(error: float, sigma: float) -> str:
    """How a predicted deviation compares with the error."""
    if error > 1.5 * sigma:
        return ": the model is surer here than it should be"
    return ": the model is less sure here than it could be" if sigma > 1.5 * error else ""
