"""Tables, figures, exported files: what is undefined is shown, no number is missing."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.collapse.functional import functional, times
from analysis.collapse.survival import first_passages, hazard, two_questions
from analysis.frame import export
from analysis.frame.rows import tidy
from analysis.frame.tables import (
    arrange,
    collapse_share,
    failures,
    natural,
    over_seeds,
    panel_names,
    told_apart,
    undefined_values,
)
from analysis.plots import curves as plots
from analysis.plots import heat as plots_heat
from analysis.plots import passage as plots_passage
from analysis.plots import style
from analysis.plots import threshold as plots_threshold
from analysis.report.answers import answers_of, grouped, thresholds
from analysis.report.figures import _unit
from analysis.report.fits import fitted
from engine.settings import CollapseRule, Threshold
from engine.spec import LineageSpec, Part
from engine.store.rows import Generation
from tests.support.rows import generation

RULE = CollapseRule(metric="fid", above=3.0)
FRACTIONS, SEEDS, LAST = (0.0, 0.25, 0.5, 0.75, 1.0), 4, 5


def spec(policy: str, fraction: float, seed: int) -> LineageSpec:
    part = Part("policy", policy, {"synthetic_fraction": fraction})
    return LineageSpec(
        Part("dataset", "digits"),
        Part("generator", "vae"),
        part,
        Part("sampling", "plain"),
        100,
        seed,
    )


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """replace grows by exp(2 f t / last) with noise, accumulate stays; one cell loses its values,
    one lineage dies.
    """
    rng, rows, specs = np.random.default_rng(0), list[Generation](), dict[str, LineageSpec]()
    for policy in ("replace", "accumulate"):
        for fraction in FRACTIONS:
            for seed in range(SEEDS):
                one = spec(policy, fraction, seed)
                specs[one.id] = one
                rows += lineage_rows(
                    one, 2.0 * fraction * (policy == "replace") + 0.1 * rng.normal()
                )
    return tidy(rows, specs, "made up")


def lineage_rows(one: LineageSpec, growth: float) -> list[Generation]:
    rows = []
    for t in range(LAST + 1):
        undefined = {}
        values = {
            "fid": 10 * math.exp(growth * t / LAST),
            "fid/floor": 2.0,
            "fid/floor_sd": 0.2,
            "fid/n": 50.0,
        }
        if one.policy.name == "accumulate" and one.synthetic_fraction == 1.0 and t >= 3:
            values, undefined = {"fid/floor": 2.0}, {"fid": "=1+1 <script>alert(1)</script>"}
        rows.append(generation(one.id, t, values, undefined=undefined))
    if (one.policy.name, one.synthetic_fraction, one.seed) == ("replace", 1.0, 0):
        dead = generation(one.id, 3, status="diverged", reason="-inf <b>bold</b>")
        return [*rows[:3], dead]
    return rows


# ---- tables --------------------------------------------------------------------------------------


def test_intervals_are_students_over_seeds(frame: pd.DataFrame) -> None:
    table = over_seeds(frame, "fid")
    cell = table[
        (table["policy"] == "replace") & (table["synthetic_fraction"] == 0.5) & (table["t"] == LAST)
    ].iloc[0]
    values = frame[
        (frame["cell"] == cell["cell"]) & (frame["t"] == LAST) & (frame["key"] == "fid")
    ]["value"]
    assert (
        cell["n"] == SEEDS
        and cell["mean"] == pytest.approx(values.mean())
        and cell["interval"] == "seeds"
    )
    assert cell["high"] - cell["mean"] == pytest.approx(3.1824463 * values.std() / 2)  # t(.975, 3)
    assert cell["floor"] == 2.0 and cell["floor_sd"] == pytest.approx(0.2)


def test_undefined_values_and_dead_lineages_are_counted(frame: pd.DataFrame) -> None:
    table = over_seeds(frame, "fid").set_index(["policy", "synthetic_fraction", "t"])
    assert (
        table.loc[("accumulate", 1.0, 4), "n"] == 0
        and table.loc[("accumulate", 1.0, 4), "undefined"] == SEEDS
    )
    assert (
        table.loc[("replace", 1.0, 3), "undefined"] == 1
        and table.loc[("replace", 1.0, 3), "n"] == SEEDS - 1
    )
    assert undefined_values(frame)["values"].sum() == 3 * SEEDS + 1
    odd = failures(functional(frame, RULE))
    assert "diverged" in set(odd["status"]) and len(odd) == 1 + SEEDS


def test_lines_are_what_varies() -> None:
    cells = pd.DataFrame(
        {c: "same" for c in ("dataset", "generator", "n_real", "n_synthetic", "sampling")},
        index=range(4),
    )
    by_fraction = cells.assign(policy=["a", "a", "b", "b"], synthetic_fraction=[0, 1, 0, 1])
    assert arrange(by_fraction) == (["policy"], "synthetic_fraction")
    by_policy = cells.assign(
        policy=["a", "b", "a", "b"], synthetic_fraction=[1, np.nan, 1, np.nan], n_real=[1, 1, 2, 2]
    )
    assert arrange(by_policy) == (["n_real"], "policy")


def test_panels_are_called_by_what_varies() -> None:
    specs = [
        LineageSpec(
            Part("dataset", "gaussian", {"replicates": 9, "d": d}),
            Part("generator", "gaussian"),
            Part("policy", "replace"),
            Part("sampling", "plain"),
            n,
            0,
        )
        for d, n in ((100, 10), (3, 10), (1, 1000))
    ]
    frame = pd.DataFrame({"lineage": [s.id for s in specs], "n_real": [s.n_real for s in specs]})
    panels = panel_names(told_apart(frame, specs), ["dataset", "n_real"]).tolist()
    assert panels == ["d=100, n=10", "d=3, n=10", "d=1, n=1000"]
    assert sorted(panels, key=natural) == [panels[2], panels[1], panels[0]]


# ---- the answer ----------------------------------------------------------------------------------


def test_the_answer_is_found_and_said(frame: pd.DataFrame) -> None:
    found = thresholds(functional(frame, RULE)).set_index("group")
    truth = math.log(3) / 2
    assert found.loc["replace", "verdict"] == "bracketed"
    assert found.loc["replace", "low"] < truth < found.loc["replace", "high"]
    assert abs(found.loc["replace", "estimate"] - truth) < 0.08
    assert found.loc["accumulate", "verdict"] == "never"
    said = [
        f"{a.who}: {a.what} ({'; '.join(a.how)})"
        for a in answers_of(found.reset_index(), RULE, LAST)
    ]
    assert said[0].startswith(
        "accumulate: fewer than half of the lineages collapse up to 0.75; safe fraction 0.75: up "
        "to there at most 10% do (fid above 3 x generation 0, generation 5, 4 seeds; 0 of "
    )
    assert "4 without a value (fid has no value at generation 5: =1+1 " in said[0]
    assert re.match(r"replace: typical fraction 0\.\d\d \[0\.\d\d, 0\.\d\d\]", said[1])


def test_the_seeds_that_are_needed_are_said_or_why_not(frame: pd.DataFrame) -> None:
    outcomes = functional(frame, RULE)
    found = thresholds(outcomes).set_index("group")
    wide = thresholds(outcomes, dict.fromkeys(found.index, Threshold(width=0.07))).set_index(
        "group"
    )
    assert found.loc["replace", "width"] == 0.1 and found.loc["replace", "seeds_needed"] == 5
    assert found.loc["replace", "needs"] == "roughly 5 seeds per fraction for a width of 0.1"
    needs = wide.loc["replace", "needs"]
    assert re.fullmatch(r"roughly \d+ seeds per fraction for a width of 0\.07", needs)
    assert wide.loc["replace", "seeds_needed"] > 1.5 * found.loc["replace", "seeds_needed"]
    finer = thresholds(outcomes, {"replace": Threshold(width=0.02)}).set_index("group")
    more = "a width of 0.02 takes more fractions between these, whatever the seeds"
    assert finer.loc["replace", "needs"] == more
    assert found.loc["accumulate", "needs"] == "", "no seeds would give it an interval"
    replace = outcomes[outcomes["policy"] == "replace"]
    short = replace[
        replace["synthetic_fraction"] <= 0.5
    ]  # with seeds that differ by more than the level is away
    ended = thresholds(short.assign(y=short["y"] + 0.4 * (short["seed"] - 1.5)))["needs"].tolist()
    assert ended == ["seeds for a width of 0.1: not known while the interval is open"]
    one = replace[replace["seed"] == 0]
    assert "two seeds with every fraction would tell" in thresholds(one)["needs"].iloc[0]
    assert (
        "by lineages, not by seeds"
        in thresholds(one, {"replace": Threshold(width=0.1)})["needs"].iloc[0]
    )


def test_an_answer_is_computed_on_the_fractions_that_ran(frame: pd.DataFrame) -> None:
    outcomes = functional(frame, RULE)
    short = outcomes[outcomes["synthetic_fraction"] < 1]
    last = short.loc[short["policy"] == "replace", "synthetic_fraction"].max()
    found = thresholds(short).set_index("group").loc["replace"]
    assert last < 1 and found["last"] == last, "a grid ends where its fractions end"
    searched = thresholds(short, {"replace": Threshold(between=(0.0, 1.0))}).set_index("group")
    assert searched.loc["replace", "last"] == 1, "a search ends where the file says"


# ---- figures -------------------------------------------------------------------------------------


def drawn(frame: pd.DataFrame, width: float) -> dict[str, Figure]:
    outcomes = grouped(functional(frame, RULE))
    answers, words = thresholds(outcomes), "fid above 3 x generation 0"
    names = outcomes.drop_duplicates("cell").set_index("cell")["group"]
    shares = collapse_share(outcomes).assign(group=lambda s: [names[c] for c in s["cell"]])
    seen = grouped(times(frame, RULE))
    fits = fitted(outcomes, answers)
    passages, states = first_passages(seen), two_questions(seen, outcomes)
    return {
        "curves": plots.curves(over_seeds(frame, "fid"), name="fid", level=30.0, width=width),
        "heat": plots_heat.heat_map(shares, rule=words, width=width),
        "phase": plots_threshold.phase_diagram(shares, answers, rule=words, width=width),
        "response": plots_threshold.response(outcomes, answers, fits, rule=RULE, width=width),
        "survival": plots_passage.survival(passages, states, rule=words, width=width),
        "hazard": plots_passage.hazards(hazard(seen), rule=words, width=width),
    }


@pytest.mark.slow
@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_figures_fit_their_width_and_say_n(frame: pd.DataFrame, width: float) -> None:
    for name, figure in drawn(frame, width).items():
        assert figure.get_size_inches()[0] == width
        figure.canvas.draw()
        box = figure.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
        assert box.x0 > -0.01 and box.x1 < width + 0.01, f"{name} leaves its width: {box}"
    texts = " ".join(t.get_text() for t in drawn(frame, width)["curves"].texts).replace("\n", " ")
    assert "seeds" in texts and "95 %" in texts


@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_many_rows_with_long_names_fit_and_do_not_touch(frame: pd.DataFrame, width: float) -> None:
    shares = (
        collapse_share(functional(frame, RULE))
        .query("synthetic_fraction == 1")
        .assign(dataset="shapes(shape=swiss_roll)")
    )
    names = [f"kde(bandwidth={b}, kernel=epanechnikov)" for b in (0.1, 0.25, 1.0)]
    many = pd.concat(
        [shares.assign(generator=g, n_real=n) for g in names for n in (10, 32, 100, 316, 1000)]
    )
    figure = plots_heat.heat_map(
        many.assign(policy="accumulate_subsample"), rule="fid", width=width
    )
    figure.set_dpi(200)  # as the PNG is: letters are as wide there as in print
    box = figure.get_tightbbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    assert box.x0 > 0 and box.x1 < width
    places = sorted(
        label.get_window_extent().intervaly.tolist() for label in figure.axes[0].get_yticklabels()
    )
    assert len(places) == 15 and all(
        below[1] < above[0] for below, above in itertools.pairwise(places)
    )


def test_undefined_points_are_crosses_on_the_edge(frame: pd.DataFrame) -> None:
    figure = plots.curves(over_seeds(frame, "fid"), name="fid")
    crosses = [
        line for axis in figure.axes for line in axis.get_lines() if line.get_marker() == "x"
    ]
    places = sorted(float(t) for line in crosses for t in np.asarray(line.get_xdata()))
    assert places == [3.0, 3.0, 4.0, 5.0], (
        "accumulate at 3, 4 and 5, and the lineage that died at 3"
    )


def test_figures_leave_the_global_settings_alone_and_are_deterministic(frame: pd.DataFrame) -> None:
    before = dict(mpl.rcParams)
    one, two = (style.svg(plots.curves(over_seeds(frame, "fid"), name="fid")) for _ in range(2))
    assert one == two and dict(mpl.rcParams) == before


def test_a_log_axis_where_values_span_decades() -> None:
    assert (
        style.needs_log([1, 50])
        and not style.needs_log([1, 20])
        and not style.needs_log([-1, 100])
        and not style.needs_log([])
    )


# ---- files ---------------------------------------------------------------------------------------


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    evil = ["=1+1", "+1", "-1", "@cmd", "\t=1", "\r=1", "plain", ""]
    table = pd.DataFrame(
        {"text": evil, "category": pd.Categorical(evil), "=name": range(8), "number": [-1.5] * 8}
    )
    path = export.write(table, tmp_path / "a.csv")
    back = pd.read_csv(path, keep_default_na=False, lineterminator="\n")
    for column in ("text", "category", "'=name"):
        assert (
            not back[column].astype(str).str.startswith(("=", "+", "@", "-", "\t", "\r")).any()
        ), column
    assert (
        back["text"][0] == "'=1+1" and back["text"][6] == "plain" and (back["number"] == -1.5).all()
    )


def test_parquet_gives_the_same_frame_back(frame: pd.DataFrame, tmp_path: Path) -> None:
    back = pd.read_parquet(export.write(frame, tmp_path / "a.parquet"))
    pd.testing.assert_frame_equal(back, frame, check_dtype=False, check_categorical=False)
    with pytest.raises(ValueError, match=r"\.parquet or \.csv"):
        export.write(frame, tmp_path / "a.xlsx")
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_nats_and_bits_stand_beside_the_names_of_their_curves() -> None:
    assert _unit("cross_entropy") == ["nats per token"] and _unit("fid.extractor-raw") == []
    assert _unit("cross_entropy/bits") == ["bits per character or token"] and _unit("mine") == []
