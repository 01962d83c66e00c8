"""What boundary restoration is trained for."""

from pathlib import Path

import numpy as np
import pytest
import torch

from zinterp.errors import BadOptionError, BadWeightsError
from zinterp.interpolators.weights import load_restoration, shipped_weights
from zinterp.models.boundary_restoration import BoundaryRestoration, BoundaryRestorationSize
from zinterp.phantom import Phantom
from zinterp.training.data import Batch, CropSampler
from zinterp.training.restoration import (
    FINEST,
    PATCH,
    RINGS,
    SECTORS,
    ForBoundaryRestoration,
    beyond,
    census,
    differences,
    gradient_energy,
    scale,
    spectrum,
)
from zinterp.training.train import TrainingOptions, choose_objective, train

SMALL = {"architecture": "boundary-restoration", "sizes": {"channels": (4, 8)}, "batch": 2, "crop": 32}


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """A phantom with grain."""
    clean = Phantom.random((28, 64, 64), seed=2).volume(range(28), (64, 64)) / 255
    return (clean + 0.05 * np.random.default_rng(0).standard_normal(clean.shape)).astype(np.float16)


@pytest.fixture(scope="module")
def batch(volume: np.ndarray) -> Batch:
    """Crops of it."""
    return CropSampler([volume], size=48, context=3, seed=0).batch(3)


def test_a_few_steps_lower_the_loss(batch: Batch) -> None:
    torch.manual_seed(0)
    network, objective = BoundaryRestoration(BoundaryRestorationSize((8, 12))).train(), ForBoundaryRestoration()
    optimizer = objective.optimizer(network.parameters(), 5e-3)
    before, totals = objective.score(network, batch).mean(), []
    for _ in range(25):
        losses = objective(network, batch)
        totals.append(losses.total.item())
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    assert totals[-1] < totals[0] - 0.05
    assert objective.score(network, batch).mean() > before
    assert not any(parameter.requires_grad for parameter in objective.interpolator.parameters())


def test_every_weight_matters(batch: Batch) -> None:
    torch.manual_seed(0)
    network = BoundaryRestoration(BoundaryRestorationSize((8, 12)))
    torch.nn.init.normal_(network.head.weight, std=0.1)
    total = ForBoundaryRestoration()(network, batch).total.item()
    for term in ForBoundaryRestoration.__dataclass_fields__:
        changed = choose_objective("boundary-restoration", {term: 100.0})(network, batch).total.item()
        assert abs(changed - total) > 1e-3, term
    with pytest.raises(BadOptionError, match=r"census=0\.5"):
        choose_objective("boundary-restoration", {"perceptual": 1.0})


def test_a_true_plane_of_like_detail_loses_nothing(batch: Batch) -> None:
    objective, truth = ForBoundaryRestoration(), batch.targets
    neighbours = torch.cat((truth, truth.flip(2, 3)), dim=1)  # as much detail in all directions, elsewhere
    times = batch.times[:, 0]
    assert objective.terms(truth, neighbours, truth, times).max() < 1e-3
    blurred = torch.nn.functional.avg_pool2d(truth, 3, stride=1, padding=1, count_include_pad=False)
    assert (objective.terms(blurred, neighbours, truth, times) > 0.1).all()


def test_power_is_that_of_its_ring() -> None:
    _, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    edges = torch.linspace(0.5 / PATCH, FINEST, RINGS + 1)
    for cycles, ring in ((0.08, 1), (0.2, 4)):
        power = spectrum(torch.sin(2 * torch.pi * cycles * x)[None, None])[0, 0, 0, :RINGS]
        assert edges[ring] <= cycles < edges[ring + 1]
        assert power.argmax() == ring


def test_the_spectrum_tells_grain_from_a_pattern_of_equal_power() -> None:
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    grain = torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    pattern = 2**0.5 * torch.sin(2 * torch.pi * 0.17 * (x + y))[None, None]
    means, logarithms = spectrum(torch.cat((grain, pattern), dim=1))[0].unbind(1)
    assert ((means[0] - logarithms[0])[:RINGS] - 0.5772).abs().max() < 0.12  # as of independent Gaussian coefficients
    ring = int(means[1, :RINGS].argmax())
    assert means[1, ring] - logarithms[1, ring] > 5
    by_direction = means[:, RINGS:]
    assert by_direction.shape == (2, SECTORS)
    spread = by_direction.amax(dim=1) - by_direction.amin(dim=1)
    assert spread[0] < 0.4
    assert spread[1] > 3


def test_gradients_are_central_differences() -> None:
    planes = torch.rand(2, 2, 20, 24)
    energies = gradient_energy(planes)
    for n in range(2):
        for c in range(2):
            gy, gx = np.gradient(planes[n, c].numpy())
            inner = (slice(1, -1), slice(1, -1))
            expected = float((gy[inner] ** 2 + gx[inner] ** 2).mean())
            assert float(energies[n, c]) == pytest.approx(expected, abs=2e-4)
    assert differences(planes[:, :1]).shape == (2, 2, 18, 22)


def test_the_census_does_not_see_brightness_but_order() -> None:
    planes = torch.rand(1, 1, 16, 16)
    assert census(planes).shape == (1, 49, 10, 10)
    assert torch.allclose(census(planes), census(planes + 5), atol=1e-4)
    assert (census(planes) - census(-planes)).abs().mean() > 0.5


def test_freedom_and_scale() -> None:
    off = torch.tensor([0.0, 0.04, 0.2, -0.7])
    assert torch.allclose(beyond(off, 0.05), torch.tensor([0.0, 0.0, 0.15, 0.65]))
    assert scale(torch.zeros(1, 2, 8, 8)).item() == pytest.approx(1e-3)


def test_training_from_random_weights_and_on(volume: np.ndarray, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    outcome = train([volume], first, TrainingOptions(steps=40, learning_rate=5e-3, **SMALL))
    assert outcome.kept
    assert outcome.before is not None  # planes as they are
    assert outcome.after is not None
    assert outcome.after > outcome.before
    assert load_restoration(first).size.channels == (4, 8)
    on = train([volume], second, TrainingOptions(steps=2, held_out=0, **SMALL), init=first)
    assert on.kept
    assert first.read_bytes() != second.read_bytes()
    interpolating = next(iter(shipped_weights().values())).path
    with pytest.raises(BadWeightsError, match="is for the network 'mirror-unet', expected one of boundary-restoration"):
        train([volume], tmp_path / "c.safetensors", TrainingOptions(steps=2, **SMALL), init=interpolating)
