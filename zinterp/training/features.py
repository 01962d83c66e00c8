"""Training of the autoencoder whose features say how alike two planes look."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import torch

from zinterp.errors import BadOptionError
from zinterp.interpolators.network import choose_device
from zinterp.interpolators.weights import save_network
from zinterp.models.autoencoder import FEATURE_RMS, Autoencoder
from zinterp.training.data import Augmentation, CropSampler, Volume
from zinterp.training.train import check_finite

RATE = 2e-3
NOISE = 0.05  # of the intensity range, added to what it sees
BATCH, CROP = 8, 96
MEASURED = 20  # batches, of which the features' root mean square is taken


def train_features(
    volumes: Sequence[Volume],
    out: Path,
    *,
    steps: int | None = None,
    minutes: float | None = None,
    axes: tuple[int, ...] = (0, 1, 2),
    device: str = "cpu",
    seed: int = 0,
    data: str = "",
    report: Callable[[float, float], None] = lambda done, error: None,
) -> float:
    """Train an autoencoder to free planes from added noise, and write its weights.

    Parameters
    ----------
    volumes : sequence of ndarray, each shape (Z, Y, X), float16, about [0, 1]
    out : Path
        The ``.safetensors`` file.
    steps, minutes : number or None
        How long; one of them.
    axes : tuple of int
        Axes across which planes are cut.
    device : str
        Where torch computes.
    seed : int
    data : str
        What the volumes are, recorded in the weights.
    report : callable
        Called now and then with the part that is done and the root mean square error in parts of the range.

    Returns
    -------
    float
        The root mean square error at the end, in parts of the intensity range.

    Raises
    ------
    BadOptionError, BadVolumeError, OutputError
        If the time, a volume or the output cannot be.
    """
    if (steps is None) == (minutes is None) or (steps or minutes or 0) <= 0:
        raise BadOptionError(f"got {steps} steps, {minutes} minutes, expected more than none of one of them")
    where = choose_device(device)
    torch.manual_seed(seed)
    network = Autoencoder().to(where)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    sampler = CropSampler(volumes, axes=axes, size=CROP, augmentation=Augmentation(), seed=seed)
    start, step, error = time.monotonic(), 0, 0.0
    with closing(sampler.batches(BATCH)) as stream:
        while (done := step / steps if steps else (time.monotonic() - start) / 60 / (minutes or 1)) < 1:
            planes = next(stream)[0].targets.to(where)
            for group in optimizer.param_groups:
                group["lr"] = RATE * (1 + math.cos(math.pi * done)) / 2
            loss = (network(planes + NOISE * torch.randn_like(planes)) - planes).square().mean()
            check_finite("loss", loss, step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
            error += max(0.02, 1 / step) * (loss.item() - error)
            report(done, math.sqrt(error))
        with torch.no_grad():
            squares = [network.encode(next(stream)[0].targets.to(where)).square().mean() for _ in range(MEASURED)]
            network.scale.fill_(FEATURE_RMS / torch.stack(squares).mean().sqrt())
    report(1.0, math.sqrt(error))
    spent = (time.monotonic() - start) / 60
    save_network(out, network, {"data": data, "steps": str(step), "minutes": f"{spent:.1f}", "seed": str(seed)})
    return math.sqrt(error)
