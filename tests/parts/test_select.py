"""Selection by importance: with many candidates the law is the one that is kept, and nothing is
drawn twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.parts import Finding, traits_of
from engine.registry import make
from engine.samples import Samples
from engine.samplings._moments import mean_and_covariance, vectors
from tests.support.around import around


def prepared(dataset: Any, real: Samples, founder: Any = None, **params: Any) -> Any:
    sampling = make("sampling", "select", **params)
    sampling.prepare(dataset, real, founder, np.random.default_rng(11))
    return sampling


def drawn(sampling: Any, generator: Any, n: int, real: Samples, seed: int = 0) -> Any:
    return sampling.draw(generator, n, around(real, n, generator), np.random.default_rng(seed))


def drifted(replicates: int) -> tuple[Any, Samples, Any]:
    """A Gaussian model that is too wide and off its place, in all of its replicates."""
    dataset = make("dataset", "gaussian", d=2, replicates=replicates)
    real = dataset.sample(80, np.random.default_rng(3))
    model = make("generator", "gaussian")
    model.fit(real, np.random.default_rng(1))
    model.mean_ = model.mean_ + 0.3
    model.covariance_, model.factor_ = 1.5 * model.covariance_, np.sqrt(1.5) * model.factor_
    return dataset, real, model


class Labelled:
    """Rows about their label, too far out."""

    CONDITIONAL = True

    def sample(
        self, n: int, rng: np.random.Generator, labels: np.ndarray | None = None, bias: Any = None
    ) -> Samples:
        assert labels is not None
        x = 10.0 * labels[:, None, None] + rng.normal(1, 1.3, (n, 1, 2))
        return Samples(x, labels)


def test_with_many_candidates_the_selected_have_the_moments_that_are_kept() -> None:
    """Means and covariances of n, within 4 standard errors over replicates and what 60 candidates
    for each place leave of the difference."""
    dataset, real, model = drifted(300)
    sampling = prepared(dataset, real, model, r=2, factor=60)
    found = mean_and_covariance(vectors(drawn(sampling, model, 40, real).samples.x))
    wanted = mean_and_covariance(vectors(real.x))
    for mine, own, drift in (
        (found[0], wanted[0], 0.3),
        (found[1], (1 - 1 / 40) * wanted[1], 0.5),
    ):
        off = (mine - own).reshape(300, -1)
        se = off.std(0) / np.sqrt(300)
        assert (np.abs(off.mean(0)) < 4 * se + 0.06 * drift).all()


def test_few_candidates_go_part_of_the_way() -> None:
    dataset, real, model = drifted(200)
    model.mean_ = model.mean_ + 2
    wanted = vectors(real.x).mean(1)
    off = []
    for factor in (1, 4, 16):
        sampling = prepared(dataset, real, model, r=2, factor=factor)
        found = vectors(drawn(sampling, model, 40, real).samples.x).mean(1)
        off.append(float(np.abs((found - wanted).mean(0)).max()))
    assert off[0] > 2 and off[1] < 0.8 * off[0] and off[2] < 0.8 * off[1]


def test_no_candidate_is_kept_twice_and_one_for_each_place_keeps_all() -> None:
    dataset, real, model = drifted(3)
    found = drawn(prepared(dataset, real, model, r=2), model, 50, real).samples.x
    assert all(len(np.unique(found[:, j, 0])) == 50 for j in range(3))
    all_of_them = drawn(prepared(dataset, real, model, r=2, factor=1), model, 50, real)
    plain = model.sample(50, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(all_of_them.samples.x, axis=0), np.sort(plain.x, axis=0))


def test_candidates_without_drift_weigh_the_same() -> None:
    dataset, real, _ = drifted(2)

    class Real:
        def sample(self, n: int, rng: Any, labels: Any = None, bias: Any = None) -> Samples:
            return real.take(np.arange(n) % len(real))

    report = drawn(prepared(dataset, real, r=2), Real(), 80, real).report
    assert report["effective"] == pytest.approx(1)


def test_each_class_is_selected_by_itself_and_keeps_its_places() -> None:
    dataset = make("dataset", "mixture", replicates=1)
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    x = 10.0 * labels[:, None, None] + rng.normal(0, 1, (300, 1, 2))
    real = Samples(x, labels).of(traits_of(dataset))
    draw = drawn(prepared(dataset, real, r=2, factor=30), Labelled(), 120, real)
    assert (draw.samples.y == around(real, 120, Labelled()).labels).all()
    for k in range(3):
        own = draw.samples.of_class(k).x
        assert abs(own.mean() - 10 * k) < 0.35 and own.std() < 1.25
    assert 0.2 < draw.report["effective"] < 0.9
    assert draw.report["bytes_per_class"] == pytest.approx(4 * (2 + 3 + 4 / 3))


def test_candidates_come_from_the_sampling_inside() -> None:
    dataset, real, model = drifted(2)
    inner = {"name": "correct", "r": 2}
    sampling = prepared(dataset, real, model, r=2, factor=3, sampling=inner)
    draw = drawn(sampling, model, 40, real)
    assert draw.report["effective"] == pytest.approx(1), "what is corrected has the moments"


def test_candidates_that_are_not_finite_are_a_finding() -> None:
    dataset, real, model = drifted(2)
    model.mean_ = model.mean_ * np.nan
    with pytest.raises(Finding, match="diverged"):
        drawn(prepared(dataset, real, model, r=2), model, 40, real)
