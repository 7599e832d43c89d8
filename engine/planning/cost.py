"""What the missing generations of a sweep will take: hours, bytes and a price, from rows that are
there or as declared.

Under `resources`, and per generator below its `generators`: `hours_per_generation` and
`gb_per_generation` count until the first rows of that generator have measured them;
`price_per_hour: [lowest, highest]` is in USD, of one GPU with its machine where a lineage asks for
a GPU (a quarter of it costs a quarter), else of one CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.settings import GB, Share


@dataclass(frozen=True)
class Cost:
    """What one committed generation took: training, drawing and measuring it, and its files."""

    seconds: float
    bytes: int


@dataclass(frozen=True)
class Lack:
    """What is missing of one generator, and what is known of such generations."""

    n: int
    known: Sequence[Cost]
    share: Share

    @property
    def hours(self) -> float | None:
        """Of one generation on its share of a machine."""
        if self.known:
            return sum(cost.seconds for cost in self.known) / len(self.known) / 3600
        return self.share.hours_per_generation

    @property
    def bytes(self) -> float | None:
        """Of one generation."""
        if self.known:
            return sum(cost.bytes for cost in self.known) / len(self.known)
        gigabytes = self.share.gb_per_generation
        return None if gigabytes is None else gigabytes * GB

    @property
    def priced(self) -> float:
        """How many of what `price_per_hour` is the price of: GPUs, else CPUs."""
        return self.share.gpus or self.share.cpus


@dataclass(frozen=True)
class Forecast:
    """Sums over all that is missing; None where something is not known."""

    seconds: float | None  # of work: on several workers it is over sooner
    bytes: int | None
    gpu_hours: float | None
    cpu_hours: float | None
    price: tuple[float, float] | None  # USD
    basis: str  # measured, declared, or both


def forecast(lacks: Sequence[Lack]) -> Forecast:
    lacks = [lack for lack in lacks if lack.n]
    hours = _total([lack.hours for lack in lacks], [lack.n for lack in lacks])
    n_bytes = _total([lack.bytes for lack in lacks], [lack.n for lack in lacks])
    ways = {"measured" if lack.known else "declared" for lack in lacks if lack.hours is not None}
    return Forecast(
        seconds=None if hours is None else hours * 3600,
        bytes=None if n_bytes is None else round(n_bytes),
        gpu_hours=_total(
            [lack.hours for lack in lacks],
            [lack.n * lack.share.gpus for lack in lacks],
        ),
        cpu_hours=_total(
            [lack.hours for lack in lacks], [lack.n * lack.share.cpus for lack in lacks]
        ),
        price=_price(lacks),
        basis=" and ".join(sorted(ways)),
    )


def _price(lacks: Sequence[Lack]) -> tuple[float, float] | None:
    """The lowest and the highest sum over generators; None when one has no declared price."""
    lowest = highest = 0.0
    for lack in lacks:
        price, hours = lack.share.price_per_hour, lack.hours
        if price is None or hours is None:
            return None
        lowest += hours * lack.n * lack.priced * price[0]
        highest += hours * lack.n * lack.priced * price[1]
    return (lowest, highest) if lacks else None


def _total(each: Sequence[float | None], times: Sequence[float]) -> float | None:
    """Of `each` so many `times`; None when one is not known."""
    if None in each:
        return None
    return sum((one * n for one, n in zip(each, times, strict=True) if one is not None), 0.0)
