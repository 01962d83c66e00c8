"""What every interpolator must do, whatever it is."""

import numpy as np
import pytest
import torch

from tests.conftest import make_stack
from zinterp import interpolate
from zinterp.interpolators import CLASSICAL, Interpolator, create_interpolator
from zinterp.interpolators.base import Uncertain
from zinterp.interpolators.weights import shipped_weights
from zinterp.threads import side_by_side

MODELS = [*CLASSICAL, *shipped_weights()]
TIMES = np.array([0.125, 0.25, 0.5, 0.75, 0.875], np.float32)


@pytest.fixture(params=MODELS, scope="module")
def interpolator(request: pytest.FixtureRequest) -> Interpolator:
    """Each interpolator in float32."""
    return create_interpolator(request.param, device="cpu", precision="fp32")


def planes_for(interpolator: Interpolator, seed: int = 0) -> np.ndarray:
    """Two sets of planes with structure that moves, of a size that suits, shape (2, 2 * context, 64, 80)."""
    depth = 2 * interpolator.needs.context
    stacks = [make_stack((depth, 64, 80), "float32", seed + i) for i in range(2)]
    return np.stack(stacks).astype(np.float32)


def test_shape_dtype_and_finite(interpolator: Interpolator) -> None:
    result = interpolator(planes_for(interpolator), TIMES)
    assert result.shape == (2, len(TIMES), 64, 80)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()


def test_equal_planes_come_back(interpolator: Interpolator) -> None:
    planes = planes_for(interpolator)
    equal = np.repeat(planes[:, :1], planes.shape[1], axis=1)
    assert np.array_equal(interpolator(equal, TIMES), np.repeat(equal[:, :1], len(TIMES), axis=1))


def test_planes_that_change_in_a_straight_line_come_back(interpolator: Interpolator) -> None:
    planes = planes_for(interpolator)
    context = interpolator.needs.context
    if context == 1 and interpolator.identity != "linear":
        pytest.skip("any two planes lie on a straight line, so whoever sees no others and follows motion leaves it")
    slope = make_stack((1, 64, 80), "float32", 9)
    steps = np.arange(1 - context, context + 1, dtype=np.float32)[:, None, None]
    ramp = planes[:, :1] + steps * slope
    expected = planes[:, :1] + TIMES[:, None, None] * slope
    assert np.abs(interpolator(ramp, TIMES) - expected).max() < 1e-4


def test_turning_the_stack_upside_down_mirrors_t(interpolator: Interpolator) -> None:
    planes = planes_for(interpolator)
    up = interpolator(planes, TIMES)
    down = interpolator(np.ascontiguousarray(planes[:, ::-1]), 1 - TIMES)
    assert np.abs(up - down).max() < 1e-4


def test_t_is_honoured_and_monotone(interpolator: Interpolator) -> None:
    planes = planes_for(interpolator)
    before, after = planes[:, interpolator.needs.context - 1], planes[:, interpolator.needs.context]
    result = interpolator(planes, TIMES)
    to_before = [float(np.square(result[:, k] - before).mean()) for k in range(len(TIMES))]
    to_after = [float(np.square(result[:, k] - after).mean()) for k in range(len(TIMES))]
    assert to_before == sorted(to_before)
    assert to_after == sorted(to_after, reverse=True)
    assert len({round(d, 6) for d in to_before}) == len(TIMES)


def test_brightness_and_contrast_do_not_matter(interpolator: Interpolator) -> None:
    planes = planes_for(interpolator)
    result = interpolator(planes, TIMES)
    changed = interpolator(planes * np.float32(0.02) + np.float32(0.4), TIMES)
    assert np.abs(changed - (result * 0.02 + 0.4)).max() < 2e-5


def test_a_plane_does_not_depend_on_what_else_is_asked_for(interpolator: Interpolator) -> None:
    planes = planes_for(interpolator)
    together = interpolator(planes[:1], TIMES)
    for k, t in enumerate(TIMES):
        assert np.array_equal(interpolator(planes[:1], np.array([t]))[:, 0], together[:, k])


def test_uncertainty_comes_with_the_same_planes(interpolator: Interpolator) -> None:
    planes = planes_for(interpolator)
    assert isinstance(interpolator, Uncertain) == interpolator.identity.startswith(("fast@", "mirror-unet@"))
    if not isinstance(interpolator, Uncertain):
        return
    made, sigma = interpolator.uncertainty(planes, TIMES)
    assert np.array_equal(made, interpolator(planes, TIMES))
    assert sigma.shape == made.shape
    assert sigma.dtype == np.float32
    assert np.isfinite(sigma).all()
    assert (sigma > 0).all()
    _, half = interpolator.uncertainty(planes * np.float32(0.5), TIMES)
    assert np.allclose(half, sigma / 2, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "int8", "float64", "float16", "uint32"])
def test_every_dtype_is_kept_and_acquired_planes_are_bit_for_bit(model: str, dtype: str) -> None:
    stack = make_stack((4, 36, 44), dtype)
    dense = interpolate(stack, factor=3, model=model, device="cpu")
    assert dense.dtype == stack.dtype
    assert dense.shape == (10, 36, 44)
    assert np.array_equal(dense[::3], stack)
    assert not np.array_equal(dense[1], stack[0])


def test_neither_threads_nor_calls_at_once_change_a_bit(interpolator: Interpolator) -> None:
    planes = planes_for(interpolator)
    alone = [interpolator(planes[i : i + 1], TIMES) for i in range(2)]
    for made, expected in zip(
        side_by_side(lambda i: interpolator(planes[i : i + 1], TIMES), range(2), 2), alone, strict=True
    ):
        assert np.array_equal(made, expected)


@pytest.mark.parametrize("model", ["fast", "mirror-unet", "softsplat"])
def test_a_network_computes_in_the_thread_that_calls_it(model: str) -> None:
    before = torch.get_num_threads()
    try:
        made = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            interpolator = create_interpolator(model, device="cpu")
            assert interpolator.needs.at_once == threads
            made.append(interpolator(planes_for(interpolator)[:1], TIMES))
            assert torch.get_num_threads() == threads
        assert np.array_equal(*made)
    finally:
        torch.set_num_threads(before)
