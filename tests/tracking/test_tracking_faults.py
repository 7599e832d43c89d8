"""MLflow dead, slow, killed, late or shared: no lineage waits for it, and afterwards it has
everything.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from engine.registry import make
from engine.samples import Samples
from engine.tracking import mlflow_rows as mirror
from engine.tracking import mlflow_runs
from engine.tracking.backoff import LONG, SHARE, WAITED, Backoff, Slow, Timed, within
from engine.tracking.mlflow import MlflowTracker
from engine.tracking.tracker import Nop
from tests.support import mirrored
from tests.support.mirrored import (
    NAME,
    OK,
    PARAMETERS,
    SWEEP,
    Opened,
    artifacts,
    as_json,
    charted,
    client_of,
    expected,
    free_port,
    picture,
    port,
    rows_of,
    runs,
    same,
    server,
    spec,
)

opened, empty_database = mirrored.opened, mirrored.empty_database  # fixtures
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of MLflow's own libraries, in the tests' own clients


# ---- nothing waits for it ------------------------------------------------------------------------


@pytest.mark.parametrize("answering", [False, True])
def test_a_dead_server_costs_less_than_five_seconds(answering: bool) -> None:
    s = spec()
    with port(answering) as number:
        tracker = MlflowTracker(f"http://127.0.0.1:{number}", NAME, SWEEP)
        started = time.monotonic()
        assert not tracker.open_sweep("How much?", PARAMETERS, 1)
        assert not any(tracker.mirror(s, [r]) for r in rows_of(s, 200))
        assert not tracker.finish_lineage(s, OK) and not tracker.finish_sweep("FINISHED", {})
        assert time.monotonic() - started < 5 and tracker.behind and tracker.trouble


def test_what_a_dead_server_missed_is_filled_in(opened: Opened) -> None:
    """The tracker remembers what it could not log; the rows need not be given again."""
    s, tracker = spec(), opened()
    uri, logged = tracker.uri, rows_of(s, 6)
    with port(answering=False) as number:
        tracker.uri = f"http://127.0.0.1:{number}"
        assert not any(tracker.mirror(s, [r], picture) for r in logged[:5]) and tracker.behind
    tracker.uri = uri  # it is back
    tracker._backoff.forget()
    assert (
        tracker.mirror(s, logged[5:], picture)
        and tracker.finish_lineage(s, OK)
        and not tracker.behind
    )
    assert same(charted(tracker, s), expected(logged))
    assert mlflow_runs.rows(uri, NAME) == as_json(logged)
    assert len(artifacts(tracker, s, "images")) == 12


def test_a_driver_that_found_no_server_at_first(tmp_path: Path, empty_database: Path) -> None:
    """The parent run is created once the server is there, though nobody asks for it again."""
    (uri, place), s, logged = mirror.local(tmp_path), spec(), rows_of(spec(), 3)
    with port(answering=False) as number:
        tracker = MlflowTracker(f"http://127.0.0.1:{number}", NAME, SWEEP, place)
        assert not tracker.open_sweep("How much?", PARAMETERS, 1) and not tracker.mirror(
            s, logged[:2]
        )
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    tracker.uri, tracker._client = uri, None
    tracker._backoff.forget()
    assert tracker.mirror(s, logged[2:]) and mlflow_runs.rows(uri, NAME) == as_json(logged)


def test_opening_again_ends_the_silence(opened: Opened) -> None:
    tracker = opened()
    uri = tracker.uri
    with port(answering=False) as number:
        tracker.uri = f"http://127.0.0.1:{number}"
        assert not tracker.mirror(spec(), rows_of(spec(), 1))
    tracker.uri = uri
    assert (
        not tracker.mirror(spec(), [])
        and tracker.open_sweep("How much?", PARAMETERS, 1)
        and tracker.mirror(spec(), [])
    )
    assert not tracker.behind and mlflow_runs.rows(uri, NAME) == as_json(rows_of(spec(), 1))


def test_a_server_that_dies_in_the_middle(opened: Opened, tmp_path: Path) -> None:
    """The artifact folder refuses writes: the points are there all the same, the rest comes once it
    can.
    """
    s, tracker = spec(), opened()
    (tmp_path / "mlartifacts").mkdir(exist_ok=True)
    assert tracker.open_lineage(s)
    run = runs(tracker)[s.id].info.run_id
    blocked = tmp_path / "mlartifacts" / run / "artifacts" / "rows"
    blocked.write_text("in the way")
    assert not tracker.mirror(s, rows_of(s, 2)) and tracker.behind
    assert same(charted(tracker, s), expected(rows_of(s, 2)))
    blocked.unlink()
    tracker._backoff.forget()
    assert (
        tracker.mirror(s, [])
        and not tracker.behind
        and mlflow_runs.rows(tracker.uri, NAME) == as_json(rows_of(s, 2))
    )


def test_a_run_whose_creation_was_not_answered_is_found(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    s, tracker = spec(), opened()
    assert tracker.open_sweep("How much?", PARAMETERS, 1)
    client = tracker._connect()
    create = client.create_run

    def unheard(*words: Any, **options: Any) -> None:
        create(*words, **options)
        raise ConnectionError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(client, "create_run", unheard)
        assert not tracker.mirror(s, rows_of(s, 2))
    tracker._backoff.forget()
    assert tracker.mirror(s, rows_of(s, 3)) and tracker.finish_lineage(s, OK)
    assert same(charted(tracker, s), expected(rows_of(s, 3)))  # and there is one run


def test_silence_grows_with_what_a_failure_cost() -> None:
    def slow_failure() -> None:
        time.sleep(0.05)
        raise ConnectionError("no")

    patience, calls = Backoff("MLflow"), 0
    assert not patience.run("a", slow_failure) and patience.trouble == "ConnectionError: no"
    for _ in range(100):
        assert not patience.run("b", lambda: pytest.fail("it should be silent"))
    assert patience._until - time.monotonic() > 0.04 * SHARE and patience.behind == {"a", "b"}
    patience.forget()
    assert patience.run("a", lambda: None) and patience.behind == {"b"} and calls == 0


def test_a_call_has_a_deadline_for_its_whole_answer() -> None:
    over = threading.Event()

    class Dripping:
        """Answers something now and then, and never all of it."""

        def create_run(self) -> None:
            over.wait(20)

        def log_artifact(self, run: str, file: str) -> str:
            return "sent"

    client, started = Timed(Dripping()), time.monotonic()
    client.waited = LONG + WAITED - 0.05
    with pytest.raises(Slow, match="no whole answer"):
        client.create_run()
    client.waited = 0.0
    assert time.monotonic() - started < 5 and client.log_artifact("run", __file__) == "sent"
    over.set()
    with pytest.raises(KeyError):
        within(1.0, lambda: {}["what a call raises is raised"])
    assert within(1.0, lambda: None) is None


# ---- many ----------------------------------------------------------------------------------------


def test_a_thousand_generations_at_once(opened: Opened) -> None:
    s = spec()
    logged = rows_of(s, 1000)
    started = time.monotonic()
    assert opened().mirror(s, logged)
    assert time.monotonic() - started < 20  # 10,000 points; 1.5 s on a quiet machine
    tracker = opened()
    started = time.monotonic()
    assert tracker.mirror(s, logged) and time.monotonic() - started < 2
    assert mlflow_runs.rows(tracker.uri, NAME) == as_json(logged)
    assert len(charted(tracker, s)) == sum(len(mirror.points(r)) for r in logged)


def test_the_driver_reads_all_runs_at_once(opened: Opened) -> None:
    """With every lineage complete a second start writes nothing,
    and asks for no lineage by itself.
    """
    specs = [spec(seed=seed) for seed in range(5)]
    tracker = opened()
    for s in specs:
        assert tracker.mirror(s, rows_of(s, 2)) and tracker.finish_lineage(s, OK)
    driver = opened()
    assert driver.open_sweep("How much?", PARAMETERS, 5)
    file = Path(driver.uri.removeprefix("sqlite:///"))
    before = file.read_bytes()
    driver._find = lambda query: pytest.fail(f"asked for {query}")  # type: ignore[method-assign]
    for s in specs:
        assert driver.mirror(s, rows_of(s, 2)) and driver.finish_lineage(s, OK)
    assert file.read_bytes() == before


def _worker(uri: str, seed: int, gate: Any, answers: Any) -> None:
    tracker, s = MlflowTracker(uri, NAME, SWEEP), spec(seed=seed)
    gate.wait()
    done = [tracker.mirror(s, [r]) for r in rows_of(s, 15)]
    for _ in range(20):  # behind on a busy file: the next call fills in
        if tracker.finish_lineage(s, OK):
            break
        time.sleep(1.0)
    answers.put((seed, sum(done), tracker.behind, tracker.trouble))


@pytest.mark.slow
def test_four_processes_on_one_file(opened: Opened) -> None:
    context = multiprocessing.get_context("forkserver")  # new processes, which import mlflow once
    context.set_forkserver_preload(["engine.tracking.mlflow"])
    tracker, gate, answers = opened(), context.Event(), context.Queue()
    workers = [
        context.Process(target=_worker, args=(tracker.uri, seed, gate, answers))
        for seed in range(4)
    ]
    for worker in workers:
        worker.start()
    threading.Timer(0.1, gate.set).start()
    found = [answers.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert not any(behind for _, _, behind, _ in found), found
    for seed in range(4):
        s = spec(seed=seed)
        assert (
            same(charted(tracker, s), expected(rows_of(s, 15)))
            and runs(tracker)[s.id].info.status == "FINISHED"
        )


def test_the_do_nothing_member_has_every_method() -> None:
    public = {name for name in vars(MlflowTracker) if not name.startswith("_")}
    assert public <= set(dir(Nop))
    nop = Nop()
    assert (
        nop.mirror(spec(), [])
        and nop.open_sweep("", PARAMETERS, 0)
        and nop.finish_sweep("FINISHED", {})
        and not nop.behind
    )


# ---- a real server -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(tmp_path: Path, empty_database: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    s, logged = spec(), rows_of(spec(), 8)
    (tmp_path / "model").mkdir()
    model = make("generator", "gaussian")
    model.fit(Samples(np.random.default_rng(0).normal(size=(50, 3, 2))), np.random.default_rng(0))
    model.save(tmp_path / "model")
    number = free_port()
    with server(tmp_path, number) as uri:
        tracker = MlflowTracker(uri, NAME, SWEEP)
        assert tracker.open_sweep("How much?", PARAMETERS, 1), tracker.trouble
        assert all(
            tracker.mirror(s, [r], picture, lambda t: tmp_path / "model") for r in logged[:3]
        ), tracker.trouble
    started = time.monotonic()
    assert not any(
        tracker.mirror(s, [r], picture, lambda t: tmp_path / "model") for r in logged[3:6]
    )
    assert time.monotonic() - started < 5
    with server(tmp_path, number):
        tracker._backoff.forget()
        assert tracker.mirror(s, logged[6:], picture, lambda t: tmp_path / "model"), tracker.trouble
        again = MlflowTracker(uri, NAME, SWEEP)  # a second process, and the driver at the end
        assert again.open_sweep("How much?", PARAMETERS, 1) and again.mirror(
            s, logged, picture, lambda t: tmp_path / "model"
        )
        assert again.finish_lineage(s, OK) and again.finish_sweep(
            "FINISHED", {"collapsed": 0.0}, [tmp_path / "server.log"]
        )
        assert mlflow_runs.rows(uri, NAME) == as_json(logged) and same(
            charted(again, s), expected(logged)
        )
        assert (
            len(artifacts(again, s, "images")) == 16
            and len(artifacts(again, s, "checkpoints")) == 8
        )
        assert (
            mlflow_runs.specs(uri, NAME)[s.id].id == s.id
            and runs(again)[s.id].info.status == "FINISHED"
        )
        run = runs(again)[s.id].info.run_id
        loaded = make("generator", "gaussian")
        loaded.load(
            Path(
                client_of(again).download_artifacts(run, "checkpoints/generation_7", str(tmp_path))
            )
        )
        assert np.array_equal(*(g.sample(10, np.random.default_rng(1)).x for g in (loaded, model)))
        assert requests.get(
            uri + "/ajax-api/2.0/mlflow/experiments/search?max_results=9", timeout=10
        ).ok
