"""The demonstration: a phantom with every fourth plane, made dense again and compared with what was left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from zinterp.errors import OutputExistsError
from zinterp.evaluation.hidden_planes import Evaluation, evaluate
from zinterp.evaluation.report import write_report
from zinterp.io import OutputOptions, create_volume
from zinterp.phantom import Phantom
from zinterp.pipeline import upsample
from zinterp.volume import VolumeInfo, VoxelSize

Stack = NDArray[Any]
TRUE_VOXEL = VoxelSize(0.008, 0.008, 0.008)


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration wrote, and how near each model came to the planes that were left out."""

    input: Path
    output: Path
    picture: Path
    page: Path
    evaluation: Evaluation


def demonstrate(
    folder: Path,
    *,
    size: int = 256,
    planes: int = 33,
    factor: int = 4,
    model: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    report: Callable[[str], None] = lambda text: None,
) -> Demonstration:
    """Make a phantom, upsample every ``factor``-th plane of it, compare with what was left out, and show that.

    Parameters
    ----------
    folder : Path
        Written into.
    size, planes : int
        Pixels along y and x, and planes, of the true volume; ``planes - 1`` is a multiple of ``factor``.
    factor : int
    model : str or None
        The network to show beside linear and cubic.
    seed : int
        Of the phantom.
    overwrite : bool
        Replace files of the same names.
    report : callable
        Called with what is being done.

    Raises
    ------
    OutputExistsError
        If one of the files is there and ``overwrite`` is False.
    """
    truth, thin, output = folder / "truth.tif", folder / "input.tif", folder / f"input_x{factor}.tif"
    picture, page = folder / "demo.png", folder / "report.html"
    taken = [path.name for path in (truth, thin, output, picture, page) if path.exists()]
    if taken and not overwrite:
        raise OutputExistsError(f"{folder} has {', '.join(taken)} already: give --overwrite, or another -o")
    report(f"drawing a phantom of {planes} planes of {size} x {size} pixels")
    volume = Phantom.random((planes, size, size), seed=seed).volume(range(planes), (size, size))
    write(truth, volume, TRUE_VOXEL)
    write(thin, volume[::factor], replace(TRUE_VOXEL, z=(TRUE_VOXEL.z or 0.0) * factor))
    report(f"upsampling every {factor}th plane of it")
    upsample(thin, output, factor=factor, model=model, overwrite=True)
    report("comparing with the planes that were left out")
    evaluation = evaluate(truth, factor=factor, models=[] if model is None else [model], planes=0, size=0)
    results = {"truth": evaluation.truth.planes}
    results |= {score.model: evaluation.predictions[score.model].planes for score in reversed(evaluation.scores)}
    draw(picture, results, k=(planes // factor // 2) * factor + factor // 2, factor=factor)
    write_report(page, evaluation, overwrite=True)
    return Demonstration(thin, output, picture, page, evaluation)


def write(path: Path, stack: Stack, voxel_size: VoxelSize) -> None:
    """Write a stack as an ImageJ TIFF, replacing what is there."""
    info = VolumeInfo((stack.shape[0], stack.shape[1], stack.shape[2]), stack.dtype, voxel_size, unit="nm")
    writer = create_volume(path, info, OutputOptions("tiff", overwrite=True), {"program": "zinterp demo"})
    writer.write(0, stack)
    writer.finish()


def draw(path: Path, results: Mapping[str, Stack], *, k: int, factor: int) -> None:
    """One picture: a hidden plane of the truth, the first, and of each model, their errors, and a cut along z."""
    truth = next(iter(results.values()))
    edge, middle = truth.shape[1], truth.shape[1] // 2
    zoom = max(1, round(256 / edge))
    columns = list(results.items())
    rows = [
        (f"plane {k}, {k % factor}/{factor} into its gap", [stack[k] for _, stack in columns]),
        (
            "|error| x 4",
            [np.clip(4 * np.abs(s[k].astype(int) - truth[k]), 0, 255).astype(np.uint8) for _, s in columns],
        ),
        ("cut along z, every plane 3 rows", [np.repeat(stack[:, middle], 3, axis=0) for _, stack in columns]),
    ]
    label, gap = 18, 6
    heights = [images[0].shape[0] * zoom for _, images in rows]
    width = len(columns) * (edge * zoom + gap) + gap
    canvas = Image.new("L", (width, label + sum(h + label + gap for h in heights)), 255)
    pen = ImageDraw.Draw(canvas)
    for i, (name, _) in enumerate(columns):
        pen.text((gap + i * (edge * zoom + gap), 3), name, fill=0)
    top = label
    for (title, images), height in zip(rows, heights, strict=True):
        pen.text((gap, top + 2), title, fill=0)
        for i, image in enumerate(images):
            picture = Image.fromarray(image).resize((edge * zoom, height), Image.Resampling.NEAREST)
            canvas.paste(picture, (gap + i * (edge * zoom + gap), top + label))
        top += height + label + gap
    canvas.save(path)
