"""The training loop, read from top to bottom."""

import copy
import logging
import math
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from zinterp.errors import BadOptionError, OutputError, OutputExistsError, TrainingError
from zinterp.interpolators.network import choose_device, choose_precision
from zinterp.interpolators.weights import load_network, save_network, sha256_of
from zinterp.models import ARCHITECTURES, RESTORERS, TRAINABLE
from zinterp.training.checkpoint import CHECKPOINT_SUFFIX, Checkpoint
from zinterp.training.data import Augmentation, Batch, CropSampler, Volume
from zinterp.training.held_out import HeldOut, Score, split
from zinterp.training.objectives import OBJECTIVES, Objective
from zinterp.training.restoration import ForBoundaryRestoration

logger = logging.getLogger(__name__)

CHECKPOINT_EVERY_S = 60.0
SCORES = 20  # during a training
CROP = 96  # pixels
CONTEXT = 2  # planes on each side, the least in a crop: cubic, which networks are scored against, needs them
GAPS, GAPS_ALONG_Z = (2, 9), (2, 4)  # a stack with thick planes has too few of them for wide gaps


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that decides the outcome, recorded with the weights.

    ``crop`` None is 96 or the next multiple that the network takes; ``learning_rate`` None is what suits the network
    and its weights; ``gaps`` None is 2 to 9, and 2 to 4 where planes are hidden along z only; ``augmentation`` None is
    that of the network's objective; ``loss_weights`` replaces some of its weights by name.
    """

    architecture: str = "mirror-unet"
    sizes: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    minutes: float | None = None
    batch: int = 8
    crop: int | None = None
    learning_rate: float | None = None
    ema: float = 0.999
    gaps: tuple[int, int] | None = None
    axes: tuple[int, ...] = (0, 1, 2)
    held_out: float = 0.2
    seed: int = 0
    augmentation: Augmentation | None = None
    loss_weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.architecture not in TRAINABLE:
            raise BadOptionError(f"unknown network {self.architecture!r}, expected one of {', '.join(TRAINABLE)}")
        if (self.steps is None) == (self.minutes is None):
            raise BadOptionError("got both or neither of steps and minutes, expected one of them: how long to train")
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise BadOptionError(f"got {self.steps} steps, {self.minutes} minutes, expected more than none")
        rate = self.learning_rate
        if self.batch < 1 or not 0 <= self.held_out < 1 or (rate is not None and rate <= 0):
            raise BadOptionError(
                f"got a batch of {self.batch}, {self.held_out} held out, a learning rate of {self.learning_rate}, "
                "expected at least 1, a part of 1, more than 0"
            )
        low, high = self.chosen_gaps
        if not 2 <= low <= high:
            raise BadOptionError(f"the gaps are {low} to {high}, expected at least 2, the lower first")

    @property
    def chosen_gaps(self) -> tuple[int, int]:
        """The gaps asked for, or those that suit the axes."""
        return self.gaps or (GAPS_ALONG_Z if self.axes == (0,) else GAPS)


@dataclass(frozen=True)
class Progress:
    """Where training stands.

    ``done`` is in [0, 1]; ``loss_db`` the mean of 10 log10(MSE) over the crops since the last report, None without any;
    ``held_out`` the latest score on held-out planes, None before the first.
    """

    step: int
    done: float
    elapsed_s: float
    loss_db: float | None
    held_out: float | None


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    ``before`` and ``after`` are scores on the held-out planes, more is better (see ``Objective.score``): of the weights
    that it started from (None for random ones that make nothing useful) and of the best it came to; None where nothing
    was held out. ``kept`` is whether weights were written: not if they are no better than those it started from.
    """

    before: float | None
    after: float | None
    kept: bool


