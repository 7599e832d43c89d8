"""Figures about when collapse comes: first passage beside the state at the last generation, and the
hazard.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.frame.tables import natural, records
from analysis.plots.curves import MOST_PANELS, across, edge_labels
from analysis.plots.style import (
    FAINT,
    INK,
    WIDE,
    finish,
    heading,
    marks,
    shades,
    sheet,
    styled,
)

ENOUGH = 10  # lineages of a curve whose band tells something; fewer get a whisker at its end


@styled
def survival(
    curves: pd.DataFrame, states: pd.DataFrame, *, rule: str, width: float = WIDE
) -> Figure:
    """The share of lineages that has not passed the level yet, by generation, a line per fraction;
    beside it the share that is not past it at the last generation, a marker per fraction.

    curves: `survival.first_passages`; states: `survival.two_questions`.
    """
    groups = sorted(dict.fromkeys(curves["group"]), key=natural)
    shown = groups[:MOST_PANELS]
    figure, axes = sheet(len(shown), width, least=2.1, ratio=0.85 if len(shown) > 1 else 0.5)
    end = int(curves["t"].max())
    bands = bool(curves["lineages"].min() >= ENOUGH)
    middles = (curves["at"] + curves["upto"]) / 2
    colours = shades(sorted(middles.dropna().unique()))
    for axis, group in zip(axes, shown, strict=True):
        own = curves[curves["group"] == group]
        _first_passage(axis, own, colours, end, bands)
        _last_states(axis, states[states["group"] == group], colours, end)
        heading(axis, str(group), width / across(axes))
        axis.set(ylim=(-0.04, 1.06), xlim=(-0.6, end + 0.5 + _strip(end)))
        ticks = [t for t in MaxNLocator(5, integer=True).tick_values(0, end) if 0 <= t <= end]
        axis.set_xticks([*ticks, end + 0.6 + _strip(end) / 2], [*(f"{t:g}" for t in ticks), "last"])
    edge_labels(axes, "generation", "share of lineages")
    handles = [
        Line2D([], [], color=_colour(colours, row.at, row.upto), label=span(row.at, row.upto))
        for row in records(curves.drop_duplicates(["at", "upto"]).sort_values(["at", "upto"]))
    ]
    handles.append(Line2D([], [], color=INK, marker="o", lw=1, label="state at the last"))
    spans = "bands and thin lines" if bands else "thin lines"
    more = f"  {len(shown)} of {len(groups)} workflows; the CSV has all." * (shown != groups)
    note = (
        "How to read: a line falls where lineages pass the level for the first time (first "
        "passage); the dots right of it are the share that is not past the level at the last "
        "generation, which is higher where lineages came back.  "
        f"{_lineages(curves)} lineages a line; {spans}: 95 % limits over seeds, whose lineages "
        f"share a founder.  Collapse: {rule}.{more}"
    )
    return finish(figure, "First passage, and the state at the last generation", note, handles)


def _strip(end: int) -> float:
    """How wide the place of the last states is, in generations."""
    return max(0.34 * (end + 1), 1.0)


def _first_passage(
    axis: Axes, curves: pd.DataFrame, colours: dict[float, str], end: int, bands: bool
) -> None:
    cells = list(curves.groupby(["at", "upto"], dropna=False, sort=True))
    axis.axvline(end + 0.5, color=FAINT, lw=0.6)
    for i, (_, curve) in enumerate(cells):
        first = curve.iloc[0]
        colour = _colour(colours, float(first["at"]), float(first["upto"]))
        last = curve.iloc[-1:].assign(t=end + 0.5)
        whole = pd.concat([curve, last])  # so that a drop at the last generation is seen
        lift = 0.012 * (i - (len(cells) - 1) / 2)  # equal curves stay apart
        axis.step(whole["t"], whole["survival"] + lift, where="post", color=colour, lw=1.4)
        if bands:
            axis.fill_between(
                whole["t"], whole["low"], whole["high"], step="post", color=colour, alpha=0.1, lw=0
            )
        gone = curve["at_risk"].shift(-1, fill_value=0) < curve["at_risk"] - curve["events"]
        gone &= curve["t"] < end
        axis.plot(curve["t"][gone], curve["survival"][gone] + lift, "|", color=colour, ms=6)


def _last_states(axis: Axes, states: pd.DataFrame, colours: dict[float, str], end: int) -> None:
    rows = list(records(states.sort_values(["at", "upto"])))
    step = _strip(end) / (len(rows) + 1)
    for i, row in enumerate(rows):
        if not row.judged:
            continue
        x, colour = end + 0.5 + (i + 1) * step, _colour(colours, row.at, row.upto)
        axis.plot([x, x], [row.below_low, row.below_high], color=colour, lw=1, alpha=0.55)
        axis.plot([x], [row.below], "o", color=colour, ms=4.5, mec="white", mew=0.5)


def _colour(colours: dict[float, str], at: float, upto: float) -> str:
    return colours.get((at + upto) / 2, INK)


def span(at: float, upto: float) -> str:
    """A synthetic fraction, or a band of them, in words."""
    if np.isnan(at):
        return "no fraction"
    return f"fraction {at:g}" if at == upto else f"fractions {at:g} to {upto:g}"


def _lineages(curves: pd.DataFrame) -> str:
    least, most = int(curves["lineages"].min()), int(curves["lineages"].max())
    return f"{most}" if least == most else f"{least} to {most}"


@styled
def hazards(table: pd.DataFrame, *, rule: str, width: float = WIDE) -> Figure:
    """First passages per generation at risk against the synthetic fraction, a line per workflow.

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
        ylabel="first passages per generation",
        xlim=(-0.04, 1.04),
        ylim=(0, None),
    )
    handles = [
        Line2D([], [], color=c, marker=m, lw=0, label=name) for name, (c, m) in styles.items()
    ]
    note = (
        "How to read: of the lineages that have not passed the level yet, the share that does so "
        "in a generation, as if it were the same in each.  Exact 95 % Poisson limits.  "
        f"Collapse: {rule}."
    )
    return finish(figure, "Hazard of the first passage", note, handles)
