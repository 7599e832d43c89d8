"""All distances between the classes of two labelled sets, each class as a Gaussian: the label part
of dataset distances.

    W2^2(N1, N2) = |m1 - m2|^2 + tr C1 + tr C2 - 2 |R1 R2'|_*       R'R = C (divisor n - 1), |.|_*
    the sum of singular values

The same number as `frechet`, arranged for tables: no covariance is formed, so that a class of n < d
samples costs an n x n problem per pair and carries no noise of a null space, where implementations
by matrix roots give nan or cost d^3 per pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.distances.frechet import TOLERANCE


@dataclass(frozen=True, eq=False)
class ClassGaussians:
    """Mean and root covariance of every class of one set; a class of one sample is a point, of
    covariance zero.
    """

    mean: np.ndarray  # [classes, d]
    trace: np.ndarray  # [classes] of the covariances
    roots: np.ndarray  # [ranks, d]: one class's R [min(n, d), d] below the other's
    edges: np.ndarray  # [classes + 1]: where each R begins


def class_gaussians(x: np.ndarray, y: np.ndarray) -> ClassGaussians:
    """Of the points x [n, d] by their classes y [n], numbered 0, 1, ... with none left out."""
    groups = [x[y == k] for k in range(int(y.max()) + 1)]
    roots = [_root(group) for group in groups]
    trace = np.array([np.square(root).sum() for root in roots])
    edges = np.cumsum([0, *(len(root) for root in roots)])
    return ClassGaussians(
        np.array([group.mean(0) for group in groups]), trace, np.concatenate(roots), edges
    )


def _root(group: np.ndarray) -> np.ndarray:
    """R [min(n, d), d] with R'R the covariance of the points [n, d]."""
    centred = (group - group.mean(0)) / np.sqrt(max(len(group) - 1, 1))  # [n, d]
    tall = len(group) > group.shape[1] and np.isfinite(centred).all()
    return np.asarray(np.linalg.qr(centred, mode="r")) if tall else centred


def label_distances(a: ClassGaussians, b: ClassGaussians) -> np.ndarray:
    """W2^2 [classes of a, classes of b]; keep `a` (the real side) between calls.

    nan where it is not finite.
    """
    apart = np.square(a.mean[:, None] - b.mean).sum(-1)
    spread = a.trace[:, None] + b.trace
    common = np.empty_like(spread)
    for i in range(len(a.mean)):
        cross = a.roots[a.edges[i] : a.edges[i + 1]] @ b.roots.T  # [rank of i, all ranks of b]
        common[i] = [_nuclear(cross[:, b.edges[j] : b.edges[j + 1]]) for j in range(len(b.mean))]
    distance = spread - 2 * common
    distance = apart + np.where(
        np.abs(distance) <= TOLERANCE**2 * spread, 0.0, distance
    )  # equal covariances: exactly zero
    return np.where(np.isfinite(distance), distance, np.nan)


def _nuclear(matrix: np.ndarray) -> float:
    """The sum of its singular values."""
    return (
        float(np.linalg.svd(matrix, compute_uv=False).sum())
        if np.isfinite(matrix).all()
        else np.nan
    )
