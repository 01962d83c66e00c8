"""Grey values to float32 and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zinterp.errors import BadOptionError
from zinterp.normalize import Normalizer


@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16", "int8"]),
    bounds=st.tuples(st.floats(-3e4, 6e4), st.floats(1, 6e4)),
)
def test_integers_come_back_exactly(dtype: str, bounds: tuple[float, float]) -> None:
    limits = np.iinfo(dtype)
    values = np.arange(limits.min, limits.max + 1, dtype=dtype)[None]
    normalizer = Normalizer(bounds[0], bounds[0] + max(bounds[1], (limits.max - limits.min) / 100))
    assert np.array_equal(normalizer.denormalize(normalizer.normalize(values), dtype), values)


def test_values_beyond_the_dtype_are_clipped_and_not_wrapped() -> None:
    normalizer = Normalizer(0, 255)
    planes = np.array([[-1.2, -0.002, 0.4999, 1.0039, 300.0]], np.float32)
    assert normalizer.denormalize(planes, "uint8").tolist() == [[0, 0, 127, 255, 255]]
    assert normalizer.denormalize(np.float32([[-1.0]]), "int16").tolist() == [[-255]]


def test_values_are_rounded_and_not_truncated() -> None:
    assert Normalizer(0, 1).denormalize(np.float32([[0.6, 1.4, 254.6]]), "uint8").tolist() == [[1, 1, 255]]


def test_floats_keep_seven_digits() -> None:
    values = np.float32([[1e-3, 5.5, 1234.5]])
    normalizer = Normalizer(0, 1000)
    assert np.allclose(normalizer.denormalize(normalizer.normalize(values), "float32"), values, rtol=1e-6, atol=1e-4)


def test_fit_is_robust_to_a_few_hot_pixels_and_nan() -> None:
    plane = np.random.default_rng(0).normal(100, 10, (200, 200))
    plane[0, :3] = [1e9, np.nan, -np.inf]
    fitted = Normalizer.fit([plane])
    assert 50 < fitted.low < 80
    assert 120 < fitted.high < 150


@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_volume_comes_back(value: int) -> None:
    plane = np.full((8, 8), value, np.uint16)
    fitted = Normalizer.fit([plane])
    assert np.array_equal(fitted.denormalize(fitted.normalize(plane), "uint16"), plane)


def test_all_values_missing_still_gives_a_map() -> None:
    assert Normalizer.fit([np.full((4, 4), np.nan)]) == Normalizer(0.0, 1.0)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, np.inf), (np.nan, 1)])
def test_empty_ranges_are_refused(low: float, high: float) -> None:
    with pytest.raises(BadOptionError, match="expected two finite numbers"):
        Normalizer(low, high)
