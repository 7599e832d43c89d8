"""Figures of what is kept of earlier tasks: per cell in numbers, as a matrix, and by task over the
generations, of which each learns one task.

Tasks are coloured in the order in which they arrive, dark to light.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from analysis.frame.tables import records
from analysis.plots.curves import across, edge_labels
from analysis.plots.style import (
    BAD,
    FAINT,
    GOOD,
    INK,
    MARKERS,
    REAL,
    WIDE,
    finish,
    heading,
    left_out,
    sheet,
    styled,
    wrapped,
)
from engine.outcome.continual import Kept
from engine.outcome.interval import Interval

MOST_PANELS = 16
FEW = 5  # seeds that are drawn one by one
ALL, CEILING = "all classes so far", "ceiling"
LINES: Mapping[str, Any] = {  # beside those of the tasks
    ALL: {"color": INK, "lw": 1.1},
    CEILING: {"color": INK, "lw": 0.9, "ls": (0, (1, 1.2))},
}
NOTHING_TO_ALL = LinearSegmentedColormap.from_list("kept", ["#f7fbff", "#9ecae1", GOOD])


# ---- per cell ------------------------------------------------------------------------------------


@styled
def kept(found: Sequence[Kept], *, width: float = WIDE) -> Figure:
    """Average accuracy, forgetting, and the distance of earlier tasks, a row per cell: means with
    Student's intervals, small points the lineages.
    """
    shown = [name for name in ("accuracy", "forgetting", "end") if _any(found, name)]
    longest = max(len(own.label) for own in found)
    narrow = width < 5
    figure, axes = sheet(len(shown), width, least=width if narrow else 1.9)
    lines = [wrapped(own.label, 20 if narrow else 24) for own in found]
    high = sum(0.1 + 0.13 * (line.count("\n") + 1) for line in lines) + 0.5
    figure.set_size_inches(width, (high + 0.25) * (len(shown) if narrow else 1))
    titles = {
        "accuracy": f"average accuracy after {found[0].tasks} tasks",
        "forgetting": "forgetting",
        "end": f"{found[0].distance} of earlier tasks, times its floor",
    }
    for axis, name in zip(axes, shown, strict=True):
        _rows(axis, found, name)
        axis.set_yticks(range(len(found)), lines)
        axis.set_ylim(len(found) - 0.5, -0.5)
        heading(
            axis, titles[name], width / across(axes) - 0.05 * min(longest, 24) / across(axes), 8
        )
    for i, axis in enumerate(axes):
        axis.tick_params(labelleft=i % across(axes) == 0)
    seeds = max(len(own.chains) for own in found)
    note = (
        f"How to read: the mean over {seeds} seed{'s' * (seeds != 1)} with its 95 % t interval; "
        "small points: the seeds.  A bound trains on its own task alone (lower) or on all real "
        "rows of all tasks (upper).  Hollow: the distance when each task was learnt; 1 is what "
        "real samples reach against real ones."
    )
    return finish(figure, "What is kept of earlier tasks", note, _kept_handles(found, shown))


def _any(found: Sequence[Kept], name: str) -> bool:
    return any(getattr(own, name) is not None for own in found)


def _rows(axis: Axes, found: Sequence[Kept], name: str) -> None:
    for place, own in enumerate(found):
        colour = GOOD if own.bound == "" else INK
        value = getattr(own, name)
        if value is None:
            axis.plot([0.02], [place], "x", color=INK, transform=axis.get_yaxis_transform())
            continue
        points = [v for each in own.chains if (v := getattr(each, name)) is not None]
        axis.plot(points, [place] * len(points), ".", color=colour, ms=5, mew=0, alpha=0.45)
        _mean(axis, value, place, colour, filled=True)
        if name == "end" and own.start is not None:
            _mean(axis, own.start, place, colour, filled=False)
        elif name == "accuracy" and own.bound:
            axis.axvline(value.mean, color=FAINT, lw=0.8, ls=(0, (4, 2)), zorder=0)
    if name == "end":
        axis.axvline(1, color=REAL, lw=2.5, zorder=0)
    axis.grid(axis="y", visible=False)
    axis.xaxis.set_major_locator(MaxNLocator(5))


def _mean(axis: Axes, value: Interval, place: int, colour: str, *, filled: bool) -> None:
    if filled and value.low is not None and value.high is not None:
        axis.plot([value.low, value.high], [place, place], color=colour, lw=1.2)
    face = colour if filled else "white"
    axis.plot([value.mean], [place], "o", color=colour, mfc=face, ms=5, zorder=4)


def _kept_handles(found: Sequence[Kept], shown: Sequence[str]) -> list[Line2D]:
    handles = []
    if any(own.bound for own in found):
        handles.append(Line2D([], [], color=INK, marker="o", lw=1.2, label="a bound"))
    if "end" in shown:
        handles.append(
            Line2D([], [], color=GOOD, marker="o", mfc="white", lw=0, label="when learnt")
        )
        handles.append(Line2D([], [], color=REAL, lw=2.5, label="real against real (floor)"))
    if any(getattr(own, name) is None for own in found for name in shown):
        handles.append(Line2D([], [], color=INK, marker="x", lw=0, label="undefined"))
    return handles


# ---- the accuracy matrix -------------------------------------------------------------------------


@styled
def matrices(table: pd.DataFrame, *, order: Sequence[str], width: float = WIDE) -> Figure:
    """Accuracy on each task after each task, a panel per cell.

    table: `collapse.continual.by_task` of the solver.  order: the labels of the cells.
    """
    labels = _labels(table, order)
    shown = labels[:MOST_PANELS]
    last = int(table["t"].max())
    figure, axes = sheet(len(shown), width, ratio=0.95, least=1.7)
    inches = width / across(axes)
    for axis, label in zip(axes, shown, strict=True):
        _matrix(axis, table[table["label"] == label], last, inches / (last + 2) > 0.22)
        heading(axis, label, inches, 8.0)
    edge_labels(axes, "on task", "after task")
    n = int(table["n"].max()) if len(table) else 0
    note = (
        "How to read: a row is a generation, which learns the task of its number; a column is one "
        "task.  Down a column it is seen what later tasks leave of it.  "
        f"Means over {n} seed{'s' * (n != 1)}; hatched: no value."
        f"{left_out(labels, shown, 'cells')}"
    )
    return finish(figure, "Accuracy on each task, after each task", note)


def _labels(table: pd.DataFrame, order: Sequence[str]) -> list[str]:
    there = set(table["label"])
    return [label for label in order if label in there]


def _matrix(axis: Axes, table: pd.DataFrame, last: int, said: bool) -> None:
    values = np.full((last + 1, last + 1), np.nan)
    for row in records(table):
        values[row.t, row.task] = row.mean
    for t in range(last + 1):
        for task in range(t + 1):
            if np.isnan(values[t, task]):
                place = (task, t)
                axis.add_patch(Rectangle(place, 1, 1, fc="white", ec="#d0d0d0", hatch="////", lw=0))
    axis.pcolormesh(values, cmap=NOTHING_TO_ALL, vmin=0, vmax=1, edgecolors="white", linewidth=1.0)
    for (t, task), value in np.ndenumerate(values):
        if said and np.isfinite(value):
            colour = "white" if value > 0.75 else INK
            text = f"{abs(value):.2f}".removesuffix(".00").replace("0.", ".")
            place = task + 0.5, t + 0.5
            axis.text(*place, text, ha="center", va="center", fontsize=6.5, color=colour)
    ticks = range(0, last + 1, 1 if last < 10 else 5)
    axis.set_xticks([i + 0.5 for i in ticks], [str(i) for i in ticks])
    axis.set_yticks([i + 0.5 for i in ticks], [str(i) for i in ticks])
    axis.set_ylim(last + 1, 0)
    axis.grid(False)
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)


# ---- by task over the generations ----------------------------------------------------------------


@styled
def by_task(
    table: pd.DataFrame,
    *,
    order: Sequence[str],
    name: str,
    title: str,
    points: pd.DataFrame,
    beside: Mapping[str, pd.DataFrame] | None = None,
    at: Mapping[str, float] | None = None,
    note: str = "",
    width: float = WIDE,
) -> Figure:
    """A metric of each task from the generation on that learns it, a panel per cell.

    table  `collapse.continual.by_task`.  order: the labels of the cells.
    points  columns label, task, t, value: the lineages, drawn in place of intervals of few seeds.
    beside  other lines of each cell by name, columns label, t, mean: one of LINES.
    at     values that it is read against, by name.
    """
    labels = _labels(table, order)
    shown = labels[:MOST_PANELS]
    colours = colours_of(sorted(set(table["task"])))
    few = table["n"].max() <= FEW
    figure, axes = sheet(len(shown), width, ratio=0.85, least=1.7)
    for axis, label in zip(axes, shown, strict=True):
        own = table[table["label"] == label]
        for task, colour in colours.items():
            seeds = points[(points["label"] == label) & (points["task"] == task)]
            _task(axis, own[own["task"] == task], colour, task, seeds if few else None)
        for what, line in (beside or {}).items():
            line = line[line["label"] == label].sort_values("t")
            axis.plot(line["t"], line["mean"], zorder=5, **LINES[what])
        for value in (at or {}).values():
            axis.axhline(value, color=FAINT, lw=0.8, ls=(0, (1, 1)), zorder=0)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        heading(axis, label, width / across(axes), 8.0)
    seen = (points["value"] if few else table[["low", "high"]]).to_numpy(float).ravel()
    _same_axis(axes, table, seen, list((at or {}).values()))
    edge_labels(axes, "generation", name)
    said = f"{_how(table, bool(few))}{note}{left_out(labels, shown, 'cells')}"
    return finish(figure, title, said, _task_handles(colours, table, beside or {}, at or {}))


def colours_of(tasks: Sequence[int]) -> dict[int, str]:
    """A colour per task, dark to light in the order of their arrival."""
    most = max([*tasks, 1])
    return {task: to_hex(mpl.colormaps["viridis"](0.85 * task / most)) for task in tasks}


def _task(
    axis: Axes, own: pd.DataFrame, colour: str, task: int, seeds: pd.DataFrame | None
) -> None:
    own, marker = own.sort_values("t"), MARKERS[task % len(MARKERS)]
    if seeds is None:
        axis.vlines(own["t"], own["low"], own["high"], color=colour, lw=0.8, alpha=0.55)
    else:
        axis.plot(seeds["t"], seeds["value"], ".", color=colour, ms=4, mew=0, alpha=0.45)
    axis.plot(own["t"], own["floor"], color=colour, lw=0.9, ls=(0, (3, 2)), alpha=0.8)
    axis.plot(own["t"], own["mean"], color=colour, marker=marker, ms=4, mec="white", mew=0.4)
    gone = own[own["n"] == 0]
    edge = axis.get_xaxis_transform()
    axis.plot(gone["t"], np.full(len(gone), 0.03), "x", color=colour, ms=4, transform=edge)


def _same_axis(
    axes: Sequence[Axes], table: pd.DataFrame, seen: np.ndarray, also: Sequence[float]
) -> None:
    """All means and floors, and of seeds or intervals what is within a quarter as much again."""
    values = table[["mean", "floor"]].to_numpy(float).ravel()
    values = np.concatenate([values[np.isfinite(values)], also])
    if not len(values):
        return
    ends = seen[np.isfinite(seen)]
    low, high = float(values.min()), float(values.max())
    air = 0.25 * (high - low) or 0.5
    low, high = max(low - air, min([low, *ends])), min(high + air, max([high, *ends]))
    edge = 0.05 * (high - low) or 0.5
    for axis in axes:
        axis.set_ylim(low - edge, high + edge)


def _how(table: pd.DataFrame, few: bool) -> str:
    n = int(table["n"].max()) if len(table) else 0
    over = "small points: the seeds" if few else "whiskers: 95 % t interval over seeds"
    floor = "  Dashed: what real samples of that task reach against real ones at the same n."
    return (
        "How to read: a line is one task, from the generation on that learns it, the mean over "
        f"{n} seed{'s' * (n != 1)}; {over}.{floor * bool(table['floor'].notna().any())}  "
    )


def _task_handles(
    colours: Mapping[int, str], table: pd.DataFrame, beside: Iterable[str], at: Mapping[str, float]
) -> list[Line2D]:
    handles = [
        Line2D([], [], color=c, marker=MARKERS[j % len(MARKERS)], mec="white", label=f"task {j}")
        for j, c in colours.items()
    ]
    handles += [Line2D([], [], label=name, **LINES[name]) for name in beside]
    if table["floor"].notna().any():
        handles.append(Line2D([], [], color=INK, lw=0.9, ls=(0, (3, 2)), label="floor"))
    for name, value in at.items():
        said = f"{name} ({value:.2g})"
        handles.append(Line2D([], [], color=FAINT, lw=0.8, ls=(0, (1, 1)), label=said))
    if (table["n"] == 0).any():
        handles.append(Line2D([], [], color=INK, marker="x", lw=0, label="undefined"))
    return handles


# ---- where the samples lie -----------------------------------------------------------------------


@styled
def embeddings(
    table: pd.DataFrame,
    *,
    order: Sequence[str],
    features: str,
    note: str = "",
    width: float = WIDE,
) -> Figure:
    """Real and drawn samples of each task, a panel per cell and task; each task has its own plane.

    table: columns label, task, set ("real" or "drawn"; label is "" of real ones), x, y.  order: the
    labels of the cells.
    """
    real, drawn = table[table["set"] == "real"], table[table["set"] != "real"]
    labels, tasks = _labels(drawn, order), sorted(set(table["task"]))
    panels = [(label, task) for label in labels for task in tasks]
    figure, axes = sheet(len(panels), width, ratio=0.95, least=max(width / len(tasks), 1.05))
    for axis, (label, task) in zip(axes, panels, strict=True):
        here = real[real["task"] == task]
        own = drawn[(drawn["label"] == label) & (drawn["task"] == task)]
        for dots, colour, alpha in ((here, REAL, 1.0), (own, BAD, 0.55)):
            axis.plot(
                dots["x"], dots["y"], ".", color=colour, alpha=alpha, ms=3.2, mew=0, rasterized=True
            )
        whole = table[table["task"] == task]
        axis.set_xlim(whole["x"].min() - 0.5, whole["x"].max() + 0.5)
        axis.set_ylim(whole["y"].min() - 0.5, whole["y"].max() + 0.5)
        axis.set(xticks=[], yticks=[])
        heading(axis, f"{label}, task {task}", width / across(axes), 7.0)
    handles = [
        Line2D([], [], color=REAL, marker="o", lw=0, ms=4, label="real, held out"),
        Line2D([], [], color=BAD, marker="o", lw=0, ms=4, label="drawn after the last task"),
    ]
    said = (
        f"A UMAP for each task, fitted on its real samples alone, features: {features}; of one "
        "lineage (the lowest seed) of each cell.  Read overlap, not lengths: a UMAP has no scale."
    )
    return finish(figure, "Where drawn samples of each task lie", said + note, handles)
