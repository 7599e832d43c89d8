"""The regression chain against its exact laws, and the least-squares generator itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.theory import gaussian as theory
from analysis.theory import verifier as theory_verifier
from engine.generators import linear_regression
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples, concat
from tests.support.chains import assert_mean, chain, measured
from tests.theory import gaussian as oracles

SAME, FRESH = {"name": "linear_regression"}, {"name": "linear_regression", "covariates": "fresh"}


def errors(
    model: dict,
    policy: str,
    at: set[int],
    *,
    replicates: int = 2000,
    d: int = 10,
    noise: float = 1.0,
) -> dict:
    dataset = make("dataset", "regression", d=d, replicates=replicates, noise=noise)
    steps = chain(dataset, {**model, "noise": noise}, {"name": policy}, n=100, generations=max(at))
    values = measured(steps, {"name": "moments"}, dataset, at)
    return {t: of["moments/weight_error"] for t, of in values.items()}


# ---- the table: n = 100, d = 10 ----


@pytest.mark.parametrize("model", [SAME, FRESH], ids=["same", "fresh"])
def test_replace(model: dict) -> None:
    for t, error in errors(model, "replace", {0, 4, 9}).items():
        assert_mean(error, theory.regression_replace(100, 10, t), what=f"t = {t}")


def test_accumulate_with_the_same_covariates_is_exact() -> None:
    for t, error in errors(SAME, "accumulate", {1, 4, 9}).items():
        assert_mean(error, theory.regression_accumulate(100, 10, t), what=f"t = {t}")


def test_accumulate_with_fresh_covariates_is_lower() -> None:
    """A Monte Carlo: no closed form."""
    at = {1: (0.13964, 0.0007), 4: (0.16161, 0.0008), 9: (0.17064, 0.0008)}
    for t, error in errors(FRESH, "accumulate", set(at)).items():
        assert_mean(error, at[t][0], oracle_se=at[t][1], what=f"t = {t}")


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        (SAME, {1: (0.2004, 0.0010), 4: (0.2821, 0.0014)}),
        (FRESH, {1: (0.1965, 0.0009), 4: (0.2703, 0.0013)}),
    ],
    ids=["same", "fresh"],
)
def test_accumulate_subsample(model: dict, printed: dict) -> None:
    """A Monte Carlo of 10,000 chains: no closed form."""
    for t, error in errors(model, "accumulate_subsample", set(printed)).items():
        assert_mean(error, printed[t][0], oracle_se=printed[t][1], what=f"t = {t}")


@pytest.mark.slow
def test_the_whole_table() -> None:
    for t, error in errors(SAME, "replace", {19, 49}).items():
        assert_mean(error, theory.regression_replace(100, 10, t))
    for t, error in errors(SAME, "accumulate", {19, 49}).items():
        assert_mean(error, theory.regression_accumulate(100, 10, t))
    for t, error in errors(FRESH, "accumulate", {19, 49}).items():
        assert_mean(error, {19: 0.17525, 49: 0.17805}[t], oracle_se=0.0008)
    for model, printed in ((SAME, {9: 0.3161, 19: 0.3381}), (FRESH, {9: 0.3020, 19: 0.3229})):
        for t, error in errors(model, "accumulate_subsample", {9, 19}).items():
            assert_mean(error, printed[t], oracle_se=0.0016)


def test_noise_multiplies_the_error_by_its_variance() -> None:
    for t, error in errors(SAME, "replace", {5}, d=3, noise=3.0).items():
        assert_mean(error, 9 * theory.regression_replace(100, 3, t))


def test_augment_with_an_orthogonal_design() -> None:
    """X'X = n I: the law is exact."""
    d, n, replicates = 4, 64, 2000
    dataset = make("dataset", "regression", d=d, replicates=replicates)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(n, d)))[0] * np.sqrt(n)
    dataset._draw = lambda n, rng: np.repeat(basis[:n, None, :], replicates, axis=1)
    steps = chain(dataset, SAME, {"name": "augment", "synthetic_fraction": 0.5}, n=n, generations=6)
    for t, of in measured(steps, {"name": "moments"}, dataset, {0, 1, 6}).items():
        assert_mean(of["moments/weight_error"], oracles.regression_augment(n, n, d, t))


def test_weight_error_is_the_noiseless_test_error_on_held_out_covariates() -> None:
    dataset = make("dataset", "regression", d=5, replicates=200, noise=0.0)
    steps = list(chain(dataset, SAME, {"name": "replace"}, n=100, generations=3))
    error = measured(iter(steps), {"name": "moments"}, dataset, {3})[3]["moments/weight_error"]
    held_out = dataset.held_out(1000)
    test_mse = np.square(steps[-1].generator.predict(held_out.x) - held_out.y).mean(0)
    assert (test_mse / error).mean() == pytest.approx(1, abs=4 * np.sqrt(2 / 1000 / 200))


