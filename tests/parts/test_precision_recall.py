"""precision_recall against a literal reading of the definition, and on the failures it is there to
tell apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.distances.floors import disjoint_pairs, real_pool
from engine.lineage.measure import numbers_of
from engine.metrics.precision_recall import Manifold, scored
from engine.parts import Undefined
from engine.registry import make
from engine.samples import Samples
from tests.parts.test_fid import Points, prepared
from tests.support.around import NOTHING


def literal(real: np.ndarray, synthetic: np.ndarray, k: int) -> tuple[float, float]:
    def inside(points: np.ndarray, centres: np.ndarray) -> float:
        radii = [np.sort(np.linalg.norm(centres - c, axis=1))[k] for c in centres]
        return float(
            np.mean(
                [
                    any(np.linalg.norm(p - c) <= r for c, r in zip(centres, radii, strict=True))
                    for p in points
                ]
            )
        )

    return inside(synthetic, real), inside(real, synthetic)


@pytest.mark.parametrize(("k", "d"), [(1, 1), (3, 2), (5, 60)])
def test_agrees_with_the_definition(k: int, d: int) -> None:
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(40, d)), 0.7 * rng.normal(size=(45, d)) + 0.3
    assert scored(Manifold(real, k), Manifold(synthetic, k)) == literal(real, synthetic, k)


def test_blocks_of_rows_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    whole = scored(Manifold(real, 3), Manifold(synthetic, 3))
    monkeypatch.setattr("engine.metrics.precision_recall.CHUNK", 120)
    assert scored(Manifold(real, 3), Manifold(synthetic, 3)) == whole


def measured(samples: Samples, dataset: Any, n: int, **params: Any) -> dict[str, Any]:
    metric = make("metric", "precision_recall", **params)
    metric.prepare(
        dataset, dataset.sample(200, np.random.default_rng(1)), n, np.random.default_rng(2)
    )
    return numbers_of(metric(samples, None, NOTHING, np.random.default_rng(3)))


def test_collapse_loses_recall_and_noise_loses_precision() -> None:
    dataset = make("dataset", "mixture", replicates=3)
    good = dataset.sample(400, np.random.default_rng(9))
    row = measured(good, dataset, 400)
    assert row["precision_recall/precision"].shape == (3,)
    assert (
        np.abs(row["precision_recall/precision"] - row["precision_recall/precision_floor"]).max()
        < 0.06
    )
    assert (
        np.abs(row["precision_recall/recall"] - row["precision_recall/recall_floor"]).max() < 0.06
    )
    one_mode = Samples(
        good.x[good.y == 0][np.arange(400) % (good.y == 0).sum()], np.zeros(400, dtype=int)
    )
    lost = measured(one_mode, dataset, 400)
    assert lost["precision_recall/precision"].min() > 0.8
    assert lost["precision_recall/recall"].max() < 0.25
    noisy = measured(
        Samples(good.x + np.random.default_rng(0).normal(size=good.x.shape), good.y), dataset, 400
    )
    assert noisy["precision_recall/precision"].max() < 0.7


def test_a_single_repeated_sample_has_no_recall() -> None:
    dataset = make("dataset", "gaussian", d=3)
    point = Samples(np.zeros((100, 1, 3)) + 0.1)
    row = measured(point, dataset, 100)
    assert row["precision_recall/precision"] == [1.0]
    assert row["precision_recall/recall"] == [0.0]


def test_images_give_plain_numbers_at_the_capped_n() -> None:
    dataset = make("dataset", "digits")
    row = measured(dataset.sample(500, np.random.default_rng(9)), dataset, 500, n_max=150)
    assert isinstance(row["precision_recall/precision"], float)
    assert row["precision_recall/n"] == 150
    assert 0.5 < row["precision_recall/recall"] <= 1


def test_replicates_are_capped() -> None:
    dataset = make("dataset", "gaussian", d=2, replicates=6)
    row = measured(dataset.sample(50, np.random.default_rng(9)), dataset, 50, replicates=4)
    assert row["precision_recall/recall"].shape == (4,)


@pytest.mark.parametrize(
    "x",
    [
        np.full((100, 1, 3), np.nan),
        np.full((100, 1, 3), 1e200),
        np.zeros((20, 1, 3)),
        np.zeros((100, 1, 2)),
        np.zeros((0, 1, 3)),
    ],
    ids=["nan", "too large", "too few", "shape", "none"],
)
def test_spoilt_samples_are_undefined(x: np.ndarray) -> None:
    row = measured(Samples(x), make("dataset", "gaussian", d=3), 100)
    assert isinstance(row["precision_recall/precision"], Undefined)
    assert isinstance(row["precision_recall/recall"], Undefined)
    assert 0 < row["precision_recall/recall_floor"] <= 1


def test_too_few_for_k_neighbours_is_undefined() -> None:
    dataset = make("dataset", "gaussian", d=3)
    row = measured(dataset.sample(5, np.random.default_rng(0)), dataset, 5)
    assert isinstance(row["precision_recall/precision"], Undefined)
    assert isinstance(row["precision_recall/precision_floor"], Undefined)


def test_the_floors_are_the_means_over_disjoint_real_sets_a_replicate_for_each() -> None:
    dataset, n, splits, k = Points(replicates=2), 20, 3, 2
    metric = prepared("precision_recall", dataset, 50, n, splits=splits, k=k)
    stream = np.random.default_rng(2)  # as `prepared` gives it
    pool = real_pool(dataset, dataset.sample(50, np.random.default_rng(1)), 2 * n, stream).samples
    between = []
    for i, (one, other) in enumerate(disjoint_pairs(len(pool), n, splits, stream)):
        x = pool.x[:, i % 2]
        between.append(literal(x[one], x[other], k))
    row = numbers_of(metric(dataset.sample(n, np.random.default_rng(9)), None, NOTHING, None))
    precision, recall = np.mean(between, axis=0)
    assert precision != recall
    assert row["precision_recall/precision_floor"] == pytest.approx(precision)
    assert row["precision_recall/recall_floor"] == pytest.approx(recall)
