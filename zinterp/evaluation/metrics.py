"""Figures of merit of synthesised planes, shape (n, Y, X), against the true ones."""

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Planes = NDArray[np.generic]


def psnr(truth: Planes, guess: Planes, *, data_range: float) -> float:
    """Peak signal-to-noise ratio in dB, from the squared error averaged over all planes.

    Parameters
    ----------
    truth, guess : ndarray, same shape
    data_range : float
        Grey values from black to white; the 0.1-99.9 percentile span is robust.

    Returns
    -------
    float
        At most 120 dB, which stands for equal planes.
    """
    error = float(np.mean((truth.astype(np.float64) - guess.astype(np.float64)) ** 2))
    return float(10 * np.log10(data_range**2 / max(error, data_range**2 * 1e-12)))


def ssim(truth: Planes, guess: Planes, *, data_range: float) -> float:
    """Structural similarity with Gaussian weights (sigma 1.5), plane by plane, averaged; 1 for equal planes.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004,
    doi:10.1109/TIP.2003.819861.
    """
    values = [
        structural_similarity(  # type: ignore[no-untyped-call]
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(truth, guess, strict=True)
    ]
    return float(np.mean(values))


def sharpness(truth: Planes, guess: Planes) -> float:
    """Mean gradient energy in the plane over that of the true planes; 1 is as sharp, less is smoother."""
    return gradient_energy(guess) / max(gradient_energy(truth), 1e-12)


def gradient_energy(planes: Planes) -> float:
    """Mean squared gradient along y and x."""
    gy, gx = np.gradient(planes.astype(np.float64), axis=(1, 2))
    return float(np.mean(gy**2 + gx**2))
