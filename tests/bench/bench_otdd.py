"""OTDD along a lineage of 10 generations against a straightforward implementation: CPU seconds of
one thread, side by side.

    python tests/bench/bench_otdd.py [--quick | --smoke]

Ours: `engine/distances/transport.py`, exact, the real side prepared once (its cost is included).
Theirs: a loop over class pairs with scipy's matrix root of the product of two covariances, and an
entropic solver at the published temperature 0.1, nothing kept
between generations.  The solver is POT's in the log domain (100 iterations, not yet converged) and,
                      where geomloss is
installed, its debiased divergence, which the published implementation calls.  What is too slow is
timed in part and multiplied: `pairs` class pairs of the first generation, one outer problem of the
first generation.  `drifting`: class counts that move apart over the generations, as under collapse,
                   where assignment gives way to the network simplex; there is no goal for it, since
the published schedule gives another number then (29 to 66 % low).  The last column is our value in
the first generation against POT's exact solver on the cost that their loop made, where the whole
loop was run.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import ot
import scipy.linalg
import torch
from threadpoolctl import threadpool_limits

from engine.distances.transport import exact, labelled

try:
    from geomloss import SamplesLoss
except ImportError:
    SamplesLoss = None

N, GENERATIONS, TEMPERATURE = 2000, 10, 0.1
GOALS = {(512, 100): 50.0}  # times faster than the fastest of them; 5 elsewhere
Set = tuple[np.ndarray, np.ndarray]


def lineage(d: int, classes: int, drifting: bool) -> tuple[Set, list[Set]]:
    """Real points and those of each generation: means contract, spreads shrink,
    counts may drift.
    """
    rng = np.random.default_rng(7)
    centres, mixing = rng.normal(size=(classes, d)), np.linalg.qr(rng.normal(size=(d, d)))[0]
    scale = (1 + np.arange(d)) ** -0.25

    def draw(t: int) -> Set:
        tilt = np.linspace(-1, 1, classes) * (0.08 * t if drifting else 0)
        y = rng.permutation(
            np.repeat(
                np.arange(classes),
                np.bincount(rng.choice(classes, N, p=(1 + tilt) / classes), minlength=classes)
                if drifting
                else N // classes,
            )
        )
        return centres[y] * 0.97**t + (rng.normal(size=(N, d)) * scale * 0.97**t) @ mixing, y

    return draw(0), [draw(t) for t in range(1, GENERATIONS + 1)]


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    answer = work()
    return time.process_time() - start, answer


def ours(real: Set, generations: list[Set]) -> list[float]:
    rng = np.random.default_rng(0)
    ready = labelled(*real, N, rng)
    return [exact(ready, labelled(*own, N, rng)) for own in generations]


def statistics(side: Set) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (side[0][side[1] == k].mean(0), np.cov(side[0][side[1] == k], rowvar=False))
        for k in np.unique(side[1])
    ]


def one_pair(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> float:
    root = np.trace(scipy.linalg.sqrtm(a[1] @ b[1])).real
    return float(np.square(a[0] - b[0]).sum() + np.trace(a[1]) + np.trace(b[1]) - 2 * root)


def full_cost(real: Set, own: Set, table: np.ndarray) -> np.ndarray:
    return (ot.dist(real[0], own[0]) + table[real[1]][:, own[1]]) / 2


def by_pot(cost: np.ndarray) -> float:
    return float(ot.sinkhorn2([], [], cost, TEMPERATURE, method="sinkhorn_log", numItermax=100))


def by_geomloss(real: Set, own: Set, table: np.ndarray) -> float:
    """With the cross table in all four blocks: the label distances within each set are left out of
    its time.
    """
    labels = torch.from_numpy(np.block([[table, table], [table.T, table]])).float()
    z = [
        torch.from_numpy(np.column_stack([x, y + k * len(table)])).float()
        for k, (x, y) in enumerate((real, own))
    ]

    def cost(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        squares = (
            (p[0, :, :-1] ** 2).sum(-1)[:, None]
            + (q[0, :, :-1] ** 2).sum(-1)
            - 2 * p[0, :, :-1] @ q[0, :, :-1].T
        )
        return ((squares + labels[p[0, :, -1].long()][:, q[0, :, -1].long()]) / 2)[None]

    loss = SamplesLoss(
        "sinkhorn", p=2, blur=TEMPERATURE**0.5, cost=cost, debias=True, backend="tensorized"
    )
    return float(loss(*z))


def compared(d: int, classes: int, pairs: int, drifting: bool) -> float:
    """Prints one line; returns how many times faster ours is than the fastest of them."""
    real, generations = lineage(d, classes, drifting)
    ours(real, generations[:1])  # warm
    mine, values = seconds(lambda: ours(real, generations))
    own = generations[0]
    counting, (a, b) = seconds(lambda: (statistics(real), statistics(own)))
    chosen = [(i, j) for i in range(classes) for j in range(classes)][:pairs]
    looping, found = seconds(lambda: [one_pair(a[i], b[j]) for i, j in chosen])
    labels = counting + looping * classes**2 / len(chosen)
    table = np.square(np.array([m for m, _ in a])[:, None] - np.array([m for m, _ in b])).sum(-1)
    table[tuple(np.transpose(chosen))] = found
    cost = full_cost(real, own, table)
    outer = {"POT": seconds(lambda: by_pot(cost))[0]}
    if SamplesLoss is not None:
        outer["geomloss"] = seconds(lambda: by_geomloss(real, own, table))[0]
    theirs = {name: GENERATIONS * (labels + spent) for name, spent in outer.items()}
    off = "-"
    if len(chosen) == classes**2:
        truth = ot.emd2([], [], cost, numItermax=10_000_000)
        off = f"{abs(values[0] - truth) / truth:.0e}"
    ratio = min(theirs.values()) / mine
    alone, counts = theirs.get("geomloss"), "drifting" if drifting else "equal"
    print(
        f"{d:>4} {classes:>8} {counts:>9} {mine:>8.2f} {GENERATIONS * labels:>10.1f} "
        f"{theirs['POT']:>9.1f}"
        f" {'-' if alone is None else f'{alone:.1f}':>9} {ratio:>8.1f} {len(chosen):>6} {off:>8}",
        flush=True,
    )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="d = 64 only")
    parser.add_argument("--smoke", action="store_true", help="the smallest size, judging nothing")
    options = parser.parse_args()
    cases = [(64, 10, 100, False), (64, 10, 100, True), (64, 100, 200, False)]
    if not options.quick:
        cases += [(512, 10, 8, False), (512, 100, 8, False)]
    if options.smoke:
        global N, GENERATIONS
        N, GENERATIONS = 60, 2
        cases = [(4, 3, 9, False), (4, 3, 9, True)]
    print(
        f"OTDD, n = {N}, {GENERATIONS} generations: CPU seconds of the lineage (theirs "
        "multiplied from timed parts)"
    )
    print(
        "   d  classes    counts     ours     labels  with POT  geomloss  x faster  pairs  dif "
        "exact"
    )
    ratios = {case: compared(*case) for case in cases}
    equal = {case[:2]: ratio for case, ratio in ratios.items() if not case[3]}
    slow = [f"{case}: {ratio:.1f}" for case, ratio in equal.items() if ratio < GOALS.get(case, 5.0)]
    verdict = f"missed by {'; '.join(slow)}" if slow else "held"
    print(f"\ngoals at equal counts (5 times faster; 50 at d = 512 with 100 classes): {verdict}")
    raise SystemExit(bool(slow) and not options.smoke)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # of scipy, about singular roots, and of POT, about convergence
    with threadpool_limits(1):
        main()
