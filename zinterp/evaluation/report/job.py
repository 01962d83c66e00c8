"""What a report shows of a finished job: its planes, how even they are, and how sure the model is of them."""

from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from zinterp.evaluation.report.curves import Curve, Diagram, draw, thinned
from zinterp.evaluation.report.output import Made, OutputViews
from zinterp.evaluation.report.parts import Chart, Facts, Grid
from zinterp.evaluation.report.pictures import DEEPEST, middle, number, part
from zinterp.evaluation.report.pulsing import MOST, plane_curves, pulsing_grid
from zinterp.interpolators import parts_of
from zinterp.io import recorded_name
from zinterp.job import Job
from zinterp.outcome import Outcome
from zinterp.volume import ranges

LISTED = 20  # flagged planes, and stacks
LONGEST = 200  # characters of an option
CLOSE = DEEPEST // 2 + 1  # planes of a stack that was thinned, of which all are drawn


@dataclass(frozen=True)
class JobPart:
    """The sections of a report about a finished job."""

    made: Made

    @cached_property
    def views(self) -> OutputViews:
        """The pictures."""
        return OutputViews(self.made)

    @property
    def outcome(self) -> Outcome:
        """Of the job."""
        return self.made.outcome

    @property
    def job(self) -> Job:
        """The job."""
        return self.made.outcome.job

    @property
    def facts(self) -> Facts:
        """What was made."""
        job, info = self.job, self.job.output
        depth, height, width = info.shape
        several = f", each of {info.stacks} stacks" if info.stacks > 1 else ""
        model, restoration = parts_of(job.model)
        sizes = f"{job.source.voxel_size} before, {info.voxel_size} now (z, y, x)".replace(" x ", " × ")
        source = f"; by {job.source.voxel_size_source}" if job.source.voxel_size_source else ""
        pixels = job.synthesised * height * width / max(self.made.seconds, 1e-9) / 1e6
        return [
            ("Output", f"{recorded_name(self.made.target)}: {depth} planes of {width} × {height} pixels{several}"),
            ("From", f"{recorded_name(self.made.source)}: {job.source.shape[0]} planes"),
            ("Planes", f"{job.planes - job.synthesised} acquired, bit for bit; {job.synthesised} synthesised"),
            *([("Left out", f"input planes {ranges(job.dropped)}")] if job.dropped else []),
            ("Voxel size", sizes + source),
            ("Model", model),
            *([("Boundaries", f"restored by {restoration}")] if restoration else []),
            ("Time", f"{duration(self.made.seconds)}, {number(pixels)} synthesised megapixels a second"),
            *(("Note", note) for note in job.notes),
        ]

    @property
    def pulsing(self) -> Grid:
        """Of each stack, of linear interpolation, and of the acquired planes by themselves."""
        rows = []
        for stack in range(min(len(self.job.stacks), LISTED)):
            name = f"stack {stack}: " if len(self.job.stacks) > 1 else ""
            rows += [
                (f"{name}this output", self.outcome.pulsing(stack)),
                (f"{name}linear interpolation", self.outcome.pulsing(stack, linear=True)),
                (f"{name}acquired planes", self.outcome.own_variation(stack)),
            ]
        return pulsing_grid(rows)

    @property
    def charts(self) -> list[Chart]:
        """Planes' statistics, over the whole stack and, of a long one, close up; predicted deviations."""
        count = len(self.outcome.measures[0])
        charts = [self.curves(range(count), "Plane by plane, whole stack")]
        if count > MOST:
            near = middle(count, CLOSE)
            charts.append(self.curves(near, f"Planes {near.start} to {near.stop - 1}, close up"))
        return [*charts, *self.deviations]

    def curves(self, planes: range, title: str) -> Chart:
        """Statistics of some planes of the first stack."""
        measures = Outcome(self.job, (self.outcome.measures[0][part(planes)],))
        return plane_curves(measures, 0, planes, title=title, caption="")

    @property
    def deviations(self) -> list[Chart]:
        """Mean predicted deviation by plane; none where the model predicts none."""
        scale = self.job.stacks[0].normalizer.high - self.job.stacks[0].normalizer.low
        rows = [(k, row.sigma * scale) for k, row in enumerate(self.outcome.measures[0]) if row.sigma is not None]
        if not rows:
            return []
        chosen = [rows[i] for i in thinned(len(rows), 2 * MOST)]
        title = "Predicted deviation by plane"
        curve = Curve("mean σ", [k for k, _ in chosen], [sigma for _, sigma in chosen], 0, marked=True, joined=False)
        alt = f"{title}, from {number(min(curve.y))} to {number(max(curve.y))} grey levels."
        return [Chart(title, draw([Diagram("mean σ, grey levels", [curve], "plane", whole=True)], alt))]

    @property
    def flagged(self) -> Grid | None:
        """Planes and regions of which the model is unsure; None where nobody asked."""
        threshold = self.job.finishing.flag_below
        if threshold is None:
            return None
        rows = []
        for flag in islice(self.outcome.flagged(), LISTED):
            stack = f"stack {flag['stack']}, " if len(self.job.stacks) > 1 else ""
            places = [f"{r['decibels']:.1f} dB from row {r['row']}, column {r['column']}" for r in flag["regions"]]
            rows.append((f"{stack}plane {flag['plane']}", f"{flag['psnr_db']:.1f} dB", "; ".join(places)))
        return Grid(("Plane", "Expected PSNR", "Regions below the limit"), rows)

    @property
    def flags(self) -> str:
        """How many planes were flagged, in words."""
        count, threshold = len(self.outcome.flagged()), self.job.finishing.flag_below
        more = f"; the first {LISTED} are listed" if count > LISTED else ""
        return f"{count or 'No'} planes have a predicted PSNR below {threshold:g} dB, as a whole or in parts{more}."

    @property
    def record(self) -> Facts:
        """The options that decided the output's grey values, as its file keeps them."""
        return options_of(self.job)


def options_of(job: Job) -> Facts:
    """What decides a job's grey values, each on a line and not too long."""
    record = job.record()
    flat = {name: value for name, value in record.items() if name != "finishing"} | record["finishing"]
    hidden = {"model"} | {name for name in ("first_channel", "first_time") if not flat[name]}
    return [
        (name.replace("_", " ").capitalize(), shortened(option_text(value)))
        for name, value in flat.items()
        if name not in hidden and is_said(value)
    ]


def is_said(value: object) -> bool:
    """Whether an option was set."""
    if isinstance(value, list | dict):
        return any(map(is_said, value.values() if isinstance(value, dict) else value))
    return value is not None and value is not False and value != ""


def option_text(value: Any) -> str:  # whatever JSON holds
    """An option's value in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {option_text(item)}" for key, item in value.items() if is_said(item))
    if isinstance(value, list):
        return (" and " if any(isinstance(item, list) for item in value) else ", ").join(map(option_text, value))
    if value is True:
        return "yes"
    return f"{value:g}".replace("-", "−") if isinstance(value, float) else str(value)


def shortened(text: str) -> str:
    """A text that is not too long."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
