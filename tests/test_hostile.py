"""Lists, weights, outputs and names that are made to harm."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import make_stack, write_imagej, write_mrc
from zinterp.cli.text import printable_line
from zinterp.documents import write_document
from zinterp.errors import BadOptionError, BadWeightsError, InputError, OutputError
from zinterp.interpolators.weights import find_weights, load_network, save_network
from zinterp.io import open_volume
from zinterp.io.folders import json_of
from zinterp.io.limits import check_density, check_emptiness, check_size, room_for
from zinterp.models.mirror_unet import MirrorUNet, MirrorUNetSize
from zinterp.pipeline import upsample
from zinterp.positions import read_positions

STEERING = "a\x1b]0;owned\x07\x1b[31m\u202e\nb"


class Evil:
    """What runs a program when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.mark),)


def refused_weights(path: Path, match: str) -> None:
    """Expect weights not to be loaded."""
    with pytest.raises(BadWeightsError, match=match):
        load_network(path)


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors", "a.pkl"])
@pytest.mark.parametrize("save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_pickled_weights_are_refused_and_not_unpickled(name: str, save: object, tmp_path: Path) -> None:
    save(Evil(tmp_path / "mark"), tmp_path / name)  # type: ignore[operator]
    refused_weights(tmp_path / name, "expected weights in safetensors format: no other kind is opened")
    assert not (tmp_path / "mark").exists()


def write_header(path: Path, header: bytes, length: int | None = None) -> Path:
    """A safetensors file of nothing but a header."""
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header)
    return path


def test_weights_of_absurd_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    refused_weights(write_header(path, b"{}", 2**63), "cannot be read")
    vast = {"a": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}
    refused_weights(write_header(path, json.dumps(vast).encode()), "cannot be read")
    refused_weights(write_header(path, b"[" * 10**5), "cannot be read")
    refused_weights(tmp_path, "is no file")


def test_weights_that_claim_a_vast_network_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network = MirrorUNet(MirrorUNetSize((4, 8)))
    network.size = MirrorUNetSize((2**16, 2**17))  # 2 TB
    save_network(path, network, {})
    refused_weights(path, r"does not fit the network mirror-unet \(\d+ tensors, as .*expected \(65536")


def test_weights_that_are_a_pipe_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(BadOptionError, match=r"or a \.safetensors file"):
        find_weights(str(tmp_path / "a.safetensors"))


