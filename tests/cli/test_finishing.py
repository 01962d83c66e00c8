"""Finishing from the command line: options with and without a value, reports, flags, and what is wrong."""

import csv
import json
import logging
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.conftest import make_stack, write_imagej
from zinterp.cli.main import main
from zinterp.io import open_volume, read_record


class Result(NamedTuple):
    """Of a command."""

    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Run ``zinterp`` with arguments in this process, in a folder that holds ``a.tif``."""
    monkeypatch.chdir(tmp_path)
    write_imagej(tmp_path / "a.tif", make_stack((4, 24, 32)))
    root = logging.getLogger("zinterp")
    before = root.propagate, root.level, signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["zinterp", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        return Result(int(stopped.value.code or 0), *capsys.readouterr())

    yield run
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    root.propagate, root.level = before[:2]
    signal.signal(signal.SIGTERM, before[2])


def made_row(table: str = "p.csv") -> dict[str, str]:
    """Of a planes table, the row of the first synthesised plane."""
    with Path(table).open() as file:
        return next(row for row in csv.DictReader(file) if row["kind"] == "synthesised")


UPSAMPLE = ("upsample", "a.tif", "-f", "2", "-m", "cubic", "--planes-table", "p.csv")


@pytest.mark.parametrize(
    ("arguments", "sharpening", "radius", "seed"),
    [
        ((), "", "", ""),
        (("--sharpen",), None, None, ""),
        (("--sharpen", "auto"), None, None, ""),
        (("--sharpen=0.5",), "0.5", "1.5", ""),
        (("--sharpen", "0.5", "--sharpen-radius", "2", "--sharpen-threshold", "0.01"), "0.5", "2", ""),
        (("--grain",), "", "", "0"),
        (("--grain", "--sharpen=2"), "2", "1.5", "0"),
        (("--grain", "7"), "", "", "7"),
        (("--sharpen=false", "--grain=false"), "", "", ""),
    ],
)
def test_options_stand_alone_or_with_a_value(
    arguments: tuple[str, ...], sharpening: str | None, radius: str | None, seed: str, command: Command
) -> None:
    result = command(*UPSAMPLE, *arguments)
    assert result.code == 0, result.err
    assert result.out == "a_x2.tif\n"
    row = made_row()
    assert row["grain_seed"] == seed
    if sharpening is None:
        assert 0 <= float(row["sharpening"]) <= 8
        assert float(row["sharpening_radius"]) in (0.7, 1.0, 1.5, 2.5)
    else:
        assert (row["sharpening"], row["sharpening_radius"]) == (sharpening, radius)


@pytest.mark.parametrize(
    ("text", "amount", "seed"),
    [
        ("sharpen = true\ngrain = true", "auto", 0),
        ("sharpen = 0.5\ngrain = 7", 0.5, 7),
        ('sharpen = "auto"\ngrain = "7"', "auto", 7),
        ("sharpen = false\ngrain = false\nrestore = false", None, None),
        ("sharpen = 2\nsharpen-radius = 3.5", 2, None),
    ],
)
def test_a_toml_file_has_true_or_a_value(
    text: str, amount: str | float | None, seed: int | None, command: Command
) -> None:
    Path("c.toml").write_text(f'factor = 2\nmodel = "cubic"\n{text}\n')
    assert command("upsample", "a.tif", "--config", "c.toml").code == 0
    record = read_record("a_x2.tif")
    assert record is not None
    finishing = record["finishing"]
    assert (finishing["sharpening"] or {"amount": None})["amount"] == amount
    assert finishing["grain_seed"] == seed
    assert (finishing["sharpening"] or {}).get("radius") == (3.5 if "radius" in text else None)


def test_the_environment_has_true_or_a_value(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZINTERP_UPSAMPLE_SHARPEN", "true")
    monkeypatch.setenv("ZINTERP_UPSAMPLE_GRAIN", "3")
    assert command(*UPSAMPLE).code == 0
    row = made_row()
    assert row["grain_seed"] == "3"
    assert row["sharpening"] != ""
    assert command(*UPSAMPLE, "--sharpen=0.5", "--overwrite").code == 0
    assert made_row()["sharpening"] == "0.5"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--sharpen", "a.tif"), 2, "put --sharpen after the stack, or write --sharpen=AMOUNT"),
        (("--grain", "a.tif"), 2, "put --grain after the stack, or write --grain=SEED"),
        (("--restore", "a.tif"), 2, "put --restore after the stack, or write --restore=FILE"),
        (("a.tif", "--sharpen", "much"), 2, "'much' is not a number or auto"),
        (("a.tif", "--sharpen", "0"), 1, "the amount of sharpening is 0, expected more than 0 and at most 10"),
        (("a.tif", "--sharpen", "11"), 1, "the amount of sharpening is 11, expected"),
        (("a.tif", "--sharpen", "nan"), 1, "the amount of sharpening is nan, expected"),
        (("a.tif", "--sharpen-radius", "2"), 1, "got a radius or threshold and no sharpening, expected both"),
        (("a.tif", "--sharpen", "--sharpen-radius", "0"), 2, "0.0 is not in the range x>0"),
        (("a.tif", "--sharpen", "--sharpen-radius", "nan"), 1, "the radius of sharpening is nan pixels, expected"),
        (("a.tif", "--sharpen", "--sharpen-threshold", "1"), 2, "1.0 is not in the range 0<=x<1"),
        (("a.tif", "--grain", "1.5"), 2, "'1.5' is not a whole number"),
        (("a.tif", "--grain", "9" * 20), 1, "the seed of the grain is 99999999999999999999, expected 0 to"),
        (("a.tif", "--fallback", "linear"), 2, "'linear' is not 'cubic'"),
        (("a.tif", "--fallback-above", "0.1"), 1, "got a threshold and no fallback, expected both: give --fallback"),
        (("a.tif", "--fallback", "cubic", "--fallback-above", "nan"), 1, "the fallback is above nan, expected"),
        (("a.tif", "--fallback", "cubic"), 1, "cubic does not know its uncertainty, which confidence, flags and"),
        (("a.tif", "--flag-below", "20"), 1, "cubic does not know its uncertainty"),
        (("a.tif", "--flag-below", "nan"), 1, "planes are flagged below nan dB, expected a finite number"),
        (("a.tif", "--confidence", "s.tif"), 1, "cubic does not know its uncertainty"),
        (
            ("a.tif", "a.tif", "--output-dir", ".", "--confidence", "s.tif"),
            2,
            "--confidence names a file for one input",
        ),
        (("a.tif", "--restore"), 1, "the planes of cubic cannot be restored"),
    ],
)
def test_what_is_wrong_costs_one_clear_line(
    arguments: tuple[str, ...], code: int, message: str, command: Command, tmp_path: Path
) -> None:
    result = command("upsample", *arguments, "-f", "2", "-m", "cubic")
    assert result.code == code
    assert message in result.err.splitlines()[-1]
    assert result.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_a_report_says_how_even_the_output_is(command: Command) -> None:
    result = command(*UPSAMPLE, "--report")
    assert result.out == "a_x2.tif\n"  # for scripts; what is for people goes to stderr
    said = result.err.splitlines()
    start = next(i for i, line in enumerate(said) if "pulsing" in line)
    first, lines = said[start], said[start + 1 : start + 4]
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", first)]
    assert first.strip().startswith("pulsing     index ")
    assert [line.split()[0] for line in lines] == ["mean", "contrast", "sharpness"]
    assert numbers[0] == pytest.approx(max(float(line.split()[1]) for line in lines), abs=6e-4)
    assert 0 < numbers[0] < numbers[1]
    (said,) = [line for line in command("info", "a_x2.tif").out.splitlines() if "pulsing" in line]
    assert said == first


def test_a_report_says_how_sure_the_model_is_and_flags_list_where_it_is_not(command: Command, tmp_path: Path) -> None:
    options = ("upsample", "a.tif", "-f", "2", "--device", "cpu", "--flag-below", "60", "--fallback", "cubic")
    result = command(*options, "--fallback-above", "0.01", "--report", "--confidence", "sigma.tif")
    assert result.code == 0, result.err
    assert result.out == "a_x2.tif\n"
    lines = result.err.splitlines()
    with open_volume(tmp_path / "sigma.tif") as reader:
        sigma = reader.read(range(7))[1::2]
    (uncertainty,) = [line for line in lines if "uncertainty" in line]
    assert f"{sigma.mean(dtype=float):.3g} grey levels on average" in uncertainty
    assert any("% of the synthesised pixels are cubic" in line for line in lines)
    flags = [line for line in lines if "unsure" in line]
    assert [re.findall(r"plane (\d)", line) for line in flags] == [["1"], ["3"], ["5"]]
    assert all(re.search(r": \d+\.\d dB to be expected; \d+\.\d dB at rows from 0, columns from 0$", f) for f in flags)
    result = command(*options, "--fallback-above", "0.01", "--json", "--overwrite")
    facts = json.loads(result.out)
    assert [flag["plane"] for flag in facts["flagged"]] == [1, 3, 5]
    assert all(flag["whole"] and flag["psnr_db"] < 60 for flag in facts["flagged"])
    low, high = (read_record("a_x2.tif") or {})["intensity_range"][0]
    psnr = [-10 * np.log10(np.mean((plane / (high - low)) ** 2)) for plane in sigma.astype(float)]
    assert [flag["psnr_db"] for flag in facts["flagged"]] == pytest.approx(psnr, abs=0.02)
    assert command(*options[:6], "-o", "c.tif").out == "c.tif\n"


def test_json_has_the_pulsing_of_each_stack(command: Command) -> None:
    facts = json.loads(command(*UPSAMPLE, "--json").out)
    assert facts["flagged"] == []
    (row,) = facts["pulsing"]
    assert row["stack"] == 0
    assert row["index"]["gradient_energy"] > 0
    assert row == (read_record("a_x2.tif") or {})["pulsing"][0]


def test_a_dry_run_checks_the_steps_and_does_nothing(command: Command, tmp_path: Path) -> None:
    options = ("--sharpen", "--grain", "3", "--confidence", "sigma.tif", "--fallback", "cubic", "--dry-run")
    result = command("upsample", "a.tif", "-f", "4", "--device", "cpu", *options)
    assert result.code == 0, result.err
    assert "a.tif -> a_x4.tif" in result.out
    assert command("upsample", "a.tif", "-f", "4", "--device", "cpu", *options, "--confidence", "a.tif").code == 1
    assert command("info", "a.tif", "--factor", "4", "-m", "cubic").code == 0
    result = command("info", "a.tif", "--sharpen")
    assert result.code == 2
    assert "No such option" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_info_passes_over_a_pulsing_that_is_not_as_we_write_it() -> None:
    from zinterp.cli.text import describe_pulsing

    good = {"index": {"mean": 0.1}, "linear": {"mean": 0.2}, "acquired": {"mean": 0.3}}
    assert describe_pulsing([good, {**good, "index": {"mean": 0.5}}])[0].split()[:3] == ["pulsing", "index", "0.500"]
    for damaged in (
        None,
        3,
        "x",
        [],
        [3],
        [{}],
        [good | {"index": {}}],
        [good | {"index": {"mean": "\x1b"}}],
        [[good]],
    ):
        assert describe_pulsing(damaged) == []
