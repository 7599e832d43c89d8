"""One yardstick per table: a distance between finite samples depends on how many are compared, so
all cells of a sweep are compared at one n per metric.

That is the file's `n` of the metric, else the most that every cell has: the fewest samples drawn,
or the rows that are held out where those are fewer.  Controls are no cells of the table: they are
compared at all that they draw.  In a stream of tasks n is that of one task: each task is compared
at it, and all that have arrived at generation t at t + 1 times as many (fewer where fewer are held
out of them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from engine.identity import Part
from engine.parts import HELD_OUT
from engine.registry import describe


class Drawn(Protocol):
    """What decides how many samples a lineage has to compare (engine/spec.py)."""

    @property
    def dataset(self) -> Part: ...
    @property
    def generator(self) -> Part: ...
    @property
    def n_drawn(self) -> int: ...
    @property
    def classes(self) -> int | None: ...
    @property
    def stream(self) -> Sequence[Sequence[int]]: ...


def counts(metric: Part, generator: Part) -> bool:
    """Whether a metric's values depend on how many samples it is given: not where it reads the
    model itself, or numbers of it that the generator tells.
    """
    if metric.trait("BOUNDS") is None:
        return False
    read: tuple[str, ...] = metric.trait("READS")
    return not any(word in generator.trait("KNOWS") for word in read)


def most(metric: Part, spec: Drawn) -> int:
    """How many samples a metric compares of a lineage when it is given all that are drawn: of a
    stream, of one task.
    """
    found = [spec.n_drawn]
    for bound in metric.trait("BOUNDS") or ():
        known = _held_out(spec) if bound == HELD_OUT else _parameter(metric, bound)
        found += [] if known is None else [known]
    return min(found)


def whole(metric: Part, spec: Drawn, n: int | None) -> bool:
    """Whether n is all that a metric can compare of a lineage, so that no n needs to be said: of a
    stream, whose tasks differ by a few in what is held out of them, all that are drawn.
    """
    return n is None or n >= (spec.n_drawn if spec.stream else most(metric, spec))


def _held_out(spec: Drawn) -> int | None:
    """Of all classes, or of the smallest task of a stream, as if they were held out evenly."""
    known = held_out(spec.dataset)
    if known is None or not spec.stream:
        return known
    sizes = [len(task) for task in spec.stream]
    return known * min(sizes) // (spec.classes or sum(sizes))


def held_out(dataset: Part) -> int | None:
    """Rows that a finite data set holds out; None of one that is drawn without end, and where only
    absent files could tell.
    """
    found = dataset.known_contents
    if found is not None and found.rest is None:
        return found.held_out
    size = dataset.constant("SIZE")
    return None if size is None else int(size[1])


def coordinates(dataset: Part) -> int | None:
    """Numbers in one row of a replicate of a data set; None where only absent data could tell."""
    found = dataset.known_contents
    if found is not None and found.shape:
        return math.prod(found.shape)
    known = describe("dataset", dataset.name)
    return int(known.value("d", dataset.params)) if "d" in known.parameters else None


def extractor(metric: Part, dataset: Part) -> str:
    """What `auto` means for a metric on labelled colour pictures from 32 pixels on: lenet, where
    former versions trained a ResNet-18; '' of all others, whose extractor is what it was.
    """
    parameter = describe("metric", metric.name).parameters.get("extractor")
    found = dataset.known_contents
    if parameter is None or found is None or dataset.constant("GIVES") != "images":
        return ""
    asked = metric.params.get("extractor", parameter.default)
    colour = found.labelled and found.shape[-1:] == (3,) and min(found.shape[:2]) >= 32
    return "lenet" if asked == "auto" and colour else ""


def _parameter(metric: Part, name: str) -> int | None:
    value = describe("metric", metric.name).value(name, metric.params)
    return None if value is None else int(value)
