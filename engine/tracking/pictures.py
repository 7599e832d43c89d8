"""Pictures of sample sets and of stored generations: a grid with a column per class, a panel of
points, and film strips with a row per generation.

Every picture is RGB uint8 [height, width, 3].  A class that has vanished is a hatched cell, never a
shifted column.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from engine.files import staged
from engine.lineage.arrival import Arrival
from engine.lineage.history import History
from engine.lineage.recipe import real_key, rng
from engine.parts import Dataset
from engine.samples import Samples, concat
from engine.spec import LineageSpec
from engine.store.store import Store
from engine.tracking.stored import first_stored, stored

PAPER, INK, FAINT = 255, 40, 235  # grey levels
MARGIN, GAP = 6, 2  # pixels
WIDEST = 20  # columns at most; more classes are thinned evenly
REAL_COLOUR, MODEL_COLOUR = "#b0b0b0", "#c0392b"
SHOWN = 2000  # points drawn of a set

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def is_image(samples: Samples) -> bool:
    return samples.x.dtype == np.uint8 and samples.x.ndim == 4


def picture(
    samples: Samples,
    *,
    real: Samples | None = None,
    classes: int = 0,
    per_class: int = 6,
    title: str = "",
) -> np.ndarray:
    """One sample set.

    real: drawn underneath points, and fixes their axes; classes: columns of images (0: no labels).
    """
    if not is_image(samples):
        return panels([samples], [title], real=real)
    return _labelled(
        _cells(samples, classes, per_class), [title] if title else [], _columns(samples, classes)
    )


def film(
    frames: Sequence[Samples],
    titles: Sequence[str],
    *,
    real: Samples | None = None,
    classes: int = 0,
    across: int = 10,
) -> np.ndarray:
    """Generations one under another: a row of images for each (a column per class, its first
    sample; without labels the first `across` samples), or a panel of points for each.
    """
    if not is_image(frames[0]):
        return panels(frames, titles, real=real)
    classes = classes or max(
        (int(frame.y.max()) + 1 for frame in frames if frame.y is not None and len(frame)),
        default=0,
    )
    rows = [
        _row(frame, across) if frame.y is None else _cells(frame, classes, 1) for frame in frames
    ]
    return _labelled(np.concatenate(rows), titles, _columns(frames[0], classes))


# ---- images --------------------------------------------------------------------------------------


def _shown(classes: int) -> np.ndarray:
    """The labels that get a column."""
    return (
        np.arange(classes)
        if classes <= WIDEST
        else np.linspace(0, classes - 1, WIDEST).round().astype(int)
    )


def _columns(samples: Samples, classes: int) -> list[str]:
    return [str(c) for c in _shown(classes)] if classes and samples.y is not None else []


def _cells(samples: Samples, classes: int, per_class: int) -> np.ndarray:
    """Images by place: [rows, columns, height, width, 3]."""
    if not classes or samples.y is None:
        n = max(min(len(samples), 64), 1)
        across = int(np.ceil(np.sqrt(n)))
        return np.concatenate(
            [_row(samples.take(slice(i, None)), across) for i in range(0, n, across)]
        )
    columns = [
        _pad(samples.x[samples.y == label][:per_class], per_class, samples)
        for label in _shown(classes)
    ]
    return np.stack(columns, axis=1)


def _row(samples: Samples, across: int) -> np.ndarray:
    return _pad(samples.x[:across], across, samples)[None]


def _pad(images: np.ndarray, n: int, like: Samples) -> np.ndarray:
    """n cells [n, height, width, 3]: the images, then empty places."""
    height, width = like.x.shape[1:3]
    cells = np.broadcast_to(_hatched(height, width), (n, height, width, 3)).copy()
    cells[: len(images)] = images if images.shape[-1] == 3 else images[..., :1]
    return cells


def _hatched(height: int, width: int) -> np.ndarray:
    stripes = (np.add.outer(np.arange(height), np.arange(width)) % max(4, height // 4)) == 0
    return np.where(stripes, 150, FAINT).astype(np.uint8)[..., None].repeat(3, axis=2)


def _labelled(cells: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    """The cells [rows, columns, height, width, 3] enlarged to a readable size, with names at their
    left and above.
    """
    scale = max(1, round(40 / cells.shape[2]))
    cells = cells.repeat(scale, axis=2).repeat(scale, axis=3)
    (n, across, height, width), font = cells.shape[:4], ImageFont.load_default(13)
    left = MARGIN + (
        int(max(font.getlength(r) for r in rows)) + MARGIN if rows and len(rows) == n else 0
    )
    top = MARGIN + (18 if columns else 0) + (18 if rows and len(rows) != n else 0)
    sheet = np.full(
        (top + n * (height + GAP) + MARGIN, left + across * (width + GAP) + MARGIN, 3),
        PAPER,
        dtype=np.uint8,
    )
    for i in range(n):
        for j in range(across):
            y, x = top + i * (height + GAP), left + j * (width + GAP)
            sheet[y : y + height, x : x + width] = cells[i, j]
    return _written(sheet, _places(rows, columns, n, left, top, height, width), font)


def _places(
    rows: Sequence[str],
    columns: Sequence[str],
    n: int,
    left: int,
    top: int,
    height: int,
    width: int,
) -> list[tuple[float, float, str, str]]:
    """Where which text stands, and how it is anchored."""
    names = [
        (left + j * (width + GAP) + width / 2, top - 4.0, name, "ms")
        for j, name in enumerate(columns)
    ]
    if len(rows) == n:
        return names + [
            (left - MARGIN, top + i * (height + GAP) + height / 2, name, "rm")
            for i, name in enumerate(rows)
        ]
    return names + [(float(MARGIN), float(MARGIN), name, "lt") for name in rows]


def _written(
    sheet: np.ndarray, places: list[tuple[float, float, str, str]], font: Font
) -> np.ndarray:
    image = Image.fromarray(sheet)
    pen = ImageDraw.Draw(image)
    for x, y, text, anchor in places:
        pen.text((x, y), text, fill=(INK, INK, INK), font=font, anchor=anchor)
    return np.asarray(image)


# ---- points, responses, tokens: the first replicate ----------------------------------------------


def panels(
    frames: Sequence[Samples],
    titles: Sequence[str],
    *,
    real: Samples | None = None,
    across: int = 5,
) -> np.ndarray:
    """A panel per set, all with the same axes: those of the real set where there is one."""
    columns = min(across, len(frames))
    rows = -(-len(frames) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * rows), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, frame, title in zip(axes, frames, titles, strict=False):
        _panel(axis, frame, real if real is not None else frames[0])
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes[len(frames) :]:
        axis.set_axis_off()
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    return pixels[..., :3].copy()


def _panel(axis: Axes, samples: Samples, real: Samples) -> None:
    if samples.x.dtype.kind in "iu":
        _bars(axis, samples, real)
    elif _flat(samples).shape[1] == 1:
        _histogram(axis, samples, real)
    else:
        _scatter(axis, samples, real)


def _flat(samples: Samples) -> np.ndarray:
    """The first replicate's points [n, d]; a regression's (covariate, response) pairs."""
    x = samples.x[:, 0] if samples.x.ndim > 2 else samples.x
    if samples.y is None or samples.y.dtype.kind != "f":
        return x.astype(float)
    return np.column_stack([x[:, 0], samples.y[:, 0] if samples.y.ndim > 1 else samples.y]).astype(
        float
    )


def _bounds(values: np.ndarray) -> tuple[float, float]:
    """The range of the finite values, with some air."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    air = 0.15 * (high - low) or 1.0
    return low - air, high + air


