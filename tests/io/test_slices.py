"""Folders of slices, and what their names say."""

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from tests.conftest import Stack, make_stack
from zinterp.errors import BadVolumeError, InputError, OutputError
from zinterp.io import slice_names
from zinterp.io.paths import SIDECAR
from zinterp.io.selection import InputOptions
from zinterp.io.slices import SlicesReader
from zinterp.io.slices_writer import SlicesWriter
from zinterp.volume import VolumeInfo, VoxelSize, ranges

OPTIONS = InputOptions()
FILL = InputOptions(fill_gaps=True)
NM = Fraction(1, 1000)


def write_tiffs(folder: Path, names: Iterable[str], stack: Stack | None = None, **options: object) -> Stack:
    """One plain TIFF for each name."""
    folder.mkdir(exist_ok=True)
    names = list(names)
    stack = make_stack((len(names), 10, 12)) if stack is None else stack
    for name, plane in zip(names, stack, strict=True):
        tifffile.imwrite(folder / name, plane, **({"photometric": "minisblack", "metadata": None} | options))
    return stack


def write_pngs(folder: Path, stack: Stack, **options: object) -> None:
    """One PNG for each plane."""
    folder.mkdir(exist_ok=True)
    for z, plane in enumerate(stack):
        Image.fromarray(plane).save(folder / f"a{z}.png", **options)


def read_all(path: Path, options: InputOptions = OPTIONS) -> tuple[Stack, VolumeInfo]:
    """All planes and what is said about them."""
    with SlicesReader(path, options) as reader:
        return reader.read(range(reader.info.shape[0])), reader.info


# names


@given(st.permutations(["a1", "a2", "a9", "a10", "a11", "a100"]))
def test_names_are_ordered_as_people_count(names: list[str]) -> None:
    assert slice_names.natural_order(names) == ["a1", "a2", "a9", "a10", "a11", "a100"]


def test_equal_numbers_are_ordered_by_their_text() -> None:
    for names in (["a1.tif", "a01.tif"], ["a01.tif", "a1.tif"]):
        assert slice_names.natural_order(names) == ["a01.tif", "a1.tif"]
    assert slice_names.natural_order(["a0010", "a0009"]) == ["a0009", "a0010"]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["1.tif", "2.tif", "10.tif"], [1, 2, 10]),
        (["a0009.tif", "a0010.tif"], [9, 10]),
        (["slice_00012_z=0.1250um.tif", "slice_00013_z=0.1300um.tif"], [12, 13]),
        (["run3_2024-05-01_tile_1-2_007.tif", "run3_2024-05-01_tile_1-2_008.tif"], [7, 8]),
        (["120000_s1.tif", "120107_s2.tif", "120209_s3.tif"], [1, 2, 3]),  # a time that also rises
        (["22-01-05_090000.tif", "22-01-05_090137.tif", "22-01-06_080000.tif"], None),  # neither counts
        (["a.tif", "b.tif"], None),
        (["a_1.tif", "a_1_2.tif"], None),
        (["s1_1.tif", "s1_2.tif", "s2_1.tif", "s2_2.tif"], None),
        (["01.tif", "1.tif", "2.tif"], [1, 1, 2]),
    ],
)
def test_the_numbers_that_count_planes_are_found(names: list[str], numbers: list[int] | None) -> None:
    assert slice_names.numbers(names) == numbers


@pytest.mark.parametrize(
    ("names", "others", "pattern"),
    [
        ([f"z{z:02}_c{c}.tif" for z, c in product(range(3), range(2))], "z00_c0.tif and z00_c1", "z*_c0.tif"),
        ([f"c{c}_z{z:02}.tif" for z, c in product(range(2), range(9))], "c0_z00.tif and c1_z00", "c0_z*.tif"),
        ([f"z{z}_c{c}.tif" for z, c in product(range(12), range(2))][:-1], "z0_c0.tif and z0_c1", "z*_c0.tif"),
        ([f"{t}_{c}_{z}.png" for t, c, z in product(range(4), range(2), range(9))], "0_0_0.png and 0_1_0", "0_0_*.png"),
        ([f"w{w}_c{c}_{z}.tif" for (w, c), z in product([(488, 0), (561, 1)], range(9))], "w488", "w488_c0_*.tif"),
        ([f"z={z}nm_c{c}.tif" for z, c in product(range(4), range(9))], "z=0nm_c0.tif and z=0nm_c1", "z=*nm_c0.tif"),
        ([f"s_{z:05}_z=0.{z}um_c{c}.tif" for z, c in product(range(9), range(2))], "_c0.tif and", "s_*_z=*um_c0.tif"),
        (
            [f"2024-05-01_10-{m}_c{c}.tif" for m, c in product((10, 50), range(3))],
            "10_c0.tif and",
            "2024-05-01_10-10_c*.tif",
        ),
        ([f"{c}-0{z}-00.tif" for c, z in product((10, 99), range(9))], "10-00-00.tif and 99-00", "10-*-00.tif"),
        ([f"z={z}nm_{c}.tif" for z, c in product((-1, 0, 1, 2), range(2))], "z=0nm_0.tif and", "z=*nm_0.tif"),
        ([f"{c}-{z}.tif" for c, z in product(range(1, 11), range(11))], "1-0.tif and 2-0", "1-*.tif"),
        ([f"ch[{c}]_{z}.tif" for c, z in product(range(2), range(9))], "ch[0]_0.tif and ch[1]_0", "ch[[]0]_*.tif"),
        ([f"{a}_{z:02}.tif" for a, z in product("ab", range(3))], "a_00.tif and b_00.tif", "a_*.tif"),
        (["overview.tif", "s0.tif", "s1.TIF", "s2.tif"], "s0.tif and overview.tif", "s*.*"),
        (["s0.tif", "s1.tif", "s2.tif", "s1 (copy).tif"], "s0.tif and s1 (copy).tif", "s*[0-9].tif"),
        (["s0.tif", "s1.tif", "s2.tif", "s1-1.tif"], "s0.tif and s1-1.tif", "s?.tif"),
        (["s8.tif", "s9.tif", "s10.tif", "s9-1.tif"], "s8.tif and s9-1.tif", ""),
    ],
)
def test_several_series_are_refused_with_the_pattern_of_one(
    names: list[str], others: str, pattern: str, tmp_path: Path
) -> None:
    advice = f"give the pattern of one, as in 'ch/{pattern}'" if pattern else "keep those of one"
    with pytest.raises(BadVolumeError) as caught:
        slice_names.check_one_series(slice_names.natural_order(names), Path("ch/*"), Path("ch"))
    assert f"ch/* holds {len(names)} slices of " in str(caught.value)
    assert others in str(caught.value)
    assert f"expected one stack: {advice}, or rename" in str(caught.value)
    chosen = slice_names.series(slice_names.natural_order(names))[0]
    for name in names:
        (tmp_path / name).touch()
    if pattern:
        assert sorted(file.name for file in tmp_path.glob(pattern)) == sorted(chosen)


