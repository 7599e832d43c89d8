"""MLflow, the mirror of the store: an experiment per question, a run per sweep, one per lineage.

    tracker = connect(address, sweep_name, sweep_id)          # lazily: costs and risks nothing
    driver  tracker.open_sweep(question, params, n, columns)  # it alone creates tables, parent run
    actor   tracker.open_lineage(spec, rows)                  # the run is RUNNING now
            tracker.mirror(spec, [row], pictures, checkpoint, keep)   # after each commit
            tracker.finish_lineage(spec, outcome)             # its status and reason
    driver  tracker.open_sweep(...)                           # again: reads all runs at once;
            mirror(spec, rows, ...), finish_lineage(spec, outcome) fill the gaps;
            tracker.finish_sweep("FINISHED", {"collapsed": 3.0}, [report])

After a failure it is silent for 60 times what that cost (backoff.py): keep ONE per process.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Experiment, Metric, Run
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from engine.lineage.loop import Outcome
from engine.names import Names
from engine.settings import Keep, is_kept
from engine.spec import LineageSpec
from engine.store.rows import Generation
from engine.tracking import mlflow_rows as mirror
from engine.tracking.asking import must_be_there
from engine.tracking.backoff import Backoff, Timed, database, must_answer, opened, unquoted
from engine.tracking.mlflow_database import is_whole, make_whole
from engine.tracking.mlflow_moved import follow
from engine.tracking.mlflow_rows import Line, Wanted
from engine.tracking.mlflow_runs import (
    LINEAGE,
    SWEEP,
    VIEW,
    Absent,
    called,
    children_of,
    client_of,
    experiment_of,
    listed,
    log_texts,
    make_tables,
    oldest,
    page,
    parent_of,
    pictured,
    signed_in,
    tags_of,
    tags_of_lineage,
)
from engine.tracking.tracker import Address, Checkpoint, Pages, Parameters, Pictures

SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql", "databricks")
GONE = {"file": "MLflow has no file store any more: give sqlite:///FILE, a server, or nothing"}
MIRRORED = "ouroboros.mirrored"  # tag of a child run: which rows it has, whole
PER_CALL = 1000  # metrics in one log_batch


def connect(address: Address, sweep_name: str, sweep_id: str, names: Names) -> MlflowTracker:
    """Make a tracker; nothing is asked of MLflow before its first method."""
    return MlflowTracker(signed_in(address.uri), sweep_name, sweep_id, address.artifacts, names)


def serve(address: Address, sweep_name: str, port: int) -> Pages:
    """Return MLflow's pages: elsewhere, or served from a database on this port."""
    uri, file = signed_in(address.uri), database(address.uri)
    follow(uri)
    if uri.startswith(("http://", "https://")):
        return Pages("MLflow", lambda: uri)
    if file is None:
        must_be_there(uri)
    return Pages(
        "MLflow",
        lambda: f"http://127.0.0.1:{port}{page(uri, sweep_name)}",
        tuple(mirror.server_command(port, address.artifacts)),
        lambda private: mirror.server_environment(unquoted(uri, private)),
        recorded=file is None or file.exists(),
    )


