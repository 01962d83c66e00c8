"""What interpolation does to a stack: acquired planes are hidden, predicted from the others, and compared."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zinterp.choice import LEAST_GAIN
from zinterp.compute import compute_slab, fill_nonfinite
from zinterp.defects import find_defects
from zinterp.errors import BadOptionError, BadVolumeError
from zinterp.evaluation.scores import ModelScore, Truth, score_model
from zinterp.geometry import Geometry, measured
from zinterp.interpolators import Interpolator
from zinterp.io import open_volume
from zinterp.job import plan_job, usable_memory
from zinterp.options import AUTO, UpsampleOptions, parse_skip
from zinterp.outcome import Outcome
from zinterp.pipeline import ArrayReader, build_interpolator
from zinterp.plan import ZGrid, evenly
from zinterp.slabs import read_slab
from zinterp.volume import OneStack, Planes, VolumeInfo, VolumeReader, ranges, readable

PLANES, SIZE = 65, 512  # of the window, by default
BASELINES = ("cubic", "linear")
"""Always among the models: what a network is measured against."""
FINISHES: dict[str, dict[str, Any]] = {
    "restore": {"restore": True},
    "sharpen": {"sharpen": "auto", "sharpen_radius": None, "sharpen_threshold": None},
}
"""What may follow the name of a model behind a ``+``, the options that it stands for, and their defaults."""
OF_INPUT = (
    *("channel", "time", "keep_databar", "fill_gaps", "voxel_size", "positions", "skip", "align", "intensity_range"),
    *("fill_nonfinite", "device", "precision", "tile", "overlap", "max_memory"),
    *("restore", "sharpen", "sharpen_radius", "sharpen_threshold"),
)
"""Options of a job that also decide what hidden planes look like."""
WORKING = 24  # bytes for each voxel of the window and model


@dataclass(frozen=True)
class Window:
    """The part of a stack that is looked at: its planes, which need not follow each other, its rows and columns."""

    planes: tuple[int, ...]
    rows: range
    cols: range

    @property
    def shape(self) -> tuple[int, int, int]:
        """(Z, Y, X)."""
        return len(self.planes), len(self.rows), len(self.cols)

    def __str__(self) -> str:
        return (
            f"planes {ranges(self.planes)}, rows {self.rows.start}-{self.rows.stop - 1}, "
            f"columns {self.cols.start}-{self.cols.stop - 1}"
        )


@dataclass(frozen=True)
class Prediction:
    """What a model made of the hidden planes; all in the shape of the window, (Z, Y, X), acquired planes in place.

    ``sigma`` are predicted deviations in grey levels, float32, 0 on planes that were kept; None if the model predicts
    none. ``outcome`` are the job's measures, the pulsing among them.
    """

    planes: Planes
    sigma: NDArray[np.float32] | None
    outcome: Outcome
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """How near models come to the planes of a stack that were hidden from them.

    Parameters
    ----------
    source : str
        The stack.
    info : VolumeInfo
        Of the whole stack, with the voxel size that holds.
    window : Window
        What was looked at.
    factor : int
        Every ``factor``-th plane of the window was kept, the others were hidden.
    truth : Truth
        The window as it was acquired.
    scores : tuple of ModelScore
        The best PSNR first.
    predictions : mapping of str to Prediction
        By the names of the models.
    """

    source: str
    info: VolumeInfo
    window: Window
    factor: int
    truth: Truth
    scores: tuple[ModelScore, ...]
    predictions: dict[str, Prediction]

    def score(self, model: str) -> ModelScore:
        """The score of a model."""
        return next(score for score in self.scores if score.model == model)

    @cached_property
    def classical(self) -> ModelScore:
        """The better of linear and cubic interpolation."""
        return max((self.score(name) for name in BASELINES), key=lambda score: score.psnr_db)

    @cached_property
    def best(self) -> ModelScore | None:
        """The model beside these two with the best PSNR; None if there is none."""
        return next((score for score in self.scores if score.model not in BASELINES), None)

    @property
    def gain_db(self) -> float | None:
        """How much the best model's PSNR is above the better of linear and cubic."""
        return None if self.best is None else self.best.psnr_db - self.classical.psnr_db

    @property
    def better_planes(self) -> int:
        """On how many hidden planes the best model's PSNR is above that of the better of linear and cubic."""
        if self.best is None:
            return 0
        pairs = zip(self.best.planes, self.classical.planes, strict=True)
        return sum(ours.psnr_db > theirs.psnr_db for ours, theirs in pairs)

    @property
    def helps(self) -> bool:
        """Whether the best model is better than classical interpolation here, and not on a few planes only."""
        return (self.gain_db or 0.0) > LEAST_GAIN and 2 * self.better_planes > len(self.truth.hidden)

    @property
    def verdict(self) -> str:
        """What to take from it, in one line."""
        other = self.classical
        if self.best is None:
            worse = next(name for name in BASELINES if name != other.model)
            return f"{other.model} {other.psnr_db - self.score(worse).psnr_db:+.2f} dB over {worse} on this stack"
        gain = f"{self.best.model} {self.gain_db:+.2f} dB over {other.model} on this stack"
        count = f"better on {self.better_planes} of {len(self.truth.hidden)} hidden planes"
        return f"{gain}, {count}" if self.helps else f"no gain here: use --model {other.model} ({gain}, {count})"

    @property
    def caveat(self) -> str:
        """What the figures do not say."""
        times = "twice" if self.factor == 2 else f"{self.factor} times"
        return (
            f"the gaps that were hidden are {times} as wide as those between your planes, which are easier: expect "
            "smaller errors there, and a smaller difference between models too"
        )


