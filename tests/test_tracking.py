"""MLflow, for real, on a sqlite file: nothing doubled, nothing lost, nothing waits for it, and every number comes back."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from engine import mirror
from engine.parts import make
from engine.samples import Samples
from engine.spec import LineageSpec, Part

mlflow = pytest.importorskip("mlflow")
from engine import tracking  # noqa: E402
from engine.tracking import LINEAGE, Tracker  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own libraries, in the tests' own clients

NAME, SWEEP = "how_much", "5eed"
OK = {"status": "ok", "reason": ""}
Opened = Callable[..., Tracker]


def spec(share: float = 0.5, seed: int = 0) -> LineageSpec:
    gaussian, policy = Part("generator", "gaussian", {}), Part("policy", "replace", {"synthetic_fraction": share})
    parts = {"dataset": Part("dataset", "gaussian", {"d": 2}), "generator": gaussian, "policy": policy}
    return LineageSpec(**parts, sampling=Part("sampling", "plain", {}), n_real=60, seed=seed)


def row(of: LineageSpec, t: int, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng([of.seed, t])
    values = {"fid": float(rng.exponential()), "fid/floor": 0.1 + 0.2, "moments/trace/se": 1e-17 * t}
    counts = {"real": 600.0, "synthetic": 600.0, "fraction": 0.5}
    plain = {"lineage": of.id, "t": t, "model": f"m{t}", "draw": f"d{t}", "status": "ok", "reason": "", "found": ["model"]}
    numbers = {"time": 1790000000.123 + 1.7 * t, "seconds": 1.25, "counts": counts, "fit": {"loss": 1 / (t + 1)}}
    return plain | numbers | {"report": {"acceptance": 1 / 3}, "values": values, "undefined": {}} | changes


def rows_of(of: LineageSpec, n: int, **changes: Any) -> list[dict[str, Any]]:
    return [row(of, t, **changes) for t in range(n)]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sqlite file with MLflow's tables: making them takes 2 s, so tests copy it."""
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.MlflowClient(tracking_uri=tracking.local(folder)[0]).search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def opened(tmp_path: Path, empty_database: Path) -> Opened:
    """A function that gives a new tracker, as a new process would have; the sweep is there."""
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    uri, artifacts = tracking.local(tmp_path)
    assert Tracker(uri, NAME, SWEEP, artifacts).open_sweep("How much?", {"generations": 5}, 1)
    return lambda: Tracker(uri, NAME, SWEEP, artifacts)


def client_of(tracker: Tracker) -> Any:
    return mlflow.MlflowClient(tracking_uri=tracker.uri)


def runs(tracker: Tracker) -> dict[str, Any]:
    """All child runs by lineage; fails if a lineage has two."""
    client = client_of(tracker)
    found = client.search_runs([client.get_experiment_by_name(NAME).experiment_id], f"tags.`{LINEAGE}` != ''")
    assert len({r.data.tags[LINEAGE] for r in found}) == len(found)
    return {r.data.tags[LINEAGE]: r for r in found}


def charted(tracker: Tracker, of: LineageSpec) -> dict[tuple[str, int], list[tuple[float, int]]]:
    """Every point MLflow has of a lineage: (key, step) -> [(value, time stamp)]."""
    run, client, points = runs(tracker)[of.id], client_of(tracker), dict[tuple[str, int], list[tuple[float, int]]]()
    for key in run.data.metrics:
        for p in client.get_metric_history(run.info.run_id, key):
            points.setdefault((p.key, p.step), []).append((p.value, p.timestamp))
    return points


def expected(rows: list[dict[str, Any]]) -> dict[tuple[str, int], list[tuple[float, int]]]:
    return {(k, r["t"]): [(v, int(r["time"] * 1000))] for r in rows for k, v in mirror.points(r).items()}


def same(a: Any, b: Any) -> bool:
    """Equal, a NaN being equal to itself."""
    return sorted(map(repr, a.items())) == sorted(map(repr, b.items())) if isinstance(a, dict) else repr(a) == repr(b)


# ---- a row as it is shown ------------------------------------------------------------------------------------------------


