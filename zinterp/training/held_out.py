"""The planes that are kept from training, and what a network makes of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from zinterp.models.mirror_unet import cubic_minus_linear
from zinterp.training.data import Batch, CropSampler, Volume

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

    def choose(self, network: Any, precision: Any) -> float | None:
        """Gain on the crops to choose by."""
        return gain(network, self.choosing, precision)

    def judge(self, network: Any, precision: Any) -> float | None:
        """Gain on the crops to judge by."""
        return gain(network, self.judging, precision)


@torch.no_grad()
def gain(network: Any, batches: Sequence[Batch], precision: Any) -> float | None:
    """Mean gain in dB of a network over the better of linear and cubic, crop by crop; None if there are no crops."""
    gains = []
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    for batch in batches:
        planes, times, truth = (x.to(device) for x in (batch.around(network.context), batch.times, batch.targets))
        t = times[..., None]
        around = batch.around(2).to(device)
        linear = (1 - t) * around[:, 1] + t * around[:, 2]
        cubic = linear + cubic_minus_linear(around, t)
        with precision:
            ours = network(planes, times).planes[:, 0]
        errors = [(x - truth[:, 0]).square().mean(dim=(1, 2)) + 1e-8 for x in (ours, linear, cubic)]
        gains.append(10 * torch.log10(torch.minimum(errors[1], errors[2]) / errors[0]))
    return float(torch.cat(gains).mean()) if gains else None
