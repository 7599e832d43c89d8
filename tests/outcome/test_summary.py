"""The summary of a cell by hand: three seeds of two cells, every number of them known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine._descriptions import keys_of
from engine.console.tables import changed
from engine.lineage.history import History
from engine.outcome.document import to_json
from engine.outcome.summary import Cell, Spread, curve, summarise
from engine.registry import describe, names
from engine.spec import MeasureSpec, Part, Sweep
from engine.status import Status
from engine.store.rows import Generation
from tests.support.rows import generation
from tests.support.sweeps import sweep_of

TWO_CELLS = """
base: {dataset: digits, generator: vae, n_real: 100}
grid:
  policy: [replace, accumulate]
seeds: 3
generations: 4
metrics: [fid, classifier_accuracy]
collapse: {metric: fid, above: 3.0}
"""
Fids = tuple[float | None, ...]


def rows(lineage: str, fids: Fids, status: str) -> tuple[Generation, ...]:
    """Generations with these values of fid, and an accuracy that falls by a tenth each."""
    found = []
    for t, fid in enumerate(fids):
        values = {"classifier_accuracy": 0.9 - t / 10} | ({} if fid is None else {"fid": fid})
        now = status if t == len(fids) - 1 else "ok"
        gap = {} if fid is not None else {"fid": "all equal"}
        found.append(generation(lineage, t, values, undefined=gap, status=now))
    return tuple(found)


def summary(folder: Path, *seeds: tuple[Fids, str], rule: bool = True) -> Cell:
    """The cell of `replace`, whose lineages have these values and ends; the other cell is empty."""
    sweep: Sweep = sweep_of(TWO_CELLS, folder)
    if not rule:
        sweep = replace(sweep, collapse=None)
    histories = {s.id: History(s, (), Status.UNFINISHED) for s in sweep.lineages}
    ours = [s for s in sweep.lineages if s.policy.name == "replace"]
    for spec, (fids, end) in zip(ours, seeds, strict=True):
        status = "ok" if end == "unfinished" else end
        histories[spec.id] = History(spec, rows(spec.id, fids, status), Status(end))
    cells = {cell.label: cell for cell in summarise(sweep, histories)}
    assert list(cells) == ["replace 1", "accumulate"], "in the order of the file"
    return cells["replace 1"]


SAFE: tuple[Fids, str] = ((2.0, 3.0, 4.0), "ok")
COLLAPSED: tuple[Fids, str] = ((4.0, 8.0, 16.0), "ok")
DIVERGED: tuple[Fids, str] = ((1.0,), "diverged")
LEFT: tuple[Fids, str] = ((2.0, 9.0), "unfinished")


def test_a_drift_is_a_difference_where_the_rule_takes_one(tmp_path: Path) -> None:
    sweep = sweep_of(TWO_CELLS, tmp_path)
    assert sweep.collapse is not None
    rule = sweep.collapse.model_copy(update={"by": "difference", "above": 2.5})
    sweep = replace(sweep, collapse=rule)
    fids = ((2.0, 2.0), (-1.0, 3.0), (0.0, 1.0))
    found = {
        spec.id: History(spec, rows(spec.id, own, "ok"), Status.OK)
        for spec, own in zip(sweep.lineages, fids * 2, strict=True)
    }
    cell = summarise(sweep, found)[0]
    assert cell.drift == Spread(5 / 3, 0.0, 4.0, 3) and cell.drift_by == "difference"
    assert (cell.collapsed, cell.judged, cell.passed) == (1, 3, 1)
    assert changed(cell.drift, cell.drift_by) == "+1.67 (+0..+4)"
    assert changed(Spread(1.5, 1.5, 1.5, 1), "ratio") == "1.5 x"


def test_every_number_of_a_cell(tmp_path: Path) -> None:
    cell = summary(tmp_path, SAFE, COLLAPSED, DIVERGED)
    assert (cell.lineages, cell.generations) == (3, 7)
    assert cell.statuses == {"ok": 2, "diverged": 1} and cell.metric == "fid"
    assert cell.start == Spread(7 / 3, 1.0, 4.0, 3)
    assert cell.last == Spread(7.0, 1.0, 16.0, 3)
    assert cell.drift == Spread(7 / 3, 1.0, 4.0, 3)
    assert cell.accuracy is not None and cell.accuracy.n == 3
    assert (cell.accuracy.low, cell.accuracy.high) == pytest.approx((0.7, 0.9))
    assert (cell.collapsed, cell.judged) == (2, 3)


def test_first_passage_is_beside_the_state_at_the_last_generation(tmp_path: Path) -> None:
    back: tuple[Fids, str] = ((2.0, 9.0, 3.0), "ok")
    cell = summary(tmp_path, SAFE, COLLAPSED, back)
    assert (cell.passed, cell.collapsed, cell.judged) == (2, 1, 3)
    assert summary(tmp_path, SAFE, COLLAPSED, back, rule=False).passed is None


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ((SAFE, SAFE, SAFE), "no"),
        ((SAFE, SAFE, COLLAPSED), "collapsed 1/3"),
        ((SAFE, COLLAPSED, DIVERGED), "collapsed 2/3"),
        ((COLLAPSED, COLLAPSED, DIVERGED), "collapsed"),
        ((COLLAPSED, SAFE, LEFT), "collapsed 1/2"),
        ((SAFE, LEFT, LEFT), "no"),
        ((COLLAPSED, LEFT, LEFT), "collapsed"),
        ((LEFT, LEFT, LEFT), "-"),
    ],
)
def test_a_verdict_counts_the_lineages_that_can_be_judged(
    seeds: tuple[tuple[Fids, str], ...], said: str, tmp_path: Path
) -> None:
    assert summary(tmp_path, *seeds).verdict == said


def test_without_a_rule_nothing_is_judged(tmp_path: Path) -> None:
    cell = summary(tmp_path, SAFE, COLLAPSED, DIVERGED, rule=False)
    assert (cell.verdict, cell.collapsed, cell.judged) == ("-", None, 0)
    assert cell.metric == "fid", "the first one measured"


def test_the_start_is_generation_0_and_nothing_else(tmp_path: Path) -> None:
    gap: tuple[Fids, str] = ((None, 5.0, None), "ok")
    cell = summary(tmp_path, gap, gap, gap)
    assert cell.start is None and cell.drift is None, "no value at generation 0 is no start"
    assert cell.last is None, "nothing is known of its end, whatever was known before"
    assert (cell.collapsed, cell.judged, cell.verdict) == (None, 0, "-")
    assert summary(tmp_path, gap, SAFE, gap).start == Spread(2.0, 2.0, 2.0, 1)


def test_a_metric_that_never_has_a_value_is_shown_as_itself_not_as_its_floor(
    tmp_path: Path,
) -> None:
    sweep = sweep_of(TWO_CELLS, tmp_path)
    gap = {"fid": "all equal"}
    histories = {}
    for spec in sweep.lineages:
        row = generation(spec.id, 0, {"fid/floor": 0.5}, undefined=gap)
        histories[spec.id] = History(spec, (row,), Status.OK)
    for cell in summarise(sweep, histories):
        assert (cell.metric, cell.start, cell.last, cell.verdict) == ("fid", None, None, "-")


def test_a_cell_that_has_not_begun_is_empty(tmp_path: Path) -> None:
    sweep = sweep_of(TWO_CELLS, tmp_path)
    cells = summarise(sweep, {s.id: History(s, (), Status.UNFINISHED) for s in sweep.lineages})
    for cell in cells:
        assert (cell.start, cell.last, cell.drift, cell.accuracy) == (None, None, None, None)
        assert (cell.generations, cell.statuses, cell.verdict) == (0, {"unfinished": 3}, "-")


def test_the_headline_is_the_rules_metric_else_the_first_one_else_none(tmp_path: Path) -> None:
    sweep = sweep_of(TWO_CELLS.replace("metric: fid", "metric: classifier_accuracy"), tmp_path)
    assert sweep.headline == "classifier_accuracy"
    assert replace(sweep, collapse=None).headline == "fid"
    assert replace(sweep, collapse=None, metrics=()).headline == ""


HEADLINES = {
    "alignment": "alignment/auc",
    "classifier_accuracy": "classifier_accuracy",
    "conditional_fid": "conditional_fid",
    "cross_entropy": "cross_entropy",
    "discrete": "discrete/tv",
    "diversity": "diversity/self_bleu",
    "draw": "draw/variance_ratio",
    "fid": "fid",
    "kid": "kid",
    "mauve": "mauve",
    "modes": "modes/live",
    "moments": "moments/kl",
    "nelbo": "nelbo",
    "ngrams": "ngrams/js",
    "nll": "nll",
    "otdd": "otdd",
    "precision_recall": "precision_recall/recall",
    "solver": "solver",
}


def test_the_key_that_stands_for_a_metric_is_declared_and_never_a_control() -> None:
    assert set(HEADLINES) == set(names("metric")), "name the new metric's key here"
    for name, key in HEADLINES.items():
        metric = MeasureSpec(Part("metric", name, {}))
        assert metric.headline("points") == metric.headline(None) == key
        (own,) = (known for known in keys_of(describe("metric", name)) if known.means(key))
        assert own.better, f"{key} is a control"
    assert MeasureSpec(Part("metric", "moments", {})).headline("regression") == (
        "moments/weight_error"
    )
    raw = MeasureSpec(Part("metric", "fid", {"extractor": "raw"}))
    assert raw.headline("images") == "fid.extractor-raw"


def test_a_control_that_has_a_value_never_stands_for_its_metric(tmp_path: Path) -> None:
    sweep = sweep_of(
        TWO_CELLS.replace("metric: fid, above: 3.0", "metric: classifier_accuracy, below: 0.9"),
        tmp_path,
    )
    beside = {"classifier_accuracy/ceiling": 0.858, "classifier_accuracy/chance": 0.1}
    gap = {"classifier_accuracy": "its samples have no labels"}
    histories = {}
    for spec in sweep.lineages:
        row = generation(spec.id, 0, beside, undefined=gap)
        histories[spec.id] = History(spec, (row,), Status.OK)
    for cell in summarise(sweep, histories):
        assert (cell.start, cell.last, cell.drift, cell.accuracy) == (None, None, None, None)
        assert (cell.judged, cell.verdict, cell.metric) == (0, "-", "classifier_accuracy")
    judged = sweep.collapse and sweep.collapse.judge(curve((row,), sweep.collapse))
    assert judged and judged.verdict is None
    assert judged.undefined == (
        "classifier_accuracy has no value at generation 0: its samples have no labels"
    )


def test_the_json_holds_the_cells_and_every_lineages_end(tmp_path: Path) -> None:
    sweep = sweep_of(TWO_CELLS, tmp_path)
    ended = {s.id: History(s, rows(s.id, SAFE[0], "ok"), Status.OK) for s in sweep.lineages}
    odd = sweep.lineages[-1]
    ended[odd.id] = History(odd, rows(odd.id, (1.0,), "diverged"), Status.DIVERGED, "not finite")
    found = to_json(sweep, ended)
    assert found["statuses"] == {"ok": 5, "diverged": 1} and found["generations"] == 4
    assert [cell["verdict"] for cell in found["cells"]] == ["no", "collapsed 1/3"]
    assert found["collapse"] == {"metric": "fid", "above": 3.0}
    assert set(found["lineages"]) == {s.id for s in sweep.lineages}
    end = {"label": "accumulate", "seed": 2, "t": 0, "status": "diverged", "reason": "not finite"}
    end |= {"printed": "", "control": False}
    assert found["lineages"][odd.id] == end
