"""`control: size`: every cell again at a quarter of n.  What is for want of data goes as n grows,
what a sampler does itself stays; neither counts for a cell's averages or for a search.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from analysis.frame.rows import from_store
from analysis.report.page import write
from analysis.threshold.workflows import grown, read
from engine.api.experiment import Sweep as Asked
from engine.api.result import Result
from engine.console.tables import plan_lines
from engine.experiment.json_schema import schema
from engine.experiment.reader import SpecError
from engine.lineage.history import histories
from engine.names import names_of
from engine.outcome.control import Control, at_infinity, controls
from engine.outcome.document import to_json
from engine.outcome.summary import summarise
from engine.planning.plan import make_plan, paths
from engine.planning.plan import to_json as plan_to_json
from engine.spec import Sweep
from engine.store.store import Store
from tests.support.sweeps import run, sweep_of

SIZE = """
base:
  dataset: {name: gaussian, d: 2, replicates: 400}
  generator: gaussian
  n_real: 200
grid:
  sampling: [plain, {name: biased, sampling_bias: 0.9}]
seeds: 4
generations: 5
metrics: [moments]
collapse: {metric: moments/trace_ratio, below: 0.5}
"""
CONTROL = "control: size\n"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    sweep = sweep_of(SIZE + CONTROL, tmp_path_factory.mktemp("control"))
    run(sweep, seconds=60)
    return sweep


def found(sweep: Sweep) -> list[Control]:
    return controls(sweep, histories(sweep, Store(sweep.out)))


def test_want_of_data_goes_and_a_biased_sampling_stays(ran: Sweep) -> None:
    """Under replace each generation multiplies the variance by 1 - 1/n, and by the bias."""
    honest, biased = found(ran)
    for own, bias in ((honest, 1.0), (biased, 0.9)):
        assert own.is_ratio and (own.n, own.control_n) == (200, 50)
        assert own.change is not None and own.control_change is not None
        assert own.change.mean == pytest.approx((bias * (1 - 1 / 200)) ** 5, abs=0.01)
        assert own.control_change.mean == pytest.approx((bias * (1 - 1 / 50)) ** 5, abs=0.01)
        assert own.limit is not None and own.limit.seeds == 4
        assert own.limit.value == pytest.approx(bias**5, abs=0.02)
    assert honest.limit is not None and honest.limit.low is not None
    assert honest.limit.low <= 1 and "none of the change is seen to stay" in honest.words
    assert "this stays" in biased.words


def test_the_line_is_exact_where_the_change_is_linear_in_one_over_n() -> None:
    for n, small in ((200, 50), (201, 50), (10, 2)):
        assert at_infinity(0.3 - 7 / n, n, 0.3 - 7 / small, small) == pytest.approx(0.3)


def test_one_seed_has_a_limit_without_an_interval(tmp_path: Path) -> None:
    sweep = sweep_of(SIZE + CONTROL, tmp_path, "seeds=1", "generations=1")
    run(sweep)
    limit = found(sweep)[0].limit
    assert limit is not None and math.isfinite(limit.value)
    assert limit.low is None and limit.high is None and found(sweep)[0].words == ""


def test_what_has_not_ended_has_no_limit_and_says_why(tmp_path: Path) -> None:
    own = found(sweep_of(SIZE + CONTROL, tmp_path))[0]
    assert own.limit is None and own.change is None
    assert own.undefined == "no seed has ended with a value at both sizes"


# ---- apart from the cells ------------------------------------------------------------------------


def test_a_control_is_in_no_average_and_in_no_frame(ran: Sweep, tmp_path: Path) -> None:
    alone = sweep_of(SIZE, tmp_path, f"out={ran.out}")
    there = histories(ran, Store(ran.out))
    assert len(there) == 16 and len(histories(alone, Store(alone.out))) == 8
    assert summarise(ran, there) == summarise(alone, there)
    assert from_store(ran, progress=False).equals(from_store(alone, progress=False))
    result = Result(Asked(ran))
    assert len(result.frame()) == 8 * 6 and set(result.frame()["lineage"]) == {
        spec.id for spec in ran.lineages
    }
    assert list(result.controls()["limit_seeds"]) == [4, 4]
    document = to_json(ran, there)
    assert [own["control_n"] for own in document["controls"]] == [50, 50]
    assert sum(own["control"] for own in document["lineages"].values()) == 8


def test_a_control_is_planned_counted_and_named(ran: Sweep) -> None:
    store = Store(ran.out)
    plan = make_plan(ran, store, 1)
    assert (plan.lineages, plan.controls, plan.asked) == (8, 8, 16 * 6)
    assert plan.present == plan.unique and plan.cells == 2
    assert ("controls", "8 lineages at a quarter of n, in no average and no search") in plan_lines(
        plan, ran
    )
    each = plan_to_json(plan, ran, dict.fromkeys(paths(ran), 0))["each"]
    assert [own["control"] for own in each] == [False] * 8 + [True] * 8
    assert [names_of(ran).cell(spec) for spec in ran.controls[::4]] == [
        "plain, control n=50",
        "biased, control n=50",
    ]


@pytest.mark.slow
def test_the_page_shows_both_sizes_and_what_stays(ran: Sweep, tmp_path: Path) -> None:
    page = write(ran, tmp_path, pictures=False).read_text()
    assert "Controls at a quarter of n" in page and "this stays however many data" in page
    assert "control n=50" not in page, "a control is no cell of a figure"


def test_a_quarter_that_is_a_cell_itself_is_run_once(tmp_path: Path) -> None:
    text = SIZE.replace("  n_real: 200\ngrid:\n", "grid:\n  n_real: [200, 50]\n")
    sweep = sweep_of(text + CONTROL, tmp_path, "seeds=1", "generations=1")
    assert {spec.n_real for spec in sweep.lineages} == {200, 50}
    assert {spec.n_real for spec in sweep.controls} == {12}
    run(sweep)
    assert [own.control_n for own in found(sweep)] == [50, 50, 12, 12]


def test_drawn_sets_are_a_quarter_too_and_what_cannot_be_is_left_out(tmp_path: Path) -> None:
    sweep = sweep_of(SIZE + CONTROL, tmp_path, "base.n_synthetic=400")
    assert {(spec.n_real, spec.n_synthetic) for spec in sweep.controls} == {(50, 100)}
    few = SIZE.replace("sampling: [plain,", "policy.synthetic_fraction: [0.9]\n  sampling: [plain,")
    sweep = sweep_of(few + CONTROL, tmp_path, "base.n_real=12", "base.n_synthetic=11")
    assert len(sweep.lineages) == 8 and not sweep.controls and len(sweep.refused) == 2
    assert all("control at a quarter of the size" in own.reason for own in sweep.refused)


def test_a_search_knows_no_control(tmp_path: Path) -> None:
    sweep = sweep_of(SIZE + CONTROL + "threshold: {}\n", tmp_path, "seeds=1", "generations=1")
    run(sweep)
    assert {spec.n_real for spec in sweep.all_lineages} == {200, 50}
    store = Store(sweep.out)
    assert {spec.n_real for spec in grown(sweep, store).lineages} == {200}
    known = [spec for own in read(sweep, store).values() for spec in own.specs.values()]
    assert len(known) == 2 and {spec.n_real for spec in known} == {200}


def test_a_sweep_with_controls_survives_json(ran: Sweep) -> None:
    again = Sweep.from_dict(ran.to_dict())
    assert again.controls == ran.controls and again == replace(ran)


def test_only_size_is_a_control(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="control"):
        sweep_of(SIZE + "control: steps\n", tmp_path)
    (asked,) = (own for own in schema()["properties"]["control"]["anyOf"] if "const" in own)
    assert asked["const"] == "size"
