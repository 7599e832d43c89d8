"""Metrics of a stream of tasks: of the classes so far, and of each task beside its own floor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.frame.wide import row_of
from engine._descriptions import keys_of
from engine.distances.floors import first
from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.lineage import measure
from engine.lineage.by_task import measured
from engine.lineage.loop import Lineage
from engine.lineage.recipe import rng
from engine.lineage.seen import Seen
from engine.metrics.fid import Fid
from engine.outcome.summary import at_start, drift
from engine.registry import describe, make, names
from engine.settings import CollapseRule
from engine.spec import LineageSpec, MeasureSpec, Part
from engine.status import Point, Status
from engine.store.keys import Layout, beside, task_of
from engine.store.rows import Generation
from engine.store.store import Store
from tests.support.around import NOTHING

PER_TASK = [name for name in names("metric") if describe("metric", name).trait("PER_TASK", {})]
N = 40


def stream(policy: str = "augment", generator: str = "vae", **own: Any) -> LineageSpec:
    """Three tasks of two classes of points."""
    params = {"steps": 20} if generator == "vae" else {}
    fraction = {"synthetic_fraction": 0.0} if policy == "replace" else {}
    parts = (
        Part("dataset", "mixture", {"modes": 6, "replicates": 2}),
        Part("generator", generator, params),
        Part("policy", policy, fraction),
        Part("sampling", "plain"),
    )
    how = {"n_real": N, "seed": 0, "arrival": "tasks", "tasks": 3, **own}
    return LineageSpec(*parts, **how)


def metrics(*wanted: str, **params: Any) -> tuple[MeasureSpec, ...]:
    return tuple(MeasureSpec(Part("metric", name, params)) for name in wanted)


def ran(spec: LineageSpec, folder: Path, *asked: MeasureSpec) -> tuple[Lineage, list[Generation]]:
    chain, rows = Lineage(spec, Store(str(folder)), generations=2, metrics=asked), []
    while not chain.done:
        rows.append(chain.advance())
    return chain, rows


@pytest.fixture(autouse=True)
def nothing_prepared() -> Iterator[None]:
    measure._prepared.clear()
    yield
    measure._prepared.clear()


# ---- what a row has ------------------------------------------------------------------------------


ALL = (*metrics(*PER_TASK, splits=2), *metrics("solver", steps=10))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lineage, list[Generation]]:
    """A lineage of which all that has keys of tasks is measured."""
    return ran(stream(), tmp_path_factory.mktemp("measured"), *ALL)


def test_a_row_has_the_keys_of_the_tasks_that_have_arrived_and_no_others(
    everything: tuple[Lineage, list[Generation]],
) -> None:
    assert len(PER_TASK) > 4
    for row in everything[1]:
        found = {key for key in row.measured.values if task_of(key) is not None}
        expected = set()
        for metric in ALL:
            for key in keys_of(describe("metric", metric.part.name)):
                if key.name.endswith("/task_N"):
                    own = metric.id + key.name.removeprefix(metric.part.name).removesuffix("N")
                    expected |= {f"{own}{j}" for j in range(row.t + 1)}
        assert found == expected
        assert not any("task" in key for key in row.measured.undefined)


def test_the_number_of_a_task_is_that_of_its_real_data_and_its_rows(tmp_path: Path) -> None:
    (otdd,) = metrics("otdd")
    chain, rows = ran(stream(), tmp_path, otdd)
    dataset = chain.spec.dataset.make()
    for j, classes in enumerate(chain.spec.stream):
        alone = make("metric", "otdd")
        real = chain.cache.real(j)
        assert set(real.y) == set(classes) and len(real) == N
        alone.prepare(Seen(dataset, classes), real, N, rng(0, "reference otdd"))
        drawn = chain.cache.samples(2)
        own = drawn.take(np.flatnonzero(np.isin(drawn.y, classes)))
        assert len(own) == N == chain.spec.drawn_of(j)
        found = alone(own, None, NOTHING, rng(0, f"metric otdd of task {j}", 2))["otdd"]
        values = rows[2].measured.values
        assert values[f"otdd/task_{j}"] == pytest.approx(float(np.mean(found.value)))
        assert values[f"otdd/task_{j}_floor"] == found.floor
        assert values[f"otdd/task_{j}_n"] == found.n == N
    assert values["otdd/n"] == 3 * N


def test_the_floor_of_a_task_is_the_same_at_every_generation(tmp_path: Path) -> None:
    _, rows = ran(stream(), tmp_path, *metrics("fid", "alignment"))
    for key in ("fid/task_0", "alignment/auc/task_1", "alignment/covariance/task_1"):
        for column in ("floor", "floor_sd", "n"):
            found = {row.measured.values.get(beside(key, column)) for row in rows[1:]}
            assert len(found) == 1 and None not in found


def test_all_classes_so_far_are_compared_with_real_data_of_them(tmp_path: Path) -> None:
    chain, rows = ran(stream(), tmp_path, *metrics("fid"))
    whole = make("metric", "fid")
    seen = chain.spec.seen(1)
    whole.prepare(
        Seen(chain.spec.dataset.make(), seen),
        chain.cache.arrived(1),
        2 * N,
        rng(0, "reference fid"),
    )
    drawn = first(chain.cache.samples(1), 2 * N)
    found = whole(drawn, None, NOTHING, rng(0, "metric fid", 1))["fid"]
    assert rows[1].measured.values["fid"] == pytest.approx(float(np.mean(found.value)))
    assert rows[1].measured.values["fid/floor"] == found.floor


def test_a_task_that_was_not_drawn_has_a_reason_and_its_floor(tmp_path: Path) -> None:
    """A policy without replay: each model knows the newest task alone."""
    _, rows = ran(stream("replace"), tmp_path, *metrics("fid"))
    found = rows[1].measured
    assert found.undefined["fid/task_0"] == "the draw holds no samples of task 0"
    assert "fid/task_0" not in found.values and found.values["fid/task_0_floor"] > 0
    assert "fid/task_1" in found.values and rows[1].status == "ok"


def test_samples_without_labels_are_of_no_task(tmp_path: Path) -> None:
    _, rows = ran(stream(generator="gaussian"), tmp_path, *metrics("fid"))
    for j in range(3):
        said = rows[2].measured.undefined[f"fid/task_{j}"]
        assert said == "the synthetic samples have no labels"
    assert "fid" in rows[2].measured.values


def test_the_solver_of_a_policy_without_replay_forgets(tmp_path: Path) -> None:
    _, rows = ran(stream("replace"), tmp_path, *metrics("solver", steps=60))
    for row in rows:
        values = row.measured.values
        key = "solver.steps-60"
        assert values[f"{key}/task_{row.t}"] > 0.95 and values[f"{key}/joint"] > 0.95
        assert all(values[f"{key}/task_{j}"] < 0.05 for j in range(row.t))


# ---- what is prepared, and when ------------------------------------------------------------------


def test_references_are_made_once_for_each_task_and_for_all_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    prepare = Fid.prepare

    def counted(self: Any, dataset: Any, real: Any, n: int, stream: Any) -> None:
        made.append((dataset.classes, n))
        prepare(self, dataset, real, n, stream)

    monkeypatch.setattr(Fid, "prepare", counted)
    ran(stream(), tmp_path / "one", *metrics("fid"))
    assert sorted(made) == [
        ((0, 1), N),  # of the first generation, too
        ((0, 1, 2, 3), 2 * N),
        ((0, 1, 2, 3, 4, 5), 3 * N),
        ((2, 3), N),
        ((4, 5), N),
    ]
    ran(stream("replace"), tmp_path / "other", *metrics("fid"))
    assert len(made) == 5, "of another policy they are the same"


def test_measuring_changes_no_bit_of_a_lineage(
    everything: tuple[Lineage, list[Generation]], tmp_path: Path
) -> None:
    plain, _ = ran(stream(), tmp_path)
    judged, rows = everything
    for node in plain.path:
        for kind, key in (("model", node.model), ("draw", node.draw)):
            here, there = (chain.store.row(kind, key) for chain in (plain, judged))
            assert here and there and here.files == there.files
    later, again = ran(stream(), tmp_path, *ALL)
    assert later.fits == 0, "measured of what was kept"
    for row, own in zip(rows, again, strict=True):
        assert row.measured.values == own.measured.values


# ---- one yardstick -------------------------------------------------------------------------------

FILE = """
base:
  dataset: {name: mixture, modes: 6}
  generator: {name: vae, steps: 2}
  policy: augment
  n_real: 40
  arrival: tasks
  tasks: 3
