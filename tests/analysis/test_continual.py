"""What is kept of earlier tasks, on the page: tables by task, sentences, figures with the numbers
drawn.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from analysis.collapse.continual import by_task, numbers, tasks_of
from analysis.plots import continual as plots
from analysis.report import continual as report
from analysis.report import page, samples
from analysis.report.figures import keys_shown, undrawn
from analysis.report.findings import KEPT, Findings
from engine.api.experiment import Sweep as Asked
from engine.api.result import Result
from engine.lineage.history import History
from engine.outcome.answer import Answer
from engine.outcome.continual import Kept, kept
from engine.spec import LineageSpec, Part, Sweep
from engine.store.store import Store
from engine.tracking import pictures
from tests.support.sweeps import GAUSSIAN, run, sweep_of
from tests.support.tasks import (
    BUFFER,
    FLOOR,
    JOINT,
    NONE,
    REPLAY,
    fading,
    frame,
    imagined,
    labels,
    stream,
)

CELLS = [(0.0, math.nan), (1.0, 0.0), (0.95, 0.0), (0.8, 1.0)]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    return stream(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def there(sweep: Sweep) -> dict[str, History]:
    return imagined(sweep, CELLS)


@pytest.fixture(scope="module")
def rows(sweep: Sweep, there: dict[str, History]) -> pd.DataFrame:
    return frame(sweep, there)


@pytest.fixture(scope="module")
def found(sweep: Sweep, there: dict[str, History]) -> list[Kept]:
    return kept(sweep, there)


def test_a_table_by_task_begins_where_the_task_is_learnt(sweep: Sweep, rows: pd.DataFrame) -> None:
    assert tasks_of(rows, "solver") == [0, 1, 2] and tasks_of(rows, "fid") == []
    table = by_task(rows, "solver")
    own = table[table["label"] == labels(sweep)[REPLAY]]
    assert [(r.task, r.t) for r in own.itertuples()] == [
        *((0, t) for t in range(3)),
        *((1, t) for t in (1, 2)),
        (2, 2),
    ]
    mean = np.mean([fading(seed, 0.8, 1.0)[0] for seed in range(3)], axis=0)
    for row in own.itertuples():
        assert row.mean == pytest.approx(mean[row.t, row.task]) and row.n == 3
        assert row.low < row.mean < row.high
    distance = by_task(rows, "otdd")
    assert (distance["floor"] == FLOOR).all()
    gone = distance[distance["label"] == labels(sweep)[NONE]]
    assert gone["mean"].isna().all() and (gone["undefined"] == 3).all()


def test_of_no_task_there_is_an_empty_table(rows: pd.DataFrame) -> None:
    assert by_task(rows, "fid").empty and "task" in by_task(rows, "fid")


def test_sentences_rank_cells_between_their_bounds(sweep: Sweep, found: list[Kept]) -> None:
    accuracy, forgetting, drift = report.sentences(found)
    none, joint, buffer, replay = labels(sweep)
    assert accuracy.index(buffer) < accuracy.index(replay) < accuracy.index("the bounds are")
    assert f"nothing of earlier tasks, {none}" in accuracy
    assert f"all real data of all tasks, {joint}" in accuracy
    for own in found:
        assert own.accuracy is not None and own.accuracy.words() in accuracy
    assert f"under {buffer}, the least" in forgetting and f"under {replay}, the most" in forgetting
    assert f"drift from real samples under {replay} (1.51 to 3.01)" in drift
    assert f"no drift beyond the scatter of seeds under {buffer} (1.51 to 1.51)" in drift


def test_a_sweep_of_bounds_alone_and_one_that_is_not_run_have_sentences(
    sweep: Sweep, found: list[Kept]
) -> None:
    said = report.sentences(found[: JOINT + 1])
    assert len(said) == 3 and "the bounds are" not in said[0]
    nothing = kept(
        sweep, {k: History(h.spec, (), h.status) for k, h in imagined(sweep, CELLS).items()}
    )
    assert report.sentences(nothing) == [
        "What is kept of earlier tasks is not known yet: it ended at generation -1 of 2: ok."
    ]


def test_a_distance_that_was_not_measured_when_tasks_were_learnt_is_no_drift(
    sweep: Sweep, found: list[Kept]
) -> None:
    late = [replace(own, start=None, drift=None) for own in found]
    said = report.sentences(late)[2]
    assert f"is 3.01 [2.99, 3.03] times its floor under {labels(sweep)[REPLAY]}; 1.51" in said
    assert "whether it grew is not known" in said and "drift" not in said


def test_samples_of_each_task_have_a_panel_for_every_cell() -> None:
    rng = np.random.default_rng(0)
    kinds = [("", "real"), ("plain", "drawn"), ("recall", "drawn")]
    parts = [
        pd.DataFrame({"x": rng.normal(size=9), "y": 0.0, "label": label, "task": j, "set": kind})
        for label, kind in kinds
        for j in (0, 2)
    ]
    table = pd.concat(parts, ignore_index=True)
    figure = plots.embeddings(table, order=["recall", "plain"], features="lenet")
    assert [axis.get_title(loc="left").replace("\n", " ") for axis in figure.axes] == [
        "recall, task 0",
        "recall, task 2",
        "plain, task 0",
        "plain, task 2",
    ]
    drawn = figure.axes[2].lines[1].get_xdata()
    own = table[(table["label"] == "plain") & (table["task"] == 0)]
    assert np.array_equal(drawn, own["x"])


def test_tasks_of_few_held_out_rows_are_not_embedded(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "HELD_OUT", 30)
    held_out = sweep.lineages[0].dataset.make().held_out(30)
    monkeypatch.setattr(samples, "_last", lambda *_: held_out)
    store = Store(str(tmp_path))
    assert samples.latent_by_task(sweep, store, {"a": sweep.lineages[0]}) is None


def test_real_rows_are_shown_of_a_stream_whose_last_tasks_are_never_learnt(tmp_path: Path) -> None:
    lines = ["a,kind", *(f"{i},{name}" for name, n in (("x", 40), ("y", 4)) for i in range(n))]
    (tmp_path / "own.csv").write_text("\n".join(lines))
    table = Part("dataset", "table", {"path": str(tmp_path / "own.csv"), "label": "kind"})
    parts = (Part("generator", "gaussian"), Part("policy", "replay"), Part("sampling", "plain"))
    own = LineageSpec(table, *parts, 30, seed=0, arrival="tasks", tasks=2)
    real, beneath = samples.real_of(own), pictures._real(own)
    assert real is not None and len(real) == 35, "all rows that can be trained on"
    assert beneath is not None and {*np.asarray(beneath.y).tolist()} == {0}


@pytest.mark.slow
def test_the_page_of_a_stream_that_was_run_has_its_samples_by_task(tmp_path: Path) -> None:
    ran = stream(tmp_path, "seeds=1", "metrics=[{name: solver, steps: 5}, otdd]")
    run(ran)
    text = page.write(ran, tmp_path / "report").read_text()
    table = pd.read_csv(tmp_path / "report" / "figures" / "embedding_by_task.csv")
    assert set(table["task"]) == {0, 1, 2} and set(table["set"]) == {"real", "drawn"}
    drawn = set(table.loc[table["set"] == "drawn", "label"])
    assert drawn == {labels(ran)[BUFFER], labels(ran)[REPLAY]}, "no bounds"
    assert 'id="embedding"' not in text and 'id="alignment"' not in text
    result = Result(Asked(ran))
    assert f"{result.kept()['accuracy'][REPLAY]:.3f} (one seed)" in text
    assert result.plot.figure("accuracy_matrix").axes


def test_a_cell_has_one_answer_with_its_verdict() -> None:
    kept_ = [Answer("a", "keeps much", ("3 seeds",)), Answer("b", "keeps little")]
    judged = [Answer("b", "3 of 3 lineages collapsed", ("the rule",)), Answer("c", "never")]
    said = [(own.who, own.what, own.how) for own in report.joined(kept_, judged)]
    assert said == [
        ("a", "keeps much", ("3 seeds",)),
        ("b", "keeps little; 3 of 3 lineages collapsed", ("the rule",)),
        ("c", "never", ()),
    ]


def test_numbers_are_those_of_the_cells(sweep: Sweep, found: list[Kept]) -> None:
    table = numbers(found)
    assert list(table["cell"]) == labels(sweep)
    assert list(table["bound"]) == ["lower", "upper", "", ""]
    for own, row in zip(found, table.itertuples(), strict=True):
        assert own.accuracy is not None and own.accuracy.mean == row.accuracy
        assert (own.accuracy.low, own.accuracy.high) == (row.accuracy_low, row.accuracy_high)
        assert row.words == own.words and row.distance == "otdd"
    assert math.isnan(table["end"][NONE]) and table["drift"][REPLAY] == pytest.approx(1.5)


def test_figures_of_tasks_are_apart_from_the_curves(
    sweep: Sweep, rows: pd.DataFrame, found: list[Kept]
) -> None:
    findings = Findings.of(sweep, rows, kept=found)
    shown = {own.name: own for own in report.figures(findings)}
    assert list(shown) == ["kept", "accuracy_matrix", "accuracy_by_task", "otdd_by_task"]
    assert {own.section for own in shown.values()} == {KEPT}
    drawn, columns = shown["accuracy_matrix"].numbers, ["label", "task", "t", "mean", "low", "n"]
    assert drawn[columns].equals(by_task(rows, "solver")[columns])
    assert keys_shown(rows) == ["solver"]
    assert keys_shown(rows, "otdd/task_0")[0] == "otdd/task_0", "of the rule"
    assert not any("task_" in said for said in undrawn(findings))
    assert findings.lacks.empty


def test_a_matrix_holds_the_means_and_hatches_what_is_undefined(
    sweep: Sweep, rows: pd.DataFrame
) -> None:
    table = by_task(rows, "solver")
    table.loc[(table["t"] == 1) & (table["task"] == 0), "mean"] = math.nan
    figure = plots.matrices(table, order=labels(sweep))
    axis = figure.axes[REPLAY]
    (gone,) = axis.patches
    assert isinstance(gone, Rectangle) and gone.get_xy() == (0, 1)
    said = [text.get_text() for text in axis.texts]
    assert said == [".98", ".98", ".63", ".78", ".98"], "row by row, below the diagonal"


def test_the_page_says_it_first_and_no_sentence_of_a_drift_over_generations(
    sweep: Sweep, rows: pd.DataFrame, found: list[Kept]
) -> None:
    findings = Findings.of(sweep, rows, kept=found)
    section = page.Section(KEPT, [], says=report.sentences(found))
    text = page._page(findings, [section], {}, [], [], [])
    answer = text[text.index("<h2>Answer</h2>") : text.index("</section>")]
    for own in found:
        assert own.label in answer and "average accuracy" in answer
    assert "of which each learns the next task (classes 0/1, 2/3, 4/5)" in answer
    start = text.index(f">{KEPT}</h2>")
    assert start < text.index("After 3 tasks, average accuracy is") < text.index("What is kept, in")
    assert "ollapse" not in text[text.index("<main>") : text.index('<h2 id="details">')]


def test_python_has_the_same_table(sweep: Sweep, tmp_path: Path) -> None:
    table = Result(Asked(sweep)).kept()
    assert list(table["cell"]) == labels(sweep) and table["accuracy"].isna().all()
    assert set(table["undefined"]) == {"no lineage has ended"}
    fixed = sweep_of(GAUSSIAN, tmp_path)
    assert Result(Asked(fixed)).kept().empty
