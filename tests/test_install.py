"""Both kinds of install find the shipped weights, and the wheel carries what it must."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIND = """
from zinterp.interpolators.weights import shipped_weights
for weights in shipped_weights().values():
    weights.verify()
    print(weights.path)
"""


def found_from(folder: Path, python_path: Path) -> Path:
    """Where a python that has zinterp in ``python_path`` finds the default weights."""
    environment = {**os.environ, "PYTHONPATH": str(python_path), "PYTHONSAFEPATH": "1"}
    environment.pop("ZINTERP_WEIGHTS_DIR", None)
    result = subprocess.run(
        [sys.executable, "-c", FIND], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return Path(result.stdout.splitlines()[0])


def test_a_source_tree_or_editable_install_finds_the_weights(tmp_path: Path) -> None:
    assert found_from(tmp_path, ROOT).parent == ROOT / "weights"


def test_a_wheel_carries_weights_types_and_licence_and_finds_them_when_installed(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the build back end is not installed")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*build, "-w", str(tmp_path), str(ROOT)], check=True, capture_output=True)
    wheel = next(tmp_path.glob("zinterp-*.whl"))
    assert wheel.stat().st_size < 40 * 2**20
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
        scripts = next(n for n in names if n.endswith("entry_points.txt"))
        assert b"zinterp = zinterp.cli.main:main" in archive.read(scripts)
    assert "zinterp/_weights/index.toml" in names
    assert "zinterp/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    assert not any(name.startswith("tests") for name in names)
    assert found_from(tmp_path, tmp_path / "site").parent == tmp_path / "site" / "zinterp" / "_weights"
