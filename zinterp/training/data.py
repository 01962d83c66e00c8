"""Training crops: planes around a gap and the hidden one in it, from volumes along any axis.

The networks are to work on specimens, microscopes and settings that they have not seen, so a crop is varied in all
that an acquisition varies: the gap, the pixel size, blur, grain, brightness of single planes, alignment, gamma and
inversion. What the network is asked for stays the plane that was really acquired there.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

from zinterp.errors import BadVolumeError
from zinterp.io import open_volume
from zinterp.models.layers import warp
from zinterp.normalize import Normalizer

Volume = NDArray[np.float16]
SMALLEST_CROP = 16  # pixels
MOTION, MOTION_NODES = (0.25, 4.0), (2, 6)  # pixels, and nodes along an edge, of the motion that is made up
MARGIN = 16  # pixels around a crop, from which moving structures come into it
UNEVEN = 0.3  # of the motion: how much it differs from place to place
CUBE_TOLERANCE = 1.3  # longest edge of a voxel over its shortest, up to which it is taken for a cube


@dataclass(frozen=True)
class Augmentation:
    """How often each variation happens (probabilities) and how strong it is; intensities are parts of the range."""

    wide_gap: float = 0.15  # up to twice as wide as the widest gap asked for
    smooth_copy: float = 0.33  # from a blurred or resampled copy of the volume
    zoom: float = 0.35  # pixels between 0.5 and 2.5 times smaller
    noise: float = 0.3
    noise_sigma: tuple[float, float] = (0.005, 0.12)
    shared_noise: float = 0.5  # of the noisy ones: correlated along z
    blurred_noise: float = 0.4  # of the noisy ones: correlated in the plane
    brightness: float = 0.1  # planes that differ in gain and offset
    misaligned: float = 0.12
    shift: int = 2  # pixels, each plane on its own
    moving: float = 0.25  # of the aligned ones: all that is seen moves on steadily from plane to plane
    motion: tuple[float, float] = (0.4, 4.0)  # pixels a gap
    stripes: float = 0.05  # curtaining
    gamma: float = 0.3
    invert: float = 0.3
    end_of_stack: float = 0.2  # outer planes repeat the one beside them


@dataclass(frozen=True)
class Moved:
    """Pairs of planes (M, 2, H, W) and the flow from the first to the second, (M, 2, H, W), in pixels; float32."""

    planes: torch.Tensor
    flow01: torch.Tensor

    def to(self, device: torch.device) -> "Moved":
        """The same on a device."""
        return Moved(self.planes.to(device), self.flow01.to(device))


@dataclass(frozen=True)
class Batch:
    """Crops for one step: planes (N, 2 * context, H, W), times (N, 1) and targets (N, 1, H, W), all float32.

    ``moved`` are pairs with known motion, where they were asked for.
    """

    planes: torch.Tensor
    times: torch.Tensor
    targets: torch.Tensor
    moved: Moved | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        moved = self.moved.to(device) if self.moved else None
        return Batch(self.planes.to(device), self.times.to(device), self.targets.to(device), moved)

    def around(self, context: int) -> torch.Tensor:
        """The planes beside the gap alone, ``context`` on each side, (N, 2 * context, H, W)."""
        middle = self.planes.shape[1] // 2
        return self.planes[:, middle - context : middle + context]


def read_training_volumes(paths: Sequence[Path]) -> list[Volume]:
    """Read stacks whole, each normalised by its own robust range; channels and times count as stacks.

    A file named twice is read once.

    Raises
    ------
    InputError, BadVolumeError
        If a stack cannot be read.
    """
    volumes: dict[Path, list[Volume]] = {path: [] for path in paths}
    for path in volumes:
        with open_volume(path) as reader:
            for stack in range(reader.info.stacks):
                planes = reader.read(range(reader.info.shape[0]), stack)
                if not np.isfinite(planes).all():
                    raise BadVolumeError(
                        f"{path} has NaN or infinite values, expected finite ones: repair it or leave it out"
                    )
                volumes[path].append(Normalizer.fit(planes[::8]).normalize(planes).astype(np.float16))
    return [volume for path in paths for volume in volumes[path]]


def axes_of(paths: Sequence[Path]) -> tuple[int, ...]:
    """Axes along which planes can be hidden: all three if every stack is thick and says that its voxels are cubes.

    Else z alone. Thick is twice the smallest crop, since planes that are held out are lost to the other axes.
    """
    for path in paths:
        with open_volume(path) as reader:
            size, depth = reader.info.voxel_size, reader.info.shape[0]
        lengths = [length for length in (size.z, size.y, size.x) if length]
        cubes = len(lengths) == 3 and max(lengths) <= CUBE_TOLERANCE * min(lengths)
        if not cubes or depth < 2 * SMALLEST_CROP:
            return (0,)
    return (0, 1, 2)


def smooth_copies(volumes: Sequence[Volume], rng: np.random.Generator) -> list[Volume]:
    """For each volume four band-limited copies: blurred, twice grainy and then blurred, and at half the sampling.

    The grainy ones have noise that is correlated along z and in the plane, each more or less, as that of tomograms is:
    a plane's grain then says something about the grain of the plane that is missing.
    """
    copies = []
    for volume in volumes:
        sharp = volume.astype(np.float32)
        copies.append(ndimage.gaussian_filter(sharp, rng.uniform(0.7, 2.0)).astype(np.float16))
        for _ in range(2):
            grain = np.float32(rng.uniform(0.1, 0.6)) * rng.standard_normal(sharp.shape, dtype=np.float32)
            copies.append(ndimage.gaussian_filter(sharp + grain, rng.uniform(0.0, 1.1, 3)).astype(np.float16))
        if min(volume.shape) >= 64:
            anti_aliased = ndimage.gaussian_filter(sharp, rng.uniform(0.6, 1.0))
            copies.append(anti_aliased[::2, ::2, ::2].astype(np.float16))
    return copies


class CropSampler:
    """Draw crops from volumes at random, reproducibly from a seed.

    Parameters
    ----------
    volumes : sequence of ndarray, each shape (Z, Y, X), float16, about [0, 1]
        Each is drawn in proportion to its mean edge length; name a volume twice to see it twice as often.
    gaps : tuple of int
        Least and most planes from one plane that is seen to the next; narrow gaps come a little more often.
    axes : tuple of int
        Axes along which planes are hidden: (0, 1, 2) for isotropic volumes, (0,) for others.
    size : int
        Height and width of the crops in pixels.
    context : int
        Planes that are seen on each side of the gap; where the volume ends its last one is repeated.
    moved : int
        Pairs with known motion in a batch, beside its crops.
    augmentation : Augmentation or None
        None draws crops as they are.
    seed : int
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        *,
        gaps: tuple[int, int] = (2, 8),
        axes: tuple[int, ...] = (0, 1, 2),
        size: int = 96,
        context: int = 2,
        moved: int = 0,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        if not volumes:
            raise BadVolumeError("got no volume to draw crops from, expected at least one")
        for volume in volumes:
            if volume.ndim != 3 or min(volume.shape[axis] for axis in axes) < 3:
                raise BadVolumeError(f"got a volume of shape {volume.shape}, expected at least 3 planes to hide one")
            if min(n for axis in axes for i, n in enumerate(volume.shape) if i != axis) < SMALLEST_CROP:
                raise BadVolumeError(
                    f"got a volume of shape {volume.shape}, expected at least {SMALLEST_CROP} pixels across the "
                    "planes: hide planes along z only (--axes z), or leave it out"
                )
        self.rng = np.random.default_rng(seed)
        self.augmentation = augmentation
        self.gaps = gaps
        self.axes = axes
        self.size = size
        self.context = context
        self.moved = moved
        self.plain = list(volumes)
        self.smooth = smooth_copies(volumes, self.rng) if augmentation else []

    def batch(self, count: int) -> Batch:
        """Draw ``count`` crops."""
        crops = [self.crop() for _ in range(count)]
        planes = torch.from_numpy(np.stack([c[0] for c in crops]))  # (N, 2 * context + 1, H, W), the target last
        return Batch(
            planes=planes[:, :-1].contiguous(),
            times=torch.tensor([[c[1]] for c in crops], dtype=torch.float32),
            targets=planes[:, -1:].contiguous(),
            moved=self.moved_pairs() if self.moved else None,
        )

    def moved_pairs(self) -> Moved:
        """Planes, and what each becomes under a smooth random motion that is known."""
        rng, size = self.rng, self.size
        seconds, flows = [], []
        for _ in range(self.moved):
            seconds.append(self.crop()[0][-1])
            nodes = int(rng.integers(*MOTION_NODES, endpoint=True))
            flows.append(random_flow(rng.standard_normal((2, nodes, nodes)), size, rng.uniform(*np.log(MOTION))))
        second, flow = torch.from_numpy(np.stack(seconds))[:, None], torch.cat(flows)
        pairs = torch.cat((warp(second, flow, mode="bicubic"), second), dim=1)
        sigma = rng.uniform(0, 0.05, (self.moved, 1, 1, 1)) * (rng.random((self.moved, 1, 1, 1)) < 0.5)
        noise = (sigma * rng.standard_normal(pairs.shape)).astype(np.float32)
        return Moved(pairs + torch.from_numpy(noise), flow)

    def batches(self, size: int) -> Generator[tuple[Batch, dict[str, Any]]]:
        """Yield batches of ``size`` crops without end, the next one drawn while the last one is used.

        With each comes the state of the random numbers after it, from which a training can go on.
        """

        def draw() -> tuple[Batch, dict[str, Any]]:
            batch = self.batch(size)
            return batch, dict(self.rng.bit_generator.state)

        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(draw)
            while True:
                drawn, ahead = ahead.result(), pool.submit(draw)
                yield drawn

    def crop(self) -> tuple[NDArray[np.float32], float]:
        """Draw the planes around a gap and the target, (2 * context + 1, size, size), and the target's depth t."""
        rng, aug = self.rng, self.augmentation
        source = self.smooth if aug and rng.random() < aug.smooth_copy else self.plain
        edges = np.array([sum(v.shape) for v in source], dtype=float)
        volume = source[rng.choice(len(source), p=edges / edges.sum())]
        volume = np.moveaxis(volume, rng.choice(self.axes), 0)
        gap = self.draw_gap(len(volume))
        first = int(rng.integers(0, len(volume) - gap))
        inside = int(rng.integers(1, gap))
        before, after = first // gap, (len(volume) - 1 - first) // gap  # planes that the volume has on either side
        if aug and rng.random() < aug.end_of_stack:
            cut = int(rng.integers(1, self.context))  # planes that are left on one side
            before, after = (min(before, cut - 1), after) if rng.random() < 0.5 else (before, min(after, cut))
        steps = np.clip(np.arange(1 - self.context, 1 + self.context), -before, after)
        seen, order = np.unique(first + gap * steps, return_inverse=True)
        depths = np.append(seen, first + inside)
        planes = self.cut(volume, depths, gap)
        if aug:
            planes = vary(planes, depths, aug, rng)
        return planes[np.append(order, -1)], inside / gap

    def draw_gap(self, depth: int) -> int:
        """Planes from one acquired plane to the next; at least 2, and one gap must fit the depth."""
        wide = self.augmentation is not None and self.rng.random() < self.augmentation.wide_gap
        low, high = (self.gaps[1] + 1, 2 * self.gaps[1]) if wide else self.gaps
        high = min(high, depth - 1)
        gaps = np.arange(min(low, high), high + 1)
        frequency = gaps**-0.5  # narrow gaps are what most users have
        return int(self.rng.choice(gaps, p=frequency / frequency.sum()))

    def cut(self, volume: Volume, depths: NDArray[np.integer], gap: int) -> NDArray[np.float32]:
        """Cut one window out of the planes at some depths, varied in scale and place where the augmentation says so."""
        rng, aug = self.rng, self.augmentation
        zoom = float(np.exp(rng.uniform(np.log(0.5), np.log(2.5)))) if aug and rng.random() < aug.zoom else 1.0
        moving = aug is not None and rng.random() < aug.moving
        jitter = aug.shift if aug and not moving and rng.random() < aug.misaligned else 0
        _, height, width = volume.shape
        size = self.size + 2 * MARGIN if moving else self.size
        edge = max(SMALLEST_CROP - 2 * jitter, min(round(size / zoom), height - 2 * jitter, width - 2 * jitter))
        y, x = (int(rng.integers(jitter, n - edge - jitter + 1)) for n in (height, width))
        planes = np.empty((len(depths), edge, edge), np.float32)
        for i, z in enumerate(depths):
            dy, dx = rng.integers(-jitter, jitter + 1, 2) if jitter else (0, 0)
            planes[i] = volume[z, y + dy : y + dy + edge, x + dx : x + dx + edge]
        if edge != size:
            scaled = F.interpolate(torch.from_numpy(planes)[None], (size, size), mode="bicubic", antialias=True)
            planes = scaled[0].numpy()
        if aug and moving:
            planes = set_in_motion(planes, (depths - depths[-1]) / gap, aug.motion, rng)
        k = int(rng.integers(8))  # the eight symmetries of the square
        planes = planes.transpose(0, 2, 1) if k & 1 else planes
        return planes[:, :: -1 if k & 2 else 1, :: -1 if k & 4 else 1]


