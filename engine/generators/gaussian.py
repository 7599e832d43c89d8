"""A normal distribution fitted by its moments: the chain of Kazdan 2410.16713 (divisor n) and MAD,
Shumailov (n-1).

With divisor n the fitted variance shrinks by 1 - 1/n per generation and the mean's error saturates;
with n-1 the variance stays right on average while its typical value still goes to zero
(analysis/theory.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine.generators._normals import normals
from engine.parts import Finding, Params
from engine.samples import Samples

# up to this many points per dimension the centred points are the factor: no root, and no trouble
# when it is singular
FEW = 2


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sufficient statistics of n points: mean [replicates, d] and scatter about it [replicates, d,
    d].
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray


class Gaussian:
    """N(mean_, covariance_), one per replicate; samples as mean_ + z factor_ with factor_' factor_
    = covariance_.

    mean_ [replicates, d], covariance_ [replicates, d, d], factor_ [replicates, k, d]: k = d, or n
    for few points. bias = sampling_bias lambda of MAD: draws N(mean, lambda covariance).

    divisor  of the covariance's sum of squares: n (maximum likelihood) or n-1 (unbiased; needs two
             points).
    """

    TINY: ClassVar[Params] = {}
    ACCEPTS = ("points",)
    KNOWS = ("density", "moments")
    COST = "tiny"

    def __init__(self, *, divisor: Literal["n", "n-1"] = "n") -> None:
        self.divisor = divisor

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        if self.divisor == "n-1" and len(data) < 2:
            raise ValueError(
                "gaussian: divisor 'n-1' needs at least 2 training points, got 1; use divisor 'n'"
            )
        sums = _pooled(data)
        count = sums.n - (self.divisor == "n-1")
        self.mean_, self.covariance_ = sums.mean, sums.scatter / count
        if not np.isfinite(self.covariance_).all():
            raise Finding("diverged", "the fitted covariance is not finite")
        if not self.covariance_.any():
            raise Finding(
                "constant", "all training points are equal: the fitted covariance is zero"
            )
        few = self.mean_.shape[1] > 1 and sums.n <= FEW * self.mean_.shape[1]
        self.factor_ = (
            _rows_about(data.x, self.mean_) / np.sqrt(count) if few else _root(self.covariance_)
        )
        return {}

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        factor = self.factor_ if bias is None else self.factor_ * np.sqrt(bias)
        replicates, k, d = factor.shape
        if d == 1:
            x = normals((n, replicates), rng)
            x *= factor[:, 0, 0]
            x += self.mean_[:, 0]
            return Samples(x[:, :, None])
        rows = normals((replicates, n, k), rng) @ factor  # [replicates, n, d]
        rows += self.mean_[:, None, :]
        return Samples(rows.transpose(1, 0, 2))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Of points [n, replicates, d]: [n, replicates]; -inf where the covariance is singular."""
        values, vectors = np.linalg.eigh(self.covariance_)  # [replicates, d], [replicates, d, d]
        d = values.shape[1]
        regular = values[:, 0] > d * np.finfo(float).eps * values[:, -1]
        values = np.where(regular[:, None], values, 1.0)
        squares = (np.square(_rows_about(x, self.mean_) @ vectors) / values[:, None, :]).sum(
            2
        )  # [replicates, n]
        log_p = -0.5 * (squares + np.log(2 * np.pi * values).sum(1)[:, None])
        return np.where(regular[:, None], log_p, -np.inf).T

    def save(self, folder: Path) -> None:
        np.savez(
            folder / "gaussian.npz",
            mean=self.mean_,
            covariance=self.covariance_,
            factor=self.factor_,
        )

    def load(self, folder: Path) -> None:
        with np.load(folder / "gaussian.npz", allow_pickle=False) as saved:
            self.mean_, self.covariance_, self.factor_ = (
                saved["mean"],
                saved["covariance"],
                saved["factor"],
            )


def _root(covariance: np.ndarray) -> np.ndarray:
    """F [replicates, d, d] with F'F = covariance: Cholesky, or by eigenvalues when a matrix is
    singular in float64.
    """
    if covariance.shape[1] == 1:
        array: np.ndarray = np.sqrt(covariance)
        return array
    try:
        return np.linalg.cholesky(covariance).transpose(0, 2, 1)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        array = np.sqrt(np.maximum(values, 0))[:, :, None] * vectors.transpose(0, 2, 1)
        return array


def _rows_about(x: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Points x [n, replicates, d] less the mean, replicate by replicate: [replicates, n, d],
    contiguous.
    """
    values: np.ndarray = np.ascontiguousarray(x.transpose(1, 0, 2)) - mean[:, None, :]
    return values


def _pooled(data: Samples) -> _Sums:
    """Statistics of all blocks together; each running total is kept with the newest block it
    includes.
    """
    first, *rest = data.blocks or (data,)
    total = _sums(first)
    for block in rest:
        before, after = block.memo.get("gaussian_pool", (None, None))
        if before is not total:
            after = _merge(total, _sums(block))
            block.memo["gaussian_pool"] = (total, after)
        total = after
    return total


def _sums(block: Samples) -> _Sums:
    if "gaussian" not in block.memo:
        block.memo["gaussian"] = (
            _sums_of_line(block.x[:, :, 0]) if block.x.shape[2] == 1 else _sums_of_rows(block.x)
        )
    found: _Sums = block.memo["gaussian"]
    return found


def _sums_of_line(x: np.ndarray) -> _Sums:
    """d = 1, x [n, replicates]."""
    mean = x.mean(0)
    away = x - mean
    return _Sums(len(x), mean[:, None], np.einsum("nr,nr->r", away, away)[:, None, None])


def _sums_of_rows(x: np.ndarray) -> _Sums:
    """d > 1, x [n, replicates, d]."""
    rows = np.ascontiguousarray(x.transpose(1, 0, 2))  # [replicates, n, d]
    mean = np.full(len(x), 1 / len(x)) @ rows  # [replicates, d]; ten times as fast as rows.mean(1)
    away = rows - mean[:, None, :]
    return _Sums(len(x), mean, away.transpose(0, 2, 1) @ away)


def _merge(a: _Sums, b: _Sums) -> _Sums:
    """Chan, Golub and LeVeque's update: no difference of large squares."""
    n, gap = a.n + b.n, b.mean - a.mean
    between = (a.n * b.n / n) * gap[:, :, None] * gap[:, None, :]
    return _Sums(n, a.mean + gap * (b.n / n), a.scatter + b.scatter + between)
