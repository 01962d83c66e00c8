"""``zinterp demo``."""

from pathlib import Path

import click

from zinterp.cli.evaluate import describe
from zinterp.cli.options import log_options
from zinterp.cli.progress import logger


@click.command("demo")
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("zinterp-demo"),
    show_default=True,
    help="Where the stacks and the picture go.",
)
@click.option(
    "--model", metavar="NAME|FILE", help="The network to show.  [default: the first that 'zinterp models' lists]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another number, another phantom.")
@click.option("--overwrite", is_flag=True, help="Replace the files of an earlier demonstration.")
@log_options
def command(
    output_dir: Path, model: str | None, seed: int, overwrite: bool, quiet: bool, verbose: bool, log_file: str | None
) -> None:
    """Show what zinterp does, with no input: upsample a synthetic volume and compare with the planes left out.

    \b
    Example:
      zinterp demo
    """
    from zinterp.errors import OutputError
    from zinterp.evaluation.demo import demonstrate

    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {output_dir} ({error.strerror}): choose another -o") from error
    shown = demonstrate(output_dir, model=model, seed=seed, overwrite=overwrite, report=logger.info)
    click.echo("\n".join(describe(shown.evaluation)))
    click.echo(f"input    {shown.input}\noutput   {shown.output}\npicture  {shown.picture}\nreport   {shown.page}")