def set_in_motion(
    planes: NDArray[np.float32], depths: NDArray[np.floating], motion: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Let what planes (n, H, W) show move on steadily, nearly everywhere alike, but for a margin that is cut off.

    Depths are in gaps from the plane that stays as it is; the motion is a standard deviation in pixels a gap.
    """
    nodes = int(rng.integers(2, 3, endpoint=True))
    coarse = rng.standard_normal((2, 1, 1)) + UNEVEN * rng.standard_normal((2, nodes, nodes))
    velocity = random_flow(coarse, planes.shape[1], rng.uniform(*np.log(motion)))
    flow = velocity * torch.from_numpy(depths.astype(np.float32))[:, None, None, None]
    moved = warp(torch.from_numpy(planes)[:, None], flow.clamp(-2 * MARGIN, 2 * MARGIN), mode="bicubic")
    return moved[:, 0, MARGIN:-MARGIN, MARGIN:-MARGIN].numpy()


def random_flow(nodes: NDArray[np.float64], size: int, log_amplitude: float) -> torch.Tensor:
    """A smooth flow (1, 2, size, size) through random nodes (2, n, n), scaled to an amplitude in pixels."""
    coarse = torch.from_numpy((np.exp(log_amplitude) * nodes).astype(np.float32))[None]
    return F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True)


def vary(
    planes: NDArray[np.float32], depths: NDArray[np.integer], aug: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Vary intensities of planes (n, H, W) at some depths; the target, the last, has no stripes or brightness error."""
    if rng.random() < aug.gamma:
        planes = np.clip(planes, 0, None) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < aug.invert:
        planes = 1 - planes
    planes = np.ascontiguousarray(planes)
    inputs = planes[:-1]
    n, _, width = inputs.shape
    if rng.random() < aug.brightness:
        gain = 1 + 0.05 * rng.standard_normal((n, 1, 1))
        inputs *= gain.astype(np.float32)
        inputs += (0.02 * rng.standard_normal((n, 1, 1))).astype(np.float32)
    if rng.random() < aug.stripes:
        columns = ndimage.gaussian_filter1d(rng.standard_normal((n, 1, width)), rng.uniform(0.5, 3), axis=2)
        inputs += (rng.uniform(0.02, 0.1) * columns / columns.std()).astype(np.float32)
    if rng.random() < aug.noise:
        planes += grain(planes, depths, aug, rng)
    return planes


def grain(
    planes: NDArray[np.float32], depths: NDArray[np.integer], aug: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise for planes (n, H, W) at some depths: white or correlated in the plane, sometimes growing with the signal.

    Either each plane has its own, or it is correlated along z, as in tomograms: there that of the planes beside the gap
    tells of that of the hidden one. The hidden plane has noise as the others do, so that what is learnt is how far off
    an acquired plane would be.
    """
    noise = rng.standard_normal(planes.shape, dtype=np.float32)
    if rng.random() < aug.shared_noise:
        length, power = np.exp(rng.uniform(np.log(0.5), np.log(4))), rng.uniform(1, 2)
        apart = np.abs(depths[:, None] - depths[None, :])
        covariance = np.exp(-((apart / length) ** power)) + 1e-6 * np.eye(len(depths))
        noise = np.tensordot(np.linalg.cholesky(covariance).astype(np.float32), noise, axes=1)
    if rng.random() < aug.blurred_noise:
        sigma = rng.uniform(0.4, 1.5)
        noise = ndimage.gaussian_filter(noise, (0, sigma, sigma))
        noise /= noise.std() + 1e-6
    if rng.random() < 0.3:
        noise *= np.sqrt(np.clip(planes, 0.05, 1.5) * 2)
    strength = np.exp(rng.uniform(*np.log(aug.noise_sigma)))
    return (np.float32(strength) * noise).astype(np.float32)
