"""What generation 0 already lacks: the ratio of drawn to held-out variance over the generations,
beside what the founder's ratio alone predicts.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from analysis.collapse.lacks import WITHIN
from analysis.frame.tables import arrange, line_names, natural, panel_names
from analysis.plots.curves import MOST_PANELS, across, edge_labels
from analysis.plots.style import (
    FAINT,
    INK,
    MARKERS,
    REAL,
    WIDE,
    finish,
    heading,
    marks,
    shades,
    sheet,
    styled,
)

LOWEST = 1e-3  # of the axis: pictures of 256 levels tell no less


@styled
def lacks(cells: pd.DataFrame, *, width: float = WIDE) -> Figure:
    """A panel per workflow, a colour per fraction: measured with markers, predicted dashed.

    cells: `collapse.lacks.over_cells`.
    """
    panels, line = arrange(cells)
    cells = cells.assign(panel=panel_names(cells, panels), line=line_names(cells, line))
    names = sorted(set(cells["panel"]), key=natural)
    shown = names[:MOST_PANELS]
    figure, axes = sheet(len(shown), width, least=2.0, ratio=0.72 if len(shown) > 1 else 0.5)
    colours = _colours(cells, line)
    for axis, panel in zip(axes, shown, strict=True):
        own = cells[cells["panel"] == panel]
        _floor(axis, own)
        for name, (colour, marker) in colours.items():
            for _, cell in own[own["line"] == name].groupby("cell", observed=True):
                _line(axis, cell.sort_values("t"), colour, marker)
        axis.set_yscale("log")
        heading(axis, panel, width / across(axes))
    _limits(axes, cells)
    within = bool((cells["key"] == WITHIN).all())
    what = "variance within the classes" if within else "variance"
    edge_labels(axes, "generation", "drawn / held out")
    many = int(cells["n"].max())
    edge = f"  Less than {LOWEST:g} stands at the edge." * bool((cells["mean"] < LOWEST).any())
    most = f"  {len(shown)} of {len(names)} panels; the CSV has all." * (len(names) > len(shown))
    note = (
        f"How to read: the {what} of what each generation drew over that of held-out real samples; "
        "dashed: what a chain that multiplies the variance of its training set by the founder's "
        "ratio each time would have, which is v0^(t+1) under replace at fraction 1.  Where the "
        "lines agree, the loss is the sampler's, repeated.  "
        f"Mean of {many} seed{'s' * (many != 1)}, whiskers: least and largest.{edge}{most}"
    )
    return finish(
        figure, "Variance of what is drawn, over that of real data", note, _handles(colours, line)
    )


def _colours(cells: pd.DataFrame, line: str) -> dict[str, tuple[str, str]]:
    if line != "synthetic_fraction":
        return marks(sorted(set(cells["line"]), key=natural))
    values = sorted(cells[line].unique(), key=lambda v: (np.isnan(v), v))
    names = {v: "no fraction" if np.isnan(v) else f"{v:g}" for v in values}
    colours = shades(values)
    return {names[v]: (colours[v], MARKERS[i % len(MARKERS)]) for i, v in enumerate(values)}


def _floor(axis: Axes, cells: pd.DataFrame) -> None:
    """Real over real, two standard deviations."""
    floor = cells.groupby("t")[["floor", "floor_sd"]].mean()
    sd = floor["floor_sd"].fillna(0)
    low = (floor["floor"] - 2 * sd).clip(lower=LOWEST)
    axis.fill_between(floor.index, low, floor["floor"] + 2 * sd, color=REAL, alpha=0.5, lw=0)
    axis.plot(floor.index, floor["floor"], color=FAINT, lw=0.8)


def _line(axis: Axes, cell: pd.DataFrame, colour: str, marker: str) -> None:
    held = cell[["mean", "low", "high", "predicted"]].clip(lower=LOWEST)
    axis.vlines(cell["t"], held["low"], held["high"], color=colour, lw=0.9, alpha=0.6)
    axis.plot(cell["t"], held["mean"], color=colour, marker=marker, mec="white", mew=0.4)
    axis.plot(cell["t"], held["predicted"], color=colour, lw=1.1, ls=(0, (3, 2)), zorder=4)
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _limits(axes: list[Axes], cells: pd.DataFrame) -> None:
    """The same vertical axis everywhere."""
    low = float(cells[["mean", "predicted"]].to_numpy(float).clip(min=LOWEST).min())
    floor = (cells["floor"] + 2 * cells["floor_sd"].fillna(0)).max()
    top = max(float(cells["high"].max()), float(floor))  # a prediction of more leaves the panel
    for axis in axes:
        axis.set_ylim(low / 1.3, top * 1.5)
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.yaxis.set_minor_locator(LogLocator(subs=(), numticks=2))


def _handles(colours: dict[str, tuple[str, str]], line: str) -> list[Line2D | Patch]:
    what = "synthetic fraction " if line == "synthetic_fraction" else ""
    named = [
        Line2D([], [], color=colour, marker=marker, mec="white", mew=0.4, label=what + name)
        for name, (colour, marker) in colours.items()
    ]
    by_founder = Line2D(
        [], [], color=INK, lw=1.1, ls=(0, (3, 2)), label="predicted by generation 0"
    )
    return [*named, by_founder, Patch(color=REAL, alpha=0.7, label="real against real (floor)")]
