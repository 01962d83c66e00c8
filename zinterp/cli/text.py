"""What commands print about volumes and jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zinterp.job import Job
    from zinterp.outcome import Outcome
    from zinterp.provenance import Provenance
    from zinterp.volume import VolumeInfo

LONGEST_OPTION = 80  # characters


def printable(text: str) -> str:
    """Text on one line, with what could steer a terminal shown as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text.strip().replace("\n", " "))


def printable_line(line: str) -> str:
    """As ``printable``, with the blanks before a line that is indented."""
    return line[: len(line) - len(line.lstrip(" "))] + printable(line)


def describe_volume(info: "VolumeInfo") -> str:
    """Planes, pixels, dtype and bytes on one line."""
    depth, height, width = info.shape
    from zinterp.volume import readable

    planes = "planes" if depth > 1 else "plane"
    counts = ((info.times, "times"), (info.channels, "channels"))
    several = "".join(f"{count} {name} of " for count, name in counts if count > 1)
    return f"{several}{depth} {planes} of {width} x {height} pixels, {info.dtype.name}, {readable(info.bytes)}"


def describe_job(job: "Job") -> list[str]:
    """The lines about a job that is planned."""
    ranges = dict.fromkeys(f"{stack.normalizer.low:g} to {stack.normalizer.high:g}" for stack in job.stacks)
    tiles = job.layout.counts[0] * job.layout.counts[1]
    return [
        f"  output      {describe_volume(job.output)}, {job.output.format}",
        f"  of these    {job.planes - job.synthesised} acquired, {job.synthesised} synthesised, {len(job.slabs)} slabs",
        f"  voxel size  {job.output.voxel_size} (z, y, x)",
        f"  model       {job.model}, {tiles} tiles of {job.layout.tile[1]} x {job.layout.tile[0]} pixels a plane",
        f"  intensity   {', '.join(ranges)} as 0 to 1",
        *describe_finishing(job),
        *(f"  note        {note}" for note in job.notes),
    ]


def describe_finishing(job: "Job") -> list[str]:
    """The line about what is done to synthesised planes beside interpolating them; none where that is nothing."""
    finishing, sharpening = job.finishing, job.finishing.sharpening
    steps = []
    if sharpening is not None:
        steps.append(
            "sharpened as their neighbours" if sharpening.amount is None else f"sharpened by {sharpening.amount:g}"
        )
    if finishing.grain_seed is not None:
        steps.append(f"grain added from seed {finishing.grain_seed}")
    if finishing.fallback_above is not None:
        steps.append(f"cubic where deviations are above {finishing.fallback_above:g} of the range")
    return [f"  finishing   {', '.join(steps)}"] if steps else []


def describe_provenance(made: "Provenance", planes: int | None) -> list[str]:
    """The lines about how an output was made; ``planes`` are those that it has now, None if some were not looked at."""
    from zinterp.errors import BadVolumeError
    from zinterp.planes_table import ACQUIRED

    source = [made.source or "a stack whose name is not recorded"]
    if made.source_shape:
        source.append("{} planes of {} x {} pixels".format(*(made.source_shape[i] for i in (0, 2, 1))))
    lines = [f"  made by     {made.program}", f"  from        {', '.join(filter(None, [*source, made.dtype]))}"]
    lines += [f"  model       {made.model}"] if made.model else []
    try:
        acquired = sum(row.kind == ACQUIRED for row in made.rows)
        lines += [f"  planes      {acquired} acquired, {len(made.rows) - acquired} synthesised"] if made.rows else []
        if made.rows and planes not in (None, len(made.rows)):
            lines.append(f"  note        the record is about {len(made.rows)} planes, and the file has {planes} now")
    except BadVolumeError as error:
        lines.append(f"  note        {error}")
    lines += describe_pulsing(made.options.get("pulsing"))
    hidden = {"pulsing"} | {name for name in ("first_channel", "first_time") if not made.options.get(name)}
    finishing = made.options.get("finishing")
    flat = {**made.options, **finishing, "finishing": None} if isinstance(finishing, dict) else made.options
    options = {name: value for name, value in flat.items() if is_set(value) and name not in hidden}
    if options:
        lines.append(f"  options     {'; '.join(describe_option(name, value) for name, value in options.items())}")
    return [f"  {printable(line)}" for line in lines]


