"""What a report says of an evaluation, in words, numbers and curves."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zinterp.evaluation.hidden_planes import Evaluation
from zinterp.evaluation.report.curves import Curve, Diagram, draw
from zinterp.evaluation.report.parts import Chart, Facts, Grid
from zinterp.evaluation.report.pictures import DEEPEST, WIDEST, in_words, middle, number, part
from zinterp.evaluation.report.pulsing import plane_curves, pulsing_grid
from zinterp.evaluation.report.spectra import FEWEST, Spectra, missing_band
from zinterp.evaluation.report.table import COLUMNS, Column, Row, detail, percent, table
from zinterp.evaluation.report.views import TRUTH, Views
from zinterp.evaluation.scores import ModelScore
from zinterp.io import recorded_name
from zinterp.pulsing import Statistics
from zinterp.volume import VoxelSize, ordinal

CLASSICAL_STYLES = {"linear": 1, "cubic": 2}
LEAST_POWER = 1e-9  # of the highest
FRC_TICKS = (0.1, 0.2, 0.3, 0.4, 0.5)  # cycles per pixel
PER_PLANE: Sequence[tuple[str, str, str, tuple[float, str] | None]] = (
    ("PSNR by plane", "PSNR, dB", "psnr_db", None),
    ("Sharpness by plane", "gradient energy / true", "sharpness", (1.0, "as sharp as acquired")),
    ("Brightness by plane", "mean error, grey levels", "mean_error", (0.0, "")),
)


def shareable(evaluation: Evaluation) -> Evaluation:
    """An evaluation without the folders of its files, which a report would give away."""
    names: dict[str, str] = {}
    for model in evaluation.predictions:
        short = Path(model).name or model
        names[model] = f"{short} ({len(names) + 1})" if short in names.values() else short
    return replace(
        evaluation,
        source=recorded_name(Path(evaluation.source)),
        scores=tuple(replace(score, model=names[score.model]) for score in evaluation.scores),
        predictions={names[model]: made for model, made in evaluation.predictions.items()},
    )


@dataclass(frozen=True)
class EvaluationPart:
    """The sections of a report about an evaluation; ``views`` are its pictures."""

    found: Evaluation

    @cached_property
    def views(self) -> Views:
        """The pictures."""
        return Views(self.found)

    @property
    def sign(self) -> tuple[str, str, str]:
        """Kind, mark and words of the verdict."""
        if self.found.best is None:
            return "plain", "•", "Classical interpolation"
        return ("good", "✓", "A gain") if self.found.helps else ("poor", "✗", "No gain")

    @property
    def verdict(self) -> str:
        """The verdict as a sentence."""
        return re.sub(r" -(?=\d)", " −", self.found.verdict) + "."

    @property
    def caveat(self) -> str:
        """The caveat as a sentence."""
        return f"{self.found.caveat[:1].upper()}{self.found.caveat[1:]}."

    @property
    def kept(self) -> str:
        """Which planes were kept, as an ordinal."""
        return ordinal(self.found.factor)

    @property
    def facts(self) -> Facts:
        """What was looked at."""
        found, truth, info = self.found, self.found.truth, self.found.info
        depth, height, width = info.shape
        hidden, all_ = len(truth.hidden), len(truth.planes)
        several = f", {info.channels} channels and {info.times} times, of which one" if info.stacks > 1 else ""
        source = f"; by {info.voxel_size_source}" if info.voxel_size_source else ""
        return [
            ("Window", str(found.window)),
            ("Hidden", f"{hidden} of {all_} planes; every {self.kept} was kept"),
            ("Volume", f"{depth} planes of {width} × {height} pixels, {info.dtype.name}, {info.format}{several}"),
            ("Voxel size", f"{info.voxel_size} (z, y, x){source}".replace(" x ", " × ")),
            ("Grey values", f"{self.views.shade} in all pictures"),
        ]

    @property
    def columns(self) -> Sequence[Column]:
        """Of the table."""
        return COLUMNS

    @property
    def rows(self) -> list[Row]:
        """Of the table."""
        return table(self.found.scores, self.found.truth)

    @property
    def morphology(self) -> str:
        """What the truth measures, of which the table has errors."""
        truth = self.found.truth
        if truth.threshold is None or truth.morphology is None:
            return "No threshold parts this window in two, so nothing is measured at one."
        size, true = truth.voxel_size, truth.morphology
        per = " per µm" if size.z and size.y and size.x else " per voxel edge"
        return (
            f"As acquired, {percent(true.fraction, 1, signed=False)} of the window is brighter than Otsu’s threshold, "
            f"{number(truth.threshold)}; the surface of that part is {number(true.surface)}{per}, its Euler number "
            f"{str(true.euler).replace('-', '−')}."
        )

    @cached_property
    def styles(self) -> dict[str, int]:
        """How each model is drawn; linear and cubic are drawn alike in all reports."""
        others = [score.model for score in self.found.scores if score.model not in CLASSICAL_STYLES]
        free = [0, *range(len(CLASSICAL_STYLES) + 1, len(CLASSICAL_STYLES) + len(others))]
        return {TRUTH: -1, **CLASSICAL_STYLES, **dict(zip(others, free, strict=False))}

    @property
    def curves(self) -> list[Chart]:
        """Scores by plane, and ring correlations."""
        charts = []
        for title, label, name, level in PER_PLANE:
            lines = [self.curve(score, name) for score in self.found.scores]
            alt = f"{title}. " + " ".join(described(line) for line in lines)
            charts.append(Chart(title, draw([Diagram(label, lines, "plane", level, whole=True)], alt)))
        return [*charts, self.ring_correlations]

    def curve(self, score: ModelScore, name: str) -> Curve:
        """One score of a model by plane."""
        values = [getattr(plane, name) for plane in score.planes]
        numbers = [plane.plane for plane in score.planes]
        return Curve(score.model, numbers, values, self.styles[score.model], marked=True)

    @property
    def ring_correlations(self) -> Chart:
        """The curves of which the table has where they cross 1/7."""
        title, pixel = "Detail that agrees (FRC)", pixel_um(self.found.info.voxel_size)
        lines = [
            Curve(score.model, score.frc.frequencies, score.frc.correlations, self.styles[score.model])
            for score in self.found.scores
        ]
        ticks = [(f, f"{f:g}\n{in_words(pixel / f)}" if pixel else f"{f:g}\n{1 / f:.3g} px") for f in FRC_TICKS]
        diagram = Diagram(
            "correlation with the truth", lines, "cycles per pixel, and period", (1 / 7, "1/7"), ticks=ticks
        )
        alt = f"{title}. " + " ".join(f"{score.model}: {detail(score)}." for score in self.found.scores)
        return Chart(title, draw([diagram], alt))

    @cached_property
    def spectra(self) -> list[tuple[str, Spectra]]:
        """Of the truth, the shown model, and linear interpolation; none of a window that is too small."""
        if min(self.found.window.shape) < FEWEST:
            return []
        models = dict.fromkeys([self.views.shown.model, "linear"])
        volumes = [(TRUTH, self.found.truth.planes), *((m, self.found.predictions[m].planes) for m in models)]
        inside = tuple(
            part(middle(n, most)) for n, most in zip(self.found.window.shape, (DEEPEST, WIDEST, WIDEST), strict=True)
        )
        return [(name, Spectra.of(volume[inside], self.found.info.voxel_size)) for name, volume in volumes]

    @cached_property
    def power(self) -> list[Chart]:
        """Power along z and in the plane; with that along z, for comparison, what is acquired in the plane."""
        if not self.spectra:
            return []
        size = self.found.info.voxel_size
        unit = "cycles per µm" if size.z and size.y and size.x else "cycles per voxel"
        along = [spectrum_curve(name, spectra.z, self.styles[name]) for name, spectra in self.spectra]
        inside = [spectrum_curve(name, spectra.plane, self.styles[name]) for name, spectra in self.spectra]
        (frequencies, power), last = self.spectra[0][1].plane, along[0].x[-1]
        reference = frequencies[frequencies <= last], power[frequencies <= last]
        along.append(spectrum_curve("acquired, in plane", reference, -2))
        charts = []
        for title, lines in (("Power along z (XZ, YZ)", along), ("Power in the plane (XY)", inside)):
            diagram = Diagram("power", lines, f"spatial frequency, {unit}", logarithmic=True)
            alt = f"{title} by spatial frequency in {unit}: {', '.join(line.name for line in lines)}."
            charts.append(Chart(title, draw([diagram], alt)))
        return charts

    @property
    def anisotropy(self) -> Grid | None:
        """Power along z over power in the plane, at the frequencies that the kept planes cannot hold."""
        band = missing_band(self.found.info.voxel_size, self.found.factor)
        ratios = [(name, spectra.anisotropy(*band)) for name, spectra in self.spectra]
        rows = [(name, f"{ratio:.2f}") for name, ratio in ratios if ratio is not None]
        return Grid(("", "Power along z / in the plane"), rows) if rows else None

    @property
    def band(self) -> str:
        """The frequencies of ``anisotropy``, as periods."""
        size = self.found.info.voxel_size
        longest, shortest = (1 / frequency for frequency in missing_band(size, self.found.factor))
        if size.z and size.y and size.x:
            return f"periods from {in_words(shortest)} to {in_words(longest)}"
        return f"periods from {number(shortest)} to {number(longest)} voxels"

    @property
    def pulsing(self) -> Grid:
        """Of all models, and how much acquired planes vary by themselves."""
        outcomes = {score.model: self.found.predictions[score.model].outcome for score in self.found.scores}
        own = outcomes[self.views.shown.model].own_variation(0)
        return pulsing_grid([*((m, o.pulsing(0)) for m, o in outcomes.items()), ("acquired planes", own)])

    @property
    def pulsing_curves(self) -> Chart:
        """Of the shown model, with what hidden planes really are."""
        truth, model = self.found.truth, self.views.shown.model
        hidden = [(truth.numbers[k], Statistics.of(truth.planes[k])) for k in truth.hidden]
        outcome = self.found.predictions[model].outcome
        return plane_curves(outcome, 0, truth.numbers, title=f"Plane by plane: {model}", caption="", hidden=hidden)

    @property
    def models(self) -> Facts:
        """Each model with the hash of its weights."""
        return [(score.model, score.identity) for score in self.found.scores]


def pixel_um(size: VoxelSize) -> float | None:
    """Edge of a pixel in micrometres; None where it is not known."""
    return (size.y * size.x) ** 0.5 if size.y and size.x else None


def spectrum_curve(name: str, spectrum: tuple[NDArray[np.float64], NDArray[np.float64]], style: int) -> Curve:
    """A spectrum, as far down as it is more than rounding: a logarithm cannot show 0."""
    frequencies, power = spectrum
    least = max(float(power.max()), LEAST_POWER) * LEAST_POWER
    return Curve(name, frequencies.tolist(), np.maximum(power, least).tolist(), style)


def described(curve: Curve) -> str:
    """What a curve shows, in words."""
    return f"{curve.name}: {number(min(curve.y))} to {number(max(curve.y))}."
