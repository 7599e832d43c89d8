"""The typical fraction, from which half of the lineages collapse, and the safe one, up to which at
most a named share does.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from analysis.threshold.estimate import (
    INSIDE,
    Estimate,
    Outcome,
    Safe,
    draws_of,
    estimate,
    seeds_needed,
)

AXIS = (0.0, 1.0)


def line(seeds: int, sd: float, *, fractions: int = 9, grows: float = 0.0) -> list[Outcome]:
    """y = x and noise of every lineage's own, of sd (1 + grows x)."""
    rng = np.random.default_rng([seeds, 1])
    return [
        Outcome(float(x), s, float(x + sd * (1 + grows * x) * rng.standard_normal()))
        for x in np.linspace(0, 1, fractions)
        for s in range(seeds)
    ]


@pytest.mark.parametrize("risk", [0.05, 0.1, 0.3])
def test_the_safe_fraction_is_where_the_quantile_crosses(risk: float) -> None:
    found = estimate(line(20, 0.1), 0.6, risk=risk)
    truth = 0.6 - norm.isf(risk) * 0.1  # x + z sd = level
    assert found.safe is not None and found.safe.risk == risk and found.estimate is not None
    assert found.safe.estimate == pytest.approx(truth, abs=0.03)
    assert found.safe.low is not None and found.safe.high is not None
    assert found.safe.low < truth < found.safe.high and found.safe.estimate < found.estimate


def test_scatter_that_grows_lowers_it_where_it_is() -> None:
    found = estimate(line(20, 0.1, grows=2.0), 0.6)
    truth = (0.6 - norm.isf(0.1) * 0.1) / (1 + 2 * norm.isf(0.1) * 0.1)
    assert found.safe is not None and found.safe.estimate == pytest.approx(truth, abs=0.03)


def test_the_collapsed_lineages_are_counted_and_have_the_last_word() -> None:
    """Of the lineages below the middle every third collapses far out: no normal distribution has
    such a tail, and what it says is not believed.
    """
    some = line(6, 0.02)
    odd = [
        Outcome(o.fraction, o.seed, 0.62) if o.seed < 2 and 0.2 < o.fraction < 0.55 else o
        for o in some
    ]
    plain, found = estimate(some, 0.6).safe, estimate(odd, 0.6).safe
    assert plain is not None and plain.low is not None and plain.low > 0.5
    assert plain.collapsed == 0 and plain.below == 30
    assert plain.counted(AXIS) == f"0 of 30 lineages up to {plain.low:.2f} collapsed"
    assert found is not None
    below = [o for o in odd if found.low is not None and o.fraction <= found.low]
    assert found.low is None or sum(o.y > 0.6 for o in below) / len(below) < 0.25
    assert (found.below, found.collapsed) == (len(below), sum(o.y > 0.6 for o in below))


def said(**how: object) -> str:
    given = {"risk": 0.1, "estimate": None, "low": None, "high": None} | how
    return Safe(**given).words(AXIS)  # type: ignore[arg-type]


def test_words() -> None:
    assert said(estimate=0.72, low=0.51, high=0.86) == (
        "safe fraction 0.72 [0.51, 0.86]: up to there at most 10% do"
    )
    assert said(estimate=0.72, high=0.86).startswith("safe fraction 0.72 [0, 0.86]")
    assert said(estimate=1.0, low=0.9).startswith("safe fraction 1 [0.90, 1]: up to there")
    assert said(estimate=1.0, low=1.0).startswith("safe fraction 1: up to there")
    assert said(high=0.3) == "no safe fraction (or at most 0.30): more than 10% do from 0 on"
    assert said(high=0.0) == "no safe fraction: more than 10% do from 0 on"
    whole = Estimate("bracketed", 0.87, 0.63, 0.97, 0.9, AXIS, 9, 3)
    safe = Safe(0.05, 0.72, 0.51, 0.86)
    assert Estimate(**(vars(whole) | {"safe": safe})).words == (
        "typical fraction 0.87 [0.63, 0.97]: from there on half of the lineages collapse; "
        "safe fraction 0.72 [0.51, 0.86]: up to there at most 5% do"
    )


def test_a_level_that_is_passed_twice_has_no_safe_fraction() -> None:
    hump = [Outcome(o.fraction, o.seed, math.sin(9 * o.fraction) + o.y / 50) for o in line(5, 1.0)]
    found = estimate(hump, 0.6)
    assert found.verdict == "not monotone" and found.safe is None


