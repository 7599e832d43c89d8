"""Figures of where collapse begins along the synthetic fraction: the line of answers, and the
response with its fitted curve; tables in, Figures out.

Of a workflow, the typical fraction is where half of its lineages collapse, and the safe one where
at most a named risk of them does.  Blue ends at the lower end of the safe fraction's interval,
orange begins at the upper end of the typical one's, and between them nothing is claimed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.frame.tables import records
from analysis.plots.curves import MOST_PANELS, across, edge_labels
from analysis.plots.style import (
    BAD,
    FAINT,
    GOOD,
    INK,
    WIDE,
    Drawn,
    finish,
    heading,
    left_out,
    ratio_axis,
    sheet,
    styled,
    wrapped,
)
from engine.outcome.answer import along
from engine.settings import CollapseRule

NEUTRAL = "#dcdcdc"
SAFE = ["safe", "safe_low", "safe_high", "risk"]  # columns of an answer, where it has them


def _answers(thresholds: pd.DataFrame) -> pd.DataFrame:
    """Those of workflows with several fractions, and with every column."""
    swept = thresholds[thresholds["verdict"] != "one fraction"]
    return swept.reindex(columns=list(dict.fromkeys([*swept.columns, *SAFE])))


def regimes(row: Any) -> tuple[float, float, float, float]:
    """Of an answer: where its axis begins, blue ends, orange begins and the axis ends."""
    first, last = (row.first, row.last) if np.isfinite(row.first) else (0.0, 1.0)
    blue = row.safe_low if np.isfinite(row.safe_low) else first
    bad = row.high if np.isfinite(row.high) and np.isfinite(row.estimate) else last
    if row.verdict == "always":
        bad = first
    return first, max(blue, first), max(bad, first), last


# ---- the line of answers -------------------------------------------------------------------------


@styled
def phase_diagram(
    shares: pd.DataFrame, thresholds: pd.DataFrame, *, rule: str, width: float = WIDE
) -> Figure:
    """A line per workflow from fraction 0 to 1 with its two answers; circles are the fractions that
    ran, filled by the share of their lineages past the level at the last generation.

    shares: `tables.collapse_share`; thresholds: `answers.thresholds`.
    """
    answers, narrow = _answers(thresholds), width < 5
    row_height = 0.66 if narrow else 0.42
    figure = Drawn(figsize=(width, row_height * len(answers) + 0.75), layout="constrained")
    axis = figure.add_subplot()
    for i, row in enumerate(records(answers)):
        own = shares[(shares["group"] == row.group) & shares["synthetic_fraction"].notna()]
        _line(axis, i, row)
        _tested(axis, i, own)
        if narrow:
            text = wrapped(f"{row.group}: {short(row)}", 50)
            axis.text(0, i - 0.24, text, va="bottom", fontsize=7.5, color=INK)
        else:
            axis.text(1.04, i, short(row), va="center", fontsize=7.5, color=INK, clip_on=False)
    names = ["" if narrow else wrapped(str(g), 26) for g in answers["group"]]
    axis.set_yticks(range(len(answers)), names)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    axis.set(
        xlim=(-0.03, 1.03),
        ylim=(len(answers) - 0.5, -0.9 if narrow else -0.6),
        xlabel="synthetic fraction of each training set",
    )
    axis.tick_params(axis="y", length=0)
    axis.grid(False, axis="y")
    axis.spines["left"].set_visible(False)
    note = (
        "How to read: up to the end of blue few lineages collapse (safe), from orange on half or "
        "more do, and between them the data do not say.  Black: from where on half of them do "
        f"(typical), with its interval; +: or later.  Collapse: {rule}, at the last generation.  "
        "Gaussian-process level set over all lineages.  Dotted: not tested."
    )
    return finish(figure, "The answer, along the synthetic fraction", note, _handles(answers))


def _handles(answers: pd.DataFrame) -> list[Artist]:
    risk = answers["risk"].dropna()
    rare = f" (at most {100 * risk.iloc[0]:g}% collapse)" if len(risk) else ""
    safe = [Line2D([], [], color=GOOD, lw=5, alpha=0.4, label=f"safe{rare}")]
    found: list[Artist] = [
        *safe[: int(answers["safe_low"].notna().any())],
        Line2D([], [], color=NEUTRAL, lw=5, label="not known"),
        Line2D([], [], color=BAD, lw=5, alpha=0.4, label="collapse"),
        Line2D([], [], color=INK, marker="o", mfc="white", lw=0, ms=5, label="tested: share past"),
    ]
    if answers["estimate"].notna().any():
        span = Line2D([], [], color=INK, lw=2, marker="|", ms=8, label="typical, with its interval")
        found.append(span)
    return found


def _line(axis: Axes, i: int, row: Any) -> None:
    """What is claimed of each part of the axis; then the typical fraction with its interval."""
    first, blue, bad, last = regimes(row)
    axis.plot([0, 1], [i, i], color=FAINT, lw=1, ls=(0, (1, 2)), zorder=1)
    for a, b, colour, alpha in (
        (first, blue, GOOD, 0.4),
        (blue, max(bad, blue), NEUTRAL, 1.0),
        (max(bad, blue), last, BAD, 0.4),
    ):
        if b > a:
            axis.plot([a, b], [i, i], color="white", lw=8, solid_capstyle="butt", zorder=1.5)
            axis.plot([a, b], [i, i], color=colour, lw=8, alpha=alpha, solid_capstyle="butt")
    if np.isfinite(row.estimate):
        axis.plot(_ends(row), [i, i], color=INK, lw=2, solid_capstyle="butt")
        axis.plot([row.estimate], [i], "|", color=INK, ms=13, mew=2)


def _ends(row: Any) -> tuple[float, float]:
    """Of the typical fraction's interval, as far as the axis goes."""
    return (
        row.low if np.isfinite(row.low) else row.first,
        row.high if np.isfinite(row.high) else row.last,
    )


