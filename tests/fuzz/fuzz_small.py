"""Tables of planes and records, positions, names of slices, weights: ``python -m tests.fuzz.fuzz_small --minutes 10``.

Each is run for the minutes that are given.
"""

import json
import random
import struct
from functools import cache
from pathlib import Path

from tests.fuzz.engine import Fuzzer, main
from tests.fuzz.mutations import WORDS, damaged, damaged_json, damaged_text
from tests.fuzz.volumes import RECORD, TABLE, made
from zinterp.cli.text import describe_provenance
from zinterp.interpolators.weights import load_network, save_network
from zinterp.io import slice_names
from zinterp.io.record import parse_record
from zinterp.models.mirror_unet import MirrorUNet, MirrorUNetSize
from zinterp.positions import in_micrometres, read_positions, spacing
from zinterp.provenance import Provenance, count_made, read_table

POSITIONS = (
    "0\n20\n40\n61\n",
    "slice,z_nm\n0,0\n1,20.5\n2,41\n",
    "# z [um]\n0,1;2\n0,2;3\n",
    "z\tkeV\n1e-3\t5\n2e-3\t5\n",
)
NAMES = (
    "slice_8.tif slice_9.tif slice_10.tif",
    "run_000_z=0.0000um.png run_001_z=0.0200um.png run_002_z=0.0400um.png",
    "2023-01-02_10-11-12_s1_c0.tif 2023-01-02_10-12-12_s2_c0.tif 2023-01-02_10-13-12_s1_c1.tif",
    "a-3.tif a-2.tif a-1.tif a+0.tif",
)


def make_record(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """A record and its table of planes."""
    record = damaged_json(json.loads(json.dumps(RECORD)), random_numbers)
    if isinstance(record, dict) and random_numbers.random() < 0.5:
        record["planes"] = damaged_text(TABLE, random_numbers).decode("utf-8", "replace")
    path = folder / "record.json"
    path.write_bytes(json.dumps(record).encode())
    if random_numbers.random() < 0.3:
        path.write_bytes(damaged(path.read_bytes(), random_numbers))
    return path


def read_record(path: Path) -> None:
    """Read a record as it is found in files."""
    record = parse_record(path.read_bytes().decode("utf-8", "replace"), path)
    if record is not None:
        provenance = Provenance.of_record(record, "a.tif")
        provenance.dropped(0)
        describe_provenance(provenance, 2)
        count_made(provenance.rows)
    read_table(path.read_text(encoding="latin-1"), "a.tif")


def make_positions(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """A list or table of positions."""
    path = folder / "positions.csv"
    path.write_bytes(damaged_text(random_numbers.choice(POSITIONS), random_numbers))
    return path


def read_all_positions(path: Path) -> None:
    """Read positions and what they amount to."""
    positions = in_micrometres(read_positions(path), 0.02)
    if positions is not None and len(positions.values) > 1 and slice_names.is_rising(positions.values):
        spacing(positions.values, rounded=True)


def make_names(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """Names of slices, a line each."""
    names = random_numbers.choice(NAMES).split()
    for _ in range(random_numbers.choice((1, 2, 3))):
        i = random_numbers.randrange(len(names))
        match random_numbers.randrange(4):
            case 0:
                names.append(names[i])
            case 1:
                names[i] = damaged(names[i].encode(), random_numbers).decode("utf-8", "replace")[:255]
            case 2:
                at = random_numbers.randrange(len(names[i]) + 1)
                names[i] = names[i][:at] + random_numbers.choice((*WORDS, "²", "٣", "9" * 60))[:200] + names[i][at:]
            case 3:
                names = [name.replace("0", str(random_numbers.randrange(10**30))) for name in names]
    path = folder / "names.txt"
    names = [name.replace("/", "").replace("\0", "")[:255] for name in names]  # as file systems have them
    path.write_text("\0".join(names), encoding="utf-8")
    return path


def read_names(path: Path) -> None:
    """Everything that is found in names."""
    names = slice_names.natural_order(path.read_text(encoding="utf-8").split("\0"))
    slice_names.check_one_series(names, path, path.parent)
    numbers = slice_names.numbers(names)
    positions = slice_names.rising_positions(names, path)
    if positions is not None and len(positions) > 1:
        spacing(positions, rounded=True)
    for fill in (False, True):
        slice_names.places(numbers, path, fill=fill)


@cache
def whole_weights() -> bytes:
    """The weights of a small network."""
    return made("a.safetensors", lambda path: save_network(path, MirrorUNet(MirrorUNetSize((4, 8))), {})).read_bytes()


def make_weights(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """Weights of which the header, the network's sizes, or some bytes are damaged."""
    content = whole_weights()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    if random_numbers.random() < 0.8:
        if random_numbers.random() < 0.5:
            sizes = damaged_json(json.loads(header["__metadata__"]["sizes"]), random_numbers)
            header["__metadata__"]["sizes"] = json.dumps(sizes)
        else:
            header = damaged_json(header, random_numbers)
        text = json.dumps(header).encode()
        content = struct.pack("<Q", len(text)) + text + content[8 + length :]
    path = folder / "a.safetensors"
    path.write_bytes(damaged(content, random_numbers, [(0, 8 + length)]) if random_numbers.random() < 0.4 else content)
    return path


RECORDS = Fuzzer("records", make_record, read_record)
POSITION_FILES = Fuzzer("positions", make_positions, read_all_positions)
SLICE_NAMES = Fuzzer("slice_names", make_names, read_names)
WEIGHTS = Fuzzer("weights", make_weights, load_network)

if __name__ == "__main__":
    main(RECORDS, POSITION_FILES, SLICE_NAMES, WEIGHTS)
