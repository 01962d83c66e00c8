"""Figures of merit against what is known of them."""

import numpy as np
import pytest

from zinterp.evaluation.metrics import psnr, sharpness, ssim


def test_psnr_of_a_known_error() -> None:
    truth = np.zeros((2, 8, 8), np.uint8)
    guess = truth + np.uint8(10)
    assert psnr(truth, guess, data_range=100) == pytest.approx(20)
    assert psnr(truth, truth, data_range=100) == pytest.approx(120)


def test_psnr_averages_the_error_and_not_the_decibels() -> None:
    truth = np.zeros((2, 8, 8))
    guess = np.stack([np.full((8, 8), 1.0), np.full((8, 8), 3.0)])
    assert psnr(truth, guess, data_range=1) == pytest.approx(-10 * np.log10(5))


def test_ssim_and_sharpness_of_equal_and_blurred_planes() -> None:
    truth = np.random.default_rng(0).random((2, 32, 32)) * 255
    blurred = (truth + np.roll(truth, 1, axis=2)) / 2
    assert ssim(truth, truth, data_range=255) == pytest.approx(1)
    assert ssim(truth, blurred, data_range=255) < 0.9
    assert sharpness(truth, truth) == pytest.approx(1)
    assert sharpness(truth, blurred) < 0.8
