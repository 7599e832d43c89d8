"""The real data that generations made elsewhere are compared with: a data set by name, a folder of
pictures, an npz, a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.api.reading import TABLES, Like
from engine.contents import Contents, Lack
from engine.datasets._arrays import header_of, is_npz
from engine.datasets._listing import list_folder
from engine.datasets._pictures import opened
from engine.experiment.given import plain
from engine.experiment.values import checked_part
from engine.files import JsonObject, expanded, unread
from engine.lineage.recipe import rng
from engine.parts import Dataset, traits_of
from engine.registry import names
from engine.samples import Samples
from engine.spec import Part

Tell = Callable[[str], None]  # hears of a problem


@dataclass(frozen=True)
class Real:
    """The real data.

    part     the data set as an experiment file would name it.
    dataset  the same, constructed.
    real     the set that a lineage of this seed would have trained on first.
    like     what a generation must be.
    """

    part: Part
    dataset: Dataset
    real: Samples
    like: Like


def real_data(
    given: str | Path | Mapping[str, Any], more: JsonObject, n: int | None, seed: int, tell: Tell
) -> Real | None:
    """The real data, opened; None, and problems, where they cannot be.

    given: a path, the name of a data set, or {name: ..., its parameters}; more: parameters that go
    with a path (size, columns, label, held_out_fraction); n: rows to take, None: all to train on.
    """
    try:
        value = _named(given, more)
        part, complaints = checked_part("dataset", json.dumps(value))
        for message, _ in complaints:
            tell(message)
        if part is not None and part.constant("GIVES") == "text":
            said = "generations made elsewhere can be pictures, points or tables, no texts"
            tell(f"{part.name} gives text, and {said}: run those as lineages")
            return None
        return None if part is None else _opened(part, more, n, seed)
    except OSError as error:
        tell(unread(error.filename or given, error))
    except ValueError as error:
        tell(str(error))
    return None


def _named(given: str | Path | Mapping[str, Any], more: JsonObject) -> JsonObject:
    """As an experiment file would name it; ValueError for a path that holds no data."""
    if isinstance(given, Mapping):
        return {**plain(given), **more}
    path = Path(expanded(str(given)))
    if not path.exists():
        if str(given) in names("dataset"):
            return {"name": str(given), **more}
        raise ValueError(f"{given} is not there, and no data set is called so")
    place = {"path": str(path.resolve()), **more}
    if path.suffix.lower() in TABLES:
        return {"name": "table", **place}
    if not is_npz(path) and not path.is_dir():
        raise ValueError(
            f"{path} is no data: give a folder of pictures, an npz of `images`, or a table "
            f"({', '.join(TABLES)})"
        )
    return {"name": "images", "size": own_size(path), **place}


def own_size(path: Path) -> int:
    """The shorter side of the first picture, in pixels."""
    if is_npz(path):
        return min(header_of(path).shape[1:3])
    return min(opened(next(iter(list_folder(path).pictures))[0]).size)


def _opened(part: Part, more: JsonObject, n: int | None, seed: int) -> Real:
    """ValueError and OSError where the data cannot be read, or have fewer rows than asked."""
    found = part.contents
    if isinstance(found, Lack):
        raise ValueError(str(found))
    rows = n
    if isinstance(found, Contents):
        rows = found.train if n is None else n
        if reason := part.too_few(rows):
            raise ValueError(reason)
    if rows is None:
        raise ValueError(f"{part.name} is drawn without end; say how many rows to take: n_real")
    from engine.datasets.table import Table

    dataset: Dataset = part.make()
    drawn = dataset.sample(rows, rng(seed, "real", 0))
    traits = traits_of(dataset)
    real = drawn.of(traits)
    classes = found.classes if isinstance(found, Contents) else _classes(real)
    like = Like(
        traits,
        real.x.shape[1:],
        tuple(classes) if real.y is not None else (),
        cut="size" in more,
        columns=part.params.get("columns"),
        label=part.params.get("label"),
        coordinates=dataset.coordinates if isinstance(dataset, Table) else (),
    )
    return Real(part, dataset, real, like)


def _classes(real: Samples) -> tuple[str, ...]:
    """The names of labels that have none but their number."""
    if real.y is None or real.declared.kind == "regression":
        return ()
    return tuple(map(str, range(int(np.max(real.y)) + 1)))
