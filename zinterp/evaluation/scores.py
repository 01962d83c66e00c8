"""The figures of merit of one model on the planes that were hidden from it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from zinterp.errors import BadVolumeError
from zinterp.evaluation.frc import RingCorrelation, ring_correlation
from zinterp.evaluation.metrics import edge_f_score, psnr, sharpness, ssim
from zinterp.evaluation.morphology import Morphology, choose_threshold, measure
from zinterp.volume import Planes, VoxelSize

SPAN = (0.1, 99.9)  # percentiles


@dataclass(frozen=True)
class Truth:
    """A window as it was acquired, and what is measured in it once for all models.

    Parameters
    ----------
    planes : ndarray, shape (Z, Y, X)
    numbers : tuple of int
        Of the planes in the stack.
    factor : int
        Every ``factor``-th plane is kept, the others are hidden.
    voxel_size : VoxelSize
    data_range : float
        Grey values between the 0.1 and 99.9 percentiles.
    threshold : float or None
        Otsu's; None where there is nothing to tell apart.
    morphology : Morphology or None
    """

    planes: Planes
    numbers: tuple[int, ...]
    factor: int
    voxel_size: VoxelSize
    data_range: float
    threshold: float | None
    morphology: Morphology | None

    @classmethod
    def of(cls, planes: Planes, numbers: Sequence[int], factor: int, voxel_size: VoxelSize) -> Self:
        """Measure a window (Z, Y, X) of finite values.

        Raises
        ------
        BadVolumeError
            If it is constant.
        """
        low, high = np.percentile(planes, SPAN)
        if not high > low:
            raise BadVolumeError(
                f"the planes to compare with have the grey value {low:g} all over, expected some contrast: look at "
                "another part of the stack"
            )
        threshold = choose_threshold(planes)
        morphology = None if threshold is None else measure(planes, threshold, voxel_size)
        return cls(planes, tuple(numbers), factor, voxel_size, float(high - low), threshold, morphology)

    @cached_property
    def hidden(self) -> tuple[int, ...]:
        """The planes of the window that were hidden, counted from its first."""
        return tuple(i for i in range(len(self.planes)) if i % self.factor)


@dataclass(frozen=True)
class PlaneScore:
    """Of one hidden plane: its number in the stack, its depth in the gap, and what ``ModelScore`` has of all."""

    plane: int
    t: float
    psnr_db: float
    ssim: float
    sharpness: float
    edges: float
    mean_error: float


@dataclass(frozen=True)
class ModelScore:
    """Of one model, over all hidden planes.

    Parameters
    ----------
    model, identity : str
        As it was named; and with the hash of its weights and its precision.
    psnr_db : float
        Of the squared error averaged over all planes, relative to the 0.1-99.9 percentile span.
    ssim : float
        With Gaussian weights, sigma 1.5, the same range; mean over planes.
    frc : RingCorrelation
        With the true planes.
    resolution_px, resolution_um : float or None
        Where that falls below 1/7, as a period in pixels and micrometres; None where it is below from the start, or
        the pixel size is not known.
    sharpness : float
        Gradient energy over that of the true planes.
    edges : float
        F-score of Canny edges against those of the true planes, mean over planes, see ``metrics.edge_f_score``.
    mean_error : float
        Mean grey level minus that of the true planes, in grey levels.
    morphology : Morphology or None
        Of the window with predicted planes in place of the hidden ones.
    within_one, within_two : float or None
        Part of the true values within one and two predicted deviations: 0.68 and 0.95 where these are right; None if
        the model predicts none.
    pulsing : float
        Pulsing index of the window, see ``pulsing.Pulsing``.
    seconds : float
        Of computing.
    megapixels_per_second : float
        Of synthesised planes.
    planes : tuple of PlaneScore
    """

    model: str
    identity: str
    psnr_db: float
    ssim: float
    frc: RingCorrelation
    resolution_px: float | None
    resolution_um: float | None
    sharpness: float
    edges: float
    mean_error: float
    morphology: Morphology | None
    within_one: float | None
    within_two: float | None
    pulsing: float
    seconds: float
    megapixels_per_second: float
    planes: tuple[PlaneScore, ...]

    def errors(self, truth: Truth) -> Morphology | None:
        """How far measures are off the true ones: the fraction in parts of the volume, the surface as a part of it."""
        if self.morphology is None or truth.morphology is None:
            return None
        true, ours = truth.morphology, self.morphology
        surface = ours.surface / true.surface - 1 if true.surface else float(ours.surface > 0)
        return replace(ours, fraction=ours.fraction - true.fraction, surface=surface, euler=ours.euler - true.euler)


def score_model(
    model: str,
    identity: str,
    truth: Truth,
    made: Planes,
    sigma: NDArray[np.float32] | None,
    pulsing: float,
    seconds: float,
) -> ModelScore:
    """Compare what a model made of a window (Z, Y, X), kept planes in place, with the true one.

    Parameters
    ----------
    model, identity, pulsing, seconds
        See ``ModelScore``.
    truth : Truth
    made : ndarray, shape of the window
    sigma : ndarray or None, shape of the window
        Predicted deviations in grey levels.
    """
    hidden = list(truth.hidden)
    true, guess = truth.planes[hidden], made[hidden]
    planes = tuple(score_plane(truth, made, k) for k in hidden)
    frc = ring_correlation(true, guess)
    resolution, pixel = frc.resolution_px, truth.voxel_size
    edge = None if None in (pixel.y, pixel.x) else ((pixel.y or 0) * (pixel.x or 0)) ** 0.5
    within: tuple[float, float] | None = None
    if sigma is not None:
        off = np.abs(guess.astype(np.float32) - true.astype(np.float32))
        within = float(np.mean(off <= sigma[hidden])), float(np.mean(off <= 2 * sigma[hidden]))
    return ModelScore(
        model=model,
        identity=identity,
        psnr_db=psnr(true, guess, data_range=truth.data_range),
        ssim=float(np.mean([plane.ssim for plane in planes])),
        frc=frc,
        resolution_px=resolution,
        resolution_um=None if resolution is None or edge is None else resolution * edge,
        sharpness=sharpness(true, guess),
        edges=float(np.mean([plane.edges for plane in planes])),
        mean_error=float(np.mean([plane.mean_error for plane in planes])),
        morphology=None if truth.threshold is None else measure(made, truth.threshold, truth.voxel_size),
        within_one=within[0] if within else None,
        within_two=within[1] if within else None,
        pulsing=pulsing,
        seconds=seconds,
        megapixels_per_second=guess.size / max(seconds, 1e-9) / 1e6,
        planes=planes,
    )


def score_plane(truth: Truth, made: Planes, k: int) -> PlaneScore:
    """Compare plane k of a window with the true one."""
    true, guess = truth.planes[k : k + 1], made[k : k + 1]
    return PlaneScore(
        plane=truth.numbers[k],
        t=k % truth.factor / truth.factor,
        psnr_db=psnr(true, guess, data_range=truth.data_range),
        ssim=ssim(true, guess, data_range=truth.data_range),
        sharpness=sharpness(true, guess),
        edges=edge_f_score(guess[0], true[0]),
        mean_error=float(guess.mean(dtype=np.float64) - true.mean(dtype=np.float64)),
    )
