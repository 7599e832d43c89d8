"""A small sweep that was run once through the API, and its experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import engine

VALUES: dict[str, Any] = {
    "dataset": {"name": "gaussian", "replicates": 2},
    "generator": "gaussian",
    "n_real": 30,
    "grid": {"policy": ["replace", "accumulate"], "policy.synthetic_fraction": [0.5, 1.0]},
    "seeds": 2,
    "generations": 3,
    "metrics": ["moments", {"name": "fid", "every": 2}],
    "collapse": {"metric": "moments/trace_ratio", "below": 0.9, "of": "one"},
    "tracking": "none",
    "name": "small",
}


@pytest.fixture(scope="session")
def small() -> engine.Sweep:
    return engine.sweep(**VALUES)


@pytest.fixture(scope="session")
def result(small: engine.Sweep, tmp_path_factory: pytest.TempPathFactory) -> engine.Result:
    folder: Path = tmp_path_factory.mktemp("api") / "out"
    return engine.run(small, out=folder, local=True, progress=False)
