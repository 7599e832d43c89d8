"""Figures of the samples themselves: film strips, densities of points, the embedding of features,
latent alignment.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import gaussian_kde

from analysis.plots.curves import across, edge_labels
from analysis.plots.style import (
    BAD,
    FAINT,
    GOOD,
    REAL,
    WIDE,
    finish,
    heading,
    left_out,
    marks,
    sheet,
    styled,
)
from engine.samples import Samples

Frames = Mapping[str, Mapping[int, Samples]]  # a lineage's name -> generation -> some samples
MOST_CLASSES = 20  # of a film
MASS = (0.9, 0.5)  # the contours hold these shares of the density


# ---- film strip ----------------------------------------------------------------------------------


@styled
def film(
    frames: Frames,
    *,
    classes: Mapping[int, str],
    real: Samples | None = None,
    arrival: Mapping[int, int] | None = None,
    note: str = "",
    width: float = WIDE,
) -> Figure:
    """Images: the generations from top to bottom and the classes side by side; from left to right
    and below each other where there are fewer classes than generations.  A vanished class is a
    crossed place.

    classes: their names by label, of the first MOST_CLASSES; empty: ten images of any.  real: a row
    of it comes first.  arrival: the generation at which a class arrives, where that is not the
    first; its place is empty until then.
    """
    shown = dict(list(classes.items())[:MOST_CLASSES])
    most = max(len(own) for own in frames.values()) + (real is not None)
    turned = 0 < len(shown) < most
    when = arrival or {}
    strips = {name: _strip(own, shown, real, turned, when) for name, own in frames.items()}
    first = next(iter(strips.values()))
    ratio = first.shape[0] / first.shape[1] * 0.9
    figure, axes = sheet(len(strips), width, ratio=ratio, least=2.2)
    for axis, (name, strip), own in zip(axes, strips.items(), frames.values(), strict=True):
        axis.imshow(strip, interpolation="nearest", aspect="equal")
        times = [*(["real"] if real is not None else []), *map(str, own)]
        names = list(shown.values()) or [""] * 10
        x, y = (times, names) if turned else (names, times)
        _named(axis, strip, x, y, width / across(axes))
        heading(axis, name, width / across(axes) - 0.3)
        (axis.set_xlabel if turned else axis.set_ylabel)("generation")
    gone = left_out(list(classes.values()), list(shown.values()), "classes").replace(
        "the CSV has all", "the store has all"
    )
    what = "a picture of each class" if shown else "ten pictures"
    said = (
        f"How to read: {what}, drawn from the same latents in every generation, of one lineage "
        f"(the lowest seed) of each workflow at its highest fraction.{gone}{note}"
    )
    return finish(figure, "Samples over the generations", said)


def _named(axis: Axes, strip: np.ndarray, x: list[str], y: list[str], inches: float) -> None:
    """The names of columns and rows, in the middle of their pictures."""
    height, width = strip.shape[0] / len(y), strip.shape[1] / len(x)
    long = max(map(len, x)) * 0.075 > inches / (len(x) + 1)
    cut = [name if len(name) <= 14 else f"{name[:13]}…" for name in x]
    places = [(i + 0.5) * width for i in range(len(x))]
    axis.set_xticks(places, cut, rotation=90 if long else 0, fontsize=6.5)
    axis.set_yticks([(i + 0.5) * height for i in range(len(y))], y, fontsize=6.5)
    axis.grid(False)
    axis.tick_params(length=0, pad=2)
    for side in axis.spines.values():
        side.set_visible(False)


def _strip(
    frames: Mapping[int, Samples],
    classes: Mapping[int, str],
    real: Samples | None,
    turned: bool,
    arrival: Mapping[int, int],
) -> np.ndarray:
    """[height, width, 3] uint8, cells a pixel apart; turned: generations from left to right."""
    last = max([0, *arrival.values()])
    sets = [*([(last, real)] if real is not None else []), *frames.items()]
    columns = list(classes) or list(range(10))
    along = int(not turned)  # the classes of a generation, side by side or below each other
    lines = []
    for t, own in sets:
        there = [arrival.get(column, 0) <= t for column in columns]
        cells = [_cell(own, k, bool(classes), here) for k, here in zip(columns, there, strict=True)]
        lines.append(np.concatenate(cells, axis=along))
    return np.concatenate(lines, axis=1 - along)


def _cell(samples: Samples, column: int, labelled: bool, there: bool) -> np.ndarray:
    """A picture with a white edge to the right and below; empty before its class is there."""
    images = samples.x[column : column + 1]
    if labelled:
        images = samples.x[samples.y == column] if samples.y is not None else samples.x[:0]
    if len(images):
        first: np.ndarray = images[0]
        cell = first if first.shape[-1] == 3 else first.repeat(3, axis=2)
    else:
        height, width = samples.x.shape[1:3]
        cross = np.eye(height, width, dtype=bool) | np.eye(height, width, dtype=bool)[:, ::-1]
        gone = np.where(cross, 150, 240) if there else np.full((height, width), 255)
        cell = gone.astype(np.uint8)[..., None].repeat(3, axis=2)
    return np.pad(cell, ((0, 1), (0, 1), (0, 0)), constant_values=255)


# ---- densities of points -------------------------------------------------------------------------


@styled
def densities(frames: Frames, real: Samples, *, note: str = "", width: float = WIDE) -> Figure:
    """Points: kernel density of generations over that of the real data (grey).  One dimension:
    curves; more: contours of the first two coordinates that hold 50 and 90 % of the mass.
    """
    if _points(real).shape[1] == 1:
        return _lines(frames, _points(real)[:, 0], note, width)
    shown = [(name, t, s) for name, own in frames.items() for t, s in own.items()]
    per = max(len(own) for own in frames.values())
    figure, axes = sheet(
        len(shown), width, ratio=0.95, least=min(width / per, 2.4) if width > 5 else 1.7
    )
    under = _points(real)[:, :2]
    low, high = under.min(0), under.max(0)
    air = 0.2 * (high - low)
    for axis, (name, t, samples) in zip(axes, shown, strict=True):
        axis.set(xlim=(low[0] - air[0], high[0] + air[0]), ylim=(low[1] - air[1], high[1] + air[1]))
        _contours(axis, under, filled=True)
        _cloud(axis, _points(samples)[:, :2])
        heading(axis, f"{name}, generation {t}", width / across(axes), 8.0)
    edge_labels(axes, "first coordinate", "second")
    handles = [
        Patch(color=REAL, alpha=0.8, label="real, 50 and 90 %"),
        Line2D([], [], color=GOOD, label="model, 50 and 90 %"),
    ]
    return finish(
        figure,
        "Density of the samples",
        "How to read: blue over grey is a model that has kept the data's shape.  "
        f"{_sizes(frames)}  Points outside are counted in the panel.{note}",
        handles,
    )


def _sizes(frames: Frames) -> str:
    n = {len(s) for own in frames.values() for s in own.values()}
    return f"n = {max(n)} samples of the first replicate of the lowest seed." if n else ""


def _points(samples: Samples) -> np.ndarray:
    """The first replicate [n, d]; a regression's pairs of first covariate and response."""
    x = samples.x[:, 0] if samples.x.ndim > 2 else samples.x
    if samples.y is not None and samples.y.dtype.kind == "f":
        return np.column_stack(
            [x[:, 0], samples.y[:, 0] if samples.y.ndim > 1 else samples.y]
        ).astype(float)
    return x.astype(float)