def train(
    volumes: Sequence[Volume],
    out: Path,
    options: TrainingOptions,
    *,
    init: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    overwrite: bool = False,
    data: str = "",
    report: Callable[[Progress], None] = lambda progress: None,
    report_every: int = 50,
) -> Outcome:
    """Train a network and write its weights: those that scored best on planes held out.

    Parameters
    ----------
    volumes : sequence of ndarray, each shape (Z, Y, X), float16, about [0, 1]
        The trailing ``options.held_out`` of the planes of each are kept from training. On some crops of them the best
        weights are chosen, on others the gains that are reported are measured.
    out : Path
        The ``.safetensors`` file to write; the checkpoint lies beside it while training is under way.
    options : TrainingOptions
    init : Path or None
        Weights to start from, whose network and sizes are taken too; None starts from random ones.
    device : str
        Where torch computes: ``cpu``, ``cuda`` or ``cuda:N``.
    resume, overwrite : bool
        Go on from the checkpoint; replace an output or a checkpoint that is there.
    data : str
        What the volumes are, recorded in the weights.
    report : callable
        Called every ``report_every`` steps, and after each of 20 scores, with a Progress.

    Returns
    -------
    Outcome

    Raises
    ------
    BadOptionError
        If there is nothing to resume, or an option cannot be.
    OutputError, OutputExistsError
        If the output or the checkpoint cannot be written, or is there already.
    BadWeightsError
        If the checkpoint is of another training, or ``init`` cannot be used.
    TrainingError
        If loss or gradient stop being finite.
    """
    check_out(out, resume=resume, overwrite=overwrite)
    where = choose_device(device)
    torch.manual_seed(options.seed)
    known = RESTORERS if options.architecture in RESTORERS else ARCHITECTURES
    network: Any = load_network(init, known) if init else known[options.architecture](options.sizes)
    network = network.to(where, memory_format=torch.channels_last).eval()
    objective = choose_objective(network.architecture, options.loss_weights)
    rate = options.learning_rate or (objective.fine_tuning_rate if init else objective.rate)
    options = resolved(options, network, objective, rate)
    start = f"{init.name} {sha256_of(init)[:12]}" if init else "random weights"
    along, (low, high) = " and ".join("zyx"[axis] for axis in options.axes), options.chosen_gaps
    logger.info("planes are hidden along %s, gaps of %d to %d, starting from %s", along, low, high, start)
    training, trailing = split(volumes, options.held_out)
    crops: dict[str, Any] = {
        "gaps": options.chosen_gaps,
        "size": options.crop,
        "context": max(objective.context(network), CONTEXT),
    }
    held_out = HeldOut.draw(trailing, **crops)
    sampler = CropSampler(
        training,
        axes=options.axes,
        augmentation=options.augmentation,
        seed=options.seed,
        moved=objective.moved,
        **crops,
    )
    state = Checkpoint(
        path=checkpoint_path(out),
        training=f"{options!r} on {fingerprint(volumes)} from {start}",
        network=network,
        average=copy.deepcopy(network).requires_grad_(False),
        best=copy.deepcopy(network).requires_grad_(False),
        optimizer=objective.optimizer(network.parameters(), rate),
    )
    if resume:
        state.load(sampler)
    elif init or objective.starts_useful:
        state.before = held_out.judge(scores(objective, network, where), precision(where))
        report(Progress(0, 0.0, 0.0, None, state.before))
    run(state, sampler, held_out, options, objective, rate, where, report, report_every)
    kept = state.before is None or (state.after is not None and state.after > state.before)
    if kept:
        about = {
            "data": data,
            "init": start,
            "steps": str(state.step),
            "minutes": f"{state.elapsed / 60:.1f}",
            "options": str(asdict(options)),
        }
        save_network(out, state.best, about)
    state.path.unlink(missing_ok=True)
    return Outcome(state.before, state.after, kept)


def run(
    state: Checkpoint,
    sampler: CropSampler,
    held_out: HeldOut,
    options: TrainingOptions,
    objective: Objective,
    rate: float,
    device: torch.device,
    report: Callable[[Progress], None],
    report_every: int,
) -> None:
    """Take steps until all are done or the time is over, scoring and saving on the way."""
    start, saved, elapsed_before = time.monotonic(), state.elapsed, state.elapsed
    losses: list[float] = []
    state.network.train()
    with closing(sampler.batches(options.batch)) as stream:
        for batch, position in stream:
            state.elapsed = elapsed_before + time.monotonic() - start
            done = state.step / options.steps if options.steps else state.elapsed / (60 * (options.minutes or math.inf))
            if done >= 1:
                break
            now = rate * objective.rate_factor(state.step, done)
            losses.append(train_step(state, batch, objective, now, device))
            update_average(state.average, state.network, min(options.ema, state.step / (state.step + 10)))
            scored = int(done * SCORES) > state.scores
            if scored:
                state.scores = int(done * SCORES)
                state.score(held_out, scores(objective, state.average, device), precision(device))
            if scored or state.elapsed - saved > CHECKPOINT_EVERY_S:
                state.save(position)
                saved = state.elapsed
            if scored or state.step % report_every == 0:
                report(Progress(state.step, done, state.elapsed, mean_db(losses), state.latest))
                losses.clear()
    state.score(held_out, scores(objective, state.average, device), precision(device))
    report(Progress(state.step, 1.0, state.elapsed, mean_db(losses), state.latest))


