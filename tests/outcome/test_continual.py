"""What is kept of earlier tasks: the numbers of a matrix that was made by hand, and what a gap in
it leaves undefined.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from engine.console.summary import show_kept, show_summary
from engine.console.text import Plain
from engine.lineage.history import History
from engine.outcome import continual
from engine.outcome.document import to_json
from engine.outcome.interval import Interval
from engine.outcome.summary import has_drift, summarise
from engine.parts import Undefined
from engine.running.supply import _numbers
from engine.spec import Sweep
from engine.status import Status
from engine.store.measured import Measured
from tests.support.rows import generation
from tests.support.tasks import imagined, stream

GONE = math.nan
A = np.array([[0.8, GONE, GONE], [0.9, 0.6, GONE], [0.7, 0.5, 1.0]])
OF = {
    "average_accuracy": (0.7 + 0.5 + 1.0) / 3,
    "forgetting": ((0.9 - 0.7) + (0.6 - 0.5)) / 2,  # task 0 was best after task 1
    "backward_transfer": ((0.7 - 0.8) + (0.5 - 0.6)) / 2,
    "when_learnt": (0.8 + 0.6) / 2,
    "at_the_end": (0.7 + 0.5) / 2,
}


@pytest.mark.parametrize("name", OF)
def test_of_a_matrix_made_by_hand(name: str) -> None:
    assert getattr(continual, name)(A) == pytest.approx(OF[name])


def test_a_later_gain_is_negative_forgetting() -> None:
    a = np.array([[0.5, GONE], [0.9, 1.0]])
    assert continual.forgetting(a) == pytest.approx(-0.4)
    assert continual.backward_transfer(a) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("t", "task", "undefined"),
    [
        (2, 0, {"average_accuracy", "forgetting", "backward_transfer", "at_the_end"}),
        (2, 2, {"average_accuracy"}),  # the newest task has had no time to be forgotten
        (1, 0, {"forgetting"}),  # it might have been the best
        (1, 1, {"forgetting", "backward_transfer", "when_learnt"}),
    ],
)
def test_a_gap_leaves_undefined_what_rests_on_it(t: int, task: int, undefined: set[str]) -> None:
    a = A.copy()
    a[t, task] = GONE
    for name, value in OF.items():
        found = getattr(continual, name)(a)
        if name in undefined:
            assert found == Undefined(f"task {task} has no value after task {t}")
        else:
            assert found == pytest.approx(value)


def test_of_one_task_nothing_can_be_forgotten() -> None:
    one = np.array([[0.9]])
    assert continual.average_accuracy(one) == 0.9
    for name in set(OF) - {"average_accuracy"}:
        found = getattr(continual, name)(one)
        assert isinstance(found, Undefined) and "one task" in found.reason


def test_a_matrix_is_read_from_the_keys_of_its_metric_alone() -> None:
    first = {
        "solver": 0.8,
        "solver/task_0": 0.8,
        "solver/chance": 0.5,
        "solver.steps-9/task_0": 0.1,
    }
    second = {"solver/task_0": 0.7, "solver/task_1": math.inf, "solver/task_10": 0.3}
    rows = [generation("x", 0, first), generation("x", 1, second)]
    rows += [generation("x", 2, {}, undefined={"solver/task_0": "nothing was drawn"})]
    found = continual.matrix(rows, "solver", 2)
    assert np.array_equal(
        found, [[0.8, GONE, GONE], [0.7, GONE, GONE], [GONE, GONE, GONE]], equal_nan=True
    )
    longer = {f"solver/task_{j}": j / 100 for j in range(12)}
    wide = continual.matrix([generation("x", 11, longer)], "solver", 11)
    assert wide[11] == pytest.approx(np.arange(12) / 100), "task 1 is not task 10 or 11"


def test_intervals_are_students_over_the_seeds_that_have_a_value() -> None:
    found = Interval.of([0.5, None, 0.7, math.nan, 0.9])
    assert found is not None and found.n == 3 and found.mean == pytest.approx(0.7)
    half = 4.302653 * 0.2 / math.sqrt(3)  # t of 2 degrees of freedom
    assert (found.low, found.high) == pytest.approx((0.7 - half, 0.7 + half))
    one = Interval.of([0.5])
    cut = Interval.of([0.5, 0.7, 0.9], within=(0.3, 0.8))
    assert cut is not None and (cut.low, cut.high) == (0.3, 0.8)
    assert one == Interval(0.5, None, None, 1) and one.words() == "0.500 (one seed)"
    assert Interval.of([None, math.nan]) is None


# ---- of cells ------------------------------------------------------------------------------------

CELLS = [(0.0, math.nan), (1.0, 0.0), (0.95, 0.0), (0.8, 1.0)]  # what is left, drift in floors


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return stream(tmp_path_factory.mktemp("stream"))


def test_bounds_are_known_by_the_rows_of_the_last_generation(sweep: Sweep) -> None:
    found = continual.kept(sweep, imagined(sweep, CELLS))
    assert [own.bound for own in found] == ["lower", "upper", "", ""]
    assert all(own.tasks == 3 and len(own.chains) == 3 for own in found)


def test_a_cell_is_the_mean_of_its_seeds_with_an_interval(sweep: Sweep) -> None:
    none, joint, _, replay = continual.kept(sweep, imagined(sweep, CELLS))
    first = [0.98, 0.978, 0.976]
    assert none.accuracy is not None and none.accuracy.mean == pytest.approx(np.mean(first) / 3)
    assert joint.forgetting is not None and joint.forgetting.mean == pytest.approx(0)
    assert replay.accuracy == Interval.of(own.accuracy for own in replay.chains)
    kept = [(1 + 0.8 + 0.64) / 3 * v for v in first]
    assert [own.accuracy for own in replay.chains] == pytest.approx(kept)
    lost = [(1 - (0.8 + 0.64) / 2) * v for v in first]
    assert [own.forgetting for own in replay.chains] == pytest.approx(lost)
    assert [own.transfer for own in replay.chains] == pytest.approx([-v for v in lost])


def test_drift_is_told_from_scatter_in_multiples_of_the_floor(sweep: Sweep) -> None:
    none, joint, _, replay = continual.kept(sweep, imagined(sweep, CELLS))
    assert replay.start is not None and replay.start.mean == pytest.approx(1.51)
    assert replay.end is not None and replay.end.mean == pytest.approx(1.51 + 1.5)
    assert replay.drifts is True and joint.drifts is False
    assert none.end is None and none.drifts is None
    assert none.why("end") == "task 0 has no value after task 2"
    assert "otdd of earlier tasks 3.01 [" in replay.words
    assert replay.words.endswith("] times its floor, 1.51 when each was learnt")
    assert "(upper bound)" in joint.words


def test_a_chain_that_ended_early_or_is_unfinished_has_no_numbers(sweep: Sweep) -> None:
    found = imagined(sweep, CELLS)
    early, going, _ = (own for own in found.values() if own.spec.policy.params.get("real") == "all")
    found[early.spec.id] = History(early.spec, early.rows[:2], Status.DIVERGED)
    found[going.spec.id] = History(going.spec, going.rows[:2], Status.UNFINISHED)
    joint = continual.kept(sweep, found)[1]
    assert joint.accuracy is not None and joint.accuracy.n == 1
    assert [own.accuracy is None for own in joint.chains] == [True, False], "the unfinished is out"
    assert joint.chains[0].undefined["accuracy"] == "it ended at generation 1 of 2: diverged"


def test_a_distance_of_the_last_generation_alone_is_said_and_no_drift(sweep: Sweep) -> None:
    there = imagined(sweep, CELLS)
    for name, own in there.items():
        first = [replace(row, measured=Measured({}, {})) for row in own.rows[:-1]]
        there[name] = History(own.spec, (*first, own.rows[-1]), own.status)
    replay = continual.kept(sweep, there)[3]
    assert replay.start is None and replay.drift is None and replay.drifts is None
    assert replay.words.endswith("otdd of earlier tasks 3.01 [2.99, 3.03] times its floor")


def test_one_seed_cannot_tell_drift_from_scatter(tmp_path: Path) -> None:
    alone = stream(tmp_path, "seeds=1")
    replay = continual.kept(alone, imagined(alone, CELLS))[3]
    assert replay.drift is not None and replay.drifts is None and "(one seed)" in replay.words


def test_what_was_not_measured_is_not_known(tmp_path: Path) -> None:
    unmeasured = stream(tmp_path, "metrics=[otdd]")
    own = continual.kept(unmeasured, imagined(unmeasured, CELLS))[3]
    assert own.accuracy is None and own.end is not None
    assert own.words.startswith("average accuracy not known (the metric solver is not measured)")
    nothing = stream(tmp_path, "metrics=[kid]")
    assert continual.kept(nothing, imagined(nothing, CELLS)) == []


# ---- the same everywhere -------------------------------------------------------------------------


def test_summary_and_tracker_have_the_same_numbers(sweep: Sweep) -> None:
    there = imagined(sweep, CELLS)
    found = continual.kept(sweep, there)
    document = json.loads(json.dumps(to_json(sweep, there)))
    assert [own["words"] for own in document["kept"]] == [own.words for own in found]
    shown = _numbers(to_json(sweep, there))
    for own in found:
        assert own.accuracy is not None
        assert shown[f"average_accuracy/{own.label}"] == own.accuracy.mean
    assert f"otdd_over_floor/{found[0].label}" not in shown, "undefined is no number"


def test_the_terminal_has_the_same_numbers(sweep: Sweep) -> None:
    found = continual.kept(sweep, imagined(sweep, CELLS))
    for width in (120, 50):
        text = StringIO()
        show_kept(Plain(file=text, width=width), found)
        said = " ".join(text.getvalue().split())
        for own in found:
            assert own.label in said and own.accuracy is not None
            assert own.accuracy.words() in said


def test_other_tasks_are_no_drift_and_the_same_task_is(sweep: Sweep, tmp_path: Path) -> None:
    there = imagined(sweep, CELLS)
    assert not has_drift(sweep) and all(own.drift is None for own in summarise(sweep, there))
    text = StringIO()
    show_summary(Plain(file=text, width=100), summarise(sweep, there), sweep)
    assert "drift" not in text.getvalue() and "3 done" in text.getvalue()
    one = stream(tmp_path, "collapse={metric: solver/task_0, below: 0.7}")
    _, joint, _, replay = summarise(one, there)
    assert has_drift(one) and replay.drift is not None
    assert replay.drift.mean == pytest.approx(0.8**2)
    assert (joint.collapsed, replay.collapsed) == (0, 3)
