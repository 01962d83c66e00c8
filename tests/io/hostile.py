"""Files that are made to harm: each a function that writes one into a folder and returns the path to open."""

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import imagecodecs
import numpy as np
import tifffile
import zarr
from PIL import Image

from tests.conftest import make_stack, write_imagej, write_mrc, write_plain_tiff, write_zarr_04, write_zarr_05

GIB = 2**30
BOMB_EDGE = 32768  # pixels of a plane of 1 GiB
TILE = 4096
HUGE = 2**31 - 1
LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 20))
    + ']><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image>&a19;</Image></OME>'
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE OME [<!ENTITY secret SYSTEM "file:///etc/passwd">]>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image><Description>&secret;</Description></Image></OME>'
)


def deflated_zeros(size: int) -> bytes:
    """A zlib stream of zeros, made without compressing them all."""
    block = 2**20
    compressor = zlib.compressobj(9)
    head = compressor.compress(bytes(block)) + compressor.flush(zlib.Z_FULL_FLUSH)
    again = compressor.compress(bytes(block)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return head + again * (size // block - 1) + b"\x03\x00" + struct.pack(">I", (size % 65521) << 16 | 1)


def tiff_bomb(compression: str) -> Callable[[Path], Path]:
    """A page of 1 GiB in a small file."""
    encode = {"zlib": imagecodecs.zlib_encode, "lzw": imagecodecs.lzw_encode, "zstd": imagecodecs.zstd_encode}

    def write(folder: Path) -> Path:
        tile, shape = encode[compression](bytes(TILE * TILE)), (BOMB_EDGE, BOMB_EDGE)
        tiles = (tile for _ in range((BOMB_EDGE // TILE) ** 2))
        path = folder / "a.tif"
        tifffile.imwrite(path, tiles, shape=shape, dtype="u1", tile=(TILE, TILE), compression=compression)
        assert path.stat().st_size < 2**21
        return path

    return write


def tiff_huge(folder: Path, **options: Any) -> Path:
    """A page of 4.6 EB."""
    path = folder / "a.tif"
    tifffile.imwrite(path, make_stack()[0], photometric="minisblack", metadata=None, **options)
    with tifffile.TiffFile(path, mode="r+b") as tif:
        for name in ("ImageWidth", "ImageLength"):
            tif.pages.first.tags[name].overwrite(HUGE, dtype="I")
    return path


def tiff_huge_compressed(folder: Path) -> Path:
    """A compressed page of 4.6 EB."""
    return tiff_huge(folder, compression="zlib")


def tiff_circle(planes: int, back_to: int) -> Callable[[Path], Path]:
    """Pages of which the last is followed by an earlier one."""

    def write(folder: Path) -> Path:
        path = folder / "a.tif"
        write_plain_tiff(path, make_stack((planes, 4, 4)))
        with tifffile.TiffFile(path) as tif:
            start, last = tif.pages[back_to].offset, tif.pages[-1]
            at = last.offset + 2 + 12 * len(last.tags)
        content = bytearray(path.read_bytes())
        content[at : at + 4] = struct.pack("<I", start)
        path.write_bytes(content)
        return path

    return write


def tiff_own_child(folder: Path) -> Path:
    """A page that is its own sub-page."""
    path = folder / "a.tif"
    tifffile.imwrite(path, make_stack()[0], photometric="minisblack", metadata=None, extratags=[(329, "I", 1, 8, True)])
    with tifffile.TiffFile(path) as tif:
        at = tif.pages.first.tags[329].offset
    content = bytearray(path.read_bytes())
    content[at : at + 2] = struct.pack("<H", 330)
    path.write_bytes(content)
    return path


def tiff_many_shapes(folder: Path) -> Path:
    """Thousands of pages, none like the other."""
    path = folder / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for k in range(3000):
            tif.write(np.zeros((1 + k % 53, 1 + k % 59), np.uint8), photometric="minisblack", metadata=None)
    return path


def tiff_described(text: str) -> Callable[[Path], Path]:
    """A stack with a description."""

    def write(folder: Path) -> Path:
        path = folder / "a.tif"
        tifffile.imwrite(path, make_stack()[0], photometric="minisblack", metadata=None, description=text)
        return path

    return write


def tiff_jpeg(folder: Path) -> Path:
    """A tile of JPEG that claims 4 gigapixels."""
    tile = bytearray(imagecodecs.jpeg8_encode(np.zeros((64, 64), np.uint8)))
    at = tile.index(b"\xff\xc0")
    tile[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    path = folder / "a.tif"
    tifffile.imwrite(path, iter([bytes(tile)]), shape=(64, 64), dtype="u1", tile=(64, 64), compression="jpeg")
    return path


def mrc_sizes(nx: int, ny: int, nz: int, size: int | None = None) -> Callable[[Path], Path]:
    """A header with other sizes, of a file of other bytes."""

    def write(folder: Path) -> Path:
        path = folder / "a.mrc"
        write_mrc(path, make_stack())
        content = bytearray(path.read_bytes())
        content[:12] = struct.pack("<iii", nx, ny, nz)
        path.write_bytes(content)
        if size is not None:
            os.truncate(path, size)
        return path

    return write


def hdf5(write: Callable[[h5py.File, Path], None]) -> Callable[[Path], Path]:
    """An HDF5 file with something in it, in a folder beside one of secrets."""

    def make(folder: Path) -> Path:
        secret = folder / "secret.h5"
        with h5py.File(secret, "w") as file:
            file["data"] = make_stack()
        (folder / "given").mkdir()
        with h5py.File(folder / "given" / "a.h5", "w") as file:
            write(file, secret)
        return folder / "given" / "a.h5"

    return make


def hdf5_virtual(name: str | None) -> Callable[[h5py.File, Path], None]:
    """A dataset of another file, or of itself."""

    def write(file: h5py.File, secret: Path) -> None:
        stack = make_stack()
        layout = h5py.VirtualLayout(stack.shape, stack.dtype)
        layout[:] = h5py.VirtualSource(name or str(secret), "data", stack.shape)
        file.create_virtual_dataset("data", layout)

    return write


def hdf5_vast(file: h5py.File, secret: Path) -> None:
    """Exabytes of which nothing is stored."""
    file.create_dataset("data", (2**20, 2**20, 2**20), np.uint8, chunks=(1, 64, 64), fillvalue=7)


def hdf5_bomb(file: h5py.File, secret: Path) -> None:
    """A chunk of 8 kB that inflates to 1 GiB."""
    dataset = file.create_dataset("data", (2, 64, 64), np.uint8, chunks=(2, 64, 64), compression="gzip")
    dataset.id.write_direct_chunk((0, 0, 0), deflated_zeros(GIB))


def hdf5_large_chunk(file: h5py.File, secret: Path) -> None:
    """A chunk of 1 GiB in 1 MB, as it declares."""
    shape = (1, BOMB_EDGE, BOMB_EDGE)
    dataset = file.create_dataset("data", shape, np.uint8, chunks=shape, compression="gzip")
    dataset.id.write_direct_chunk((0, 0, 0), deflated_zeros(GIB))


def hdf5_linked(file: h5py.File, secret: Path) -> None:
    """Only a link to another file."""
    file["data"] = h5py.ExternalLink(str(secret), "data")


def hdf5_external(file: h5py.File, secret: Path) -> None:
    """Data that are the bytes of another file."""
    file.create_dataset("data", (2, 8, 8), np.uint8, external=[(str(secret), 0, 128)])


def named(write: Callable[[Path], Path], name: str) -> Callable[[Path], Path]:
    """The dataset of a name in a file."""
    return lambda folder: Path(f"{write(folder)}:/{name}")


def zarr_edited(edit: Callable[[Any], None], file: str = "zarr.json", version: str = "0.5") -> Callable[[Path], Path]:
    """An OME-Zarr image of which one file of metadata is changed."""

    def write(folder: Path) -> Path:
        path = folder / "a.zarr"
        (write_zarr_05 if version == "0.5" else write_zarr_04)(path, make_stack())
        content = json.loads((path / file).read_text())
        edit(content)
        (path / file).write_text(json.dumps(content))
        return path

    return write


def zarr_path(name: str) -> Callable[[Path], Path]:
    """An image whose level lies elsewhere."""

    def edit(content: Any) -> None:
        content["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = name

    def write(folder: Path) -> Path:
        (folder / "given").mkdir()
        zarr.create_array(folder / "secret.zarr", data=make_stack())
        return zarr_edited(edit)(folder / "given")

    return write


def zarr_linked(folder: Path) -> Path:
    """An image whose chunks are in a folder outside."""
    path = folder / "a.zarr"
    write_zarr_05(path, make_stack())
    (path / "s0" / "c").rename(folder / "elsewhere")
    (path / "s0" / "c").symlink_to(folder / "elsewhere")
    return path


def zarr_looped(folder: Path) -> Path:
    """An image of which a folder leads back to itself."""
    path = folder / "a.zarr"
    write_zarr_05(path, make_stack())
    (path / "s0" / "c" / "0" / "0" / "0").unlink()
    (path / "s0" / "c" / "0" / "0" / "0").symlink_to(path)
    return path


def zarr_long(folder: Path) -> Path:
    """Metadata of 100 MB."""
    path = folder / "a.zarr"
    write_zarr_05(path, make_stack())
    os.truncate(path / "zarr.json", 10**8)
    return path


def zarr_bomb(version: int) -> Callable[[Path], Path]:
    """A chunk that inflates to 1 GiB."""

    def write(folder: Path) -> Path:
        path = folder / "a.zarr"
        codec: Any = "auto"
        if version == 2:
            import numcodecs

            codec = numcodecs.Zlib()
        else:
            codec = zarr.codecs.ZstdCodec()
        zarr.create_array(
            path, shape=(2, 64, 64), chunks=(2, 64, 64), dtype="u1", zarr_format=version, compressors=codec
        )
        chunk = path / ("0.0.0" if version == 2 else "c/0/0/0")
        chunk.parent.mkdir(parents=True, exist_ok=True)
        chunk.write_bytes(deflated_zeros(GIB) if version == 2 else imagecodecs.zstd_encode(bytes(GIB // 2), 1))
        return path

    return write


def zarr_pipe(folder: Path) -> Path:
    """A chunk that is a pipe."""
    path = folder / "a.zarr"
    write_zarr_05(path, make_stack())
    (path / "s0" / "c" / "0" / "0" / "0").unlink()
    os.mkfifo(path / "s0" / "c" / "0" / "0" / "0")
    return path


def png_bomb(folder: Path) -> Path:
    """A plane of 1 GiB in a slice of 1 MB."""
    (folder / "a").mkdir()
    header = struct.pack(">IIBBBBB", BOMB_EDGE - 1, BOMB_EDGE, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", deflated_zeros(GIB)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    (folder / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return folder / "a"


def pipe(name: str) -> Callable[[Path], Path]:
    """A pipe in the place of a file."""

    def write(folder: Path) -> Path:
        os.mkfifo(folder / name)
        return folder / name

    return write


def device(folder: Path) -> Path:
    """A device in the place of a file, by a link."""
    (folder / "a.tif").symlink_to("/dev/zero")
    return folder / "a.tif"


def slices_and_pipe(name: str) -> Callable[[Path], Path]:
    """Slices, and a pipe among them."""

    def write(folder: Path) -> Path:
        (folder / "a").mkdir()
        for k in range(3):
            Image.fromarray(make_stack()[k]).save(folder / "a" / f"{k}.png")
        os.mkfifo(folder / "a" / name)
        return folder / "a"

    return write


def slices_long_sidecar(folder: Path) -> Path:
    """Slices with a nest of lists in the place of what we write about them."""
    path = slices_and_pipe("pipe")(folder)
    (path / "zinterp.json").write_text("[" * 10**6)
    return path


def imagej(folder: Path) -> Path:
    """A stack that is as it should be, to compare with."""
    write_imagej(folder / "a.tif", make_stack())
    return folder / "a.tif"


def set_shape(content: Any) -> None:
    """Exabytes."""
    content["shape"] = [10**18] * 3


def set_shape_2(content: Any) -> None:
    """Exabytes in a few chunks."""
    content["shape"], content["chunks"] = [10**6, 10**6, 10**6], [10**6, 10**6, 10**6]


def set_one_voxel_chunks(content: Any) -> None:
    """A chunk for every voxel of a large plane."""
    content["shape"], content["chunk_grid"]["configuration"]["chunk_shape"] = [2, 20000, 20000], [1, 1, 1]


def set_codec(content: Any) -> None:
    """A codec that nobody knows."""
    content["codecs"] = [{"name": "bytes"}, {"name": "evil", "configuration": {"module": "os", "call": "system"}}]


def set_pickle(content: Any) -> None:
    """Objects that are pickled."""
    content["dtype"], content["filters"], content["fill_value"] = "|O", [{"id": "pickle", "protocol": 5}], None


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tiff of 1 GiB in deflate": (tiff_bomb("zlib"), "expected at most 250 times what is stored"),
    "tiff of 1 GiB in LZW": (tiff_bomb("lzw"), "expected at most 250 times what is stored"),
    "tiff of 1 GiB in zstd": (tiff_bomb("zstd"), "expected at most 250 times what is stored"),
    "tiff of 4.6 EB": (tiff_huge, "of memory to read"),
    "tiff of 4.6 EB, compressed": (tiff_huge_compressed, "of memory to read"),
    "tiff in a circle": (tiff_circle(5, 0), "in a circle"),
    "tiff in a late circle": (tiff_circle(300, 250), "in a circle"),
    "tiff with a billion laughs": (tiff_described(LAUGHS), "is damaged"),
    "tiff with an external entity": (tiff_described(OUTSIDE), "is damaged"),
    "tiff of absurd counts": (tiff_described(f"ImageJ=1.11a\nimages={10**18}\nslices={10**18}\n"), "is damaged"),
    "tiff of many shapes": (tiff_many_shapes, "many different shapes"),
    "tiff tile of JPEG": (tiff_jpeg, "has a strip or tile of 65000 x 65000 pixels, expected 4096:"),
    "tiff that is a pipe": (pipe("a.tif"), "is a pipe or device"),
    "tiff that is a device": (device, "is a pipe or device"),
    "mrc of exabytes": (mrc_sizes(HUGE, HUGE, HUGE), "it was cut short"),
    "mrc of negative sizes": (mrc_sizes(-5, -5, 5), "is no MRC file"),
    "mrc of a sparse terabyte": (mrc_sizes(10**6, 10**6, 1, 10**12 + 1024), "of memory to read"),
    "mrc that is a pipe": (pipe("a.mrc"), "is a pipe or device"),
    "hdf5 that links outside": (named(hdf5(hdf5_linked), "data"), "outside of its folder"),
    "hdf5 of bytes outside": (hdf5(hdf5_external), "outside of its folder"),
    "hdf5 made of a file outside": (hdf5(hdf5_virtual(None)), "outside of its folder"),
    "hdf5 made of itself": (hdf5(hdf5_virtual(".")), "is made of itself"),
    "hdf5 that is vast": (hdf5(hdf5_vast), "planes, expected at most"),
    "hdf5 chunk that inflates": (hdf5(hdf5_bomb), "inflates to more than"),
    "hdf5 chunk of 1 GiB": (hdf5(hdf5_large_chunk), "expected at most 250 times what is stored"),
    "zarr level above": (zarr_path("../../secret.zarr"), "is not a valid Zarr node name"),
    "zarr level anywhere": (zarr_path("/etc"), "is not a valid Zarr node name"),
    "zarr chunks linked": (zarr_linked, "outside of the store"),
    "zarr of exabytes": (zarr_edited(set_shape, "s0/zarr.json"), "chunks in a plane|planes, expected at most"),
    "zarr of exabytes in a chunk": (zarr_edited(set_shape_2, "s0/.zarray", "0.4"), "of memory to read"),
    "zarr of tiny chunks": (zarr_edited(set_one_voxel_chunks, "s0/zarr.json"), "expected at most 1000000"),
    "zarr metadata of 100 MB": (zarr_long, "expected metadata of at most"),
    "zarr of an unknown codec": (zarr_edited(set_codec, "s0/zarr.json"), "cannot be read as Zarr"),
    "zarr of pickles": (zarr_edited(set_pickle, "s0/.zarray", "0.4"), "cannot be read as Zarr|holds object values"),
    "zarr 2 chunk that inflates": (zarr_bomb(2), "a chunk holds more than"),
    "zarr 3 chunk that inflates": (zarr_bomb(3), "a chunk is damaged or holds more than"),
    "zarr chunk that is a pipe": (zarr_pipe, "is a pipe or device"),
    "png of 1 GiB": (png_bomb, "expected at most 250 times what is stored"),
    "slices described by a pipe": (slices_and_pipe("zinterp.json"), "is a pipe or device"),
    "slices described by a nest": (slices_long_sidecar, "cannot be read"),
}
"""What opening or reading refuses, and with which words."""

READ: dict[str, Callable[[Path], Path]] = {
    "stack as it should be": imagej,
    "tiff page that is its own child": tiff_own_child,
    "tiff of absurd lengths": tiff_described("ImageJ=1.11a\nspacing=1e999\nunit=um\nfinterval=-1e999\nxorigin=1e308\n"),
    "zarr in a loop": zarr_looped,
    "slices beside a pipe": slices_and_pipe("3.png"),
}
"""What is read, as what is wrong with it does no harm."""
