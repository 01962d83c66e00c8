"""Fixtures that many tests share."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import h5py
import mrcfile
import numpy as np
import pytest
import tifffile
import torch
import zarr
from numpy.typing import NDArray
from PIL import Image

from zinterp.errors import InputError
from zinterp.interpolators.base import Needs
from zinterp.io.tiff import TiffReader
from zinterp.threads import cores

Stack = NDArray[np.generic]
DTYPES = ("uint8", "uint16", "int16", "float32")
DATA = Path(os.environ.get("ZINTERP_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, cores()))
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in a shell's background


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real volumes."""
    if not DATA.is_dir():
        pytest.skip(f"no real volumes in {DATA}; name their folder in ZINTERP_TEST_DATA")
    return DATA


def make_stack(shape: tuple[int, int, int] = (5, 40, 48), dtype: str = "uint8", seed: int = 0) -> Stack:
    """Smooth structure that moves with z, and grain, over most of what the dtype holds (floats: about 0 to 1)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(shape, dtype=float)
    values = 0.5 + 0.3 * np.sin(x / 5 + z / 2) * np.cos(y / 7 - z / 3) + 0.05 * rng.standard_normal(shape)
    if dtype.startswith("float"):
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(limits.min + values * (float(limits.max) - limits.min), limits.min, limits.max).astype(dtype)


def break_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a TIFF of ``make_stack()`` fail in mid-run, after the eight planes that are sampled first and two more."""
    calls: list[range] = []

    def fail(self: TiffReader, z: range, stack: int = 0) -> Stack:
        calls.append(z)
        if len(calls) > 10:
            raise InputError("the disk is gone")
        return make_stack()[z.start : z.stop]

    monkeypatch.setattr(TiffReader, "read", fail)


class Doubtful:
    """Linear interpolation, unsure by a fiftieth and half of what its neighbours differ. See ``Uncertain``."""

    identity = "doubtful"

    def __init__(self, at_once: int = 1) -> None:
        self.needs = Needs(context=2, multiple_of=4, overlap=8, outputs=2, at_once=at_once)

    def __call__(self, planes: NDArray[np.float32], times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Planes (N, 4, Y, X) and times (K,) -> (N, K, Y, X)."""
        return self.uncertainty(planes, times)[0]

    def uncertainty(
        self, planes: NDArray[np.float32], times: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As the call, and deviations."""
        before, step = planes[:, 1:2], planes[:, 2:3] - planes[:, 1:2]
        made = before + times[:, None, None] * step
        return made, np.broadcast_to(np.float32(0.02) + np.abs(step) / 2, made.shape)


@pytest.fixture
def stack() -> Stack:
    """Five planes of 40 x 48 pixels, 8 bit."""
    return make_stack()


def write_plain_tiff(path: Path, stack: Stack) -> None:
    """Multi-page, one IFD a plane, no metadata."""
    with tifffile.TiffWriter(path) as tif:
        for plane in stack:
            tif.write(plane, photometric="minisblack", metadata=None, contiguous=False)


def write_imagej(path: Path, stack: Stack) -> None:
    """ImageJ hyperstack, 20 x 8 x 8 nm."""
    metadata = {"axes": "ZYX", "spacing": 20.0, "unit": "nm"}
    tifffile.imwrite(path, stack, imagej=True, resolution=(1 / 8, 1 / 8), metadata=metadata)


def write_imagej_big_endian(path: Path, stack: Stack) -> None:
    """ImageJ hyperstack as ImageJ itself writes it."""
    metadata = {"axes": "ZYX", "spacing": 20.0, "unit": "nm"}
    tifffile.imwrite(path, stack, imagej=True, byteorder=">", resolution=(1 / 8, 1 / 8), metadata=metadata)


def write_compressed(path: Path, stack: Stack) -> None:
    """LZW with predictor, in strips."""
    tifffile.imwrite(path, stack, photometric="minisblack", compression="lzw", predictor=True, rowsperstrip=16)


def write_ome(path: Path, stack: Stack) -> None:
    """OME-TIFF, 20 x 8 x 8 nm, Z in nanometres and the others in micrometres."""
    lengths = {"PhysicalSizeX": 0.008, "PhysicalSizeY": 0.008, "PhysicalSizeZ": 20.0, "PhysicalSizeZUnit": "nm"}
    tifffile.imwrite(path, stack, ome=True, photometric="minisblack", metadata={"axes": "ZYX", **lengths})


def write_bigtiff(path: Path, stack: Stack) -> None:
    """BigTIFF with tiles and zlib, big-endian."""
    tifffile.imwrite(
        path, stack, bigtiff=True, byteorder=">", photometric="minisblack", tile=(16, 16), compression="zlib"
    )


def write_zarr(path: Path, stack: Stack, version: str) -> None:
    """OME-Zarr by hand, 20 x 8 x 8 nm."""
    group = zarr.open_group(path, mode="w", zarr_format=3 if version == "0.5" else 2)
    array = group.create_array("s0", shape=stack.shape, dtype=stack.dtype, chunks=(2, 16, 16))
    array[:] = stack
    axes = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
    scale = {"type": "scale", "scale": [20.0, 8.0, 8.0]}
    multiscale = {"axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": [scale]}]}
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    else:
        group.attrs["multiscales"] = [multiscale | {"version": "0.4"}]


