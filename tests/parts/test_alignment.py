"""alignment: the definition in features, floors of the same n, and what it says of samples that no
classifier should judge.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from engine.distances.alignment import LEAST, centroid, covariance, separability
from engine.distances.floors import disjoint_pairs, real_pool
from engine.parts import Undefined
from engine.registry import make
from engine.samples import Samples
from tests.parts.test_fid import Points, Unlabelled, measured, prepared


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_it_is_the_definition_in_every_replicate() -> None:
    dataset, n = Points(replicates=3), 40
    metric = prepared("alignment", dataset, 90, n, replicates=2)
    real = real_pool(dataset, dataset.sample(90, rng(1)), 2 * n, rng(2)).samples.x[:n]
    drawn = dataset.sample(50, rng(9))
    row = measured(metric, drawn)
    for r in range(2):
        one, other = real[:, r], drawn.x[:n, r]
        assert row["alignment/auc"][r] == separability(one, other)[0]
        assert row["alignment/centroid"][r] == centroid(one, other)
        assert row["alignment/covariance"][r] == covariance(one, other)
    assert len(row["alignment/auc"]) == 2 and row["alignment/n"] == n


def test_its_floors_are_the_means_over_pairs_of_disjoint_real_sets() -> None:
    dataset, splits, replicates = Points(replicates=3), 5, 3
    metric = prepared("alignment", dataset, 50, 20, splits=splits)
    stream = rng(2)  # as `prepared` gives it
    pool = real_pool(dataset, dataset.sample(50, rng(1)), 40, stream)
    between = []
    for i, (a, b) in enumerate(disjoint_pairs(len(pool), 20, splits, stream)):
        x = pool.samples.x[:, i % replicates]
        between.append((separability(x[a], x[b])[0], centroid(x[a], x[b]), covariance(x[a], x[b])))
    row = measured(metric, dataset.sample(20, rng(9)))
    for part, values in zip(("auc", "centroid", "covariance"), np.transpose(between), strict=True):
        assert row[f"alignment/{part}_floor"] == pytest.approx(values.mean())
        assert row[f"alignment/{part}_floor_sd"] == pytest.approx(values.std(ddof=1))


def test_real_samples_lie_at_the_floor_and_moved_ones_where_the_law_says() -> None:
    """Two normals a distance 1 apart in each of 4 coordinates: AUC Phi(2 / sqrt 2), centroid 1 / 1,
    covariance as between real sets.
    """
    dataset, n = Unlabelled(replicates=20), 400
    metric = prepared("alignment", dataset, 900, n, replicates=20, splits=20)
    same, moved = (dataset.sample(n, rng(s)) for s in (8, 9))
    row = measured(metric, same)
    for part in ("auc", "centroid", "covariance"):
        value, floor = row[f"alignment/{part}"], row[f"alignment/{part}_floor"]
        error = 4 * row[f"alignment/{part}_floor_sd"] * np.sqrt(2 / 20)
        assert value.mean() == pytest.approx(floor, abs=error)
    row = measured(metric, Samples(moved.x + 1))
    auc = row["alignment/auc"]
    expected = norm.cdf(2 / np.sqrt(2))
    assert auc.mean() == pytest.approx(expected, abs=4 * auc.std(ddof=1) / np.sqrt(20) + 0.003)
    assert row["alignment/centroid"].mean() == pytest.approx(1.0, abs=0.03)
    assert row["alignment/covariance"].mean() < 1.5 * row["alignment/covariance_floor"]


@pytest.mark.parametrize("name", ["digits", "languages"])
def test_pictures_and_texts_have_one_number_and_its_extractor(name: str) -> None:
    dataset = make("dataset", name)
    extractor = "raw" if name == "digits" else "ngrams"
    metric = make("metric", "alignment", extractor=extractor, splits=2)
    metric.prepare(dataset, dataset.sample(60, rng(1)), 60, rng(2))
    row = measured(metric, dataset.sample(60, rng(3)))
    assert metric.about_ == {"extractor": extractor}
    assert np.size(row["alignment/auc"]) == 1
    assert abs(float(np.squeeze(row["alignment/auc"])) - 0.5) < 0.25


@pytest.mark.parametrize(("drawn", "held_out"), [(LEAST - 1, 100), (40, LEAST - 1)])
def test_too_few_on_either_side_are_named(drawn: int, held_out: int) -> None:
    class Few(Points):
        def held_out(self, n: int) -> Samples:
            return super().held_out(min(n, held_out))

    row = measured(prepared("alignment", Few(), 50, drawn), Few().sample(drawn, rng(9)))
    side = "are drawn" if drawn < held_out else "the real data hold out"
    for part in ("auc", "centroid", "covariance"):
        for key in (f"alignment/{part}", f"alignment/{part}_floor"):
            said = row[key]
            assert isinstance(said, Undefined) and side in said.reason
            assert f"at least {LEAST}" in said.reason
