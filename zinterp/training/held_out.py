"""The planes that are kept from training, and what a network makes of them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zinterp.training.data import Batch, CropSampler, Volume

Score = Callable[[Batch], torch.Tensor]
"""How good a network is on each crop of a batch, (N,)."""

logger = logging.getLogger(__name__)

BATCHES, BATCH = 12, 8
SEED = 20240
FEWEST = 3  # planes, of which one can be hidden


def split(volumes: Sequence[Volume], part: float) -> tuple[list[Volume], list[Volume]]:
    """Volumes without their trailing planes, and these: at least three, where three are left to train on."""
    training, trailing = [], []
    for volume in volumes:
        count = max(round(len(volume) * part), FEWEST if part else 0)
        if count and len(volume) - count >= FEWEST:
            training.append(volume[:-count])
            trailing.append(volume[-count:])
        else:
            training.append(volume)
            if part:
                logger.warning(
                    "a stack of %d planes is too thin to hold some of them out: it is not scored", len(volume)
                )
    return training, trailing


@dataclass(frozen=True)
class HeldOut:
    """Fixed crops of held-out planes: some to choose the best weights by, others to say how good these are."""

    choosing: tuple[Batch, ...]
    judging: tuple[Batch, ...]

    @classmethod
    def draw(cls, volumes: Sequence[Volume], *, gaps: tuple[int, int], size: int, context: int) -> "HeldOut":
        """Crops as they are, planes hidden along z; none if there are no volumes."""
        if not volumes:
            return cls((), ())
        sampler = CropSampler(volumes, gaps=gaps, axes=(0,), size=size, context=context, seed=SEED)
        batches = [sampler.batch(BATCH) for _ in range(BATCHES)]
        return cls(tuple(batches[::2]), tuple(batches[1::2]))

    def choose(self, score: Score, precision: Any) -> float | None:
        """Mean score on the crops to choose by; None if there are no crops."""
        return mean_score(score, self.choosing, precision)

    def judge(self, score: Score, precision: Any) -> float | None:
        """Mean score on the crops to judge by; None if there are no crops."""
        return mean_score(score, self.judging, precision)


def mean_score(score: Score, batches: Sequence[Batch], precision: Any) -> float | None:
    """Mean over all crops of batches."""
    with precision:
        scores = [score(batch).float().cpu() for batch in batches]
    return float(torch.cat(scores).mean()) if scores else None
