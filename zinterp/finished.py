"""Whether an output that is there is what a job would make, from its record and a few planes of the input."""

import json
from pathlib import Path
from typing import Any

from zinterp.geometry import place_planes
from zinterp.interpolators import CLASSICAL, parts_of
from zinterp.io import read_record, recorded_name, sample_digest
from zinterp.options import AUTO, UpsampleOptions, parse_skip
from zinterp.slabs import open_source
from zinterp.volume import decimal

WORDS = {
    "source": "source",
    "source_shape": "shape of the source",
    "dtype": "dtype",
    "first_channel": "channel",
    "first_time": "time",
    "source_sample": "digest of the source's pixels",
    "step": "step between planes",
    "outputs": "places of planes",
    "finishing": "finishing",
    "model": "model",
    "restoration": "restoration",
}
"""What is compared, as far as the output's format keeps it."""


def find_difference(source: Path, target: Path, options: UpsampleOptions) -> str:
    """In what an output differs from that of a job, in words; "" if in nothing that costs little to know.

    Parameters
    ----------
    source, target : Path
    options : UpsampleOptions
        Of the job.

    Returns
    -------
    str
        The first difference. Not looked at are options for the machine, the intensity range, and planes that are left
        out.

    Raises
    ------
    InputError, BadVolumeError
        If the input cannot be read.
    """
    record = read_record(target)
    if record is None:
        return "it does not say how it was made"
    found = {**record, "model": model_of(record), "restoration": bool(parts_of(str(record.get("model")))[1])}
    with open_source(source, options) as reader:
        grid = place_planes(reader.info, options).grid
        planes, auto = parse_skip(options.skip)
        grid = grid.without(planes)
        wanted: dict[str, Any] = {
            "source": recorded_name(source),
            "source_shape": list(reader.info.shape),
            "dtype": reader.info.dtype.name,
            "first_channel": options.channel or 0,
            "first_time": options.time or 0,
            "source_sample": sample_digest(reader),
            "step": str(grid.step) if grid.step else None,
            "finishing": json.loads(json.dumps(options.finishing().record())),
        }
        if not grid.step and not auto:
            wanted["outputs"] = [decimal(float(place)) for place in grid.outputs]
    if options.model != AUTO:
        wanted |= {"model": wanted_model(options), "restoration": bool(options.restore)}
    for name, words in WORDS.items():
        if name in wanted and name in found and found[name] != wanted[name]:
            return f"its {words} is {found[name]}, and would be {wanted[name]}"
    if options.confidence is not None and not Path(options.confidence).exists():
        return f"the confidence {options.confidence} is not beside it"
    return ""


def other_weights(target: Path, options: UpsampleOptions) -> str:
    """That an output was made with other weights of the same name, in words; "" if it was not."""
    model = str((read_record(target) or {}).get("model"))
    if options.model in (AUTO, *CLASSICAL) or "@" not in model:
        return ""
    from zinterp.interpolators.weights import find_weights, sha256_of, shipped_weights

    name, path = find_weights(options.model or next(iter(shipped_weights())), CLASSICAL)
    hashed = parts_of(model)[0].partition("@")[2].partition(",")[0]
    return "" if sha256_of(path).startswith(hashed) else f"made with other weights called {name}"


def model_of(record: dict[str, Any]) -> str:
    """The name of the model in a record, without the hash of its weights and without where it was run."""
    return parts_of(str(record.get("model")))[0].partition("@")[0].partition(",")[0]


def wanted_model(options: UpsampleOptions) -> str:
    """The name that the model of a job will have in the record."""
    if options.model in CLASSICAL:
        return str(options.model)
    from zinterp.interpolators.weights import find_weights, shipped_weights

    return find_weights(options.model or next(iter(shipped_weights())), CLASSICAL)[0]
