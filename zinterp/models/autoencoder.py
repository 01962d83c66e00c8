"""A small autoencoder of planes, whose features say how alike two planes look."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import upsampled
from zinterp.models.motion import Size

MIDDLE, SPREAD = 0.5, 0.25  # of the intensity range, what planes are centred and divided by
FEATURE_RMS = 10.0  # of the features, on average over the planes that it was trained on


@dataclass(frozen=True)
class AutoencoderSize(Size):
    """Channels of each level, the finest first; the last ones are the features."""

    channels: tuple[int, ...] = (16, 32, 64)


class Autoencoder(nn.Module):
    """Planes to features at a coarser scale, and back.

    Attributes
    ----------
    scale : Tensor
        What features are multiplied by, so that their root mean square is 10.
    """

    architecture = "autoencoder"

    def __init__(self, size: AutoencoderSize | None = None) -> None:
        super().__init__()
        self.size = size or AutoencoderSize()
        channels = self.size.channels
        self.down = nn.ModuleList(convolutions(a, b) for a, b in zip((1, *channels[:-1]), channels, strict=True))
        self.up = nn.ModuleList(convolutions(b, a) for a, b in pairwise(channels))
        self.head = nn.Conv2d(channels[0], 1, 3, padding=1)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(1))

    def encode(self, planes: Tensor) -> Tensor:
        """Planes (N, 1, H, W) -> features before they are scaled, (N, C, H / 4, W / 4) with three levels."""
        x = (planes - MIDDLE) / SPREAD
        for level, block in enumerate(self.down):
            x = block(F.avg_pool2d(x, 2) if level else x)
        return x

    def features(self, planes: Tensor) -> Tensor:
        """Planes (N, 1, H, W) -> features (N, C, H / 4, W / 4) with three levels."""
        return self.scale * self.encode(planes)

    def forward(self, planes: Tensor) -> Tensor:
        """Planes (N, 1, H, W) -> the same from their features, (N, 1, H, W)."""
        x = self.encode(planes)
        for block in list(self.up)[::-1]:
            x = block(upsampled(x))
        decoded: Tensor = self.head(x) * SPREAD + MIDDLE
        return decoded


def convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions with rectifiers."""
    first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
