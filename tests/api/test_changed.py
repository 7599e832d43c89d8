"""Data and code that are others than an output was made from, as Python tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import engine


def table(file: Path, seed: int) -> Path:
    x = np.random.default_rng(seed).normal(size=(60, 2))
    file.write_text("\n".join(["a,b", *(f"{a},{b}" for a, b in x)]))
    return file


@pytest.fixture
def sweep(tmp_path: Path) -> engine.Sweep:
    return engine.sweep(
        dataset={"name": "table", "path": str(table(tmp_path / "mine.csv", 0))},
        generator="gaussian",
        policy="replace",
        n_real=20,
        generations=1,
        metrics=["fid"],
        out=tmp_path / "out",
        tracking="none",
        name="mine",
    )


def test_what_changed_is_said_by_the_plan_the_run_and_the_output(
    sweep: engine.Sweep, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = engine.run(sweep, local=True)
    assert first.changed == () and engine.open(first.out).changed == ()
    table(tmp_path / "mine.csv", 1)
    (line,) = engine.open(first.out).changed
    assert "hold something else" in line and line in engine.open(first.out)._repr_html_()
    assert engine.open(first.out).frame().empty, "old numbers are not shown"
    plan = engine.load(first.out).plan()
    assert plan.changed == (line,)
    assert "hold something else" in " ".join(str(plan).split()), "wherever a line ends"
    again = engine.run(sweep, local=True, progress=True)
    assert again.changed == (line,) and line in capfd.readouterr().err
    assert engine.open(first.out).changed == () and again.complete
    assert not again.frame()["fid"].equals(first.frame()["fid"])


def test_an_output_is_read_and_its_plan_known_where_its_data_are_not(
    sweep: engine.Sweep, tmp_path: Path
) -> None:
    frame = engine.run(sweep, local=True).frame()
    (tmp_path / "mine.csv").rename(tmp_path / "elsewhere.csv")
    there = (tmp_path / "out").rename(tmp_path / "moved")
    read = engine.load(there)
    assert read.plan().missing == 0 and read.plan().changed == ()
    assert engine.run(read, local=True).frame().equals(frame), "nothing is left to make"
    assert engine.open(there).frame().equals(frame)
    assert sweep.plan(out=there).missing == 0, "of the sweep as it was made, too"
    (line,) = engine.load(there, out=tmp_path / "new").plan().changed
    assert "not on this computer" in line
    with pytest.raises(engine.EnvironmentProblem, match=r"mine\.csv"):
        engine.run(engine.load(there), out=tmp_path / "new", local=True)
