"""Telling an input from one that took its place."""

import os
from pathlib import Path

import numpy as np
import tifffile

from tests.conftest import Write, make_stack, write_imagej, write_imagej_big_endian, write_mrc, write_zarr_05
from zinterp.io import identify, open_volume, sample_digest


def digest(path: Path) -> str:
    """That of a file."""
    with open_volume(path) as reader:
        return sample_digest(reader)


def test_a_digest_is_of_the_pixels_whatever_holds_them(tmp_path: Path) -> None:
    stack = make_stack((6, 40, 48), "int16")
    write_imagej(tmp_path / "a.tif", stack)
    write_imagej_big_endian(tmp_path / "b.tif", stack)
    write_mrc(tmp_path / "c.mrc", stack)
    write_zarr_05(tmp_path / "d.zarr", stack)
    found = {digest(tmp_path / name) for name in ("a.tif", "b.tif", "c.mrc", "d.zarr")}
    assert len(found) == 1
    for plane in (0, 3, 5):
        other = stack.copy()
        other[plane, 7, 7] += 1
        write_imagej(tmp_path / "e.tif", other)
        found.add(digest(tmp_path / "e.tif"))
    assert len(found) == 4


def test_a_digest_is_of_the_first_and_the_last_channel(tmp_path: Path) -> None:
    stacks = np.stack([make_stack(seed=seed) for seed in range(3)], axis=1)
    found = set()
    for channel in (None, 0, 2):
        changed = stacks.copy()
        if channel is not None:
            changed[0, channel] = 0
        tifffile.imwrite(tmp_path / "a.tif", changed, imagej=True, metadata={"axes": "ZCYX"})
        found.add(digest(tmp_path / "a.tif"))
    assert len(found) == 3


def test_large_planes_are_thinned(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((2, 2200, 1000)))
    assert len(digest(tmp_path / "a.tif")) == 16


def test_what_happened_to_a_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("one")
    before = identify(path)
    assert before.difference(before.now()) == ""
    os.utime(path, ns=(0, 0))
    assert before.difference(before.now()) == f"{path} was written to"
    path.write_text("longer")
    assert before.difference(before.now()) == f"{path} had 3 bytes and has 6"
    (tmp_path / "b.tif").write_text("two")
    (tmp_path / "b.tif").replace(path)
    assert before.difference(before.now()) == f"{path} was replaced"
    path.unlink()
    assert before.difference(before.now()) == f"{path} was removed"
    assert before.now().difference(before) == f"{path} appeared"


def test_a_store_is_listed_anew_and_a_file_is_not(tmp_path: Path) -> None:
    write: Write = write_zarr_05
    write(tmp_path / "a.zarr", make_stack())
    before = identify(tmp_path / "a.zarr")
    assert before.closed
    (tmp_path / "a.zarr" / "more").write_text("x")
    assert before.difference(before.now()) == f"{tmp_path / 'a.zarr' / 'more'} appeared"
    assert not identify(tmp_path / "none.tif").closed