def _tested(axis: Axes, i: int, shares: pd.DataFrame) -> None:
    for cell in records(shares):
        if not cell.judged:
            axis.plot(cell.synthetic_fraction, i, "x", color=INK, ms=5)
            continue
        share = cell.collapsed / cell.judged
        fill = tuple(1 - share * (1 - c) for c in to_rgb(BAD))
        axis.plot(cell.synthetic_fraction, i, "o", ms=5.5, mfc=fill, mec=INK, mew=0.8, zorder=4)


def short(row: Any) -> str:
    """The two fractions of an answer, a line each, in a few words."""
    if row.verdict in ("not monotone", "no value", "too few"):
        said = {"not monotone": "no single one: collapse ends again", "no value": "no value"}
        return said.get(row.verdict, "too few to say")
    typical = f"none up to {row.last:g}"
    if np.isfinite(row.estimate):
        ends = _interval(row.low, row.high, row.first, row.last)
        typical = f"{along(row.estimate, row.first, row.last)} {ends}"
    elif row.verdict == "always" or row.likely == "collapse":
        typical = f"from {row.first:g} on"
    elif row.verdict == "open" and row.likely == "none":
        typical = "not known"
    unsure = row.verdict == "open" and row.likely != "none"
    likely = "likely " if unsure and not np.isfinite(row.estimate) else ""
    if not np.isfinite(row.risk):
        return f"typical {likely}{typical}"
    safe = "none"
    if np.isnan(row.safe_low) and np.isnan(row.safe_high):
        safe = "not known"
    elif np.isfinite(row.safe):
        ends = _interval(row.safe_low, row.safe_high, row.first, row.last)
        safe = f"{along(row.safe, row.first, row.last)} {ends}"
        if row.safe_low >= row.last:
            safe = f"up to {row.last:g}"
    return f"typical {likely}{typical}\nsafe {safe}"


def _interval(low: float, high: float, first: float, last: float) -> str:
    """An end that the axis comes before is the axis's."""
    ends = (low if np.isfinite(low) else first, high if np.isfinite(high) else last)
    low_text, high_text = (along(end, first, last) for end in ends)
    return f"[{low_text}, {high_text}{'' if np.isfinite(high) else '+'}]"


# ---- the response to the fraction ----------------------------------------------------------------


@styled
def response(
    outcomes: pd.DataFrame,
    thresholds: pd.DataFrame,
    fits: pd.DataFrame,
    *,
    rule: CollapseRule,
    n: int | None = None,
    width: float = WIDE,
) -> Figure:
    """How far each lineage was at the last generation, against its synthetic fraction: the fitted
    curve with its band, the lineages as points, the collapse level.

    outcomes: `answers.grouped`; thresholds: `answers.thresholds`; fits: `fits.fitted`; n: samples
    of each generation that the metric compares.
    """
    answers = _answers(thresholds)
    shown = answers.head(MOST_PANELS)
    figure, axes = sheet(max(len(shown), 1), width, least=1.9, ratio=0.85)
    for axis, row in zip(axes, records(shown), strict=False):
        own = outcomes[(outcomes["group"] == row.group) & outcomes["synthetic_fraction"].notna()]
        _regions(axis, row)
        _fit(axis, fits[fits["group"] == row.group], rule)
        _level(axis, row, rule)
        _lineages(axis, own, rule)
        heading(axis, str(row.group), width / across(axes))
        axis.set(xlim=(-0.04, 1.04))
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    level = float(value(rule.level, rule))
    seen = value(outcomes["y"].to_numpy(float), rule)
    band = fits[["low", "high"]].to_numpy(float).ravel() if len(fits) else np.array([])
    least = 0.0 if _is_log(rule) else -np.inf
    limits = [level, *seen[np.isfinite(seen)], *_near(value(band, rule), seen, level, least)]
    _vertical(axes, limits, rule)
    at_n = "" if n is None else f" (n = {n:,})"
    edge_labels(axes, "synthetic fraction", f"{rule.quantity()}{at_n}")
    worse = "Higher is worse" if value(1.0, rule) > value(0.0, rule) else "Lower is worse"
    note = (
        f"How to read: a point is a lineage at its last generation; past the dashed level it has "
        f"collapsed.  {worse}.  The curve is the mean that was fitted, with its 90 % band; black "
        "on the level: where half of the lineages collapse.  Collapse: "
        f"{rule.words()}.{left_out(list(answers['group']), list(shown['group']), 'workflows')}"
    )
    title = "How far each lineage went, by its synthetic fraction"
    return finish(figure, title, note, _response_handles(outcomes, shown, fits))


