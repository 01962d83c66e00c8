"""The synthetic volume."""

import numpy as np

from zinterp.phantom import Phantom


def test_the_same_seed_gives_the_same_volume() -> None:
    first = Phantom.random((9, 64, 64), seed=3).volume(range(3), (64, 64))
    again = Phantom.random((9, 64, 64), seed=3).volume(range(3), (64, 64))
    other = Phantom.random((9, 64, 64), seed=4).volume(range(3), (64, 64))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_planes_change_steadily_with_z() -> None:
    phantom = Phantom.random((20, 128, 128), seed=1)
    start = phantom.plane(8.0, (128, 128), noise=0)
    changes = [float(np.abs(phantom.plane(8.0 + dz, (128, 128), noise=0) - start).mean()) for dz in (0.01, 0.25, 1, 4)]
    assert changes[0] < 0.002
    assert changes == sorted(changes)


def test_it_has_dark_membranes_on_light_cells_and_grain() -> None:
    phantom = Phantom.random((20, 128, 128), seed=1)
    plane = phantom.plane(8, (128, 128), noise=0)
    assert 0.03 < float((plane < 0.4).mean()) < 0.5
    assert plane.max() < 1
    grain = phantom.plane(8, (128, 128), noise=0.04) - plane
    assert abs(float(grain.std()) - 0.04) < 0.002
    neighbour = phantom.plane(9, (128, 128), noise=0.04) - phantom.plane(9, (128, 128), noise=0)
    assert abs(float(np.corrcoef(grain.ravel(), neighbour.ravel())[0, 1])) < 0.05
