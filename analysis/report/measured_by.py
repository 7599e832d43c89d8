"""Which extractor or network stands behind the values of a metric: distances on different ones are
different quantities.
"""

from __future__ import annotations

from engine.lineage.recipe import path
from engine.spec import Sweep
from engine.store.store import Store


def measured_by(sweep: Sweep, store: Store) -> str:
    """As the founders' rows say, one lineage of each data set: "lenet: fid, conditional_fid"; ''
    where none was needed.
    """
    found: dict[str, list[str]] = {}
    for metric, names in extractors(sweep, store).items():
        for name in names:
            found.setdefault(name, []).append(metric)
    return "; ".join(f"{name}: {', '.join(metrics)}" for name, metrics in found.items())


def extractors(sweep: Sweep, store: Store) -> dict[str, list[str]]:
    """Of each metric what stands behind its values, as far as founders were measured."""
    found: dict[str, dict[str, None]] = {}  # in the order of the metrics
    for spec in {spec.dataset.label: spec for spec in sweep.lineages}.values():
        draw = store.row("draw", path(spec, 0)[0].draw)
        for metric in sweep.metrics_of(spec) if draw is not None else ():
            measured = store.measured(draw, metric.stored) if draw is not None else None
            for name in measured.about.values() if measured is not None else ():
                found.setdefault(metric.part.name, {})[name] = None
    return {metric: list(names) for metric, names in found.items()}
