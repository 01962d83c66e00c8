"""HalfUNet, the fast network: MirrorUNet's way of seeing planes at half of their resolution, most of it once a pair.

What limits a small network on a CPU is not arithmetic but how often each pixel is touched. Here 2 x 2 pixels are one
from the start, with what differs between them as channels, and are four again at the very end. All levels but the
finest are computed once for a pair of planes, and with them how it moves; what is left to do for each depth t are two
convolutions at half of the resolution, and to move the two planes.

As in MirrorUNet everything is seen in local units, and what is added to classical interpolation is a bounded multiple
of the local bend, so that the same follows whatever the weights are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zinterp.models.layers import (
    MirrorConv2d,
    Prediction,
    TimeModulation,
    folded,
    starting_at_zero,
    unfolded,
    upsampled,
    warp,
)
from zinterp.models.mirror_unet import (
    BOUND,
    FLOOR,
    MOST,
    REACH,
    WINDOW,
    Encoder,
    Scene,
    bends,
    combined,
    mean_of_nine,
    packed,
    reduced,
    time_shares,
)
from zinterp.models.motion import Size
from zinterp.models.strips import cut

FOLD = 2  # pixels an edge that are one
SAMPLED = range(6, 10)  # rows of a block, by which its grain is judged
MIRROR = (*range(4), *(4 * bend + i for bend in (4, 3, 2, 1) for i in range(4)), *range(20, 28))
SIGNS = (*[-1] * 4, *[1] * 24)
"""Where each input is, and its sign, when the stack is upside down: the step, four bends, structure, kind."""


@dataclass(frozen=True)
class HalfUNetSize(Size):
    """Sizes of a HalfUNet: channels of each level, the finest first, all even."""

    channels: tuple[int, ...] = (32, 64, 128, 128)

    def __post_init__(self) -> None:
        if len(self.channels) < 3 or any(c % 2 for c in self.channels):
            raise ValueError(f"got channels {self.channels}, expected three or more even numbers")


class Stem(nn.Module):
    """The first convolution, 3 x 3, which commutes with turning the stack upside down.

    Parameters
    ----------
    mirror : sequence of int
        Which input takes the place of each when the stack is upside down.
    signs : sequence of int
        What it is multiplied by then, 1 or -1.
    out_channels : int
        The first half belongs to the plane before, the second half to the plane after, as in ``MirrorConv2d``.
    """

    mirror: Tensor
    signs: Tensor

    def __init__(self, mirror: Sequence[int], signs: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.register_buffer("mirror", torch.tensor(mirror), persistent=False)
        self.register_buffer("signs", torch.tensor(signs, dtype=torch.float32)[:, None, None], persistent=False)
        self.weight = nn.Parameter(torch.empty(out_channels // 2, len(mirror), 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels // 2))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x, shape (N, inputs, H, W), to (N, out_channels, H, W)."""
        weight = torch.cat((self.weight, self.weight[:, self.mirror] * self.signs))
        return F.conv2d(x, weight, torch.cat((self.bias, self.bias)), padding=1)


