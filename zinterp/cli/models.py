"""``zinterp models``."""

import json

import click

from zinterp.cli.options import log_options


@click.command("models")
@click.option(
    "--json", "as_json", is_flag=True, envvar="ZINTERP_MODELS_JSON", help="All that is known of each, as JSON."
)
@log_options
def command(as_json: bool, quiet: bool, verbose: bool, log_file: str | None) -> None:
    """List the models, and verify the shipped weights by their hashes.

    \b
    Examples:
      zinterp models
      zinterp models --json
    """
    from zinterp.interpolators import CLASSICAL
    from zinterp.interpolators.weights import read_index, shipped_weights

    shipped, index = shipped_weights(), read_index()
    if index.restoration is not None:
        shipped["--restore"] = index.restoration
    for weights in (*shipped.values(), *([index.features] if index.features else [])):
        weights.verify()
    if as_json:
        click.echo(json.dumps({name: dict(weights.about) for name, weights in shipped.items()}, default=str))
        return
    for i, (name, weights) in enumerate(shipped.items()):
        default = " (default)" if i == 0 else ""
        click.echo(f"{name}{default}: {weights.summary}")
        click.echo(f"  {weights.parameters / 1e6:.2f} M parameters, sha256 {weights.sha256[:12]} verified")
        for data in weights.about.get("data", []):
            click.echo(f"  trained on {data['what']} ({data['source']}, {data['licence']})")
    for name in CLASSICAL:
        click.echo(f"{name}: without weights")
