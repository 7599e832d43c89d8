"""MLflow's experiments and runs: found, listed and read back, by the MLflow API alone.

`rows(uri, sweep_name)` and `specs(uri, sweep_name)` give every number back, and `page(uri,
sweep_name)` is where MLflow's server shows them.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from engine._foreign import one_line, told, without_passwords
from engine.tracking import mlflow_rows as mirror

for _name, _value in mirror.SETTINGS.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Experiment, Param, Run, RunTag  # noqa: E402
from mlflow.tracking._tracking_service import utils  # noqa: E402
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID  # noqa: E402
from sqlalchemy import Engine, event  # noqa: E402

from engine.names import Names  # noqa: E402
from engine.spec import LineageSpec  # noqa: E402
from engine.tracking.asking import Asked  # noqa: E402
from engine.tracking.backoff import database  # noqa: E402
from engine.tracking.mlflow_moved import follow  # noqa: E402

for _name in ("alembic", "mlflow.store", "urllib3"):
    logging.getLogger(_name).setLevel(logging.ERROR)
_own = logging.getLogger("mlflow")
_own.handlers.clear()  # it would print tracebacks on the terminal: they go to our log
_own.propagate = True

SWEEP = "ouroboros.sweep"  # tag of the parent run: the sweep's id
LINEAGE = "ouroboros.lineage"  # tag of a child run: the lineage's id
CONTROL = "ouroboros.control"  # tag of a child run that is a control, which counts for no cell
VIEW = "cells"  # name of the table's saved state
PER_CALL = 100  # parameters or tags in one log_batch
OLDEST_FIRST = ["attributes.start_time ASC", "attributes.run_id ASC"]


class Absent(Exception):
    """What only the driver creates is not there yet."""


@event.listens_for(Engine, "before_cursor_execute", retval=True)
def _impatient(
    connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any
) -> tuple[str, Any]:
    """MLflow waits 20 s in every call for a sqlite file that somebody else has locked."""
    return statement.replace("busy_timeout = 20000", "busy_timeout = 2000"), parameters


def client_of(uri: str) -> MlflowClient:
    """Return a client that finds artifacts where they lie now.

    MLflow remembers folders of artifacts by run as long as the process lives, also of an output
    that was moved or copied meanwhile.
    """
    uri = signed_in(uri)
    follow(uri)
    if "%" in uri and database(uri):  # MLflow would make a folder of what is quoted there
        from mlflow.store.db import utils as tables

        tables._make_parent_dirs_if_sqlite = lambda db_uri: None
    getattr(utils, "_artifact_repos_cache", {}).clear()
    return MlflowClient(tracking_uri=uri)


def signed_in(uri: str) -> str:
    """The URI of a server without its user's name and password, which MLflow finds in the
    environment from now on: its errors quote URIs.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri
    names = {"MLFLOW_TRACKING_USERNAME": parts.username, "MLFLOW_TRACKING_PASSWORD": parts.password}
    os.environ |= {name: unquote(word) for name, word in names.items() if word}
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def make_tables(uri: str) -> None:
    """Make MLflow's tables in a new database."""
    MlflowClient(tracking_uri=uri).search_experiments(max_results=1)


def called(sweep_name: str) -> str:
    """What MLflow calls a sweep."""
    return one_line(without_passwords(sweep_name))


def experiment_of(
    client: MlflowClient, name: str, question: str, artifacts: str | None
) -> Experiment:
    if (found := client.get_experiment_by_name(name)) is None:
        tags = {
            "mlflow.note.content": question,
            "mlflow.experimentKind": "custom_model_development",
        }  # not chat bots
        made: Experiment = client.get_experiment(client.create_experiment(name, artifacts, tags))
        return made
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    return found


def oldest(client: MlflowClient, experiment: str, query: str) -> Run | None:
    """Return the first run that was made of those that fit."""
    found = client.search_runs([experiment], query, max_results=1, order_by=OLDEST_FIRST)
    return next(iter(found), None)


def parent_of(client: MlflowClient, experiment: str, sweep_id: str, beside: bool) -> Run | None:
    """Return the run of a sweep.

    beside: whether the database lies beside its output, so that no other's can be in it: a version
    that told outputs by their place began it, and it was moved.
    """
    found = oldest(client, experiment, f"tags.`{SWEEP}` = '{sweep_id}'")
    if found is None and beside:
        found = oldest(client, experiment, f"tags.`{SWEEP}` != ''")
        if found is not None:
            client.set_tag(found.info.run_id, SWEEP, sweep_id)
    return found


