"""The page of generations that were made elsewhere: verdict, curves with their floors, samples,
numbers; there is one chain of them and no seeds, so no interval is drawn.
"""

from __future__ import annotations

import functools
import math
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.frame.tables import WHAT
from analysis.plots import curves as plots
from analysis.plots import samples as plots_samples
from analysis.report.figures import HELPERS, Shown, file_of
from analysis.report.page import Section, Table, put, render, table_of, written
from engine.files import write_atomically
from engine.outcome.answer import Answer
from engine.samples import Samples
from engine.store.keys import beside
from engine.store.rows import Generation

NAME = "generations made elsewhere"
MOST_CLASSES = 20  # columns of the film


@dataclass(frozen=True)
class Made:
    """What was measured, and of what.

    verdict  what the collapse rule says; None: there is none.
    about    facts of the page, as (name, value).
    """

    rows: Sequence[Generation]
    sources: Sequence[str]
    sets: Sequence[Samples]
    real: Samples
    verdict: str | None
    about: Sequence[tuple[str, str]]


def keys_of(rows: Sequence[Generation]) -> list[str]:
    """The keys that deserve a figure, in the order of the rows: no helpers of another key."""
    keys = dict.fromkeys(key for row in rows for key in [*row.values, *row.undefined])
    return [key for key in keys if not HELPERS.search(key) and not key.endswith("_floor")]


def curve_of(rows: Sequence[Generation], key: str) -> Shown:
    """The curve of one key over the generations."""
    table = _table(rows, key)
    draw = functools.partial(_curve, table, key)
    alt = f"{key} over the generations."
    return Shown(f"curve_{file_of(key)}", "Over the generations", alt, table, draw)


def _curve(table: pd.DataFrame, key: str, width: float) -> Figure:
    return plots.curves(table, name=key, width=width)


def _table(rows: Sequence[Generation], key: str) -> pd.DataFrame:
    """As `tables.over_seeds` has it, of one cell."""
    found = []
    for row in rows:
        value = row.values.get(key, math.nan)
        known = not math.isnan(value)
        floor, spread = (row.values.get(beside(key, c), math.nan) for c in ("floor", "floor_sd"))
        numbers = {"mean": value, "low": math.nan, "high": math.nan, "n": int(known)}
        rest = {"undefined": int(not known), "floor": floor, "floor_sd": spread}
        if known or key in row.undefined or not row.values:
            found.append({"t": row.t, **numbers, **rest, "interval": "none"})
    table = pd.DataFrame(found)
    for name in ("cell", *WHAT):
        table[name] = math.nan if name == "synthetic_fraction" else NAME
    return table


def write(made: Made, to: Path) -> Path:
    """Write the page, and return where it is.

    to: a file ending in .html, or a folder, which also gets the figures and their numbers.
    """
    if to.suffix.lower() not in (".html", ".htm"):
        return _write(made, to)
    with tempfile.TemporaryDirectory() as folder:
        page = _write(made, Path(folder))
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, to)
    return to


def _write(made: Made, folder: Path) -> Path:
    drawn: dict[str, list[dict[str, str]]] = {}
    for shown in _figures(made):
        drawn.setdefault(shown.section, []).append(put(shown, folder / "figures"))
    judged = [] if made.verdict is None else [Answer(NAME, made.verdict)]
    page = render(
        kind="Ouroboros measurement",
        name=NAME.capitalize(),
        question="",
        answers=judged,
        searched=None,
        no_answer="No collapse rule was given, so the figures below are the answer.",
        facts=[("generations", f"0 to {len(made.rows) - 1}"), *made.about],
        warnings=_warnings(made),
        sections=[Section(title, found) for title, found in drawn.items()],
        tables=list(_tables(made)),
        file="",
        footer=written(f"of {len(made.rows)} generations"),
    )
    return write_atomically(folder / "report.html", page)


def _figures(made: Made) -> Iterator[Shown]:
    for key in keys_of(made.rows):
        yield curve_of(made.rows, key)
    frames = {NAME: dict(enumerate(made.sets))}
    numbers = pd.DataFrame({"t": range(len(made.sets)), "source": list(made.sources)})
    kind, section = made.real.declared.kind, "The samples"
    if kind == "images":
        y = made.real.y
        classes = 0 if y is None or any(own.y is None for own in made.sets) else int(y.max()) + 1
        film = functools.partial(_film, frames, min(classes, MOST_CLASSES))
        yield Shown("film", section, "Samples, a row per generation.", numbers, film)
    elif kind == "points":
        density = functools.partial(_density, frames, made.real)
        alt = "Density of the generations over that of the real data."
        yield Shown("density", section, alt, numbers, density)


def _film(frames: plots_samples.Frames, classes: int, width: float) -> Figure:
    return plots_samples.film(frames, classes=classes, width=width)


def _density(frames: plots_samples.Frames, real: Samples, width: float) -> Figure:
    return plots_samples.densities(frames, real, width=width)


def _warnings(made: Made) -> list[str]:
    ended = [row for row in made.rows if row.reason]
    return [f"Generation {row.t}: {row.status.value}, {row.reason}." for row in ended]


def _tables(made: Made) -> Iterator[Table]:
    numbers = []
    for row, source in zip(made.rows, made.sources, strict=True):
        for key in keys_of(made.rows):
            if key in row.values:
                value = {"key": key, "value": row.values[key]}
                numbers.append(
                    {"generation": row.t, "made in": source, **value, **_beside(row, key)}
                )
    yield table_of("Numbers", pd.DataFrame(numbers), "Nothing could be measured.")
    undefined = [
        {"generation": row.t, "key": key, "reason": reason}
        for row in made.rows
        for key, reason in row.undefined.items()
    ]
    yield table_of("Undefined values", pd.DataFrame(undefined), "Every value is defined.")


def _beside(row: Generation, key: str) -> dict[str, float]:
    """Floor and count of a key; NaN where there is none."""
    return {
        name: row.values.get(beside(key, name), math.nan) for name in ("floor", "floor_sd", "n")
    }
