"""The driver's own thread that mirrors what lineages commit into the tracker, so that no actor
waits for it or imports it.

It reads rows from the store, as any other reader would; at the end it fills every gap and sets the
true end states.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine import files
from engine._foreign import told, without_passwords
from engine._lasting import remedy
from engine.lineage.history import History, history
from engine.lineage.loop import Outcome
from engine.names import names_of
from engine.spec import LineageSpec, Sweep
from engine.store import artifacts as archive
from engine.store.outputs import sweep_id
from engine.store.rows import Address
from engine.store.store import Store
from engine.tracking import texts
from engine.tracking.mlflow_moved import set_aside_if_damaged
from engine.tracking.mlflow_rows import fingerprint, summary
from engine.tracking.tracker import Nop, Parameters, Tracker, address_of, open_tracker

log = logging.getLogger(__name__)
HEALTHY_SECONDS = 1.0  # for the tracker to end the call it is in
# between looks at what changed: several generations of one lineage go in one batch
PAUSE_SECONDS = 0.5


class Recorder:
    """start(); changed(lineage) as often as you like; finish(...) at the end."""

    def __init__(self, sweep: Sweep, store: Store) -> None:
        self.sweep, self.store = sweep, Store(store.url, repairs=False)
        self.address = address_of(sweep, store)
        self.specs = {spec.id: spec for spec in sweep.all_lineages}
        self.names = names_of(sweep)
        self.dirty: set[str] = set()
        # what the tracker has of the lineages that are over: a fingerprint of rows, status, reason
        self.recorded: dict[str, tuple[str, str, str]] = {}
        self.stopped = threading.Event()
        self.tracker: Tracker = Nop()
        self.unopened = ""
        self.thread = threading.Thread(target=self._work, daemon=True, name="record")

    def start(self) -> None:
        if self.address is not None:
            set_aside_if_damaged(self.address.uri)
            self.thread.start()

    def changed(self, lineage: str) -> None:
        self.dirty.add(lineage)

    @property
    def trouble(self) -> str:
        """Say that the tracker is behind, why, and what mends it, or ''."""
        if self.unopened:
            said = f"the tracker cannot be opened ({self.unopened})"
        elif self.tracker.behind:
            first = self.tracker.trouble.partition("\n")[0]
            said = f"{self.tracker.name} is behind ({first})"
        else:
            return ""
        mend = remedy(self.unopened or self.tracker.trouble)
        if mend:
            return f"{said}; this will not heal by itself: {mend}"
        return f"{said}; the same command fills the gap"

    def finish(
        self,
        histories: Mapping[str, History],
        status: str,
        numbers: dict[str, float],
        files: Sequence[Path],
    ) -> None:
        """Everything that is in the store, the true end states, the summary."""
        self.stopped.set()
        if self.address is None:
            return
        started = time.monotonic()
        self.thread.join()
        if (
            self.tracker.behind and time.monotonic() - started < HEALTHY_SECONDS
        ):  # else a last try would cost as much again
            self._introduce(self.tracker)
        for found in histories.values():
            if found.rows or found.finished:
                self._mirror(found, over=True)
        self.tracker.finish_sweep(status, numbers, [f for f in files if f.exists()])

    # ---- in the thread ----

    def _work(self) -> None:
        """Record what changes; an error here is the tracker's or ours, never the sweep's."""
        try:
            self._open()
        except Exception as error:
            log.exception("opening %s", self.address)
            self.unopened = without_passwords(f"{type(error).__name__}: {error}")
            return
        while not self.stopped.wait(PAUSE_SECONDS):
            while self.dirty and not self.stopped.is_set():
                self._catch_up(self.specs[self.dirty.pop()])

    def _open(self) -> None:
        # may take seconds to import, while Ray starts
        known = sweep_id(self.store, self.sweep.name)
        tracker = open_tracker(self.address, self.sweep.name, known, self.names)
        self._introduce(tracker)
        self.tracker = tracker

    def _introduce(self, tracker: Tracker) -> None:
        parameters = Parameters.of(self.sweep)
        columns = dict.fromkeys(filter(None, [self.sweep.headline, *parameters.metrics]))
        question = told(self.sweep.question)
        tracker.open_sweep(question, parameters, len(self.specs), list(columns))

    def _catch_up(self, spec: LineageSpec) -> None:
        try:
            self._mirror(history(self.sweep, self.store, spec))
        except Exception:
            log.exception("recording %s", spec.id)

    def _mirror(self, found: History, over: bool = False) -> None:
        """What the store has of a lineage, and its end state if it has an outcome or the sweep is
        over.
        """
        spec, rows = found.spec, found.rows
        all_of_it = (summary(map(fingerprint, rows)), found.status, found.reason)
        if self.recorded.get(spec.id) == all_of_it:
            return
        # not the rows: these stay
        keys = {row.t: Address(row.t, row.model, row.draw or "") for row in found.rows}
        with files.weights_folder() as folder:
            there = self.tracker.mirror(
                spec,
                rows,
                lambda t: self._picture(spec, keys[t]),
                lambda t: weights(self.store, keys[t].model, Path(folder) / str(t)),
                self.sweep.keep,
            )
            if found.finished or over:
                outcome = Outcome(found.status, found.reason, found.t)
                if self.tracker.finish_lineage(spec, outcome) and there:
                    self.recorded[spec.id] = all_of_it

    def _picture(self, spec: LineageSpec, where: Address) -> np.ndarray | str | None:
        """A generation's samples as a picture, or as text; None for closed forms of anything else,
        whose millisecond generations would wait for it.
        """
        if texts.is_text(spec):
            return texts.of_generation(self.store, spec, where.draw)
        if spec.generator.constant("COST") == "tiny":
            return None
        from engine.tracking.pictures import of_generation  # matplotlib: seconds to import

        return of_generation(self.store, spec, where.draw, where.t)


def weights(store: Store, key: str, folder: Path) -> Path | None:
    """A folder with a model's verified weights, or None when they are not kept."""
    row = store.row("model", key)
    files = {name: store.get(row, name) for name in row.files} if row else {}
    if not files or any(data is None for data in files.values()):
        return None
    for name, data in files.items():
        target = folder / name.removeprefix(archive.WEIGHTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data or b"")
    return folder
