"""Options that more than one command has, each declared once.

--factor  --depths  --z-step  --isotropic  --positions  --skip  --fill-gaps  --drop-duplicates  --align
--model  --device  --precision  --tile  --overlap  --max-memory
--workers  --scheduler  --slab
--restore  --sharpen  --sharpen-radius  --sharpen-threshold  --grain  --fallback  --fallback-above
--voxel-size  --channel  --time  --keep-databar  --intensity-range  --fill-nonfinite
--config  --quiet  -v  --log-file
"""

import logging
import re
import sys
import tomllib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import click

from zinterp.cli.text import printable
from zinterp.duplicates import THRESHOLD, checked_threshold
from zinterp.errors import BadOptionError
from zinterp.volume import SECONDS, VoxelSize, parse_length

Command = TypeVar("Command", bound=Callable[..., Any])
BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


class Size(click.ParamType[int]):
    """Bytes, as in 8GB, 500MB or 2GiB."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Text to bytes."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?", str(value).strip().upper())
        if not match or match[2] not in BYTES:
            self.fail(f"{value!r} is not a size, expected a number and a unit: write 8GB", param, ctx)
        return int(float(match[1]) * BYTES[match[2]])


class Numbers(click.ParamType[list[str]]):
    """Numbers separated by commas, kept as text so that 0.1 stays a tenth."""

    name = "NUMBER,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Text to numbers as text."""
        parts = value if isinstance(value, list) else [part.strip() for part in str(value).split(",")]
        for part in parts:
            try:
                Fraction(part) if "/" in part else float(part)
            except (TypeError, ValueError, ZeroDivisionError):
                self.fail(f"{part!r} is not a number, expected numbers and commas: write 0.25,0.5", param, ctx)
        return [str(part) for part in parts]


class Range(click.ParamType[tuple[float, float]]):
    """Two grey values, LOW,HIGH."""

    name = "LOW,HIGH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Text to two numbers."""
        if isinstance(value, tuple):
            return value
        numbers = Numbers().convert(value, param, ctx)
        if len(numbers) != 2:
            self.fail(f"{value!r} is not two numbers, expected LOW,HIGH: write 0,4095", param, ctx)
        return float(numbers[0]), float(numbers[1])


class Gaps(click.ParamType[tuple[int, int]]):
    """Two whole numbers, LEAST-MOST."""

    name = "LEAST-MOST"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Text to two numbers."""
        match = re.fullmatch(r"(\d+)-(\d+)", str(value).strip())
        if not match:
            self.fail(f"{value!r} is not a range, expected LEAST-MOST: write 2-8", param, ctx)
        return int(match[1]), int(match[2])


class LossWeights(click.ParamType[dict[str, float]]):
    """Numbers with names, NAME=NUMBER,..."""

    name = "NAME=NUMBER,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, float]:
        """Text to numbers by name."""
        if isinstance(value, dict):
            return value
        try:
            pairs = [part.split("=") for part in str(value).split(",")]
            weights = {name.strip(): float(number) for name, number in pairs}
            if len(weights) == len(pairs):
                return weights
        except ValueError:
            pass
        self.fail(
            f"{value!r} are no weights, expected names, each once, and numbers: write perceptual=0.01", param, ctx
        )


class Part(click.ParamType[float]):
    """A part, 0 to 1; true is the default one, as an option without its value."""

    name = "PART"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text to a number."""
        option = param.opts[0] if param is not None else ""
        value = {"true": True, "false": False}.get(str(value).lower(), value)
        try:
            return checked_threshold(value if isinstance(value, bool) else float(value))
        except BadOptionError as error:
            self.fail(str(error), param, ctx)
        except ValueError:
            self.fail(
                f"{value!r} is not a number, expected a part of the pixels from 0 to 1: "
                f"put {option} after the stack, or write {option}={THRESHOLD}",
                param,
                ctx,
            )


