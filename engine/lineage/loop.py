"""The loop: train, draw, measure, commit, and train again on what was drawn.  No Ray, no MLflow.

A lineage is a path of generation keys.  What the store already holds is found, what is missing is
made.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, TypeVar

import numpy as np

from engine._drawn_variance import expected
from engine.contents import Contents, kinds
from engine.lineage.by_task import measured
from engine.lineage.generations import GenerationCache
from engine.lineage.measure import ALWAYS, gate, unasked
from engine.lineage.recipe import Node, path
from engine.names import alone
from engine.parts import Finding
from engine.samples import Samples
from engine.spec import LineageSpec, MeasureSpec
from engine.status import Status
from engine.store import artifacts as archive
from engine.store import reader
from engine.store.measured import Measured
from engine.store.rows import (
    Address,
    Data,
    DrawRow,
    File,
    Generation,
    LineageRow,
    Machine,
    ModelRow,
    Reported,
    Row,
)
from engine.store.store import Kind, Store
from engine.training import progress

R = TypeVar("R", ModelRow, DrawRow)
MOST_KINDS = 20  # of files left out, in a lineage's file
LARGE_BYTES = 16 << 20  # arrays of a generation that a closed form does not keep


@dataclass(frozen=True)
class Outcome:
    """How a lineage stands: the status of its newest generation, and why."""

    status: Status = Status.UNFINISHED
    reason: str = ""
    t: int = -1


class Lineage:
    """One chain of generations 0..generations in a store.

    advance() makes (or finds) the next generation; advance_for(seconds) makes as many as fit and
    commits them together.
    """

    def __init__(
        self,
        spec: LineageSpec,
        store: Store,
        *,
        generations: int,
        metrics: Sequence[MeasureSpec] = (),
    ) -> None:
        self.spec, self.store, self.generations, self.metrics = (
            spec,
            store,
            generations,
            tuple(metrics),
        )
        self.path = path(spec, generations)
        self.t = 0
        self.outcome = Outcome()
        self.cache = GenerationCache(spec, store, self.path)
        self._pending: list[Row] = []
        self._written: set[tuple[Kind, str]] = set()  # what the last commit wrote arrays of
        self._locks: dict[str, contextlib.ExitStack] = {}

    # ---- going on ----

    @property
    def fits(self) -> int:
        """How many models this object has trained."""
        return self.cache.fits

    @property
    def done(self) -> bool:
        return self.t > self.generations or self.outcome.status.ends

    def advance(self) -> Generation:
        """Make or find the next generation and commit it."""
        return self.advance_for(0)[0]

    def advance_for(self, seconds: float, most: int = 256) -> list[Generation]:
        """At least one generation, then more until the time is up; committed together, in order."""
        started, made = time.monotonic(), list[Generation]()
        try:
            while not self.done and len(made) < most:
                made.append(self._generation(self.path[self.t]))
                if time.monotonic() - started >= seconds:
                    break
        finally:
            committed = self._flush()
            if made and made[0].t == 0:  # also of a lineage that failed right after
                self._write_path()
        return [row if row.time else replace(row, time=committed) for row in made]

    def rows(self) -> list[Generation]:
        """All committed generations, in order, without making anything."""
        self.store.refresh()
        return list(reader.generations(self.store, self.spec.id, self.path, self.due))

    def due(self, t: int) -> list[str]:
        """The names in the output of the metrics that are to be measured at generation t."""
        return [metric.stored for metric in self._due(t)]

    def complete(self) -> bool:
        """Whether nothing is left to do: every row is there, every metric measured, every file as
        its row says.
        """
        rows = self.rows()
        if not rows or (rows[-1].t < self.generations and not rows[-1].status.ends):
            return False
        if self.store.lineage(self.spec.id) is None:
            return False
        return all(self._is_whole(self.path[row.t]) for row in rows)

    def _is_whole(self, node: Node) -> bool:
        draw = self.store.row("draw", node.draw)
        if draw is not None and self._lacking(node.t, draw):
            return False
        files = [self.store.row("model", node.model), draw]
        return not any(self.store.check(row) for row in files if row)

    # ---- one generation ----

    def _generation(self, node: Node) -> Generation:
        model = self._model_row(node)
        draw = None if model.status.ends else self._draw_row(node)
        if draw is not None:
            self._measure_missing(node, draw)
        found = self._joined(node, model, draw)
        self.outcome = Outcome(found.status, found.reason, node.t)
        self.t += 1
        self.cache.forget(node.t)
        return found

    def _model_row(self, node: Node) -> ModelRow:
        row = self.store.row("model", node.model)
        if row is None:
            self._claim(node.model)
            row = self.store.row("model", node.model)  # someone else may have committed it
        if row is not None:
            return self._restored(row)
        started = time.perf_counter()
        data = self.cache.training_set(node)
        counts = self._counts(data)
        fit, status, reason = dict[str, float](), Status.OK, ""
        try:
            with progress.stage(node.t, "training"):
                fit = self.cache.fit(node, data)
        except Finding as finding:
            status, reason = Status(finding.status), finding.reason
        return self._made(
            ModelRow(
                key=node.model,
                t=node.t,
                status=status,
                reason=reason,
                **_cost(started),
                fit=_finite(fit),
                counts=counts,
                sources=tuple(sorted(set(node.sources.values()))),
                speed=self.cache.speed,
            )
        )

    def _draw_row(self, node: Node) -> DrawRow:
        row = self.store.row("draw", node.draw)
        if row is None:
            self._claim(node.model)
            row = self.store.row("draw", node.draw)
        if row is not None:
            return self._restored(row)
        started = time.perf_counter()
        report, status, reason = dict[str, float](), Status.OK, ""
        metrics: dict[str, Measured] = {}
        try:
            with progress.stage(node.t, "drawing"):
                draw = self.cache.draw(node)
            report = {**draw.report, **self._expected}
            status, reason = gate(draw.samples, self.cache.real(0), node.classes)
            self.cache.keep(node.t, draw.samples)
            metrics = self._measured_first(node)
        except Finding as finding:
            status, reason = Status(finding.status), finding.reason
        return self._made(
            DrawRow(
                key=node.draw,
                t=node.t,
                status=status,
                reason=reason,
                **_cost(started),
                model=node.model,
                n=self.spec.drawn(node.t),
                report=_finite(report),
                metrics=metrics,
            )
        )

    @property
    def _expected(self) -> dict[str, float]:
        """What the generator's draws are to be expected to lack of variance, where they do."""
        found = expected(self.spec.generator, self.spec.dataset.trait("GIVES"))
        return {} if found is None else found.report

    def _measure_missing(self, node: Node, draw: DrawRow) -> None:
        """Metrics asked for now that an earlier sweep did not measure."""
        for metric in self._lacking(node.t, draw):
            self.store.add_metric(node.draw, metric.stored, self._measured(metric, node))

    def _lacking(self, t: int, draw: DrawRow) -> list[MeasureSpec]:
        """The metrics that are due and not measured."""
        if not draw.status.measurable:
            return []
        return [m for m in self._due(t) if self.store.measured(draw, m.stored) is None]

    def _due(self, t: int) -> list[MeasureSpec]:
        return [m for m in self.metrics if m.due(t, self.generations)]

    # ---- measuring ----

    def _measured_first(self, node: Node) -> dict[str, Measured]:
        """What is measured of a draw that has just been made: what is due, and what always is."""
        found = {m.stored: self._measured(m, node) for m in self._due(node.t)}
        if ALWAYS.stored not in found:
            found[ALWAYS.stored] = unasked(self.spec, lambda metric: self._measured(metric, node))
        return found

    def _measured(self, metric: MeasureSpec, node: Node) -> Measured:
        with progress.stage(node.t, f"measuring {metric.id}"):  # training an extractor, too
            return measured(metric, self.cache, node)

    # ---- committing ----

    def _claim(self, model: str) -> None:
        """Hold a model and its draws for writing, and see what others have committed meanwhile."""
        tiny = self.spec.generator.constant("COST") == "tiny"
        # 4,096 lock files serve any number of keys that nobody waits for long
        slot = model[:3] if tiny else model
        # over a network a lease costs more than a tiny model
        if slot not in self._locks and (self.store.local or not tiny):
            held = self.store.try_lock(slot)
            if held is None:
                self._flush()  # never wait for others while they may wait for us
                held = self.store.lock(slot)
            self._locks[slot] = held
        self.store.refresh()

    def _made(self, row: R) -> R:
        """Remember a row for the next commit.

        What many lineages share, the founder, is written at once.
        """
        if row.t == 0:
            row = replace(row, files=self._files(row))
        self._pending.append(row)
        return row

    def _flush(self) -> float:
        """Write the newest generation's arrays, commit all pending rows at once, release the locks;
        the time of it.
        """
        now = time.time()
        try:
            newest = max((row.t for row in self._pending), default=-1)
            rows = [replace(row, files=self._kept(row, newest), time=now) for row in self._pending]
            if rows:
                self.store.commit(rows)
                self._drop_the_last_but_one(rows)
                self._drop_half_trained()
        finally:
            self._pending = []
            for held in self._locks.values():
                held.close()
            self._locks = {}
        return now

    def _kept(self, row: Row, newest: int) -> Mapping[str, File]:
        """The arrays of a pending row: those of the newest generation are written now."""
        return self._files(row) if row.t == newest and not row.files else row.files

    def _drop_half_trained(self) -> None:
        for key in self.cache.half_trained:
            self.store.drop_partial(key)
        self.cache.half_trained.clear()

    def _drop_the_last_but_one(self, rows: Iterable[Row]) -> None:
        """Of closed forms with large arrays, cheaper to make again than to keep, only the founder's
        and the newest stay.
        """
        large = [row for row in rows if row.t and row.bytes > LARGE_BYTES]
        if self.spec.generator.constant("COST") == "tiny":
            self.store.prune(set(), self._written)
        self._written = {(row.kind, row.key) for row in large}

    def _files(self, row: Row) -> dict[str, File]:
        """Write the arrays of a pending row, where they are at hand; what the row must hold of
        them.
        """
        t, have, files = row.t, self.cache, dict[str, bytes]()
        if row.kind == "model" and have.has_generator(t) and row.status is Status.OK:
            files = archive.generator_files(have.generator(t))
        if row.kind == "draw" and have.has_samples(t):
            files = archive.sample_files(have.samples(t)) | archive.strip_files(have.strip(t))
        return self.store.put(row.kind, row.key, files)

    def _restored(self, row: R) -> R:
        """A committed row, its damaged files made again."""
        if self.store.check(row):
            self.cache.restore(row)
        return row

    def _counts(self, data: Samples) -> dict[str, float]:
        real = float(np.mean(data.born == -1)) * len(data)
        return {"real": real, "synthetic": len(data) - real, "fraction": data.synthetic_fraction}

    def _joined(self, node: Node, model: ModelRow, draw: DrawRow | None) -> Generation:
        """One generation: model, draw and metrics together."""
        due = self.due(node.t)
        measured = Measured() if draw is None else reader.measured(self.store, draw, due)
        return Generation.of(self.spec.id, node.t, model, draw, measured)

    def _write_path(self) -> None:
        addresses = tuple(Address(node.t, node.model, node.draw) for node in self.path)
        before, spec = self.store.lineage(self.spec.id), self.spec
        classes, data = _held(spec)
        if data is None and before is not None:  # read elsewhere
            classes, data = before.classes, before.data
        named, label = spec.to_dict(), alone(spec)
        row = LineageRow(spec.id, named, label, addresses, classes, spec.identity, data=data)
        if before != row:
            self.store.write_lineage(row)


def _held(spec: LineageSpec) -> tuple[tuple[str, ...], Data | None]:
    """What the labels 0, 1, ... of a finite data set are called, where that is not their number;
    and what it holds.
    """
    found = spec.dataset.contents
    if not isinstance(found, Contents):
        return (), None
    numbers = tuple(map(str, range(len(found.classes))))
    data = Data(
        found.train,
        found.held_out,
        found.per_class,
        found.apart,
        dict(Counter(kinds(found.left_out)).most_common(MOST_KINDS)),
        found.unread,
        found.copies,
        found.shape,
        len(found.classes),
    )
    return () if found.classes == numbers else found.classes, data


class _Cost(TypedDict):
    seconds: float
    machine: Machine


def _cost(started: float) -> _Cost:
    """What a row says of its making."""
    return {"seconds": round(time.perf_counter() - started, 4), "machine": archive.machine()}


def _finite(report: Mapping[str, float]) -> Reported:
    """JSON has no NaN: what is not finite becomes null."""
    return {k: float(v) if np.isfinite(v) else None for k, v in report.items()}
