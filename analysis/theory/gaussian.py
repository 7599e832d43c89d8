"""Exact laws of the continuous closed-form chains (SCIENCE.md 5.1 to 5.6): what a simulation must
agree with.

Throughout, t is the project's generation (0 = trained on real data only; f = t + 1 fits), a number
or an array of them, and the
answer has its shape.  Truth N(0, Sigma) with Sigma = I and noise 1 unless said otherwise: multiply
                       mean errors by tr Sigma and
regression errors by the noise's variance.  Not asymptotics, except where the function says so.
`mean_error` is E |m_t - mu|^2, `variance` is E v_t of the fitted one.  Discrete chains, verifiers
and curation: `theory_discrete`, `theory_verifier`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.special import digamma, gammaln, polygamma

Time = int | np.ndarray  # generations, any shape
Number = Any  # float, or an array of the shape of t
Divisor = Literal["n", "n-1"]  # of the fitted covariance


def along(t: Time, first: Any, step: Callable[[int, Any], Any]) -> Number:
    """Value at generation t of the recursion x_0 = first, x_k = step(k, x_{k-1})."""
    values = [first]
    for k in range(1, int(np.max(t)) + 1):
        values.append(step(k, values[-1]))
    return np.array(values)[t]


def second_harmonic(f: Time) -> Number:
    """H2(f) = sum_{i=1..f} 1/i^2, exactly; towards pi^2/6."""
    return np.pi**2 / 6 - polygamma(1, np.asarray(f) + 1)


# ---- replace, SCIENCE.md 5.1 ----


def replace_variance(n: int, t: Time, *, divisor: Divisor = "n") -> Number:
    """E v_t: (1 - 1/n)^f with divisor n; 1 with n - 1, although v_t -> 0 almost surely (Alemohammad
    2307.01850).
    """
    return (1 - 1 / n if divisor == "n" else 1.0) ** (np.asarray(t) + 1)


def replace_variance_square(n: int, t: Time) -> Number:
    """E v_t^2, divisor n."""
    return (1 - 1 / n**2) ** (np.asarray(t) + 1)


def replace_mean_error(n: int, t: Time, *, d: int = 1, divisor: Divisor = "n") -> Number:
    """Saturates at d with divisor n (conservation law); grows as d f / n for ever with n - 1
    (Shumailov 2305.17493).
    """
    f = np.asarray(t) + 1
    return d * (1 - (1 - 1 / n) ** f) if divisor == "n" else d * f / n


def replace_log_det(n: int, t: Time, *, d: int = 1, divisor: Divisor = "n") -> Number:
    """E log det Sigma_t (d = 1: E log v_t) for n > d: the collapse, of which means of v_t say
    nothing.
    """
    return (np.asarray(t) + 1) * _log_det_per_fit(n, d, n if divisor == "n" else n - 1)


def _log_det_per_fit(n: int, d: int, count: int) -> float:
    return float(digamma((n - np.arange(1, d + 1)) / 2).sum() + d * np.log(2 / count))


def replace_log_det_variance(n: int, t: Time, *, d: int = 1) -> Number:
    """Var log det Sigma_t, for either divisor."""
    return (np.asarray(t) + 1) * polygamma(1, (n - np.arange(1, d + 1)) / 2).sum()


def replace_det(n: int, t: Time, *, d: int) -> Number:
    """E det Sigma_t / det Sigma, divisor n; 0 from the first fit where n <= d."""
    return np.prod((n - np.arange(1, d + 1)) / n) ** (np.asarray(t) + 1)


def replace_kl(n: int, t: Time, *, d: int = 1) -> Number:
    """E KL(truth || model t), divisor n, n > d + 2; so heavy-tailed for n below about 30 that no
    simulation finds it.
    """
    c, f = n / (n - d - 2), np.asarray(t) + 1
    return 0.5 * (f * _log_det_per_fit(n, d, n) + d * (d + 3) / (d + 2) * (c**f - 1))


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


# ---- accumulate, SCIENCE.md 5.2 (Gerstgrasser 2404.01413, Dey-Donoho 2410.22812) ----


def accumulate_variance(n: int, t: Time) -> Number:
    """E v_t = prod_{k=1..f} (1 - 1/(n k^2)), divisor n."""
    return along(t, 1 - 1 / n, lambda k, v: v * (1 - 1 / (n * (k + 1) ** 2)))


def accumulate_variance_limit(n: int) -> float:
    """As t -> inf: sin(pi / sqrt n) / (pi / sqrt n)."""
    return float(np.sinc(1 / np.sqrt(n)))


def accumulate_mean_error(n: int, t: Time, *, d: int = 1) -> Number:
    """Bounded by pi^2/6 times that of generation 0, to first order in 1/n."""
    return d * (1 - accumulate_variance(n, t))


def accumulate_log_variance(n: int, t: Time) -> Number:
    """E log v_t to first order in 1/n."""
    return -2 / n * second_harmonic(np.asarray(t) + 1)


def accumulate_kl(n: int, t: Time) -> Number:
    """E KL(truth || model t) to first order in 1/n, d = 1."""
    return second_harmonic(np.asarray(t) + 1) / n


# ---- accumulate-subsample, SCIENCE.md 5.3 (Kazdan 2410.16713) ----


def subsample_variance(n: int, t: Time) -> Number:
    """E v_t: n of the n f points without replacement, divisor n."""

    def step(k: int, pool: float) -> float:  # P_k, the expected variance of the whole pool
        return pool * (1 - (2 * n * k - n - k) / (n * (n * k - 1) * (k + 1) ** 2))

    f = np.asarray(t) + 1
    return along(t, 1 - 1 / n, step) * f * (n - 1) / (n * f - 1)


def subsample_mean_error(n: int, t: Time, *, d: int = 1) -> Number:
    """A plateau, not divergence."""
    return d * (1 - subsample_variance(n, t))


def subsample_mean_error_limit(n: int) -> float:
    """As t -> inf, to first order in 1/n: 1.784 times accumulate's."""
    return (np.pi**2 / 2 - 2) / n


