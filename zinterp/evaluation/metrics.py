"""Figures of merit of synthesised planes, shape (n, Y, X), against the true ones."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import canny
from skimage.metrics import structural_similarity

from zinterp.sharpening import gradient_energy

Planes = NDArray[np.generic]
EDGE_SIGMA, EDGE_PART, EDGE_LOW = 1.5, 0.1, 0.4


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
    return gradient_energy(guess.astype(np.float64)) / max(gradient_energy(truth.astype(np.float64)), 1e-12)


def edge_f_score(plane: Planes, truth: Planes) -> float:
    """How well the edges of a plane lie on those of the true one: the F-score of Canny edges, a pixel off allowed.

    Edges are those of the planes blurred by a Gaussian of 1.5 pixels. What counts as an edge is decided by the true
    plane: its steepest tenth of pixels are edges, and those steeper than 0.4 of that which are connected with them. A
    softer plane thus loses edges, as it would to an analysis that knows one threshold for the whole stack.

    Parameters
    ----------
    plane, truth : ndarray, shape (Y, X)

    Returns
    -------
    float
        From 0 to 1, the harmonic mean of precision (edges of the plane within a pixel of true ones) and recall (true
        edges within a pixel of those of the plane); 1 where neither has any.

    References
    ----------
    D. Martin, C. Fowlkes, J. Malik, "Learning to detect natural image boundaries using local brightness, color, and
    texture cues", IEEE PAMI 2004, doi:10.1109/TPAMI.2004.1273918.
    """
    smooth = ndimage.gaussian_filter(truth.astype(np.float64), EDGE_SIGMA)
    steepness = np.hypot(*(ndimage.sobel(smooth, axis) for axis in (0, 1)))
    high = float(np.quantile(steepness, 1 - EDGE_PART))
    found, true = (
        canny(x.astype(np.float64), EDGE_SIGMA, EDGE_LOW * high, high, mode="reflect")  # type: ignore[no-untyped-call]
        if high
        else np.zeros(x.shape, bool)
        for x in (plane, truth)
    )
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    near = np.ones((3, 3), bool)  # a pixel, diagonals too
    precision = (found & ndimage.binary_dilation(true, near)).sum() / found.sum()
    recall = (true & ndimage.binary_dilation(found, near)).sum() / true.sum()
    return float(2 * precision * recall / max(precision + recall, 1e-12))
