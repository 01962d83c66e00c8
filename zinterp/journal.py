"""Which slabs of an unfinished output are done, in a file beside it, and one more for each share of the slabs."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from zinterp.errors import BadOptionError, OutputBusyError, OutputError
from zinterp.io import sync_folder
from zinterp.plan import Share
from zinterp.volume import partial_path

LONGEST_TURN_S = 600.0  # in which an output can be laid out on a slow disk
LONGEST = 80  # characters of a value in a message
NOTES = "notes"
FACT = "@"  # what lines begin with that are not about slabs


class Journal:
    """A text file: one line of JSON that says which job it is, then the number of each finished slab.

    ``done`` are these numbers; ``measures`` maps those that were given some to what was measured of the slab. Where a
    number is there several times the last one holds. ``facts`` are what else was noted, by name.

    Parameters
    ----------
    target : Path
        The output's final name; the journal is ``<name>.journal``.
    fingerprint : mapping
        All that decides the output, as JSON holds it. Two jobs with equal fingerprints write the same bytes.
    resume : bool
        Read what is there instead of starting anew, and take in the journals of shares; no share may be at work.
    notes : mapping or None
        What else a resumed job must know, as JSON holds it; see ``notes_of``. A journal that is read keeps its own.
    share : Share or None
        The share of the slabs that it is about, of an output that has a journal; it is read where it is there.

    Raises
    ------
    BadOptionError
        If the journal is of another job: says which field differs.
    """

    def __init__(
        self,
        target: Path,
        fingerprint: Mapping[str, Any],
        *,
        resume: bool = False,
        notes: Mapping[str, Any] | None = None,
        share: Share | None = None,
    ) -> None:
        self.path = journal_path(target, share)
        self._target = target
        self.done: set[int] = set()
        self.measures: dict[int, Any] = {}
        self.facts: dict[str, Any] = {}
        wanted = json.loads(json.dumps(dict(fingerprint)))
        if resume or (share is not None and self.path.exists()):
            self._read(wanted)
            self._append("\n")
            if share is None:
                self._take_in(wanted)
            return
        if self.path.exists() and not is_journal(self.path):
            raise OutputError(f"{self.path} is in the way and not known to be of an unfinished output: move it")
        if share is None:
            remove_shares(target)  # of an output that was given up
        self._begin(json.dumps({**wanted, NOTES: dict(notes)} if notes else wanted) + "\n")

    def _read(self, wanted: Mapping[str, Any]) -> None:
        """Read what is there, which must be of this job."""
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        check_same(parse(lines[0]) if lines else {}, wanted)
        finished = dict(filter(None, map(parse_slab, lines[1:])))
        self.facts = dict(filter(None, map(parse_fact, lines[1:])))
        self.done = set(finished)
        self.measures = {number: measures for number, measures in finished.items() if measures is not None}

    def _take_in(self, wanted: Mapping[str, Any]) -> None:
        """Take what the journals of shares hold into this one, and remove them."""
        for path, share in shares_of(self._target).items():
            other = Journal(self._target, wanted, resume=True, share=share)
            self.add_all({number: found for number, found in other.measures.items() if number not in self.measures})
            path.unlink()

    def add(self, number: int, measures: Mapping[str, Any] | None = None) -> None:
        """Record slab ``number``, whose planes must be on disk.

        Parameters
        ----------
        number : int
        measures : mapping or None
            What was measured of the slab, as JSON holds it; ``measures`` of this and of a resumed journal have it.
        """
        self.add_all({number: measures})

    def add_all(self, measures: Mapping[int, Mapping[str, Any] | None]) -> None:
        """Record several slabs at once, by number; see ``add``."""
        texts = {number: None if found is None else json.dumps(dict(found)) for number, found in measures.items()}
        lines = [f"{number};\n" if text is None else f"{number} {text};\n" for number, text in texts.items()]
        self._append("".join(lines))
        self.done |= set(texts)
        for number, text in texts.items():
            if text is not None:
                self.measures[number] = json.loads(text)  # as a resumed job will find it

    def note(self, facts: Mapping[str, Any]) -> None:
        """Record what else a resumed job is to know, as JSON holds it, by name; None for what no longer holds."""
        self._append("".join(f"{FACT}{json.dumps([name, fact])};\n" for name, fact in facts.items()))
        self.facts |= facts

    def _begin(self, text: str) -> None:
        """Put a new journal in the place of an older one, at once, so that there is never half of one."""
        fresh = partial_path(self.path)
        try:
            with fresh.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
            raise cannot_write(self.path, error) from error

    def _append(self, text: str) -> None:
        """Write text to the journal, which must be there still, and wait until it is on disk."""
        try:
            with self.path.open("r+", encoding="utf-8") as file:
                file.seek(0, os.SEEK_END)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError as error:
            raise OutputError(
                f"{self.path} is gone: it, or its folder, was removed while the job ran; start again"
            ) from error
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def remove(self, *, in_turn: bool = False) -> None:
        """Delete the file, and those of shares: the job is complete, or was given up.

        ``in_turn`` is whether shares are about to begin in turn, so that what they hold for that must stay.
        """
        if self.path == journal_path(self._target):
            remove_shares(self._target)
            if not in_turn:
                turn_path(self._target).unlink(missing_ok=True)
        for path in (self.path, partial_path(self.path)):
            path.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The error about a journal that cannot be written."""
    return OutputError(f"cannot write {path} ({error.strerror or error}): free some space, then --resume")


