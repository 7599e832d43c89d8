"""A generator whose draws have another variance than its data by themselves says so: in the plan,
in `ouro parts` and in the rows of its draws, whose keys and bits are as before.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from engine._drawn_variance import HIGH, LOW
from engine.console.tables import plan_lines
from engine.console.traits import in_words
from engine.planning.plan import make_plan, paths, to_json
from engine.registry import PartError, describe, described
from engine.store.store import Store
from tests.support.sweeps import run, sweep_of

EULER = """
base:
  dataset: {name: gaussian, replicates: 2}
  generator: {name: flow_matching, steps: 3, batch: 8, channels: [8]}
  n_real: 30
grid:
  generator.solver: [euler, midpoint]
generations: 1
"""
SAID = "flow_matching with solver euler and sampling_steps 10 draws 0.67 of the variance"


def test_a_plan_warns_of_a_coarse_solver_once_and_of_no_other(tmp_path: Path) -> None:
    sweep = sweep_of(EULER, tmp_path)
    plan = make_plan(sweep, Store(sweep.out), 1)
    told = [value for name, value in plan_lines(plan, sweep) if name == "draws"]
    assert len(told) == 1 and told[0].startswith(SAID)
    there = dict.fromkeys(paths(sweep), 0)
    assert to_json(plan, sweep, there)["draws"] == told


def test_the_rows_of_its_draws_hold_the_ratio_and_those_of_others_none(tmp_path: Path) -> None:
    coarse, fine = run(sweep_of(EULER, tmp_path))
    assert coarse.path[0].model == fine.path[0].model, "a solver is in the draw's key alone"
    for row in coarse.rows():
        assert row.report == {LOW: 0.67, HIGH: 0.67}
    assert all(not row.report for row in fine.rows())


def test_parts_say_which_samplers_are_coarse() -> None:
    told = " ".join(in_words(describe("generator", "flow_matching")))
    assert "solver euler is coarse under 100 sampling_steps" in told and "0.67 in 10" in told
    assert "coarse" not in " ".join(in_words(describe("generator", "gaussian")))


@pytest.mark.parametrize(
    "line",
    [
        'VARIANCE = {"points": (0.9, 0.7)}',
        'VARIANCE = {"points": 0.9}',
        'COARSE = ("solver", "steps")',
        'COARSE = ("solver", "steps", {"euler": {0: 0.5}})',
        'COARSE = ("solver", "steps", {"euler": {}})',
    ],
)
def test_what_is_declared_wrongly_is_refused_by_line(line: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f'"""A generator."""\n\n\nclass Mine:\n    {line}\n')
    with pytest.raises(PartError, match=rf"mine.py:5: {line.split()[0]} is .* should be"):
        described("generator", "mine", file)
