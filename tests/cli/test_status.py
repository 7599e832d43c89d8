"""`ouro status`: how far each lineage is; nothing unfinished is shown as a result."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from engine.store import stages
from engine.store.stages import Teller
from engine.store.store import Store
from engine.training import progress
from engine.training.progress import Stage
from tests.support.commands import GAUSSIANS, ouro

LEARNT = """
base:
  dataset: mixture
  generator: {name: wgan, steps: 30, width: 8}
  n_real: 60
seeds: 1
generations: 1
metrics: [moments]
tracking: none
"""


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lineages, both at generation 2; asked for are 4."""
    monkeypatch.chdir(tmp_path)
    Path("half.yaml").write_text(GAUSSIANS)
    assert ouro("run", "half.yaml", "--local").code == 0


FURTHER = ("half.yaml", "--set", "generations=4")


@pytest.mark.usefixtures("half")
def test_an_unfinished_lineage_is_no_result(tmp_path: Path) -> None:
    said = ouro("status", *FURTHER).out
    assert "6 of 10 generations, 0 of 2 lineages have an outcome" in said
    lines = [line for line in said.splitlines() if "seed 0" in line]
    assert len(lines) == 2 and all("2 of 4" in line and " ago" in line for line in lines)
    found = ouro("status", *FURTHER, "--json").json
    for cell in found["cells"]:
        assert (cell["start"], cell["last"], cell["drift"]) == (None, None, None)
        assert cell["generations"] == 3
    assert all(v["t"] == 2 for v in found["lineages"].values())


@pytest.mark.usefixtures("half")
def test_a_worker_in_a_long_generation_is_shown_with_what_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = next(iter(ouro("status", *FURTHER, "--json").json["lineages"]))
    teller = Teller(Store("runs/half"), first)
    teller.last = time.monotonic() - stages.EVERY_SECONDS
    teller.hear(Stage(3, "training", 400, 1000, 4210.4, 12.0))
    now = "now generation 3, training: step 400 of 1,000, 4,210 per second, 12 s left"
    assert now in ouro("status", *FURTHER).out
    assert ouro("status", *FURTHER, "--json").json["at_work"][first]["done"] == 400
    assert ouro("run", *FURTHER, "--local").code == 0
    said = ouro("status", *FURTHER).out
    assert "10 of 10 generations, 2 of 2 lineages" in said and "unfinished" not in said


@pytest.mark.usefixtures("half")
def test_damaged_rows_are_told_and_there_is_nothing_else_to_export() -> None:
    for block in Path("runs/half/blocks").glob("*.json"):
        block.write_bytes(block.read_bytes()[:-20])
    said = ouro("status", "half.yaml")
    assert "2 damaged files are left out; `ouro verify half.yaml` names them" in said.out
    assert len(ouro("status", "half.yaml", "--json").json["damaged"]) == 2
    refused = ouro("export", "half.yaml")
    assert refused.code == 5 and "`ouro run half.yaml` makes it again" in refused.err


def test_lineages_that_have_not_begun_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("few.yaml").write_text(GAUSSIANS)
    assert ouro("run", "few.yaml", "--local").code == 0
    said = ouro("status", "few.yaml", "--set", "seeds=3").out
    assert "6 of 18 generations, 2 of 6 lineages" in said and "4 lineages have not begun" in said


def test_a_run_tells_how_far_it_is_inside_a_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(stages, "EVERY_SECONDS", 1e-6)
    monkeypatch.setattr(stages, "FRESH", 1e9)
    monkeypatch.setattr("engine.console.boards.QUIET_SECONDS", 0.0)
    Path("learnt.yaml").write_text(LEARNT)
    said = ouro("run", "learnt.yaml", "--local")
    assert said.code == 0
    for what in ("generation 0, training: step ", "generation 1, drawing", "1, measuring moments"):
        assert what in said.out
    assert not list(Path("runs/learnt/progress").iterdir())
