"""The autoencoder that planes are compared by."""

from pathlib import Path

import numpy as np
import pytest
import torch

from zinterp.errors import BadOptionError
from zinterp.interpolators.weights import load_network
from zinterp.models import FEATURE_NETWORKS
from zinterp.models.autoencoder import FEATURE_RMS
from zinterp.phantom import Phantom
from zinterp.training.data import CropSampler
from zinterp.training.features import CROP, train_features


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """A phantom."""
    return (Phantom.random((110, 110, 110), seed=2).volume(range(110), (110, 110)) / 255).astype(np.float16)


def test_it_learns_and_its_features_have_a_fixed_scale(volume: np.ndarray, tmp_path: Path) -> None:
    out, seen = tmp_path / "f.safetensors", []
    error = train_features([volume], out, steps=40, report=lambda done, error: seen.append((done, error)))
    assert error < 0.95 * seen[0][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    network = load_network(out, FEATURE_NETWORKS)
    planes = CropSampler([volume], size=CROP, seed=5).batch(8).targets
    with torch.no_grad():
        features = network.features(planes)
        off = (network(planes) - planes).square().mean().sqrt()
    assert features.shape == (8, 64, CROP // 4, CROP // 4)
    assert float(features.square().mean().sqrt()) == pytest.approx(FEATURE_RMS, rel=0.4)
    assert off < planes.std()


def test_no_time_is_refused(volume: np.ndarray, tmp_path: Path) -> None:
    for wrong in ({"minutes": 0}, {}, {"steps": 3, "minutes": 2}):
        with pytest.raises(BadOptionError, match="expected more than none of one of them"):
            train_features([volume], tmp_path / "f.safetensors", **wrong)
    assert not list(tmp_path.iterdir())
