"""Rows of generations to the columns of one frame, by the set of keys they hold: what is computed
per key is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from engine.names import Names
from engine.spec import LineageSpec, Part
from engine.status import Status
from engine.store.keys import BESIDE, Layout, class_of, metric_of
from engine.store.measured import Numbers
from engine.store.rows import Generation

NUMBERS = ("value", *BESIDE)
REPORTS = ("fit", "report")  # of a generation: their numbers are metrics of the frame, too
COLUMNS = [
    *(
        "sweep",
        "lineage",
        "cell",
        "label",
        "workflow",
        "dataset",
        "generator",
        "policy",
        "sampling",
        "synthetic_fraction",
    ),
    *(
        "n_real",
        "n_synthetic",
        "seed",
        "t",
        "metric",
        "key",
        "value",
        "class_",
        *BESIDE,
        "undefined",
        "status",
        "reason",
    ),
]


class Words(dict[str, int]):
    """Texts and their numbers, given in the order they are met."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]

    def sorted(self, codes: np.ndarray) -> pd.Categorical[str]:
        """The texts behind codes, as categories in alphabetical order."""
        names = sorted(self)
        place = {name: i for i, name in enumerate(names)}
        lookup = np.array([place[name] for name in self], dtype=np.int32)
        places = lookup[codes] if len(lookup) else codes
        return pd.Categorical.from_codes(places, pd.Index(names, dtype=str))


class Table:
    """add(generation) for every generation, then frame()."""

    def __init__(
        self, sweep: str, specs: Mapping[str, LineageSpec], names: Names | None = None
    ) -> None:
        self.sweep, self.names = sweep, names or Names(specs.values())
        self.specs = sorted(specs.values(), key=_order)
        self._place = {spec.id: i for i, spec in enumerate(self.specs)}
        self._layouts: dict[tuple[tuple[str, ...], tuple[str, ...]], Layout] = {}
        self._words = {name: Words() for name in ("key", "undefined", "status", "reason")}
        self._rows: dict[
            Layout, list[tuple[int, int, int, int]]
        ] = {}  # (lineage, t, status, reason), texts by number
        self._values: dict[Layout, list[np.ndarray]] = {}
        self._reasons: dict[Layout, list[list[int]]] = {}

    def add(self, row: Generation) -> None:
        values, undefined = row.values, row.undefined
        if not values and not undefined and row.status is not Status.OK:
            undefined = {"": f"{row.status}: {row.reason}"}
        if row.fit or row.report:
            values, undefined = _with_reports(row, dict(values), dict(undefined))
        if not values and not undefined:
            return  # no metric was due
        known = (tuple(values), tuple(undefined))
        layout = self._layouts.get(known)
        if layout is None:
            layout = self._layouts[known] = Layout(*known)
            self._rows[layout], self._values[layout], self._reasons[layout] = [], [], []
        words = self._words
        status, reason = words["status"][row.status.value], words["reason"][row.reason]
        self._rows[layout].append((self._place[row.lineage], row.t, status, reason))
        self._values[layout].append(_array(values))
        reasons = [words["undefined"][reason] for reason in undefined.values()]
        self._reasons[layout].append([*reasons, words["undefined"][""]])

    def frame(self) -> pd.DataFrame:
        """Sorted by what the lineages are, then by generation and key."""
        parts = [self._part(layout) for layout in list(self._rows) or [Layout((), ())]]
        whole = {}
        for name in list(parts[0]):
            whole[name] = np.concatenate([part.pop(name) for part in parts])
        texts = {name: words.sorted(whole.pop(name)) for name, words in self._words.items()}
        order = np.lexsort((texts["key"].codes, whole["t"], whole["lineage"]))
        return self._typed(
            {name: column[order] for name, column in whole.items()},
            {k: v[order] for k, v in texts.items()},
        )

    def _part(self, layout: Layout) -> dict[str, np.ndarray]:
        """The columns of all generations that have one layout: [generations x keys]."""
        rows, across = (
            np.array(self._rows.get(layout, ()), dtype=np.int32).reshape(-1, 4),
            len(layout.keys),
        )
        found = np.array(self._values.pop(layout, ())).reshape(len(rows), len(layout.values))
        values = np.column_stack([found, np.full(len(rows), np.nan)])
        reasons = np.array(self._reasons.get(layout, ()), dtype=np.int32).reshape(
            len(rows), len(layout.undefined) + 1
        )
        columns = {name: values[:, layout.places(name)].ravel() for name in NUMBERS}
        columns |= {
            name: np.repeat(rows[:, i], across)
            for i, name in enumerate(("lineage", "t", "status", "reason"))
        }
        key = np.array([self._words["key"][k] for k in layout.keys], dtype=np.int32)
        return columns | {
            "key": np.tile(key, len(rows)),
            "undefined": reasons[:, layout.reasons].ravel(),
        }

    def _typed(
        self, columns: dict[str, np.ndarray], texts: dict[str, pd.Categorical[str]]
    ) -> pd.DataFrame:
        lineage = columns.pop("lineage")
        about = {name: spread(values, lineage) for name, values in self._about().items()}
        keys, codes = [str(k) for k in texts["key"].categories], texts["key"].codes
        metric = pd.Categorical.from_codes(*_merged(codes, map(metric_of, keys)))
        classes = pd.array([class_of(key) for key in keys], dtype="Int16")
        of_class = classes.take(codes)
        return pd.DataFrame({**about, **texts, "metric": metric, "class_": of_class, **columns})[
            COLUMNS
        ]

    def _about(self) -> dict[str, list[Any]]:
        """What every row of a lineage says of it."""
        return {
            "sweep": [self.sweep for _ in self.specs],
            "lineage": [s.id for s in self.specs],
            "cell": [s.cell_id for s in self.specs],
            "label": [self.names.cell(s) for s in self.specs],
            "workflow": [self.names.workflow(s) for s in self.specs],
            "dataset": [s.dataset.label for s in self.specs],
            "generator": [s.generator.label for s in self.specs],
            "policy": [policy_label(s) for s in self.specs],
            "sampling": [s.sampling.label for s in self.specs],
            "synthetic_fraction": [
                np.nan if s.synthetic_fraction is None else s.synthetic_fraction for s in self.specs
            ],
            "n_real": [s.n_real for s in self.specs],
            "n_synthetic": [s.n_drawn for s in self.specs],
            "seed": [s.seed for s in self.specs],
        }


