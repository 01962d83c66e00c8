"""The networks, tensors in and tensors out. Each file holds one, in the order of its paper."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

Sizes = Mapping[str, object]


def build_mirror_unet(sizes: Sizes) -> "nn.Module":
    """A MirrorUNet; ``sizes`` are the fields of MirrorUNetSize."""
    from zinterp.models.mirror_unet import MirrorUNet, MirrorUNetSize

    return MirrorUNet(MirrorUNetSize.from_json(sizes))


ARCHITECTURES: dict[str, Callable[[Sizes], "nn.Module"]] = {
    "mirror-unet": build_mirror_unet,
}

NETWORKS: dict[str, tuple[str, Sizes]] = {
    "fast": ("mirror-unet", {"channels": (16, 36, 64, 128, 128)}),
    "mirror-unet": ("mirror-unet", {}),
}
"""What can be trained from random weights, by name: an architecture and its sizes. The first is the default."""
