"""The level set's probabilities: outcomes at equal fractions taken together are what they are one
by one.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from analysis.threshold import levelset
from analysis.threshold.levelset import PRIOR_MEAN, PRIOR_SD

SEEDS = {
    "each its own": np.arange(30),
    "shared": np.arange(30) % 7,
    "few, of unequal numbers": np.array([0] * 17 + [1] * 9 + [2] * 4),
    "one": np.zeros(30, dtype=int),
}


def outcomes(seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    x = rng.choice(np.linspace(0, 1, 9), len(seeds))
    return x, rng.standard_normal(len(seeds)) + 2 * x


def covariance(x: np.ndarray, seeds: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Of the outcomes, entry by entry, as the module's head says."""
    one = theta[None]
    f = levelset._trend(x, x) + levelset._matern(x, x, one)[0]
    sd = levelset._sd(x, one)[0]
    own = np.diag(sd**2 + levelset.JITTER)
    if len(set(seeds)) == len(x):
        return np.asarray(f + own)
    rho, kept = (1 / (1 + np.exp(-theta[i])) for i in (4, 5))
    alike = kept + (1 - kept) * np.exp(-np.abs(x[:, None] - x) / np.exp(theta[6]))
    shared = (seeds[:, None] == seeds) * alike * sd[:, None] * sd
    return np.asarray(f + rho * shared + (1 - rho) * own + levelset.JITTER * np.eye(len(x)))


@pytest.mark.parametrize("seeds", SEEDS.values(), ids=SEEDS)
def test_outcomes_at_equal_fractions_are_taken_together_exactly(seeds: np.ndarray) -> None:
    x, y = outcomes(seeds)
    rng = np.random.default_rng(2)
    theta = PRIOR_MEAN + 0.7 * PRIOR_SD * rng.standard_normal((5, len(PRIOR_MEAN)))
    found = levelset._log_posterior(levelset._Data(x, seeds, y), theta)
    prior = -0.5 * (((theta - PRIOR_MEAN) / PRIOR_SD) ** 2).sum(1)
    whole = [multivariate_normal.logpdf(y, cov=covariance(x, seeds, one)) for one in theta]
    off = found - prior - np.array(whole)  # a constant of the normal law
    assert off == pytest.approx(np.full(5, 0.5 * len(y) * np.log(2 * np.pi)), abs=1e-4)


@pytest.mark.parametrize("seeds", SEEDS.values(), ids=SEEDS)
def test_curves_follow_the_posterior_of_all_outcomes(seeds: np.ndarray) -> None:
    x, y = outcomes(seeds)
    theta = np.repeat(PRIOR_MEAN[None], 64, 0)
    nodes = np.linspace(0, 1, levelset.NODES)
    drawn = levelset._curves(
        levelset._Data(x, seeds, y), theta, nodes, 64, np.random.default_rng(3)
    )
    cross = levelset._trend(x, nodes) + levelset._matern(x, nodes, theta[:1])[0]
    mean = cross.T @ np.linalg.solve(covariance(x, seeds, theta[0]), y)
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert np.abs((drawn.mean(0) - mean) / error).max() < 4.5
