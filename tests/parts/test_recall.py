"""Recall draws each class from the model of the task that brought it."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from engine.parts import Around, Draw
from engine.registry import make
from engine.samples import Samples, Traits
from engine.samplings._in_turn import Candidates

POINTS = Traits("points", 4, 1)
TASK_OF = {2: 0, 0: 0, 1: 1, 3: 2}


class Model:
    """Draws its own number, beside a number of its stream."""

    CONDITIONAL = True

    def __init__(self, number: int) -> None:
        self.number, self.asked = number, list[list[int]]()

    def sample(self, n: int, rng: np.random.Generator, labels: Any = None, **_: Any) -> Samples:
        self.asked.append(labels.tolist())
        x = np.stack([np.full(n, self.number), labels, rng.random(n)], 1)
        return Samples(x[:, None], labels, traits=POINTS)


def real_of(task: int) -> Samples:
    labels = np.array([k for k, own in TASK_OF.items() if own == task] * 3)
    return Samples(np.zeros((len(labels), 1, 3)), labels, traits=POINTS)


def around(labels: list[int], older: list[Model], task_of: Any = TASK_OF) -> Around:
    def unasked() -> NoReturn:
        raise AssertionError("nobody needs the training set")

    asked = np.array(labels)
    return Around(real_of(2), asked, unasked, real_of, lambda j: older[j], task_of)  # type: ignore[arg-type, return-value]


def recall(**params: Any) -> Any:
    part = make("sampling", "recall", **params)
    part.prepare(None, real_of(0), Model(0), np.random.default_rng(0))
    return part


def test_every_class_is_drawn_by_the_model_of_its_task() -> None:
    older, newest = [Model(0), Model(1)], Model(2)
    labels = [3, 2, 1, 0, 1, 3, 2]
    drawn: Draw = recall().draw(newest, 7, around(labels, older), np.random.default_rng(1))
    assert drawn.samples.y is not None and drawn.samples.y.tolist() == labels
    assert drawn.samples.x[:, 0, 0].tolist() == [TASK_OF[k] for k in labels]
    assert drawn.samples.x[:, 0, 1].tolist() == labels, "rows and labels stay together"
    assert older[0].asked == [[2, 0, 2]] and older[1].asked == [[1, 1]]
    assert newest.asked == [[3, 3]] and drawn.report == {}
    again = recall().draw(Model(2), 7, around(labels, older), np.random.default_rng(1))
    assert (again.samples.x == drawn.samples.x).all()


def test_only_models_of_classes_that_are_asked_for_are_read() -> None:
    drawn = recall().draw(Model(2), 2, around([3, 3], []), np.random.default_rng(1))
    assert drawn.samples.x[:, 0, 0].tolist() == [2, 2]


def test_without_tasks_the_model_draws_all() -> None:
    own = around([3, 2, 1], [], task_of=None)
    drawn = recall().draw(Model(5), 3, own, np.random.default_rng(1))
    assert drawn.samples.x[:, 0, 0].tolist() == [5, 5, 5]


def test_another_sampling_draws_from_every_model() -> None:
    """Its report is the mean over the samples, and it sees the real rows of its own task."""
    seen = []

    class Inner:
        def draw(self, generator: Any, n: int, own: Around, rng: np.random.Generator) -> Draw:
            assert own.labels is not None and {*own.labels.tolist()} <= {*own.real.y.tolist()}  # type: ignore[union-attr]
            seen.append(generator.number)
            return Draw(generator.sample(n, rng, own.labels), {"number": float(generator.number)})

    part = recall()
    part._inner = Inner()
    own = around([3, 2, 1, 0], [Model(0), Model(1)])
    drawn = part.draw(Model(2), 4, own, np.random.default_rng(1))
    assert seen == [0, 1, 2] and drawn.report == {"number": (0 + 0 + 1 + 2) / 4}


def test_a_judge_chooses_among_what_is_recalled() -> None:
    """Candidates are asked for by label, and older tasks have no row in the real set."""
    sampling = {"name": "recall"}
    part = make("sampling", "curate", k=2, reward={"name": "true_density"}, sampling=sampling)
    part._reward = type("Reward", (), {"score": lambda _, samples: samples.x[..., 2]})()
    part._candidates = lambda *given: Candidates(recall(), *given)
    own = around([3, 2, 1, 0], [Model(0), Model(1)])
    drawn = part.draw(Model(2), 4, own, np.random.default_rng(1))
    assert drawn.samples.x[:, 0, 0].tolist() == [2, 0, 1, 0]
