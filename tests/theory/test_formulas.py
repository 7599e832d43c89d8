"""Every printed digit of the oracle tables against the formulas: half a unit of the last digit.

The tables were computed apart from the formulas and checked by Monte Carlo.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from analysis.theory import discrete as theory_discrete
from analysis.theory import gaussian as theory
from analysis.theory import verifier as theory_verifier
from tests.theory import discrete as discrete_oracles
from tests.theory import gaussian as oracles
from tests.theory import verifier as verifier_oracles


def printed(text: str) -> object:
    """A printed number, equal to whatever rounds to it."""
    mantissa, _, power = text.partition("e")
    digits = len(mantissa.partition(".")[2])
    return pytest.approx(float(text), rel=0, abs=0.500001 * 10 ** (int(power or 0) - digits))


def all_printed(values: object, texts: str) -> None:
    values = np.atleast_1d(values)
    assert len(values) == len(texts.split())
    for value, text in zip(values, texts.split(), strict=True):
        assert value == printed(text), f"{value} is not {text}"


# ---- Table A, B: replace ----


@pytest.mark.parametrize(
    ("n", "t", "se", "v", "log_v", "spread", "kl", "w2"),
    [
        (10, 0, ".10000", ".90000", "-.22057", ".2487", ".17543", ".15451"),
        (10, 9, ".65132", ".34868", "-2.20567", "2.4873", "21.83", "1.10494"),
        (10, 49, ".99485", ".00515", "-11.02835", "12.436", "3.7e7", "1.96410"),
        (100, 0, ".01000", ".99000", "-.02019", ".02041", ".01053", ".01504"),
        (100, 9, ".09562", ".90438", "-.20185", ".20407", ".13645", ".14545"),
        (100, 49, ".39499", ".60501", "-1.00927", "1.02037", "1.88589", ".62888"),
        (100, 99, ".63397", ".36603", "-2.01854", "2.04075", "12.34", "1.06001"),
    ],
)
def test_table_a(
    n: int, t: int, se: str, v: str, log_v: str, spread: str, kl: str, w2: str
) -> None:
    assert theory.replace_mean_error(n, t) == printed(se)
    assert oracles.replace_variance(n, t) == printed(v)
    assert theory.replace_log_det(n, t) == printed(log_v)
    assert theory.replace_log_det_variance(n, t) == printed(spread)
    assert theory.replace_kl(n, t) == printed(kl)
    assert oracles.replace_w2(n, t) == printed(w2)


@pytest.mark.parametrize(
    ("n", "t", "se", "log_v", "spread", "w2"),
    [
        (100, 9, ".10000", "-.10135", ".2041", ".14987"),
        (100, 49, ".50000", "-.50675", "1.0204", ".73723"),
        (10, 49, "5.0000", "-5.76032", None, "6.49989"),
    ],
)
def test_table_a_unbiased(n: int, t: int, se: str, log_v: str, spread: str | None, w2: str) -> None:
    assert theory.replace_mean_error(n, t, divisor="n-1") == printed(se)
    assert oracles.replace_variance(n, t, divisor="n-1") == 1
    assert theory.replace_log_det(n, t, divisor="n-1") == printed(log_v)
    assert spread is None or theory.replace_log_det_variance(n, t) == printed(spread)
    assert oracles.replace_w2(n, t, divisor="n-1") == printed(w2)


@pytest.mark.parametrize(
    ("t", "se", "log_det", "spread", "kl"),
    [
        (0, ".03000", "-.09143", ".06186", ".04902"),
        (9, ".28685", "-.91431", ".61858", ".74917"),
        (49, "1.18498", "-4.57154", "3.09289", "19.308"),
    ],
)
def test_table_b(t: int, se: str, log_det: str, spread: str, kl: str) -> None:
    assert theory.replace_mean_error(100, t, d=3) == printed(se)
    assert theory.replace_log_det(100, t, d=3) == printed(log_det)
    assert theory.replace_log_det_variance(100, t, d=3) == printed(spread)
    assert theory.replace_kl(100, t, d=3) == printed(kl)


def test_oracle_column_of_kazdans_runs() -> None:
    cells = [(10, 9), (10, 49), (10, 99), (32, 49), (100, 9), (100, 49), (100, 99), (316, 99)]
    replace = [theory.replace_mean_error(n, t) for n, t in cells]
    all_printed(replace, ".6513 .9948 1.000 .7956 .0956 .3950 .6340 .2716")
    all_printed(
        [oracles.replace_variance(n, t) for n, t in cells],
        ".3487 .0052 2.7e-5 .2044 .9044 .6050 .3660 .7284",
    )
    logs = [theory.replace_log_det(n, t) for n, t in cells]
    all_printed(logs, "-2.206 -11.028 -22.057 -3.2177 -.2019 -1.0093 -2.0185 -.6348")
    cells = [(10, 99), (100, 9), (100, 99), (316, 99)]
    all_printed(
        [theory.accumulate_mean_error(n, t) for n, t in cells], ".1557 .01543 .01627 .00517"
    )
    all_printed([theory.accumulate_variance(n, t) for n, t in cells], ".8443 .9846 .9837 .9948")


def test_replace_determinant_in_d_dimensions() -> None:
    assert oracles.replace_det(10, 0, d=3) == pytest.approx(0.9 * 0.8 * 0.7)
    assert oracles.replace_det(10, 4, d=10) == 0
    assert oracles.replace_det(50, 7, d=1) == pytest.approx(oracles.replace_variance(50, 7))


def test_unbiased_w2_grows_by_three_halves_of_one_over_n() -> None:
    """Shumailov's first-order slope."""
    growth = np.diff(oracles.replace_w2(10_000, np.arange(10), divisor="n-1"))
    assert growth == pytest.approx(np.full(9, 1.5e-4), rel=1e-3)


