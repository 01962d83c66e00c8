"""Ways to damage files: bytes, numbers at known places, JSON and text."""

import json
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

INTERESTING = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31)
INTERESTING += (2**32 - 1, 2**32, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
WORDS = ("", "\0", "é", "µm", "\x1b[31m", "a\nb", "../../etc", "/etc/passwd", "NaN", "-Infinity", "1e400", "x" * 5000)
VALUES: tuple[Any, ...] = (None, True, False, 0, -1, 1.5, 1e300, [], {}, [[]], *WORDS, *INTERESTING)

Span = tuple[int, int]  # where a part of a file begins and ends


def damaged(
    content: bytes, random_numbers: random.Random, spans: Sequence[Span] = (), others: Sequence[bytes] = ()
) -> bytes:
    """Some damage, most of it in the parts that are named."""
    result = bytearray(content)
    for _ in range(random_numbers.choice((1, 1, 1, 2, 3, 5, 8))):
        if not result:
            break
        start, end = random_numbers.choice(spans) if spans and random_numbers.random() < 0.9 else (0, len(result))
        start, end = min(start, len(result) - 1), max(min(end, len(result)), min(start, len(result) - 1) + 1)
        at = random_numbers.randrange(start, end)
        match random_numbers.randrange(10):
            case 0 | 1:
                result[at] ^= 1 << random_numbers.randrange(8)
            case 2:
                result[at] = random_numbers.randrange(256)
            case 3 | 4 | 5:
                put_number(result, at if random_numbers.random() < 0.5 else at - at % 2, random_numbers)
            case 6:
                if random_numbers.random() < 0.3:
                    del result[at:]
            case 7:
                length = random_numbers.randrange(1, 40)
                result[at : at + length] = random_numbers.randbytes(length)
            case 8:
                other = random_numbers.choice(others) if others else content
                length, source = random_numbers.randrange(1, 200), random_numbers.randrange(len(other) or 1)
                result[at : at + length] = other[source : source + length].ljust(length, b"\0")
            case 9:
                piece = random_numbers.choice(WORDS).encode()[:64]
                result[at : at + len(piece)] = piece
    return bytes(result)


def put_number(content: bytearray, at: int, random_numbers: random.Random) -> None:
    """Write a number that is often not thought of, in one of the sizes and byte orders."""
    kind = random_numbers.choice("HIQhiqfd")
    order = random_numbers.choice("<>")
    if kind in "fd":
        value: float = random_numbers.choice(
            (0.0, -1.0, float("nan"), float("inf"), 1e-300 if kind == "d" else 1e-38, 1e38)
        )
    else:
        bits = 8 * struct.calcsize(order + kind)
        value = random_numbers.choice(INTERESTING) + random_numbers.choice((0, 0, -1, 1))
        value %= 1 << bits
        if kind.islower() and value >= 1 << (bits - 1):
            value -= 1 << bits
    packed = struct.pack(order + kind, value)
    content[at : at + len(packed)] = packed


def damaged_json(content: Any, random_numbers: random.Random) -> Any:
    """JSON of which some values are others, lack, or lie elsewhere."""
    for _ in range(random_numbers.choice((1, 1, 2, 3, 5))):
        places = list(walk(content))
        if not places:
            return random_numbers.choice(VALUES)
        holder, key = random_numbers.choice(places)
        match random_numbers.randrange(6):
            case 0:
                del holder[key]
            case 1:
                holder[key] = [holder[key]] * random_numbers.choice((1, 2, 50))
            case 2:
                other, name = random_numbers.choice(places)
                holder[key] = json.loads(json.dumps(other[name]))
            case 3 if isinstance(holder[key], str):
                holder[key] = damaged(holder[key].encode(), random_numbers).decode("utf-8", "replace")
            case 4 if isinstance(holder[key], int):
                holder[key] = random_numbers.choice((-1, 1)) * random_numbers.choice(INTERESTING)
            case _:
                holder[key] = random_numbers.choice(VALUES)
    return content


def walk(content: Any) -> Any:
    """Every place in JSON: what holds it, and its key or number there."""
    if isinstance(content, dict | list):
        items = list(content.items()) if isinstance(content, dict) else list(enumerate(content))
        for key, value in items:
            yield content, key
            yield from walk(value)


def damaged_text(text: str, random_numbers: random.Random) -> bytes:
    """Lines and cells put elsewhere, numbers replaced, and damaged bytes."""
    lines = text.splitlines()
    for _ in range(random_numbers.choice((0, 1, 1, 2, 4))):
        i = random_numbers.randrange(len(lines)) if lines else 0
        match random_numbers.randrange(5):
            case 0 if lines:
                lines[i] = random_numbers.choice(lines)
            case 1:
                lines.insert(i, random_numbers.choice(WORDS))
            case 2 if lines:
                cells = lines[i].split(",")
                number = str(random_numbers.choice(VALUES))
                cells[random_numbers.randrange(len(cells))] = number
                lines[i] = ",".join(cells)
            case 3 if lines:
                lines[i] = lines[i] + random_numbers.choice(("", ",", ";", "\t", '"')) + random_numbers.choice(WORDS)
            case 4 if lines:
                del lines[i]
    encoded = "\n".join(lines).encode(random_numbers.choice(("utf-8", "utf-8", "utf-16", "latin-1")), "replace")
    return damaged(encoded, random_numbers) if random_numbers.random() < 0.5 else encoded


def files(corpus: Path | None, *suffixes: str) -> list[Path]:
    """The real files of some suffixes."""
    return sorted(p for p in corpus.iterdir() if p.name.endswith(suffixes)) if corpus is not None else []
