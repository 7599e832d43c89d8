"""Collapse, defined once: a functional of a lineage's curve, named in the experiment file before
anything runs.

    collapse: {metric: fid, above: 3.0}                          level at the last generation, times
    generation 0 collapse: {metric: fid, above: 5.0, of: floor}               ... times the
    real-vs-real floor collapse: {metric: modes/live, below: 3, of: one}            ... as it is
    collapse: {metric: fid, above: 0.05, slope: {last: 6}}       growth per generation in units of
    generation 0: Theil-Sen, and
                                                                 its one-sided confidence bound must
                                                                 be past the level
    collapse: {..., absorbing: {metric: moments/trace_ratio, below: 1e-9, class_extinct: true,
    undefined: true}}

States that a lineage cannot leave are a collapse whatever the metric says: it diverged, its samples
are all equal, nothing is left to draw; and those that the file adds under `absorbing`.  y grows as
things get worse and is compared with one level.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSORBING = ("diverged", "constant", "extinct")  # findings that are themselves a collapse
Rule = Mapping[str, Any]


@dataclass(frozen=True)
class Point:
    """What a collapse rule reads of one generation; None where something has no value."""

    t: int
    value: float | None
    floor: float | None = None
    watched: float | None = None  # the metric of `absorbing`
    status: str = "ok"
    due: bool = True  # whether the metric was to be measured here


@dataclass(frozen=True)
class Judged:
    """y against the level; y is +inf in an absorbing state, NaN (with the reason) where it has no
    value.
    """

    y: float
    level: float
    verdict: bool | None
    t: int  # of the generation that y was read at; -1: none
    value: float = math.nan
    reference: float = math.nan
    absorbed: bool = False
    undefined: str = ""


def judge(curve: Sequence[Point], rule: Rule) -> Judged:
    """What the rule says of the generations so far."""
    level, seen = (
        level_of(rule),
        [p for p in curve if p.value is not None and math.isfinite(p.value)],
    )
    last = seen[-1] if seen else None
    value, t = (last.value, last.t) if last else (math.nan, -1)
    absorbed = next((p for p in curve if in_absorbing_state(p, rule)), None)
    reference = _reference(curve, last, rule)
    if absorbed is not None:
        return Judged(
            math.inf, level, True, absorbed.t, value or math.nan, reference, absorbed=True
        )
    if last is None or not reference > 0:
        reason = "the metric has no value" if last is None else _no_reference(rule)
        return Judged(math.nan, level, None, t, value or math.nan, reference, undefined=reason)
    return _slope(seen, rule, reference) if "slope" in rule else _level(last, rule, reference)


def first_passage(curve: Sequence[Point], rule: Rule) -> int | None:
    """The first generation at which the rule holds of the curve so far."""
    return next((p.t for i, p in enumerate(curve) if judge(curve[: i + 1], rule).verdict), None)


def level_of(rule: Rule) -> float:
    """What y is compared with: the logarithm of above, minus that of below; for slopes the number
    itself, with that sign.
    """
    sign, bound = (1, rule["above"]) if rule.get("above") is not None else (-1, rule["below"])
    return sign * (bound if "slope" in rule else math.log(bound))


def in_absorbing_state(point: Point, rule: Rule) -> bool:
    extra = rule.get("absorbing", {})
    if point.status in ABSORBING or (
        point.status == "class_extinct" and extra.get("class_extinct")
    ):
        return True
    if extra.get("undefined") and point.due and point.value is None:
        return True
    return (
        extra.get("below") is not None
        and point.watched is not None
        and point.watched < extra["below"]
    )


def in_words(rule: Rule) -> str:
    """The rule as the end of a sentence."""
    side, bound = (
        ("above", rule["above"]) if rule.get("above") is not None else ("below", rule["below"])
    )
    unit = {"floor": " x its real-vs-real floor", "one": ""}.get(
        rule.get("of", "start"), " x generation 0"
    )
    if slope := rule.get("slope"):
        share = slope.get("confidence", 0.95)
        span = f"per generation over the last {slope['last']}, {share:.0%} sure"
        return (
            f"{rule['metric']} {'grows' if side == 'above' else 'falls'} by more than "
            f"{bound:g}{unit} {span}"
        )
    return f"{rule['metric']} {side} {bound:g}{unit}"


def quantity(rule: Rule) -> str:
    """What y is, for the axis of a figure."""
    unit = {"floor": " / floor", "one": ""}.get(rule.get("of", "start"), " / generation 0")
    if "slope" in rule:
        return f"{'fall' if rule.get('above') is None else 'growth'} of {rule['metric']}{unit}"
    return f"{'-' if rule.get('above') is None else ''}log({rule['metric']}{unit})"


def _reference(curve: Sequence[Point], last: Point | None, rule: Rule) -> float:
    of = rule.get("of", "start")
    if of == "one":
        return 1.0
    found = (
        curve[0].value
        if of == "start" and curve and curve[0].t == 0
        else last.floor
        if of == "floor" and last
        else None
    )
    return math.nan if found is None else found


def _no_reference(rule: Rule) -> str:
    what = "floor" if rule.get("of") == "floor" else "value at generation 0"
    return f"the metric has no positive {what} to compare with"


def _level(last: Point, rule: Rule, reference: float) -> Judged:
    assert last.value is not None
    ratio, above = last.value / reference, rule.get("above") is not None
    verdict = ratio > rule["above"] if above else ratio < rule["below"]
    if ratio > 0:
        return Judged(
            (1 if above else -1) * math.log(ratio),
            level_of(rule),
            verdict,
            last.t,
            last.value,
            reference,
        )
    y = math.nan if above else math.inf
    reason = f"the metric is {last.value:g}, which has no logarithm" if above else ""
    return Judged(y, level_of(rule), verdict, last.t, last.value, reference, undefined=reason)


def _slope(seen: Sequence[Point], rule: Rule, reference: float) -> Judged:
    """Theil-Sen over the last generations, with its one-sided confidence bound (Sen 1968)."""
    used = seen[-rule["slope"]["last"] :]
    if len(used) < 3:
        reason = f"a slope needs 3 generations with a value, there are {len(used)}"
        return Judged(
            math.nan,
            level_of(rule),
            None,
            used[-1].t,
            used[-1].value or math.nan,
            reference,
            undefined=reason,
        )
    from scipy.stats import theilslopes

    sign = 1 if rule.get("above") is not None else -1
    y = [sign * p.value / reference for p in used if p.value is not None]
    sure = 2 * rule["slope"].get("confidence", 0.95) - 1  # two-sided
    found = theilslopes(y, [p.t for p in used], alpha=sure)
    verdict = bool(found.low_slope > level_of(rule))
    return Judged(
        float(found.slope), level_of(rule), verdict, used[-1].t, used[-1].value or 0.0, reference
    )
