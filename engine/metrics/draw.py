"""What a draw has of the real data's variance: drawn over held out, in all and within the classes.

A sampler that draws too little (a decoder's mean, few denoising steps) does so in every generation:
a chain that multiplies the variance by the founder's ratio v0 has v0^(t+1) of it at generation t,
whatever finite data add.  Raw coordinates, divisor n - 1, summed over the coordinates: the trace of
a covariance, not the generalised variance (its determinant), and blind to where the samples lie.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from engine.distances.floors import (
    defined,
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
    Undefined,
    Value,
    Ways,
    traits_of,
)
from engine.samples import Samples

SPLITS = 8  # real-against-real ratios behind the floor; independent replicates count as splits
AT_ONCE = 1 << 24  # numbers that are worked on in double precision at a time
CONSTANT = "the held-out samples do not vary"
CONSTANT_WITHIN = "the held-out samples do not vary within their classes"


class Draw:
    """Measured of every draw of points or images that is made, unasked.  One ratio per replicate,
    over the held-out variance of all replicates, which have one law.

    Within the classes: the mean of the classes' variances, weighted by the held-out shares of those
    with two held-out samples or more, so that mixed-up shares leave it unmoved.
    """

    TINY: ClassVar[Params] = {}
    ACCEPTS = ("points", "images")
    BOUNDS = None  # ratios of variances, with the divisor n - 1
    KEYS: ClassVar[Keys] = {
        "draw/variance_ratio": (
            "total variance of the draw over that of held-out real samples, with its floor",
            "ratio",
            "near 1",
        ),
        "draw/within_class_ratio": (
            "of labelled data: the same within the classes, with its floor",
            "ratio",
            "near 1",
        ),
    }
    BY: ClassVar[Ways] = {"draw/variance_ratio": "ratio", "draw/within_class_ratio": "ratio"}

    def prepare(self, dataset: Dataset, real: Samples, n: int, rng: np.random.Generator) -> None:
        """Hold the variances of n held-out samples (or of all, if fewer), and the floors of as many
        real ones.
        """
        pool = real_pool(dataset, real, 2 * n, rng)
        self._like, self.n_ = pool.samples.take(slice(0, 1)), min(n, pool.n_held_out)
        self._few = too_few(self.n_, pool.n_held_out)
        self._has_axis = traits_of(dataset).replicates is not None
        x, y = pool.samples.x, pool.samples.y
        self.shares_: dict[int, float] = {}
        self._labelled = y is not None
        if y is not None:
            classes, counts = np.unique(y[: self.n_], return_counts=True)
            known = counts > 1
            shares = counts[known] / counts[known].sum()
            self.shares_ = dict(zip(classes[known].tolist(), shares.tolist(), strict=True))
        held_out = slice(0, self.n_)
        self.total_ = 0.0 if self._few else float(self._total(x[held_out]).mean())
        self.within_ = self._held_within(x[held_out], y)
        self.floors_ = self._floors(x, y, rng)

    def __call__(
        self, synthetic: Samples, generator: Generator, around: Around, rng: np.random.Generator
    ) -> dict[str, Value | Number]:
        drawn = first(synthetic, self.n_)
        reason = refusal(synthetic, self._like) or self._few
        if not reason and len(drawn) < self.n_:
            reason = f"{len(synthetic)} synthetic samples, {self.n_} are compared"
        if not reason and not np.isfinite(drawn.x).all():
            reason = "some samples are not finite"
        answer: dict[str, Value | Number] = {}
        values = {"variance_ratio": Undefined(reason) if reason else self._of_total(drawn.x)}
        if self._labelled:
            within = Undefined(reason) if reason else self._of_classes(drawn.x, drawn.y)
            values["within_class_ratio"] = within
        for name, value in values.items():
            answer[f"draw/{name}"] = Value(value, *self.floors_[name], self.n_)
        return answer

    # ---- one set against the held-out one ----

    def _of_total(self, x: np.ndarray) -> Number:
        if not self.total_:
            return Undefined(CONSTANT)
        return defined((self._total(x) / self.total_).squeeze(), "the variance is not finite")

    def _of_classes(self, x: np.ndarray, y: np.ndarray | None) -> Number:
        if y is None:
            return Undefined("the synthetic samples have no labels")
        if not self.shares_:
            return Undefined("no class has two held-out samples")
        if not self.within_:
            return Undefined(CONSTANT_WITHIN)
        within = self._within(x, y)
        if isinstance(within, Undefined):
            return within
        return defined((within / self.within_).squeeze(), "the variance is not finite")

    def _total(self, x: np.ndarray) -> np.ndarray:
        """Variance of samples [n, ...], summed over the coordinates: [replicates], or [1]."""
        n = len(x)
        x = x.reshape(n, x.shape[1] if self._has_axis else 1, -1)  # [n, replicates, d]
        axis = 1 if x.shape[1] > 1 else 2
        pieces = np.array_split(x, max(1, min(x.shape[axis], x.size // AT_ONCE)), axis=axis)
        each = [_variance(piece) for piece in pieces]
        return np.concatenate(each) if axis == 1 else np.sum(each, axis=0)

    def _within(self, x: np.ndarray, y: np.ndarray) -> np.ndarray | Undefined:
        """The mean of the classes' variances, [replicates] or [1]."""
        each = []
        for label, share in self.shares_.items():
            own = x[y == label]
            if len(own) < 2:
                return Undefined(f"class {label} has {len(own)} samples; at least 2 are needed")
            each.append(share * self._total(own))
        within: np.ndarray = np.sum(each, axis=0)
        return within

    # ---- the real side ----

    def _held_within(self, x: np.ndarray, y: np.ndarray | None) -> float:
        """The held-out samples' variance within the classes; 0 where there is none."""
        if y is None or not self.shares_:
            return 0.0
        within = self._within(x, y[: len(x)])
        assert not isinstance(within, Undefined), "every class has two of them"
        return float(within.mean())

    def _floors(
        self, x: np.ndarray, y: np.ndarray | None, rng: np.random.Generator
    ) -> dict[str, tuple[Number, Number]]:
        """Mean and spread of each ratio between disjoint real sets of n samples."""
        own = x.shape[1] if self._has_axis and y is None else 1
        pairs = 0 if self._few else -(-SPLITS // own)
        found: dict[str, list[np.ndarray]] = {"variance_ratio": [], "within_class_ratio": []}
        for a, b in disjoint_pairs(len(x), self.n_, pairs, rng):
            with np.errstate(all="ignore"):  # of constant data
                found["variance_ratio"].append(self._total(x[a]) / self._total(x[b]).mean())
                if y is not None and self.shares_:
                    one, other = self._within(x[a], y[a]), self._within(x[b], y[b])
                    if not isinstance(one, Undefined) and not isinstance(other, Undefined):
                        found["within_class_ratio"].append(one / other.mean())
        reason = self._few or f"{len(x)} real samples cannot give two sets of {self.n_}"
        return {name: mean_and_spread(np.array(own), reason) for name, own in found.items()}


def _variance(x: np.ndarray) -> np.ndarray:
    """Of samples [n, replicates, d], summed over the coordinates: [replicates]."""
    n = len(x)
    if x.shape[1] > 1 and x.strides[1] > x.strides[0]:  # as closed forms draw: a third of the time
        rows = x.transpose(1, 0, 2).astype(float, copy=False)  # [replicates, n, d]
        away = (rows - np.ones((1, n)) @ rows / n).reshape(len(rows), -1)
        squares: np.ndarray = np.einsum("ri,ri->r", away, away)
        return squares / (n - 1)
    total: np.ndarray = x.var(axis=0, ddof=1, dtype=float).sum(-1)
    return total
