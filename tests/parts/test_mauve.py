"""MAUVE: curve and area in closed form, and by the package of its authors where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import beta

from engine.metrics import mauve
from engine.registry import make
from engine.samples import Samples
from tests.support.around import NOTHING


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def overlap(p: list[float], q: list[float]) -> float:
    curve = mauve.divergence_curve(np.array(p), np.array(q), mauve.weights())
    return mauve.area(curve)


def test_the_ends_are_known() -> None:
    assert overlap([0.2, 0.8], [0.2, 0.8]) == pytest.approx(1)
    apart = 5 * beta(6, 5)  # of w^5 over (1 - w)^5
    assert overlap([1.0, 0.0], [0.0, 1.0]) == pytest.approx(apart, rel=1e-3)


def test_of_two_histograms_it_is_the_integral() -> None:
    p, q = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.1, 0.3, 0.2, 0.4])

    def point(w: float) -> tuple[float, float]:
        r = w * p + (1 - w) * q
        to_q, to_p = (float(v[v > 0] @ np.log(v[v > 0] / r[v > 0])) for v in (q, p))
        return np.exp(-5 * to_q), np.exp(-5 * to_p)

    def slope(w: float) -> float:
        """dx / dw of the first coordinate."""
        r = w * p + (1 - w) * q
        return point(w)[0] * 5 * float((q / r) @ (p - q))

    exact = -quad(lambda w: point(w)[1] * slope(w), 0, 1)[0]
    assert overlap(p.tolist(), q.tolist()) == pytest.approx(exact, rel=1e-3)
    assert overlap(p.tolist(), q.tolist()) == pytest.approx(overlap(q.tolist(), p.tolist()))


@pytest.mark.slow  # their package imports much
def test_the_curve_is_that_of_its_authors() -> None:
    theirs = pytest.importorskip("mauve.compute_mauve")
    p, q = rng().dirichlet(np.ones(20)), rng(1).dirichlet(np.ones(20))
    p[3] = q[7] = 0
    p, q, at = p / p.sum(), q / q.sum(), np.linspace(1e-6, 1 - 1e-6, 25)
    expected = theirs.get_divergence_curve_for_multinomials(p, q, at, 5)
    assert mauve.divergence_curve(p, q, at) == pytest.approx(expected)


def test_real_text_stands_at_its_floor_and_another_language_below_it() -> None:
    truth = make("dataset", "markov", replicates=2)
    metric = make("metric", "mauve", starts=1)
    metric.prepare(truth, truth.sample(200, rng()), 200, rng(1))
    own, other = (
        metric(language.sample(200, rng(5)), None, NOTHING, rng(2))["mauve"]
        for language in (truth, make("dataset", "markov", replicates=2, law_seed=4))
    )
    assert own.n == 200 and own.value.shape == (2,)
    assert own.value == pytest.approx(own.floor, abs=0.1) and own.floor > 0.7
    assert (other.value < 0.05).all()


def test_fewer_different_texts_than_cells_have_a_value() -> None:
    truth = make("dataset", "markov", outcomes=2, length=3)
    metric = make("metric", "mauve", starts=1)
    metric.prepare(truth, truth.sample(200, rng()), 200, rng(1))
    value = metric(truth.sample(200, rng(5)), None, NOTHING, rng(2))["mauve"].value
    assert 0.9 < value <= 1
    one = Samples(np.zeros((200, 1, 3), np.uint8))
    assert metric(one, None, NOTHING, rng(2))["mauve"].value.reason == "all 200 samples are equal"
