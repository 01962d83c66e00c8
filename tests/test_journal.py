"""The record of finished slabs."""

from pathlib import Path

import pytest

from zinterp.errors import BadOptionError, OutputError
from zinterp.journal import (
    Journal,
    forget,
    is_begun,
    is_ended,
    journal_path,
    may_replace,
    notes_of,
    notes_on_replacing,
)
from zinterp.volume import partial_path


def test_a_resumed_journal_knows_what_was_done(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    first = Journal(target, {"factor": 4, "version": "1"})
    for number in (0, 2, 10):
        first.add(number)
    assert Journal(target, {"factor": 4, "version": "1"}, resume=True).done == {0, 2, 10}
    assert Journal(target, {"factor": 4, "version": "1"}).done == set()


def test_a_line_that_a_crash_cut_short_is_not_believed(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    Journal(target, {"version": "1"}).add(1)
    with journal_path(target).open("a") as file:
        file.write("12")  # of "123;"
    resumed = Journal(target, {"version": "1"}, resume=True)
    assert resumed.done == {1}
    resumed.add(3)
    assert Journal(target, {"version": "1"}, resume=True).done == {1, 3}


def test_measures_are_kept_with_their_slabs(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    first = Journal(target, {"version": "1"})
    first.add(0, {"sigma": 0.1 + 0.2, "note": "a;\nb\u2028 c", "low": (1, None), "nan": float("inf")})
    first.add(1)
    first.add(2, {})
    resumed = Journal(target, {"version": "1"}, resume=True)
    assert resumed.done == {0, 1, 2}
    assert resumed.measures == first.measures
    assert resumed.measures == {
        0: {"sigma": 0.1 + 0.2, "note": "a;\nb\u2028 c", "low": [1, None], "nan": float("inf")},
        2: {},
    }
    assert Journal(target, {"version": "1"}).measures == {}


def test_measures_that_a_crash_cut_short_are_not_believed_wherever_it_was(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    Journal(target, {"version": "1"}).add(7, {"text": "12;34 {};", "n": 5})
    head, line = journal_path(target).read_text().splitlines()
    for end in range(len(line)):
        journal_path(target).write_text(f"{head}\n{line[:end]}")
        resumed = Journal(target, {"version": "1"}, resume=True)
        assert (resumed.done, resumed.measures) == (set(), {}), line[:end]
        resumed.add(7, {"n": 6})
        assert Journal(target, {"version": "1"}, resume=True).measures == {7: {"n": 6}}
    journal_path(target).write_text(f"{head}\n{line}")
    assert Journal(target, {"version": "1"}, resume=True).measures == {7: {"text": "12;34 {};", "n": 5}}


def test_another_job_is_refused_with_the_field_that_differs(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    Journal(target, {"factor": 4, "model": "cubic"})
    with pytest.raises(BadOptionError, match="model 'cubic', this job has 'linear'"):
        Journal(target, {"factor": 4, "model": "linear"}, resume=True)


@pytest.mark.parametrize("text", ["", "not json\n", "[1]\n"])
def test_a_journal_without_a_readable_first_line_is_refused(tmp_path: Path, text: str) -> None:
    target = tmp_path / "out.tif"
    journal_path(target).write_text(text)
    with pytest.raises(BadOptionError, match="begun with factor None"):
        Journal(target, {"factor": 4, "version": "1"}, resume=True)


def test_remove_deletes_the_file(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out.tif", {})
    journal.remove()
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_notes_are_kept_and_are_no_part_of_what_a_job_is(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    Journal(target, {"version": "1"}, notes={"halvings": 2}).add(0)
    assert Journal(target, {"version": "1"}, resume=True).done == {0}
    assert notes_of(target) == {"halvings": 2}
    Journal(target, {"version": "1"})
    assert notes_of(target) == notes_of(tmp_path / "none.tif") == {}


def test_a_journal_is_begun_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out.tif"
    Journal(target, {"version": "1"}).add(0)
    before = journal_path(target).read_text()

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OutputError, match=r"cannot write .*journal \(No space left on device\): free some space"):
            Journal(target, {"version": "2"})
        with pytest.raises(OutputError, match="No space left on device"):
            Journal(target, {"version": "1"}, resume=True).add(1)
    assert journal_path(target).read_text().startswith(before)
    assert [path.name for path in tmp_path.iterdir()] == ["out.tif.journal"]


def test_a_journal_that_is_gone_is_not_made_anew_without_its_first_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "out.tif", {"version": "1"})
    journal.path.unlink()
    with pytest.raises(OutputError, match=r"journal is gone: it, or its folder, was removed while the job ran"):
        journal.add(0)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_is_forgotten_only_where_nothing_is_unfinished(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    Journal(target, {"version": "1"}).add(0)
    partial_path(target).touch()
    forget(target)
    assert is_begun(target)
    partial_path(target).unlink()
    journal_path(target).with_name("mine.tif.journal").write_text("mine")
    forget(tmp_path / "mine.tif")
    forget(target)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tif.journal"]


def test_an_output_is_ended_where_it_has_its_name_and_is_not_what_it_was_to_replace(tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    target.write_text("old")
    journal = Journal(target, {"version": "1"}, notes=notes_on_replacing(target))
    assert not is_ended(target)
    journal.add(0)
    assert not is_ended(target)
    partial_path(target).write_text("new")
    assert may_replace(target)
    partial_path(target).replace(target)
    assert is_ended(target)
    assert not may_replace(target)
