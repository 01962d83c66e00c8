"""What a file may ask for: memory and time for what it declares, against what it holds and what the computer has."""

import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from zinterp.errors import BadVolumeError, InputError
from zinterp.volume import Planes, readable

MOST_PLANES = 10**6  # of a stack
MOST_STACKED = 10**7  # planes of all stacks
COPIES = 3  # of a plane, while it is read
LARGE = 2**28  # bytes that are decompressed at a time: fewer do no harm, whatever they come from
DENSEST = 250  # times: planes that are large and not empty compress by less, all in all
VAST = 2**30  # bytes of a volume: smaller ones may be empty
SPARSEST = 10**4  # times what is stored: volumes are less empty, all in all
LONGEST_METADATA = 2**26  # bytes of a file: no metadata come near it

DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, MemoryError),
    *(OSError, RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error, lzma.LZMAError),
)
"""What libraries raise where a file is not as they think."""


def check_size(
    path: object, shape: tuple[int, int, int], dtype: np.dtype[Any], *, stacks: int = 1, beside: int = 0
) -> None:
    """Refuse a volume of more planes than there can be, or one of whose planes does not fit into memory.

    Parameters
    ----------
    path : object
        For the error.
    shape : tuple of int
        (Z, Y, X) of each stack as they are stored.
    dtype : numpy.dtype
    stacks : int
        Channels times times.
    beside : int
        Bytes that are held while a plane is read, beside the plane.

    Raises
    ------
    BadVolumeError
        If it is too large.
    """
    depth, height, width = shape
    if depth > MOST_PLANES or stacks * depth > MOST_STACKED:
        raise BadVolumeError(
            f"{path} declares {stacks * depth} planes, expected at most {MOST_PLANES} a stack and {MOST_STACKED} in "
            "all: it is damaged, or no stack of planes"
        )
    needed, free = COPIES * height * width * dtype.itemsize + beside, psutil.virtual_memory().available
    if needed > free:
        raise BadVolumeError(
            f"{path} declares planes of {width} x {height} pixels {dtype.name}, which take {readable(needed)} of "
            f"memory to read, and {readable(free)} are free: it is damaged, or needs a computer with more memory"
        )


def check_density(path: object, declared: int, stored: int, *, at_a_time: int) -> None:
    """Refuse what would be decompressed to far more than images ever are.

    Parameters
    ----------
    path : object
        For the error.
    declared, stored : int
        Bytes of all that is read, decompressed and as they lie in the file.
    at_a_time : int
        Bytes that are decompressed together: a plane, or a chunk.

    Raises
    ------
    BadVolumeError
        If so many are decompressed together that it may be an attack.
    """
    if at_a_time > LARGE and declared > DENSEST * stored:
        raise BadVolumeError(
            f"{path} declares {readable(declared)} of pixels, {readable(at_a_time)} at a time, and stores "
            f"{readable(stored)}, expected at most {DENSEST} times what is stored: it is damaged or made to fill the "
            "memory; if it is real, save it uncompressed"
        )


def check_emptiness(path: object, declared: int, stored: int) -> None:
    """Refuse a vast volume of which next to nothing is stored; both in bytes."""
    if declared > VAST and declared > SPARSEST * stored:
        raise BadVolumeError(
            f"{path} declares {readable(declared)} of pixels and stores {readable(stored)}, expected at least a "
            f"{SPARSEST}th of it: it is empty or damaged; copy it again"
        )


def room_for(path: object, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Planes:
    """An empty array for planes that are read; an InputError if there is no memory for it."""
    try:
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise InputError(
            f"{path}: there is no memory for {shape[0]} planes of {shape[2]} x {shape[1]} pixels: give a smaller "
            "--max-memory, or close other programs"
        ) from error


def check_regular(path: Path) -> None:
    """Refuse what is there and neither file nor folder: to open a pipe or device might take for ever."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is a pipe or device, expected a file or folder: copy its content to a file first")
