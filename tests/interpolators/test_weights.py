"""Weights files and the index of the shipped ones."""

import json
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from zinterp.errors import BadOptionError, BadWeightsError
from zinterp.interpolators import create_interpolator
from zinterp.interpolators.weights import (
    DIRECTORY_VARIABLE,
    INDEX,
    find_weights,
    load_features,
    load_network,
    read_index,
    save_network,
    sha256_of,
    shipped_weights,
    weights_directory,
)
from zinterp.models.mirror_unet import MirrorUNet, MirrorUNetSize

SMALL = MirrorUNetSize((4, 8))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A small network's weights, not trained."""
    path = tmp_path / "small.safetensors"
    save_network(path, MirrorUNet(SMALL), {"data": "none"})
    return path


def test_the_shipped_weights_are_what_the_index_says() -> None:
    shipped = shipped_weights()
    assert shipped
    for weights in shipped.values():
        weights.verify()
        network = load_network(weights.path)
        assert sum(p.numel() for p in network.parameters()) == weights.parameters
        for data in weights.about["data"]:
            assert data["what"]
            assert data["source"]
            assert data["licence"]
        assert weights.about["recipe"]["command"].startswith("zinterp train ")
        assert {name.split(" x")[1] for name in weights.about["scores"]} == {"2", "4", "8"}
        assert all(isinstance(gain, float) for gain in weights.about["scores"].values())


def test_weights_can_be_read_by_all_who_may_read_new_files(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    assert weights.stat().st_mode == (tmp_path / "new").stat().st_mode


def test_saving_and_loading_gives_the_same_network(weights: Path) -> None:
    torch.manual_seed(0)
    network = MirrorUNet(SMALL)
    save_network(weights, network, {})
    loaded = load_network(weights)
    for a, b in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6)  # stored as float16


def test_a_path_is_a_model(weights: Path) -> None:
    interpolator = create_interpolator(str(weights), device="cpu", precision="fp32")
    assert interpolator.identity == f"small@{sha256_of(weights)[:12]}, fp32 on cpu"


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        BadOptionError, match=r"expected one of mirror-unet, fast, .*linear, cubic, optical-flow or a \.safetensors"
    ):
        create_interpolator("rife")


def test_damaged_files_are_refused(weights: Path) -> None:
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadWeightsError, match="cannot be read"):
        load_network(weights)
    weights.write_bytes(b"\x80\x04pickle")
    with pytest.raises(BadWeightsError, match="expected weights in safetensors format"):
        load_network(weights)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "for the network ''"),
        ({"architecture": "resnet"}, "for the network 'resnet'"),
        ({"architecture": "mirror-unet", "sizes": json.dumps({"channels": [6, 8]})}, "does not fit"),
        ({"architecture": "mirror-unet", "sizes": json.dumps({"channels": [5, 8]})}, "even numbers"),
        ({"architecture": "mirror-unet", "sizes": json.dumps({"channels": 5})}, "a list of even numbers"),
        ({"architecture": "mirror-unet", "sizes": "not json"}, "does not fit"),
        ({"architecture": "mirror-unet", "sizes": "[1]"}, "does not fit"),
    ],
)
def test_tensors_of_another_network_are_refused(weights: Path, metadata: dict[str, str], message: str) -> None:
    save_file(load_file(weights), weights, metadata=metadata)
    with pytest.raises(BadWeightsError, match=message):
        load_network(weights)


def test_weights_that_are_not_finite_are_refused(weights: Path) -> None:
    tensors = load_file(weights)
    tensors["head.bias"][0] = float("nan")
    metadata = {"architecture": "mirror-unet", "sizes": json.dumps({"channels": [4, 8]})}
    save_file(tensors, weights, metadata=metadata)
    with pytest.raises(BadWeightsError, match="not finite"):
        load_network(weights)


def write_index(folder: Path, weights: Path, sha256: str) -> None:
    """An index with one entry."""
    fields = f'file = "{weights.name}"\nsha256 = "{sha256}"\nparameters = 1\nsummary = "x"\n'
    (folder / INDEX).write_text('default = "mine"\n[weights.mine]\n' + fields)


def test_the_variable_names_another_folder_and_hashes_are_checked(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(weights.parent))
    with pytest.raises(BadWeightsError, match=r"no index\.toml in"):
        weights_directory()
    write_index(weights.parent, weights, sha256_of(weights))
    assert find_weights("mine") == ("mine", weights)
    write_index(weights.parent, weights, "0" * 64)
    with pytest.raises(BadWeightsError, match="expected 000000000000"):
        find_weights("mine")
    weights.unlink()
    with pytest.raises(BadWeightsError, match="are missing"):
        find_weights("mine")


@pytest.mark.parametrize("text", ["= nothing", "default = 'a'", "default = 'a'\n[weights.b]\nfile='x'", "weights = 3"])
def test_a_damaged_index_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / INDEX).write_text(text)
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    with pytest.raises(BadWeightsError, match="is damaged"):
        shipped_weights()


def test_the_features_are_shipped_and_fixed() -> None:
    features = load_features()
    assert not any(p.requires_grad for p in features.parameters())
    described = read_index().features
    assert described is not None
    assert sum(p.numel() for p in features.parameters()) == described.parameters
    planes = torch.rand(1, 1, 32, 48)
    assert features.features(planes).shape == (1, 64, 8, 12)
    with pytest.raises(BadWeightsError, match="is for the network 'autoencoder', expected one of mirror-unet"):
        load_network(described.path)


def test_an_index_without_features_says_so(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_index(weights.parent, weights, sha256_of(weights))
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(weights.parent))
    with pytest.raises(BadWeightsError, match="has no features to compare planes by"):
        load_features()


def test_the_index_names_public_sources() -> None:
    index = tomllib.loads((weights_directory() / INDEX).read_text(encoding="utf-8"))
    entries = [*index["weights"].values(), index["features"]]
    sources = [data["source"] for entry in entries for data in entry["data"]]
    assert sources
    assert all(source.startswith("github.com/") for source in sources)
