"""Ids and keys are what they were: an output of a former version is found again, bit for bit.

`golden_keys.json` was written by the version before the house was redrawn; `defaults.json` pins the
defaults of all parts, which a key leaves out, so that a changed one would go unnoticed.  Written
anew with `python -m tests.lineage.test_golden_keys`, which is right only for an experiment or a
part that is new: a changed default changes what old keys mean.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from engine.experiment.sources import load
from engine.lineage.recipe import path, real_key
from engine.registry import KINDS, describe, names
from engine.spec import LineageSpec, MeasureSpec, Part

HERE = Path(__file__).parent
EXPERIMENTS = HERE.parents[1] / "experiments"
KEYS: dict[str, Any] = json.loads((HERE / "golden_keys.json").read_text())
DEFAULTS: dict[str, Any] = json.loads((HERE / "defaults.json").read_text())


def keys_of(file: Path) -> dict[str, Any]:
    """Of an experiment: how many lineages, and digests of their ids and of all their keys."""
    sweep = load(file)
    ids, cells, keys = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for spec in sweep.lineages:
        ids.update(spec.id.encode())
        cells.update((spec.cell_id + spec.workflow).encode())
        for node in path(spec, sweep.generations):
            keys.update(f"{node.real} {node.model} {node.draw}\n".encode())
    found = {"ids": ids, "cells": cells, "keys": keys}
    return {
        "lineages": len(sweep.lineages),
        "metrics": [m.id for m in sweep.metrics],
        **{name: sha.hexdigest()[:24] for name, sha in found.items()},
    }


def defaults() -> dict[str, dict[str, Any]]:
    """Every part's parameters with their defaults."""
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        for name in names(kind):
            known = describe(kind, name).parameters.values()
            own = {p.name: "(required)" if p.required else p.default for p in known}
            found[f"{kind} {name}"] = own
    return found


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not the published set, or a user's own, is in keys by its content: none is here."""
    monkeypatch.setenv("OUROBOROS_DATA", str(tmp_path))


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_of_an_experiment_are_what_they_were(name: str) -> None:
    assert keys_of(EXPERIMENTS / f"{name}.yaml") == KEYS[name]


@pytest.mark.parametrize("part", DEFAULTS)
def test_the_defaults_of_a_part_are_what_they_were(part: str) -> None:
    kind, name = part.split()
    now = {p.name: p for p in describe(kind, name).parameters.values()}
    for parameter, value in DEFAULTS[part].items():
        assert now[parameter].required == (value == "(required)"), f"{part}: {parameter}"
        if not now[parameter].required:
            own = json.loads(json.dumps(now[parameter].default))  # a tuple is a list there
            assert own == value and type(own) is type(value), f"{part}: {parameter}"
    for parameter in now.keys() - DEFAULTS[part].keys():
        assert not now[parameter].required, f"{part}: {parameter} is new, old files do not give it"


def test_every_part_has_its_defaults_pinned() -> None:
    assert DEFAULTS.keys() == defaults().keys()


def spelled() -> LineageSpec:
    """A lineage that uses all that enters a key: nested parts, a parent, arrival, sizes."""
    reward = {"name": "discriminator", "steps": 5, "batch": 128}
    return LineageSpec(
        Part("dataset", "mnist", {"balanced": True, "root": "elsewhere"}),
        Part("generator", "vae", {"steps": 30, "warm_start": True, "conditional": True}),
        Part("policy", "replace", {"synthetic_fraction": 0.5}),
        Part("sampling", "verify", {"rule": "top", "reward": reward}),
        n_real=50,
        seed=3,
        n_synthetic=70,
        arrival="fresh",
    )


def test_a_lineage_spelled_out_has_the_keys_it_had() -> None:
    """Whole ids and keys, so that a digit less is seen; defaults and the data root are in none."""
    spec = spelled()
    assert spec.generator.canonical == {"name": "vae", "steps": 30, "warm_start": True}
    assert spec.sampling.canonical == {
        "name": "verify",
        "reward": {"name": "discriminator", "steps": 5},
        "rule": "top",
    }
    assert spec.dataset.canonical == {"name": "mnist", "balanced": True}
    assert (spec.id, spec.cell_id, spec.workflow) == (
        "35ce610b794c3491",
        "a8a822b1176c4fb2",
        "2212ca7ca708f8ae",
    )
    assert real_key(spec, 1) == "aad5c28966ac0c43f73ab45d"
    node = path(spec, 2)[2]
    assert (node.model, node.draw) == ("2a4d6f36d6c42d180705d307", "a21ffe47916e14b7dba1538a")


def test_the_id_of_a_metric_names_what_differs_from_its_defaults() -> None:
    part = Part("metric", "fid", {"extractor": "raw", "splits": 8})
    assert MeasureSpec(part).id == "fid.extractor-raw"


if __name__ == "__main__":
    known = sorted(EXPERIMENTS.glob("*.yaml"))
    text = json.dumps({file.stem: keys_of(file) for file in known}, indent=1, sort_keys=True)
    (HERE / "golden_keys.json").write_text(text + "\n")
    text = json.dumps(defaults(), indent=1, sort_keys=True)
    (HERE / "defaults.json").write_text(text + "\n")
