"""Token chains against their exact laws and Seddik's equations, and the frequency model itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from analysis.theory import discrete as theory
from engine.generators.categorical import Categorical
from engine.registry import make
from engine.samples import Samples, concat
from tests.support.around import NOTHING
from tests.support.chains import assert_mean, chain, measured
from tests.theory import discrete as oracles

MODEL, DISCRETE = {"name": "categorical"}, {"name": "discrete"}
SEDDIK = [0.25, 0.15, 0.1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05]  # sum of squares .14


def truth(replicates: int, **params: object) -> object:
    return make("dataset", "categorical", replicates=replicates, **params)


# ---- replace ----


def test_sum_of_squares_under_replace() -> None:
    dataset = truth(3000, outcomes=10)
    values = measured(
        chain(dataset, MODEL, {"name": "replace"}, n=100, generations=19),
        DISCRETE,
        dataset,
        {0, 9, 19},
    )
    for t, of in values.items():
        assert_mean(of["discrete/sum_p2"], theory.replace_sum_p2(100, t, 0.1), what=f"t = {t}")


def fits_until_dirac(dataset: object, n: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of fits until one token is left, and which [replicates]."""
    fits = np.zeros(dataset.replicates)
    for step in chain(dataset, MODEL, {"name": "replace"}, n=n, generations=most):
        p = step.generator.frequencies_
        left = np.count_nonzero(p, axis=1) > 1
        fits[left] = step.t + 2
        if not left.any():
            return np.maximum(fits, 1), p.argmax(1)
    raise AssertionError(f"{left.sum()} chains still live after {most} generations")


@pytest.mark.parametrize(
    ("n", "outcomes", "printed", "se"),
    [
        (10, 10, 17.41, 0.14),
        pytest.param(100, 10, 186.9, 0.75, marks=pytest.mark.slow),
        pytest.param(100, 2, 136.1, 0.7, marks=pytest.mark.slow),
    ],
)
def test_fits_until_one_token_is_left(n: int, outcomes: int, printed: float, se: float) -> None:
    """A Monte Carlo; within Seddik's bounds; the large-n formula is 1 to 9 % above."""
    fits, _ = fits_until_dirac(truth(4000, outcomes=outcomes), n, 60 * n)
    assert_mean(fits, printed, oracle_se=se)
    lower, upper = oracles.collapse_fits_bounds(n, 1 / outcomes, outcomes)
    assert lower < fits.mean() < upper
    assert 1 < oracles.collapse_fits(n, np.full(outcomes, 1 / outcomes)) / fits.mean() < 1.12


def test_the_survivor_has_its_own_probability_and_collapse_obeys_equation_7() -> None:
    p = np.array([0.5, 0.3, 0.15, 0.05])
    fits, survivor = fits_until_dirac(truth(4000, probabilities=list(p)), 12, 2000)
    assert (
        chisquare(np.bincount(survivor, minlength=4), 4000 * oracles.survivor_law(p)).pvalue > 1e-3
    )
    for t in (5, 15, 40):
        lower, upper = oracles.collapse_probability(12, t, float((p**2).sum()), 4)
        assert lower <= (fits <= t + 1).mean() <= upper


# ---- augment: Seddik's equation (9) with the corrected sign ----


@pytest.mark.parametrize("n_synthetic", [10, 100])
def test_augment_follows_equation_9(n_synthetic: int) -> None:
    dataset = truth(4000, probabilities=SEDDIK)
    star = float(np.square(SEDDIK).sum())
    policy = {"name": "augment", "synthetic_fraction": n_synthetic / (100 + n_synthetic)}
    steps = chain(dataset, MODEL, policy, n=100, n_synthetic=n_synthetic, generations=5)
    for t, of in measured(steps, DISCRETE, dataset, {0, 1, 5}).items():
        assert_mean(
            of["discrete/sum_p2"], theory.augment_sum_p2(100, n_synthetic, t, star), what=f"t = {t}"
        )
        if t:
            assert_mean(
                of["discrete/l2"],
                oracles.augment_distance(100, n_synthetic, t, star),
                what=f"distance, t = {t}",
            )
        assert of["discrete/l1"].mean() <= oracles.augment_l1_bound(100, n_synthetic, len(SEDDIK))


def test_the_printed_sign_of_equation_9_would_be_seen() -> None:
    """Trap 4: with a minus, S_1 of few real tokens differs by more than the tolerance."""
    n_real, n, star = 5, 20, 0.14
    dataset = truth(4000, probabilities=SEDDIK)
    steps = chain(
        dataset,
        MODEL,
        {"name": "augment", "synthetic_fraction": 0.8},
        n=n_real,
        n_synthetic=n,
        generations=1,
    )
    value = measured(steps, DISCRETE, dataset, {1})[1]["discrete/sum_p2"]
    assert_mean(value, theory.augment_sum_p2(n_real, n, 1, star))
    a = n / (n_real + n)
    beta = a * ((1 + 1 / n_real) * a - 1 / n_real)
    error = 2 * (1 - 1 / n_real) * star * a / n_real * beta / (1 + (1 + 1 / n_real) * a)
    assert error > 4 * value.std() / np.sqrt(len(value))