class OrAlone(click.ParamType[Any]):
    """A value of an option that also stands alone; true, as in a TOML file, is the option alone, false is none."""

    def __init__(self, name: str, alone: Any, convert: Callable[[str], Any], expected: str) -> None:
        self.name = name
        self._alone = alone
        self._convert = convert
        self._expected = expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text to a value."""
        text = str(value)
        if text.lower() in ("true", "false"):
            return self._alone if text.lower() == "true" else None
        try:
            return self._convert(text)
        except ValueError:
            option = param.opts[0] if param is not None else ""
            self.fail(
                f"{text!r} is not {self._expected}: put {option} after the stack, or write {option}={self.name}",
                param,
                ctx,
            )


def amount(text: str) -> str | float:
    """How much to sharpen."""
    return "auto" if text.lower() == "auto" else float(text)


def weights_file(text: str) -> str:
    """The name of a weights file."""
    if not text.endswith(".safetensors"):
        raise ValueError
    return text


class Seconds(click.ParamType[float]):
    """A time in seconds, or with another unit: 90, 0.5s, 30min, 2h."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Text to seconds."""
        match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([a-zµμ]*)", str(value).strip())
        if not match or (match[2] and match[2] not in SECONDS):
            self.fail(f"{value!r} is not a time, expected a number of seconds, or a unit: write 30min", param, ctx)
        return float(match[1]) * SECONDS.get(match[2], 1.0)


class Length(click.ParamType[str]):
    """A length with its unit, kept as text so that 0.1 stays a tenth."""

    name = "LENGTH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Text, checked."""
        try:
            parse_length(str(value))
        except BadOptionError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class Voxel(click.ParamType[VoxelSize]):
    """A voxel size, ZxYxXUNIT or ZUNIT."""

    name = "ZxYxXUNIT|ZUNIT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> VoxelSize:
        """Text to a VoxelSize."""
        if isinstance(value, VoxelSize):
            return value
        try:
            return VoxelSize.parse(str(value))
        except BadOptionError as error:
            self.fail(str(error), param, ctx)


def apply(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Stack decorators, the first one shown first in the help."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def read_config(ctx: click.Context, param: click.Parameter, path: Path | None) -> None:
    """Take defaults from a TOML file whose keys are the command's options."""
    if path is None:
        return
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path} is not TOML ({error}), expected lines like: factor = 4") from error
    known = {max(p.opts, key=len).lstrip("-"): str(p.name) for p in ctx.command.params if is_settable(p)}
    if unknown := sorted({key.replace("_", "-") for key in values} - set(known)):
        raise click.UsageError(
            f"{path} has the unknown keys {', '.join(unknown)}, expected some of {', '.join(sorted(known))}"
        )
    defaults = {known[key.replace("_", "-")]: as_text(key, value, path) for key, value in values.items()}
    ctx.default_map = {**(ctx.default_map or {}), **defaults}


def is_settable(parameter: click.Parameter) -> bool:
    """Whether a parameter is an option that a file may set."""
    return isinstance(parameter, click.Option) and parameter.expose_value


def as_text(key: str, value: object, path: Path) -> object:
    """A value of a TOML file as the command line would have it, so that the same checks apply."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    if isinstance(value, str | int | float):
        return str(value)
    raise click.UsageError(f"{path} has {key} = {value!r}, expected a number, a text, true or false")


def is_data(path: Path) -> bool:
    """Whether a path is named like a volume."""
    from zinterp.io import format_of

    return format_of(path) is not None


class PrintableFormatter(logging.Formatter):
    """Log lines in which names and metadata of files cannot steer a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, on one line."""
        return printable(super().format(record))


def set_up_logging(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Send the log to stderr and, where asked, to a file. Runs when the last of the three options is known."""
    level = logging.WARNING if ctx.params.get("quiet") else logging.DEBUG if ctx.params.get("verbose") else logging.INFO
    root = logging.getLogger("zinterp")
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    handlers[0].setLevel(level)
    if value is not None:
        if is_data(Path(str(value))):
            raise click.UsageError(
                f"the log {value} is named like a stack, expected another name: give --log-file run.log"
            )
        try:
            handlers.append(logging.FileHandler(str(value), encoding="utf-8"))
        except OSError as error:
            raise click.UsageError(
                f"cannot write the log {value} ({error.strerror}): give another --log-file"
            ) from error
    for handler in handlers:
        handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    root.propagate = False


