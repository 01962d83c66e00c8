"""Networks that follow motion, with random weights everywhere."""

import pytest
import torch

from zinterp.models import ARCHITECTURES
from zinterp.models.motion import MotionNetwork

SMALL = {
    "super-slomo": {"channels": (4, 8, 8)},
    "nested-unet": {"flow": (4, 8, 8), "heights": (3, 2), "middle": (4, 4), "channels": (4, 8)},
    "fbnet": {"features": (4, 4, 6), "flow": (4, 6, 6, 4), "fusion": (4, 6, 6, 8)},
    "softsplat": {"flow": (4, 6, 8), "radius": 1, "decoder": (6, 4), "features": (3, 4, 5), "columns": 2},
}


@pytest.fixture(params=SMALL)
def network(request: pytest.FixtureRequest) -> MotionNetwork:
    """Each of them, small."""
    return random_network(request.param)


def random_network(name: str) -> MotionNetwork:
    """A small one, with random weights where it would begin with zeros."""
    torch.manual_seed(0)
    network = ARCHITECTURES[name](SMALL[name])
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    assert isinstance(network, MotionNetwork)
    return network.eval()