def test_every_number_comes_back_by_the_api_alone(opened: Opened) -> None:
    first, second = spec(0.5), spec(0.9)
    logged = {s.id: rows_of(s, 4) for s in (first, second)}
    bad = {"values": {"fid": math.inf, "nll": -math.inf, "kl": math.nan}, "undefined": {"w2": "class 3 has no samples"}}
    logged[second.id][3] |= {"status": "diverged", "reason": "loss is nan", "fit": {"loss": None}, **bad}
    tracker = opened()
    assert tracker.mirror(first, logged[first.id]) and tracker.mirror(second, logged[second.id])
    back = tracking.rows(tracker.uri, NAME)
    assert repr(back) == repr([r for lineage in sorted(logged) for r in logged[lineage]])
    assert repr(tracking.rows(tracker.uri, NAME, SWEEP)) == repr(back) and tracking.rows(tracker.uri, NAME, "other") == []
    assert {k: s.to_dict() for k, s in tracking.specs(tracker.uri, NAME).items()} == {
        s.id: s.to_dict() for s in (first, second)
    }
    for s in (first, second):
        assert same(charted(tracker, s), expected(logged[s.id]))


def test_infinite_and_undefined_values_are_flagged(opened: Opened) -> None:
    s, tracker = spec(), opened()
    values = {"values": {"fid": math.inf, "nll": -math.inf, "kl": math.nan, "ok": 2}, "undefined": {"w2": "no samples"}}
    assert tracker.mirror(s, [row(s, 0, **values)])
    shown = {key: points[0][0] for (key, _), points in charted(tracker, s).items()}
    assert (shown["infinite/fid"], shown["infinite/nll"], shown["undefined/w2"], shown["ok"]) == (1, -1, 1, 2)
    assert all(math.isnan(shown[key]) for key in ("fid", "nll", "kl", "w2"))
    assert "infinite/kl" not in shown and "undefined/kl" not in shown
    assert tracking.rows(tracker.uri, NAME)[0]["undefined"] == {"w2": "no samples"}


@pytest.mark.parametrize(
    "name",
    ["fid", "fid/floor", "a@b", "a..b", "", ".", "/a//b/", "../a", "accuracy (top 5)", "k" * 400, "größe", "a:b", "%", "a\nb"],
)
def test_any_key_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    legal = mirror.legal(name)
    _validate_metric_name(legal)
    _validate_param_name(legal)
    assert len(legal) <= 250 and mirror.legal(legal) == legal
    assert name not in ("fid", "fid/floor", "a:b") or legal == name


def test_a_run_has_flat_parameters_with_defaults_and_a_readable_name(opened: Opened) -> None:
    tracker, s = opened(), spec(0.5, seed=7)
    assert tracker.mirror(s, rows_of(s, 1))
    run = runs(tracker)[s.id]
    params = run.data.params
    assert params["generator.name"] == "gaussian" and params["policy.synthetic_fraction"] == "0.5"
    assert (params["n_real"], params["n_synthetic"], params["seed"]) == ("60", "60", "7")
    assert set(params) > {f"generator.{p}" for p in make_parameters("generator", "gaussian")}
    assert run.info.run_name == "replace 0.5, seed 7, gaussian"
    assert run.data.tags["cell"].startswith("replace 0.5, gaussian (")
    client = client_of(tracker)
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name == NAME and parent.data.params["generations"] == "5" and parent.info.status == "RUNNING"


def make_parameters(kind: str, name: str) -> list[str]:
    from engine.parts import describe

    return [p.name for p in describe(kind, name).parameters.values() if p.default is not None]


def test_a_nested_part_is_flat_too() -> None:
    reward = {"name": "true_density"}
    nested = Part("sampling", "curate", {"k": 4, "reward": reward})
    s = spec()
    params = mirror.parameters(LineageSpec(s.dataset, s.generator, s.policy, nested, s.n_real, s.seed))
    assert (params["sampling.name"], params["sampling.k"], params["sampling.reward.name"]) == ("curate", "4", "true_density")


# ---- nothing doubled ----------------------------------------------------------------------------------------------------