def log_options(command: Command) -> Command:
    """--quiet, -v, --log-file and --config."""
    return apply(
        click.option("-q", "--quiet", is_flag=True, is_eager=True, help="Only warnings and errors on stderr."),
        click.option("-v", "--verbose", is_flag=True, is_eager=True, help="Details on stderr."),
        click.option(
            "--log-file",
            type=click.Path(dir_okay=False),
            callback=set_up_logging,
            help="Also log to this file, in full.",
        ),
        click.option(
            "--config",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            is_eager=True,
            expose_value=False,
            callback=read_config,
            help="Take options from a TOML file; the command line comes first.",
        ),
    )(command)


def geometry_options(command: Command) -> Command:
    """--factor, --depths, --z-step, --isotropic, and those of ``places_options``."""
    return apply(
        click.option(
            "-f", "--factor", type=int, help="Make planes this many times denser: 2, 3, 4, ...; 1 to repair a stack."
        ),
        click.option("--depths", type=Numbers(), metavar="T,T,...", help="Planes at these depths of each gap, 0 to 1."),
        click.option("--z-step", type=Length(), help="Planes this far apart, as in 5nm, from the first plane on."),
        click.option("--isotropic", is_flag=True, default=None, help="Planes as far apart as pixels."),
        places_options,
    )(command)


def places_options(command: Command) -> Command:
    """--positions, --skip, --fill-gaps, --align."""
    return apply(
        click.option(
            "--positions",
            metavar="FILE[:COLUMN]|names",
            help="Where each plane was measured to lie: one number a line, or a column of a table; 'names' goes by the "
            "names of slices.",
        ),
        click.option(
            "--skip", metavar="LIST|auto", help="Planes to leave out, from 0, as in 17,20-22; auto finds bad ones."
        ),
        click.option(
            "--fill-gaps", is_flag=True, default=None, help="Make the planes whose numbers lack in a folder of slices."
        ),
        click.option(
            "--align",
            is_flag=True,
            default=None,
            help="Take drift from plane to plane out before interpolating, and put it back in equal steps.",
        ),
    )(command)


def network_options(command: Command) -> Command:
    """--model, and those of ``machine_options``."""
    return apply(
        click.option(
            "-m",
            "--model",
            metavar="NAME|FILE|auto",
            help="optical-flow, cubic, linear, a name that 'zinterp models' lists, or a weights file; auto takes cubic "
            "where that predicts hidden planes of the stack better than the default network.  [default: the first "
            "listed]",
        ),
        machine_options,
    )(command)


def machine_options(command: Command) -> Command:
    """--device, --precision, --tile, --overlap, --max-memory."""
    return apply(
        click.option(
            "--device", metavar="auto|cpu|cuda|cuda:N|mps", help="Where the network computes.  [default: auto]"
        ),
        click.option(
            "--precision",
            type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
            help="Of the network's convolutions.  [default: auto]",
        ),
        click.option("--tile", type=click.IntRange(min=1), help="Edge of the tiles in pixels.  [default: by memory]"),
        click.option(
            "--overlap", type=click.IntRange(min=0), help="Pixels that tiles share.  [default: the network's need]"
        ),
        click.option("--max-memory", type=Size(), help="What the job may use.  [default: half of the machine's]"),
    )(command)


