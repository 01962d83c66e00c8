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


def build_half_unet(sizes: Sizes) -> "nn.Module":
    """A HalfUNet; ``sizes`` are the fields of HalfUNetSize."""
    from zinterp.models.half_unet import HalfUNet, HalfUNetSize

    return HalfUNet(HalfUNetSize.from_json(sizes))


def build_super_slomo(sizes: Sizes) -> "nn.Module":
    """A SuperSloMo; ``sizes`` are the fields of SuperSloMoSize."""
    from zinterp.models.super_slomo import SuperSloMo, SuperSloMoSize

    return SuperSloMo(SuperSloMoSize.from_json(sizes))


def build_nested_unet(sizes: Sizes) -> "nn.Module":
    """A NestedUNet; ``sizes`` are the fields of NestedUNetSize."""
    from zinterp.models.nested_unet import NestedUNet, NestedUNetSize

    return NestedUNet(NestedUNetSize.from_json(sizes))


def build_fbnet(sizes: Sizes) -> "nn.Module":
    """An FBNet; ``sizes`` are the fields of FBNetSize."""
    from zinterp.models.fbnet import FBNet, FBNetSize

    return FBNet(FBNetSize.from_json(sizes))


def build_softsplat(sizes: Sizes) -> "nn.Module":
    """A SoftSplat; ``sizes`` are the fields of SoftSplatSize."""
    from zinterp.models.softsplat import SoftSplat, SoftSplatSize

    return SoftSplat(SoftSplatSize.from_json(sizes))


def build_autoencoder(sizes: Sizes) -> "nn.Module":
    """An Autoencoder; ``sizes`` are the fields of AutoencoderSize."""
    from zinterp.models.autoencoder import Autoencoder, AutoencoderSize

    return Autoencoder(AutoencoderSize.from_json(sizes))


def build_boundary_restoration(sizes: Sizes) -> "nn.Module":
    """A BoundaryRestoration; ``sizes`` are the fields of BoundaryRestorationSize."""
    from zinterp.models.boundary_restoration import BoundaryRestoration, BoundaryRestorationSize

    return BoundaryRestoration(BoundaryRestorationSize.from_json(sizes))


ARCHITECTURES: dict[str, Callable[[Sizes], "nn.Module"]] = {
    "mirror-unet": build_mirror_unet,
    "half-unet": build_half_unet,
    "super-slomo": build_super_slomo,
    "nested-unet": build_nested_unet,
    "fbnet": build_fbnet,
    "softsplat": build_softsplat,
}

FEATURE_NETWORKS: dict[str, Callable[[Sizes], "nn.Module"]] = {"autoencoder": build_autoencoder}
"""What does not interpolate, but tells how alike planes look."""

RESTORERS: dict[str, Callable[[Sizes], "nn.Module"]] = {"boundary-restoration": build_boundary_restoration}
"""What gives synthesised planes back the edges of acquired ones."""

TRAINABLE = ARCHITECTURES | RESTORERS

PUBLISHED: dict[str, Sizes] = {
    "super-slomo": {"channels": (32, 64, 128, 256, 512, 512)},
    "nested-unet": {
        "flow": (32, 64, 128, 256, 512, 512),
        "heights": (7, 6, 5, 4, 4, 4),
        "middle": (32, 32, 64, 128, 256, 256),
        "channels": (64, 128, 256, 512, 512, 512),
    },
    "fbnet": {"features": (16, 32, 64), "flow": (32, 64, 64, 16), "fusion": (32, 64, 120, 144)},
    "softsplat": {
        "flow": (16, 32, 64, 96, 128, 196),
        "radius": 4,
        "decoder": (128, 128, 96, 64, 32),
        "features": (32, 64, 96),
        "columns": 6,
    },
}
"""Sizes of the networks of others as they were published, by name; those that are not told are the nearest known."""

NETWORKS: dict[str, tuple[str, Sizes]] = {
    "mirror-unet": ("mirror-unet", {}),
    "fast": ("half-unet", {}),
    **{name: (name, {}) for name in PUBLISHED},
}
"""What can be trained from random weights, by name: an architecture and its sizes. The first is the default."""
