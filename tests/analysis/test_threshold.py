"""Where collapse begins: the level set, the search's proposals, and the estimates from a grid."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm, t

from analysis.threshold.estimate import Estimate, Outcome, estimate, finite
from analysis.threshold.levelset import crossings
from analysis.threshold.proposals import begin, finished, on_lattice, propose, seed_for, settled
from engine.settings import Threshold
from tests.bench import bench_threshold as bench
from tests.support.gaussian_mix import chains, expected, truth
from tests.support.interpolated_grid import interpolated, isotonic

FRACTIONS = np.arange(9) / 8


def noisy(curve: np.ndarray, seeds: int, sd: float, seed: int = 0) -> np.ndarray:
    """[seeds, f]: a curve with a seed effect and noise of its own."""
    rng = np.random.default_rng(seed)
    return curve + sd * (
        rng.standard_normal((seeds, 1)) + rng.standard_normal((seeds, len(curve)))
    ) / np.sqrt(2)


def outcomes(y: np.ndarray) -> list[Outcome]:
    return [
        Outcome(float(b), s, float(v))
        for s, row in enumerate(y)
        for b, v in zip(FRACTIONS, row, strict=True)
    ]


# ---- the solvable case ----


def test_the_solvable_case_is_solved() -> None:
    at = np.array([0.0, 0.5, 0.75, 0.9, 1.0])
    y = np.array([chains(at, 3, s) for s in range(1000)])
    error = (y.mean(0) - [expected(b) for b in at]) / (y.std(0) / np.sqrt(len(y)))
    assert np.abs(error).max() < 4
    assert truth(expected(0.8)) == pytest.approx(0.8, abs=1e-12)


@pytest.fixture(scope="module")
def searched() -> tuple[dict[int, bench.Score], bench.Score, list[int]]:
    return bench.searches(range(16), 50)


def test_a_search_finds_the_truth_and_covers_it(
    searched: tuple[dict[int, bench.Score], bench.Score, list[int]],
) -> None:
    by_size, stopped, sizes = searched
    assert by_size[50].rmse < 0.03 and by_size[50].rmse < by_size[22].rmse
    for score in (by_size[22], by_size[50], stopped):
        assert sum(score.covered) >= 11  # of 16 at 0.9: fewer with probability 0.003
        assert np.mean(score.widths) < 6 * score.rmse  # and not by being too wide
    assert np.mean(sizes) < 50


def test_a_search_needs_a_fraction_of_the_lineages_of_a_grid(
    searched: tuple[dict[int, bench.Score], bench.Score, list[int]],
) -> None:
    plain = bench.grids(range(60), (20,))[180]
    mine, _ = bench.lineages_for(searched[0], plain.rmse)
    assert 180 / mine > 4
    assert 46 <= sum(plain.covered) <= 59


# ---- the level set ----


def test_crossing_of_known_curves() -> None:
    x = np.linspace(0, 1, 11)
    above = np.array(
        [
            x - 0.33,
            x - 0.38,
            0.5 + 0 * x,
            -0.5 + 0 * x,
            np.where((x > 0.15) & (x < 0.25), 0.01, x - 0.8),
        ]
    )
    assert crossings(x, above) == pytest.approx([0.33, 0.38, 0.0, 1.0, 0.8])


def test_a_straight_line_with_little_noise() -> None:
    y = noisy(FRACTIONS, 3, 0.02)
    found = estimate(outcomes(y), 0.6)
    assert found.verdict == "bracketed" and found.low is not None and found.high is not None
    assert (
        found.low <= 0.6 <= found.high
        and found.width < 0.1
        and found.estimate == pytest.approx(0.6, abs=0.03)
    )
    assert found.words.startswith("typical fraction 0.60 [0.5")


def test_the_order_of_outcomes_does_not_matter() -> None:
    some = outcomes(noisy(FRACTIONS, 2, 0.1))
    assert estimate(some, 0.6) == estimate(some[::-1], 0.6)


def test_shared_noise_is_not_mistaken_for_many_repeats() -> None:
    """Nine cells of one seed move together: the interval is wider than for the same spread without
    a seed effect.
    """
    rng = np.random.default_rng(5)
    offset = np.array([-1.3, -0.9, -0.2, 0.2, 0.9, 1.3])[
        :, None
    ]  # sd 1, so six seeds know a mean to 0.2 / sqrt(6)
    shared = FRACTIONS + 0.2 * offset + 0.02 * rng.standard_normal((6, 9))
    apart = FRACTIONS + 0.2 * rng.standard_normal((6, 9))
    assert estimate(outcomes(shared), 0.5).width > 0.75 * 2 * 1.645 * 0.2 / np.sqrt(6)
    assert estimate(outcomes(apart), 0.5).width < 0.9 * estimate(outcomes(shared), 0.5).width


@pytest.mark.parametrize(
    ("curve", "verdict", "words"),
    [
        (0 * FRACTIONS, "never", "fewer than half of the lineages collapse up to 1"),
        (
            2 + 0 * FRACTIONS,
            "always",
            "at least half of the lineages collapse from 0 on; no safe fraction: more than 10% do",
        ),
        (
            3 * np.sin(3 * np.pi * FRACTIONS),
            "not monotone",
            "no answer: lineages collapse at some fractions",
        ),
    ],
)
def test_what_is_not_bracketed_is_said(curve: np.ndarray, verdict: str, words: str) -> None:
    found = estimate(outcomes(noisy(curve, 4, 0.1)), 1.0)
    assert found.verdict == verdict and found.words.startswith(words)


def test_a_crossing_near_the_end_leaves_the_interval_open() -> None:
    found = estimate(outcomes(noisy(FRACTIONS, 3, 0.3)), 1.0)
    assert (
        found.verdict == "open" and found.high is None and found.low is not None and found.low > 0.5
    )
    assert ", past 1]: from there on" in found.words


def test_a_crossing_near_the_beginning_leaves_the_interval_open() -> None:
    found = estimate(outcomes(noisy(FRACTIONS, 3, 0.3)), 0.0)
    assert (
        found.verdict == "open"
        and found.low is None
        and found.high is not None
        and found.high < 0.5
    )
    assert " [before 0, " in found.words


def test_an_interval_over_the_whole_axis_has_no_number() -> None:
    """Four lineages whose noise is as large as the curve: the level may be passed anywhere."""
    found = estimate(
        [Outcome(0.0, 0, -1.0), Outcome(0.5, 1, 0.9), Outcome(0.5, 2, -1.1), Outcome(1.0, 3, 0.6)],
        0.0,
    )
    assert found.anywhere and max(found.never, found.always) < 0.5
    assert found.estimate is None and found.likely == "none"
    assert "typical fraction not known: it may be anywhere from 0 to 1" in found.words


def test_too_few_undefined_and_absorbed() -> None:
    assert estimate([Outcome(0.0, 0, 0.1), Outcome(1.0, 0, 2.0)], 1.0).verdict == "too few"
    y = noisy(4 * FRACTIONS, 3, 0.1)
    y[:, -1], y[0, 0] = np.inf, np.nan
    found = estimate(outcomes(y), 2.0)
    assert found.absorbed == 3 and found.undefined == 1 and found.lineages == 26
    assert found.low is not None and found.high is not None and found.low <= 0.5 <= found.high
    every = estimate(
        [Outcome(b, s, np.inf if b > 0.4 else 0.0) for b in FRACTIONS for s in range(2)], 1.0
    )
    assert every.low is not None and every.high is not None and 0.2 < every.low < every.high < 0.6


# ---- proposals ----


def test_the_start_takes_new_seeds_and_stays_inside() -> None:
    design = Threshold(between=(0.0, 0.9), budget=8)
    first = begin(design)
    assert len(first) == 8 and [s for _, s in first] == list(range(8))
    assert max(b for b, _ in first) == 0.9 and min(b for b, _ in first) == 0.0


def test_limited_seeds_are_used_evenly_and_never_twice_at_a_fraction() -> None:
    design = Threshold(seeds=3, step=0.5)
    taken: list[tuple[float, int]] = begin(design)
    while (new := propose(None, taken, design)) is not None:
        taken.append(new)
        assert len(taken) <= 9
    assert len(set(taken)) == len(taken) <= 9
    assert seed_for(0.5, [(0.5, 0), (1.0, 1)], design) == 2


def test_proposals_lie_on_the_lattice() -> None:
    design = Threshold(step=0.05, between=(0.1, 0.92))
    assert [on_lattice(x, design) for x in (0.0, 0.13, 0.512, 5.0)] == [0.1, 0.15, 0.5, 0.92]


def test_a_search_ends_when_it_knows_enough_or_has_spent_its_budget() -> None:
    sure = estimate(outcomes(noisy(FRACTIONS, 6, 0.01)), 0.6)
    assert finished(sure, 0, sure.lineages, Threshold(width=0.1))
    assert not finished(sure, 0, sure.lineages, Threshold(width=1e-6))
    assert finished(sure, 3, 57, Threshold(width=1e-6, budget=60))
    never = estimate(outcomes(noisy(0 * FRACTIONS, 3, 0.1)), 1.0)
    assert finished(never, 0, 27, Threshold()) and settled(never, Threshold()) == "no crossing"
    assert (
        settled(sure, Threshold(width=0.1)) == "narrow"
        and settled(sure, Threshold(width=1e-6)) == ""
    )
    early = estimate(
        outcomes(noisy(0 * FRACTIONS, 1, 0.1)), 1.0
    )  # nine lineages: fewer than the start and four
    assert (
        early.verdict == "never"
        and settled(early, Threshold()) == ""
        and not finished(early, 0, 9, Threshold())
    )


# ---- grids ----


def test_isotonic_agrees_with_scikit_learn() -> None:
    from sklearn.isotonic import IsotonicRegression

    means = np.random.default_rng(1).standard_normal((20, 9))
    theirs = np.array([IsotonicRegression().fit_transform(FRACTIONS, m) for m in means])
    assert isotonic(means) == pytest.approx(theirs)


def test_the_interval_of_few_seeds_keeps_its_promise() -> None:
    """4 to 6 seeds, promised 0.9: plain percentiles cover 0.76,
    without Student's quantiles 0.80.
    """
    covered = []
    for seeds in (4, 5, 6):
        for i in range(100):
            offset = 0.15 * np.random.default_rng([seeds, i]).standard_normal((seeds, 1))
            found = interpolated(FRACTIONS, FRACTIONS + offset, 0.5)
            covered.append(found.low <= 0.5 <= found.high)
    assert np.mean(covered) > 0.84


def test_the_interval_of_few_seeds_is_students() -> None:
    """Seeds that shift a straight line: the crossing is a mean over seeds, whose interval is known;
    each half of the widening is 5 % and 11 % here.
    """
    offset = 0.1 * norm.ppf((np.arange(10) + 0.5) / 10)[:, None]
    found = [interpolated(FRACTIONS, FRACTIONS + offset, 0.5, seed=i) for i in range(20)]
    width = np.mean([c.high - c.low for c in found])
    assert width == pytest.approx(2 * t.isf(0.05, 9) * offset.std(ddof=1) / np.sqrt(10), rel=0.03)


def test_outcomes_without_a_value_change_nothing_but_their_count() -> None:
    some = outcomes(noisy(FRACTIONS, 3, 0.1))
    odd = [Outcome(0.3, 7, math.nan), Outcome(0.9, 8, math.nan)]
    plain, more = estimate(some, 0.6), estimate([*odd, *some], 0.6)
    assert more == replace(plain, undefined=2) and plain.undefined == 0


@pytest.mark.parametrize(
    ("y", "level", "worst"),
    [
        ([0.0, 3.0, math.inf], 1.0, 3.0),  # the worst number that was seen
        ([-4.0, 2.0, math.inf], 1.0, 6.0),  # as far above the level as the best is below it
        ([1.0, 1.0, math.inf], 1.0, 2.0),  # nothing is past the level: one above it
        ([math.inf, math.inf], 0.5, 1.5),
    ],
)
def test_absorbed_lineages_are_worse_than_any_number(
    y: list[float], level: float, worst: float
) -> None:
    found = finite(np.array(y), level)
    assert found[np.isinf(y)] == pytest.approx(worst)
    assert found[np.isfinite(y)] == pytest.approx(np.array(y)[np.isfinite(y)])


def test_a_hump_is_not_monotone_at_any_level() -> None:
    hump = 5 + 3 * np.sin(3 * np.pi * FRACTIONS)
    assert estimate(outcomes(noisy(hump, 4, 0.1)), 6.0).verdict == "not monotone"


def test_what_is_likely_all_along_the_axis() -> None:
    answer = Estimate("open", None, 0.31, None, 0.9, (0.0, 0.5), 9, 3, never=0.7)
    assert answer.likely == "safe"
    assert replace(answer, never=0.2, always=0.5).likely == "collapse"
    assert replace(answer, never=0.2, estimate=0.42).likely == "none", "it has a crossing"
    said = {"never": "safe", "always": "collapse", "bracketed": "none", "too few": "none"}
    assert {v: replace(answer, verdict=v, never=0.0).likely for v in said} == said  # type: ignore[arg-type]


def test_a_curve_that_more_likely_stays_below_is_not_said_to_collapse() -> None:
    answer = Estimate("open", 0.5, 0.31, None, 0.9, (0.0, 0.5), 9, 3, never=0.7)
    assert (
        answer.words
        == "most likely fewer than half of the lineages collapse up to 0.5 (if half do, at 0.31 or "
        "later)"
    )
    assert replace(answer, never=0.2, estimate=0.42).words.startswith(
        "typical fraction 0.42 [0.31, past 0.5]"
    )
    late = replace(answer, never=0.0, always=0.6, low=None, high=0.2)
    assert (
        late.words
        == "most likely at least half of the lineages collapse from 0 on (or from 0.20 at the "
        "latest)"
    )
