"""What was measured of a draw: numbers by key, and a reason where there is none."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from engine.store import shapes
from engine.store.shapes import NOTHING, Malformed


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's numbers by key, the reason where there is none, and what stands behind them."""

    values: Mapping[str, float] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)  # such as the extractor of features

    @classmethod
    def from_json(cls, value: object) -> Measured:
        found = shapes.mapping(value)
        return cls(shapes.mapping_of(found.get("values"), shapes.number), *_beside(found))

    def to_json(self) -> dict[str, Any]:
        about = {"about": dict(self.about)} if self.about else {}
        return {"values": dict(self.values), "undefined": dict(self.undefined), **about}


@dataclass(frozen=True, slots=True)
class Shape:
    """Which keys the metrics of a draw have; one object for all draws that have the same."""

    places: Mapping[str, tuple[int, tuple[str, ...]]]  # metric -> where it begins, its keys
    keys: tuple[str, ...]  # of all metrics
    index: Mapping[str, int]  # where each key's number stands

    @classmethod
    def of(cls, metrics: Iterable[tuple[str, tuple[str, ...]]]) -> Shape:
        places = {}
        keys: list[str] = []
        for metric, own in metrics:
            places[metric] = (len(keys), own)
            keys += own
        return cls(places, tuple(keys), {key: i for i, key in enumerate(keys)})


Beside = tuple[Mapping[str, str], Mapping[str, str]]  # undefined, about
_known_about: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
_known_shapes: dict[tuple[str | int, ...], Shape] = {}


class Numbers(Mapping[str, float]):
    """All numbers of a draw by key, in the memory that its row has of them."""

    __slots__ = ("_shape", "numbers")

    def __init__(self, shape: Shape, numbers: array[float]) -> None:
        self._shape, self.numbers = shape, numbers

    def __getitem__(self, key: str) -> float:
        return self.numbers[self._shape.index[key]]

    def __contains__(self, key: object) -> bool:
        return key in self._shape.index

    def __iter__(self) -> Iterator[str]:
        return iter(self._shape.keys)

    def __len__(self) -> int:
        return len(self.numbers)


class Metrics(Mapping[str, Measured]):
    """The metrics of a draw in little memory: one array of numbers, keys shared by all draws."""

    __slots__ = ("_beside", "_numbers", "_shape")

    def __init__(self, shape: Shape, numbers: array[float], beside: Mapping[str, Beside]) -> None:
        self._shape, self._numbers, self._beside = shape, numbers, beside

    @classmethod
    def from_json(cls, value: object) -> Metrics:
        metrics = shapes.mapping(value)
        try:
            values = [found["values"] for found in metrics.values()]
            more = [name for name, it in metrics.items() if it["undefined"] != {} or len(it) > 2]
        except (KeyError, TypeError):
            raise Malformed("a metric without values or undefined") from None
        if not {*map(type, values)} <= {dict}:
            raise Malformed("a metric whose values are no mapping")
        beside = {name: _beside(metrics[name]) for name in more} if more else NOTHING
        known = (*metrics, *map(len, values), *chain.from_iterable(values))
        shape = _known_shapes.get(known)
        if shape is None:
            shape = _known_shapes[known] = Shape.of(zip(metrics, map(tuple, values), strict=True))
        return cls(shape, _numbers(values), beside)

    def together(self, metrics: Sequence[str]) -> Measured | None:
        """What these metrics say, when they are all that there are."""
        places, index = self._shape.places, self._shape.index
        if len(index) != len(self._numbers):  # two metrics have the same key
            return None
        if len(metrics) != len(places) or not all(name in places for name in metrics):
            return None
        values = Numbers(self._shape, self._numbers)
        undefined: dict[str, str] = {}
        for reasons, _ in self._beside.values():
            undefined.update(reasons)
        return Measured(values, undefined or NOTHING, NOTHING)

    def __getitem__(self, metric: str) -> Measured:
        start, keys = self._shape.places[metric]
        numbers = self._numbers[start : start + len(keys)]
        beside = self._beside.get(metric, (NOTHING, NOTHING))
        return Measured(dict(zip(keys, numbers, strict=True)), *beside)

    def __contains__(self, metric: object) -> bool:
        return metric in self._shape.places

    def __iter__(self) -> Iterator[str]:
        return iter(self._shape.places)

    def __len__(self) -> int:
        return len(self._shape.places)


def _beside(found: Mapping[str, Any]) -> Beside:
    undefined = shapes.mapping_of(found.get("undefined"), shapes.text)
    about = shapes.mapping_of(found.get("about", {}), shapes.text)
    return undefined, _known_about.setdefault(tuple(about.items()), about)


def _numbers(values: list[dict[str, Any]]) -> array[float]:
    """All numbers of a draw, checked together: there are millions in a large sweep."""
    found: list[Any] = list(chain.from_iterable(map(dict.values, values)))
    if not {*map(type, found)} <= {int, float}:
        raise Malformed("a metric has a value that is no number")
    try:
        if not math.isfinite(sum(found)) and not all(map(math.isfinite, found)):
            raise Malformed("a metric has a value that is not finite")
        return array("d", found)
    except OverflowError:
        raise Malformed("a metric has a value that no computer counts to") from None


@dataclass(frozen=True, slots=True)
class Later:
    """A metric that was measured after its draw was committed, in a file of its own."""

    draw: str
    metric: str | None  # not named by the first versions
    measured: Measured

    @classmethod
    def from_json(cls, value: object) -> Later:
        found = shapes.mapping(value)
        measured = Measured.from_json(found.get("values"))
        metric = found.get("metric")
        return cls(
            shapes.text(found.get("draw")),
            None if metric is None else shapes.text(metric),
            measured,
        )

    def is_of(self, draw: str, metric: str) -> bool:
        return self.draw == draw and self.metric in (None, metric)