def tags_of(texts: dict[str, str]) -> list[RunTag]:
    """Texts as tags of a run."""
    return [RunTag(key, told(text)) for key, text in texts.items()]


def log_texts(client: MlflowClient, run: Run, params: dict[str, str], tags: dict[str, str]) -> None:
    """Log the parameters that the run lacks, and the tags."""
    lacking = [Param(k, told(v)) for k, v in params.items() if k not in run.data.params]
    for batch in mirror.chunks(lacking, PER_CALL):
        client.log_batch(run.info.run_id, params=batch)
    for some in mirror.chunks(tags_of(tags), PER_CALL):
        client.log_batch(run.info.run_id, tags=some)


def children_of(client: MlflowClient | Asked, parent: Run) -> list[Run]:
    """All child runs, the oldest last (so that a dict by lineage keeps it)."""
    query, token, found = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent.info.run_id}'", None, []
    while token != "":
        page = client.search_runs(
            [parent.info.experiment_id], query, max_results=1000, page_token=token
        )
        token = page.token or ""
        found += [run for run in page if LINEAGE in run.data.tags]
    return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id), reverse=True)


def listed(client: MlflowClient, run_id: str, folder: str) -> dict[str, int]:
    """All files under an artifact folder, with their sizes."""
    files: dict[str, int] = {}
    for entry in client.list_artifacts(run_id, folder):
        files |= (
            listed(client, run_id, entry.path)
            if entry.is_dir
            else {entry.path: entry.file_size or 0}
        )
    return files


def pictured(client: MlflowClient, run_id: str) -> set[int]:
    """The steps whose picture is complete, for MLflow writes the small copy after the full one; and
    those that have a text.
    """
    texts = {Path(file.path).stem for file in client.list_artifacts(run_id, mirror.TEXTS)}
    names = [Path(file.path).name.split("+") for file in client.list_artifacts(run_id, "images")]
    drawn = {
        int(name[2]) for name in names if name[0] == "samples" and name[-1].startswith("compressed")
    }
    return drawn | {int(t) for t in texts if t.isdecimal()}


# ---- reading it back, by the MLflow API alone ----------------------------------------------------


def page(uri: str, sweep_name: str) -> str:
    """Where the server shows the question: `http://127.0.0.1:<port>` + this."""
    found = Asked(uri, client_of).get_experiment_by_name(called(sweep_name))
    table = f"runs?workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"/#/experiments/{found.experiment_id}/{table}" if found else "/"


def tags_of_lineage(spec: LineageSpec, names: Names) -> dict[str, str]:
    """What tells a child run from the others of its sweep."""
    own = {LINEAGE: spec.id, "cell": names.cell(spec)}
    return own | ({CONTROL: "size"} if names.is_control(spec) else {})


def rows(uri: str, sweep_name: str, sweep_id: str | None = None) -> list[mirror.JsonRow]:
    """Every row of every lineage of the question (of one of its sweeps, if given), as it was
    committed.
    """
    client = Asked(signed_in(uri), client_of)
    return [
        row
        for run in _recorded(client, sweep_name, sweep_id)
        for row in mirror.merged(_texts(client, run, "rows"))
    ]


def specs(uri: str, sweep_name: str, sweep_id: str | None = None) -> dict[str, LineageSpec]:
    """The spec of every lineage, by id."""
    client = Asked(signed_in(uri), client_of)
    runs = _recorded(client, sweep_name, sweep_id)
    return {
        r.data.tags[LINEAGE]: LineageSpec.from_dict(
            json.loads(_texts(client, r, "lineage.json")[0])
        )
        for r in runs
    }


def _recorded(client: Asked, sweep_name: str, sweep_id: str | None) -> list[Run]:
    experiment = client.get_experiment_by_name(called(sweep_name))
    if experiment is None:
        raise KeyError(f"MLflow has no experiment {sweep_name!r}")
    query = f"tags.`{SWEEP}` = '{sweep_id}'" if sweep_id else f"tags.`{SWEEP}` != ''"
    parents = client.search_runs([experiment.experiment_id], query)
    runs = [run for parent in parents for run in children_of(client, parent)]
    unique = {run.data.tags[LINEAGE]: run for run in runs if CONTROL not in run.data.tags}
    return [unique[lineage] for lineage in sorted(unique)]


def _texts(client: Asked, run: Run, path: str) -> list[str]:
    """The texts of an artifact or of all files of an artifact folder,
    in the order of their names.
    """
    if path not in {entry.path for entry in client.list_artifacts(run.info.run_id)}:
        return []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(client.download_artifacts(run.info.run_id, path, folder))
        return [p.read_text() for p in (sorted(place.iterdir()) if place.is_dir() else [place])]
