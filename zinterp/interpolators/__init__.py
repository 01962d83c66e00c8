"""Every way to make the planes between two planes, behind one call."""

from collections.abc import Callable

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


CLASSICAL: dict[str, Callable[[], Interpolator]] = {
    "linear": _linear,
    "cubic": _cubic,
    "optical-flow": _optical_flow,
}
"""Interpolators without weights, by name. All other names are those of weights."""


def create_interpolator(model: str | None = None, *, device: str = "auto", precision: str = "auto") -> Interpolator:
    """Build an interpolator.

    Parameters
    ----------
    model : str or None
        ``linear``, ``cubic``, ``optical-flow``, the name of shipped weights, or the path of a weights file; None is the
        shipped default.
    device, precision : str
        Where and how a network computes; see ``NetworkInterpolator``.

    Raises
    ------
    BadOptionError
        If the model, device or precision is not known.
    BadWeightsError
        If the weights are damaged.
    """
    if model in CLASSICAL:
        return CLASSICAL[model]()
    from zinterp.interpolators.network import interpolator_of
    from zinterp.interpolators.weights import find_weights, load_network, sha256_of, shipped_weights

    name, path = find_weights(model if model is not None else next(iter(shipped_weights())), CLASSICAL)
    return interpolator_of(
        load_network(path), identity=f"{name}@{sha256_of(path)[:12]}", device=device, precision=precision
    )
