"""The numbers behind the figures, each a small frame: curves over seeds, shares of collapsed
lineages, thresholds, failures.

An interval over seeds is mean +- t s.e. (95 %, Student); of a single seed with replicates it is +-
1.96 s.e. over those, and of a single seed without them there is none: `interval` says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.frame.tidy import REPORTS, spread
from engine.names import PARTS, Names
from engine.spec import LineageSpec
from engine.store.keys import metric_of

WHAT = [
    "dataset",
    "generator",
    "n_real",
    "n_synthetic",
    "sampling",
    "policy",
    "synthetic_fraction",
]  # what makes a cell
ALONG = [
    "synthetic_fraction",
    "policy",
    "sampling",
    "n_real",
    "generator",
    "dataset",
]  # what may be told apart by colour


# ---- curves over generations ---------------------------------------------------------------------


def over_seeds(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """One row per cell and generation: mean, low, high, n (seeds with a value), undefined (seeds
    without), floor, floor_sd, n_compared (samples that the metric compares).
    """
    measured = metric_of(key) not in REPORTS  # a generation without any value lacks this one, too
    rows = frame[(frame["key"] == key) | (frame["key"] == "") & measured]
    if rows.empty:
        return pd.DataFrame(
            columns=[
                "cell",
                *WHAT,
                "t",
                "mean",
                "low",
                "high",
                "n",
                "undefined",
                "floor",
                "floor_sd",
                "n_compared",
                "interval",
            ]
        )
    grouped = rows.groupby(["cell", "t"], observed=True, sort=False)
    plain = {name: (name, "first") for name in WHAT}
    found = grouped.agg(
        **plain,
        mean=("value", "mean"),
        sd=("value", "std"),
        n=("value", "count"),
        seeds=("value", "size"),
        se=("se", "first"),
        floor=("floor", "mean"),
        floor_sd=("floor_sd", "mean"),
        n_compared=("n", "max"),
    ).reset_index()
    half, kind = _half_width(found)
    found = found.assign(
        low=found["mean"] - half,
        high=found["mean"] + half,
        undefined=found["seeds"] - found["n"],
        interval=kind,
    )
    return found.drop(columns=["sd", "se", "seeds"]).sort_values(["cell", "t"], ignore_index=True)


def _half_width(found: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    n = found["n"].to_numpy()
    many = n > 1
    quantile = stdtrit(np.maximum(n - 1, 1), 0.975)
    over = np.where(many, quantile * found["sd"] / np.sqrt(np.maximum(n, 1)), 1.96 * found["se"])
    kind = np.where(many, "seeds", np.where(np.isfinite(over), "replicates", "none"))
    return over, kind


# ---- how cells are told apart --------------------------------------------------------------------


def arrange(table: pd.DataFrame) -> tuple[list[str], str]:
    """Which columns name the panels and which one the lines: the fraction if it varies within
    otherwise equal cells, else the policy, the sampling, or the first thing with few values.
    """
    varying = [c for c in WHAT if table[c].nunique(dropna=False) > 1]
    fixed = [c for c in varying if c != "synthetic_fraction"]
    if _fractions(table, fixed) > 1:
        return [c for c in fixed if c != "n_synthetic"], "synthetic_fraction"
    if "policy" in varying:
        return [c for c in fixed if c not in ("policy", "n_synthetic")], "policy"
    few = [c for c in ALONG if c in varying and table[c].nunique() <= 8]
    line = few[0] if few else "policy"
    return [c for c in fixed if c not in (line, "n_synthetic")], line


def _fractions(table: pd.DataFrame, fixed: list[str]) -> int:
    if table.empty:
        return 0
    counted = (
        table.groupby(fixed, observed=True, dropna=False)["synthetic_fraction"] if fixed else None
    )
    return (
        int(counted.nunique().max())
        if counted is not None
        else int(table["synthetic_fraction"].nunique())
    )


def told_apart(frame: pd.DataFrame, specs: Iterable[LineageSpec]) -> pd.DataFrame:
    """The frame with its parts called as in the names of the grid's cells: by what varies."""
    about = {spec.id: spec for spec in specs}
    names, lineages = Names(about.values()), pd.Categorical(frame["lineage"])
    kinds: dict[str, pd.Categorical] = {}
    for kind in PARTS:
        said = [names.part(about[str(lineage)], kind) for lineage in lineages.categories]
        kinds[kind] = spread(said, lineages.codes)
    return frame.assign(**kinds)


def panel_names(table: pd.DataFrame, columns: list[str]) -> pd.Series:
    """What each row's panel is called, from the columns that tell it from others."""
    if not columns:
        return pd.Series("", index=table.index)
    parts = [line_names(table, column) for column in columns]
    return pd.Series([", ".join(row) for row in zip(*parts, strict=True)], index=table.index)


def line_names(table: pd.DataFrame, column: str) -> pd.Series:
    """What each row's line is called, after one column."""
    if column == "synthetic_fraction":
        return table[column].map(lambda v: "no fraction" if pd.isna(v) else f"{v:g}").astype(str)
    if column == "n_real":
        return table[column].map(lambda n: f"n={n}").astype(str)
    return table[column].astype(str)


def natural(text: str) -> tuple[Any, ...]:
    """A sorting key by which n = 32 comes before n = 100."""
    pieces = re.split(r"(\d[\d,]*\.?\d*)", str(text))
    return tuple(
        (1, float(p.replace(",", "")), "") if p[:1].isdigit() else (0, 0.0, p) for p in pieces
    )


# ---- collapse ------------------------------------------------------------------------------------


def collapse_share(outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: how many of its lineages collapsed, and y over its seeds (infinite where
    all are absorbed).
    """
    judged = outcomes.assign(bad=outcomes["verdict"].eq(True), known=outcomes["verdict"].notna())
    finite = judged["y"].where(np.isfinite(judged["y"]))
    found = (
        judged.assign(y=finite)
        .groupby(["cell", *WHAT], observed=True, dropna=False, sort=False)
        .agg(
            collapsed=("bad", "sum"),
            judged=("known", "sum"),
            lineages=("bad", "size"),
            absorbed=("absorbed", "sum"),
            y=("y", "mean"),
            y_low=("y", "min"),
            y_high=("y", "max"),
            level=("level", "first"),
        )
    )
    return found.reset_index()


def failures(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Lineages that ended early, were never finished, or could not be judged;
    with their reasons.
    """
    odd = outcomes[
        (outcomes["status"] != "ok") | (outcomes["undefined"] != "") | outcomes["censored"]
    ]
    columns = ["label", "n_real", "seed", "t", "status", "reason", "undefined", "lineage"]
    return odd[columns].astype({"reason": str, "undefined": str}).reset_index(drop=True)


def undefined_values(frame: pd.DataFrame) -> pd.DataFrame:
    """Every metric key without a value, by cell and reason: how often, and at which generations."""
    odd = frame[frame["undefined"] != ""]
    if odd.empty:
        return pd.DataFrame(columns=["label", "key", "undefined", "values", "first t", "last t"])
    grouped = odd.groupby(["label", "key", "undefined"], observed=True, sort=False)["t"]
    found = grouped.agg(values="size", first="min", last="max").reset_index()
    return found.rename(columns={"first": "first t", "last": "last t"})


def records(table: pd.DataFrame) -> Iterator[Any]:
    """Its rows, with columns as attributes."""
    return iter(table.itertuples(index=False))
