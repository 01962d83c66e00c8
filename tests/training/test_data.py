"""Training crops."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage

from tests.conftest import make_stack, write_imagej
from zinterp.errors import BadVolumeError, InputError
from zinterp.models.layers import warp
from zinterp.training.data import Augmentation, CropSampler, axes_of, read_training_volumes, set_in_motion

NEVER = Augmentation(
    wide_gap=0,
    smooth_copy=0,
    zoom=0,
    noise=0,
    shared_noise=0,
    blurred_noise=0,
    brightness=0,
    misaligned=0,
    moving=0,
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
    noisy = {"noise": 1.0} if what in ("shared_noise", "blurred_noise") else {}
    only, base = replace(NEVER, **{what: 1.0}, **noisy), replace(NEVER, **noisy)
    varied = CropSampler([volume], size=32, augmentation=only, seed=2).batch(16)
    plain = CropSampler([volume], size=32, augmentation=base, seed=2).batch(16)
    assert not np.array_equal(varied.planes, plain.planes)
    assert varied.planes.isfinite().all()


def test_brightness_differs_in_the_inputs_only() -> None:
    flat = np.full((40, 64, 64), 0.5, np.float16)
    batch = CropSampler([flat], size=32, augmentation=replace(NEVER, brightness=1), seed=0).batch(8)
    assert float(batch.planes.std()) > 0.01
    assert float(batch.targets.std()) == 0


def test_planes_have_grain_of_their_own_or_share_it() -> None:
    flat = np.full((40, 64, 64), 0.5, np.float16)

    def correlations(shared: float) -> list[float]:
        aug = replace(NEVER, noise=1, shared_noise=shared)
        batch = CropSampler([flat], gaps=(2, 2), size=32, augmentation=aug, seed=0).batch(16)
        pairs = zip(batch.planes, batch.targets, strict=True)
        return [float(np.corrcoef(a[1].ravel(), b[0].ravel())[0, 1]) for a, b in pairs]

    assert max(map(abs, correlations(0))) < 0.12
    assert min(correlations(1)) > -0.12
    assert max(correlations(1)) > 0.5


def test_the_last_plane_of_a_volume_is_repeated() -> None:
    for context in (2, 3):
        batch = CropSampler([ramp(9)], axes=(0,), gaps=(8, 8), size=32, context=context, seed=1).batch(2)
        assert batch.planes.shape == (2, 2 * context, 32, 32)
        depth = batch.planes.mean(dim=(2, 3)) * 8
        assert depth.round().tolist() == [[0] * context + [8] * context] * 2
        batch = CropSampler([ramp(90)], axes=(0,), gaps=(2, 2), size=32, context=context, seed=1).batch(9)
        steps = (batch.planes.mean(dim=(2, 3)) * 89).diff(dim=1).round()
        assert set(steps.flatten().tolist()) <= {0, 2}
        assert (steps[:, context - 1] == 2).all()
    repeated = replace(NEVER, end_of_stack=1, noise=1, brightness=1)
    for context in (2, 3):
        sampler = CropSampler([ramp(90)], axes=(0,), size=32, context=context, augmentation=repeated, seed=1)
        ends = [[bool((a == b).all()) for a, b in pairwise(p)] for p in sampler.batch(40).planes]
        assert all(end[0] or end[-1] for end in ends)
        assert not any(end[context - 1] for end in ends)  # the gap itself
        assert len({tuple(end) for end in ends}) >= 2 * (context - 1)


@pytest.mark.parametrize(
    ("spacing", "resolution", "depth", "axes"),
    [(0.01, 100, 32, (0, 1, 2)), (0.01, 100, 31, (0,)), (0.05, 100, 32, (0,)), (None, None, 32, (0,))],
)
def test_axes_go_by_voxel_size_and_depth(
    tmp_path: Path, spacing: float | None, resolution: float | None, depth: int, axes: tuple[int, ...]
) -> None:
    metadata = {"axes": "ZYX"} | ({"spacing": spacing, "unit": "um"} if spacing else {})
    pixels = {"resolution": (resolution, resolution)} if resolution else {}
    tifffile.imwrite(tmp_path / "a.tif", make_stack((depth, 16, 16), "uint8"), imagej=True, metadata=metadata, **pixels)
    assert axes_of([tmp_path / "a.tif"]) == axes


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


def test_pairs_of_known_motion_are_warped_by_it() -> None:
    volume = ndimage.gaussian_filter(np.random.default_rng(0).random((24, 80, 80)), 2)
    volume = ((volume - volume.min()) / np.ptp(volume)).astype(np.float16)
    sampler = CropSampler([volume], size=64, moved=16, seed=1)
    moved = sampler.batch(1).moved
    assert moved is not None
    assert moved.planes.shape == moved.flow01.shape == (16, 2, 64, 64)
    first, second = moved.planes[:, :1], moved.planes[:, 1:]
    off = (warp(second, moved.flow01) - first).square().mean(dim=(1, 2, 3)).sqrt()
    apart = (second - first).square().mean(dim=(1, 2, 3)).sqrt()
    clean = off < 0.01
    assert 3 < clean.sum() < 14  # the others have noise
    assert (off[clean] < apart[clean]).all()
    lengths = moved.flow01.square().sum(dim=1).sqrt().mean(dim=(1, 2))
    assert lengths.min() < 0.7
    assert 3 < lengths.max() < 12
    assert sampler.batch(1).moved is not moved


def test_no_pairs_unless_asked_for() -> None:
    volume = np.random.default_rng(0).random((20, 32, 32)).astype(np.float16)
    assert CropSampler([volume], size=32).batch(1).moved is None


def test_a_batch_has_the_planes_beside_the_gap() -> None:
    volume = np.random.default_rng(0).random((20, 32, 32)).astype(np.float16)
    batch = CropSampler([volume], size=32, context=3).batch(2)
    assert torch.equal(batch.around(1), batch.planes[:, 2:4])
    assert torch.equal(batch.around(3), batch.planes)


def test_moving_planes_move_steadily_and_the_hidden_one_stays() -> None:
    depths = np.array([-2.4, -1.4, -0.4, 0.6, 1.6, 2.6, 0.0])
    columns = np.broadcast_to(np.arange(96, dtype=np.float32), (7, 96, 96))
    speeds = []
    for seed in range(8):
        moved = set_in_motion(columns.copy(), depths, (1.5, 1.5), np.random.default_rng(seed))
        assert moved.shape == (7, 64, 64)
        shifts = moved - columns[:, 16:-16, 16:-16]  # along x, seen by the grey values
        assert np.abs(shifts[6]).max() < 1e-3
        velocity = shifts[5] / depths[5]
        for shift, depth in zip(shifts, depths, strict=True):
            assert np.abs(shift - depth * velocity).max() < 0.2  # bicubic sampling is that far from linear
        speeds.append(np.abs(velocity).mean())
    assert 0.5 < np.mean(speeds) < 3


def test_crops_of_volumes_that_move_have_the_size_asked_for() -> None:
    moving = replace(NEVER, moving=1)
    for edge in (40, 200):
        volume = np.random.default_rng(0).random((40, edge, edge)).astype(np.float16)
        batch = CropSampler([volume], axes=(0,), size=48, context=3, augmentation=moving, seed=1).batch(3)
        assert batch.planes.shape == (3, 6, 48, 48)
        assert torch.isfinite(batch.planes).all()
