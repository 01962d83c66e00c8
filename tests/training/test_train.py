"""The training loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from zinterp.errors import BadOptionError, BadVolumeError, BadWeightsError, OutputError
from zinterp.interpolators import create_interpolator
from zinterp.phantom import Phantom
from zinterp.training.losses import log_mse
from zinterp.training.train import Progress, TrainingOptions, learning_rate_factor, split, train

SMALL = {"sizes": {"channels": [8, 16]}, "batch": 4, "crop": 32}


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    """A small phantom."""
    planes = Phantom.random((30, 64, 64), seed=2).volume(range(30), (64, 64))
    return (planes / 255).astype(np.float16)


def test_training_learns_and_writes_weights_that_work(volume: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "small.safetensors"
    seen: list[Progress] = []
    gain = train(
        [volume],
        out,
        TrainingOptions(steps=150, learning_rate=4e-3, **SMALL),
        report=seen.append,
        report_every=50,
        data="a phantom",
    )
    assert gain is not None
    assert gain > 0.05
    assert seen[-1].done == 1
    assert seen[-1].held_out_gain_db == gain
    assert [p.step for p in seen[:-1]] == [50, 100, 150]
    assert [p.name for p in tmp_path.iterdir()] == ["small.safetensors"]
    with safe_open(out, framework="pt") as file:
        assert file.metadata()["data"] == "a phantom"
        assert file.metadata()["steps"] == "150"
    planes = volume[None, :4].astype(np.float32)
    assert create_interpolator(str(out), device="cpu")(planes, np.float32([0.5])).shape == (1, 1, 64, 64)


def test_an_interrupted_training_goes_on_from_its_checkpoint(volume: np.ndarray, tmp_path: Path) -> None:
    options = TrainingOptions(steps=30, **SMALL)
    straight, resumed = tmp_path / "straight.safetensors", tmp_path / "resumed.safetensors"
    train([volume], straight, options)

    def stop(progress: Progress) -> None:
        if progress.step == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([volume], resumed, options, report=stop, report_every=20, score_every=10)
    assert not resumed.exists()
    steps: list[int] = []
    train(
        [volume], resumed, options, resume=True, report=lambda p: steps.append(p.step), report_every=1, score_every=10
    )
    assert steps[0] == 21
    for name, tensor in load_file(straight).items():
        assert torch.allclose(tensor, load_file(resumed)[name], rtol=0.02, atol=1e-3), name


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


def test_what_could_not_be_written_at_the_end_is_refused_at_the_start(volume: np.ndarray, tmp_path: Path) -> None:
    for name, message in (("a.tif", "ends in .safetensors"), ("no/a.safetensors", "does not exist")):
        with pytest.raises((BadOptionError, OutputError), match=message):
            train([volume], tmp_path / name, TrainingOptions(steps=1, **SMALL))
    with pytest.raises(BadOptionError, match="the device is"):
        train([volume], tmp_path / "a.safetensors", TrainingOptions(steps=1, **SMALL), device="cuda:99")


def test_a_training_that_fails_numerically_stops(volume: np.ndarray, tmp_path: Path) -> None:
    broken = volume.copy()
    broken[:] = np.nan
    with pytest.raises(BadVolumeError, match="the loss is nan at step 0"):
        train([broken], tmp_path / "a.safetensors", TrainingOptions(steps=5, **SMALL))
    assert not (tmp_path / "a.safetensors").exists()


def test_a_full_disk_is_reported(volume: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("unexpected pos")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="then --resume"):
        train([volume], tmp_path / "a.safetensors", TrainingOptions(steps=5, **SMALL), score_every=2)


def test_training_starts_from_given_weights(volume: np.ndarray, tmp_path: Path) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train([volume], first, TrainingOptions(steps=150, learning_rate=4e-3, **SMALL))
    gain = train([volume], second, TrainingOptions(steps=1, learning_rate=1e-9, **SMALL), init=first)
    assert gain is not None
    assert gain > 0.05
    with safe_open(second, framework="pt") as file:
        assert file.metadata()["init"] == str(first)


def test_a_checkpoint_of_another_training_is_refused(volume: np.ndarray, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    with pytest.raises(BadOptionError, match="no checkpoint"):
        train([volume], out, TrainingOptions(steps=5, **SMALL), resume=True)

    def stop(progress: Progress) -> None:
        if progress.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train([volume], out, TrainingOptions(steps=5, **SMALL), report=stop, report_every=1, score_every=2)
    with pytest.raises(BadWeightsError, match="the checkpoint"):
        train([volume], out, TrainingOptions(steps=6, **SMALL), resume=True)


def test_the_time_limit_ends_training(volume: np.ndarray, tmp_path: Path) -> None:
    seen: list[Progress] = []
    train([volume], tmp_path / "a.safetensors", TrainingOptions(minutes=0.02, **SMALL), report=seen.append)
    assert 1 <= seen[-1].elapsed_s < 20


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": 5, "minutes": 1},
        {"steps": 0},
        {"minutes": -1},
        {"steps": 5, "crop": 40},
        {"steps": 5, "gaps": (1, 4)},
        {"steps": 5, "gaps": (5, 4)},
        {"steps": 5, "architecture": "resnet"},
    ],
)
def test_impossible_trainings_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(BadOptionError, match="expected"):
        TrainingOptions(**options)  # type: ignore[arg-type]


def test_held_out_planes_are_not_trained_on(volume: np.ndarray) -> None:
    training, batches = split([volume, volume[:5]], TrainingOptions(steps=1, held_out=0.2, crop=32))
    assert [len(v) for v in training] == [24, 5]
    assert np.array_equal(training[0], volume[:24])
    assert len(batches) == 8
    assert split([volume], TrainingOptions(steps=1, held_out=0.0))[1] == []


def test_learning_rate_warms_up_and_falls() -> None:
    assert learning_rate_factor(0, 0) == pytest.approx(0.005)
    assert learning_rate_factor(0, 0, steps=100) == pytest.approx(0.1)
    assert learning_rate_factor(500, 0) == 1
    assert learning_rate_factor(500, 1) == pytest.approx(0.01)


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
