"""What networks are trained for."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from tests.models.conftest import SMALL
from zinterp.errors import BadOptionError
from zinterp.models import ARCHITECTURES
from zinterp.phantom import Phantom
from zinterp.training.data import Batch, CropSampler
from zinterp.training.losses import deep_supervision, end_point_error, laplacian, log_mse, ssim, total_variation
from zinterp.training.objectives import OBJECTIVES, ForFBNet, ForMirrorUNet, ForNestedUNet, ForSuperSloMo, alike, l1
from zinterp.training.train import choose_objective

SIZES = {"mirror-unet": {"channels": (8, 16)}, "half-unet": {"channels": (8, 16, 16)}, **SMALL}


@pytest.fixture(scope="module")
def batch() -> Batch:
    """Crops of a phantom, with two pairs of known motion."""
    volume = (Phantom.random((20, 64, 64), seed=2).volume(range(20), (64, 64)) / 255).astype(np.float16)
    return CropSampler([volume], size=32, context=3, moved=2, seed=0).batch(3)


def test_every_architecture_has_an_objective() -> None:
    assert set(OBJECTIVES) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_lower_the_loss(name: str, batch: Batch) -> None:
    torch.manual_seed(0)
    network, objective = ARCHITECTURES[name](SIZES[name]).train(), OBJECTIVES[name]()
    optimizer = objective.optimizer(network.parameters(), 2e-3)
    totals = []
    for _ in range(12):
        losses = objective(network, batch)
        totals.append(losses.total.item())
        optimizer.zero_grad()
        losses.total.backward()
        assert objective.clip(network.parameters()).isfinite()
        optimizer.step()
    assert totals[-1] < totals[0] - 0.01 * abs(totals[0])
    assert not losses.log_mse.requires_grad


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if OBJECTIVES[name].moved])
def test_every_weight_matters(name: str, batch: Batch) -> None:
    torch.manual_seed(0)
    network = ARCHITECTURES[name](SIZES[name]).train()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    total = OBJECTIVES[name]()(network, batch).total.item()
    for term in OBJECTIVES[name].__dataclass_fields__:
        changed = choose_objective(name, {term: 100.0})(network, batch).total.item()
        assert abs(changed - total) > 1e-4, term


def test_the_papers_settings() -> None:
    super_slomo, fbnet = ForSuperSloMo(), ForFBNet()
    weights = (super_slomo.reconstruction, super_slomo.perceptual, super_slomo.warping, super_slomo.smoothness)
    assert weights == (0.8, 0.005, 0.4, 1.0)
    assert (fbnet.ssim, fbnet.psnr, fbnet.l1, fbnet.l2) == (1.0, 1.0, 5.0, 10.0)
    parameters = [torch.nn.Parameter(torch.zeros(3))]
    assert isinstance(super_slomo.optimizer(parameters, 1e-4), torch.optim.Adam)
    assert isinstance(fbnet.optimizer(parameters, 1e-4), torch.optim.NAdam)
    assert [super_slomo.rate_factor(0, done) for done in (0, 0.39, 0.41, 0.79, 0.81)] == [1, 1, 0.1, 0.1, 0.01]


def test_fbnet_clips_by_value_and_by_norm() -> None:
    parameter = torch.nn.Parameter(torch.zeros(4))
    parameter.grad = torch.tensor([5.0, -5.0, 0.5, 0.0])
    ForFBNet().clip(iter([parameter]))
    clipped = torch.tensor([1.0, -1.0, 0.5, 0.0])
    assert torch.allclose(parameter.grad, clipped / clipped.norm(), atol=1e-5)


def test_deep_supervision_has_one_term_a_level(batch: Batch) -> None:
    network = ARCHITECTURES["nested-unet"](SIZES["nested-unet"]).train()
    made = network.details(batch.around(1), batch.times[:, 0])
    terms = deep_supervision(made.sides, batch.targets)
    assert len(terms) == len(SIZES["nested-unet"]["heights"])
    assert all(term.requires_grad for term in terms)
    expected = log_mse(made.plane, batch.targets) + 0.5 * sum(terms) / len(terms)
    assert torch.allclose(ForNestedUNet().terms(made, batch.around(1), batch.targets, torch.ones(3)), expected)


def test_unknown_loss_weights_are_refused() -> None:
    assert choose_objective("fbnet", {"l1": 2.0}) == ForFBNet(l1=2.0)
    with pytest.raises(BadOptionError, match=r"expected some of uncertainty=0.1, which mirror-unet is trained with"):
        choose_objective("mirror-unet", {"perceptual": 1.0})


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0])
def test_loss_weights_are_not_negative_and_finite(weight: float) -> None:
    with pytest.raises(BadOptionError, match="numbers of at least 0"):
        choose_objective("fbnet", {"l1": weight})


def test_a_gradient_without_end_is_seen_before_it_is_clipped() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([float("inf"), 0.0])
    assert ForFBNet().clip([parameter]).isinf()


def test_the_motion_term_looks_at_the_flow(batch: Batch) -> None:
    assert batch.moved is not None
    known = batch.moved.flow01
    assert float(end_point_error(known, known)) == pytest.approx(1e-3, rel=1e-3)
    shifted = known + torch.tensor([3.0, 4.0])[:, None, None]
    assert float(end_point_error(shifted, known)) == pytest.approx(5, rel=1e-3)


def test_pixels_whose_motion_leads_out_do_not_count() -> None:
    known = torch.zeros(1, 2, 4, 4)
    known[:, 0, :, 3] = 1
    found = torch.zeros(1, 2, 4, 4)
    assert float(end_point_error(found, known)) == pytest.approx(1e-3)


def test_ssim_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    first = rng.random((40, 50)).astype(np.float32)
    second = np.clip(first + rng.normal(0, 0.1, first.shape), 0, 1).astype(np.float32)
    _, whole = structural_similarity(first, second, win_size=7, data_range=1.0, use_sample_covariance=False, full=True)
    expected = whole[3:-3, 3:-3].mean()
    assert float(ssim(*(torch.from_numpy(x)[None, None] for x in (first, second)))) == pytest.approx(expected, abs=1e-4)


def test_other_losses() -> None:
    flow = torch.zeros(1, 2, 3, 3)
    flow[:, :, :, 1:] = 2
    assert float(total_variation(flow)) == pytest.approx(1)  # half the steps in x are 2 pixels, those in y are 0
    plane, other = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    assert torch.equal(laplacian(plane, plane), torch.zeros(2))
    assert torch.allclose(laplacian(plane + 0.5, plane), torch.full((2,), 8.0), atol=1e-4)  # all in the coarsest level
    assert float(l1(plane, plane + 0.25, torch.ones(2))) == pytest.approx(0.25)
    assert laplacian(other, plane).shape == (2,)


def test_crops_that_are_easy_to_interpolate_count_more() -> None:
    planes, times, target = torch.zeros(3, 2, 4, 4), torch.full((3, 1), 0.25), torch.zeros(3, 1, 4, 4)
    planes[:, 1] = 0.4  # the line is at 0.1
    target[0], target[1], target[2] = 0.1, 0.199, 0.299
    shares = alike(planes, times, target)
    assert float(shares.mean()) == pytest.approx(1)
    assert float(shares[1] / shares[2]) == pytest.approx(2, rel=1e-4)
    assert float(shares[0] / shares[1]) == pytest.approx(100, rel=1e-3)


def test_rates_warm_up_and_fall() -> None:
    factor = ForMirrorUNet().rate_factor
    assert factor(0, 0) == pytest.approx(0.005)
    assert factor(50, 0.05) == pytest.approx(0.5, rel=0.02)  # of a short training
    assert factor(50, 0.1) > 0.95
    assert factor(500, 0) == 1
    assert factor(500, 1) == pytest.approx(0.01)
    assert math.isclose(factor(10_000, 0.5), 0.505, rel_tol=1e-6)
