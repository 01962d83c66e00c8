"""What boundary restoration is trained for: planes that look acquired, and are not much further off for it."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zinterp.interpolators.weights import load_network, shipped_weights
from zinterp.models.layers import Prediction
from zinterp.training.data import Augmentation, Batch
from zinterp.training.losses import likelihood, log_mse
from zinterp.training.objectives import Losses, Objective

LEAST = 1e-3  # of the intensity range: acquired planes that differ less are taken to differ by this
PATCH = 24  # pixels along an edge of the patches whose spectra are compared
RINGS, FINEST = 6, 0.25  # of the power spectrum, the last one up to half the Nyquist frequency
FINE, SECTORS = 0.12, 8  # cycles a pixel from which on it is also looked at by direction, and in how many
CENSUS = 7  # pixels
FREE_POWER, FREE_ENERGY = 0.12, 0.05  # natural logarithms: how far spectrum and gradient energy may be off


@dataclass(frozen=True)
class ForBoundaryRestoration(Objective):
    """Squared error, gradients and census against the true plane; spectrum and gradient energy of acquired planes.

    The last two compare with the acquired planes beside the gap, whose amount of detail the network can see, and leave
    some freedom, which goes into fewer errors.
    """

    squares: float = 1.0
    gradients: float = 3.0
    census: float = 0.5
    spectrum: float = 1.0
    sharpness: float = 1.0
    uncertainty: float = 0.1

    rate = 1e-3
    starts_useful = True  # at first the planes stay as they are
    augmentation = Augmentation(noise=0.1, smooth_copy=0.2)  # what lacks in grainy planes is mostly grain

    def context(self, network: Any) -> int:
        """See ``Objective``: as many as the default model sees."""
        return int(self.interpolator.context)

    @cached_property
    def interpolator(self) -> Any:
        """The default model, whose planes are restored."""
        default = next(iter(shipped_weights().values()))
        default.verify()
        return load_network(default.path).requires_grad_(False).eval()

    def __call__(self, network: Any, batch: Batch) -> Losses:
        """See ``Objective``."""
        neighbours, made, truth = self.synthesised(batch)
        restored = network(neighbours, made.planes, made.sigma, batch.times[:, 0])
        terms = self.terms(restored.planes, neighbours, truth, batch.times[:, 0]).mean()
        total = terms + self.uncertainty * likelihood((restored.planes - truth).detach(), restored.sigma)
        return Losses(total, log_mse(restored.planes.detach(), truth))

    @torch.no_grad()
    def score(self, network: Any, batch: Batch) -> Tensor:
        """See ``Objective``: less the losses but for that of the deviations."""
        neighbours, made, truth = self.synthesised(batch)
        restored = network(neighbours, made.planes, made.sigma, batch.times[:, 0])
        return -self.terms(restored.planes, neighbours, truth, batch.times[:, 0])

    @torch.no_grad()
    def synthesised(self, batch: Batch) -> tuple[Tensor, Prediction, Tensor]:
        """Acquired planes beside the gap, what the default model makes between them, and what was there."""
        self.interpolator.to(batch.planes.device)
        return batch.around(1), self.interpolator(batch.around(self.interpolator.context), batch.times), batch.targets

    def terms(self, restored: Tensor, neighbours: Tensor, truth: Tensor, t: Tensor) -> Tensor:
        """The losses of each crop, (N,)."""
        with torch.autocast(restored.device.type, enabled=False):  # of which the spectrum would suffer
            return self.terms_in_float32(restored.float(), neighbours, truth, t)

    def terms_in_float32(self, restored: Tensor, neighbours: Tensor, truth: Tensor, t: Tensor) -> Tensor:
        """See ``terms``."""
        unit = scale(neighbours)
        made, true, beside = restored / unit, truth / unit, neighbours / unit
        shares = torch.stack((1 - t, t), dim=1)  # (N, 2)
        levels = (shares[..., None, None] * spectrum(beside)).sum(dim=1)  # (N, 2, RINGS)
        energy = (shares * gradient_energy(beside)).sum(dim=1)  # (N,)
        return (
            self.squares * (made - true).square().mean(dim=(1, 2, 3))
            + self.gradients * (differences(smooth(made)) - differences(smooth(true))).abs().mean(dim=(1, 2, 3))
            + self.census * (census(made) - census(true)).abs().mean(dim=(1, 2, 3))
            + self.spectrum * beyond(spectrum(made)[:, 0] - levels, FREE_POWER).square().mean(dim=(1, 2))
            + self.sharpness * beyond((gradient_energy(made)[:, 0] / energy).log(), FREE_ENERGY).square()
        )


def scale(neighbours: Tensor) -> Tensor:
    """How far two planes (N, 2, H, W) disagree, root mean square over each crop, (N, 1, 1, 1)."""
    return (neighbours[:, 1:] - neighbours[:, :1]).square().mean(dim=(1, 2, 3), keepdim=True).sqrt().clamp(min=LEAST)


def beyond(difference: Tensor, free: float) -> Tensor:
    """How far a difference is from zero beyond what it may be."""
    return F.relu(difference.abs() - free)


def smooth(planes: Tensor) -> Tensor:
    """Planes (N, C, H, W) blurred as edges are looked for, by about 1.2 pixels."""
    for _ in range(2):
        planes = F.avg_pool2d(planes, 3, stride=1, padding=1, count_include_pad=False)
    return planes


def differences(planes: Tensor) -> Tensor:
    """Central differences along y and x of planes (N, 1, H, W), (N, 2, H - 2, W - 2)."""
    along_y = planes[:, :, 2:, 1:-1] - planes[:, :, :-2, 1:-1]
    along_x = planes[:, :, 1:-1, 2:] - planes[:, :, 1:-1, :-2]
    return torch.cat((along_y, along_x), dim=1) / 2


def census(planes: Tensor) -> Tensor:
    """Soft signs of the differences of each pixel from those around it, (N, 49, H - 6, W - 6)."""
    rows, columns = (n - CENSUS + 1 for n in planes.shape[2:])
    around = F.unfold(planes, CENSUS).reshape(len(planes), -1, rows, columns)
    middle = CENSUS * CENSUS // 2
    apart = around - around[:, middle : middle + 1]
    signs: Tensor = apart / (0.1 + apart.square()).sqrt()
    return signs


def spectrum(planes: Tensor) -> Tensor:
    """Power of patches by spatial frequency, (N, C, H, W) -> (N, C, 2, RINGS + SECTORS), as natural logarithms.

    In rings, and the finer half of them together in sectors. First of the mean power, then the mean of the logarithms:
    that is less the more the power of a patch is in few frequencies. A regular pattern, by which rings alone could be
    filled as well as by grain, thus is told twice: by its direction and by its regularity.
    """
    window, cells = patch_cells(planes.device)
    patches = F.unfold(planes.flatten(0, 1)[:, None], PATCH, stride=PATCH // 2).transpose(1, 2)
    patches = (patches - patches.mean(dim=2, keepdim=True)).reshape(*patches.shape[:2], PATCH, PATCH) * window
    power = torch.fft.rfft2(patches, norm="ortho").abs().square().flatten(2) + 1e-5  # (N C, patches, frequencies)
    levels = torch.stack(((power.mean(dim=1) @ cells).log(), power.log().mean(dim=1) @ cells), dim=1)
    return levels.reshape(*planes.shape[:2], 2, -1)


@lru_cache
def patch_cells(device: torch.device) -> tuple[Tensor, Tensor]:
    """A Hann window, and the matrix that averages an rfft2 of a patch over rings and sectors."""
    hann = torch.hann_window(PATCH + 2, periodic=False, device=device)[1:-1]
    down, across = torch.fft.fftfreq(PATCH, device=device)[:, None], torch.fft.rfftfreq(PATCH, device=device)
    radius = (down.square() + across.square()).sqrt().flatten()
    angle = torch.atan2(down.expand(-1, len(across)), across.expand(len(down), -1)).flatten() / torch.pi + 0.5
    sector = (angle * SECTORS + 0.5).floor() % SECTORS  # the first is about the axis down, and its end is its beginning
    edges = torch.linspace(0.5 / PATCH, FINEST, RINGS + 1, device=device)
    rings = (radius[:, None] >= edges[:-1]) & (radius[:, None] < edges[1:])
    fine = (radius >= FINE) & (radius < FINEST)
    cells = torch.cat((rings, fine[:, None] & (sector[:, None] == torch.arange(SECTORS, device=device))), dim=1).float()
    return hann[:, None] * hann, cells / cells.sum(dim=0)


def gradient_energy(planes: Tensor) -> Tensor:
    """Mean square of the gradient, (N, C, H, W) -> (N, C)."""
    energy: Tensor = differences(planes.flatten(0, 1)[:, None]).square().sum(dim=1).mean(dim=(1, 2)) + 1e-4
    return energy.reshape(planes.shape[:2])
