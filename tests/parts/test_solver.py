"""solver: what a training set teaches of the classes seen, by task, with its ceiling and chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.knowledge import NotAtHand
from engine.lineage.measure import flatten
from engine.parts import Around, Undefined
from engine.registry import make
from engine.samples import Samples, concat
from engine.training.minibatches import balanced_rows
from tests.support.around import NOTHING, trained_on

UNREAD = Samples(np.zeros((0, 1)))  # the draw, which no number depends on


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def prepared(dataset: Any, real: Samples, **params: Any) -> Any:
    metric = make("metric", "solver", **params)
    metric.prepare(dataset, real, len(real), rng(1))
    return metric


def tasks(training: Samples, *classes: tuple[int, ...]) -> Around:
    """Around a training set, with the tasks that have arrived."""
    task_of = {k: j for j, own in enumerate(classes) for k in own}
    return replace(trained_on(training), task_of=task_of)


def asked(metric: Any, around: Around, seed: int = 2) -> dict[str, Any]:
    answer: dict[str, Any] = metric(UNREAD, None, around, rng(seed))
    return answer


@pytest.fixture(scope="module")
def on_points() -> tuple[Any, Samples]:
    """Three classes of points that can be told apart, and two replicates."""
    dataset = make("dataset", "mixture", replicates=2, modes=4)
    real = dataset.sample(400, rng())
    return prepared(dataset, real, steps=100), real


def test_separable_classes_are_told_apart_and_the_ceiling_is_the_same(
    on_points: tuple[Any, Samples],
) -> None:
    metric, real = on_points
    value = asked(metric, trained_on(real))
    assert set(value) == {"solver", "solver/joint", "solver/chance"}, "without tasks there are none"
    assert value["solver"].shape == (2,) and value["solver"].min() > 0.99
    assert value["solver/joint"].min() > 0.99
    share = np.bincount(metric.test_.y).max() / len(metric.test_)
    assert value["solver/chance"] == share
    assert asked(metric, trained_on(real))["solver"].tolist() == value["solver"].tolist()


def test_labels_that_say_nothing_teach_nothing(on_points: tuple[Any, Samples]) -> None:
    metric, real = on_points
    value = asked(metric, trained_on(Samples(real.x, rng(3).permutation(real.y))))
    assert value["solver"].max() < 0.6 and value["solver/joint"].min() > 0.99


def test_it_reads_the_training_set_and_not_the_draw(on_points: tuple[Any, Samples]) -> None:
    metric, real = on_points
    drawn = Samples(real.x, rng(4).permutation(real.y))
    one = metric(drawn, None, trained_on(real), rng(2))["solver"]
    assert one.tolist() == asked(metric, trained_on(real))["solver"].tolist()


def test_by_task_it_is_the_accuracy_on_the_classes_of_the_task(
    on_points: tuple[Any, Samples],
) -> None:
    """Of classes that were never trained on none is right, of the others all; the whole is the mean
    by test samples.
    """
    metric, real = on_points
    newest = real.take(np.flatnonzero(real.y >= 2))
    value = asked(metric, tasks(newest, (0, 1), (2, 3)))
    assert value["solver/task_0"].tolist() == [0, 0] and value["solver/task_1"].min() > 0.99
    of_new = np.mean(metric.test_.y >= 2)
    assert value["solver"] == pytest.approx(of_new * value["solver/task_1"])
    assert value["solver/joint"].min() > 0.99, "the ceiling knows all classes"


def test_every_class_is_seen_equally_often() -> None:
    y = np.repeat([0, 1, 5], [3, 100, 40])
    rows = balanced_rows(y, 10_000, rng())
    assert np.unique(y[rows], return_counts=True)[1].tolist() == [100, 100, 100]
    times = np.bincount(rows, minlength=len(y))
    assert set(times[:3]) == {33, 34} and set(times[3:103]) == {1} and set(times[103:]) == {2, 3}
    few = balanced_rows(y, 60, rng())
    assert np.unique(y[few], return_counts=True)[1].tolist() == [20, 20, 20]
    assert np.bincount(few).max() == 7 and len(set(few[20:40])) == 20


def test_a_few_rows_of_an_old_task_are_not_drowned_by_the_newest() -> None:
    """Ten rows of each of two old classes beside 390 of each new one."""
    dataset = make("dataset", "mixture", modes=4)
    real = dataset.sample(1600, rng())
    old = [real.of_class(k).take(np.arange(5)) for k in (0, 1)]
    new = [real.of_class(k).take(np.arange(350)) for k in (2, 3)]
    value = asked(prepared(dataset, real, steps=60), tasks(concat([*old, *new]), (0, 1), (2, 3)))
    assert value["solver/task_0"] > 0.97 and value["solver/task_1"] > 0.97


def test_the_ceiling_is_of_as_many_real_samples_and_trained_once_for_each_number() -> None:
    dataset = make("dataset", "mixture", modes=4, std=1.0)
    real = dataset.sample(400, rng())
    metric, again = (prepared(dataset, real, steps=60) for _ in range(2))
    few, many = real.take(np.arange(8)), real
    ceilings = [asked(metric, trained_on(d))["solver/joint"] for d in (few, many, few)]
    assert ceilings[0] == ceilings[2] < ceilings[1] and set(metric._joint) == {8, 400}
    backwards = [asked(again, trained_on(d))["solver/joint"] for d in (many, few)]
    assert backwards == ceilings[1::-1], "in whatever order they are asked for"


def test_a_training_set_larger_than_the_real_data_has_the_ceiling_of_all_of_them() -> None:
    dataset = make("dataset", "digits")
    real = dataset.sample(100, rng())
    metric = prepared(dataset, real, steps=10)
    assert len(metric._same_size(5000, rng())) == len(dataset.training_set()) == 1200


def test_what_cannot_be_learnt_is_undefined_and_says_why(on_points: tuple[Any, Samples]) -> None:
    metric, real = on_points

    def absent() -> Samples:
        raise NotAtHand("these generations were made elsewhere")

    elsewhere = replace(tasks(real, (0, 1), (2, 3)), training=absent)
    for around, said in (
        (trained_on(Samples(real.x)), "the training samples have no labels"),
        (trained_on(real.take(np.arange(1))), "1 training samples are too few"),
        (elsewhere, "made elsewhere"),
    ):
        value = asked(metric, around)
        assert isinstance(value["solver"], Undefined) and said in value["solver"].reason
        assert value["solver/chance"] == metric.chance_
    assert isinstance(value["solver/task_1"], Undefined)
    flat = flatten(value)
    assert set(flat.values) == {"solver/chance"}


def test_a_part_asked_for_no_more_than_the_training_set(on_points: tuple[Any, Samples]) -> None:
    with pytest.raises(AssertionError, match="asked for more"):
        asked(on_points[0], NOTHING)
