"""MLflow, for real, on a sqlite file: nothing doubled, nothing lost, true end states, and every
number comes back.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.lineage.loop import Lineage, Outcome
from engine.registry import describe, make
from engine.samples import Samples
from engine.settings import Every
from engine.spec import LineageSpec, MeasureSpec, Part
from engine.status import Status
from engine.store.rows import Generation
from engine.store.store import Store
from engine.tracking import mlflow as tracking
from engine.tracking import mlflow_rows as mirror
from engine.tracking import mlflow_runs
from engine.tracking.mlflow import MlflowTracker
from engine.tracking.tracker import Parameters
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
    picture,
    remeasured,
    row,
    rows_of,
    runs,
    same,
    spec,
    with_values,
)

opened, empty_database = mirrored.opened, mirrored.empty_database  # fixtures
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of MLflow's own libraries, in the tests' own clients


# ---- a row as it is shown ------------------------------------------------------------------------


def test_every_number_comes_back_by_the_api_alone(opened: Opened) -> None:
    first, second = spec(0.5), spec(0.9)
    logged = {s.id: rows_of(s, 4) for s in (first, second)}
    bad = {"fid": math.inf, "nll": -math.inf, "kl": math.nan}
    last = row(second, 3, status=Status.DIVERGED, reason="loss is nan", fit={"loss": None})
    logged[second.id][3] = remeasured(last, bad, {"w2": "class 3 has no samples"})
    tracker = opened()
    assert tracker.mirror(first, logged[first.id]) and tracker.mirror(second, logged[second.id])
    back = mlflow_runs.rows(tracker.uri, NAME)
    assert repr(back) == repr(
        [row for lineage in sorted(logged) for row in as_json(logged[lineage])]
    )
    assert (
        repr(mlflow_runs.rows(tracker.uri, NAME, SWEEP)) == repr(back)
        and mlflow_runs.rows(tracker.uri, NAME, "other") == []
    )
    assert {k: s.to_dict() for k, s in mlflow_runs.specs(tracker.uri, NAME).items()} == {
        s.id: s.to_dict() for s in (first, second)
    }
    for s in (first, second):
        assert same(charted(tracker, s), expected(logged[s.id]))


def test_what_a_lineage_committed_is_what_mlflow_gives(opened: Opened, tmp_path: Path) -> None:
    """Real lineages: every number of the store, by the API alone."""
    tracker, store = opened(), Store(str(tmp_path / "store"))
    metrics = tuple(MeasureSpec(Part("metric", name, {})) for name in ("moments", "nll"))
    lineages = [Lineage(spec(share), store, generations=6, metrics=metrics) for share in (0.5, 1.0)]
    for lineage in lineages:
        while not lineage.done:
            lineage.advance()
            assert tracker.mirror(lineage.spec, lineage.rows())
        assert tracker.finish_lineage(lineage.spec, OK)
    stored = {lineage.spec.id: list(lineage.rows()) for lineage in lineages}
    assert mlflow_runs.rows(tracker.uri, NAME) == [
        row for key in sorted(stored) for row in as_json(stored[key])
    ]
    for lineage in lineages:
        points = charted(tracker, lineage.spec)
        assert same(points, expected(stored[lineage.spec.id])) and len(points) > 7 * 10
        assert {step for key, step in points if key == "nll"} == set(range(7))


def test_infinite_and_undefined_values_are_flagged(opened: Opened) -> None:
    s, tracker = spec(), opened()
    values = {"fid": math.inf, "nll": -math.inf, "kl": math.nan, "ok": 2}
    assert tracker.mirror(s, [remeasured(row(s, 0), values, {"w2": "no samples"})])
    shown = {key: points[0][0] for (key, _), points in charted(tracker, s).items()}
    assert (shown["infinite/fid"], shown["infinite/nll"], shown["undefined/w2"], shown["ok"]) == (
        1,
        -1,
        1,
        2,
    )
    assert all(math.isnan(shown[key]) for key in ("fid", "nll", "kl", "w2"))
    assert "infinite/kl" not in shown and "undefined/kl" not in shown
    assert mlflow_runs.rows(tracker.uri, NAME)[0]["undefined"] == {"w2": "no samples"}


@pytest.mark.parametrize(
    "name",
    [
        "fid",
        "fid/floor",
        "a@b",
        "a..b",
        "",
        ".",
        "/a//b/",
        "../a",
        "accuracy (top 5)",
        "k" * 400,
        "größe",
        "a:b",
        "%",
        "a\nb",
    ],
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
    defaults = describe("generator", "gaussian").parameters.values()
    assert set(params) > {f"generator.{p.name}" for p in defaults if p.default is not None}
    assert run.info.run_name == "gaussian, replace 0.5, seed 7"
    assert run.data.tags["cell"] == "gaussian, replace 0.5"
    client = client_of(tracker)
    parent = client.get_run(run.data.tags["mlflow.parentRunId"])
    assert (
        parent.info.run_name == NAME
        and parent.data.params["generations"] == "5"
        and parent.info.status == "RUNNING"
    )


def test_a_nested_part_is_flat_too() -> None:
    reward = {"name": "true_density"}
    nested = Part("sampling", "curate", {"k": 4, "reward": reward})
    s = spec()
    params = mirror.parameters(
        LineageSpec(s.dataset, s.generator, s.policy, nested, s.n_real, s.seed)
    )
    assert (params["sampling.name"], params["sampling.k"], params["sampling.reward.name"]) == (
        "curate",
        "4",
        "true_density",
    )


# ---- nothing doubled -----------------------------------------------------------------------------


def test_a_row_has_the_fingerprint_that_versions_with_loose_rows_gave_it() -> None:
    """Else every store that they mirrored would be mirrored again.  The numbers are theirs."""
    plain = row(spec(), 3)
    odd = row(spec(), 3, time=1790000000.0, fit={"loss": None}, speed={"rows/s": 2.5})
    odd = remeasured(replace(odd, status=Status.DIVERGED), {"b": 1.0, "a": 2.0}, {"w2": "none"})
    assert [mirror.fingerprint(r) for r in (plain, odd)] == [3254937650, 1144221199]
    for r in (plain, odd):
        assert mirror.fingerprint(Generation.from_json(r.to_json())) == mirror.fingerprint(r)
        assert mirror.fingerprint(r) == _fingerprint_of_json(json.loads(json.dumps(r.to_json())))


def _fingerprint_of_json(row: dict[str, Any]) -> int:
    groups = ("values", "undefined", "fit", "report", "counts", "speed")
    keys = [sorted(row.get(group, ())) for group in groups]
    return zlib.crc32(repr((row["t"], row["time"], row.get("status"), keys)).encode())


def test_mirroring_three_times_is_mirroring_once(opened: Opened) -> None:
    s = spec()
    logged = [
        *rows_of(s, 3),
        remeasured(row(s, 3), {"fid": math.inf, "kl": math.nan}, {"w2": "none"}),
    ]
    for tracker in (opened(), opened(), opened()):
        assert (
            tracker.mirror(s, logged)
            and tracker.mirror(s, logged[-1:])
            and tracker.finish_lineage(s, OK)
        )
        assert same(charted(tracker, s), expected(logged))


def test_a_lineage_goes_on_in_its_run(opened: Opened) -> None:
    s, tracker = spec(), opened()
    logged = rows_of(s, 6)
    assert all(tracker.mirror(s, [r]) for r in logged[:3])
    assert tracker.finish_lineage(s, Outcome())
    before = runs(tracker)[s.id]
    assert before.info.status == "KILLED"
    tracker = opened()
    assert tracker.open_lineage(s, logged[:3]) and runs(tracker)[s.id].info.status == "RUNNING"
    assert all(tracker.mirror(s, [r]) for r in logged[3:]) and tracker.finish_lineage(s, OK)
    after = runs(tracker)[s.id]
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert after.info.end_time == int(logged[-1].time * 1000)
    assert same(charted(tracker, s), expected(logged)) and mlflow_runs.rows(
        tracker.uri, NAME
    ) == as_json(logged)


def test_killed_between_points_and_the_rest(opened: Opened, tmp_path: Path) -> None:
    """A process that dies after the points of a row were logged leaves no mark; the next one
    completes the row.
    """
    s, tracker = spec(), opened()
    logged = rows_of(s, 3)
    assert tracker.mirror(s, logged[:1])
    tracker._log_points(tracker._lines[s.id], logged[1:])
    tracker = opened()
    assert tracker.mirror(s, logged) and same(charted(tracker, s), expected(logged))
    assert mlflow_runs.rows(tracker.uri, NAME) == as_json(logged)


def test_a_metric_that_was_added_later(opened: Opened) -> None:
    s = spec()
    assert opened().mirror(s, rows_of(s, 3))
    richer = [with_values(r, nll=1.0 + r.t) for r in rows_of(s, 4)]
    tracker = opened()
    assert tracker.mirror(s, richer)
    assert same(charted(tracker, s), expected(richer)) and mlflow_runs.rows(
        tracker.uri, NAME
    ) == as_json(richer)


def test_a_row_computed_again_does_not_double_its_step(opened: Opened) -> None:
    s, first = spec(), opened()
    assert first.mirror(s, rows_of(s, 3))
    again = [row(s, 0, time=1790009999.5, seconds=9.0), *rows_of(s, 3)[1:]]
    for tracker in (first, opened()):
        assert tracker.mirror(s, again)
        assert all(len(points) == 1 for points in charted(tracker, s).values())
        assert mlflow_runs.rows(tracker.uri, NAME) == as_json(again)


def test_a_sweep_is_found_again(opened: Opened) -> None:
    for n in (1, 2):
        assert opened().open_sweep("How much?", Parameters(generations=5 * n), n)
    for value in (1.0, 1.0, 2.0):
        assert opened().finish_sweep("FINISHED", {"collapsed": value, "drift": math.nan})
    client, tracker = client_of(opened()), opened()
    (parent,) = client.search_runs(
        [client.get_experiment_by_name(NAME).experiment_id], f"tags.`{tracking.SWEEP}` = '{SWEEP}'"
    )
    assert parent.info.status == "FINISHED" and runs(tracker) == {}
    assert (
        parent.data.params["generations"],
        parent.data.tags["generations"],
        parent.data.tags["lineages"],
    ) == (
        "5",
        "10",
        "2",
    )
    history = client.get_metric_history(parent.info.run_id, "collapsed")
    assert [(p.step, p.value) for p in sorted(history, key=lambda p: p.step)] == [
        (0, 1.0),
        (1, 2.0),
    ]
    assert len(client.get_metric_history(parent.info.run_id, "drift")) == 1


# ---- how it ends ---------------------------------------------------------------------------------


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
    assert tracker.mirror(s, rows_of(s, 2)) and tracker.finish_lineage(
        s, Outcome(Status(status), "because")
    )
    run = runs(tracker)[s.id]
    assert (run.info.status, run.data.tags["status"], run.data.tags["reason"]) == (
        state,
        status,
        "because",
    )


def test_a_run_left_running_by_a_killed_driver_gets_its_state(opened: Opened) -> None:
    s = spec()
    assert opened().mirror(s, rows_of(s, 2))
    driver = opened()
    assert (
        driver.open_sweep("How much?", PARAMETERS, 1)
        and driver.mirror(s, rows_of(s, 2))
        and driver.finish_lineage(s, OK)
    )
    assert runs(driver)[s.id].info.status == "FINISHED"


def test_only_the_driver_creates(tmp_path: Path) -> None:
    tracker = MlflowTracker(mirror.local(tmp_path)[0], NAME, SWEEP)
    assert (
        not tracker.mirror(spec(), rows_of(spec(), 1))
        and tracker.behind
        and "driver" in tracker.trouble
    )
    assert not (tmp_path / "mlflow.db").exists()


# ---- pictures and weights ------------------------------------------------------------------------


def test_pictures_are_not_doubled(opened: Opened) -> None:
    s, asked = spec(), list[int]()

    def pictures(t: int) -> np.ndarray | None:
        asked.append(t)
        return picture(t) if t != 1 else None

    assert opened().mirror(s, rows_of(s, 3), pictures)
    richer = [with_values(r, nll=1.0) for r in rows_of(s, 4)]
    for tracker in (opened(), opened()):
        assert tracker.mirror(s, richer, pictures)
    names = artifacts(tracker, s, "images")
    assert [(n.split("+")[2], n.rsplit(".")[-1]) for n in names] == [
        (str(t), e) for t in (0, 2, 3) for e in ("webp", "png")
    ]
    assert asked == [0, 1, 2, 1, 3]
    stamps = {int(n.split("+")[4].split(".")[0]) for n in names}
    assert stamps == {int(r.time * 1000) for r in richer if r.t != 1}


def test_texts_stand_beside_the_rows_once(opened: Opened) -> None:
    s, asked = spec(), list[int]()

    def texts(t: int) -> str:
        asked.append(t)
        return f"what generation {t} wrote\n"

    assert opened().mirror(s, rows_of(s, 3), texts)
    for tracker in (opened(), opened()):
        assert tracker.mirror(s, [with_values(r, nll=1.0) for r in rows_of(s, 4)], texts)
    assert artifacts(tracker, s, "samples") == [f"{t:05d}.txt" for t in range(4)]
    assert asked == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("keep", "there"), [("all", [0, 1, 2, 3, 4]), ("last", [4]), (Every(every=3), [0, 3, 4])]
)
def test_weights_open_after_download(
    opened: Opened, tmp_path: Path, keep: Any, there: list[int]
) -> None:
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
        place = client_of(tracker).download_artifacts(
            runs(tracker)[s.id].info.run_id, f"checkpoints/generation_{t}", tmp_path
        )
        loaded = make("generator", "gaussian")
        loaded.load(Path(place))
        a, b = (g.sample(10, np.random.default_rng(1)).x for g in (loaded, models[t]))
        assert np.array_equal(a, b)
