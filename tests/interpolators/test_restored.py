"""A network whose planes are restored, as one interpolator."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import make_stack
from zinterp import interpolate, interpolate_with_uncertainty
from zinterp.errors import BadOptionError, BadWeightsError
from zinterp.interpolators import create_interpolator, parts_of
from zinterp.interpolators.base import Uncertain
from zinterp.interpolators.weights import find_restoration, read_index, save_network, shipped_weights
from zinterp.models.boundary_restoration import BoundaryRestoration, BoundaryRestorationSize

CPU = {"device": "cpu", "precision": "fp32"}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights that restore at random."""
    torch.manual_seed(0)
    network = BoundaryRestoration(BoundaryRestorationSize((8, 12)))
    torch.nn.init.normal_(network.head.weight, std=0.05)
    path = tmp_path / "random.safetensors"
    save_network(path, network, {})
    return path


def test_planes_and_deviations_are_those_of_both_networks_in_turn(weights: Path) -> None:
    planes = make_stack((6, 64, 80), "float32")[None]
    times = np.array([0.25, 0.75], np.float32)
    plain, restored = create_interpolator(**CPU), create_interpolator(restore=str(weights), **CPU)
    assert isinstance(plain, Uncertain)
    assert isinstance(restored, Uncertain)
    made, sigma = restored.uncertainty(planes, times)
    assert np.array_equal(made, restored(planes, times))
    before, doubt = plain.uncertainty(planes, times)
    network = restored.restoration
    for k in range(2):
        with torch.inference_mode():
            expected = network(
                torch.from_numpy(planes[:, 2:4]),
                torch.from_numpy(before[:, k : k + 1]),
                torch.from_numpy(doubt[:, k : k + 1]),
                torch.tensor(times[k : k + 1]),
            )
        assert np.allclose(made[:, k], expected.planes[:, 0], atol=1e-5)
        assert np.allclose(sigma[:, k], expected.sigma[:, 0], rtol=1e-4)
    assert np.abs(made - before).max() > 0.01


def test_both_are_named_with_their_hashes(weights: Path) -> None:
    plain, restored = create_interpolator(**CPU), create_interpolator(restore=str(weights), **CPU)
    model, restoration = parts_of(restored.identity)
    assert model == plain.identity
    assert restoration.startswith("random@")
    assert parts_of(plain.identity) == (plain.identity, "")


def test_tiles_leave_no_trace(weights: Path) -> None:
    stack = make_stack((4, 500, 400), "float32")
    options = {"depths": [0.5], "intensity_range": (0, 1), "restore": str(weights), **CPU}
    whole, tiled = interpolate(stack, tile=2048, **options), interpolate(stack, tile=352, **options)
    assert 0 < np.abs(whole - tiled).max() < 1 / 255


def test_the_shipped_ones_restore_what_the_default_makes() -> None:
    described = read_index().restoration
    assert described is not None
    described.verify()
    assert described.parameters < 2e6
    stack = make_stack((5, 96, 96))
    plain, _ = interpolate_with_uncertainty(stack, factor=2, **CPU)
    made, sigma = interpolate_with_uncertainty(stack, factor=2, restore=True, **CPU)
    assert np.array_equal(made[::2], stack)
    assert not np.array_equal(made, plain)
    assert (sigma[1::2] > 0).all()


@pytest.mark.parametrize("model", ["linear", "cubic", "super-slomo"])
def test_a_model_without_uncertainty_is_refused(model: str) -> None:
    with pytest.raises(BadOptionError, match=f"planes of {model} cannot be restored, expected a model that knows"):
        create_interpolator(model, restore=True)


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOptionError, match=r"'stack.tif', are not there, expected a .safetensors file"):
        find_restoration("stack.tif")
    other = next(iter(shipped_weights().values())).path
    with pytest.raises(BadWeightsError, match="is for the network 'mirror-unet', expected one of boundary-restoration"):
        create_interpolator(restore=str(other))