class MlflowTracker:
    """Mirrors lineages of one sweep into one MLflow store or server (see the top of this file)."""

    name = "MLflow"

    def __init__(
        self,
        uri: str,
        sweep_name: str,
        sweep_id: str,
        artifacts: str | None = None,
        names: Names | None = None,  # of the runs; without them, as of lineages of no grid
    ) -> None:
        self._names = names or Names(())
        self.uri, self.artifacts = uri, artifacts
        self.sweep_name, self.sweep_id = called(sweep_name), sweep_id
        self._backoff = Backoff("MLflow")
        self._client: Any = None
        self._experiment: Experiment | None = None
        self._parent: Run | None = None
        self._reopen: Callable[[], None] | None = None  # the driver's: creates what is not there
        # by lineage id; None: look one up when it is needed
        self._children: dict[str, Run] | None = None
        # lineages whose run was asked for: an answer may get lost, and the run be there
        self._asked: set[str] = set()
        self._lines: dict[str, Line] = {}
        self._wanted: dict[str, Wanted] = {}
        self._answered = -math.inf  # when MLflow last did what it was asked

    @property
    def behind(self) -> bool:
        """Whether MLflow lacks something it was told."""
        return bool(self._backoff.behind)

    @property
    def trouble(self) -> str:
        """The last failure."""
        return self._backoff.trouble

    # ---- the sweep -------------------------------------------------------------------------------

    def open_sweep(
        self, question: str, params: Parameters, lineage_count: int, columns: Sequence[str] = ()
    ) -> bool:
        """Find or create experiment and parent run (driver only), and read all its child runs; ends
        a silence, and is tried again by itself until it succeeds.
        """
        self._reopen = lambda: self._open_sweep(question, params, lineage_count, columns)
        self._backoff.forget()
        return self._try("sweep", self._reopen)

    def _open_sweep(
        self, question: str, params: Parameters, lineage_count: int, columns: Sequence[str]
    ) -> None:
        client = self._connect(create=True)
        self._experiment = experiment_of(client, self.sweep_name, question, self.artifacts)
        client.set_experiment_tag(
            self._experiment.experiment_id, f"mlflow.sharedViewState.{VIEW}", mirror.view(columns)
        )
        self._parent = self._parent_run()
        if self._parent is None:
            tags = {SWEEP: self.sweep_id, "mlflow.note.content": question}
            self._parent = client.create_run(
                self._experiment.experiment_id, tags=tags, run_name=self.sweep_name
            )
        elif self._parent.info.status != "RUNNING":
            client.update_run(self._parent.info.run_id, status="RUNNING")
        given = {k: v for k, v in params.by_name().items() if v is not None}
        texts = {mirror.legal(k): mirror.text(v) for k, v in given.items()}
        changed = {
            k: v for k, v in texts.items() if self._parent.data.params.get(k, v) != v
        }  # a parameter cannot change
        log_texts(self._connect(), self._parent, texts, {**changed, "lineages": str(lineage_count)})
        self._children = {run.data.tags[LINEAGE]: run for run in children_of(client, self._parent)}
        self._lines.clear()

    def finish_sweep(
        self, status: str, summary: dict[str, float], artifacts: Iterable[Path] = ()
    ) -> bool:
        """Log the summary; a number that changed since the last time is a further step."""
        return self._try("sweep", lambda: self._finish_sweep(status, summary, tuple(artifacts)))

    def _finish_sweep(
        self, status: str, summary: dict[str, float], artifacts: tuple[Path, ...]
    ) -> None:
        client, run_id = self._connect(), self._sweep().info.run_id
        old, now = client.get_run(run_id).data.metrics, int(time.time() * 1000)
        points = mirror.numbers(summary)
        changed = {k: v for k, v in points.items() if repr(old.get(k)) != repr(v)}
        steps = {k: len(client.get_metric_history(run_id, k)) for k in changed.keys() & old.keys()}
        for batch in mirror.chunks(
            [Metric(k, v, now, steps.get(k, 0)) for k, v in changed.items()], PER_CALL
        ):
            client.log_batch(run_id, metrics=batch)
        for path in artifacts:
            put = client.log_artifacts if path.is_dir() else client.log_artifact
            put(run_id, str(path), path.name if path.is_dir() else None)
        client.set_terminated(run_id, status)

    # ---- a lineage -------------------------------------------------------------------------------

    def open_lineage(self, spec: LineageSpec, rows: Iterable[Generation] = ()) -> bool:
        """Find or create the child run and set it RUNNING."""
        wanted = self._want(spec, rows)
        return self._try(spec.id, lambda: self._set_running(self._line(spec, wanted)))

    def mirror(
        self,
        spec: LineageSpec,
        rows: Iterable[Generation],
        pictures: Pictures | None = None,
        checkpoint: Checkpoint | None = None,
        keep: Keep = "all",
    ) -> bool:
        """Log what MLflow lacks of these rows: points, the rows whole, pictures and weights (where
        there are any).  Rows that could not be logged stay for the next call.
        """
        wanted = self._want(spec, rows)
        wanted.pictures, wanted.checkpoint, wanted.keep = pictures, checkpoint, keep
        return self._try(spec.id, lambda: self._mirror(spec, wanted))

    def finish_lineage(self, spec: LineageSpec, outcome: Outcome) -> bool:
        """Set the end state, tags `status` and `reason`; log the last generation's weights."""
        wanted = self._want(spec, ())
        return self._try(spec.id, lambda: self._finish_lineage(spec, wanted, outcome))

    def _want(self, spec: LineageSpec, rows: Iterable[Generation]) -> Wanted:
        wanted = self._wanted.setdefault(spec.id, Wanted())
        known = self._lines[spec.id].prints if spec.id in self._lines else {}
        wanted.rows.update(
            {row.t: row for row in rows if known.get(row.t) != mirror.fingerprint(row)}
        )
        return wanted

    def _mirror(self, spec: LineageSpec, wanted: Wanted) -> None:
        line = self._line(spec, wanted)
        fresh = {
            t: row
            for t, row in sorted(wanted.rows.items())
            if line.prints.get(t) != mirror.fingerprint(row)
        }
        if fresh:
            self._set_running(line)
            self._log_points(line, list(fresh.values()))
            self._log_rows(line, list(fresh.values()))
            self._log_pictures(line, fresh, wanted.pictures)
            for t in fresh:
                if is_kept(t, wanted.keep):
                    self._log_weights(line, t, wanted.checkpoint)
            prints = line.prints | {t: mirror.fingerprint(row) for t, row in fresh.items()}
            self._connect().set_tag(
                line.run_id, MIRRORED, mirror.summary(prints.values())
            )  # last: now all of it is there
            line.prints = prints
        if wanted.rows:
            line.last = wanted.rows[max(wanted.rows)]
        wanted.rows.clear()

    def _finish_lineage(self, spec: LineageSpec, wanted: Wanted, outcome: Outcome) -> None:
        self._mirror(spec, wanted)
        client, line = self._connect(), self._lines[spec.id]
        state = mirror.end_state(outcome.status)
        if state == "FINISHED" and line.last:
            self._log_weights(line, line.last.t, wanted.checkpoint)
        tags = {"status": outcome.status.value, "reason": outcome.reason[:1000]}
        if any(line.tags.get(k, "") != v for k, v in tags.items()):
            client.log_batch(line.run_id, tags=tags_of(tags))
        ended = mirror.milliseconds(line.last) if line.last else line.ended
        if ended is None or (line.state, line.ended) != (state, ended):
            client.set_terminated(line.run_id, state, ended)
        del self._lines[spec.id], self._wanted[spec.id]
        if self._children is not None:
            self._children.pop(spec.id, None)

    def _set_running(self, line: Line) -> None:
        if line.state != "RUNNING":
            self._connect().update_run(line.run_id, status="RUNNING")
            line.state = "RUNNING"

    def _log_points(self, line: Line, fresh: list[Generation]) -> None:
        new = [
            (k, v, mirror.milliseconds(row), row.t)
            for row in fresh
            for k, v in mirror.points(row).items()
        ]
        for batch in mirror.chunks([p for p in new if (p[0], p[3]) not in line.points], PER_CALL):
            self._connect().log_batch(line.run_id, metrics=[Metric(*point) for point in batch])
            line.points |= {(key, step) for key, _, _, step in batch}

    def _log_rows(self, line: Line, fresh: list[Generation]) -> None:
        client = self._connect()
        if line.files is None:
            line.files = len(client.list_artifacts(line.run_id, "rows")) if line.resumed else 0
        client.log_text(line.run_id, mirror.to_json(fresh), mirror.rows_file(line.files, fresh))
        line.files += 1

    def _log_pictures(
        self, line: Line, fresh: dict[int, Generation], pictures: Pictures | None
    ) -> None:
        if pictures is None:
            return
        client = self._connect()
        if line.pictured is None:
            line.pictured = pictured(client, line.run_id) if line.resumed else set()
        for t in sorted(fresh.keys() - line.pictured):
            picture = pictures(t)
            if isinstance(picture, str):
                client.log_text(line.run_id, picture, mirror.texts_file(t))
                line.pictured.add(t)
            elif picture is not None:
                client.log_image(
                    line.run_id,
                    picture,
                    key="samples",
                    step=t,
                    timestamp=mirror.milliseconds(fresh[t]),
                )
                line.pictured.add(t)

    def _log_weights(self, line: Line, t: int, checkpoint: Checkpoint | None) -> None:
        folder = checkpoint(t) if checkpoint and t not in line.weights else None
        if folder is None:
            return
        client, place = self._connect(), f"checkpoints/generation_{t}"
        there = listed(client, line.run_id, place) if line.resumed else {}
        if not mirror.sizes(folder, place).items() <= there.items():
            client.log_artifacts(line.run_id, str(folder), place)
        line.weights.add(t)

    def _try(self, what: str, action: Callable[[], None]) -> bool:
        def answered() -> None:
            if time.monotonic() - self._answered > 2 or database(self.uri):
                must_answer(self.uri, opened=self._client is not None)
            if isinstance(self._client, Timed):
                self._client.waited = 0.0
            action()
            self._answered = time.monotonic()

        return self._backoff.run(what, answered)

    # ---- finding runs ----------------------------------------------------------------------------

    def _connect(self, create: bool = False) -> Any:
        """The client, typed loosely: a server's is wrapped, see engine/tracking/backoff.py."""
        if self._client is None:
            if file := database(self.uri):
                if not create and not is_whole(file):
                    raise Absent(f"{file} is not there yet; the driver creates it")
                make_whole(file, make_tables)
            self._client = opened(self.uri, client_of)
        return self._client

    def _sweep(self) -> Run:
        """The parent run."""
        if self._parent is None and self._reopen:
            self._reopen()
            self._backoff.behind.discard("sweep")
        client = self._connect()
        if self._parent is None and (found := client.get_experiment_by_name(self.sweep_name)):
            self._experiment = found
            self._parent = self._parent_run()
        if self._parent is None:
            raise Absent(
                f"{self.uri} has no run of sweep {self.sweep_name!r} yet; the driver creates it"
            )
        return self._parent

    def _parent_run(self) -> Run | None:
        assert self._experiment is not None
        experiment, beside = self._experiment.experiment_id, self.artifacts is not None
        return parent_of(self._connect(), experiment, self.sweep_id, beside)

    def _line(self, spec: LineageSpec, wanted: Wanted) -> Line:
        """The open child run; what it has of these rows is taken from its tag, or read back where
        that does not fit.
        """
        parent = self._sweep()
        if spec.id not in self._lines:
            run, resumed = self._child(spec, parent, wanted)
            line = Line(run.info.run_id, run.info.status, run.info.end_time, run.data.tags, resumed)
            if resumed and not line.recognise(run.data.tags.get(MIRRORED, ""), wanted):
                history = self._connect().get_metric_history
                line.points = {
                    (key, point.step)
                    for key in run.data.metrics
                    for point in history(line.run_id, key)
                }
            self._lines[spec.id] = line
        return self._lines[spec.id]

    def _child(self, spec: LineageSpec, parent: Run, wanted: Wanted) -> tuple[Run, bool]:
        """The lineage's run, and whether it was there already."""
        run = (self._children or {}).get(spec.id)
        # who knows all runs need not search for one
        if run is None and (self._children is None or spec.id in self._asked):
            own = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.info.run_id}'"
            query = f"tags.`{LINEAGE}` = '{spec.id}' and {own}"
            run = oldest(self._connect(), parent.info.experiment_id, query)
        resumed = run is not None
        if run is None:
            tags = {MLFLOW_PARENT_RUN_ID: parent.info.run_id, **tags_of_lineage(spec, self._names)}
            start = mirror.start_of(wanted.rows[min(wanted.rows)]) if wanted.rows else None
            self._asked.add(spec.id)
            run = self._connect().create_run(
                parent.info.experiment_id, start, tags, self._names.lineage(spec)
            )
        params = mirror.parameters(spec)
        if not params.keys() <= run.data.params.keys():
            self._connect().log_text(
                run.info.run_id, json.dumps(spec.to_dict(), indent=1), "lineage.json"
            )
            log_texts(self._connect(), run, params, {})
        return run, resumed
