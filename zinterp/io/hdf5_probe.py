"""Opening an HDF5 file in a process of its own first: damaged ones may crash the HDF5 library, or hold it."""

import os
import subprocess
import sys
from pathlib import Path

from zinterp.errors import InputError
from zinterp.io.limits import LARGE
from zinterp.io.selection import InputOptions

PATIENCE = 30  # seconds
PROGRAM = "import sys; from zinterp.io.hdf5_probe import look; look(sys.argv[1])"
HARMLESS = (0, 1)  # what Python itself exits with, also where it refused the file: which is then done again, with words


def probe(path: Path) -> None:
    """Refuse a file that crashes the process in which it is opened, or takes for ever to open.

    Raises
    ------
    InputError
        If it does.
    """
    if not sys.executable:  # where Python is part of another program
        return
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)}
    command = [sys.executable, "-c", PROGRAM, str(path)]
    try:
        code = subprocess.run(
            command,
            env=known,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise refusal(path, f"takes more than {PATIENCE} s to open") from error
    except OSError:
        return  # no process can be started here, which says nothing about the file
    if code not in HARMLESS:
        raise refusal(path, f"makes the HDF5 library crash (exit code {code})")


def refusal(path: Path, what: str) -> InputError:
    """The error about a file that cannot be opened safely."""
    return InputError(f"{path} {what}, expected an HDF5 file: it is damaged; copy it again")


def look(path: str) -> None:
    """Open a file and read its first and last planes, where these are not too large; whatever comes of it."""
    from zinterp.io.hdf5 import Hdf5Reader

    with Hdf5Reader(Path(path), InputOptions()) as reader:
        depth = reader.info.shape[0]
        for stack in {0, reader.info.stacks - 1} if reader.info.plane_bytes <= LARGE else ():
            for z in {0, depth - 1}:
                reader.read(range(z, z + 1), stack)
