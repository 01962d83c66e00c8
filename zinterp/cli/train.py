"""``zinterp train``."""

from pathlib import Path
from typing import Any

import click

from zinterp.cli.options import Gaps, LossWeights, given, log_options
from zinterp.cli.progress import logger, show_progress
from zinterp.models import NETWORKS, PUBLISHED

DEFAULT = next(iter(NETWORKS))


@click.command("train")
@click.argument("stacks", metavar="STACK...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The weights: FILE.safetensors."
)
@click.option("--steps", type=click.IntRange(min=1), help="How long: so many steps.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="How long: so many minutes.")
@click.option(
    "--model",
    type=click.Choice(list(NETWORKS)),
    help=f"The network, trained with its own losses.  [default: {DEFAULT}]",
)
@click.option("--published", is_flag=True, help="--model at the size that it was published with; needs --init none.")
@click.option(
    "--init",
    metavar="FILE|none",
    help="Weights to start from; none are random ones.  [default: the shipped ones of --model]",
)
@click.option(
    "--features",
    is_flag=True,
    help="Train instead the autoencoder that super-slomo's perceptual loss compares planes by.",
)
@click.option(
    "--restoration",
    is_flag=True,
    help="Train instead the network of 'upsample --restore', on planes that the default model makes of the stacks.",
)
@click.option(
    "--loss-weights",
    type=LossWeights(),
    help="Weights of single terms of the network's loss, such as perceptual=0.01,smoothness=0.5.",
)
@click.option("--device", default="cpu", show_default=True, help="Where to train: cpu, cuda or cuda:N.")
@click.option("--seed", type=int, help="Of weights and crops.  [default: 0]")
@click.option(
    "--axes",
    type=click.Choice(["auto", "zyx", "z"]),
    default="auto",
    show_default=True,
    help="Along which axes planes are hidden: zyx where voxels are cubes, z where they are not. auto goes by the voxel "
    "sizes of the stacks, z if one is not known.",
)
@click.option("--gaps", type=Gaps(), help="Planes from one that is seen to the next.  [default: 2-9, along z only 2-4]")
@click.option(
    "--held-out", type=click.FloatRange(0, 0.5), help="Part of the planes, the last ones, to score.  [default: 0.2]"
)
@click.option("--batch", type=click.IntRange(min=1), help="Crops a step.  [default: 8]")
@click.option(
    "--crop",
    type=click.IntRange(min=32),
    help="Edge of the crops in pixels, a multiple of 16, for large networks of up to 128.  [default: 96 or more]",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="At its highest.  [default: what suits the network]",
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint beside the output.")
@click.option("--overwrite", is_flag=True, help="Replace the output, or begin an interrupted training anew.")
@log_options
def command(
    stacks: tuple[Path, ...],
    out: Path,
    model: str | None,
    published: bool,
    init: str | None,
    features: bool,
    restoration: bool,
    device: str,
    axes: str,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    verbose: bool,
    log_file: str | None,
    **options: Any,  # the fields of TrainingOptions that were declared above
) -> None:
    """Train on stacks of your own by hiding planes of theirs, starting from the shipped weights.

    The last part of each stack is held out and scored before, during and after. The gain that is shown is over the
    better of linear and cubic there. What scored best is kept, and nothing if it is not better than what it started
    from. A stack named twice is seen twice as often.

    \b
    Example:
      zinterp train stack.tif --out tuned.safetensors --minutes 5
      zinterp upsample stack.tif --factor 4 --model tuned.safetensors
      zinterp train a.tif b.tif --model fbnet --init none --axes zyx --out mine.safetensors --minutes 120
      zinterp train stack.tif --restoration --out edges.safetensors --minutes 5
    """
    from zinterp.errors import BadOptionError, TrainingError
    from zinterp.interpolators.weights import find_restoration, find_weights
    from zinterp.models import RESTORERS
    from zinterp.training.data import axes_of, read_training_volumes
    from zinterp.training.train import Progress, TrainingOptions, check_out, train

    if model and init not in (None, "none"):
        raise BadOptionError(
            f"got --model {model} and --init {init}, expected one of them: a file says what network it is for"
        )
    if published and (model not in PUBLISHED or init != "none"):
        raise BadOptionError(
            f"got --published with --model {model} and --init {init}, expected --init none and one of "
            f"{', '.join(PUBLISHED)}"
        )
    if restoration and (model or features):
        raise BadOptionError("got --restoration with --model or --features, expected one of them: train them apart")
    architecture, sizes = (next(iter(RESTORERS)), {}) if restoration else NETWORKS[model or DEFAULT]
    sizes = PUBLISHED[architecture] if published else sizes
    chosen = axes_of(stacks) if axes == "auto" else tuple("zyx".index(axis) for axis in axes)
    settings = TrainingOptions(architecture, dict(sizes), axes=chosen, **given(options))
    check_out(out, resume=resume, overwrite=overwrite)
    if features:
        chosen_too = given({"model": model, "init": init, "resume": resume or None, **options})
        if others := chosen_too.keys() - {"steps", "minutes", "seed"}:
            raise BadOptionError(
                f"got --features with {', '.join(sorted(others))}, expected --steps or --minutes and at most --axes, "
                "--seed, --device and --overwrite"
            )
        train_autoencoder(stacks, out, settings, device)
        return
    start = None
    if init != "none":
        start = find_restoration(init) if restoration else find_weights(init or model or DEFAULT)
    volumes = read_training_volumes(stacks)

    def described(score: float | None) -> str:
        if restoration:
            return "loss not known" if score is None else f"loss {-score:.4f}"
        return f"gain over the better of linear and cubic: {decibels(score)}"

    with show_progress("training", "%") as show:

        def report(progress: Progress) -> None:
            logger.info(
                "step %d, %.0f s, mean log MSE %s, held-out %s",
                progress.step,
                progress.elapsed_s,
                decibels(progress.loss_db),
                described(progress.held_out),
            )
            show(round(100 * progress.done), 100)

        outcome = train(
            volumes,
            out,
            settings,
            init=start[1] if start else None,
            device=device,
            resume=resume,
            overwrite=overwrite,
            data=names_of(stacks),
            report=report,
        )
    gains = f"held-out {described(outcome.after)}"
    if outcome.before is not None:
        gains += f", {described(outcome.before)} before"
    if not outcome.kept:
        raise TrainingError(
            f"training did not help, so {out} is not written ({gains}): go on with {start[0] if start else 'none'}, or "
            "give more --minutes, more stacks or a lower --learning-rate"
        )
    click.echo(f"{out}  {gains}")


def train_autoencoder(stacks: tuple[Path, ...], out: Path, settings: Any, device: str) -> None:
    """Train what planes are compared by instead."""
    from zinterp.training.data import read_training_volumes
    from zinterp.training.features import train_features

    with show_progress("training", "%") as show:
        error = train_features(
            read_training_volumes(stacks),
            out,
            steps=settings.steps,
            minutes=settings.minutes,
            axes=settings.axes,
            device=device,
            seed=settings.seed,
            data=names_of(stacks),
            report=lambda done, error: show(round(100 * done), 100),
        )
    click.echo(f"{out}  {error:.4f} of the intensity range off on average")


def names_of(stacks: tuple[Path, ...]) -> str:
    """The stacks' names, each once."""
    return ", ".join(dict.fromkeys(path.name for path in stacks))


def decibels(gain: float | None) -> str:
    """A gain as text."""
    return "not known" if gain is None else f"{gain:+.2f} dB"
