"""Samplings against the closed forms they follow, and what they do when nothing passes."""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import numpy as np
import pytest

from engine.parts import Draw, Finding
from engine.registry import make
from engine.samples import Samples
from engine.samplings.curate import choice
from tests.support.around import around


def drawn(sampling: Any, generator: Any, n: int, real: Samples, seed: int) -> Draw:
    """A draw with nothing around it but the real set and its labels."""
    return sampling.draw(generator, n, around(real, n, generator), np.random.default_rng(seed))


def prepared(name: str, dataset: Any, generator: Any, real: Samples, **params: Any) -> Any:
    sampling = make("sampling", name, **params)
    sampling.prepare(dataset, real, generator, np.random.default_rng(11))
    return sampling


def fitted(name: str, data: Samples, **params: Any) -> Any:
    generator = make("generator", name, **params)
    generator.fit(data, np.random.default_rng(1))
    return generator


# ---- Yi's linear model ---------------------------------------------------------------------------


def yi(replicates: int, d: int = 8, n_real: int = 100) -> tuple[Any, Samples, Any]:
    """Data set, real set and founder of Yi's configuration."""
    dataset = make(
        "dataset", "regression", d=d, weights="ones", design_seed=12345, replicates=replicates
    )
    real = dataset.sample(n_real, np.random.default_rng(3))
    return dataset, real, fitted("linear_regression", real)


def error(generator: Any, d: int = 8) -> tuple[float, float]:
    """E |theta - theta*|^2 and its standard error over replicates."""
    each = np.square(generator.weights_ - 1).sum(1)
    return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))


def verified_generations(
    generator: Any, sampling: Any, real: Samples, n: int, generations: int
) -> list[tuple[float, float]]:
    """Errors of generations 0..generations under verify, then replace."""
    rng, errors = np.random.default_rng(5), [error(generator)]
    for _ in range(generations):
        generator.fit(sampling.draw(generator, n, around(real, n, generator), rng).samples, rng)
        errors.append(error(generator))
    return errors


def test_yi_baseline_of_the_real_design() -> None:
    _, real, _ = yi(1)
    assert np.sum(1 / np.linalg.svd(real.x[:, 0])[1] ** 2) == pytest.approx(
        0.083738718266782, rel=1e-12
    )


@pytest.mark.parametrize(
    ("delta", "radius", "expected"),
    [(0, 0.1, 0.02414), (0.1, 0.5, 0.05545), (0.3, 0.1, 0.07604), (0.7, 0.5, 0.20505)],
)
def test_yi_generation_1(delta: float, radius: float, expected: float) -> None:
    """Yi's Theorem 3.1 (`first_round_error`), tabulated; the theorem itself is good to about 1 %
    (its own Monte Carlo column).
    """
    dataset, real, founder = yi(2000)
    verify = prepared(
        "verify", dataset, founder, real, rule="threshold", delta=delta, radius=radius
    )
    _, (value, se) = verified_generations(founder, verify, real, 800, 1)
    assert abs(value - expected) < 4 * se + 0.01 * expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delta", "radius", "table"),
    [
        (0.2, 0.1, {0: 0.0837, 1: 0.0470, 2: 0.0562, 3: 0.0593, 5: 0.0603}),
        (0.0, 0.1, {1: 0.0241, 2: 0.0206, 3: 0.0205, 5: 0.0205}),
        pytest.param(
            0.5,
            0.5,
            {1: 0.1296, 2: 0.2070, 3: 0.2525, 5: 0.2856, 10: 0.2941},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            1.0,
            0.1,
            {1: 0.6058, 2: 0.9095, 3: 0.9935, 5: 1.0187, 10: 1.0208, 20: 1.0206},
            marks=pytest.mark.slow,
        ),
        pytest.param(0.2, 0.1, {10: 0.0606, 20: 0.0604, 30: 0.0605}, marks=pytest.mark.slow),
    ],
)
def test_yi_many_generations(delta: float, radius: float, table: dict[int, float]) -> None:
    dataset, real, founder = yi(2000)
    verify = prepared(
        "verify", dataset, founder, real, rule="threshold", delta=delta, radius=radius
    )
    errors = verified_generations(founder, verify, real, 800, max(table))
    for t, expected in table.items():
        value, se = errors[t]
        assert abs(value - expected) < 4 * se + 0.003 * expected, f"generation {t}: {value} +- {se}"


