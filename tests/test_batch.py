"""Many inputs: one model, what is there left out, failures collected, nothing done twice."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import make_stack, write_imagej, write_mrc, write_tiff_slices, write_zarr_05
from zinterp import batch
from zinterp.batch import Result, upsample_many
from zinterp.errors import BadOptionError, BadWeightsError, InputError, OutputBusyError, OutputError, OutputExistsError
from zinterp.io import open_volume
from zinterp.journal import journal_path, locked
from zinterp.pipeline import upsample
from zinterp.run import Progress
from zinterp.volume import partial_path

OPTIONS = {"factor": 2, "model": "linear", "slab_depth": 2}


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    """Three stacks, the second of which is none."""
    for seed, name in enumerate("ac"):
        write_imagej(tmp_path / f"{name}.tif", make_stack(seed=seed))
    (tmp_path / "b.tif").write_text("not a stack")
    (tmp_path / "dense").mkdir()
    return [tmp_path / f"{name}.tif" for name in "abc"]


def statuses(results: list[Result]) -> list[str]:
    """What became of each."""
    return [result.status for result in results]


def interrupted(source: Path, target: Path, **options: object) -> None:
    """Begin a job and stop it in mid-run."""

    def stop(progress: Progress) -> None:
        if progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upsample(source, target, report=stop, **{**OPTIONS, **options})


def test_one_failure_does_not_stop_the_rest_and_the_model_is_built_once(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[object] = []
    build = batch.build_interpolator
    monkeypatch.setattr(batch, "build_interpolator", lambda options: (built.append(options), build(options))[1])
    ended: list[Result] = []
    results = upsample_many(sources, output_dir=tmp_path / "dense", keep_going=True, ended=ended.append, **OPTIONS)
    assert statuses(results) == ["done", "failed", "done"]
    assert ended == results
    assert "cannot be read as TIFF" in results[1].reason
    assert len(built) == 1
    assert sorted(path.name for path in (tmp_path / "dense").iterdir()) == ["a_x2.tif", "c_x2.tif"]
    assert results[0].outcome is not None
    assert results[0].outcome.job.planes == 9


def test_without_keep_going_the_first_failure_ends_it_and_is_told_too(sources: list[Path]) -> None:
    ended: list[Result] = []
    with pytest.raises(InputError, match=r"b\.tif cannot be read as TIFF"):
        upsample_many(sources, ended=ended.append, **OPTIONS)
    assert statuses(ended) == ["done", "failed"]
    with pytest.raises(OutputExistsError, match=r"a_x2\.tif exists already"):
        upsample_many(sources, **OPTIONS)


def test_a_fault_of_our_own_is_a_failure_with_its_traceback_in_the_log(
    sources: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make = batch.make

    def faulty(source: Path, *arguments: object, **crew: object) -> object:
        if source.name == "a.tif":
            raise ZeroDivisionError("by a bug")
        return make(source, *arguments, **crew)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "make", faulty)
    results = upsample_many([sources[0], sources[2]], keep_going=True, **OPTIONS)
    assert [(result.status, result.reason) for result in results] == [
        ("failed", "ZeroDivisionError: by a bug"),
        ("done", ""),
    ]
    assert "Traceback" in caplog.text
    with pytest.raises(ZeroDivisionError):
        upsample_many(sources, **OPTIONS)


def test_memory_and_the_systems_errors_are_failures_in_one_line(
    sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, said in (
        (MemoryError(), "there is not enough memory: give a smaller --max-memory"),
        (OSError(36, "File name too long", "x"), "x: File name too long"),
    ):
        monkeypatch.setattr(batch, "make", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
        (result,) = upsample_many(sources[:1], keep_going=True, **OPTIONS)
        assert result.status == "failed"
        assert result.reason.startswith(said)


def test_a_model_that_cannot_be_used_and_doubled_names_stop_all(sources: list[Path], tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"none")
    (tmp_path / "sub").mkdir()
    write_imagej(tmp_path / "sub" / "a.tif", make_stack())
    with pytest.raises(BadOptionError, match="got both skip-existing and overwrite"):
        upsample_many(sources, skip_existing=True, overwrite=True, **OPTIONS)
    with pytest.raises(BadOptionError, match="several inputs would be written to"):
        upsample_many([sources[0], tmp_path / "sub" / "a.tif"], output_dir=tmp_path / "dense", **OPTIONS)
    with pytest.raises(BadOptionError, match=r"the folder .*none does not exist"):
        upsample_many(sources, output_dir=tmp_path / "none", **OPTIONS)
    with pytest.raises(BadWeightsError):
        upsample_many(sources, factor=2, model=str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("suffix", [".tif", ".ome.zarr", ".mrc", ""])
def test_what_is_there_is_left_out(suffix: str, sources: list[Path], tmp_path: Path) -> None:
    options = {**OPTIONS, "format": None if suffix else "tiff-slices"}
    targets = [tmp_path / "dense" / f"{name}{suffix}" for name in "ac"]
    inputs = [sources[0], sources[2]]
    assert statuses(upsample_many(inputs, targets=targets, skip_existing=True, **options)) == ["done", "done"]
    before = [path.stat().st_mtime_ns for path in targets]
    results = upsample_many(inputs, targets=targets, skip_existing=True, resume=True, **options)
    assert [(result.status, result.reason) for result in results] == [("skipped", "it is there already")] * 2
    assert [path.stat().st_mtime_ns for path in targets] == before


def change_source(source: Path) -> None:
    """Another stack of the same name and shape."""
    write_imagej(source, make_stack(seed=7))


@pytest.mark.parametrize(
    ("change", "options", "difference"),
    [
        (change_source, {}, "its digest of the source's pixels is"),
        (lambda source: write_imagej(source, make_stack((6, 40, 48))), {}, r"its shape of the source is \[5, 40, 48\]"),
        (
            lambda source: write_imagej(source, make_stack(dtype="uint16")),
            {},
            "its dtype is uint8, and would be ",
        ),
        (None, {"model": "cubic"}, "its model is linear, and would be cubic"),
        (None, {"model": "fast"}, "its model is linear, and would be fast"),
        (None, {"factor": 3}, "its step between planes is 1/2, and would be 1/3"),
        (None, {"factor": None, "depths": [0.25, 0.5]}, "its step between planes is 1/2, and would be None"),
        (None, {"sharpen": "auto"}, "its finishing is"),
        (None, {"intensity_range": (0, 255)}, ""),
        (None, {"tile": 32}, ""),
    ],
)
def test_an_output_of_another_job_is_not_taken_for_this_ones(
    change: Callable[[Path], None] | None,
    options: dict[str, object],
    difference: str,
    sources: list[Path],
    tmp_path: Path,
) -> None:
    target = upsample(sources[0], tmp_path / "out.tif", **OPTIONS)
    before = target.read_bytes()
    if change:
        change(sources[0])
    chosen = {**OPTIONS, **options}
    (result,) = upsample_many(sources[:1], targets=[target], skip_existing=True, keep_going=True, **chosen)
    assert result.status == ("failed" if difference else "skipped"), result.reason
    if difference:
        with pytest.raises(OutputExistsError, match=rf"is not what this job would make: {difference}"):
            upsample_many(sources[:1], targets=[target], skip_existing=True, **chosen)
    assert target.read_bytes() == before


def test_other_files_and_lacking_deviations_are_no_outputs_of_ours(sources: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    write_imagej(target, make_stack())
    with pytest.raises(OutputExistsError, match="it does not say how it was made"):
        upsample_many(sources[:1], targets=[target], skip_existing=True, **OPTIONS)
    target.unlink()
    write_imagej(sources[0], make_stack((2, 16, 16)))
    upsample(sources[0], target, factor=2, device="cpu")
    with pytest.raises(OutputExistsError, match=r"the confidence sigma\.tif is not beside it"):
        upsample_many(sources[:1], targets=[target], skip_existing=True, factor=2, confidence="sigma.tif")
    (result,) = upsample_many(sources[:1], targets=[target], skip_existing=True, factor=2)
    assert (result.status, result.reason) == ("skipped", "it is there already")


def test_other_weights_of_the_same_name_are_said(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_imagej(sources[0], make_stack((2, 16, 16)))
    target = upsample(sources[0], tmp_path / "out.tif", factor=2, device="cpu")
    monkeypatch.setattr("zinterp.interpolators.weights.sha256_of", lambda path: "0" * 64)
    monkeypatch.setattr("zinterp.interpolators.weights.ShippedWeights.verify", lambda self: None)
    (result,) = upsample_many(sources[:1], targets=[target], skip_existing=True, factor=2)
    assert (result.status, result.reason) == (
        "skipped",
        "it is there already, made with other weights called mirror-unet",
    )


def test_what_another_job_is_at_is_left_out(sources: list[Path], tmp_path: Path) -> None:
    inner: list[Result] = []

    def second(source: Path, progress: Progress) -> None:
        if progress.done == 4:
            inner.extend(
                upsample_many([source], output_dir=tmp_path / "dense", skip_existing=True, resume=True, **OPTIONS)
            )
            with pytest.raises(OutputBusyError, match="another job is writing"):
                upsample_many([source], output_dir=tmp_path / "dense", **OPTIONS)

    upsample_many(sources[:1], output_dir=tmp_path / "dense", report=second, **OPTIONS)
    assert [(result.status, result.reason) for result in inner] == [("skipped", "another job is at it")]


def test_an_output_that_another_job_completes_just_before_the_lock_is_free_is_not_made_again(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.tif"

    @contextmanager
    def late(path: Path) -> Iterator[None]:
        upsample(sources[0], path, **OPTIONS)
        with locked(path):
            yield

    monkeypatch.setattr(batch, "locked", late)
    (result,) = upsample_many(sources[:1], targets=[target], skip_existing=True, **OPTIONS)
    assert result.status == "skipped"


def test_resume_and_skip_existing_go_on_leave_out_and_begin_as_it_is_due(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_imagej(sources[1], make_stack(seed=5))
    dense = tmp_path / "dense"
    upsample(sources[0], dense / "a_x2.tif", **OPTIONS)
    interrupted(sources[1], dense / "b_x2.tif")
    seen: dict[str, list[int]] = {}
    results = upsample_many(
        sources,
        output_dir=dense,
        skip_existing=True,
        resume=True,
        report=lambda source, progress: seen.setdefault(source.stem, []).append(progress.done),
        **OPTIONS,
    )
    assert statuses(results) == ["skipped", "done", "done"]
    assert {name: done[0] for name, done in seen.items()} == {"b": 4, "c": 0}
    assert sorted(path.name for path in dense.iterdir()) == ["a_x2.tif", "b_x2.tif", "c_x2.tif"]
    for source in sources:
        whole = upsample(source, tmp_path / f"{source.stem}_x2.tif", **OPTIONS)
        assert whole.read_bytes() == (dense / whole.name).read_bytes()


def test_what_is_unfinished_is_a_failure_without_resume_and_with_other_options(
    sources: list[Path], tmp_path: Path
) -> None:
    interrupted(sources[0], tmp_path / "out.tif", intensity_range=(0, 255))
    for options, said in (({}, "was begun before and is unfinished"), ({"resume": True}, "begun with intensity_range")):
        (result,) = upsample_many(
            sources[:1], targets=[tmp_path / "out.tif"], skip_existing=True, keep_going=True, **OPTIONS, **options
        )
        assert result.status == "failed"
        assert said in result.reason
    assert partial_path(tmp_path / "out.tif").exists()


def test_an_output_that_is_being_replaced_is_gone_on_with(sources: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "out.tif"
    upsample(sources[0], target, factor=3, model="linear")
    interrupted(sources[0], target, overwrite=True)
    (result,) = upsample_many(sources[:1], targets=[target], skip_existing=True, resume=True, **OPTIONS)
    assert result.status == "done"
    with open_volume(target) as reader:
        assert reader.info.shape[0] == 9


def test_a_journal_that_a_finished_job_left_is_cleared_away(
    sources: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, status in (({}, "skipped"), ({"resume": True}, "done")):
        target = tmp_path / f"{status}.tif"
        with monkeypatch.context() as patch:
            patch.setattr("zinterp.run.conclude", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                upsample(sources[0], target, **OPTIONS)
        assert journal_path(target).exists()
        (result,) = upsample_many(sources[:1], targets=[target], skip_existing=True, **OPTIONS, **options)
        assert result.status == status
        assert not journal_path(target).exists()


def test_outputs_among_the_inputs_are_left_out(sources: list[Path], tmp_path: Path) -> None:
    for _ in range(2):
        inputs = sorted(path for path in tmp_path.glob("*.tif") if path.stem != "b")
        results = upsample_many(inputs, skip_existing=True, **OPTIONS)
    assert [(result.source.name, result.status, result.reason) for result in results] == [
        ("a.tif", "skipped", "it is there already"),
        ("a_x2.tif", "skipped", "it was made from a.tif"),
        ("c.tif", "skipped", "it is there already"),
        ("c_x2.tif", "skipped", "it was made from c.tif"),
    ]
    assert statuses(upsample_many([tmp_path / "a_x2.tif"], skip_existing=True, **OPTIONS)) == ["done"]


@pytest.mark.parametrize("write", [write_tiff_slices, write_zarr_05, write_mrc])
def test_every_kind_of_input_is_known_again(write: Callable[..., None], tmp_path: Path) -> None:
    source = tmp_path / {"write_tiff_slices": "a", "write_zarr_05": "a.zarr", "write_mrc": "a.mrc"}[write.__name__]
    write(source, make_stack())
    for status in ("done", "skipped"):
        (result,) = upsample_many([source], skip_existing=True, **OPTIONS)
        assert result.status == status


def test_a_folder_made_beforehand_is_no_output(sources: list[Path], tmp_path: Path) -> None:
    (tmp_path / "b.ome.zarr").mkdir()
    (result,) = upsample_many(sources[:1], targets=[tmp_path / "b.ome.zarr"], skip_existing=True, **OPTIONS)
    assert result.status == "done"


def test_a_full_folder_is_a_failure_of_each(sources: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zinterp.io.output.bytes_on_disk", lambda info: 10**18)
    results = upsample_many([sources[0], sources[2]], keep_going=True, **OPTIONS)
    assert statuses(results) == ["failed", "failed"]
    assert all("free some space" in result.reason for result in results)
    with pytest.raises(OutputError, match="free some space"):
        upsample_many([sources[0], sources[2]], **OPTIONS)
