"""The Gaussian chain against its exact laws and Kazdan's published runs,
and the generator itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.theory import gaussian as theory
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples, concat
from tests.support.around import NOTHING
from tests.support.chains import assert_mean, assert_variance, chain, measured
from tests.theory import gaussian as oracles

MOMENTS = {"name": "moments"}
REPLACE, ACCUMULATE, SUBSAMPLE = (
    {"name": "replace"},
    {"name": "accumulate"},
    {"name": "accumulate_subsample"},
)
AUGMENT, MIX = (
    {"name": "augment", "synthetic_fraction": 0.75},
    {"name": "replace", "synthetic_fraction": 0.6},
)


def truth(d: int = 1, replicates: int = 3000, **params: object) -> object:
    return make("dataset", "gaussian", d=d, replicates=replicates, **params)


def fitted(data: Samples, **params: object) -> object:
    model = make("generator", "gaussian", **params)
    model.fit(data, np.random.default_rng(0))
    return model


# ---- the conservation law ----


@pytest.mark.parametrize(
    ("policy", "fresh"),
    [
        (REPLACE, False),
        (ACCUMULATE, False),
        (SUBSAMPLE, False),
        (AUGMENT, False),
        (MIX, False),
        ({"name": "recent", "k": 3}, False),
        ({"name": "random_past"}, False),
        (AUGMENT, True),
        (MIX, True),
    ],
)
@pytest.mark.parametrize("d", [1, 3])
def test_conservation_law(policy: dict, fresh: bool, d: int) -> None:
    """E[|m_t - mu|^2 + tr Sigma_t] = tr Sigma for every t with divisor n, whatever the policy
    weighs.
    """
    dataset = truth(d, spread=[2.0, 1.0, 0.25][:d])
    values = measured(
        chain(dataset, {"name": "gaussian"}, policy, n=20, generations=9, fresh=fresh),
        MOMENTS,
        dataset,
        set(range(10)),
    )
    trace = sum([2.0, 1.0, 0.25][:d])
    for t, of in values.items():
        assert_mean(
            of["moments/mean_error"] + of["moments/trace_ratio"] * trace, trace, what=f"t = {t}"
        )


def test_divisor_n_minus_1_and_sampling_bias_break_it() -> None:
    dataset = truth(1)
    for divisor, bias in (("n-1", None), ("n", 0.5)):
        *_, last = chain(
            dataset,
            {"name": "gaussian", "divisor": divisor},
            REPLACE,
            n=20,
            generations=9,
            bias=bias,
        )
        total = np.square(last.generator.mean_[:, 0]) + last.generator.covariance_[:, 0, 0]
        assert abs(total.mean() - 1) > 6 * total.std() / np.sqrt(len(total))


# ---- replace: Tables A and B ----


@pytest.mark.parametrize("n", [10, 100])
def test_table_a_replace(n: int) -> None:
    dataset = truth(1, 4000)
    at = {0, 9, 49}
    values = measured(
        chain(dataset, {"name": "gaussian"}, REPLACE, n=n, generations=49), MOMENTS, dataset, at
    )
    for t in at:
        of = values[t]
        assert_mean(
            of["moments/mean_error"], theory.replace_mean_error(n, t), what=f"mean error, t = {t}"
        )
        assert_mean(
            of["moments/log_det_ratio"], theory.replace_log_det(n, t), what=f"log v, t = {t}"
        )
        assert_variance(of["moments/log_det_ratio"], theory.replace_log_det_variance(n, t))
        assert_mean(of["moments/w2"], oracles.replace_w2(n, t), what=f"W2, t = {t}")
        if n == 100 or t == 0:  # else too heavy-tailed for any number of chains
            assert_mean(
                of["moments/trace_ratio"], oracles.replace_variance(n, t), what=f"v, t = {t}"
            )
            assert_mean(
                np.square(of["moments/trace_ratio"]),
                oracles.replace_variance_square(n, t),
                what=f"v^2, t = {t}",
            )
            assert_mean(of["moments/kl"], theory.replace_kl(n, t), what=f"KL, t = {t}")


def test_log_variance_is_right_even_where_samples_differ_in_their_seventh_digit() -> None:
    """n = 10, t = 99: the typical standard deviation is 1.6e-5 of the mean's size, in the tails
    1e-9.
    """
    *_, last = chain(truth(1, 4000), {"name": "gaussian"}, REPLACE, n=10, generations=99)
    logs = np.log(last.generator.covariance_[:, 0, 0])
    assert logs.min() < -35
    assert_mean(logs, theory.replace_log_det(10, 99))
    assert_variance(logs, theory.replace_log_det_variance(10, 99))


def test_unbiased_divisor_test_the_log_not_the_mean() -> None:
    dataset = truth(1, 4000)
    model = {"name": "gaussian", "divisor": "n-1"}
    values = measured(
        chain(dataset, model, REPLACE, n=100, generations=49), MOMENTS, dataset, {9, 49}
    )
    for t, of in values.items():
        assert_mean(of["moments/mean_error"], theory.replace_mean_error(100, t, divisor="n-1"))
        assert_mean(of["moments/trace_ratio"], 1.0)
        assert_mean(of["moments/log_det_ratio"], theory.replace_log_det(100, t, divisor="n-1"))
        assert_mean(of["moments/w2"], oracles.replace_w2(100, t, divisor="n-1"))


def test_table_b_three_dimensions() -> None:
    dataset = truth(3, 2500, spread=[4.0, 1.0, 0.1])
    values = measured(
        chain(dataset, {"name": "gaussian"}, REPLACE, n=100, generations=49),
        MOMENTS,
        dataset,
        {0, 9, 49},
    )
    for t, of in values.items():
        assert_mean(of["moments/mean_error"], 5.1 / 3 * theory.replace_mean_error(100, t, d=3))
        assert_mean(of["moments/trace_ratio"], oracles.replace_variance(100, t))
        assert_mean(of["moments/log_det_ratio"], theory.replace_log_det(100, t, d=3))
        assert_variance(of["moments/log_det_ratio"], theory.replace_log_det_variance(100, t, d=3))
        assert_mean(of["moments/kl"], theory.replace_kl(100, t, d=3))
    first = np.exp(values[0]["moments/log_det_ratio"])
    assert_mean(first, oracles.replace_det(100, 0, d=3))


def test_sampling_bias() -> None:
    dataset = truth(1)
    values = measured(
        chain(dataset, {"name": "gaussian"}, REPLACE, n=50, generations=6, bias=0.6),
        MOMENTS,
        dataset,
        {1, 6},
    )
    for t, of in values.items():
        variance, error = oracles.replace_biased(50, t, 0.6)
        assert_mean(of["moments/trace_ratio"], variance)
        assert_mean(of["moments/mean_error"], error)


# ---- accumulate, subsample, real data in the mixture ----


@pytest.mark.parametrize(("n", "last"), [(10, 49), (100, 49)])
def test_table_c_accumulate(n: int, last: int) -> None:
    dataset = truth(1)
    values = measured(
        chain(dataset, {"name": "gaussian"}, ACCUMULATE, n=n, generations=last),
        MOMENTS,
        dataset,
        {1, 9, 49},
    )
    for t, of in values.items():
        assert_mean(of["moments/mean_error"], theory.accumulate_mean_error(n, t))
        assert_mean(of["moments/trace_ratio"], theory.accumulate_variance(n, t))
    printed = {
        (10, 9): (-0.32598, 0.28282),
        (10, 49): (-0.34094, 0.30035),
        (100, 9): (-0.03136, 0.01643),
        (100, 49): (-0.03289, 0.01726),
    }
    for t in (9, 49):  # Table C's Monte Carlo, 1e6 chains
        assert_mean(values[t]["moments/log_det_ratio"], printed[n, t][0])
        assert_mean(values[t]["moments/kl"], printed[n, t][1])


@pytest.mark.parametrize(("n", "last"), [(10, 49), (100, 9)])
def test_table_c_subsample(n: int, last: int) -> None:
    dataset = truth(1)
    values = measured(
        chain(dataset, {"name": "gaussian"}, SUBSAMPLE, n=n, generations=last),
        MOMENTS,
        dataset,
        {1, 9, last},
    )
    for t, of in values.items():
        assert_mean(of["moments/mean_error"], theory.subsample_mean_error(n, t))
        assert_mean(of["moments/trace_ratio"], theory.subsample_variance(n, t))


@pytest.mark.slow
def test_subsample_plateaus_between_accumulate_and_replace() -> None:
    dataset, error = truth(1), {}
    for policy in (REPLACE, ACCUMULATE, SUBSAMPLE):
        values = measured(
            chain(dataset, {"name": "gaussian"}, policy, n=30, generations=99),
            MOMENTS,
            dataset,
            {49, 99},
        )
        error[policy["name"]] = {t: of["moments/mean_error"] for t, of in values.items()}
    for t in (49, 99):
        assert_mean(error["accumulate_subsample"][t], theory.subsample_mean_error(30, t))
        assert (
            error["accumulate"][t].mean()
            < error["accumulate_subsample"][t].mean()
            < error["replace"][t].mean()
        )


@pytest.mark.parametrize(
    ("n_real", "n_synthetic", "at"), [(100, 100, {1, 49}), (100, 50, {49}), (100, 900, {9, 49})]
)
@pytest.mark.parametrize("fresh", [False, True])
def test_augment_and_fresh(n_real: int, n_synthetic: int, at: set[int], fresh: bool) -> None:
    dataset = truth(1, 2000)
    policy = {"name": "augment", "synthetic_fraction": n_synthetic / (n_real + n_synthetic)}
    steps = chain(
        dataset,
        {"name": "gaussian"},
        policy,
        n=n_real,
        n_synthetic=n_synthetic,
        generations=max(at),
        fresh=fresh,
    )
    for t, of in measured(steps, MOMENTS, dataset, at).items():
        fixed = theory.augment_mean_error(n_real, n_synthetic, t)
        oracle = theory.fresh_mean_error(n_real, n_synthetic, t, n_first=n_real) if fresh else fixed
        assert_mean(of["moments/mean_error"], oracle)
        assert_mean(of["moments/trace_ratio"], 1 - oracle)


def test_the_fresh_loop_forgets_its_first_set() -> None:
    dataset = truth(1, 2000)
    policy = {"name": "augment", "synthetic_fraction": 0.5}
    for n_first in (5, 400):
        steps = chain(
            dataset, {"name": "gaussian"}, policy, n=50, n_first=n_first, generations=20, fresh=True
        )
        error = measured(steps, MOMENTS, dataset, {20})[20]["moments/mean_error"]
        assert_mean(error, oracles.fresh_mean_error_limit(50, 50))


def test_the_fresh_loop_with_sampling_bias() -> None:
    dataset = truth(1, 2000)
    steps = chain(
        dataset,
        {"name": "gaussian"},
        {"name": "augment", "synthetic_fraction": 0.9},
        n=100,
        generations=9,
        fresh=True,
        bias=0.5,
    )
    for t, of in measured(steps, MOMENTS, dataset, {3, 9}).items():
        variance, error = oracles.fresh_biased(100, 900, t, n_first=100, sampling_bias=0.5)
        assert_mean(of["moments/trace_ratio"], variance)
        assert_mean(of["moments/mean_error"], error)


@pytest.mark.parametrize(("n_synthetic", "at"), [(50, {1, 20}), (90, {5, 20})])
def test_mix(n_synthetic: int, at: set[int]) -> None:
    dataset = truth(1)
    policy = {"name": "replace", "synthetic_fraction": n_synthetic / 100}
    for t, of in measured(
        chain(dataset, {"name": "gaussian"}, policy, n=100, generations=20), MOMENTS, dataset, at
    ).items():
        assert_mean(of["moments/mean_error"], theory.mix_mean_error(100, n_synthetic, t))


# ---- Kazdan's published runs ----


def simulated(policy: dict, n: int, at: set[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    steps = chain(truth(1, 2000), {"name": "gaussian"}, policy, n=n, generations=max(at), seed=7)
    kept = [s for s in steps if s.t in at]
    return {
        s.t: (s.generator.covariance_[:, 0, 0], np.square(s.generator.mean_[:, 0])) for s in kept
    }


@pytest.mark.parametrize(
    ("setting", "n"),
    [("replace", 10), ("replace", 32), ("replace", 100), ("accumulate", 10), ("accumulate", 100)],
)
def test_kazdans_runs_have_our_law(real_data: Path, setting: str, n: int) -> None:
    """Their runs against ours: the two-sample Kolmogorov-Smirnov test, and means within 4 standard
    errors of the oracle.
    """
    pandas = pytest.importorskip("pandas")
    runs = pandas.read_parquet(real_data / "reference" / "gaussian_recursive_fit_runs.parquet")
    runs = runs[(runs.setting == setting) & (runs.n_per_iteration == n)]
    at = {0, 9, 49} if setting == "accumulate" else {0, 9, 49, 99}
    ours = simulated({"name": setting}, n, at)
    for t in sorted(at):
        theirs = runs[runs.iteration == t + 1]
        assert len(theirs) >= 99
        for column, mine in zip(("variance_ratio", "sq_error_of_mean"), ours[t], strict=True):
            assert stats.ks_2samp(theirs[column], mine).pvalue > 1e-3, (
                f"{setting}, n = {n}, t = {t}, {column}"
            )
        logs = np.log(theirs.variance_ratio)
        if setting == "replace":
            assert abs(logs.mean() - theory.replace_log_det(n, t)) < 4 * logs.std() / np.sqrt(
                len(logs)
            )
        oracle = (
            theory.replace_mean_error(n, t)
            if setting == "replace"
            else theory.accumulate_mean_error(n, t)
        )
        error = theirs.sq_error_of_mean
        assert abs(error.mean() - oracle) < 4 * error.std() / np.sqrt(len(error))


# ---- the generator ----


@pytest.mark.parametrize(("d", "n"), [(1, 30), (4, 30), (4, 3), (3, 4)])
def test_fit_is_numpys_mean_and_covariance(d: int, n: int) -> None:
    x = np.random.default_rng(3).normal(size=(n, 5, d)) @ np.diag(np.arange(1, d + 1)) + 7
    for divisor, bias in (("n", True), ("n-1", False)):
        model = fitted(Samples(x), divisor=divisor)
        for r in range(5):
            assert model.mean_[r] == pytest.approx(x[:, r].mean(0))
            assert model.covariance_[r] == pytest.approx(
                np.cov(x[:, r], rowvar=False, bias=bias).reshape(d, d), abs=1e-12
            )
        assert model.factor_.transpose(0, 2, 1) @ model.factor_ == pytest.approx(
            model.covariance_, abs=1e-12
        )


def test_blocks_give_what_their_concatenation_gives_and_are_read_once() -> None:
    generator = np.random.default_rng(5)
    parts = [Samples(generator.normal(size=(n, 4, 3)) + n) for n in (7, 1, 20, 3)]
    blocks = concat(parts)
    assert len(blocks.blocks) == 4
    pooled, whole = fitted(blocks), fitted(Samples(blocks.x))
    assert pooled.covariance_ == pytest.approx(whole.covariance_, rel=1e-12)
    assert pooled.mean_ == pytest.approx(whole.mean_, rel=1e-12)
    for part in parts:
        part.x[:] = np.nan  # what was read once is not read again
    again = fitted(concat(parts))
    assert (again.covariance_ == pooled.covariance_).all()


def test_a_longer_accumulation_is_the_same_whether_or_not_a_shorter_one_came_before() -> None:
    def parts() -> list[Samples]:
        generator = np.random.default_rng(5)
        return [Samples(generator.normal(size=(9, 4, 2))) for _ in range(5)]

    stepwise, at_once = parts(), parts()
    for k in range(1, 6):
        last = fitted(concat(stepwise[:k]))
    assert (last.covariance_ == fitted(concat(at_once)).covariance_).all()


@pytest.mark.parametrize(("d", "n"), [(10, 10), (31, 10), (5, 2)])
def test_few_points_give_samples_within_their_span(d: int, n: int) -> None:
    """n <= d: rank n - 1, log det -inf and KL inf in every replicate, so both are undefined."""
    dataset = truth(d, 50)
    first, second = list(chain(dataset, {"name": "gaussian"}, REPLACE, n=n, generations=1))
    away = first.drawn.x - first.generator.mean_
    for r in range(3):
        assert (
            np.linalg.matrix_rank(
                np.vstack([away[:, r], first.data.x[:, r] - first.generator.mean_[r]])
            )
            == n - 1
        )
    metric = make("metric", "moments")
    metric.prepare(dataset, first.real, n, np.random.default_rng(0))
    values = metric(second.drawn, second.generator, NOTHING, np.random.default_rng(0))
    assert (
        values["moments/kl"].reason
        == values["moments/log_det_ratio"].reason
        == "every replicate's covariance is singular"
    )
    assert np.isfinite(values["moments/w2"]).all()


@pytest.mark.parametrize(("d", "n"), [(3, 7), (3, 5), (10, 5)])
def test_mean_error_where_the_covariance_degenerates(
    d: int, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the points themselves where they are few; else by Cholesky as long as it can, by
    eigenvalues then: one law.
    """
    by_eigenvalues, eigh = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda m: by_eigenvalues.append(len(m)) or eigh(m))
    dataset = truth(d, 2000)
    values = measured(
        chain(dataset, {"name": "gaussian"}, REPLACE, n=n, generations=90),
        MOMENTS,
        dataset,
        {2, 90},
    )
    for t, of in values.items():
        assert_mean(of["moments/mean_error"], theory.replace_mean_error(n, t, d=d))
    assert (by_eigenvalues.count(2000) > 10) == (n == 7)


