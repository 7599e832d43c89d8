"""Figures of a sweep: a table of `analysis.tables` in, a matplotlib Figure out.  `width` in inches;
panels stack when narrow.

Intervals are always drawn and named; a value that is undefined is a cross at the panel's lower
edge, never a gap; n is stated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from analysis.frame.tables import arrange, line_names, natural, panel_names
from analysis.plots.style import (
    BAD,
    FAINT,
    INK,
    MARKERS,
    REAL,
    WIDE,
    finish,
    heading,
    left_out,
    marks,
    needs_log,
    shades,
    sheet,
    styled,
    wrapped,
)

MOST_PANELS = 30
MOST_FRACTIONS = 9  # in a legend
NO_FRACTION = "no fraction"  # of policies that have none
FEW = 5  # seeds that are drawn one by one


@styled
def curves(
    table: pd.DataFrame,
    *,
    name: str,
    level: float | None = None,
    theory: pd.DataFrame | None = None,
    note: str = "",
    points: pd.DataFrame | None = None,
    marks_at: Mapping[str, float] | None = None,
    by: str = "",
    width: float = WIDE,
) -> Figure:
    """A metric over generations.

    table     `tables.over_seeds`
    level     the collapse rule's value, where it is one number
    theory    columns cell, t, expected, drawn dotted over the cells that have a law
    points    columns cell, t, value: the lineages, drawn in place of bands of few seeds
    marks_at  values that the metric is read against, by name: its ceiling, chance
    by        what the metric was measured by or in: an extractor, a unit
    """
    panels, line = arrange(table)
    table = table.assign(panel=panel_names(table, panels), line=line_names(table, line))
    shown = sorted(set(table["panel"]), key=natural)
    least, ratio = (
        1.35 if len(shown) > 9 and width > 5 else 2.0,
        0.5 if len(shown) == 1 and width > 5 else 0.72,
    )
    figure, axes = sheet(min(len(shown), MOST_PANELS), width, least=least, ratio=ratio)
    _make_room(figure, axes, shown)
    colours = _line_colours(table, line)
    log = needs_log(table["mean"])
    lineages = points if few_seeds(table) else None
    for axis, panel in zip(axes, shown, strict=False):
        own = table[table["panel"] == panel]
        _panel_of_curves(axis, own, colours, log, lineages)
        if theory is not None:
            _theory(axis, own, theory)
        if level is not None:
            axis.axhline(level, color=BAD, lw=0.9, ls=(0, (5, 2)))
        heading(axis, panel, width / across(axes))
    also = [level] if level else []
    also += [] if lineages is None else list(lineages["value"].dropna())
    _share_limits(axes, table, log, also, bands=lineages is None and not _crowded(table))
    _marks(axes, marks_at or {})
    edge_labels(axes, "generation", f"{name}{_measured(table, by)}")
    handles = _handles(table, line, colours, level, theory)
    gone = left_out(shown, shown[:MOST_PANELS], "panels")
    said = f"{_curves_note(table, lineages is not None)}{gone}  {note}"
    return finish(figure, f"{name} over the generations", said.rstrip(), handles)


def few_seeds(table: pd.DataFrame) -> bool:
    """Whether the bands would be those of a handful of seeds, which are wider than the panel."""
    over = table[table["interval"] == "seeds"]
    return bool(len(over) and over["n"].max() <= FEW)


def _measured(table: pd.DataFrame, by: str) -> str:
    """By which extractor or in which unit, and on how many samples, as far as it is one number."""
    n = table["n_compared"].dropna() if "n_compared" in table else pd.Series(dtype=float)
    words = [by] if by else []
    if len(n):
        least, most = int(n.min()), int(n.max())
        words.append(f"n = {most:,}" if least == most else f"n = {least:,} to {most:,}")
    return f" ({', '.join(words)})" if words else ""


def _marks(axes: list[Axes], at: Mapping[str, float]) -> None:
    """What a value is read against, as a line with its name; where that is far from all that was
    measured, its number on the edge.
    """
    (low, high), log = axes[0].get_ylim(), axes[0].get_yscale() == "log"
    reach = 0.0 if log else 0.35 * (high - low)
    near = [value for value in at.values() if low - reach < value < high + reach]
    bottom, top = min([low, *(v - 0.1 * reach for v in near)]), max([high, *near])
    for axis in axes:
        axis.set_ylim(bottom, top + (0.25 * reach if top > high else 0))
        for name, value in at.items():
            text, y, up = name, value, 2
            if value in near:
                axis.axhline(value, color=FAINT, lw=0.8, ls=(0, (1, 1)))
            else:
                text, y = f"{name}: {value:.2g}", (bottom if value < bottom else top)
                up = 3 if value < bottom else -9
            axis.annotate(
                text,
                (1, y),
                xycoords=axis.get_yaxis_transform(),
                xytext=(0, up),
                textcoords="offset points",
                fontsize=7,
                color="#666666",
                ha="right",
            )


def _make_room(figure: Figure, axes: list[Axes], titles: list[str]) -> None:
    """Higher panels where titles take several lines."""
    width, height = figure.get_size_inches()
    lines = max((len(title) * 9 / 117 * across(axes) / width for title in titles), default=0.0)
    figure.set_size_inches(width, height + 0.14 * np.floor(lines) * -(-len(axes) // across(axes)))


def across(axes: list[Axes]) -> int:
    place = axes[0].get_subplotspec()
    assert place is not None, "axes stand on a grid"
    return int(place.get_gridspec().ncols)


def _line_colours(table: pd.DataFrame, line: str) -> dict[str, tuple[str, str]]:
    if line == "synthetic_fraction":
        values = sorted(table[line].unique(), key=lambda v: (np.isnan(v), v))
        names = {v: (NO_FRACTION if np.isnan(v) else f"{v:g}") for v in values}
        colours = shades(values)
        return {names[v]: (colours[v], MARKERS[i % len(MARKERS)]) for i, v in enumerate(values)}
    return marks(sorted(set(table["line"]), key=natural))


def _panel_of_curves(
    axis: Axes,
    table: pd.DataFrame,
    colours: dict[str, tuple[str, str]],
    log: bool,
    points: pd.DataFrame | None,
) -> None:
    if log:
        axis.set_yscale("log")
    _floor(axis, table)
    crowded = _crowded(table)
    for name, (colour, marker) in colours.items():
        for cell, own in table[table["line"] == name].groupby("cell", observed=True):
            own = own.sort_values("t")
            every = max(1, len(own) // 8)
            if crowded:
                axis.plot(own["t"], own["mean"], color=colour, lw=0.9, alpha=0.8)
                _crosses(axis, own, colour)
                continue
            if points is None:
                axis.fill_between(own["t"], own["low"], own["high"], color=colour, alpha=0.15, lw=0)
            else:
                seeds = points[points["cell"] == cell]
                axis.plot(seeds["t"], seeds["value"], ".", color=colour, ms=5, mew=0, alpha=0.45)
            axis.plot(
                own["t"],
                own["mean"],
                color=colour,
                marker=marker,
                markevery=every,
                mec="white",
                mew=0.4,
            )
            _crosses(axis, own, colour)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _crowded(table: pd.DataFrame) -> bool:
    """Whether a panel has so many lines that only the lines themselves can be read."""
    return bool(table.groupby("panel")["line"].nunique().max() > MOST_FRACTIONS)


def _floor(axis: Axes, table: pd.DataFrame) -> None:
    """The real-vs-real floor as a band of two standard deviations."""
    floor = table.dropna(subset=["floor"]).groupby("t")[["floor", "floor_sd"]].mean()
    if len(floor):
        sd = floor["floor_sd"].fillna(0)
        axis.fill_between(
            floor.index,
            floor["floor"] - 2 * sd,
            floor["floor"] + 2 * sd,
            color=REAL,
            alpha=0.5,
            lw=0,
        )
        axis.plot(floor.index, floor["floor"], color=FAINT, lw=0.8)


def _crosses(axis: Axes, table: pd.DataFrame, colour: str) -> None:
    """Where no seed has a value (bold) or some have none (thin): crosses on the lower edge."""
    for gone, weight in (
        (table[table["n"] == 0], 1.6),
        (table[(table["n"] > 0) & (table["undefined"] > 0)], 0.6),
    ):
        if len(gone):
            edge = axis.get_xaxis_transform()
            axis.plot(
                gone["t"],
                np.full(len(gone), 0.03),
                "x",
                color=colour,
                mew=weight,
                ms=4.5,
                transform=edge,
                clip_on=False,
            )


def _theory(axis: Axes, table: pd.DataFrame, theory: pd.DataFrame) -> None:
    for _, law in theory[theory["cell"].isin(table["cell"].astype(str))].groupby(
        "cell", observed=True
    ):
        law = law.sort_values("t")
        axis.plot(law["t"], law["expected"], color=INK, lw=1.0, ls=(0, (1, 1.6)), zorder=5)


def _share_limits(
    axes: list[Axes], table: pd.DataFrame, log: bool, also: list[float], *, bands: bool
) -> None:
    """The same vertical axis everywhere: all means, and of the bands what is within a third as much
    again.
    """
    floor = (table["floor"] + 2 * table["floor_sd"].fillna(0)).to_numpy(float)
    scale = np.log if log else np.asarray
    values = np.concatenate(
        [
            table["mean"].to_numpy(float),
            floor,
            table["floor"].to_numpy(float),
            np.array(also, dtype=float),
        ]
    )
    values = scale(values[np.isfinite(values) & ((values > 0) | (not log))])
    if not len(values):
        return
    ends = table[["low", "high"]].to_numpy(float)
    ends = scale(ends[np.isfinite(ends) & ((ends > 0) | (not log)) & bands])
    low, high = values.min(), values.max()
    air = 0.3 * (high - low) or 0.5
    low, high = max(low - air, min([low, *ends])), min(high + air, max([high, *ends]))
    edge = 0.05 * (high - low) or 0.5
    limits = (low - edge, high + edge)
    for axis in axes:
        axis.set_ylim(*(np.exp(limits) if log else limits))


def edge_labels(axes: list[Axes], x: str, y: str) -> None:
    """Names and tick labels at the outer panels only; a name is broken to its panel's height."""
    columns, figure = across(axes), axes[0].get_figure(root=True)
    assert figure is not None
    height = figure.get_size_inches()[1] / -(-len(axes) // columns)
    for i, axis in enumerate(axes):
        below = i + columns < len(axes)
        axis.set_xlabel("" if below else x)
        axis.tick_params(labelbottom=not below, labelleft=i % columns == 0)
        axis.set_ylabel(
            wrapped(y, int(11 * height)) if i % columns == 0 and len(axes) <= columns * 2 else ""
        )


def _handles(
    table: pd.DataFrame,
    line: str,
    colours: dict[str, tuple[str, str]],
    level: float | None,
    theory: pd.DataFrame | None,
) -> list[Line2D | Patch]:
    what = {"synthetic_fraction": "synthetic fraction "}.get(line, "")
    named = list(colours.items())
    if (
        line == "synthetic_fraction" and len(named) > MOST_FRACTIONS
    ):  # a scale: some of it tells the rest
        named = [
            named[round(i * (len(named) - 1) / (MOST_FRACTIONS - 1))] for i in range(MOST_FRACTIONS)
        ]
    shown = [
        Line2D([], [], color=c, marker=m, mec="white", mew=0.4, label=_said(what, name))
        for name, (c, m) in named
    ]
    handles: list[Line2D | Patch] = (
        list(shown) if len(colours) > 1 or line == "synthetic_fraction" else []
    )
    if table["floor"].notna().any():
        handles.append(Patch(color=REAL, alpha=0.7, label="real against real (floor)"))
    if level is not None:
        handles.append(Line2D([], [], color=BAD, lw=0.9, ls=(0, (5, 2)), label="collapse"))
    if theory is not None and theory["cell"].isin(table["cell"].astype(str)).any():
        handles.append(Line2D([], [], color=INK, lw=1.0, ls=(0, (1, 1.6)), label="theory"))
    if (table["undefined"] > 0).any():
        handles.append(Line2D([], [], color=INK, marker="x", lw=0, label="undefined"))
    return handles


def _said(what: str, name: str) -> str:
    return f"no {what.rstrip()}" if name == NO_FRACTION else what + name


def _curves_note(table: pd.DataFrame, few: bool) -> str:
    n, kinds = table.loc[table["n"] > 0, "n"], set(table.loc[table["n"] > 0, "interval"])
    most = int(n.max()) if len(n) else 0
    seeds = (
        f"{n.min()} to {most} seeds"
        if len(n) and n.min() != most
        else f"{most} seed" + "s" * (most != 1)
    )
    band = {
        "seeds": "small points: the seeds" if few else "band: 95 % t interval over seeds",
        "replicates": "band: 95 % interval over the replicates of one seed",
        "none": "a single seed without replicates has no interval",
    }
    said = "; ".join(text for kind, text in band.items() if kind in kinds)
    if _crowded(table):
        said += f"; of more than {MOST_FRACTIONS} lines in a panel only the CSV has intervals"
    floor = "  Grey: what real data reach against real data (mean +- 2 sd)."
    return f"How to read: a line is the mean over {seeds}; {said}." + (
        floor if table["floor"].notna().any() else ""
    )
