"""Files that are made to harm cost one clear line, little memory and little time."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tifffile

from tests.conftest import make_stack
from tests.io.hostile import READ, REFUSED
from zinterp.errors import ZinterpError
from zinterp.io import open_volume

SECONDS = 15  # that any of them may take, on a slow and busy computer
MEGABYTES = 400  # that any of them may take
PROGRAM = """
import json, sys, time, warnings
from pathlib import Path
warnings.simplefilter("error")
import tifffile, zarr, h5py, yaozarrs, PIL.Image
from zinterp.io import open_volume, read_record
def status(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) / 1024
for line in sys.stdin:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    path, start, before, error = line.strip(), time.monotonic(), status("VmRSS"), None
    try:
        with open_volume(path) as reader:
            for z in {0, reader.info.shape[0] - 1}:
                reader.read(range(z, z + 1))
            shown = [str(reader.info.voxel_size), str(read_record(path))]
    except Exception as caught:
        bases = [base.__name__ for base in type(caught).__mro__]
        error, shown = [bases, str(caught)], []
    print(json.dumps([error, shown, time.monotonic() - start, status("VmHWM") - before]), flush=True)
"""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="Linux tells how much memory is taken"
)

Cost = list[Any]


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cost]:
    """What each file led to in a process of its own: the error, what was shown, seconds and megabytes."""
    makers = {**{name: make for name, (make, _) in REFUSED.items()}, **READ}
    paths = {}
    for number, (name, make) in enumerate(makers.items()):
        folder = tmp_path_factory.mktemp(f"hostile{number}")
        paths[name] = make(folder)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input="\n".join(map(str, paths.values())),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = run.stdout.splitlines()
    assert len(lines) == len(paths), run.stderr
    assert "Traceback" not in run.stderr
    return dict(zip(paths, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("name", list(REFUSED))
def test_it_is_refused_in_one_clear_line(name: str, costs: dict[str, Cost]) -> None:
    error, _, seconds, megabytes = costs[name]
    assert error is not None, f"{name} was read"
    bases, message = error
    assert "ZinterpError" in bases, message
    assert re.search(REFUSED[name][1], message), message
    assert "\n" not in message
    assert len(message) < 600
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


@pytest.mark.parametrize("name", list(READ))
def test_it_is_read_and_does_no_harm(name: str, costs: dict[str, Cost]) -> None:
    error, shown, seconds, megabytes = costs[name]
    assert error is None
    assert "root:" not in "".join(shown)  # the secret of /etc/passwd
    assert seconds < SECONDS
    assert megabytes < MEGABYTES


TAGS = {
    256: (0, 1, 777),
    257: (0, 1),
    258: (0, 3, 777),
    259: (0, 777),
    262: (777,),
    277: (0, 777),
    278: (0,),
    339: (0, 777),
}
"""By their codes, with values that no page should have."""


@pytest.mark.parametrize("tiled", [False, True])
def test_absurd_values_of_tags_are_read_or_refused(tiled: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"tile": (16, 16)} if tiled else {}
    whole = tmp_path / "whole.tif"
    tifffile.imwrite(whole, make_stack(), photometric="minisblack", metadata=None, **options)
    with tifffile.TiffFile(whole) as tif:
        places = {tag.code: tag.offset for tag in tif.pages.first.tags}
    tags = TAGS | ({322: (0, 17), 323: (0, 17)} if tiled else {})
    changes = [(code, 8, value) for code, values in tags.items() for value in values]
    changes += [(256, 4, 2), (257, 4, 2)]  # a width or height of two numbers
    folder = tmp_path / "slices"
    folder.mkdir()
    for code, at, value in changes:
        content = bytearray(whole.read_bytes())
        if code not in places:
            continue
        content[places[code] + at : places[code] + at + 2] = value.to_bytes(2, "little")
        for path in (tmp_path / "a.tif", folder / "1.tif"):
            path.write_bytes(content)
        for path in (tmp_path / "a.tif", folder):
            with contextlib.suppress(ZinterpError), open_volume(path) as reader:
                reader.read(range(reader.info.shape[0]))