def test_some_singular_replicates_do_not_hide_the_others() -> None:
    dataset = truth(2, 40)
    data = dataset.sample(20, np.random.default_rng(0))
    data.x[:, 0, 1] = data.x[:, 0, 0]
    metric = make("metric", "moments")
    metric.prepare(dataset, data, 20, np.random.default_rng(0))
    values = metric(data, fitted(data), NOTHING, np.random.default_rng(0))
    assert values["moments/kl"][0] == np.inf and values["moments/log_det_ratio"][0] == -np.inf
    assert (
        np.isfinite(values["moments/kl"][1:]).all()
        and np.isfinite(values["moments/log_det_ratio"][1:]).all()
    )


@pytest.mark.parametrize(
    "spread", [[3.0, 1.0, 0.2], [1.5, 1.0, 1.2], [1.0, 1.005, 1.0], [1.0, 1.0, 1.0]]
)
def test_moments_of_samples_and_distances_against_their_formulas(spread: list[float]) -> None:
    """KL and W2 in three dimensions against scipy's matrix root and the textbook form; also where
    the truth is nearly round, and where it is.
    """
    from scipy.linalg import sqrtm

    dataset = truth(3, 2, spread=spread)
    _, sigma = dataset.moments()
    data = dataset.sample(12, np.random.default_rng(2))
    metric = make("metric", "moments")
    metric.prepare(dataset, data, 12, np.random.default_rng(0))
    values = metric(data, object(), NOTHING, np.random.default_rng(0))
    for r in range(2):
        m, c = data.x[:, r].mean(0), np.cov(data.x[:, r], rowvar=False, bias=True)
        inverse = np.linalg.inv(c)
        kl = 0.5 * (
            np.log(np.linalg.det(c) / np.linalg.det(sigma))
            + np.trace(inverse @ sigma)
            + m @ inverse @ m
            - 3
        )
        root = sqrtm(sigma)
        w2 = m @ m + np.trace(c + sigma - 2 * np.real(sqrtm(root @ c @ root)))
        assert values["moments/kl"][r] == pytest.approx(kl)
        assert values["moments/w2"][r] == pytest.approx(w2)
        assert values["moments/log_det_ratio"][r] == pytest.approx(
            np.log(np.linalg.det(c) / np.linalg.det(sigma))
        )