def describe_pulsing(recorded: object) -> list[str]:
    """The line about how even an output is, by its record, in which anything may stand; of the worst of its stacks."""
    try:
        rows = [[max(row[name].values()) for name in ("index", "linear", "acquired")] for row in recorded]  # type: ignore[attr-defined]
        return [f"  pulsing     {pulsing_in_words(*max(rows))}"]
    except (LookupError, TypeError, ValueError, AttributeError):
        return []


def pulsing_in_words(index: float, linear: float, acquired: float) -> str:
    """How much an output pulses, and what else one might compare that with."""
    return f"index {index:.3f} (linear interpolation {linear:.3f}; acquired planes vary by {acquired:.3f})"


def is_set(value: object) -> bool:
    """Whether a recorded value says more than that an option was not used."""
    if isinstance(value, dict | list):
        return any(map(is_set, value.values() if isinstance(value, dict) else value))
    return value is not None and value is not False and value != ""


def describe_option(name: str, value: object) -> str:
    """A recorded option in words, not too long."""

    words = name.replace("_", " ")
    said = words if value is True else f"{words} {in_words(value)}"
    return said if len(said) <= LONGEST_OPTION else said[: LONGEST_OPTION - 3] + "..."


def in_words(value: object) -> str:
    """A recorded value as text."""
    if isinstance(value, dict):
        return ", ".join(describe_option(name, item) for name, item in value.items() if is_set(item))
    if isinstance(value, list):
        nested = any(isinstance(item, list) for item in value)
        return (" and " if nested else ", ").join(map(in_words, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@contextmanager
def named(source: Path, inputs: tuple[Path, ...]) -> Iterator[None]:
    """Say in errors which of several inputs they are about."""
    from zinterp.errors import ZinterpError

    try:
        yield
    except ZinterpError as error:
        if len(inputs) == 1 or str(source) in str(error):
            raise
        raise type(error)(f"{source}: {error}") from error


def describe_outcome(outcome: "Outcome") -> list[str]:
    """How even the output's planes are, and how sure the model is of them."""
    lines = []
    for number in range(len(outcome.measures)):
        ours, linear = outcome.pulsing(number), outcome.pulsing(number, linear=True)
        own = outcome.own_variation(number)
        if len(outcome.measures) > 1:
            lines.append(f"  stack {number}")
        lines.append(f"  pulsing     {pulsing_in_words(ours.index, linear.index, own.index)}")
        for name, what in (("mean", "mean"), ("contrast", "contrast"), ("gradient_energy", "sharpness")):
            values = [getattr(each, name) for each in (ours, linear, own)]
            lines.append(f"  {'':<11} {what} {values[0]:.4f} (linear {values[1]:.4f}, acquired {values[2]:.4f})")
        measures = [row for row in outcome.measures[number] if row.decibels is not None and row.sigma is not None]
        if measures:
            scale = outcome.job.stacks[number].normalizer
            sigma = (scale.high - scale.low) * sum(row.sigma or 0.0 for row in measures) / len(measures)
            worst = min(row.decibels or 0.0 for row in measures)
            lines.append(
                f"  uncertainty {sigma:.3g} grey levels on average; the PSNR to be expected is {worst:.1f} dB or more"
            )
        shares = [row.fallback for row in outcome.measures[number] if row.fallback is not None]
        if shares:
            lines.append(f"  fallback    {sum(shares) / len(shares):.2%} of the synthesised pixels are cubic")
    return lines


def describe_flags(outcome: "Outcome") -> list[str]:
    """Planes and regions that are to be flagged, a line each; of a plane that is as a whole, only the worst region."""
    lines = []
    for flag in outcome.flagged():
        stack = f"stack {flag['stack']}, " if len(outcome.measures) > 1 else ""
        regions = flag["regions"][: 1 if flag["whole"] else None]
        places = [f"{r['decibels']:.1f} dB at rows from {r['row']}, columns from {r['column']}" for r in regions]
        what = [f"{flag['psnr_db']:.1f} dB to be expected"] if flag["whole"] else []
        lines.append(f"  unsure      {stack}plane {flag['plane']}: {'; '.join([*what, *places])}")
    return lines
