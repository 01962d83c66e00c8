"""Training losses. Tensors are (N, K, H, W) in units of the volume's intensity range."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from zinterp.models.layers import upsampled

FREEDOM = 10  # degrees of
SSIM_WINDOW = 7  # pixels
SSIM_CONSTANTS = 0.01**2, 0.03**2  # of the intensity range
LAPLACIAN_LEVELS = 4


def log_mse(prediction: Tensor, target: Tensor, *, floor: float = 1e-8) -> Tensor:
    """Mean over crops of the logarithm of each crop's mean squared error.

    Every crop's decibels count alike, so smooth crops are not drowned by grainy ones.

    Parameters
    ----------
    prediction, target : Tensor, shape (N, K, H, W)
    floor : float
        Added to each crop's error; the default is 80 dB.

    Returns
    -------
    Tensor, scalar
    """
    errors = (prediction - target).square().mean(dim=(1, 2, 3))  # (N,)
    return (errors + floor).log().mean()


def likelihood(errors: Tensor, sigma: Tensor) -> Tensor:
    """Mean negative logarithm of the probability density of errors under deviations ``sigma``.

    The density is Student's t with ten degrees of freedom, nearly normal, under which an error that is far out of all
    expectation counts for no more than eleven that are as expected.

    Parameters
    ----------
    errors, sigma : Tensor, shape (N, K, H, W)

    Returns
    -------
    Tensor, scalar
        Without the constant terms.

    References
    ----------
    A. Kendall, Y. Gal, "What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?", NeurIPS 2017,
    arXiv:1703.04977.
    """
    return ((FREEDOM + 1) / 2 * torch.log1p((errors / sigma).square() / FREEDOM) + sigma.log()).mean()


def deep_supervision(sides: Sequence[Tensor], target: Tensor) -> list[Tensor]:
    """The log MSE of each of the planes that a network's levels make, (N, 1, H, W) each: one term a level."""
    return [log_mse(side, target) for side in sides]


def total_variation(flow: Tensor) -> Tensor:
    """Mean absolute difference of a flow (N, 2, H, W) from pixel to pixel, in both directions."""
    return flow.diff(dim=2).abs().mean() + flow.diff(dim=3).abs().mean()


def end_point_error(flow: Tensor, known: Tensor) -> Tensor:
    """Mean distance in pixels of flows (N, 2, H, W) from known ones, where these do not point out of the plane."""
    _, _, height, width = known.shape
    rows = torch.arange(height, device=known.device)[:, None] + known[:, 1]
    columns = torch.arange(width, device=known.device) + known[:, 0]
    inside = (rows >= 0) & (rows <= height - 1) & (columns >= 0) & (columns <= width - 1)
    distance = ((flow - known).square().sum(dim=1) + 1e-6).sqrt()
    error: Tensor = (distance * inside).sum() / inside.sum().clamp(min=1)
    return error


def ssim(made: Tensor, target: Tensor) -> Tensor:
    """Mean structural similarity of planes (N, 1, H, W) over uniform windows of 7 x 7 pixels; 1 for equal ones.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", IEEE TIP 2004,
    doi:10.1109/TIP.2003.819861.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, SSIM_WINDOW, stride=1)

    c1, c2 = SSIM_CONSTANTS
    mean_a, mean_b = mean(made), mean(target)
    variance_a, variance_b = mean(made.square()) - mean_a.square(), mean(target.square()) - mean_b.square()
    covariance = mean(made * target) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + c1) / (mean_a.square() + mean_b.square() + c1)
    similarity: Tensor = luminance * (2 * covariance + c2) / (variance_a + variance_b + c2)
    return similarity.mean()


def laplacian(made: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of Laplacian pyramids of planes (N, 1, H, W), coarser levels counting more, (N,).

    References
    ----------
    S. Niklaus, F. Liu, "Context-aware Synthesis for Video Frame Interpolation", CVPR 2018, arXiv:1803.10967.
    """
    error = made - target
    total: Tensor = error.new_zeros(len(error))
    for level in range(LAPLACIAN_LEVELS):
        coarse = F.avg_pool2d(error, 2)
        fine = error - upsampled(coarse)
        total = total + 2**level * fine.abs().mean(dim=(1, 2, 3))
        error = coarse
    total = total + 2**LAPLACIAN_LEVELS * error.abs().mean(dim=(1, 2, 3))
    return total
