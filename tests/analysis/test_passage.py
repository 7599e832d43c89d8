"""First passage and the state at the last generation: two questions, per fraction, with limits that
respect shared founders.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from analysis.collapse.functional import functional, times
from analysis.collapse.survival import (
    first_passages,
    hazard,
    kaplan_meier,
    median_time,
    two_questions,
)
from analysis.frame.rows import tidy
from analysis.report.answers import grouped
from engine.spec import LineageSpec, Part
from tests.analysis.test_collapse import ABOVE, rows, spec


def of(t: list[int], event: list[bool], seed: list[int] | None = None) -> pd.DataFrame:
    """Lineages, each of a seed of its own unless told."""
    return pd.DataFrame({"t": t, "event": event, "seed": range(len(t)) if seed is None else seed})


def clopper_pearson(share: float, n: float) -> tuple[float, float]:
    x = share * n
    return float(beta.ppf(0.025, x, n - x + 1)), float(beta.ppf(0.975, x + 1, n - x))


def test_kaplan_meier_by_hand() -> None:
    """Freireich's 6-MP arm (1963), the textbook example: S(6) = .857, S(10) = .753, S(23) = .448;
    Greenwood's s.e. at 10: .0963.
    """
    t = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    frame = of(t, [True] * 9 + [False] * 12)
    found = kaplan_meier(frame).set_index("t")
    assert found.survival[[5, 6, 10, 23]].round(3).tolist() == [1.0, 0.857, 0.753, 0.448]
    assert found.at_risk[[6, 7, 10, 23]].tolist() == [21, 17, 15, 6]
    effective = 0.753 * 0.247 / 0.0963**2
    assert (found.low[10], found.high[10]) == pytest.approx(
        clopper_pearson(0.753, effective), abs=2e-3
    )
    assert found.low[5] == pytest.approx(0.025 ** (1 / 21)) and found.high[5] == 1
    assert median_time(found.reset_index()) == 23
    assert math.isnan(median_time(kaplan_meier(frame[:0].astype({"t": int}))))


def test_where_all_have_passed_there_is_a_limit_too() -> None:
    found = kaplan_meier(of([1, 2], [True, True]))
    assert found.survival.tolist() == [1, 1, 0.5, 0]
    assert found.low.iloc[-1] == 0 and found.high.iloc[-1] == pytest.approx(1 - 0.025**0.5)


def test_limits_count_founders_not_lineages() -> None:
    """Twelve lineages that do as their founder does tell as much as their three founders."""
    passed = [True, False, True]
    three = kaplan_meier(of([2, 4, 3], passed)).iloc[-1]
    twelve = kaplan_meier(of([2, 4, 3] * 4, passed * 4, [0, 1, 2] * 4)).iloc[-1]
    apart = kaplan_meier(of([2, 4, 3] * 4, passed * 4)).iloc[-1]
    assert three.survival == twelve.survival == apart.survival == pytest.approx(1 / 3)
    assert twelve.high - twelve.low >= three.high - three.low - 1e-9
    assert apart.high - apart.low < 0.7 * (twelve.high - twelve.low)


def test_the_limits_cover_where_lineages_share_founders() -> None:
    """Ten seeds of five lineages, a share of the variance (.5) that is the founder's: 95 % limits
    hold the truth in at least 90 % of 150 repetitions; those that count lineages do not.
    """
    rng, hits, blind = np.random.default_rng(0), [], []
    for _ in range(150):
        passed = rng.random(50) < np.repeat(rng.beta(0.5, 0.5, 10), 5)
        lineages = of([3] * 50, list(passed), list(np.repeat(range(10), 5)))
        for hit, table in ((hits, lineages), (blind, lineages.assign(seed=range(50)))):
            end = kaplan_meier(table).iloc[-1]
            hit.append(end.low <= 0.5 <= end.high)
    assert np.mean(hits) > 0.9 > np.mean(blind)


def curves(*values: tuple[float, tuple[float, ...]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """First passages and outcomes of lineages at fractions, each seed one lineage per fraction."""
    specs = dict[str, LineageSpec]()
    given, seeds = [], dict[float, int]()
    for fraction, fids in values:
        one = spec(seeds.setdefault(fraction, 0), fraction)
        seeds[fraction] += 1
        specs[one.id] = one
        given += rows(one, *fids)
    frame = tidy(given, specs)
    return grouped(times(frame, ABOVE)), grouped(functional(frame, ABOVE))


def test_a_lineage_that_came_back_has_passed_and_is_not_past() -> None:
    passages, outcomes = curves(
        (0.5, (1.0, 2.0, 2.0)), (0.5, (1.0, 4.0, 2.0)), (1.0, (1.0, 4.0, 5.0)), (1.0, (1.0, 2.0, 9))
    )
    found = two_questions(passages, outcomes).set_index("at")
    assert found.passed.tolist() == [1, 2] and found.past.tolist() == [0, 2]
    assert found.never.tolist() == [0.5, 0.0] and found.below.tolist() == [1.0, 0.0]
    assert found["median"].tolist() == [1, 1]
    assert (found.below_low[0.5], found.below_high[0.5]) == pytest.approx((0.025**0.5, 1.0))


def test_where_no_lineage_has_a_value_none_is_said_to_have_survived() -> None:
    passages, outcomes = curves((0.5, (1.0, 2.0, 2.0)), (1.0, (1.0, 2.0, 2.0)))
    unknown = outcomes["synthetic_fraction"] == 1.0
    outcomes["verdict"] = outcomes["verdict"].astype(object).mask(unknown, None)
    found = two_questions(passages, outcomes).set_index("at")
    assert found.judged.tolist() == [1, 0] and found.never[0.5] == 1.0
    assert found.loc[1.0, ["never", "never_low", "never_high", "below"]].isna().all()


def test_survival_is_told_per_fraction_and_in_bands_where_a_search_tried_many() -> None:
    few, _ = curves(*((f, (1.0, 1.0 + 8 * f)) for f in (0.0, 0.5, 1.0)))
    assert first_passages(few).drop_duplicates(["at", "upto"])["at"].tolist() == [0.0, 0.5, 1.0]
    many, _ = curves(*((i / 10, (1.0, 1.0 + 0.5 * i)) for i in range(11)))
    bands = first_passages(many).drop_duplicates(["at", "upto"])
    assert bands["at"].tolist() == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert bands["upto"].tolist() == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert bands["lineages"].sum() == 11 and bands["lineages"].iloc[-1] == 3, "1 is in the last"


def test_workflows_without_a_fraction_have_curves_too() -> None:
    plain = replace(spec(), policy=Part("policy", "accumulate"))
    frame = tidy(rows(plain, 1.0, 9.0), {plain.id: plain})
    found = first_passages(grouped(times(frame, ABOVE)))
    assert found["survival"].tolist() == [1, 1, 0] and found["at"].isna().all()


def test_the_hazard_is_events_over_exposure_with_exact_limits() -> None:
    specs = {spec(i, f).id: spec(i, f) for i in range(4) for f in (0.5, 1.0)}
    given = [
        r
        for s in specs.values()
        for r in rows(s, 1.0, 2.0, 8.0 if s.synthetic_fraction == 1.0 else 2.0)
    ]
    found = hazard(times(tidy(given, specs), ABOVE)).set_index("synthetic_fraction")
    assert found.events.tolist() == [0, 4] and found.exposure.tolist() == [12, 12]
    assert found.hazard[1.0] == pytest.approx(4 / 12) and found.low[0.5] == 0
    assert found.high[0.5] == pytest.approx(-math.log(0.025) / 12) and found.low[
        1.0
    ] == pytest.approx(1.0899 / 12, rel=1e-3)


def test_the_hazard_has_a_row_for_every_workflow_that_ran_and_for_no_other() -> None:
    """Two workflows at different fractions and one without any: no row stands for a pair of them
    that never ran, and none is left out for lack of a fraction.
    """
    plain = replace(spec(), policy=Part("policy", "accumulate"))
    other = replace(spec(fraction=0.25), generator=Part("generator", "wgan"))
    specs = {s.id: s for s in (spec(fraction=0.5), spec(fraction=1.0), plain, other)}
    passed = times(tidy([r for s in specs.values() for r in rows(s, 1.0, 2.0)], specs), ABOVE)
    columns = (None, ["generator", "synthetic_fraction"], ["generator", "policy", "sampling"])
    for by, size in zip(columns, (4, 4, 3), strict=True):
        found = hazard(passed, by)
        assert len(found) == size and found.lineages.sum() == 4
        assert (found.exposure > 0).all() and np.isfinite(found.hazard).all()
    words = dict.fromkeys(("workflow", "generator", "policy", "sampling"), "category")
    ours = passed.astype(words)[passed.generator == "vae"]  # as in the frame, and a part of it
    for by, size in zip(columns, (3, 3, 2), strict=True):
        assert len(hazard(ours, by)) == size
