"""The examples run and do what they say."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.conftest import make_stack, write_imagej
from zinterp.io import open_volume

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_array_in_memory() -> None:
    spec = importlib.util.spec_from_file_location("array_in_memory", EXAMPLES / "array_in_memory.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scores = module.main()
    assert scores["fast"] > max(scores["cubic"], scores["linear"])


def test_upsample_folder_goes_on_after_a_failure_and_leaves_out_what_is_there(tmp_path: Path) -> None:
    for name in ("a", "c"):
        write_imagej(tmp_path / f"{name}.tif", make_stack())
    (tmp_path / "b.tif").write_text("not a stack")
    script = tmp_path / "bin" / "zinterp"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m zinterp "$@"\n')
    script.chmod(0o755)
    environment = {**os.environ, "PATH": f"{script.parent}:{os.environ['PATH']}", "ZINTERP_UPSAMPLE_MODEL": "cubic"}
    command = ["sh", str(EXAMPLES / "upsample_folder.sh"), str(tmp_path), str(tmp_path / "out"), "3"]
    first = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert first.returncode == 1
    assert "b.tif cannot be read as TIFF" in first.stderr
    made = sorted((tmp_path / "out").glob("*.tif"))
    assert [p.name for p in made] == ["a_x3.tif", "c_x3.tif"]
    times = [p.stat().st_mtime_ns for p in made]
    with open_volume(made[0]) as reader:
        assert np.array_equal(reader.read(range(13))[::3], make_stack())
    subprocess.run(command, env=environment, capture_output=True, text=True)
    assert [p.stat().st_mtime_ns for p in made] == times
