"""The loop that all fuzzers share: make an input, read it under limits, keep what comes out that should not.

Each execution is numbered, and the number and the seed alone make its input, so that it can be made again. Executions
run in a process of their own: where that dies, hangs or takes too much memory, the input is kept and the loop goes on.
"""

import argparse
import faulthandler
import itertools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from zinterp.errors import ZinterpError

SECONDS = 20  # an execution may take
GRACE = 20  # seconds more, where it sits in a library that does not listen
ROOM = 3 * 2**30  # bytes of address space beside what a process has at first
RESIDENT = 3 * 2**29  # bytes that an execution may take


@dataclass(frozen=True)
class Fuzzer:
    """What is fuzzed.

    Parameters
    ----------
    name : str
    make : callable
        Makes the input of an execution in a folder, by a generator of random numbers and the folder of real files or
        None, and returns its path.
    read : callable
        Reads it.
    """

    name: str
    make: Callable[[Path, random.Random, Path | None], Path]
    read: Callable[[Path], object]


@dataclass
class Outcome:
    """What came out of a run: executions, how many were refused, and of each kind of fault the first input."""

    executions: int = 0
    refused: int = 0
    seconds: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)


class TookTooLongError(BaseException):
    """An execution took too long; no ``except Exception`` may take it for something else."""


def run_one(fuzzer: Fuzzer, folder: Path, number: int, *, seed: int, corpus: Path | None) -> tuple[bool, str, str]:
    """One execution: whether it was refused, and if it went wrong what kind of fault that is and its traceback."""
    random_numbers = random.Random(f"{fuzzer.name} {seed} {number}")
    path = fuzzer.make(folder, random_numbers, corpus)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fuzzer.read(path)
            refused = False
        except ZinterpError:
            refused = True
        except TookTooLongError:
            return False, f"took more than {SECONDS} s: {place_of(traceback.format_stack())}", traceback.format_exc()
        except Exception as error:  # noqa: BLE001 (which is what is looked for)
            frames = traceback.extract_tb(error.__traceback__)
            own = [f"{Path(f.filename).name}:{f.name}" for f in frames if "/zinterp/" in f.filename]
            kind = f"{type(error).__name__} in {own[-1] if own else '?'} by {frames[-1].name}"
            return False, kind, traceback.format_exc()
    for warning in caught:
        text = f"{Path(warning.filename).name}: {warning.category.__name__}"
        return refused, f"a warning of {text}", f"{warning.filename}:{warning.lineno}: {warning.message}"
    return refused, "", ""


def place_of(stack: list[str]) -> str:
    """The last place of our own in a stack."""
    own = [entry.split(",")[0].rsplit("/", 1)[-1] for entry in stack if "/zinterp/" in entry]
    return own[-1] if own else "?"


def fuzz(
    fuzzer: Fuzzer,
    *,
    corpus: Path | None = None,
    findings: Path | None = None,
    executions: int | None = None,
    minutes: float = 10.0,
    seed: int = 0,
    first: int = 0,
) -> Outcome:
    """Run a fuzzer in processes of its own until executions or minutes are over; inputs with faults go to a folder."""
    outcome, began, number = Outcome(), time.monotonic(), first
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory(prefix="zinterp-fuzz-") as name:
        folder = Path(name)
        while (left := minutes * 60 - (time.monotonic() - began)) > 0 and executions != outcome.executions:
            ours, theirs = context.Pipe(duplex=False)
            todo = None if executions is None else executions - outcome.executions
            worker = context.Process(target=work, args=(theirs, fuzzer, folder, number, todo, left, seed, corpus))
            worker.start()
            theirs.close()
            number = follow(ours, worker, fuzzer, folder, outcome, findings, number)
            worker.join()
        outcome.seconds = time.monotonic() - began
    return outcome


