"""The map of a grid: how far each cell went towards collapse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.frame.tables import natural, panel_names, records
from analysis.plots.curves import across
from analysis.plots.style import (
    BAD,
    GOOD,
    INK,
    REAL,
    WIDE,
    finish,
    heading,
    sheet,
    styled,
    wrapped,
)

LIKELY = {"safe": GOOD, "collapse": BAD, "none": REAL}  # of a workflow without a crossing
SAFE_TO_BAD = LinearSegmentedColormap.from_list("collapse", ["#f7fbff", "#fdd0a2", BAD])


@styled
def heat_map(table: pd.DataFrame, *, rule: str, width: float = WIDE) -> Figure:
    """Generator x fraction, a panel per policy: colour is how far the metric went towards the
    collapse level, the text how many
    lineages collapsed.  table: `tables.collapse_share`.
    """
    rows = [
        c for c in ("dataset", "generator", "n_real", "sampling") if table[c].nunique() > 1
    ] or ["generator"]
    table = table.assign(row=panel_names(table, rows) if len(table) else "")
    policies, names = (
        list(dict.fromkeys(table["policy"].astype(str))),
        sorted(set(table["row"]), key=natural),
    )
    fractions = sorted(table["synthetic_fraction"].dropna().unique())
    labels = [wrapped(name, 46 if width > 5 else 24) for name in names]
    figure, axes, room = _map_sheet(labels, len(policies), width)
    said = room / max(len(fractions), 1) > 0.3  # whether a text fits into a cell
    image: Any = None
    for i, (axis, policy) in enumerate(zip(axes, policies, strict=True)):
        own = table[table["policy"].astype(str) == policy]
        swept = own["synthetic_fraction"].nunique() > 1
        image = _one_map(
            axis,
            own,
            names,
            fractions if swept else sorted(own["synthetic_fraction"].dropna().unique()),
            said,
        )
        heading(axis, policy, room, 8.5)
        axis.set_yticks(np.arange(len(names)) + 0.5, labels)
        axis.set_xlabel("synthetic fraction" if i + across(axes) >= len(axes) else "")
        axis.tick_params(labelleft=i % across(axes) == 0)
    if image is not None:
        bar = figure.colorbar(
            image, ax=axes, shrink=min(0.8, 1.8 / figure.get_size_inches()[1]), aspect=14, pad=0.02
        )
        bar.set_ticks([0, 1], labels=["as generation 0", "collapse level"])
        bar.ax.tick_params(labelsize=7)
    n = int(table["lineages"].max()) if len(table) else 0
    inside = (
        f"  In each cell: lineages past it, of those judged (at most {n} seed{'s' * (n != 1)})"
        * said
    )
    return finish(
        figure,
        "How far each cell went towards collapse",
        f"Collapse: {rule}, at the last generation.{inside}; hatched: no value.",
    )


def _map_sheet(labels: list[str], panels: int, width: float) -> tuple[Figure, list[Axes], float]:
    """Panels as high as their rows need, and the inches that a map is wide."""
    figure, axes = sheet(panels, width, least=2.2)
    columns, longest = (
        across(axes),
        max((len(line) for label in labels for line in label.split("\n")), default=0),
    )
    lines = max((label.count("\n") for label in labels), default=0)
    high = (0.17 + 0.12 * lines) * len(labels) + 0.35
    figure.set_size_inches(
        width, -(-panels // columns) * max(high, 0.6 + 0.2 * width / columns) + 0.3
    )
    return figure, axes, (width - 0.06 * longest - 1.1) / columns


def _one_map(
    axis: Axes, table: pd.DataFrame, names: list[str], fractions: list[float], said: bool
) -> Any:
    columns = [*fractions, np.nan] if table["synthetic_fraction"].isna().any() else fractions
    values = np.full((len(names), len(columns)), np.nan)
    texts = {}
    for cell in records(table):
        j = (
            len(columns) - 1
            if np.isnan(cell.synthetic_fraction)
            else columns.index(cell.synthetic_fraction)
        )
        i = names.index(cell.row)
        share = cell.y / cell.level if cell.level else np.nan
        values[i, j] = 1.0 if cell.absorbed and cell.absorbed == cell.judged else share
        texts[i, j] = f"{cell.collapsed}/{cell.judged}" if cell.judged else "?"
    for i, j in np.argwhere(np.isnan(values)):
        axis.add_patch(Rectangle((j, i), 1, 1, fc="white", ec="#d0d0d0", hatch="////", lw=0))
        texts.setdefault((i, j), "not run")
    image = axis.pcolormesh(
        values, cmap=SAFE_TO_BAD, vmin=0, vmax=1.0, edgecolors="white", linewidth=1.0
    )
    for (i, j), text in texts.items() if said else ():
        axis.text(
            j + 0.5,
            i + 0.5,
            text,
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if values[i, j] > 0.85 else INK,
        )
    shown = columns[:: 1 if said else -(-len(columns) // 6)]
    axis.set_xticks(
        [columns.index(f) + 0.5 for f in shown],
        ["none" if np.isnan(f) else f"{f:.3g}" for f in shown],
    )
    axis.invert_yaxis()
    axis.grid(False)
    axis.tick_params(length=0)
    return image
