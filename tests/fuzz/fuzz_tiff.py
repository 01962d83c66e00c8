"""TIFF stacks and all that is in their tags: ``python -m tests.fuzz.fuzz_tiff FOLDER --minutes 10``."""

import random
from functools import cache
from pathlib import Path
from typing import Any

import tifffile

from tests import conftest
from tests.fuzz.engine import Fuzzer, main
from tests.fuzz.mutations import Span, damaged, files
from tests.fuzz.volumes import made, read_volume, written

PAGES = 3  # of which the tags are damaged
LONGEST_TAG = 20000  # bytes
SMALL = (4, 24, 20)


def write_imagej(path: Path) -> None:
    """ImageJ, with channels and labels."""
    stack = conftest.make_stack((24, 16, 12), "uint16").reshape(2, 4, 3, 16, 12)
    metadata = {
        "axes": "TZCYX",
        "spacing": 20.0,
        "unit": "nm",
        "Info": "some=1",
        "Labels": ["a"] * 24,
        "finterval": 2.0,
    }
    tifffile.imwrite(path, stack, imagej=True, byteorder=">", resolution=(0.1, 0.1), metadata=metadata)


def write_shaped(path: Path) -> None:
    """As tifffile writes it."""
    tifffile.imwrite(path, conftest.make_stack(SMALL), photometric="minisblack", compression="zstd")


def write_each(write: Any) -> Any:
    """A writer of the tests, for a small stack."""
    return lambda path: write(path, conftest.make_stack(SMALL))


WRITERS = {
    "plain": write_each(conftest.write_plain_tiff),
    "ome": write_each(conftest.write_ome),
    "lzw": write_each(conftest.write_compressed),
    "big": write_each(conftest.write_bigtiff),
    "imagej": write_imagej,
    "shaped": write_shaped,
}


@cache
def seeds(corpus: Path | None) -> list[tuple[bytes, list[Span]]]:
    """Whole files, and where in them their tags are."""
    paths = [made(f"{name}.tif", write) for name, write in WRITERS.items()] + [written("tiff"), written("ome-tiff")]
    return [(path.read_bytes(), spans(path)) for path in (*paths, *files(corpus, ".tif"))]


def spans(path: Path) -> list[Span]:
    """Where the entries and values of tags lie, the entries as often as the values."""
    found: list[Span] = [(0, 16)]
    with tifffile.TiffFile(path) as tif:
        for page in list(tif.pages)[:PAGES]:
            tags: Any = list(page.tags) if isinstance(page, tifffile.TiffPage) else []
            found += [(tag.offset, tag.offset + 12) for tag in tags]
            found += [(tag.valueoffset, tag.valueoffset + min(tag.valuebytecount, LONGEST_TAG)) for tag in tags]
            found += [(page.offset, page.offset + 2)] if tags else []
    return found


def make(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """A damaged TIFF file."""
    whole = seeds(corpus)
    content, places = random_numbers.choice(whole)
    path = folder / random_numbers.choice(("a.tif", "a.ome.tif"))
    path.write_bytes(damaged(content, random_numbers, places, [other for other, _ in whole]))
    return path


FUZZER = Fuzzer("tiff", make, read_volume)

if __name__ == "__main__":
    main(FUZZER)
