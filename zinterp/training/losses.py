"""Training losses. Tensors are (N, K, H, W) in units of the volume's intensity range."""

from torch import Tensor


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