def test_distance_to_model_0_is_bounded_and_grows_with_the_synthetic_set() -> None:
    dataset, final = truth(500, probabilities=SEDDIK), []
    for n_synthetic in (10, 100, 400):
        policy = {"name": "augment", "synthetic_fraction": n_synthetic / (100 + n_synthetic)}
        values = measured(
            chain(dataset, MODEL, policy, n=100, n_synthetic=n_synthetic, generations=30),
            DISCRETE,
            dataset,
            {15, 30},
        )
        final.append(values[30]["discrete/l1"].mean())
        assert final[-1] == pytest.approx(values[15]["discrete/l1"].mean(), rel=0.1)
    assert final == sorted(final)


# ---- the windows ----


def test_recent_delays_and_random_past_nearly_stops_total_collapse() -> None:
    """Seddik 4.2 at n = 10; after 100 generations."""
    dataset, share = truth(400, outcomes=3), {}
    for policy in ({"name": "replace"}, {"name": "recent", "k": 3}, {"name": "random_past"}):
        values = measured(
            chain(dataset, MODEL, policy, n=10, generations=100), DISCRETE, dataset, {30, 100}
        )
        share[policy["name"]] = [values[t]["discrete/fixated"].mean() for t in (30, 100)]
    assert share["replace"][1] == 1
    assert share["recent"][0] < share["replace"][0] - 0.2
    assert share["recent"][1] > 0.8
    assert share["random_past"][1] < 0.1


# ---- the metric ----


def test_discrete_values_by_hand() -> None:
    dataset = truth(2, probabilities=[0.5, 0.25, 0.25])
    real = Samples(np.array([[0, 0], [0, 1], [1, 2], [2, 2]]))
    synthetic = Samples(np.array([[0, 1], [0, 1], [1, 1], [1, 1]]))
    metric = make("metric", "discrete")
    metric.prepare(dataset, real, 4, np.random.default_rng(0))
    fitted = Categorical()
    fitted.fit(synthetic, np.random.default_rng(0))
    for generator in (fitted, object()):  # the model's frequencies, or else the samples'
        of = metric(synthetic, generator, NOTHING, np.random.default_rng(0))
        assert of["discrete/sum_p2"] == pytest.approx([0.5, 1])
        assert of["discrete/support"] == pytest.approx([2, 1])
        assert of["discrete/entropy"] == pytest.approx([np.log(2), 0])
        assert of["discrete/l1"] == pytest.approx([0.5, 1.5])
        assert of["discrete/l2"] == pytest.approx([2 / 16, 1 / 16 + 9 / 16 + 4 / 16])
        assert of["discrete/tv"] == pytest.approx([0.25, 0.75])
        assert of["discrete/fixated"] == pytest.approx([0, 1])


# ---- the model ----


def fitted(tokens: np.ndarray) -> Categorical:
    model = Categorical()
    model.fit(Samples(tokens), np.random.default_rng(0))
    return model


def test_frequencies_of_blocks_with_vanished_tokens() -> None:
    blocks = [Samples(np.array([[0, 3], [1, 3]])), Samples(np.array([[1, 0]]))]
    model = Categorical()
    model.fit(concat(blocks), np.random.default_rng(0))
    assert model.frequencies_ == pytest.approx(np.array([[1, 2, 0, 0], [1, 0, 0, 2]]) / 3)


def test_tokens_are_drawn_with_the_frequencies_and_without_order() -> None:
    model = fitted(np.repeat([[0], [1], [1], [3]], 4000, axis=1))
    tokens = model.sample(12, np.random.default_rng(1)).x
    assert tokens.shape == (12, 4000) and tokens.dtype == np.int64
    counts = np.bincount(tokens.ravel(), minlength=4)
    assert (
        counts[2] == 0
        and chisquare(counts[[0, 1, 3]], 48_000 * np.array([0.25, 0.5, 0.25])).pvalue > 1e-3
    )
    for a, b in ((0, 1), (0, 11), (4, 7)):  # places are independent of each other
        pairs = np.bincount(4 * tokens[a] + tokens[b], minlength=16).reshape(4, 4)[
            np.ix_([0, 1, 3], [0, 1, 3])
        ]
        p = np.array([0.25, 0.5, 0.25])
        assert chisquare(pairs.ravel(), 4000 * np.outer(p, p).ravel()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(1.0, [0.2, 0.8]), (0.5, [0.04 / 0.68, 0.64 / 0.68]), (0.0, [0, 1])],
)
def test_bias_is_temperature(temperature: float, expected: list[float]) -> None:
    model = fitted(np.repeat([[0], [1], [1], [1], [1]], 3, axis=1))
    tokens = model.sample(20_000, np.random.default_rng(0), bias=temperature).x
    assert (tokens == 1).mean(0) == pytest.approx(np.full(3, expected[1]), abs=0.02)
    assert model.frequencies_[0] == pytest.approx([0.2, 0.8])


def test_log_density_of_tokens_seen_and_unseen() -> None:
    model = fitted(np.array([[0, 2], [0, 2], [2, 2]]))
    log_p = model.log_density(np.array([[0, 2], [1, 0], [2, 5]]))
    assert log_p[:, 0] == pytest.approx([np.log(2 / 3), -np.inf, np.log(1 / 3)])
    assert log_p[:, 1] == pytest.approx([0, -np.inf, -np.inf])


def test_a_loaded_model_draws_the_same_bits(tmp_path: Path) -> None:
    model = fitted(np.random.default_rng(0).integers(7, size=(20, 3)))
    model.save(tmp_path)
    loaded = Categorical()
    loaded.load(tmp_path)
    assert (
        loaded.sample(9, np.random.default_rng(1)).x == model.sample(9, np.random.default_rng(1)).x
    ).all()
