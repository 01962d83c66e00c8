"""Train variants of the default network alike, for a short time, and say how good each becomes.

usage: python tests/benchmarks/architectures.py --train STACK,... --score VOLUME,... [--variants plain,...]
       [--steps 1000] [--json FILE]

All variants see the same crops in the same order, take the same number of steps and cost the same multiplications
within 10 % (the last two, as the shipped default with wider levels, a third more); what differs is what the name says.
Volumes to score are as in quality.py. The table in weights/README.md was made with an earlier version of this program.
"""

import argparse
import copy
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from quality import table

from zinterp.interpolators.network import interpolator_of
from zinterp.models.layers import MirrorConv2d, Prediction, local_mean, local_rms, starting_at_zero, upsampled, warp
from zinterp.models.mirror_unet import (
    BOUND,
    FLOOR,
    WINDOW,
    Encoder,
    MirrorUNet,
    MirrorUNetSize,
    Scene,
    UpwardPath,
    bends,
    cubic_minus_linear,
    time_shares,
)
from zinterp.models.splat import splat
from zinterp.models.strips import cut
from zinterp.training.data import Augmentation, CropSampler, read_training_volumes
from zinterp.training.losses import laplacian, likelihood
from zinterp.training.objectives import ForMirrorUNet
from zinterp.training.train import update_average

logger = logging.getLogger("architectures")

CHANNELS = (32, 64, 128, 192, 192)
WIDE = (32, 72, 144, 256, 256)
RATE, EMA = 1.5e-3, 0.99


