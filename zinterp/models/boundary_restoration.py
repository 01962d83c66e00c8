"""BoundaryRestoration: a small residual U-Net that gives synthesised planes back the edges of acquired ones.

A network that is trained for the least squared error shows the mean of all planes that could have been there, which is
smoother than each of them. This one sees such a plane beside the two acquired ones and adds what is missing. As in
MirrorUNet, everything is seen in local units, both sides of the gap are treated alike, and what is added is a bounded
multiple of how far the two acquired planes disagree: where they are equal nothing is added, whatever the weights are.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import Prediction, local_mean, local_rms, starting_at_zero
from zinterp.models.mirror_unet import CONVOLUTIONS, FLOOR, MOST, WINDOW, Encoder, UpwardPath
from zinterp.models.motion import Size
from zinterp.models.strips import cut, in_strips, upsampled_rows

BOUND = 3.0  # no pixel is changed by more than this many times the local disagreement of the acquired planes


@dataclass(frozen=True)
class BoundaryRestorationSize(Size):
    """Channels of each level, the finest first, all even."""

    channels: tuple[int, ...] = (16, 36, 64, 96)

    def __post_init__(self) -> None:
        if len(self.channels) < 2 or any(channels % 2 for channels in self.channels):
            raise ValueError(f"got channels {self.channels}, expected two or more even numbers")


class BoundaryRestoration(nn.Module):
    """Restore synthesised planes, and say how far off they then may be.

    Parameters
    ----------
    size : BoundaryRestorationSize

    Attributes
    ----------
    multiple_of : int
        Height and width of the planes must be multiples of this.
    overlap : int
        Pixels that neighbouring tiles should share.
    bytes_per_pixel : tuple of int
        Measured peak of a call, rounded up, in float32 and in fewer bits.
    """

    architecture = "boundary-restoration"
    multiple_of = WINDOW
    overlap = 128
    bytes_per_pixel = (550, 350)

    def __init__(self, size: BoundaryRestorationSize | None = None) -> None:
        super().__init__()
        self.size = size or BoundaryRestorationSize()
        channels = self.size.channels
        self.encoder = Encoder(2 * 5, channels)
        self.decoder = UpwardPath(channels)
        self.head = starting_at_zero(nn.Conv2d(channels[0] // 2, 2, 3, padding=1))

    def forward(self, neighbours: Tensor, plane: Tensor, sigma: Tensor, times: Tensor) -> Prediction:
        """Restore one plane of each gap.

        Parameters
        ----------
        neighbours : Tensor, shape (N, 2, H, W), float32
            The acquired planes before and after, normalised to about [0, 1].
        plane, sigma : Tensor, shape (N, 1, H, W), float32
            The synthesised plane and the standard deviations of its errors.
        times : Tensor, shape (N,), float32
            Its depths in the gap, in (0, 1).

        Returns
        -------
        Prediction
            The restored plane and the standard deviations of its errors, each (N, 1, H, W), float32.
        """
        disagreement = local_rms(neighbours[:, 1:] - neighbours[:, :1], WINDOW)  # (N, 1, H, W)
        centred = plane - local_mean(plane, WINDOW)
        contrast = local_rms(centred, WINDOW).clamp(min=FLOOR)

        def seen(rows: range) -> Tensor:
            unit, here = cut(disagreement, rows).clamp(min=FLOOR), cut(plane, rows)
            middle, around, sure = cut(centred, rows), cut(contrast, rows), cut(sigma, rows)
            scene = (middle / unit, middle / around, (sure / unit).log(), (unit / around).log())
            shared = torch.cat(scene, dim=1).clamp_(-MOST, MOST)
            apart = ((cut(neighbours, rows) - here) / unit).clamp_(-MOST, MOST)
            return torch.cat((apart[:, :1], shared, apart[:, 1:], shared), dim=1)

        features = self.encoder(seen, plane.shape)
        coarse = self.decode(features, times)

        def finest(rows: range) -> Tensor:
            decoded = self.decoder.refine(-1, upsampled_rows(coarse, rows, 2), cut(features[0], rows), times)
            with torch.autocast(plane.device.type, enabled=False):
                both = torch.cat((self.head.weight, self.head.weight), dim=1)
                missing, doubt = F.conv2d(decoded.float(), both, self.head.bias, padding=1).chunk(2, dim=1)
                restored = cut(plane, rows) + cut(disagreement, rows) * BOUND * torch.tanh(missing / BOUND)
                return torch.cat((restored, cut(sigma, rows) * torch.exp(torch.tanh(doubt))), dim=1)

        restored, deviations = in_strips(finest, plane.shape, reach=CONVOLUTIONS + 1).chunk(2, dim=1)
        return Prediction(restored, deviations)

    def decode(self, features: list[Tensor], t: Tensor) -> Tensor:
        """Features of each level and t (N,) -> what the finest level begins with, (N, C_0, H / 2, W / 2)."""
        x = self.decoder.start(features, t)
        for i, skip in enumerate(features[-2:0:-1]):
            x = self.decoder.level(i, self.decoder.narrow[i](x), partial(cut, skip), skip.shape, t)
        narrowed: Tensor = self.decoder.narrow[-1](x)
        return narrowed