def _density(points: np.ndarray) -> gaussian_kde | None:
    """None where the points span no area."""
    try:
        return gaussian_kde(points.T)
    except np.linalg.LinAlgError:
        return None


def _contours(axis: Axes, points: np.ndarray, *, filled: bool = False) -> None:
    density = _density(points[np.isfinite(points).all(1)][:2000])
    if density is None:
        return
    (x0, x1), (y0, y1) = axis.get_xlim(), axis.get_ylim()
    x, y = np.meshgrid(np.linspace(x0, x1, 90), np.linspace(y0, y1, 90))
    z = density(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
    at_points = np.sort(density(density.dataset))[::-1]
    levels = sorted(
        {float(at_points[min(int(m * len(at_points)), len(at_points) - 1)]) for m in MASS}
    )
    if not levels or levels[0] >= z.max():
        return
    if filled:
        axis.contourf(x, y, z, [*levels, z.max() * 1.01], colors=["#e3e3e3", REAL][-len(levels) :])
    else:
        axis.contour(x, y, z, levels, colors=GOOD, linewidths=[0.8, 1.5][-len(levels) :])


def _cloud(axis: Axes, points: np.ndarray) -> None:
    finite = points[np.isfinite(points).all(1)]
    axis.plot(
        finite[:, 0], finite[:, 1], ".", color=GOOD, ms=1.6, alpha=0.45, mew=0, rasterized=True
    )
    if len(finite) > 2:
        _contours(axis, finite)
    (x0, x1), (y0, y1) = axis.get_xlim(), axis.get_ylim()
    inside = (
        (finite[:, 0] >= x0) & (finite[:, 0] <= x1) & (finite[:, 1] >= y0) & (finite[:, 1] <= y1)
    )
    gone = len(points) - int(inside.sum())
    if gone:
        axis.text(
            0.97,
            0.03,
            f"{gone} outside",
            transform=axis.transAxes,
            ha="right",
            va="bottom",
            fontsize=7,
            color=BAD,
        )


def _lines(frames: Frames, real: np.ndarray, note: str, width: float) -> Figure:
    figure, axes = sheet(len(frames), width, least=2.2)
    low, high = real.min(), real.max()
    grid = np.linspace(low - 0.3 * (high - low), high + 0.3 * (high - low), 300)
    truth = gaussian_kde(real)(grid)
    times = sorted({t for own in frames.values() for t in own})
    colours = {t: to_hex(mpl.colormaps["plasma"](0.78 * t / max(times[-1], 1))) for t in times}
    tops = [truth.max()]
    for axis, (name, own) in zip(axes, frames.items(), strict=True):
        axis.fill_between(grid, truth, color=REAL, alpha=0.6, lw=0)
        for t, samples in own.items():
            density = _density(_points(samples)[:, :1])
            heights = density(grid) if density is not None else np.full(300, np.nan)
            tops.append(np.nanmax(heights, initial=0.0))
            axis.plot(grid, heights, color=colours[t], lw=1.2)
        heading(axis, name, width / across(axes))
    for axis in axes:
        axis.set_ylim(0, min(1.08 * max(tops), 3.2 * truth.max()))
    edge_labels(axes, "x", "density")
    lines = [Line2D([], [], color=c, label=f"generation {t}") for t, c in colours.items()]
    handles = [Patch(color=REAL, alpha=0.7, label="real"), *lines]
    said = (
        "How to read: a line over the grey is a model that has kept the data's shape.  "
        f"{_sizes(frames)}  The axis ends at 3.2 times the real peak at most; a higher peak "
        f"leaves it.{note}"
    )
    return finish(figure, "Density of the samples", said, handles)


# ---- latent space --------------------------------------------------------------------------------


@styled
def embedding(table: pd.DataFrame, *, features: str, width: float = WIDE) -> Figure:
    """Real samples (grey) and each set's in one plane.

    table: `alignment.embedded`, with a column panel.
    """
    panels = list(dict.fromkeys(table.loc[table["set"] != "real", "panel"]))
    figure, axes = sheet(len(panels), width, ratio=0.9, least=1.7)
    real = table[table["set"] == "real"]
    (x0, x1), (y0, y1) = ((table[c].min() - 0.5, table[c].max() + 0.5) for c in ("x", "y"))
    for axis, panel in zip(axes, panels, strict=True):
        own = table[(table["panel"] == panel) & (table["set"] != "real")]
        axis.plot(real["x"], real["y"], ".", color=REAL, ms=3.2, mew=0, rasterized=True)
        axis.plot(own["x"], own["y"], ".", color=BAD, ms=3.2, alpha=0.55, mew=0, rasterized=True)
        axis.set(xlim=(x0, x1), ylim=(y0, y1), xticks=[], yticks=[])
        heading(axis, f"{panel} (n = {len(own)})", width / across(axes), 8.0)
    handles = [
        Line2D(
            [], [], color=REAL, marker="o", lw=0, ms=4, label=f"real, held out (n = {len(real)})"
        ),
        Line2D([], [], color=BAD, marker="o", lw=0, ms=4, label="generated"),
    ]
    note = (
        f"UMAP fitted on real samples alone, features: {features}.  Read overlap, not "
        "lengths: a UMAP has no scale."
    )
    return finish(figure, "Where the samples lie", note, handles)


@styled
def aligned(table: pd.DataFrame, *, features: str, width: float = WIDE) -> Figure:
    """Separability with its interval, centroid and covariance distance over generations.  table:
    columns group, t, set, auc, auc_low, auc_high, centroid, covariance, otdd (NaN without labels);
    the rows of set "floor" are real against real.
    """
    names = list(dict.fromkeys(table.loc[table["set"] != "floor", "group"]))
    styles, floors = marks(names), table[table["set"] == "floor"]
    titles = {
        "auc": "can be told from real (AUC)",
        "centroid": "distance of the means",
        "covariance": "of the covariances",
    }
    if table["otdd"].notna().any():
        titles["otdd"] = "of the data sets (OTDD)"
    figure, axes = sheet(len(titles), width, ratio=0.9, least=1.6)
    for axis, (column, title) in zip(axes, titles.items(), strict=True):
        low, high = (
            (floors["auc_low"].mean(), floors["auc_high"].mean())
            if column == "auc"
            else (0, floors[column].max())
        )
        axis.axhspan(low, high, color=REAL, alpha=0.5, lw=0)
        for name, (colour, marker) in styles.items():
            own = table[(table["group"] == name) & (table["set"] != "floor")].sort_values("t")
            if column == "auc":
                axis.fill_between(
                    own["t"], own["auc_low"], own["auc_high"], color=colour, alpha=0.15, lw=0
                )
            axis.plot(own["t"], own[column], color=colour, marker=marker, mec="white", mew=0.4)
        axis.set_title(title, fontsize=8)
        axis.set_xlabel("generation")
    axes[0].axhline(0.5, color=FAINT, lw=0.8)
    handles = [
        Line2D([], [], color=c, marker=m, mec="white", label=name)
        for name, (c, m) in styles.items()
    ]
    handles.append(Line2D([], [], color=REAL, lw=6, alpha=0.6, label="real against real"))
    n = int(table["n"].min()) if len(table) else 0
    note = (
        "How to read: above the grey, generated samples differ from real ones by more than real "
        f"ones from each other.  Features: {features}; n = {n} on each side.  AUC of a linear "
        "two-sample classifier, cross-fitted, with its 95 % interval."
    )
    return finish(figure, "How far the samples are from real ones", note, handles)