def test_mirroring_three_times_is_mirroring_once(opened: Opened) -> None:
    s = spec()
    logged = [*rows_of(s, 3), row(s, 3, values={"fid": math.inf, "kl": math.nan}, undefined={"w2": "none"})]
    for tracker in (opened(), opened(), opened()):
        assert tracker.mirror(s, logged) and tracker.mirror(s, logged[-1:]) and tracker.finish_lineage(s, OK)
        assert same(charted(tracker, s), expected(logged))


def test_a_lineage_goes_on_in_its_run(opened: Opened) -> None:
    s, tracker = spec(), opened()
    logged = rows_of(s, 6)
    assert all(tracker.mirror(s, [r]) for r in logged[:3])
    assert tracker.finish_lineage(s, {"status": "unfinished", "reason": ""})
    before = runs(tracker)[s.id]
    assert before.info.status == "KILLED"
    tracker = opened()
    assert tracker.open_lineage(s, logged[:3]) and runs(tracker)[s.id].info.status == "RUNNING"
    assert all(tracker.mirror(s, [r]) for r in logged[3:]) and tracker.finish_lineage(s, OK)
    after = runs(tracker)[s.id]
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert after.info.end_time == int(logged[-1]["time"] * 1000)
    assert same(charted(tracker, s), expected(logged)) and tracking.rows(tracker.uri, NAME) == logged


def test_killed_between_points_and_the_rest(opened: Opened, tmp_path: Path) -> None:
    """A process that dies after the points of a row were logged leaves no mark; the next one completes the row."""
    s, tracker = spec(), opened()
    logged = rows_of(s, 3)
    assert tracker.mirror(s, logged[:1])
    tracker._log_points(tracker._lines[s.id], logged[1:])
    tracker = opened()
    assert tracker.mirror(s, logged) and same(charted(tracker, s), expected(logged))
    assert tracking.rows(tracker.uri, NAME) == logged


def test_a_metric_that_was_added_later(opened: Opened) -> None:
    s = spec()
    assert opened().mirror(s, rows_of(s, 3))
    richer = [r | {"values": {**r["values"], "nll": 1.0 + r["t"]}} for r in rows_of(s, 4)]
    tracker = opened()
    assert tracker.mirror(s, richer)
    assert same(charted(tracker, s), expected(richer)) and tracking.rows(tracker.uri, NAME) == richer


def test_a_row_computed_again_does_not_double_its_step(opened: Opened) -> None:
    s, first = spec(), opened()
    assert first.mirror(s, rows_of(s, 3))
    again = [*rows_of(s, 2), row(s, 2, time=1790009999.5, seconds=9.0)]
    for tracker in (first, opened()):
        assert tracker.mirror(s, again)
        assert all(len(points) == 1 for points in charted(tracker, s).values())
        assert tracking.rows(tracker.uri, NAME) == again


def test_a_sweep_is_found_again(opened: Opened) -> None:
    for n in (1, 2):
        assert opened().open_sweep("How much?", {"generations": 5 * n}, n)
    for value in (1.0, 1.0, 2.0):
        assert opened().finish_sweep("FINISHED", {"collapsed": value, "drift": math.nan})
    client, tracker = client_of(opened()), opened()
    (parent,) = client.search_runs([client.get_experiment_by_name(NAME).experiment_id], f"tags.`{tracking.SWEEP}` = '{SWEEP}'")
    assert parent.info.status == "FINISHED" and runs(tracker) == {}
    assert (parent.data.params["generations"], parent.data.tags["generations"], parent.data.tags["lineages"]) == (
        "5",
        "10",
        "2",
    )
    history = client.get_metric_history(parent.info.run_id, "collapsed")
    assert [(p.step, p.value) for p in sorted(history, key=lambda p: p.step)] == [(0, 1.0), (1, 2.0)]
    assert len(client.get_metric_history(parent.info.run_id, "drift")) == 1


