"""An evaluation as JSON and as a table."""

import csv
import io
from dataclasses import asdict
from typing import Any

from zinterp.evaluation.hidden_planes import Evaluation
from zinterp.evaluation.scores import ModelScore, PlaneScore, Truth

DIGITS = 5


def facts(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as JSON holds it: what was looked at, the verdict, and each model's scores, the best first."""
    window, size, truth = evaluation.window, evaluation.info.voxel_size, evaluation.truth
    return {
        "input": evaluation.source,
        "factor": evaluation.factor,
        "window": {
            "planes": list(window.planes),
            "rows": [window.rows.start, window.rows.stop],
            "columns": [window.cols.start, window.cols.stop],
        },
        "hidden_planes": len(truth.hidden),
        "voxel_size_um": [size.z, size.y, size.x],
        "data_range": truth.data_range,
        "threshold": truth.threshold,
        "morphology": None if truth.morphology is None else asdict(truth.morphology),
        "verdict": evaluation.verdict,
        "helps": evaluation.helps,
        "gain_db": evaluation.gain_db,
        "models": [model_facts(score, truth) for score in evaluation.scores],
    }


def model_facts(score: ModelScore, truth: Truth) -> dict[str, Any]:
    """One model's scores as JSON holds them."""
    errors = score.errors(truth)
    return asdict(score) | {"morphology_errors": None if errors is None else asdict(errors)}


def planes_csv(evaluation: Evaluation) -> str:
    """A row for each model and hidden plane; see ``PlaneScore`` for the columns."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["model", *PlaneScore.__dataclass_fields__])
    for score in evaluation.scores:
        for plane in score.planes:
            values = (f"{v:.{DIGITS}g}" if isinstance(v, float) else v for v in asdict(plane).values())
            table.writerow([score.model, *values])
    return text.getvalue()
