"""Latent alignment (Zverev et al. 2512.11867): do generated samples lie where real ones do, in
features of dimension d?

separability   AUC of a linear two-sample classifier (Fisher's discriminant, its covariance shrunk
               as Ledoit and Wolf 2004 do), cross-fitted: 0.5 where nobody can tell them apart, 1
               where all can.  Of two normals with one covariance S and means m apart it tends to
               Phi(sqrt(m' S^-1 m / 2)) from below, as n grows
centroid       distance of the means over the root mean square distance of real samples from theirs
covariance     Frobenius distance of the covariances over the Frobenius norm of the real one

All are pure numbers, and the last two are zero only where n is infinite: read each beside the same
between real sets.  Not a Frechet distance, which cannot say whether two clouds overlap.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold

FOLDS = 5
LEAST = 2 * FOLDS  # samples on each side


def separability(real: np.ndarray, generated: np.ndarray) -> tuple[float, float, float]:
    """AUC of features [n, d] and [m, d], n and m >= LEAST, with its 95 % interval on the held-out
    folds (Hanley and McNeil 1982); nan where squares of the features overflow.
    """
    x = np.concatenate([real, generated])
    y = np.repeat([0, 1], [len(real), len(generated)])
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(np.square(x - x.mean(0)).sum()):
            return np.nan, np.nan, np.nan
    score = np.empty(len(y))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(x, y):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x[train], y[train])
        raw = model.decision_function(x[test])
        score[test] = rankdata(raw) / len(
            raw
        )  # ranks within the fold: scores of two models are not on one scale
    return _auc(score, y)


def _auc(score: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    m, n = int((y == 1).sum()), int((y == 0).sum())
    auc = (rankdata(score)[y == 1].sum() - m * (m + 1) / 2) / (m * n)
    one, two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + (m - 1) * (one - auc**2) + (n - 1) * (two - auc**2)) / (m * n)
    half = norm.ppf(0.975) * np.sqrt(max(variance, 0.0))
    return float(auc), float(max(auc - half, 0.0)), float(min(auc + half, 1.0))


def centroid(real: np.ndarray, generated: np.ndarray) -> float:
    """Of features [n, d] and [m, d]; nan where the real ones do not vary."""
    with np.errstate(all="ignore"):
        scale = np.sqrt(np.square(real - real.mean(0)).sum(1).mean())
        return float(np.linalg.norm(generated.mean(0) - real.mean(0)) / scale)


def covariance(real: np.ndarray, generated: np.ndarray) -> float:
    """Of features [n, d] and [m, d], divisors n - 1; nan where the real ones do not vary."""
    with np.errstate(all="ignore"):
        a, b = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
        return float(np.linalg.norm(np.atleast_2d(b - a)) / np.linalg.norm(np.atleast_2d(a)))