class HalfScene(Scene):
    """Six planes in their local units, as ``Scene``, with inputs of half of their resolution.

    ``roughness`` (N, 1, H, W) is how planes bend at each pixel, ``bend`` (N, 2, H, W) how those beside the gap do.
    """

    grain_rows = len(SAMPLED)

    def __init__(self, planes: Tensor) -> None:
        super().__init__(planes)
        self.disagreement, self.roughness = self.units()
        self._bends = bends(planes)
        self.bend = self._bends[:, self.context - 2 : self.context]

    def _look_at_grain(self, rows: range) -> Tensor:
        """As in ``Scene``, of a quarter of the rows."""
        around = slice(SAMPLED.start - 1, SAMPLED.stop + 1)
        near = self._near(rows)
        batch, count, height, width = near.shape
        sampled = near.reshape(batch, count * height // WINDOW, WINDOW, width)[:, :, around]
        fine = (sampled - mean_of_nine(sampled))[:, :, 1:-1]
        return self._powers(fine.reshape(batch, count, -1, width))

    def half_inputs(self) -> Tensor:
        """What the encoder sees, (N, 28, H / 2, W / 2): step, bends, structure, and what kind of planes these are.

        Of the first three kinds four pixels each, of the last, which varies slowly, one value.
        """
        height, c = self.planes.shape[2], self.context
        step = (self.planes[:, c : c + 1] - self.planes[:, c - 1 : c]) / self.disagreement.clamp(min=FLOOR)
        bend = self._bends / self.roughness.clamp(min=FLOOR)
        fine = torch.cat([reduced(x.clamp_(-MOST, MOST)) for x in (step, bend, self.structure())], dim=1)
        kind = self.kind(range(height // FOLD), WINDOW // FOLD).clamp_(-MOST, MOST)
        return folded(fine, reduced(kind))

    def moved_near(self, flow: Tensor) -> Tensor:
        """The two planes beside the gap moved, (N, 2, H, W), by no more than a multiple of the local bend.

        ``flow`` (N, 4, H, W) is in parts of the plane's half width and height.
        """
        c, (height, width) = self.context, self.planes.shape[2:]
        near = self.planes[:, c - 1 : c + 1]
        columns, rows = (
            (2 * torch.arange(n, device=flow.device, dtype=torch.float32) + 1) / n - 1 for n in (width, height)
        )
        grid = flow.new_empty((*near.shape, 2))
        grid[..., 0], grid[..., 1] = flow[:, 0::2] + columns, flow[:, 1::2] + rows[:, None]
        there = F.grid_sample(
            near.flatten(0, 1)[:, None], grid.flatten(0, 1), padding_mode="border", align_corners=False
        )
        change = there.view_as(near) - near
        most = BOUND * self.roughness
        return torch.minimum(torch.maximum(change, -most), most).add_(near)


class Coarse(nn.Module):
    """From the coarsest level up to the finest but one: what all depths of a pair share."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.bottom = MirrorConv2d(channels[-1], channels[-1], 3)
        pairs = list(zip(channels[1:], channels[:-1], strict=True))[::-1]
        self.narrow = nn.ModuleList(MirrorConv2d(a, b, 1) for a, b in pairs)
        self.first = nn.ModuleList(MirrorConv2d(b, b, 3) for _, b in pairs[:-1])
        self.second = nn.ModuleList(MirrorConv2d(b, b, 3) for _, b in pairs[:-1])
        self.flow = nn.ModuleList(starting_at_zero(MirrorConv2d(b, 4, 3)) for _, b in pairs[:-1])

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Of the encoder's features: what the finest level begins with, of its shape, and a flow (N, 4, h, w) for it.

        The flow is to the plane before from one a plane spacing after it, and the other way round, in pixels of that
        level. The features of each level are moved half of it, as far as the coarser levels have found it.
        """
        x = F.relu(self.bottom(features[-1]), inplace=True)
        flow: Tensor | None = None
        for i, skip in enumerate(features[-2:0:-1]):
            x = upsampled(self.narrow[i](x)) + (skip if flow is None else moved_halfway(skip, flow))
            change = self.second[i](F.relu(self.first[i](x), inplace=True))
            x = F.relu(change.add_(x), inplace=True)  # (N, C_level, H / 2^(level + 1), W / 2^(level + 1))
            more = REACH * torch.tanh(self.flow[i](x).float() / REACH)
            flow = 2 * upsampled(more if flow is None else flow + more)
        assert flow is not None
        return upsampled(self.narrow[-1](x)).add_(features[0]), flow.contiguous()


def moved_halfway(features: Tensor, flow: Tensor) -> Tensor:
    """Features of both planes (N, C, h, w) moved by half of a flow (N, 4, h, w)."""
    sides = zip(features.float().chunk(2, dim=1), (flow / 2).chunk(2, dim=1), strict=True)
    return packed(torch.cat([reduced(warp(side, half)) for side, half in sides], dim=1))


class HalfUNet(nn.Module):
    """Synthesise planes between the middle two of six planes, and say how far off they may be.

    Parameters
    ----------
    size : HalfUNetSize
        Channels of each level.

    Attributes
    ----------
    context, multiple_of, uncertain, overlap, bytes_per_pixel
        As in ``MirrorUNet``; its field of view is wider, and so is the overlap.
    """

    architecture = "half-unet"
    context = 3
    uncertain = True
    overlap = 192
    bytes_per_pixel = (260, 230)

    def __init__(self, size: HalfUNetSize | None = None) -> None:
        super().__init__()
        self.size = size or HalfUNetSize()
        channels = self.size.channels
        self.multiple_of = max(WINDOW, FOLD * 2 ** (len(channels) - 1))
        self.encoder = Encoder(len(MIRROR), channels)
        self.encoder.first[0] = Stem(MIRROR, SIGNS, channels[0])
        self.coarse = Coarse(channels)
        self.time = TimeModulation(channels[0])
        self.first = MirrorConv2d(channels[0], channels[0], 3)
        self.second = MirrorConv2d(channels[0], channels[0], 3)
        self.head = starting_at_zero(nn.Conv2d(channels[0] // 2, 3 * FOLD**2, 3, padding=1))
        self.flow = starting_at_zero(MirrorConv2d(channels[0], 4, 3))

    def forward(self, planes: Tensor, times: Tensor) -> Prediction:
        """Synthesise one plane for each depth; see ``MirrorUNet.forward``."""
        scene = HalfScene(planes)
        seen = scene.half_inputs()
        shared, flow = self.coarse(self.encoder(partial(cut, seen), seen.shape))
        made = [self.synthesise(scene, shared, flow, t) for t in times.unbind(1)]
        return Prediction(*(torch.stack(each, dim=1) for each in zip(*made, strict=True)))

    def synthesise(self, scene: HalfScene, shared: Tensor, flow: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """One plane and its standard deviation, (N, H, W) each, at depths t (N,); from the heads on all is float32."""
        x = self.time(shared, t)
        change = self.second(F.relu(self.first(x), inplace=True))
        maps, more = self.heads(F.relu(change.add_(x), inplace=True))
        height, width = scene.planes.shape[2:]
        parts = FOLD * flow.new_tensor((2 / width, 2 / height) * 2)[:, None, None]  # a pixel of the finest level
        flow = upsampled((flow + REACH * torch.tanh(more / REACH)) * time_shares(t) * parts)
        return combined(scene.moved_near(flow), scene.bend, maps, scene.roughness, t)

    def heads(self, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """Of decoded features (N, C, h, w): residual, blend and doubt (N, 3, 2h, 2w), and more of the flow."""
        head, (flow_weight, flow_bias) = self.head, self.flow.whole()
        assert head.bias is not None
        weight = torch.cat((torch.cat((head.weight, head.weight), dim=1), flow_weight))
        made = F.conv2d(decoded, weight, torch.cat((head.bias, flow_bias)), padding=1)
        return unfolded(made[:, :-4]).float(), made[:, -4:].float().contiguous()
