"""The volumes that a job writes: its planes, and beside them, where asked for, how sure the model is of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from zinterp.compute import Made
from zinterp.errors import BadOptionError, OutputError
from zinterp.io import FORMATS, check_target, create_volume, on_disk, output_format
from zinterp.job import Job, output_options
from zinterp.options import UpsampleOptions
from zinterp.plan import Slab
from zinterp.planes_table import MEASURED_WIDTH
from zinterp.volume import VolumeInfo, VolumeWriter, partial_path

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
        """Remove what was written."""
        for writer in self.writers:
            writer.discard()

    @property
    def writers(self) -> list[VolumeWriter]:
        """Those that there are."""
        return [writer for writer in (self.planes, self.confidence) if writer is not None]


def create_outputs(
    job: Job, target: Path, options: UpsampleOptions, record: Mapping[str, object], *, resume: bool
) -> Outputs:
    """Create the volumes of a job under temporary names, or go on in those that are there."""
    room = job.planes * MEASURED_WIDTH + len(job.stacks) * ROOM
    confidence = None
    if options.confidence is not None:
        confidence = create_confidence(Path(options.confidence), job, target, options, record, resume=resume)
    try:
        planes = create_volume(
            target, job.output, output_options(job, options, resume=resume, record_room=room), record
        )
    except BaseException:
        if confidence is not None and not resume:
            confidence.discard()
        raise
    return Outputs(planes, confidence)


def create_confidence(
    path: Path, job: Job, target: Path, options: UpsampleOptions, record: Mapping[str, object], *, resume: bool
) -> VolumeWriter | None:
    """Create the volume of deviations; None where a job that was stopped at its very end has completed it."""
    if resume and path.exists() and not partial_path(path).exists():
        return None
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
    """Refuse a volume of deviations that is the input or output, or could not be written.

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
    info = confidence_info(path, job)
    finished = options.resume and path.exists() and not partial_path(path).exists()
    if not finished:
        check_target(path, info, overwrite=options.overwrite, resume=options.resume)
    if partial_path(path).exists() and not (options.overwrite or options.resume):
        raise OutputError(f"{partial_path(path)} is in the way: move it, or give --overwrite or --resume")
    if FORMATS[info.format].create is None:
        raise BadOptionError(f"{info.format} can only be read, expected another format for {path}")