class Plain(nn.Module):
    """Direct synthesis: a residual U-Net over four planes, without motion and without statistics of the grain."""

    context, multiple_of, uncertain = 2, 16, True
    overlap, bytes_per_pixel = MirrorUNet.overlap, (1000, 700)
    inputs = 10  # channels
    outputs = 3  # of the head: residual, blend, doubt
    phases = 1

    def __init__(self, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        self.encoder = Encoder(self.inputs * self.phases, channels)
        self.decoder = UpwardPath(channels)
        self.head = starting_at_zero(nn.Conv2d(channels[0] // 2, self.outputs * self.phases, 3, padding=1))

    def forward(self, planes: Tensor, times: Tensor) -> Prediction:
        inputs, roughness = self.normalise(planes)
        features = self.encoder(partial(cut, inputs), inputs.shape)
        made = [self.synthesise(planes, features, roughness, t) for t in times.unbind(1)]
        return Prediction(*(torch.stack(each, dim=1) for each in zip(*made, strict=True)))

    def normalise(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        step, bend = planes[:, 2:3] - planes[:, 1:2], bends(planes)
        disagreement, roughness = local_rms(step, WINDOW).clamp(min=FLOOR), local_rms(bend, WINDOW)
        unit = roughness.clamp(min=FLOOR)
        middle = (planes[:, 1:2] + planes[:, 2:3]) / 2
        centred = middle - local_mean(middle, WINDOW)
        contrast = local_rms(centred, WINDOW).clamp(min=FLOOR)
        scene = torch.cat((centred / contrast, (disagreement / contrast).log(), (unit / disagreement).log()), dim=1)
        step, bend = step / disagreement, bend / unit
        return torch.cat((-step, bend[:, :1], scene, step, bend[:, 1:], scene), dim=1), roughness

    def synthesise(self, planes: Tensor, features: list[Tensor], roughness: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x = self.decoder.start(features, t)
        for i, skip in enumerate(features[-2::-1]):
            x = self.level(i, x, skip, t)
        return self.finish(planes, x, roughness, t)

    def level(self, i: int, x: Tensor, skip: Tensor, t: Tensor) -> Tensor:
        """The next finer level of the decoder, the i-th from below."""
        return self.decoder.refine(i, upsampled(self.decoder.narrow[i](x)), skip, t)

    def finish(self, planes: Tensor, decoded: Tensor, roughness: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """From decoded features to a plane and its deviation (N, H, W)."""
        with torch.autocast(planes.device.type, enabled=False):
            both = torch.cat((self.head.weight, self.head.weight), dim=1)
            maps = F.conv2d(decoded.float(), both, self.head.bias, padding=1)
            residual, blend, doubt = F.pixel_shuffle(maps, round(self.phases**0.5)).unbind(1)
            t = t[:, None, None]
            plane = planes[:, 1] + t * (planes[:, 2] - planes[:, 1])
            plane = plane + 2 * torch.sigmoid(blend) * cubic_minus_linear(planes, t)
            plane = plane + roughness[:, 0] * BOUND * torch.tanh(residual / BOUND)
            return plane, roughness[:, 0].clamp(min=FLOOR) * torch.exp(doubt.clamp(-8, 8) - 1)


class TwoPlanes(Plain):
    """Sees the two planes beside the gap only: the outer ones are replaced by them."""

    def forward(self, planes: Tensor, times: Tensor) -> Prediction:
        return super().forward(planes[:, [1, 1, 2, 2]], times)


class Grain(Plain):
    """Also sees how the finest structure bends and steps over a wide area: whether grain is shared by planes."""

    inputs = 14

    def normalise(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        inputs, roughness = super().normalise(planes)
        first, second = inputs.chunk(2, dim=1)
        grain = Scene(planes).grain()
        return torch.cat((first, grain, second, grain), dim=1), roughness


class Flow(Plain):
    """Backward flows to t from the level of a quarter of the pixels; planes and finer features are warped by them."""

    reach = 8.0  # coarse pixels

    def __init__(self) -> None:
        super().__init__()
        self.flow = starting_at_zero(MirrorConv2d(CHANNELS[2], 4, 3))

    def move(self, x: Tensor, flow: Tensor) -> Tensor:
        """x (N, C, H, W) moved by a coarse flow (N, 2, H/s, W/s)."""
        scale = x.shape[-1] // flow.shape[-1]
        return warp(x, scale * upsampled(flow, scale))

    def synthesise(self, planes: Tensor, features: list[Tensor], roughness: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x = self.decoder.start(features, t)
        flows: tuple[Tensor, ...] = ()
        for i, skip in enumerate(features[-2::-1]):
            if flows:
                halves = zip(skip.chunk(2, dim=1), flows, strict=True)
                skip = torch.cat([self.move(half, flow) for half, flow in halves], dim=1)
            x = self.level(i, x, skip, t)
            if x.shape[1] == CHANNELS[2]:
                flows = (time_shares(t) * self.reach * torch.tanh(self.flow(x).float() / self.reach)).chunk(2, dim=1)
        moved = torch.cat((self.move(planes[:, :2], flows[0]), self.move(planes[:, 2:], flows[1])), dim=1)
        return self.finish(moved, x, roughness, t)


class Splat(Flow):
    """As Flow, but features and planes are splatted forward from where they are."""

    def move(self, x: Tensor, flow: Tensor) -> Tensor:
        scale = x.shape[-1] // flow.shape[-1]
        fine = scale * upsampled(flow, scale)
        summed = splat(torch.cat((x.float(), torch.ones_like(x[:, :1], dtype=torch.float32)), dim=1), fine)
        return ((summed[:, :-1] + 0.05 * x) / (summed[:, -1:] + 0.05)).to(x.dtype)


class Half(Plain):
    """Begins and ends at half the pixels, phases as channels, is wider for it, and refines flows by level."""

    phases = 4
    reach = 4.0  # pixels of a level, that it can add

    def __init__(self) -> None:
        channels = (72, 144, 256, 256)
        super().__init__(channels)
        self.flows = nn.ModuleList(starting_at_zero(MirrorConv2d(c, 4, 3)) for c in channels[-2::-1])

    def normalise(self, planes: Tensor) -> tuple[Tensor, Tensor]:
        inputs, roughness = super().normalise(planes)
        return torch.cat([F.pixel_unshuffle(half, 2) for half in inputs.chunk(2, dim=1)], dim=1), roughness

    def synthesise(self, planes: Tensor, features: list[Tensor], roughness: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        x = self.decoder.start(features, t)
        flow: Tensor | None = None  # (N, 4, h, w): to the plane before and to the plane after, in pixels of the level
        for i, skip in enumerate(features[-2::-1]):
            if flow is not None:
                halves = zip(skip.chunk(2, dim=1), flow.chunk(2, dim=1), strict=True)
                skip = torch.cat([warp(half, f) for half, f in halves], dim=1)
            x = self.level(i, x, skip, t)
            more = time_shares(t) * self.reach * torch.tanh(self.flows[i](x).float() / self.reach)
            flow = more if flow is None else flow + more
            flow = 2 * upsampled(flow)
        assert flow is not None
        moved = torch.cat((warp(planes[:, :2], flow[:, :2]), warp(planes[:, 2:], flow[:, 2:])), dim=1)
        return self.finish(moved, x, roughness, t)


Loss = Callable[[Prediction, Tensor], Tensor]


def relative(loss: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """A loss on planes of which the crops' logarithms are averaged, so that every crop counts alike."""
    return lambda made, target: loss(made.planes, target).add(1e-8).log().mean()


def mse(made: Tensor, target: Tensor) -> Tensor:
    return (made - target).square().mean(dim=(1, 2, 3))


def charbonnier(made: Tensor, target: Tensor) -> Tensor:
    return ((made - target).square() + 1e-6).sqrt().mean(dim=(1, 2, 3))


def census(made: Tensor, target: Tensor) -> Tensor:
    """Soft census distance over 7 x 7 pixels plus the Charbonnier term that fixes the brightness."""

    def transform(x: Tensor) -> Tensor:
        patches = F.unfold(x, 7, padding=3).unflatten(2, x.shape[2:]) - x
        return patches / (0.0081 + patches.square()).sqrt()

    difference = (transform(made) - transform(target)).square()
    return 0.01 * (difference / (0.1 + difference)).mean(dim=(1, 2, 3)) + charbonnier(made, target)


def laplace(made: Prediction, target: Tensor) -> Tensor:
    assert made.sigma is not None
    scale = made.sigma / 2**0.5
    return ((made.planes - target).abs() / scale + scale.log()).mean()


def both(made: Prediction, target: Tensor) -> Tensor:
    """What the shipped weights are trained on."""
    assert made.sigma is not None
    return relative(mse)(made, target) + ForMirrorUNet.uncertainty * likelihood(
        (made.planes - target).detach(), made.sigma
    )


VARIANTS: dict[str, tuple[Callable[[], nn.Module], Loss]] = {
    "plain": (Plain, relative(mse)),
    "two-planes": (TwoPlanes, relative(mse)),
    "flow": (Flow, relative(mse)),
    "splat": (Splat, relative(mse)),
    "half": (Half, relative(mse)),
    "grain": (Grain, relative(mse)),
    "charbonnier": (Plain, relative(charbonnier)),
    "pyramid": (Plain, relative(laplacian)),
    "census": (Plain, relative(census)),
    "laplace": (Plain, laplace),
    "shipped-four-planes": (lambda: MirrorUNet(MirrorUNetSize(WIDE, context=2)), both),
    "shipped": (lambda: MirrorUNet(MirrorUNetSize(WIDE)), both),
}


def train(name: str, volumes: Any, steps: int, batch: int) -> nn.Module:
    """Train one variant and return its averaged weights."""
    build, loss = VARIANTS[name]
    torch.manual_seed(0)
    network: Any = build().to(memory_format=torch.channels_last)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-4)
    sampler = CropSampler(volumes, context=3, gaps=(2, 9), augmentation=Augmentation(), seed=1)
    losses, start = [], time.process_time()
    for step, (crops, _) in enumerate(sampler.batches(batch)):
        if step == steps:
            break
        optimizer.param_groups[0]["lr"] = RATE * ForMirrorUNet().rate_factor(step, step / steps)
        with torch.autocast("cpu", torch.bfloat16):
            made = network(crops.around(network.context), crops.times)
        value = loss(made, crops.targets)
        network.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        update_average(average, network, min(EMA, (step + 1) / (step + 11)))
        losses.append(value.item())
        if (step + 1) % 200 == 0:
            logger.info("%s: step %d, loss %.4f", name, step + 1, np.mean(losses[-200:]))
    parameters = sum(p.numel() for p in network.parameters())
    logger.info("%s: %.0f s of CPU, %d parameters", name, time.process_time() - start, parameters)
    return average


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    parser.add_argument("--score", required=True)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    volumes = read_training_volumes([Path(p) for p in args.train.split(",")])
    networks = ((name, train(name, volumes, args.steps, args.batch)) for name in args.variants.split(","))
    models = ((name, interpolator_of(network, identity=name)) for name, network in networks)
    results = table(models, args.score.split(","))
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
