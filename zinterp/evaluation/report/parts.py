"""What a report is put together from."""

from collections.abc import Sequence
from dataclasses import dataclass

from zinterp.evaluation.report.pictures import Bar, Picture

Facts = Sequence[tuple[str, str]]
"""Labels, and what is to be said of them."""


@dataclass(frozen=True)
class Chart:
    """A diagram with its title and caption."""

    title: str
    picture: Picture
    caption: str = ""


@dataclass(frozen=True)
class Panel:
    """A picture with what it is."""

    label: str
    picture: Picture


@dataclass(frozen=True)
class Strip:
    """Pictures of one place side by side."""

    title: str
    panels: Sequence[Panel]
    caption: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class Comparison:
    """Two pictures of one place, one over the other; ``key`` tells it from others on the page."""

    key: str
    title: str
    before: Panel
    after: Panel
    caption: str
    bar: Bar | None = None


@dataclass(frozen=True)
class Grid:
    """Numbers by row and column; the first text of each row is its head."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
