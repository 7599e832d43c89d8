"""The driver's own thread that mirrors what lineages commit into MLflow, so that no actor waits for
it or imports it.

It reads rows from the store, as any other reader would; at the end it fills every gap and sets the
true end states.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import files
from engine.lineage.history import Looking, history
from engine.lineage.recipe import real_key, rng
from engine.outcome.summary import History, headline
from engine.samples import Samples
from engine.spec import LineageSpec, Sweep
from engine.store import artifacts as archive
from engine.store.store import Store
from engine.tracking.mlflow_rows import fingerprint, local, summary
from engine.tracking.tracker import Nop

log = logging.getLogger(__name__)
HEALTHY_SECONDS = 1.0  # for MLflow to end the call it is in
PAUSE_SECONDS = (
    0.5  # between looks at what changed: several generations of one lineage go in one batch
)
MOST_FRAMES = 15  # rows of a film strip
MOST_TRIED = 20


def uri_of(sweep: Sweep, store: Store) -> tuple[str | None, str | None]:
    """Where a sweep is tracked: (URI, artifact folder); no URI for `tracking: none`."""
    if sweep.tracking == "none":
        return None, None
    if sweep.tracking:
        return sweep.tracking, None
    return local(Path(store.root) if store.local else Path("runs") / sweep.name)


class Recorder:
    """start(); changed(lineage) as often as you like; finish(...) at the end."""

    def __init__(self, sweep: Sweep, store: Store) -> None:
        self.sweep, self.store = sweep, Looking(store.url)
        self.uri, self.artifacts = uri_of(sweep, store)
        self.specs = {spec.id: spec for spec in sweep.lineages}
        self.dirty: set[str] = set()
        self.recorded: dict[
            str, tuple[str, str, str]
        ] = {}  # what MLflow has of the lineages that are over
        self.stopped = threading.Event()
        self.tracker: Any = Nop()
        self.unopened = ""
        self.thread = threading.Thread(target=self._work, daemon=True, name="record")

    def start(self) -> None:
        if self.uri is not None:
            self.thread.start()

    def changed(self, lineage: str) -> None:
        self.dirty.add(lineage)

    @property
    def trouble(self) -> str:
        """Why MLflow is behind, or ''."""
        return self.unopened or (str(self.tracker.trouble) if self.tracker.behind else "")

    def finish(
        self,
        histories: Mapping[str, History],
        status: str,
        numbers: dict[str, float],
        files: Sequence[Path],
    ) -> None:
        """Everything that is in the store, the true end states, the summary."""
        self.stopped.set()
        if self.uri is None:
            return
        started = time.monotonic()
        self.thread.join()
        if (
            self.tracker.behind and time.monotonic() - started < HEALTHY_SECONDS
        ):  # else a last try would cost as much again
            self._introduce(self.tracker)
        for found in histories.values():
            if found.rows or found.status:
                self._mirror(found, over=True)
        self.tracker.finish_sweep(status, numbers, [f for f in files if f.exists()])

    # ---- in the thread ----

    def _work(self) -> None:
        """An error here is MLflow's or ours, never the sweep's."""
        try:
            self._open()
        except Exception as error:
            log.exception("opening %s", self.uri)
            self.unopened = f"{type(error).__name__}: {error}"
            return
        while not self.stopped.wait(PAUSE_SECONDS):
            while self.dirty and not self.stopped.is_set():
                self._catch_up(self.specs[self.dirty.pop()])

    def _open(self) -> None:
        from engine.tracking.mlflow import Tracker  # takes seconds to import, while Ray starts

        assert self.uri is not None
        tracker = Tracker(self.uri, self.sweep.name, self.sweep.id, self.artifacts)
        self._introduce(tracker)
        self.tracker = tracker

    def _introduce(self, tracker: Any) -> None:
        columns = dict.fromkeys(
            filter(None, [headline(self.sweep), *(metric.id for metric in self.sweep.metrics)])
        )
        tracker.open_sweep(
            self.sweep.question, _parameters(self.sweep), len(self.specs), list(columns)
        )

    def _catch_up(self, spec: LineageSpec) -> None:
        try:
            self._mirror(history(self.sweep, self.store, spec))
        except Exception:
            log.exception("recording %s", spec.id)

    def _mirror(self, found: History, over: bool = False) -> None:
        """What the store has of a lineage, and its end state if it has an outcome or the sweep is
        over.
        """
        spec, rows = found.spec, list(found.rows)
        all_of_it = (summary(map(fingerprint, rows)), found.status, found.reason)
        if self.recorded.get(spec.id) == all_of_it:
            return
        keys = {
            row["t"]: {"t": row["t"], "model": row["model"], "draw": row["draw"]} for row in rows
        }  # not the rows: these stay
        with files.weights_folder() as folder:
            there = self.tracker.mirror(
                spec,
                rows,
                lambda t: picture(self.store, spec, keys[t]),
                lambda t: weights(self.store, keys[t]["model"], Path(folder) / str(t)),
                self.sweep.keep,
            )
            if found.status or over:
                outcome = {"status": found.status or "unfinished", "reason": found.reason}
                if self.tracker.finish_lineage(spec, outcome) and there:
                    self.recorded[spec.id] = all_of_it


def _parameters(sweep: Sweep) -> dict[str, Any]:
    plain = {
        k: v
        for k, v in sweep.to_dict().items()
        if k in ("generations", "collapse", "keep", "source")
    }
    return {**plain, "metrics": ", ".join(m.id for m in sweep.metrics)}


def weights(store: Store, key: str, folder: Path) -> Path | None:
    """A folder with a model's verified weights, or None when they are not kept."""
    row = store.row("model", key)
    files = {name: store.get(row, name) for name in row["files"]} if row else {}
    if not files or any(data is None for data in files.values()):
        return None
    for name, data in files.items():
        target = folder / name.removeprefix(archive.WEIGHTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data or b"")
    return folder


