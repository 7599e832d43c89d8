"""Figures about collapse: heat map, phase diagram, response to the fraction, survival; tables in,
Figures out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.frame.tables import natural, panel_names, records
from analysis.plots.curves import MOST_PANELS, across, edge_labels
from analysis.plots.style import (
    BAD,
    FAINT,
    GOOD,
    INK,
    REAL,
    WIDE,
    finish,
    heading,
    marks,
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
        f"  In each cell: collapsed lineages of those judged (at most {n} seed{'s' * (n != 1)})"
        * said
    )
    return finish(
        figure,
        "How far each cell went towards collapse",
        f"Collapse: {rule}.{inside}; hatched: no value.",
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


# ---- phase diagram -------------------------------------------------------------------------------


@styled
def phase_diagram(
    shares: pd.DataFrame, thresholds: pd.DataFrame, *, rule: str, width: float = WIDE
) -> Figure:
    """Where collapse begins: a line per generator and policy from fraction 0 to 1, blue where it is
    safe and orange beyond the threshold, whose interval is the bar; circles are the fractions that
    ran, filled by the share that collapsed.
    """
    figure = Figure(figsize=(width, 0.32 * len(thresholds) + 0.75), layout="constrained")
    axis = figure.add_subplot()
    for i, row in enumerate(records(thresholds)):
        own = shares[(shares["group"] == row.group) & shares["synthetic_fraction"].notna()]
        _regimes(axis, i, row)
        _tested(axis, i, own)
        axis.text(1.04, i, _short(row), va="center", fontsize=7.5, color=INK, clip_on=False)
    axis.set_yticks(
        range(len(thresholds)),
        [wrapped(str(g), 26 if width > 5 else 16) for g in thresholds["group"]],
    )
    axis.set(
        xlim=(-0.03, 1.03),
        ylim=(len(thresholds) - 0.4, -0.6),
        xlabel="synthetic fraction of each training set",
    )
    axis.tick_params(axis="y", length=0)
    axis.grid(False, axis="y")
    axis.spines["left"].set_visible(False)
    handles: list[Artist] = [
        Line2D([], [], color=GOOD, lw=4, alpha=0.35, label="safe"),
        Line2D([], [], color=BAD, lw=4, alpha=0.35, label="collapse"),
        Line2D([], [], color=INK, lw=2, marker="|", ms=8, label="threshold, 90 % interval"),
        Line2D(
            [],
            [],
            color=INK,
            marker="o",
            mfc="white",
            lw=0,
            ms=5,
            label="tested, filled by collapsed share",
        ),
    ]
    note = (
        f"Collapse: {rule}.  Interval: a Gaussian-process level set over all seeds.  "
        "Untested fractions are dotted."
    )
    return finish(figure, "Where collapse begins", note, handles)


def _regimes(axis: Axes, i: int, row: Any) -> None:
    """The part of the axis that was tested, blue where it is safe; then the threshold and its
    interval.
    """
    first, last = (row.first, row.last) if np.isfinite(row.first) else (0.0, 1.0)
    axis.plot([last, 1], [i, i], color=FAINT, lw=1, ls=(0, (1, 2)), zorder=1)
    if row.verdict in ("bracketed", "open") and np.isfinite(row.estimate):
        axis.plot(
            [first, row.estimate], [i, i], color=GOOD, lw=8, alpha=0.35, solid_capstyle="butt"
        )
        axis.plot([row.estimate, last], [i, i], color=BAD, lw=8, alpha=0.35, solid_capstyle="butt")
        ends = (
            row.low if np.isfinite(row.low) else first,
            row.high if np.isfinite(row.high) else last,
        )
        axis.plot(ends, [i, i], color=INK, lw=2, solid_capstyle="butt")
        axis.plot([row.estimate], [i], "|", color=INK, ms=14, mew=2)
    elif np.isfinite(row.first) and last > first:
        axis.plot(
            [first, last],
            [i, i],
            color=LIKELY[row.likely],
            lw=8,
            alpha=0.35,
            solid_capstyle="butt",
        )
        if np.isfinite(row.low) or np.isfinite(row.high):  # where it could begin all the same
            ends = (
                row.low if np.isfinite(row.low) else first,
                row.high if np.isfinite(row.high) else last,
            )
            axis.plot(ends, [i, i], color=INK, lw=2, solid_capstyle="butt")


def _tested(axis: Axes, i: int, shares: pd.DataFrame) -> None:
    for cell in records(shares):
        if not cell.judged:
            axis.plot(cell.synthetic_fraction, i, "x", color=INK, ms=5)
            continue
        share = cell.collapsed / cell.judged
        fill = tuple(1 - share * (1 - c) for c in to_rgb(BAD))
        axis.plot(cell.synthetic_fraction, i, "o", ms=5.5, mfc=fill, mec=INK, mew=0.8, zorder=4)


def _short(row: Any) -> str:
    if row.verdict in ("bracketed", "open") and np.isfinite(row.estimate):
        low = f"{row.low:.2f}" if np.isfinite(row.low) else f"below {row.first:g}"
        high = f"{row.high:.2f}" if np.isfinite(row.high) else f"beyond {row.last:g}"
        return f"{row.estimate:.2f} [{low}, {high}]"
    if row.verdict == "open":
        later = f"likely none up to {row.last:g}"
        return f"likely from {row.first:g} on" if row.likely == "collapse" else later
    said = {
        "never": f"none up to {row.last:g}",
        "always": f"from {row.first:g} on",
        "not monotone": "not monotone",
    }
    return said.get(
        row.verdict, str(row.words) if row.verdict == "one fraction" else "too few to say"
    )


# ---- the metric against the fraction -------------------------------------------------------------


@styled
def response(
    outcomes: pd.DataFrame,
    thresholds: pd.DataFrame,
    *,
    rule: str,
    quantity: str = "y",
    width: float = WIDE,
) -> Figure:
    """How bad it got at each fraction: a dot per lineage, the mean over seeds as a line, the
    collapse level dashed, the
    threshold's interval as a band.  outcomes: `answers.grouped`; only workflows that ran at two
                                     fractions or more.
    """
    shown = [g for g in thresholds.loc[thresholds["verdict"] != "one fraction", "group"]][
        :MOST_PANELS
    ]
    figure, axes = sheet(max(len(shown), 1), width, least=1.7)
    for axis, group in zip(axes, shown, strict=False):
        own = outcomes[(outcomes["group"] == group) & outcomes["synthetic_fraction"].notna()]
        _one_response(axis, own, thresholds[thresholds["group"] == group].iloc[0])
        heading(axis, str(group), width / across(axes))
    finite = outcomes["y"][np.isfinite(outcomes["y"])]
    level = float(outcomes["level"].iloc[0])
    low, high = min(finite.min(), 0.0, level), max(finite.max(), level)
    for axis in axes:
        axis.set(ylim=(low - 0.08 * (high - low), high + 0.15 * (high - low)), xlim=(-0.04, 1.04))
    edge_labels(axes, "synthetic fraction", quantity)
    handles = [
        Line2D([], [], color=INK, marker="o", ms=4, mec="white", label="lineage, mean over seeds"),
        Line2D([], [], color=INK, marker="^", lw=0, label="absorbed: worse than any number"),
        Line2D([], [], color=BAD, lw=0.9, ls=(0, (5, 2)), label="collapse level"),
        Patch(color=BAD, alpha=0.18, label="threshold, 90 % interval"),
    ]
    note = f"Higher is worse; past the level is collapse: {rule}."
    return finish(figure, "What each synthetic fraction did", note, handles)


def _one_response(axis: Axes, own: pd.DataFrame, answer: pd.Series) -> None:
    if np.isfinite(answer["estimate"]):
        ends = [
            answer[k] if np.isfinite(answer[k]) else answer[o]
            for k, o in (("low", "first"), ("high", "last"))
        ]
        axis.axvspan(*ends, color=BAD, alpha=0.18, lw=0)
        axis.axvline(answer["estimate"], color=BAD, lw=1.2)
    axis.axhline(own["level"].iloc[0], color=BAD, lw=0.9, ls=(0, (5, 2)))
    finite = own[np.isfinite(own["y"])]
    mean = finite.groupby("synthetic_fraction")["y"].mean()
    axis.plot(mean.index, mean, color=INK, lw=1.2)
    axis.plot(finite["synthetic_fraction"], finite["y"], "o", color=INK, ms=4, mec="white", mew=0.5)
    edge = axis.get_xaxis_transform()
    for odd, marker, y in ((np.isposinf(own["y"]), "^", 0.97), (own["y"].isna(), "x", 0.03)):
        axis.plot(
            own["synthetic_fraction"][odd],
            np.full(int(odd.sum()), y),
            marker,
            color=INK,
            ms=5,
            transform=edge,
        )


# ---- survival ------------------------------------------------------------------------------------


@styled
def survival(curves: dict[str, pd.DataFrame], *, rule: str, width: float = WIDE) -> Figure:
    """Kaplan-Meier: the share of lineages not collapsed yet.

    curves: name -> `survival.kaplan_meier`; ticks: censored.
    """
    figure, axes = sheet(1, width, ratio=0.38 if width > 5 else 0.8)
    axis, styles = axes[0], marks(list(curves))
    for curve, (colour, _) in zip(curves.values(), styles.values(), strict=True):
        last = curve.iloc[-1:].assign(t=curve["t"].max() + 0.5)
        gone = curve["at_risk"].shift(-1, fill_value=0) < curve["at_risk"] - curve["events"]
        axis.plot(curve["t"][gone], curve["survival"][gone], "|", color=colour, ms=6)
        curve = pd.concat([curve, last])  # so that a drop at the last generation is seen
        axis.step(curve["t"], curve["survival"], where="post", color=colour)
        axis.fill_between(
            curve["t"], curve["low"], curve["high"], step="post", color=colour, alpha=0.13, lw=0
        )
    end = max(int(curve["t"].max()) for curve in curves.values())
    axis.set(
        ylim=(-0.03, 1.05),
        xlim=(-0.5, end + 0.5),
        xlabel="generation",
        ylabel="share not collapsed",
    )
    axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    handles = [
        Line2D([], [], color=colour, label=f"{name} ({int(curve['at_risk'].max())})")
        for (name, curve), (colour, _) in zip(curves.items(), styles.values(), strict=True)
    ]
    note = (
        "Kaplan-Meier with 95 % limits (Greenwood, log-log); ticks: censored; lineages in "
        f"brackets.  Collapse: {rule}."
    )
    return finish(figure, "Time to collapse", note, handles)


@styled
def hazards(table: pd.DataFrame, *, rule: str, width: float = WIDE) -> Figure:
    """Collapses per generation at risk against the synthetic fraction, a line per workflow.

    table: `survival.hazard`.
    """
    figure, axes = sheet(1, width, ratio=0.42 if width > 5 else 0.75)
    axis = axes[0]
    styles = marks(list(dict.fromkeys(table["workflow"].astype(str))))
    for i, (name, (colour, marker)) in enumerate(styles.items()):
        own = table[(table["workflow"] == name) & table["synthetic_fraction"].notna()]
        own = own.sort_values("synthetic_fraction")
        x = own["synthetic_fraction"] + 0.012 * (i - (len(styles) - 1) / 2)
        reach = [own["hazard"] - own["low"], own["high"] - own["hazard"]]
        axis.errorbar(
            x, own["hazard"], reach, color=colour, fmt=marker, ms=4.5, elinewidth=1.0, capsize=2
        )
    axis.set(
        xlabel="synthetic fraction",
        ylabel="collapses per generation",
        xlim=(-0.04, 1.04),
        ylim=(0, None),
    )
    handles = [
        Line2D([], [], color=c, marker=m, lw=0, label=name) for name, (c, m) in styles.items()
    ]
    note = f"Events over generations at risk, exact 95 % Poisson limits.  Collapse: {rule}."
    return finish(figure, "Hazard of collapse", note, handles)
