"""Collapse by its rule: levels, slopes, absorbing states, censoring; the same answer from rows and
from the frame.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from analysis.collapse.functional import functional
from analysis.frame.rows import tidy
from engine.experiment.reader import SpecError, of_text
from engine.experiment.sources import load
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


NATS = rule_of(metric="nll", above=0.1, by="difference")


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
        ([*curve(2.0, 8.0), Point(2, None, due=False)], ABOVE, True, math.log(4)),
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
    assert falling.judge(curve(*(10 + 0.1 * t for t in range(5)))).verdict is False


@pytest.mark.parametrize(
    ("points", "rule", "verdict", "y"),
    [
        (curve(2.0, 2.2), NATS, True, 0.2),
        (curve(2.0, 2.05), NATS, False, 0.05),
        (curve(-1.0, -0.8), NATS, True, 0.2),  # of densities: a ratio would say the contrary
        (curve(0.0, 0.3), NATS, True, 0.3),
        (curve(-1.0, -3.0), rule_of(above=None, below=1.5, by="difference"), True, 2.0),
        (curve(2.0, 1.0), rule_of(above=None, below=1.5, by="difference"), False, 1.0),
        (curve(2.0, 2.2, floor=2.15), rule_of(above=0.1, by="difference", of="floor"), False, 0.05),
        (curve(0.0, status="diverged"), NATS, True, math.inf),
    ],
)
def test_a_difference_is_of_values_of_any_sign(
    points: list[Point], rule: CollapseRule, verdict: bool, y: float
) -> None:
    found = rule.judge(points)
    assert found.verdict is verdict and found.y == pytest.approx(y)
    assert (found.y > found.level) == verdict and rule.level == rule.bound
    if not found.absorbed:
        past = rule.sign * (found.value - rule.begins(found.reference))
        assert (past > 0) == verdict, "where the level is drawn is where collapse begins"


@pytest.mark.parametrize(("side", "ratio"), [("above", 3.0), ("below", 0.5)])
@pytest.mark.parametrize("of", ["start", "floor"])
def test_a_difference_of_logarithms_is_a_ratio(side: str, ratio: float, of: str) -> None:
    by_ratio = rule_of(**{"above": None, side: ratio}, of=of)
    nats = {"above": None, side: abs(math.log(ratio)), "by": "difference"}
    by_difference = rule_of(**nats, of=of)
    assert by_difference.level == pytest.approx(by_ratio.level)
    rng = np.random.default_rng(0)
    for logs in rng.normal(0, 1.5, (20, 5)):
        a = by_ratio.judge(curve(*np.exp(logs), floor=math.e))
        b = by_difference.judge(curve(*logs, floor=1.0))
        assert (a.verdict, a.y) == (b.verdict, pytest.approx(b.y))


def test_a_difference_without_a_reference_says_so() -> None:
    found = NATS.judge(curve(None, 2.0))
    assert found.verdict is None and "no value at generation 0" in found.undefined


def test_the_slope_of_a_difference_is_per_generation() -> None:
    points = curve(*(-5 + 0.2 * t for t in range(6)))
    judged = rule_of(above=0.1, by="difference", slope={"last": 5}).judge(points)
    assert judged.verdict is True and judged.y == pytest.approx(0.2)
    more = rule_of(above=0.3, by="difference", slope={"last": 5})
    assert more.judge(points).verdict is False
    falls = rule_of(above=None, below=0.1, by="difference", slope={"last": 5})
    assert falls.judge(points).verdict is False


def test_first_passage_of_a_difference_is_from_generation_0() -> None:
    assert NATS.first_passage(curve(-0.05, 0.0, 0.06, 0.0)) == 2


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
    for gap in ("fid", "fid/excess", "moments/kl"):
        metric = gap.partition("/")[0]
        rule = rule_of(metric=gap, of="one", absorbing={"undefined": True})
        first = generation(one.id, 0, given | {"fid/excess": 1.0})
        rest = {key: v for key, v in given.items() if key != gap}
        second = generation(one.id, 1, rest, undefined={gap: "all equal"})
        assert collapsed(History(one, (first, second), Status.OK), rule) is True, metric
        assert functional(tidy([first, second], {one.id: one}), rule).absorbed[0], metric
        others = {key: v for key, v in rest.items() if not key.startswith(metric)}
        near = generation(one.id, 1, others, undefined={f"{metric}_other": "all equal"})
        assert collapsed(History(one, (first, near), Status.OK), rule) is False, metric


def test_nothing_stands_for_a_value_that_became_undefined() -> None:
    """At the last generation fid has no value, its floor of 0.5 has one, and so has generation 1:
    neither is the answer.
    """
    one = spec()
    given = rows(one, 2.0, 3.0, None)
    judged = ABOVE.judge(summary.curve(given, ABOVE))
    assert (judged.t, judged.verdict) == (2, None)
    assert math.isnan(judged.value) and math.isnan(judged.y)
    assert judged.undefined.startswith("fid has no value at generation 2: ")
    framed = functional(tidy(given, {one.id: one}), ABOVE)
    assert (framed.t[0], framed.verdict[0]) == (2, None) and math.isnan(framed.y[0])
    assert framed.undefined[0] == judged.undefined
    assert summary.at_end(given, "fid") is None and summary.drift(given, "fid") is None
    assert ABOVE.first_passage(summary.curve(rows(one, 2.0, 9.0, None), ABOVE)) == 1
    begun = rows(one, None, 3.0)
    assert summary.at_start(begun, "fid") is None and summary.drift(begun, "fid") is None
    assert collapsed(History(one, tuple(begun), Status.OK), ABOVE) is None
    watching = rule_of(absorbing={"metric": "moments/kl", "below": 0.5})
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


@pytest.mark.parametrize(
    ("collapse", "said"),
    [
        ("{metric: fid, above: 2, by: difference}", "write by: ratio"),
        ("{metric: nll, above: 2}", "zero is no origin.*write by: difference, and above in nats"),
        ("{metric: nll, above: 2, by: ratio}", "write by: difference"),
        ("{metric: fid, above: 2, of: one, by: difference}", "of: one is none"),
        ("{metric: fid, above: 2, by: logarithm}", "by"),
        ("{metric: fid, above: 2, of: flour}", "of"),
        ("{metric: fid, above: 2, slope: {last: 2}}", "last"),
        ("{metric: fid, above: 2, absorbing: {metric: fid}}", "metric and below together"),
        ("{metric: fid, above: 2, absorbing: {metric: modes/live, below: 1}}", "is not measured"),
        ("{metric: fid/exces, above: 2}", "fid does not return .did you mean 'fid/excess'"),
        ("{metric: fid/n, above: 2}", "stands beside the numbers of fid"),
        ("{metric: fid/floor, above: 2}", "none to judge by; name fid"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(tmp_path: Any, collapse: str, said: str) -> None:
    file = tmp_path / "e.yaml"
    base = (
        "base: {dataset: gaussian, generator: gaussian, n_real: 10}\ngenerations: "
        "1\nmetrics: [fid, nll]\n"
    )
    file.write_text(base + f"collapse: {collapse}\n")
    with pytest.raises(SpecError, match=said):
        load(file)


def test_what_an_output_keeps_of_a_version_without_differences_is_judged_as_it_was() -> None:
    text = (
        b"base: {dataset: gaussian, generator: gaussian, n_real: 10}\ngenerations: 1\n"
        b"metrics: [nll]\ncollapse: {metric: nll, above: 2}\n"
    )
    with pytest.raises(SpecError, match="write by: difference"):
        of_text(text, name="e", source="e.yaml")
    sweep = of_text(text, name="e", source="out/experiments/e.yaml", output="out")
    assert sweep.collapse is not None and sweep.collapse.is_ratio and sweep.drifts_by == "ratio"
    with pytest.raises(SpecError, match="write by: difference"):
        of_text(
            text.replace(b"above: 2", b"above: 2, by: ratio"),
            name="e",
            source="out/experiments/e.yaml",
            output="out",
        )


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


def test_a_rule_that_names_a_metric_alone_is_judged_by_the_key_it_declares(tmp_path: Any) -> None:
    file = tmp_path / "e.yaml"
    for data, key in {"gaussian": "moments/kl", "regression": "moments/weight_error"}.items():
        model = "linear_regression" if data == "regression" else data
        file.write_text(
            f"base: {{dataset: {data}, generator: {model}, n_real: 100}}\ngenerations: 1\n"
            "metrics: [moments]\ncollapse: {metric: moments, above: 2, "
            "absorbing: {metric: moments, below: 1e-9}}\n"
        )
        sweep = load(file)
        assert sweep.collapse is not None and sweep.collapse.metric == key == sweep.headline
        assert sweep.collapse.watched == key and key in sweep.collapse.words()


def test_zero_is_a_value() -> None:
    rule = rule_of(metric="modes/live", above=None, below=0.5)
    judged = rule.judge([Point(0, 1.0), Point(1, 0.0, status=Status.CONSTANT)])
    assert judged.value == 0.0 and judged.absorbed


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
        grows == "fid grows by more than 0.1 x generation 0 per generation over the last 5 "
        "(95% confidence)"
    )
    assert NATS.words() == "nll more than 0.1 nats per sample above generation 0"
    assert NATS.bound_words == "0.1 nats per sample" and ABOVE.bound_words == "3 x"
    assert NATS.quantity() == "nll: nats per sample above its generation 0"
    unknown = rule_of(metric="mine/key", above=None, below=2.0, by="difference", of="floor")
    assert unknown.words() == "mine/key more than 2 below its real-vs-real floor"
    slow = rule_of(metric="nll", above=0.1, by="difference", slope={"last": 5}).words()
    assert slow.startswith("nll grows by more than 0.1 nats per sample per generation over the")
