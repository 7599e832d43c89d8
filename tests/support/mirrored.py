"""MLflow on a sqlite file for tests: rows of an imagined lineage, trackers as new processes have
them, what MLflow shows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import requests

from engine.lineage.history import histories
from engine.lineage.loop import Outcome
from engine.spec import LineageSpec, Part, Sweep
from engine.status import Status
from engine.store.measured import Measured
from engine.store.rows import Generation
from engine.store.store import Store
from engine.tracking import mlflow as tracking
from engine.tracking import mlflow_rows as mirror
from engine.tracking import mlflow_runs
from engine.tracking.mlflow import LINEAGE, MlflowTracker
from engine.tracking.tracker import Parameters, address_of
from tests.support.rows import NOTHING, generation

NAME, SWEEP = "how_much", "5eed"
OK = Outcome(Status.OK)
PARAMETERS = Parameters(generations=5)
Opened = Callable[..., MlflowTracker]


def spec(share: float = 0.5, seed: int = 0) -> LineageSpec:
    gaussian, policy = (
        Part("generator", "gaussian", {}),
        Part("policy", "replace", {"synthetic_fraction": share}),
    )
    parts = {
        "dataset": Part("dataset", "gaussian", {"d": 2}),
        "generator": gaussian,
        "policy": policy,
    }
    return LineageSpec(**parts, sampling=Part("sampling", "plain", {}), n_real=60, seed=seed)


def row(of: LineageSpec, t: int, **changes: Any) -> Generation:
    """An imagined row of a lineage; changes: of its fields."""
    rng = np.random.default_rng([of.seed, t])
    values = {
        "fid": float(rng.exponential()),
        "fid/floor": 0.1 + 0.2,
        "moments/trace/se": 1e-17 * t,
    }
    made = generation(
        of.id,
        t,
        values,
        time=1790000000.123 + 1.7 * t,
        seconds=1.25,
        counts={"real": 600.0, "synthetic": 600.0, "fraction": 0.5},
        fit={"loss": 1 / (t + 1)},
        report={"acceptance": 1 / 3},
    )
    return replace(made, **changes)


def remeasured(
    row: Generation, values: Mapping[str, float], undefined: Mapping[str, str] = NOTHING
) -> Generation:
    """The row with these numbers instead."""
    return replace(row, measured=Measured(values, undefined))


def with_values(row: Generation, **values: float) -> Generation:
    """The row, measured further."""
    return remeasured(row, {**row.values, **values})


def as_json(rows: Iterable[Generation]) -> list[dict[str, Any]]:
    """As MLflow gives rows back."""
    return [row.to_json() for row in rows]


def rows_of(of: LineageSpec, n: int, **changes: Any) -> list[Generation]:
    return [row(of, t, **changes) for t in range(n)]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sqlite file with MLflow's tables: making them takes 2 s, so tests copy it."""
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.MlflowClient(tracking_uri=mirror.local(folder)[0]).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def opened(tmp_path: Path, empty_database: Path) -> Opened:
    """A function that gives a new tracker, as a new process would have; the sweep is there."""
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    uri, artifacts = mirror.local(tmp_path)
    assert MlflowTracker(uri, NAME, SWEEP, artifacts).open_sweep("How much?", PARAMETERS, 1)
    return lambda: MlflowTracker(uri, NAME, SWEEP, artifacts)


def client_of(tracker: MlflowTracker) -> Any:
    return mlflow.MlflowClient(tracking_uri=tracker.uri)


def runs(tracker: MlflowTracker) -> dict[str, Any]:
    """All child runs by lineage; fails if a lineage has two."""
    client = client_of(tracker)
    found = client.search_runs(
        [client.get_experiment_by_name(NAME).experiment_id], f"tags.`{LINEAGE}` != ''"
    )
    assert len({r.data.tags[LINEAGE] for r in found}) == len(found)
    return {r.data.tags[LINEAGE]: r for r in found}