def test_sampling_bias_breaks_the_conservation_law_unless_it_is_one() -> None:
    t = np.arange(30)
    variance, error = oracles.replace_biased(20, t, 1.0)
    assert variance == pytest.approx(oracles.replace_variance(20, t))
    assert error == pytest.approx(theory.replace_mean_error(20, t))
    variance, error = oracles.replace_biased(20, t, 0.7)
    assert variance[5] == pytest.approx(0.7**5 * 0.95**6)
    assert (variance + error)[1:].max() < 0.99
    assert np.diff(error)[3] == pytest.approx(0.7 / 20 * variance[3])


def test_second_moment_of_the_fitted_variance() -> None:
    """E v^2 is what makes v martingale-like: Var v = E v^2 - (E v)^2 >= 0 and one fit gives (n -
    1)(n + 1) / n^2.
    """
    assert oracles.replace_variance_square(10, 0) == pytest.approx(9 * 11 / 100)
    assert oracles.replace_variance_square(10, 9) > oracles.replace_variance(10, 9) ** 2


# ---- Table C: accumulate and accumulate-subsample ----


def test_table_c_accumulate() -> None:
    t = np.array([0, 1, 9, 49])
    all_printed(theory.accumulate_mean_error(10, t), ".100000 .122500 .148498 .154892")
    all_printed(theory.accumulate_variance(10, t), ".900000 .877500 .851502 .845108")
    t = np.array([0, 1, 4, 9, 49, 99])
    all_printed(
        theory.accumulate_mean_error(100, t), ".010000 .012475 .014583 .015432 .016174 .016270"
    )
    all_printed(
        theory.accumulate_variance(100, t), ".990000 .987525 .985417 .984568 .983826 .983730"
    )
    all_printed([oracles.accumulate_variance_limit(n) for n in (10, 100)], ".843436 .983632")
    all_printed([1 - oracles.accumulate_variance_limit(n) for n in (10, 100)], ".156564 .016368")


