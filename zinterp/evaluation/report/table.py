"""The table of models in a report, and what its columns mean."""

from collections.abc import Callable
from dataclasses import dataclass

from zinterp.evaluation.report.pictures import in_words, number
from zinterp.evaluation.scores import ModelScore, Truth

WITHIN_ONE, WITHIN_TWO = 0.6827, 0.9545  # of a normal distribution


@dataclass(frozen=True)
class Column:
    """One column: its head, what it means, its text for a model, and how far from ideal that is."""

    head: str
    meaning: str
    text: Callable[[ModelScore, Truth], str]
    badness: Callable[[ModelScore, Truth], float | None]


@dataclass(frozen=True)
class Cell:
    """What a model has in a column, and whether no other one has better."""

    text: str
    best: bool

    @property
    def wordy(self) -> bool:
        """Whether it is text that may run over several lines."""
        return " " in self.text


@dataclass(frozen=True)
class Row:
    """One model."""

    model: str
    cells: tuple[Cell, ...]


def detail(score: ModelScore) -> str:
    """The finest detail that agrees with the true planes."""
    if score.resolution_px is None:
        return "none agrees"
    if score.resolution_px <= 2:
        return "never falls below"
    return f"{score.resolution_px:.1f} px" if score.resolution_um is None else in_words(score.resolution_um)


def percent(value: float | None, digits: int, *, signed: bool = True) -> str:
    """A part of one in percent; a dash for None."""
    if value is None:
        return "–"
    text = f"{100 * value:+.{digits}f}\u00a0%" if signed else f"{100 * value:.{digits}f}\u00a0%"
    return text.replace("-", "−")


def fraction_error(score: ModelScore, truth: Truth) -> float | None:
    """Of the volume fraction."""
    errors = score.errors(truth)
    return None if errors is None else errors.fraction


def surface_error(score: ModelScore, truth: Truth) -> float | None:
    """Of the surface, as a part of it."""
    errors = score.errors(truth)
    return None if errors is None else errors.surface


def euler_error(score: ModelScore, truth: Truth) -> int | None:
    """Of the Euler number."""
    errors = score.errors(truth)
    return None if errors is None else errors.euler


def size(value: float | None) -> float | None:
    """How large a value is, None where there is none."""
    return None if value is None else abs(value)


def euler_text(score: ModelScore, truth: Truth) -> str:
    """The error of the Euler number with its sign."""
    value = euler_error(score, truth)
    return "–" if value is None else f"{value:+d}".replace("-", "−")


def off(value: float | None, ideal: float) -> float | None:
    """How far a value is from its ideal, None where there is none."""
    return None if value is None else abs(value - ideal)


COLUMNS = (
    Column(
        "PSNR, dB",
        "peak signal-to-noise ratio in dB over all hidden planes, relative to the span from the 0.1 to the 99.9 "
        "percentile of the grey values; higher is nearer to the truth",
        lambda score, truth: f"{score.psnr_db:.2f}".replace("-", "−"),
        lambda score, truth: -score.psnr_db,
    ),
    Column(
        "SSIM",
        "structural similarity with Gaussian weights (sigma 1.5 pixels); 1 is equal",
        lambda score, truth: f"{score.ssim:.4f}".replace("-", "−"),
        lambda score, truth: -score.ssim,
    ),
    Column(
        "FRC 1/7",
        "the finest detail, as a period, down to which the Fourier ring correlation with the true planes stays above "
        "1/7; smaller is better, and “never falls below” is down to two pixels",
        lambda score, truth: detail(score),
        lambda score, truth: score.resolution_px,
    ),
    Column(
        "Sharpness",
        "gradient energy in the plane over that of the true planes; 1 is as sharp, less is smoother",
        lambda score, truth: f"{score.sharpness:.2f}",
        lambda score, truth: off(score.sharpness, 1),
    ),
    Column(
        "Edges",
        "F-score of the edges found (Canny) against those of the true planes, a pixel off allowed; 1 is all and no "
        "others",
        lambda score, truth: f"{score.edges:.3f}",
        lambda score, truth: -score.edges,
    ),
    Column(
        "Fraction",
        "error of the volume fraction brighter than Otsu’s threshold, in percent of the volume",
        lambda score, truth: percent(fraction_error(score, truth), 2),
        lambda score, truth: size(fraction_error(score, truth)),
    ),
    Column(
        "Surface",
        "error of the surface area of that part, in percent of it",
        lambda score, truth: percent(surface_error(score, truth), 1),
        lambda score, truth: size(surface_error(score, truth)),
    ),
    Column(
        "Euler",
        "error of its Euler number: objects minus tunnels plus cavities, so how parts hang together",
        euler_text,
        lambda score, truth: size(euler_error(score, truth)),
    ),
    Column(
        "Within 1σ",
        "share of true values within one predicted deviation; 68\u00a0% where the predicted uncertainty is right. Less "
        "is too sure, more too careful; a dash where a model predicts none",
        lambda score, truth: percent(score.within_one, 0, signed=False),
        lambda score, truth: off(score.within_one, WITHIN_ONE),
    ),
    Column(
        "Within 2σ",
        "the same for two deviations; 95\u00a0% where it is right",
        lambda score, truth: percent(score.within_two, 0, signed=False),
        lambda score, truth: off(score.within_two, WITHIN_TWO),
    ),
    Column(
        "Pulsing",
        "how much brightness, contrast or sharpness swing from acquired to synthesised planes; 0 is not at all",
        lambda score, truth: f"{score.pulsing:.3f}",
        lambda score, truth: score.pulsing,
    ),
    Column(
        "Speed, Mpx/s",
        "synthesised megapixels a second on the machine where this was measured",
        lambda score, truth: number(score.megapixels_per_second),
        lambda score, truth: -score.megapixels_per_second,
    ),
)


def table(scores: tuple[ModelScore, ...], truth: Truth) -> list[Row]:
    """A row for each model; in each column the best one is marked, where they differ."""
    marks = [best_text(column, scores, truth) for column in COLUMNS]
    return [
        Row(
            score.model,
            tuple(
                Cell(text := column.text(score, truth), text == mark)
                for column, mark in zip(COLUMNS, marks, strict=True)
            ),
        )
        for score in scores
    ]


def best_text(column: Column, scores: tuple[ModelScore, ...], truth: Truth) -> str | None:
    """What the best model has in a column; what is shown alike counts alike. None where all are alike."""
    texts = {score.model: column.text(score, truth) for score in scores}
    badness = {score.model: bad for score in scores if (bad := column.badness(score, truth)) is not None}
    if len({texts[model] for model in badness}) < 2:
        return None
    return texts[min(badness, key=lambda model: badness[model])]
