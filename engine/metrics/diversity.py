"""How much the texts of a draw differ from each other, and whether they are the model's own.

`self_bleu` is Texygen's (Zhu et al. 1802.01886): the BLEU of a text against all others, 1 where all
are equal.  `entropy` is that of n-grams (Zhang et al. 1809.05972).  More variety than real text has
is no virtue: a model that drifts towards noise gains it.  Every number stands beside its floor, the
same of real text of the same size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine._tokens import MOST_CODES, completions, counting, windows
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
    Ways,
)
from engine.samples import Samples

REPEATED = 3  # times
NO_MATCH = 0.1  # n-grams that count as matched where none is (Chen & Cherry 2014, method 1)


class Diversity:
    """One value per replicate, [replicates].

    n       longest n-grams of BLEU, and those whose repetition and entropy are told.
    sample  texts whose BLEU against all others is averaged.
    splits  real sets behind each floor; independent replicates count as splits.
    """

    TINY: ClassVar[Params] = {"n": 2, "sample": 10, "splits": 2}
    ACCEPTS = ("text",)
    RECORDS = True
    SPANS = "n"
    BOUNDS = ("held out",)
    KEYS: ClassVar[Keys] = {
        "diversity/self_bleu": (
            "mean BLEU of a text against all others of the draw",
            "0 to 1",
            "lower",
        ),
        "diversity/repetition": (
            "texts in which some n-gram stands three times or more",
            "share of the texts",
            "",
        ),
        "diversity/duplicates": (
            "texts that equal an earlier one of the draw",
            "share of the texts",
            "lower",
        ),
        "diversity/copies": (
            "texts that stand in the real set of their generation: memorised, or common",
            "share of the texts",
            "lower",
        ),
        "diversity/entropy": ("of the n-grams of the draw", "nats", "higher"),
    }
    BY: ClassVar[Ways] = {"diversity/entropy": "difference"}

    def __init__(
        self, *, n: PositiveInt = 4, sample: PositiveInt = 200, splits: PositiveInt = 4
    ) -> None:
        self.n, self.sample, self.splits = n, sample, splits

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Measure real sets of n texts (or of all held-out ones, if fewer).  ValueError where
        n-grams are longer than texts, or too many.
        """
        pool = real_pool(dataset, real, 2 * n, rng)
        self._like, self.n_ = pool.samples.take(slice(0, 1)), min(n, pool.n_held_out)
        x = pool.samples.x
        self._vocabulary = pool.samples.declared.vocabulary or int(x.max(initial=0)) + 1
        self._check(x.shape[-1])
        self._few = too_few(self.n_, pool.n_held_out)
        pairs = disjoint_pairs(len(pool), self.n_, 0 if self._few else self.splits, rng)
        found = [
            self._numbers(pool.samples.take(a), i % x.shape[1], rng)
            for i, (a, _) in enumerate(pairs)
        ]
        why = self._few or f"{len(pool)} real samples cannot give two sets of {self.n_}"
        self._floors = {key: mean_and_spread(v, why) for key, v in _by_key(found).items()}
        held_out = pool.samples.take(slice(0, self.n_))
        self._floors["diversity/copies"] = mean_and_spread(copies(held_out, real), self._few)

    def _check(self, length: int) -> None:
        if self.n > length:
            raise ValueError(f"diversity: n {self.n} is longer than a sequence, {length}")
        if self._vocabulary**self.n >= MOST_CODES:
            raise ValueError(
                f"diversity: n {self.n} over {self._vocabulary:,} tokens has more n-grams than can "
                "be numbered; lower n"
            )

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value | Number]:
        reason = refusal(synthetic, self._like)
        if not reason and len(synthetic) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        if reason := reason or self._few:
            return {key: Undefined(reason) for key in self.KEYS}
        drawn = first(synthetic, self.n_)
        found = _by_key([self._numbers(drawn, r, rng) for r in range(drawn.x.shape[1])])
        found["diversity/copies"] = copies(drawn, around.real)
        return {key: Value(found[key], *self._floors[key], self.n_) for key in self.KEYS}

    def _numbers(
        self, samples: Samples, replicate: int, rng: np.random.Generator
    ) -> dict[str, float]:
        """All but the copies."""
        own = _tallied(samples, replicate, self._vocabulary, self.n)
        counts = np.bincount(own.gram, own.count)
        share = counts / counts.sum()
        most = np.zeros(len(samples), dtype=np.int64)
        np.maximum.at(most, own.text, own.count)
        bleu = self_bleu(samples, replicate, self._vocabulary, self.n)
        return {
            "diversity/self_bleu": float(bleu[rng.permutation(len(bleu))[: self.sample]].mean()),
            "diversity/repetition": float((most >= REPEATED).mean()),
            "diversity/duplicates": 1 - len(set(_texts(samples, replicate))) / len(samples),
            "diversity/entropy": float(-(share @ np.log(share))),
        }


