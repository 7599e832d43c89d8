"""Exact laws of verified regression chains (Yi 2510.16657).

One direction at a time, noise 1: labels are drawn about the last estimate a and kept within R = r +
sigma_c of the verifier's centre c, so the next estimate is the mean of a truncated normal.  The
truth is at 0 unless said otherwise; t is the project's generation, which is Yi's round k.  Chains
go to the centre, not to the truth: a_t = T(a_{t-1}) + sqrt(m2 / n_kept) z with
T(a) = a + (phi(l) - phi(h)) / (Phi(h) - Phi(l)), l = c - R - a, h = c + R - a, and m2 the variance
of the truncated normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr

Number = Any  # float, or an array of the shape of the arguments
CODE_SLACK = np.sqrt(2 / np.pi)  # sigma_c of Yi's code, in units of the noise


@dataclass(frozen=True)
class Truncated:
    """A standard normal within [low, high]: its mass, mean, variance and third central moment."""

    mass: Number
    mean: Number
    variance: Number
    third: Number


def truncated(low: Number, high: Number) -> Truncated:
    mass = np.where(
        np.asarray(low) > 0, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low)
    )  # no cancellation
    at_low, at_high = (np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi) for at in (low, high))
    mean = (at_low - at_high) / mass
    square = 1 + (low * at_low - high * at_high) / mass
    cube = 2 * mean + (low**2 * at_low - high**2 * at_high) / mass
    return Truncated(mass, mean, square - mean**2, cube - 3 * mean * square + 2 * mean**3)


def yi_design(n_real: int, d: int, seed: int = 12345) -> np.ndarray:
    """The authors' fixed real covariates X0 [n_real, d]."""
    return np.random.default_rng(seed).normal(size=(n_real, d))


def yi_direction(d: int) -> np.ndarray:
    """The authors' direction u [d] in which the verifier's centre is off."""
    u = np.random.default_rng(777).normal(size=d)
    return u / np.linalg.norm(u)


def verified_errors(
    x0: np.ndarray,
    offset: np.ndarray,
    r: float,
    n_kept: int,
    last: int,
    *,
    slack: float = CODE_SLACK,
) -> np.ndarray:
    """E |theta_t - theta*|^2 for t = 0..last; offset = theta_c - theta* [d], noise 1, n_kept labels
    per direction.

    Exact up to t = 1; from then on each direction's estimate is taken as normal with its own mean
    and variance, which is within 0.1 % of simulated chains.
    """
    _, mu, v = np.linalg.svd(x0, full_matrices=False)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    centre, reach, weights = (v @ offset)[:, None], r + slack, weights / weights.sum()
    mean, variance = np.zeros(len(mu)), 1 / np.square(mu)  # [d]
    errors = [float((mean**2 + variance).sum())]
    for _ in range(last):
        a = mean[:, None] + np.sqrt(variance)[:, None] * nodes  # [d, nodes]
        kept = truncated(centre - reach - a, centre + reach - a)
        mean = (a + kept.mean) @ weights  # [d]
        variance = (
            np.square(a + kept.mean - mean[:, None]) + kept.variance / n_kept
        ) @ weights  # [d]
        errors.append(float((mean**2 + variance).sum()))
    return np.array(errors)