def evaluate(
    source: str | Path,
    *,
    factor: int = 2,
    models: Sequence[str] = (),
    planes: int = PLANES,
    size: int = SIZE,
    interpolators: dict[str, Interpolator] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,  # the fields of UpsampleOptions that concern the input and how models run
) -> Evaluation:
    """Hide acquired planes of a stack, predict them with several models, and score these.

    Parameters
    ----------
    source : str or Path
        A stack, see ``open_volume``. Of several channels and times the first is taken, unless options name another.
    factor : int
        Every ``factor``-th plane is kept, those in between are hidden.
    models : sequence of str
        Names or weights files, each with ``+restore`` or ``+sharpen`` behind it where that is to follow; none is the
        default network. Linear and cubic interpolation are always added.
    planes, size : int
        At most so many planes, and pixels along each edge, from the middle of the stack; 0 takes all.
    interpolators : dict or None
        Those that are built already, by the names of models; others are added.
    report : callable
        Called with how many models are done, and how many there are.
    **options
        ``channel``, ``voxel_size``, ``positions``, ``skip``, ``align``, ``intensity_range``, ``device``, ``tile``, ...
        Those of restoration and sharpening hold for models that have it behind their names.

    Returns
    -------
    Evaluation

    Raises
    ------
    ZinterpError
        If input or options cannot be used: fewer than ``factor + 1`` planes among it.
    """
    chosen = UpsampleOptions(factor=factor, **options)
    if factor < 2:
        raise BadOptionError(f"the factor is {factor}, expected at least 2: every 2nd plane is kept then")
    names = [*dict.fromkeys([*(models or default_models()), *BASELINES])]
    wanted = {name: parse_model(name, options) for name in names}
    with first_stack(source, chosen) as (stack, info):
        window = choose_window(stack, chosen, factor, planes, size)
        check_room(window, info, len(names), chosen)
        acquired = read_window(stack, window, fill=chosen.fill_nonfinite)
    truth = Truth.of(acquired, window.planes, factor, info.voxel_size)
    built = {} if interpolators is None else interpolators
    predictions: dict[str, Prediction] = {}
    for done, (name, settings) in enumerate(wanted.items()):
        report(done, len(names))
        if name not in built:
            built[name] = build_interpolator(settings)
        predictions[name] = predict(acquired, info, window, factor, settings, built[name])
    scores = [
        score_model(
            name, made.outcome.job.model, truth, made.planes, made.sigma, made.outcome.pulsing(0).index, made.seconds
        )
        for name, made in predictions.items()
    ]
    report(len(names), len(names))
    ranked = sorted(scores, key=lambda score: -score.psnr_db)
    return Evaluation(str(source), info, window, factor, truth, tuple(ranked), predictions)


@contextmanager
def first_stack(source: str | Path, options: UpsampleOptions) -> Iterator[tuple[OneStack, VolumeInfo]]:
    """Open the channel and time that options name, else the first, with the voxel size and positions that hold."""
    with open_volume(
        source,
        channel=options.channel or 0,
        time=options.time or 0,
        keep_databar=options.keep_databar,
        fill_gaps=options.fill_gaps,
    ) as reader:
        yield OneStack(reader, 0), measured(reader.info, options)[0]


def evaluate_job(source: str | Path, settings: UpsampleOptions, **options: Any) -> Evaluation:
    """Evaluate the model of a job on its stack, finished as the job's planes are, but for grain and fallback.

    Parameters
    ----------
    source : str or Path
    settings : UpsampleOptions
        Of the job.
    **options
        ``planes``, ``size``, ``interpolators``, ``report`` of ``evaluate``.
    """
    finishes = [finish for finish in FINISHES if getattr(settings, finish)]
    model = default_models()[0] if settings.model in (None, AUTO) else str(settings.model)
    given = {name: getattr(settings, name) for name in OF_INPUT}
    return evaluate(source, models=["+".join([model, *finishes])], **given, **options)


def default_models() -> list[str]:
    """The default network, and ``fast``, which may be the same."""
    from zinterp.interpolators.weights import shipped_weights

    shipped = list(shipped_weights())
    return [name for name in dict.fromkeys([shipped[0], "fast"]) if name in shipped]


