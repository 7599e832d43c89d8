"""`ouro verify`: what is damaged, what is gone, what was not made yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.store.store import Store
from tests.support.commands import GAUSSIANS, ouro

LEARNT = """
base:
  dataset: mixture
  generator: {name: wgan, steps: 2, width: 8}
  n_real: 60
seeds: 1
generations: 2
metrics: [moments]
tracking: none
"""
FILE = "few.yaml"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_generations_that_were_not_made_yet_are_no_damage(folder: Path) -> None:
    Path(FILE).write_text(GAUSSIANS)
    assert ouro("run", FILE, "--local").code == 0
    assert "not made" not in ouro("verify", FILE).out
    said = ouro("verify", FILE, "--set", "generations=5")
    assert said.code == 0 and "not made yet: 6 generations" in said.out
    said = ouro("verify", FILE, "--set", "seeds=2", "--json")
    assert said.json["missing"] == {"gone": [], "arrays": [], "generations": 6}


def test_a_generation_that_is_gone_is_named_and_made_again(folder: Path) -> None:
    Path(FILE).write_text(LEARNT)
    assert ouro("run", FILE, "--local").code == 0
    store = Store("runs/few")
    (lineage,) = store.lineages()
    row = Path("runs/few/draws", lineage.generations[1].draw, "row.json")
    row.unlink()
    said = ouro("verify", FILE)
    assert said.code == 5 and "1 missing; `ouro run few.yaml` makes them again" in said.out
    (line,) = (line for line in said.out.splitlines() if line.startswith("missing: "))
    assert "generation 1 of wgan" in line and "seed 0" in line
    assert ouro("run", FILE, "--local").code == 0 == ouro("verify", FILE).code
    assert row.is_file()


def test_arrays_that_the_keep_rule_keeps_are_missed_and_those_it_prunes_are_not(
    folder: Path,
) -> None:
    Path(FILE).write_text(LEARNT)
    assert ouro("run", FILE, "--local", "--set", "keep={every: 2}").code == 0
    said = ouro("verify", FILE, "--set", "keep={every: 2}")
    assert said.code == 0 and "missing" not in said.out, "generation 1 was pruned"
    weights = sorted(Path("runs/few/models").glob("*/weights/*.safetensors"))
    weights[0].unlink()
    said = ouro("verify", FILE, "--set", "keep={every: 2}")
    place = weights[0].relative_to("runs/few")
    assert said.code == 0 and f"missing: {place}" in said.out
    assert "arrays missing: 1, made again when they are needed" in said.out
