"""What generation 0 already lacks of the real variance, and how much of a collapse that predicts.

A sampler that draws a share v0 of the variance of what it was trained on does so in every
generation.  Nothing else assumed, the variance of generation t follows from the founder's ratio and
the policy's rows alone: v(t) = v0 * (the mean of v over the rows that generation t trains on, real
rows counting 1), which under `replace` at fraction 1 is v0^(t+1).  It is a prediction from
generation 0, not a fit; where it holds, the chain repeats its sampler's loss, and finite data are
not needed to explain the drift.  Of labelled data it is about the variance within the classes:
labels, which are given, restore that between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from analysis.frame.tables import WHAT
from engine.lineage.recipe import path
from engine.spec import LineageSpec

TOTAL, WITHIN = "draw/variance_ratio", "draw/within_class_ratio"
SHARE = 0.75  # of the loss on a log scale that a prediction must account for, and its inverse
LEFT = 0.01  # of the real variance: below, pictures of 256 levels are mostly rounding
LOSS = 0.5  # at most so much of the founder's ratio must be left for a loss to be explained
COLUMNS = ["cell", *WHAT, "seed", "t", "key", "value", "floor", "floor_sd", "predicted"]


def predicted(spec: LineageSpec, founder: float, generations: int) -> np.ndarray:
    """The ratio of every generation 0..generations, [generations + 1], by the founder's alone."""
    ratios, sizes = {-1: 1.0, 0: founder}, {-1: spec.n_real}
    for node in path(spec, generations):
        sizes[node.t] = spec.drawn(node.t)
        if not node.t:
            continue
        real = {s: spec.n_real for pick in node.recipe for s in pick.sources if s < -1}
        ratios |= dict.fromkeys(real, 1.0)  # real sets of tasks
        sizes |= real
        total, rows = 0.0, 0
        for pick in node.recipe:
            equal = pick.how == "uniform_source"
            weights = [1 if equal else sizes[source] for source in pick.sources]
            mean = np.average([ratios[source] for source in pick.sources], weights=weights)
            total, rows = total + pick.count * float(mean), rows + pick.count
        ratios[node.t] = founder * total / rows
    return np.array([ratios[t] for t in range(generations + 1)])


def ratios(frame: pd.DataFrame, specs: Iterable[LineageSpec]) -> pd.DataFrame:
    """A row per lineage, generation and ratio (columns COLUMNS); `predicted` is NaN of a total that
    labels restore, and without a founder's value.

    frame: `frame.rows.from_store`, its parts called as they are to be shown.
    """
    own = frame[frame["key"].isin((TOTAL, WITHIN)) & frame["value"].notna()]
    known = {spec.id: spec for spec in specs}
    parts = [rows for _, rows in _predicted(own, known)]
    return pd.concat(parts)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)


def _predicted(
    frame: pd.DataFrame, specs: Mapping[str, LineageSpec]
) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, rows in frame.groupby("lineage", observed=True, sort=False):
        lineage = str(name)
        main = WITHIN if (rows["key"] == WITHIN).any() else TOTAL
        first = rows[(rows["key"] == main) & (rows["t"] == 0)]["value"]
        line = pd.Series(np.nan, index=rows.index)
        if len(first):
            law = predicted(specs[lineage], float(first.iloc[0]), int(rows["t"].max()))
            line[rows["key"] == main] = law[rows.loc[rows["key"] == main, "t"]]
        yield lineage, rows.assign(predicted=line)


def over_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Of the ratio that is predicted, a row per cell and generation: mean, low, high (least and
    largest of the seeds), n, floor, floor_sd, predicted; key says which ratio.
    """
    main = table[table["predicted"].notna()]
    plain = {name: (name, "first") for name in (*WHAT, "key")}
    found = main.groupby(["cell", "t"], observed=True, sort=False).agg(
        **plain,
        mean=("value", "mean"),
        low=("value", "min"),
        high=("value", "max"),
        n=("value", "count"),
        floor=("floor", "mean"),
        floor_sd=("floor_sd", "mean"),
        predicted=("predicted", "mean"),
    )
    return found.reset_index().sort_values(["cell", "t"], ignore_index=True)


def lacking(cells: pd.DataFrame) -> pd.DataFrame:
    """The founders whose draws lack variance: by more than two standard deviations of the floor."""
    first = cells[cells["t"] == 0]
    return first[first["mean"] < first["floor"] - 2 * first["floor_sd"].fillna(0)]


def explained(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells whose loss of variance the founder's ratio predicts; columns cell, key, t, founder,
    measured, predicted, share.

    Judged at the last generation that has LEFT of the real variance, or at generation 1 (logarithms
    of next to nothing are not compared).  The founder lacks variance, less than LOSS of its ratio
    is left, and the prediction's logarithm is between SHARE and 1 / SHARE of the measured one's: it
    neither leaves a quarter of the loss unexplained, nor predicts a third more than there is.
    """
    short = set(lacking(cells)["cell"])
    rows = []
    for cell, own in cells[cells["cell"].isin(short)].groupby("cell", observed=True, sort=False):
        founder = float(own["mean"].iloc[0])
        left = own[(own["mean"] >= LEFT) | (own["t"] <= 1)]
        last = left[(left["mean"] > 0) & (left["predicted"] > 0)].iloc[-1]
        if last["t"] == 0 or last["mean"] > LOSS * founder:
            continue
        share = float(np.log(last["predicted"]) / np.log(last["mean"]))
        if SHARE <= share <= 1 / SHARE:
            said = {name: last[name] for name in ("key", "t", "predicted")}
            rows.append(
                {"cell": cell, "founder": founder, "measured": last["mean"], "share": share} | said
            )
    columns = ["cell", "key", "t", "founder", "measured", "predicted", "share"]
    return pd.DataFrame(rows, columns=columns)