def test_accumulate_reaches_its_limit_and_ratio() -> None:
    assert theory.accumulate_variance(100, 100_000) == pytest.approx(
        oracles.accumulate_variance_limit(100), abs=1e-6
    )
    assert theory.accumulate_mean_error(10_000, 100_000) * 10_000 == pytest.approx(
        np.pi**2 / 6, rel=1e-3
    )


def test_accumulate_first_order_laws_match_their_monte_carlo() -> None:
    """Table C's MC columns; first order in 1/n, so to 2 % at n = 100."""
    for t, log_v, kl in ((9, -0.03136, 0.01643), (49, -0.03289, 0.01726)):
        assert oracles.accumulate_log_variance(100, t) == pytest.approx(log_v, rel=0.02)
        assert oracles.accumulate_kl(100, t) == pytest.approx(kl, rel=0.07)


def test_table_c_subsample() -> None:
    all_printed(
        theory.subsample_mean_error(10, np.array([0, 1, 9, 49])), ".100000 .168684 .240220 .256749"
    )
    t = np.array([0, 1, 4, 9, 49, 99, 999])
    all_printed(
        theory.subsample_mean_error(100, t),
        ".010000 .017437 .023719 .026235 .028428 .028714 .028974",
    )
    assert oracles.subsample_mean_error_limit(1) == printed("2.9348")
    assert oracles.subsample_mean_error_limit(1) / (np.pi**2 / 6) == printed("1.784")
    assert theory.subsample_mean_error(10_000, 20_000) == pytest.approx(
        oracles.subsample_mean_error_limit(10_000), rel=1e-3
    )


def test_policies_are_ordered_at_every_generation() -> None:
    t = np.arange(1, 100)
    accumulate, subsample = theory.accumulate_mean_error(50, t), theory.subsample_mean_error(50, t)
    assert (accumulate < subsample).all()
    assert (subsample < theory.replace_mean_error(50, t)).all()


# ---- 5.4: real data in the mixture ----


def test_augment_table() -> None:
    all_printed(theory.augment_mean_error(100, 100, np.array([1, 49])), ".012475 .013289")
    assert theory.augment_mean_error(100, 50, 49) == printed(".012469")
    all_printed(theory.augment_mean_error(100, 900, np.array([9, 49])), ".013974 .014667")
    assert theory.augment_mean_error(100, 0, 49) == pytest.approx(0.01)
    assert theory.augment_mean_error(10**6, 10**6, 200) == pytest.approx(
        oracles.augment_mean_error_limit(10**6, 1), rel=1e-5
    )
    assert oracles.augment_mean_error_limit(100, 1e9) == pytest.approx(0.015)


def test_fresh_table_and_its_limit() -> None:
    def fresh(n_real: int, n_synthetic: int, t: int, n_first: int = 100) -> float:
        return theory.fresh_mean_error(n_real, n_synthetic, t, n_first=n_first)

    all_printed(
        [fresh(100, 100, 49), fresh(100, 50, 49), fresh(100, 900, 9), fresh(100, 900, 49)],
        ".006645 .007481 .005946 .005238",
    )
    for n_first in (10, 1000):
        assert fresh(100, 900, 500, n_first) == pytest.approx(
            oracles.fresh_mean_error_limit(100, 900), rel=1e-12
        )
    size = 1 / oracles.fresh_mean_error_limit(10_000, 5_000)
    assert size == pytest.approx(oracles.fresh_effective_size(10_000, 5_000), rel=1e-3)
    assert 10_000 <= size <= 20_000


def test_fresh_with_sampling_bias() -> None:
    t = np.arange(20)
    variance, error = oracles.fresh_biased(100, 900, t, n_first=100, sampling_bias=1.0)
    assert error == pytest.approx(theory.fresh_mean_error(100, 900, t, n_first=100))
    assert variance == pytest.approx(1 - error)
    assert oracles.fresh_biased(100, 900, 50, n_first=100, sampling_bias=0.5)[0] < 0.3


