"""A metric as a sweep asks for it, and the name under which an output has its values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from engine.files import JsonObject
from engine.identity import Part, digest, short

SAMPLES = re.compile(r"~n(\d+)$")  # in the name of a metric's values: fid~n200


@dataclass(frozen=True)
class MeasureSpec:
    """A metric, how often it is measured (at generations 0, every, 2 every, ... and at the last
    one), and how many samples it compares.

    n  of a sweep: as the file says, None: the most that all cells have.  Of a lineage
       (`Sweep.metrics_of`): the first n of its samples, None: all that it can compare.
    of  of a lineage: the extractor that `auto` means on its data, where it meant another one to
        former versions, whose values lie under the name without it; else ''.
    """

    part: Part
    every: int = 1
    n: int | None = None
    of: str = ""

    @property
    def id(self) -> str:
        """The metric's name, followed by what differs from its defaults: `fid`,
        `fid.extractor-raw`.
        """
        text = "".join(f".{k}-{short(v)}" for k, v in self.part.told.items())
        return self.part.name + "".join(c if c.isalnum() or c in "._-" else "_" for c in text)

    def headline(self, kind: str | None) -> str:
        """The key that stands for it on data of this kind (GIVES), as the metric declares it and
        never as a row happens to hold it; None: on data of several kinds.
        """
        name, declared = self.part.name, list(self.part.trait("KEYS"))
        own = self.part.trait("HEADLINE").get(kind)
        first = name if name in declared or not declared else declared[0]
        return self.id + (own or first).removeprefix(name)

    @cached_property
    def stored(self) -> str:
        """The name of its values in an output: another one for another revision, other files,
        another extractor, or fewer samples than there are.
        """
        beside = {**self.part.beside, **self.part.found}
        words = [digest(beside, 8) if beside else "", self.of]
        words += [] if self.n is None else [f"n{self.n}"]
        return "~".join([self.id, *filter(None, words)])

    def due(self, t: int, last: int) -> bool:
        return t % self.every == 0 or t == last

    @classmethod
    def from_dict(cls, values: JsonObject) -> MeasureSpec:
        """The inverse of `to_dict`."""
        part = Part("metric", values["name"], values["params"])
        return cls(part, values["every"], values["n"], values["of"])

    def to_dict(self) -> JsonObject:
        """Plain values, as in JSON."""
        own = {"name": self.part.name, "params": self.part.params}
        return {**own, "every": self.every, "n": self.n, "of": self.of}


def without_n(stored: str) -> str:
    """The name of a metric's values in an output, whatever n they are of."""
    return SAMPLES.sub("", stored)


def at_least_n(names: Iterable[str]) -> list[str]:
    """Of the names of values that differ in their n alone the one with the least, which other cells
    have, too; a name without an n is of all that are drawn.
    """
    found: dict[str, tuple[float, str]] = {}
    for name in names:
        n = SAMPLES.search(name)
        own = (float(n[1]) if n else math.inf, name)
        found[without_n(name)] = min(own, found.get(without_n(name), own))
    return [name for _, name in found.values()]