def test_log_density_is_scipys_and_singular_models_have_none() -> None:
    data = truth(3, 2, spread=[3.0, 1.0, 0.2]).sample(12, np.random.default_rng(2))
    model = fitted(data)
    x = np.random.default_rng(3).normal(size=(7, 2, 3))
    for r in range(2):
        expected = stats.multivariate_normal(model.mean_[r], model.covariance_[r]).logpdf(x[:, r])
        assert model.log_density(x)[:, r] == pytest.approx(expected)
    assert (fitted(data.take(np.arange(3))).log_density(x) == -np.inf).all()


def test_nll_is_held_out_and_has_its_own_floor() -> None:
    dataset = truth(2, 30)
    metric = make("metric", "nll", points=200)
    data = dataset.sample(5000, np.random.default_rng(0))
    metric.prepare(dataset, data, 100, np.random.default_rng(0))
    values = metric(data, fitted(data), NOTHING, np.random.default_rng(0))
    excess = values["nll"] - values["nll/truth"]
    assert np.abs(values["nll/truth"].mean() - np.log(2 * np.pi * np.e)) < 0.05
    assert 0 < excess.mean() < 5 * 5 / (2 * 5000)  # five parameters
    singular = metric(data, fitted(data.take(np.arange(2))), NOTHING, np.random.default_rng(0))
    assert singular["nll"].reason == "the model gives some held-out point no density"
    assert (
        metric(data, object(), NOTHING, np.random.default_rng(0))["nll"].reason
        == "object has no density"
    )


