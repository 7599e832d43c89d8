"""The experiment behind an output that keeps none: what its lineages say of themselves."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace

from engine._measure_spec import SAMPLES
from engine.experiment.yaml import parse_value
from engine.registry import describe, names
from engine.spec import LineageSpec, MeasureSpec, Part, Sweep
from engine.store.rows import DrawRow, LineageRow
from engine.store.store import Store


def recorded(store: Store) -> Sweep:
    """The lineages that an output holds, as far as they went, with the metrics that it has of them.

    Collapse rule and threshold are not in an output's lineages.  FileNotFoundError where it holds
    no lineage.
    """
    rows = [(row, spec) for row in store.lineages() if (spec := row.known_spec()) is not None]
    if not rows:
        raise FileNotFoundError(f"{store.url} holds no lineage; it is no output of a run")
    last = max(row.generations[-1].t for row, _ in rows if row.generations)
    return Sweep(
        name=posixpath.basename(store.root),
        lineages=tuple(spec for _, spec in sorted(rows, key=_order)),
        generations=last,
        metrics=tuple(_metrics(store, [row for row, _ in rows])),
        out=store.root if store.local else store.url,
        tracking="none",
        source=store.url,
    )


def _order(found: tuple[LineageRow, LineageSpec]) -> tuple[str, str, float, str, int]:
    row, spec = found
    share = -1.0 if spec.synthetic_fraction is None else spec.synthetic_fraction
    return spec.generator.text, spec.policy.name, share, row.label, spec.seed


def _metrics(store: Store, rows: list[LineageRow]) -> Iterator[MeasureSpec]:
    """What was measured of the founders, in the order of their rows, at the least n of each."""
    found: dict[str, int | None] = {}
    for row in rows:
        draw = store.row("draw", row.generations[0].draw) if row.generations else None
        for name in store.metrics_of(draw) if isinstance(draw, DrawRow) else ():
            own, n = name.partition("~")[0], SAMPLES.search(name)
            known = [each for each in (found.get(own), n and int(n[1])) if each is not None]
            found[own] = min(known, default=None)
    for name, least in found.items():
        spec = _metric(name)
        if spec is not None:
            yield replace(spec, n=least)


def _metric(name: str) -> MeasureSpec | None:
    """The metric that rows call so; None where its parameters cannot be told from that."""
    part, _, rest = name.partition(".")
    if part not in names("metric"):
        return None
    known = describe("metric", part).parameters
    params = {}
    for pair in filter(None, rest.split(".")):
        key, _, value = pair.partition("-")
        if key in known:
            params[key] = parse_value(value)
    spec = MeasureSpec(Part("metric", part, params))
    return spec if spec.id == name else None
