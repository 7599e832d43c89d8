"""Which real rows arrive at a generation: the one place that knows the kinds of arrival."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np

from engine.files import JsonObject
from engine.knowledge import Parts
from engine.lineage.seen import Seen
from engine.parts import Dataset
from engine.samples import Samples
from engine.spec import LineageSpec


@dataclass(frozen=True)
class Arrival:
    """The rows that are the real set of a generation.

    at    the generation at which they arrived: they are those of later ones, too, where nothing new
          arrives.
    part  whether they are the next part of one fixed permutation; else they are a draw.
    classes  those that they are of, of a stream of tasks; (): all.
    """

    at: int
    part: bool = False
    classes: tuple[int, ...] = ()

    @classmethod
    def of(cls, spec: LineageSpec, t: int) -> Arrival:
        """What is there at generation t.  The first part is the first draw."""
        at = 0 if spec.arrival == "fixed" else t
        return cls(at, spec.arrival == "parts" and t > 0, spec.task(t))

    @property
    def key(self) -> JsonObject:
        """What of it is in keys."""
        if self.classes:
            return {"arrived": self.at, "arrival": "tasks", "classes": list(self.classes)}
        return {"arrived": self.at, **({"arrival": "parts"} if self.part else {})}

    def rows(
        self, dataset: Dataset, n: int, stream: Callable[[int], np.random.Generator]
    ) -> Samples:
        """n real rows; stream: the random numbers of a generation's real set."""
        if self.classes:
            return Seen(dataset, self.classes).sample(n, stream(self.at))
        if self.part:
            return cast(Parts, dataset).part(n, self.at, stream(0))
        return dataset.sample(n, stream(self.at))
