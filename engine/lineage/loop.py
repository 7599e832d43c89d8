"""The loop: train, draw, measure, commit, and train again on what was drawn.  No Ray, no MLflow.

A lineage is a path of generation keys.  What the store already holds is found, what is missing is
made.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.contents import Contents
from engine.lineage.generations import Material
from engine.lineage.measure import prepared
from engine.lineage.recipe import Node, path
from engine.names import alone
from engine.parts import Finding
from engine.samples import Samples
from engine.spec import LineageSpec, MeasureSpec
from engine.store import artifacts as archive
from engine.store.store import Row, Store

ENDS = (
    "diverged",
    "constant",
    "quota_unfilled",
    "extinct",
)  # statuses after which there is no next generation
LARGE_BYTES = 16 << 20  # arrays of a generation that a closed form does not keep


class Lineage:
    """One chain of generations 0..generations in a store.

    advance() -> row makes (or finds) the next generation; advance_for(seconds) makes as many as fit
    and commits them together.
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
        self.outcome: dict[str, Any] = {"status": "unfinished", "reason": "", "t": -1}
        self.material = Material(spec, store, self.path)
        self._pending: list[Row] = []
        self._written: set[tuple[str, str]] = set()  # what the last commit wrote arrays of
        self._locks: dict[str, contextlib.ExitStack] = {}

    # ---- going on ----

    @property
    def fits(self) -> int:
        """How many models this object has trained."""
        return self.material.fits

    @property
    def done(self) -> bool:
        return self.t > self.generations or self.outcome["status"] in ENDS

    def advance(self) -> Row:
        """Make or find the next generation, commit it, return its row."""
        return self.advance_for(0)[0]

    def advance_for(self, seconds: float, most: int = 256) -> list[Row]:
        """At least one generation, then more until the time is up; committed together.

        Rows in order.
        """
        started, rows = time.monotonic(), list[Row]()
        try:
            while (
                not self.done
                and len(rows) < most
                and (not rows or time.monotonic() - started < seconds)
            ):
                rows.append(self._generation(self.path[self.t]))
        finally:
            committed = self._flush()
            if rows and rows[0]["t"] == 0:  # also of a lineage that failed right after
                self._write_path()
        for row in rows:
            row["time"] = row["time"] or committed
        return rows

    def rows(self) -> list[Row]:
        """The rows of all committed generations, in order, without making anything."""
        self.store.refresh()
        rows = []
        for node in self.path:
            model = self.store.row("model", node.model)
            draw = self.store.row("draw", node.draw) if model else None
            if model is None or (draw is None and model["status"] not in ENDS):
                break
            rows.append(self._joined(node, model, draw))
            if rows[-1]["status"] in ENDS:
                break
        return rows

    def complete(self) -> bool:
        """Whether nothing is left to do: every row is there, every metric measured, every file as
        its row says.
        """
        rows = self.rows()
        if not rows or (rows[-1]["t"] < self.generations and rows[-1]["status"] not in ENDS):
            return False
        return self.store.lineage(self.spec.id) is not None and all(
            self._sound(self.path[row["t"]]) for row in rows
        )

    def _sound(self, node: Node) -> bool:
        draw = self.store.row("draw", node.draw)
        measured = draw is None or all(
            self.store.measured(draw, m.id) is not None for m in self._due(node.t, draw)
        )
        files = [self.store.row("model", node.model), draw]
        return measured and not any(self.store.check(row) for row in files if row)

    # ---- one generation ----

    def _generation(self, node: Node) -> Row:
        model = self._model_row(node)
        draw = None if model["status"] in ENDS else self._draw_row(node)
        if draw is not None:
            self._measure_missing(node, draw)
        row = self._joined(node, model, draw)
        self.outcome = {"status": row["status"], "reason": row["reason"], "t": node.t}
        self.t += 1
        self.material.forget(node.t)
        return row

    def _model_row(self, node: Node) -> Row:
        row = self.store.row("model", node.model) or self._claim("model", node.model, node.model)
        if row is not None:
            return self._restored(row)
        started = time.perf_counter()
        data = self.material.training_set(node)
        counts = self._counts(data)
        fit, status, reason = {}, "ok", ""
        try:
            fit = self.material.fit(node, data)
        except Finding as finding:
            status, reason = finding.status, finding.reason
        row = self._row("model", node.model, node.t, status, reason, started)
        row |= {
            "fit": _finite(fit),
            "counts": counts,
            "sources": sorted(set(node.sources.values())),
        }
        row["speed"] = self.material.speed
        return self._made(row)

    def _draw_row(self, node: Node) -> Row:
        row = self.store.row("draw", node.draw) or self._claim("draw", node.draw, node.model)
        if row is not None:
            return self._restored(row)
        started = time.perf_counter()
        report, status, reason, values = {}, "ok", "", {}
        try:
            draw = self.material.draw(node)
            report, (status, reason) = draw.report, self._gate(draw.samples)
            self.material.keep(node.t, draw.samples)
            values = {m.id: self._measured(m, node) for m in self._due(node.t)}
        except Finding as finding:
            status, reason = finding.status, finding.reason
        row = self._row("draw", node.draw, node.t, status, reason, started)
        row |= {
            "model": node.model,
            "n": self.spec.drawn(node.t),
            "report": _finite(report),
            "metrics": values,
        }
        return self._made(row)

    def _measure_missing(self, node: Node, draw: Row) -> None:
        """Metrics asked for now that an earlier sweep did not measure."""
        missing = [m for m in self._due(node.t, draw) if self.store.measured(draw, m.id) is None]
        for metric in missing:
            self.store.add_metric(node.draw, metric.id, self._measured(metric, node))

    def _due(self, t: int, draw: Row | None = None) -> list[MeasureSpec]:
        unfilled = draw is not None and draw["status"] in ENDS and draw["status"] != "constant"
        return [] if unfilled else [m for m in self.metrics if m.due(t, self.generations)]

    # ---- measuring ----

    def _measured(self, metric: MeasureSpec, node: Node) -> dict[str, Any]:
        have = self.material
        n = self.spec.drawn(node.t)
        measure = prepared(metric, self.spec, have.dataset, have.real(0), n)
        stream = have.rng(f"metric {metric.part.name}", node.t)
        around = have.around(node)
        return measure(have.samples(node.t), have.generator(node.t), around, stream)

    def _gate(self, samples: Samples) -> tuple[str, str]:
        """Status and reason of a fresh draw.  Finding when its values are not finite."""
        x = samples.x
        if not np.issubdtype(x.dtype, np.integer) and not np.isfinite(x).all():
            raise Finding(
                "diverged",
                f"{int((~np.isfinite(x)).sum()):,} of {x.size:,} sampled values are not finite",
            )
        kind = samples.declared.kind  # one token left is a state of its own: `discrete` counts it
        if kind != "tokens" and len(x) > 1 and (x[0] == x[1]).all() and (x == x[:1]).all():
            return "constant", f"all {len(x):,} samples are equal"
        y, real = samples.y, self.material.real(0).y
        if y is not None and real is not None and kind != "regression":
            lost = np.setdiff1d(real, y)
            if len(lost):
                return "class_extinct", f"no samples of class {', '.join(map(str, lost))}"
        return "ok", ""

    # ---- committing ----

    def _claim(self, kind: str, key: str, model: str) -> Row | None:
        """Hold a model and its draws for writing; the row, if someone else committed it in the
        meantime.
        """
        tiny = self.spec.generator.constant("COST") == "tiny"
        slot = (
            model[:3] if tiny else model
        )  # 4,096 lock files serve any number of keys that nobody waits for long
        if slot not in self._locks and (
            self.store.local or not tiny
        ):  # over a network a lease costs more than a tiny model
            held = self.store.try_lock(slot)
            if held is None:
                self._flush()  # never wait for others while they may wait for us
                held = self.store.lock(slot)
            self._locks[slot] = held
        self.store.refresh()
        return self.store.row(kind, key)

    def _made(self, row: Row) -> Row:
        """Remember a row for the next commit.

        What many lineages share, the founder, is written at once.
        """
        if row["t"] == 0:
            row["files"] = self._files(row)
        self._pending.append(row)
        return row

    def _flush(self) -> float:
        """Write the newest generation's arrays, commit all pending rows at once, release the locks;
        the time of it.
        """
        now = time.time()
        try:
            newest = max((row["t"] for row in self._pending), default=-1)
            for row in self._pending:
                row["files"] = (
                    self._files(row) if row["t"] == newest and not row["files"] else row["files"]
                )
                row["time"] = now
            if self._pending:
                self.store.commit(self._pending)
                self._drop_the_last_but_one()
                self._drop_half_trained()
        finally:
            self._pending = []
            for held in self._locks.values():
                held.close()
            self._locks = {}
        return now

    def _drop_half_trained(self) -> None:
        for key in self.material.half_trained:
            self.store.drop_partial(key)
        self.material.half_trained.clear()

    def _drop_the_last_but_one(self) -> None:
        """Of closed forms with large arrays, cheaper to make again than to keep, only the founder's
        and the newest stay.
        """
        large = [
            r
            for r in self._pending
            if r["t"] and sum(f["bytes"] for f in r["files"].values()) > LARGE_BYTES
        ]
        written = {(row["kind"], row["key"]) for row in large}
        if self.spec.generator.constant("COST") == "tiny":
            self.store.prune(set(), self._written)
        self._written = written

    def _files(self, row: Row) -> dict[str, Any]:
        """Write the arrays of a pending row, where they are at hand; what the row must hold of
        them.
        """
        t, have, files = row["t"], self.material, dict[str, bytes]()
        if row["kind"] == "model" and have.has_generator(t) and row["status"] == "ok":
            files = archive.generator_files(have.generator(t))
        if row["kind"] == "draw" and have.has_samples(t):
            files = archive.sample_files(have.samples(t)) | archive.strip_files(have.strip(t))
        return self.store.put(row["kind"], row["key"], files)

    def _row(self, kind: str, key: str, t: int, status: str, reason: str, started: float) -> Row:
        spent = round(time.perf_counter() - started, 4)
        row = {
            "kind": kind,
            "key": key,
            "t": t,
            "status": status,
            "reason": reason,
            "files": {},
            "time": 0.0,
        }
        return row | {"seconds": spent, "machine": archive.machine()}

    def _restored(self, row: Row) -> Row:
        """A committed row, its damaged files made again."""
        if self.store.check(row):
            self.material.restore(row)
        return row

    def _counts(self, data: Samples) -> dict[str, float]:
        real = float(np.mean(data.born == -1)) * len(data)
        return {"real": real, "synthetic": len(data) - real, "fraction": data.synthetic_fraction}

    def _joined(self, node: Node, model: Row, draw: Row | None) -> Row:
        """One generation's row: model, draw and metrics together."""
        last = draw or model
        status, reason = (
            (model["status"], model["reason"])
            if model["status"] != "ok"
            else (last["status"], last["reason"])
        )
        row = {
            "lineage": self.spec.id,
            "t": node.t,
            "model": node.model,
            "draw": node.draw if draw else None,
        }
        row |= {"status": status, "reason": reason, "time": last["time"]}
        row |= {
            "seconds": round(model["seconds"] + (draw["seconds"] if draw else 0), 4),
            "counts": model["counts"],
        }
        row |= {
            "fit": model["fit"],
            "speed": model.get("speed", {}),
            "report": draw["report"] if draw else {},
        }
        row |= {"values": {}, "undefined": {}, "machine": model.get("machine", {})}
        for metric in self._due(node.t, draw):
            if draw is None:
                break
            found = self.store.measured(draw, metric.id) or {"values": {}, "undefined": {}}
            row["values"] |= found["values"]
            row["undefined"] |= found["undefined"]
        return row

    def _write_path(self) -> None:
        generations = [{"t": n.t, "model": n.model, "draw": n.draw} for n in self.path]
        about = {
            "lineage": self.spec.id,
            "spec": self.spec.to_dict(),
            "label": alone(self.spec),
            "generations": generations,
        }
        before = self.store.lineage(self.spec.id)
        if classes := _class_names(self.spec) or (before or {}).get("classes"):
            about["classes"] = classes
        if before != about:
            self.store.write_lineage(self.spec.id, about)


def _class_names(spec: LineageSpec) -> list[str]:
    """What the labels 0, 1, ... are called, where that is not their number."""
    contents = spec.dataset.contents
    if not isinstance(contents, Contents):
        return []
    names = list(contents.classes)
    return [] if names == [str(label) for label in range(len(names))] else names


def _finite(report: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: what is not finite becomes null."""
    return {k: float(v) if np.isfinite(v) else None for k, v in report.items()}
