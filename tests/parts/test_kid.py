"""kid: the definition by a double loop, no bias, an error that covers, floors and reasons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import engine._torchvision  # noqa: F401  # before torchmetrics, which imports torchvision itself

# isort: split
from torchmetrics.image.kid import poly_mmd

from engine.distances.floors import disjoint_pairs, real_pool
from engine.metrics.kid import CHUNK, mmd
from engine.parts import Undefined
from engine.registry import make
from engine.samples import Samples
from tests.parts.test_fid import SPOILT, Points, Unlabelled, measured, prepared


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Binkowski et al., (4): a double loop."""
    d, n = x.shape[1], len(x)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / d + 1) ** 3

    within = sum(k(s[i], s[j]) for s in (x, y) for i in range(n) for j in range(n) if i != j) / (
        n * (n - 1)
    )
    return within - 2 * sum(k(a, b) for a in x for b in y) / n**2


def error_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    """Of the U-statistic of h_ij over i != j: 4 var(E h | i) / n + 2 var(h) / (n (n - 1)); what the
    means h_i. of n - 1 values vary by without a first order, var(h) / (n - 1), is taken off.
    """
    d, n = x.shape[1], len(x)

    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / d + 1) ** 3

    h = np.full((n, n), np.nan)
    for i in range(n):
        for j in range(n):
            if i != j:
                h[i, j] = k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(y[i], x[j])
    variance = np.nanvar(h)
    first_order = max(np.nanmean(h, axis=1).var(ddof=1) - variance / (n - 1), 0.0)
    return float(np.sqrt(4 * first_order / n + 2 * variance / (n * (n - 1))))


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_its_error_is_the_double_loop(shift: float) -> None:
    for seed in range(4):
        x = rng(seed).normal(size=(15, 4))
        y = rng(seed + 50).normal(shift, 1.2, size=(15, 4))
        assert mmd(x, y)[1] == pytest.approx(error_by_definition(x, y), rel=1e-9)


def test_the_floor_is_the_mean_over_pairs_of_disjoint_real_sets() -> None:
    dataset, splits, replicates = Points(replicates=3), 5, 3
    metric = prepared("kid", dataset, 50, 20, splits=splits)
    stream = rng(2)  # as `prepared` gives it
    pool = real_pool(dataset, dataset.sample(50, rng(1)), 40, stream)
    between = []
    for i, (a, b) in enumerate(disjoint_pairs(len(pool), 20, splits, stream)):
        x = pool.samples.x[:, i % replicates]
        between.append(by_definition(x[a], x[b]))
    row = measured(metric, dataset.sample(20, rng(9)))
    assert row["kid/floor"] == pytest.approx(np.mean(between), rel=1e-9)
    assert row["kid/floor_sd"] == pytest.approx(np.std(between, ddof=1), rel=1e-9)


def test_it_is_the_double_loop() -> None:
    x, y = rng(1).normal(size=(23, 4)), rng(2).normal(0.3, 1.2, size=(23, 4))
    assert mmd(x, y)[0] == pytest.approx(by_definition(x, y), rel=1e-12)


def test_it_is_what_torchmetrics_computes() -> None:
    import torch

    x, y = rng(1).normal(size=(300, 16)), rng(2).normal(0.1, 1.1, size=(300, 16))
    assert mmd(x, y)[0] == pytest.approx(
        float(poly_mmd(torch.from_numpy(x), torch.from_numpy(y))), rel=1e-9
    )


def test_working_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rng(1).normal(size=(70, 4)), rng(2).normal(0.3, 1.2, size=(70, 4))
    whole = mmd(x, y)
    monkeypatch.setattr("engine.metrics.kid.CHUNK", 9 * 70)
    assert mmd(x, y) == pytest.approx(whole, rel=1e-12) and CHUNK > 70**2


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_it_has_no_bias_and_its_error_covers(shift: float) -> None:
    """400 independent pairs of 30: zero mean under equal distributions at 4 standard errors; errors
    as the spread.
    """
    pairs = np.array(
        [
            mmd(rng(s).normal(size=(30, 3)), rng(s + 10_000).normal(shift, 1, size=(30, 3)))
            for s in range(400)
        ]
    )
    value, error = pairs.T
    truth = mmd(rng(1).normal(size=(4000, 3)), rng(2).normal(shift, 1, size=(4000, 3)))
    assert abs(value.mean() - (truth[0] if shift else 0.0)) < 4 * np.hypot(
        value.std() / 20, truth[1] if shift else 0.0
    )
    assert np.sqrt(np.square(error).mean()) == pytest.approx(value.std(), rel=0.25)


def test_points_have_one_value_per_replicate() -> None:
    dataset = Points(replicates=3)
    metric = prepared("kid", dataset, 50, 80)
    synthetic = dataset.sample(80, rng(9))
    synthetic.x[:, 1] += 2
    row = measured(metric, synthetic)
    assert row["kid"].shape == row["kid/standard_error"].shape == (3,) and row["kid"].argmax() == 1
    assert row["kid"][2] == pytest.approx(mmd(metric._real[2], synthetic.x[:, 2])[0], rel=1e-12)
    np.testing.assert_allclose(row["kid/excess"], row["kid"] - row["kid/floor"])
    assert measured(prepared("kid", dataset, 50, 80, replicates=2), synthetic)["kid"].shape == (2,)


def test_subsets_estimate_the_same_number() -> None:
    dataset = Unlabelled(d=3)
    synthetic = Samples(dataset.sample(600, rng(9)).x + 0.5)
    whole = measured(prepared("kid", dataset, 600, 600), synthetic)
    parts = measured(prepared("kid", dataset, 600, 600, subsets=50, subset_size=100), synthetic)
    assert parts["kid"][0] == pytest.approx(
        whole["kid"][0], abs=2 * float(whole["kid/standard_error"][0])
    )
    assert 0.5 < parts["kid/standard_error"][0] / whole["kid/standard_error"][0] < 2
    assert parts["kid"][0] != whole["kid"][0]
    alone = measured(prepared("kid", dataset, 600, 600, subsets=1, subset_size=100), synthetic)
    assert isinstance(alone["kid/standard_error"], Undefined)
    with pytest.raises(ValueError, match="at least 3, got 2"):
        make("metric", "kid", subset_size=2)


def test_real_digits_lie_at_the_floor_and_noise_does_not() -> None:
    dataset = make("dataset", "digits")
    metric = prepared("kid", dataset, 1200, 597)
    real = dataset.sample(600, rng(4))
    row = measured(metric, real)
    assert metric.about_ == {"extractor": "lenet"} and row["kid/n"] == 597
    assert abs(row["kid/floor"]) < 3 * row["kid/floor_sd"]
    noise = rng().integers(0, 256, real.x.shape).astype(np.uint8)
    far = measured(metric, Samples(noise, real.y))
    assert far["kid"] > 20 * abs(row["kid"]) and far["kid"] > 10 * far["kid/standard_error"]


@pytest.mark.parametrize("kind", SPOILT)
def test_kid_of_spoilt_samples_is_undefined_with_a_reason(kind: str) -> None:
    dataset: Any = Points(replicates=2)
    x = SPOILT[kind](dataset.sample(60, rng(9)).x)
    with np.errstate(all="ignore"):
        row = measured(prepared("kid", dataset, 50, 60), Samples(x))
    for key in ("kid", "kid/excess", "kid/standard_error"):
        assert isinstance(row[key], Undefined) and row[key].reason
    assert np.isfinite(row["kid/floor"])
