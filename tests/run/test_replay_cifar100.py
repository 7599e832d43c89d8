"""The experiment on CIFAR-100, which needs a GPU: it plans as it is, and its first two tasks run
tiny on 100 classes of generated pictures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.contracts.companions import constant
from engine.experiment.sources import load
from engine.experiment.yaml import parse
from tests.support.commands import ouro
from tests.support.ouro import ROOT

FILE = ROOT / "experiments" / "replay_cifar100_zverev.yaml"
PER_CLASS = 8  # pictures, of which 2 are held out
CELLS = 7  # four generators drawn from in two ways, but for gan_memory, whose styles recall
METRICS = [
    {"name": "solver", "network": "lenet", "steps": 5},
    {"name": "otdd", "extractor": "raw"},
    {"name": "alignment", "extractor": "raw"},
]


def small(entry: dict[str, Any]) -> dict[str, Any]:
    """A generator of the file with the smallest networks and trainings, and float32."""
    found = {**entry, **constant("generator", entry["name"], "TINY"), "precision": "no"}
    found.pop("lr", None)
    if "size" in found:
        found["size"] = "tiny"
    if "guidance_by" in found:
        found |= {"solver": "lenet", "solver_steps": 4}
    return found


def pictures(file: Path) -> Path:
    """Of each class a colour of its own, and noise."""
    rng, y = np.random.default_rng(0), np.repeat(np.arange(100), PER_CLASS)
    colours = rng.integers(40, 216, (100, 1, 1, 3))
    images = np.clip(colours[y] + rng.normal(0, 20, (len(y), 8, 8, 3)), 0, 255)
    np.savez(file, images=images.astype(np.uint8), labels=y)
    return file


def test_it_plans_and_asks_a_gpu_for_each_lineage(tmp_path: Path) -> None:
    sweep = load(FILE, {"out": str(tmp_path)})
    assert len(sweep.lineages) == 42 and sweep.generations == 4
    assert {len(own.stream) for own in sweep.lineages} == {5}
    assert {len(own.task(4)) for own in sweep.lineages} == {20}
    assert {own.generator.name for own in sweep.lineages} == {"stylegan2", "ddpm", "gan_memory"}
    assert all(sweep.resources.of(own.generator.name).gpu == 1 for own in sweep.lineages)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_first_two_tasks_run_tiny_on_generated_pictures(tmp_path: Path) -> None:
    file, out = pictures(tmp_path / "hundred.npz"), tmp_path / "out"
    generators = [small(entry) for entry in parse(FILE.read_text()).values["grid"]["generator"]]
    samplings = ["plain", {"name": "correct", "r": 2, "sampling": {"name": "recall"}}]
    changed = {
        "base.dataset": {"name": "images", "path": str(file), "size": 8, "held_out_fraction": 0.25},
        "base.n_real": 20 * 5,
        "grid.generator": generators,
        "grid.sampling": samplings,
        "generations": 1,
        "seeds": 1,
        "metrics": METRICS,
        "collapse": None,
        "resources": {"cpu": 1},
        "tracking": "none",
        "out": str(out),
    }
    words = [word for k, v in changed.items() for word in ("--set", f"{k}={json.dumps(v)}")]
    planned = ouro("plan", str(FILE), *words, "--json").json
    assert planned["cells"] == CELLS and planned["refused"] == []
    ran = ouro("run", str(FILE), *words, "--local")
    assert ran.code == 0, ran
    assert ouro("status", str(out), "--json").json["statuses"] == {"ok": CELLS}
    rows = engine.open(str(out)).frame()
    newest = rows[rows["t"] == 1]
    for key in (
        "solver.network-lenet.steps-5",
        "otdd.extractor-raw",
        "alignment.extractor-raw/auc",
    ):
        for task in (0, 1):
            assert newest[f"{key}/task_{task}"].notna().sum() == CELLS, (key, task)