def test_a_verifier_that_lets_everything_pass_is_replace() -> None:
    """.0837 + 8 t / 100, exact (`unverified_error`)."""
    dataset, real, founder = yi(2000)
    verify = prepared("verify", dataset, founder, real, rule="threshold", radius=1e6)
    draw = drawn(verify, founder, 800, real, 0)
    assert draw.report["acceptance"] == 1
    for t, (value, se) in enumerate(verified_generations(founder, verify, real, 800, 3)):
        assert abs(value - (0.083738718 + 0.08 * t)) < 4 * se


@pytest.mark.parametrize(
    ("a", "centre", "reach", "path"),
    [(2, 0, 1, [0.48995, 0.14091, 0.04098]), (1, 0.5, 1, [0.64373, 0.54180, 0.51217])],
)
def test_one_dimensional_map(a: float, centre: float, reach: float, path: list[float]) -> None:
    """a_{t+1} = T(a_t), the mean of the normal about a_t cut off at centre +- reach
    (n_kept = inf).
    """
    dataset = make("dataset", "regression", d=1, replicates=1)
    dataset.weights_ = np.zeros((1, 1))
    generator = make("generator", "linear_regression")
    generator.weights_ = np.array([[float(a)]])
    real = dataset.sample(3, np.random.default_rng(0))
    verify = prepared("verify", dataset, generator, real, rule="threshold", radius=0.0, slack=reach)
    verify._verifier.centre[:] = centre
    rng = np.random.default_rng(1)
    for expected in path:
        draw = verify.draw(generator, 400_000, around(real, 400_000, generator), rng).samples
        y = draw.y * draw.x[:, :, 0]  # y = a x + noise with x = +-1
        assert abs(y.mean() - expected) < 4 * y.std() / np.sqrt(y.size)
        generator.weights_ = np.array([[expected]])


@pytest.mark.parametrize(("reach", "expected"), [(0.5, 0.3829), (1.0, 0.6827), (2.0, 0.9545)])
def test_acceptance_about_the_centre(reach: float, expected: float) -> None:
    dataset, real, founder = yi(50)
    founder.weights_ = np.ones((50, 8))  # the knowledge centre itself
    verify = prepared("verify", dataset, founder, real, rule="threshold", radius=reach, slack=0.0)
    report = drawn(verify, founder, 800, real, 0).report
    assert abs(report["acceptance"] - expected) < 4 * 0.5 / np.sqrt(40_000)


def test_accepted_pairs_follow_the_truncated_law() -> None:
    from scipy.stats import kstest, truncnorm

    dataset, real, founder = yi(50)
    verify = prepared("verify", dataset, founder, real, rule="threshold", delta=1.0, radius=0.1)
    samples = verify.draw(
        founder, 800, around(real, 800, founder), np.random.default_rng(2)
    ).samples
    centre = np.einsum("nrd,rd->nr", samples.x, verify._verifier.centre)
    mean, reach = founder.predict(samples.x), 0.1 + np.sqrt(2 / np.pi)
    assert (np.abs(samples.y - centre) <= reach + 1e-12).all()
    uniform = truncnorm.cdf(samples.y, centre - reach - mean, centre + reach - mean, loc=mean)
    assert kstest(uniform.ravel(), "uniform").pvalue > 1e-3


def test_the_knowledge_centre_is_yis() -> None:
    dataset, real, founder = yi(2)
    verify = prepared("verify", dataset, founder, real, rule="threshold", delta=2.0)
    u = [
        -0.32112345,
        0.02597075,
        -0.4739756,
        -0.60003962,
        0.23963805,
        -0.17795991,
        0.44972197,
        0.14198192,
    ]
    np.testing.assert_allclose(verify._verifier.centre, 1 + 2 * np.tile(u, (2, 1)), atol=2e-8)
    assert verify._verifier.slack == pytest.approx(np.sqrt(2 / np.pi))


