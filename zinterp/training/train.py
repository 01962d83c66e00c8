"""The training loop, read from top to bottom."""

import copy
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from zinterp.errors import BadOptionError, BadWeightsError
from zinterp.interpolators.weights import load_network, save_network
from zinterp.models import ARCHITECTURES
from zinterp.models.mirror_unet import cubic_minus_linear
from zinterp.training.data import Augmentation, Batch, CropSampler, Volume
from zinterp.training.losses import log_mse

logger = logging.getLogger(__name__)

CHECKPOINT_SUFFIX = ".checkpoint"


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
        If there is nothing to resume.
    BadWeightsError
        If the checkpoint is of another training, or ``init`` cannot be used.
    """
    torch.manual_seed(options.seed)
    network: Any = load_network(init) if init else ARCHITECTURES[options.architecture](options.sizes)
    network = network.to(device, memory_format=torch.channels_last)
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
    step, elapsed_before = 0, 0.0
    if resume:
        step, elapsed_before = load_checkpoint(checkpoint, options, network, average, optimizer, sampler)
    start, gain, losses = time.monotonic(), None, []
    network.train()
    for batch in sampler.batches(options.batch):
        elapsed = elapsed_before + time.monotonic() - start
        done = step / options.steps if options.steps else elapsed / (60 * (options.minutes or math.inf))
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * learning_rate_factor(step, done, options.steps)
        losses.append(train_step(network, optimizer, batch, device))
        step += 1
        update_average(average, network, min(options.ema, step / (step + 10)))
        if step % score_every == 0 and held_out:
            gain = score(average, held_out, device)
        if step % report_every == 0:
            report(Progress(step, done, elapsed, 10 / math.log(10) * float(np.mean(losses)), gain))
            losses.clear()
        if step % score_every == 0:
            save_checkpoint(checkpoint, options, network, average, optimizer, sampler, step, elapsed)
    gain = score(average, held_out, device) if held_out else None
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


def save_checkpoint(
    path: Path,
    options: TrainingOptions,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    sampler: CropSampler,
    step: int,
    elapsed: float,
) -> None:
    """Everything that resuming needs, written to a temporary name and renamed."""
    state = {
        "options": repr(options),
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "sampler": sampler.rng.bit_generator.state,
        "step": step,
        "elapsed": elapsed,
    }
    temporary = path.with_name(path.name + ".partial")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_checkpoint(
    path: Path,
    options: TrainingOptions,
    network: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    sampler: CropSampler,
) -> tuple[int, float]:
    """Put everything back and return the step and the seconds that training had taken."""
    if not path.exists():
        raise BadOptionError(f"there is no checkpoint {path} to resume from: train without --resume")
    state = torch.load(path, weights_only=True, map_location="cpu")
    if state["options"] != repr(options):
        raise BadWeightsError(f"the checkpoint {path} was made with {state['options']}, this training has {options!r}")
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    sampler.rng.bit_generator.state = state["sampler"]
    return int(state["step"]), float(state["elapsed"])
