"""Real against real: the value a sample-based metric has when nothing is wrong, and the gate before
it.

A distance between finite samples is never zero, so every value is reported with the same distance
between disjoint real sets
of the same size (Ouroboros' rule).  Not a tolerance: a value below its floor is possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from engine.knowledge import AllRows, knows
from engine.parts import Dataset, Number, Undefined
from engine.samples import Samples, concat


@dataclass(frozen=True, eq=False)
class RealPool:
    """Real samples of which the first `n_held_out` were held out; the others belong to the training
    set.
    """

    samples: Samples
    n_held_out: int

    def __len__(self) -> int:
        return len(self.samples)


def real_pool(dataset: Dataset, real: Samples, wanted: int, rng: np.random.Generator) -> RealPool:
    """Up to `wanted` real samples in an order set by rng: held-out ones first, training ones where
    those are too few.
    """
    held_out = dataset.held_out(wanted)
    held_out = held_out.take(rng.permutation(len(held_out)))
    missing = wanted - len(held_out)
    if missing <= 0:
        return RealPool(held_out, len(held_out))
    everything = real
    if knows(dataset, "all rows"):
        everything = cast(AllRows, dataset).training_set()
    more = everything.take(rng.permutation(len(everything))[:missing])
    return RealPool(concat([held_out, more]), len(held_out))


def disjoint_pairs(
    pool: int, n: int, pairs: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of two disjoint sets of n out of pool, `pairs` times;
    none where the pool is too small.
    """
    for _ in range(pairs if pool >= 2 * n else 0):
        rows = rng.permutation(pool)[: 2 * n]
        yield rows[:n], rows[n:]


def first(samples: Samples, n: int) -> Samples:
    """The first n samples; remembered by the set, so that what is derived from them is derived
    once.
    """
    if n >= len(samples):
        return samples
    key = ("first", n)
    if key not in samples.memo:
        samples.memo[key] = samples.take(slice(0, n))
    chosen: Samples = samples.memo[key]
    return chosen


def refusal(synthetic: Samples, like: Samples) -> str:
    """Why synthetic cannot be compared with real samples at all, or nothing: shape and size, before
    any network sees it.
    """
    if synthetic.x.shape[1:] != like.x.shape[1:]:
        return f"samples have shape {synthetic.x.shape[1:]}, real ones {like.x.shape[1:]}"
    if len(synthetic) < 2:
        return f"{len(synthetic)} synthetic samples; at least 2 are needed"
    return ""


def too_few(n: int, n_held_out: int, least: int = 2) -> str:
    """Why n samples on each side are too few to compare, or nothing: the side that lacks them, of
    which the real one holds out n_held_out.
    """
    if n >= least:
        return ""
    if n_held_out < least:
        return f"the real data hold out {n_held_out}; at least {least} are needed to compare with"
    return f"{n} samples are drawn; at least {least} are needed to compare"


def degenerate(features: np.ndarray) -> str:
    """Why features [n, ...] carry no distribution, or nothing: values that are not finite, or all
    samples equal.
    """
    bad = ~np.isfinite(features).reshape(len(features), -1).all(1)  # [n]
    if bad.any():
        return f"{int(bad.sum())} of {len(features)} samples have values that are not finite"
    if (features == features[0]).all():
        return f"all {len(features)} samples are equal"
    return ""


def excess(value: Number, floor: Number) -> Number:
    """value - floor, undefined where one of them is."""
    if isinstance(value, Undefined):
        return value
    return floor if isinstance(floor, Undefined) else value - floor


def mean_and_spread(values: np.ndarray, reason: str) -> tuple[Number, Number]:
    """A floor and its standard deviation over splits and replicates; reason: why there would be no
    values.
    """
    if not values.size:
        return Undefined(reason), Undefined(reason)
    mean = defined(values.mean(), "the distance between real sets is not finite")
    if isinstance(mean, Undefined) or values.size == 1:
        return mean, mean if isinstance(mean, Undefined) else Undefined("one split has no spread")
    return mean, float(values.std(ddof=1))


def defined(value: float | np.ndarray, reason: str) -> Number:
    """The value, or Undefined where any part of it is not finite: the gate after a metric."""
    value = np.asarray(value)
    if not np.isfinite(value).all():
        share = (
            ""
            if value.ndim == 0
            else f" in {int((~np.isfinite(value)).sum())} of {value.size} replicates"
        )
        return Undefined(reason + share)
    return value if value.ndim else float(value)
