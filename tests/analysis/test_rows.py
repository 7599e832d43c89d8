"""The tidy frame: the same from a store and from MLflow, nothing dropped, what belongs together in
one row.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from analysis.frame.rows import from_mlflow, from_store, tidy
from analysis.frame.tidy import BESIDE, COLUMNS
from engine.lineage.history import histories, lineage_of
from engine.spec import LineageSpec, MeasureSpec, Part, Sweep
from engine.store.keys import FLOORS, beside
from engine.store.store import Store
from engine.tracking.recorder import Recorder
from tests.support.rows import generation
from tests.support.sweeps import sweep_of

GAUSSIAN = Part("dataset", "gaussian", {"replicates": 5})


def spec(policy: dict[str, Any] | None = None, seed: int = 0, **fields: Any) -> LineageSpec:
    parts = {
        "dataset": GAUSSIAN,
        "generator": Part("generator", "gaussian"),
        "sampling": Part("sampling", "plain"),
    }
    given = {
        **parts,
        "policy": Part("policy", "replace", policy or {}),
        "n_real": 20,
        "seed": seed,
        **fields,
    }
    return LineageSpec(**given)


def sweep_in(folder: Path, specs: list[LineageSpec], generations: int = 5, every: int = 1) -> Sweep:
    metrics = (MeasureSpec(Part("metric", "moments")), MeasureSpec(Part("metric", "fid"), every))
    return Sweep("rows_test", tuple(specs), generations, metrics, out=str(folder))


def run(sweep: Sweep) -> Store:
    store = Store(sweep.out)
    for one in sweep.lineages:
        lineage = lineage_of(sweep, store, one)
        while not lineage.done:
            lineage.advance_for(10)
    return store


def talking() -> list[LineageSpec]:
    """Lineages whose generators and samplings tell something: a bandwidth, an acceptance."""
    kde = spec(generator=Part("generator", "kde"), n_real=24)
    verify = Part("sampling", "verify", {"rule": "threshold"})
    verified = {
        "dataset": Part("dataset", "regression", {"d": 2}),
        "generator": Part("generator", "linear_regression"),
    }
    return [kde, spec(**verified, sampling=verify, n_real=24)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two seeds of two cells, in blocks; one that ends at once because all its points are equal;
    two that tell something.
    """
    folder = tmp_path_factory.mktemp("rows")
    specs = [spec({"synthetic_fraction": f}, seed) for f in (0.5, 1.0) for seed in (0, 1)]
    dead = spec(n_real=1)
    sweep = sweep_in(folder / "out", [*specs, dead, *talking()], every=2)
    run(sweep)
    return sweep


def test_every_number_of_the_rows_is_in_the_frame(small: Sweep) -> None:
    frame, store = from_store(small, progress=False), Store(small.out)
    assert list(frame.columns) == COLUMNS
    places = frame.set_index(["lineage", "t", "key"])
    for one in small.lineages:
        for row in lineage_of(small, store, one).rows():
            for key, value in row.values.items():
                base, _, last = key.rpartition("/")
                owner = base if last in BESIDE else key
                for column in FLOORS:
                    if beside(key.removesuffix(f"_{column}"), column) == key:
                        owner, last = key.removesuffix(f"_{column}"), column
                if last == "n":  # beside every number of its metric
                    found = frame[
                        (frame.lineage == one.id) & (frame.t == row.t) & (frame.metric == base)
                    ]
                    assert (found["n"] == value).all() and len(found)
                else:
                    assert (
                        places.loc[(one.id, row.t, owner), last if last in BESIDE else "value"]
                        == value
                    )


def test_a_frame_from_the_store_is_what_the_lineages_say(small: Sweep) -> None:
    rows = [
        row for one in small.lineages for row in lineage_of(small, Store(small.out), one).rows()
    ]
    specs = {one.id: one for one in small.lineages}
    assert_frame_equal(from_store(small, progress=False), tidy(rows, specs, small.name))


def test_metrics_not_due_have_no_rows_and_the_last_generation_has_all(small: Sweep) -> None:
    frame = from_store(small, progress=False)
    due = frame[(frame.key == "fid") & (frame.n_real == 20)]
    assert sorted(due.t.unique()) == [0, 2, 4, 5]


def test_a_generation_without_values_has_a_row_with_its_reason(small: Sweep) -> None:
    frame = from_store(small, progress=False)
    dead = frame[frame.n_real == 1]
    assert len(dead) == 1 and dead.status.iloc[0] == "constant" and math.isnan(dead.value.iloc[0])
    assert dead.undefined.iloc[0].startswith("constant: ") and dead.key.iloc[0] == ""


@pytest.mark.parametrize("seconds", [0.0, 10.0], ids=["folders", "blocks"])
def test_what_fitting_and_sampling_told_is_in_the_frame(tmp_path: Path, seconds: float) -> None:
    sweep = sweep_in(tmp_path, talking(), every=2)
    store, told = Store(sweep.out), {}
    for one in sweep.lineages:
        lineage = lineage_of(sweep, store, one)
        while not lineage.done:
            lineage.advance_for(seconds)
        for row in lineage.rows():
            told |= {
                (one.id, row.t, f"{part}/{k}"): v
                for part in ("fit", "report")
                for k, v in getattr(row, part).items()
            }
    frame = from_store(sweep, progress=False)
    found = frame[frame["metric"].isin(["fit", "report"])].set_index(["lineage", "t", "key"])[
        "value"
    ]
    expected = {"report/expected_variance_ratio/low", "report/expected_variance_ratio/high"}  # kde
    assert {key for _, _, key in told} == {"fit/bandwidth", "report/acceptance", *expected}
    assert len(told) == 24
    assert found.to_dict() == told


