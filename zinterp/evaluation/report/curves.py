"""Curves of a report, drawn by matplotlib without its global state, for colour-blind eyes and narrow screens."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from zinterp.evaluation.report.pictures import Picture, data_uri

BLACK, GREY = "#000000", "#6b6b6b"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Those of Okabe and Ito that are dark enough to be read on white come first."""
DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 2, 1, 2)))
MARKERS = ("o", "s", "^", "D", "v", "X", "P")
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
WIDTH, HEIGHT, FONT = 4.6, 3.1, 10.0  # inches and points: read without glasses where a phone is as wide as this
LONGEST = 26  # characters of a name in a legend


@dataclass(frozen=True)
class Curve:
    """One line of a diagram.

    Parameters
    ----------
    name : str
        In the legend.
    x, y : sequence of float
    style : int
        Number of its colour, dashes and markers; -1 is black, of the true planes, -2 dotted grey, for comparison.
    marked : bool
        Whether each point is marked.
    joined : bool
        Whether points are joined by a line.
    hollow : bool
        Whether markers are empty.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int = 0
    marked: bool = False
    joined: bool = True
    hollow: bool = False


@dataclass(frozen=True)
class Diagram:
    """Curves over one axis.

    ``level`` is a horizontal line with its name; ``ticks`` are places along x with their text.
    """

    ylabel: str
    curves: Sequence[Curve]
    xlabel: str = ""
    level: tuple[float, str] | None = None
    logarithmic: bool = False
    ticks: Sequence[tuple[float, str]] = ()
    whole: bool = False
    """x counts planes."""


def draw(diagrams: Sequence[Diagram], alt: str, *, height: float = HEIGHT) -> Picture:
    """Draw diagrams one above the other over a common x axis, as SVG; the legend is that of the first."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(len(diagrams), 1, sharex=True, squeeze=False)[:, 0]
    for ax, diagram in zip(axes, diagrams, strict=True):
        draw_diagram(ax, diagram)
        if ax is not axes[-1]:
            ax.tick_params(labelbottom=False)
    handles = axes[0].get_lines()[: len(diagrams[0].curves)]
    names = [plain_name(curve.name) for curve in diagrams[0].curves]
    if len(names) > 1:
        columns = 1 if max(map(len, names)) > LONGEST * 0.7 else 2 if len(names) in (2, 4) else 3
        legend = figure.legend(
            handles,
            names,
            loc="outside upper left",
            ncols=columns,
            frameon=False,
            fontsize=FONT - 0.5,
            handlelength=2.6,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    figure.align_ylabels(list(axes))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return Picture(data_uri("image/svg+xml", buffer.getvalue()), alt, round(WIDTH * 96), round(height * 96))


def draw_diagram(ax: Axes, diagram: Diagram) -> None:
    """Draw the curves and axes of one diagram."""
    for curve in diagram.curves:
        colour = {-1: BLACK, -2: GREY}.get(curve.style, COLOURS[curve.style % len(COLOURS)])
        dashes = DASHES[{-1: 0, -2: 2}.get(curve.style, curve.style % len(DASHES))]
        ax.plot(
            curve.x,
            curve.y,
            color=colour,
            linestyle=dashes if curve.joined else "none",
            marker=MARKERS[max(curve.style + 1, 0) % len(MARKERS)] if curve.marked else "none",
            markersize=4.5 if len(curve.x) < 80 else 2.5,
            markerfacecolor="white" if curve.hollow else colour,
            linewidth=1.6,
            markeredgewidth=1.1,
        )
    if diagram.level is not None:
        ax.axhline(diagram.level[0], color=GREY, linewidth=1, linestyle=(0, (2, 2)), zorder=0)
        ax.annotate(
            diagram.level[1],
            (1, diagram.level[0]),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize=FONT - 1,
            color=GREY,
        )
    if diagram.logarithmic:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel(diagram.ylabel, fontsize=FONT)
    ax.set_xlabel(diagram.xlabel, fontsize=FONT)
    ax.tick_params(labelsize=FONT - 0.5)
    if diagram.ticks:
        ax.set_xticks([at for at, _ in diagram.ticks], [text for _, text in diagram.ticks])
    elif diagram.whole:
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e3e3e3", linewidth=0.7)
    ax.set_axisbelow(True)


def power_of_ten(value: float, place: int | None = None) -> str:
    """A decade as 10 with its exponent."""
    return "10" + str(round(math.log10(value))).translate(RAISED)


@cache
def _glyphs() -> frozenset[int]:
    """The characters that matplotlib's own font has."""
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    return frozenset(get_font(fontManager.findfont(FontProperties())).get_charmap())


def plain_name(name: str) -> str:
    """A name as the font can draw it, not too long; the page has it in full."""
    text = "".join(c if c.isprintable() and ord(c) in _glyphs() else "?" for c in name)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return f" {text}" if text.startswith("_") else text  # matplotlib leaves those out of a legend


def thinned(count: int, most: int) -> list[int]:
    """Numbers from 0 to ``count - 1``, so many of them at most, evenly spread."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))}) if count else []
