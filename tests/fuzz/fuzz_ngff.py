"""OME-Zarr and Zarr arrays: ``python -m tests.fuzz.fuzz_ngff FOLDER --minutes 10``."""

import json
import random
import shutil
from functools import cache
from pathlib import Path

import zarr

from tests import conftest
from tests.fuzz.engine import Fuzzer, main
from tests.fuzz.mutations import damaged, damaged_json, files
from tests.fuzz.volumes import made, read_volume, written

METADATA = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
SMALL = (4, 20, 18)


def write_codecs(path: Path) -> None:
    """Zarr 3 with other codecs."""
    array = zarr.create_array(
        path,
        shape=SMALL,
        dtype="uint16",
        chunks=(2, 10, 9),
        filters=[zarr.codecs.TransposeCodec(order=(2, 1, 0))],
        compressors=[zarr.codecs.BloscCodec(), zarr.codecs.GzipCodec()],
        dimension_names=("z", "y", "x"),
    )
    array[:] = conftest.make_stack(SMALL, "uint16")


def write_gzip_2(path: Path) -> None:
    """Zarr 2 with gzip."""
    import numcodecs

    array = zarr.create_array(
        path, shape=SMALL, dtype=">u2", chunks=(2, 10, 9), zarr_format=2, compressors=numcodecs.GZip()
    )
    array[:] = conftest.make_stack(SMALL, "uint16")


def write_collection(path: Path) -> None:
    """A collection with one image."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.attrs["bioformats2raw.layout"] = 3
    conftest.write_zarr_04(path / "0", conftest.make_stack(SMALL))


WRITERS = {
    "4.zarr": lambda path: conftest.write_zarr_04(path, conftest.make_stack(SMALL)),
    "5.zarr": lambda path: conftest.write_zarr_05(path, conftest.make_stack(SMALL)),
    "array.zarr": lambda path: conftest.write_zarr_array(path, conftest.make_stack(SMALL)),
    "codecs.zarr": write_codecs,
    "gzip.zarr": write_gzip_2,
    "collection.zarr": write_collection,
}


@cache
def seeds(corpus: Path | None) -> list[dict[str, bytes]]:
    """Whole stores: the content of each file by its name."""
    own = [*(made(name, write) for name, write in WRITERS.items()), written("ome-zarr")]
    stores = [*own, *files(corpus, ".zarr")]
    return [{str(f.relative_to(s)): f.read_bytes() for f in s.rglob("*") if f.is_file()} for s in stores]


def make(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """A store of which one file or two are damaged or lack, or a folder is a link."""
    store = dict(random_numbers.choice(seeds(corpus)))
    metadata = [name for name in store if Path(name).name in METADATA]
    for _ in range(random_numbers.choice((1, 1, 1, 2))):
        name = random_numbers.choice(metadata if random_numbers.random() < 0.75 else list(store))
        if name in metadata and random_numbers.random() < 0.85:
            try:
                store[name] = json.dumps(damaged_json(json.loads(store[name]), random_numbers)).encode()
            except (ValueError, RecursionError):
                store[name] = damaged(store[name], random_numbers)
        else:
            store[name] = damaged(store[name], random_numbers)
    if random_numbers.random() < 0.03:
        del store[random_numbers.choice(list(store))]
    path = folder / "a.zarr"
    for name, content in store.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    if random_numbers.random() < 0.02 and (inner := [p for p in path.rglob("*") if p.is_dir()]):
        chosen = random_numbers.choice(inner)
        shutil.rmtree(chosen)
        chosen.symlink_to(random_numbers.choice((path, path.parent, Path("/etc"), chosen)))
    return path


FUZZER = Fuzzer("ngff", make, read_volume)

if __name__ == "__main__":
    main(FUZZER)
