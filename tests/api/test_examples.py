"""Every example of the docstrings and of the README runs as it stands, on small experiments that
lie under the names it uses.
"""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

import engine
from tests.support.ouro import ROOT

SWEEP = """
# Question: does a small model collapse?
base:
  dataset: mixture
  generator: kde
  n_real: 40
grid:
  policy: [replace, accumulate]
seeds: 2
generations: 6
metrics: [fid]
collapse: {metric: fid, above: 3.0}
tracking: none
"""
NETWORK = SWEEP.replace("kde", "{name: vae, latent: 2, width: 4, steps: 2}")
SEARCH = """
base: {dataset: {name: gaussian, replicates: 3}, generator: gaussian, n_real: 20}
grid: {policy: [replace]}
seeds: 1
generations: 6
metrics: [moments]
collapse: {metric: moments/trace_ratio, below: 0.8}
threshold: {width: 0.4}
tracking: none
"""
EXAMPLE = re.compile(r"engine\.\w+\(")
MODULES = ("engine", *(f"engine.api.{name}" for name in ("experiment", "run", "result", "answer")))


def examples(text: str) -> list[str]:
    """Its paragraphs that call something of the engine."""
    paragraphs = [inspect.cleandoc(own) for own in text.split("\n\n") if EXAMPLE.search(own)]
    for own in paragraphs:
        ast.parse(own)
    return paragraphs


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an example may name, in a folder with the files that it may read."""
    monkeypatch.chdir(tmp_path)
    Path("experiments").mkdir()
    lie("quickstart", SWEEP)
    lie("threshold_mixture", SEARCH)
    return {"engine": engine}


def lie(name: str, text: str) -> None:
    """An experiment, under every name that examples give it."""
    for place in (name, f"{name}.yaml", f"experiments/{name}.yaml"):
        Path(place).write_text(text)


def ran(text: str, names: dict[str, Any]) -> dict[str, Any]:
    """What names mean afterwards."""
    for own in examples(text):
        exec(own, names)
    plt.close("all")
    return names


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_run(module: str, names: dict[str, Any]) -> None:
    text = import_module(module).__doc__
    assert text and examples(text), "it has one"
    if module == "engine.api.experiment":
        lie("quickstart", NETWORK)
    if module != "engine.api.answer":
        names["sweep"] = engine.load("quickstart", seeds=1)
    found = ran(text, names)
    if module == "engine.api.result":
        assert len(found["result"].frame()) == 14
    if module == "engine.api.answer":
        assert found["answer"].typical.estimate == found["answer"].workflows[0].estimate


def pictures(folder: Path, n: int = 100) -> None:
    """Grey pictures of two classes that differ in where they are light."""
    rng = np.random.default_rng(n)
    for i in range(n):
        x = rng.integers(0, 80, (8, 8)).astype(np.uint8)
        x[:, 4 * (i % 2) : 4 * (i % 2) + 4] += 150
        (folder / str(i % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(folder / str(i % 2) / f"{i:03d}.png")


@pytest.mark.slow
def test_examples_that_train_a_classifier_run(names: dict[str, Any]) -> None:
    """Those of README and of measuring: pictures are compared by the features of one."""
    pictures(Path("data/real"))
    for i, name in enumerate(("gen0", "gen1", "gen2")):
        pictures(Path(name), 90 + i)
    lie("quickstart", NETWORK)
    found = ran(import_module("engine.api.curve").__doc__ or "", names)
    assert len(found["curve"].frame()) == 3 and found["curve"].metrics[0] == "fid"
    block = (ROOT / "README.md").read_text().split("## From Python\n\n```python\n")[1]
    local = block.split("\n```")[0].replace("budget=40", "budget=40, local=True")  # without Ray
    found = ran(local.replace("import engine\n\n", "", 1), found)
    assert Path("report.html").exists() and len(found["result"].frame()) == 14
    assert len(found["curve"].frame()) == 2
