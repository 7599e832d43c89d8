"""What a sweep's comparison cannot resolve, said before it runs: distances of fewer samples than
they have features, moments of few rows, and founders that differ over seeds by more than the effect
that is asked about.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping

from engine._few_rows import warnings as few_rows
from engine._yardstick import coordinates
from engine.distances import extractors
from engine.identity import Part
from engine.names import names_of
from engine.registry import describe
from engine.settings import CollapseRule
from engine.spec import LineageSpec, MeasureSpec, Sweep
from engine.store.keys import beside, metric_of
from engine.store.store import Store


def warnings(
    sweep: Sweep, store: Store, founders: Mapping[str, str], there: Container[str]
) -> tuple[str, ...]:
    """A sentence for each.

    founders  the first draw of each lineage, by its id.
    there     draws that are committed.
    """
    begun = {id_: draw for id_, draw in founders.items() if draw in there}
    few = (*_few(sweep), *few_rows(sweep.lineages))
    return (*dict.fromkeys(few), *_spread(sweep, store, begun))


# ---- fewer samples than features -----------------------------------------------------------------


def _few(sweep: Sweep) -> Iterator[str]:
    """Distances through a covariance that is estimated of fewer samples than it has rows."""
    datasets = {(id(spec.dataset), _classes(spec)): spec.dataset for spec in sweep.lineages}
    for metric in sweep.metrics:
        of, n = metric.part.trait("COVARIANCE"), sweep.n_of(metric)
        if of is None or n is None:
            continue
        for (_, classes), dataset in datasets.items():
            features = _features(metric, dataset)
            if of == "class" and not classes:
                continue
            own = n if of == "set" or not classes else n // classes
            if features is not None and own < features[1]:
                where = "" if of == "set" else f", about {own:,} of each class,"
                yield (
                    f"{metric.id} compares n {n:,}{where} in {features[1]:,} features "
                    f"({features[0]}) on {dataset.name}: with fewer samples than features most of "
                    "a distance is their small number; read it against its floor"
                )


def _classes(spec: LineageSpec) -> int | None:
    """How many share the n of a comparison: of a stream those of a task, whose n it is."""
    return max(map(len, spec.stream)) if spec.stream else spec.dataset.traits.classes


def _features(metric: MeasureSpec, dataset: Part) -> tuple[str, int] | None:
    """The extractor of a metric on this data and how many features it gives; None where only absent
    data could tell.
    """
    known = describe("metric", metric.part.name).parameters.get("extractor")
    found, kind = dataset.known_contents, dataset.constant("GIVES")
    if known is None:
        return None
    name = metric.part.params.get("extractor", known.default)
    if name == "auto":
        if kind == "images" and found is None:
            return None
        name = extractors.chosen(name, kind, found is not None and found.labelled)
    if name != "raw":
        return name, extractors.features_of(name)
    d = coordinates(dataset)
    return None if d is None else (name, d)


# ---- founders that differ ------------------------------------------------------------------------


def _spread(sweep: Sweep, store: Store, begun: Mapping[str, str]) -> Iterator[str]:
    """Cells whose founders differ by more than the level of the collapse rule; cells that share
    their founders are named once.
    """
    rule = sweep.collapse
    if rule is None or rule.slope is not None:
        return
    cells: dict[str, dict[str, LineageSpec]] = {}  # of each cell one lineage for each founder
    for spec in sweep.lineages:
        if spec.id in begun:
            cells.setdefault(spec.cell_id, {})[begun[spec.id]] = spec
    alike: dict[tuple[str, ...], dict[str, LineageSpec]] = {}
    for own in cells.values():
        alike.setdefault(tuple(own), own)
    for founders in alike.values():
        levels = (_level(sweep, rule, store, draw, spec) for draw, spec in founders.items())
        known = [level for level in levels if level is not None]
        if len(known) < 2:
            continue
        apart = max(value for value, _ in known) - min(value for value, _ in known)
        asked = sum(effect for _, effect in known) / len(known)
        if apart > asked:
            name = names_of(sweep).cell(next(iter(founders.values())))
            yield (
                f"{rule.metric} of the founders of {name} differs over {len(known)} seeds by "
                f"{_much(apart, rule)}, more than the effect that is asked about "
                f"({rule.words()}: {_much(asked, rule)}); more samples, or more seeds"
            )


def _much(apart: float, rule: CollapseRule) -> str:
    """A distance on the scale of a rule in words: a factor, or so many units."""
    if rule.is_ratio:
        return f"a factor of {math.exp(apart):.3g}"
    return f"{apart:.3g} {rule.unit}".rstrip()


def _level(
    sweep: Sweep, rule: CollapseRule, store: Store, draw: str, spec: LineageSpec
) -> tuple[float, float] | None:
    """A founder's value and how far it is from the level: of a ratio both are logarithms; None
    where one of them has no value, or no logarithm.
    """
    row = store.row("draw", draw)
    own = next((m for m in sweep.metrics_of(spec) if m.id == metric_of(rule.metric)), None)
    measured = None if row is None or own is None else store.measured(row, own.stored)
    if measured is None:
        return None
    value = measured.values.get(rule.metric)
    floor = measured.values.get(beside(rule.metric, "floor"))
    reference = {"floor": floor, "one": 1.0}.get(rule.of or "start", value)
    if value is None or reference is None:
        return None
    if not rule.is_ratio:
        return value, abs(rule.begins(reference) - value)
    if value <= 0 or reference <= 0:
        return None
    return math.log(value), abs(math.log(rule.begins(reference) / value))
