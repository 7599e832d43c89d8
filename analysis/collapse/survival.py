"""First passage and the state at the last generation: two questions about many lineages.

First passage is the first generation past the collapse level; some lineages never get there, and
some come back, so the share that has not passed by the last generation (survival) and the share
that is not past the level there differ.  Lineages that ended before they passed are censored, not
missing: they count as at risk for as long as they were seen.  Time is discrete, and an event at t
is known at the end of generation t.

Lineages of one seed share their founder.  Their variance is summed over seeds (Williams 1995,
Lifetime Data Anal. 1, 171), which is Greenwood's where each seed has one lineage; and limits are
those of Clopper and Pearson at the effective number of lineages (Korn and Graubard 1998, Surv.
Methodol. 24, 193), which have a width where no lineage or every one has passed.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.stats import beta, gamma
from scipy.stats import t as student

CONFIDENCE = 0.95
MOST_FRACTIONS = 6  # of one workflow; more of them are taken together in bands
BANDS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


# ---- first passage -------------------------------------------------------------------------------


def kaplan_meier(times: pd.DataFrame) -> pd.DataFrame:
    """S(t), the share that has not passed the level by the end of generation t (Kaplan-Meier), from
    columns t, event (`functional.times`) and seed.

    Columns t, survival, low, high (95 %), at_risk, events.
    """
    t, event = times["t"].to_numpy(int), times["event"].to_numpy(bool)
    when = np.arange(-1, t.max() + 1 if len(t) else 0)  # -1: before the first training, S = 1
    risk = t >= when[:, None]  # [generations, lineages]
    passed = (t == when[:, None]) & event
    at_risk, events = risk.sum(1), passed.sum(1)
    hazard = events / np.maximum(at_risk, 1)
    survival = np.cumprod(1 - hazard)
    left = np.maximum(at_risk - events, 1)[:, None]
    influence = np.cumsum((passed - risk * hazard[:, None]) / left, axis=0) * survival[:, None]
    known = risk | (event & (t <= when[:, None]))
    seeds = times["seed"].to_numpy()
    ends = [limits(*each, seeds) for each in zip(survival, influence, known, strict=True)]
    low, high = np.array(ends).reshape(-1, 2).T
    columns = {"t": when, "survival": survival, "low": low, "high": high}
    return pd.DataFrame({**columns, "at_risk": at_risk, "events": events})


def median_time(curve: pd.DataFrame) -> float:
    """The generation by which half have passed; NaN while more than half have not."""
    gone = curve[curve["survival"] <= 0.5]
    return float(gone["t"].iloc[0]) if len(gone) else float("nan")


# ---- limits of a share ---------------------------------------------------------------------------


def limits(
    share: float, influence: np.ndarray, known: np.ndarray, seeds: np.ndarray
) -> tuple[float, float]:
    """Limits (95 %) of a share; NaN without lineages.

    influence  of each lineage on the share, the derivative by its weight, over their number [n]
    known      whether the share counts the lineage, rather than that it was lost before [n], bool
    seeds      of the lineages [n]
    """
    n, (names, own) = len(seeds), np.unique(seeds, return_inverse=True)
    if not n:
        return float("nan"), float("nan")
    size = float(len(np.unique(seeds[known])))  # where all are alike, each seed counts once
    variance = np.square(np.bincount(own, influence)).sum()
    if 0 < share < 1 and variance > 0:
        size = share * (1 - share) / variance * _few(n, len(names))
    return _clopper_pearson(share, min(max(size, 1.0), float(n)))


def share_limits(past: np.ndarray, seeds: np.ndarray) -> tuple[float, float, float]:
    """The share of lineages that are past the level (past [n], bool), and its limits (95 %)."""
    share = float(past.mean()) if len(past) else float("nan")
    influence = (past - share) / max(len(past), 1)
    return share, *limits(share, influence, np.ones(len(past), dtype=bool), seeds)


def _few(n: int, seeds: int) -> float:
    """What n lineages of few seeds are worth of so many independent ones (Korn and Graubard)."""
    if seeds < 2:
        return 0.0
    tail = (1 + CONFIDENCE) / 2
    return float((student.ppf(tail, n - 1) / student.ppf(tail, seeds - 1)) ** 2)


def _clopper_pearson(share: float, n: float) -> tuple[float, float]:
    tail, x = (1 - CONFIDENCE) / 2, share * n
    low = beta.ppf(tail, x, n - x + 1) if share > 0 else 0.0
    high = beta.ppf(1 - tail, x + 1, n - x) if share < 1 else 1.0
    return float(low), float(high)


# ---- both, per fraction --------------------------------------------------------------------------


def banded(lineages: pd.DataFrame) -> pd.DataFrame:
    """With columns at and upto: the synthetic fraction of each lineage, or the band that it is
    taken together with others in, where its workflow (column group) has more than MOST_FRACTIONS.
    """
    fraction = lineages["synthetic_fraction"]
    many = lineages.groupby("group", sort=False)["synthetic_fraction"].transform("nunique")
    place = np.clip(np.searchsorted(BANDS, fraction, side="right") - 1, 0, len(BANDS) - 2)
    wide = (many > MOST_FRACTIONS) & fraction.notna()
    edges = np.array(BANDS)
    return lineages.assign(
        at=np.where(wide, edges[place], fraction), upto=np.where(wide, edges[place + 1], fraction)
    )


def first_passages(times: pd.DataFrame) -> pd.DataFrame:
    """`kaplan_meier` of every workflow (column group) at every fraction or band of them.

    Columns group, at, upto, those of `kaplan_meier`, lineages, seeds.
    """
    parts = []
    for (group, at, upto), own in _cells(times):
        curve = kaplan_meier(own).assign(group=group, at=at, upto=upto)
        parts.append(curve.assign(lineages=len(own), seeds=own["seed"].nunique()))
    columns = ["group", "at", "upto", "t", "survival", "low", "high", "at_risk", "events"]
    columns += ["lineages", "seeds"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def two_questions(times: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """First passage beside the state at the last generation, of every workflow at every fraction.

    Columns group, at, upto, lineages, seeds; passed (lineages past the level at some generation),
    median (the first by which half had passed; NaN where fewer have), never (share that has not by
    the last generation) with never_low, never_high; judged, past (of those judged, the lineages
    past the level at the last generation), below (share that is not) with below_low, below_high;
    shares are NaN where no lineage has a value.
    """
    verdicts = outcomes.set_index("lineage")["verdict"]
    rows = []
    for (group, at, upto), own in _cells(times):
        curve = kaplan_meier(own)
        end = curve.iloc[-1]
        known = own.assign(past=own["lineage"].map(verdicts)).dropna(subset="past")
        past = known["past"].to_numpy(bool)
        below = share_limits(~past, known["seed"].to_numpy())
        about = {"group": group, "at": at, "upto": upto, "lineages": len(own)}
        first = {"seeds": own["seed"].nunique(), "passed": int(own["event"].sum())}
        seen = len(known) > 0 or bool(own["event"].any())
        share = [end["survival"], end["low"], end["high"]] if seen else [math.nan] * 3
        never = dict(zip(("never", "never_low", "never_high"), share, strict=True))
        state = dict(zip(("below", "below_low", "below_high"), below, strict=True))
        counts = {"judged": len(known), "past": int(past.sum())}
        rows.append({**about, **first, "median": median_time(curve), **never, **counts, **state})
    return pd.DataFrame(rows)


def _cells(times: pd.DataFrame) -> list[tuple[tuple[str, float, float], pd.DataFrame]]:
    """The lineages of every workflow at every fraction or band, in the order of both."""
    found = []
    for _, own in banded(times).groupby(["group", "at", "upto"], sort=False, dropna=False):
        first = own.iloc[0]
        found.append(((str(first["group"]), float(first["at"]), float(first["upto"])), own))
    order = list(dict.fromkeys(times["group"].astype(str)))
    return sorted(found, key=lambda each: (order.index(each[0][0]), each[0][1:]))


# ---- the hazard ----------------------------------------------------------------------------------


def hazard(times: pd.DataFrame, by: list[str] | None = None) -> pd.DataFrame:
    """First passages per generation at risk (a constant hazard), by workflow and fraction or
    other columns, with exact Poisson limits, which hold for lineages of different seeds.

    Columns: by, lineages, events, exposure (fits at risk, all lineages together), hazard, low, high
    (95 %).
    """
    by = ["workflow", "synthetic_fraction"] if by is None else by
    grouped = times.groupby(by, observed=True, dropna=False)
    found = grouped.agg(
        lineages=("event", "size"), events=("event", "sum"), exposure=("fits", "sum")
    ).reset_index()
    events, exposure = found["events"].to_numpy(float), found["exposure"].to_numpy(float)
    found["hazard"] = events / exposure
    found["low"] = np.where(events > 0, gamma.ppf(0.025, np.maximum(events, 1)), 0.0) / exposure
    found["high"] = gamma.ppf(0.975, events + 1) / exposure
    return found
