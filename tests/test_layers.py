"""Imports go down the layers only, absolutely, and third-party libraries have one home each."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import zinterp

ROOT = Path(zinterp.__file__).parent
LAYERS = {
    "errors": -1,  # which all raise
    "allocator": 0,
    "threads": 0,
    "volume": 0,
    "io": 1,
    "positions": 0.5,
    "drift": 1,
    "models": 1,
    "plan": 1,
    "tiling": 1,
    "documents": 2,
    "duplicates": 1,
    "breaks": 0.5,
    "displacements": 1.5,
    "defects": 2,
    "plane_faults": 2.2,
    "stripes": 1,
    "structure": 1.5,
    "inspection": 2.5,
    "glance": 2.5,
    "normalize": 1,
    "phantom": 1,
    "acquisition": 1.5,
    "interpolators": 2,
    "journal": 3,
    "guard": 2,
    "executors": 3,
    "options": 2.6,
    "geometry": 3,
    "preflight": 3,
    "job": 4,
    "sharpening": 1,
    "grain": 1,
    "pulsing": 1,
    "finishing": 2.3,
    "choice": 4,
    "compute": 4,
    "outcome": 4,
    "outputs": 4,
    "planes_table": 4,
    "run": 4,
    "slabs": 4,
    "recipe": 4,
    "shares": 4,
    "completion": 5,
    "pipeline": 4,
    "estimate": 4,
    "provenance": 4,
    "finished": 5,
    "batch": 5,
    "verify": 5,
    "watch": 5,
    "watch_folder": 5,
    "watch_output": 5,
    "watch_plan": 5,
    "watch_slices": 5,
    "watch_status": 5,
    "training": 5,
    "evaluation": 5,
    "cli": 6,
}
HOMES = {
    "jinja2": ("evaluation/report/",),
    "matplotlib": ("evaluation/report/",),
    "tifffile": ("io/tiff", "io/vendors.py", "io/slices"),
    "mrcfile": ("io/mrc.py",),
    "h5py": ("io/hdf5",),
    "natsort": ("io/slice_names.py",),
    "zarr": ("io/ngff",),
    "yaozarrs": ("io/ngff",),
    "torch": ("models/", "interpolators/network.py", "interpolators/weights.py", "training/"),
    "safetensors": ("interpolators/weights.py",),
    "click": ("cli/",),
    "rich": ("cli/",),
    "PIL": ("evaluation/", "io/slices", "io/tiff_pages.py"),
    "skimage": ("evaluation/", "drift.py"),
    "dask": ("executors/dask.py",),
    "distributed": ("executors/dask.py",),
    "psutil": ("job.py", "io/limits.py"),
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Names that a file imports, and the level of relative imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level


def part(path: Path) -> str:
    """The module or package of a file right under the root."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_go_down_and_are_absolute(path: Path) -> None:
    own = part(path)
    for name, level in imports(path):
        assert level == 0, f"relative import of {name}"
        pieces = name.split(".")
        if pieces[0] != "zinterp" or own in ("__init__", "__main__") or len(pieces) == 1:
            continue
        other = pieces[1]
        if other != own:
            lower = LAYERS[other] < LAYERS[own] or (LAYERS[own] in (3, 4, 5) and LAYERS[other] == LAYERS[own])
            assert lower, f"{own} (layer {LAYERS[own]}) imports {other} (layer {LAYERS[other]})"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_libraries_stay_at_home(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    for name, _ in imports(path):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or any(relative.startswith(home) for home in homes), f"{name} in {relative}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def test_every_part_has_a_layer() -> None:
    parts = {part(path) for path in FILES} - {"__init__", "__main__"}
    assert parts == set(LAYERS)
