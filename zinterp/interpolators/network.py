"""A trained network as an interpolator: the one place where numpy becomes torch and back."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from zinterp.errors import BadOptionError, NoRoomError
from zinterp.interpolators.base import Needs, Planes
from zinterp.models.layers import Prediction
from zinterp.models.strips import strip_by_strip

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch takes large pages where the system offers them
Made = TypeVar("Made")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GPU_BATCH = 4
NO_MEMORY = ("not enough memory", "out of memory", "alloc_failed")
"""What allocators say, other than by an error of their own: of the CPU, of Apple's GPUs, of NVIDIA's libraries."""
SEEN = (-2.0, 3.0)  # the intensity range is 0 to 1: grey values that a network is shown


class NetworkInterpolator:
    """Run a network on tiles. See ``Interpolator``.

    Parameters
    ----------
    network : nn.Module
        ``(planes (N, 2 * context, H, W), times (N, K)) -> Prediction``, with ``context``, ``multiple_of``, ``overlap``,
        ``bytes_per_pixel`` in float32 and in fewer bits, and ``uncertain``: whether it predicts deviations.
    identity : str
        Name and hash of the weights.
    device : str
        ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; ``auto`` takes CUDA where there is one.
    precision : str
        Of the convolutions: ``fp32``, ``bf16``, ``fp16``, or ``auto``: the fastest that the device does well.

    Raises
    ------
    BadOptionError
        If the device is not there or the precision is not for it.
    """

    def __init__(self, network: Any, *, identity: str, device: str = "auto", precision: str = "auto") -> None:
        self.device = choose_device(device)
        self.dtype = choose_precision(precision, self.device)
        name = next(name for name, dtype in PRECISIONS.items() if dtype == self.dtype)
        self.identity = f"{identity}, {name} on {self.device.type}"
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()
        memory = network.bytes_per_pixel[0 if self.dtype == torch.float32 else 1]
        batch = GPU_BATCH if self.device.type == "cuda" else 1
        self.threads = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.needs = Needs(network.context, network.multiple_of, network.overlap, memory, batch, at_once=self.threads)

    def __call__(self, planes: Planes, times: NDArray[np.float32]) -> Planes:
        """Planes (N, 2 * context, Y, X) and times (K,) -> (N, K, Y, X)."""
        return with_excess(to_numpy(self.run(self.predict, planes, times).planes), planes, times)

    def predict(self, frames: torch.Tensor, t: torch.Tensor) -> Prediction:
        """Planes (N, 2 * context, Y, X) and times (N, K) on the device -> planes and deviations (N, K, Y, X)."""
        made: Prediction = self.network(frames, t)
        return made

    @torch.inference_mode()
    def run(
        self, function: Callable[[torch.Tensor, torch.Tensor], Made], planes: Planes, times: NDArray[np.float32]
    ) -> Made:
        """Take planes, without their excess, and times to the device and apply a function to them there.

        A NoRoomError is raised where the device has no memory for that; what it held of it is free again then.
        """
        try:
            return self.on_device(function, planes, times)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # here, where the error is gone, and with it the tensors that its frames held
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        size = "x".join(map(str, planes.shape[2:]))
        raise NoRoomError(f"{self.device} has no memory for a tile of {size} pixels: give a smaller --tile")

    def on_device(
        self, function: Callable[[torch.Tensor, torch.Tensor], Made], planes: Planes, times: NDArray[np.float32]
    ) -> Made:
        """Apply a function to planes and times on the device."""
        frames = torch.from_numpy(planes if is_seen(planes) else np.clip(planes, *SEEN)).to(self.device)
        t = torch.from_numpy(times.astype(np.float32)).to(self.device).expand(len(frames), -1)
        with (
            torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32),
            self.in_one_thread() if self.device.type == "cpu" else nullcontext(),
        ):
            return function(frames, t)

    @contextmanager
    def in_one_thread(self) -> Iterator[None]:
        """Compute in the calling thread alone, so that the number of threads changes nothing, not even rounding.

        Threads that share the work of each step would also have to wait for each other after each, which costs most
        where the processor is shared.
        """
        torch.set_num_threads(1)  # for this thread, and for others that are started until it is set again
        try:
            with strip_by_strip() if getattr(self.network, "by_strips", False) else nullcontext():
                yield
        finally:
            torch.set_num_threads(self.threads)


class UncertainNetworkInterpolator(NetworkInterpolator):
    """Run a network that predicts how far off it may be. See ``Uncertain``."""

    def __init__(self, network: Any, **options: Any) -> None:
        super().__init__(network, **options)
        self.needs = replace(self.needs, outputs=2)

    def uncertainty(self, planes: Planes, times: NDArray[np.float32]) -> tuple[Planes, Planes]:
        """Planes (N, 2 * context, Y, X) and times (K,) -> planes and standard deviations, each (N, K, Y, X)."""
        made = self.run(self.predict, planes, times)
        assert made.sigma is not None
        return with_excess(to_numpy(made.planes), planes, times), to_numpy(made.sigma)


class RestoredNetworkInterpolator(UncertainNetworkInterpolator):
    """Run a network that predicts how far off it may be, and restore the boundaries in each plane that it makes.

    Parameters
    ----------
    network : nn.Module
        As in ``NetworkInterpolator``; ``uncertain``.
    restoration : nn.Module
        A ``BoundaryRestoration``.
    **options
        As in ``NetworkInterpolator``; ``identity`` names both.
    """

    def __init__(self, network: Any, restoration: Any, **options: Any) -> None:
        super().__init__(network, **options)
        self.restoration = restoration.to(self.device, memory_format=torch.channels_last).eval()
        self.needs = replace(
            self.needs,
            multiple_of=math.lcm(self.needs.multiple_of, restoration.multiple_of),
            overlap=max(self.needs.overlap, restoration.overlap),
            outputs=3,
        )

    def predict(self, frames: torch.Tensor, t: torch.Tensor) -> Prediction:
        """Synthesise planes and restore them."""
        return self.both(frames, t)[1]

    def restored(self, planes: Planes, times: NDArray[np.float32]) -> tuple[Planes, Planes, Planes]:
        """Planes (N, 2 * context, Y, X) and times (K,) -> planes, planes restored, and the deviations of these."""
        made, restored = self.run(self.both, planes, times)
        assert restored.sigma is not None
        before, after = (with_excess(to_numpy(x.planes), planes, times) for x in (made, restored))
        return before, after, to_numpy(restored.sigma)

    def both(self, frames: torch.Tensor, t: torch.Tensor) -> tuple[Prediction, Prediction]:
        """Synthesise planes, then restore them one by one: what was there before, and after."""
        made = super().predict(frames, t)
        assert made.sigma is not None
        middle = frames.shape[1] // 2
        neighbours = frames[:, middle - 1 : middle + 1]
        restored = [
            self.restoration(neighbours, made.planes[:, k : k + 1], made.sigma[:, k : k + 1], t[:, k])
            for k in range(t.shape[1])
        ]
        return made, Prediction(*(torch.cat(each, dim=1) for each in zip(*restored, strict=True)))


def interpolator_of(network: Any, *, restoration: Any = None, **options: Any) -> NetworkInterpolator:
    """A network as an interpolator, one that knows its uncertainty where it predicts it, and restores if it is to."""
    if restoration is not None:
        return RestoredNetworkInterpolator(network, restoration, **options)
    return (UncertainNetworkInterpolator if network.uncertain else NetworkInterpolator)(network, **options)


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether an error says that memory has run out, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in NO_MEMORY)


def is_seen(planes: Planes) -> bool:
    """Whether a network is shown all grey values of some planes as they are."""
    return bool(SEEN[0] <= planes.min() and planes.max() <= SEEN[1])


def with_excess(made: Planes, planes: Planes, times: NDArray[np.float32]) -> Planes:
    """What was made (N, K, Y, X), and what the planes beside the gap have beyond what a network is shown, at t.

    Hot pixels, tens of times as bright as anything else, would else change planes as far as the network sees.
    """
    middle = planes.shape[1] // 2
    near = planes[:, middle - 1 : middle + 1]
    if is_seen(near):
        return made
    beyond = near - np.clip(near, *SEEN)
    t = times[:, None, None].astype(np.float32)
    return made + (beyond[:, :1] + t * (beyond[:, 1:] - beyond[:, :1]))


def to_numpy(tensor: torch.Tensor) -> Planes:
    """A float32 array of a tensor on any device."""
    return np.asarray(tensor.float().cpu().numpy())


def choose_device(name: str) -> torch.device:
    """The torch device of a name, checked to be there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    available = {
        "cpu": device.index in (None, 0),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise BadOptionError(f"the device is {name!r}, expected one that is here: auto, {', '.join(there)}")
    return device


def spread_device(name: str, process: int) -> str:
    """The device of one of several processes: where there are CUDA devices to choose from, they take turns."""
    count = torch.cuda.device_count() if name in ("auto", "cuda") and torch.cuda.is_available() else 0
    return f"cuda:{process % count}" if count > 1 else name


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the convolutions."""
    if name == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if device.type == "cpu" and cpu_has_bf16() else torch.float32
    if name not in PRECISIONS:
        raise BadOptionError(f"the precision is {name!r}, expected one of auto, {', '.join(PRECISIONS)}")
    if name == "fp16" and device.type == "cpu":
        raise BadOptionError("the precision is 'fp16', which no CPU does at speed: expected auto, fp32 or bf16")
    return PRECISIONS[name]


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
