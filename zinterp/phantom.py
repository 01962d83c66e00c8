"""A synthetic piece of tissue that is known at every z: cells with membranes, organelles, vesicles, filaments, grain.

All shapes are functions of (z, y, x), so the plane between two planes is not interpolated but drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

BACKGROUND, MEMBRANE, ORGANELLE, VESICLE, FILAMENT = 0.68, 0.22, 0.45, 0.35, 0.30  # grey levels, white is 1


@dataclass(frozen=True)
class Phantom:
    """Shapes in a box, in voxels.

    Parameters
    ----------
    seeds : ndarray, shape (n, 3)
        Centres of cells, (z, y, x); a cell is what lies nearest to its centre.
    shades : ndarray, shape (n,)
        Grey level of each cell's inside.
    organelles : ndarray, shape (m, 9)
        Centre (3), long axis as a unit vector (3), half lengths along and across it (2), and stripe phase.
    vesicles : ndarray, shape (k, 4)
        Centre (3) and radius.
    filaments : ndarray, shape (f, 4)
        y and x where z is 0, and how far they go along y and x for each z.
    seed : int
        Of the grain.
    """

    seeds: NDArray[np.float64]
    shades: NDArray[np.float64]
    organelles: NDArray[np.float64]
    vesicles: NDArray[np.float64]
    filaments: NDArray[np.float64]
    seed: int

    @classmethod
    def random(cls, shape: tuple[int, int, int], *, cell: float = 48.0, seed: int = 0) -> Self:
        """Fill a box of ``shape`` (Z, Y, X) with cells of about ``cell`` voxels and what is in them."""
        rng = np.random.default_rng(seed)
        box = np.array(shape, dtype=float)
        count = max(4, round(float(np.prod(box + 2 * cell)) / cell**3))
        seeds = rng.uniform(-cell, box + cell, (count, 3))
        organelles = round(count * 1.2)
        axes = rng.standard_normal((organelles, 3))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        half = rng.uniform((0.16 * cell, 0.08 * cell), (0.36 * cell, 0.13 * cell), (organelles, 2))
        centres = rng.uniform(-0.3 * cell, box + 0.3 * cell, (organelles, 3))
        vesicles = round(float(np.prod(box)) / cell**3 * 14)
        filaments = max(4, round(shape[1] * shape[2] / cell**2 * 3))
        return cls(
            seeds=seeds,
            shades=BACKGROUND + rng.uniform(-0.08, 0.10, count),
            organelles=np.hstack([centres, axes, half, rng.uniform(0, 2 * np.pi, (organelles, 1))]),
            vesicles=np.hstack([rng.uniform(0, box, (vesicles, 3)), rng.uniform(2.0, 4.0, (vesicles, 1))]),
            filaments=np.hstack(
                [rng.uniform(-20, box[1:] + 20, (filaments, 2)), rng.uniform(-0.9, 0.9, (filaments, 2))]
            ),
            seed=seed,
        )

    def plane(self, z: float, shape: tuple[int, int], *, noise: float = 0.04) -> NDArray[np.float32]:
        """Draw the plane at any z, shape (Y, X), about 0 (black) to 1 (white), with grain of its own.

        Parameters
        ----------
        z : float
            In voxels; need not be whole.
        shape : tuple of int
            (Y, X).
        noise : float
            Standard deviation of the grain.
        """
        y, x = np.indices(shape, dtype=float)
        points = np.stack([np.full(shape, float(z)), y, x], axis=-1)
        image = self._cells(points)
        self._draw_organelles(image, points)
        for cz, cy, cx, radius in self.vesicles[np.abs(self.vesicles[:, 0] - z) < 6]:
            distance = np.sqrt((z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2)
            blend(image, VESICLE, band(distance - radius, 1.3))
        for fy, fx, slope_y, slope_x in self.filaments:
            wave = 4 * np.sin(z / 15 + fx)
            distance = np.hypot(y - fy - slope_y * z - wave, x - fx - slope_x * z)
            blend(image, FILAMENT, band(distance - 2.2, 1.2))
        if noise:
            rng = np.random.default_rng([self.seed, round(z * 1000) + 10**6])
            image += noise * rng.standard_normal(shape)
        return image.astype(np.float32)

    def volume(self, z: Sequence[float], shape: tuple[int, int], *, noise: float = 0.04) -> NDArray[np.uint8]:
        """Planes at several z as 8-bit grey levels, shape (len(z), Y, X)."""
        planes = np.stack([self.plane(k, shape, noise=noise) for k in z])
        return np.clip(np.rint(planes * 255), 0, 255).astype(np.uint8)

    def _cells(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cell insides, and membranes where two cells meet; coordinates are bent so that cells are not polyhedra."""
        bent = points + 5 * np.sin(points[..., [1, 2, 0]] / 17) + 3 * np.sin(points[..., [2, 0, 1]] / 9)
        distances, nearest = cKDTree(self.seeds).query(bent, k=2, workers=-1)
        image = np.asarray(self.shades[nearest[..., 0]])
        blend(image, MEMBRANE, band(distances[..., 1] - distances[..., 0], 2.4))
        return image

    def _draw_organelles(self, image: NDArray[np.float64], points: NDArray[np.float64]) -> None:
        """Ellipsoids with a membrane and stripes inside, as mitochondria have."""
        reach = self.organelles[:, 6] + 3
        z = points[0, 0, 0]
        for cz, cy, cx, az, ay, ax, along, across, phase in self.organelles[np.abs(self.organelles[:, 0] - z) < reach]:
            rows, cols = (slice(max(0, int(c - along - 3)), max(0, int(c + along + 4))) for c in (cy, cx))
            offset = points[rows, cols] - (cz, cy, cx)
            if not offset.size:
                continue
            axial = offset @ np.array((az, ay, ax))
            radial = np.sqrt(np.maximum((offset**2).sum(-1) - axial**2, 0))
            surface = (np.hypot(axial / along, radial / across) - 1) * across  # voxels outside of the surface, about
            part = image[rows, cols]
            stripes = ORGANELLE + 0.12 * np.sin(axial * 1.1 + phase)
            inside = np.clip(0.5 - surface, 0, 1)
            part += inside * (stripes - part)
            blend(part, MEMBRANE, band(surface, 1.4))


def band(distance: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """1 where the distance is 0, falling to 0 over ``width`` on either side."""
    return np.asarray(np.clip(1 - np.abs(distance) / width, 0, 1))


def blend(image: NDArray[np.float64], grey: float, share: NDArray[np.float64]) -> None:
    """Mix a grey level into an image in place."""
    image += share * (grey - image)