def _scatter(axis: Axes, samples: Samples, real: Samples) -> None:
    """The first two coordinates; points that left the picture are counted in it."""
    under, over = _flat(real)[:SHOWN, :2], _flat(samples)[:SHOWN, :2]
    (x0, x1), (y0, y1) = _bounds(under[:, 0]), _bounds(under[:, 1])
    inside = (over[:, 0] >= x0) & (over[:, 0] <= x1) & (over[:, 1] >= y0) & (over[:, 1] <= y1)
    axis.scatter(under[:, 0], under[:, 1], s=3, color=REAL_COLOUR, linewidths=0)
    axis.scatter(
        over[inside, 0], over[inside, 1], s=3, color=_colours(samples)[:SHOWN][inside], linewidths=0
    )
    axis.set(xlim=(x0, x1), ylim=(y0, y1))
    _note(axis, f"{int((~inside).sum()):,} outside" if not inside.all() else "")


def _colours(samples: Samples) -> np.ndarray:
    """A colour per sample [n, 4], by its class where it has one."""
    if samples.y is None or samples.y.dtype.kind == "f":
        return np.tile(to_rgba(MODEL_COLOUR), (len(samples), 1))
    return np.asarray(colormaps["tab10"](samples.y % 10))


def _histogram(axis: Axes, samples: Samples, real: Samples) -> None:
    """Densities; the axis ends at three times the real peak, and what is beyond is written down."""
    under, over = _flat(real)[:, 0], _flat(samples)[:, 0]
    low, high = _bounds(under)
    edges = np.linspace(low, high, 41)
    truth, model = (
        np.histogram(v[np.isfinite(v)], edges)[0] / (max(len(v), 1) * (edges[1] - edges[0]))
        for v in (under, over)
    )
    axis.stairs(truth, edges, color=REAL_COLOUR, fill=True)
    axis.stairs(model, edges, color=MODEL_COLOUR)
    top = 3 * float(truth.max()) or 1.0
    axis.set(xlim=(low, high), ylim=(0, top))
    outside = int(np.sum(~((over >= low) & (over <= high))))
    notes = [
        f"peak {model.max():.3g}" if model.max() > top else "",
        f"{outside:,} outside" if outside else "",
    ]
    _note(axis, ", ".join(n for n in notes if n))


