"""What each network is trained for, and how: one objective an architecture, its terms weighted by its fields."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zinterp.interpolators.weights import load_features
from zinterp.models.layers import warp
from zinterp.models.mirror_unet import cubic_minus_linear
from zinterp.models.motion import Details, blend
from zinterp.training.data import Augmentation, Batch
from zinterp.training.losses import (
    deep_supervision,
    end_point_error,
    laplacian,
    likelihood,
    log_mse,
    ssim,
    total_variation,
)

WARM_UP_STEPS, WARM_UP_PART = 200, 0.1
GREY_LEVELS = 255.0  # of the intensity range, where a paper's weights are for images of so many
LEAST_MISSED = 1e-3  # of the intensity range, so that crops without any change do not outweigh the others
BEST_PSNR = 48.0  # dB, where FBNet's term for it is 0


class Losses(NamedTuple):
    """What is minimised, and the mean over crops of the logarithm of the squared error, to be shown."""

    total: Tensor
    log_mse: Tensor


@dataclass(frozen=True)
class Objective:
    """Base: AdamW, a cosine with a warm-up, gradients clipped by norm. ``moved`` crops of a batch have known motion.

    ``starts_useful`` is whether random weights already make something that a training must improve on.
    """

    rate = 1.5e-3
    fine_tuning_rate = 3e-4
    moved = 0
    starts_useful = False
    augmentation = Augmentation()

    def context(self, network: Any) -> int:
        """Planes that crops have on each side of the gap."""
        return int(network.context)

    def optimizer(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """What takes the steps."""
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-4)

    def rate_factor(self, step: int, done: float) -> float:
        """Linear warm-up over 200 steps or a tenth of all, what is less, then half a cosine down to a hundredth."""
        return warm_up(step, done) * (0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1.0))) / 2)

    def clip(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Clip the gradients; their norm before."""
        return nn.utils.clip_grad_norm_(parameters, 1.0)

    def __call__(self, network: Any, batch: Batch) -> Losses:
        """The losses of a network on a batch that is on its device."""
        raise NotImplementedError

    @torch.no_grad()
    def score(self, network: Any, batch: Batch) -> Tensor:
        """How good a network is on each crop of a batch that is on its device, (N,): more is better.

        Here it is the gain in decibels over the better of linear and cubic.
        """
        t, around = batch.times[..., None], batch.around(2)
        linear = (1 - t) * around[:, 1] + t * around[:, 2]
        cubic = linear + cubic_minus_linear(around, t)
        ours = network(batch.around(network.context), batch.times).planes[:, 0]
        errors = [(x - batch.targets[:, 0]).square().mean(dim=(1, 2)) + 1e-8 for x in (ours, linear, cubic)]
        return 10 * torch.log10(torch.minimum(errors[1], errors[2]) / errors[0])


def warm_up(step: int, done: float) -> float:
    """Rises to 1 over 200 steps or a tenth of all, what is less."""
    return min(1.0, max((step + 1) / WARM_UP_STEPS, done / WARM_UP_PART))


@dataclass(frozen=True)
class ForMirrorUNet(Objective):
    """Log MSE, and the likelihood of the errors under the predicted deviations."""

    uncertainty: float = 0.1

    def __call__(self, network: Any, batch: Batch) -> Losses:
        """See ``Objective``."""
        made = network(batch.around(network.context), batch.times)
        loss = log_mse(made.planes, batch.targets)
        doubt = likelihood((made.planes - batch.targets).detach(), made.sigma)
        return Losses(loss + self.uncertainty * doubt, loss.detach())


