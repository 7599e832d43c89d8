"""Figure of the gain map: colour is the gain of verified retraining, over the verifier's bias and
selectivity.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.frame.tables import records
from analysis.plots.curves import MOST_PANELS, across, edge_labels
from analysis.plots.style import BAD, GOOD, INK, WIDE, finish, heading, sheet, styled

LOSS_TO_GAIN = LinearSegmentedColormap.from_list(
    "gain", [BAD, "#fdd0a2", "#f7f7f7", "#9ecae1", GOOD]
)
THEORY = "#cc79a7"


@styled
def gain_map(table: pd.DataFrame, *, width: float = WIDE) -> Figure:
    """A panel per map and generation.  table: `gain.gains`."""
    panels = list(dict.fromkeys(zip(table["panel"], table["t"], strict=True)))[:MOST_PANELS]
    figure, axes = sheet(
        len(panels), width, ratio=0.5 if len(panels) == 1 and width > 5 else 0.85, least=2.6
    )
    finite = table["gain"].abs()[np.isfinite(table["gain"])]
    limit = max(np.ceil(10 * finite.max()) / 10, 0.1) if len(finite) else 1.0
    for axis, (panel, t) in zip(axes, panels, strict=True):
        image = _one(axis, table[(table["panel"] == panel) & (table["t"] == t)], limit)
        title = f"{panel}, generation {t}" if panel else f"generation {t}"
        heading(axis, title, width / across(axes))
    down = -(-len(axes) // across(axes))
    bar = figure.colorbar(image, ax=axes, shrink=0.9 / down, aspect=16, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.set_label("gain", fontsize=7.5)
    edge_labels(axes, "delta, the verifier's bias", "radius (small: selective)")
    handles: list[Artist] = [Line2D([], [], color=INK, lw=1.2, label="no gain, measured")]
    if table["theory"].notna().any():
        handles.append(Line2D([], [], color=THEORY, lw=3.5, label="no gain, theory"))
    if _unclear(table).any():
        handles.append(
            Line2D([], [], color=INK, marker=".", lw=0, ms=4, label="gain within 2 s.e. of 0")
        )
    return finish(
        figure, "What verified synthetic data gain over real data alone", _note(table), handles
    )


def _one(axis: Axes, table: pd.DataFrame, limit: float) -> QuadMesh:
    gain, theory = (
        table.pivot(index="radius", columns="delta", values=name) for name in ("gain", "theory")
    )
    x, y = gain.columns.to_numpy(float), gain.index.to_numpy(float)
    axis.set_facecolor("#d9d9d9")
    image = axis.pcolormesh(
        x, y, gain.to_numpy(float), cmap=LOSS_TO_GAIN, vmin=-limit, vmax=limit, shading="nearest"
    )
    for values, colour, weight in ((theory, THEORY, 3.5), (gain, INK, 1.2)):
        z = values.to_numpy(float)
        if np.nanmin(z, initial=np.inf) < 0 < np.nanmax(z, initial=-np.inf):
            axis.contour(x, y, z, levels=[0.0], colors=[colour], linewidths=[weight])
    for cell in records(table[_unclear(table)]):
        axis.plot(cell.delta, cell.radius, ".", color=INK, ms=3, clip_on=False)
    axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    axis.grid(False)
    return image


def _unclear(table: pd.DataFrame) -> pd.Series:
    return table["gain"].abs() < 2 * table["se"]


def _note(table: pd.DataFrame) -> str:
    z = table["z"].abs().dropna()
    theory = (
        f"  Losses against theory: largest |z| = {z.max():.1f} in {len(z):,} points."
        if len(z)
        else ""
    )
    words = (
        "Gain: half the log of the loss of generation 0 over that of the generation shown; "
        "blue gains, orange loses"
    )
    return f"{words}; loss: squared error of the weights.{theory}"
