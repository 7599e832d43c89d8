"""Exact laws of the continuous closed-form chains: what a simulation must agree with.

Throughout, t is the project's generation (0 = trained on real data only; f = t + 1 fits), a number
or an array of them, and the answer has its shape.  Truth N(0, Sigma) with Sigma = I and noise 1
unless said otherwise: multiply mean errors by tr Sigma and regression errors by the noise's
variance.  Not asymptotics, except where the function says so.  `mean_error` is E |m_t - mu|^2,
`variance` is E v_t of the fitted one, n the rows of a training set.

The chain: m_t = m_{t-1} + sqrt(v_{t-1} / n) z, v_t = v_{t-1} chi2_{n-1} / n (divisor n).  The
**conservation law** gives half of what follows: with divisor n, under every policy that draws
plainly, E [|m_t - mu|^2 + tr Sigma_t] = tr Sigma, since the fitted second moment is the average of
x^2 over the training set, where a new sample has the same expected x^2.  So the mean error
saturates where the variance is lost; its growth as f / n for ever is that of divisor n - 1.

Discrete chains and verifiers: `discrete`, `verifier` beside this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from scipy.special import digamma, polygamma

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


# ---- replace: every generation on n points of the one before, divisor n or n - 1 ----


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


def replace_kl(n: int, t: Time, *, d: int = 1) -> Number:
    """E KL(truth || model t), divisor n, n > d + 2; so heavy-tailed for n below about 30 that no
    simulation finds it.
    """
    c, f = n / (n - d - 2), np.asarray(t) + 1
    return 0.5 * (f * _log_det_per_fit(n, d, n) + d * (d + 3) / (d + 2) * (c**f - 1))


# ---- accumulate: on all n f points so far (Gerstgrasser 2404.01413, Dey-Donoho 2410.22812) ----
# m_t = m_{t-1} + sqrt(v_{t-1} / n) z / f, so the k-th fit loses the share 1 / (n k^2) of E v


def accumulate_variance(n: int, t: Time) -> Number:
    """E v_t = prod_{k=1..f} (1 - 1/(n k^2)), divisor n."""
    return along(t, 1 - 1 / n, lambda k, v: v * (1 - 1 / (n * (k + 1) ** 2)))


def accumulate_mean_error(n: int, t: Time, *, d: int = 1) -> Number:
    """Bounded by pi^2/6 times that of generation 0, to first order in 1/n."""
    return d * (1 - accumulate_variance(n, t))


# ---- accumulate-subsample: on n of the n f points without replacement (Kazdan 2410.16713) ----
# a subsample's mean is off by V (n f - n) / (n (n f - 1)), V the pool's variance; the conservation
# law holds for the pool


def subsample_variance(n: int, t: Time) -> Number:
    """E v_t: n of the n f points without replacement, divisor n."""

    def step(k: int, pool: float) -> float:  # P_k, the expected variance of the whole pool
        return pool * (1 - (2 * n * k - n - k) / (n * (n * k - 1) * (k + 1) ** 2))

    f = np.asarray(t) + 1
    return along(t, 1 - 1 / n, step) * f * (n - 1) / (n * f - 1)


def subsample_mean_error(n: int, t: Time, *, d: int = 1) -> Number:
    """A plateau, not divergence."""
    return d * (1 - subsample_variance(n, t))


# ---- real data in the mixture; variance = 1 - mean error in all of them ----
# with b the synthetic fraction: y_t, the error beyond that of the real rows, is b^2 of the last one
# plus the noise of the newly drawn rows


def augment_mean_error(n_real: int, n_synthetic: int, t: Time) -> Number:
    """All real data, always the same, plus n_synthetic points of the newest model (Bertrand
    2310.00429).
    """
    total = n_real + n_synthetic
    b, noise = n_synthetic / total, n_synthetic / total**2
    return 1 / n_real + along(t, 0.0, lambda k, y: b**2 * y + noise * (1 - 1 / n_real - y))


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


# ---- linear regression: E |w_t - w*|^2, which is also the noiseless test error ----
# for x ~ N(0, I); least squares, labels drawn with the truth's noise: w_t = w_{t-1} + X^+ e_t under
# replace, w_{t-1} + X^+ e_t / f under accumulate with the same X


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


def edit_once(share: float) -> float:
    """Error over the first one, n >> d: labels of one random share redrawn by the model (ToEdit
    2412.14689 has 1 + share).
    """
    return 1 + 2 * share - share**2


def edit_random(share: float, t: Time) -> Number:
    """The same with a share drawn anew every generation: linear in t."""
    return 1 + np.asarray(t) * (2 * share - share**2)


def edit_of_real(share: float, t: Time) -> Number:
    """The real labels edited anew by every generation's model: edit_once at t = 1, and bounded."""
    end = (1 + 2 * share - 2 * share**2) / (1 - share**2)
    return end + (1 - end) * share ** (2 * np.asarray(t))


def edit_disjoint(total: float) -> float:
    """The same with small disjoint edits that add up to a total share: beyond the bound 2 that the
    paper claims.
    """
    return float(2 * np.exp(total) - 1)


def edit_disjoint_steps(share: float, t: Time) -> Number:
    """The same of t disjoint edits of a share each; edit_disjoint(t * share) as share -> 0."""
    grown = (1 + share) ** np.asarray(t)
    return 2 * grown - (2 + share * grown**2) / (2 + share)


# ---- kernel density estimates: moments of the points under the kernels, per coordinate ----
# a point drawn is one of them plus h z, so E x^2 grows by h^2 in every generation


def kde_replace(n: int, h: float, t: Time) -> tuple[Number, Number]:
    """(E v_t, E mean_t^2) with bandwidth h; the density's variance is h^2 more.

    v tends to (n - 1) h^2.
    """
    variance = along(t, 1 - 1 / n, lambda k, s: (1 - 1 / n) * (s + h**2))
    return variance, 1 + np.asarray(t) * h**2 - variance
