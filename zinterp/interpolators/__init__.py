"""Every way to make the planes between two planes, behind one call."""

from collections.abc import Callable

from zinterp.errors import BadOptionError
from zinterp.interpolators.base import Interpolator

__all__ = ["CLASSICAL", "Interpolator", "create_interpolator"]


def _linear() -> Interpolator:
    from zinterp.interpolators.linear import LinearInterpolator

    return LinearInterpolator()


def _cubic() -> Interpolator:
    from zinterp.interpolators.cubic import CubicInterpolator

    return CubicInterpolator()


def _optical_flow() -> Interpolator:
    from zinterp.interpolators.optical_flow import OpticalFlowInterpolator

    return OpticalFlowInterpolator()


AND = " + "  # between a model and what restores its planes

CLASSICAL: dict[str, Callable[[], Interpolator]] = {
    "linear": _linear,
    "cubic": _cubic,
    "optical-flow": _optical_flow,
}
"""Interpolators without weights, by name. All other names are those of weights."""


def create_interpolator(
    model: str | None = None, *, device: str = "auto", precision: str = "auto", restore: bool | str = False
) -> Interpolator:
    """Build an interpolator.

    Parameters
    ----------
    model : str or None
        ``linear``, ``cubic``, ``optical-flow``, the name of shipped weights, or the path of a weights file; None is the
        shipped default.
    device, precision : str
        Where and how a network computes; see ``NetworkInterpolator``.
    restore : bool or str
        Restore boundaries in what the network makes: by the shipped weights, or by those of a file.

    Raises
    ------
    BadOptionError
        If the model, device or precision is not known, or planes of this model cannot be restored.
    BadWeightsError
        If the weights are damaged.
    """
    if model in CLASSICAL:
        if restore:
            raise cannot_restore(str(model))
        return CLASSICAL[model]()
    from zinterp.interpolators.network import interpolator_of
    from zinterp.interpolators.weights import (
        find_restoration,
        find_weights,
        load_network,
        load_restoration,
        sha256_of,
        shipped_weights,
    )

    name, path = find_weights(model if model is not None else next(iter(shipped_weights())), CLASSICAL)
    network, identity, restoration = load_network(path), f"{name}@{sha256_of(path)[:12]}", None
    if restore:
        if not network.uncertain:
            raise cannot_restore(name)
        restorer, file = find_restoration(restore if isinstance(restore, str) else None)
        restoration, identity = load_restoration(file), f"{identity}{AND}{restorer}@{sha256_of(file)[:12]}"
    return interpolator_of(network, restoration=restoration, identity=identity, device=device, precision=precision)


def parts_of(identity: str) -> tuple[str, str]:
    """An interpolator's identity without what restores its planes, and what does, "" if nothing."""
    model, _, rest = identity.partition(AND)
    restoration, comma, how = rest.partition(",")
    return model + comma + how, restoration


def cannot_restore(model: str) -> BadOptionError:
    """Boundaries are restored by what a network says about its uncertainty."""
    return BadOptionError(
        f"the planes of {model} cannot be restored, expected a model that knows its uncertainty: leave --model out, or "
        "give --sharpen auto instead of --restore"
    )
