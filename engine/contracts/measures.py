"""Contracts of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.contracts.companions import (
    N,
    accepted,
    constant,
    fitted,
    needs_labels,
    tiny,
    trained_on,
)
from engine.contracts.verdicts import Tried, digest, require
from engine.lineage.measure import flatten, numbers_of
from engine.lineage.recipe import rng
from engine.parts import Undefined
from engine.samples import Samples, given

# of the real set, or a count: there whatever was drawn
CONTROLS = ("floor", "/n", "ceiling", "joint", "chance", "coverage", "truth")


class Blank:
    """A generator that tells a metric nothing of itself."""


def try_metric(tried: Tried) -> None:
    """Measure healthy and degenerate sets, on every kind of data that a metric accepts."""
    for gives in accepted("metric", tried.name):
        tried.on = gives
        labelled = needs_labels("metric", tried.name)
        dataset, generator, real = fitted(gives, labelled=labelled)
        metric = tiny("metric", tried.name)
        with tried.rule("prepares itself", "prepare", "keep what it needs", vital=True):
            before = digest(real)
            metric.prepare(dataset, real, N, rng(0, "reference"))
            require(digest(real) == before, "the real set was written to")
        _try_measure(tried, metric, generator, real)
        if gives == "points":
            _try_degenerate(tried, metric, real)
    tried.on = ""


def _try_measure(tried: Tried, metric: Any, generator: Any, real: Samples) -> None:
    samples = generator.sample(N, rng(0, "draw"), given(real, N)).drawn_at(0)
    before = digest(samples)
    rule = "answers with numbers by keys that it declares"
    with tried.rule(rule, "__call__", "return values by key", vital=True):
        answer = metric(samples, generator, trained_on(samples), rng(0, "metric"))
    with tried.rule("has a finite value of a healthy set", "__call__", "return what it measures"):
        require(bool(flatten(answer).values), "every value is undefined, or not finite")
    with tried.rule("the same stream gives the same values", "__call__", "draw from rng alone"):
        tried.scramble()
        again = metric(samples, generator, trained_on(samples), rng(0, "metric"))
        require(flatten(answer) == flatten(again), "two answers differ")
    with tried.rule("leaves the samples as they were", "__call__", "work on a copy"):
        require(digest(samples) == before, "the samples were written to")


def _try_degenerate(tried: Tried, metric: Any, real: Samples) -> None:
    """What collapse brings: one value for all rows, few rows, rows that are not finite."""
    if _reads_models(tried.name):
        return
    first, sets = real.x[:1], {}
    sets["all rows equal"] = Samples(np.repeat(first, N, axis=0), real.y)
    sets["two rows"] = real.take(np.arange(2))
    for what, samples in sets.items():
        with tried.rule(f"has an answer for {what}", "__call__", "return Undefined(reason)"):
            require(bool(_answer(metric, samples)), "the answer is empty")
    mend = "return Undefined('the samples are not finite')"
    with tried.rule("makes no number of what is not finite", "__call__", mend):
        x = real.x.copy()
        x[3] = np.nan
        answer = _answer(metric, Samples(x, real.y))
        wrong = [k for k, value in answer.items() if not _control(k) and _finite(value)]
        require(not wrong, f"{', '.join(wrong)} has a value though a row is nan")


def _reads_models(name: str) -> bool:
    """Whether a metric is about the model rather than the samples."""
    needs = constant("metric", name, "NEEDS", {})
    return constant("metric", name, "MODEL_ONLY", False) or any("model." in word for word in needs)


def _answer(metric: Any, samples: Samples) -> Any:
    with np.errstate(all="ignore"):
        drawn = samples.drawn_at(0)
        return numbers_of(metric(drawn, Blank(), trained_on(drawn), rng(0, "metric")))


def _control(key: str) -> bool:
    return any(word in key for word in CONTROLS)


def _finite(value: Any) -> bool:
    return not isinstance(value, Undefined) and bool(np.isfinite(np.asarray(value, float)).all())
