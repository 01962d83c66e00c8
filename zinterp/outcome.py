"""What came out of a job: measures of all its planes, and whether the stack pulses."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from zinterp.finishing import Measures, from_json
from zinterp.job import Job
from zinterp.journal import Journal
from zinterp.pulsing import Pulsing, Synthesised, own_variation, pulsing


@dataclass(frozen=True)
class Outcome:
    """A finished job, and the measures of its output planes, by stack."""

    job: Job
    measures: tuple[tuple[Measures, ...], ...]

    @classmethod
    def of(cls, job: Job, journal: Journal) -> Self:
        """Gather what the journal has of each slab."""
        stacks: list[list[Measures]] = [[] for _ in job.stacks]
        for number, slab in enumerate(job.slabs):
            stacks[slab.stack] += from_json(journal.measures[number]["planes"])
        return cls(job, tuple(tuple(stack) for stack in stacks))

    def pulsing(self, stack: int, *, linear: bool = False) -> Pulsing:
        """How strongly the synthesised planes of a stack pulse against the acquired ones, or linear ones would."""
        grid, planes = self.job.stacks[stack].grid, []
        for k, measures in enumerate(self.measures[stack]):
            if measures.expected is not None and measures.linear is not None:
                t = float(grid.locate(k)[1])
                planes.append(Synthesised(t, measures.statistics, measures.expected, measures.linear))
        return pulsing(planes, linear=linear)

    def own_variation(self, stack: int) -> Pulsing:
        """How much the acquired planes in the output differ from what their neighbours let expect."""
        return own_variation(row.statistics for row in self.measures[stack] if row.expected is None)

    def record(self) -> list[dict[str, Any]]:
        """Of each stack the pulsing, that of linear interpolation, and the acquired planes' own variation, as JSON."""
        return [
            {
                "stack": number,
                "index": rounded(self.pulsing(number)),
                "linear": rounded(self.pulsing(number, linear=True)),
                "acquired": rounded(self.own_variation(number)),
            }
            for number in range(len(self.measures))
        ]

    def flagged(self) -> list[dict[str, Any]]:
        """Planes that are flagged, or have regions that are: their numbers, predicted PSNR in dB, and regions."""
        threshold = self.job.finishing.flag_below
        if threshold is None:
            return []
        return [
            {
                "stack": number,
                "plane": k,
                "psnr_db": round(measures.decibels, 2),
                "whole": measures.decibels < threshold,
                "regions": [region._asdict() for region in measures.regions],
            }
            for number, stack in enumerate(self.measures)
            for k, measures in enumerate(stack)
            if measures.decibels is not None and (measures.decibels < threshold or measures.regions)
        ]


def rounded(values: Pulsing) -> dict[str, float]:
    """Four digits are enough."""
    return {name: float(f"{value:.4g}") for name, value in asdict(values).items()}