def test_mix_table() -> None:
    all_printed(theory.mix_mean_error(100, 50, np.array([1, 20])), ".017450 .019868")
    all_printed(theory.mix_mean_error(100, 90, np.array([5, 20])), ".043042 .058714")
    t = np.arange(40)
    assert theory.mix_mean_error(30, 30, t) == pytest.approx(theory.replace_mean_error(30, t))
    assert theory.mix_mean_error(30, 0, t) == pytest.approx(np.full(40, 1 / 30))


# ---- 5.5: regression ----


def test_regression_table() -> None:
    t = np.array([1, 4, 9, 19, 49])
    assert theory.regression_first_error(100, 10) == printed(".112360")
    all_printed(theory.regression_replace(100, 10, t), ".22472 .56180 1.12360 2.24719 5.61798")
    all_printed(theory.regression_accumulate(100, 10, t), ".14045 .16445 .17413 .17934 .18260")
    assert theory.regression_accumulate(100, 10, 10**6) / 0.1123596 == pytest.approx(
        np.pi**2 / 6, rel=1e-5
    )


def test_regression_augment_is_the_gaussian_law_to_first_order() -> None:
    t = np.array([1, 9, 49])
    assert oracles.regression_augment(10**6, 10**6, 1, t) == pytest.approx(
        theory.augment_mean_error(10**6, 10**6, t), rel=1e-5
    )
    assert oracles.regression_augment(100, 0, 7, 5) == pytest.approx(0.07)


def test_edit_errors() -> None:
    assert theory.edit_once(0.5) == printed("1.75")
    all_printed([theory.edit_disjoint(s) for s in (0.2, 0.5, 1)], "1.443 2.297 4.437")
    steps = theory.edit_disjoint_steps(0.001, np.array([200, 500]))
    assert steps == pytest.approx([theory.edit_disjoint(s) for s in (0.2, 0.5)], rel=2e-3)
    for share in (0.1, 0.5):  # the first edit is the same one
        once = theory.edit_once(share)
        assert theory.edit_of_real(share, 1) == pytest.approx(once)
        assert theory.edit_disjoint_steps(share, 1) == pytest.approx(once)
        assert theory.edit_random(share, 1) == pytest.approx(once)
    assert theory.edit_of_real(0.5, 100) == pytest.approx(2)
    all_printed(theory.edit_random(0.2, np.array([1, 5, 10, 30])), "1.36 2.80 4.60 11.8")


# ---- 5.6: kernel density estimates ----


def test_kde_moments() -> None:
    assert theory.kde_replace(100, 0.1, 49)[1] == printed(".5000")
    variance, mean_square = oracles.kde_accumulate(100, 0.5, np.array([9, 49]))
    all_printed(variance, "1.46474 1.85590")
    assert mean_square[1] == printed(".0189")
    assert theory.kde_replace(20, 0.3, 2000)[0] == pytest.approx(19 * 0.09)
    t = np.arange(30)
    assert theory.kde_replace(50, 1e-9, t)[0] == pytest.approx(oracles.replace_variance(50, t))
    assert oracles.kde_accumulate(50, 1e-9, t)[0] == pytest.approx(
        theory.accumulate_variance(50, t)
    )


def test_regular_models_follow_the_gaussian_to_first_order() -> None:
    assert oracles.regular_kl(100_000, 9, parameters=2, policy="replace") == pytest.approx(
        theory.replace_kl(100_000, 9), rel=1e-3
    )
    assert oracles.regular_kl(500, 9, parameters=2, policy="accumulate") == pytest.approx(
        oracles.accumulate_kl(500, 9)
    )


# ---- 5.7: discrete ----

UNIFORM = np.full(10, 0.1)


