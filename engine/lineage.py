"""The loop: train, draw, measure, commit, and train again on what was drawn.  No Ray, no MLflow.

A lineage is a path of generation keys.  What the store already holds is found, what is missing is made; whatever was pruned or
damaged is made again, bit for bit, from the nearest ancestor that was kept.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine import archive
from engine.measure import Measure, prepared
from engine.parts import Draw, Finding, Generator
from engine.recipe import Node, path, rng, take
from engine.samples import Samples
from engine.spec import LineageSpec, MeasureSpec
from engine.store import Row, Store

ENDS = ("diverged", "constant", "quota_unfilled", "extinct")  # statuses after which there is no next generation
STRIP_POINTS = 500


class NotReproduced(RuntimeError):
    """A pruned or damaged generation came out differently when it was made again."""


class Lineage:
    """One chain of generations 0..generations in a store.

    advance() -> row makes (or finds) the next generation; advance_for(seconds) makes as many as fit and commits them together.
    """

    def __init__(self, spec: LineageSpec, store: Store, *, generations: int, metrics: Sequence[MeasureSpec] = ()) -> None:
        self.spec, self.store, self.generations, self.metrics = spec, store, generations, tuple(metrics)
        self.path = path(spec, generations)
        self.t = 0
        self.outcome: dict[str, Any] = {"status": "unfinished", "reason": "", "t": -1}
        self.fits = 0  # models trained by this object
        self._last_use = {s: node.t for node in self.path for s in node.needs}
        self._draws: dict[int, Samples] = {}
        self._reals: dict[int, Samples] = {}
        self._generators: dict[int, Generator] = {}  # at most the newest
        self._pending: list[Row] = []
        self._locks: dict[str, contextlib.ExitStack] = {}
        self._dataset: Any = None
        self._sampling: Any = None

    # ---- going on ----

    @property
    def done(self) -> bool:
        return self.t > self.generations or self.outcome["status"] in ENDS

    def advance(self) -> Row:
        """Make or find the next generation, commit it, return its row."""
        return self.advance_for(0)[0]

    def advance_for(self, seconds: float, most: int = 256) -> list[Row]:
        """At least one generation, then more until the time is up; committed together.  Rows in order."""
        started, rows = time.monotonic(), list[Row]()
        try:
            while not self.done and len(rows) < most and (not rows or time.monotonic() - started < seconds):
                rows.append(self._generation(self.path[self.t]))
        finally:
            committed = self._flush()
        for row in rows:
            row["time"] = row["time"] or committed
        if rows and rows[0]["t"] == 0:
            self._write_path()
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
        """Whether nothing is left to do: every row is there, every metric measured, every file as its row says."""
        rows = self.rows()
        if not rows or (rows[-1]["t"] < self.generations and rows[-1]["status"] not in ENDS):
            return False
        return all(self._sound(self.path[row["t"]]) for row in rows)

    def _sound(self, node: Node) -> bool:
        draw = self.store.row("draw", node.draw)
        measured = draw is None or all(self.store.measured(draw, m.id) is not None for m in self._due(node.t, draw))
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
        self._forget(node.t)
        return row

    def _model_row(self, node: Node) -> Row:
        row = self.store.row("model", node.model) or self._claim("model", node.model)
        if row is not None:
            return self._restored(row, node)
        started = time.perf_counter()
        data = self._training_set(node)
        counts = self._counts(data)
        fit, status, reason = {}, "ok", ""
        try:
            fit = self._fit(node, data)
        except Finding as finding:
            status, reason = finding.status, finding.reason
        row = self._row("model", node.model, node.t, status, reason, started)
        row |= {"fit": _finite(fit), "counts": counts, "sources": sorted(set(node.sources.values()))}
        return self._made(row)

    def _draw_row(self, node: Node) -> Row:
        row = self.store.row("draw", node.draw) or self._claim("draw", node.draw)
        if row is not None:
            return self._restored(row, node)
        started = time.perf_counter()
        report, status, reason, values = {}, "ok", "", {}
        try:
            draw = self._draw(node)
            report, (status, reason) = draw.report, self._gate(draw.samples)
            self._draws[node.t] = draw.samples
            values = {m.id: self._measured(m, node) for m in self._due(node.t)}
        except Finding as finding:
            status, reason = finding.status, finding.reason
        row = self._row("draw", node.draw, node.t, status, reason, started)
        row |= {"model": node.model, "n": self.spec.n_drawn, "report": _finite(report), "metrics": values}
        return self._made(row)

    def _measure_missing(self, node: Node, draw: Row) -> None:
        """Metrics asked for now that an earlier sweep did not measure."""
        missing = [m for m in self._due(node.t, draw) if self.store.measured(draw, m.id) is None]
        for metric in missing:
            self.store.add_metric(node.draw, metric.id, self._measured(metric, node))

    def _due(self, t: int, draw: Row | None = None) -> list[MeasureSpec]:
        unfilled = draw is not None and draw["status"] in ENDS and draw["status"] != "constant"
        return [] if unfilled else [m for m in self.metrics if m.due(t, self.generations)]

    # ---- training, drawing, measuring ----

    def _training_set(self, node: Node) -> Samples:
        for s in sorted(self._missing(node)):
            self._draws[s] = self._stored_draw(s) or self._redraw(s)
        sources = {s: self._real(node.t) if s < 0 else self._draws[s] for s in node.sources}
        return take(sources, node.recipe, self.spec.seed, node.t)

    def _missing(self, node: Node) -> set[int]:
        """The past draws that must be read or made again before this generation can be trained."""
        wanted: set[int] = set()
        ask = list(node.needs)
        while ask:
            s = ask.pop()
            if s in wanted or s in self._draws:
                continue
            wanted.add(s)
            if not self._stored(s):
                ask += self.path[s].needs
        return wanted

    def _fit(self, node: Node, data: Samples) -> dict[str, float]:
        generator: Generator = self.spec.generator.make()
        if node.t and self.spec.generator.params.get("warm_start"):
            generator = self._generator(node.t - 1)
        self._generators.clear()
        report = generator.fit(data, self._rng("fit", node.t))
        self._generators[node.t] = generator
        self.fits += 1
        return report

    def _draw(self, node: Node) -> Draw:
        real, generator = self._real(node.t), self._generator(node.t)
        if self._sampling is None:
            sampling = self.spec.sampling.make()
            founder = generator if node.t == 0 else self._founder()
            sampling.prepare(self._truth(), self._real(0), founder, self._rng("prepare", 0))
            self._sampling = sampling
        draw = self._sampling.draw(generator, self.spec.n_drawn, real, self._rng("draw", node.t))
        return Draw(draw.samples.drawn_at(node.t), draw.report)

    def _measured(self, metric: MeasureSpec, node: Node) -> dict[str, Any]:
        measure: Measure = prepared(metric, self.spec, self._truth(), self._real(0))
        samples = self._samples(node.t)
        generator = self._generator(node.t)
        return measure(samples, generator, self._rng(f"metric {metric.part.name}", node.t))

    def _truth(self) -> Any:
        self._dataset = self._dataset or self.spec.dataset.make()
        return self._dataset

    def _real(self, t: int) -> Samples:
        arrived = t if self.spec.arrival == "fresh" else 0
        if arrived not in self._reals:
            self._reals = {k: v for k, v in self._reals.items() if k == 0}
            self._reals[arrived] = self._truth().sample(self.spec.n_real, self._rng("real", arrived))
        return self._reals[arrived]

    def _rng(self, purpose: str, t: int) -> np.random.Generator:
        return rng(self.spec.seed, purpose, t)

    def _gate(self, samples: Samples) -> tuple[str, str]:
        """Status and reason of a fresh draw.  Finding when its values are not finite."""
        x = samples.x
        if not np.issubdtype(x.dtype, np.integer) and not np.isfinite(x).all():
            raise Finding("diverged", f"{int((~np.isfinite(x)).sum()):,} of {x.size:,} sampled values are not finite")
        if x.ndim > 2 and len(x) > 1 and (x[0] == x[1]).all() and (x == x[:1]).all():
            return "constant", f"all {len(x):,} samples are equal"
        y, real = samples.y, self._real(0).y
        if y is not None and real is not None and np.issubdtype(real.dtype, np.integer):
            lost = np.setdiff1d(real, y)
            if len(lost):
                return "class_extinct", f"no samples of class {', '.join(map(str, lost))}"
        return "ok", ""

    # ---- what is in memory, in the store, or made again ----

    def _samples(self, t: int) -> Samples:
        if t not in self._draws:
            self._draws[t] = self._stored_draw(t) or self._redraw(t)
        return self._draws[t]

    def _generator(self, t: int) -> Generator:
        if t not in self._generators:
            generator = self._stored_generator(t)
            if generator is None:
                self._refit(t)
            else:
                self._generators = {t: generator}
        return self._generators[t]

    def _founder(self) -> Generator:
        """The model of generation 0, without forgetting the one at hand."""
        newest = self._generators
        self._generators = {}
        founder = self._generator(0)
        self._generators = newest
        return founder

    def _stored(self, t: int) -> bool:
        row = self.store.row("draw", self.path[t].draw)
        return row is not None and archive.has_samples(self.store, row)

    def _stored_draw(self, t: int) -> Samples | None:
        row = self.store.row("draw", self.path[t].draw)
        return archive.read_samples(self.store, row) if row else None

    def _stored_generator(self, t: int) -> Generator | None:
        row = self.store.row("model", self.path[t].model)
        return archive.read_generator(self.store, row, self.spec.generator) if row else None

    def _refit(self, t: int) -> None:
        node = self.path[t]
        self._fit(node, self._training_set(node))
        self._same(self.store.row("model", node.model), archive.generator_files(self._generators[t]))

    def _redraw(self, t: int) -> Samples:
        node = self.path[t]
        samples = self._draw(node).samples
        self._same(self.store.row("draw", node.draw), archive.sample_files(samples))
        return samples

    def _same(self, row: Row | None, files: dict[str, bytes]) -> None:
        """Files made again must have the bits their row names; those that were set aside are put back."""
        known = {name: files[name] for name in files if row and name in row["files"]}
        for name, data in known.items():
            assert row is not None
            if archive.differs(row, name, data):
                raise NotReproduced(
                    f"{row['kind']} {row['key']} (generation {row['t']}) was made by {row['machine']} and comes out "
                    f"differently here ({archive.machine()}); use the same versions and thread count, or another output folder"
                )
        if row and known:
            self.store.put(row["kind"], row["key"], known)

    def _restored(self, row: Row, node: Node) -> Row:
        """A committed row, its damaged files made again."""
        if self.store.check(row):
            if row["kind"] == "model":
                self._generators.pop(node.t, None)
                self._refit(node.t)
            else:
                self._draws[node.t] = self._redraw(node.t)
                strip = self._strip(node.t)
                self._same(row, archive.strip_files(strip) if strip else {})
        return row

    def _forget(self, t: int) -> None:
        """Let go of what no later generation trains on."""
        kept = {s: draw for s, draw in self._draws.items() if s == t or self._last_use.get(s, -1) > t}
        self._draws = kept

    # ---- committing ----

    def _claim(self, kind: str, key: str) -> Row | None:
        """Hold a key for writing; its row, if someone else committed it in the meantime."""
        slot = key[:3]  # 4,096 lock files serve any number of keys
        if slot not in self._locks:
            held = self.store.try_lock(slot)
            if held is None:
                self._flush()  # never wait for others while they may wait for us
                held = self.store.lock(slot)
            self._locks[slot] = held
        self.store.refresh()
        return self.store.row(kind, key)

    def _made(self, row: Row) -> Row:
        """Remember a row for the next commit.  What many lineages share, the founder, is written at once."""
        if row["t"] == 0:
            row["files"] = self._files(row)
        self._pending.append(row)
        return row

    def _flush(self) -> float:
        """Write the newest generation's arrays, commit all pending rows at once, release the locks; the time of it."""
        now = time.time()
        try:
            newest = max((row["t"] for row in self._pending), default=-1)
            for row in self._pending:
                row["files"] = self._files(row) if row["t"] == newest and not row["files"] else row["files"]
                row["time"] = now
            if self._pending:
                self.store.commit(self._pending)
        finally:
            self._pending = []
            for held in self._locks.values():
                held.close()
            self._locks = {}
        return now

    def _files(self, row: Row) -> dict[str, Any]:
        t = row["t"]
        if row["kind"] == "model":
            files = archive.generator_files(self._generators[t]) if t in self._generators and row["status"] == "ok" else {}
        else:
            strip = self._strip(t) if t in self._draws else None
            files = archive.sample_files(self._draws[t]) if t in self._draws else {}
            files |= archive.strip_files(strip) if strip else {}
        return self.store.put(row["kind"], row["key"], files)

    def _strip(self, t: int) -> Samples | None:
        """A few samples for the film strip: one image per class from the same latents each generation, or some points."""
        real = self._real(0)
        if real.replicates is not None:
            return Samples(self._samples(t).x[:STRIP_POINTS, :1]).drawn_at(t)
        labels = None if real.y is None else np.unique(real.y)
        n = 10 if labels is None else len(labels)
        return self._generator(t).sample(n, self._rng("strip", 0), labels).drawn_at(t)

    def _row(self, kind: str, key: str, t: int, status: str, reason: str, started: float) -> Row:
        spent = round(time.perf_counter() - started, 4)
        row = {"kind": kind, "key": key, "t": t, "status": status, "reason": reason, "files": {}, "time": 0.0}
        return row | {"seconds": spent, "machine": archive.machine()}

    def _counts(self, data: Samples) -> dict[str, float]:
        real = float(np.mean(data.born == -1)) * len(data)
        return {"real": real, "synthetic": len(data) - real, "fraction": data.synthetic_fraction}

    def _joined(self, node: Node, model: Row, draw: Row | None) -> Row:
        """One generation's row: model, draw and metrics together."""
        last = draw or model
        status, reason = (model["status"], model["reason"]) if model["status"] != "ok" else (last["status"], last["reason"])
        row = {"lineage": self.spec.id, "t": node.t, "model": node.model, "draw": node.draw if draw else None}
        row |= {"status": status, "reason": reason, "time": last["time"]}
        row |= {"seconds": round(model["seconds"] + (draw["seconds"] if draw else 0), 4), "counts": model["counts"]}
        row |= {"fit": model["fit"], "report": draw["report"] if draw else {}, "values": {}, "undefined": {}}
        for metric in self._due(node.t, draw):
            if draw is None:
                break
            found = self.store.measured(draw, metric.id) or {"values": {}, "undefined": {}}
            row["values"] |= found["values"]
            row["undefined"] |= found["undefined"]
        return row

    def _write_path(self) -> None:
        generations = [{"t": n.t, "model": n.model, "draw": n.draw} for n in self.path]
        about = {"spec": self.spec.to_dict(), "label": self.spec.label, "generations": generations}
        self.store.write_lineage(self.spec.id, about)


def _finite(report: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN: what is not finite becomes null."""
    return {k: float(v) if np.isfinite(v) else None for k, v in report.items()}
