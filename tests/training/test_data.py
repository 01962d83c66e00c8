"""Training crops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import make_stack, write_imagej
from zinterp.errors import BadVolumeError, InputError
from zinterp.training.data import Augmentation, CropSampler, read_training_volumes

NEVER = Augmentation(
    wide_gap=0,
    smooth_copy=0,
    zoom=0,
    noise=0,
    correlated_noise=0,
    brightness=0,
    misaligned=0,
    stripes=0,
    gamma=0,
    invert=0,
    end_of_stack=0,
)


def ramp(depth: int = 40, edge: int = 64) -> np.ndarray:
    """A volume that says everywhere how deep one is."""
    return np.broadcast_to(np.linspace(0, 1, depth)[:, None, None], (depth, edge, edge)).astype(np.float16)


def test_planes_times_and_targets_belong_together() -> None:
    batch = CropSampler([ramp()], axes=(0,), size=32, seed=1).batch(64)
    assert batch.planes.shape == (64, 4, 32, 32)
    assert batch.targets.shape == (64, 1, 32, 32)
    depth = batch.planes.mean(dim=(2, 3))
    t = batch.times[:, 0]
    expected = depth[:, 1] + t * (depth[:, 2] - depth[:, 1])
    assert np.allclose(batch.targets.mean(dim=(1, 2, 3)), expected, atol=2e-3)
    assert ((t > 0) & (t < 1)).all()
    assert len(t.unique()) > 8
    gaps = ((depth[:, 2] - depth[:, 1]) * 39).round()
    assert gaps.min() == 2
    assert gaps.max() == 8


def test_gaps_are_those_asked_for() -> None:
    batch = CropSampler([ramp(90)], axes=(0,), gaps=(3, 5), size=32, seed=1).batch(64)
    depth = batch.planes.mean(dim=(2, 3))
    gaps = ((depth[:, 2] - depth[:, 1]) * 89).round()
    assert set(gaps.tolist()) == {3, 4, 5}


def test_the_same_seed_gives_the_same_crops() -> None:
    volume = make_stack((30, 48, 48), "float32").astype(np.float16)
    first, again, other = (
        CropSampler([volume], size=32, augmentation=Augmentation(), seed=seed).batch(8).planes for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("what", [name for name in NEVER.__dataclass_fields__ if getattr(NEVER, name) == 0])
def test_each_variation_is_used(what: str) -> None:
    volume = make_stack((40, 80, 80), "float32").astype(np.float16)
    only = replace(NEVER, **{what: 1.0}, **({"noise": 1.0} if what == "correlated_noise" else {}))
    base = replace(NEVER, **({"noise": 1.0} if what == "correlated_noise" else {}))
    varied = CropSampler([volume], size=32, augmentation=only, seed=2).batch(16)
    plain = CropSampler([volume], size=32, augmentation=base, seed=2).batch(16)
    assert not np.array_equal(varied.planes, plain.planes)
    assert varied.planes.isfinite().all()


def test_grain_and_brightness_are_in_the_inputs_only() -> None:
    flat = np.full((40, 64, 64), 0.5, np.float16)
    batch = CropSampler([flat], size=32, augmentation=replace(NEVER, noise=1, brightness=1), seed=0).batch(8)
    assert float(batch.planes.std()) > 0.01
    assert float(batch.targets.std()) == 0


def test_crops_smaller_than_asked_for_are_enlarged() -> None:
    batch = CropSampler([make_stack((9, 20, 24), "float32").astype(np.float16)], axes=(0,), size=64).batch(4)
    assert batch.planes.shape == (4, 4, 64, 64)


def test_batches_follow_each_other() -> None:
    sampler = CropSampler([ramp()], size=32, seed=3)
    again = CropSampler([ramp()], size=32, seed=3)
    stream = sampler.batches(4)
    for _ in range(3):
        assert np.array_equal(next(stream)[0].planes, again.batch(4).planes)
    stream.close()


def test_volumes_without_planes_to_hide_are_refused() -> None:
    with pytest.raises(BadVolumeError, match="no volume"):
        CropSampler([])
    with pytest.raises(BadVolumeError, match="at least 16 pixels across the planes"):
        CropSampler([np.zeros((9, 40, 40), np.float16)])
    with pytest.raises(BadVolumeError, match="at least 3 planes"):
        CropSampler([np.zeros((2, 9, 9), np.float16)])


def test_reading_normalises_and_reads_each_stack_once(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((9, 40, 48), "uint16"))
    first, second = read_training_volumes([tmp_path / "a.tif", tmp_path / "a.tif"])
    assert first is second
    assert first.dtype == np.float16
    assert -0.3 < float(first.min()) < 0.1
    assert 0.9 < float(first.max()) < 1.3
    bad = make_stack((9, 40, 48), "float32")
    bad[3, 4, 5] = np.nan
    write_imagej(tmp_path / "nan.tif", bad)
    with pytest.raises(BadVolumeError, match="NaN or infinite"):
        read_training_volumes([tmp_path / "nan.tif"])
    with pytest.raises(InputError, match="does not exist"):
        read_training_volumes([tmp_path / "b.tif"])
