"""The demonstration: a phantom with every fourth plane, made dense again and compared with what was left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from zinterp.errors import OutputExistsError
from zinterp.evaluation.metrics import psnr, sharpness, ssim
from zinterp.io import OutputOptions, create_volume, open_volume
from zinterp.phantom import Phantom
from zinterp.pipeline import upsample
from zinterp.volume import VolumeInfo, VoxelSize

Stack = NDArray[np.uint8]
MODELS = ("linear", "cubic", "network")
TRUE_VOXEL = VoxelSize(0.008, 0.008, 0.008)


@dataclass(frozen=True)
class Score:
    """How near a model's planes came to the true ones."""

    psnr_db: float
    ssim: float
    sharpness: float


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration wrote, and each model's score on the planes that were left out."""

    input: Path
    output: Path
    picture: Path
    scores: Mapping[str, Score]


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
    """Make a phantom, upsample every ``factor``-th plane of it with three models, score them and draw a picture.

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
    names = ["truth.tif", "input.tif", "demo.png", *(f"{name}_x{factor}.tif" for name in MODELS)]
    taken = [name for name in names if (folder / name).exists()]
    if taken and not overwrite:
        raise OutputExistsError(f"{folder} has {', '.join(taken)} already: give --overwrite, or another -o")
    report(f"drawing a phantom of {planes} planes of {size} x {size} pixels")
    phantom = Phantom.random((planes, size, size), seed=seed)
    truth = phantom.volume(range(planes), (size, size))
    thin = VoxelSize(TRUE_VOXEL.z and TRUE_VOXEL.z * factor, TRUE_VOXEL.y, TRUE_VOXEL.x)
    write(folder / "truth.tif", truth, TRUE_VOXEL)
    write(folder / "input.tif", truth[::factor], thin)
    results = {}
    for name, chosen in zip(MODELS, ("linear", "cubic", model), strict=True):
        report(f"upsampling every {factor}th plane with {name}")
        output = folder / f"{name}_x{factor}.tif"
        upsample(folder / "input.tif", output, factor=factor, model=chosen, overwrite=True)
        with open_volume(output) as reader:
            results[name] = reader.read(range(reader.info.shape[0]))
    hidden = [k for k in range(planes) if k % factor]
    span = float(np.subtract(*np.percentile(truth, [99.9, 0.1])))
    scores = {
        name: Score(
            psnr(truth[hidden], result[hidden], data_range=span),
            ssim(truth[hidden], result[hidden], data_range=span),
            sharpness(truth[hidden], result[hidden]),
        )
        for name, result in results.items()
    }
    picture = folder / "demo.png"
    draw(picture, truth, results, k=(planes // factor // 2) * factor + factor // 2, factor=factor)
    return Demonstration(folder / "input.tif", folder / f"network_x{factor}.tif", picture, scores)


def write(path: Path, stack: Stack, voxel_size: VoxelSize) -> None:
    """Write a stack as an ImageJ TIFF, replacing what is there."""
    info = VolumeInfo((stack.shape[0], stack.shape[1], stack.shape[2]), stack.dtype, voxel_size, unit="nm")
    writer = create_volume(path, info, OutputOptions("tiff", overwrite=True), {"program": "zinterp demo"})
    writer.write(0, stack)
    writer.finish()


def draw(path: Path, truth: Stack, results: Mapping[str, Stack], *, k: int, factor: int) -> None:
    """One picture: a hidden plane as it is and as each model has it, their errors, and a cut along z."""
    edge, middle = truth.shape[1], truth.shape[1] // 2
    zoom = max(1, round(256 / edge))
    columns = [("truth", truth), *results.items()]
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
