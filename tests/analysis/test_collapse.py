"""Collapse by its rule: levels, slopes, absorbing states, censoring; the same answer from rows and
from the frame; survival.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from analysis.collapse.functional import functional, times
from analysis.collapse.survival import hazard, kaplan_meier, median_time
from analysis.frame.rows import tidy
from engine.experiment.reader import SpecError, load
from engine.lineage.history import History
from engine.outcome import summary
from engine.outcome.summary import collapsed
from engine.settings import CollapseRule
from engine.spec import LineageSpec, Part
from engine.status import Point, Status
from engine.store.rows import Generation
from tests.support.rows import generation

ABOVE = CollapseRule(metric="fid", above=3.0)


def rule_of(**given: Any) -> CollapseRule:
    """A rule as a file gives it; above 3 times generation 0 where nothing else is said."""
    return CollapseRule.from_dict({"metric": "fid", "above": 3.0} | given)


def curve(*values: float | None, status: str = "ok", floor: float | None = None) -> list[Point]:
    last = len(values) - 1
    return [
        Point(t, v, floor, status=Status(status if t == last else "ok"))
        for t, v in enumerate(values)
    ]


def spec(seed: int = 0, fraction: float = 1.0) -> LineageSpec:
    policy = Part("policy", "replace", {"synthetic_fraction": fraction})
    return LineageSpec(
        Part("dataset", "digits"),
        Part("generator", "vae"),
        policy,
        Part("sampling", "plain"),
        100,
        seed,
    )


def rows(one: LineageSpec, *values: float | None, status: str = "ok") -> list[Generation]:
    """Generations with a fid (None: undefined) and its floor; the last one has the status."""
    found = []
    for t, v in enumerate(values):
        given = {"fid/floor": 0.5} | ({"fid": v} if v is not None else {})
        undefined = {} if v is not None else {"fid": "all equal"}
        now = status if t == len(values) - 1 else "ok"
        found.append(generation(one.id, t, given, undefined=undefined, status=now))
    return found


@pytest.mark.parametrize(
    ("points", "rule", "verdict", "y"),
    [
        (curve(2.0, 8.0), ABOVE, True, math.log(4)),
        (curve(2.0, 6.0), ABOVE, False, math.log(3)),
        (curve(2.0, 0.9), rule_of(above=None, below=0.5), True, -math.log(0.45)),
        (curve(2.0, 0.0), rule_of(above=None, below=0.5), True, math.inf),
        (curve(2.0, 8.0, floor=2.0), rule_of(of="floor"), True, math.log(4)),
        (curve(2.0, 8.0, floor=4.0), rule_of(of="floor"), False, math.log(2)),
        (
            curve(5.0, 2.9),
            rule_of(metric="m", above=None, below=3.0, of="one"),
            True,
            -math.log(2.9),
        ),
        (curve(2.0, 8.0, None), ABOVE, True, math.log(4)),
        (curve(2.0, status="diverged"), ABOVE, True, math.inf),
        (curve(2.0, 3.0, status="class_extinct"), ABOVE, False, math.log(1.5)),
        (
            curve(2.0, 3.0, status="class_extinct"),
            rule_of(absorbing={"class_extinct": True}),
            True,
            math.inf,
        ),
        (curve(2.0, None, 2.0), rule_of(absorbing={"undefined": True}), True, math.inf),
    ],
)
def test_levels_and_absorbing_states(
    points: list[Point], rule: CollapseRule, verdict: bool, y: float
) -> None:
    found = rule.judge(points)
    assert found.verdict is verdict and found.y == pytest.approx(y)
    assert (found.y > found.level) == verdict, "y past the level is what collapse means"


@pytest.mark.parametrize("points", [curve(0.0, 8.0), curve(None, None), curve(-1.0, 2.0), []])
def test_without_a_reference_there_is_no_verdict_but_a_reason(points: list[Point]) -> None:
    found = ABOVE.judge(points)
    assert found.verdict is None and math.isnan(found.y) and found.undefined


def test_a_variance_below_eps_is_absorbing_even_if_it_comes_back() -> None:
    rule = rule_of(absorbing={"metric": "moments/trace_ratio", "below": 1e-9})
    points = [Point(0, 1.0, watched=1.0), Point(1, 1.0, watched=1e-12), Point(2, 1.0, watched=1.0)]
    assert rule.judge(points).verdict and rule.judge(points).t == 1 == rule.first_passage(points)
    assert rule.judge(points[:1]).verdict is False


def test_a_slope_must_be_sure() -> None:
    rule = rule_of(above=0.1, slope={"last": 8})
    rng = np.random.default_rng(0)
    rising = curve(*(1 + 0.3 * t + 0.05 * rng.normal() for t in range(12)))
    noisy = curve(1.0, *(3 + 0.12 * t + 1.0 * rng.normal() for t in range(12)))
    assert rule.judge(rising).verdict is True and rule.judge(rising).y == pytest.approx(
        0.3, abs=0.05
    )
    assert rule.judge(noisy).verdict is False
    assert rule.judge(curve(1.0, 2.0)).verdict is None
    falling = rule_of(above=None, below=0.1, slope={"last": 8})
    assert falling.judge(curve(*(10 - 2.0 * t for t in range(5)))).verdict is True


def test_a_slope_is_read_at_the_last_generation_so_whole_lineages_are_not_censored() -> None:
    rule, one = rule_of(above=0.1, slope={"last": 4}), spec()
    growing = [1.0 + t for t in range(6)]
    judged = rule.judge(curve(*growing))
    assert (judged.t, judged.value, judged.reference) == (5, 6.0, 1.0)
    found = functional(tidy(rows(one, *growing), {one.id: one}), rule, generations=5)
    assert found.t[0] == 5 and not found.censored[0] and found.finished[0] and found.verdict[0]


def test_an_absorbing_metric_is_judged_from_rows_and_from_the_frame() -> None:
    rule, one = rule_of(absorbing={"metric": "moments/trace_ratio", "below": 0.5}), spec()
    given = [
        generation(one.id, t, {"fid": 2.0, "moments/trace_ratio": seen}, undefined={}, status="ok")
        for t, seen in enumerate((1.0, 0.1))
    ]
    assert collapsed(History(one, tuple(given), "ok"), rule) is True
    assert functional(tidy(given, {one.id: one}), rule).absorbed[0]


def test_a_generation_where_the_metric_was_not_due_is_no_collapse() -> None:
    rule, one = rule_of(absorbing={"undefined": True}), spec()
    given = rows(one, 2.0, None, 2.0)
    given[1] = generation(one.id, 1, {"other": 1.0}, undefined={}, status="ok")  # every: 2
    assert collapsed(History(one, tuple(given), "ok"), rule) is False
    found = functional(tidy(given, {one.id: one}), rule)
    assert not found.absorbed[0] and found.verdict.tolist() == [False]


def test_a_generation_where_the_metric_was_due_and_has_no_value_is_a_collapse_where_asked() -> None:
    one, given = spec(), {"fid": 2.0, "fid/floor": 0.5, "moments/kl": 1.0, "moments/w2": 1.0}
    for metric, gap in {"fid": "fid", "fid/excess": "fid/excess", "moments": "moments/kl"}.items():
        rule = rule_of(metric=metric, of="one", absorbing={"undefined": True})
        first = generation(one.id, 0, given | {"fid/excess": 1.0})
        rest = {key: v for key, v in given.items() if key != gap}
        second = generation(one.id, 1, rest, undefined={gap: "all equal"})
        assert collapsed(History(one, (first, second), Status.OK), rule) is True, metric
        assert functional(tidy([first, second], {one.id: one}), rule).absorbed[0], metric
        others = {key: v for key, v in rest.items() if not key.startswith(metric)}
        near = generation(one.id, 1, others, undefined={f"{metric}_other": "all equal"})
        assert collapsed(History(one, (first, near), Status.OK), rule) is False, metric


def test_a_floor_never_stands_for_a_metric_that_is_undefined() -> None:
    """At the last generation fid has no value and its floor of 0.5 has: 3 is the last that is
    known.
    """
    one = spec()
    given = rows(one, 2.0, 3.0, None)
    judged = ABOVE.judge(summary.curve(given, ABOVE))
    assert (judged.t, judged.value) == (1, 3.0) and judged.y == pytest.approx(math.log(1.5))
    framed = functional(tidy(given, {one.id: one}), ABOVE)
    assert (framed.t[0], framed.y[0]) == (judged.t, pytest.approx(judged.y))
    assert summary.value(reversed(given), "fid") == 3.0 and summary.drift(given, "fid") == 1.5
    begun = rows(one, None, 3.0)
    assert summary.value(begun[:1], "fid") is None and summary.drift(begun, "fid") is None
    assert collapsed(History(one, tuple(begun), Status.OK), ABOVE) is None
    watching = rule_of(absorbing={"metric": "moments", "below": 0.5})
    low = generation(
        one.id, 1, {"fid": 2.0, "moments/w2": 0.1}, undefined={"moments/kl": "singular"}
    )
    assert collapsed(History(one, (given[0], low), Status.OK), watching) is False


def test_first_passage_is_the_first_generation_past_the_level() -> None:
    assert ABOVE.first_passage(curve(1.0, 2.0, 4.0, 2.0)) == 2
    assert ABOVE.first_passage(curve(1.0, 2.0, 2.5)) is None


def test_the_floor_of_a_part_of_a_metric_is_read() -> None:
    values = {"precision_recall/recall": 0.5, "precision_recall/recall_floor": 0.9}
    rule = rule_of(metric="precision_recall/recall", above=None, below=0.5, of="floor")
    assert summary.curve([generation("a", 0, values)], rule) == [Point(0, 0.5, 0.9)]


def test_the_frame_and_the_rows_give_the_same_verdict() -> None:
    cases = [
        ("ok", (2.0, 8.0)),
        ("ok", (2.0, 3.0)),
        ("diverged", (2.0, 3.0)),
        ("ok", (2.0, None)),
        ("constant", (2.0, None)),
    ]
    specs = {spec(i).id: spec(i) for i in range(len(cases))}
    given = {
        one.id: rows(one, *values, status=s)
        for one, (s, values) in zip(specs.values(), cases, strict=True)
    }
    found = functional(
        tidy([r for rs in given.values() for r in rs], specs), ABOVE, generations=1
    ).set_index("lineage")
    for one, (status, _) in zip(specs.values(), cases, strict=True):
        history = History(one, tuple(given[one.id]), Status(status))
        assert found.verdict[one.id] is collapsed(history, ABOVE) or found.verdict[
            one.id
        ] == collapsed(history, ABOVE)


def test_unfinished_and_ended_lineages_are_censored_not_missing() -> None:
    one, two, three = spec(0), spec(1), spec(2)
    specs = {s.id: s for s in (one, two, three)}
    given = [
        *rows(one, 2.0, 8.0),
        *rows(two, 2.0, 8.0, status="quota_unfilled"),
        *rows(three, 2.0, 3.0, 3.0, 9.0),
    ]
    found = functional(tidy(given, specs), ABOVE, generations=3)
    assert found.verdict.tolist() == [None, True, True] and found.censored.tolist() == [
        True,
        True,
        False,
    ]
    assert found.undefined[0] == "unfinished: generation 1 of 3"


def test_the_floor_of_the_frame_is_the_reference() -> None:
    one = spec()
    found = functional(tidy(rows(one, 2.0, 2.0), {one.id: one}), rule_of(of="floor"))
    assert (
        found.reference[0] == 0.5 and found.y[0] == pytest.approx(math.log(4)) and found.verdict[0]
    )


def test_kaplan_meier_by_hand() -> None:
    """Freireich's 6-MP arm (1963), the textbook example: S(6) = .857, S(10) = .753, S(23) = .448;
    s.e. at 10: .0963.
    """
    t = [6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    frame = pd.DataFrame({"t": t, "event": [True] * 9 + [False] * 12})
    found = kaplan_meier(frame).set_index("t")
    assert found.survival[[5, 6, 10, 23]].round(3).tolist() == [1.0, 0.857, 0.753, 0.448]
    assert found.at_risk[[6, 7, 10, 23]].tolist() == [21, 17, 15, 6]
    log_log = 1.96 * 0.0963 / (0.753 * abs(math.log(0.753)))
    assert found.low[10] == pytest.approx(0.753 ** math.exp(log_log), abs=2e-3)
    assert found.high[10] == pytest.approx(0.753 ** math.exp(-log_log), abs=2e-3)
    assert math.isnan(found.low[5]) and median_time(found.reset_index()) == 23
    assert math.isnan(median_time(kaplan_meier(frame[:0].astype({"t": int}))))


def test_all_collapsed_ends_at_zero() -> None:
    found = kaplan_meier(pd.DataFrame({"t": [1, 2], "event": [True, True]}))
    assert found.survival.tolist() == [1, 1, 0.5, 0] and math.isnan(found.low.iloc[-1])


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


@pytest.mark.parametrize(
    ("collapse", "said"),
    [
        ("{metric: fid, above: 2, of: flour}", "of"),
        ("{metric: fid, above: 2, slope: {last: 2}}", "last"),
        ("{metric: fid, above: 2, absorbing: {metric: fid}}", "metric and below together"),
        ("{metric: fid, above: 2, absorbing: {metric: modes/live, below: 1}}", "is not measured"),
        ("{metric: fid/exces, above: 2}", "fid does not return .did you mean 'fid/excess'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(tmp_path: Any, collapse: str, said: str) -> None:
    file = tmp_path / "e.yaml"
    base = (
        "base: {dataset: gaussian, generator: gaussian, n_real: 10}\ngenerations: "
        "1\nmetrics: [fid]\n"
    )
    file.write_text(base + f"collapse: {collapse}\n")
    with pytest.raises(SpecError, match=said):
        load(file)


def test_a_rule_may_name_any_key_of_a_metric_that_is_measured(tmp_path: Any) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(
        "base: {dataset: gaussian, generator: gaussian, n_real: 10}\ngenerations: 1\n"
        "metrics: [moments]\ncollapse: {metric: moments/kl, above: 2, "
        "absorbing: {metric: moments/trace_ratio, below: 1e-9}}\n"
    )
    rule = load(file).collapse
    assert rule is not None and rule.watched == "moments/trace_ratio"
    assert CollapseRule.from_dict(rule.to_dict()) == rule


def test_a_rule_cannot_be_changed_or_misspelt() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ABOVE.above = 4.0
    with pytest.raises(ValidationError, match="abve"):
        CollapseRule.from_dict({"metric": "fid", "abve": 3.0})
    with pytest.raises(ValidationError, match="number"):
        rule_of(above="three")


def test_rules_in_words() -> None:
    assert ABOVE.words() == "fid above 3 x generation 0"
    assert rule_of(of="floor").words() == "fid above 3 x its real-vs-real floor"
    grows = rule_of(above=0.1, slope={"last": 5}).words()
    assert (
        grows
        == "fid grows by more than 0.1 x generation 0 per generation over the last 5, 95% sure"
    )