@pytest.mark.parametrize(
    "names",
    [
        ["a.tif", "b.tif"],
        ["a_1.tif", "b_1.tif"],
        ["12-59-59.tif", "13-00-05.tif"],
        [f"{h}-{m}-00.tif" for h, m in product((10, 11, 12), ("00", "30"))],
        [f"2024-{m}-{d}.tif" for m, d in product(("05", "06"), (10, 11))],
        [f"run-2024-05-{d}_{h}-00 3.tif" for d, h in product((10, 11), (10, 22))],
        [f"202405{d}_{h}0000.tif" for d, h in product((10, 11), (10, 22))],
        [f"run2_{z:05}_z={z * 0.005:.4f}um.tif" for z in range(30)],
        [f"z=-{z}nm.tif" for z in range(1, 9)],
        [f"row{r}_{n}.tif" for r, n in [(1, 1), (1, 2), (2, 3), (2, 4)]],
        ["s1.tif", "s2 (refocused).tif", "s3.tif", "s4.tif"],
        ["a z=1nm.tif", "b z=2nm.tif", "b z=3nm.tif"],
        ["a z=-1nm.tif", "b z=-2nm.tif", "b z=-3nm.tif"],
        ["s1.tif", "s1.5.tif", "s-2.tif"],
    ],
)
def test_other_names_are_of_one_series(names: list[str]) -> None:
    assert slice_names.series(slice_names.natural_order(names)) == [slice_names.natural_order(names)]
    slice_names.check_one_series(slice_names.natural_order(names), Path("ch"), Path("ch"))


def test_a_sign_in_names_is_no_number() -> None:
    names = ["2023-01-02_10-11-12_s1_c#.tif", "2023-01-02_10-12-12_s2_c0.tif", "2023-01-02_10-13-12_s1_c1.tif"]
    assert slice_names.series(names) == [names[1:], names[:1]]


