"""The flows of the shipped networks that follow motion, on motion that is known."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from zinterp.interpolators.weights import load_network, shipped_weights
from zinterp.models.layers import warp
from zinterp.models.motion import MotionNetwork

AMPLITUDE, PERIOD = 1.0, 128  # pixels
BORDER = 16  # pixels, where what a plane shows may have come from outside


@pytest.mark.parametrize("name", ["super-slomo", "nested-unet", "fbnet", "softsplat"])
def test_a_known_sinusoidal_motion_is_undone_to_a_tenth_of_a_pixel(name: str) -> None:
    network = load_network(shipped_weights()[name].path).eval()
    assert isinstance(network, MotionNetwork)
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((192, 192)), 2)
    second = torch.from_numpy(((texture - texture.min()) / np.ptp(texture)).astype(np.float32))[None, None]
    y, x = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
    known = AMPLITUDE * torch.stack((torch.sin(2 * torch.pi * y / PERIOD), torch.cos(2 * torch.pi * x / PERIOD)))[None]
    first = warp(second, known, mode="bicubic")
    with torch.inference_mode():
        found, _ = network.flows(torch.cat((first, second), dim=1))
    inner = slice(BORDER, -BORDER)
    off = (found - known).square().sum(dim=1).sqrt()[0, inner, inner]
    assert known.square().sum(dim=1).sqrt().mean() > 0.9  # of what there is to find
    assert off.mean() < 0.1
    undone = (warp(second, found) - first).square().mean().sqrt()
    assert undone < 0.2 * (second - first).square().mean().sqrt()
