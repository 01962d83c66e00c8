"""Each fuzzer for some executions, always the same; ``python -m tests.fuzz.fuzz_tiff FOLDER`` goes on for longer."""

import os
from pathlib import Path

import pytest

from tests.fuzz import fuzz_hdf5, fuzz_mrc, fuzz_ngff, fuzz_slices, fuzz_small, fuzz_tiff
from tests.fuzz.engine import Fuzzer, fuzz

FUZZERS = {
    **dict.fromkeys((fuzz_tiff.FUZZER, fuzz_slices.FUZZER, fuzz_mrc.FUZZER), 300),
    **dict.fromkeys((fuzz_hdf5.FUZZER, fuzz_ngff.FUZZER), 60),
    **dict.fromkeys((fuzz_small.RECORDS, fuzz_small.POSITION_FILES, fuzz_small.SLICE_NAMES, fuzz_small.WEIGHTS), 150),
}
"""With executions, fewer where each takes longer."""


@pytest.mark.parametrize("fuzzer", FUZZERS, ids=lambda fuzzer: fuzzer.name)
def test_nothing_but_our_errors_comes_out(fuzzer: Fuzzer, tmp_path: Path) -> None:
    outcome = fuzz(fuzzer, executions=FUZZERS[fuzzer], minutes=3, findings=tmp_path)
    assert outcome.faults == {}
    assert outcome.executions == FUZZERS[fuzzer]
    assert 0 < outcome.refused < outcome.executions


def test_a_fault_is_found_and_its_input_kept(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        kind = sum(path.read_bytes()[:1024]) % 5
        if kind == 1:
            raise KeyError("a fault")
        if kind == 2:
            os.abort()

    broken = Fuzzer("broken", fuzz_mrc.make, fail)
    outcome = fuzz(broken, executions=60, minutes=3, findings=tmp_path)
    assert outcome.executions == 60
    assert {fault.split(" ")[0] for fault in outcome.faults} == {"KeyError", "died"}
    for folder in tmp_path.iterdir():
        assert sum((folder / "a.mrc").read_bytes()[:1024]) % 5 in (1, 2)
        assert (folder / "fault.txt").exists()
