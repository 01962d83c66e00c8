"""What a finished job says about itself."""

import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.conftest import Doubtful, make_stack, write_imagej
from zinterp.drift import shifted
from zinterp.finishing import Region
from zinterp.interpolators import Interpolator
from zinterp.outcome import Outcome
from zinterp.pipeline import Progress, upsample


def outcome_of(
    source: Path, name: str = "out.tif", interpolator: Interpolator | None = None, **options: object
) -> Outcome:
    """What comes out of a job."""
    found: list[Outcome] = []
    target = source.parent / name
    upsample(source, target, interpolator=interpolator, measured=found.append, overwrite=True, **options)
    (outcome,) = found
    return outcome


def write_channels(path: Path, shape: tuple[int, int, int] = (5, 40, 48), dtype: str = "float32") -> None:
    """A file with two channels."""
    channels = np.stack([make_stack(shape, dtype, seed) for seed in (1, 2)], axis=1)
    tifffile.imwrite(path, channels, imagej=True, metadata={"axes": "ZCYX", "spacing": 20.0, "unit": "nm"})


def energies(planes: np.ndarray) -> np.ndarray:
    """The gradient energy of each plane."""
    slopes = np.gradient(planes.astype(float), axis=(1, 2))
    return np.asarray(sum(slope**2 for slope in slopes)).mean(axis=(1, 2))


@pytest.mark.parametrize("options", [{"factor": 3}, {"depths": [0.3, 0.4]}, {"factor": 2, "skip": "2"}])
def test_linear_interpolation_in_place_of_the_planes_is_what_running_it_gives(
    options: dict[str, object], tmp_path: Path
) -> None:
    write_channels(tmp_path / "a.tif")
    cubic = outcome_of(tmp_path / "a.tif", model="cubic", **options)
    linear = outcome_of(tmp_path / "a.tif", model="linear", **options)
    for stack in (0, 1):
        assert astuple(cubic.pulsing(stack, linear=True)) == pytest.approx(astuple(linear.pulsing(stack)), abs=1e-6)
        assert astuple(cubic.pulsing(stack)) != pytest.approx(astuple(linear.pulsing(stack)), rel=0.05)
    assert linear.pulsing(0) != linear.pulsing(1)


def test_pulsing_is_that_of_the_planes_that_were_written(tmp_path: Path) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((5, 40, 48), "float32"))
    found = outcome_of(tmp_path / "a.tif", factor=4, model="cubic").pulsing(0)
    planes = tifffile.imread(tmp_path / "out.tif")
    for values, got in ((energies(planes), found.gradient_energy), (planes.std(axis=(1, 2)), found.contrast)):
        acquired = values[::4]
        expected = np.interp(np.arange(17) / 4, np.arange(5), acquired)
        profile = (values - expected)[:-1].reshape(4, 4).mean(axis=0)
        synthesised = np.arange(17) % 4 > 0
        assert got == pytest.approx(profile.std() / expected[synthesised].mean(), rel=1e-3)


def test_drift_that_was_taken_out_does_not_hide_that_planes_became_softer(tmp_path: Path) -> None:
    """Sharpness is compared with the acquired planes, not with these after they were shifted by parts of a pixel."""
    rng = np.random.default_rng(0)
    plane = make_stack((1, 128, 128), "float32")[0] + rng.normal(0, 0.2, (128, 128)).astype(np.float32)
    stack = shifted(np.stack([plane] * 4), [(0.0, 3.0 * k) for k in range(4)])
    write_imagej(tmp_path / "a.tif", stack)
    outcome = outcome_of(tmp_path / "a.tif", factor=2, model="linear", align=True)
    assert any(stack.drift for stack in outcome.job.stacks)
    values = energies(tifffile.imread(tmp_path / "out.tif"))
    lost = 1 - values[1::2].mean() / values[::2].mean()
    assert lost > 0.1
    assert outcome.pulsing(0).gradient_energy == pytest.approx(lost / 2, rel=0.05)
    assert astuple(outcome.pulsing(0, linear=True)) == pytest.approx(astuple(outcome.pulsing(0)), abs=1e-6)


