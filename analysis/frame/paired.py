"""A contrast of two groups of lineages over their seeds: lineages that share a seed share their
noise (common random numbers), so what is compared are differences within seeds.

Not to be confused with a comparison of two means, whose interval would hold the spread of the seeds
themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

LEAST = 2  # seeds, for an interval


@dataclass(frozen=True)
class Contrast:
    """Mean difference of a metric between two groups, a minus b, over seeds.

    low, high  Student's interval of the mean difference; NaN with fewer than two seeds.
    p          two-sided, of no difference; NaN with fewer than two seeds, or where all differences
               are equal.
    n          seeds with a pair.
    left_out   pairs without a value on both sides.
    """

    metric: str
    at: int
    estimate: float
    low: float
    high: float
    p: float
    n: int
    left_out: int
    confidence: float

    def __repr__(self) -> str:
        interval = f"[{self.low:.4g}, {self.high:.4g}]"
        return (
            f"<Contrast {self.metric} at generation {self.at}: {self.estimate:.4g} {interval} "
            f"({100 * self.confidence:g}%), p {self.p:.3g}, {self.n} seeds>"
        )


def paired(
    frame: pd.DataFrame,
    metric: str,
    *,
    at: int,
    a: Mapping[str, Any],
    b: Mapping[str, Any],
    axes: list[str],
    confidence: float = 0.95,
) -> Contrast:
    """Compare two groups of a wide frame at one generation.

    a, b: values by column; axes: the columns that make a cell.  Lineages are paired that share the
    seed and every other axis that both groups have; several pairs of one seed are averaged first,
    for the interval resamples seeds, never cells.  ValueError where a group is empty or nothing
    pairs.
    """
    rows = frame[frame["t"] == at]
    one, other = _group(rows, a), _group(rows, b)
    both = [name for name in axes if one[name].notna().any() and other[name].notna().any()]
    shared = ["seed", *(name for name in both if name not in {*a, *b})]
    left, right = _values(one, a, shared, metric), _values(other, b, shared, metric)
    pairs = left.merge(right, on=shared, suffixes=("_a", "_b"))
    if pairs.empty:
        raise ValueError(
            f"no lineage of {dict(a)} shares its {', '.join(shared)} with one of {dict(b)}; name "
            "what else differs in a and b"
        )
    pairs = pairs.assign(difference=pairs["value_a"] - pairs["value_b"])
    known = pairs.dropna(subset=["difference"])
    by_seed = known.groupby("seed")["difference"].mean().to_numpy()
    left_out = len(pairs) - len(known)
    return Contrast(metric, at, *_student(by_seed, confidence), len(by_seed), left_out, confidence)


def _group(rows: pd.DataFrame, asked: Mapping[str, Any]) -> pd.DataFrame:
    for name, value in asked.items():
        match = rows[name].eq(value).fillna(False)
        if not match.any():
            there = ", ".join(sorted({repr(v) for v in rows[name].dropna().tolist()}))
            raise ValueError(
                f"no lineage has {name} = {value!r} here; there are: {there or 'none'}"
            )
        rows = rows[match]
    return rows


def _values(
    rows: pd.DataFrame, asked: Mapping[str, Any], shared: list[str], metric: str
) -> pd.DataFrame:
    if rows.duplicated(shared).any():
        raise ValueError(
            f"several lineages of {dict(asked)} share their {', '.join(shared)}; name more of what "
            "tells them apart"
        )
    return rows[[*shared, metric]].rename(columns={metric: "value"})


def _student(differences: np.ndarray, confidence: float) -> tuple[float, float, float, float]:
    """Mean, low, high, p."""
    n = len(differences)
    if not n:
        return math.nan, math.nan, math.nan, math.nan
    mean = float(differences.mean())
    if n < LEAST:
        return mean, math.nan, math.nan, math.nan
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    p = 2 * float(stdtr(n - 1, -abs(mean) / error)) if error else math.nan
    return mean, mean - half, mean + half, p