def train_step(state: Checkpoint, batch: Batch, objective: Objective, rate: float, device: torch.device) -> float:
    """One step; the mean log MSE that it started from."""
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    with precision(device):
        losses = objective(state.network, batch.to(device))
    check_finite("loss", losses.total, state.step)  # before going back through it, which not every layer survives
    state.optimizer.zero_grad(set_to_none=True)
    losses.total.backward()  # type: ignore[no-untyped-call]
    check_finite("gradient", objective.clip(state.network.parameters()), state.step)
    state.optimizer.step()
    state.step += 1
    return losses.log_mse.item()


def scores(objective: Objective, network: Any, device: torch.device) -> Score:
    """How good a network is on each crop of a batch, wherever that is."""
    return lambda batch: objective.score(network, batch.to(device))


def check_finite(name: str, value: torch.Tensor, step: int) -> None:
    """Refuse to learn from what is not a number, before it is in the weights."""
    if not value.isfinite():
        raise TrainingError(
            f"the {name} is {value.item()} at step {step}, expected a finite one: lower --learning-rate"
        )


def choose_objective(architecture: str, weights: Mapping[str, float]) -> Objective:
    """What a network is trained for, some of its terms weighted otherwise."""
    objective = ForBoundaryRestoration if architecture in RESTORERS else OBJECTIVES[architecture]
    try:
        chosen = objective(**weights)
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights.values()):
            raise ValueError
        return chosen
    except (TypeError, ValueError) as error:
        known = ", ".join(f"{field.name}={field.default}" for field in fields(objective))
        raise BadOptionError(
            f"got loss weights {dict(weights)}, expected some of {known}, which {architecture} is trained with, and "
            "numbers of at least 0"
        ) from error


def resolved(options: TrainingOptions, network: Any, objective: Objective, rate: float) -> TrainingOptions:
    """The options with nothing left open, checked against the network."""
    suited = network.multiple_of * math.ceil((options.crop or CROP) / network.multiple_of)
    if options.crop not in (None, suited):
        raise BadOptionError(
            f"the crops are {options.crop} pixels, expected a multiple of {network.multiple_of}: give --crop {suited}"
        )
    return replace(
        options,
        architecture=network.architecture,
        sizes=asdict(network.size),
        crop=suited,
        learning_rate=rate,
        gaps=options.chosen_gaps,
        augmentation=options.augmentation or objective.augmentation,
    )


def fingerprint(volumes: Sequence[Volume]) -> str:
    """Shapes and checksums of volumes, in their order."""
    sums = {id(volume): zlib.crc32(volume.tobytes()) for volume in volumes}
    return ", ".join(f"{'x'.join(map(str, volume.shape))}:{sums[id(volume)]:08x}" for volume in volumes)


def precision(device: torch.device) -> Any:
    """Autocast to bfloat16 where the device does it in hardware, else nothing."""
    if choose_precision("auto", device) == torch.bfloat16:
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def mean_db(losses: Sequence[float]) -> float | None:
    """Mean of natural logarithms in decibels."""
    return 10 / math.log(10) * float(np.mean(losses)) if losses else None


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    for a, b in zip(average.parameters(), network.parameters(), strict=True):
        a.lerp_(b, 1 - decay)


def checkpoint_path(out: Path) -> Path:
    """Where a training towards ``out`` keeps what going on needs."""
    return out.with_name(out.name + CHECKPOINT_SUFFIX)


def check_out(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse an output that could not be written at the end, or that would replace something unasked."""
    if out.suffix != ".safetensors":
        raise BadOptionError(f"the weights are to be written to {out}, expected a name that ends in .safetensors")
    if not out.parent.is_dir():
        raise OutputError(
            f"the folder {out.parent} does not exist, expected one to write {out.name} into: create it first"
        )
    if overwrite or resume:
        return
    if out.exists():
        raise OutputExistsError(f"{out} exists already: give --overwrite to replace it, or another --out")
    if checkpoint_path(out).exists():
        raise OutputExistsError(
            f"{checkpoint_path(out)} is of an interrupted training: give --resume to go on with it, or --overwrite"
        )