def _array(values: Mapping[str, float]) -> np.ndarray:
    """The numbers in their order."""
    if isinstance(values, Numbers):
        return np.array(values.numbers)
    return np.fromiter(values.values(), dtype=float, count=len(values))


def _with_reports(
    row: Generation, values: dict[str, float], undefined: dict[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """With what fitting (`fit/<key>`) and sampling (`report/<key>`) reported; what was not finite
    is undefined.
    """
    for group, reported in (("fit", row.fit), ("report", row.report)):
        for key, value in reported.items():
            if value is None:
                undefined[f"{group}/{key}"] = "not finite"
            else:
                values[f"{group}/{key}"] = value
    return values, undefined


def policy_label(spec: LineageSpec) -> str:
    """The policy with its parameters but the synthetic fraction, which has a column of its own."""
    return Part(
        "policy",
        spec.policy.name,
        {k: v for k, v in spec.policy.params.items() if k != "synthetic_fraction"},
    ).label


def _order(spec: LineageSpec) -> tuple[Any, ...]:
    fraction = -1.0 if spec.synthetic_fraction is None else spec.synthetic_fraction
    parts = (
        spec.dataset.label,
        spec.generator.label,
        spec.n_real,
        policy_label(spec),
        fraction,
        spec.sampling.label,
    )
    return (*parts, spec.n_drawn, spec.arrival, spec.seed, spec.id)


def spread(values: list[Any], lineage: np.ndarray) -> Any:
    """A value per lineage, repeated over its rows; texts as categories."""
    if not values or not isinstance(values[0], str):
        return np.array(values)[lineage] if values else np.empty(0)
    category = pd.Categorical(values)
    return pd.Categorical.from_codes(category.codes[lineage], category.categories)


def _merged(codes: np.ndarray, names: Iterable[str]) -> tuple[np.ndarray, pd.Index]:
    """Codes of categories whose names may repeat -> codes of distinct names."""
    category = pd.Categorical(list(names))
    return category.codes[codes] if len(category) else codes, category.categories