def _bars(axis: Axes, samples: Samples, real: Samples) -> None:
    under, over = _tokens(real), _tokens(samples)
    k = int(max(under.max(initial=0), over.max(initial=0))) + 1
    for tokens, style in (
        (under, {"color": REAL_COLOUR, "fill": True}),
        (over, {"color": MODEL_COLOUR, "fill": False}),
    ):
        share = np.bincount(tokens, minlength=k) / max(len(tokens), 1)
        axis.stairs(share, np.arange(k + 1) - 0.5, **style)  # type: ignore[arg-type]  # words
    axis.set(xlim=(-0.5, k - 0.5))


def _tokens(samples: Samples) -> np.ndarray:
    """All tokens of the first replicate; its sequences one after the other."""
    x = samples.x
    own: np.ndarray = x.ravel() if x.ndim == 1 else x[:, 0].ravel()
    return own


def _note(axis: Axes, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axis.text(
        0.98,
        0.97,
        text,
        transform=axis.transAxes,
        ha="right",
        va="top",
        fontsize=8,
        bbox=box if text else None,
    )


# ---- of what the store has -----------------------------------------------------------------------


def of_generation(store: Store, spec: LineageSpec, draw: str, t: int) -> np.ndarray | None:
    """Draw generation t of a lineage from its stored samples; None when there are none.

    draw: the key of its draw, or ''.
    """
    samples = stored(store, draw)
    if samples is None:
        return None
    real, classes = _real(spec), _classes(spec)
    return picture(samples, real=real, classes=classes, per_class=1, title=f"generation {t}")


def film_strip(store: Store, histories: Sequence[History], path: Path) -> History | None:
    """Draw the first of these lineages that has stored samples, a row per generation, as a PNG;
    return it.
    """
    found = first_stored(store, histories)
    if found is None:
        return None
    history, frames = found
    titles = [str(t) if is_image(s) else f"generation {t}" for t, s in frames.items()]
    real, classes = _real(history.spec), _classes(history.spec)
    image = film(list(frames.values()), titles, real=real, classes=classes)
    with staged(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
    return history


def _classes(spec: LineageSpec) -> int:
    return spec.dataset.traits.classes or 0


def _arrived(spec: LineageSpec, dataset: Dataset, t: int) -> Samples:
    return Arrival.of(spec, t).rows(dataset, spec.n_real, lambda s: rng(spec.seed, "real", s))


_reals: dict[str, Samples] = {}  # the last one


def _real(spec: LineageSpec) -> Samples | None:
    """The real set that a lineage started from, of tasks those of all that can be learnt, to lie
    under its points; None for images.
    """
    if spec.dataset.constant("GIVES") == "images":
        return None
    tasks = range(max(1, len(spec.stream)))
    key = " ".join(real_key(spec, t) for t in tasks)
    if key not in _reals:
        _reals.clear()
        dataset = spec.dataset.make()
        found = [_arrived(spec, dataset, 0)]
        for t in tasks[1:]:
            try:
                found.append(_arrived(spec, dataset, t))
            except ValueError:  # it has too few rows: no generation that was planned learns it
                break
        _reals[key] = concat(found)
    return _reals[key]