def _by_key(each: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """Of several sets the numbers of each key."""
    keys = [key for key in Diversity.KEYS if key != "diversity/copies"]
    found = dict[str, np.ndarray]()
    for key in keys:
        found[key] = np.array([own[key] for own in each])
    return found


def copies(samples: Samples, real: Samples) -> np.ndarray:
    """Share of texts that stand among the real ones: [replicates]."""
    each = []
    for r in range(samples.x.shape[1]):
        known = set(_texts(real, r)) if len(real) else set()
        each.append(np.mean([text in known for text in _texts(samples, r)]))
    return np.array(each)


def _texts(samples: Samples, replicate: int) -> list[bytes]:
    """What counts of each text, of records the completion."""
    rows = np.ascontiguousarray(samples.x[:, replicate], dtype=np.int32)
    places = zip(rows, *completions(samples), strict=True)
    return [row[begin:end].tobytes() for row, begin, end in places]


# ---- BLEU ----------------------------------------------------------------------------------------


def self_bleu(samples: Samples, replicate: int, vocabulary: int, n: int) -> np.ndarray:
    """BLEU-n of each text against all others (Papineni et al. 2002), [texts]."""
    log_precision = np.zeros(len(samples))
    for m in range(1, n + 1):
        own = _tallied(samples, replicate, vocabulary, m)
        matched = np.bincount(own.text, np.minimum(own.count, own.elsewhere()), len(samples))
        there = np.maximum(np.bincount(own.text, own.count, len(samples)), 1)
        log_precision += np.log(np.where(matched == 0, NO_MATCH, matched) / there)
    begin, end = completions(samples)
    values: np.ndarray = np.exp(log_precision / n + _brevity(end - begin))
    return values


def _brevity(lengths: np.ndarray) -> np.ndarray:
    """The logarithm of the penalty for each text that is shorter than the other one whose length
    is nearest, [texts].
    """
    known, of, times = np.unique(lengths, return_inverse=True, return_counts=True)
    away = np.abs(known[:, None] - known).astype(float)
    away[np.diag(times == 1)] = np.inf  # no text is another one
    nearest = known[away.argmin(1)]  # the shorter one of two
    values: np.ndarray = np.minimum(0.0, 1 - nearest / np.maximum(known, 1))[of]
    return values


@dataclass(frozen=True, eq=False)
class Tallies:
    """How often n-grams stand in texts: of each pair that occurs the n-gram, numbered from 0, the
    text, and the count, [pairs] each.
    """

    gram: np.ndarray
    text: np.ndarray
    count: np.ndarray

    def elsewhere(self) -> np.ndarray:
        """The most that the n-gram of each pair stands in any other text, [pairs]."""
        most = np.zeros(self.gram.max(initial=0) + 1, dtype=np.int64)
        np.maximum.at(most, self.gram, self.count)
        below = self.count < most[self.gram]
        holders = np.bincount(self.gram[~below], minlength=len(most))  # texts that have most
        second = np.zeros_like(most)
        np.maximum.at(second, self.gram[below], self.count[below])
        values: np.ndarray = np.where(
            below | (holders[self.gram] > 1), most[self.gram], second[self.gram]
        )
        return values


def _tallied(samples: Samples, replicate: int, vocabulary: int, m: int) -> Tallies:
    counts = counting(samples, m)
    grams = windows(samples.x[:, replicate], vocabulary, m)[counts]
    codes = np.unique(grams, return_inverse=True)[1].ravel()
    pairs = codes * len(samples) + np.nonzero(counts)[0]
    pair, count = np.unique(pairs, return_counts=True)
    return Tallies(pair // len(samples), pair % len(samples), count)
