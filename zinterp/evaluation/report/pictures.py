"""Pictures of a report: grey planes and cuts along z, maps of errors, and how long a length is in them."""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from zinterp.volume import Planes, VoxelSize

WIDEST, DEEPEST = 512, 129  # pixels and planes that pictures show at most, of the middle
FLATTEST, STEEPEST = 3.0, 1.25  # width and height of a cut along z, as parts of the other
NARROWEST = 32  # pixels of a cut along z
COLOURS = "cividis"  # as even to the colour-blind as to others
BAR = 0.3  # of a picture's width, that a scale bar takes at most


@dataclass(frozen=True)
class Bar:
    """A scale bar: its length as a percentage of the picture's width, and in words."""

    percent: float
    label: str


@dataclass(frozen=True)
class Picture:
    """An image as HTML shows it.

    Parameters
    ----------
    uri : str
        The file itself, as a data URI.
    alt : str
        What it shows, for who cannot see it.
    width, height : int
        Of which only the ratio counts.
    coarse : bool
        Whether voxels are to be seen as such when it is enlarged.
    """

    uri: str
    alt: str
    width: int
    height: int
    coarse: bool = False


@dataclass(frozen=True)
class Shade:
    """The grey values that are drawn black and white, the same ones in all pictures of a stack."""

    black: float
    white: float

    def __str__(self) -> str:
        return f"{number(self.black)} (black) to {number(self.white)} (white)"

    def draw(self, plane: Planes, alt: str, *, aspect: float = 1.0, coarse: bool = False) -> Picture:
        """Draw grey values (Y, X); ``aspect`` is how high a row is in widths of a column."""
        values = (plane.astype(np.float64) - self.black) / (self.white - self.black)
        return picture((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8), alt, aspect=aspect, coarse=coarse)


@dataclass(frozen=True)
class Heat:
    """Sizes from 0 to ``top`` as colours, the same in all maps beside each other."""

    top: float

    def draw(self, plane: Planes, alt: str, *, aspect: float = 1.0) -> Picture:
        """Draw sizes (Y, X)."""
        colours = colormaps[COLOURS](np.clip(plane / (self.top or 1.0), 0, 1), bytes=True)
        return picture(np.asarray(colours)[..., :3], alt, aspect=aspect, coarse=True)

    @property
    def label(self) -> str:
        """The upper end of the scale."""
        return f"{number(self.top)} grey levels and more"

    @property
    def scale(self) -> Picture:
        """The colours in order."""
        ramp = np.linspace(0, self.top, 128)[None].repeat(8, axis=0)
        return self.draw(ramp, f"Colour scale from 0, dark, to {self.label}, bright")


@dataclass(frozen=True)
class Cut:
    """A cut along z through a volume: some of its planes, and of each a line along x or y, in the middle of it.

    Parameters
    ----------
    name : str
        ``XZ`` or ``YZ``.
    planes, line : range
        Planes of the volume, and pixels along the line.
    at : int
        Row of an XZ cut, column of a YZ cut.
    aspect : float
        Plane distance in pixels; 1 where either is not known.
    """

    name: str
    planes: range
    line: range
    at: int
    aspect: float

    @classmethod
    def along(cls, name: str, shape: tuple[int, int, int], size: VoxelSize) -> "Cut":
        """The cut through the middle of a volume, of a shape that shows its planes well."""
        across, length = (shape[1], shape[2]) if name == "XZ" else (shape[2], shape[1])
        pixel = size.x if name == "XZ" else size.y
        aspect = size.z / pixel if size.z and pixel else 1.0
        edge = min(length, WIDEST)
        depth = min(shape[0], DEEPEST, max(int(STEEPEST * edge / aspect), 5))
        width = min(edge, max(math.ceil(FLATTEST * depth * aspect), NARROWEST))
        return cls(name, middle(shape[0], depth), middle(length, width), across // 2, aspect)

    def of(self, volume: Planes) -> Planes:
        """The cut (planes, line) through a volume (Z, Y, X)."""
        planes, line = part(self.planes), part(self.line)
        return volume[planes, self.at, line] if self.name == "XZ" else volume[planes, line, self.at]

    def of_plane(self, plane: Planes) -> Planes:
        """The line that a plane (Y, X) gives."""
        return plane[self.at, part(self.line)] if self.name == "XZ" else plane[part(self.line), self.at]


def pixel_aspect(size: VoxelSize) -> float:
    """How high a pixel is in its widths; 1 where that is not known."""
    return size.y / size.x if size.y and size.x else 1.0


def middle(length: int, most: int) -> range:
    """The middle of an axis, ``most`` of it at most."""
    count = min(length, most)
    start = (length - count) // 2
    return range(start, start + count)


def part(numbers: range) -> slice:
    """A range as a slice."""
    return slice(numbers.start, numbers.stop)


def picture(pixels: NDArray[np.uint8], alt: str, *, aspect: float, coarse: bool) -> Picture:
    """Pixels (Y, X) or (Y, X, 3) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=9)
    height, width = pixels.shape[:2]
    zoom = max(1.0, WIDEST / width)
    return Picture(
        data_uri("image/png", buffer.getvalue()),
        alt,
        round(width * zoom),
        max(round(height * aspect * zoom), 1),
        coarse,
    )


def data_uri(kind: str, content: bytes) -> str:
    """A file's content as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def scale_bar(pixels: int, pixel_um: float | None) -> Bar | None:
    """A bar of a round length for a picture that is so many pixels wide; None where their size is not known."""
    if not pixel_um:
        return None
    most = BAR * pixels * pixel_um
    decade = 10 ** math.floor(math.log10(most))
    length = max(step * decade for step in (1, 2, 5) if step * decade <= most)
    return Bar(round(100 * length / (pixels * pixel_um), 3), in_words(length))


UNITS: Mapping[str, float] = MappingProxyType({"mm": 1e3, "µm": 1.0, "nm": 1e-3, "pm": 1e-6})


def in_words(length: float) -> str:
    """A length in micrometres, in a unit that suits it."""
    unit = next((name for name, scale in UNITS.items() if length >= scale * 0.999999), "pm")
    return f"{number(length / UNITS[unit])}\u00a0{unit}"


def number(value: float) -> str:
    """A number with three digits, or all of those before the point, and a real minus sign."""
    text = f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"
    return text.replace("-", "−")
