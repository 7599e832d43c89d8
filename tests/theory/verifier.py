"""One round and the long run of verified regression chains (Yi 2510.16657), and the thresholds of
Feng and Bertrand, for the tests only.

Conventions are those of `analysis.theory.verifier`.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from analysis.theory.verifier import CODE_SLACK, Number, truncated


def verified_mean(a: Number, centre: float, reach: float) -> Number:
    """T(a): the next estimate with infinitely many kept labels;
    reach R is in units of the noise.
    """
    return a + truncated(centre - reach - a, centre + reach - a).mean


def acceptance(a: Number, centre: float, reach: float) -> Number:
    """Share of labels drawn about a that the verifier keeps."""
    return truncated(centre - reach - a, centre + reach - a).mass


def contraction(reach: Number) -> Number:
    """rho(R), the slope of T at the centre: how fast the chain forgets; 1 without a verifier."""
    return 1 - 2 * reach * norm.pdf(reach) / (2 * norm.cdf(reach) - 1)


def long_run_error(bias: float, reach: float, n_kept: int, d: int) -> float:
    """E |theta_t - theta*|^2 as t -> inf, n_kept labels per direction: bias^2 + d rho / (n_kept (1
    - rho^2)).
    """
    rho = contraction(reach)
    return float(bias**2 + d * rho / (n_kept * (1 - rho**2)))


def long_run_bound(rho: float, first: float, n_kept: list[int], d: int) -> float:
    """Theorem 4.1: bound on E |theta_k - centre|^2 from its value `first` at 0; n_kept[j] labels
    feed round j + 1.
    """
    k = len(n_kept)
    noise = sum(rho ** (2 * (k - j) - 1) / n for j, n in enumerate(n_kept))
    return float(rho ** (2 * k) * first + d * noise)


def unverified_error(singular_values: np.ndarray, n_kept: int, t: int) -> float:
    """The same chain that keeps everything: the real-data error plus d t / n_kept."""
    return real_error(singular_values) + len(singular_values) * t / n_kept


def real_error(singular_values: np.ndarray) -> float:
    """E |theta_0 - theta*|^2 of least squares on the real design X0: sum 1 / mu_j^2."""
    return float((1 / np.square(singular_values)).sum())


def first_round_error(
    x0: np.ndarray, offset: np.ndarray, r: float, n_kept: float, *, slack: float = CODE_SLACK
) -> float:
    """Theorem 3.1: E |theta_1 - theta*|^2 to O(n_real^(-4/3)); offset = theta_c - theta* [d], noise
    1.

    The squared mean of the truncation is a bias of its own, outside the bracket with 1 / mu_j^2;
    the third moment is the central one (one version of the authors' has -1/2 of it).
    """
    _, mu, v = np.linalg.svd(x0, full_matrices=False)
    s, reach = v @ offset, r + slack
    kept = truncated(s - reach, s + reach)
    left = (kept.variance**2 + kept.mean * kept.third) / mu**2
    return float((kept.mean**2 + kept.variance / n_kept + left).sum())


def one_round_error(
    start_variance: float, centre: float, reach: float, n_kept: float = np.inf
) -> float:
    """E a_1^2 from a_0 ~ N(0, start_variance), exactly, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    a = np.sqrt(start_variance) * nodes
    kept = truncated(centre - reach - a, centre + reach - a)
    return float(
        (weights * (np.square(a + kept.mean) + kept.variance / n_kept)).sum() / weights.sum()
    )


def label_noise_threshold(keep_correct: float, keep_wrong: float) -> float:
    """Feng 2406.07515: the share of wrong labels below which pruned training recovers everything, 1
    / (1 + psi/phi).
    """
    return 1 / (1 + keep_wrong / keep_correct)


def retraining_is_stable(
    odds: float, *, lipschitz: float, first_gap: float, concavity: float
) -> bool:
    """Bertrand 2310.00429, Theorem 1 (sufficient, not sharp): odds (1 + L eps / alpha) < 1/2, odds
    = n_synthetic / n_real.
    """
    return odds * (1 + lipschitz * first_gap / concavity) < 0.5
