"""Degenerate sample sets through every metric: an answer within seconds, Undefined with a reason
where there is none, and never a finite distance from what is not finite.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from engine.contracts import companions
from engine.lineage.measure import flatten, numbers_of
from engine.lineage.recipe import rng
from engine.parts import Undefined
from engine.registry import make, names
from engine.samples import Samples
from tests.parts.test_contracts import constant, untrained
from tests.support.around import trained_on

N = 60
CONTROLS = (
    "floor",
    "/n",
    "ceiling",
    "joint",
    "chance",
    "coverage",
    "truth",
)  # of the real set, or a count: always there


class Blank:
    """A generator that tells a metric nothing of itself."""


def points(change: Callable[[np.ndarray], Any]) -> Callable[[Samples], Samples]:
    """Another x; labels as many as there are rows."""

    def changed(real: Samples) -> Samples:
        x = change(real.x.astype(float) if real.x.dtype != np.uint8 else real.x.copy())
        y = None if real.y is None else np.resize(real.y, (len(x), *real.y.shape[1:]))
        return Samples(x.astype(real.x.dtype), y).drawn_at(0)

    return changed


def labels(change: Callable[[np.ndarray], Any]) -> Callable[[Samples], Samples]:
    return lambda real: Samples(real.x, None if real.y is None else change(real.y)).drawn_at(0)


def with_at(value: float, rows: Any = 3) -> Callable[[Samples], Samples]:
    def put(x: np.ndarray) -> np.ndarray:
        x[rows] = value
        return x

    return points(put)


LARGEST, LEAST = np.finfo(float).max, np.finfo(float).tiny
NOT_FINITE: dict[str, Callable[[Samples], Samples]] = {
    "one nan": with_at(np.nan),
    "one inf": with_at(np.inf),
    "one -inf": with_at(-np.inf),
    "all nan": with_at(np.nan, slice(None)),
    "all inf": with_at(np.inf, slice(None)),
    "inf and -inf": points(
        lambda x: np.concatenate([np.full_like(x[:30], np.inf), np.full_like(x[30:], -np.inf)])
    ),
}
FLOATS: dict[str, Callable[[Samples], Samples]] = {
    "1e8": points(lambda x: 1e8 * x),
    "1e30": points(lambda x: 1e30 * x),
    "1e200": points(lambda x: 1e200 * x),
    "largest floats": with_at(LARGEST, slice(None)),
    "largest floats of both signs": points(lambda x: np.sign(x) * LARGEST),
    "one huge": with_at(1e160),
    "least floats": points(lambda x: LEAST * x),
    "subnormal": points(lambda x: 5e-324 * np.sign(x)),
    "negative": points(lambda x: -np.abs(x)),
}
SETS: dict[str, Callable[[Samples], Samples]] = {
    "none": points(lambda x: x[:0]),
    "one": points(lambda x: x[:1]),
    "two": points(lambda x: x[:2]),
    "three": points(lambda x: x[:3]),
    "all equal": points(lambda x: np.repeat(x[:1], N, axis=0)),
    "zeros": points(lambda x: np.zeros_like(x)),
    "in pairs": points(lambda x: np.repeat(x[: N // 2], 2, axis=0)),
    "two values": points(lambda x: np.concatenate([np.repeat(x[:1], N - 1, axis=0), x[1:2]])),
    "ten times as many": points(lambda x: np.concatenate([x] * 10)),
    "one class": labels(lambda y: np.zeros_like(y)),
    "a class missing": labels(lambda y: np.where(y == 0, 1, y)),
    "a class of one": labels(lambda y: np.r_[np.zeros_like(y[:1]), np.ones_like(y[1:])]),
    "no labels": lambda real: Samples(real.x).drawn_at(0),
}
INPUTS = {**SETS, **FLOATS, **NOT_FINITE}


@cache
def measuring(name: str, gives: str) -> tuple[Any, Samples]:
    """The metric, prepared, and the real set."""
    dataset = companions.dataset_for(gives, labelled=companions.needs_labels("metric", name))
    real = dataset.sample(N, rng(0, "real"))
    own = constant("metric", name, "TINY") | untrained(name, gives)
    metric = make("metric", name, **own)
    metric.prepare(dataset, real, N, rng(0, "reference"))
    return metric, real


LONG = {("classifier_accuracy", "images"), ("solver", "images")}  # trains a network on every set
CASES = [
    pytest.param(name, gives, marks=[pytest.mark.slow] if (name, gives) in LONG else [])
    for name in names("metric")
    for gives in constant("metric", name, "ACCEPTS")
]


@pytest.mark.parametrize(("name", "gives"), CASES)
def test_a_degenerate_set_has_an_answer(name: str, gives: str) -> None:
    metric, real = measuring(name, gives)
    inputs = INPUTS if real.x.dtype.kind == "f" else SETS  # tokens and images are finite by type
    wrong = [
        f"{what}: {problem}"
        for what, change in inputs.items()
        if (problem := problem_with(metric, change(real), what))
    ]
    assert not wrong, "\n".join([name, *wrong])


def problem_with(metric: Any, samples: Samples, what: str) -> str:
    """What is wrong with the metric's answer; '' when nothing is."""
    started = time.process_time()
    try:
        with np.errstate(all="ignore"):
            answer = numbers_of(metric(samples, Blank(), trained_on(samples), rng(0, "metric")))
        values = flatten(answer).values
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if (seconds := time.process_time() - started) > 5:
        return f"{seconds:.1f} s"
    if not answer or not all(
        value.reason for value in answer.values() if isinstance(value, Undefined)
    ):
        return "no answer, or no reason"
    own = {
        key for key in values if not any(word in key for word in (*CONTROLS, "/q"))
    }  # quantiles: of sound replicates
    return f"numbers out of what is not finite: {own}" if own and what in NOT_FINITE else ""
