"""Bounds of discrete chains (Seddik 2404.05090) and exact curation (Ferbach 2407.09499), for the
tests only.

Conventions are those of `analysis.theory.discrete`; the equations are Seddik's.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from analysis.theory.discrete import augment_sum_p2
from analysis.theory.gaussian import Number, Time, along

C0 = np.exp(3) / (2 * np.pi)
C1 = 6 * np.e / np.pi**1.5


def collapse_probability(n: int, t: Time, truth: float, support: int) -> tuple[Number, Number]:
    """Eq. (7): (lower, upper) bound on the probability that model t is a Dirac mass under replace;
    support of the truth.
    """
    left = (1 - 1 / n) ** (np.asarray(t) + 1) * (1 - truth)
    return 1 - n * left, 1 - left / (1 - 1 / support)


def collapse_fits_bounds(n: int, truth: float, support: int) -> tuple[float, float]:
    """Eq. (8): (lower, upper) bound on the expected number of fits until a Dirac mass; the upper
    one is far off.
    """
    return 1 + (1 - truth) / (1 - 1 / support) * (n - 1), 1 + (1 - truth) * n * (n - 1)


def collapse_fits(n: int, p: np.ndarray) -> float:
    """Expected number of fits until a Dirac mass for large n: -2 n sum (1 - p_i) log(1 - p_i).

    The generation is one less.
    """
    q = 1 - np.asarray(p)
    return float(-2 * n * (q * np.log(q, out=np.zeros_like(q), where=q > 0)).sum())


def survivor_law(p: np.ndarray) -> np.ndarray:
    """Proposition 1: token i is the one left with probability p_i."""
    return np.asarray(p) / np.sum(p)


def augment_distance(n_real: int, n_synthetic: int, t: Time, truth: float) -> Number:
    """E |p_t - p_0|_2^2, the squared distance to model 0 (the real set's frequencies), under
    augment.
    """
    a, first = n_synthetic / (n_real + n_synthetic), augment_sum_p2(n_real, n_synthetic, 0, truth)
    return along(
        t, 0.0, lambda k, gap: a**2 * ((1 - 1 / n_synthetic) * gap + (1 - first) / n_synthetic)
    )


def l1_growth(n: int, s: int) -> float:
    """G_n(s) of Theorem 3 for s tokens; its first branch is reconstructed."""
    with np.errstate(over="ignore"):  # then no bound at all: inf
        if C0 * n / np.e + 2 <= s:
            return float(C1 * s * np.exp(C0 * n / (2 * np.e)))
        if C0 * n / 4 + 2 <= s:
            return float(C1 * s * np.exp(s / 2 * np.log(C0 * n / s)))
        return float(np.exp2(s)) - 2


def augment_l1_bound(n_real: int, n_synthetic: int, s: int) -> float:
    """Theorem 3: E |p_t - p_0|_1 stays below this for every t >= 1 under augment with s tokens."""
    return np.sqrt(np.pi * n_synthetic / 2) / n_real * l1_growth(n_synthetic, s)


def augment_admissible(n_real: int, s: int, gap: float) -> float:
    """Eq. (11): with at most this many synthetic tokens, E |p_t - p_0|_1 < gap; 0 or less where
    none is safe.
    """
    return (
        2 * np.pi / np.e**2 * min(s - 2, np.log(np.sqrt(2 * np.pi) * n_real * gap / (6 * np.e * s)))
    )


def curate(p: np.ndarray, reward: np.ndarray, k: int) -> np.ndarray:
    """p H^K: the law [s] of the winner among k draws, P(x_i) = e^r(x_i) / sum_j e^r(x_j); sums over
    all s ** k tuples.
    """
    p, weight = (
        np.asarray(p) / np.sum(p),
        np.exp(reward),
    )  # normalised: rounding would grow like its k-th power
    tuples = np.array(list(product(range(len(p)), repeat=k)))  # [s ** k, k]
    chance = (
        p[tuples].prod(1)[:, None] * weight[tuples] / weight[tuples].sum(1, keepdims=True)
    )  # [s ** k, k]
    return np.bincount(tuples.ravel(), weights=chance.ravel(), minlength=len(p))


def curate_with_reference(
    p: np.ndarray, reference: np.ndarray, reward: np.ndarray, k: int, curated_ratio: float
) -> np.ndarray:
    """One step where curated samples have weight curated_ratio / (1 + curated_ratio) beside
    reference data.
    """
    weight = curated_ratio / (1 + curated_ratio)
    return (1 - weight) * np.asarray(reference) + weight * curate(p, reward, k)


def curate_reward_bound(p: np.ndarray, reward: np.ndarray, k: int) -> float:
    """Lemma 2.2: E e^r after one step is at least this."""
    weight = np.exp(reward)
    mean = np.dot(p, weight)
    return float(mean + (k - 1) / k * (np.dot(p, weight**2) - mean**2) / weight.max())


def curate_kl_bound(k: int, curated_ratio: float) -> float:
    """Theorem 2.4: KL(p_t || reference) never exceeds this, for curated_ratio < 1 / (k - 1)."""
    return float(-np.log(1 - curated_ratio * (k - 1)))