# ---- how it ends --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("ok", "FINISHED"),
        ("diverged", "FINISHED"),
        ("class_extinct", "FINISHED"),
        ("failed", "FAILED"),
        ("unfinished", "KILLED"),
    ],
)
def test_true_end_states(opened: Opened, status: str, state: str) -> None:
    s, tracker = spec(), opened()
    assert tracker.mirror(s, rows_of(s, 2)) and tracker.finish_lineage(s, {"status": status, "reason": "because"})
    run = runs(tracker)[s.id]
    assert (run.info.status, run.data.tags["status"], run.data.tags["reason"]) == (state, status, "because")


def test_a_run_left_running_by_a_killed_driver_gets_its_state(opened: Opened) -> None:
    s = spec()
    assert opened().mirror(s, rows_of(s, 2))
    driver = opened()
    assert driver.open_sweep("How much?", {}, 1) and driver.mirror(s, rows_of(s, 2)) and driver.finish_lineage(s, OK)
    assert runs(driver)[s.id].info.status == "FINISHED"


def test_only_the_driver_creates(tmp_path: Path) -> None:
    tracker = Tracker(tracking.local(tmp_path)[0], NAME, SWEEP)
    assert not tracker.mirror(spec(), rows_of(spec(), 1)) and tracker.behind and "driver" in tracker.trouble
    assert not (tmp_path / "mlflow.db").exists()


# ---- pictures and weights -----------------------------------------------------------------------------------------------


def picture(t: int) -> np.ndarray:
    return np.full((20, 30, 3), 10 * t, dtype=np.uint8)


def artifacts(tracker: Tracker, of: LineageSpec, folder: str) -> list[str]:
    return sorted(Path(f.path).name for f in client_of(tracker).list_artifacts(runs(tracker)[of.id].info.run_id, folder))


def test_pictures_are_not_doubled(opened: Opened) -> None:
    s, asked = spec(), list[int]()

    def pictures(t: int) -> np.ndarray | None:
        asked.append(t)
        return picture(t) if t != 1 else None

    assert opened().mirror(s, rows_of(s, 3), pictures)
    richer = [r | {"values": {**r["values"], "nll": 1.0}} for r in rows_of(s, 4)]
    for tracker in (opened(), opened()):
        assert tracker.mirror(s, richer, pictures)
    names = artifacts(tracker, s, "images")
    assert [(n.split("+")[2], n.rsplit(".")[-1]) for n in names] == [(str(t), e) for t in (0, 2, 3) for e in ("webp", "png")]
    assert asked == [0, 1, 2, 1, 3]
    stamps = {int(n.split("+")[4].split(".")[0]) for n in names}
    assert stamps == {int(r["time"] * 1000) for r in richer if r["t"] != 1}


@pytest.mark.parametrize(("keep", "there"), [("all", [0, 1, 2, 3, 4]), ("last", [4]), ({"every": 3}, [0, 3, 4])])
def test_weights_open_after_download(opened: Opened, tmp_path: Path, keep: Any, there: list[int]) -> None:
    s, tracker, data = spec(), opened(), np.random.default_rng(0)
    models = []
    for t in range(5):
        models.append(make("generator", "gaussian"))
        models[t].fit(Samples(data.normal(size=(50, 3, 2)) + t), data)
        (tmp_path / f"model_{t}").mkdir()
        models[t].save(tmp_path / f"model_{t}")
    for r in rows_of(s, 5):
        assert tracker.mirror(s, [r], None, lambda t: tmp_path / f"model_{t}", keep)
    assert tracker.finish_lineage(s, OK)
    assert artifacts(tracker, s, "checkpoints") == [f"generation_{t}" for t in there]
    for t in there:
        place = client_of(tracker).download_artifacts(runs(tracker)[s.id].info.run_id, f"checkpoints/generation_{t}", tmp_path)
        loaded = make("generator", "gaussian")
        loaded.load(Path(place))
        a, b = (g.sample(10, np.random.default_rng(1)).x for g in (loaded, models[t]))
        assert np.array_equal(a, b)


# ---- nothing waits for it -----------------------------------------------------------------------------------------------


