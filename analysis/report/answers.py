"""The answer in words: where collapse begins along the synthetic fraction, for every generator and
policy that was swept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.frame.tables import natural, records
from analysis.threshold.estimate import RISK, Estimate, Outcome, draws_of, estimate, seeds_needed
from engine.outcome.answer import Answer, Verdict
from engine.settings import CollapseRule, Threshold

WIDTH = 0.1  # of the interval that a grid's seeds are counted for, where the file asks for none
NOTHING = {
    "width": math.nan,
    "seeds_needed": math.nan,
    "needs": "",
}  # of `needed`, where there is nothing to need
UNSAFE: dict[str, float | None] = {"": None, "_low": None, "_high": None}  # no safe fraction


def grouped(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The outcomes with the name of the workflow that each belongs to: what is the same apart from
    fraction and seed.
    """
    return outcomes.assign(group=outcomes["workflow"].astype(str))


def thresholds(
    outcomes: pd.DataFrame, designs: Mapping[str, Threshold] | None = None
) -> pd.DataFrame:
    """One row per workflow: the typical fraction (estimate, low, high; NaN: the axis ends first),
    the safe one (safe, safe_low, safe_high, risk), verdict, likely, words, lineages,
    seeds, last fraction run; and how many seeds an interval of some width needs (`needed`).
    designs: how each workflow was searched, where it was.

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
            settled = found["verdict"] in ("never", "always", "no value")  # more seeds: no interval
            rows.append(
                {
                    "group": name,
                    **found,
                    **(NOTHING if settled else needed(own, asked, found["verdict"])),
                }
            )
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
    risk = asked.risk if asked else RISK
    found = estimate(_points(known), level, axis=axis, confidence=confidence, risk=risk)
    ends = {
        name: math.nan if (v := getattr(found, name)) is None else v
        for name in ("estimate", "low", "high")
    }
    said = {
        "verdict": found.verdict,
        "likely": found.likely,
        "words": found.words,
        "rests": "; ".join(found.rests),
        "without": _without(found.undefined, found.why),
        "lineages": found.lineages,
        "seeds": found.seeds,
    }
    return {**ends, **said, **_safe(found), **_range(found)}


def _safe(found: Estimate) -> dict[str, float | str]:
    """The safe fraction: NaN where there is none, or where its interval reaches the axis's end."""
    safe = found.safe
    numbers = {} if safe is None else {"": safe.estimate, "_low": safe.low, "_high": safe.high}
    ends = {f"safe{k}": math.nan if v is None else v for k, v in (UNSAFE | numbers).items()}
    return {
        **ends,
        "risk": math.nan if safe is None else safe.risk,
    }


def _points(known: pd.DataFrame) -> list[Outcome]:
    return [
        Outcome(float(r.synthetic_fraction), int(r.seed), float(r.y), str(r.undefined))
        for r in records(known)
    ]


def _range(found: Estimate) -> dict[str, float]:
    return {"first": found.axis[0], "last": found.axis[1], "confidence": found.confidence}


def _share(own: pd.DataFrame) -> dict[str, Any]:
    judged = own[own["verdict"].notna()]
    bad, n = int(judged["verdict"].eq(True).sum()), len(judged)
    fraction = own["synthetic_fraction"].iloc[0]
    at = "" if np.isnan(fraction) else f" at a synthetic fraction of {fraction:g}"
    lines = f"{n} lineage" + "s" * (n != 1)
    reasons = own.loc[own["undefined"] != "", "undefined"].astype(str).mode()
    because = f": {reasons.iloc[0]}" if len(reasons) else ""
    words = f"{bad} of {lines} collapsed{at}" if n else f"nothing could be judged{because}"
    gaps = int(own["undefined"].ne("").sum()) if n else 0
    nothing = {
        "estimate": math.nan,
        "low": math.nan,
        "high": math.nan,
        **{f"safe{end}": math.nan for end in UNSAFE},
        "risk": math.nan,
        "verdict": "one fraction",
        "likely": "none",
        "words": words,
        "rests": "",
        "without": _without(gaps, because.removeprefix(": ")),
    }
    return nothing | {
        "lineages": n,
        "seeds": own["seed"].nunique(),
        "first": fraction,
        "last": fraction,
        "confidence": math.nan,
    }


def _without(n: int, why: str) -> str:
    """How many lineages have no value, and why; '' where all have one."""
    reason = f" ({why})" if why else ""
    return f"{n} without a value{reason}" if n else ""


# ---- how much more would be needed ---------------------------------------------------------------


def needed(own: pd.DataFrame, asked: Threshold | None, verdict: Verdict) -> dict[str, Any]:
    """Seeds per fraction of a grid for an interval of the width asked for, as the fitted curve and
    its scatter predict it (rough: of few seeds the scatter is hardly known); in words, which say
    why when it cannot be said.
    """
    known = own[own["synthetic_fraction"].notna()]
    width, confidence = (asked.width, asked.confidence) if asked else (WIDTH, 0.9)
    nothing = {"width": width, "seeds_needed": math.nan}
    points = _points(known)
    fractions = sorted({each.fraction for each in points})
    there = len({each.seed for each in points})
    unknown = f"seeds for a width of {width:g}: not known"
    if asked and (there < 2 or len(points) < there * len(fractions)):
        return nothing | {"needs": f"{unknown}; the search goes on by lineages, not by seeds"}
    if there < 2:
        return nothing | {"needs": f"{unknown}; two seeds with every fraction would tell"}
    if verdict != "bracketed":
        return nothing | {"needs": f"{unknown} while the interval is open"}
    level = float(known["level"].iloc[0])
    found = draws_of(points, level, (fractions[0], fractions[-1]))
    if found is None:
        return nothing | {"needs": f"{unknown} with so few values"}
    seeds = seeds_needed(found, fractions, width, confidence)
    if seeds is None:
        words = f"a width of {width:g} takes more fractions between these, whatever the seeds"
        return nothing | {"needs": words}
    words = f"roughly {seeds:,} seeds per fraction for a width of {width:g}"
    enough = f"{there} seeds are enough for a width of {width:g}"
    return {"width": width, "seeds_needed": seeds, "needs": enough if seeds <= there else words}


# ---- saying it -----------------------------------------------------------------------------------


def answers_of(table: pd.DataFrame, rule: CollapseRule, generations: int) -> list[Answer]:
    """What the table of `thresholds` says of each workflow, and on what that rests."""
    found = []
    for row in records(table):
        seeds = f"{row.seeds} seed" + "s" * (row.seeds != 1)
        rests = f"{rule.words()}, generation {generations}, {seeds}"
        how = tuple(filter(None, (rests, row.rests, row.without, row.needs)))
        found.append(Answer(row.group, row.words, how, row.verdict, row.likely))
    return found