@contextmanager
def locked(target: Path, share: Share | None = None, *, beside: bool = False) -> Iterator[None]:
    """Hold an output, or a share of its slabs, for one job; the lock of a process that died is free.

    Parameters
    ----------
    target : Path
    share : Share or None
        None is the output as a whole, of which no share may be held by others.
    beside : bool
        They may, as nothing is done that they would mind.

    Raises
    ------
    OutputBusyError
        If another job is at work on it.
    OutputError
        If the folder may not be written.
    """
    path = target.with_name(f"{target.name}{suffix_of(share)}.lock")
    if path.exists() and path.stat().st_size:
        raise OutputError(f"{path} is in the way and holds something, which our locks do not: move it")
    if not path.parent.is_dir():  # which is refused in a moment, by its own sentence
        yield
        return
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        what = target if share is None else f"share {share} of {target}"
        raise OutputBusyError(f"another job is writing {what}: wait for it, or choose another -o") from error
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"the folder {path.parent} may not be written ({reason}): choose another -o") from error
    try:
        if share is None and not beside:
            for held in beside_of(target, ".lock").values():
                with locked(target, held):  # free, or an error
                    pass
        yield
    finally:
        with suppress(OSError):  # of a disk that became read-only, say: a lock that nobody holds does no harm
            path.unlink(missing_ok=True)
        lock.release()


@contextmanager
def in_turn(target: Path) -> Iterator[None]:
    """Wait until no other share of an output is about to begin, and hold the others back meanwhile."""
    if not target.parent.is_dir():
        yield
        return
    try:
        with FileLock(turn_path(target), timeout=LONGEST_TURN_S):
            yield
    except Timeout as error:
        raise OutputBusyError(f"{target} is being laid out for long: begin this share again later") from error


def turn_path(target: Path) -> Path:
    """What shares of an output hold in turn while they begin; it stays until the output is complete."""
    return target.with_name(f"{target.name}.shares.lock")


def suffix_of(share: Share | None) -> str:
    """What is put behind names for a share."""
    return "" if share is None else f".{share.number}of{share.count}"


def journal_path(target: Path, share: Share | None = None) -> Path:
    """Where the journal of an output lies, or of a share of its slabs."""
    return target.with_name(f"{target.name}{suffix_of(share)}.journal")


def beside_of(target: Path, suffix: str) -> dict[Path, Share]:
    """The files of one kind that shares of an output have beside it."""
    found = {}
    for path in sorted(target.parent.glob(f"{escape(target.name)}.*of*{suffix}")):
        if match := re.fullmatch(r"\.(\d{1,9})of(\d{1,9})", path.name.removesuffix(suffix)[len(target.name) :]):
            found[path] = Share(int(match[1]), int(match[2]))
    return found


def shares_of(target: Path) -> dict[Path, Share]:
    """The journals of shares of an output."""
    return beside_of(target, ".journal")


def remove_shares(target: Path) -> None:
    """Delete the journals of shares of an output."""
    for path in shares_of(target):
        path.unlink(missing_ok=True)


def slabs_of(target: Path) -> set[int]:
    """The slabs of an unfinished output that are done, by all its journals."""
    done: set[int] = set()
    for path in (journal_path(target), *shares_of(target)):
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            done |= {slab[0] for slab in map(parse_slab, lines[1:]) if slab is not None and slab[1] is not None}
    return done


