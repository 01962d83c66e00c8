"""``zinterp train``."""

from pathlib import Path
from typing import Any

import click

from zinterp.cli.options import Gaps, given, log_options
from zinterp.cli.progress import logger, show_progress


@click.command("train")
@click.argument("stacks", metavar="STACK...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The weights: FILE.safetensors."
)
@click.option("--steps", type=click.IntRange(min=1), help="How long: so many steps.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="How long: so many minutes.")
@click.option("--init", metavar="NAME|FILE", help="Weights to start from, by name or path.  [default: random ones]")
@click.option("--device", default="cpu", show_default=True, help="Where to train: cpu, cuda or cuda:N.")
@click.option("--seed", type=int, help="Of weights and crops.  [default: 0]")
@click.option(
    "--axes",
    type=click.Choice(["zyx", "z"]),
    default="zyx",
    show_default=True,
    help="Along which axes planes are hidden: zyx where voxels are cubes, z where they are not.",
)
@click.option("--gaps", type=Gaps(), help="Planes from one that is seen to the next.  [default: 2-8]")
@click.option(
    "--held-out", type=click.FloatRange(0, 0.5), help="Part of the planes, the last ones, to score.  [default: 0.2]"
)
@click.option("--batch", type=click.IntRange(min=1), help="Crops a step.  [default: 16]")
@click.option(
    "--crop", type=click.IntRange(min=32), help="Edge of the crops in pixels, a multiple of 16.  [default: 96]"
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="At its highest.  [default: 0.0015]")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint beside the output.")
@click.option("--overwrite", is_flag=True, help="Replace the output if there is one.")
@log_options
def command(
    stacks: tuple[Path, ...],
    out: Path,
    init: str | None,
    device: str,
    axes: str,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
    log_file: str | None,
    **options: Any,  # the fields of TrainingOptions that were declared above
) -> None:
    """Train a network on stacks by hiding planes of theirs; a stack named twice is seen twice as often.

    The held-out gain that is shown is over the better of linear and cubic, on planes that are not trained on.

    \b
    Example:
      zinterp train isotropic.tif --out mine.safetensors --minutes 60
      zinterp train stack.tif --axes z --init mirror-unet --out tuned.safetensors --minutes 5
      zinterp upsample stack.tif --factor 4 --model mine.safetensors
    """
    from zinterp.errors import OutputExistsError
    from zinterp.interpolators.weights import find_weights
    from zinterp.training.data import read_training_volumes
    from zinterp.training.train import Progress, TrainingOptions, train

    settings = TrainingOptions(axes=tuple("zyx".index(axis) for axis in axes), **given(options))
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} exists already: give --overwrite to replace it, or another --out")
    start = find_weights(init)[1] if init else None
    volumes = read_training_volumes(stacks)
    with show_progress("training", "%") as show:

        def report(progress: Progress) -> None:
            gain = "not scored yet" if progress.held_out_gain_db is None else f"{progress.held_out_gain_db:+.2f} dB"
            logger.info(
                "step %d, %.0f s, loss %.2f dB, held-out gain %s",
                progress.step,
                progress.elapsed_s,
                progress.loss_db,
                gain,
            )
            show(round(100 * progress.done), 100)

        data = ", ".join(dict.fromkeys(path.name for path in stacks))
        gain = train(volumes, out, settings, init=start, device=device, resume=resume, data=data, report=report)
    click.echo(f"{out}" if gain is None else f"{out}  held-out gain {gain:+.2f} dB over the better of linear and cubic")