# ---- real data in the mixture, SCIENCE.md 5.4; variance = 1 - mean error in all of them but the bi


def augment_mean_error(n_real: int, n_synthetic: int, t: Time) -> Number:
    """All real data, always the same, plus n_synthetic points of the newest model (Bertrand
    2310.00429).
    """
    total = n_real + n_synthetic
    b, noise = n_synthetic / total, n_synthetic / total**2
    return 1 / n_real + along(t, 0.0, lambda k, y: b**2 * y + noise * (1 - 1 / n_real - y))


def augment_mean_error_limit(n_real: int, odds: float) -> float:
    """t and n -> inf at odds = n_synthetic / n_real: at most 1.5 / n_real,
    stable for every share.
    """
    return (1 + odds / (1 + 2 * odds)) / n_real


def mix_mean_error(n: int, n_synthetic: int, t: Time) -> Number:
    """Constant size n: the rest are real rows redrawn from the same n every generation; n_synthetic
    = n is replace.
    """
    b = n_synthetic / n
    return 1 / n + along(t, 0.0, lambda k, y: b * (1 - b) / n + b**2 * y + b / n * (1 - 1 / n - y))


def fresh_mean_error(n_real: int, n_synthetic: int, t: Time, *, n_first: int) -> Number:
    """n_real new real points each generation plus n_synthetic of the newest model; the first on
    n_first (MAD's fresh loop).
    """
    total = n_real + n_synthetic
    b = n_synthetic / total
    return along(t, 1 / n_first, lambda k, u: (1 + b * (n_synthetic - 1) * u) / total)


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


# ---- linear regression, SCIENCE.md 5.5: E |w_t - w*|^2, which is also the noiseless test error for


def regression_first_error(n: int, d: int) -> float:
    """Least squares on real data, averaged over Gaussian designs, n > d + 1: d / (n - d - 1)."""
    return d / (n - d - 1)


def regression_replace(n: int, d: int, t: Time) -> Number:
    """Same or fresh covariates (Gerstgrasser's E_test, their n = our t + 1)."""
    return regression_first_error(n, d) * (np.asarray(t) + 1)


def regression_accumulate(n: int, d: int, t: Time) -> Number:
    """The same covariates in every generation; with fresh ones slightly lower.

    Bounded by pi^2/6 of the first error.
    """
    return regression_first_error(n, d) * second_harmonic(np.asarray(t) + 1)


def regression_augment(n_real: int, n_synthetic: int, d: int, t: Time) -> Number:
    """For orthogonal designs X'X = n I."""
    total = n_real + n_synthetic
    return d * (
        1 / n_real + along(t, 0.0, lambda k, y: n_synthetic * (n_synthetic * y + 1) / total**2)
    )


def edit_once(share: float) -> float:
    """Error over the first one, n >> d: labels of one random share redrawn by the model (ToEdit
    2412.14689 has 1 + share).
    """
    return 1 + 2 * share - share**2


def edit_random(share: float, t: Time) -> Number:
    """The same with a share drawn anew every generation: linear in t."""
    return 1 + np.asarray(t) * (2 * share - share**2)


def edit_disjoint(total: float) -> float:
    """The same with small disjoint edits that add up to a total share: beyond the bound 2 that the
    paper claims.
    """
    return 2 * np.exp(total) - 1


# ---- kernel density estimates, SCIENCE.md 5.6: moments of the points under the kernels, per coordi


def kde_replace(n: int, h: float, t: Time) -> tuple[Number, Number]:
    """(E v_t, E mean_t^2) with bandwidth h; the density's variance is h^2 more.

    v tends to (n - 1) h^2.
    """
    variance = along(t, 1 - 1 / n, lambda k, s: (1 - 1 / n) * (s + h**2))
    return variance, 1 + np.asarray(t) * h**2 - variance


def kde_accumulate(n: int, h: float, t: Time) -> tuple[Number, Number]:
    """(E v_t, E mean_t^2): the second moment grows like h^2 log t."""

    def step(k: int, past: tuple[float, float]) -> tuple[float, float]:
        square, mean_square = past
        f = k + 1
        return square + h**2 / f, mean_square + (square - mean_square + h**2) / (n * f**2)

    both = along(t, (1.0, 1 / n), step)
    return both[..., 0] - both[..., 1], both[..., 1]


# ---- any regular model, first order in 1/n, SCIENCE.md 3.1 ----


def regular_kl(
    n: int, t: Time, *, parameters: int, policy: Literal["replace", "accumulate"]
) -> Number:
    """E KL(truth || model t) of maximum likelihood, first order: linear in f under replace, bounded
    under accumulate.
    """
    f = np.asarray(t) + 1
    return parameters / (2 * n) * (f if policy == "replace" else second_harmonic(f))