def test_discrete_replace() -> None:
    all_printed(theory_discrete.replace_sum_p2(100, np.array([9, 19]), 0.1), ".18606 .26388")
    all_printed([discrete_oracles.collapse_fits(n, UNIFORM) for n in (10, 100)], "18.96 189.6")
    assert discrete_oracles.collapse_fits(100, np.array([0.5, 0.5])) == printed("138.6")
    per_n = [discrete_oracles.collapse_fits(1, np.full(k, 1 / k)) for k in (2, 3, 10)]
    all_printed(per_n, "1.386 1.622 1.896")
    assert discrete_oracles.collapse_fits(1, np.full(10**4, 1e-4)) == pytest.approx(2, rel=1e-3)
    assert discrete_oracles.collapse_fits(7, np.array([1.0])) == 0
    all_printed(discrete_oracles.collapse_fits_bounds(10, 0.1, 10), "10 82")
    all_printed(discrete_oracles.collapse_fits_bounds(100, 0.1, 10), "100 8911")
    assert discrete_oracles.survivor_law(np.array([3, 1])) == pytest.approx([0.75, 0.25])


def test_collapse_probability_bounds_close_in_on_one() -> None:
    lower, upper = discrete_oracles.collapse_probability(10, np.array([0, 100]), 0.1, 10)
    assert lower[0] < 0 and upper[0] == pytest.approx(1 - 0.9 * 0.9 / 0.9)
    assert 0.999 < lower[1] < upper[1] < 1


def test_discrete_augment() -> None:
    t = np.array([0, 1, 5])
    all_printed(theory_discrete.augment_sum_p2(100, 10, t, 0.13), ".13870 .13941 .13942")
    all_printed(theory_discrete.augment_sum_p2(100, 100, t, 0.13), ".13870 .14085 .14156")
    all_printed(discrete_oracles.augment_distance(100, 10, t, 0.13), "0 .000712 .000717")
    all_printed(discrete_oracles.augment_distance(100, 100, t, 0.13), "0 .002153 .002859")


@pytest.mark.parametrize(
    ("n_real", "n_synthetic", "truth"), [(100, 10, 0.13), (7, 90, 0.4), (40, 40, 0.02)]
)
def test_seddiks_closed_form_solves_its_recursion(
    n_real: int, n_synthetic: int, truth: float
) -> None:
    a = n_synthetic / (n_real + n_synthetic)
    first = 1 / n_real + (1 - 1 / n_real) * truth

    def step(k: int, s: float) -> float:
        return (1 - a**2) * first + a**2 * (1 / n_synthetic + (1 - 1 / n_synthetic) * s)

    t = np.arange(30)
    assert theory_discrete.augment_sum_p2(n_real, n_synthetic, t, truth) == pytest.approx(
        theory.along(t, first, step)
    )


def test_l1_bound_and_the_admissible_share_agree() -> None:
    """Eq. (11) is Theorem 3 solved for n, in the regime of its first branch: within a factor for
    the log's constant.
    """
    all_printed([discrete_oracles.C0, discrete_oracles.C1], "3.197 2.929")
    s, n_real = 40, 10**9
    n = discrete_oracles.augment_admissible(n_real, s, 0.1)
    assert 1 < n < 2 * np.pi / np.e**2 * (s - 2)
    assert discrete_oracles.augment_l1_bound(n_real, int(n), s) < 0.1
    assert discrete_oracles.l1_growth(1000, 5) == 30
    assert discrete_oracles.l1_growth(10, 11) == pytest.approx(
        discrete_oracles.C1 * 11 * (discrete_oracles.C0 * 10 / 11) ** 5.5
    )


# ---- 5.8: verifier ----


