"""What a sweep will compute, before anything runs: keys need no data, so what lineages share and
what is there is known.

Also the order in which to run: founders that several lineages share first, then the lineages,
repeats of others last.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from engine._drawn_variance import warnings as drawn_otherwise
from engine.files import JsonObject
from engine.lineage.recipe import Node, path
from engine.names import names_of, refusals
from engine.planning.cost import Cost, Lack, forecast
from engine.planning.kept import warnings as not_kept
from engine.planning.preflight import (
    NOTHING,
    Preflight,
    look_at_unfinished,
    parts_with_commands,
)
from engine.planning.resolution import warnings
from engine.spec import LineageSpec, Sweep
from engine.store.rows import Row
from engine.store.store import Store

Paths = Mapping[str, tuple[Node, ...]]  # the generations of each lineage, by its id


@dataclass(frozen=True)
class Plan:
    """Counts of a sweep, and a forecast where earlier rows allow one."""

    cells: int
    seeds: str
    lineages: int  # of the cells; asked counts their controls, too
    asked: int  # generations over all lineages
    unique: int  # ... of different keys
    founders: int
    present: int  # ... committed already
    workers: int
    seconds: (
        float | None
        # forecast of what is missing, see engine/planning/cost.py; None where nothing is known of a
        # generator
    )
    bytes: int | None
    gpu_hours: float | None = None
    cpu_hours: float | None = None
    price: tuple[float, float] | None = None  # USD, lowest and highest
    basis: str = ""  # of the forecast: measured, declared, or both
    # metrics that generations which are there lack: how many of them, by the metric's id
    unmeasured: Mapping[str, int] = field(default_factory=dict)
    compared: Mapping[str, int] = field(default_factory=dict)  # n of each metric that has one
    warnings: tuple[str, ...] = ()  # what the comparison cannot resolve, see resolution.py
    preflight: Preflight = NOTHING  # what this computer has and lacks for it
    controls: int = 0  # lineages at a quarter of the size

    @property
    def missing(self) -> int:
        return self.unique - self.present


def paths(sweep: Sweep) -> dict[str, tuple[Node, ...]]:
    with _no_collection():
        return {spec.id: path(spec, sweep.generations) for spec in sweep.all_lineages}


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Tens of thousands of nodes, none of them garbage: looking through them again and again took
    half of the time.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def order(
    lineages: Sequence[LineageSpec], known: Paths, generations: int
) -> list[tuple[LineageSpec, int]]:
    """(lineage, last generation) in the order to start them: one leader per shared founder up to
    generation 0 comes first, lineages that repeat others come last.
    """
    by_founder: dict[str, list[LineageSpec]] = {}
    ends: set[str] = set()
    first: list[LineageSpec] = []
    again: list[LineageSpec] = []
    for spec in lineages:
        nodes = known[spec.id]
        by_founder.setdefault(nodes[0].model, []).append(spec)
        (again if nodes[-1].draw in ends else first).append(spec)
        ends.add(nodes[-1].draw)
    leaders = [members[0] for members in by_founder.values() if len(members) > 1 and generations]
    return [(spec, 0) for spec in leaders] + [(spec, generations) for spec in [*first, *again]]


def make_plan(sweep: Sweep, store: Store, cpus: float, known: Paths | None = None) -> Plan:
    """Count what is asked, what of it is distinct, and what the store has."""
    known = known or paths(sweep)
    generator = {
        node.draw: spec.generator.name for spec in sweep.all_lineages for node in known[spec.id]
    }
    there = present(store, generator)
    seeds = len({spec.seed for spec in sweep.lineages})
    generators = {spec.generator.name for spec in sweep.lineages}
    share = min((cpus / sweep.resources.of(name).cpus for name in generators), default=1.0)
    workers = max(1, min(int(share), len(sweep.all_lineages)))
    ahead = forecast(_lacks(sweep, generator, there))
    founders = {lineage: nodes[0].draw for lineage, nodes in known.items()}
    return Plan(
        cells=len({spec.cell_id for spec in sweep.lineages}),
        seeds=f"{seeds} seed{'s' if seeds != 1 else ''} each",
        lineages=len(sweep.lineages),
        asked=sum(len(nodes) for nodes in known.values()),
        unique=len(generator),
        founders=len({nodes[0].model for nodes in known.values()}),
        present=len(there),
        workers=workers,
        seconds=None if ahead.seconds is None else ahead.seconds / workers,
        bytes=ahead.bytes,
        gpu_hours=ahead.gpu_hours,
        cpu_hours=ahead.cpu_hours,
        price=ahead.price,
        basis=ahead.basis,
        unmeasured=unmeasured(sweep, store, known, there),
        compared=sweep.compared,
        warnings=warnings(sweep, store, founders, there),
        controls=len(sweep.controls),
        preflight=look_at_unfinished(sweep, store, founders, there),
    )


def present(store: Store, keys: Iterable[str]) -> dict[str, Cost]:
    """The committed draws among these keys, with what their generations took."""
    there = store.draw_keys()
    found = {}
    for key in keys:
        draw = store.row("draw", key) if key in there else None
        if draw is not None:
            found[key] = _cost([draw, store.row("model", draw.model)])
    return found


def unmeasured(sweep: Sweep, store: Store, known: Paths, there: Container[str]) -> dict[str, int]:
    """How many committed generations lack a metric that is due of them, by the metric's id: one
    that is new, or that has to be measured at another n.
    """
    lacking: dict[str, set[str]] = {}
    for spec in sweep.all_lineages:
        metrics = [(metric, metric.stored) for metric in sweep.metrics_of(spec)]
        for node in known[spec.id]:
            draw = store.row("draw", node.draw) if node.draw in there else None
            if draw is None or not draw.status.measurable:
                continue
            for metric, stored in metrics:
                due = metric.due(node.t, sweep.generations)
                if due and store.measured(draw, stored) is None:
                    lacking.setdefault(metric.id, set()).add(node.draw)
    return {name: len(draws) for name, draws in lacking.items()}


def _cost(rows: Iterable[Row | None]) -> Cost:
    known = [row for row in rows if row]
    return Cost(sum(row.seconds for row in known), sum(row.bytes for row in known))


def _lacks(sweep: Sweep, generator: Mapping[str, str], there: Mapping[str, Cost]) -> list[Lack]:
    """What is missing, by generator."""
    lacks = []
    for spec in {s.generator.name: s for s in sweep.lineages}.values():
        mine = [key for key, own in generator.items() if own == spec.generator.name]
        known = [there[key] for key in mine if key in there]
        lacks.append(Lack(len(mine) - len(known), known, sweep.resources_of(spec)))
    return lacks


def rows_there(store: Store, known: Paths) -> dict[str, int]:
    """Committed generations by lineage."""
    there = present(store, {node.draw for nodes in known.values() for node in nodes})
    found = {}
    for lineage, nodes in known.items():
        found[lineage] = sum(node.draw in there for node in nodes)
    return found


def to_json(plan: Plan, sweep: Sweep, there: Mapping[str, int]) -> JsonObject:
    """The plan for machines, with every lineage."""
    names = names_of(sweep)
    each = [
        {
            "id": s.id,
            "label": names.cell(s),
            "cell": s.cell_id,
            "seed": s.seed,
            "generations_there": there[s.id],
            "control": s.id in sweep.control_ids,
        }
        for s in sweep.all_lineages
    ]
    head = {
        "name": sweep.name,
        "question": sweep.question,
        "out": sweep.out,
        "generations": sweep.generations,
    }
    return {
        **head,
        **asdict(plan),
        "missing": plan.missing,
        "refused": refusals(sweep.refused, sweep.lineages),
        "left_out": sweep.left_out(),
        "draws": drawn_otherwise(sweep.lineages),
        "keeps": not_kept(sweep),
        "commands": [part.command_lines for part in parts_with_commands(sweep)],
        "each": each,
    }