def test_block_design_uses_each_direction_equally_often() -> None:
    dataset, real, founder = yi(2)
    verify = prepared("verify", dataset, founder, real, rule="threshold")
    x = verify.draw(
        founder, 83, around(real, 83, founder), np.random.default_rng(0)
    ).samples.x  # [83, 2, 8]
    vectors, counts = np.unique(np.round(x[:, 0], 9), axis=0, return_counts=True)
    assert sorted(counts) == [10] * 5 + [11] * 3
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(8), atol=1e-6)
    gram = real.x[:, 0].T @ real.x[:, 0]
    rotated = vectors @ gram @ vectors.T
    np.testing.assert_allclose(rotated, np.diag(np.diag(rotated)), atol=1e-6 * gram.max())


def test_the_real_design_keeps_its_rows() -> None:
    dataset, real, founder = yi(3)
    verify = prepared("verify", dataset, founder, real, rule="threshold", design="real")
    samples = verify.draw(
        founder, 250, around(real, 250, founder), np.random.default_rng(0)
    ).samples
    np.testing.assert_array_equal(samples.x, real.x[np.arange(250) % 100])


def test_a_generator_with_covariates_of_its_own_keeps_them() -> None:
    dataset, real, _ = yi(3)
    founder = fitted("linear_regression", real, covariates="fresh")
    verify = prepared("verify", dataset, founder, real, rule="threshold")
    samples = drawn(verify, founder, 64, real, 0).samples
    assert verify._verifier.accepts(samples.x, samples.y).all()
    assert len(np.unique(samples.x[:, 0, 0])) == 64


# ---- quotas --------------------------------------------------------------------------------------


class Ranked:
    """A conditional model of points whose value is its rank in the batch, and the reward that reads
    it.
    """

    CONDITIONAL = True

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        labels: np.ndarray | None = None,
        bias: float | None = None,
    ) -> Samples:
        return Samples(rng.normal(size=(n, 3, 2)), labels)


def labelled(replicates: int = 3, **params: Any) -> tuple[Any, Samples]:
    dataset = make("dataset", "mixture", replicates=replicates, **params)
    return dataset, dataset.sample(200, np.random.default_rng(1))


@pytest.mark.parametrize(("share", "batch"), [(0.1, 10_000), (0.25, 70), (1.0, 10_000)])
def test_top_keeps_the_best_and_fills_every_class_exactly(share: float, batch: int) -> None:
    dataset, real = labelled()
    verify = prepared(
        "verify",
        dataset,
        Ranked(),
        real,
        rule="top",
        share=share,
        reward={"name": "true_density"},
        batch=batch,
    )
    draw = drawn(verify, Ranked(), 100, real, 2)
    assert draw.samples.x.shape == (100, 3, 2)
    kept, share_of_real = np.bincount(draw.samples.y, minlength=5), np.bincount(real.y) / 2
    assert (np.abs(kept - share_of_real) <= 1).all()
    assert draw.report["acceptance"] == pytest.approx(share, rel=0.15)
    if share < 1:
        assert draw.report["reward/kept"] > draw.report["reward"]
    else:
        assert draw.report["reward/kept"] == draw.report["reward"]


def test_top_keeps_what_lies_above_the_quantile_per_class_and_replicate() -> None:
    dataset, real = labelled()
    verify = prepared(
        "verify", dataset, Ranked(), real, rule="top", share=0.2, reward={"name": "true_density"}
    )
    batch = Ranked().sample(500, np.random.default_rng(0), np.arange(500) % 5)
    keep, figures = verify._top(batch, np.random.default_rng(0))
    for k, r in product(range(5), range(3)):
        rows = np.flatnonzero(batch.y == k)
        assert keep[rows, r].sum() == 20
        assert (
            figures["reward"][rows, r][keep[rows, r]].min()
            > figures["reward"][rows, r][~keep[rows, r]].max()
        )