def test_endless_and_binary_lists_of_positions_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinterp.positions.LARGEST_FILE", 10**5)
    with pytest.raises(BadOptionError, match="has more than 100000 bytes"):
        read_positions("/dev/zero")
    (tmp_path / "a.csv").write_bytes(np.random.default_rng(0).bytes(9000))
    with pytest.raises(BadOptionError, match=r"a\.csv"):
        read_positions(tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot read the positions"):
        read_positions(tmp_path)


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif", "b.ome.zarr", "b.mrc", "b"])
def test_what_a_link_leads_to_is_never_written_over(name: str, tmp_path: Path) -> None:
    source = tmp_path / "a.mrc"
    write_mrc(source, make_stack(dtype="int16"))
    precious = tmp_path / "precious"
    precious.write_text("precious")
    target = tmp_path / name
    options = {"factor": 2, "model": "linear", "format": None if "." in name else "tiff-slices"}
    partial = target.with_name(f"{name}.partial")
    partial.symlink_to(precious)
    with pytest.raises(OutputError, match="is a link, which writing would follow, expected none there: remove it"):
        upsample(source, target, **options)  # type: ignore[arg-type]
    partial.unlink()
    target.symlink_to(tmp_path / "none")  # a link to nothing gives way
    upsample(source, target, **options)  # type: ignore[arg-type]
    assert not target.is_symlink()
    assert precious.read_text() == "precious"
    assert not (tmp_path / "none").exists()


def test_a_link_gives_way_to_an_output_and_its_file_stays(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    (tmp_path / "precious.tif").write_text("precious")
    (tmp_path / "b.tif").symlink_to(tmp_path / "precious.tif")
    upsample(tmp_path / "a.tif", tmp_path / "b.tif", factor=2, model="linear", overwrite=True)
    assert (tmp_path / "precious.tif").read_text() == "precious"
    assert not (tmp_path / "b.tif").is_symlink()


def test_a_folder_may_be_a_link(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack())
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    upsample(tmp_path / "a.tif", tmp_path / "link" / "b.tif", factor=2, model="linear")
    assert (tmp_path / "real" / "b.tif").is_file()


def test_documents_and_weights_do_not_follow_links(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in ("a.csv", "a.safetensors"):
        (tmp_path / f"{name}.partial").symlink_to(precious)
    write_document(tmp_path / "a.csv", "table", "text")
    save_network(tmp_path / "a.safetensors", MirrorUNet(MirrorUNetSize((4, 8))), {})
    assert precious.read_text() == "precious"
    assert (tmp_path / "a.csv").read_text() == "text"


def test_metadata_that_are_a_pipe_or_long_are_as_if_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "zinterp.json")
    assert json_of(tmp_path / "zinterp.json") == {}
    (tmp_path / "long.json").write_text('{"a": 1}')
    monkeypatch.setattr("zinterp.io.folders.LONGEST_METADATA", 5)
    assert json_of(tmp_path / "long.json") == {}


@pytest.mark.parametrize("arguments", [["info"], ["upsample", "-f", "2", "-m", "linear", "--dry-run"]])
def test_names_that_steer_a_terminal_are_escaped(arguments: list[str], tmp_path: Path) -> None:
    write_imagej(tmp_path / f"{STEERING}.tif", make_stack())
    (tmp_path / f"{STEERING}.mrc").write_bytes(b"no volume")
    for suffix, code in ((".tif", 0), (".mrc", 1)):
        command = [sys.executable, "-m", "zinterp", *arguments, "--log-file", "log.txt", f"{STEERING}{suffix}"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == code, run.stderr
        logged = (tmp_path / "log.txt").read_text(encoding="utf-8")
        for text in (run.stdout, run.stderr, logged):
            assert not set(text) & {"\x1b", "\x07", "\u202e"}
        assert "\\x1b" in run.stdout + run.stderr


def test_indented_lines_stay_indented() -> None:
    assert printable_line("  a\x1b\nb ") == "  a\\x1b b"


def test_limits_let_real_stacks_through() -> None:
    byte = np.dtype("u1")
    check_size("a", (5000, 6000, 4000), byte)
    check_density("a", 10**12, 10**12 // 200, at_a_time=2**30)
    check_density("a", 10**10, 10**6, at_a_time=2**27)  # black planes of 128 MB
    check_emptiness("a", 10**13, 10**10)
    check_emptiness("a", 2**30, 0)


def test_planes_without_memory_are_named() -> None:
    with pytest.raises(InputError, match="there is no memory for 3 planes of 1048576 x 1073741824 pixels"):
        room_for("a", (3, 2**30, 2**20), np.dtype("f8"))


def test_a_colour_map_that_is_too_long_is_no_map(tmp_path: Path) -> None:
    from types import SimpleNamespace

    import tifffile

    from zinterp.errors import BadVolumeError
    from zinterp.io.tiff import count_colours

    page = SimpleNamespace(photometric=tifffile.PHOTOMETRIC.PALETTE, colormap=np.zeros((3, 2**17), np.uint16))
    with pytest.raises(BadVolumeError, match="is a colour image"):
        count_colours(page, tmp_path)


def test_a_damaged_hdf5_file_that_holds_the_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zinterp.io import hdf5_probe

    (tmp_path / "a.h5").write_bytes(b"")
    monkeypatch.setattr(hdf5_probe, "PROGRAM", "import os; os.abort()")
    with pytest.raises(InputError, match=r"a\.h5 makes the HDF5 library crash \(exit code -6\)"):
        open_volume(tmp_path / "a.h5")
    monkeypatch.setattr(hdf5_probe, "PROGRAM", "import time; time.sleep(60)")
    monkeypatch.setattr(hdf5_probe, "PATIENCE", 0.5)
    with pytest.raises(InputError, match=r"a\.h5 takes more than 0\.5 s to open"):
        open_volume(tmp_path / "a.h5")
    monkeypatch.setattr(sys, "executable", "/none")
    hdf5_probe.probe(tmp_path / "a.h5")
    monkeypatch.setattr(sys, "executable", "")
    hdf5_probe.probe(tmp_path / "a.h5")
