"""The experiments of language models that need a GPU: two steps of each on tiny random models of
the same classes, from the files as they are but for sizes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.cli.main import app
from engine.experiment.sources import load
from tests.support.pretrained import WORDS, language_model
from tests.support.pretrained import records as written
from tests.support.sweeps import results, run

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FEW = ("seeds=1", "generations=1", "base.n_real=20", "base.generator.steps=2")
FEW += ("base.generator.batch=4", "base.generator.precision=no")
OF_RECORDS = {"smollm_xsum_yi": "Llama", "gemma_helpsteer_kazdan": "Gemma2"}
CLASSES = {"smollm_xsum_yi": "document summary", "gemma_helpsteer_kazdan": "prompt response"}


def overrides(name: str, folder: Path) -> list[str]:
    """What makes an experiment small enough."""
    if name == "gpt_tinystories_kazdan":
        (folder / "text.txt").write_text(" ".join(WORDS * 60))
        small = ("width=16", "layers=1", "heads=2", "compile=false")
        own = [f"base.generator.{each}" for each in small]
        own += [f"base.dataset.path={folder / 'text.txt'}", "base.dataset.vocabulary=260"]
        return [*FEW, *own, "base.dataset.length=16"]
    base = language_model(folder / "base", OF_RECORDS[name])
    prompt, completion = CLASSES[name].split()
    file = written(folder / "records.jsonl")
    text = file.read_text().replace('"ask"', f'"{prompt}"').replace('"say"', f'"{completion}"')
    file.write_text(text)
    own = [f"base.dataset.path={file}", f"base.dataset.tokens.tokenizer={base}"]
    return [*FEW, *own, f"base.generator.base={base}", "base.dataset.length=8"]


OTHERS = ("gpt_tinystories_kazdan", "gemma_helpsteer_kazdan")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]


@pytest.mark.parametrize("name", ["smollm_xsum_yi", *SLOW])
def test_it_runs_two_steps_on_a_tiny_model_of_its_class(name: str, tmp_path: Path) -> None:
    file, own = EXPERIMENTS / f"{name}.yaml", overrides(name, tmp_path)
    sweep = load(file, own, out=str(tmp_path / "out"))
    run(sweep)
    found = results(sweep)
    assert len(found) == 2 * len(sweep.all_lineages)
    for row in found.values():
        assert row["status"] == "ok" and row["values"]["cross_entropy"] > 0


@pytest.mark.parametrize("name", ["gpt_tinystories_kazdan", *OF_RECORDS])
def test_it_plans_where_its_files_are_absent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUROBOROS_DATA", str(tmp_path))
    result = CliRunner().invoke(app, ["plan", str(EXPERIMENTS / f"{name}.yaml")])
    assert "lacks" in result.output and "not on this computer" in result.output
