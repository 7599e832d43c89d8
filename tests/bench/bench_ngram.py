"""`ngram` lineages against the loop that one writes in an afternoon, a dictionary of counters for
each order: lineages per CPU second.

    python tests/bench/bench_ngram.py [--smoke]

Both sides count all contexts of order n, interpolate with absolute discounting, draw every text
token by token, and score held-out text in every generation.  The loop remembers the cumulated
probabilities of a context once it has met it and draws with `random.choices`; ours carries
replicates in its arrays.  CPU time of one thread, the two sides in turn, medians over rounds and
the median of the rounds' ratios.  NLTK's AbsoluteDiscountingInterpolated, where it is installed, is
timed on one fit and a part of the texts, for information: it is no floor.  Ends with code 1 where a
floor is missed.

Lineages per CPU second, replace, two busy cores shared with others, medians of two rounds:

    tokens  order     n  replicates     loop     ours   ratio   NLTK's
         8      2   200         200     4.31   121.61    28.2      918
        16      3   200          50     1.85    44.59    24.1      427
        65      3  2048           1      .28     6.25    22.4      538
        65      3  2048           4      .30     7.20    24.8      704
        65      4  2048           1      .09     1.96    22.5      224
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[2]))
# isort: split
from engine.registry import make
from engine.samples import Samples
from tests.support.chains import chain

DISCOUNT = 0.75
Texts = list[list[int]]


# ---- the loop, written for this comparison ----


class Loop:
    """An interpolated n-gram model of texts of equal length over v tokens, v itself before them."""

    def __init__(self, texts: Texts, order: int, v: int) -> None:
        self.order, self.v, self.known = order, v, {}
        self.counts: list[dict[tuple[int, ...], Counter]] = [
            defaultdict(Counter) for _ in range(order)
        ]
        for text in texts:
            padded = [v] * (order - 1) + text
            for i in range(order - 1, len(padded)):
                for m in range(order):
                    self.counts[m][tuple(padded[i - m : i])][padded[i]] += 1

    def probabilities(self, context: tuple[int, ...]) -> list[float]:
        if context in self.known:
            return self.known[context][0]
        lower = self.probabilities(context[1:]) if context else [1 / self.v] * self.v
        counts = self.counts[len(context)].get(context)
        p = lower
        if counts:
            total = sum(counts.values())
            spread = DISCOUNT * len(counts) / total
            p = [spread * q for q in lower]
            for token, count in counts.items():
                p[token] += max(count - DISCOUNT, 0) / total
        self.known[context] = p, list(accumulate(p))
        return p

    def draw(self, n: int, length: int) -> Texts:
        tokens, drawn = range(self.v), []
        for _ in range(n):
            text = [self.v] * (self.order - 1)
            for _ in range(length):
                context = tuple(text[len(text) - self.order + 1 :])
                if context not in self.known:
                    self.probabilities(context)
                cumulated = self.known[context][1]
                text.append(random.choices(tokens, cum_weights=cumulated)[0])
            drawn.append(text[self.order - 1 :])
        return drawn

    def cross_entropy(self, texts: Texts) -> float:
        total = 0.0
        for text in texts:
            padded = [self.v] * (self.order - 1) + text
            for i in range(self.order - 1, len(padded)):
                p = self.probabilities(tuple(padded[i - self.order + 1 : i]))
                total -= math.log(p[padded[i]])
        return total / sum(map(len, texts))


def nltk_seconds(texts: Texts, order: int, share: float) -> float:
    """CPU seconds of a generation with NLTK, the draw scaled up from a share; nan without it."""
    try:
        from nltk.lm import AbsoluteDiscountingInterpolated
        from nltk.lm.preprocessing import padded_everygram_pipeline
    except ImportError:
        return float("nan")
    start = time.process_time()
    words = [[str(token) for token in text] for text in texts]
    grams, vocabulary = padded_everygram_pipeline(order, words)
    model = AbsoluteDiscountingInterpolated(order, discount=DISCOUNT)
    model.fit(grams, vocabulary)
    fit = time.process_time() - start
    start, n, length = time.process_time(), max(1, int(share * len(texts))), len(texts[0])
    for seed in range(n):
        model.generate(length, text_seed=["<s>"] * (order - 1), random_seed=seed)
    return fit + (time.process_time() - start) * len(texts) / n


# ---- ours ----


@dataclass(frozen=True)
class Given:
    """Real and held-out texts, drawn before the time is taken."""

    real: Samples
    kept: Samples

    @property
    def vocabulary(self) -> int:
        return int(self.real.declared.vocabulary)

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        """The same for every lineage, with nothing remembered of an earlier one."""
        return Samples(self.real.x, traits=self.real.traits)


@dataclass(frozen=True)
class Cell:
    """A language, or a file of text, and a model of it under replace."""

    dataset: dict[str, Any]
    order: int
    n: int
    held_out: int
    generations: int
    floor: float = 20.0

    @property
    def replicates(self) -> int:
        return int(self.dataset.get("replicates", 1))

    def given(self) -> Given:
        """What both sides begin with: neither makes it in its time."""
        truth = make("dataset", **self.dataset)
        real = truth.sample(self.n, np.random.default_rng(1))
        return Given(real, truth.held_out(self.held_out))

    def published(self, given: Given) -> float:
        """One lineage; its last cross entropy."""
        texts, held_out = listed(given.real), listed(given.kept)
        for _ in range(self.generations + 1):
            model = Loop(texts, self.order, given.vocabulary)
            found = model.cross_entropy(held_out)
            texts = model.draw(self.n, len(texts[0]))
        return found

    def ours(self, given: Given) -> float:
        """All replicates at once; the mean of their last cross entropies."""
        generator = {"name": "ngram", "order": self.order, "discount": DISCOUNT}
        steps = chain(given, generator, {"name": "replace"}, n=self.n, generations=self.generations)
        for step in steps:
            score = step.generator.log_density(given.kept.x)
        return -float(score[:, 0].mean()) / given.kept.x.shape[2]


def listed(samples: Samples) -> Texts:
    """The texts of the first replicate."""
    return samples.x[:, 0].tolist()


# ---- side by side ----


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(cell: Cell, given: Given, rounds: int) -> tuple[float, float, float]:
    """Lineages per CPU second of both, and the ratio."""
    pairs = []
    for _ in range(rounds):
        theirs = 1 / seconds(lambda: cell.published(given))
        pairs.append((theirs, cell.replicates / seconds(lambda: cell.ours(given))))
    return (
        median(a for a, _ in pairs),
        median(b for _, b in pairs),
        median(b / a for a, b in pairs),
    )


def language(**params: Any) -> dict[str, Any]:
    return {"name": "markov", **params}


def cells() -> list[Cell]:
    english = language(outcomes=65, order=2, length=64, concentration=0.05)
    return [
        Cell(language(replicates=200), 2, 200, 1000, 9),
        Cell(language(replicates=50, length=64, outcomes=16), 3, 200, 1000, 9),
        Cell({**english, "replicates": 1}, 3, 2048, 1024, 4),
        Cell({**english, "replicates": 4}, 3, 2048, 1024, 4),
        Cell({**english, "replicates": 1}, 4, 2048, 1024, 4),
    ]


def smallest() -> list[Cell]:
    return [Cell(language(replicates=3), 3, 20, 20, 2)]


def agree(cell: Cell, given: Given) -> bool:
    """Whether both sides fit the same model: the founder's cross entropy is one number."""
    founder = replace(cell, generations=0)
    return math.isclose(founder.published(given), founder.ours(given), rel_tol=1e-9)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="the smallest size, judging nothing")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    missed = []
    print(f"{'tokens':>7} {'length':>7} {'order':>6} {'n':>6} {'gens':>5} {'repl.':>6}", end=" ")
    print(f"{'loop/s':>8} {'ours/s':>8} {'ratio':>7} {'floor':>6} {'nltk ratio':>11}")
    for cell in smallest() if options.smoke else cells():
        given = cell.given()
        if not agree(cell, given):
            missed.append(f"the two sides differ: {cell}")
        theirs, ours, ratio = compare(cell, given, 1 if options.smoke else options.rounds)
        texts, v = listed(given.real), given.vocabulary
        length = len(texts[0])
        slow = nltk_seconds(texts, cell.order, 0.002) * (cell.generations + 1) * ours
        print(
            f"{v:7} {length:7} {cell.order:6} {cell.n:6} {cell.generations + 1:5} "
            f"{cell.replicates:6} {theirs:8.3f} {ours:8.2f} {ratio:7.1f} {cell.floor:6.0f} "
            f"{slow:11.0f}",
            flush=True,
        )
        if ratio < cell.floor and not options.smoke:
            missed.append(f"{cell}: {ratio:.1f}")
    print("\n".join(["missed:", *missed]) if missed else "every floor is met")
    return 1 if missed else 0


if __name__ == "__main__":
    with threadpool_limits(1):
        sys.exit(main())
