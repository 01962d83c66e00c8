"""Voxel sizes and volume facts."""

from fractions import Fraction

import numpy as np
import pytest

from zinterp.errors import BadOptionError
from zinterp.volume import VolumeInfo, VoxelSize, exact, parse_length


def test_parse_reads_z_first_in_any_unit() -> None:
    assert VoxelSize.parse("20x8x4nm") == VoxelSize(0.02, 0.008, 0.004)
    assert VoxelSize.parse("1.5x1x1 µm") == VoxelSize(1.5, 1.0, 1.0)
    assert VoxelSize.parse("20nm") == VoxelSize(0.02)
    assert VoxelSize.parse("1e-3x1e-3x1E-3 mm") == VoxelSize(1.0, 1.0, 1.0)


def test_a_size_that_is_partly_known_takes_the_rest_from_another() -> None:
    assert VoxelSize(0.02).otherwise(VoxelSize(1.0, 0.5, 0.25)) == VoxelSize(0.02, 0.5, 0.25)


def test_lengths_are_exact() -> None:
    assert parse_length("3.3nm") == Fraction(33, 10**4)
    assert parse_length("1e-2 um") == Fraction(1, 100)
    assert exact(0.1 + 0.2) == Fraction(3, 10)
    for text in ("", "5", "nm", "-5nm", "0nm", "5 parsec", "1e999nm", "nan nm"):
        with pytest.raises(BadOptionError, match="expected a positive number and a unit"):
            parse_length(text)


@pytest.mark.parametrize(
    "text", ["", "nm", "5", "5x8nm", "5x8x8", "5x8x8parsec", "0x8x8nm", "-1x8x8nm", "1e999x8x8nm", "ex8x8nm"]
)
def test_parse_refuses_anything_else(text: str) -> None:
    with pytest.raises(BadOptionError, match="expected ZxYxXUNIT"):
        VoxelSize.parse(text)


def test_with_z_step_divides_exactly_and_keeps_unknown_unknown() -> None:
    assert VoxelSize(0.03, 0.01, 0.01).with_z_step(Fraction(1, 3)) == VoxelSize(0.01, 0.01, 0.01)
    assert VoxelSize(None, 0.01, 0.01).with_z_step(Fraction(1, 3)).z is None
    assert VoxelSize(0.03, 0.01, 0.01).with_z_step(None) == VoxelSize(None, 0.01, 0.01)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (VoxelSize(), "unknown"),
        (VoxelSize(0.02, 0.008, 0.008), "20 x 8 x 8 nm"),
        (VoxelSize(None, 1.5, 1.5), "? x 1.5 x 1.5 µm"),
    ],
)
def test_text_of_a_voxel_size(size: VoxelSize, text: str) -> None:
    assert str(size) == text


def test_bytes_of_a_volume() -> None:
    info = VolumeInfo((3, 4, 5), np.dtype("uint16"))
    assert (info.plane_bytes, info.bytes) == (40, 120)