class Coded(Ranked):
    """Every sample shows the class it was asked for, and no two samples are equal."""

    def sample(
        self, n: int, rng: np.random.Generator, labels: Any = None, bias: float | None = None
    ) -> Samples:
        return Samples(10.0 * labels[:, None, None] + rng.random((n, 3, 2)), labels)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("verify", {"rule": "top", "share": 0.3, "batch": 150}),
        ("verify", {"rule": "imperfect", "phi": 0.5, "psi": 0.4}),
        ("curate", {"k": 3, "batch": 70}),
    ],
)
def test_chosen_samples_keep_their_labels_and_none_is_used_twice(
    name: str, params: dict[str, Any]
) -> None:
    dataset, real = labelled()
    sampling = prepared(
        name, dataset, Coded(), real, reward={"name": "true_density", "of": "label"}, **params
    )
    samples = sampling.draw(
        Coded(), 101, around(real, 101, Coded()), np.random.default_rng(3)
    ).samples
    assert ((samples.x // 10).astype(int) == samples.y[:, None, None]).all()
    for r in range(3):
        assert len(np.unique(samples.x[:, r, 0])) == 101


def test_images_are_chosen_whole() -> None:
    dataset = make("dataset", "digits")
    real = dataset.sample(300, np.random.default_rng(1))

    class Redrawn(Ranked):
        def sample(
            self, n: int, rng: np.random.Generator, labels: Any = None, bias: float | None = None
        ) -> Samples:
            return real.take(np.array([rng.choice(np.flatnonzero(real.y == k)) for k in labels]))

    verify = prepared(
        "verify",
        dataset,
        Redrawn(),
        real,
        rule="top",
        share=0.5,
        reward={"name": "classifier", "steps": 30},
    )
    samples = verify.draw(
        Redrawn(), 80, around(real, 80, Redrawn()), np.random.default_rng(3)
    ).samples
    assert samples.x.shape == (80, 8, 8, 1)
    assert samples.x.dtype == np.uint8
    known = {picture.tobytes(): int(k) for picture, k in zip(real.x, real.y, strict=True)}
    assert [known[picture.tobytes()] for picture in samples.x] == samples.y.tolist()


def test_unlabelled_samples_are_one_class() -> None:
    dataset = make("dataset", "gaussian", d=2, replicates=4)
    real = dataset.sample(100, np.random.default_rng(1))
    founder = fitted("gaussian", real)
    verify = prepared(
        "verify", dataset, founder, real, rule="top", share=0.3, reward={"name": "true_density"}
    )
    samples = drawn(verify, founder, 90, real, 2).samples
    assert samples.y is None
    assert (
        np.square(samples.x).mean()
        < 0.5 * np.square(founder.sample(90, np.random.default_rng(2)).x).mean()
    )


def test_imperfect_keeps_correct_and_wrong_at_their_rates() -> None:
    """Feng: labels are right with probability rho; kept ones with rho phi / (rho phi + (1 - rho)
    psi).
    """
    dataset, real = labelled(replicates=20, std=0.05)
    rho, phi, psi = 0.7, 0.9, 0.3

    class Mistaken(Ranked):
        def sample(
            self, n: int, rng: np.random.Generator, labels: Any = None, bias: float | None = None
        ) -> Samples:
            wrong = rng.random((n, 20)) >= rho
            drawn = (
                labels[:, None] + wrong * rng.integers(1, 5, size=(n, 20))
            ) % 5  # the component really drawn from
            return Samples(dataset.centres_[drawn] + 0.05 * rng.normal(size=(n, 20, 2)), labels)

    judge = {"name": "true_density", "of": "label"}
    verify = prepared(
        "verify", dataset, Mistaken(), real, rule="imperfect", phi=phi, psi=psi, reward=judge
    )
    report = verify.draw(
        Mistaken(), 1000, around(real, 1000, Mistaken()), np.random.default_rng(2)
    ).report
    acceptance = rho * phi + (1 - rho) * psi
    se = 0.5 / np.sqrt(20_000)
    assert abs(report["correct"] - rho) < 4 * se
    assert abs(report["acceptance"] - acceptance) < 4 * se
    assert abs(report["correct/kept"] - rho * phi / acceptance) < 4 * se


class Bad(Ranked):
    """Class 2 is never right in replicate 1."""

    def sample(
        self, n: int, rng: np.random.Generator, labels: Any = None, bias: float | None = None
    ) -> Samples:
        x = np.array(make("dataset", "mixture").centres_)[labels][:, None, :] + np.zeros((n, 3, 2))
        x[labels == 2, 1] *= -1
        return Samples(x, labels)


@pytest.mark.parametrize("n", [50, 5000])
def test_a_quota_that_cannot_be_filled_is_a_finding(n: int) -> None:
    dataset, real = labelled()
    judge = {"name": "true_density", "of": "label"}
    verify = prepared("verify", dataset, Bad(), real, rule="imperfect", reward=judge)
    start = time.perf_counter()
    with pytest.raises(Finding, match="kept 0, fewer than 1 in 1000") as found:
        drawn(verify, Bad(), n, real, 0)
    assert found.value.status == "quota_unfilled"
    assert time.perf_counter() - start < 10


def test_a_hopeless_direction_is_a_finding() -> None:
    dataset, real, founder = yi(10)
    founder.weights_ = founder.weights_ + 100 * np.random.default_rng(0).normal(size=8)
    verify = prepared("verify", dataset, founder, real, rule="threshold")
    start = time.perf_counter()
    with pytest.raises(Finding, match="quota_unfilled"):
        drawn(verify, founder, 800, real, 0)
    assert time.perf_counter() - start < 10


def test_one_slow_replicate_is_waited_for() -> None:
    dataset, real, founder = yi(200)
    founder.weights_[17] += (
        3 * np.linalg.svd(real.x[:, 0])[2][0]
    )  # one direction passes about once in 100
    verify = prepared("verify", dataset, founder, real, rule="threshold")
    samples = drawn(verify, founder, 80, real, 0).samples
    assert verify._verifier.accepts(samples.x, samples.y).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rule": "top"}, "needs a reward"),
        ({"rule": "threshold", "reward": {"name": "true_density"}}, "takes no reward"),
        (
            {"rule": "top", "share": 0.0, "reward": {"name": "true_density"}},
            "share must be above 0",
        ),
        ({"rule": "imperfect", "phi": 0.0, "reward": {"name": "true_density"}}, "phi and psi"),
    ],
)
def test_rules_that_make_no_sense_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make("sampling", "verify", **params)


