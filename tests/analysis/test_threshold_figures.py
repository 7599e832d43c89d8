"""Figures of where collapse begins: blue ends where collapse stops being rare, the level is said as
a multiple, the fitted curve is the one that the answer was read from, nothing is left out in
silence.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis.plots import style
from analysis.plots.style import left_out, ratio_axis, sheet
from analysis.plots.threshold import NEUTRAL, phase_diagram, regimes, response, short
from analysis.report.fits import fitted
from engine.settings import CollapseRule, Slope

RULE = CollapseRule(metric="fid", above=3.0)
NAN = math.nan
ABOUT = {"first": 0.0, "last": 1.0, "likely": "none", "words": "whatever it says"}
SHARES = pd.DataFrame(columns=["group", "synthetic_fraction", "collapsed", "judged"])


def answers(**given: float | str) -> pd.DataFrame:
    """One workflow's answer, in words that say nothing."""
    ends = dict.fromkeys(["estimate", "low", "high", "safe", "safe_low", "safe_high"], NAN)
    known = {"group": "replace", "verdict": "bracketed", "risk": 0.1, **ABOUT, **ends, **given}
    return pd.DataFrame([known])


def bars(figure: Figure) -> list[tuple[str, float, float]]:
    """What the line of answers claims: colour and ends of each part."""
    lines = [own for own in figure.axes[0].lines if own.get_linewidth() == 8]
    found = [(to_hex(own.get_color()), *map(float, own.get_xdata())) for own in lines]
    return [(colour, a, b) for colour, a, b in found if colour != "#ffffff"]


def test_blue_ends_at_the_safe_fraction_and_nothing_is_claimed_up_to_the_typical_one() -> None:
    known = {"estimate": 0.8, "low": 0.7, "high": 0.9, "safe": 0.6, "safe_low": 0.5}
    drawn = bars(phase_diagram(SHARES, answers(**known), rule="r"))
    blue, orange = style.GOOD, style.BAD
    assert drawn == [(blue, 0.0, 0.5), (NEUTRAL, 0.5, 0.9), (orange, 0.9, 1.0)]


@pytest.mark.parametrize(
    ("given", "colours"),
    [
        ({"verdict": "never", "safe_low": 1.0}, [style.GOOD]),
        ({"verdict": "never"}, [NEUTRAL]),
        ({"verdict": "open", "likely": "safe"}, [NEUTRAL]),
        ({"verdict": "always"}, [style.BAD]),
        ({"estimate": 0.8, "low": 0.7}, [NEUTRAL]),
    ],
)
def test_only_numbers_colour_the_line(given: dict[str, str], colours: list[str]) -> None:
    assert [colour for colour, _, _ in bars(phase_diagram(SHARES, answers(**given), rule="r"))] == (
        colours
    )


def test_where_there_is_no_threshold_there_is_no_bar() -> None:
    for given in ({"verdict": "never", "low": 0.7}, {"verdict": "open", "low": 0.7}):
        figure = phase_diagram(SHARES, answers(**given), rule="r")
        assert not [own for own in figure.axes[0].lines if own.get_linewidth() == 2]


def test_answers_without_a_safe_fraction_are_drawn_too() -> None:
    old = answers(estimate=0.8, low=0.7, high=0.9)
    old = old.drop(columns=["safe", "safe_low", "safe_high", "risk"])
    assert [colour for colour, _, _ in bars(phase_diagram(SHARES, old, rule="r"))] == [
        NEUTRAL,
        style.BAD,
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"estimate": 0.8, "low": 0.7, "safe": 0.6, "safe_low": 0.5, "safe_high": 0.75},
            "typical 0.80 [0.70, 1.00+]\nsafe 0.60 [0.50, 0.75]",
        ),
        ({"verdict": "never", "safe": 1.0, "safe_low": 1.0}, "typical none up to 1\nsafe up to 1"),
        ({"verdict": "open", "likely": "safe"}, "typical likely none up to 1\nsafe not known"),
        ({"verdict": "always", "safe_high": 0.0}, "typical from 0 on\nsafe none"),
        ({"verdict": "no value", "risk": NAN}, "no value"),
    ],
)
def test_both_fractions_are_said_beside_the_line(given: dict[str, float], said: str) -> None:
    assert short(next(answers(**given).itertuples(index=False))) == said


# ---- the response --------------------------------------------------------------------------------


