"""zinterp makes a microscopy volume denser in z.

>>> import zinterp
>>> zinterp.upsample("stack.tif", factor=4)  # doctest: +SKIP
PosixPath('stack_x4.tif')
>>> dense = zinterp.interpolate(array, factor=4)  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zinterp.batch import upsample_many
    from zinterp.completion import finish_shares
    from zinterp.errors import ZinterpError
    from zinterp.evaluation.hidden_planes import evaluate
    from zinterp.io import create_volume, open_volume
    from zinterp.pipeline import interpolate, interpolate_with_uncertainty, upsample
    from zinterp.volume import VolumeInfo, VoxelSize

__version__ = "0.1.0"

_HOMES = {
    "ZinterpError": "zinterp.errors",
    "VolumeInfo": "zinterp.volume",
    "VoxelSize": "zinterp.volume",
    "create_volume": "zinterp.io",
    "evaluate": "zinterp.evaluation.hidden_planes",
    "finish_shares": "zinterp.completion",
    "interpolate": "zinterp.pipeline",
    "interpolate_with_uncertainty": "zinterp.pipeline",
    "open_volume": "zinterp.io",
    "upsample": "zinterp.pipeline",
    "upsample_many": "zinterp.batch",
}
__all__ = [
    "VolumeInfo",
    "VoxelSize",
    "ZinterpError",
    "create_volume",
    "evaluate",
    "finish_shares",
    "interpolate",
    "interpolate_with_uncertainty",
    "open_volume",
    "upsample",
    "upsample_many",
]


def __getattr__(name: str) -> Any:  # whatever the name stands for
    """Import public names when they are first used, so that ``zinterp --help`` stays quick (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zinterp' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
