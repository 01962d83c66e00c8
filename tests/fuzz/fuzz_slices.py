"""Folders of slices, TIFF and PNG: ``python -m tests.fuzz.fuzz_slices FOLDER --minutes 10``."""

import io
import json
import random
import struct
import zlib
from functools import cache
from pathlib import Path

from PIL import Image

from tests.conftest import make_stack, write_png_slices, write_tiff_slices
from tests.fuzz import fuzz_tiff
from tests.fuzz.engine import Fuzzer, main
from tests.fuzz.mutations import Span, damaged, damaged_json
from tests.fuzz.volumes import made, read_volume, written

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SMALL = (3, 16, 18)


@cache
def seeds() -> list[dict[str, bytes]]:
    """Folders: the content of each file by its name."""
    folders = [
        made("t", lambda path: write_tiff_slices(path, make_stack(SMALL))),
        made("p", lambda path: write_png_slices(path, make_stack(SMALL))),
        made("q", lambda path: write_png_slices(path, make_stack(SMALL, "uint16"))),
        written("tiff-slices"),
        written("png-slices"),
    ]
    return [{f.name: f.read_bytes() for f in folder.iterdir()} for folder in folders]


@cache
def other_pngs() -> list[bytes]:
    """Kinds of PNG that are refused."""
    found = []
    for mode in ("1", "P", "RGB", "RGBA", "LA"):
        file = io.BytesIO()
        Image.new(mode, (18, 16)).save(file, "PNG")
        found.append(file.getvalue())
    return found


@cache
def real_slices(corpus: Path | None) -> list[tuple[bytes, list[Span]]]:
    """Real TIFF files, and where their tags are."""
    return fuzz_tiff.seeds(corpus)


def png_spans(content: bytes) -> list[Span]:
    """Where the parts of a PNG file lie."""
    spans, at = [(0, 8)], 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        spans += [(at, at + 8), (at + 8, at + 8 + min(length, 64))]
        at += 12 + length
    return spans


def mended(content: bytes) -> bytes:
    """A PNG whose check sums are right, so that what is damaged in it is read."""
    result, at = bytearray(content), 8
    while at + 12 <= len(result):
        length = int.from_bytes(result[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(result):
            break
        result[end : end + 4] = struct.pack(">I", zlib.crc32(result[at + 4 : end]))
        at = end + 4
    return bytes(result)


def damaged_png(content: bytes, random_numbers: random.Random) -> bytes:
    """A damaged PNG, most often with check sums that are right."""
    result = damaged(content, random_numbers, png_spans(content), other_pngs())
    return mended(result) if random_numbers.random() < 0.8 else result


def make(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """A folder in which a slice or two are damaged, or all in the same way."""
    store = dict(random_numbers.choice(seeds()))
    slices = sorted(name for name in store if not name.endswith(".json"))
    if slices[0].endswith(".tif") and random_numbers.random() < 0.5:
        content, places = random_numbers.choice(real_slices(corpus))
        real = damaged(content, random_numbers, places)
        store |= dict.fromkeys(slices[: random_numbers.choice((1, 2))], real)
        store = {name: store[name] for name in slices[:2]}
    else:
        how = random_numbers.randrange(2**32)
        same = random_numbers.random() < 0.5
        for name in slices if same else random_numbers.sample(slices, 1):
            own = random.Random(how)
            if name.endswith(".png"):
                base = own.choice(other_pngs()) if own.random() < 0.05 else store[name]
                store[name] = damaged_png(base, own)
            else:
                store[name] = damaged(store[name], own, [(0, 300)])
    for name in [name for name in store if name.endswith(".json") and random_numbers.random() < 0.5]:
        store[name] = json.dumps(damaged_json(json.loads(store[name]), random_numbers)).encode()
        if random_numbers.random() < 0.3:
            store[name] = damaged(store[name], random_numbers)
    path = folder / "a"
    path.mkdir()
    for name, content in store.items():
        (path / name).write_bytes(content)
    if random_numbers.random() < 0.02:
        (path / slices[0]).unlink(missing_ok=True)
        (path / slices[0]).symlink_to(random_numbers.choice((path, Path("/dev/zero"), Path("/etc/passwd"), Path("x"))))
    return path


FUZZER = Fuzzer("slices", make, read_volume)

if __name__ == "__main__":
    main(FUZZER)
