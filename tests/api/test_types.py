"""The types of the Python API, as a script outside the package sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ouro import ROOT

SCRIPT = """
import engine

sweep: engine.Sweep = engine.load("quickstart", seeds=1, base={"generator.steps": 100})
result: engine.Result = engine.run(sweep, out="runs/mine", local=True)
rows: int = len(result.frame())
samples: engine.Samples = result.samples(cell=0, seed=0, t=1)
answer: engine.Answer = engine.threshold(sweep, budget=40)
estimate: float | None = answer.typical.estimate
curve: engine.Curve = engine.measure("real", ["gen0"], metrics=["fid"])
collapsed: bool | None = curve.judge({"metric": "fid", "above": 3}).collapsed
spec: engine.LineageSpec = sweep.lineages[0]
model: engine.Generator = result.model(cell=0)
engine.sweep(seds=1)  # type: ignore[call-arg]
"""


@pytest.mark.slow
def test_a_script_outside_is_checked_strictly(tmp_path: Path) -> None:
    """An ignore that is not needed is an error, so the misspelt argument is one, too."""
    (tmp_path / "script.py").write_text(SCRIPT)
    how = ["--strict", "--ignore-missing-imports", "--follow-imports=silent"]
    said = subprocess.run(
        [sys.executable, "-m", "mypy", *how, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout
