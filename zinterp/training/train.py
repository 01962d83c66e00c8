"""The training loop, read from top to bottom."""

import copy
import logging
import math
import os
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from zinterp.errors import BadOptionError, BadVolumeError, BadWeightsError, OutputError
from zinterp.interpolators.network import choose_device
from zinterp.interpolators.weights import load_network, save_network
from zinterp.models import ARCHITECTURES
from zinterp.models.mirror_unet import cubic_minus_linear
from zinterp.training.data import Augmentation, Batch, CropSampler, Volume
from zinterp.training.losses import log_mse
from zinterp.volume import partial_path

logger = logging.getLogger(__name__)

CHECKPOINT_SUFFIX = ".checkpoint"
CHECKPOINT_EVERY_S = 60.0
CROP_MULTIPLE = 16  # what every network's levels divide


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that decides the outcome, recorded with the weights."""

    architecture: str = "mirror-unet"
    sizes: dict[str, Any] = field(default_factory=dict)
    steps: int | None = None
    minutes: float | None = None
    batch: int = 16
    crop: int = 96
    learning_rate: float = 1.5e-3
    ema: float = 0.999
    gaps: tuple[int, int] = (2, 8)
    axes: tuple[int, ...] = (0, 1, 2)
    held_out: float = 0.2
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if self.architecture not in ARCHITECTURES:
            raise BadOptionError(f"unknown network {self.architecture!r}, expected one of {', '.join(ARCHITECTURES)}")
        if (self.steps is None) == (self.minutes is None):
            raise BadOptionError("got both or neither of steps and minutes, expected one of them: how long to train")
        if (self.steps is not None and self.steps < 1) or (self.minutes is not None and self.minutes <= 0):
            raise BadOptionError(f"got {self.steps} steps, {self.minutes} minutes, expected more than none")
        if self.crop < CROP_MULTIPLE or self.crop % CROP_MULTIPLE:
            raise BadOptionError(
                f"the crops are {self.crop} pixels, expected a multiple of {CROP_MULTIPLE}: give --crop 96"
            )
        if not 2 <= self.gaps[0] <= self.gaps[1]:
            raise BadOptionError(f"the gaps are {self.gaps[0]} to {self.gaps[1]}, expected at least 2, the lower first")


@dataclass(frozen=True)
class Progress:
    """Where training stands: ``done`` in [0, 1]; loss and held-out gain in decibels, the latter once it is known."""

    step: int
    done: float
    elapsed_s: float
    loss_db: float
    held_out_gain_db: float | None


def train(
    volumes: Sequence[Volume],
    out: Path,
    options: TrainingOptions,
    *,
    init: Path | None = None,
    device: str = "cpu",
    resume: bool = False,
    data: str = "",
    report: Callable[[Progress], None] = lambda progress: None,
    report_every: int = 50,
    score_every: int = 500,
) -> float | None:
    """Train a network and write its weights.

    Parameters
    ----------
    volumes : sequence of ndarray, each shape (Z, Y, X), float16, about [0, 1]
        The trailing ``options.held_out`` of the planes of each are kept from training and scored instead.
    out : Path
        The ``.safetensors`` file to write; the checkpoint lies beside it while training is under way.
    options : TrainingOptions
    init : Path or None
        Weights to start from; None starts from random ones.
    device : str
        Where torch computes: ``cpu``, ``cuda`` or ``cuda:N``.
    resume : bool
        Go on from the checkpoint.
    data : str
        What the volumes are, recorded in the weights.
    report : callable
        Called every ``report_every`` steps with a Progress.

    Returns
    -------
    float or None
        The last held-out gain in dB over the better of linear and cubic; None if no volume had planes to hold out.

    Raises
    ------
    BadOptionError
        If there is nothing to resume, or an option cannot be.
    OutputError
        If the output or the checkpoint cannot be written.
    BadWeightsError
        If the checkpoint is of another training, or ``init`` cannot be used.
    """
    check_out(out)
    where = str(choose_device(device))
    torch.manual_seed(options.seed)
    network: Any = load_network(init) if init else ARCHITECTURES[options.architecture](options.sizes)
    network = network.to(where, memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-4)
    training, held_out = split(volumes, options)
    sampler = CropSampler(
        training,
        gaps=options.gaps,
        axes=options.axes,
        size=options.crop,
        augmentation=options.augmentation,
        seed=options.seed,
    )
    checkpoint = out.with_name(out.name + CHECKPOINT_SUFFIX)
    state = Checkpoint(checkpoint, f"{options!r} on {data} from {init}", network, average, optimizer)
    step, elapsed_before = state.load(sampler) if resume else (0, 0.0)
    start, elapsed, saved = time.monotonic(), elapsed_before, elapsed_before
    gain: float | None = None
    losses: list[float] = []
    network.train()
    with closing(sampler.batches(options.batch)) as stream:
        for batch, position in stream:
            elapsed = elapsed_before + time.monotonic() - start
            done = step / options.steps if options.steps else elapsed / (60 * (options.minutes or math.inf))
            if done >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = options.learning_rate * learning_rate_factor(step, done, options.steps)
            losses.append(train_step(network, optimizer, batch, where))
            if not math.isfinite(losses[-1]):
                raise BadVolumeError(
                    f"the loss is {losses[-1]} at step {step}, expected a finite one: lower --learning-rate"
                )
            step += 1
            update_average(average, network, min(options.ema, step / (step + 10)))
            if step % score_every == 0 and held_out:
                gain = score(average, held_out, where)
            if step % score_every == 0 or elapsed - saved > CHECKPOINT_EVERY_S:
                state.save(position, step, elapsed)
                saved = elapsed
            if step % report_every == 0:
                report(Progress(step, done, elapsed, 10 / math.log(10) * float(np.mean(losses)), gain))
                losses.clear()
    gain = score(average, held_out, where) if held_out else None
    elapsed = elapsed_before + time.monotonic() - start
    save_network(
        out,
        average,
        architecture=options.architecture,
        sizes=asdict(average.size),
        about={
            "data": data,
            "init": str(init or ""),
            "steps": str(step),
            "minutes": f"{elapsed / 60:.1f}",
            "options": str(asdict(options)),
        },
    )
    checkpoint.unlink(missing_ok=True)
    report(Progress(step, 1.0, elapsed, math.nan, gain))
    return gain


def split(volumes: Sequence[Volume], options: TrainingOptions) -> tuple[list[Volume], list[Batch]]:
    """Planes to train on, and fixed batches of crops from the trailing planes that are not trained on."""
    training, trailing = [], []
    for volume in volumes:
        count = round(len(volume) * options.held_out)
        if count >= 3 and len(volume) - count >= 3:
            training.append(volume[:-count])
            trailing.append(volume[-count:])
        else:
            training.append(volume)
    if not trailing:
        return training, []
    sampler = CropSampler(trailing, axes=(0,), size=options.crop, seed=20240)
    return training, [sampler.batch(options.batch) for _ in range(8)]


def learning_rate_factor(step: int, done: float, steps: int | None = None) -> float:
    """Linear warm-up over 200 steps, at most a tenth of all, then half a cosine down to a hundredth."""
    warm_up = min(200, max(1, steps // 10)) if steps else 200
    return min(1.0, (step + 1) / warm_up) * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)


def train_step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, device: str) -> float:
    """One step; the loss it started from."""
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        prediction = network(batch.planes.to(device), batch.times.to(device))
    loss = log_mse(prediction, batch.targets.to(device))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    for a, b in zip(average.parameters(), network.parameters(), strict=True):
        a.lerp_(b, 1 - decay)


@torch.no_grad()
def score(network: nn.Module, batches: Sequence[Batch], device: str) -> float:
    """Mean gain in dB of the network over the better of linear and cubic, crop by crop."""
    gains = []
    for batch in batches:
        planes, times, target = (x.to(device) for x in (batch.planes, batch.times, batch.targets))
        t = times[:, :, None]
        linear = (1 - t) * planes[:, 1] + t * planes[:, 2]
        cubic = linear + cubic_minus_linear(planes, t)
        truth = target[:, 0]
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            ours = network(planes, times)[:, 0]
        errors = [(x - truth).square().mean(dim=(1, 2)) + 1e-8 for x in (ours, linear, cubic)]
        gains.append(10 * torch.log10(torch.minimum(errors[1], errors[2]) / errors[0]))
    return float(torch.cat(gains).mean())


@dataclass(frozen=True)
class Checkpoint:
    """Everything that going on needs, in one file beside the output."""

    path: Path
    training: str
    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer

    def save(self, position: dict[str, Any], step: int, elapsed: float) -> None:
        """Write to a temporary name and rename; ``position`` is where the sampler stood after this step's crops."""
        state = {
            "training": self.training,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sampler": position,
            "step": step,
            "elapsed": elapsed,
        }
        temporary = partial_path(self.path)
        try:
            torch.save(state, temporary)
            os.replace(temporary, self.path)
        except (OSError, RuntimeError) as error:  # RuntimeError is what torch makes of a full disk
            raise OutputError(f"cannot write {self.path} ({error}): free some space, then --resume") from error

    def load(self, sampler: CropSampler) -> tuple[int, float]:
        """Put everything back and return the step and the seconds that training had taken."""
        if not self.path.exists():
            raise BadOptionError(f"there is no checkpoint {self.path} to resume from: train without --resume")
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise BadWeightsError(f"the checkpoint {self.path} is damaged: train without --resume") from error
        if state["training"] != self.training:
            raise BadWeightsError(
                f"the checkpoint {self.path} is of {state['training']}, this training is {self.training}"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        sampler.rng.bit_generator.state = state["sampler"]
        return int(state["step"]), float(state["elapsed"])


def check_out(out: Path) -> None:
    """Refuse an output that could not be written at the end."""
    if out.suffix != ".safetensors":
        raise BadOptionError(f"the weights are to be written to {out}, expected a name that ends in .safetensors")
    if not out.parent.is_dir():
        raise OutputError(
            f"the folder {out.parent} does not exist, expected one to write {out.name} into: create it first"
        )