def test_missing_numbers_go_by_the_step() -> None:
    assert slice_names.step([0, 10, 20]) == 10
    assert slice_names.step([7]) == 1
    assert slice_names.missing([0, 10, 20, 50]) == [30, 40]
    assert slice_names.count_missing([0, 10, 20, 50]) == 2
    assert slice_names.missing([3, 4, 5]) == []
    assert ranges([17, 18, 40]) == "17-18, 40"
    assert ranges([30, 40], 10) == "30-40"
    assert ranges(range(0, 40, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, 16, 18 and 10 more"


@given(st.sets(st.integers(0, 300), min_size=2), st.integers(1, 20))
def test_numbers_and_those_missing_are_all_there_are(chosen: set[int], factor: int) -> None:
    numbers = sorted(n * factor for n in chosen)
    lacking = slice_names.missing(numbers)
    assert len(lacking) == slice_names.count_missing(numbers)
    assert sorted(numbers + lacking) == list(range(numbers[0], numbers[-1] + 1, slice_names.step(numbers)))


@pytest.mark.parametrize(
    ("names", "positions"),
    [
        (["a_z=0.0000um.tif", "a_z=0.1250um.tif"], (Fraction(0), Fraction(1, 8))),
        (["z=-5nm.tif", "z=5nm.tif"], (-5 * NM, 5 * NM)),
        (["a z = 1 µm b.tif", "a z = .5mm b.tif"], (Fraction(1), Fraction(500))),
        (["z=1um.tif", "b.tif"], None),
        (["xyz=1um.tif"], None),
        (["z=1umbrella.tif"], None),
        (["z=1 in situ.tif"], None),
        (["z=1.tif"], None),
        ([], None),
    ],
)
def test_positions_are_read_exactly(names: list[str], positions: tuple[Fraction, ...] | None) -> None:
    assert slice_names.positions(names) == positions


# reading


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_slices_are_read_in_natural_order(dtype: str, byteorder: str, tmp_path: Path) -> None:
    names = ["a1.tif", "a2.TIFF", "a3.tif", "a4.tiff", "a5.TIF", "a6.tif", "a7.tif", "a8.tif", "a9.tif", "a10.tif"]
    stack = write_tiffs(tmp_path, names, make_stack((10, 10, 12), dtype), byteorder=byteorder)
    for name in ("notes.txt", "a.csv", "a.json", "Thumbs.db", "a11.tif.partial", "a.xml", "a.log", "._a1.tif"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "old.tif").mkdir()
    planes, info = read_all(tmp_path)
    assert np.array_equal(planes, stack)
    assert planes.dtype == info.dtype == np.dtype(dtype)
    assert planes.dtype.isnative
    assert info == VolumeInfo((10, 10, 12), np.dtype(dtype), format="tiff-slices")
    with SlicesReader(tmp_path, OPTIONS) as reader:
        assert np.array_equal(reader.read(range(8, 10)), stack[8:])
        assert reader.read(range(0)).shape == (0, 10, 12)


def test_a_pattern_chooses_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stack = write_tiffs(tmp_path, [f"ch0_{z}.tif" for z in range(3)])
    write_tiffs(tmp_path, [f"ch1_{z}.tif" for z in range(3)])
    write_pngs(tmp_path, stack)
    planes, info = read_all(tmp_path / "ch0_*")
    assert np.array_equal(planes, stack)
    assert info.format == "tiff-slices"
    assert read_all(tmp_path / "*.png")[1].format == "png-slices"
    assert caplog.text == ""
    with pytest.raises(InputError, match=r"none\*\.tif matches no TIFF or PNG slices"):
        SlicesReader(tmp_path / "none*.tif", OPTIONS)
    with pytest.raises(BadVolumeError, match=r"6 TIFF and 3 PNG slices, expected one kind: give a pattern, as in .*\*"):
        SlicesReader(tmp_path, OPTIONS)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_channels_in_one_folder_are_refused_and_chosen_by_a_pattern(suffix: str, tmp_path: Path) -> None:
    stack = make_stack((6, 10, 12))
    for (z, c), plane in zip(product(range(3), range(2)), stack, strict=True):
        Image.fromarray(plane).save(tmp_path / f"z{z:02}_c{c}.{suffix}")
    with pytest.raises(BadVolumeError, match=rf"of 2 series, .* as in '{tmp_path}/z\*_c0\.{suffix}'"):
        SlicesReader(tmp_path, OPTIONS)
    assert np.array_equal(read_all(tmp_path / f"z*_c0.{suffix}")[0], stack[::2])


@pytest.mark.parametrize("name", ["", "*.tif"])
def test_links_are_followed_and_one_to_nothing_is_named(name: str, tmp_path: Path) -> None:
    stack = write_tiffs(tmp_path / "held", ["0.tif", "1.tif", "2.tif"])
    (tmp_path / "ch").mkdir()
    for z in range(3):
        (tmp_path / "ch" / f"{z}.tif").symlink_to(tmp_path / "held" / f"{z}.tif")
    (tmp_path / "ch" / "old.tif").symlink_to(tmp_path / "held")
    (tmp_path / "ch" / "notes.txt").symlink_to(tmp_path / "none")
    assert np.array_equal(read_all(tmp_path / "ch" / name)[0], stack)
    (tmp_path / "held" / "1.tif").unlink()
    with pytest.raises(InputError, match=r"ch/1\.tif is a link to nothing, expected a slice: restore it"):
        SlicesReader(tmp_path / "ch" / name, OPTIONS)


def test_folders_without_slices_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="is not a Zarr group and holds no TIFF or PNG slices"):
        SlicesReader(tmp_path, OPTIONS)

    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied"):
        SlicesReader(tmp_path, OPTIONS)


def test_a_channel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_tiffs(tmp_path, ["1.tif", "2.tif"])
    assert read_all(tmp_path, InputOptions(channel=0, time=0))[1].stacks == 1
    with pytest.raises(BadVolumeError, match="1 channel, got --channel 1"):
        SlicesReader(tmp_path, InputOptions(channel=1))


def test_compressed_and_tiled_slices_are_read(tmp_path: Path) -> None:
    stack = write_tiffs(tmp_path, ["1.tif", "2.tif"], make_stack((2, 40, 48)), compression="lzw", tile=(16, 16))
    assert np.array_equal(read_all(tmp_path)[0], stack)


def test_at_most_one_file_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiffs(tmp_path / "t", [f"{z}.tif" for z in range(20)])
    write_pngs(tmp_path / "p", make_stack((20, 10, 12)))
    held: list[object] = []
    most = 0
    opened = Path.open

    def count(self: Path, *args: object, **options: object) -> object:
        nonlocal most
        file = opened(self, *args, **options)  # type: ignore[call-overload]
        held.append(file)
        most = max(most, sum(not f.closed for f in held))  # type: ignore[attr-defined]
        return file

    monkeypatch.setattr(Path, "open", count)
    for folder in ("t", "p"):
        read_all(tmp_path / folder)
    assert len(held) >= 80
    assert most == 1
    assert all(f.closed for f in held)  # type: ignore[attr-defined]


@pytest.mark.parametrize("odd", [0, 2, 4])
def test_the_slice_that_differs_is_named(odd: int, tmp_path: Path) -> None:
    write_tiffs(tmp_path, [f"a{z}.tif" for z in range(5)])
    tifffile.imwrite(tmp_path / f"a{odd}.tif", np.zeros((10, 14), np.uint8), photometric="minisblack")
    with pytest.raises(BadVolumeError, match=rf"a{odd}.tif is 10 x 14 uint8, expected 10 x 12 uint8 like 4 of the 5"):
        SlicesReader(tmp_path, OPTIONS)
    tifffile.imwrite(tmp_path / f"a{odd}.tif", np.zeros((10, 12), np.uint16), photometric="minisblack")
    with pytest.raises(BadVolumeError, match=rf"a{odd}.tif is 10 x 12 uint16, expected 10 x 12 uint8"):
        SlicesReader(tmp_path, OPTIONS)


def test_a_slice_that_stores_white_as_0_differs_and_all_of_them_are_read_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stack = write_tiffs(tmp_path, ["1.tif", "2.tif", "3.tif"], photometric="miniswhite")
    assert np.array_equal(read_all(tmp_path)[0], stack)
    assert caplog.text.count("stores white as 0") == 1
    write_tiffs(tmp_path, ["1.tif"])
    with pytest.raises(BadVolumeError, match=r"1\.tif is .* uint8, expected .* uint8 storing white as 0"):
        SlicesReader(tmp_path, OPTIONS)


def write_pages(path: Path, stack: Stack) -> None:
    """One page a plane."""
    with tifffile.TiffWriter(path) as tif:
        for plane in stack:
            tif.write(plane, photometric="minisblack", metadata=None, contiguous=False)


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize(
    "write",
    [
        write_pages,
        lambda path, stack: tifffile.imwrite(path, stack, imagej=True),
        lambda path, stack: tifffile.imwrite(path, stack, photometric="minisblack"),
        lambda path, stack: tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": "ZYX"}, ome=True),
    ],
    ids=["pages", "imagej", "shaped", "ome"],
)
def test_a_stack_among_slices_is_refused(write: Callable[[Path, Stack], None], others: int, tmp_path: Path) -> None:
    write_tiffs(tmp_path, [f"b{z}.tif" for z in range(others)])
    write(tmp_path / "a.tif", make_stack((5, 10, 12)))
    with pytest.raises(BadVolumeError, match=r"a\.tif holds 5 planes, expected one .* name the file itself"):
        SlicesReader(tmp_path, OPTIONS)


def test_one_page_that_stands_for_many_planes_is_refused(tmp_path: Path) -> None:
    text = "ImageJ=1.53\nimages=5\nslices=5\n"  # as ImageJ writes above 4 GB
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((10, 12), np.uint8), description=text, metadata=None)
    with pytest.raises(BadVolumeError, match="holds 5 planes"):
        SlicesReader(tmp_path, OPTIONS)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((10, 12), np.uint8), description='{"shape": [3, 10, 12]}', metadata=None)
    assert read_all(tmp_path)[1].shape == (1, 10, 12)  # text that outlived a crop
    path.write_bytes(path.read_bytes() + bytes(240))
    with pytest.raises(BadVolumeError, match="holds 3 planes"):
        SlicesReader(tmp_path, OPTIONS)


