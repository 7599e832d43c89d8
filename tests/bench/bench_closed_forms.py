"""Closed-form lineages against the published style, one numpy or scikit-learn loop per lineage:
lineages per CPU second.

    python tests/bench/bench_closed_forms.py [--quick | --smoke]

Both sides draw every sample, fit it and take their metrics in every generation; ours carries the
replicates in its arrays. CPU time of one thread, the two sides in turn, medians over rounds and the
median of the rounds' ratios; glibc keeps freed memory for both.  `z` is the deviation of our last
generation from the exact law in standard errors; where d >= n the law's tail is so long that a few
hundred chains mostly lie below it.  Ends with code 1 where a floor is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from sklearn.neighbors import KernelDensity
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[2]))
# isort: split
from analysis.theory import gaussian as theory
from engine._memory import keep_freed_memory
from engine.registry import make
from tests.support.around import NOTHING
from tests.support.chains import chain
from tests.theory import gaussian as oracles

LEGACY = np.random.RandomState(0)  # the generator behind np.random.normal
GENERATIONS = 99  # after the founder: 100 fits
SIZES = (10, 32, 100, 316, 1000)
FLOATS = 2_000_000  # of one synthetic set; bounds the replicates of ours


# ---- the published style, written for this comparison ----


def gaussian_loop(d: int, n: int, policy: str) -> None:
    mean, covariance, past = np.zeros(d), np.eye(d), []
    for _ in range(GENERATIONS + 1):
        x = LEGACY.multivariate_normal(mean, covariance, size=n)
        past = [*past, x] if policy == "accumulate" else [x]
        data = np.concatenate(past)
        mean, covariance = data.mean(axis=0), np.cov(data, rowvar=False, bias=True).reshape(d, d)
        np.square(mean).sum(), np.trace(covariance), np.linalg.slogdet(covariance)


def regression_loop(d: int, n: int, policy: str) -> None:
    x, truth, test = (
        LEGACY.normal(size=(n, d)),
        LEGACY.normal(size=d),
        LEGACY.normal(size=(1000, d)),
    )
    weights, designs, past = truth, [], []
    for _ in range(GENERATIONS + 1):
        y = x @ weights + LEGACY.normal(size=n)
        designs, past = ([*designs, x], [*past, y]) if policy == "accumulate" else ([x], [y])
        weights = np.linalg.pinv(np.concatenate(designs)) @ np.concatenate(past)
        np.square(test @ (weights - truth)).mean()


def kde_loop(n: int, policy: str, generations: int) -> None:
    data, test = LEGACY.normal(size=(n, 2)), LEGACY.normal(size=(500, 2))
    for _ in range(generations + 1):
        model = KernelDensity(bandwidth=0.1).fit(data)
        model.score_samples(test).mean()
        drawn = model.sample(n, random_state=LEGACY)
        data = np.concatenate([data, drawn]) if policy == "accumulate" else drawn


# ---- ours ----


@dataclass(frozen=True)
class Cell:
    """One comparison: a family at a size under a policy."""

    family: str
    d: int
    n: int
    policy: str = "replace"
    generations: int = GENERATIONS
    floor: float = 1.0

    @property
    def replicates(self) -> int:
        return max(
            8,
            min(
                1000,
                FLOATS // (self.n * self.d),
                20_000 // self.n if self.family == "kde" else 1000,
            ),
        )

    def published(self) -> None:
        if self.family == "kde":
            return kde_loop(self.n, self.policy, self.generations)
        return (gaussian_loop if self.family == "gaussian" else regression_loop)(
            self.d, self.n, self.policy
        )

    def ours(self) -> float:
        """Runs all replicates; returns the last generation's deviation from the law."""
        dataset = make(
            "dataset",
            "regression" if self.family == "regression" else "gaussian",
            d=self.d,
            replicates=self.replicates,
        )
        generator = {"name": {"regression": "linear_regression"}.get(self.family, self.family)}
        generator |= {"bandwidth": 0.1} if self.family == "kde" else {}
        metric = make("metric", "nll" if self.family == "kde" else "moments")
        values: dict = {}
        for step in chain(
            dataset, generator, {"name": self.policy}, n=self.n, generations=self.generations
        ):
            if step.t == 0:
                metric.prepare(dataset, step.real, self.n, np.random.default_rng(0))
            values = metric(step.drawn, step.generator, NOTHING, np.random.default_rng(0))
        return self.deviation(values, step.data.x if self.family == "kde" else None)

    def deviation(self, values: dict, points: np.ndarray | None) -> float:
        t, n, d = self.generations, self.n, self.d
        if points is not None:
            variance = (theory.kde_replace if self.policy == "replace" else oracles.kde_accumulate)(
                n, 0.1, t
            )[0]
            return standard_errors(points.var(0).mean(1), variance)
        if self.family == "regression":
            if n < d + 6:  # the error has no mean, or no variance
                return float("nan")
            law = (
                theory.regression_replace
                if self.policy == "replace"
                else theory.regression_accumulate
            )
            return standard_errors(values["moments/weight_error"], law(n, d, t))
        law = (
            theory.replace_mean_error if self.policy == "replace" else theory.accumulate_mean_error
        )
        return standard_errors(values["moments/mean_error"], law(n, t, d=d))


