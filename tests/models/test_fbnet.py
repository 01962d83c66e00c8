"""FBNet."""

import pytest
import torch
from torch.nn import functional as F

from tests.models.conftest import random_network
from zinterp.models import PUBLISHED, build_fbnet
from zinterp.models.fbnet import FBNet, FBNetSize
from zinterp.models.layers import warp
from zinterp.models.motion import Pair


def test_the_published_size_has_about_1_2_million_parameters() -> None:
    assert sum(p.numel() for p in build_fbnet(PUBLISHED["fbnet"]).parameters()) == pytest.approx(1_199_971, rel=0.01)


def test_a_level_has_features_of_finer_levels() -> None:
    network = FBNet()
    first, second, third = network.features
    frame = torch.rand(1, 1, 64, 64)
    levels = network.pyramid(frame)
    assert [level.shape[1:] for level in levels] == [(16, 64, 64), (48, 32, 32), (112, 16, 16), (112, 8, 8)]

    def pooled(times: int) -> torch.Tensor:
        x = frame
        for _ in range(times):
            x = F.avg_pool2d(x, 2)
        return x

    shallow = first(pooled(2)).relu()
    middle = second(F.avg_pool2d(first(pooled(1)).relu(), 2)).relu()
    deep = third(F.avg_pool2d(second(F.avg_pool2d(first(pooled(0)).relu(), 2)).relu(), 2)).relu()
    assert torch.allclose(levels[2], torch.cat((shallow, middle, deep), dim=1), atol=1e-5)


def test_flows_are_scaled_to_t() -> None:
    network = random_network("fbnet")
    pair = Pair(torch.rand(1, 2, 32, 32))
    motion = network.motion(pair)
    for t in (0.25, 0.5, 0.9):
        made = network.synthesise(pair, motion, torch.tensor([t]))
        assert torch.allclose(made.warped[0], warp(pair.frame0, t * motion.flow10), atol=1e-5)
        assert torch.allclose(made.warped[1], warp(pair.frame1, (1 - t) * motion.flow01), atol=1e-5)


def test_sizes_must_go_together() -> None:
    with pytest.raises(ValueError, match="four flow"):
        FBNetSize(flow=(8, 8))
