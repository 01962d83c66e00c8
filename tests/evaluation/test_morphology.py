"""Volume fraction, surface area and Euler number of bodies that are known."""

import numpy as np
import pytest

from zinterp.evaluation.morphology import choose_threshold, measure
from zinterp.volume import VoxelSize


def ball(radius: float, edge: int = 64) -> np.ndarray:
    z, y, x = np.indices((edge, edge, edge)) - (edge - 1) / 2
    return np.where(np.sqrt(z**2 + y**2 + x**2) < radius, 200, 20).astype(np.uint8)


def test_a_ball_has_the_volume_and_surface_of_one_and_no_tunnel() -> None:
    volume, edge, radius = ball(24.0), 64, 24.0
    threshold = choose_threshold(volume)
    assert threshold is not None
    assert 20 < threshold < 200
    found = measure(volume, threshold, VoxelSize())
    assert found.fraction == pytest.approx(4 / 3 * np.pi * radius**3 / edge**3, rel=0.01)
    assert found.surface == pytest.approx(4 * np.pi * radius**2 / edge**3, rel=0.02)
    assert found.euler == 1


def test_lengths_are_those_of_the_voxels() -> None:
    volume = ball(24.0)
    threshold = 110.0
    in_voxels = measure(volume, threshold, VoxelSize())
    assert measure(volume, threshold, VoxelSize(0.01, 0.01, 0.01)).surface == pytest.approx(100 * in_voxels.surface)
    assert measure(volume, threshold, VoxelSize(None, 0.01, 0.01)).surface == in_voxels.surface
    thinned = measure(volume[::2], threshold, VoxelSize(0.02, 0.01, 0.01))
    assert thinned.surface == pytest.approx(100 * in_voxels.surface, rel=0.03)


def test_objects_tunnels_and_cavities_are_counted() -> None:
    volume = np.zeros((40, 60, 60), np.uint16)
    volume[5:15, 5:25, 5:25] = 1000
    volume[20:35, 10:50, 10:50] = 1000
    assert measure(volume, 500.0, VoxelSize()).euler == 2
    volume[20:35, 25:35, 25:35] = 0  # a tunnel through the second
    assert measure(volume, 500.0, VoxelSize()).euler == 1
    volume[8:12, 10:20, 10:20] = 0  # a cavity in the first
    assert measure(volume, 500.0, VoxelSize()).euler == 2


def test_grain_is_no_object() -> None:
    noisy = ball(20.0).astype(np.float32) + np.random.default_rng(0).normal(0, 30, (64, 64, 64)).astype(np.float32)
    threshold = choose_threshold(noisy)
    assert threshold is not None
    assert abs(measure(noisy, threshold, VoxelSize()).euler) < 10


def test_a_constant_volume_has_no_threshold() -> None:
    assert choose_threshold(np.full((3, 8, 8), 7, np.int16)) is None