def test_a_rule_on_the_wrong_data_is_refused() -> None:
    dataset, real = labelled()
    with pytest.raises(ValueError, match="does not go with a data set of points"):
        prepared("verify", dataset, Ranked(), real, rule="threshold")


# ---- curation ------------------------------------------------------------------------------------

P, REWARD = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0, 0.5, 1, 2])


def by_enumeration(p: np.ndarray, reward: np.ndarray, k: int) -> np.ndarray:
    """The law of the winner among K iid draws: all K-tuples."""
    law = np.zeros(len(p))
    for tuple_ in product(range(len(p)), repeat=k):
        weight = np.exp(reward[list(tuple_)])
        np.add.at(law, list(tuple_), np.prod(p[list(tuple_)]) * weight / weight.sum())
    return law


def tokens() -> tuple[Any, Samples, Any]:
    """A truth whose log probabilities are REWARD up to a constant, and a model at P."""
    truth = np.exp(REWARD) / np.exp(REWARD).sum()
    dataset = make("dataset", "categorical", probabilities=truth.tolist(), replicates=2000)
    real = dataset.sample(50, np.random.default_rng(1))
    generator = fitted("categorical", real)
    generator.frequencies_ = np.tile(P, (2000, 1))
    return dataset, real, generator


def test_the_k_choice_vector() -> None:
    law = by_enumeration(P, REWARD, 4)
    np.testing.assert_allclose(law, [0.24559, 0.27352, 0.25897, 0.22192], atol=5e-6)
    before, after = P @ np.exp(REWARD), law @ np.exp(REWARD)
    variance = P @ np.exp(2 * REWARD) - before**2
    bound = before + 3 / 4 * variance / np.exp(REWARD).max()
    assert before == pytest.approx(2.1772, abs=5e-5)
    assert after == pytest.approx(3.0403, abs=5e-5)
    assert bound == pytest.approx(2.5236, abs=5e-5)
    assert after >= bound  # Lemma 2.2