def lineages(rule: CollapseRule, group: str = "replace") -> pd.DataFrame:
    """y rises along a straight line through the level at .7."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.linspace(0, 1, 6), 4)
    y = rule.level + 1.5 * (x - 0.7) + 0.05 * rng.normal(size=len(x))
    table = pd.DataFrame({"synthetic_fraction": x, "seed": np.arange(24) % 4, "y": y})
    return table.assign(group=group, level=rule.level)


def drawn(rule: CollapseRule, outcomes: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    table = answers(estimate=0.7, low=0.6, high=0.8)
    fits = fitted(outcomes, table)
    return response(outcomes, table, fits, rule=rule), fits


def test_the_level_is_a_multiple_on_a_logarithmic_axis() -> None:
    figure, _ = drawn(RULE, lineages(RULE))
    axis: Axes = figure.axes[0]
    assert axis.get_yscale() == "log" and axis.get_ylabel() == "fid / its generation 0"
    assert [text.get_text() for text in axis.texts] == ["3 x"]
    assert any(np.allclose(own.get_ydata(), 3.0) for own in axis.lines)
    assert all(label.get_text().endswith(" x") for label in axis.get_yticklabels())


def test_a_metric_that_falls_is_shown_as_it_is() -> None:
    rule = CollapseRule(metric="recall", below=0.5, of="one")
    axis = drawn(rule, lineages(rule))[0].axes[0]
    assert [text.get_text() for text in axis.texts] == ["0.5"] and axis.get_ylabel() == "recall"
    points = np.concatenate([own.get_ydata() for own in axis.lines if own.get_marker() == "o"])
    assert points.min() < 0.5 < points.max() < 2, "recall itself, not minus its logarithm"


def test_a_slope_has_a_linear_axis() -> None:
    rule = CollapseRule(metric="fid", above=0.05, slope=Slope(last=3))
    assert drawn(rule, lineages(rule))[0].axes[0].get_yscale() == "linear"


@pytest.mark.parametrize(("side", "sign"), [("above", 1), ("below", -1)])
def test_a_difference_has_a_linear_axis_in_the_units_of_the_metric(side: str, sign: int) -> None:
    rule = CollapseRule.from_dict({"metric": "nll", side: 0.1, "by": "difference"})
    assert rule.sign == sign
    axis = drawn(rule, lineages(rule))[0].axes[0]
    assert axis.get_yscale() == "linear"
    assert axis.get_ylabel() == f"nll: nats per sample {side} its generation 0"
    assert [text.get_text() for text in axis.texts] == ["0.1 nats per sample"]
    assert any(np.allclose(own.get_ydata(), 0.1) for own in axis.lines)
    below = axis.get_ylim()[0]
    assert below < 0, "lineages that came out better than they began are on the axis"


def test_the_curve_is_what_was_fitted_and_its_band_holds_the_truth() -> None:
    _, fits = drawn(RULE, lineages(RULE))
    truth = RULE.level + 1.5 * (fits["synthetic_fraction"] - 0.7)
    assert ((fits["low"] - 0.05 < truth) & (truth < fits["high"] + 0.05)).mean() > 0.9
    assert np.interp(0.7, fits["synthetic_fraction"], fits["mean"]) == pytest.approx(
        RULE.level, abs=0.1
    )


def test_lineages_without_a_number_are_marks_on_the_edges() -> None:
    outcomes = lineages(RULE)
    outcomes.loc[0, "y"], outcomes.loc[1, "y"] = math.inf, NAN
    axis = drawn(RULE, outcomes)[0].axes[0]
    marks = {own.get_marker() for own in axis.lines if len(own.get_xdata())}
    assert {"^", "x", "o"} <= marks


# ---- axes, and what is left out ------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), [(1.0, 3.0), (0.9, 30.0), (1e-4, 1e3), (2.0, 2.0)])
def test_a_ratio_axis_has_a_few_round_ticks(low: float, high: float) -> None:
    _, axes = sheet(1, 5)
    ratio_axis(axes, low, high, " x")
    ticks = axes[0].get_yticks()
    bottom, top = axes[0].get_ylim()
    assert 3 <= len(ticks) <= 9 and bottom < low <= high < top


def test_what_a_figure_has_no_room_for_is_named() -> None:
    names = [f"w{i}" for i in range(8)]
    assert left_out(names, names, "workflows") == ""
    said = left_out(names, names[:2], "workflows")
    assert "w2, w3, w4, w5, w6 and 1 more (6 of 8 workflows)" in said and "CSV" in said


def test_an_axis_of_an_answer_without_fractions_is_whole() -> None:
    row = next(answers(first=NAN, last=NAN, verdict="too few").itertuples(index=False))
    assert regimes(row) == (0.0, 0.0, 1.0, 1.0)
