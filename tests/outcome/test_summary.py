"""The summary of a cell by hand: three seeds of two cells, every number of them known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.lineage.history import History
from engine.outcome.summary import Cell, Spread, headline, summarise, to_json
from engine.spec import Sweep
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
        found.append(generation(lineage, t, values, status=now))
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
    assert cell.last == Spread(5.0, 5.0, 5.0, 3), "the last generation that has one"
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
    assert headline(sweep) == "classifier_accuracy"
    assert headline(replace(sweep, collapse=None)) == "fid"
    assert headline(replace(sweep, collapse=None, metrics=())) == ""


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
    assert found["lineages"][odd.id] == end
