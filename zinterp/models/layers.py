"""Blocks that more than one network is built from. Tensors are (N, C, H, W)."""

from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Prediction(NamedTuple):
    """What every network returns: planes and standard deviations of their errors, each (N, K, H, W), float32.

    ``sigma`` is in the unit of the planes, and None for networks that do not predict it.
    """

    planes: Tensor
    sigma: Tensor | None


class MirrorConv2d(nn.Module):
    """Convolution that commutes with swapping the two halves of its channels.

    The first half of the channels belongs to the plane before, the second half to the plane after. One set of
    kernels serves both: what the first half of the output does to (first, second), the second half of the output does
    to (second, first). A network made of such layers gives the same plane when the stack is turned upside down and t
    becomes 1 - t, exactly and without having to learn it. This is a group convolution over the group of two elements.

    Parameters
    ----------
    in_channels, out_channels : int
        Both halves together; even.
    kernel_size : int
        Odd; the output has the size of the input.
    dilation : int
        Pixels from one tap of the kernel to the next.

    References
    ----------
    T. Cohen, M. Welling, "Group Equivariant Convolutional Networks", ICML 2016, arXiv:1602.07576.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        if in_channels % 2 or out_channels % 2:
            raise ValueError(f"got {in_channels} and {out_channels} channels, expected even numbers")
        self.dilation = dilation
        self.padding = dilation * (kernel_size // 2)
        self.weight = nn.Parameter(torch.empty(out_channels // 2, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_channels // 2))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x, shape (N, in_channels, H, W), to (N, out_channels, H, W)."""
        return F.conv2d(x, *self.whole(), padding=self.padding, dilation=self.dilation)

    def whole(self) -> tuple[Tensor, Tensor]:
        """Kernels (out_channels, in_channels, k, k) and biases (out_channels,) of both halves."""
        swapped = self.weight.roll(self.weight.shape[1] // 2, dims=1)
        return torch.cat((self.weight, swapped)), torch.cat((self.bias, self.bias))


Layer = TypeVar("Layer", bound=nn.Module)


def starting_at_zero(layer: Layer) -> Layer:
    """The layer with weights of zero, so that at first it adds nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def mirror_cat(*tensors: Tensor) -> Tensor:
    """Tensors (N, C_i, H, W) whose channels are halves of two planes as one such, (N, sum of C_i, H, W)."""
    halves = zip(*(x.chunk(2, dim=1) for x in tensors), strict=True)
    return torch.cat([half for side in halves for half in side], dim=1)


class TimeModulation(nn.Module):
    """Scale and shift of channels by the depth t: the first half sees t, the second half 1 - t.

    References
    ----------
    E. Perez et al., "FiLM: Visual Reasoning with a General Conditioning Layer", AAAI 2018, arXiv:1709.07871.
    """

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        last = nn.Linear(hidden, channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.net = nn.Sequential(nn.Linear(1, hidden), nn.SiLU(), last)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Modulate x, shape (N, C, H, W), by t, shape (N,), in [0, 1]."""
        distances = torch.stack((t, 1 - t), dim=1)[..., None]  # (N, 2, 1)
        scale, shift = self.net(distances).to(x.dtype).chunk(2, dim=2)  # each (N, 2, C/2)
        rows = x.permute(0, 2, 3, 1).flatten(2)  # (N, H, W * C): long rows, as a few channels at a time are slow
        scales, shifts = ((v.flatten(1).repeat(1, x.shape[3])[:, None]) for v in (1 + scale, shift))
        modulated = torch.addcmul(shifts, rows, scales)
        return modulated.view(len(x), x.shape[2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2)


PAIRS = {2: torch.int32, 4: torch.int64}  # two values of so many bytes as one


def folded(x: Tensor, more: Tensor) -> Tensor:
    """2 x 2 pixels of x (N, C, 2h, 2w) as channels, before those of ``more`` (N, D, h, w), D even: (N, 4C + D, h, w).

    As ``pixel_unshuffle`` does, but where gradients are not wanted in channels_last and pixels two by two, which is
    faster by a multiple.
    """
    if torch.is_grad_enabled():
        return torch.cat((F.pixel_unshuffle(x, 2), more), dim=1)
    batch, channels, height, width = x.shape
    made = x.new_empty((batch, height // 2, width // 2, 4 * channels + more.shape[1]))
    pairs = x.contiguous().view(PAIRS[x.itemsize]).view(batch, channels, height // 2, 2, width // 2)
    for row in range(2):
        made.view(PAIRS[x.itemsize])[..., row : 2 * channels : 2] = pairs[:, :, :, row].permute(0, 2, 3, 1)
    made[..., 4 * channels :] = more.permute(0, 2, 3, 1)
    return made.permute(0, 3, 1, 2)


def unfolded(x: Tensor) -> Tensor:
    """Channels of x (N, 4C, h, w) as 2 x 2 pixels, (N, C, 2h, 2w), as ``pixel_shuffle`` does; see ``folded``."""
    if torch.is_grad_enabled():
        return F.pixel_shuffle(x, 2)
    batch, channels, height, width = x.shape
    pairs = x.permute(0, 2, 3, 1).contiguous().view(PAIRS[x.itemsize]).view(batch, height, width, channels // 4, 2)
    made = pairs.permute(0, 3, 1, 4, 2).contiguous().view(x.dtype)
    return made.view(batch, channels // 4, 2 * height, 2 * width)


def upsampled(x: Tensor, scale: int = 2) -> Tensor:
    """Bilinearly ``scale`` times as high and wide."""
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False) if scale > 1 else x


def local_mean(x: Tensor, window: int) -> Tensor:
    """Smooth mean of x around each pixel, over about three windows, shape kept.

    Block means are smoothed and interpolated back, which costs next to nothing for any window. H and W must be
    multiples of ``window``.
    """
    return upsampled(smoothed(F.avg_pool2d(x, window)), window)


def smoothed(blocks: Tensor, size: int = 3) -> Tensor:
    """Means over size x size blocks around each, of those that are there."""
    return F.avg_pool2d(blocks, size, stride=1, padding=size // 2, count_include_pad=False)


def local_rms(x: Tensor, window: int) -> Tensor:
    """Root of the local mean of the squares of all channels, (N, C, H, W) -> (N, 1, H, W); see ``local_mean``."""
    return local_mean(x.square().mean(dim=1, keepdim=True), window).sqrt()


def widely_smoothed(blocks: Tensor) -> Tensor:
    """Means over about 13 x 13 blocks around each, the nearest counting most."""
    return smoothed(smoothed(blocks, 7), 7)


def warp(x: Tensor, flow: Tensor, mode: str = "bilinear", top: int = 0) -> Tensor:
    """Sample x at each pixel plus its flow (backward warping), the border repeated.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    flow : Tensor, shape (N, 2, h, W), float32
        Of all rows or some. Channel 0 is x, channel 1 is y, in pixels.
    mode : str
        ``bilinear`` or ``bicubic``.
    top : int
        Which row of x is the first that flow is of.

    Returns
    -------
    Tensor, shape (N, C, h, W), dtype of x
        The arithmetic is float32.
    """
    height, width = x.shape[2:]
    rows = torch.arange(top, top + flow.shape[2], device=x.device, dtype=torch.float32)[:, None] + flow[:, 1]
    columns = torch.arange(width, device=x.device, dtype=torch.float32) + flow[:, 0]
    grid = torch.stack(((2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1), dim=-1)  # (N, H, W, 2), in [-1, 1]
    return F.grid_sample(x.float(), grid, mode=mode, padding_mode="border", align_corners=False).to(x.dtype)
