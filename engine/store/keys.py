"""How a row calls a metric's numbers, in one place for who writes them and who reads them.

fid                      a number; over replicates their mean
fid/se, /q05, /q50, /q95 what stands beside a mean over replicates
fid/floor, fid/floor_sd  the number between real sets, and its spread; of a key below its metric
                         (precision_recall/recall) precision_recall/recall_floor
fid/n                    how many samples were compared, for all numbers of the metric
fid/task_2, fid/task_2_n the number of one task alone, and how many samples of it were compared
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from engine._tasks import of_key as task_of

QUANTILES = {"q05": 0.05, "q50": 0.50, "q95": 0.95}
REPLICATES = ("se", *QUANTILES)
FLOORS = ("floor", "floor_sd")
BESIDE = (*REPLICATES, "n", *FLOORS)  # columns of numbers that stand beside another
CLASS = re.compile(r"/class_(\d+)$")


def metric_of(key: str) -> str:
    """The metric that a key belongs to."""
    return key.partition("/")[0]


def class_of(key: str) -> int | None:
    """The class of the data that a key is about; None where it is about all of them."""
    found = CLASS.search(key)
    return int(found[1]) if found else None


def beside(key: str, column: str) -> str:
    """The key of the number that stands beside a key's own; column: one of BESIDE."""
    if column == "n" and task_of(key) is None:
        return f"{metric_of(key)}/n"
    if column in ("n", *FLOORS) and "/" in key:
        return f"{key}_{column}"
    return f"{key}/{column}"


@dataclass(frozen=True)
class Layout:
    """Where rows with the same keys hold each number and what stands beside it.

    values     the keys that have a number, in the order of the numbers.
    undefined  the keys that have none.
    """

    values: tuple[str, ...]
    undefined: tuple[str, ...]

    @cached_property
    def keys(self) -> list[str]:
        """All keys but those whose number stands beside another key's, sorted."""
        known = {*self.values, *self.undefined}
        return sorted((known - _all_beside(known)).union(self.undefined))

    @cached_property
    def reasons(self) -> np.ndarray:
        """Where among the undefined each key is; -1: it is not.  [keys]."""
        at = {key: place for place, key in enumerate(self.undefined)}
        return np.array([at.get(key, -1) for key in self.keys], dtype=int)

    def places(self, column: str) -> np.ndarray:
        """Where among the values each key finds its number of a column; -1: nowhere.  [keys].

        column  `value`, or one of BESIDE.
        """
        at = {key: place for place, key in enumerate(self.values)}
        wanted = self.keys
        if column != "value":
            wanted = [beside(key, column) for key in self.keys]
        return np.array([at.get(key, -1) for key in wanted], dtype=int)


def _all_beside(keys: Iterable[str]) -> set[str]:
    pairs = ((key, beside(key, column)) for key in keys for column in BESIDE)
    return {found for key, found in pairs if found != key}