def write_zarr_04(path: Path, stack: Stack) -> None:
    """OME-Zarr 0.4."""
    write_zarr(path, stack, "0.4")


def write_zarr_05(path: Path, stack: Stack) -> None:
    """OME-Zarr 0.5."""
    write_zarr(path, stack, "0.5")


def write_zarr_array(path: Path, stack: Stack) -> None:
    """A bare Zarr array."""
    array = zarr.create_array(path, shape=stack.shape, dtype=stack.dtype, chunks=(2, 16, 16))
    array[:] = stack


def write_mrc(path: Path, stack: Stack) -> None:
    """MRC, 200 x 80 x 80 angstrom; unsigned 8 bit in mode 0 with IMOD's flag."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(stack.view("int8") if stack.dtype == np.uint8 else stack)
        mrc.voxel_size = (80, 80, 200)
    if stack.dtype == np.uint8:
        raw = bytearray(path.read_bytes())
        raw[152:160] = np.array([1146047817, 0], "<i4").tobytes()
        path.write_bytes(bytes(raw))


def write_hdf5(path: Path, stack: Stack) -> None:
    """HDF5 with one dataset, 20 x 8 x 8 nm."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("volume/raw", data=stack, chunks=(2, 16, 16), compression="gzip")
        dataset.attrs["element_size_um"] = (0.02, 0.008, 0.008)


def write_tiff_slices(path: Path, stack: Stack) -> None:
    """A folder of TIFF files, numbered from 8 without leading zeros, as a microscope writes them."""
    path.mkdir()
    for k, plane in enumerate(stack, start=8):
        tifffile.imwrite(path / f"slice_{k}.tif", plane, photometric="minisblack", metadata=None)


def write_png_slices(path: Path, stack: Stack) -> None:
    """A folder of PNG files whose names say where they lie, 20 nm apart."""
    if stack.dtype not in (np.uint8, np.uint16):
        pytest.skip("PNG holds unsigned 8 and 16 bit only")
    path.mkdir()
    for k, plane in enumerate(stack):
        dpi = 25400 / 0.008
        Image.fromarray(plane).save(path / f"run_{k:03d}_z={k * 0.02:.4f}um.png", dpi=(dpi, dpi))


Write = Callable[[Path, Stack], None]
KINDS: dict[str, tuple[str, Write, bool]] = {
    "plain tiff": ("a.tif", write_plain_tiff, False),
    "imagej": ("a.tif", write_imagej, True),
    "imagej big-endian": ("a.tif", write_imagej_big_endian, True),
    "compressed": ("a.tif", write_compressed, False),
    "ome-tiff": ("a.ome.tif", write_ome, True),
    "bigtiff": ("a.tiff", write_bigtiff, False),
    "ome-zarr 0.4": ("a.ome.zarr", write_zarr_04, True),
    "ome-zarr 0.5": ("a.zarr", write_zarr_05, True),
    "zarr array": ("a.zarr", write_zarr_array, False),
    "mrc": ("a.mrc", write_mrc, True),
    "hdf5": ("a.h5", write_hdf5, True),
    "tiff slices": ("a", write_tiff_slices, False),
    "png slices": ("a", write_png_slices, True),
}
"""Every kind of input: file name, a writer that shares no code with ours, and whether it says the voxel size."""


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> tuple[str, Write, bool]:
    """One kind of input after the other."""
    return KINDS[request.param]