def strip_of(store: Store, row: Mapping[str, Any]) -> Samples | None:
    """The few samples that were stored of a generation for its picture."""
    draw = store.row("draw", row["draw"]) if row["draw"] else None
    return archive.read_strip(store, draw) if draw else None


def picture(store: Store, spec: LineageSpec, row: Mapping[str, Any]) -> np.ndarray | None:
    """A generation's samples as a picture; None for closed forms, whose millisecond generations
    would wait for it.
    """
    if spec.generator.constant("COST") == "tiny" or (samples := strip_of(store, row)) is None:
        return None
    from engine.tracking import pictures as strip  # draws with matplotlib: seconds to import

    return strip.picture(
        samples,
        real=_real(spec),
        classes=_classes(spec),
        per_class=1,
        title=f"generation {row['t']}",
    )


def film_strip(store: Store, histories: Sequence[History], path: Path) -> History | None:
    """Draws one lineage, a row per generation, and returns it: of those that went furthest, the one
    that drifted most.
    """
    chosen = next(((h, f) for h in histories[:MOST_TRIED] if (f := _frames(store, h))), None)
    if chosen is None:
        return None
    from PIL import Image

    from engine.tracking import pictures as strip

    history, frames = chosen
    titles = [str(t) if strip.is_image(s) else f"generation {t}" for t, s in frames.items()]
    image = strip.film(
        list(frames.values()), titles, real=_real(history.spec), classes=_classes(history.spec)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.staged(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
    return history


def _frames(store: Store, history: History) -> dict[int, Samples]:
    """The stored samples by generation, thinned to as many as a picture can show."""
    rows = history.rows
    shown = (
        {round(i * (len(rows) - 1) / max(MOST_FRAMES - 1, 1)) for i in range(MOST_FRAMES)}
        if len(rows) > MOST_FRAMES
        else None
    )
    found = (
        (row["t"], strip_of(store, row))
        for i, row in enumerate(rows)
        if shown is None or i in shown
    )
    return {t: samples for t, samples in found if samples is not None}


def _classes(spec: LineageSpec) -> int:
    return spec.dataset.traits.classes or 0


_reals: dict[str, Samples] = {}


def _real(spec: LineageSpec) -> Samples | None:
    """The real set that a lineage started from, to lie under its points; None for images."""
    if spec.dataset.constant("GIVES") == "images":
        return None
    key = real_key(spec, 0)
    if key not in _reals:
        _reals.clear()
        _reals[key] = spec.dataset.make().sample(spec.n_real, rng(spec.seed, "real", 0))
    return _reals[key]