def follow(
    pipe: Any,
    worker: Any,
    fuzzer: Fuzzer,
    folder: Path,
    outcome: Outcome,
    findings: Path | None,
    number: int,
) -> int:
    """Collect what a worker reports until it ends; returns the number of the next execution."""
    while True:
        try:
            report = pipe.recv() if pipe.poll(SECONDS + GRACE) else None
        except EOFError:
            worker.join()
            if worker.exitcode:
                keep(fuzzer, folder, number, f"died with exit code {worker.exitcode}", "", outcome, findings)
                outcome.executions += 1
                number += 1
            return number
        if report is None:
            worker.kill()
            keep(fuzzer, folder, number, f"took more than {SECONDS + GRACE} s", "", outcome, findings)
            outcome.executions += 1
            return number + 1
        done, refused, kind, trace = report
        outcome.executions += 1
        outcome.refused += refused
        if kind:
            keep(fuzzer, folder, done, kind, trace, outcome, findings)
            shutil.rmtree(folder / str(done), ignore_errors=True)
        number = done + 1


def keep(
    fuzzer: Fuzzer, folder: Path, number: int, kind: str, trace: str, outcome: Outcome, findings: Path | None
) -> None:
    """Note a fault, and keep the first input that had it."""
    if kind in outcome.faults:
        return
    outcome.faults[kind] = f"execution {number}\n{trace}"
    if findings is not None:
        target = findings / f"{fuzzer.name}-{number}"
        shutil.rmtree(target, ignore_errors=True)
        if (folder / str(number)).exists():
            shutil.copytree(folder / str(number), target, symlinks=True)
        target.mkdir(parents=True, exist_ok=True)
        (target / "fault.txt").write_text(f"{kind}\n{trace}\n", encoding="utf-8", errors="replace")


def work(
    pipe: Any,
    fuzzer: Fuzzer,
    folder: Path,
    first: int,
    executions: int | None,
    seconds: float,
    seed: int,
    corpus: Path | None,
) -> None:
    """Execute inputs one after the other and report each, until enough are done or memory has grown too much."""
    signal.signal(signal.SIGALRM, too_long)
    faulthandler.disable()  # deaths are counted by who waits for them
    with open("/dev/null", "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    limited, end = False, time.monotonic() + seconds
    for number in itertools.count(first):
        if time.monotonic() > end or number - first == executions:
            return
        place = folder / str(number)
        place.mkdir()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            report = run_one(fuzzer, place, number, seed=seed, corpus=corpus)
        except TookTooLongError:
            report = False, f"took more than {SECONDS} s to make", ""
        signal.setitimer(signal.ITIMER_REAL, 0)
        taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        if taken > RESIDENT and not report[1]:
            report = report[0], f"took {taken / 2**30:.0f} GiB of memory", f"{taken} bytes"
        pipe.send((number, *report))
        if not report[1]:  # else it may be kept
            shutil.rmtree(place, ignore_errors=True)
        if taken > RESIDENT // 4:
            return  # to a process of which the next can be measured
        if not limited:  # once libraries and their threads are there
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, resource.RLIM_INFINITY))
            limited = True


def too_long(number: int, frame: FrameType | None) -> None:
    """Leave an execution, whatever it is in."""
    raise TookTooLongError


def main(*fuzzers: Fuzzer) -> None:
    """Run fuzzers by the options of the command line, and print what came out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", nargs="?", type=Path, help="folder of real files to start from, beside our own")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--executions", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first execution")
    parser.add_argument("--findings", type=Path, help="folder for inputs with faults")
    options = vars(parser.parse_args())
    for fuzzer in fuzzers:
        outcome = fuzz(fuzzer, **options)
        print(  # noqa: T201
            f"{fuzzer.name}: {outcome.executions} executions in {outcome.seconds / 60:.1f} minutes, "
            f"{outcome.refused} refused, {len(outcome.faults)} kinds of fault",
            flush=True,
        )
        for kind, trace in outcome.faults.items():
            print(f"  {kind}: {trace.splitlines()[0]}", flush=True)  # noqa: T201
