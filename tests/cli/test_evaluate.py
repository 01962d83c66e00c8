"""``zinterp evaluate``, and ``upsample --model auto``, as a shell sees them."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.conftest import make_stack, write_imagej, write_tiff_slices
from zinterp.volume import ordinal


@pytest.fixture
def source(tmp_path: Path) -> str:
    write_imagej(tmp_path / "a.tif", make_stack((9, 40, 48)))
    return "a.tif"


def test_a_table_and_a_verdict_are_printed(run: Run, source: str) -> None:
    result = run("evaluate", source, "--models", "cubic+sharpen", "--planes", "5", "--size", "32")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "a.tif"
    assert lines[1].startswith(
        "  looked at   planes 2-6, rows 4-35, columns 8-39; 2 of 5 planes hidden, every 2nd kept"
    )
    assert lines[2].split()[:2] == ["PSNR", "dB"]
    assert sorted(line.split()[0] for line in lines[3:6]) == ["cubic", "cubic+sharpen", "linear"]
    assert all("nm" in line for line in lines[3:6])
    assert lines[6].startswith("  verdict     ")
    assert "twice as wide" in lines[7]
    assert "\x1b" not in result.stdout + result.stderr


def test_json_and_a_table_of_planes(run: Run, source: str, tmp_path: Path) -> None:
    write_tiff_slices(tmp_path / "slices", make_stack((9, 40, 48)))
    result = run("evaluate", source, "slices", "--models", "linear", "--json", "--factor", "4", "--quiet")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    one, other = map(json.loads, result.stdout.splitlines())
    assert (one["input"], other["input"]) == ("a.tif", "slices")
    assert one["models"][0]["psnr_db"] == other["models"][0]["psnr_db"]
    assert run("evaluate", source, "--models", "linear", "--csv", "planes.csv").returncode == 0
    with (tmp_path / "planes.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 4
    refused = run("evaluate", source, "--models", "linear", "--csv", "planes.csv")
    assert refused.returncode == 1
    assert "planes.csv exists already: give --overwrite" in refused.stderr
    assert run("evaluate", source, "--models", "linear", "--csv", "planes.csv", "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a.tif", "--factor", "1"], 1, "the factor is 1, expected at least 2"),
        (["a.tif", "--factor", "20"], 1, "there are 9 planes to look at, expected at least 21"),
        (["a.tif", "--models", "cubic+grain"], 1, "has 'grain' behind it"),
        (["a.tif", "--csv", "b.tif"], 1, "is named like a stack"),
        (["a.tif", "--csv", "none/x.csv"], 1, "expected a file in a folder that exists"),
        (["a.tif", "--report", "a.tif"], 1, "is named like a stack"),
        (["a.tif", "a.tif", "--report", "x.html"], 2, "--report names a file for one stack"),
        (["a.tif", "a.tif", "--csv", "x.csv"], 2, "--csv names a file for one stack"),
        (["none.tif"], 1, "none.tif"),
        ([], 2, "STACK"),
    ],
)
def test_bad_requests_cost_one_line(run: Run, source: str, arguments: list[str], code: int, message: str) -> None:
    result = run("evaluate", *arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_auto_says_what_it_chose(run: Run, source: str, tmp_path: Path) -> None:
    result = run("upsample", source, "--factor", "2", "--model", "auto", "--device", "cpu", "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["choice"]["planes"] == 4
    assert len(said["choice"]["psnr_db"]) == 2
    ours, cubic = said["choice"]["psnr_db"].values()
    assert (said["model"] == "cubic") == (ours <= cubic + 0.05)
    assert "model auto:" in result.stderr
    assert "choice" in run("info", "a_x2.tif").stdout
    dry = run("upsample", source, "-f", "2", "-m", "auto", "--device", "cpu", "-o", "b.tif", "--dry-run")
    assert f"model       {said['model']}" in dry.stdout
    refused = run("upsample", source, "-f", "2", "-m", "auto", "--restore", "-o", "b.tif")
    assert refused.returncode == 1
    assert "got model auto with restoration" in refused.stderr


def test_numbers_are_counted_as_they_are_said() -> None:
    assert [ordinal(n) for n in (2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 112)] == [
        *("2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "30th", "112th")
    ]


def test_a_report_has_what_was_found_in_the_stack(run: Run, source: str, tmp_path: Path) -> None:
    assert run("evaluate", source, "--models", "linear", "--report", "page.html").returncode == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "nothing wrong" in page
    assert "thinner than about 20 nm" in page
    assert str(tmp_path) not in page
    refused = run("evaluate", source, "--models", "linear", "--report", "page.html")
    assert refused.returncode == 1
    assert "page.html exists already: give --overwrite" in refused.stderr


def test_a_job_writes_the_same_page(run: Run, source: str, tmp_path: Path) -> None:
    result = run("upsample", source, "-f", "2", "-m", "cubic", "--report", "page.html", "--voxel-size", "30x8x8nm")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "a_x2.tif\n"
    assert "wrote page.html" in result.stderr
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "thinner than about 30 nm" in page
    assert 'id="output"' in page
    assert 'id="models"' in page
    refused = run("upsample", source, "-f", "4", "-m", "cubic", "--report", "page.html")
    assert refused.returncode == 1
    assert "page.html exists already" in refused.stderr
    assert not (tmp_path / "a_x4.tif").exists()
    odd = run("upsample", source, "-f", "4", "-m", "cubic", "--report", "page.txt")
    assert odd.returncode == 2
    assert "put --report after the stack" in odd.stderr
    assert run("upsample", source, source, "-f", "4", "--output-dir", ".", "--report", "x.html").returncode == 2


def test_a_stack_too_thin_to_hide_planes_gets_a_page_that_says_so(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((2, 40, 48)))
    result = run("upsample", "a.tif", "-f", "2", "-m", "linear", "--report", "page.html")
    assert result.returncode == 0, result.stderr
    assert "does not say what interpolation does to this stack: there are 2 planes" in result.stderr
    assert "could not be measured: there are 2 planes" in (tmp_path / "page.html").read_text(encoding="utf-8")