def test_yis_design_has_its_published_real_data_error() -> None:
    dataset = make("dataset", "regression", d=8, replicates=4000, weights="ones", design_seed=12345)
    data = dataset.sample(100, np.random.default_rng(4))
    assert (data.x[:, 17] == theory_verifier.yi_design(100, 8)).all()
    model = make("generator", "linear_regression")
    model.fit(data, np.random.default_rng(0))
    assert_mean(np.square(model.weights_ - 1).sum(1), 0.083738718266782)
    assert np.trace(linear_regression._design(data.x).inverse[0]) == pytest.approx(
        0.083738718266782, rel=1e-12
    )


# ---- the generator ----


def data_of(n: int, d: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return Samples(rng.normal(size=(n, 4, d)), rng.normal(size=(n, 4)))


@pytest.mark.parametrize(("n", "d"), [(20, 1), (20, 3), (10, 10), (10, 31)])
def test_fit_is_the_minimum_norm_least_squares_solution(n: int, d: int) -> None:
    data = data_of(n, d)
    model = make("generator", "linear_regression")
    model.fit(data, np.random.default_rng(0))
    for r in range(4):
        expected = np.linalg.lstsq(data.x[:, r], data.y[:, r], rcond=None)[0]
        assert model.weights_[r] == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("d", [1, 3])
def test_blocks_give_what_their_concatenation_gives(d: int) -> None:
    again = data_of(9, d)
    parts = [
        data_of(9, d),
        Samples(again.x, again.y + 1),
        data_of(5, d, seed=2),
        data_of(9, d, seed=3),
    ]
    model = make("generator", "linear_regression")
    whole = concat(parts)
    model.fit(whole, np.random.default_rng(0))
    stacked = make("generator", "linear_regression")
    stacked.fit(Samples(whole.x, whole.y), np.random.default_rng(0))
    assert model.weights_ == pytest.approx(stacked.weights_, rel=1e-9)


def test_a_design_that_comes_again_is_inverted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal covariates count, not the same array: `samples.given` makes a copy for every draw."""
    inverted, pinv = [], np.linalg.pinv
    monkeypatch.setattr(
        np.linalg, "pinv", lambda *args, **more: inverted.append(1) or pinv(*args, **more)
    )
    dataset = make("dataset", "regression", d=4, replicates=50)
    for seed, policy in enumerate(("replace", "accumulate")):
        inverted.clear()
        list(chain(dataset, SAME, {"name": policy}, n=30, generations=12, seed=seed))
        assert len(inverted) == 1, policy
    inverted.clear()
    list(chain(dataset, FRESH, {"name": "replace"}, n=30, generations=5, seed=2))
    assert len(inverted) == 6


def test_what_else_the_process_fits_does_not_change_the_bits() -> None:
    """Lineages take turns in one process, and a resumed one meets its designs in another order."""
    dataset = make("dataset", "regression", d=3, replicates=20)
    alone = [
        s.generator.weights_
        for s in chain(dataset, SAME, {"name": "accumulate"}, n=15, generations=6)
    ]
    taking_turns = []
    for step in chain(dataset, SAME, {"name": "accumulate"}, n=15, generations=6):
        taking_turns.append(step.generator.weights_)
        make("generator", "linear_regression").fit(
            data_of(9, 3, seed=step.t), np.random.default_rng(0)
        )
    assert all((a == b).all() for a, b in zip(alone, taking_turns, strict=True))


def test_samples_have_the_given_covariates_and_the_noise_put_back() -> None:
    model = make("generator", "linear_regression", noise=0.5)
    data = data_of(50, 2)
    model.fit(data, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(20_000, 4, 2))
    drawn = model.sample(20_000, np.random.default_rng(2), labels=x)
    left = drawn.y - np.einsum("nrd,rd->nr", x, model.weights_)
    assert drawn.x is x
    assert left.std(0) == pytest.approx(np.full(4, 0.5), rel=0.03)
    assert np.einsum("nrd,nr->rd", x, left) / 20_000 == pytest.approx(np.zeros((4, 2)), abs=0.02)
    fresh = make("generator", "linear_regression", covariates="fresh")
    fresh.fit(data, np.random.default_rng(0))
    other = fresh.sample(20_000, np.random.default_rng(2), labels=x).x
    assert not (other == x).any()
    assert other.std(0) == pytest.approx(np.ones((4, 2)), rel=0.03)


def test_a_loaded_model_draws_the_same_bits(tmp_path: Path) -> None:
    model, data = make("generator", "linear_regression"), data_of(50, 2)
    model.fit(data, np.random.default_rng(0))
    model.save(tmp_path)
    loaded = make("generator", "linear_regression")
    loaded.load(tmp_path)
    first, second = (m.sample(50, np.random.default_rng(3), labels=data.x) for m in (model, loaded))
    assert (first.y == second.y).all()


def test_divergence_is_a_finding() -> None:
    data = data_of(10, 2)
    with pytest.raises(Finding, match="diverged"), np.errstate(all="ignore"):
        make("generator", "linear_regression").fit(
            Samples(data.x, data.y * np.inf), np.random.default_rng(0)
        )