def test_contraction_and_acceptance() -> None:
    reach = np.array([0.5, 1.0, 1.5, 2.0, 3.0])
    all_printed(verifier_oracles.contraction(reach), ".080589 .291125 .551524 .773741 .973337")
    all_printed(
        [verifier_oracles.acceptance(0.7, 0.7, r) for r in reach], ".3829 .6827 .8664 .9545 .9973"
    )
    slope = (
        verifier_oracles.verified_mean(1e-5, 0, 1.0) - verifier_oracles.verified_mean(-1e-5, 0, 1.0)
    ) / 2e-5
    assert slope == pytest.approx(verifier_oracles.contraction(1.0), rel=1e-6)


@pytest.mark.parametrize(
    ("start", "centre", "reach", "texts"),
    [
        (2, 0, 1, ".48995 .14091 .04098 .00347 1e-5"),
        (2, 0, 2, "1.20233 .83646 .61303 .35019 .09495"),
        (1, 0.5, 1, ".64373 .54180 .51217 .50103 .50000"),
    ],
)
def test_verified_chain_goes_to_the_centre(
    start: float, centre: float, reach: float, texts: str
) -> None:
    def step(k: int, a: float) -> float:
        return verifier_oracles.verified_mean(a, centre, reach)

    all_printed(theory.along(np.array([1, 2, 3, 5, 10]), float(start), step), texts)


def test_truncated_moments_against_quadrature() -> None:
    kept = theory_verifier.truncated(-0.4, 1.7)

    def moment(k: int, about: float) -> float:
        return (
            quad(lambda z: (z - about) ** k * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), -0.4, 1.7)[
                0
            ]
            / kept.mass
        )

    assert kept.mean == pytest.approx(moment(1, 0))
    assert kept.variance == pytest.approx(moment(2, kept.mean))
    assert kept.third == pytest.approx(moment(3, kept.mean))


def test_one_verified_round() -> None:
    errors = [verifier_oracles.one_round_error(1 / 20, bias, 1.0) for bias in (0, 0.2, 0.5, 1.0)]
    all_printed(errors, ".00417 .02438 .13155 .52808")
    assert verifier_oracles.one_round_error(1 / 20, 0, 1.0, n_kept=50) == printed(".00995")


def singular_values(n: int, d: int) -> np.ndarray:
    return np.linalg.svd(theory_verifier.yi_design(n, d), compute_uv=False)


def test_yi_baselines_and_direction() -> None:
    for n, d, expected in (
        (100, 8, 0.083738718266782),
        (100, 1, 0.011297822189070),
        (800, 8, 0.00988119447294),
    ):
        assert verifier_oracles.real_error(singular_values(n, d)) == pytest.approx(
            expected, rel=1e-12
        )
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
    assert theory_verifier.yi_direction(8) == pytest.approx(u, abs=1e-8)


@pytest.mark.parametrize(
    ("bias", "texts"),
    [
        (0, ".01926 .02414 .03356 .05239"),
        (0.1, ".02568 .02991 .03825 .05545"),
        (0.3, ".07701 .07604 .07580 .08001"),
        (0.5, ".17983 .16851 .15120 .12958"),
        (0.7, ".33444 .30772 .26506 .20505"),
    ],
)
def test_generation_one_by_theorem_3_1(bias: float, texts: str) -> None:
    x0, offset = theory_verifier.yi_design(100, 8), bias * theory_verifier.yi_direction(8)
    all_printed(
        [verifier_oracles.first_round_error(x0, offset, r, 100) for r in (0.01, 0.1, 0.25, 0.5)],
        texts,
    )


def test_without_a_verifier() -> None:
    mu = singular_values(100, 8)
    errors = [verifier_oracles.unverified_error(mu, 100, t) for t in (1, 2, 3, 5, 10, 20, 30)]
    all_printed(errors, ".1637 .2437 .3237 .4837 .8837 1.6837 2.4837")
    assert verifier_oracles.first_round_error(
        theory_verifier.yi_design(100, 8), np.zeros(8), 50.0, 100
    ) == pytest.approx(verifier_oracles.unverified_error(mu, 100, 1), rel=1e-9)