def test_previews_are_no_further_planes(tmp_path: Path) -> None:
    stack = make_stack((2, 40, 48))
    for z, plane in enumerate(stack):
        with tifffile.TiffWriter(tmp_path / f"a{z}.tif") as tif:
            tif.write(plane, photometric="minisblack", metadata=None)
            tif.write(plane[::4, ::4], photometric="minisblack", metadata=None, subfiletype=1)
    assert np.array_equal(read_all(tmp_path)[0], stack)


def test_a_metamorph_stack_is_refused(tmp_path: Path) -> None:
    uic2 = (33629, 5, 3, b"\1\0\0\0" * 6, True)  # tifffile counts each rational twice here
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((10, 12), np.uint8), metadata=None, extratags=[uic2])
    with pytest.raises(BadVolumeError, match="holds 6 planes"):
        SlicesReader(tmp_path, OPTIONS)


def test_files_of_a_set_that_share_their_ome_xml_are_slices(tmp_path: Path) -> None:
    stack = make_stack((3, 10, 12))
    tifffile.imwrite(tmp_path / "whole.tif", stack, ome=True, photometric="minisblack", metadata={"axes": "ZYX"})
    xml = tifffile.tiffcomment(tmp_path / "whole.tif")
    (tmp_path / "whole.tif").unlink()
    write_tiffs(tmp_path, ["a0.ome.tif", "a1.ome.tif", "a2.ome.tif"], stack, description=xml)
    assert np.array_equal(read_all(tmp_path)[0], stack)


@pytest.mark.parametrize("shape", [(10, 12, 3), (10, 12, 4), (10, 12, 2)])
def test_colour_and_alpha_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    photometric = "rgb" if shape[-1] > 2 else "minisblack"
    options = {} if shape[-1] > 2 else {"planarconfig": "contig", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric=photometric, metadata=None, **options)
    with pytest.raises(BadVolumeError, match=r"a\.tif is a colour image .* convert the slices to 8 or 16 bit grey"):
        SlicesReader(tmp_path, OPTIONS)


def test_a_grey_colour_map_is_read_and_another_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stack = make_stack((2, 10, 12))
    grey = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    write_tiffs(tmp_path, ["1.tif", "2.tif"], stack, photometric="palette", colormap=grey)
    assert np.array_equal(read_all(tmp_path)[0], stack)
    assert caplog.text == ""
    write_tiffs(tmp_path, ["2.tif"], stack[1:], photometric="palette", colormap=grey[:, ::-1])
    with pytest.raises(BadVolumeError, match=r"2\.tif is a colour image .* of its colour map"):
        SlicesReader(tmp_path, OPTIONS)
    grey[0, :20] = 65535
    write_tiffs(tmp_path, ["1.tif", "2.tif"], stack, photometric="palette", colormap=grey)
    assert np.array_equal(read_all(tmp_path)[0], stack)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "20 of 256 entries are colours" in caplog.text


def test_odd_bit_depths_are_refused(tmp_path: Path) -> None:
    write_tiffs(tmp_path, ["1.tif"])
    with tifffile.TiffFile(tmp_path / "1.tif", mode="r+") as tif:
        tif.pages.first.tags["BitsPerSample"].overwrite(40)
    with pytest.raises(BadVolumeError, match="pixels of 40 bit"):
        SlicesReader(tmp_path, OPTIONS)


