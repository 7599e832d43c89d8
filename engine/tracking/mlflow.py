"""MLflow, the mirror of the store: an experiment per question, a parent run per sweep, a child run
per lineage.

The store is the truth.  Whatever MLflow does, training goes on: a call that fails marks the tracker
                         as behind, is followed by a
silence of 60 times what it cost, and the gap is filled from the rows later; mirroring a row again
changes nothing.

    tracker = Tracker(uri, sweep_name, sweep_id, artifacts)   # connects lazily: constructing it
    costs and risks nothing
    driver  tracker.open_sweep(question, params, n, columns)  # before any actor: it alone creates
            tables and parent run
    actor   tracker.open_lineage(spec, rows)                  # rows: what is committed already; the
            run is RUNNING now tracker.mirror(spec, [row], pictures, checkpoint, keep)   # after
            each commit; all rows so far do as well tracker.finish_lineage(spec, outcome)
            # {"status", "reason"}; status "" or "interrupted" is KILLED
    driver  tracker.open_sweep(...)                           # again: reads all runs at once;
            complete ones cost nothing for each lineage: mirror(spec, rows, ...);
            finish_lineage(spec, outcome)     # fills the gaps, true end states
            tracker.finish_sweep("FINISHED", {"collapsed": 3.0}, [report])

All methods return True when MLflow has everything, False when it is behind (`tracker.trouble` says
why).  Keep ONE tracker per process, over all its lineages: the silence after a failure lives in it.
       `engine.untracked.Nop` is the do-nothing member.
Afterwards `rows(uri, sweep_name)` and `specs(uri, sweep_name)` give every number back by the MLflow
API alone, and `page(uri, sweep_name)` is where `server_command(uri, port, artifacts)` shows them.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.tracking import mlflow_rows as mirror

for _name, _value in mirror.SETTINGS.items():
    os.environ.setdefault(_name, _value)

import numpy as np  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Experiment, Metric, Param, Run, RunTag  # noqa: E402
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID  # noqa: E402
from sqlalchemy import Engine, event  # noqa: E402

from engine.settings import Keep, is_kept  # noqa: E402
from engine.spec import LineageSpec  # noqa: E402
from engine.tracking.backoff import Patience, Timed, database, must_answer  # noqa: E402
from engine.tracking.mlflow_rows import Line, Wanted, local, server_command, server_environment  # noqa: E402
from engine.tracking.tracker import Nop  # noqa: E402

__all__ = [
    "Nop",
    "Tracker",
    "local",
    "page",
    "rows",
    "server_command",
    "server_environment",
    "specs",
]

for _name in ("alembic", "mlflow.store", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)
(
    _own := logging.getLogger("mlflow")
).handlers.clear()  # it would print tracebacks on the terminal: they go to our log
_own.propagate = True

SWEEP = "ouroboros.sweep"  # tag of the parent run: the sweep's id
LINEAGE = "ouroboros.lineage"  # tag of a child run: the lineage's id
MIRRORED = "ouroboros.mirrored"  # tag of a child run: which rows it has, whole
VIEW = "cells"  # name of the table's saved state
PER_CALL = 1000  # metrics in one log_batch
OLDEST_FIRST = ["attributes.start_time ASC", "attributes.run_id ASC"]

Row = Mapping[str, Any]
Pictures = Callable[[int], np.ndarray | None]  # generation -> RGB [height, width, 3] uint8
Checkpoint = Callable[[int], Path | None]  # generation -> folder of its weights


class Absent(Exception):
    """What only the driver creates is not there yet."""


class Tracker:
    """Mirrors lineages of one sweep into one MLflow store or server (see the top of this file)."""

    def __init__(
        self, uri: str, sweep_name: str, sweep_id: str, artifacts: str | None = None
    ) -> None:
        self.uri, self.sweep_name, self.sweep_id, self.artifacts = (
            uri,
            sweep_name,
            sweep_id,
            artifacts,
        )
        self._patience = Patience("MLflow")
        self._client: Any = None
        self._experiment: Experiment | None = None
        self._parent: Run | None = None
        self._reopen: Callable[[], None] | None = (
            None  # the driver's way to create what is not there
        )
        self._children: dict[str, Run] | None = (
            None  # by lineage id; None: look one up when it is needed
        )
        self._asked: set[str] = (
            set()
        )  # lineages whose run was asked for: an answer may get lost, and the run be there
        self._lines: dict[str, Line] = {}
        self._wanted: dict[str, Wanted] = {}
        self._answered = -math.inf  # when MLflow last did what it was asked

    @property
    def behind(self) -> bool:
        """Whether MLflow lacks something it was told."""
        return bool(self._patience.behind)

    @property
    def trouble(self) -> str:
        """The last failure."""
        return self._patience.trouble

    # ---- the sweep -------------------------------------------------------------------------------

    def open_sweep(
        self, question: str, params: dict[str, Any], lineage_count: int, columns: Sequence[str] = ()
    ) -> bool:
        """Driver only: finds or creates experiment and parent run, sets it RUNNING, and reads all
        its child runs. columns: the metrics in the table that `page` opens.  Ends a silence; tried
        again by itself until it succeeds.
        """
        self._reopen = lambda: self._open_sweep(question, params, lineage_count, columns)
        self._patience.forget()
        return self._try("sweep", self._reopen)

    def _open_sweep(
        self, question: str, params: dict[str, Any], lineage_count: int, columns: Sequence[str]
    ) -> None:
        client = self._connect(create=True)
        self._experiment = _experiment(client, self.sweep_name, question, self.artifacts)
        client.set_experiment_tag(
            self._experiment.experiment_id, f"mlflow.sharedViewState.{VIEW}", mirror.view(columns)
        )
        self._parent = self._find(f"tags.`{SWEEP}` = '{self.sweep_id}'")
        if self._parent is None:
            tags = {SWEEP: self.sweep_id, "mlflow.note.content": question}
            self._parent = client.create_run(
                self._experiment.experiment_id, tags=tags, run_name=self.sweep_name
            )
        elif self._parent.info.status != "RUNNING":
            client.update_run(self._parent.info.run_id, status="RUNNING")
        texts = {mirror.legal(k): mirror.text(v) for k, v in params.items() if v is not None}
        changed = {
            k: v for k, v in texts.items() if self._parent.data.params.get(k, v) != v
        }  # a parameter cannot change
        self._log_texts(self._parent, texts, {**changed, "lineages": str(lineage_count)})
        self._children = {run.data.tags[LINEAGE]: run for run in _children(client, self._parent)}
        self._lines.clear()

    def finish_sweep(
        self, status: str, summary: dict[str, float], artifacts: Iterable[Path] = ()
    ) -> bool:
        """status: FINISHED, FAILED or KILLED.

        A summary number that changed since the last time is a further step.
        """
        return self._try("sweep", lambda: self._finish_sweep(status, summary, tuple(artifacts)))

    def _finish_sweep(
        self, status: str, summary: dict[str, float], artifacts: tuple[Path, ...]
    ) -> None:
        client, run_id = self._connect(), self._sweep().info.run_id
        old, now = client.get_run(run_id).data.metrics, int(time.time() * 1000)
        changed = {
            k: v
            for k, v in mirror.points({"values": summary}).items()
            if repr(old.get(k)) != repr(v)
        }
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

    def open_lineage(self, spec: LineageSpec, rows: Iterable[Row] = ()) -> bool:
        """Finds or creates the child run and sets it RUNNING; rows: all that are committed (they
        are logged by `mirror`).
        """
        wanted = self._want(spec, rows)
        return self._try(spec.id, lambda: self._set_running(self._line(spec, wanted)))

    def mirror(
        self,
        spec: LineageSpec,
        rows: Iterable[Row],
        pictures: Pictures | None = None,
        checkpoint: Checkpoint | None = None,
        keep: Keep = "all",
    ) -> bool:
        """Logs what MLflow lacks of these rows: points, the rows whole, pictures (where
        `pictures(t)` gives one) and weights (where `checkpoint(t)` gives a folder, by the keep
        rule).  Rows that could not be logged stay for the next call.
        """
        wanted = self._want(spec, rows)
        wanted.pictures, wanted.checkpoint, wanted.keep = pictures, checkpoint, keep
        return self._try(spec.id, lambda: self._mirror(spec, wanted))

    def finish_lineage(self, spec: LineageSpec, outcome: dict[str, Any]) -> bool:
        """Sets the run's end state and its tags `status` and `reason`; logs the last generation's
        weights.
        """
        wanted = self._want(spec, ())
        return self._try(spec.id, lambda: self._finish_lineage(spec, wanted, outcome))

    def _want(self, spec: LineageSpec, rows: Iterable[Row]) -> Wanted:
        wanted = self._wanted.setdefault(spec.id, Wanted())
        known = self._lines[spec.id].prints if spec.id in self._lines else {}
        wanted.rows.update(
            {row["t"]: row for row in rows if known.get(row["t"]) != mirror.fingerprint(row)}
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

    def _finish_lineage(self, spec: LineageSpec, wanted: Wanted, outcome: dict[str, Any]) -> None:
        self._mirror(spec, wanted)
        client, line, state = (
            self._connect(),
            self._lines[spec.id],
            mirror.end_state(outcome["status"]),
        )
        if state == "FINISHED" and line.last:
            self._log_weights(line, line.last["t"], wanted.checkpoint)
        tags = {
            "status": outcome["status"] or "unfinished",
            "reason": str(outcome.get("reason") or "")[:1000],
        }
        if any(line.tags.get(k, "") != v for k, v in tags.items()):
            client.log_batch(line.run_id, tags=[RunTag(k, v) for k, v in tags.items()])
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

    def _log_points(self, line: Line, fresh: list[Row]) -> None:
        new = [
            (k, v, mirror.milliseconds(row), row["t"])
            for row in fresh
            for k, v in mirror.points(row).items()
        ]
        for batch in mirror.chunks([p for p in new if (p[0], p[3]) not in line.points], PER_CALL):
            self._connect().log_batch(line.run_id, metrics=[Metric(*point) for point in batch])
            line.points |= {(key, step) for key, _, _, step in batch}

    def _log_rows(self, line: Line, fresh: list[Row]) -> None:
        client = self._connect()
        if line.files is None:
            line.files = len(client.list_artifacts(line.run_id, "rows")) if line.resumed else 0
        client.log_text(line.run_id, mirror.to_json(fresh), mirror.rows_file(line.files, fresh))
        line.files += 1

    def _log_pictures(self, line: Line, fresh: dict[int, Row], pictures: Pictures | None) -> None:
        if pictures is None:
            return
        client = self._connect()
        if line.pictured is None:
            line.pictured = _pictured(client, line.run_id) if line.resumed else set()
        for t in sorted(fresh.keys() - line.pictured):
            picture = pictures(t)
            if picture is not None:
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
        there = _listed(client, line.run_id, place) if line.resumed else {}
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

        return self._patience.run(what, answered)

    # ---- finding runs ----------------------------------------------------------------------------

    def _connect(self, create: bool = False) -> MlflowClient:
        if self._client is None:
            if file := database(self.uri):
                if not create and not file.exists():
                    raise Absent(
                        f"{file} is not there yet; the driver creates it: processes that meet "
                        "an empty file race"
                    )
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()  # or an error at once: MLflow would try for 100 s
            client = MlflowClient(tracking_uri=self.uri)
            self._client = Timed(client) if self.uri.startswith("http") else client
        return self._client

    def _sweep(self) -> Run:
        """The parent run."""
        if self._parent is None and self._reopen:
            self._reopen()
            self._patience.behind.discard("sweep")
        client = self._connect()
        if self._parent is None and (found := client.get_experiment_by_name(self.sweep_name)):
            self._experiment = found
            self._parent = self._find(f"tags.`{SWEEP}` = '{self.sweep_id}'")
        if self._parent is None:
            raise Absent(
                f"{self.uri} has no run of sweep {self.sweep_name!r} yet; the driver creates it"
            )
        return self._parent

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
        if run is None and (
            self._children is None or spec.id in self._asked
        ):  # who knows all runs need not search for one
            run = self._find(
                f"tags.`{LINEAGE}` = '{spec.id}' and tags.`{MLFLOW_PARENT_RUN_ID}` = "
                f"'{parent.info.run_id}'"
            )
        resumed = run is not None
        if run is None:
            tags = {
                LINEAGE: spec.id,
                MLFLOW_PARENT_RUN_ID: parent.info.run_id,
                "cell": mirror.cell_name(spec),
            }
            start = mirror.begun(wanted.rows[min(wanted.rows)]) if wanted.rows else None
            self._asked.add(spec.id)
            run = self._connect().create_run(
                parent.info.experiment_id, start, tags, mirror.run_name(spec)
            )
        params = mirror.parameters(spec)
        if not params.keys() <= run.data.params.keys():
            self._connect().log_text(
                run.info.run_id, json.dumps(spec.to_dict(), indent=1), "lineage.json"
            )
            self._log_texts(run, params, {})
        return run, resumed

    def _find(self, query: str) -> Run | None:
        assert self._experiment is not None
        place = [self._experiment.experiment_id]
        return next(
            iter(self._connect().search_runs(place, query, max_results=1, order_by=OLDEST_FIRST)),
            None,
        )

    def _log_texts(self, run: Run, params: dict[str, str], tags: dict[str, str]) -> None:
        for batch in mirror.chunks(
            [Param(k, v) for k, v in params.items() if k not in run.data.params], 100
        ):
            self._connect().log_batch(run.info.run_id, params=batch)
        for batch in mirror.chunks([RunTag(k, v) for k, v in tags.items()], 100):
            self._connect().log_batch(run.info.run_id, tags=batch)


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _impatient(
    connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any
) -> tuple[str, Any]:
    """MLflow waits 20 s in every call for a sqlite file that somebody else has locked."""
    return statement.replace("busy_timeout = 20000", "busy_timeout = 2000"), parameters


def _experiment(
    client: MlflowClient, name: str, question: str, artifacts: str | None
) -> Experiment:
    if (found := client.get_experiment_by_name(name)) is None:
        tags = {
            "mlflow.note.content": question,
            "mlflow.experimentKind": "custom_model_development",
        }  # not chat bots
        return client.get_experiment(client.create_experiment(name, artifacts, tags))
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return found


def _children(client: MlflowClient, parent: Run) -> list[Run]:
    """All child runs, the oldest last (so that a dict by lineage keeps it)."""
    query, token, found = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.info.run_id}'", None, []
    while token != "":
        page = client.search_runs(
            [parent.info.experiment_id], query, max_results=1000, page_token=token
        )
        token = page.token or ""
        found += [run for run in page if LINEAGE in run.data.tags]
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id), reverse=True)


def _listed(client: MlflowClient, run_id: str, folder: str) -> dict[str, int]:
    """All files under an artifact folder, with their sizes."""
    files: dict[str, int] = {}
    for entry in client.list_artifacts(run_id, folder):
        files |= (
            _listed(client, run_id, entry.path)
            if entry.is_dir
            else {entry.path: entry.file_size or 0}
        )
    return files


def _pictured(client: MlflowClient, run_id: str) -> set[int]:
    """The steps whose picture is complete: MLflow writes the small copy after the full one."""
    names = [Path(file.path).name.split("+") for file in client.list_artifacts(run_id, "images")]
    return {
        int(name[2]) for name in names if name[0] == "samples" and name[-1].startswith("compressed")
    }


# ---- reading it back, by the MLflow API alone ----------------------------------------------------


def page(uri: str, sweep_name: str) -> str:
    """Where the server shows the question: `http://127.0.0.1:<port>` + this."""
    found = MlflowClient(tracking_uri=uri).get_experiment_by_name(sweep_name)
    table = f"runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"/#/experiments/{found.experiment_id}/{table}" if found else "/"


def rows(uri: str, sweep_name: str, sweep_id: str | None = None) -> list[dict[str, Any]]:
    """Every row of every lineage of the question (of one of its sweeps, if given), as it was
    committed.
    """
    client = MlflowClient(tracking_uri=uri)
    return [
        row
        for run in _recorded(client, sweep_name, sweep_id)
        for row in mirror.merged(_texts(client, run, "rows"))
    ]


def specs(uri: str, sweep_name: str, sweep_id: str | None = None) -> dict[str, LineageSpec]:
    """The spec of every lineage, by id."""
    client = MlflowClient(tracking_uri=uri)
    runs = _recorded(client, sweep_name, sweep_id)
    return {
        r.data.tags[LINEAGE]: LineageSpec.from_dict(
            json.loads(_texts(client, r, "lineage.json")[0])
        )
        for r in runs
    }


def _recorded(client: MlflowClient, sweep_name: str, sweep_id: str | None) -> list[Run]:
    experiment = client.get_experiment_by_name(sweep_name)
    if experiment is None:
        raise KeyError(f"MLflow has no experiment {sweep_name!r}")
    query = f"tags.`{SWEEP}` = '{sweep_id}'" if sweep_id else f"tags.`{SWEEP}` != ''"
    parents = client.search_runs([experiment.experiment_id], query)
    unique = {
        run.data.tags[LINEAGE]: run for parent in parents for run in _children(client, parent)
    }
    return [unique[lineage] for lineage in sorted(unique)]


def _texts(client: MlflowClient, run: Run, path: str) -> list[str]:
    """The texts of an artifact or of all files of an artifact folder,
    in the order of their names.
    """
    if path not in {entry.path for entry in client.list_artifacts(run.info.run_id)}:
        return []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(client.download_artifacts(run.info.run_id, path, folder))
        return [p.read_text() for p in (sorted(place.iterdir()) if place.is_dir() else [place])]
