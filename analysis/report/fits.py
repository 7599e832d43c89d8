"""The curves that answers were read from: what is fitted to the lineages of each workflow."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.frame.tables import records
from analysis.threshold.estimate import Outcome, draws_of

COLUMNS = ["group", "synthetic_fraction", "mean", "low", "high"]


def fitted(outcomes: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """The posterior's mean of y along the synthetic fraction, and its 90 % band (pointwise), of
    every workflow that has a curve.

    Columns group, synthetic_fraction, mean, low, high.  outcomes: `answers.grouped`; answers:
    `answers.thresholds`.
    """
    parts = []
    for answer in records(answers[answers["verdict"] != "one fraction"]):
        own = outcomes[outcomes["group"] == answer.group]
        known = own[own["synthetic_fraction"].between(answer.first, answer.last)]
        points = [
            Outcome(float(r.synthetic_fraction), int(r.seed), float(r.y)) for r in records(known)
        ]
        axis = (float(answer.first), float(answer.last))
        found = draws_of(points, float(own["level"].iloc[0]), axis) if len(points) else None
        if found is None:
            continue
        low, high = np.quantile(found.curves, (0.05, 0.95), axis=0)
        columns = {"synthetic_fraction": found.x, "mean": found.mean, "low": low, "high": high}
        parts.append(pd.DataFrame(columns).assign(group=answer.group)[COLUMNS])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)
