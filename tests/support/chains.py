"""Self-consuming chains without store or engine loop: policies and generators run directly, for
tests against exact laws.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.lineage.recipe import rng, take
from engine.registry import make
from engine.samples import Samples, given
from tests.support.around import NOTHING


@dataclass(frozen=True)
class Step:
    """One generation: the fitted model, what it was trained on, what it drew, and the real set of
    that generation.
    """

    t: int
    generator: Any
    data: Samples
    drawn: Samples
    real: Samples


def chain(
    dataset: Any,
    generator: dict[str, Any],
    policy: dict[str, Any],
    *,
    n: int,
    generations: int,
    n_first: int | None = None,
    n_synthetic: int | None = None,
    fresh: bool = False,
    bias: float | None = None,
    seed: int = 1,
) -> Iterator[Step]:
    """Generations 0..generations.

    n real points (n_first in generation 0); n_synthetic as the policy needs, or n.
    """
    rule = make("policy", **policy)
    family, parameters = (
        type(make("generator", **generator)),
        {k: v for k, v in generator.items() if k != "name"},
    )
    drawn = n_synthetic or max(rule.needs(n), n)
    recipes = [
        tuple(pick for pick in rule.recipe(sizes(n, drawn, t), t) if pick.count)
        for t in range(1, generations + 1)
    ]
    last_use = {
        source: t
        for t, recipe in enumerate(recipes, 1)
        for pick in recipe
        for source in pick.sources
    }
    sources: dict[int, Samples] = {-1: dataset.sample(n_first or n, rng(seed, "real"))}
    for t in range(generations + 1):
        if fresh and t:
            sources[-1] = dataset.sample(n, rng(seed, "real", t))
        if fresh or not t:
            labels = given(sources[-1], drawn)
        data = take(sources, recipes[t - 1], seed, t) if t else sources[-1]
        model = family(**parameters)
        model.fit(data, rng(seed, "fit", t))
        synthetic = model.sample(drawn, rng(seed, "draw", t), labels=labels, bias=bias)
        sources[t] = synthetic.of(sources[-1].declared).drawn_at(t)
        yield Step(t, model, data, sources[t], sources[-1])
        sources = {s: samples for s, samples in sources.items() if s < 0 or last_use.get(s, 0) > t}


def sizes(n: int, drawn: int, t: int) -> dict[int, int]:
    """Of every source before generation t."""
    return {-1: n} | dict.fromkeys(range(t), drawn)


def measured(
    steps: Iterator[Step], metric: dict[str, Any], dataset: Any, at: set[int]
) -> dict[int, dict[str, np.ndarray]]:
    """The metric's values [replicates] at the generations `at`."""
    ruler, found = make("metric", **metric), {}
    for step in steps:
        if step.t == 0:
            ruler.prepare(dataset, step.real, len(step.drawn), rng(0, "reference"))
        if step.t in at:
            found[step.t] = ruler(step.drawn, step.generator, NOTHING, rng(0, "metric", step.t))
    return found


def assert_mean(
    values: np.ndarray, oracle: float, *, oracle_se: float = 0.0, what: str = ""
) -> None:
    """The tolerance rule: |mean - oracle| < 4 standard errors,
    with at least 2,000 chains.
    """
    assert len(values) >= 2000
    error = np.hypot(values.std(ddof=1) / np.sqrt(len(values)), oracle_se)
    assert abs(values.mean() - oracle) < 4 * error, (
        f"{what}: {values.mean():.6g} +- {error:.2g}, oracle {oracle:.6g}"
    )


def assert_variance(values: np.ndarray, oracle: float) -> None:
    """The same rule for a variance; its standard error from the fourth moment."""
    assert len(values) >= 2000
    squares = np.square(values - values.mean())
    assert_mean(squares * len(values) / (len(values) - 1), oracle, what="variance")