def test_what_was_told_needs_no_metric_and_may_be_undefined() -> None:
    one = spec()
    row = generation(one.id, 0, fit={"loss": 2.0})
    fit = {"loss": None, "steps": 3.0}
    lost = generation(one.id, 1, status="diverged", reason="nan", fit=fit)
    frame = tidy([row, lost], {one.id: one})
    assert frame[["t", "key", "undefined"]].to_numpy().tolist() == [
        [0, "fit/loss", ""],
        [1, "", "diverged: nan"],
        [1, "fit/loss", "not finite"],
        [1, "fit/steps", ""],
    ]
    assert frame["value"].tolist()[0] == 2.0 and frame["value"].isna().tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_an_output_folder_alone_gives_the_same_numbers(small: Sweep) -> None:
    known, found = from_store(small, progress=False), from_store(small.out, progress=False)
    assert_frame_equal(known.drop(columns="sweep"), found.drop(columns="sweep"))


def test_a_longer_sweep_than_ever_ran_gives_what_is_there(small: Sweep) -> None:
    longer = Sweep("rows_test", small.lineages, 9, small.metrics[:1], out=small.out)
    frame = from_store(longer, progress=False)
    assert frame[frame.n_real == 20].t.max() == 5 and len(frame) > 0


def test_an_empty_output_gives_an_empty_frame(tmp_path: Path) -> None:
    frame = from_store(str(tmp_path), progress=False)
    assert list(frame.columns) == COLUMNS and frame.empty


def test_a_metric_measured_later_is_found(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, [spec()])
    first = Sweep("rows_test", sweep.lineages, 5, sweep.metrics[:1], out=sweep.out)
    run(first)
    run(sweep)
    assert set(from_store(first, progress=False).metric) == {"draw", "moments"}
    both = from_store(sweep, progress=False)
    assert set(both.metric) == {"draw", "moments", "fid"}
    assert_frame_equal(
        both.drop(columns="sweep"), from_store(sweep.out, progress=False).drop(columns="sweep")
    )


@pytest.mark.parametrize("kind", ["blocks", "draws"])
def test_a_damaged_file_ends_the_lineage_and_is_left_where_it_is(tmp_path: Path, kind: str) -> None:
    sweep = sweep_in(tmp_path, [spec()])
    store = Store(sweep.out)
    lineage = lineage_of(sweep, store, spec())
    while not lineage.done:
        lineage.advance_for(10 if kind == "blocks" else 0)
    whole = from_store(sweep, progress=False)
    draw = lineage.path[3].draw
    file = (
        next((tmp_path / "blocks").iterdir())
        if kind == "blocks"
        else tmp_path / "draws" / draw / "row.json"
    )
    text = file.read_bytes()
    file.write_bytes(text.replace(b'"ok"', b'"ko"', 1))
    frame = from_store(sweep, progress=False)
    assert frame.t.max() == (2 if kind == "draws" else -math.inf) or (
        kind == "blocks" and frame.empty
    )
    file.write_bytes(text)
    assert_frame_equal(from_store(sweep, progress=False), whole)


def test_undefined_values_keep_their_reason_and_their_quantiles() -> None:
    one = spec()
    values = {
        "nll/q05": 1.0,
        "nll/q95": 2.0,
        "precision_recall/recall": 0.5,
        "precision_recall/recall_floor": 0.9,
        "fid/n": 7.0,
    }
    undefined = {"nll": "2 of 5 replicates", "fid": "all equal", "fid/floor": "too few"}
    row = generation(one.id, 3, values, undefined=undefined)
    frame = tidy([row], {one.id: one}).set_index("key")
    assert list(frame.index) == ["fid", "fid/floor", "nll", "precision_recall/recall"]
    assert frame.loc["nll", ["q05", "q95", "undefined"]].tolist() == [1.0, 2.0, "2 of 5 replicates"]
    assert frame.loc["precision_recall/recall", "floor"] == 0.9 and frame.loc["fid", "n"] == 7
    assert np.isnan(frame.value[["fid", "fid/floor", "nll"]]).all()


def test_classes_and_labels() -> None:
    one = spec({"synthetic_fraction": 0.25})
    values = {"conditional_fid": 1.0, "conditional_fid/class_12": 2.0}
    frame = tidy([generation(one.id, 0, values)], {one.id: one}, "mine").set_index("key")
    assert frame.loc["conditional_fid/class_12", "class_"] == 12 and pd.isna(
        frame.loc["conditional_fid", "class_"]
    )
    first = frame.iloc[0]
    assert (first.sweep, first.policy, first.synthetic_fraction, first.cell) == (
        "mine",
        "replace",
        0.25,
        one.cell_id,
    )
    assert first.label == "gaussian, replace 0.25"


def test_the_store_and_mlflow_give_the_same_frame(small: Sweep, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    quarter = small.lineages[0].quarter()  # a control is a run there, and no cell of a frame
    tracked = replace(small, tracking=uri, control="size", controls=(quarter,))
    run(tracked)
    recorder = Recorder(tracked, Store(small.out))
    recorder.artifacts = str(tmp_path / "artifacts")
    recorder.start()
    recorder.finish(histories(tracked, Store(small.out)), "FINISHED", {}, [])
    assert_frame_equal(from_store(small, progress=False), from_mlflow(uri, "rows_test"))


def test_reading_many_lineages_prints_nothing_where_nobody_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "base: {dataset: gaussian, generator: gaussian, policy: replace, n_real: 9}\nseeds: 60\n"
    sweep = sweep_of(f"{text}generations: 1\nmetrics: [moments]\n", tmp_path)
    assert from_store(sweep).empty
    assert capsys.readouterr() == ("", "")
