"""Forward warping: every pixel is put where its flow takes it. Plain torch, the same bits on every run.

Sums of floating-point numbers depend on their order, and a GPU adds in any. So what is added is rounded to multiples of
2^-40 first, of which float64 holds the sums exactly, in whichever order.

After S. Niklaus, F. Liu, "Softmax Splatting for Video Frame Interpolation", CVPR 2020, arXiv:2003.05534.
"""

import math

import torch
from torch import Tensor

QUANTUM = 2.0**-40
HOLE = 1e-3  # of a pixel: where less falls there is a hole
LEAST, MOST = -10.0, 2.0  # of the importance, so that sums stay far from where float64 rounds


def splat(x: Tensor, flow: Tensor) -> Tensor:
    """Sum x where each pixel plus its flow falls, shared bilinearly by the four pixels there.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    flow : Tensor, shape (N, 2, H, W)
        Channel 0 is x, channel 1 is y, in pixels. What falls outside is lost.

    Returns
    -------
    Tensor, shape (N, C, H, W), dtype of x
        Rounded to 2^-40; sums below 2^13 are exact.
    """
    n, c, height, width = x.shape
    rows = torch.arange(height, device=x.device, dtype=flow.dtype)[:, None] + flow[:, 1]  # (N, H, W)
    columns = torch.arange(width, device=x.device, dtype=flow.dtype) + flow[:, 0]
    top, left = rows.detach().floor(), columns.detach().floor()
    exact = torch.float64 if x.device.type != "mps" else torch.float32  # which has no other
    total = torch.zeros(n, c, height * width, dtype=exact, device=x.device)
    for row in (top, top + 1):
        for column in (left, left + 1):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            share = (1 - (rows - row).abs()) * (1 - (columns - column).abs()) * inside
            row_number, column_number = (torch.where(inside, k, 0).long() for k in (row, column))  # NaN is outside
            index = (row_number * width + column_number).flatten(1)  # (N, H * W)
            parts = (x * share[:, None]).to(exact).flatten(2)
            rounded = parts + ((parts / QUANTUM).round() * QUANTUM - parts).detach()
            total = total.scatter_add(2, index[:, None].expand(-1, c, -1), rounded)
    return total.view(n, c, height, width).to(x.dtype)


def softmax_splat(x: Tensor, flow: Tensor, importance: Tensor, fill: Tensor) -> Tensor:
    """Put every pixel of x where its flow takes it; where several meet, each counts by the exponent of its importance.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    flow : Tensor, shape (N, 2, H, W)
        In pixels.
    importance : Tensor, shape (N, 1, H, W)
        Held between -10 and 2.
    fill : Tensor, shape (N, C, H, W)
        What comes into holes, where hardly a pixel falls, however important it is.

    Returns
    -------
    Tensor, shape and dtype of x
    """
    weight = importance.clamp(LEAST, MOST).exp().to(x.dtype)
    summed = splat(torch.cat((x * weight, weight, torch.ones_like(weight)), dim=1), flow)
    made = summed[:, :-2] / summed[:, -2:-1].clamp(min=HOLE * math.exp(LEAST))
    covered = summed[:, -1:] / (summed[:, -1:] + HOLE)
    return fill + covered * (made - fill)
