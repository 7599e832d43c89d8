"""Kernel density estimates: their values, their moment laws, running sums, Kazdan's
qualitative findings.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.neighbors import KernelDensity

from analysis.theory import gaussian as theory
from engine.generators import kde
from engine.registry import make
from engine.samples import Samples, concat
from tests.support.chains import assert_mean, chain, measured
from tests.theory import gaussian as oracles


def fitted(data: Samples, bandwidth: float | str = 0.5) -> kde.Kde:
    model = kde.Kde(bandwidth=bandwidth)
    model.fit(data, np.random.default_rng(0))
    return model


def points(n: int, d: int, seed: int = 0, replicates: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, replicates, d))


# ---- the density ----


@pytest.mark.parametrize("bandwidth", [0.01, 0.1, 1.0, 31.6, "scott", "silverman"])
@pytest.mark.parametrize(
    ("n", "m", "d"), [(1, 5, 1), (10, 500, 2), (700, 40, 2), (60, 30, 5), (2500, 90, 3)]
)
def test_log_density_is_the_log_of_the_mean_kernel(
    bandwidth: float | str, n: int, m: int, d: int
) -> None:
    """Also far away, where every kernel underflows; the precision is relative there."""
    x, at = points(n, d), 4 * points(m, d, seed=1)
    model = fitted(Samples(x), bandwidth)
    h, value = model.bandwidth_, model.log_density(at)
    for r in range(3):
        exponents = -cdist(at[:, r], x[:, r], "sqeuclidean") / (2 * h**2)
        expected = logsumexp(exponents, axis=1) - np.log(n) - 0.5 * d * np.log(2 * np.pi * h**2)
        assert value[:, r] == pytest.approx(expected, rel=2e-6, abs=2e-4)


@pytest.mark.parametrize("bandwidth", [0.3, 1.0, "scott", "silverman"])
def test_near_the_data_it_is_scikit_learns(bandwidth: float | str) -> None:
    """Only there: its trees of more than 40 points lose far log densities to underflow (seen in
    1.9).
    """
    x, at = points(500, 2), points(200, 2, seed=1)
    model = fitted(Samples(x), bandwidth)
    reference = KernelDensity(bandwidth=bandwidth).fit(x[:, 0])
    assert model.bandwidth_ == pytest.approx(reference.bandwidth_, rel=1e-12)
    assert model.log_density(at)[:, 0] == pytest.approx(
        reference.score_samples(at[:, 0]), rel=2e-6, abs=2e-4
    )


def test_far_from_the_origin_no_digits_are_lost() -> None:
    x, at = points(50, 2), points(30, 2, seed=1)
    shifted = fitted(Samples(x + 1e4), 0.1).log_density(at + 1e4)
    assert shifted == pytest.approx(fitted(Samples(x), 0.1).log_density(at), rel=2e-6, abs=2e-4)


def test_density_integrates_to_one() -> None:
    model = fitted(Samples(points(20, 1)), 0.3)
    grid = np.linspace(-8, 8, 4001)
    density = np.exp(model.log_density(np.repeat(grid[:, None, None], 3, axis=1)))
    assert np.trapezoid(density, grid, axis=0) == pytest.approx(np.ones(3), abs=1e-5)


def test_samples_have_the_kernels_moments() -> None:
    x = points(7, 2, replicates=2)
    model = fitted(Samples(x), 0.3)
    drawn = model.sample(40_000, np.random.default_rng(0)).x
    for r in range(2):
        covariance = np.cov(x[:, r], rowvar=False, bias=True) + 0.09 * np.eye(2)
        assert np.cov(drawn[:, r], rowvar=False) == pytest.approx(covariance, abs=0.03)
        assert drawn[:, r].mean(0) == pytest.approx(x[:, r].mean(0), abs=0.03)
    biased = model.sample(1000, np.random.default_rng(0), bias=0.0).x
    nearest = np.abs(biased[:, None, 0] - x[None, :, 0]).sum(-1).min(1)
    assert nearest.max() == 0  # no kernel left: the training points themselves


# ---- running sums ----


def test_accumulating_scores_every_point_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scored, real = [], kde._log_kernel_sum

    def counting(x: np.ndarray, block: np.ndarray, h: float) -> np.ndarray:
        scored.append(len(block))
        return real(x, block, h)

    monkeypatch.setattr(kde, "_log_kernel_sum", counting)
    at = points(40, 2, seed=9)
    blocks = [Samples(points(n, 2, seed=n)) for n in (30, 5, 5, 8)]
    for k in range(1, 5):
        value = fitted(concat(blocks[:k])).log_density(at)
    assert scored == [30, 5, 5, 8]
    direct = fitted(Samples(np.concatenate([b.x for b in blocks]))).log_density(at)
    assert value == pytest.approx(direct, abs=1e-5)
    fitted(concat(blocks), 0.2).log_density(at)  # another bandwidth, other sums
    fitted(concat(blocks)).log_density(at.copy())  # other points
    assert len(scored) == 5 + 4 + 4


def test_the_order_of_working_does_not_change_the_bits(tmp_path: Path) -> None:
    """Stepwise, all at once, or read from a file: one value, so a resumed lineage has the same
    rows.
    """
    at = points(40, 2, seed=9)

    def blocks() -> list[Samples]:
        return [Samples(points(n, 2, seed=n)) for n in (30, 5, 8)]

    stepwise = blocks()
    for k in range(1, 4):
        model = fitted(concat(stepwise[:k]))
        value = model.log_density(at)
    assert (value == fitted(concat(blocks())).log_density(at)).all()
    model.save(tmp_path)
    loaded = make("generator", "kde")
    loaded.load(tmp_path)
    assert (loaded.log_density(at) == value).all()
    assert (
        loaded.sample(9, np.random.default_rng(1)).x == model.sample(9, np.random.default_rng(1)).x
    ).all()


# ---- the chains ----


def variance_and_square_of_mean(
    steps: object, at: set[int]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    kept = {s.t: s.data.x[:, :, 0] for s in steps if s.t in at}
    return {t: (x.var(0), np.square(x.mean(0))) for t, x in kept.items()}


def test_moments_under_replace() -> None:
    dataset = make("dataset", "gaussian", replicates=3000)
    steps = chain(
        dataset, {"name": "kde", "bandwidth": 0.1}, {"name": "replace"}, n=100, generations=49
    )
    for t, (variance, square) in variance_and_square_of_mean(steps, {0, 9, 49}).items():
        expected = theory.kde_replace(100, 0.1, t)
        assert_mean(variance, expected[0])
        assert_mean(square, expected[1])


def test_moments_under_accumulate() -> None:
    dataset = make("dataset", "gaussian", replicates=2000)
    steps = chain(
        dataset, {"name": "kde", "bandwidth": 0.5}, {"name": "accumulate"}, n=100, generations=49
    )
    for t, (variance, square) in variance_and_square_of_mean(steps, {1, 9, 49}).items():
        expected = oracles.kde_accumulate(100, 0.5, t)
        assert_mean(variance, expected[0])
        assert_mean(square, expected[1])


def losses(
    shape: str, policy: str, at: set[int], *, n: int = 10, h: float = 0.1, replicates: int = 50
) -> dict[int, float]:
    dataset = make("dataset", "shapes", shape=shape, replicates=replicates)
    steps = chain(
        dataset, {"name": "kde", "bandwidth": h}, {"name": policy}, n=n, generations=max(at)
    )
    values = measured(steps, {"name": "nll", "points": 500}, dataset, at)
    return {t: float(of["nll"].mean()) for t, of in values.items()}


def test_kazdan_moons_order_of_policies() -> None:
    """h = .1, n = 10, t = 99: replace explodes (they read ~130), accumulate-subsample ~12,
    accumulate below 2 and falling.
    """
    final = {
        policy: losses("moons", policy, {0, 99})
        for policy in ("replace", "accumulate_subsample", "accumulate")
    }
    assert 80 < final["replace"][99] < 200
    assert 5 < final["accumulate_subsample"][99] < 25
    assert final["accumulate"][99] < final["accumulate"][0]
    assert final["accumulate"][99] < 5


def test_kazdan_swiss_roll_improves_under_accumulate() -> None:
    """Under-smoothed data: accumulating smooths; replacing loses more than an order of
    magnitude.
    """
    accumulate = losses("swiss_roll", "accumulate", {0, 40}, n=100, h=0.5, replicates=10)
    replace = losses("swiss_roll", "replace", {0, 99}, n=100, h=0.5, replicates=10)
    assert accumulate[40] < accumulate[0]
    assert replace[99] > 5 * replace[0]


def test_accumulate_rises_slowly_where_there_are_many_points() -> None:
    """h^2 log t: moons, h = .1, n = 316."""
    loss = losses("moons", "accumulate", {0, 3, 20}, n=316, replicates=10)
    assert loss[0] < loss[3] < loss[20] < loss[0] + 0.5
