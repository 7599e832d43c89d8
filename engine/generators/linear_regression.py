"""Ordinary least squares with label noise put back: Kazdan 2410.16713, Gerstgrasser 2404.01413, Yi
2510.16657.

The noise's standard deviation is given and the same in every generation, not estimated.  With the
same covariates in every generation the error is known exactly (analysis/theory.py); with fresh ones
not quite.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine.generators._normals import add_noise, normals
from engine.parts import Finding, NonNegativeFloat, Params
from engine.samples import Samples


@dataclass(frozen=True, eq=False)
class _Design:
    """X'X [replicates, d, d] of some covariates; the pseudo-inverse also serves n <= d (minimum
    norm).
    """

    gram: np.ndarray

    @cached_property
    def inverse(self) -> np.ndarray:
        if self.gram.shape[1] == 1:
            return 1 / self.gram
        return np.linalg.pinv(self.gram, rcond=1e-13, hermitian=True)


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sufficient statistics of `times` sets with one and the same design: X'y [replicates, d] is
    their sum.
    """

    design: _Design
    times: int
    moment: np.ndarray


class LinearRegression:
    """y = x'weights_ + noise, weights_ [replicates, d].

    covariates  of synthetic samples: same, those of the real set, or fresh, drawn from N(0, I), as
                they also are where nobody hands any in.
    noise       standard deviation of the label noise put back, in the units of the responses.
    """

    TINY: ClassVar[Params] = {}
    ACCEPTS = ("regression",)
    KNOWS = ("weights",)
    CONDITIONAL = True
    DRAWING = ("covariates", "noise")
    COST = "tiny"

    def __init__(
        self, *, covariates: Literal["same", "fresh"] = "same", noise: NonNegativeFloat = 1.0
    ) -> None:
        self.covariates, self.noise = covariates, noise

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        sums = _pooled(data)
        self.weights_ = (sums.design.inverse @ (sums.moment / sums.times)[:, :, None])[
            :, :, 0
        ]  # [replicates, d]
        if not np.isfinite(self.weights_).all():
            raise Finding("diverged", "the fitted weights are not finite")
        return {}

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        """n pairs; labels are covariates [n, replicates, d].

        bias multiplies the variance of the label noise.
        """
        given = labels if self.covariates == "same" else None
        x = (
            normals((n, *self.weights_.shape), rng) if given is None else given
        )  # [n, replicates, d]
        y = self.predict(x)
        add_noise(y, self.noise if bias is None else self.noise * float(np.sqrt(bias)), rng)
        return Samples(x, y)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Noiseless responses [n, replicates] at covariates [n, replicates, d]."""
        if x.shape[2] == 1:
            return x[:, :, 0] * self.weights_[:, 0]
        return np.ascontiguousarray((x.transpose(1, 0, 2) @ self.weights_[:, :, None])[:, :, 0].T)

    def save(self, folder: Path) -> None:
        np.savez(folder / "linear_regression.npz", weights=self.weights_)

    def load(self, folder: Path) -> None:
        with np.load(folder / "linear_regression.npz", allow_pickle=False) as saved:
            self.weights_ = saved["weights"]


def _pooled(data: Samples) -> _Sums:
    """Statistics of all blocks together; each running total is kept with the newest block it
    includes.
    """
    first, *rest = data.blocks or (data,)
    total = _sums(first)
    for block in rest:
        before, after = block.memo.get("linear_regression_pool", (None, None))
        if before is not total:
            after = _merge(total, _sums(block))
            block.memo["linear_regression_pool"] = (total, after)
        total = after
    return total


def _merge(a: _Sums, b: _Sums) -> _Sums:
    if a.design is b.design or np.array_equal(a.design.gram, b.design.gram):
        return _Sums(a.design, a.times + b.times, a.moment + b.moment)
    return _Sums(_Design(a.times * a.design.gram + b.times * b.design.gram), 1, a.moment + b.moment)


def _sums(block: Samples) -> _Sums:
    if "linear_regression" not in block.memo:
        block.memo["linear_regression"] = _Sums(_design(block.x), 1, _cross(block.x, block.y))
    found: _Sums = block.memo["linear_regression"]
    return found


def _cross(x: np.ndarray, y: np.ndarray | None) -> np.ndarray:
    """X'y [replicates, d]."""
    assert y is not None, "a regression needs responses"
    if x.shape[2] == 1:
        values: np.ndarray = np.einsum("nr,nr->r", x[:, :, 0], y)[:, None]
        return values
    values = (np.ascontiguousarray(y.T)[:, None, :] @ x.transpose(1, 0, 2))[:, 0, :]
    return values


_known: list[
    tuple[weakref.ref[np.ndarray], _Design]
] = []  # the covariates met last, and what was worked out for them


def _design(x: np.ndarray) -> _Design:
    """X'X of covariates [n, replicates, d], found again when these are the covariates met last (a
    policy that re-uses them).
    """
    before, design = (_known[0][0](), _known[0][1]) if _known else (None, None)
    if design is None or before is None or not (before is x or np.array_equal(before, x)):
        rows = np.ascontiguousarray(x.transpose(1, 0, 2))  # [replicates, n, d]
        design = _Design(rows.transpose(0, 2, 1) @ rows)
    _known[:] = [(weakref.ref(x), design)]
    return design
