"""Real volumes: the network against classical interpolation, and the files that microscopes write."""

import io
import warnings
from dataclasses import astuple, dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from zinterp import interpolate
from zinterp.errors import BadVolumeError
from zinterp.evaluation.metrics import psnr
from zinterp.io import open_volume
from zinterp.pipeline import upsample
from zinterp.volume import VoxelSize


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


@dataclass(frozen=True)
class Expected:
    """What a file of another program holds: (Z, Y, X), dtype, voxel size in micrometres and where it was found."""

    shape: tuple[int, int, int]
    dtype: str
    size: tuple[float | None, float | None, float | None] = (None, None, None)
    source: str = ""
    stacks: tuple[int, int] = (1, 1)  # times and channels


FILES = {
    "fei_helios_8bit.tif": Expected((1, 442, 512), "uint8", (None, 3.3724, 3.3724), "FEI tag 34682"),
    "fei_helios_16bit.tif": Expected((1, 442, 512), "uint16", (None, 3.3724, 3.3724), "FEI tag 34682"),
    "fei_helios_g4_pfib.tif": Expected((1, 1024, 1536), "uint8", (None, 0.0976562, 0.0976562), "FEI tag 34682"),
    "fei_navcam_no_pixel_size.tif": Expected((1, 512, 768), "uint8"),
    "fei_navcam_bad_floats.tif": Expected((1, 512, 768), "uint8"),
    "openfibsem.tif": Expected((1, 768, 1536), "uint16", (None, 0.09765625, 0.09765625), "OpenFIBSEM metadata"),
    "zeiss_1k.tif": Expected((1, 768, 1024), "uint8", (None, 2.615, 2.615), "Zeiss tag 34118"),
    # its ap_pixel_size of 5.825 nm is that of a screen of 1024 columns; by its own ap_width, 512 columns are 5.965 µm
    "zeiss_512.tif": Expected((1, 384, 512), "uint8", (None, 0.01165, 0.01165), "Zeiss tag 34118"),
    "imagej_hyperstack_tzcyx.tif": Expected((5, 196, 171), "uint16", (None, 0.0885, 0.0885), "ImageJ metadata", (3, 2)),
    "imagej_zstack_scifio.tif": Expected((32, 128, 128), "uint8", (0.235, 0.15, 0.15), "ImageJ metadata"),
    "ome_multichannel_z.ome.tif": Expected((5, 167, 439), "int8", stacks=(1, 3)),
    "ome_time_z.ome.tif": Expected((5, 167, 439), "int8", stacks=(7, 1)),
    "emd_3197.map": Expected((20, 20, 20), "float32", (0.00114, 0.00114, 0.00114), "MRC header"),
    # its columns run along z, its rows along x, its sections along y
    "emd_3001_anisotropic.map": Expected((25, 43, 73), "float32", (0.00003925, 0.000044825, 0.000045875), "MRC header"),
    "tomogram.mrc": Expected((78, 64, 32), "int8", (0.00232, 0.00232, 0.00232), "MRC header"),
    "infinite_z_voxel.mrc": Expected((1, 64, 32), "int8", (None, 0.00232, 0.00232), "MRC header"),
    "ngff_v04.zarr": Expected((2, 100, 100), "float64", (1.0, 1.0, 1.0), "NGFF transformations"),
    "ngff_v04.zarr/0": Expected((2, 100, 100), "float64", (1.0, 1.0, 1.0), "NGFF transformations"),
}
REFUSED = {
    "ngff_v05.zarr": "bool values, .*segmentations cannot be interpolated",
    "ngff_v05.zarr/2": "bool values, .*segmentations cannot be interpolated",
    "ngff_v04.zarr/labels": "labels cannot be interpolated",
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_other_programs_are_read(name: str, data: Path) -> None:
    expected = FILES[name]
    with open_volume(data / "formats" / name) as reader:
        info = reader.info
        planes = [reader.read(range(info.shape[0]), stack) for stack in range(info.stacks)]
    assert info.shape == expected.shape
    assert all(stack.shape == expected.shape for stack in planes)
    assert all(stack.dtype == info.dtype == np.dtype(expected.dtype) for stack in planes)
    assert (info.times, info.channels) == expected.stacks
    for found, wanted in zip(astuple(info.voxel_size), expected.size, strict=True):
        assert found == (wanted and pytest.approx(wanted, rel=1e-4))
    assert info.voxel_size_source == expected.source


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_hold_no_grey_planes_are_refused(name: str, data: Path) -> None:
    with pytest.raises(BadVolumeError, match=REFUSED[name]):
        open_volume(data / "formats" / name)


def test_every_file_is_expected_or_refused(data: Path) -> None:
    assert {path.name for path in (data / "formats").iterdir()} <= {*FILES, *REFUSED}


def test_all_channels_and_times_of_a_real_hyperstack_go_through_in_their_order(data: Path, tmp_path: Path) -> None:
    path = data / "formats" / "imagej_hyperstack_tzcyx.tif"
    truth = tifffile.imread(path)
    target = upsample(path, tmp_path / "b.tif", factor=3, model="cubic", voxel_size=VoxelSize(0.3))
    with tifffile.TiffFile(target) as tif:
        assert tif.series[0].axes == "TZCYX"
        dense = tif.asarray()
    assert dense.dtype == truth.dtype
    assert dense.shape == (3, 13, 2, 196, 171)
    assert np.array_equal(dense[:, ::3], truth)
    alone = upsample(path, tmp_path / "c.tif", factor=3, model="cubic", channel=1, time=2)
    assert np.array_equal(tifffile.imread(alone), dense[2, :, 1])
    with open_volume(target) as reader:
        assert reader.info.unit == "µm"
        assert astuple(reader.info.voxel_size) == pytest.approx((0.1, 0.0885, 0.0885), rel=1e-3)


@pytest.mark.parametrize("name", ["emd_3197.map", "tomogram.mrc"])
def test_a_map_stays_a_map_as_mrcfile_sees_it(name: str, data: Path, tmp_path: Path) -> None:
    target = upsample(data / "formats" / name, tmp_path / name, factor=2, model="cubic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tomogram's own header lacks the MAP id
        before = mrcfile.open(data / "formats" / name, permissive=True)
    with before, mrcfile.open(target) as after:
        assert after.data.dtype == before.data.dtype
        assert np.array_equal(after.data[::2], before.data)
        assert float(after.voxel_size.z) == pytest.approx(float(before.voxel_size.z) / 2, rel=1e-5)
        assert float(after.voxel_size.x) == pytest.approx(float(before.voxel_size.x), rel=1e-5)
    assert mrcfile.validate(target, print_file=io.StringIO())