@pytest.mark.parametrize("name", ["b.tif", "b.png"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_slice_is_named(name: str, share: float, tmp_path: Path) -> None:
    for other in ("a", "b", "c"):
        Image.fromarray(make_stack()[0]).save(tmp_path / name.replace("b", other))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=rf"{name} (is empty|cannot be read|is damaged|has \d+ bytes)"):
        SlicesReader(tmp_path, OPTIONS)


@pytest.mark.parametrize("name", ["b.tif", "b.png"])
def test_a_slice_that_changes_after_opening_is_named(name: str, tmp_path: Path) -> None:
    for other in ("a", "b"):
        Image.fromarray(make_stack()[0]).save(tmp_path / name.replace("b", other))
    with SlicesReader(tmp_path, OPTIONS) as reader:
        Image.fromarray(make_stack()[0][:20]).save(tmp_path / name)
        with pytest.raises(InputError, match=f"{name} is no longer 40 x 48 uint8"):
            reader.read(range(2))
        (tmp_path / name).write_bytes(b"nothing at all")
        with pytest.raises(InputError, match=f"{name} cannot be read as"):
            reader.read(range(2))
        (tmp_path / name).unlink()
        with pytest.raises(InputError, match=f"{name} does not exist"):
            reader.read(range(2))
        assert reader.read(range(1)).shape == (1, 40, 48)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_slices_are_read(dtype: str, tmp_path: Path) -> None:
    stack = make_stack((11, 10, 12), dtype)
    write_pngs(tmp_path, stack, dpi=(25400 / 0.008, 25400 / 0.004))
    planes, info = read_all(tmp_path)
    assert np.array_equal(planes, stack)
    assert planes.dtype == info.dtype == np.dtype(dtype)
    assert (info.format, info.voxel_size_source, info.unit) == ("png-slices", "PNG resolution", "um")
    assert (info.voxel_size.y, info.voxel_size.x) == pytest.approx((0.004, 0.008), rel=1e-6)
    assert info.voxel_size.z is None


@pytest.mark.parametrize("dpi", [72, 96, 300, 1200])
def test_the_resolution_of_screens_and_printers_is_no_pixel_size(dpi: int, tmp_path: Path) -> None:
    write_pngs(tmp_path, make_stack(), dpi=(dpi, dpi))
    assert read_all(tmp_path)[1].voxel_size == VoxelSize()


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGB", "RGBA"])
def test_pngs_that_are_not_grey_are_refused(mode: str, tmp_path: Path) -> None:
    Image.fromarray(make_stack()[0]).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(BadVolumeError, match=f"a.png has pixels of the kind {mode}, expected 8 or 16 bit grey"):
        SlicesReader(tmp_path, OPTIONS)


def test_an_animation_is_refused(tmp_path: Path) -> None:
    first, *others = (Image.fromarray(plane) for plane in make_stack())
    first.save(tmp_path / "a.png", save_all=True, append_images=others)
    with pytest.raises(BadVolumeError, match="is an animation"):
        SlicesReader(tmp_path, OPTIONS)


def test_planes_larger_than_pillow_expects_of_pictures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = make_stack()
    write_pngs(tmp_path, stack)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert np.array_equal(read_all(tmp_path)[0], stack)


def test_16_bit_pngs_of_older_pillow_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PngImagePlugin._MODES, (16, 0), ("I", "I;16B"))
    stack = make_stack((2, 10, 12), "uint16")
    write_pngs(tmp_path, stack)
    planes, info = read_all(tmp_path)
    assert np.array_equal(planes, stack)
    assert planes.dtype == info.dtype == np.uint16