def parse_model(name: str, options: dict[str, Any]) -> UpsampleOptions:
    """What ``NAME+restore`` stands for, with the other options.

    Raises
    ------
    BadOptionError
        If something else follows the name.
    """
    model, *finishes = name.split("+") if not Path(name).exists() else [name]
    for finish in finishes:
        if finish not in FINISHES:
            raise BadOptionError(
                f"the model {name!r} has {finish!r} behind it, expected one of {', '.join(FINISHES)}: write "
                f"{model}+restore"
            )
    if model == AUTO:
        raise BadOptionError("the model is 'auto', expected the names of those to compare: write fast,cubic")
    plain = {name: value for name, value in options.items() if not any(name in each for each in FINISHES.values())}
    finishing = {
        name: options.get(name) or default for finish in finishes for name, default in FINISHES[finish].items()
    }
    others = {"model": model, "factor": 1, "skip": None, "positions": None}
    return UpsampleOptions(**{**plain, **finishing, **others})


def choose_window(reader: VolumeReader, options: UpsampleOptions, factor: int, planes: int, size: int) -> Window:
    """The middle of a stack, without the planes that are to be left out; whole gaps only."""
    depth, *edges = reader.info.shape
    for what, number in (("planes", planes), ("pixels", size)):
        if number < 0:
            raise BadOptionError(f"got {number} {what} to look at, expected a number from 1 on, or 0 for all")
    numbers, automatic = parse_skip(options.skip)
    out = {*numbers, *((defect.plane for defect in find_defects(reader)) if automatic else ())}
    usable = [k for k in range(depth) if k not in out]
    count = min(planes or len(usable), len(usable))
    first = (len(usable) - count) // 2
    count = (count - 1) // factor * factor + 1
    if count <= factor:
        raise BadVolumeError(
            f"there are {min(planes or len(usable), len(usable))} planes to look at, expected at least {factor + 1}, "
            f"of which {factor - 1} can be hidden: give a smaller factor, or more planes"
        )
    lengths = [min(size or edge, edge) for edge in edges]
    starts = [max(0, (edge - (size or edge)) // 2) for edge in edges]
    rows, cols = (range(start, start + length) for start, length in zip(starts, lengths, strict=True))
    return Window(tuple(usable[first : first + count]), rows, cols)


def check_room(window: Window, info: VolumeInfo, models: int, options: UpsampleOptions) -> None:
    """Refuse a window that does not fit into memory, in which all of it is kept."""
    voxels = int(np.prod(window.shape))
    needed = voxels * (WORKING * (models + 1) + info.dtype.itemsize * (models + 1))
    memory = usable_memory(options)
    if needed > memory:
        raise BadVolumeError(
            f"{' x '.join(map(str, window.shape))} voxels with {models} models need {readable(needed)}, and "
            f"{readable(memory)} may be used: look at fewer planes or a smaller window, or give a larger --max-memory"
        )


def read_window(reader: VolumeReader, window: Window, *, fill: bool) -> Planes:
    """The voxels of a window, (Z, Y, X); NaN and infinite ones filled, or refused."""
    rows, cols = (slice(part.start, part.stop) for part in (window.rows, window.cols))
    planes = np.stack([reader.read(range(k, k + 1))[0, rows, cols] for k in window.planes])
    if planes.dtype.kind != "f":
        return planes
    if fill:
        return np.stack([fill_nonfinite(plane) for plane in planes])
    bad = [k for k, plane in zip(window.planes, planes, strict=True) if not np.isfinite(plane).all()]
    if bad:
        raise BadVolumeError(
            f"planes {ranges(bad)} have NaN or infinite values, expected finite ones to compare with: give "
            "--fill-nonfinite, --skip these planes, or look at a smaller window"
        )
    return planes


def predict(
    acquired: Planes,
    info: VolumeInfo,
    window: Window,
    factor: int,
    options: UpsampleOptions,
    interpolator: Interpolator,
) -> Prediction:
    """Make the hidden planes of a window (Z, Y, X) anew, as a job would that never had them."""
    kept = acquired[::factor]
    even = info.places is None and window.planes == tuple(range(window.planes[0], window.planes[-1] + 1))
    places = info.places or evenly(info.shape[0])
    outputs = tuple((places[k] - places[window.planes[0]]) / factor for k in window.planes)
    grid = ZGrid(outputs[::factor], outputs, Fraction(1, factor) if even else None)
    reader = ArrayReader(kept)
    geometry = Geometry(replace(reader.info, voxel_size=info.voxel_size), grid, info.voxel_size)
    options = replace(options, factor=factor)
    job = plan_job(reader, options, geometry, needs=interpolator.needs, model=interpolator.identity)
    made, sigma = np.empty_like(acquired), None
    measures = []
    start = time.perf_counter()
    for slab in job.slabs:
        result = compute_slab(job, interpolator, slab, read_slab(reader, slab), keep_sigma=True)
        part = slice(slab.target.start, slab.target.stop)
        made[part] = result.planes
        if any(row.sigma is not None for row in result.measures):
            sigma = np.zeros(made.shape, np.float32) if sigma is None else sigma
            sigma[part] = result.sigma
        measures += result.measures
    return Prediction(made, sigma, Outcome(job, (tuple(measures),)), time.perf_counter() - start)
