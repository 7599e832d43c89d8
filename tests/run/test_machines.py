"""Another torch or another number of threads at resume: said once on the terminal, marked in the
rows, told in the report.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from engine.cli.run import run_sweep
from engine.lineage.history import histories
from engine.running.provenance import elsewhere, named, trained_with
from engine.running.session import Options
from engine.store import artifacts as archive
from engine.store.store import Store
from tests.support.sweeps import GAUSSIAN, lineages, run, sweep_of

LEARNED = """
# Question: a test of two machines
base:
  dataset: gaussian
  generator: {name: wgan, steps: 4, width: 8, batch: 16, critic_steps: 1}
  n_real: 30
grid:
  policy.synthetic_fraction: [0.5, 1.0]
seeds: 1
generations: 1
metrics: [moments]
tracking: none
"""
OTHER = {
    "numpy": "2.0",
    "torch": "2.1.0+cu128",
    "threads": 2,
    "device": "cpu",
    "ouroboros": "0.1.0",
}


def said(sweep: object, capsys: pytest.CaptureFixture[str]) -> str:
    assert run_sweep(sweep, Console(width=400), Options(local=True)) == 0  # type: ignore[arg-type]
    return "".join(capsys.readouterr())


def test_a_lineage_that_goes_on_elsewhere_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = sweep_of(LEARNED, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "machine", lambda: OTHER)
        run(short)
    assert "trained with" not in said(short, capsys), "nothing is made, so nothing differs"
    longer = sweep_of(LEARNED, tmp_path, "generations=2")
    words = said(longer, capsys)
    assert words.count("were trained with") == 1 and "Traceback" not in words
    assert (
        "generations 0 to 1 of 2 lineages were trained with torch 2.1.0 and 2 threads, here are "
        "torch " in words
    )
    assert " and 1 thread: learned generators may differ in the last bits" in words
    rows = lineages(longer)[0].rows()
    assert [row.machine.get("threads") for row in rows] == [2, 2, 1]
    report = trained_with(longer, Store(longer.out))
    assert (
        report.startswith("3 generations: torch 2.1.0 and 2 threads; 2 generations: torch ")
        and "may differ" in report
    )


def test_another_number_of_threads_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = sweep_of(LEARNED, tmp_path)
    assert "trained with" not in said(one, capsys)
    assert "trained with" not in said(sweep_of(LEARNED, tmp_path, "generations=2"), capsys)
    two = sweep_of(LEARNED, tmp_path, "generations=3", "resources={generators: {wgan: {cpu: 2}}}")
    text = elsewhere(two, histories(two, Store(two.out)).values())
    assert (
        "generations 0 to 2 of 2 lineages" in text
        and "and 1 thread, here are" in text
        and "and 2 threads:" in text
    )
    assert "may differ" not in trained_with(one, Store(one.out)) and "1 thread" in trained_with(
        one, Store(one.out)
    )


def test_closed_forms_do_not_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1", "generations=1")
    monkeypatch.setattr(archive, "machine", lambda: OTHER)
    run(sweep)
    assert (
        elsewhere(sweep, histories(sweep, Store(sweep.out)).values())
        == ""
        == trained_with(sweep, Store(sweep.out))
    )
    assert (
        named({"numpy": "2"}) == ""
        and named({"torch": "2.1.0+cpu", "threads": 1}) == "torch 2.1.0 and 1 thread"
    )
