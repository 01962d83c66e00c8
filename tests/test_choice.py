"""Which model is chosen where that is left to zinterp."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from tests.conftest import make_stack, write_imagej
from zinterp.choice import Choice, choose_interpolator
from zinterp.errors import BadOptionError
from zinterp.interpolators import create_interpolator
from zinterp.interpolators.base import Needs
from zinterp.interpolators.cubic import CubicInterpolator
from zinterp.interpolators.linear import LinearInterpolator
from zinterp.io import read_record
from zinterp.job import plan_job
from zinterp.options import UpsampleOptions
from zinterp.phantom import Phantom
from zinterp.pipeline import ArrayReader, decide, interpolate, upsample

Stack = NDArray[np.generic]


class Off:
    """Cubic interpolation that is off by a part of the intensity range, and asks for tiles as a network does."""

    needs = Needs(context=3, multiple_of=8, overlap=32)

    def __init__(self, error: float) -> None:
        self.identity = f"off by {error:g}"
        self.error = np.float32(error)

    def __call__(self, planes: NDArray[np.float32], times: NDArray[np.float32]) -> NDArray[np.float32]:
        """Planes (N, 6, Y, X) and times (K,) -> (N, K, Y, X)."""
        return CubicInterpolator()(planes[:, 1:5], times) + self.error


def chosen(stack: Stack, network: object, **options: object) -> Choice:
    settings = UpsampleOptions(factor=2, model="auto", **options)  # type: ignore[arg-type]
    reader = ArrayReader(stack)
    job = plan_job(reader, settings, needs=network.needs, model=network.identity)  # type: ignore[attr-defined]
    interpolator, choice = choose_interpolator(reader, job, network)  # type: ignore[arg-type]
    assert interpolator.identity == choice.model
    return choice


@pytest.fixture(scope="module")
def tissue() -> Stack:
    return Phantom.random((13, 150, 130), cell=32.0, seed=3).volume(range(13), (150, 130), noise=0.02)


def test_the_better_one_is_chosen_and_cubic_where_there_is_no_difference(tissue: Stack) -> None:
    assert chosen(tissue, Off(0.0)).model == "cubic"
    worse = chosen(tissue, Off(0.02))
    assert worse.model == "cubic"
    assert worse.psnr_db["cubic"] > worse.psnr_db["off by 0.02"]
    assert worse.planes == 6
    flickering = tissue.copy()  # every second plane is brighter, so that what is off by as much fits better
    flickering[1::2] = np.clip(tissue[1::2] + 20.0, 0, 255).astype(np.uint8)
    assert chosen(flickering, Off(0.1)).model == "off by 0.1"


def test_one_plane_that_is_far_better_does_not_decide() -> None:
    stack = np.repeat(make_stack((1, 40, 48), "float32"), 13, axis=0).copy()
    stack[5] += np.float32(0.5)
    choice = chosen(stack, Off(0.1))
    assert choice.model == "cubic"


def test_the_default_network_is_chosen_for_a_real_volume(data: Path) -> None:
    volume = tifffile.imread(data / "val" / "fibsem_medulla_val.tif")[100:117, :160, :160]
    network = create_interpolator(device="cpu")
    choice = chosen(volume, network)
    assert choice.model == network.identity
    assert choice.psnr_db[network.identity] > choice.psnr_db["cubic"] + 0.3


@pytest.mark.parametrize("planes", [2, 3, 4])
def test_a_stack_too_thin_to_hide_planes_gets_cubic(planes: int) -> None:
    choice = chosen(make_stack((planes, 40, 48)), Off(0.0))
    assert choice.model == "cubic"
    assert choice.planes == (planes - 1) // 2
    assert ("too few planes" in str(choice)) == (planes == 2)


def test_planes_that_are_left_out_missing_values_uneven_places_and_drift_are_heeded(tissue: Stack) -> None:
    spoilt = tissue.astype(np.float32)
    spoilt[4] = 1e4
    assert chosen(spoilt, Off(0.02)).psnr_db["cubic"] < chosen(spoilt, Off(0.02), skip=[4]).psnr_db["cubic"] - 5
    spoilt[4, 5, 5] = np.nan
    whole = chosen(spoilt, Off(0.02), skip=[4], fill_nonfinite=True)
    assert np.isfinite(list(whole.psnr_db.values())).all()
    ramp = np.arange(13.0, dtype=np.float32) ** 2  # planes at these places are a straight line along z
    line = ramp[:, None, None] + make_stack((1, 40, 48), "float32")
    assert chosen(line, LinearInterpolator(), positions=ramp.tolist()).model == "linear"
    moved = np.stack([np.roll(plane, 3 * k, axis=1) for k, plane in enumerate(np.repeat(tissue[:1], 13, axis=0))])
    assert chosen(moved, Off(0.02), align=True).psnr_db["cubic"] > chosen(moved, Off(0.02)).psnr_db["cubic"] + 3


def test_all_channels_and_times_have_a_say(tissue: Stack) -> None:
    one = chosen(tissue, Off(0.02))

    class Two(ArrayReader):
        """The same stack in two channels."""

        def __init__(self, array: Stack) -> None:
            super().__init__(array)
            self.info = type(self.info)(self.info.shape, self.info.dtype, channels=2)

    reader, settings = Two(tissue), UpsampleOptions(factor=2, model="auto")
    network = Off(0.02)
    job = plan_job(reader, settings, needs=network.needs, model=network.identity)
    _, both = choose_interpolator(reader, job, network)
    assert both.planes == 2 * one.planes


def test_the_choice_is_recorded_and_a_job_goes_on_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_imagej(tmp_path / "a.tif", make_stack((9, 40, 48)))
    with caplog.at_level(logging.INFO, "zinterp"):
        upsample(tmp_path / "a.tif", tmp_path / "b.tif", factor=2, model="auto", interpolator=Off(0.05))
    assert "model auto: cubic, on 4 hidden planes: off by 0.05" in caplog.text
    record = read_record(tmp_path / "b.tif")
    assert record is not None
    assert record["model"] == "cubic"
    assert set(record["choice"]["psnr_db"]) == {"cubic", "off by 0.05"}
    assert record["choice"]["planes"] == 4

    def stop(progress: object) -> None:
        if progress.done >= 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    settings = {"factor": 2, "model": "auto", "slab_depth": 2}
    with pytest.raises(KeyboardInterrupt):
        upsample(tmp_path / "a.tif", tmp_path / "c.tif", interpolator=Off(0.05), report=stop, **settings)
    upsample(tmp_path / "a.tif", tmp_path / "c.tif", interpolator=Off(0.05), resume=True, **settings)
    assert np.array_equal(tifffile.imread(tmp_path / "c.tif"), tifffile.imread(tmp_path / "b.tif"))


def test_in_memory_the_result_is_that_of_the_chosen_model(tissue: Stack) -> None:
    dense = interpolate(tissue, factor=2, model="auto", interpolator=Off(0.05))
    assert np.array_equal(dense, interpolate(tissue, factor=2, model="cubic"))


def test_what_cubic_has_not_is_refused_beside_auto(tmp_path: Path) -> None:
    for option in ({"restore": True}, {"confidence": "s.tif"}, {"flag_below": 20.0}, {"fallback": "cubic"}):
        with pytest.raises(BadOptionError, match="got model auto with restoration"):
            UpsampleOptions(factor=2, model="auto", **option)  # type: ignore[arg-type]


def test_a_model_that_is_named_is_not_second_guessed(tissue: Stack) -> None:
    network = Off(0.5)
    job, interpolator = decide(ArrayReader(tissue), UpsampleOptions(factor=2), interpolator=network)
    assert interpolator is network
    assert job.choice is None