@pytest.mark.parametrize(
    ("k", "scale", "batch"), [(4, 1.0, 10_000), (2, 2.0, 30), (1, 1.0, 10_000)]
)
def test_curated_tokens_follow_the_enumerated_law(k: int, scale: float, batch: int) -> None:
    dataset, real, generator = tokens()
    curate = prepared(
        "curate",
        dataset,
        generator,
        real,
        k=k,
        scale=scale,
        reward={"name": "true_density"},
        batch=batch,
    )
    draw = drawn(curate, generator, 100, real, 2)
    shares = np.stack([(draw.samples.x == i).mean(0) for i in range(4)], axis=1)  # [replicates, 4]
    se = shares.std(0, ddof=1) / np.sqrt(2000)
    assert (np.abs(shares.mean(0) - by_enumeration(P, scale * REWARD, k)) < 4 * se).all()


def test_curation_of_a_conditional_model_keeps_the_class_shares() -> None:
    dataset, real = labelled()
    curate = prepared(
        "curate", dataset, Ranked(), real, reward={"name": "true_density", "of": "label"}
    )
    draw = drawn(curate, Ranked(), 100, real, 2)
    assert (np.abs(np.bincount(draw.samples.y) - np.bincount(real.y) / 2) <= 1).all()
    assert draw.report["reward/kept"] > draw.report["reward"]


def test_impossible_candidates_are_never_chosen_beside_a_possible_one() -> None:
    score = np.array([[-np.inf, 0.0, -np.inf]] * 200 + [[-np.inf] * 3] * 300)
    chosen = choice(score, np.random.default_rng(0))
    assert (chosen[:200] == 1).all()
    assert (np.bincount(chosen[200:], minlength=3) > 60).all()


# ---- what all of them promise --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "biased", "verify", "curate", "correct", "select"])
def test_the_same_stream_gives_the_same_bits(name: str) -> None:
    dataset = make("dataset", "gaussian", d=2, replicates=3)
    real = dataset.sample(60, np.random.default_rng(1))
    founder = fitted("gaussian", real)
    params = {
        "biased": {"sampling_bias": 0.5},
        "verify": {"rule": "top", "reward": {"name": "true_density"}},
        "curate": {"reward": {"name": "true_density"}},
    }.get(name, {})
    sampling = prepared(name, dataset, founder, real, **params)
    one, two = (drawn(sampling, founder, 41, real, 4).samples for _ in range(2))
    assert one.x.tobytes() == two.x.tobytes()
    assert one.x.shape == (41, 3, 2)


def test_sampling_bias_is_the_variance() -> None:
    dataset = make("dataset", "gaussian", replicates=2000)
    real = dataset.sample(50, np.random.default_rng(1))
    founder = fitted("gaussian", real)
    biased = prepared("biased", dataset, founder, real, sampling_bias=0.3)
    draw = drawn(biased, founder, 400, real, 2).samples.x
    ratio = draw.var(0)[:, 0] / founder.covariance_[:, 0, 0]
    assert abs(ratio.mean() - 0.3 * (1 - 1 / 400)) < 4 * ratio.std() / np.sqrt(2000)


def test_plain_labels_have_the_real_shares() -> None:
    dataset, real = labelled()
    samples = (
        prepared("plain", dataset, Ranked(), real)
        .draw(Ranked(), 1000, around(real, 1000, Ranked()), np.random.default_rng(0))
        .samples
    )
    assert (np.bincount(samples.y) == np.bincount(real.y) * 5).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_reward_that_is_not_a_number_is_a_finding_and_never_wins(odd: float) -> None:
    """One among finite rewards: it would be the argmax of its choice."""

    class Once:
        def score(self, samples: Samples) -> np.ndarray:
            score = np.zeros((len(samples), 2000))
            score[7, 3] = odd
            return score

    dataset, real, generator = tokens()
    curate = prepared("curate", dataset, generator, real, k=2, reward={"name": "true_density"})
    curate._reward = Once()
    with pytest.raises(Finding, match="the scaled reward of 1 candidates is not a number"):
        drawn(curate, generator, 20, real, 0)