def test_only_acquired_planes_count_as_their_own_variation(tmp_path: Path) -> None:
    stack = make_stack((6, 40, 48), "float32")
    stack[3] += 0.1
    write_imagej(tmp_path / "a.tif", stack)
    outcome = outcome_of(tmp_path / "a.tif", factor=3, model="linear")
    means = stack.mean(axis=(1, 2), dtype=float)
    second = means[1:-1] - (means[:-2] + means[2:]) / 2
    expected = np.sqrt(np.mean(second**2) / 1.5) / stack.std(axis=(1, 2)).mean()
    assert outcome.own_variation(0).mean == pytest.approx(expected, rel=1e-4)
    assert outcome.own_variation(0).mean > 0.1


def test_a_job_that_was_resumed_has_the_same_outcome(tmp_path: Path) -> None:
    write_channels(tmp_path / "a.tif")
    options = {"factor": 2, "slab_depth": 2, "sharpen": "auto", "grain": 1, "flag_below": 30, "fallback": "cubic"}
    whole = outcome_of(tmp_path / "a.tif", "whole.tif", Doubtful(), **options)

    def stop(progress: Progress) -> None:
        if progress.done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upsample(tmp_path / "a.tif", tmp_path / "b.tif", interpolator=Doubtful(), report=stop, **options)
    found: list[Outcome] = []
    upsample(
        tmp_path / "a.tif", tmp_path / "b.tif", interpolator=Doubtful(), measured=found.append, resume=True, **options
    )
    assert found[0].measures == whole.measures
    assert found[0].record() == whole.record()
    assert found[0].flagged() == whole.flagged()
    assert len(whole.flagged()) == 8


def test_the_record_is_json_with_four_digits(tmp_path: Path) -> None:
    write_channels(tmp_path / "a.tif")
    outcome = outcome_of(tmp_path / "a.tif", factor=2, model="cubic")
    record = json.loads(json.dumps(outcome.record(), allow_nan=False))
    assert [row["stack"] for row in record] == [0, 1]
    assert record[1]["index"]["contrast"] == float(f"{outcome.pulsing(1).contrast:.4g}")
    assert record[0]["linear"].keys() == record[0]["acquired"].keys() == {"mean", "contrast", "gradient_energy"}


def test_planes_are_flagged_as_a_whole_or_for_some_of_their_squares(tmp_path: Path) -> None:
    stack = np.zeros((4, 130, 300), np.float32) + np.linspace(0, 1, 300, dtype=np.float32)
    stack[2, :, 200:] = 0.1
    stack[3, :, 200:] = 0.1
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack([stack[[0, 1, 1, 1]], stack], axis=1), imagej=True, metadata={"axes": "ZCYX"}
    )
    options = {"factor": 2, "intensity_range": (0, 1)}
    assert outcome_of(tmp_path / "a.tif", interpolator=Doubtful(), **options).flagged() == []
    outcome = outcome_of(tmp_path / "a.tif", interpolator=Doubtful(), flag_below=12, **options)
    (flag,) = outcome.flagged()
    assert (flag["stack"], flag["plane"], flag["whole"]) == (1, 3, False)
    assert flag["psnr_db"] == round(outcome.measures[1][3].decibels or 0, 2) > 12
    assert [(region["row"], region["column"]) for region in flag["regions"]] == [(0, 256), (128, 256)]
    assert all(region["decibels"] < 12 for region in flag["regions"])
    json.dumps(flag)
    whole = outcome_of(tmp_path / "a.tif", interpolator=Doubtful(), flag_below=15, **options).flagged()
    assert [(flag["plane"], flag["whole"]) for flag in whole] == [(3, True)]
    assert outcome.measures[1][3].regions[0] == Region(**flag["regions"][0])
