"""Real volumes: the network against classical interpolation, and the files that microscopes write."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from zinterp import interpolate
from zinterp.errors import BadVolumeError
from zinterp.evaluation.metrics import psnr
from zinterp.io import open_volume


def gain(volume: np.ndarray, factor: int) -> float:
    """Decibels over the better of linear and cubic on the planes in between."""
    count = (len(volume) - 1) // factor * factor + 1
    volume = volume[:count]
    hidden = [k for k in range(count) if k % factor]
    span = float(np.subtract(*np.percentile(volume, [99.9, 0.1])))

    def score(model: str | None) -> float:
        dense = interpolate(volume[::factor], factor=factor, model=model, device="cpu")
        assert np.array_equal(dense[::factor], volume[::factor])
        return psnr(volume[hidden], dense[hidden], data_range=span)

    return score(None) - max(score("linear"), score("cubic"))


@pytest.mark.parametrize(
    ("name", "factor", "least"),
    [
        ("fibsem_medulla_val", 2, 0.6),
        ("fibsem_medulla_val", 4, 1.0),
        ("uct_mouse_head", 2, 1.0),
        ("uct_mouse_head", 4, 1.0),
        ("sstem_cremi", 2, 0.3),
        ("cryoet_microtubule", 2, -0.05),
        ("cryoet_microtubule", 4, 0.4),
    ],
)
def test_the_default_network_beats_classical_interpolation(name: str, factor: int, least: float, data: Path) -> None:
    volume = tifffile.imread(data / "val" / f"{name}.tif")
    depth, height, width = volume.shape
    first, top, left = max(0, depth // 2 - 8), max(0, height // 2 - 96), max(0, width // 2 - 96)
    crop = volume[first : first + 17, top : top + 192, left : left + 192]
    assert gain(crop, factor) > least


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "size"),
    [
        ("imagej_zstack_scifio.tif", (32, 128, 128), "uint8", (0.235, 0.15, 0.15)),
        ("openfibsem.tif", (1, 768, 1536), "uint16", (None, None, None)),
        ("zeiss_1k.tif", (1, 768, 1024), "uint8", (None, None, None)),
        ("ngff_v04.zarr", None, None, (1.0, 1.0, 1.0)),
    ],
)
def test_files_of_other_programs_are_read(
    name: str,
    shape: tuple[int, int, int] | None,
    dtype: str | None,
    size: tuple[float | None, ...],
    data: Path,
) -> None:
    with open_volume(data / "formats" / name) as reader:
        info = reader.info
        planes = reader.read(range(info.shape[0]))
    assert planes.shape == info.shape == (shape or info.shape)
    assert planes.dtype == info.dtype == np.dtype(dtype or info.dtype)
    found = (info.voxel_size.z, info.voxel_size.y, info.voxel_size.x)
    assert [v if v is None else round(v, 6) for v in found] == list(size)


def test_a_segmentation_is_refused(data: Path) -> None:
    with pytest.raises(BadVolumeError, match="bool values"):
        open_volume(data / "formats" / "ngff_v05.zarr")


def test_a_channel_of_a_real_hyperstack_is_read(data: Path) -> None:
    path = data / "formats" / "imagej_hyperstack_tzcyx.tif"
    with open_volume(path, channel=1, time=2) as reader:
        assert reader.info.shape == (5, 196, 171)
        assert np.array_equal(reader.read(range(5)), tifffile.imread(path)[2, :, 1])
        assert reader.info.unit == "µm"
        assert reader.info.voxel_size.x == pytest.approx(0.0885, rel=1e-3)
