"""Latent alignment in features: Gaussians whose AUC, centroid and covariance are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from engine.distances.alignment import centroid, covariance, separability


def normals(seed: int, n: int, d: int, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """[n, d]"""
    return np.random.default_rng(seed).normal(shift, scale, size=(n, d))


def test_equal_distributions_cannot_be_told_apart_and_distant_ones_can() -> None:
    real, same, moved = normals(0, 300, 5), normals(1, 300, 5), normals(2, 300, 5, 1.5)
    auc, low, high = separability(real, same)
    assert low < 0.5 < high and auc == pytest.approx(0.5, abs=0.08)
    assert separability(real, moved)[1] > 0.95


def test_the_interval_of_the_auc_covers() -> None:
    """Two normals a distance 0.5 apart: AUC = Phi(0.5 / sqrt 2) for the best linear classifier."""
    hits = []
    for i in range(40):
        _, low, high = separability(normals(2 * i, 200, 1), normals(2 * i + 1, 200, 1, 0.5))
        hits.append(low < norm.cdf(0.5 / np.sqrt(2)) < high)
    assert np.mean(hits) > 0.85


@pytest.mark.parametrize("apart", [0.5, 1.0, 2.0])
def test_the_auc_of_two_normals_is_that_of_their_mahalanobis_distance(apart: float) -> None:
    """In coordinates of unequal variance; Phi(distance / sqrt 2)."""
    scales, n = np.array([0.1, 1.0, 30.0]), 4000
    shift = apart / np.sqrt(3)  # of each coordinate, in its own standard deviations
    real, moved = normals(0, n, 3) * scales, normals(1, n, 3, shift) * scales
    auc, low, high = separability(real, moved)
    assert auc == pytest.approx(norm.cdf(apart / np.sqrt(2)), abs=4 * (high - low) / 3.92)
    assert separability(1e6 * real + 5, 1e6 * moved + 5)[0] == pytest.approx(auc, abs=1e-3)


def test_a_linear_classifier_does_not_see_a_spread() -> None:
    real, wide = normals(0, 2000, 3), normals(1, 2000, 3, scale=2.0)
    assert separability(real, wide)[0] == pytest.approx(0.5, abs=0.04)
    assert covariance(real, wide) == pytest.approx(3.0, abs=0.4)


def test_centroid_and_covariance_are_those_of_the_definition() -> None:
    real, other = normals(0, 50, 4), normals(1, 60, 4, 1.5, 2.0)
    gap = ((other.mean(0) - real.mean(0)) ** 2).sum()
    spread = np.mean([((x - real.mean(0)) ** 2).sum() for x in real])
    assert centroid(real, other) == pytest.approx(np.sqrt(gap / spread), rel=1e-12)
    a, b = np.cov(real.T), np.cov(other.T)
    away = np.sqrt(((a - b) ** 2).sum() / (a**2).sum())
    assert covariance(real, other) == pytest.approx(away, rel=1e-12)
    assert centroid(real, real) == covariance(real, real) == 0.0


def test_they_tend_to_what_the_laws_say() -> None:
    """N(0, 1) and N(m, s^2) in d coordinates: centroid m, covariance |s^2 - 1|."""
    real, other = normals(0, 20000, 2), normals(1, 20000, 2, 1.5, 2.0)
    assert centroid(real, other) == pytest.approx(1.5, abs=0.05)
    assert covariance(real, other) == pytest.approx(3.0, abs=0.12)


def test_they_are_the_same_in_other_units() -> None:
    real, other = normals(0, 200, 3), normals(1, 200, 3, 0.5, 1.3)
    for of in (centroid, covariance):
        assert of(1e5 * real + 7, 1e5 * other + 7) == pytest.approx(of(real, other), rel=1e-6)


def test_what_overflows_or_does_not_vary_is_no_number() -> None:
    real, same = normals(0, 40, 3), np.ones((40, 3))
    assert np.isnan(separability(real, 1e200 * real)).all()
    assert not np.isfinite(covariance(real, 1e200 * real))
    assert not np.isfinite(centroid(same, real)) and not np.isfinite(covariance(same, real))