def test_long_run_column() -> None:
    rows = [(0, 0.1), (0, 0.5), (0.2, 0.1), (0.5, 0.5), (1.0, 0.1)]
    limits = [
        verifier_oracles.long_run_error(bias, r + theory_verifier.CODE_SLACK, 100, 8)
        for bias, r in rows
    ]
    all_printed(limits, ".02047 .04459 .06047 .29459 1.02047")


@pytest.mark.parametrize(
    ("bias", "r", "simulated"),
    [
        (0, 0.5, [0.0523, 0.0460, 0.0449, 0.0447, 0.0444, 0.0446, 0.0445]),
        (0.2, 0.1, [0.0470, 0.0562, 0.0593, 0.0603, 0.0606, 0.0604, 0.0605]),
        (0.5, 0.5, [0.1296, 0.2070, 0.2525, 0.2856, 0.2941, 0.2942, 0.2945]),
        (1.0, 0.1, [0.6058, 0.9095, 0.9935, 1.0187, 1.0208, 1.0206, 1.0203]),
    ],
)
def test_verified_chains_as_simulated(bias: float, r: float, simulated: list[float]) -> None:
    """60,000 chains each, 0.3 %; generation 1 is exact."""
    x0, offset = theory_verifier.yi_design(100, 8), bias * theory_verifier.yi_direction(8)
    errors = theory_verifier.verified_errors(x0, offset, r, 100, 30)
    assert errors[[1, 2, 3, 5, 10, 20, 30]] == pytest.approx(simulated, rel=0.007)
    assert errors[0] == pytest.approx(0.083738718266782)
    assert errors[30] == pytest.approx(
        verifier_oracles.long_run_error(bias, r + theory_verifier.CODE_SLACK, 100, 8), rel=0.003
    )


def test_theorem_4_1_bounds_the_unbiased_chain() -> None:
    rho = verifier_oracles.contraction(0.5 + theory_verifier.CODE_SLACK)
    assert verifier_oracles.long_run_bound(rho, 0.0837, [100], 8) == pytest.approx(
        rho**2 * 0.0837 + 8 * rho / 100
    )
    assert verifier_oracles.long_run_bound(rho, 0.0837, [100] * 60, 8) == pytest.approx(
        verifier_oracles.long_run_error(0, 0.5 + theory_verifier.CODE_SLACK, 100, 8), rel=1e-6
    )


def test_thresholds_of_feng_and_bertrand() -> None:
    assert verifier_oracles.label_noise_threshold(0.9, 0.1) == pytest.approx(0.9)
    assert verifier_oracles.retraining_is_stable(0.4, lipschitz=1, first_gap=0.1, concavity=1)
    assert not verifier_oracles.retraining_is_stable(0.5, lipschitz=1, first_gap=0, concavity=1)


# ---- 5.9: curation ----

P, REWARD = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0, 0.5, 1, 2.0])


def test_one_curated_step() -> None:
    after = discrete_oracles.curate(P, REWARD, 4)
    all_printed(after, ".24559 .27352 .25897 .22192")
    all_printed(
        [
            P @ np.exp(REWARD),
            after @ np.exp(REWARD),
            discrete_oracles.curate_reward_bound(P, REWARD, 4),
        ],
        "2.1772 3.0403 2.5236",
    )
    assert discrete_oracles.curate(P, REWARD, 1) == pytest.approx(P)


def test_curation_goes_to_the_best_token_and_reference_data_hold_it() -> None:
    best, held, kl = P, P, []
    for _ in range(200):
        best = discrete_oracles.curate(best, REWARD, 2)
        held = discrete_oracles.curate_with_reference(held, P, REWARD, 4, 0.3)
        kl.append(float(held @ np.log(held / P)))
    assert best[3] == pytest.approx(1, abs=1e-6)
    assert 0 < max(kl) <= discrete_oracles.curate_kl_bound(4, 0.3)