def standard_errors(values: np.ndarray, oracle: float) -> float:
    return float((values.mean() - oracle) / (values.std(ddof=1) / np.sqrt(len(values))))


# ---- side by side ----


def seconds(work: Callable[[], object], at_least: float) -> float:
    """CPU seconds of one call, from as many as fill the time."""
    calls, start = 0, time.process_time()
    while calls == 0 or time.process_time() - start < at_least:
        work()
        calls += 1
    return (time.process_time() - start) / calls


def compare(cell: Cell, rounds: int, at_least: float) -> tuple[float, float, float, float]:
    """Lineages per CPU second of both, the ratio, and our deviation from the law."""
    deviation = cell.ours()
    pairs = []
    for _ in range(rounds):
        theirs = 1 / seconds(cell.published, at_least)
        pairs.append((theirs, cell.replicates / seconds(cell.ours, at_least)))
    return (
        median(a for a, _ in pairs),
        median(b for _, b in pairs),
        median(b / a for a, b in pairs),
        deviation,
    )


def cells(quick: bool) -> list[Cell]:
    head = [
        Cell("gaussian", 1, 100, floor=40),
        Cell("regression", 1, 100, floor=40),
        Cell("kde", 2, 1000, generations=19, floor=20),
        Cell("kde", 2, 100, generations=19),
        Cell("kde", 2, 100, "accumulate", generations=39),
        *[
            Cell(family, d, 100, "accumulate")
            for family in ("gaussian", "regression")
            for d in (1, 10)
        ],
    ]
    grid = [Cell("gaussian", d, n) for d in (1, 3, 10, 31, 100) for n in SIZES]
    grid += [Cell("regression", d, n) for d in (1, 3, 10, 32, 100) for n in SIZES]
    return head if quick else [*head, *(cell for cell in grid if (cell.d, cell.n) != (1, 100))]


def smallest() -> list[Cell]:
    return [
        Cell("gaussian", 1, 10, generations=4),
        Cell("regression", 1, 32, generations=4),
        Cell("kde", 2, 100, generations=2),
        Cell("kde", 2, 100, "accumulate", generations=2),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="without the grid")
    parser.add_argument("--smoke", action="store_true", help="the smallest size, judging nothing")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    keep_freed_memory()
    missed = []
    print(f"{'family':11} {'policy':11} {'d':>4} {'n':>5} {'gens':>5} {'repl.':>5}", end=" ")
    print(f"{'published/s':>12} {'ours/s':>10} {'ratio':>8} {'floor':>6} {'z':>6}")
    rounds = 1 if options.smoke else options.rounds
    at_least = 0.0 if options.smoke else 0.2 if options.quick else 0.1
    for cell in smallest() if options.smoke else cells(options.quick):
        theirs, ours, ratio, z = compare(cell, rounds, at_least)
        row = (
            f"{cell.family:11} {cell.policy:11} {cell.d:4} {cell.n:5} "
            f"{cell.generations + 1:5} {cell.replicates:5}"
        )
        print(
            f"{row} {theirs:12.2f} {ours:10.1f} {ratio:8.1f} {cell.floor:6.0f} {z:6.1f}", flush=True
        )
        if (ratio < cell.floor and not options.smoke) or abs(z) > 4.5:
            missed.append(row)
    print("\n".join(["missed:", *missed]) if missed else "every floor is met and every law holds")
    return 1 if missed else 0


if __name__ == "__main__":
    with threadpool_limits(1):
        sys.exit(main())
