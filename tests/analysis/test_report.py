"""Tables, figures, the page, exported files: what is undefined is shown, nothing of the data can
run, no number is missing.
"""

from __future__ import annotations

import base64
import itertools
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.collapse.functional import functional, times
from analysis.collapse.survival import hazard, kaplan_meier
from analysis.frame import export
from analysis.frame.rows import from_store, tidy
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
from analysis.plots import collapse as plots_collapse
from analysis.plots import curves as plots
from analysis.plots import style
from analysis.report import page as report
from analysis.report.alignment import alignment, compared, embedded, separability
from analysis.report.answers import answers_of, grouped, thresholds
from engine.experiment.reader import load
from engine.lineage.history import lineage_of
from engine.settings import CollapseRule, Threshold
from engine.spec import LineageSpec, Part
from engine.store.rows import Generation
from engine.store.store import Store
from tests.support.rows import failure, generation

RULE = CollapseRule(metric="fid", above=3.0)
FRACTIONS, SEEDS, LAST = (0.0, 0.25, 0.5, 0.75, 1.0), 4, 5
ROOT = Path(__file__).parents[2]


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
        "accumulate: not bracketed: no collapse up to 1 (fid above 3 x generation 0, generation "
        "5, 4 seeds"
    )
    assert re.match(
        r"replace: collapse begins at a synthetic fraction of 0\.\d\d \[0\.\d\d, 0\.\d\d\]", said[1]
    )


def test_the_seeds_that_are_needed_are_said_or_why_not(frame: pd.DataFrame) -> None:
    outcomes = functional(frame, RULE)
    found = thresholds(outcomes).set_index("group")
    wide = thresholds(outcomes, dict.fromkeys(found.index, Threshold(width=0.02))).set_index(
        "group"
    )
    assert found.loc["replace", "width"] == 0.1 and found.loc["replace", "seeds_needed"] <= SEEDS
    assert found.loc["replace", "needs"].startswith("about 3 seeds per fraction (2 to ")
    assert wide.loc["replace", "seeds_needed"] > 4 * found.loc["replace", "seeds_needed"]
    assert re.search(
        r"about \d+ seeds .* \(\d+ to [\d,]+, judging by 4\) for a width of 0\.02",
        wide.loc["replace", "needs"],
    )
    assert found.loc["accumulate", "needs"] == "", "no seeds would give it an interval"
    replace = outcomes[outcomes["policy"] == "replace"]
    short = replace[
        replace["synthetic_fraction"] <= 0.5
    ]  # with seeds that differ by more than the level is away
    ended = thresholds(short.assign(y=short["y"] + 0.4 * (short["seed"] - 1.5)))["needs"].tolist()
    assert ended == ["seeds for a width of 0.1: not known while the grid's own interval is open"]
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


@pytest.mark.parametrize(("likely", "colour"), [("safe", style.GOOD), ("collapse", style.BAD)])
def test_a_figure_chooses_its_colour_by_what_is_likely_never_by_words(
    frame: pd.DataFrame, likely: str, colour: str
) -> None:
    outcomes = grouped(functional(frame, RULE))
    answers = thresholds(outcomes).assign(
        verdict="open", likely=likely, words="from here to there", estimate=np.nan
    )
    shares = collapse_share(outcomes).assign(group="nothing ran")
    figure = plots_collapse.phase_diagram(shares, answers, rule="r", width=style.WIDE)
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 8]
    assert len(bars) == len(answers) and {line.get_color() for line in bars} == {colour}
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"likely none up to 1" if likely == "safe" else "likely from 0 on"}


# ---- figures -------------------------------------------------------------------------------------