def wide_options(command: Command) -> Command:
    """--workers, --scheduler, --slab."""
    return apply(
        click.option(
            "--workers", type=click.IntRange(min=1), help="Processes that make planes at a time.  [default: this one]"
        ),
        click.option(
            "--scheduler", metavar="ADDRESS", help="Let the workers of a dask scheduler make planes: tcp://HOST:8786."
        ),
        click.option(
            "--slab",
            metavar="I/N",
            help="Make only the I-th of N shares of the output, beside other jobs; 'zinterp finish' completes it.",
        ),
    )(command)


def input_options(command: Command) -> Command:
    """--voxel-size, --channel, --time, --keep-databar, --intensity-range, --fill-nonfinite."""
    return apply(
        click.option(
            "--voxel-size",
            type=Voxel(),
            metavar="ZxYxXUNIT|ZUNIT",
            help="Of the input, z first, as in 20x5x5nm, or z alone, as in 20nm, where the file is wrong or silent.",
        ),
        click.option("--channel", type=click.IntRange(min=0), help="The only channel to take.  [default: all]"),
        click.option("--time", type=click.IntRange(min=0), help="The only time point to take.  [default: all]"),
        click.option(
            "--keep-databar", is_flag=True, default=None, help="Leave the data bar that a microscope burnt in."
        ),
        click.option(
            "--intensity-range",
            type=Range(),
            help="Grey values that bound what is of interest.  [default: 0.1 and 99.9 percentiles]",
        ),
        click.option(
            "--fill-nonfinite",
            is_flag=True,
            default=None,
            help="Interpolate around NaN and infinite pixels, not refuse them.",
        ),
    )(command)


def optional(name: str, type: OrAlone, text: str) -> Callable[[Command], Command]:
    """An option with or without a value."""
    return click.option(name, type=type, is_flag=False, flag_value="true", metavar=f"[{type.name}]", help=text)


def finishing_options(command: Command) -> Command:
    """--restore, --sharpen, --sharpen-radius, --sharpen-threshold, --grain, --fallback, --fallback-above."""
    return apply(
        optional(
            "--restore",
            OrAlone("FILE", True, weights_file, "a .safetensors file"),
            "Restore boundaries in synthesised planes by a second network, the shipped one or FILE, so that they are "
            "as crisp as acquired ones.",
        ),
        optional(
            "--sharpen",
            OrAlone("AMOUNT|auto", "auto", amount, "a number or auto"),
            "Unsharp mask for synthesised planes; auto, or no value, sharpens each as far as its acquired neighbours "
            "are sharp.",
        ),
        click.option(
            "--sharpen-radius",
            type=click.FloatRange(min=0, min_open=True),
            help="Of the unsharp mask, in pixels.  [default: 1.5, with auto the one that suits]",
        ),
        click.option(
            "--sharpen-threshold",
            type=click.FloatRange(0, 1, max_open=True),
            help="Part of the intensity range: less detail than this is not sharpened.  [default: 0]",
        ),
        optional(
            "--grain",
            OrAlone("SEED", 0, int, "a whole number"),
            "Add grain like that of the acquired planes to synthesised ones, drawn from SEED, which is recorded.",
        ),
        click.option(
            "--fallback",
            type=click.Choice(["cubic"]),
            help="Take the cubic value where the model is too unsure; its share is recorded.",
        ),
        click.option(
            "--fallback-above",
            type=click.FloatRange(min=0, min_open=True),
            metavar="PART",
            help="What is too unsure: a predicted deviation above this part of the intensity range.  [default: 0.2]",
        ),
    )(command)


def duplicates_option(name: str, text: str) -> Callable[[Command], Command]:
    """--drop-duplicates and --duplicates, with or without a threshold."""
    return click.option(
        name,
        type=Part(),
        is_flag=False,
        flag_value=str(THRESHOLD),
        metavar="[THRESHOLD]",
        help=f"{text} These change less than half as much as is ordinary there, and less than this part of their "
        f"pixels change more than that; 0 finds none.  [without a value: {THRESHOLD}]",
    )


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were set; the library has the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}
