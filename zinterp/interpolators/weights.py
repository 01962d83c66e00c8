"""Weights: safetensors files that say which network they are for, and the index of those that are shipped."""

import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from zinterp.errors import BadOptionError, BadWeightsError, OutputError, reason_of
from zinterp.models import ARCHITECTURES, FEATURE_NETWORKS, RESTORERS

if TYPE_CHECKING:
    from torch import nn

INDEX = "index.toml"
DIRECTORY_VARIABLE = "ZINTERP_WEIGHTS_DIR"


@dataclass(frozen=True)
class ShippedWeights:
    """One entry of the index: a file, what it must be, and where it came from."""

    name: str
    path: Path
    sha256: str
    parameters: int
    summary: str
    about: Mapping[str, Any]

    def verify(self) -> None:
        """Raise BadWeightsError unless the file is there and is the one that was indexed."""
        if not self.path.is_file():
            raise BadWeightsError(
                f"the weights {self.path} are missing, expected them beside {INDEX}: install zinterp again"
            )
        found = sha256_of(self.path)
        if found != self.sha256:
            raise BadWeightsError(
                f"the weights {self.path} have the hash {found[:12]}, expected {self.sha256[:12]}: "
                "the file is damaged or was replaced; install zinterp again"
            )


def sha256_of(path: Path) -> str:
    """The file's SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_directory() -> Path:
    """Where the shipped weights lie: $ZINTERP_WEIGHTS_DIR, the installed package, or the source tree.

    Raises
    ------
    BadWeightsError
        If none of these holds an index.
    """
    if given := os.environ.get(DIRECTORY_VARIABLE):
        candidates = [Path(given)]
    else:
        package = Path(str(resources.files("zinterp")))
        candidates = [package / "_weights", package.parent / "weights"]
    for candidate in candidates:
        if (candidate / INDEX).is_file():
            return candidate
    tried = " or ".join(map(str, candidates))
    raise BadWeightsError(f"no {INDEX} in {tried}, expected the shipped weights there: install zinterp again")


def shipped_weights() -> dict[str, ShippedWeights]:
    """All shipped weights of interpolating networks by name, the default first."""
    index = read_index()
    return {index.default: index.weights[index.default], **index.weights}


class Index(NamedTuple):
    """What ``index.toml`` says: weights by name, the default one's name, and those of the networks that help.

    ``features`` is what planes are compared by, ``restoration`` what restores the default network's planes; None where
    a directory has none.
    """

    weights: dict[str, ShippedWeights]
    default: str
    features: ShippedWeights | None
    restoration: ShippedWeights | None


def read_index() -> Index:
    """Read the index, checked to be whole."""
    directory = weights_directory()

    def entry(name: str, about: Mapping[str, Any]) -> ShippedWeights:
        path, sha256 = directory / str(about["file"]), str(about["sha256"])
        return ShippedWeights(name, path, sha256, int(about["parameters"]), str(about["summary"]), about)

    try:
        index = tomllib.loads((directory / INDEX).read_text(encoding="utf-8"))
        weights = {name: entry(name, about) for name, about in index["weights"].items()}
        default = weights[str(index["default"])].name
        helpers = [entry(name, index[name]) if name in index else None for name in ("features", "restoration")]
        return Index(weights, default, *helpers)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadWeightsError(f"{directory / INDEX} is damaged ({error!r}): install zinterp again") from error


def find_weights(model: str, others: Iterable[str] = ()) -> tuple[str, Path]:
    """The name and file of a model given by name or path, its hash checked if it is a shipped one.

    Raises
    ------
    BadOptionError
        If it is neither a known name nor a file; ``others`` are names that would have done as well.
    """
    shipped = shipped_weights()
    if model in shipped:
        shipped[model].verify()
        return model, shipped[model].path
    path = Path(model)
    if path.is_file():
        return path.stem, path
    raise BadOptionError(
        f"the model is {model!r}, expected one of {', '.join([*shipped, *others])} or a .safetensors file: "
        "'zinterp models' describes them"
    )


def load_features() -> "nn.Module":
    """The shipped autoencoder, whose features say how alike planes look; its weights are not to be trained.

    Raises
    ------
    BadWeightsError
        If its file is missing or damaged.
    """
    path = helper(read_index().features, "features to compare planes by")
    return load_network(path, FEATURE_NETWORKS).requires_grad_(False).eval()


def find_restoration(file: str | None = None) -> tuple[str, Path]:
    """The name and file of the weights that restore planes: the shipped ones, their hash checked, or those of a file.

    Raises
    ------
    BadOptionError
        If there is no such file.
    BadWeightsError
        If the shipped ones are missing or damaged.
    """
    if file is None:
        return "boundary-restoration", helper(read_index().restoration, "weights that restore planes")
    path = Path(file)
    if not path.is_file():
        raise BadOptionError(
            f"the weights to restore with, {file!r}, are not there, expected a .safetensors file: check the path, or "
            "give --restore alone for the shipped ones"
        )
    return path.stem, path


def load_restoration(path: Path) -> "nn.Module":
    """A network that restores planes, from its weights; see ``load_network``."""
    return load_network(path, RESTORERS)


def helper(shipped: ShippedWeights | None, what: str) -> Path:
    """The file of shipped weights that do not interpolate, their hash checked."""
    if shipped is None:
        raise BadWeightsError(
            f"{weights_directory() / INDEX} has no {what}, expected such as are shipped: unset {DIRECTORY_VARIABLE}"
        )
    shipped.verify()
    return shipped.path


def load_network(path: Path, architectures: Mapping[str, Callable[..., "nn.Module"]] = ARCHITECTURES) -> "nn.Module":
    """Build the network that a weights file is for and fill it; it must be one of ``architectures``.

    Raises
    ------
    BadWeightsError
        If the file is not safetensors, names no known network, or its tensors do not fit.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadWeightsError(f"{path} is no file, expected weights in safetensors format: check the path")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, LookupError, MemoryError) as error:
        raise BadWeightsError(
            f"{path} cannot be read ({reason_of(error)}), expected weights in safetensors format: no other kind is "
            "opened, as some can run programs"
        ) from error
    architecture = metadata.get("architecture", "")
    if architecture not in architectures:
        raise BadWeightsError(
            f"{path} is for the network {architecture!r}, expected one of {', '.join(architectures)}: "
            "give weights of 'zinterp train' to --model, and those of 'zinterp train --restoration' to --restore"
        )
    try:
        sizes = json.loads(metadata.get("sizes", "{}"))
        check_shapes(architectures[architecture], sizes, tensors)
        network = architectures[architecture](sizes)
        network.load_state_dict(tensors, strict=True)
    except (ValueError, RuntimeError, AttributeError, TypeError, ArithmeticError, LookupError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadWeightsError(f"{path} does not fit the network {architecture} ({reason}): it is damaged") from error
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise BadWeightsError(f"{path} holds weights that are not finite: its training failed; use an earlier one")
    return network


def check_shapes(build: Callable[..., "nn.Module"], sizes: object, tensors: Mapping[str, Any]) -> None:
    """Refuse sizes of a network that the tensors are not of, before memory is taken for it; a ValueError says why."""
    import torch

    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in build(sizes).state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if different := sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name)):
        name = different[0]
        raise ValueError(f"{len(different)} tensors, as {name}: {found.get(name)}, expected {expected.get(name)}")


def save_network(path: Path, network: Any, about: Mapping[str, str]) -> None:
    """Write the weights of a network, float16, to a temporary name and rename it.

    Parameters
    ----------
    path : Path
        The ``.safetensors`` file.
    network : nn.Module
        Its ``architecture``, a name of ``zinterp.models.ARCHITECTURES``, and its ``size``, a dataclass, are kept in the
        file, so that it can be built again.
    about : mapping of str to str
        Data, recipe: anything a reader should know.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().half().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {**about, "architecture": network.architecture, "sizes": json.dumps(asdict(network.size))}
    temporary = path.with_name(path.name + ".partial")
    try:
        if temporary.is_symlink():
            temporary.unlink()  # else what it leads to would be written over
        temporary.write_bytes(save(tensors, metadata=metadata))  # save_file gives the file to its owner alone
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path} ({error}): free some space, or choose another place") from error
