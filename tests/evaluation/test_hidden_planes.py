"""Hiding planes of a stack and scoring what models make of them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tests.conftest import DTYPES, Doubtful, make_stack, write_imagej
from zinterp.errors import BadOptionError, BadVolumeError
from zinterp.evaluation.hidden_planes import (
    Evaluation,
    Window,
    default_models,
    evaluate,
    evaluate_job,
    parse_model,
)
from zinterp.evaluation.metrics import psnr
from zinterp.evaluation.tables import facts, planes_csv
from zinterp.interpolators.cubic import CubicInterpolator
from zinterp.options import UpsampleOptions
from zinterp.pipeline import interpolate

Stack = NDArray[np.generic]


class Better(CubicInterpolator):
    """Cubic interpolation under another name."""

    identity = "better"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_imagej(tmp_path / "a.tif", make_stack((9, 40, 48)))
    return tmp_path / "a.tif"


def classical(source: Path, **options: object) -> Evaluation:
    """With cubic interpolation under another name, so that no network is loaded."""
    return evaluate(source, models=["better"], interpolators={"better": Better()}, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_are_those_of_upsampling_what_was_kept(factor: int, dtype: str, tmp_path: Path) -> None:
    stack = make_stack((9, 40, 48), dtype)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    found = evaluate(tmp_path / "a.tif", factor=factor, models=["linear"])
    count = (len(stack) - 1) // factor * factor + 1
    assert found.window == Window(tuple(range(count)), range(40), range(48))
    truth = stack[:count]
    hidden = [k for k in range(count) if k % factor]
    assert list(found.truth.hidden) == hidden
    span = float(np.subtract(*np.percentile(truth, [99.9, 0.1])))
    for model in ("linear", "cubic"):
        dense = interpolate(truth[::factor], factor=factor, model=model)
        assert np.array_equal(found.predictions[model].planes, dense)
        assert found.score(model).psnr_db == pytest.approx(psnr(truth[hidden], dense[hidden], data_range=span))
        assert [plane.plane for plane in found.score(model).planes] == hidden
        assert [plane.t for plane in found.score(model).planes] == [k % factor / factor for k in hidden]
    assert found.best is None
    assert found.gain_db is None
    assert not found.helps
    assert found.verdict.startswith(f"{found.classical.model} +")


def test_the_middle_is_looked_at_and_whole_gaps_only(source: Path) -> None:
    found = classical(source, factor=2, planes=6, size=20)
    assert found.window == Window((1, 2, 3, 4, 5), range(10, 30), range(14, 34))
    assert str(found.window) == "planes 1-5, rows 10-29, columns 14-33"
    assert found.truth.planes.shape == (5, 20, 20)
    assert classical(source, planes=0, size=0).window.shape == (9, 40, 48)
    assert np.array_equal(found.truth.planes, make_stack((9, 40, 48))[1:6, 10:30, 14:34])


def test_the_verdict_says_what_to_do(source: Path) -> None:
    same = classical(source)
    assert not same.helps
    assert same.verdict.startswith("no gain here: use --model cubic (better +0.00 dB over cubic")
    assert "twice as wide" in same.caveat
    assert "4 times as wide" in classical(source, factor=4).caveat
    best, cubic = same.score("better"), same.score("cubic")
    planes = tuple(replace(plane, psnr_db=plane.psnr_db + 1) for plane in best.planes)
    ahead = replace(best, psnr_db=best.psnr_db + 1, planes=planes)
    helped = replace(same, scores=(ahead, cubic, same.score("linear")))
    assert helped.helps
    assert helped.verdict == "better +1.00 dB over cubic on this stack, better on 4 of 4 hidden planes"
    by_one = replace(ahead, planes=(planes[0], *best.planes[1:]))
    assert not replace(same, scores=(by_one, cubic, same.score("linear"))).helps


def test_planes_that_are_left_out_are_neither_kept_nor_hidden(source: Path) -> None:
    found = classical(source, skip="2,5-6")
    assert found.window.planes == (0, 1, 3, 4, 7)
    dense = interpolate(make_stack((9, 40, 48))[[0, 3, 7]], depths=[0.5], positions=None, model="cubic")
    at = found.predictions["cubic"].planes
    assert np.array_equal(at[[0, 2, 4]], dense[::2])
    assert [plane.plane for plane in found.score("cubic").planes] == [1, 4]
    assert not np.array_equal(at[1], dense[1])  # plane 1 is a third into its gap, not half
    blank = make_stack((9, 40, 48)).copy()
    blank[4] = 0
    tifffile.imwrite(source.with_name("b.tif"), blank, photometric="minisblack")
    assert 4 not in classical(source.with_name("b.tif"), skip="auto").window.planes


def test_measured_positions_count(source: Path) -> None:
    positions = [0, 1, 2, 4, 5, 6, 7, 8, 9]
    uneven, even = classical(source, positions=[k * 0.02 for k in positions]), classical(source)
    assert uneven.score("linear").psnr_db != even.score("linear").psnr_db
    assert uneven.score("cubic").planes[0] == even.score("cubic").planes[0]


def test_a_model_that_knows_its_uncertainty_is_judged_by_it_too(source: Path) -> None:
    found = evaluate(source, models=["doubtful"], interpolators={"doubtful": Doubtful()})
    score, made = found.score("doubtful"), found.predictions["doubtful"]
    assert made.sigma is not None
    assert not made.sigma[::2].any()
    off = np.abs(made.planes[1::2].astype(float) - found.truth.planes[1::2])
    assert score.within_one == pytest.approx(np.mean(off <= made.sigma[1::2]))
    assert score.within_two == pytest.approx(np.mean(off <= 2 * made.sigma[1::2]))
    assert found.score("cubic").within_one is None
    assert found.predictions["cubic"].sigma is None


def test_lengths_are_given_where_the_pixel_size_is_known(source: Path) -> None:
    known = classical(source)
    score = known.score("cubic")
    assert score.resolution_px is not None
    assert score.resolution_um == pytest.approx(score.resolution_px * 0.008)
    tifffile.imwrite(source.with_name("b.tif"), make_stack((9, 40, 48)), photometric="minisblack")
    assert classical(source.with_name("b.tif")).score("cubic").resolution_um is None
    assert classical(source.with_name("b.tif"), voxel_size="20x8x8nm").score("cubic") == replace(
        score, seconds=pytest.approx(0, abs=60), megapixels_per_second=pytest.approx(0, abs=1e6)
    )


def test_measures_of_a_segmentation_are_compared(source: Path) -> None:
    found = classical(source)
    errors = found.score("cubic").errors(found.truth)
    true, ours = found.truth.morphology, found.score("cubic").morphology
    assert errors is not None
    assert true is not None
    assert ours is not None
    assert errors.fraction == ours.fraction - true.fraction
    assert errors.surface == ours.surface / true.surface - 1
    assert errors.euler == ours.euler - true.euler
    assert found.score("cubic").errors(replace(found.truth, morphology=None)) is None


def test_the_default_network_beats_the_others_on_tissue_and_names_its_finish(data: Path, tmp_path: Path) -> None:
    volume = tifffile.imread(data / "val" / "fibsem_medulla_val.tif")[100:109, :128, :128]
    write_imagej(tmp_path / "a.tif", volume)
    found = evaluate(tmp_path / "a.tif", models=["fast", "fast+restore"], device="cpu")
    assert found.helps
    assert found.best is found.score("fast")
    assert found.score("fast+restore").sharpness > found.score("fast").sharpness + 0.1
    assert "boundary-restoration" in found.score("fast+restore").identity
    assert found.score("fast").within_two is not None


def test_a_job_is_evaluated_with_its_own_model_and_finish(source: Path) -> None:
    settings = UpsampleOptions(factor=4, model="cubic", sharpen=0.8, sharpen_radius=2.0, channel=0)
    found = evaluate_job(source, settings, planes=5, size=32)
    assert {score.model for score in found.scores} == {"cubic+sharpen", "cubic", "linear"}
    finishing = found.predictions["cubic+sharpen"].outcome.job.finishing
    assert finishing.sharpening is not None
    assert (finishing.sharpening.amount, finishing.sharpening.radius) == (0.8, 2.0)
    assert found.predictions["cubic"].outcome.job.finishing.sharpening is None
    auto = parse_model("fast+restore", {"restore": "mine.safetensors", "sharpen": "auto"})
    assert (auto.restore, auto.sharpen) == ("mine.safetensors", None)
    assert default_models() == ["mirror-unet", "fast"]


def test_bad_requests_are_refused_in_one_line(source: Path, tmp_path: Path) -> None:
    for options, reason in (
        ({"factor": 1}, "the factor is 1, expected at least 2"),
        ({"factor": 9}, "there are 9 planes to look at, expected at least 10"),
        ({"planes": 2}, "there are 2 planes to look at, expected at least 3"),
        ({"planes": -1}, "got -1 planes to look at"),
        ({"size": -5}, "got -5 pixels to look at"),
        ({"max_memory": 1000}, "may be used: look at fewer planes"),
        ({"models": ["cubic+grain"]}, "has 'grain' behind it, expected one of restore, sharpen"),
        ({"models": ["auto"]}, "the model is 'auto'"),
        ({"models": ["none"]}, "the model is 'none'"),
    ):
        with pytest.raises((BadOptionError, BadVolumeError), match=reason):
            evaluate(source, **options)  # type: ignore[arg-type]
    tifffile.imwrite(tmp_path / "flat.tif", np.full((5, 16, 16), 7, np.uint8), photometric="minisblack")
    with pytest.raises(BadVolumeError, match="have the grey value 7 all over"):
        evaluate(tmp_path / "flat.tif", models=["linear"])


def test_missing_values_are_refused_or_filled(tmp_path: Path) -> None:
    stack = make_stack((5, 40, 48), "float32").copy()
    stack[3, 4, 5] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    with pytest.raises(BadVolumeError, match="planes 3 have NaN or infinite values"):
        evaluate(tmp_path / "a.tif", models=["linear"])
    assert np.isfinite(evaluate(tmp_path / "a.tif", models=["linear"], fill_nonfinite=True).scores[0].psnr_db)
    assert evaluate(tmp_path / "a.tif", models=["linear"], size=20).window.rows == range(10, 30)


def test_the_first_channel_is_taken_unless_another_is_named(tmp_path: Path) -> None:
    one, other = make_stack((5, 40, 48)), make_stack((5, 40, 48), seed=1)
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack([one, other], axis=1), imagej=True, metadata={"axes": "ZCYX", "spacing": 1.0}
    )
    assert np.array_equal(evaluate(tmp_path / "a.tif", models=["linear"]).truth.planes, one)
    assert np.array_equal(evaluate(tmp_path / "a.tif", models=["linear"], channel=1).truth.planes, other)


def test_json_and_csv_have_all_scores(source: Path) -> None:
    found = classical(source)
    said = json.loads(json.dumps(facts(found)))
    assert said["verdict"] == found.verdict
    assert [model["model"] for model in said["models"]] == [score.model for score in found.scores]
    assert said["models"][0]["psnr_db"] == found.scores[0].psnr_db
    assert said["window"] == {"planes": list(range(9)), "rows": [0, 40], "columns": [0, 48]}
    assert len(said["models"][0]["planes"]) == said["hidden_planes"] == 4
    rows = planes_csv(found).splitlines()
    assert rows[0] == "model,plane,t,psnr_db,ssim,sharpness,edges,mean_error"
    assert len(rows) == 1 + 3 * 4
    assert rows[1].startswith(f"{found.scores[0].model},1,0.5,")
