"""Networks as interpolators: devices, precision, tiles."""

import numpy as np
import pytest
import torch

from tests.conftest import make_stack
from zinterp import interpolate
from zinterp.errors import BadOptionError, NoRoomError
from zinterp.interpolators import create_interpolator
from zinterp.interpolators.network import choose_device, choose_precision, cpu_has_bf16, spread_device
from zinterp.interpolators.weights import shipped_weights


def test_bf16_is_near_fp32() -> None:
    planes = make_stack((6, 96, 96), "float32")[None]
    times = np.array([0.25, 0.5], np.float32)
    exact = create_interpolator(precision="fp32", device="cpu")(planes, times)
    rough = create_interpolator(precision="bf16", device="cpu")(planes, times)
    assert not np.array_equal(exact, rough)
    assert np.abs(exact - rough).max() < 4 / 255
    assert np.sqrt(np.square(exact - rough).mean()) < 0.5 / 255


@pytest.mark.parametrize("model", ["mirror-unet", "fast", "super-slomo", "nested-unet", "fbnet", "softsplat"])
def test_tiled_is_untiled_to_a_grey_level_of_255(model: str) -> None:
    stack = make_stack((2, 560, 400), "float32")
    grain = np.random.default_rng(0).normal(0, 0.04, stack.shape).astype(np.float32)
    stack[:, 250:] += grain[:, 250:]  # so that what kind of planes these are differs from tile to tile
    options = {"depths": [0.5], "device": "cpu", "precision": "fp32", "intensity_range": (0, 1), "model": model}
    whole = interpolate(stack, tile=2048, **options)
    tiled = interpolate(stack, tile=400, **options)
    difference = np.abs(whole - tiled)
    assert 0 < difference.max() < 1 / 255


def test_dtype_hardly_changes_the_result() -> None:
    stack = make_stack((4, 64, 64), "uint8")
    fp32 = {"factor": 2, "device": "cpu", "precision": "fp32"}
    small = interpolate(stack, **fp32).astype(float)
    large = interpolate(stack.astype(np.uint16) * 257, **fp32).astype(float) / 257
    floating = interpolate(stack.astype(np.float32) / 255, **fp32).astype(float) * 255
    assert np.abs(small - large).max() <= 0.51
    assert np.abs(floating - large).max() <= 0.01


def test_devices() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    for name in ("cuda:99", "tpu", "cpu:3", ""):
        with pytest.raises(BadOptionError, match="expected one that is here: auto, cpu"):
            choose_device(name)


def test_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == torch.float32
    assert choose_precision("fp16", torch.device("cuda")) == torch.float16
    with pytest.raises(BadOptionError, match="which no CPU does at speed"):
        choose_precision("fp16", cpu)
    with pytest.raises(BadOptionError, match="expected one of auto, fp32"):
        choose_precision("int8", cpu)
    monkeypatch.setattr("zinterp.interpolators.network.cpu_has_bf16", lambda: False)
    assert choose_precision("auto", cpu) == torch.float32
    monkeypatch.setattr("zinterp.interpolators.network.cpu_has_bf16", lambda: True)
    assert choose_precision("auto", cpu) == torch.bfloat16
    assert isinstance(cpu_has_bf16(), bool)


@pytest.mark.gpu
@pytest.mark.parametrize("model", shipped_weights())
def test_cuda_agrees_with_the_cpu_and_with_itself(model: str) -> None:
    cpu = create_interpolator(model, precision="fp32", device="cpu")
    planes = make_stack((2 * cpu.needs.context, 96, 96), "float32")[None]
    times = np.array([0.25, 0.5], np.float32)
    cuda = create_interpolator(model, precision="fp32", device="cuda")
    first = cuda(planes, times)
    assert np.abs(cpu(planes, times) - first).max() < 1e-3
    assert np.array_equal(cuda(planes, times), first)


def test_a_hot_pixel_changes_no_more_than_its_surroundings() -> None:
    planes = make_stack((6, 160, 160), "float32")[None]
    times = np.array([0.25], np.float32)
    interpolator = create_interpolator(precision="fp32", device="cpu")
    plain = interpolator(planes, times)
    for height in (30.0, 1e4, 1e30):
        hot = planes.copy()
        hot[0, 2, 80, 80] += height
        made = interpolator(hot, times)
        off = np.abs(made - plain)
        assert made[0, 0, 80, 80] == pytest.approx(0.75 * height, rel=0.15)
        off[0, 0, 80, 80] = 0
        assert off.max() < 0.3
        assert off[..., :40].max() < 0.02


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_an_error_of_its_own_without_the_tensors(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpolator = create_interpolator(precision="fp32", device="cpu")
    planes, times = make_stack((6, 32, 32), "float32")[None], np.array([0.5], np.float32)

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(interpolator, "predict", fail)
    with pytest.raises(
        NoRoomError, match="cpu has no memory for a tile of 32x32 pixels: give a smaller --tile"
    ) as caught:
        interpolator(planes, times)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_other_errors_of_a_network_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    interpolator = create_interpolator(precision="fp32", device="cpu")

    def fail(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(interpolator, "predict", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        interpolator(make_stack((6, 32, 32), "float32")[None], np.array([0.5], np.float32))


def test_a_network_whose_tiles_were_too_large_goes_on_with_smaller_ones(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    interpolator = create_interpolator(precision="fp32", device="cpu")
    predict = interpolator.predict  # type: ignore[attr-defined]

    def small_only(frames: torch.Tensor, t: torch.Tensor) -> object:
        if max(frames.shape[2:]) > 2 * interpolator.needs.overlap:  # the smallest tiles that there are
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(frames, t)

    stack = make_stack((2, 400, 40))
    monkeypatch.setattr(interpolator, "predict", small_only)
    found = interpolate(stack, factor=2, interpolator=interpolator)
    assert np.array_equal(found[::2], stack)
    assert caplog.text.count("starting this stack again with tiles of") == 1


@pytest.mark.gpu
def test_cuda_without_memory_halves_the_tiles_and_goes_on() -> None:
    stack = make_stack((2, 1024, 1024))
    interpolator = create_interpolator(device="cuda")
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        found = interpolate(stack, factor=2, interpolator=interpolator, tile=1280)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert np.array_equal(found[::2], stack)


def test_processes_take_turns_with_the_devices_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [spread_device("auto", process) for process in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [spread_device(name, 1) for name in ("cuda", "cuda:0", "cpu")] == ["cuda:1", "cuda:0", "cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert spread_device("auto", 1) == "auto"
