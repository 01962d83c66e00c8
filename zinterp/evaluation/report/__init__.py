"""One page that shows what interpolation does to a stack: a single HTML file that needs nothing from outside."""

import base64
import hashlib
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from zinterp import __version__
from zinterp.documents import write_document
from zinterp.errors import OutputExistsError
from zinterp.evaluation.hidden_planes import Evaluation
from zinterp.evaluation.report.evaluation import EvaluationPart, shareable
from zinterp.evaluation.report.job import JobPart, options_of
from zinterp.evaluation.report.output import Made
from zinterp.evaluation.report.parts import Facts
from zinterp.io import recorded_name

__all__ = ["Made", "write_report"]

NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
"""What names of files may hold and no page may: controls, and bytes that were no text."""
LIBRARIES = ("torch", "numpy", "scipy", "scikit-image")


def write_report(
    path: Path,
    evaluation: Evaluation | None,
    *,
    made: Made | None = None,
    stack: Sequence[tuple[str, str]] = (),
    unmeasured: str = "",
    overwrite: bool = False,
) -> None:
    """Write the report on an evaluation, on a finished job, or on both.

    Parameters
    ----------
    path : Path
        The HTML file. It holds its pictures and names no folder, user or machine, so that it can be passed on.
    evaluation : Evaluation or None
        None where no plane could be hidden.
    made : Made or None
        A finished job, of which it shows the output too.
    stack : sequence of (str, str)
        What was found in the stack beforehand: labels, and what is to be said of them.
    unmeasured : str
        Why there is no evaluation.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    OutputExistsError
        If the file is there and ``overwrite`` is False.
    OutputError
        If it cannot be written.
    InputError, BadVolumeError
        If input or output of the job cannot be read.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists already: give --overwrite to replace it, or another report")
    write_document(path, "report", render(evaluation, made, stack, unmeasured))


def render(evaluation: Evaluation | None, made: Made | None, stack: Sequence[tuple[str, str]], unmeasured: str) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("zinterp.evaluation.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = None if evaluation is None else EvaluationPart(shareable(evaluation))
    job = None if made is None else JobPart(made)
    source = "a stack" if found is None else found.found.source
    if made is not None:
        source = recorded_name(made.source)
    script = environment.get_template("page.js").render()
    environment.filters["by_label"] = by_label
    page = environment.get_template("page.html.j2").render(
        source=source,
        found=found,
        job=job,
        stack=stack,
        unmeasured=unmeasured,
        provenance=provenance(found, job, source),
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode(),
    )
    return NO_TEXT.sub("\ufffd", page)


def by_label(rows: Facts) -> dict[str, list[str]]:
    """What is to be said under each label."""
    texts: dict[str, list[str]] = {}
    for label, text in rows:
        texts.setdefault(label, []).append(text)
    return texts


def provenance(found: EvaluationPart | None, job: JobPart | None, source: str) -> Facts:
    """What made the page, and when; neither host nor user."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    rows = [
        ("Made by", f"zinterp {__version__}, with {versions}"),
        ("On", f"Python {platform.python_version()}, {platform.system()}, {platform.machine()}"),
        ("Date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Stack", source),
    ]
    if found is not None:
        evaluation = found.found
        rows.append(("Evaluated", f"{evaluation.window}, factor {evaluation.factor}"))
        rows += [("Models", identity) for _, identity in found.models]
        if job is None:
            rows += options_of(evaluation.predictions[found.views.shown.model].outcome.job)
    if job is not None:
        rows += job.record
    return rows
