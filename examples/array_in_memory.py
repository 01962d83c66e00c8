"""Upsample an array in memory, with the default network, cubic and linear, and compare with planes that were left out.

usage: python examples/array_in_memory.py
"""

import zinterp
from zinterp.evaluation.metrics import psnr
from zinterp.phantom import Phantom


def main() -> dict[str, float]:
    """Return each model's PSNR in dB on the planes that were left out."""
    truth = Phantom.random((9, 128, 128), cell=64, seed=5).volume(range(9), (128, 128))
    scores = {}
    for model in ("fast", "cubic", "linear"):
        dense = zinterp.interpolate(truth[::2], factor=2, model=model)
        assert (dense[::2] == truth[::2]).all()  # acquired planes come back bit for bit
        scores[model] = psnr(truth[1::2], dense[1::2], data_range=255)
    return scores


if __name__ == "__main__":
    for name, decibels in main().items():
        print(f"{name:12} {decibels:.2f} dB")  # noqa: T201
