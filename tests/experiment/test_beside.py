"""What lies beside an experiment file is found from wherever it is run, and in its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.experiment.beside import look_beside
from engine.experiment.sources import load
from engine.experiment.writer import to_yaml

TEXT = """
base:
  dataset: {name: table, path: mine.csv}
  generator: gaussian
  n_real: 4
grid:
  dataset.path: [mine.csv, deep/other.csv]
seeds: 1
generations: 1
"""


def test_a_table_beside_the_file_is_found_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (there / "deep").mkdir(parents=True)
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("OUROBOROS_DATA", str(here))
    (there / "mine.csv").write_text("x\n" + "1\n2\n3\n" * 3)
    (there / "deep" / "other.csv").write_text("x\n" + "1\n2\n4\n" * 3)
    (there / "e.yaml").write_text(TEXT)
    sweep = load(there / "e.yaml")
    paths = [spec.dataset.params["path"] for spec in sweep.lineages]
    assert paths == [str(there / "mine.csv"), str(there / "deep" / "other.csv")]
    # as an output keeps it, it is found from there, too
    (here / "kept.yaml").write_text(to_yaml(sweep.document))
    assert [s.id for s in load(here / "kept.yaml").lineages] == [s.id for s in sweep.lineages]
    # what does not lie beside it means what it meant
    (here / "own.csv").write_text("x\n" + "1\n2\n5\n" * 3)
    (there / "e.yaml").write_text(TEXT.replace("mine.csv", "own.csv").replace("deep/other", "own"))
    assert load(there / "e.yaml").lineages[0].dataset.params["path"] == "own.csv"


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {"base": 3, "grid": [], "metrics": {}},
        {"base": {"dataset": {"name": ["x"]}, "generator": {"name": "nosuch", "files": 3}}},
        {"base": {"dataset": {"name": "table", "path": None}}, "grid": {"dataset.path": 3}},
        {"base": {"dataset": {"name": "table", "path": "x" * 5000}}},
        {"base": {"dataset": {"name": "table", "path": "a\0b"}}},
    ],
)
def test_whatever_else_stands_in_a_file_is_left_alone(values: Any, tmp_path: Path) -> None:
    before = repr(values)
    look_beside(values, tmp_path)
    assert repr(values) == before