def check_same(begun: Mapping[str, Any], fingerprint: Mapping[str, Any]) -> None:
    """Refuse a job whose fingerprint is not that which the output was begun with: says which field differs."""
    wanted = json.loads(json.dumps(dict(fingerprint)))
    for field in wanted | begun:
        if field != NOTES and begun.get(field) != wanted.get(field):
            raise BadOptionError(
                f"the unfinished output was begun with {field} {shortened(begun.get(field))}, this job has "
                f"{shortened(wanted.get(field))}: use the same options, or start again with --overwrite alone"
            )


def is_begun(target: Path) -> bool:
    """Whether there is an unfinished output, and its journal."""
    return journal_path(target).exists() and partial_path(target).exists()


def is_ended(target: Path) -> bool:
    """Whether an output got its final name, and its job was stopped before it removed the journal."""
    if not target.exists() or partial_path(target).exists() or not journal_path(target).exists():
        return False
    return has_slabs(target) and status_of(target) not in notes_of(target).get("replaces", [])


def forget(target: Path) -> None:
    """Remove the journal of an output that is complete and has none to go on with."""
    if not is_begun(target) and journal_path(target).exists() and is_journal(journal_path(target)):
        journal_path(target).unlink(missing_ok=True)


def may_replace(target: Path, *others: Path) -> bool:
    """Whether an unfinished output, and volumes beside it, were begun with leave to replace what is still there."""
    notes = notes_of(target)
    unfinished = (path for path in (target, *others) if path.exists() and partial_path(path).exists())
    return (
        is_begun(target)
        and bool(notes.get("overwrite"))
        and all(status_of(path) in notes.get("replaces", []) for path in unfinished)
    )


def notes_on_replacing(*paths: Path) -> dict[str, Any]:
    """The notes of a job that may replace what is at these paths now, and nothing that comes there later."""
    return {"overwrite": True, "replaces": [status_of(path) for path in paths if path.exists()]}


def status_of(path: Path) -> list[int]:
    """What tells a file or folder from another one of its name: inode, time and size."""
    status = path.lstat()
    return [status.st_ino, status.st_mtime_ns, status.st_size]


def has_slabs(target: Path) -> bool:
    """Whether a journal has a finished slab."""
    with journal_path(target).open(encoding="utf-8", errors="replace") as file:
        return any(parse_slab(line.rstrip("\n")) for line in file)


def notes_of(target: Path) -> dict[str, Any]:
    """The notes that a journal was begun with."""
    try:
        with journal_path(target).open(encoding="utf-8", errors="replace") as file:
            notes = parse(file.readline()).get(NOTES)
    except FileNotFoundError:
        return {}
    return notes if isinstance(notes, dict) else {}


def is_journal(path: Path) -> bool:
    """Whether a file begins as our journals do, or holds nothing."""
    with path.open(encoding="utf-8", errors="replace") as file:
        line = file.readline()
    return not line or "version" in parse(line)


def parse_slab(line: str) -> tuple[int, dict[str, Any] | None] | None:
    """The number of a finished slab and what was measured of it; None for a line that a crash cut short."""
    number, _, text = line.removesuffix(";").partition(" ")
    if not line.endswith(";") or not (number.isascii() and number.isdigit()):
        return None
    measures = parse(text) if text else None
    return None if measures == {} and text != "{}" else (int(number), measures)


def parse_fact(line: str) -> tuple[str, Any] | None:
    """The name of a fact and what it is; None for other lines, and for one that a crash cut short."""
    if not line.startswith(FACT) or not line.endswith(";"):
        return None
    try:
        name, fact = json.loads(line[len(FACT) : -1])
    except ValueError:
        return None
    return str(name), fact


def begun_with(target: Path) -> dict[str, Any]:
    """The fingerprint of the job that an unfinished output was begun with; {} if there is none, or it was lost."""
    try:
        with journal_path(target).open(encoding="utf-8", errors="replace") as file:
            return parse(file.readline())
    except FileNotFoundError:
        return {}


def facts_of(target: Path) -> dict[str, Any]:
    """What was noted in the journal of an unfinished output, by name; {} if there is none."""
    try:
        lines = journal_path(target).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    return dict(filter(None, map(parse_fact, lines[1:])))


def shortened(value: object) -> str:
    """A value in a message, not too long: paths, for one, differ in their ends."""
    text = repr(value)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[: half - 1]}...{text[2 - half :]}"


def parse(line: str) -> dict[str, Any]:
    """A mapping in a line of a journal; {} if a crash left nothing of it."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
