"""The numbers behind the figures, each a small frame: curves over seeds, shares of collapsed
lineages, thresholds, failures.

An interval over seeds is mean +- t s.e. (95 %, Student); of a single seed with replicates it is +-
1.96 s.e. over those, and of a single seed without them there is none: `interval` says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from analysis.frame.tidy import TOLD
from engine.registry import KINDS, describe

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
    without), floor, floor_sd.
    """
    measured = key.split("/")[0] not in TOLD  # a generation without any value lacks this one, too
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
    quantile = student.ppf(0.975, np.maximum(n - 1, 1))
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


def panel_names(table: pd.DataFrame, columns: list[str]) -> pd.Series:
    """A short name per row from the columns that tell its panel from others: only what differs is
    said.
    """
    if not columns:
        return pd.Series("", index=table.index)
    parts = [shortened(table[c].map(lambda v, c=c: _said(c, v)).astype(str), c) for c in columns]
    return pd.Series([", ".join(row) for row in zip(*parts, strict=True)], index=table.index)


def line_names(table: pd.DataFrame, column: str) -> pd.Series:
    if column == "synthetic_fraction":
        return table[column].map(lambda v: "no fraction" if pd.isna(v) else f"{v:g}").astype(str)
    return shortened(table[column].map(lambda v: _said(column, v)).astype(str), column)


def _said(column: str, value: object) -> str:
    return f"n = {value:,}" if column == "n_real" else str(value)


def shortened(labels: pd.Series, kind: str = "") -> pd.Series:
    """Labels such as verify(delta=0.2, radius=0.1) without the parameters that all of them share;
    kind: of part, for the defaults that some leave out.
    """
    known = {label: _parsed(label) for label in labels.unique()}
    heads, all_params = (
        {head for head, _ in known.values()},
        [params for _, params in known.values()],
    )
    names = list(dict.fromkeys(name for params in all_params for name in params))
    if len(heads) == 1 and kind in KINDS:
        defaults = {name: _default(kind, next(iter(heads)), name) for name in names}
        known = {
            label: (head, {n: params.get(n, defaults[n]) for n in names})
            for label, (head, params) in known.items()
        }
        all_params = [params for _, params in known.values()]
    shared = {k for k in names if all(p.get(k) == all_params[0].get(k) for p in all_params)}
    return labels.map(
        {
            label: _joined(head, params, shared, len(heads) == 1)
            for label, (head, params) in known.items()
        }
    )


def _parsed(label: str) -> tuple[str, dict[str, str]]:
    head, _, inside = label.partition("(")
    return head, dict(re.findall(r"([\w.]+)=([^,()]+)", inside))


def _default(kind: str, part: str, parameter: str) -> str:
    known = describe(kind, part).parameters
    default = known[parameter].default if parameter in known else ""
    return f"{default:g}" if isinstance(default, float) else str(default)


def natural(text: str) -> tuple[Any, ...]:
    """A sorting key by which n = 32 comes before n = 100."""
    pieces = re.split(r"(\d[\d,]*\.?\d*)", str(text))
    return tuple(
        (1, float(p.replace(",", "")), "") if p[:1].isdigit() else (0, 0.0, p) for p in pieces
    )


def _joined(head: str, params: dict[str, str], shared: set[str], same_head: bool) -> str:
    own = ", ".join(f"{k.replace('_', ' ')} = {v}" for k, v in params.items() if k not in shared)
    return own if same_head and own else f"{head}, {own}" if own else head


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


def each(table: pd.DataFrame) -> Iterator[Any]:
    """Its rows, with columns as attributes."""
    return iter(table.itertuples(index=False))
