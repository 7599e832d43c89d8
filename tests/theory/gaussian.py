"""Exact laws of the continuous chains that no lineage is checked against, only these tests: second
moments, limits, other distances, sampling bias.

Conventions are those of `analysis.theory.gaussian`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import gammaln

from analysis.theory.gaussian import (
    Divisor,
    Number,
    Time,
    along,
    second_harmonic,
)


def replace_variance(n: int, t: Time, *, divisor: Divisor = "n") -> Number:
    """E v_t: (1 - 1/n)^f with divisor n; 1 with n - 1, although v_t -> 0 almost surely (Alemohammad
    2307.01850).
    """
    return (1 - 1 / n if divisor == "n" else 1.0) ** (np.asarray(t) + 1)


def replace_variance_square(n: int, t: Time) -> Number:
    """E v_t^2, divisor n."""
    return (1 - 1 / n**2) ** (np.asarray(t) + 1)


def replace_det(n: int, t: Time, *, d: int) -> Number:
    """E det Sigma_t / det Sigma, divisor n; 0 from the first fit where n <= d."""
    return np.prod((n - np.arange(1, d + 1)) / n) ** (np.asarray(t) + 1)


def replace_w2(n: int, t: Time, *, divisor: Divisor = "n") -> Number:
    """E W2^2(truth, model t), d = 1."""
    count, f = (n if divisor == "n" else n - 1), np.asarray(t) + 1
    s = np.sqrt(2 / count) * np.exp(
        gammaln(n / 2) - gammaln((n - 1) / 2)
    )  # E of the ratio of standard deviations per fit
    second_moment = 1.0 if divisor == "n" else 1 + f / n  # E m^2 + E v
    return 1 + second_moment - 2 * s**f


def replace_biased(n: int, t: Time, sampling_bias: float) -> tuple[Number, Number]:
    """(E v_t, mean error) where samples are drawn from N(m, bias * v), divisor n: MAD's sampling
    bias.  Not conserved.
    """
    k = np.arange(int(np.max(t)) + 1)
    variance = sampling_bias**k * (1 - 1 / n) ** (k + 1)
    error = 1 / n + sampling_bias / n * np.concatenate([[0], np.cumsum(variance)[:-1]])
    return variance[t], error[t]


def accumulate_variance_limit(n: int) -> float:
    """As t -> inf: sin(pi / sqrt n) / (pi / sqrt n)."""
    return float(np.sinc(1 / np.sqrt(n)))


def accumulate_log_variance(n: int, t: Time) -> Number:
    """E log v_t to first order in 1/n."""
    return -2 / n * second_harmonic(np.asarray(t) + 1)


def accumulate_kl(n: int, t: Time) -> Number:
    """E KL(truth || model t) to first order in 1/n, d = 1."""
    return second_harmonic(np.asarray(t) + 1) / n


def subsample_mean_error_limit(n: int) -> float:
    """As t -> inf, to first order in 1/n: 1.784 times accumulate's."""
    return (np.pi**2 / 2 - 2) / n


def augment_mean_error_limit(n_real: int, odds: float) -> float:
    """t and n -> inf at odds = n_synthetic / n_real: at most 1.5 / n_real,
    stable for every share.
    """
    return (1 + odds / (1 + 2 * odds)) / n_real


def fresh_mean_error_limit(n_real: int, n_synthetic: int) -> float:
    """Whatever the first set's size."""
    total = n_real + n_synthetic
    return 1 / (total - n_synthetic * (n_synthetic - 1) / total)


def fresh_effective_size(n_real: int, n_synthetic: int) -> float:
    """Real points with the error of the fresh loop's limit, for large n: between n_real and 2
    n_real.
    """
    return n_real * (1 + n_synthetic / (n_real + n_synthetic))


def fresh_biased(
    n_real: int, n_synthetic: int, t: Time, *, n_first: int, sampling_bias: float
) -> tuple[Number, Number]:
    """(E v_t, mean error) of the fresh loop where samples are drawn with a sampling bias, divisor
    n.
    """
    total = n_real + n_synthetic
    a, b = n_real / total, n_synthetic / total

    def step(k: int, past: tuple[float, float]) -> tuple[float, float]:
        w, u = past
        error = a / total + b**2 * u + b / total * sampling_bias * w
        return a + b * (sampling_bias * w + u) - error, error

    both = along(t, (1 - 1 / n_first, 1 / n_first), step)
    return both[..., 0], both[..., 1]


def regression_augment(n_real: int, n_synthetic: int, d: int, t: Time) -> Number:
    """For orthogonal designs X'X = n I."""
    total = n_real + n_synthetic
    return d * (
        1 / n_real + along(t, 0.0, lambda k, y: n_synthetic * (n_synthetic * y + 1) / total**2)
    )


def kde_accumulate(n: int, h: float, t: Time) -> tuple[Number, Number]:
    """(E v_t, E mean_t^2): the second moment grows like h^2 log t."""

    def step(k: int, past: tuple[float, float]) -> tuple[float, float]:
        square, mean_square = past
        f = k + 1
        return square + h**2 / f, mean_square + (square - mean_square + h**2) / (n * f**2)

    both = along(t, (1.0, 1 / n), step)
    return both[..., 0] - both[..., 1], both[..., 1]


def regular_kl(
    n: int, t: Time, *, parameters: int, policy: Literal["replace", "accumulate"]
) -> Number:
    """E KL(truth || model t) of maximum likelihood, first order: linear in f under replace, bounded
    under accumulate.
    """
    f = np.asarray(t) + 1
    return parameters / (2 * n) * (f if policy == "replace" else second_harmonic(f))