grid: {n_synthetic: [40, 60]}
generations: 2
metrics: [otdd, solver]
"""


def sweep(folder: Path, more: str = "", text: str = FILE) -> Any:
    file = folder / "experiment.yaml"
    file.write_text(text + more)
    return load(file)


def test_cells_are_compared_at_one_n_per_task(tmp_path: Path) -> None:
    found = sweep(tmp_path)
    assert found.compared == {"otdd": 40}
    at = {spec.n_drawn: found.metrics_of(spec)[0].n for spec in found.lineages}
    assert at == {40: None, 60: 40}
    wide = next(spec for spec in found.lineages if spec.n_drawn == 60)
    chain = Lineage(wide, Store(str(tmp_path / "out")), generations=1, metrics=[])
    rows = [chain.advance(), chain.advance()]
    for row in rows:
        own = measured(found.metrics_of(wide)[0], chain.cache, chain.path[row.t]).values
        assert own["otdd/n"] == 40 * (row.t + 1)
        assert [own[f"otdd/task_{j}_n"] for j in range(row.t + 1)] == [40] * (row.t + 1)


def test_what_is_held_out_of_a_task_bounds_its_n_and_is_said(tmp_path: Path) -> None:
    """Digits hold out 597 rows of ten classes: 119 of two.  Of some tasks it is one more or less,
    so that a cell says 119 even where that is all that it has.
    """
    text = FILE.replace("{name: mixture, modes: 6}", "digits").replace("tasks: 3", "tasks: 5")
    found = sweep(tmp_path, text=text.replace("[40, 60]", "[60, 150]"))
    assert found.compared == {"otdd": 60}
    found = sweep(tmp_path, text=text.replace("[40, 60]", "[150, 200]"))
    assert found.compared == {"otdd": 119}
    assert [found.metrics_of(spec)[0].n for spec in found.lineages] == [119, 119]


def test_tasks_of_unequal_sizes_have_each_one_n() -> None:
    """Of 80 rows of 5 classes 16 are of each, of 40 rows of the first 3 there are 13."""
    spec = stream(tasks=((0, 1, 2), (3, 4), (5,)))
    assert [spec.drawn(t) for t in range(3)] == [40, 80, 120]
    assert [spec.drawn_of(j) for j in range(3)] == [39, 32, 20]
    assert [stream().drawn_of(j) for j in range(3)] == [40, 40, 40]


# ---- keys, tables, rules -------------------------------------------------------------------------


def test_what_stands_beside_a_tasks_number_is_its_own() -> None:
    keys = [beside("fid/task_2", column) for column in ("n", "floor", "floor_sd", "se")]
    assert keys == ["fid/task_2_n", "fid/task_2_floor", "fid/task_2_floor_sd", "fid/task_2/se"]
    assert beside("fid", "n") == beside("fid/excess", "n") == "fid/n"
    layout = Layout(("fid", "fid/n", "fid/task_2", "fid/task_2_n", "fid/task_2_floor"), ())
    assert layout.keys == ["fid", "fid/task_2"]
    assert layout.places("n").tolist() == [1, 3] and layout.places("floor").tolist() == [-1, 4]


def points(*values: float | None, start: int = 0) -> list[Point]:
    return [
        Point(t, value, None, None, Status.OK, True, "")
        for t, value in enumerate(values, start=start)
    ]


def test_a_rule_about_a_task_begins_where_the_task_arrives() -> None:
    rule = CollapseRule(metric="otdd/task_1", above=2.0)
    curve = points(None, 10.0, 15.0, 30.0)
    found = rule.judge(curve)
    assert found.reference == 10 and found.verdict and found.y == pytest.approx(math.log(3))
    assert rule.first_passage(curve) == 3 and rule.judge(curve[:3]).verdict is False
    assert rule.words() == "otdd/task_1 above 2 x generation 1"
    assert rule.judge(curve[:1]).verdict is None
    gone = CollapseRule(
        metric="otdd/task_1",
        above=2.0,
        absorbing={"undefined": True},  # type: ignore[arg-type]
    )
    assert gone.judge(curve[:2]).verdict is False, "before it arrived nothing is undefined"
    assert gone.first_passage(points(None, 10.0, None)) == 2


def test_a_rule_may_name_a_task_and_no_other_than_there_are(tmp_path: Path) -> None:
    rule = "collapse: {{metric: {}, {}: 0.5}}\n"
    assert sweep(tmp_path, rule.format("solver/task_0", "below")).collapse.metric == "solver/task_0"
    assert sweep(tmp_path, rule.format("otdd/task_2", "above")).headline == "otdd/task_2"
    with pytest.raises(SpecError, match=r"task 3, .*0 to 2"):
        sweep(tmp_path, rule.format("otdd/task_3", "above"))
    plain = FILE.replace("  arrival: tasks\n  tasks: 3\n", "")
    with pytest.raises(SpecError, match=r"otdd/task_0.*arrival: tasks"):
        sweep(tmp_path, rule.format("otdd/task_0", "above"), plain)
    with pytest.raises(SpecError, match="stands beside"):
        sweep(tmp_path, rule.format("otdd/task_0_n", "above"))


def test_a_metric_says_which_of_its_keys_are_of_each_task() -> None:
    for name in PER_TASK:
        found = {key.name: key for key in keys_of(describe("metric", name))}
        for key in describe("metric", name).trait("PER_TASK", {}):
            own = found[f"{key}/task_N"]
            assert own.words == f"of task N alone: {found[key].words}"
            assert (own.unit, own.by, own.better) == tuple(
                getattr(found[key], what) for what in ("unit", "by", "better")
            )


def test_what_is_undefined_of_a_task_is_named_by_the_metrics_id() -> None:
    (raw,) = metrics("fid", extractor="raw")
    found = measure.undefined_of_task(raw, 1, "why")
    assert found.undefined == {"fid.extractor-raw/task_1": "why"}


def test_what_is_known_of_all_classes_alone_is_not_asked_of_some(tmp_path: Path) -> None:
    whole = replace(stream(), arrival="fixed", tasks=None)
    for name in ("moments", "modes"):
        metric = Part("metric", name, {})
        assert not whole.lacking(metric)
        assert "those of all its classes; leave it out of a stream" in stream().lacking(metric)
    found = sweep(tmp_path, text=FILE.replace("[otdd, solver]", "[otdd, moments]"))
    assert [m.id for m in found.metrics_of(found.lineages[0])] == ["otdd"]
    assert "moments needs the moments of the data set mixture" in found.left_out()[0]
    _, rows = ran(stream(generator="gaussian"), tmp_path / "out", *metrics("nll", points=5))
    said = rows[1].measured.undefined["nll.points-5/truth"]
    assert said == "the density of some classes of Mixture is not known"


def test_a_task_has_drifted_since_it_arrived(
    everything: tuple[Lineage, list[Generation]],
) -> None:
    rows, key = everything[1], "otdd.splits-2/task_1"
    start, end = (rows[t].measured.values[key] for t in (1, 2))
    assert at_start(rows, key) == start and drift(rows, key) == end / start
    assert at_start(rows, "otdd.splits-2/task_0") == rows[0].measured.values["otdd.splits-2/task_0"]
    assert at_start(rows[1:], "otdd.splits-2") is None


def test_a_frame_keeps_the_count_of_a_task_apart_from_that_of_all(
    everything: tuple[Lineage, list[Generation]],
) -> None:
    found = row_of(everything[1][2])
    assert found["fid.splits-2_n"] == 3 * N and found["fid.splits-2/task_0_n"] == N