# data bars


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many rows of each file are image, by its name."""
    rows: dict[str, int] = {}

    def look_up(tif: tifffile.TiffFile) -> int | None:
        return rows.get(tif.filename)

    monkeypatch.setattr("zinterp.io.slices.image_rows", look_up)
    monkeypatch.setattr("zinterp.io.tiff.image_rows", look_up)
    return rows


def test_a_data_bar_is_cut_off_unless_it_is_to_stay(
    bars: dict[str, int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stack = write_tiffs(tmp_path, ["1.tif", "2.tif", "3.tif"])
    bars.update(dict.fromkeys(("1.tif", "2.tif", "3.tif"), 8))
    with caplog.at_level(logging.INFO):
        planes, info = read_all(tmp_path)
    assert info.shape == (3, 8, 12)
    assert np.array_equal(planes, stack[:, :8])
    line = f"{tmp_path}: cut off a data bar of 2 of 10 rows; --keep-databar leaves it"
    assert [r.getMessage() for r in caplog.records] == [line]
    assert np.array_equal(read_all(tmp_path, InputOptions(keep_databar=True))[0], stack)
    del bars["2.tif"]
    with pytest.raises(BadVolumeError, match=r"2\.tif is 10 x 12 uint8, expected 10 x 12 uint8 with a data bar of 2"):
        SlicesReader(tmp_path, OPTIONS)
    assert np.array_equal(read_all(tmp_path, InputOptions(keep_databar=True))[0], stack)


@pytest.mark.parametrize("name", ["fei_helios_8bit.tif", "zeiss_1k.tif", "zeiss_512.tif"])
def test_slices_of_real_microscopes_are_read(name: str, data: Path, tmp_path: Path) -> None:
    source = data / "formats" / name
    if not source.exists():
        pytest.skip(f"no {source}")
    for z in range(3):
        shutil.copy(source, tmp_path / f"slice_{z:04d}.tif")
    planes, info = read_all(tmp_path, InputOptions(keep_databar=True))
    assert np.array_equal(planes, np.stack([tifffile.imread(source)] * 3))
    assert info.shape[0] == 3


# pixel sizes


def write_sized(folder: Path, sizes: Iterable[float | tuple[float, float]], **options: object) -> None:
    """One TIFF for each pixel size in nanometres, x and y where they differ; none for 0."""
    for z, size in enumerate(sizes):
        x, y = size if isinstance(size, tuple) else (size, size)
        known = {"resolution": (1e7 / x, 1e7 / y), "resolutionunit": "CENTIMETER"} if x else {}
        write_tiffs(folder, [f"a{z}.tif"], **known, **options)


@pytest.mark.parametrize("sizes", [[5, 5, 5.04, 4.96], [5, 0, 5], [0, 0], [(5, 6), (5, 6.05)], [0, 5, 6]])
def test_pixel_sizes_that_agree_are_that_of_the_first(
    sizes: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_sized(tmp_path, sizes)
    first = sizes[0][::-1] if isinstance(sizes[0], tuple) else (sizes[0], sizes[0])
    size = read_all(tmp_path)[1].voxel_size
    assert ((size.y or 0) * 1000, (size.x or 0) * 1000) == pytest.approx(first)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ([5, 5, 10, 20, 10], "pixels of a0.tif are 5 x 5 nm and those of a2.tif 10 x 10 nm: taking those of a0.tif"),
        ([5, 5.06], "those of a1.tif 5.06 x 5.06 nm"),
        ([5, (5, 6)], "those of a1.tif 6 x 5 nm"),
    ],
)
def test_the_first_slice_of_another_pixel_size_is_named(
    sizes: list[float], text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_sized(tmp_path, sizes)
    assert read_all(tmp_path)[1].voxel_size.x == pytest.approx(0.005)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert f"{tmp_path}: pixels of a0.tif are" in caplog.text
    assert text in caplog.text
    assert "a change of magnification cannot be undone here" in caplog.text


FEI = "[Beam]\r\nScan={}\r\n[EScan]\r\nPixelWidth=5e-09\r\nPixelHeight=5e-09\r\n[IScan]\r\nPixelWidth={}\r\n"
ZEISS = "\r\nDP_X\r\nA = 1\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = {} nm\r\n"
OME = (
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
    'PhysicalSizeX="{0}" PhysicalSizeXUnit="nm" PhysicalSizeY="{0}" PhysicalSizeYUnit="nm"/></Image></OME>'
)
IMAGEJ = "ImageJ=1.53\nunit={}\n"


@pytest.mark.parametrize(
    ("tag", "text", "same", "other"),
    [
        (34682, FEI, ("EScan", "5e-09"), ("IScan", "1e-08")),
        (34682, FEI, ("IScan", "5e-09"), ("IScan", "1e-08")),
        (34118, ZEISS, ("5",), ("10",)),
        (50431, "\nPixelSizeX={0}\nPixelSizeY={0}\n", ("5e-9",), ("10e-9",)),
        (270, OME, ("5",), ("10",)),
        (270, IMAGEJ, ("nm",), ("um",)),
    ],
    ids=["beam", "fei", "zeiss", "tescan", "ome", "imagej"],
)
def test_all_that_says_a_pixel_size_is_compared(
    tag: int,
    text: str,
    same: tuple[str, ...],
    other: tuple[str, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for z, values in enumerate((same, same, other)):
        content = text.format(*values)
        known = {"description": content} if tag == 270 else {"extratags": [(tag, "s", 0, content, True)]}
        if text is IMAGEJ:
            known["resolution"] = (0.2, 0.2)
        write_tiffs(tmp_path, [f"a{z}.tif"], **known)
    size = read_all(tmp_path)[1].voxel_size
    assert size.x == pytest.approx(0.005)
    assert "and those of a2.tif" in caplog.text


# numbers and positions


def test_missing_numbers_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiffs(tmp_path, [f"a{z:03d}.tif" for z in (15, 16, 19, 20, 21, 23)])
    assert read_all(tmp_path)[1].places is None
    assert len(caplog.records) == 1
    assert caplog.records[0].levelno == logging.WARNING
    assert "3 planes are missing (17-18, 22)" in caplog.text
    assert "--fill-gaps makes the missing planes" in caplog.text


def test_gaps_that_are_to_be_filled_are_places(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiffs(tmp_path, [f"a{z}.tif" for z in (10, 20, 40, 50)])
    with caplog.at_level(logging.INFO):
        assert read_all(tmp_path, FILL)[1].places == (0, 1, 3, 4)
    assert [r.levelno for r in caplog.records] == [logging.INFO]
    assert "1 plane is missing (30)" in caplog.text


def test_numbers_without_gaps_are_no_places(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiffs(tmp_path, [f"a{z}.tif" for z in (10, 20, 30)])
    assert read_all(tmp_path, FILL)[1].places is None
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a.tif", "b.tif"], "no number in the names rises"),
        (["01.tif", "1.tif", "2.tif"], "the number 1 is there twice"),
        (["1.tif", "2.tif", "90.tif"], "3 numbers are there and 87 lack"),
        (["20240105090000.tif", "20240105090107.tif", "20240105090209.tif"], "3 numbers are there and 207 lack"),
    ],
)
def test_irregular_numbers_cannot_be_filled(
    names: list[str], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiffs(tmp_path, names)
    assert read_all(tmp_path)[1].places is None
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert f"numbering is irregular ({reason}" in caplog.text
    assert "taking the planes as evenly spaced" in caplog.text
    with pytest.raises(BadVolumeError, match=f"which planes lack: {reason}"):
        SlicesReader(tmp_path, FILL)


@pytest.mark.parametrize("names", [["a2.tif", "b1.tif"], [f"z{z:+d}.tif" for z in range(-4, 4)]])
def test_numbers_that_fall_in_the_order_of_the_names_are_refused(names: list[str], tmp_path: Path) -> None:
    write_tiffs(tmp_path, names)
    with pytest.raises(BadVolumeError, match="slices whose order cannot be told: the number 1 comes after"):
        SlicesReader(tmp_path, InputOptions())


def test_a_single_slice_has_no_numbering(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiffs(tmp_path, ["a_z=5nm.tif"])
    assert read_all(tmp_path, FILL)[1].shape == (1, 10, 12)
    assert caplog.text == ""


def test_even_positions_are_the_plane_distance(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiffs(tmp_path, [f"slice_{z:05d}_z={z * 0.005:.4f}um.tif" for z in range(12, 20)])
    info = read_all(tmp_path)[1]
    assert info.voxel_size == VoxelSize(0.005)
    assert (info.voxel_size_source, info.places) == ("file names", None)
    assert caplog.text == ""


def test_uneven_positions_are_kept_for_who_asks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"slice_{k}_z={z}nm.tif" for k, z in enumerate((100, 104, 110, 114))]
    write_tiffs(tmp_path, names, imagej=True, resolution=(125, 125), metadata={"unit": "um", "spacing": 0.02})
    info = read_all(tmp_path)[1]
    assert info.places is None
    assert info.measured == tuple(Fraction(z, 1000) for z in (100, 104, 110, 114))
    assert caplog.text == ""
    assert info.voxel_size == VoxelSize(pytest.approx(0.014 / 3), 0.008, 0.008)
    assert info.voxel_size_source == "ImageJ metadata and file names"


@pytest.mark.parametrize(
    "names",
    [["a1_z=3nm.tif", "a2_z=2nm.tif", "a3_z=1nm.tif"], ["z=-0.001um.tif", "z=-0.002um.tif", "z=-0.003um.tif"]],
)
def test_positions_that_fall_are_distances(names: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_tiffs(tmp_path, names)
    info = read_all(tmp_path)[1]
    assert (info.voxel_size, info.places) == (VoxelSize(0.001), None)
    assert info.measured == (0, NM, 2 * NM)
    assert caplog.text == ""


@pytest.mark.parametrize("places", [(1, 3, 2), (3, 1, 2), (1, 1, 2), (2, 1, 1)])
def test_positions_without_order_are_left_out(
    places: tuple[int, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tiffs(tmp_path, [f"a{k}_z={z}nm.tif" for k, z in enumerate(places)])
    info = read_all(tmp_path)[1]
    assert (info.voxel_size, info.places, info.measured) == (VoxelSize(), None, None)
    assert len(caplog.records) == 1
    assert "neither rise nor fall from slice to slice" in caplog.text


# writing

DTYPES = ["uint8", "uint16", "int16", "float32", "int8", "uint32", "float64"]


def info_of(stack: Stack, **changes: object) -> VolumeInfo:
    """Of an output, 20 x 6 x 8 nm."""
    size = VoxelSize(0.02, 0.006, 0.008)
    return VolumeInfo(stack.shape, stack.dtype, **({"voxel_size": size, "unit": "nm"} | changes))  # type: ignore[arg-type]


def write(path: Path, stack: Stack, *, png: bool = False, **changes: object) -> None:
    """Write a whole volume, the last planes first."""
    writer = SlicesWriter(path, info_of(stack, **changes), png=png, record={"factor": 4})
    half = len(stack) // 2
    writer.write(half, stack[half:])
    writer.write(0, stack[:half])
    writer.finish()


@pytest.mark.parametrize(("dtype", "png"), [(d, False) for d in DTYPES] + [("uint8", True), ("uint16", True)])
def test_what_is_written_is_read_again(dtype: str, png: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stack = make_stack((11, 10, 12), dtype)
    path = tmp_path / "out"
    write(path, stack, png=png, origin=(0.5, 1.0, 2.0))
    suffix = "png" if png else "tif"
    names = [SIDECAR, *(f"out_{z:05d}.{suffix}" for z in range(11))]
    assert sorted(f.name for f in path.iterdir()) == sorted(names)
    assert [f.name for f in tmp_path.iterdir()] == ["out"]
    planes, info = read_all(path)
    assert np.array_equal(planes, stack)
    assert info == info_of(
        stack,
        origin=(0.5, 1.0, 2.0),
        voxel_size_source=SIDECAR,
        format="png-slices" if png else "tiff-slices",
    )
    about = json.loads((path / SIDECAR).read_text())
    assert about["record"] == {"factor": 4}
    assert about["voxel_size_micrometres"] == [0.02, 0.006, 0.008]
    (path / SIDECAR).unlink()
    planes, info = read_all(path)
    assert np.array_equal(planes, stack)
    assert (info.voxel_size.y, info.voxel_size.x) == pytest.approx((0.006, 0.008), rel=1e-6)
    held = None if png or dtype in ("int8", "uint32", "float64") else pytest.approx(0.02)
    assert info.voxel_size.z == held
    assert caplog.text == ""


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_programs_read_the_tiffs(dtype: str, tmp_path: Path) -> None:
    stack = make_stack((2, 10, 12), dtype)
    write(tmp_path / "out", stack)
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "out_00001.tif"), stack[1])
    if dtype in ("uint8", "uint16", "int16", "float32"):
        with Image.open(tmp_path / "out" / "out_00001.tif") as image:
            assert np.array_equal(np.asarray(image), stack[1])
        with tifffile.TiffFile(tmp_path / "out" / "out_00001.tif") as tif:
            assert tif.imagej_metadata is not None
            assert (tif.imagej_metadata["unit"], tif.imagej_metadata["spacing"]) == ("nm", 20)
            assert tif.pages.first.compression == 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_other_programs_read_the_pngs(dtype: str, tmp_path: Path) -> None:
    stack = make_stack((2, 10, 12), dtype)
    write(tmp_path / "out", stack, png=True)
    with Image.open(tmp_path / "out" / "out_00001.png") as image:
        assert np.array_equal(np.asarray(image), stack[1])
        assert image.info["dpi"] == pytest.approx((25400 / 0.008, 25400 / 0.006))


@pytest.mark.parametrize("png", [False, True])
@pytest.mark.parametrize(
    "size",
    [
        VoxelSize(),
        VoxelSize(0.02),
        VoxelSize(None, 0.006, 0.008),
        VoxelSize(2.0, 1.5, 1.5),
        VoxelSize(1e-4, 1e-4, 1e-4),
    ],
)
@pytest.mark.parametrize("unit", ["", "µm", "Å"])
def test_all_voxel_sizes_survive(png: bool, size: VoxelSize, unit: str, tmp_path: Path) -> None:
    write(tmp_path / "out", make_stack((3, 4, 5)), png=png, voxel_size=size, unit=unit)
    info = read_all(tmp_path / "out")[1]
    assert (info.voxel_size, info.unit) == (size, unit)
    assert info.voxel_size_source == (SIDECAR if size != VoxelSize() else "")
    (tmp_path / "out" / SIDECAR).unlink()
    found = read_all(tmp_path / "out")[1].voxel_size
    if size.x and (not png or 0.001 < size.x < 1):
        assert (found.y, found.x) == pytest.approx((size.y, size.x), rel=1e-6)


def test_planes_of_one_column_are_written(tmp_path: Path) -> None:
    stack = make_stack((2, 9, 1))
    write(tmp_path / "out", stack)
    assert np.array_equal(read_all(tmp_path / "out")[0], stack)


@pytest.mark.parametrize("png", [False, True])
def test_equal_jobs_write_equal_bytes(png: bool, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "out", make_stack((3, 10, 12)), png=png)
    for file in (tmp_path / "a" / "out").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / "out" / file.name).read_bytes()


def test_a_part_of_what_was_written_keeps_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "out"
    write(path, make_stack((24, 10, 12)), origin=(1.0, 0.0, 0.0))
    info = read_all(path / "*[27].tif")[1]
    assert (info.voxel_size.z, info.origin) == (pytest.approx(0.1), (pytest.approx(1.04), 0, 0))
    write(path, make_stack((24, 10, 12)), origin=None)
    assert read_all(path / "*2.tif")[1].origin is None
    assert caplog.text == ""
    info = read_all(path / "out_000[02][01].tif")[1]
    assert info.voxel_size.z == 0.02
    assert "irregular" in caplog.text
    path.rename(tmp_path / "moved")
    assert read_all(tmp_path / "moved")[1].voxel_size_source == SIDECAR


@pytest.mark.parametrize("change", ["names", "numbers", "suffixes", "shape", "dtype"])
def test_what_was_written_about_other_slices_is_left_out(
    change: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "out", make_stack((24, 10, 12)), origin=(1.0, 0.0, 0.0))
    stack = make_stack((3, 10, 14 if change == "shape" else 12), "uint16" if change == "dtype" else "uint8")
    names = {
        "names": "img{}.tif",
        "numbers": "out_0002{}.tif",
        "suffixes": "out_0000{}.tiff",
    }
    name = names.get(change, "out_0000{}.tif")
    write_tiffs(tmp_path / "ch", [name.format(z + 2) for z in range(3)], stack)
    shutil.copy(tmp_path / "out" / SIDECAR, tmp_path / "ch")
    info = read_all(tmp_path / "ch")[1]
    assert (info.voxel_size, info.voxel_size_source, info.origin) == (VoxelSize(), "", None)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    text = f"ch/{SIDECAR} does not fit these slices, as it is about uint8 planes of shape (24, 10, 12)"
    assert text in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"voxel_size_micrometres": [1, 2], "unit": "", "origin_micrometres": null}',
        '{"voxel_size_micrometres": [1, 2, -3], "unit": "", "origin_micrometres": null}',
        '{"voxel_size_micrometres": [1, 2, 3], "unit": "", "origin_micrometres": [1]}',
        '{"voxel_size_micrometres": [1, 2, "x"], "unit": "", "origin_micrometres": null}',
        '{"voxel_size_micrometres": [1, 2, 3], "unit": "", "origin_micrometres": null, "dtype": "uint8"}',
        '{"voxel_size_micrometres": [1, 2, 3], "unit": "", "origin_micrometres": null, "dtype": "", "shape": ["x"]}',
        '{"voxel_size_micrometres": [1, 2, 3], "unit": "", "origin_micrometres": null, "dtype": "", "shape": [2, 3]}',
    ],
)
def test_a_damaged_sidecar_is_named(content: str, tmp_path: Path) -> None:
    write_tiffs(tmp_path, ["1.tif", "2.tif"])
    (tmp_path / SIDECAR).write_text(content)
    with pytest.raises(InputError, match=rf"{SIDECAR} cannot be read .* remove it"):
        SlicesReader(tmp_path, OPTIONS)


def test_a_writer_goes_on_where_another_stopped(tmp_path: Path) -> None:
    stack, path = make_stack((5, 10, 12)), tmp_path / "out"
    writer = SlicesWriter(path, info_of(stack), png=False, record={})
    writer.write(0, stack[:2])
    writer.close()
    (tmp_path / "out.partial" / "out_00002.tif.partial").write_bytes(b"killed")
    assert not path.exists()
    writer = SlicesWriter(path, info_of(stack), png=False, record={}, resume=True)
    with pytest.raises(OutputError, match=r"lacks 3 planes \(2-4\)"):
        writer.finish()
    writer.write(3, stack[3:])
    writer.write(2, stack[2:3])
    (tmp_path / "out.partial" / "out_00001.tif.partial").write_bytes(b"killed")
    writer.finish()
    assert len(list(path.iterdir())) == 6
    assert np.array_equal(read_all(path)[0], stack)


def test_what_is_no_such_partial_folder_is_not_gone_on_in(tmp_path: Path) -> None:
    stack, path = make_stack((3, 10, 12)), tmp_path / "out"
    with pytest.raises(OutputError, match=r"lacks a zinterp\.json; start again with --overwrite"):
        SlicesWriter(path, info_of(stack), png=False, record={}, resume=True)
    SlicesWriter(path, info_of(stack), png=False, record={})
    for other in (stack[:2], stack.astype(np.uint16)):
        with pytest.raises(OutputError, match=r"it is for uint8 of shape \(3, 10, 12\), and the output is"):
            SlicesWriter(path, info_of(other), png=False, record={}, resume=True)
    (tmp_path / "out.partial" / SIDECAR).write_text("{")
    with pytest.raises(OutputError, match=r"lacks a zinterp\.json"):
        SlicesWriter(path, info_of(stack), png=False, record={}, resume=True)


def test_a_new_writer_removes_what_an_old_one_left_and_replaces_its_output(tmp_path: Path) -> None:
    stack, path = make_stack((3, 10, 12)), tmp_path / "out"
    write(path, make_stack((7, 10, 12)))
    SlicesWriter(path, info_of(make_stack((7, 10, 12))), png=False, record={}).write(0, make_stack((7, 10, 12)))
    write(path, stack)
    assert [f.name for f in tmp_path.iterdir()] == ["out"]
    assert np.array_equal(read_all(path)[0], stack)


def test_a_discarded_output_is_gone(tmp_path: Path) -> None:
    writer = SlicesWriter(tmp_path / "out", info_of(make_stack()), png=True, record={})
    writer.write(0, make_stack())
    writer.discard()
    writer.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("png", [False, True])
def test_a_full_disk_is_reported(png: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    writer = SlicesWriter(tmp_path / "out", info_of(make_stack()), png=png, record={})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"cannot write .*out\.partial \(No space left on device\)"):
            writer.write(0, make_stack())
        with pytest.raises(OutputError, match="No space left"):
            SlicesWriter(tmp_path / "other", info_of(make_stack()), png=png, record={})
    writer.write(0, make_stack())
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"cannot complete .*out \(No space left on device\)"):
        writer.finish()


def test_planes_beyond_the_end_are_refused(tmp_path: Path) -> None:
    writer = SlicesWriter(tmp_path / "out", info_of(make_stack()), png=False, record={})
    with pytest.raises(ValueError, match="zip"):
        writer.write(3, make_stack())


def test_numbers_grow_with_the_planes(tmp_path: Path) -> None:
    info = VolumeInfo((100_001, 2, 2), np.dtype("uint8"))
    writer = SlicesWriter(tmp_path / "out", info, png=False, record={})
    writer.write(100_000, np.zeros((1, 2, 2), np.uint8))
    assert (tmp_path / "out.partial" / "out_100000.tif").exists()