@contextmanager
def port(answering: bool) -> Iterator[int]:
    """A port where nobody listens, or one where somebody takes the call and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if answering:
            listener.listen(50)
        yield listener.getsockname()[1]


@pytest.mark.parametrize("answering", [False, True])
def test_a_dead_server_costs_less_than_five_seconds(answering: bool) -> None:
    s = spec()
    with port(answering) as number:
        tracker = Tracker(f"http://127.0.0.1:{number}", NAME, SWEEP)
        started = time.monotonic()
        assert not tracker.open_sweep("How much?", {}, 1)
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
    tracker._patience._until = 0.0
    assert tracker.mirror(s, logged[5:], picture) and tracker.finish_lineage(s, OK) and not tracker.behind
    assert same(charted(tracker, s), expected(logged)) and tracking.rows(uri, NAME) == logged
    assert len(artifacts(tracker, s, "images")) == 12


def test_a_server_that_dies_in_the_middle(opened: Opened, tmp_path: Path) -> None:
    """The artifact folder refuses writes: the points are there all the same, the rest comes once it can."""
    s, tracker = spec(), opened()
    (tmp_path / "mlartifacts").mkdir(exist_ok=True)
    assert tracker.open_lineage(s)
    run = runs(tracker)[s.id].info.run_id
    blocked = tmp_path / "mlartifacts" / run / "artifacts" / "rows"
    blocked.write_text("in the way")
    assert not tracker.mirror(s, rows_of(s, 2)) and tracker.behind
    assert same(charted(tracker, s), expected(rows_of(s, 2)))
    blocked.unlink()
    tracker._patience._until = 0.0
    assert tracker.mirror(s, []) and not tracker.behind and tracking.rows(tracker.uri, NAME) == rows_of(s, 2)


def test_silence_grows_with_what_a_failure_cost() -> None:
    from engine.patience import SHARE, Patience

    def slow_failure() -> None:
        time.sleep(0.05)
        raise ConnectionError("no")

    patience, calls = Patience("MLflow"), 0
    assert not patience.run("a", slow_failure) and patience.trouble == "ConnectionError: no"
    for _ in range(100):
        assert not patience.run("b", lambda: pytest.fail("it should be silent"))
    assert patience._until - time.monotonic() > 0.04 * SHARE and patience.behind == {"a", "b"}
    patience._until = 0.0
    assert patience.run("a", lambda: None) and patience.behind == {"b"} and calls == 0


# ---- many ---------------------------------------------------------------------------------------------------------------


def test_a_thousand_generations_at_once(opened: Opened) -> None:
    s = spec()
    logged = rows_of(s, 1000)
    started = time.monotonic()
    assert opened().mirror(s, logged)
    assert time.monotonic() - started < 20  # 10,000 points; 1.5 s on a quiet machine
    tracker = opened()
    started = time.monotonic()
    assert tracker.mirror(s, logged) and time.monotonic() - started < 2
    assert tracking.rows(tracker.uri, NAME) == logged
    assert len(charted(tracker, s)) == sum(len(mirror.points(r)) for r in logged)


def test_the_driver_reads_all_runs_at_once(opened: Opened) -> None:
    """With every lineage complete a second start writes nothing, and asks for no lineage by itself."""
    specs = [spec(seed=seed) for seed in range(5)]
    tracker = opened()
    for s in specs:
        assert tracker.mirror(s, rows_of(s, 2)) and tracker.finish_lineage(s, OK)
    driver = opened()
    assert driver.open_sweep("How much?", {"generations": 5}, 5)
    file = Path(driver.uri.removeprefix("sqlite:///"))
    before = file.read_bytes()
    driver._find = lambda query: pytest.fail(f"asked for {query}")  # type: ignore[method-assign]
    for s in specs:
        assert driver.mirror(s, rows_of(s, 2)) and driver.finish_lineage(s, OK)
    assert file.read_bytes() == before


def _worker(uri: str, seed: int, gate: Any, answers: Any) -> None:
    tracker, s = Tracker(uri, NAME, SWEEP), spec(seed=seed)
    gate.wait()
    done = [tracker.mirror(s, [r]) for r in rows_of(s, 15)]
    for _ in range(20):  # behind on a busy file: the next call fills in
        if tracker.finish_lineage(s, OK):
            break
        time.sleep(1.0)
    answers.put((seed, sum(done), tracker.behind, tracker.trouble))


def test_four_processes_on_one_file(opened: Opened) -> None:
    context = multiprocessing.get_context("forkserver")  # new processes, which import mlflow once
    context.set_forkserver_preload(["engine.tracking"])
    tracker, gate, answers = opened(), context.Event(), context.Queue()
    workers = [context.Process(target=_worker, args=(tracker.uri, seed, gate, answers)) for seed in range(4)]
    for worker in workers:
        worker.start()
    threading.Timer(0.1, gate.set).start()
    found = [answers.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    assert not any(behind for _, _, behind, _ in found), found
    for seed in range(4):
        s = spec(seed=seed)
        assert same(charted(tracker, s), expected(rows_of(s, 15))) and runs(tracker)[s.id].info.status == "FINISHED"


def test_the_do_nothing_member_has_every_method() -> None:
    public = {name for name in vars(Tracker) if not name.startswith("_")}
    assert public <= set(dir(tracking.Nop))
    nop = tracking.Nop()
    assert nop.mirror(spec(), []) and nop.open_sweep("", {}, 0) and nop.finish_sweep("FINISHED", {}) and not nop.behind


# ---- a real server ------------------------------------------------------------------------------------------------------


@contextmanager
def server(folder: Path, number: int) -> Iterator[str]:
    """MLflow's server as `ouro ui` starts it, on a sqlite file in this folder."""
    uri, place = tracking.local(folder)
    command, log = tracking.server_command(uri, number, place), (folder / "server.log").open("a")
    process = subprocess.Popen(command, env=tracking.server_environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(600):
            with contextlib.suppress(requests.exceptions.ConnectionError):
                requests.get(f"http://127.0.0.1:{number}/health", timeout=10)
                break
            assert process.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{number}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the server and its workers, nothing else
        process.wait()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(tmp_path: Path, empty_database: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    s, logged = spec(), rows_of(spec(), 8)
    (tmp_path / "model").mkdir()
    model = make("generator", "gaussian")
    model.fit(Samples(np.random.default_rng(0).normal(size=(50, 3, 2))), np.random.default_rng(0))
    model.save(tmp_path / "model")
    with port(answering=False) as number:
        pass
    with server(tmp_path, number) as uri:
        tracker = Tracker(uri, NAME, SWEEP)
        assert tracker.open_sweep("How much?", {}, 1), tracker.trouble
        assert all(tracker.mirror(s, [r], picture, lambda t: tmp_path / "model") for r in logged[:3]), tracker.trouble
    started = time.monotonic()
    assert not any(tracker.mirror(s, [r], picture, lambda t: tmp_path / "model") for r in logged[3:6])
    assert time.monotonic() - started < 5
    with server(tmp_path, number):
        tracker._patience._until = 0.0
        assert tracker.mirror(s, logged[6:], picture, lambda t: tmp_path / "model"), tracker.trouble
        again = Tracker(uri, NAME, SWEEP)  # a second process, and the driver at the end
        assert again.open_sweep("How much?", {}, 1) and again.mirror(s, logged, picture, lambda t: tmp_path / "model")
        assert again.finish_lineage(s, OK) and again.finish_sweep("FINISHED", {"collapsed": 0.0}, [tmp_path / "server.log"])
        assert tracking.rows(uri, NAME) == logged and same(charted(again, s), expected(logged))
        assert len(artifacts(again, s, "images")) == 16 and len(artifacts(again, s, "checkpoints")) == 8
        assert tracking.specs(uri, NAME)[s.id].id == s.id and runs(again)[s.id].info.status == "FINISHED"
        run = runs(again)[s.id].info.run_id
        loaded = make("generator", "gaussian")
        loaded.load(Path(client_of(again).download_artifacts(run, "checkpoints/generation_7", str(tmp_path))))
        assert np.array_equal(*(g.sample(10, np.random.default_rng(1)).x for g in (loaded, model)))
        assert requests.get(uri + "/ajax-api/2.0/mlflow/experiments/search?max_results=9", timeout=10).ok