@pytest.mark.parametrize(("d", "n"), [(1, 9), (3, 9), (5, 3)])
def test_a_loaded_model_draws_the_same_bits(tmp_path: Path, d: int, n: int) -> None:
    model = fitted(truth(d, 4).sample(n, np.random.default_rng(0)))
    model.save(tmp_path)
    loaded = make("generator", "gaussian")
    loaded.load(tmp_path)
    assert (
        loaded.sample(6, np.random.default_rng(1)).x == model.sample(6, np.random.default_rng(1)).x
    ).all()


def test_the_memory_layout_of_the_points_does_not_change_the_fit() -> None:
    """Samples lie replicate by replicate in memory when drawn, sample by sample when read from a
    file.
    """
    drawn = fitted(truth(3, 50).sample(20, np.random.default_rng(0))).sample(
        20, np.random.default_rng(1)
    )
    read = Samples(np.ascontiguousarray(drawn.x))
    assert not drawn.x.flags.c_contiguous
    assert (fitted(drawn).factor_ == fitted(read).factor_).all()


def test_what_cannot_be_fitted_is_said() -> None:
    with pytest.raises(Finding, match="constant: all training points are equal"):
        fitted(Samples(np.ones((5, 2, 3))))
    with pytest.raises(Finding, match="diverged"), np.errstate(all="ignore"):
        fitted(Samples(np.full((5, 2, 3), 1e200) * np.arange(5)[:, None, None]))
    with pytest.raises(ValueError, match="divisor 'n-1' needs at least 2 training points, got 1"):
        fitted(Samples(np.ones((1, 2, 3))), divisor="n-1")
