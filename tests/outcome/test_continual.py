"""What is kept of earlier tasks: the numbers of a matrix that was made by hand, and what a gap in
it leaves undefined.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.outcome import continual
from engine.outcome.interval import Interval
from engine.parts import Undefined
from tests.support.rows import generation

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
    assert one == Interval(0.5, None, None, 1) and one.words() == "0.500 (one seed)"
    assert Interval.of([None, math.nan]) is None
