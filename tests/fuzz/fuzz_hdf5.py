"""HDF5 datasets: ``python -m tests.fuzz.fuzz_hdf5 --minutes 10``. There are no real files: h5py writes all kinds."""

import contextlib
import json
import os
import random
import signal
import time
from functools import cache
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

from tests.conftest import make_stack, write_hdf5
from tests.fuzz.engine import Fuzzer, main
from tests.fuzz.mutations import Span, damaged, files
from tests.fuzz.volumes import made, read_volume
from zinterp.io import hdf5_probe

PATIENCE = 5  # seconds that the library may take
HEAD = 3000  # bytes in which most of what describes a small file lies


def write_ilastik(path: Path) -> None:
    """Five axes with axis tags, and a voxel size of the group."""
    with h5py.File(path, "w") as file:
        group = file.create_group("volume")
        group.attrs["element_size_um"] = (0.02, 0.008, 0.008)
        dataset = group.create_dataset("data", data=make_stack((4, 12, 10)).reshape(2, 2, 12, 10, 1), chunks=True)
        dataset.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "tzyxc"]})


def write_labelled(path: Path) -> None:
    """New style of groups, dimension labels, shuffled and compressed."""
    with h5py.File(path, "w", libver="latest") as file:
        stack = make_stack((4, 12, 10), "uint16")
        dataset = file.create_dataset(
            "raw", data=stack, chunks=(2, 8, 8), compression="gzip", shuffle=True, fletcher32=True
        )
        for dim, label in zip(dataset.dims, "zyx", strict=True):
            dim.label = label


def write_virtual(path: Path) -> None:
    """A virtual dataset over one in the same file."""
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=make_stack((1, 12, 10))[0])
        layout = h5py.VirtualLayout((3, 12, 10), np.uint8)
        for k in range(3):
            layout[k] = h5py.VirtualSource(".", "a", (12, 10))
        file.create_virtual_dataset("v", layout)


def write_linked(path: Path) -> None:
    """External, soft and hard links, and compact storage."""
    with h5py.File(path, "w") as file:
        file["outside"] = h5py.ExternalLink("/etc/passwd", "/x")
        file["soft"] = h5py.SoftLink("/b/c")
        file.create_dataset("b/c", data=make_stack((2, 8, 8), "float32"))
        file["hard"] = file["b"]


WRITERS = (write_ilastik, write_labelled, write_virtual, write_linked)


@cache
def seeds(corpus: Path | None) -> list[bytes]:
    """Whole files."""
    own = [made("a.h5", lambda path: write_hdf5(path, make_stack((4, 20, 18)))), *(made("a.h5", w) for w in WRITERS)]
    return [path.read_bytes() for path in (*own, *files(corpus, ".h5", ".hdf5"))]


def make(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """A damaged HDF5 file, what describes it above all."""
    whole = seeds(corpus)
    content = random_numbers.choice(whole)
    tail = max(len(content) - HEAD, 0)
    places: list[Span] = [(0, 96), (0, HEAD), (0, HEAD), (tail, len(content))]
    path = folder / "a.h5"
    path.write_bytes(damaged(content, random_numbers, places, whole))
    return (
        path if random_numbers.random() < 0.6 else Path(f"{path}:/{random_numbers.choice(('raw', 'v', 'volume/raw'))}")
    )


def probe_in_fork(path: Path) -> None:
    """As ``hdf5_probe.probe``, some hundred times as fast; a process that is forked from another is fine here."""
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            signal.setitimer(signal.ITIMER_REAL, 0)
            hdf5_probe.look(str(path))
        os._exit(0)
    end = time.monotonic() + PATIENCE
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise hdf5_probe.refusal(path, "takes long")
        time.sleep(0.002)
    if ended[1]:
        raise hdf5_probe.refusal(path, f"ends with {ended[1]}")


def read(path: Path) -> None:
    """As every volume, with the faster probe."""
    with mock.patch.object(hdf5_probe, "probe", probe_in_fork):
        read_volume(path)


FUZZER = Fuzzer("hdf5", make, read)

if __name__ == "__main__":
    main(FUZZER)
