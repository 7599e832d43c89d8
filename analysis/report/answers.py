"""The answer in words: where collapse begins along the synthetic fraction, for every generator and
policy that was swept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2

from analysis.frame.tables import natural, records
from analysis.threshold import grid
from analysis.threshold.estimate import Estimate, Outcome, estimate, finite
from engine.outcome.answer import Answer
from engine.settings import CollapseRule, Threshold

WIDTH = 0.1  # of the interval that a grid's seeds are counted for, where the file asks for none
NOTHING = {
    "width": math.nan,
    "seeds_needed": math.nan,
    "needs": "",
}  # of `needed`, where there is nothing to need


def grouped(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes with the name of the workflow that each belongs to: what is the same apart from
    fraction and seed.
    """
    return outcomes.assign(group=outcomes["workflow"].astype(str))


def thresholds(
    outcomes: pd.DataFrame, designs: Mapping[str, Threshold] | None = None
) -> pd.DataFrame:
    """One row per workflow: estimate, low, high (NaN: not bracketed there), verdict, likely, words,
    lineages, seeds, last fraction run; and how many seeds an interval of some width needs
    (`needed`).  designs: how each workflow was searched, where it was.

    Workflows without a synthetic fraction, or with a single one, have no threshold: they say the
    share that collapsed.
    """
    rows: list[dict[str, Any]] = []
    for label, own in grouped(outcomes).groupby("group", sort=False):
        name = str(label)
        asked = (designs or {}).get(name)
        fractions = own["synthetic_fraction"].dropna()
        if fractions.nunique() > 1:
            found = _threshold(own, asked)
            settled = found["verdict"] in ("never", "always")  # more seeds give it no interval
            rows.append({"group": name, **found, **(NOTHING if settled else needed(own, asked))})
        else:
            rows.append({"group": name, **_share(own), **NOTHING})
    ordered: list[dict[str, Any]] = sorted(rows, key=_by_name)
    return pd.DataFrame(ordered)


def _by_name(row: dict[str, Any]) -> tuple[Any, ...]:
    return natural(row["group"])


def by_policy(answers: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Many workflows of one fraction each, summed up:
    how many lineages of each policy collapsed.
    """
    rows = [
        {"group": str(name), **_share(own), **NOTHING}
        for name, own in outcomes.groupby("policy", observed=True, sort=True)
    ]
    return pd.DataFrame(rows)[list(answers.columns)]


def _threshold(own: pd.DataFrame, asked: Threshold | None) -> dict[str, Any]:
    known = own[own["synthetic_fraction"].notna()]
    axis = (float(known["synthetic_fraction"].min()), float(known["synthetic_fraction"].max()))
    if asked:  # as the search has it
        axis = asked.ends
        known = known[known["synthetic_fraction"].between(*axis)]
    confidence, level = asked.confidence if asked else 0.9, float(own["level"].iloc[0])
    found = estimate(_points(known), level, axis=axis, confidence=confidence)
    ends = {
        name: math.nan if (v := getattr(found, name)) is None else v
        for name in ("estimate", "low", "high")
    }
    said = {
        "verdict": found.verdict,
        "likely": found.likely,
        "words": found.words,
        "lineages": found.lineages,
        "seeds": found.seeds,
    }
    return {**ends, **said, **_range(found)}


def _points(known: pd.DataFrame) -> list[Outcome]:
    return [Outcome(float(r.synthetic_fraction), int(r.seed), float(r.y)) for r in records(known)]


def _range(found: Estimate) -> dict[str, float]:
    return {"first": found.axis[0], "last": found.axis[1], "confidence": found.confidence}


def _share(own: pd.DataFrame) -> dict[str, Any]:
    judged = own[own["verdict"].notna()]
    bad, n = int(judged["verdict"].eq(True).sum()), len(judged)
    fraction = own["synthetic_fraction"].iloc[0]
    at = "" if np.isnan(fraction) else f" at a synthetic fraction of {fraction:g}"
    lines = f"{n} lineage" + "s" * (n != 1)
    words = f"{bad} of {lines} collapsed{at}" if n else "nothing could be judged"
    nothing = {
        "estimate": math.nan,
        "low": math.nan,
        "high": math.nan,
        "verdict": "one fraction",
        "likely": "none",
        "words": words,
    }
    return nothing | {
        "lineages": n,
        "seeds": own["seed"].nunique(),
        "first": fraction,
        "last": fraction,
        "confidence": math.nan,
    }


# ---- how much more would be needed ---------------------------------------------------------------


def needed(own: pd.DataFrame, asked: Threshold | None) -> dict[str, Any]:
    """Seeds per fraction for an interval of the width asked for, from the spread over those that
    ran every fraction; in words, which say why when it cannot be said.
    """
    known = own[own["synthetic_fraction"].notna()]
    width, confidence = (asked.width, asked.confidence) if asked else (WIDTH, 0.9)
    level = float(known["level"].iloc[0])
    try:
        fractions, y = grid.table(_points(known))
    except ValueError:
        why = (
            "the search goes on by lineages, not by seeds"
            if asked
            else "two seeds with every fraction would tell"
        )
        return {
            "width": width,
            "seeds_needed": math.nan,
            "needs": f"seeds for a width of {width:g}: not known; {why}",
        }
    seeds = grid.seeds_needed(fractions, finite(y, level), level, width, confidence=confidence)
    if seeds is None:
        words = f"seeds for a width of {width:g}: not known while the grid's own interval is open"
        return {"width": width, "seeds_needed": math.nan, "needs": words}
    least, most = (
        math.ceil(seeds * (len(y) - 1) / chi2.ppf(p, len(y) - 1)) for p in (0.95, 0.05)
    )  # of a variance over seeds
    seen = f"{max(least, 2):,} to {most:,}, judging by {len(y)}"
    words = f"about {seeds:,} seeds per fraction ({seen}) for a width of {width:g}"
    enough = f"{len(y)} seeds are enough for a width of {width:g}"
    return {"width": width, "seeds_needed": seeds, "needs": enough if most <= len(y) else words}


# ---- saying it -----------------------------------------------------------------------------------


def answers_of(table: pd.DataFrame, rule: CollapseRule, generations: int) -> list[Answer]:
    """What the table of `thresholds` says of each workflow, and on what that rests."""
    found = []
    for row in records(table):
        seeds = f"{row.seeds} seed" + "s" * (row.seeds != 1)
        rests = f"{rule.words()}, generation {generations}, {seeds}"
        how = (rests, row.needs) if row.needs else (rests,)
        found.append(Answer(row.group, row.words, how, row.verdict, row.likely))
    return found
