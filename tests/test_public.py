"""The public names, and how fast the package can be asked for help."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import zinterp


def test_public_names_are_there_and_documented() -> None:
    for name in zinterp.__all__:
        assert getattr(zinterp, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = zinterp.nothing


def test_the_version_stands_once() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == zinterp.__version__


def test_help_imports_neither_torch_nor_zarr() -> None:
    code = (
        "import sys\nfrom zinterp.cli.main import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'zarr', 'tifffile', 'scipy', 'skimage'} & set(sys.modules)\nassert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
