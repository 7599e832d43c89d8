"""Frequencies of n-grams in the draw and in held-out real text: distances, lost tail, variety.

What language models lose first is rare (Shumailov 2305.17493: the tails): `tail` counts what is
left of it.  Variety alone is no sign of collapse, for a model that drifts towards noise gains it.
Every number stands beside its floor: the same between disjoint real sets of the same size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from engine._tokens import MOST_CODES, counting, windows
from engine.distances.floors import (
    disjoint_pairs,
    first,
    mean_and_spread,
    real_pool,
    refusal,
    too_few,
)
from engine.parts import (
    Around,
    Dataset,
    Generator,
    Keys,
    Number,
    Params,
    PositiveInt,
    Undefined,
    Value,
)
from engine.samples import Samples

DENSE = 1 << 20  # n-grams that are counted in a table; above, those that occur
SHORTER = "the same of shorter n-grams"


class Ngrams:
    """One value per replicate, [replicates].

    order   n: windows of so many tokens; also of all shorter ones.
    splits  real-against-real numbers behind each floor; independent replicates count as splits.
    """

    TINY: ClassVar[Params] = {"order": 2, "splits": 2}
    RECORDS = True
    SPANS = "order"
    ACCEPTS = ("text",)
    BOUNDS = ("held out",)
    KEYS: ClassVar[Keys] = {
        "ngrams/js": (
            "Jensen-Shannon divergence of n-grams to held-out real text, n = order",
            "nats",
            "lower",
        ),
        "ngrams/js/N": (SHORTER, "nats", "lower"),
        "ngrams/tv": (
            "total variation distance of n-grams to held-out real text, n = order",
            "0 to 1",
            "lower",
        ),
        "ngrams/tv/N": (SHORTER, "0 to 1", "lower"),
        "ngrams/kl": (
            "Kullback-Leibler divergence of the draw from held-out real text, half a count added "
            "to every n-gram of both, n = order",
            "nats",
            "lower",
        ),
        "ngrams/kl/N": (SHORTER, "nats", "lower"),
        "ngrams/tail": (
            "share of the n-grams that held-out real text has once which occur in the draw",
            "0 to 1",
            "higher",
        ),
        "ngrams/types": ("different n-grams in the draw", "n-grams", "higher"),
        "ngrams/distinct": ("different n-grams over all n-grams of the draw", "0 to 1", "higher"),
    }

    def __init__(self, *, order: PositiveInt = 3, splits: PositiveInt = 8) -> None:
        self.order, self.splits = order, splits

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold n real sequences (or all held-out ones, if fewer) against which as many synthetic
        ones are compared.  ValueError where n-grams are longer than sequences, or too many.
        """
        pool = real_pool(dataset, real, 2 * n, rng)
        self._like, self.n_ = pool.samples.take(slice(0, 1)), min(n, pool.n_held_out)
        x = pool.samples.x
        self._vocabulary = pool.samples.declared.vocabulary or int(x.max(initial=0)) + 1
        self._check(x.shape[-1])
        self._few = too_few(self.n_, pool.n_held_out)
        self._real = pool.samples.take(slice(0, self.n_))
        pairs = disjoint_pairs(len(pool), self.n_, 0 if self._few else self.splits, rng)
        found = [
            self._numbers(pool.samples.take(a), pool.samples.take(b), i % x.shape[1])
            for i, (a, b) in enumerate(pairs)
        ]
        why = self._few or f"{len(pool)} real samples cannot give two sets of {self.n_}"
        between = self._by_key(found)
        self.floors_ = {key: mean_and_spread(values, why) for key, values in between.items()}

    def _check(self, length: int) -> None:
        if self.order > length:
            raise ValueError(f"ngrams: order {self.order} is longer than a sequence, {length}")
        if self._vocabulary**self.order >= MOST_CODES:
            raise ValueError(
                f"ngrams: order {self.order} over {self._vocabulary:,} tokens has more n-grams "
                "than can be numbered; lower order"
            )

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value | Number]:
        reason = refusal(synthetic, self._like)
        if not reason and len(synthetic) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        if reason := reason or self._few:
            return {key: Undefined(reason) for key in self._keys()}
        drawn = first(synthetic, self.n_)
        each = [self._numbers(self._real, drawn, r) for r in range(drawn.x.shape[1])]
        return {
            key: Value(values, *self.floors_[key], self.n_)
            for key, values in self._by_key(each).items()
        }

    def _keys(self) -> Iterator[str]:
        for name in ("js", "tv", "kl"):
            yield f"ngrams/{name}"
            yield from (f"ngrams/{name}/{n}" for n in range(1, self.order))
        yield from ("ngrams/tail", "ngrams/types", "ngrams/distinct")

    def _by_key(self, each: list[dict[str, float]]) -> dict[str, np.ndarray]:
        """Of several pairs of sets the numbers of each key."""
        found = dict[str, np.ndarray]()
        for key in self._keys():
            found[key] = np.array([own[key] for own in each])
        return found

    def _numbers(self, real: Samples, drawn: Samples, replicate: int) -> dict[str, float]:
        """Of two sets of sequences, of one replicate."""
        found: dict[str, float] = {}
        for n in range(1, self.order + 1):
            grams = [self._grams(own, replicate, n) for own in (real, drawn)]
            a, b = self._counts(grams[0], grams[1], n)
            suffix = f"/{n}" if n < self.order else ""
            p, q = a / a.sum(), b / b.sum()
            found[f"ngrams/js{suffix}"] = jensen_shannon(p, q)
            found[f"ngrams/tv{suffix}"] = 0.5 * float(np.abs(p - q).sum())
            found[f"ngrams/kl{suffix}"] = add_half_kl(a, b, self._vocabulary**n)
        once = a == 1
        found["ngrams/tail"] = float((b[once] > 0).mean()) if once.any() else float("nan")
        found["ngrams/types"] = float(np.count_nonzero(b))
        found["ngrams/distinct"] = float(np.count_nonzero(b) / b.sum())
        return found

    def _grams(self, samples: Samples, replicate: int, n: int) -> np.ndarray:
        """All n-grams of what counts of sequences, of records of their completions."""
        codes: np.ndarray = windows(samples.x[:, replicate], self._vocabulary, n)
        return np.extract(counting(samples, n), codes)

    def _counts(self, a: np.ndarray, b: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """How often each n-gram occurs that is in one of them, [n-grams] each."""
        size = self._vocabulary**n
        if size > DENSE:
            of = np.unique(np.concatenate([a, b]), return_inverse=True)[1]
            a, b, size = of[: len(a)], of[len(a) :], int(of.max()) + 1
        both = np.bincount(a, minlength=size), np.bincount(b, minlength=size)
        there = both[0] + both[1] > 0
        return both[0][there], both[1][there]


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Of frequencies p, q [k], in nats: 0 to log 2."""
    middle = (p + q) / 2
    each = (v[v > 0] @ np.log(v[v > 0] / middle[v > 0]) for v in (p, q))
    return float(sum(each) / 2)


def add_half_kl(a: np.ndarray, b: np.ndarray, size: int) -> float:
    """KL(a || b) of counts [k], half a count added to each of `size` n-grams, also to those that
    occur in neither; in nats.
    """
    p, q = (v + 0.5 for v in (a, b))
    p_all, q_all = a.sum() + size / 2, b.sum() + size / 2
    elsewhere = (size - len(a)) * 0.5 / p_all * np.log(q_all / p_all)
    return float((p / p_all * np.log(p / p_all * q_all / q)).sum() + elsewhere)
