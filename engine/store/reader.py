"""The one reader of lineages: committed generations in order, without making anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from engine._measure_spec import at_least_n
from engine.store.measured import Measured, Metrics
from engine.store.rows import DrawRow, Generation
from engine.store.store import Store


class Keys(Protocol):
    """Where one generation lives: the keys of its model and of its draw."""

    @property
    def t(self) -> int: ...

    @property
    def model(self) -> str: ...

    @property
    def draw(self) -> str: ...


Due = Callable[[int], Sequence[str]]  # generation -> ids of the metrics that were to be measured
UNASKED = "draw"  # the metric of every draw that is made; rows of former versions are without it


def generations(
    store: Store, lineage: str, path: Iterable[Keys], due: Due | None = None
) -> Iterator[Generation]:
    """The generations of a lineage up to the first that is not there, or that ends it.

    path  where they live, in order.
    due  the metrics to read; left out: all that the output has.
    """
    for keys in path:
        found = generation(store, lineage, keys, None if due is None else due(keys.t))
        if found is None:
            return
        yield found
        if found.status.ends:
            return


def generation(
    store: Store, lineage: str, keys: Keys, due: Sequence[str] | None
) -> Generation | None:
    """One generation; None when it is not committed, or only its model is."""
    model = store.row("model", keys.model)
    if model is None:
        return None
    if model.status.ends:
        return Generation.of(lineage, keys.t, model, None, Measured())
    draw = store.row("draw", keys.draw)
    if draw is None:
        return None
    return Generation.of(lineage, keys.t, model, draw, measured(store, draw, due))


def measured(store: Store, draw: DrawRow, due: Sequence[str] | None) -> Measured:
    """What a draw's metrics say together; nothing where there were no samples to measure."""
    if due is None:
        due = at_least_n(store.metrics_of(draw))
    elif not draw.status.measurable:
        return Measured()
    elif UNASKED in draw.metrics and UNASKED not in due:
        due = [UNASKED, *due]  # what was asked for at another n comes later, and counts
    if isinstance(draw.metrics, Metrics):
        together = draw.metrics.together(due)
        if together is not None:
            return together
    values: dict[str, float] = {}
    undefined: dict[str, str] = {}
    for metric in due:
        found = store.measured(draw, metric)
        if found is not None:
            values.update(found.values)
            undefined.update(found.undefined)
    return Measured(values, undefined)
