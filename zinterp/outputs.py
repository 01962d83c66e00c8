"""The volumes that a job writes: its planes, and beside them, where asked for, how sure the model is of them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zinterp.compute import Made
from zinterp.documents import RESERVED
from zinterp.errors import BadOptionError, OutputError
from zinterp.io import bytes_on_disk, check_target, create_volume, on_disk, output_format
from zinterp.job import Job, output_options
from zinterp.journal import is_begun
from zinterp.options import UpsampleOptions
from zinterp.plan import Slab
from zinterp.planes_table import MEASURED_WIDTH
from zinterp.volume import VolumeInfo, VolumeWriter, partial_path, readable

ROOM = 1000  # characters of a record for the pulsing of each stack


@dataclass(frozen=True)
class Outputs:
    """The writers of a job; ``confidence`` is None where it is not asked for."""

    planes: VolumeWriter
    confidence: VolumeWriter | None

    def write(self, slab: Slab, made: Made) -> None:
        """Write a slab to both; it is on disk on return."""
        if self.confidence is not None:
            assert made.sigma is not None
            self.confidence.write(slab.target.start, made.sigma, slab.stack)
        self.planes.write(slab.target.start, made.planes, slab.stack)

    def check(self) -> None:
        """See whether what was written is still there; see also ``Journal.add``."""
        for writer in self.writers:
            if not writer.partial.exists():
                raise OutputError(f"{writer.partial} is gone: it was removed while the job ran; start again")

    def finish(self, record: Mapping[str, object]) -> None:
        """Give both their final names, the planes last: when they are there, all is."""
        if self.confidence is not None:
            self.confidence.finish()
        self.planes.finish(record)

    def close(self) -> None:
        """Leave what was written."""
        for writer in self.writers:
            writer.close()

    def discard(self) -> None:
        """Remove what was written, the planes last: while they are there, the job is known to be unfinished."""
        for writer in reversed(self.writers):
            writer.discard()

    @property
    def writers(self) -> list[VolumeWriter]:
        """Those that there are."""
        return [writer for writer in (self.planes, self.confidence) if writer is not None]


def create_outputs(
    job: Job, target: Path, options: UpsampleOptions, record: Mapping[str, object], *, resume: bool, complete: bool
) -> Outputs:
    """Create the volumes of a job under temporary names, or go on in those that are there.

    ``complete`` is whether all slabs are written, so that one of the volumes may have its final name already.
    """
    room = job.planes * MEASURED_WIDTH + len(job.stacks) * ROOM
    planes = create_volume(target, job.output, output_options(job, options, resume=resume, record_room=room), record)
    confidence = None
    try:
        if options.confidence is not None and not (complete and is_finished(Path(options.confidence))):
            confidence = create_confidence(Path(options.confidence), job, target, options, record, resume=resume)
    except BaseException:
        planes.close() if resume else planes.discard()
        raise
    return Outputs(planes, confidence)


def attach_outputs(job: Job, target: Path, options: UpsampleOptions) -> Outputs:
    """Open the volumes of a job that are there, to write slabs into them beside other processes that do."""
    allowed = replace(options, overwrite=True)  # which was asked when they were created
    return create_outputs(job, target, allowed, {"program": ""}, resume=True, complete=False)


def is_finished(path: Path) -> bool:
    """Whether a volume has its final name."""
    return path.exists() and not partial_path(path).exists()


def create_confidence(
    path: Path, job: Job, target: Path, options: UpsampleOptions, record: Mapping[str, object], *, resume: bool
) -> VolumeWriter:
    """Create the volume of deviations, or go on in that which is there."""
    if resume and not partial_path(path).exists():
        raise OutputError(f"{partial_path(path)} of the unfinished output is gone: start again with --overwrite")
    info = confidence_info(path, job)
    about = {
        "program": record["program"],
        "holds": "standard deviation of the error of each voxel in grey levels, 0 where it was acquired",
        "planes_in": target.name,
        "model": job.model,
    }
    creation = replace(output_options(job, options, resume=resume), format=info.format)
    return create_volume(path, info, creation, about)


def confidence_info(path: Path, job: Job) -> VolumeInfo:
    """What the volume of deviations will be: the output's grid as float32, in its family if it can hold that."""
    info = replace(job.output, dtype=np.dtype(np.float32))
    family = replace(info, format={"png-slices": "tiff-slices"}.get(info.format, info.format))
    name, _ = output_format(family, info, path, None)
    return replace(info, format=name)


def check_confidence(path: Path, source: Path, target: Path, job: Job, options: UpsampleOptions) -> None:
    """Refuse a volume of deviations that is the input or output, or could not be written, or is another job's.

    Raises
    ------
    BadOptionError, OutputError
        If the path cannot be.
    """
    ours = path.resolve()
    for other in (on_disk(source).resolve(), target.resolve()):
        if ours == other or other in ours.parents or ours in other.parents:
            raise BadOptionError(
                f"the confidence {path} is the input or output, holds it or lies in it, expected a path of its own: "
                "give sigma.tif"
            )
    if path.suffix in RESERVED:
        raise BadOptionError(f"the confidence {path} is named like an unfinished output, expected another name")
    begun = is_begun(target)
    if partial_path(path).exists() and not begun:
        raise OutputError(f"{partial_path(path)} is in the way and not of an unfinished {target.name}: move it")
    info = confidence_info(path, job)
    if not (begun and options.resume and is_finished(path)):
        check_target(path, info, overwrite=options.overwrite, resume=options.resume)


def check_room(job: Job, target: Path, options: UpsampleOptions) -> None:
    """Refuse a job whose volumes, each of which would fit, do not fit on one disk together."""
    if options.confidence is None or is_begun(target):
        return
    path, folder = Path(options.confidence), target.parent
    if path.parent.stat().st_dev != folder.stat().st_dev:
        return
    needed = bytes_on_disk(job.output) + bytes_on_disk(confidence_info(path, job))
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"the outputs {target.name} and {path.name} need {readable(needed)} and {folder} has {readable(free)} "
            "free: free some space or put one of them elsewhere"
        )


def check_places(outputs: Outputs, job: Job, target: Path, options: UpsampleOptions) -> None:
    """Refuse to complete volumes whose final names were taken by others since the job began."""
    check_target(target, job.output, overwrite=options.overwrite, resume=True)
    if outputs.confidence is not None and options.confidence is not None:
        path = Path(options.confidence)
        check_target(path, confidence_info(path, job), overwrite=options.overwrite, resume=True)
