"""Generations that no lineage of ours made, measured as if one had: the same real set, references,
floors and random streams, so that the same samples have the same numbers.

Nothing is trained but what a metric itself trains on the real data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

from engine.distances.floors import first
from engine.knowledge import NotAtHand
from engine.lineage.measure import Measure, gate
from engine.lineage.recipe import rng
from engine.parts import DEFAULT_TRAITS, Around, Dataset, Finding, Generator, Params
from engine.samples import Samples, Traits, given
from engine.spec import MeasureSpec
from engine.status import Status
from engine.store.measured import Measured
from engine.store.rows import Generation


@dataclass(frozen=True)
class Unknown:
    """The generator behind generations made elsewhere: nothing is known of it but whether its
    samples have labels.
    """

    conditional: bool
    kind: str = "generator"
    name: str = "of these generations"  # as in "the generator of these generations draws none"
    params: Params = field(default_factory=dict)

    @property
    def traits(self) -> Traits:
        """It is no data set."""
        raise AttributeError("a generator has no traits of data")

    def trait(self, name: str) -> Any:
        """What it declares: nothing."""
        return DEFAULT_TRAITS[name]

    def constant(self, name: str) -> None:
        """It has no source to read."""


class Elsewhere:
    """Measures sets of n samples against one real set.

    dataset  the truth, constructed.
    real     the real set that a lineage of this seed would have trained on first.
    n        samples of each set.
    """

    def __init__(
        self, dataset: Dataset, real: Samples, metrics: Sequence[MeasureSpec], n: int, seed: int
    ) -> None:
        self.real, self.n, self.seed = real, n, seed
        self.metrics = [(spec, self._prepared(spec, dataset)) for spec in metrics]

    def _prepared(self, spec: MeasureSpec, dataset: Dataset) -> Measure:
        metric = spec.part.make()
        reference = rng(self.seed, f"reference {spec.part.name}")
        metric.prepare(dataset, self.real, self._n(spec), reference)
        return Measure(metric, spec)

    def _n(self, spec: MeasureSpec) -> int:
        """How many samples of each set a metric compares."""
        return self.n if spec.n is None else min(self.n, spec.n)

    @property
    def behind(self) -> dict[str, str]:
        """The extractor or network behind the values of each metric that has one, by its id."""
        told = ((spec.id, measure.about.values()) for spec, measure in self.metrics)
        return {name: ", ".join(about) for name, about in told if about}

    def generations(self, sets: Sequence[Samples]) -> Iterator[Generation]:
        """Measure one set after the other, as generations 0, 1, ... of one lineage."""
        for t, samples in enumerate(sets):
            due = [pair for pair in self.metrics if pair[0].due(t, len(sets) - 1)]
            yield self._generation(t, samples.drawn_at(t), due)

    def _generation(
        self, t: int, samples: Samples, due: Sequence[tuple[MeasureSpec, Measure]]
    ) -> Generation:
        try:
            status, reason = gate(samples, self.real)
        except Finding as finding:
            return Generation("", t, "", None, Status(finding.status), finding.reason)
        around = Around(
            real=self.real,
            labels=given(self.real, self.n),
            training=_nobody_knows,
            real_of=lambda j: self.real,
            generator=_nobody_knows,
        )
        values: dict[str, float] = {}
        undefined: dict[str, str] = {}
        for spec, measure in due:
            stream = rng(self.seed, f"metric {spec.part.name}", t)
            compared = first(samples, self._n(spec))
            found = measure(compared, cast(Generator, _Absent()), around, stream)
            values.update(found.values)
            undefined.update(found.undefined)
        return Generation("", t, "", None, status, reason, measured=Measured(values, undefined))


class _Absent:
    """The generator that a metric is handed: it declares nothing, and whatever asks it for more is
    told why not.
    """

    def __getattr__(self, name: str) -> Any:
        return DEFAULT_TRAITS[name] if name in DEFAULT_TRAITS else _nobody_knows(name)


def _nobody_knows(*_: object) -> NoReturn:
    raise NotAtHand("these generations were made elsewhere: only their samples are at hand")
