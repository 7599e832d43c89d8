"""How all figures look: one set of sizes and colours, fit for print and for colour-blind eyes,
without global state.

Colours: Okabe and Ito's for things without an order, plasma for the synthetic fraction.  Real data
is grey, always.
"""

from __future__ import annotations

import functools
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

NOTEBOOK_DPI = 100  # of what a figure shows of itself
WIDE, NARROW = 7.2, 3.6  # inches: a page's text width; a column, or a phone
INK, FAINT, REAL = "#222222", "#9a9a9a", "#b8b8b8"
GOOD, BAD = "#0072b2", "#d55e00"  # no collapse, collapse
DISTINCT = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#f0e442"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X", "*"]
SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": False,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.4,
    "legend.labelspacing": 0.25,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    # of the layout: at lower ones letters are as wide as pixels allow, and long labels leave the
    # page
    "figure.dpi": 200,
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
    "savefig.dpi": 200,
    "svg.hashsalt": "ouroboros",  # equal figures are equal bytes
    "svg.fonttype": "path",
    "mathtext.default": "regular",
}
PASSES = 3  # of the layout, which converges
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw with these settings, whatever the caller's are."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(SETTINGS):
            figure = draw(*args, **kwargs)
            figure.canvas = FigureCanvasAgg(figure)
            for _ in range(PASSES):
                # ticks and layout are settled under these settings, once and for all
                figure.draw_without_rendering()
            figure.set_layout_engine(None)  # "none" would draw twice for each file
            return figure

    return wrapped


def sheet(
    panels: int, width: float, *, ratio: float = 0.72, least: float = 2.0
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels, as many side by side as fit with `least` inches each; unused
    places are empty.
    """
    across = max(1, min(panels, int(width // least)))
    if panels > across and panels % across and across > 2 and panels % (across - 1) == 0:
        across -= 1  # a full grid instead of a hole
    down = -(-panels // across)
    height = down * (width / across * ratio + 0.15) + 0.25
    figure = Drawn(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(down, across, squeeze=False).ravel())
    for axis in axes[panels:]:
        axis.set_axis_off()
    return figure, axes[:panels]


def finish(figure: Figure, title: str, note: str = "", handles: Sequence[Artist] = ()) -> Figure:
    """Title and legend above, a note below, in strips of their own that make the figure taller;
    wrapped to its width.
    """
    width, height = figure.get_size_inches()
    title, note = (
        wrapped(title, int(width * 12.5)),
        wrapped(note, int(width * 18.5)) if note else "",
    )
    longest = max((len(str(h.get_label())) for h in handles), default=1)
    columns = max(1, min(len(handles), int(width / (0.5 + 0.066 * longest))))
    title_inches = 0.2 * (title.count("\n") + 1) + 0.06
    legend_inches = 0.17 * -(-len(handles) // columns) + 0.06 * bool(handles)
    foot = 0.135 * (note.count("\n") + 1) + 0.06 if note else 0.03
    whole = height + title_inches + legend_inches + foot
    figure.set_size_inches(width, whole)
    figure.set_layout_engine("constrained", rect=(0, foot / whole, 1, height / whole), w_pad=0.1)
    edge = 0.06 / width
    figure.text(
        edge,
        1 - 0.04 / whole,
        title,
        ha="left",
        va="top",
        fontsize=10,
        fontweight="bold",
        color=INK,
    )
    figure.text(
        edge,
        0.04 / whole,
        note,
        ha="left",
        va="bottom",
        fontsize=7,
        color="#555555",
        linespacing=1.25,
    )
    if handles:
        place = (0.0, 1 - title_inches / whole)
        figure.legend(
            handles=list(handles),
            loc="upper left",
            bbox_to_anchor=place,
            ncols=columns,
            borderaxespad=0.1,
        )
    return figure


def heading(axis: Axes, text: str, inches: float, size: float = 9.0) -> None:
    """The panel's title, broken to its width; a long name breaks after an underscore."""
    characters = int(inches * 117 / size)
    words = [w.replace("_", "_ ") if len(w) > characters else w for w in text.split(" ")]
    axis.set_title(wrapped(" ".join(words), characters).replace("_ ", "_"), fontsize=size)


def wrapped(text: str, characters: int) -> str:
    """Lines of so many characters at most; `n = 10` stays together."""
    text = re.sub(r" (=|\+-) ", "\u00a0\\1\u00a0", text)
    return "\n".join(
        line
        for part in text.split("\n")
        for line in (textwrap.wrap(part, max(characters, 12)) or [""])
    )


def shades(values: Sequence[float]) -> dict[float, str]:
    """A colour per synthetic fraction, by its place between 0 (dark) and 1 (orange)."""
    cmap = mpl.colormaps["plasma"]
    return {
        v: to_hex(cmap(0.76 * float(np.clip(v, 0, 1)))) if np.isfinite(v) else "#000000"
        for v in values
    }


def marks(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker per name."""
    return {
        name: (DISTINCT[i % len(DISTINCT)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(names)
    }


def needs_log(values: Any) -> bool:
    """Whether all values are positive and span more than a factor of 30."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return bool(len(finite) and finite.min() > 0 and finite.max() / finite.min() > 30)


def ratio_axis(axes: Sequence[Axes], low: float, high: float, unit: str = "") -> None:
    """A logarithmic vertical axis from about low to high (positive), with a few round ticks in a
    unit.
    """
    low, high = (low, high) if high > 1.2 * low else (low / 1.3, high * 1.3)
    air = (high / low) ** 0.06
    low, high = low / air, high * air
    fine = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), fine):
        powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        ticks = [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]
        if len(ticks) >= 3:
            break
    ticks = ticks[:: -(-len(ticks) // 7)]
    for axis in axes:
        axis.set_yscale("log")
        axis.set_ylim(low, high)
        axis.set_yticks(ticks, [f"{tick:g}{unit}" for tick in ticks])
        axis.minorticks_off()


def left_out(names: Sequence[str], shown: Sequence[str], what: str) -> str:
    """Which of these a figure has no room for, as a sentence; '' where it shows all."""
    gone = [str(name) for name in names if name not in shown]
    if not gone:
        return ""
    some = ", ".join(gone[:5]) + (f" and {len(gone) - 5} more" if len(gone) > 5 else "")
    many = f"{len(gone)} of {len(names)} {what}"
    return f"  Not shown for lack of room: {some} ({many}); the CSV has all."


def svg(figure: Figure) -> bytes:
    """The same figure gives the same bytes."""
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": "Ouroboros"})
    return buffer.getvalue()


class Drawn(Figure):
    """A figure that a notebook shows, though pyplot has not made it and keeps no hold of it."""

    def _repr_png_(self) -> bytes:
        return png(self, dpi=NOTEBOOK_DPI)


def png(figure: Figure, dpi: int = 200) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(SETTINGS):
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": "Ouroboros"})
    return buffer.getvalue()
