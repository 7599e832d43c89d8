"""Time to collapse over many lineages, some of which never got there: Kaplan-Meier curves and the
hazard against the fraction.

Lineages that ended without collapse are censored, not missing: they count as at risk for as long as
they were seen.  Time is discrete, and an event at t is known at the end of generation t.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import gamma, norm

Z = float(norm.ppf(0.975))


def kaplan_meier(times: pd.DataFrame) -> pd.DataFrame:
    """S(t), the share not collapsed by the end of generation t, from columns t and event
    (`collapse.times`).

    Columns t, survival, low, high, at_risk, events; 95 % by Greenwood's variance on the log(-log)
    scale, which stays in [0, 1]. NaN ends where the variance says nothing: before the first event
    and after the last survivor.
    """
    t, event = times["t"].to_numpy(), times["event"].to_numpy(dtype=bool)
    when = (
        np.arange(-1, t.max() + 1) if len(t) else np.array([-1])
    )  # -1: before the first training, S = 1
    at_risk = (t >= when[:, None]).sum(1)
    events = ((t == when[:, None]) & event).sum(1)
    survival = np.cumprod(1 - events / np.maximum(at_risk, 1))
    low, high = _greenwood(survival, events, at_risk)
    columns = {
        "t": when,
        "survival": survival,
        "low": low,
        "high": high,
        "at_risk": at_risk,
        "events": events,
    }
    return pd.DataFrame(columns)


def _greenwood(
    survival: np.ndarray, events: np.ndarray, at_risk: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    left = at_risk - events
    terms = np.divide(events, at_risk * left, out=np.full(len(events), np.nan), where=left > 0)
    terms = np.where(events == 0, 0.0, terms)
    inside = (survival > 0) & (survival < 1)
    log_s = np.log(survival, out=np.full(len(survival), np.nan), where=inside)
    half = Z * np.sqrt(np.cumsum(terms)) / np.abs(log_s)
    low, high = (np.power(survival, np.exp(sign * half)) for sign in (1, -1))
    return np.where(inside, low, np.nan), np.where(inside, high, np.nan)


def median_time(curve: pd.DataFrame) -> float:
    """The generation by which half have collapsed; NaN while more than half survive."""
    gone = curve[curve["survival"] <= 0.5]
    return float(gone["t"].iloc[0]) if len(gone) else float("nan")


def hazard(times: pd.DataFrame, by: list[str] | None = None) -> pd.DataFrame:
    """Collapses per generation at risk (a constant hazard), by workflow and fraction or
    other columns, with exact Poisson limits.

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
