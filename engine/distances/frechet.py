"""The Frechet distance between Gaussians fitted to two feature sets (Heusel et al. 2017; the
Bures-Wasserstein distance).

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1^1/2 C2 C1^1/2)^1/2            C with divisor n - 1, as
    np.cov and the references

No matrix root is taken.  With centred, scaled features A [n1, d], B [n2, d] (A'A = C1, B'B = C2)
                          the last trace is the sum of
the singular values of A B' [n1, n2]: the form used while n <= d, exact to rounding.  For n > d it
is the sum of the roots of the eigenvalues of L' C2 L with L L' = C1 kept between calls.  Where
covariances are singular although n > d, every null direction may carry about 1e-8 of the trace; the
usual general eigensolvers carry 1e-6 and more (-8e-4 at d = 2,048, n = 500).

Everything is float64 and batched over leading axes (classes, replicates).  Non-finite or
overflowing input gives nan, never a number: the callers turn it into Undefined.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg.lapack import dsygst

# a distance below zero by less than this share of tr C1 + tr C2 is rounding, and zero; below that
# it is nan
TOLERANCE = 1e-6
EIGENVALUE_TOLERANCE = 1e-9  # the same for an eigenvalue, as a share of the largest
# from this d on one product L' C L goes through LAPACK's blocked dsygst: a third of the flops
BLOCKED = 128


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of one batch of feature sets; exactly one of `centred` and `covariance`
    is there.

    `valid` is False where a set has fewer than two samples or is not finite; such members count as
    zeros and end as nan.
    """

    mean: np.ndarray  # [..., d]
    valid: np.ndarray  # [...] bool
    trace: np.ndarray  # [...] of the covariance
    centred: np.ndarray | None = None  # [..., n, d] features minus mean over sqrt(n - 1), n <= d
    covariance: np.ndarray | None = None  # [..., d, d]

    @cached_property
    def factor(self) -> tuple[np.ndarray, bool]:
        """L [..., d, d] with L L' = C, and whether it is triangular (a Cholesky factor) or V w^1/2
        of a singular C.
        """
        assert self.covariance is not None
        try:
            return np.linalg.cholesky(self.covariance), True
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(self.covariance)
            return vectors * np.sqrt(np.clip(values, 0, None))[..., None, :], False

    @property
    def rows(self) -> np.ndarray:
        """A [..., n or d, d] with A'A = C."""
        return self.centred if self.centred is not None else np.swapaxes(self.factor[0], -1, -2)


