"""Outputs as programs see them that share no code with ours."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import DTYPES, make_stack, write_imagej
from zinterp.io import open_volume
from zinterp.pipeline import upsample

simple_itk = pytest.importorskip("SimpleITK", reason="a reader to compare with; comes with the dev extra")


@pytest.fixture(params=DTYPES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An ImageJ stack of each dtype."""
    write_imagej(tmp_path / "a.tif", make_stack(dtype=request.param))
    return tmp_path / "a.tif"


def ours(path: Path) -> np.ndarray:
    """What our own reader sees."""
    with open_volume(path) as reader:
        return reader.read(range(reader.info.shape[0]))


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif"])
def test_simpleitk_reads_tiff(name: str, source: Path) -> None:
    target = upsample(source, source.parent / name, factor=2, model="linear")
    image = simple_itk.ReadImage(str(target))
    assert np.array_equal(simple_itk.GetArrayFromImage(image), ours(target))


def test_pillow_reads_every_plane(source: Path) -> None:
    target = upsample(source, factor=2, model="linear")
    planes = ours(target)
    if planes.dtype == np.int16:
        pytest.skip("Pillow has no signed 16-bit images")
    with Image.open(target) as image:
        assert image.n_frames == 9
        for k in range(9):
            image.seek(k)
            assert np.array_equal(np.asarray(image), planes[k])


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_ome_zarr_models_accepts_zarr(version: str, source: Path) -> None:
    import zarr

    target = upsample(source, source.parent / "b.ome.zarr", factor=2, model="linear", ngff=version)
    if version == "0.5":
        from ome_zarr_models.v05 import Image as Image05

        image = Image05.from_zarr(zarr.open_group(target, mode="r"))
        axes, datasets = image.ome_attributes.multiscales[0].axes, image.ome_attributes.multiscales[0].datasets
    else:
        from ome_zarr_models.v04 import Image as Image04

        image = Image04.from_zarr(zarr.open_group(target, mode="r"))
        axes, datasets = image.attributes.multiscales[0].axes, image.attributes.multiscales[0].datasets
    assert [axis.unit for axis in axes] == ["nanometer"] * 3
    assert datasets[0].coordinateTransformations[0].scale == pytest.approx([10, 8, 8])


@pytest.mark.skipif(
    not (shutil.which("imagej") and shutil.which("xvfb-run")), reason="ImageJ and Xvfb are not installed"
)
def test_imagej_itself_reads_shape_values_and_voxel_size(tmp_path: Path) -> None:
    stack = make_stack(dtype="uint16")
    write_imagej(tmp_path / "a.tif", stack)
    target = upsample(tmp_path / "a.tif", factor=4, model="cubic")
    macro = tmp_path / "m.ijm"
    macro.write_text(
        f'open("{target}"); getVoxelSize(w, h, d, unit); print(w, h, d, unit, nSlices, getWidth(), getHeight());\n'
        "setSlice(6); print(getPixel(5, 7));\n"
    )
    command = ["xvfb-run", "-a", "imagej", "-b", str(macro)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "8 8 5 nm 17 48 40\n" in result.stdout, result.stdout
    assert int(result.stdout.split()[-1]) == ours(target)[5, 7, 5]
