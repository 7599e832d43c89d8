"""Results: frames against the rows of the store, contrasts, samples, models, figures, the page."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import ttest_rel

import engine
from analysis.plots.style import Drawn
from engine.lineage.recipe import path, rng
from engine.registry import make
from engine.store.keys import BESIDE
from engine.store.reader import generations
from engine.store.store import Store


def column_of(key: str) -> str:
    """What stands beside a key: its column."""
    for name in BESIDE:
        if key.endswith(f"/{name}"):
            return f"{key.removesuffix(f'/{name}')}_{name}"
    return key


def test_a_frame_holds_every_number_of_every_row(result: engine.Result) -> None:
    frame, store, seen = result.frame(), Store(result.out, repairs=False), 0
    store.refresh()
    for spec in result.sweep.lineages:
        own = frame[frame["lineage"] == spec.id].set_index("t")
        for row in generations(store, spec.id, path(spec, 3)):
            there = own.loc[row.t]
            assert (there["seed"], there["status"]) == (spec.seed, "ok")
            assert there["policy"] == spec.policy.name
            assert there["synthetic_fraction"] == spec.synthetic_fraction
            for key, value in row.values.items():
                column = column_of(key)
                assert there[column] == value, key
                seen += 1
    assert len(frame) == 8 * 4 and seen > 500


def test_columns_are_plain_and_of_their_own_types(result: engine.Result) -> None:
    frame = result.frame()
    first = ["lineage", "seed", "t", "dataset", "generator", "policy", "sampling"]
    assert list(frame.columns[:9]) == [*first, "synthetic_fraction", "n_real"]
    assert {"fid", "fid_floor", "fid_floor_sd", "fid_n", "status", "reason"} <= {*frame.columns}
    assert frame["t"].dtype == frame["seed"].dtype == frame["n_real"].dtype == "int64"
    assert frame["fid"].isna().sum() == 8  # measured every second generation, and at the last
    assert frame.loc[frame["t"] == 1, "fid"].isna().all()


def test_a_frame_is_a_copy(result: engine.Result) -> None:
    frame = result.frame()
    frame["seed"] = 99
    assert set(result.frame()["seed"]) == {0, 1}


def test_parameters_that_vary_are_columns_by_their_own_name() -> None:
    sweep = engine.sweep(
        dataset="mixture",
        n_real=40,
        grid={"generator": ["kde", "gaussian"], "generator.bandwidth": [0.1, 0.3]},
        generations=1,
    )
    from analysis.frame.wide import axes

    found = axes(sweep.lineages)
    assert [*found["bandwidth"].values()] == [0.1, 0.3] and len(found["generator"]) == 3
    assert "d" not in found and "n_synthetic" not in found


def test_cells_say_start_end_drift_and_verdict(result: engine.Result) -> None:
    cells, frame = result.cells(), result.frame()
    assert list(cells["cell"]) == ["replace 0.5", "replace 1", "accumulate 0.5", "accumulate 1"]
    one = frame[(frame["policy"] == "replace") & (frame["synthetic_fraction"] == 0.5)]
    ends = one[one["t"] == 3]["moments/trace_ratio"].to_numpy()
    starts = one[one["t"] == 0]["moments/trace_ratio"].to_numpy()
    assert math.isclose(cells.loc[0, "end"], ends.mean())
    assert math.isclose(cells.loc[0, "drift_low"], min(ends / starts))
    assert cells.loc[0, "collapsed"] == (ends < 0.9).sum() and cells.loc[0, "judged"] == 2


def test_a_contrast_is_the_paired_test_over_seeds(result: engine.Result) -> None:
    frame, key = result.frame(), "moments/w2"
    found = result.paired(
        key,
        at=3,
        a={"policy": "replace", "synthetic_fraction": 1.0},
        b={"policy": "accumulate", "synthetic_fraction": 1.0},
    )
    last = frame[(frame["t"] == 3) & (frame["synthetic_fraction"] == 1.0)].sort_values("seed")
    sides = {name: own[key].to_numpy() for name, own in last.groupby("policy")}
    known = ttest_rel(sides["replace"], sides["accumulate"])
    interval = known.confidence_interval(0.95)
    assert found.n == 2 and found.left_out == 0
    assert np.allclose(
        [found.estimate, found.low, found.high, found.p],
        [(sides["replace"] - sides["accumulate"]).mean(), *interval, known.pvalue],
    )


def test_other_axes_are_paired_too_and_averaged_within_a_seed(result: engine.Result) -> None:
    both = result.paired("moments/w2", at=3, a={"policy": "replace"}, b={"policy": "accumulate"})
    each = [
        result.paired(
            "moments/w2",
            at=3,
            a={"policy": "replace", "synthetic_fraction": share},
            b={"policy": "accumulate", "synthetic_fraction": share},
        ).estimate
        for share in (0.5, 1.0)
    ]
    assert math.isclose(both.estimate, np.mean(each)) and both.n == 2


def test_a_contrast_that_makes_no_sense_says_why(result: engine.Result) -> None:
    with pytest.raises(ValueError, match=r"no column 'polcy'.*did you mean 'policy'"):
        result.paired("fid", at=3, a={"polcy": "replace"}, b={})
    with pytest.raises(
        ValueError, match=r"no lineage has policy = 'augment' here; there are: 'acc"
    ):
        result.paired("fid", at=3, a={"policy": "augment"}, b={"policy": "replace"})
    with pytest.raises(ValueError, match="'kid' was not measured"):
        result.paired("kid", at=3, a={"policy": "replace"}, b={"policy": "accumulate"})
    undefined = result.paired("fid", at=1, a={"policy": "replace"}, b={"policy": "accumulate"})
    assert undefined.n == 0 and undefined.left_out == 4 and math.isnan(undefined.estimate)


def test_samples_and_model_are_those_of_the_generation(result: engine.Result) -> None:
    drawn = result.samples(cell="accumulate 1", seed=1, t=2)
    assert drawn.x.shape == (30, 2, 1) and set(drawn.born) == {2} and drawn.y is None
    model = result.model(cell=3, seed=1, t=2)
    again = model.sample(30, rng(1, "draw", 2))  # as the lineage drew them
    assert np.array_equal(again.x, drawn.x)
    files = sorted(Path(result.out).rglob("*.safetensors"))
    result.samples(cell=3, seed=1, t=1)  # not kept: a block keeps its last generation
    assert sorted(Path(result.out).rglob("*.safetensors")) == files


def test_a_model_says_what_it_is_and_where_it_is_from(result: engine.Result) -> None:
    model, other = result.model(cell=3, seed=1, t=2), result.model(cell=0, t=0)
    end = f", out {result.out}>"
    assert repr(model) == f"<Generator gaussian: generation 2 of accumulate 1, seed 1{end}"
    assert repr(other) == f"<Generator gaussian: generation 0 of replace 0.5, seed 0{end}"
    assert repr(make("generator", "kde", bandwidth=0.1)) == "<Generator kde>"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"cell": "replace 2"}, "did you mean"),
        ({"cell": 4}, "there are 4 cells"),
        ({"seed": 7}, "has the seeds 0, 1, not 7"),
        ({"t": 9}, "has generations 0 to 3, not 9"),
    ],
)
def test_a_lineage_that_is_not_there_is_named(
    result: engine.Result, asked: dict[str, int], said: str
) -> None:
    with pytest.raises(LookupError, match=said):
        result.samples(**asked)


def test_an_output_is_opened_by_its_folder(result: engine.Result, tmp_path: Path) -> None:
    opened = engine.open(result.out)
    pd.testing.assert_frame_equal(opened.frame(), result.frame())
    pd.testing.assert_frame_equal(opened.cells(), result.cells())
    with pytest.raises(LookupError, match="keeps no 'other'; there are: small"):
        engine.open(result.out, experiment="other")
    moved = shutil.copytree(result.out, tmp_path / "moved")
    pd.testing.assert_frame_equal(engine.open(moved).cells(), result.cells())


def test_an_output_that_keeps_no_experiment_shows_all_its_lineages(
    result: engine.Result, tmp_path: Path
) -> None:
    old = shutil.copytree(result.out, tmp_path / "old")
    shutil.rmtree(old / "experiments")
    opened, key = engine.open(old), ["lineage", "t"]
    mine, theirs = (r.frame().sort_values(key, ignore_index=True) for r in (result, opened))
    pd.testing.assert_frame_equal(mine, theirs[mine.columns])
    assert set(opened.cells()["verdict"]) == {"-"}
    with pytest.raises(FileNotFoundError, match="is no output"):
        engine.open(Path(result.out).parent / "nowhere")


def test_figures_are_drawn_and_what_is_not_there_is_named(result: engine.Result) -> None:
    assert isinstance(result.plot.curve("moments/trace_ratio"), Figure)
    drawn = result.plot.response(width=4.0)
    assert isinstance(drawn, Drawn) and drawn._repr_png_()[1:4] == b"PNG", "a notebook shows it"
    assert {"response", "heat_map", "phase_diagram"} <= {*result.plot.names()}
    with pytest.raises(LookupError, match=r"'fd' was not measured.*did you mean 'fid'"):
        result.plot.curve("fd")


@pytest.mark.slow
def test_the_page_is_one_file_or_a_folder(result: engine.Result, tmp_path: Path) -> None:
    page = result.report(tmp_path / "deep" / "report.html", pictures=False)
    assert page.read_text().startswith("<!doctype html>".upper()) or "<html" in page.read_text()
    assert [p.name for p in page.parent.iterdir()] == ["report.html"]


def test_a_result_shows_itself(result: engine.Result) -> None:
    assert "<th>verdict</th>" in result._repr_html_() and "<th>n_real</th>" in (
        result.cells().to_html()
    )
    assert "<th>n_real</th>" not in result._repr_html_(), "the cell's name says what differs"
    assert repr(result.plot).startswith("<Plots of small: curve of a metric; figures ")
    assert repr(result.samples(t=0)) == "<Samples: points, x float64 [30, 2, 1], no labels>"
    assert repr(result).startswith("<Result small: 8 lineages (8 ok), out ")
    shown = result._repr_html_()
    assert "accumulate 0.5" in shown and "data:image/png;base64," in shown
    assert result.complete and len(result.failures) == 0
