"""The command line: results, messages, exit codes."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
import tifffile

from tests.cli.conftest import Run
from tests.conftest import make_stack, write_imagej, write_tiff_slices, write_zarr
from zinterp.cli.main import COMMANDS, cli
from zinterp.cli.options import Numbers, Size
from zinterp.cli.text import printable
from zinterp.io import OUTPUT_FORMATS, open_volume

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_and_is_in_the_readme(name: str) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    assert "Example" in (command.help or "")
    assert f"zinterp {name}" in README
    flags: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            flags += parameter.opts
            longest = max(parameter.opts, key=len)
            assert f"{longest}" in README, f"{longest} of {name} is not in the README"
    assert len(flags) == len(set(flags))


def test_upsample_prints_the_output_and_nothing_else_on_stdout(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    result = run("upsample", "a.tif", "--factor", "4", "--model", "cubic")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "a_x4.tif\n"
    assert "17 of 17 planes (100 %)" in result.stderr
    assert "\x1b" not in result.stderr
    with tifffile.TiffFile(tmp_path / "a_x4.tif") as tif:
        assert tif.series[0].shape == (17, 40, 48)
        assert (tif.imagej_metadata or {})["spacing"] == 5.0
        assert (tif.imagej_metadata or {})["unit"] == "nm"


def test_quiet_says_nothing_and_json_says_what_was_done(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    result = run("upsample", "a.tif", "-f", "2", "-m", "linear", "--quiet", "--json", "--log-file", "log.txt")
    assert result.returncode == 0
    assert result.stderr == ""
    assert json.loads(result.stdout)["output"] == "a_x2.tif"
    assert "wrote a_x2.tif" in (tmp_path / "log.txt").read_text()


def test_several_inputs_go_to_a_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_imagej(tmp_path / "a.tif", make_stack())
    write_zarr(tmp_path / "b.zarr", make_stack(), "0.4")
    result = run("upsample", "a.tif", "b.zarr", "--output-dir", "out", "-f", "2", "-m", "linear")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["out/a_x2.tif", "out/b_x2.zarr"]
    with open_volume(tmp_path / "out" / "b_x2.zarr") as reader:
        assert reader.info.shape == (9, 40, 48)
    assert run("upsample", "a.tif", "b.zarr", "-o", "c.tif", "-f", "2").returncode == 2
    assert run("upsample", "a.tif", "--output-dir", "none", "-f", "2").returncode == 1


def test_a_dry_run_says_what_would_be_done_and_does_nothing(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    result = run("upsample", "a.tif", "--factor", "4", "--dry-run")
    assert result.returncode == 0, result.stderr
    for piece in ("a.tif -> a_x4.tif", "17 planes of 48 x 40 pixels", "5 acquired, 12 synthesised", "5 x 8 x 8 nm"):
        assert piece in result.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_info_says_what_a_stack_is_and_what_a_job_costs(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    result = run("info", "a.tif", "--factor", "4")
    assert result.returncode == 0, result.stderr
    for piece in (
        "5 planes of 48 x 40 pixels, uint8",
        "20 x 8 x 8 nm (z, y, x), from ImageJ metadata",
        "17 planes",
        "time",
    ):
        assert piece in result.stdout
    facts = json.loads(run("info", "a.tif", "--json", "--voxel-size", "30x8x8nm").stdout)
    assert facts["shape"] == [5, 40, 48]
    assert facts["voxel_size_um"] == pytest.approx([0.03, 0.008, 0.008])
    assert facts["voxel_size_from"] == "--voxel-size"
    assert [p.name for p in tmp_path.iterdir()] == ["a.tif"]


def test_models_lists_and_verifies(run: Run) -> None:
    result = run("models")
    assert result.returncode == 0, result.stderr
    assert "mirror-unet (default)" in result.stdout
    assert "verified" in result.stdout
    assert "cubic" in result.stdout
    assert json.loads(run("models", "--json").stdout)["mirror-unet"]["parameters"] > 10**5


TRAIN = ["train", "a.tif", "--out", "w.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["upsample", "a.tif"], 1, "got none of factor, depths"),
        (["upsample", "a.tif", "-f", "1"], 1, "expected some to be made: give a larger factor"),
        (["upsample", "a.tif", "-f", "-2"], 1, "the factor is -2"),
        (["upsample", "a.tif", "-f", "2.5"], 2, "'2.5' is not a valid integer"),
        (["upsample", "a.tif", "--depths", "0.5,x"], 2, "'x' is not a number"),
        (["upsample", "a.tif", "-f", "2", "--model", "rife"], 1, "expected one of mirror-unet, fast, "),
        (["upsample", "none.tif", "-f", "2"], 1, "none.tif does not exist"),
        (["upsample", "text.tif", "-f", "2"], 1, "cannot be read as TIFF"),
        (["upsample", "one.tif", "-f", "2"], 1, "the stack has 1 plane, expected at least 2"),
        (["upsample", "a.tif", "-f", "2", "-o", "a.tif", "--overwrite"], 1, "is the input itself"),
        (["upsample", "a.tif", "-f", "2", "-o", "no/b.tif"], 1, "the folder no does not exist"),
        (["upsample", "a.tif", "-f", "2", "-o", "b.png"], 1, "no known suffix"),
        (["upsample", "a.tif", "-f", "2", "--voxel-size", "5"], 2, "expected ZxYxXUNIT"),
        (["upsample", "a.tif", "-f", "2", "--max-memory", "much"], 2, "'much' is not a size"),
        (["upsample", "a.tif", "-f", "2", "--intensity-range", "1"], 2, "is not two numbers"),
        (["upsample", "--drop-duplicates", "a.tif", "-f", "2"], 2, "put --drop-duplicates after the stack, or write"),
        (["upsample", "a.tif", "-f", "2", "--drop-duplicates", "1.5"], 2, "expected a part of the pixels from 0 to 1"),
        (["info", "--duplicates", "a.tif"], 2, "put --duplicates after the stack, or write --duplicates=0.01"),
        (["upsample", "same.tif", "-f", "2", "--drop-duplicates"], 1, "2 of 3 planes are no use"),
        (["upsample", "a.tif", "-f", "2", "--log-file", "no/log"], 2, "cannot write the log"),
        (["upsample", "a.tif", "-f", "2", "--log-file", "a.tif"], 2, "is named like a stack"),
        (["upsample", "a.tif", "-f", "2", "-o", "x" * 300 + ".tif"], 1, "File name too long"),
        (["upsample", "a.tif", "a.tif", "-f", "2"], 1, "several inputs would be written to a_x2.tif"),
        (["upsample"], 2, "Missing argument"),
        (["dance"], 2, "No such command"),
        (["demo", "-o", "a.tif/x"], 1, "cannot make the folder"),
        (["train", "a.tif", "--out", "w.safetensors"], 1, "got both or neither of steps and minutes"),
        (["train", "a.tif", "--out", "w.safetensors", "--gaps", "4"], 2, "expected LEAST-MOST"),
        ([*TRAIN, "--steps", "1", "--model", "fast", "--init", "b"], 1, "a file says what network it is for"),
        ([*TRAIN, "--steps", "1", "--loss-weights", "much"], 2, "write perceptual=0.01"),
        ([*TRAIN, "--steps", "1", "--loss-weights", "l1=1,l1=2"], 2, "names, each once"),
        ([*TRAIN, "--steps", "1", "--loss-weights", "l1=3"], 1, "expected some of uncertainty=0.1"),
        ([*TRAIN, "--steps", "1", "--published"], 1, "expected --init none and one of super-slomo"),
        ([*TRAIN, "--steps", "1", "--features", "--resume"], 1, "got --features with resume, expected --steps or"),
        ([*TRAIN, "--minutes", "1", "--features", "--model", "fbnet"], 1, "got --features with model"),
        (["train", "a.tif", "--out", "a.tif", "--steps", "1"], 1, "a name that ends in .safetensors"),
    ],
)
def test_bad_usage_costs_one_line_and_leaves_nothing(
    arguments: list[str], code: int, message: str, run: Run, tmp_path: Path
) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    write_imagej(tmp_path / "one.tif", make_stack((1, 40, 48)))
    write_imagej(tmp_path / "same.tif", make_stack()[[0, 0, 0]])
    (tmp_path / "text.tif").write_text("hello")
    before = {p.name for p in tmp_path.iterdir()}
    result = run(*arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    if code == 1:
        assert len(result.stderr.strip().splitlines()) == 1
    assert {p.name for p in tmp_path.iterdir()} == before


def test_options_come_from_the_environment_and_a_file_and_the_command_line_wins(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    (tmp_path / "c.toml").write_text('factor = 3\nmodel = "linear"\nintensity-range = "0,255"\n')

    def planes(*arguments: str, env: dict[str, str] | None = None) -> int:
        result = run("upsample", "a.tif", "-o", "b.tif", "--overwrite", "-q", *arguments, env=env)
        assert result.returncode == 0, result.stderr
        with open_volume(tmp_path / "b.tif") as reader:
            return reader.info.shape[0]

    assert planes("--config", "c.toml") == 13
    assert planes("--config", "c.toml", env={"ZINTERP_UPSAMPLE_FACTOR": "5"}) == 21
    assert planes("--config", "c.toml", "--factor", "2", env={"ZINTERP_UPSAMPLE_FACTOR": "5"}) == 9
    (tmp_path / "c.toml").write_text("depths = [0.25, 0.5]\njson = true\n")
    assert planes("--config", "c.toml", "-m", "linear") == 13
    for text, message in (("factor = 2.7", "not a valid integer"), ("factor = [2, 3]", "not a valid integer")):
        (tmp_path / "c.toml").write_text(text)
        result = run("upsample", "a.tif", "--config", "c.toml")
        assert result.returncode == 2
        assert message in result.stderr
    (tmp_path / "c.toml").write_text("factor = {a = 1}\n")
    assert "expected a number, a text" in run("upsample", "a.tif", "--config", "c.toml").stderr
    (tmp_path / "c.toml").write_text("factr = 3\n")
    result = run("upsample", "a.tif", "--config", "c.toml")
    assert result.returncode == 2
    assert "unknown keys factr" in result.stderr
    (tmp_path / "c.toml").write_text("factor: 3\n")
    assert "is not TOML" in run("upsample", "a.tif", "--config", "c.toml").stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_cleanly_and_resume_gives_the_same_bytes(
    number: int, code: int, run: Run, tmp_path: Path
) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((400, 200, 200)))
    arguments = ["upsample", "a.tif", "-f", "4", "-m", "cubic", "--slab-depth", "4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "zinterp", *arguments], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / "a_x4.tif.journal"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.exists() and journal.read_text().count(";") > 3):
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "a_x4.tif").exists()
    assert (tmp_path / "a_x4.tif.partial").exists()
    assert run(*arguments, "--resume").returncode == 0
    assert run(*arguments, "-o", "b.tif").returncode == 0
    assert (tmp_path / "a_x4.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_training_from_the_command_line(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((20, 64, 64)))
    arguments = ["train", "a.tif", "--out", "w.safetensors", "--batch", "2", "--crop", "32", "--held-out", "0.3"]
    scratch = ["--init", "none", "--model", "fast", "--steps", "3", "--learning-rate", "0.001", "--seed", "4"]
    result = run(*arguments, *scratch)
    assert result.returncode == 0, result.stderr
    assert "planes are hidden along z, gaps of 2 to 4, starting from random weights" in result.stderr
    assert "w.safetensors  held-out gain over the better of linear and cubic: " in result.stdout
    assert "before" not in result.stdout
    assert "step 3" in result.stderr
    upsampled = run("upsample", "a.tif", "-f", "2", "--model", "w.safetensors")
    assert upsampled.returncode == 0, upsampled.stderr


def test_other_networks_and_the_features_are_trained_too(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((20, 64, 64)))
    arguments = ["train", "a.tif", "--model", "fbnet", "--init", "none", "--steps", "2", "--batch", "1", "--crop", "32"]
    result = run(*arguments, "--out", "w.safetensors", "--loss-weights", "l1=3,ssim=0")
    assert result.returncode == 0, result.stderr
    upsampled = run("upsample", "a.tif", "-f", "2", "--model", "w.safetensors")
    assert upsampled.returncode == 0, upsampled.stderr
    result = run("train", "a.tif", "--features", "--steps", "2", "--out", "f.safetensors")
    assert result.returncode == 0, result.stderr
    assert "of the intensity range off on average" in result.stdout
    refused = run("upsample", "a.tif", "-f", "3", "--model", "f.safetensors")
    assert refused.returncode == 1
    assert "is for the network 'autoencoder'" in refused.stderr


def test_training_goes_on_from_the_shipped_weights_and_says_when_it_did_not_help(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((20, 64, 64)))
    arguments = ["train", "a.tif", "--out", "w.safetensors", "--steps", "2", "--crop", "32"]
    result = run(*arguments, "--learning-rate", "0.5")
    assert result.returncode == 1
    assert "starting from mirror-unet" in result.stderr
    assert re.search(
        r"did not help.*is not written \(held-out gain .* dB, .* dB before\): go on with mirror-unet", result.stderr
    )
    assert not list(tmp_path.glob("w*"))
    kept = run(*arguments, "--held-out", "0")
    assert kept.returncode == 0, kept.stderr
    assert kept.stdout.endswith("not known\n")


def test_duplicates_are_dropped_and_named(run: Run, tmp_path: Path) -> None:
    stack = make_stack((6, 96, 112))[[0, 1, 1, 2, 3, 4, 5]]
    write_imagej(tmp_path / "a.tif", stack)
    for arguments in (["--drop-duplicates", "-f", "2", "a.tif"], ["a.tif", "-f", "2", "--drop-duplicates=0.02"]):
        result = run("upsample", *arguments, "-m", "linear", "--overwrite", "--json")
        assert result.returncode == 0, result.stderr
        assert "left out 1 of 7 planes: 2 duplicate" in result.stderr
        assert json.loads(result.stdout)["dropped"] == [2]
    with open_volume(tmp_path / "a_x2.tif") as reader:
        dense = reader.read(range(13))
    assert np.array_equal(np.delete(dense[::2], 2, axis=0), np.delete(stack, 2, axis=0))
    planned = ["upsample", "a.tif", "-f", "2", "-o", "b.tif", "--dry-run", "--drop-duplicates"]
    said = run(*planned).stdout
    assert "6 acquired, 7 synthesised" in said
    assert "2 (as 1)" in said
    assert json.loads(run(*planned, "--json").stdout) == {
        "source": "a.tif",
        "output": "b.tif",
        "planes": 13,
        "dropped": [2],
    }
    (tmp_path / "c.toml").write_text("drop-duplicates = true\n")
    assert "2 (as 1)" in run(*planned[:-1], "--config", "c.toml").stdout
    for value in ("0.05", "true"):
        assert "2 (as 1)" in run(*planned[:-1], env={"ZINTERP_UPSAMPLE_DROP_DUPLICATES": value}).stdout
    assert "as 1" not in run(*planned[:-1], "--drop-duplicates=0").stdout


def test_info_names_duplicates_when_asked(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((6, 96, 112))[[0, 1, 1, 2, 3, 4, 5]])
    assert "duplicates  2 (as 1)" in run("info", "a.tif", "--duplicates").stdout
    assert "duplicates  none" in run("info", "a.tif", "--duplicates=0").stdout
    assert "duplicates" not in run("info", "a.tif").stdout
    assert json.loads(run("info", "a.tif", "--json", "--duplicates").stdout)["duplicates"] == [
        {"plane": 2, "repeats": 1}
    ]
    assert "duplicates" not in json.loads(run("info", "a.tif", "--json").stdout)


def test_text_for_a_terminal_cannot_steer_it() -> None:
    assert printable("a\x1b[31m\nb") == "a\\x1b[31m b"


@pytest.mark.parametrize(("text", "size"), [("8GB", 8 * 10**9), ("1.5 GiB", 3 * 2**29), ("100", 100), ("5k", 5000)])
def test_sizes(text: str, size: int) -> None:
    assert Size().convert(text, None, None) == size


def test_numbers_stay_exact() -> None:
    assert Numbers().convert("0.1, 0.25", None, None) == ["0.1", "0.25"]


def test_a_bar_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    write_imagej(tmp_path / "a.tif", make_stack())
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "zinterp", "upsample", "a.tif", "-f", "2", "-m", "linear"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=child, stdout=subprocess.DEVNULL)
    assert process.wait(timeout=60) == 0
    os.close(child)
    seen = os.read(parent, 10**5).decode()
    os.close(parent)
    assert "9/9" in seen
    assert "\x1b[" in seen


def test_the_output_of_the_command_has_the_acquired_planes(run: Run, tmp_path: Path) -> None:
    stack = make_stack(dtype="uint16")
    write_imagej(tmp_path / "a.tif", stack)
    result = run("upsample", "a.tif", "--depths", "0.3,0.6", "-o", "b.ome.zarr", "--ngff", "0.4")
    assert result.returncode == 0, result.stderr
    with open_volume(tmp_path / "b.ome.zarr") as reader:
        assert np.array_equal(reader.read(range(13))[::3], stack)
    assert (tmp_path / "b.ome.zarr" / ".zattrs").exists()


def test_an_error_is_in_the_log_file_too(run: Run, tmp_path: Path) -> None:
    assert run("upsample", "none.tif", "-f", "2", "--log-file", "log.txt").returncode == 1
    assert "ERROR   none.tif does not exist" in (tmp_path / "log.txt").read_text()


def test_names_cannot_steer_the_terminal(run: Run, tmp_path: Path) -> None:
    name = "a\x1b[31m[bold]\nb.tif"
    write_imagej(tmp_path / name, make_stack())
    result = run("upsample", name, "-f", "2", "-m", "linear")
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stderr
    assert "\x1b" not in run("info", name).stdout


def test_info_describes_a_file_with_several_channels(run: Run, tmp_path: Path) -> None:
    values = np.zeros((3, 5, 2, 8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "TZCYX"})
    result = run("info", "a.tif")
    assert result.returncode == 0, result.stderr
    assert "3 times of 2 channels of 5 planes" in result.stdout


def test_the_demonstration_replaces_nothing_unless_told(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "input.tif").write_text("mine")
    result = run("demo", "-o", "out", "--model", "cubic")
    assert result.returncode == 1
    assert "has input.tif already" in result.stderr
    assert (tmp_path / "out" / "input.tif").read_text() == "mine"
    result = run("demo", "-o", "out", "--model", "cubic", "--overwrite", "-q")
    assert result.returncode == 0, result.stderr
    assert "  verdict     linear +" in result.stdout or "  verdict     cubic +" in result.stdout
    with tifffile.TiffFile(tmp_path / "out" / "input_x4.tif") as tif:
        assert tif.series[0].shape == (33, 256, 256)
    assert (tmp_path / "out" / "demo.png").stat().st_size > 10_000
    assert "<html" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_planes_at_a_length_from_slices_with_a_table(run: Run, tmp_path: Path) -> None:
    write_tiff_slices(tmp_path / "run 1", make_stack())
    result = run(
        *("upsample", "run 1/*.tif", "--voxel-size", "20x8x8nm", "--z-step", "7.5nm", "--model", "cubic"),
        *("--planes-table", "planes.csv", "--json"),
    )
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["output"] == "run 1_z7.5nm"
    rows = list(csv.DictReader((tmp_path / "planes.csv").read_text().splitlines()))
    assert [float(row["z_um"]) for row in rows] == pytest.approx([0.0075 * k for k in range(11)])
    assert [row["kind"] for row in rows].count("acquired") == 2
    names = sorted(path.name for path in (tmp_path / "run 1_z7.5nm").iterdir())
    assert names == [*(f"run 1_z7.5nm_{k:05d}.tif" for k in range(11)), "zinterp.json"]
    result = run("info", "run 1_z7.5nm", "--json")
    assert json.loads(result.stdout)["voxel_size_um"] == [0.0075, 0.008, 0.008]
    assert json.loads(result.stdout)["voxel_size_from"] == "zinterp.json"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["a.tif", "a.tif", "-f", "2", "--planes-table", "p.csv"], 2, "expected one input"),
        (["a.tif", "-f", "2", "--planes-table", "p.tif"], 1, "named like a stack or lies in the input or output"),
        (["a.tif", "-f", "2", "--planes-table", "there.csv"], 1, "there.csv exists already: give --overwrite"),
        (["a.tif", "-f", "2", "--planes-table", "no/p.csv"], 1, "expected a file in a folder that exists"),
        (["a.tif", "--z-step", "5"], 2, "expected a positive number and a unit"),
        (["a.tif", "--isotropic", "-f", "2"], 1, "got factor and isotropic, expected one of them"),
        (["a.tif", "-f", "2", "--skip", "bad"], 1, "write 17,20-22"),
        (["a.tif", "-f", "2", "--skip", "9"], 1, "got plane 9 to leave out, expected planes from 0 to 4"),
        (["a.tif", "-f", "2", "--positions", "no.txt"], 1, "cannot read the positions"),
        (["a.tif", "-f", "2", "--fill-gaps"], 1, "is no folder of slices"),
        (["a.tif", "-f", "2", "-o", "b"], 1, "give --format tiff-slices for a folder of slices"),
        (["a.h5:/no", "-f", "2"], 1, "a.h5:/no does not exist"),
    ],
)
def test_bad_geometry_costs_one_line_and_leaves_nothing(
    run: Run, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    (tmp_path / "there.csv").write_text("mine")
    result = run("upsample", *arguments, "--model", "linear")
    assert result.returncode == code
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tif", "there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_the_formats_that_can_be_asked_for_are_those_that_are_written() -> None:
    command = cli.get_command(click.Context(cli), "upsample")
    assert command is not None
    choices = next(parameter.type for parameter in command.params if parameter.name == "format")
    assert isinstance(choices, click.Choice)
    assert sorted(choices.choices) == sorted(OUTPUT_FORMATS)


def test_info_says_where_planes_and_voxel_size_come_from(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    (tmp_path / "z.txt").write_text("z_nm\n0\n20\n50\n60\n80\n")
    result = run("info", "a.tif", "--positions", "z.txt", "--factor", "2", "--model", "linear", "--drift")
    assert "20 x 8 x 8 nm (z, y, x), from ImageJ metadata and measured positions" in result.stdout
    assert "unevenly spaced, 0.01 to 0.03 µm apart" in result.stdout
    assert run("info", "a.tif", "--positions", "no.txt").returncode == 1
    facts = json.loads(run("info", "a.tif", "--positions", "z.txt", "--json").stdout)
    assert facts["even_planes"] is False
    assert facts["largest_drift_px"] is None  # too small to tell


def test_errors_say_which_of_several_inputs_they_are_about(run: Run, tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    write_imagej(tmp_path / "b.tif", make_stack()[:1])
    result = run("upsample", "a.tif", "b.tif", "--factor", "2", "--model", "linear", "-q")
    assert result.returncode == 1
    assert "zinterp: b.tif: the stack has 1 plane" in result.stderr