def value(y: Any, rule: CollapseRule) -> Any:
    """What the axis shows of y: the ratio that it is the logarithm of; itself of differences and
    slopes.
    """
    return np.exp(rule.sign * y) if _is_log(rule) else y


def _is_log(rule: CollapseRule) -> bool:
    """Whether y is the logarithm of a ratio."""
    return rule.is_ratio and rule.slope is None


def _regions(axis: Axes, row: Any) -> None:
    first, blue, bad, last = regimes(row)
    if blue > first:
        axis.axvspan(first, blue, color=GOOD, alpha=0.1, lw=0)
    if last > bad:
        axis.axvspan(bad, last, color=BAD, alpha=0.1, lw=0)


def _fit(axis: Axes, fit: pd.DataFrame, rule: CollapseRule) -> None:
    x = fit["synthetic_fraction"]
    low, high = (value(fit[name].to_numpy(float), rule) for name in ("low", "high"))
    axis.fill_between(x, low, high, color=INK, alpha=0.13, lw=0)
    axis.plot(x, value(fit["mean"].to_numpy(float), rule), color=INK, lw=1.3)


def _level(axis: Axes, row: Any, rule: CollapseRule) -> None:
    level = float(value(rule.level, rule))
    axis.axhline(level, color=BAD, lw=0.9, ls=(0, (5, 2)))
    axis.annotate(
        rule.bound_words,
        (0, level),
        xytext=(0, 2),
        textcoords="offset points",
        fontsize=7.5,
        color=BAD,
        va="bottom",
    )
    if np.isfinite(row.estimate):
        axis.plot(_ends(row), [level, level], color=INK, lw=2, solid_capstyle="butt", zorder=4)
        axis.plot([row.estimate], [level], "|", color=INK, ms=10, mew=1.8, zorder=4)


def _lineages(axis: Axes, own: pd.DataFrame, rule: CollapseRule) -> None:
    y = own["y"].to_numpy(float)
    past = (y > rule.level) & np.isfinite(y)
    for odd, colour in ((~past & np.isfinite(y), INK), (past, BAD)):
        x = own["synthetic_fraction"][odd]
        axis.plot(x, value(y[odd], rule), "o", color=colour, ms=4, mec="white", mew=0.5, zorder=5)
    edge, up = axis.get_xaxis_transform(), value(1.0, rule) > value(0.0, rule)
    for odd, marker, height in (
        (np.isposinf(y), "^" if up else "v", 0.97 if up else 0.03),
        (np.isnan(y), "x", 0.03 if up else 0.97),
    ):
        x = own["synthetic_fraction"][odd]
        at = np.full(int(odd.sum()), height)
        axis.plot(x, at, marker, color=INK, ms=5, transform=edge, zorder=5)


def _near(band: np.ndarray, seen: np.ndarray, level: float, least: float) -> list[float]:
    """Of the band, what is no farther out than a third of what the points span."""
    points = np.array([level, *seen[np.isfinite(seen)]])
    air = 0.33 * float(points.max() - points.min())
    inside = band[np.isfinite(band)]
    return list(np.clip(inside, max(points.min() - air, least), points.max() + air))


def _vertical(axes: list[Axes], seen: list[float], rule: CollapseRule) -> None:
    """The same axis everywhere: a logarithmic one for ratios."""
    if _is_log(rule) and min(seen) > 0:
        ratio_axis(axes, min(seen), max(seen), "" if rule.of == "one" else " x")
        return
    low, high = min(*seen, 0.0), max(seen)
    air = 0.1 * (high - low) or 0.5
    for axis in axes:
        axis.set_ylim(low - air, high + air)


def _response_handles(
    outcomes: pd.DataFrame, answers: pd.DataFrame, fits: pd.DataFrame
) -> list[Artist]:
    found: list[Artist] = [
        Line2D([], [], color=INK, marker="o", lw=0, mec="white", label="lineage"),
        Line2D([], [], color=BAD, marker="o", lw=0, mec="white", label="collapsed lineage"),
    ]
    if len(fits):
        found.append(Line2D([], [], color=INK, lw=1.3, label="fitted mean, 90 % band"))
    if np.isposinf(outcomes["y"]).any():
        found.append(Line2D([], [], color=INK, marker="^", lw=0, label="worse than any number"))
    if outcomes["y"].isna().any():
        found.append(Line2D([], [], color=INK, marker="x", lw=0, label="no value"))
    if answers["safe_low"].notna().any():
        found.append(Patch(color=GOOD, alpha=0.15, label="safe"))
    if (answers["estimate"].notna() & answers["high"].notna()).any():
        found.append(Patch(color=BAD, alpha=0.15, label="collapse"))
    return found