def charted(
    tracker: MlflowTracker, of: LineageSpec
) -> dict[tuple[str, int], list[tuple[float, int]]]:
    """Every point MLflow has of a lineage: (key, step) -> [(value, time stamp)]."""
    run, client, points = (
        runs(tracker)[of.id],
        client_of(tracker),
        dict[tuple[str, int], list[tuple[float, int]]](),
    )
    for key in run.data.metrics:
        for p in client.get_metric_history(run.info.run_id, key):
            points.setdefault((p.key, p.step), []).append((p.value, p.timestamp))
    return points


def expected(rows: Iterable[Generation]) -> dict[tuple[str, int], list[tuple[float, int]]]:
    return {(k, r.t): [(v, int(r.time * 1000))] for r in rows for k, v in mirror.points(r).items()}


def same(a: Any, b: Any) -> bool:
    """Equal, a NaN being equal to itself."""
    return (
        sorted(map(repr, a.items())) == sorted(map(repr, b.items()))
        if isinstance(a, dict)
        else repr(a) == repr(b)
    )


def picture(t: int) -> np.ndarray:
    return np.full((20, 30, 3), 10 * t, dtype=np.uint8)


def artifacts(tracker: MlflowTracker, of: LineageSpec, folder: str) -> list[str]:
    return sorted(
        Path(f.path).name
        for f in client_of(tracker).list_artifacts(runs(tracker)[of.id].info.run_id, folder)
    )


def check_mirror(sweep: Sweep) -> None:
    """MLflow has each lineage once, with exactly the points and the rows of the store."""
    store = Store(sweep.out)
    address = address_of(sweep, store)
    assert address is not None
    uri = address.uri
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(sweep.name)
    runs = client.search_runs([experiment.experiment_id], f"tags.`{tracking.LINEAGE}` != ''")
    assert sorted(r.data.tags[tracking.LINEAGE] for r in runs) == sorted(
        spec.id for spec in sweep.lineages
    )
    rows = {h.spec.id: h.rows for h in histories(sweep, store).values()}
    for found in runs:
        points: dict[tuple[str, int], list[tuple[float, int]]] = {}
        for key in found.data.metrics:
            for p in client.get_metric_history(found.info.run_id, key):
                points.setdefault((p.key, p.step), []).append((p.value, p.timestamp))
        mine = rows[found.data.tags[tracking.LINEAGE]]
        assert (
            len(mine) == sweep.generations + 1
            and same(points, expected(mine))
            and found.info.status == "FINISHED"
        )
    stored = [row for key in sorted(rows) for row in rows[key]]
    with pytest.MonkeyPatch.context() as patch:  # a busy machine is no fault of the mirror
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        assert mlflow_runs.rows(uri, sweep.name) == as_json(stored)


# ---- servers -------------------------------------------------------------------------------------


@contextmanager
def port(answering: bool) -> Iterator[int]:
    """A port where nobody listens, or one where somebody takes the call and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if answering:
            listener.listen(50)
        yield listener.getsockname()[1]


def free_port() -> int:
    with port(answering=False) as number:
        return number


@contextmanager
def server(folder: Path, number: int, database: str = "") -> Iterator[str]:
    """MLflow's server as `ouro ui` starts it, on a sqlite file in this folder,
    or another database.
    """
    uri, place = mirror.local(folder)
    command, log = (
        mirror.server_command(number, place),
        (folder / "server.log").open("a"),
    )
    settings = mirror.server_environment(database or uri)
    process = subprocess.Popen(
        command, env=settings, stdout=log, stderr=log, start_new_session=True
    )
    try:
        for _ in range(600):
            with contextlib.suppress(requests.exceptions.ConnectionError):
                requests.get(f"http://127.0.0.1:{number}/health", timeout=10)
                break
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{number}"
    finally:
        os.killpg(
            process.pid, signal.SIGKILL
        )  # its own session: the server and its workers, nothing else
        process.wait()