@dataclass(frozen=True)
class ForMotion(Objective):
    """Base for networks that follow motion: their flow is also shown pairs whose motion is known."""

    motion: float = 0.5

    moved = 2
    rate = 1e-3

    def __call__(self, network: Any, batch: Batch) -> Losses:
        """See ``Objective``."""
        planes = batch.around(network.context)
        made = network.details(planes, batch.times[:, 0])
        total = self.terms(made, planes, batch.targets, alike(planes, batch.times, batch.targets))
        if batch.moved is not None:
            flow01, _ = network.flows(batch.moved.planes)  # the way back is the same by symmetry
            total = total + self.motion * end_point_error(flow01, batch.moved.flow01)
        return Losses(total, log_mse(made.plane.detach(), batch.targets))

    def terms(self, made: Details, planes: Tensor, target: Tensor, shares: Tensor) -> Tensor:
        """The losses of one plane.

        ``made`` is the network's Details; planes (N, 2, H, W), target (N, 1, H, W); shares (N,), by which crops that
        are not taken relative to their errors anyway count alike.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class ForSuperSloMo(ForMotion):
    """Reconstruction, perceptual, warping and smoothness loss on 255 grey levels, with the paper's weights.

    Adam, its rate divided by ten after two and after four fifths. What planes look like is said by the features of an
    autoencoder of microscopy planes, on their own scale. Other than in the paper crops are weighted so that they count
    alike, whether they are hard or easy to interpolate, the warping loss looks at the planes as they are moved in the
    end, and known motion is a fifth term.

    References
    ----------
    H. Jiang et al., "Super SloMo", CVPR 2018, arXiv:1712.00080, section 3.3.
    """

    reconstruction: float = 0.8
    perceptual: float = 0.005
    warping: float = 0.4
    smoothness: float = 1.0
    motion: float = 20.0

    rate = 1e-4
    fine_tuning_rate = 1e-4

    @cached_property
    def autoencoder(self) -> Any:
        """The network whose features are compared."""
        return load_features()

    def optimizer(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(parameters, lr=rate)

    def rate_factor(self, step: int, done: float) -> float:
        """A hundredth after four fifths, a tenth after two, else 1."""
        return 0.01 if done >= 0.8 else 0.1 if done >= 0.4 else 1.0

    def terms(self, made: Details, planes: Tensor, target: Tensor, shares: Tensor) -> Tensor:
        """See ``ForMotion``."""
        frame0, frame1 = planes[:, :1], planes[:, 1:]
        flow01, flow10, _ = made.motion
        reconstruction = l1(made.plane, target, shares)
        with torch.autocast(planes.device.type, enabled=False):
            autoencoder = self.autoencoder.to(planes.device)
            perceptual = (autoencoder.features(made.plane) - autoencoder.features(target)).square().mean()
        warping = l1(warp(frame1, flow01), frame0, shares) + l1(warp(frame0, flow10), frame1, shares)
        warping = warping + sum(l1(warped, target, shares) for warped in made.warped)
        smoothness = total_variation(flow01) + total_variation(flow10)
        total: Tensor = (
            GREY_LEVELS * (self.reconstruction * reconstruction + self.warping * warping)
            + self.perceptual * perceptual
            + self.smoothness * smoothness
        )
        return total


@dataclass(frozen=True)
class ForNestedUNet(ForMotion):
    """Log MSE of the fused plane, and of the plane of every level beside it (deep supervision)."""

    sides: float = 0.5

    def terms(self, made: Details, planes: Tensor, target: Tensor, shares: Tensor) -> Tensor:
        """See ``ForMotion``."""
        return log_mse(made.plane, target) + self.sides * torch.stack(deep_supervision(made.sides, target)).mean()


@dataclass(frozen=True)
class ForFBNet(ForMotion):
    """SSIM, PSNR, L1 and L2 terms with the published weights; NAdam, gradients clipped by value and by norm.

    Other than published crops are weighted as for Super SloMo.
    """

    ssim: float = 1.0
    psnr: float = 1.0
    l1: float = 5.0
    l2: float = 10.0

    rate = 1e-4
    fine_tuning_rate = 1e-4

    def optimizer(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """NAdam."""
        return torch.optim.NAdam(parameters, lr=rate)

    def clip(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Clip by value, then by norm; their norm before."""
        parameters = list(parameters)
        before = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        nn.utils.clip_grad_value_(parameters, 1.0)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        return before

    def terms(self, made: Details, planes: Tensor, target: Tensor, shares: Tensor) -> Tensor:
        """See ``ForMotion``."""
        error = made.plane - target
        psnr = -10 / math.log(10) * log_mse(made.plane, target)
        total: Tensor = (
            self.ssim * (1 - ssim(made.plane, target))
            + self.psnr * (1 - psnr / BEST_PSNR)
            + self.l1 * l1(made.plane, target, shares)
            + self.l2 * (shares * error.square().mean(dim=(1, 2, 3))).mean()
        )
        return total


@dataclass(frozen=True)
class ForSoftSplat(ForMotion):
    """L1 between Laplacian pyramids, its logarithm averaged over crops; AdaMax."""

    rate = 2e-3

    def optimizer(self, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """AdaMax."""
        return torch.optim.Adamax(parameters, lr=rate)

    def terms(self, made: Details, planes: Tensor, target: Tensor, shares: Tensor) -> Tensor:
        """See ``ForMotion``."""
        return laplacian(made.plane, target).add(1e-4).log().mean()


def l1(made: Tensor, target: Tensor, shares: Tensor) -> Tensor:
    """Mean absolute difference of planes (N, 1, H, W), each with its share (N,)."""
    return (shares * (made - target).abs().mean(dim=(1, 2, 3))).mean()


def alike(planes: Tensor, times: Tensor, target: Tensor) -> Tensor:
    """Shares of crops (N,), one in the mean: the more, the less linear interpolation misses.

    Planes (N, 2, H, W), times (N, 1), target (N, 1, H, W).
    """
    shares = 1 / ((blend(planes[:, :1], planes[:, 1:], times[:, 0]) - target).abs().mean(dim=(1, 2, 3)) + LEAST_MISSED)
    return shares / shares.mean()


OBJECTIVES: dict[str, type[Objective]] = {
    "mirror-unet": ForMirrorUNet,
    "half-unet": ForMirrorUNet,
    "super-slomo": ForSuperSloMo,
    "nested-unet": ForNestedUNet,
    "fbnet": ForFBNet,
    "softsplat": ForSoftSplat,
}
