"""``zinterp verify``, and what ``zinterp info`` says about an output."""

import csv
import json
from pathlib import Path

import numpy as np
import tifffile

from tests.cli.conftest import Run
from tests.conftest import make_stack, write_imagej, write_mrc
from zinterp.io import read_record
from zinterp.pipeline import upsample


def test_an_output_is_proved_in_one_line(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    upsample(tmp_path / "a.tif", factor=4, model="linear", skip="1")
    result = run("verify", "a_x4.tif", "a.tif", "-q")
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "a_x4.tif: 4 of 4 acquired planes are those of a.tif bit for bit; 13 synthesised by linear; not in it: "
        "plane 1 of a.tif\n"
    )
    assert result.stderr == ""
    assert "5 of 5" not in run("verify", "a_x4.tif", "a.tif").stderr
    assert json.loads(run("verify", "a_x4.tif", "a.tif", "--json").stdout) == {
        "output": "a_x4.tif",
        "source": "a.tif",
        "acquired": 4,
        "identical": 4,
        "differing": [],
        "synthesised": {"linear": 13},
        "absent": [1],
        "widened": False,
    }


def test_planes_that_differ_are_named_and_fail(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    planes = tifffile.memmap(upsample(tmp_path / "a.tif", factor=2, model="linear"))
    for k in (2, 4, 8):
        planes[k, 5, 5] ^= 1
    planes.flush()
    result = run("verify", "a_x2.tif", "a.tif", "-q")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        "zinterp: a_x2.tif differs from a.tif in 3 of 5 acquired planes (2, 4, 8), expected them bit for bit: one of "
        "the two was changed or damaged since\n"
    )
    result = run("verify", "a_x2.tif", "a.tif", "-q", "--json")
    assert result.returncode == 1
    assert json.loads(result.stdout)["differing"][1] == {"time": 0, "channel": 0, "plane": 4}
    assert json.loads(result.stdout)["identical"] == 2


def test_planes_that_differ_are_named_by_channel_where_there_are_several(run: Run, tmp_path: Path) -> None:
    stacks = np.stack([make_stack((3, 24, 32), "uint8", seed) for seed in range(2)], axis=1)
    tifffile.imwrite(tmp_path / "a.tif", stacks, imagej=True, metadata={"axes": "ZCYX"})
    planes = tifffile.memmap(upsample(tmp_path / "a.tif", factor=2, model="linear"))
    planes[2:4, 1, 0, 0] ^= 1
    planes[4, :, 0, 0] ^= 1
    planes.flush()
    result = run("verify", "a_x2.tif", "a.tif", "-q")
    assert "3 of 6 acquired planes (time 0 channel 0: 4; time 0 channel 1: 2, 4), expected" in result.stderr


def test_mrc_is_proved_with_its_table(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    upsample(tmp_path / "a.tif", tmp_path / "b.mrc", factor=2, model="linear", planes_table=tmp_path / "p.csv")
    result = run("verify", "b.mrc", "a.tif", "--planes-table", "p.csv", "-q")
    assert result.returncode == 0, result.stderr
    assert "5 of 5 acquired planes are those of a.tif value for value, 8 bit as 16 bit; 4 synth" in result.stdout
    result = run("verify", "b.mrc", "a.tif")
    assert result.returncode == 1
    assert "give --planes-table" in result.stderr
    write_mrc(tmp_path / "c.mrc", make_stack())
    assert "c.mrc does not say how it was made" in run("verify", "c.mrc", "a.tif").stderr
    assert run("verify", "b.mrc").returncode == 2


def test_info_says_how_an_output_was_made(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    upsample(tmp_path / "a.tif", factor=4, model="linear", skip="3")
    result = run("info", "a_x4.tif")
    assert result.returncode == 0, result.stderr
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert "made by     zinterp 0.1.0" in lines
    assert "from        a.tif, 5 planes of 48 x 40 pixels, uint8" in lines
    assert "model       linear" in lines
    assert "planes      4 acquired, 13 synthesised" in lines
    options = next(line for line in lines if line.startswith("options"))
    for piece in ("step 1/4", "dropped planes 3", "intensity range", "tile "):
        assert piece in options
    for piece in ("aligned", "first channel", "positions", "note", "[", "None"):
        assert piece not in options
    assert "made by" not in run("info", "a.tif").stdout
    facts = json.loads(run("info", "a_x4.tif", "--json").stdout)
    assert facts["made"] == read_record(tmp_path / "a_x4.tif")
    assert "made" not in json.loads(run("info", "a.tif", "--json").stdout)


def test_info_prints_the_table_and_nothing_else(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    upsample(tmp_path / "a.tif", factor=2, model="linear", planes_table=tmp_path / "p.csv")
    result = run("info", "a_x2.tif", "--planes")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == (tmp_path / "p.csv").read_text()
    assert len(list(csv.DictReader(result.stdout.splitlines()))) == 9
    result = run("info", "a.tif", "--planes")
    assert (result.returncode, result.stdout) == (1, "")
    assert "zinterp: a.tif holds no table of planes, expected an output of zinterp" in result.stderr
    for arguments in (["a_x2.tif", "a_x2.tif"], ["a_x2.tif", "--json"]):
        assert run("info", "--planes", *arguments).returncode == 2


def test_info_says_so_where_the_planes_are_no_longer_those_of_the_record(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    output = upsample(tmp_path / "a.tif", factor=2, model="linear")
    with tifffile.TiffFile(output) as tif:
        info = (tif.imagej_metadata or {})["Info"]
        planes = tif.asarray()
    tifffile.imwrite(output, planes[:4], imagej=True, metadata={"axes": "ZYX", "Info": info})  # a part, as ImageJ saves
    assert "note        the record is about 9 planes, and the file has 4 now" in run("info", "a_x2.tif").stdout


def test_a_hostile_record_neither_crashes_nor_steers_the_terminal(run: Run, tmp_path: Path) -> None:
    record = {
        "program": "zinterp \x1b[31m",
        "source": "a\n\ud800.tif",
        "source_shape": ["x", {}, None],
        "model": ["\x1b[31m"],
        "x\x1b[31m\n": {"\x1b": "y" * 500, "n": [[1.5, None], [True]]},
        "planes": 'time,channel\n\x1b[31m,"\ud800\n\n',
    }
    text = json.dumps(record)
    tifffile.imwrite(tmp_path / "a.tif", make_stack(), imagej=True, metadata={"axes": "ZYX", "Info": text})
    result = run("info", "a.tif")
    assert result.returncode == 0, result.stderr
    assert "note        a.tif has a planes table" in result.stdout
    assert "\x1b" not in result.stdout + result.stderr
    assert max(map(len, result.stdout.splitlines())) < 300
    assert json.loads(run("info", "a.tif", "--json").stdout)["made"] == record
    result = run("info", "a.tif", "--planes")
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout
    result = run("verify", "a.tif", "a.tif")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
