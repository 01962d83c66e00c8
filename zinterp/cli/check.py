"""What ``zinterp info --check`` and reports say of an inspection, and what it gives as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zinterp.inspection import Inspection
    from zinterp.structure import Reach


REPORT_PLANES = 129  # at most that are inspected for a report
OF_THE_INPUT = ("channel", "time", "keep_databar", "fill_gaps", "voxel_size", "positions")
Row = tuple[str, str]  # a label, and what is to be said of it


def rows_for_report(source: Path, options: Mapping[str, Any]) -> list[Row]:
    """What a report says of a stack: of its middle planes, as far as a page has time for them; options of upsample."""
    from zinterp.evaluation.hidden_planes import first_stack
    from zinterp.inspection import inspect, thinnest
    from zinterp.options import UpsampleOptions
    from zinterp.volume import ranges

    chosen = UpsampleOptions(factor=1, **{name: value for name, value in options.items() if name in OF_THE_INPUT})
    with first_stack(source, chosen) as (stack, info):
        first = max(0, (info.shape[0] - REPORT_PLANES) // 2)
        planes = range(info.shape[0])[first : first + REPORT_PLANES]
        found = inspect(stack, info.voxel_size, planes)
    looked = [] if len(planes) == info.shape[0] else [("looked at", f"planes {ranges(planes)} of {info.shape[0]}")]
    return [*looked, *describe_check(found), ("note", thinnest(found.size))]


def describe_checks(checks: "Sequence[Inspection]", names: Sequence[str]) -> list[str]:
    """The lines about the inspections of all stacks; names are "" where there is one."""
    from zinterp.inspection import thinnest

    rows: list[Row] = []
    for check, name in zip(checks, names, strict=True):
        rows += describe_check(check, f" in {name}" if name else "")
    return [f"  {label:<11} {text}" for label, text in [*rows, ("note", thinnest(checks[0].size))]]


def describe_check(check: "Inspection", where: str = "") -> list[Row]:
    """What is to be said about one stack."""
    from zinterp.inspection import describe_faults

    stripes, drift = check.stripes, check.drift
    share = f"{stripes.streaked_planes} of {stripes.planes} planes, {100 * stripes.streaked_rows:.2g} % of their rows"
    verdict = "nothing wrong" if check.is_sound else ", ".join(troubles(check))
    lines = [("check", verdict + where)]
    if check.faults:
        lines.append(("faults", describe_faults(check.faults)))
    lines += [
        ("curtains", f"{stripes.curtaining:.2f} times as strong as the image, along y"),
        ("streaks", f"{share if stripes.streaked_planes else 'none'}, along x"),
    ]
    if drift is not None:
        most = f"{drift.largest_step:.1f} at most from one to the next, after plane {drift.after}"
        lines.append(("wander", f"{drift.total:.1f} pixels from the first plane to the last; {most}"))
    return lines + describe_structure(check)


def troubles(check: "Inspection") -> list[str]:
    """What is wrong, in a few words."""
    count = len({fault.plane for fault in check.faults})
    found = [f"{count} faulty {'plane' if count == 1 else 'planes'}"] if count else []
    return found + ["curtains"] * check.curtains + ["streaks"] * check.streaks


def describe_structure(check: "Inspection") -> list[Row]:
    """What is to be said about how far structure reaches, and what follows from that."""
    from zinterp.inspection import in_words

    structure, size = check.structure, check.size
    if structure.in_plane is None:
        return [("structure", "none")]
    reaches = [f"{reach(structure.in_plane, 'pixels', size.x)} in the plane"]
    if structure.along_z is not None:
        reaches.append(f"{reach(structure.along_z, 'planes', size.z)} along z")
    lines = [("structure", f"correlates by half over {', '.join(reaches)}")]
    if structure.neighbours is None or structure.known_between is None:
        return lines
    lines.append(("neighbours", f"correlate by {structure.neighbours:.2f}, noise not counted"))
    blur = check.blur
    unknown = "not known: planes are too far apart" if size.z and size.x else "not known without the voxel size"
    wide = f"about {in_words(blur)} wide" if blur else "none beyond that in the plane"
    lines.append(("z blur", unknown if blur is None else wide))
    known = f"{100 * structure.known_between:.0f} % of the structure halfway between planes can be known"
    return [*lines, ("factors", f"{reasonable(check)}; {known}")]


def reach(found: "Reach", unit: str, pitch: float | None) -> str:
    """A correlation length in its unit and, if that is known, in nanometres."""
    from zinterp.inspection import in_words

    length = f" ({in_words(found.length * pitch)})" if pitch else ""
    return f"{'more than ' if found.is_beyond else ''}{found.length:.1f} {unit}{length}"


def reasonable(check: "Inspection") -> str:
    """Which factors are reasonable, or why none is."""
    if check.factors:
        return f"{', '.join(map(str, check.factors))} are reasonable" if len(check.factors) > 1 else "2 is reasonable"
    return "none is reasonable, planes are as close as pixels" if check.is_fine else "none is reasonable"


def check_facts(check: "Inspection") -> dict[str, Any]:
    """An inspection, as JSON holds it; lengths that were not found are null."""
    structure, size = check.structure, check.size
    blur = check.blur
    return {
        "sound": check.is_sound,
        "faults": [asdict(fault) for fault in check.faults],
        "curtaining": round(check.stripes.curtaining, 3),
        "planes_looked_at": check.stripes.planes,
        "streaked_planes": check.stripes.streaked_planes,
        "streaked_rows": check.stripes.streaked_rows,
        "drift_px": None if check.drift is None else asdict(check.drift),
        "neighbour_correlation": structure.neighbours,
        "known_between": structure.known_between,
        "correlation_length_px": length(structure.in_plane, 1),
        "correlation_length_um": length(structure.in_plane, size.x),
        "correlation_length_planes": length(structure.along_z, 1),
        "correlation_length_z_um": length(structure.along_z, size.z),
        "z_blur_um": blur,
        "reasonable_factors": list(check.factors),
        "thinnest_um": size.z,
    }


def length(found: "Reach | None", pitch: float | None) -> float | None:
    """A correlation length times a pitch."""
    return None if found is None or found.is_beyond or not pitch else found.length * pitch
