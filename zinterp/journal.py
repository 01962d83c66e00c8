"""Which slabs of an unfinished output are done, in a file beside it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zinterp.errors import BadOptionError


class Journal:
    """A text file: one line of JSON that says which job it is, then the number of each finished slab.

    Parameters
    ----------
    target : Path
        The output's final name; the journal is ``<name>.journal``.
    fingerprint : mapping
        All that decides the output, as JSON holds it. Two jobs with equal fingerprints write the same bytes.
    resume : bool
        Read what is there instead of starting anew.

    Raises
    ------
    BadOptionError
        If the journal is of another job: says which field differs.
    """

    def __init__(self, target: Path, fingerprint: Mapping[str, Any], *, resume: bool = False) -> None:
        self.path = journal_path(target)
        self.done: set[int] = set()
        wanted = json.loads(json.dumps(dict(fingerprint)))
        if resume:
            lines = self.path.read_text(encoding="utf-8").splitlines()
            found = parse(lines[0]) if lines else {}
            for field in wanted | found:
                if found.get(field) != wanted.get(field):
                    raise BadOptionError(
                        f"the unfinished output was begun with {field} {found.get(field)!r}, this job has "
                        f"{wanted.get(field)!r}: use the same options, or start again without --resume"
                    )
            # a line that a crash cut short is not a number followed by a mark, and its slab is made again
            self.done = {int(line[:-1]) for line in lines[1:] if line.endswith(";") and line[:-1].isdigit()}
        with self.path.open("a" if resume else "w", encoding="utf-8") as file:
            file.write("\n" if resume else json.dumps(wanted) + "\n")

    def add(self, number: int) -> None:
        """Record slab ``number``, whose planes must be on disk."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{number};\n")
            file.flush()
            os.fsync(file.fileno())
        self.done.add(number)

    def remove(self) -> None:
        """Delete the file: the job is complete, or was given up."""
        self.path.unlink(missing_ok=True)


def journal_path(target: Path) -> Path:
    """Where the journal of an output lies."""
    return target.with_name(target.name + ".journal")


def parse(line: str) -> dict[str, Any]:
    """The fingerprint in a journal's first line; {} if a crash left nothing of it."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
