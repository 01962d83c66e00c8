"""MRC volumes: ``python -m tests.fuzz.fuzz_mrc FOLDER --minutes 10``."""

import random
from functools import cache
from pathlib import Path

from tests.conftest import make_stack, write_mrc
from tests.fuzz.engine import Fuzzer, main
from tests.fuzz.mutations import INTERESTING, Span, damaged, files
from tests.fuzz.volumes import made, read_volume, written

FIELDS: list[Span] = [(4 * i, 4 * i + 4) for i in (*range(30), *range(37, 57))]


@cache
def seeds(corpus: Path | None) -> list[bytes]:
    """Whole files."""
    own = [written("mrc"), made("a.mrc", lambda path: write_mrc(path, make_stack((4, 10, 12))))]
    return [path.read_bytes() for path in (*own, *files(corpus, ".mrc", ".map"))]


def make(folder: Path, random_numbers: random.Random, corpus: Path | None) -> Path:
    """A damaged MRC file, its header above all."""
    content = random_numbers.choice(seeds(corpus))
    result = bytearray(damaged(content, random_numbers, [*FIELDS, (0, 1024)]))
    for _ in range(random_numbers.choice((0, 0, 1, 2, 3))):  # whole fields, as the header counts them
        number = random_numbers.choice(INTERESTING) * random_numbers.choice((1, 1, -1)) % 2**32
        at = 4 * random_numbers.randrange(30)
        result[at : at + 4] = number.to_bytes(4, random_numbers.choice(("little", "big")))
    path = folder / "a.mrc"
    path.write_bytes(result)
    return path


FUZZER = Fuzzer("mrc", make, read_volume)

if __name__ == "__main__":
    main(FUZZER)
