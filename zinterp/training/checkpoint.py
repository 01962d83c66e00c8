"""Everything that going on with a training needs, in one file beside its output."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zinterp.errors import BadOptionError, BadWeightsError, OutputError
from zinterp.training.data import CropSampler
from zinterp.training.held_out import HeldOut, Score
from zinterp.volume import partial_path

CHECKPOINT_SUFFIX = ".checkpoint"
NUMBERS = ("before", "latest", "after", "best_choice", "step", "scores", "elapsed")


@dataclass
class Checkpoint:
    """A training under way: what it is, and where it stands.

    Parameters
    ----------
    path : Path
        The file.
    training : str
        Options and data: all that must be the same for going on.
    network, average, best : nn.Module
        The one that learns, the moving average of its weights, and that average when it scored best.
    optimizer : torch.optim.Optimizer
    before, latest, after : float or None
        Scores on the held-out planes to judge by: of the weights that it started from, of the latest, of the best.
    best_choice : float or None
        Score of the best on the held-out planes to choose by.
    step, scores : int
        Steps done and scores taken.
    elapsed : float
        Seconds of training.
    """

    path: Path
    training: str
    network: nn.Module
    average: nn.Module
    best: nn.Module
    optimizer: torch.optim.Optimizer
    before: float | None = None
    latest: float | None = None
    after: float | None = None
    best_choice: float | None = None
    step: int = 0
    scores: int = 0
    elapsed: float = 0.0

    def score(self, held_out: HeldOut, score: Score, precision: Any) -> None:
        """Score the averaged weights, and keep them if they are the best; without held-out planes the latest are."""
        choice = held_out.choose(score, precision)
        self.latest = held_out.judge(score, precision)
        if choice is None or self.best_choice is None or choice > self.best_choice:
            self.best.load_state_dict(self.average.state_dict())
            self.best_choice, self.after = choice, self.latest

    def save(self, position: dict[str, Any]) -> None:
        """Write to a temporary name and rename; ``position`` is where the sampler stood after this step's crops."""
        state = {
            "training": self.training,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "sampler": position,
            **{name: getattr(self, name) for name in NUMBERS},
        }
        temporary = partial_path(self.path)
        try:
            torch.save(state, temporary)
            os.replace(temporary, self.path)
        except (OSError, RuntimeError) as error:  # RuntimeError is what torch makes of a full disk
            raise OutputError(f"cannot write {self.path} ({error}): free some space, then --resume") from error

    def load(self, sampler: CropSampler) -> None:
        """Put everything back."""
        if not self.path.exists():
            raise BadOptionError(f"there is no checkpoint {self.path} to resume from: train without --resume")
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise BadWeightsError(f"the checkpoint {self.path} is damaged: train without --resume") from error
        if state.get("training") != self.training:
            raise BadWeightsError(
                f"the checkpoint {self.path} is of {state.get('training')}, this training is {self.training}"
            )
        try:
            for name in ("network", "average", "best", "optimizer"):
                getattr(self, name).load_state_dict(state[name])
            for name in NUMBERS:
                setattr(self, name, state[name])
            sampler.rng.bit_generator.state = state["sampler"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise BadWeightsError(
                f"the checkpoint {self.path} is not of this network: train without --resume"
            ) from error