def drawn(frame: pd.DataFrame, width: float) -> dict[str, Figure]:
    outcomes = grouped(functional(frame, RULE))
    answers, words = thresholds(outcomes), "fid above 3 x generation 0"
    names = outcomes.drop_duplicates("cell").set_index("cell")["group"]
    shares = collapse_share(outcomes).assign(group=lambda s: [names[c] for c in s["cell"]])
    seen = grouped(times(frame, RULE))
    curves = {str(name): kaplan_meier(own) for name, own in seen.groupby("group")}
    return {
        "curves": plots.curves(over_seeds(frame, "fid"), name="fid", level=30.0, width=width),
        "heat": plots_collapse.heat_map(shares, rule=words, width=width),
        "phase": plots_collapse.phase_diagram(shares, answers, rule=words, width=width),
        "response": plots_collapse.response(outcomes, answers, rule=words, width=width),
        "survival": plots_collapse.survival(curves, rule=words, width=width),
        "hazard": plots_collapse.hazards(hazard(seen), rule=words, width=width),
    }


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
    figure = plots_collapse.heat_map(
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


# ---- alignment -----------------------------------------------------------------------------------


def test_equal_distributions_cannot_be_told_apart_and_distant_ones_can() -> None:
    rng = np.random.default_rng(0)
    real, same, moved = (
        rng.normal(size=(300, 5)),
        rng.normal(size=(300, 5)),
        rng.normal(1.5, 1, size=(300, 5)),
    )
    auc, low, high = separability(real, same)
    assert low < 0.5 < high and auc == pytest.approx(0.5, abs=0.08)
    far = compared(real, moved)
    assert far["auc_low"] > 0.95 and far["centroid"] == pytest.approx(1.5, abs=0.1)
    assert compared(real, 2 * same)["covariance"] == pytest.approx(3.0, abs=0.5)


def test_the_interval_of_the_auc_covers() -> None:
    """Two normals a distance 0.5 apart: AUC = Phi(0.5 / sqrt 2) for the best linear classifier."""
    hits = []
    for i in range(40):
        rng = np.random.default_rng(i)
        a, b = rng.normal(size=(200, 1)), rng.normal(0.5, 1, size=(200, 1))
        _, low, high = separability(a, b)
        hits.append(low < 0.638 < high)
    assert np.mean(hits) > 0.85


def test_alignment_has_a_floor_of_the_same_size_and_reasons() -> None:
    rng = np.random.default_rng(1)
    broken = np.full((50, 3), np.nan)
    table = alignment(
        rng.normal(size=(100, 3)), {0: rng.normal(size=(80, 3)), 7: broken}
    ).set_index("set")
    assert (
        table["n"].tolist() == [50, 50, 50]
        and table.loc["floor", "auc_low"] < 0.5 < table.loc["floor", "auc_high"]
    )
    assert table.loc[7, "undefined"] and np.isnan(table.loc[7, "auc"])
    with pytest.raises(ValueError, match="alignment needs 10"):
        alignment(np.zeros((10, 2)), {})


@pytest.mark.slow
def test_the_embedding_is_fitted_on_real_samples_alone() -> None:
    rng = np.random.default_rng(2)
    real, other = rng.normal(size=(60, 4)), rng.normal(5, 1, size=(30, 4))
    one, two = embedded(real, {"a": other}), embedded(real, {"a": other[:10], "b": other})
    pd.testing.assert_frame_equal(one[one["set"] == "real"], two[two["set"] == "real"])


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


# ---- the page ------------------------------------------------------------------------------------

TEXT = """# Question: does <script>alert(1)</script> & "quotes" hurt?
base: {dataset: {name: gaussian, replicates: 30}, generator: gaussian, n_real: 20}
grid:
  policy: [replace, accumulate]
  policy.synthetic_fraction: [0.0, 0.5, 1.0]
seeds: 2
generations: 4
metrics: [moments]
collapse: {metric: moments/trace_ratio, below: 0.9}
"""


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    file = folder / "small.yaml"
    file.write_text(TEXT)
    sweep = load(file, [f"out={folder / 'out'}"])
    store = Store(sweep.out)
    for one in sweep.lineages:
        lineage = lineage_of(sweep, store, one)
        while not lineage.done:
            lineage.advance_for(10)
    store.fail(sweep.lineages[0].id, failure("bug", "Oops", "<img src=x onerror=alert(1)>"))
    return report.write(sweep, folder / "report")


def test_the_page_loads_nothing_runs_nothing_and_escapes_everything(page: Path) -> None:
    text = page.read_text()
    parser = Tags()
    parser.feed(text)
    tags = {tag for tag, _ in parser.tags}
    assert not tags & {"script", "iframe", "object", "embed", "link", "base", "form"}
    for _, attributes in parser.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href", "action"):
            value = attributes.get(name) or ""
            assert value == "" or value.startswith(("data:image/", "#")), value[:80]
    assert (
        "<script>" not in text
        and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
        and "&lt;img src=x" in text
    )
    assert "default-src 'none'" in text


def test_the_page_answers_first_and_shows_every_figure(page: Path) -> None:
    text = page.read_text()
    assert text.index("replace:") < text.index("<figure")
    assert "for a width of 0.1" in text[: text.index("<figure")]
    files = {p.name for p in (page.parent / "figures").iterdir()}
    shown = re.findall(r'<figure id="([^"]+)"', text)
    assert {"phase_diagram", "heat_map", "response", "curve_moments_trace_ratio", "density"} <= set(
        shown
    )
    assert files == {f"{name}.{kind}" for name in shown for kind in ("png", "svg", "csv")}
    for uri in re.findall(r'(?:src|srcset)="data:image/svg\+xml;base64,([^"]+)"', text):
        assert b"<script" not in base64.b64decode(uri)


def test_the_numbers_of_a_figure_are_those_drawn(page: Path) -> None:
    numbers = pd.read_csv(page.parent / "figures" / "curve_moments_trace_ratio.csv")
    frame = from_store(
        load(page.parent.parent / "small.yaml", [f"out={page.parent.parent / 'out'}"]),
        progress=False,
    )
    own = (
        frame[frame["key"] == "moments/trace_ratio"]
        .groupby(["cell", "t"], observed=True)["value"]
        .mean()
    )
    assert len(numbers) == len(own) == 30
    for row in numbers.itertuples():
        assert row.mean == pytest.approx(own[row.cell, row.t])
    assert numbers["expected"].notna().sum() > 0, "theory stands beside it"


def test_a_sweep_without_rows_has_a_page_that_says_so(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(TEXT)
    text = report.write(load(file, [f"out={tmp_path / 'out'}"]), tmp_path / "report").read_text()
    assert "Nothing has been run yet." in text and "have no rows yet" in text


def ouro(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine.cli", *words], cwd=ROOT, capture_output=True, text=True
    )


def test_report_and_export_from_the_command_line(page: Path, tmp_path: Path) -> None:
    file, out = str(page.parent.parent / "small.yaml"), str(page.parent.parent / "out")
    made = ouro("export", file, "--out", out, "--to", str(tmp_path / "a.csv"))
    assert made.returncode == 0, made.stderr
    assert len(pd.read_csv(tmp_path / "a.csv")) == int(
        re.findall(r"wrote ([\d,]+) rows", made.stdout)[0].replace(",", "")
    )
    refused = ouro("export", file, "--out", out, "--to", str(tmp_path / "a.txt"))
    assert refused.returncode == 2 and "should end in .parquet or .csv" in refused.stderr
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "output.json").write_text('{"id": "of a run that was ended early"}')
    empty = ouro("export", file, "--out", str(tmp_path / "none"))
    assert empty.returncode == 2 and "nothing has been measured yet" in empty.stderr
    written = ouro("report", file, "--out", out, "--to", str(tmp_path / "r"), "--no-pictures")
    assert written.returncode == 0 and (tmp_path / "r" / "report.html").exists(), written.stderr
