"""How much of the variance of its data a generator draws, as it declares: what its sampler or its
usual fit changes at every generation, which a chain repeats and which is no collapse.

Read from the source (`VARIANCE`, `COARSE` in engine/parts.py); nothing is imported or drawn.  Not
what was measured of a draw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from engine.parts import Params
from engine.registry import describe

FAITHFUL = (0.9, 1.1)  # ratios of which nothing is said
LOW, HIGH = "expected_variance_ratio/low", "expected_variance_ratio/high"  # of a draw's report


class Drawing(Protocol):
    """A generator with its parameters (engine/identity.py)."""

    @property
    def name(self) -> str: ...
    @property
    def params(self) -> Params: ...
    @property
    def drawing(self) -> Params: ...
    @property
    def changed(self) -> Params: ...
    def trait(self, name: str) -> Any: ...


class LineageLike(Protocol):
    """Generator and data set of a lineage (engine/spec.py)."""

    @property
    def generator(self) -> Drawing: ...
    @property
    def dataset(self) -> Drawing: ...


@dataclass(frozen=True)
class Expected:
    """The ratio of drawn to real variance that is to be expected of a generator, and why.

    is_known  whether it is that of its parameters, rather than that of the default ones.
    """

    low: float
    high: float
    words: str
    is_known: bool = True

    @property
    def report(self) -> dict[str, float]:
        """What the row of a draw says of it."""
        return {LOW: self.low, HIGH: self.high} if self.is_known else {}


def expected(generator: Drawing, kind: str) -> Expected | None:
    """What is to be expected of draws of such data (GIVES); None where it is nothing unusual.

    A coarse sampler counts before the usual fit, which is one at the default way of drawing.
    """
    if coarse := generator.trait("COARSE"):
        method, steps, left = coarse
        known = describe("generator", generator.name)
        how = str(known.value(method, generator.params))
        count = int(known.value(steps, generator.params))
        if count < max(left.get(how, {0: 1.0})):
            return _coarse(generator.name, method, how, steps, count, left[how])
    band = generator.trait("VARIANCE").get(kind)
    if band is None or generator.drawing or not unfaithful(band):
        return None
    said = f"{generator.name} {usual(kind, band)}: each generation repeats that"
    return Expected(band[0], band[1], said, is_known=not generator.changed)


def warnings(lineages: Iterable[LineageLike]) -> list[str]:
    """What generators' draws change of the variance by themselves, a sentence for each."""
    found = (expected(own.generator, own.dataset.trait("GIVES")) for own in lineages)
    return list(dict.fromkeys(each.words for each in found if each is not None))


def unfaithful(band: Iterable[float]) -> bool:
    """Whether some ratio of a band is worth saying."""
    return any(not FAITHFUL[0] <= ratio <= FAITHFUL[1] for ratio in band)


def usual(kind: str, band: Iterable[float]) -> str:
    """What a fit with default parameters draws."""
    low, high = band
    return f"draws {low:g} to {high:g} of the variance of {kind} with its default parameters"


def _coarse(
    name: str, method: str, how: str, steps: str, count: int, left: Mapping[int, float]
) -> Expected:
    ratio = at(left, count)
    said = (
        f"{name} with {method} {how} and {steps} {count} draws {ratio:.2f} of the variance of its "
        "data even where its network is exact: each generation repeats that; from "
        f"{max(left)} on it is {left[max(left)]:.2f}"
    )
    return Expected(ratio, ratio, said)


def at(left: Mapping[int, float], steps: int) -> float:
    """The ratio at a number of steps, linear in 1 / steps between those that are known."""
    known = sorted(left)
    for low, high in pairwise(known):
        if low <= steps <= high:
            share = (1 / low - 1 / steps) / (1 / low - 1 / high)
            return left[low] + share * (left[high] - left[low])
    return left[known[0] if steps < known[0] else known[-1]]


def told(part_traits: Mapping[str, Any]) -> Iterator[str]:
    """What a part declares of its draws' variance, a sentence each."""
    for kind, band in part_traits.get("VARIANCE", {}).items():
        if unfaithful(band):
            yield usual(kind, band)
    method, steps, left = part_traits.get("COARSE") or ("", "", {})
    for how, known in left.items():
        each = ", ".join(f"{ratio:.2f} in {n}" for n, ratio in known.items())
        yield (
            f"{method} {how} is coarse under {max(known)} {steps}: with an exact network it draws "
            f"of the variance of its data {each}"
        )
