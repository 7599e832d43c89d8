"""The answer in words: where collapse begins along the synthetic fraction, for every generator and policy that was swept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.tables import WHAT, each, natural, panel_names
from analysis.threshold import Outcome, Threshold, estimate
from engine.verdict import in_words

GROUP = [c for c in WHAT if c not in ("synthetic_fraction", "n_synthetic")]


def grouped(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes with the name of the workflow that each belongs to: what is the same apart from fraction and seed."""
    varying = [c for c in GROUP if outcomes[c].nunique() > 1] or ["policy"]
    order = [c for c in varying if c != "policy"] + [c for c in varying if c == "policy"]
    return outcomes.assign(group=panel_names(outcomes, order))


def thresholds(outcomes: pd.DataFrame, *, confidence: float = 0.9) -> pd.DataFrame:
    """One row per workflow: estimate, low, high (NaN: not bracketed there), verdict, words, lineages, seeds, last fraction run.

    Workflows without a synthetic fraction, or with a single one, have no threshold: they say the share that collapsed."""
    rows: list[dict[str, Any]] = []
    for label, own in grouped(outcomes).groupby("group", sort=False):
        name = str(label)
        fractions = own["synthetic_fraction"].dropna()
        if fractions.nunique() > 1:
            rows.append({"group": name, **_threshold(own, confidence)})
        else:
            rows.append({"group": name, **_share(own)})
    ordered: list[dict[str, Any]] = sorted(rows, key=_by_name)
    return pd.DataFrame(ordered)


def _by_name(row: dict[str, Any]) -> tuple[Any, ...]:
    return natural(row["group"])


def by_policy(answers: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Many workflows of one fraction each, summed up: how many lineages of each policy collapsed."""
    rows = [{"group": str(name), **_share(own)} for name, own in outcomes.groupby("policy", observed=True, sort=True)]
    return pd.DataFrame(rows)[list(answers.columns)]


def _threshold(own: pd.DataFrame, confidence: float) -> dict[str, Any]:
    known = own[own["synthetic_fraction"].notna()]
    points = [Outcome(float(r.synthetic_fraction), int(r.seed), float(r.y)) for r in each(known)]
    axis = (float(known["synthetic_fraction"].min()), float(known["synthetic_fraction"].max()))
    found = estimate(points, float(known["level"].iloc[0]), axis=axis, confidence=confidence)
    ends = {name: math.nan if (v := getattr(found, name)) is None else v for name in ("estimate", "low", "high")}
    return {**ends, "verdict": found.verdict, "words": found.words, "lineages": found.lineages, "seeds": found.seeds} | _range(
        found
    )


def _range(found: Threshold) -> dict[str, float]:
    return {"first": found.axis[0], "last": found.axis[1], "confidence": found.confidence}


def _share(own: pd.DataFrame) -> dict[str, Any]:
    judged = own[own["verdict"].notna()]
    bad, n = int(judged["verdict"].eq(True).sum()), len(judged)
    fraction = own["synthetic_fraction"].iloc[0]
    at = "" if np.isnan(fraction) else f" at a synthetic fraction of {fraction:g}"
    lines = f"{n} lineage" + "s" * (n != 1)
    words = f"{bad} of {lines} collapsed{at}" if n else "nothing could be judged"
    nothing = {"estimate": math.nan, "low": math.nan, "high": math.nan, "verdict": "one fraction", "words": words}
    return nothing | {
        "lineages": n,
        "seeds": own["seed"].nunique(),
        "first": fraction,
        "last": fraction,
        "confidence": math.nan,
    }


def sentences(answers: pd.DataFrame, rule: Mapping[str, Any], generations: int) -> list[str]:
    """replace: collapse begins at a synthetic fraction of 0.83 [0.78, 0.88] (fid above 3 x generation 0, ...)."""
    said = []
    for row in each(answers):
        seeds = f"{row.seeds} seed" + "s" * (row.seeds != 1)
        said.append(f"{row.group}: {row.words} ({in_words(rule)}, generation {generations}, {seeds})")
    return said