def moments(x: np.ndarray, counts: np.ndarray | None = None) -> Moments:
    """Moments of feature sets x [..., n, d]; counts [...] when only the first so many rows of each
    set are data.
    """
    x = np.asarray(x, dtype=np.float64)
    n = np.full(x.shape[:-2], x.shape[-2]) if counts is None else np.asarray(counts)  # [...]
    divisor = np.maximum(n - 1, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        mean, centred = _centred(x, n, padded=counts is not None)
        if x.shape[-2] > x.shape[-1]:
            covariance = np.swapaxes(centred, -1, -2) @ centred
            covariance /= divisor[..., None, None]
            return _checked(
                mean, n, np.trace(covariance, axis1=-2, axis2=-1), covariance=covariance
            )
        centred /= np.sqrt(divisor)[..., None, None]
        return _checked(mean, n, np.einsum("...ij,...ij->...", centred, centred), centred=centred)


def _centred(x: np.ndarray, n: np.ndarray, *, padded: bool) -> tuple[np.ndarray, np.ndarray]:
    """Means [..., d] and x minus them [..., n, d]; rows beyond n are zero."""
    real = (np.arange(x.shape[-2]) < n[..., None])[..., None] if padded else True  # [..., n, 1]
    mean = x.sum(-2, where=real) / np.maximum(n, 1)[..., None]
    centred = x - mean[..., None, :]
    return mean, np.where(real, centred, 0.0) if padded else centred


def _checked(mean: np.ndarray, n: np.ndarray, trace: np.ndarray, **spread: np.ndarray) -> Moments:
    """Members that have no moments become zeros, so that LAPACK never sees a nan (it may hang on
    one).
    """
    valid = (n >= 2) & np.isfinite(trace) & (trace < 1e300) & np.isfinite(mean).all(-1)
    if not valid.all():
        mean, trace = np.where(valid[..., None], mean, 0.0), np.where(valid, trace, 0.0)
        spread = {
            name: np.where(valid[..., None, None], value, 0.0) for name, value in spread.items()
        }
    return Moments(mean, valid, trace, **spread)


def moments_of(features: np.ndarray) -> Moments:
    """Moments of features [n, d], or [n, replicates, d] with one member per replicate."""
    return moments(features if features.ndim == 2 else np.moveaxis(features, 0, -2))


def moments_by_group(groups: Sequence[np.ndarray]) -> Moments:
    """Moments of groups of features [n_g, d] or [n_g, replicates, d], as one batch [groups] or
    [groups, replicates].
    """
    sizes = np.array([len(g) for g in groups])
    if (sizes == sizes[0]).all():
        stacked = np.stack(groups)  # [groups, n, d] or [groups, n, replicates, d]
        return moments(stacked if stacked.ndim == 3 else np.moveaxis(stacked, 1, -2))
    padded = np.zeros((len(groups), sizes.max(), *groups[0].shape[1:]))
    for place, group in zip(padded, groups, strict=True):
        place[: len(group)] = group
    padded = padded if padded.ndim == 3 else np.moveaxis(padded, 1, -2)
    return moments(
        padded, np.broadcast_to(sizes.reshape(-1, *[1] * (padded.ndim - 3)), padded.shape[:-2])
    )


def frechet(a: Moments, b: Moments) -> np.ndarray:
    """Frechet distances [...] of two batches, broadcast against each other; keep `a` (the real
    side) between calls.
    """
    valid = a.valid & b.valid
    with np.errstate(over="ignore", invalid="ignore"):
        apart = ((a.mean - b.mean) ** 2).sum(-1)
        spread = a.trace + b.trace
        distance = apart + spread - 2 * root_trace(a, b)
    distance = np.where((distance < 0) & (distance >= -TOLERANCE * spread), 0.0, distance)
    return np.where(valid & (distance >= 0) & np.isfinite(distance), distance, np.nan)


def root_trace(a: Moments, b: Moments) -> np.ndarray:
    """tr (C1^1/2 C2 C1^1/2)^1/2 [...]; nan where rounding has spoiled it."""
    if a.covariance is None or b.covariance is None:
        cross = a.rows @ np.swapaxes(b.rows, -1, -2)  # [..., n1, n2]
        roots = _guarded(cross, lambda m: np.linalg.svd(m, compute_uv=False))  # [..., min(n1, n2)]
        return np.asarray(roots.sum(-1))
    values = _guarded(_product(a, b.covariance), np.linalg.eigvalsh)  # [..., d]
    largest = np.abs(values).max(-1)
    total = np.sqrt(np.clip(values, 0, None)).sum(-1)
    return np.where(values.min(-1) >= -EIGENVALUE_TOLERANCE * largest, total, np.nan)


def _product(a: Moments, covariance: np.ndarray) -> np.ndarray:
    """L' C2 L [..., d, d]; only its lower triangle is meant to be read."""
    factor, triangular = a.factor
    if triangular and factor.ndim == covariance.ndim == 2 and len(factor) >= BLOCKED:
        product, info = dsygst(covariance, factor, itype=2, lower=1)
        assert info == 0, f"dsygst: argument {-info}"
    else:
        product = np.swapaxes(factor, -1, -2) @ covariance @ factor
    return np.asarray(product)


def _guarded(matrices: np.ndarray, decompose: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """decompose(matrices) with nan for members that are not finite or do not converge."""
    finite = np.isfinite(matrices).all((-1, -2))  # [...]
    try:
        values = decompose(
            np.where(finite[..., None, None], matrices, 0.0) if not finite.all() else matrices
        )
    except np.linalg.LinAlgError:
        return np.full((*matrices.shape[:-2], min(matrices.shape[-2:])), np.nan)
    return np.where(finite[..., None], values, np.nan)
