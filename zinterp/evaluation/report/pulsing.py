"""How even a stack is: numbers and curves of its planes, for a report."""

from collections.abc import Sequence

from zinterp.evaluation.report.curves import Curve, Diagram, draw, thinned
from zinterp.evaluation.report.parts import Chart, Grid
from zinterp.evaluation.report.pictures import number
from zinterp.finishing import Measures
from zinterp.normalize import Normalizer
from zinterp.outcome import Outcome
from zinterp.pulsing import Pulsing, Statistics

MOST = 250  # planes of each kind that are drawn
HEADS = ("", "Brightness", "Contrast", "Sharpness", "Index (strongest)")
NAMES = (("mean", "mean\ngrey level"), ("contrast", "contrast"), ("gradient_energy", "gradient\nenergy"))


def pulsing_row(name: str, value: Pulsing) -> tuple[str, ...]:
    """A row of the table of pulsing."""
    parts = (value.mean, value.contrast, value.gradient_energy, value.index)
    return (name, *(f"{part:.4f}" for part in parts))


def pulsing_grid(rows: Sequence[tuple[str, Pulsing]]) -> Grid:
    """The table of pulsing."""
    return Grid(HEADS, [pulsing_row(name, value) for name, value in rows])


def in_grey_levels(statistics: Statistics, normalizer: Normalizer) -> Statistics:
    """Statistics of a normalised plane in the stack's grey levels."""
    scale = normalizer.high - normalizer.low
    return Statistics(
        normalizer.low + scale * statistics.mean,
        scale * statistics.contrast,
        scale * scale * statistics.gradient_energy,
    )


def plane_curves(
    outcome: Outcome,
    stack: int,
    planes: Sequence[int],
    *,
    title: str,
    caption: str,
    hidden: Sequence[tuple[int, Statistics]] = (),
) -> Chart:
    """Draw mean, contrast and gradient energy of a stack's planes, acquired and synthesised ones marked differently.

    Parameters
    ----------
    outcome : Outcome
    stack : int
        Of the outcome.
    planes : sequence of int
        The numbers of all its planes along x.
    title, caption : str
    hidden : sequence of (int, Statistics)
        What hidden planes were like as they were acquired, by number, in grey levels.
    """
    normalizer = outcome.job.stacks[stack].normalizer
    groups = group(planes, outcome.measures[stack], normalizer)
    if hidden:
        groups.append(("hidden, true", 1, list(hidden)))
    diagrams = [
        Diagram(
            label,
            [
                Curve(
                    name,
                    [k for k, _ in rows],
                    [getattr(statistics, field) for _, statistics in rows],
                    style,
                    marked=True,
                    joined=False,
                    hollow=style >= 0,
                )
                for name, style, rows in groups
            ],
            "plane" if field == NAMES[-1][0] else "",
            whole=True,
        )
        for field, label in NAMES
    ]
    alt = f"{title}: mean, contrast and gradient energy by plane. " + " ".join(map(summary, groups))
    return Chart(title, draw(diagrams, alt, height=4.6), caption)


Group = tuple[str, int, list[tuple[int, Statistics]]]


def group(planes: Sequence[int], measures: Sequence[Measures], normalizer: Normalizer) -> list[Group]:
    """Acquired and synthesised planes with their statistics in grey levels, those of each kind thinned by itself."""
    groups: list[Group] = []
    for name, style, kept in (("acquired", -1, True), ("synthesised", 0, False)):
        pairs = zip(planes, measures, strict=True)
        rows = [(k, row.statistics) for k, row in pairs if (row.expected is None) is kept]
        chosen = [rows[i] for i in thinned(len(rows), MOST)]
        groups.append((name, style, [(k, in_grey_levels(statistics, normalizer)) for k, statistics in chosen]))
    return groups


def summary(group: Group) -> str:
    """What the curves of one kind show, in words."""
    name, _, rows = group
    if not rows:
        return f"No plane is {name}."
    means = [statistics.mean for _, statistics in rows]
    return f"Planes {name}: mean grey levels from {number(min(means))} to {number(max(means))}."