def test_between_few_fractions_nothing_tells_where_a_curve_rises() -> None:
    """Three fractions, of which none lies inside the interval; five tell the shape."""
    late = {0.0: 0.0, 0.25: 0.01, 0.5: 0.02, 0.75: 0.1, 1.0: 1.0}
    rng = np.random.default_rng(3)
    y = [Outcome(x, s, v + 0.02 * rng.standard_normal()) for x, v in late.items() for s in range(3)]
    few = estimate([o for o in y if o.fraction in (0.0, 0.5, 1.0)], 0.6)
    many = estimate(y, 0.6)
    assert few.low is not None and few.high is not None and few.low < 0.6 and few.high > 0.93
    assert INSIDE in few.rests and few.rests[0] == INSIDE
    assert INSIDE not in estimate(line(3, 0.3), 0.6).rests
    assert many.low is not None and many.low > 0.75 and many.width < 0.2 < few.width


def test_where_all_ended_suddenly_the_crossing_may_be_anywhere_before() -> None:
    """Five fractions, all absorbed from a half on: nothing locates the crossing above a quarter."""
    y = [o if o.fraction < 0.4 else Outcome(o.fraction, o.seed, math.inf) for o in line(3, 0.02)]
    some = [o for o in y if o.fraction in (0.0, 0.25, 0.5, 0.75, 1.0)]
    found = estimate(some, 0.6)
    assert found.low is not None and found.high is not None
    assert 0.25 < found.low < 0.3 and 0.45 < found.high < 0.5


@pytest.mark.slow
def test_seeds_needed_give_the_width_that_they_promise() -> None:
    """Within a factor of 1.5 of what so many seeds measure, in the middle of several grids."""
    ratios = []
    fractions = [float(x) for x in np.linspace(0, 1, 9)]
    for number in range(5):
        rng = np.random.default_rng(number)

        def grid(seeds: int, rng: np.random.Generator = rng) -> list[Outcome]:
            own = [(x, s) for x in fractions for s in range(seeds)]
            return [Outcome(x, s, x + 0.15 * rng.standard_normal()) for x, s in own]

        found = draws_of(grid(8), 0.6, AXIS)
        assert found is not None
        seeds = seeds_needed(found, fractions, 0.08, 0.9)
        assert seeds is not None and 5 <= seeds <= 60
        ratios.append(estimate(grid(seeds), 0.6).width / 0.08)
    assert 1 / 1.5 < float(np.median(ratios)) < 1.5
    assert found is not None and seeds_needed(found, [0.0, 1.0], 0.08, 0.9) is None


@pytest.mark.parametrize(("risk", "says"), [(0.001, "0.1%"), (0.125, "12.5%"), (0.07, "7%")])
def test_a_risk_is_not_rounded_away(risk: float, says: str) -> None:
    none = Safe(risk, None, None, 0.3)
    assert f"more than {says} do from 0 on" in none.words(AXIS)
    assert Safe(risk, 0.5, 0.4, 0.6).words(AXIS).endswith(f"up to there at most {says} do")


def test_a_level_that_is_left_downwards_is_not_said_to_be_passed_twice() -> None:
    down = [Outcome(o.fraction, o.seed, 1 - o.y) for o in line(4, 0.02)]
    found = estimate(down, 0.5)
    assert found.verdict == "not monotone" and found.safe is None
    assert found.words.endswith("collapse at some fractions and no longer at higher ones")


def test_what_a_curve_may_do_beyond_the_fractions_that_ran_is_not_held_against_it() -> None:
    rng = np.random.default_rng(1)
    near = [
        Outcome(float(x), s, float(300 * (x - 0.5) + 0.5 * rng.standard_normal()))
        for x in np.linspace(0.5, 0.51, 9)
        for s in range(3)
    ]
    assert estimate(near, 1.5).verdict != "not monotone"


def test_a_short_axis_has_the_digits_to_tell_its_fractions_apart() -> None:
    safe = Safe(0.1, 0.9012, 0.9004, 0.9031, below=7)
    words = Estimate("bracketed", 0.9056, 0.9043, 0.9071, 0.9, (0.9, 0.91), 9, 3, safe=safe).words
    assert "typical fraction 0.9056 [0.9043, 0.9071]" in words
    assert "safe fraction 0.9012 [0.9004, 0.9031]" in words
    assert safe.counted((0.9, 0.91)) == "0 of 7 lineages up to 0.9004 collapsed"
    assert safe.words(AXIS).startswith("safe fraction 0.90 [0.90, 0.90]")


def test_an_interval_of_the_whole_axis_is_no_safe_fraction() -> None:
    unknown = "safe fraction not known: it may be anywhere from 0 to 1"
    assert Safe(0.1, None, None, None).words(AXIS) == unknown
    found = estimate(line(2, 0.3, fractions=3), 1.5).safe
    assert found is not None and found.words(AXIS) == unknown
    assert found.estimate is None, "no number in a table, a tracker or the API either"
