"""File values to and from float32 by one linear map, fitted once for a whole volume."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from zinterp.errors import BadOptionError

PERCENTILES = (0.1, 99.9)
LARGEST = 1e36  # normalised: what interpolation makes of it is still a float32


@dataclass(frozen=True)
class Normalizer:
    """The linear map that takes ``low`` to 0 and ``high`` to 1. Nothing is clipped on the way in that float32 can hold.

    Parameters
    ----------
    low, high : float
        Grey values of the volume, ``low < high``.

    Raises
    ------
    BadOptionError
        If ``low`` is not below ``high``, or either is not finite.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise BadOptionError(
                f"the intensity range is {self.low:g} to {self.high:g}, expected two finite numbers, the lower first: "
                "give another --intensity-range LOW,HIGH"
            )

    @classmethod
    def fit(cls, planes: Iterable[NDArray[np.generic]]) -> "Normalizer":
        """Fit to the 0.1 and 99.9 percentiles of the finite values of some planes.

        Parameters
        ----------
        planes : iterable of ndarray, each shape (Y, X)
            A sample of the volume's planes.

        Returns
        -------
        Normalizer
            For a constant sample the range is one grey value wide, so that the constant comes back.
        """
        values = np.concatenate([plane[np.isfinite(plane)].ravel() for plane in planes])
        low, high = (float(v) for v in np.percentile(values, PERCENTILES)) if values.size else (0.0, 1.0)
        if low == high:  # constant but for a few specks
            low, high = float(values.min(initial=low)), float(values.max(initial=high))
        return cls(low, high if high > low else low + max(1.0, abs(low) * 1e-3))

    def normalize(self, planes: NDArray[np.generic]) -> NDArray[np.float32]:
        """File values of any dtype -> float32, the range at [0, 1], shape kept."""
        if planes.dtype.itemsize > 2:  # the subtraction needs the input's own precision
            values = (planes.astype(np.float64) - self.low) / (self.high - self.low)
            return np.clip(values, -LARGEST, LARGEST, out=values).astype(np.float32)
        return (planes.astype(np.float32) - np.float32(self.low)) / np.float32(self.high - self.low)

    def denormalize_deviations(self, sigma: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standard deviations, as parts of the range -> grey levels, shape kept."""
        values = sigma.astype(np.float64) * (self.high - self.low)
        return np.minimum(values, np.finfo(np.float32).max).astype(np.float32)

    def denormalize(self, planes: NDArray[np.float32], dtype: DTypeLike) -> NDArray[np.generic]:
        """Float32 -> file values: rounded and clipped to what ``dtype`` holds (not to the range), shape kept."""
        dtype = np.dtype(dtype)
        exact = np.float64 if dtype.itemsize > 2 else np.float32  # enough for the digits that the dtype has
        values = np.asarray(planes.astype(exact))
        np.multiply(values, exact(self.high - self.low), out=values)
        np.add(values, exact(self.low), out=values)
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            np.rint(values, out=values)
            np.clip(values, limits.min, limits.max, out=values)
        elif dtype.itemsize < 8:
            most = np.finfo(dtype).max
            np.clip(values, -most, most, out=values)
        return values.astype(dtype)
