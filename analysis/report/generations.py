"""The page of generations that were made elsewhere: verdict, curves with their floors, samples,
numbers; there is one chain of them and no seeds, so no interval is drawn.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.frame.tables import WHAT
from analysis.plots import curves as plots
from analysis.plots import samples as plots_samples
from analysis.report.figures import HELPERS, file_of
from analysis.report.findings import CURVES, SAMPLES, Shown
from analysis.report.page import Section, placed, put, render, written
from analysis.report.tables import Table, table_of
from engine.outcome.answer import Answer
from engine.running.logs import Folder
from engine.samples import Samples
from engine.store.keys import beside
from engine.store.rows import Generation

NAME = "generations made elsewhere"


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
    return Shown(f"curve_{file_of(key)}", CURVES, alt, table, draw)


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
        rest["n_compared"] = row.values.get(beside(key, "n"), math.nan)
        if known or key in row.undefined or not row.values:
            found.append({"t": row.t, **numbers, **rest, "interval": "none"})
    table = pd.DataFrame(found)
    for name in ("cell", *WHAT):
        table[name] = math.nan if name == "synthetic_fraction" else NAME
    return table


def write(made: Made, to: Path) -> Path:
    """Write the page, and return where it is; to: a file or a folder, see `page.placed`."""
    return placed(to, lambda folder, alone: _write(made, folder, alone))


def _write(made: Made, folder: Path, alone: bool) -> Path:
    drawn: dict[str, list[dict[str, str]]] = {}
    place = Folder.at(folder)
    for shown in _figures(made):
        drawn.setdefault(shown.section, []).append(put(shown, place.below("figures"), alone))
    judged = [] if made.verdict is None else [Answer(NAME, made.verdict)]
    page = render(
        kind="Ouroboros measurement",
        name=NAME.capitalize(),
        question="",
        answers=judged,
        explains=[],
        rests=[],
        no_answer="No collapse rule was given, so the figures below are the answer.",
        facts=[("generations", f"0 to {len(made.rows) - 1}"), *made.about],
        warnings=_warnings(made),
        sections=[Section(title, found) for title, found in drawn.items()],
        folded=[],
        tables=list(_tables(made)),
        footnotes=[],
        file="",
        footer=written(f"of {len(made.rows)} generations"),
    )
    return place.write("report.html", page)


def _figures(made: Made) -> Iterator[Shown]:
    yield from _samples(made)
    for key in keys_of(made.rows):
        yield curve_of(made.rows, key)


def _samples(made: Made) -> Iterator[Shown]:
    frames = {NAME: dict(enumerate(made.sets))}
    numbers = pd.DataFrame({"t": range(len(made.sets)), "source": list(made.sources)})
    kind, section = made.real.declared.kind, SAMPLES
    if kind == "images":
        labelled = made.real.y is not None and all(own.y is not None for own in made.sets)
        classes = _classes(made.real) if labelled else {}
        film = functools.partial(_film, frames, classes, made.real)
        yield Shown("film", section, "Samples, a row per generation.", numbers, film)
    elif kind == "points":
        density = functools.partial(_density, frames, made.real)
        alt = "Density of the generations over that of the real data."
        yield Shown("density", section, alt, numbers, density)


def _classes(real: Samples) -> dict[int, str]:
    return {int(label): str(label) for label in np.unique(np.asarray(real.y))}


def _film(
    frames: plots_samples.Frames, classes: dict[int, str], real: Samples, width: float
) -> Figure:
    return plots_samples.film(frames, classes=classes, real=real, width=width)


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
