"""The training loop."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.models.conftest import SMALL as MOTION_NETWORKS
from zinterp.errors import BadOptionError, BadWeightsError, OutputError, OutputExistsError, TrainingError
from zinterp.interpolators import create_interpolator
from zinterp.interpolators.weights import sha256_of
from zinterp.models import ARCHITECTURES, PUBLISHED
from zinterp.models.layers import Prediction
from zinterp.phantom import Phantom
from zinterp.training.checkpoint import Checkpoint
from zinterp.training.data import Batch
from zinterp.training.held_out import HeldOut, mean_score, split
from zinterp.training.losses import likelihood, log_mse
from zinterp.training.objectives import OBJECTIVES, ForMirrorUNet
from zinterp.training.train import GAPS_ALONG_Z, Progress, TrainingOptions, resolved, train

SMALL = {"sizes": {"channels": [8, 16, 16]}, "batch": 4, "crop": 32}


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """A small phantom."""
    planes = Phantom.random((30, 64, 64), seed=2).volume(range(30), (64, 64))
    return (planes / 255).astype(np.float16)


def test_training_learns_and_writes_weights_that_work(volume: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    seen: list[Progress] = []
    outcome = train(
        [volume],
        out,
        TrainingOptions(steps=150, learning_rate=4e-3, **SMALL),
        report=seen.append,
        report_every=50,
        data="a phantom",
    )
    assert outcome.before is None
    assert outcome.kept
    assert outcome.after is not None
    assert outcome.after > 0.05
    assert seen[-1].done == 1
    assert {50, 100, 150} <= {p.step for p in seen}
    scores = {p.held_out for p in seen if p.held_out is not None}
    assert outcome.after in scores
    assert len(scores) > 10
    assert all(p.loss_db is None or p.loss_db < -10 for p in seen)
    assert [p.name for p in tmp_path.iterdir()] == ["small.safetensors"]
    with safe_open(out, framework="pt") as file:
        assert file.metadata()["data"] == "a phantom"
        assert file.metadata()["steps"] == "150"
    planes = volume[None, :6].astype(np.float32)
    assert create_interpolator(str(out), device="cpu")(planes, np.float32([0.5])).shape == (1, 1, 64, 64)


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(volume: np.ndarray, tmp_path: Path) -> None:
    first, straight, resumed = (tmp_path / f"{name}.safetensors" for name in ("first", "straight", "resumed"))
    options = TrainingOptions(steps=30, learning_rate=2e-3, **SMALL)
    train([volume], first, options)
    expected = train([volume], straight, options, init=first)

    def stop(progress: Progress) -> None:
        if progress.step == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([volume], resumed, options, init=first, report=stop)
    assert not resumed.exists()
    with pytest.raises(OutputExistsError, match=r"give --resume to go on with it, or --overwrite"):
        train([volume], resumed, options, init=first)
    steps: list[int] = []
    outcome = train([volume], resumed, options, init=first, resume=True, report=lambda p: steps.append(p.step))
    assert steps[0] == 13
    assert outcome == expected
    assert outcome.kept
    for name, tensor in load_file(straight).items():
        assert torch.equal(tensor, load_file(resumed)[name]), name
    with pytest.raises(OutputExistsError, match="exists already"):
        train([volume], resumed, options)
    other = [volume, volume]
    with pytest.raises(KeyboardInterrupt):
        train([volume], resumed, options, report=stop, overwrite=True)
    with pytest.raises(BadWeightsError, match="this training is"):
        train(other, resumed, options, resume=True)


@pytest.mark.parametrize("name", MOTION_NETWORKS)
def test_every_network_goes_on_as_if_it_had_not_been_interrupted(name: str, volume: np.ndarray, tmp_path: Path) -> None:
    straight, resumed = tmp_path / "straight.safetensors", tmp_path / "resumed.safetensors"
    options = TrainingOptions(name, MOTION_NETWORKS[name], steps=6, batch=2, crop=32)

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    train([volume], straight, options)
    with pytest.raises(KeyboardInterrupt):
        train([volume], resumed, options, report=stop)
    train([volume], resumed, options, resume=True)
    for key, tensor in load_file(straight).items():
        assert torch.equal(tensor, load_file(resumed)[key]), key


def test_a_training_is_saved_by_time_too(volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinterp.training.train.CHECKPOINT_EVERY_S", 0.0)
    out = tmp_path / "a.safetensors"

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([volume], out, TrainingOptions(steps=5, **SMALL), report=stop, report_every=3)
    assert (tmp_path / "a.safetensors.checkpoint").exists()
    (tmp_path / "a.safetensors.checkpoint").write_bytes(b"cut short")
    with pytest.raises(BadWeightsError, match="is damaged"):
        train([volume], out, TrainingOptions(steps=5, **SMALL), resume=True)
    torch.save({}, tmp_path / "a.safetensors.checkpoint")
    with pytest.raises(BadWeightsError, match="is of None"):
        train([volume], out, TrainingOptions(steps=5, **SMALL), resume=True)


def test_what_could_not_be_written_at_the_end_is_refused_at_the_start(volume: np.ndarray, tmp_path: Path) -> None:
    for name, message in (("a.tif", "ends in .safetensors"), ("no/a.safetensors", "does not exist")):
        with pytest.raises((BadOptionError, OutputError), match=message):
            train([volume], tmp_path / name, TrainingOptions(steps=1, **SMALL))
    with pytest.raises(BadOptionError, match="the device is"):
        train([volume], tmp_path / "a.safetensors", TrainingOptions(steps=1, **SMALL), device="cuda:99")


@pytest.mark.parametrize("name", ["mirror-unet", *MOTION_NETWORKS])
def test_a_training_that_fails_numerically_stops(name: str, volume: np.ndarray, tmp_path: Path) -> None:
    broken = volume.copy()
    broken[:] = np.nan
    sizes = MOTION_NETWORKS.get(name, SMALL["sizes"])
    with pytest.raises(TrainingError, match="the loss is nan at step 0"):
        train([broken], tmp_path / "a.safetensors", TrainingOptions(name, sizes, steps=5, batch=2, crop=32))
    assert not (tmp_path / "a.safetensors").exists()


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(
    volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zinterp.training.objectives.log_mse", lambda made, _: (made.sum() * 0).sqrt())
    with pytest.raises(TrainingError, match="the gradient is nan at step 0"):
        train([volume], tmp_path / "a.safetensors", TrainingOptions(steps=5, **SMALL))


def test_a_full_disk_is_reported(volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("unexpected pos")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="then --resume"):
        train([volume], tmp_path / "a.safetensors", TrainingOptions(steps=5, **SMALL))


def test_training_starts_from_given_weights_and_keeps_only_what_is_better(volume: np.ndarray, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.safetensors" for name in ("first", "second", "third"))
    begun = train([volume], first, TrainingOptions(steps=30, learning_rate=4e-3, **SMALL))
    better = train([volume], second, TrainingOptions(steps=100, learning_rate=3e-3, **SMALL), init=first)
    assert better.before == pytest.approx(begun.after, abs=1e-3)  # stored as float16
    assert better.kept
    assert better.after is not None
    assert better.before is not None
    assert better.after > better.before
    with safe_open(second, framework="pt") as file:
        assert file.metadata()["init"] == f"first.safetensors {sha256_of(first)[:12]}"
    seen: list[Progress] = []
    worse = train(
        [volume], third, TrainingOptions(steps=20, learning_rate=0.5, **SMALL), init=second, report=seen.append
    )
    assert not worse.kept
    assert worse.after is not None
    assert worse.before is not None
    assert worse.after <= worse.before
    assert (seen[0].step, seen[0].held_out) == (0, worse.before)
    assert not list(tmp_path.glob("third*"))


def test_the_best_is_chosen_by_other_crops_than_it_is_judged_by(volume: np.ndarray) -> None:
    held_out = HeldOut.draw([volume], gaps=(2, 4), size=32, context=2)
    seen = [{p.numpy().tobytes() for b in part for p in b.planes} for part in (held_out.choosing, held_out.judging)]
    assert len(seen[0]) > 40
    assert not seen[0] & seen[1]
    networks = [torch.nn.Linear(1, 1) for _ in range(3)]
    state = Checkpoint(Path("a"), "", *networks, torch.optim.SGD(networks[0].parameters()))

    class Scores:
        def __init__(self, choice: float, judgement: float) -> None:
            self.values = choice, judgement

        def choose(self, *_: object) -> float:
            return self.values[0]

        def judge(self, *_: object) -> float:
            return self.values[1]

    for scores in ((1.0, 0.5), (2.0, 0.4), (1.5, 9.0)):
        state.score(Scores(*scores), None, None)  # type: ignore[arg-type]
    assert (state.best_choice, state.after, state.latest) == (2.0, 0.4, 9.0)


def test_without_held_out_planes_the_last_weights_are_kept(volume: np.ndarray, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    options = TrainingOptions(steps=3, held_out=0, **SMALL)
    train([volume], first, options)
    outcome = train([volume], second, options, init=first)
    assert (outcome.before, outcome.after, outcome.kept) == (None, None, True)
    assert first.read_bytes() != second.read_bytes()


def test_a_checkpoint_of_another_training_is_refused(volume: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(BadOptionError, match="no checkpoint"):
        train([volume], out, TrainingOptions(steps=5, **SMALL), resume=True)

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([volume], out, TrainingOptions(steps=5, **SMALL), report=stop, report_every=1)
    with pytest.raises(BadWeightsError, match="the checkpoint"):
        train([volume], out, TrainingOptions(steps=6, **SMALL), resume=True)


def test_the_time_limit_ends_training(volume: np.ndarray, tmp_path: Path) -> None:
    seen: list[Progress] = []
    train([volume], tmp_path / "a.safetensors", TrainingOptions(minutes=0.02, **SMALL), report=seen.append)
    assert 1 <= seen[-1].elapsed_s < 20


def test_crops_that_do_not_suit_the_network_are_refused(volume: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(BadOptionError, match="the crops are 40 pixels, expected a multiple of 16"):
        train([volume], tmp_path / "a.safetensors", TrainingOptions(steps=5, crop=40))


@pytest.mark.parametrize("name", PUBLISHED)
def test_crops_suit_networks_of_the_published_size_by_default(name: str) -> None:
    network = ARCHITECTURES[name](PUBLISHED[name])
    options = resolved(TrainingOptions(name, steps=1), network, OBJECTIVES[name](), 1e-4)
    assert options.crop is not None
    assert options.crop >= 96
    assert options.crop % network.multiple_of == 0
    assert network.overlap >= 10 * network.multiple_of or name == "nested-unet"
    assert network.bytes_per_pixel > ARCHITECTURES[name]({}).bytes_per_pixel


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 5, "minutes": 1},
        {"steps": 0},
        {"minutes": -1},
        {"steps": 5, "batch": 0},
        {"steps": 5, "held_out": 1},
        {"steps": 5, "learning_rate": -1},
        {"steps": 5, "gaps": (1, 4)},
        {"steps": 5, "gaps": (5, 4)},
        {"steps": 5, "architecture": "resnet"},
    ],
)
def test_impossible_trainings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(BadOptionError, match="expected"):
        TrainingOptions(**options)  # type: ignore[arg-type]


def test_held_out_planes_are_not_trained_on(volume: np.ndarray) -> None:
    training, trailing = split([volume, volume[:8]], 0.2)
    assert [len(v) for v in training] == [24, 5]
    assert np.array_equal(training[0], volume[:24])
    assert [len(v) for v in trailing] == [6, 3]
    assert np.array_equal(trailing[0], volume[24:])
    assert split([volume], 0.0) == ([volume], [])


def test_a_stack_too_thin_to_hold_planes_out_is_named(volume: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    assert len(split([volume[:5]], 0.2)[0][0]) == 5
    assert "a stack of 5 planes is too thin" in caplog.text


def test_classical_interpolation_gains_nothing_on_held_out_planes(volume: np.ndarray) -> None:
    class Linear(torch.nn.Module):
        context = 3

        def forward(self, planes: torch.Tensor, times: torch.Tensor) -> Prediction:
            t = times[..., None, None]
            return Prediction(planes[:, None, 2] * (1 - t) + planes[:, None, 3] * t, None)

    held_out = HeldOut.draw([volume], gaps=(2, 4), size=32, context=3)

    def score(batch: Batch) -> torch.Tensor:
        return ForMirrorUNet().score(Linear(), batch)

    for value in (held_out.choose(score, nullcontext()), held_out.judge(score, nullcontext())):
        assert value is not None
        assert -3 < value <= 0
    assert mean_score(score, [], nullcontext()) is None


def test_stacks_with_thick_planes_are_trained_at_narrow_gaps() -> None:
    assert TrainingOptions(steps=1, axes=(0,)).chosen_gaps == GAPS_ALONG_Z
    assert TrainingOptions(steps=1, axes=(0,), gaps=(3, 5)).chosen_gaps == (3, 5)
    assert TrainingOptions(steps=1).chosen_gaps[1] > GAPS_ALONG_Z[1]


def test_log_mse_counts_every_crops_decibels_alike() -> None:
    target = torch.zeros(2, 1, 4, 4)
    prediction = torch.stack((torch.full((1, 4, 4), 0.1), torch.full((1, 4, 4), 0.001)))
    loss = log_mse(prediction, target, floor=0)
    assert float(loss) == pytest.approx((np.log(1e-2) + np.log(1e-6)) / 2)
    prediction.requires_grad_()
    log_mse(prediction, target).backward()
    assert prediction.grad is not None
    relative = (prediction.grad * prediction.detach()).sum(dim=(1, 2, 3))
    assert float(relative[0] / relative[1]) == pytest.approx(1, rel=0.02)


def test_the_likelihood_is_best_at_the_deviation_that_the_errors_have() -> None:
    errors = 0.3 * torch.randn(1, 1, 100, 100, generator=torch.Generator().manual_seed(0))
    values = [float(likelihood(errors, torch.full_like(errors, s))) for s in (0.2, 0.3, 0.4)]
    assert values[1] == min(values)


def test_an_error_out_of_all_expectation_does_not_drown_the_others() -> None:
    sigma = torch.full((1, 1, 2, 2), 1e-5, requires_grad=True)
    errors = torch.tensor([[[[1e-5, 1e-5], [1e-5, 0.5]]]])
    likelihood(errors, sigma).backward()
    assert sigma.grad is not None
    expected, surprising = sigma.grad[0, 0, 0, 0], sigma.grad[0, 0, 1, 1]
    assert abs(float(expected)) < abs(float(surprising)) < 1e-5 * 12 / 4 * 1e10
    assert abs(float(surprising * sigma[0, 0, 1, 1].detach())) <= 10 / 4 + 1e-3
