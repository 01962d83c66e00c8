"""Training losses. Tensors are (N, K, H, W) in units of the volume's intensity range."""

import torch
from torch import Tensor

UNCERTAINTY_WEIGHT = 0.1  # of the likelihood beside the log MSE
FREEDOM = 10  # degrees of


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
