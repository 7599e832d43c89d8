"""An output of the version before rows were typed: it is read, verified, reported and continued to
the numbers that version comes to.

`old_output/` was made by it: a closed form in blocks, a small VAE with its files and one lineage of
it that failed, a lineage that a finding ended.  `expected.json` is what it makes of the same
experiments two generations further.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis.frame.rows import from_store
from analysis.report import page
from engine.experiment.sources import load
from engine.lineage.history import History, histories
from engine.running.failure import exit_code
from engine.spec import Sweep
from engine.status import ExitCode, FailureKind, Status
from engine.store.keys import metric_of
from engine.store.reader import UNASKED
from engine.store.store import Store
from tests.support.sweeps import resume

OLD = Path(__file__).parent / "old_output"
NAMES = ("closed", "vae", "finding")
FAILED = "24a354ce6c184780"


@pytest.fixture
def out(tmp_path: Path) -> str:
    return shutil.copytree(OLD / "out", tmp_path / "out").as_posix()


def sweep_of(name: str, out: str, further: int = 0) -> Sweep:
    found = load(OLD / f"{name}.yaml")
    return dataclasses.replace(found, out=out, generations=found.generations + further)


def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OLD / "expected.json").read_text())[name]
    return found


def without_ratios(values: Mapping[str, float]) -> dict[str, float]:
    """What was measured, but for what draws since then carry unasked."""
    return {key: value for key, value in values.items() if metric_of(key) != UNASKED}


def assert_same(history: History, old: dict[str, Any], generations: int) -> None:
    assert len(history.rows) == min(generations + 1, len(old["values"]))
    for row, values, fit, keys in zip(
        history.rows, old["values"], old["fit"], old["keys"], strict=False
    ):
        assert [row.model, row.draw] == keys
        assert without_ratios(row.values) == pytest.approx(values, rel=1e-5)
        assert dict(row.fit) == pytest.approx(fit, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_its_rows_are_read(name: str, out: str) -> None:
    sweep = sweep_of(name, out)
    found = histories(sweep, Store(out, repairs=False))
    assert set(found) == set(expected(name))
    for lineage, history in found.items():
        last = 0 if lineage == FAILED else sweep.generations
        assert_same(history, expected(name)[lineage], last)
    statuses = {history.status for history in found.values()}
    whole = {"closed": {Status.OK}, "vae": {Status.OK, Status.FAILED}}
    assert statuses == whole.get(name, {Status.QUOTA_UNFILLED})


def test_a_failure_without_a_kind_gets_one(out: str) -> None:
    failed = histories(sweep_of("vae", out), Store(out))[FAILED]
    assert failed.failure is not None and failed.failure.kind is FailureKind.BUG
    assert failed.reason.startswith("ValueError: the loss of replicate 1 is not a number (engine/")
    assert exit_code([failed]) == ExitCode.FAILED


def test_it_is_whole(out: str) -> None:
    rows, damage = Store(out).verify()
    assert rows == 18 and damage == []
    assert len(list(Store(out).lineages())) == 5


@pytest.mark.parametrize("name", NAMES)
def test_it_is_continued_to_the_same_numbers(name: str, out: str) -> None:
    before = {path: path.read_bytes() for path in Path(out).rglob("*.json")}
    sweep = sweep_of(name, out, further=2)
    known = {lineage: len(own.rows) for lineage, own in histories(sweep, Store(out)).items()}
    resume(sweep, Store(out))
    for lineage, history in histories(sweep, Store(out)).items():
        assert history.status == expected(name)[lineage]["status"]
        assert_same(history, expected(name)[lineage], sweep.generations)
        carry = [any(metric_of(key) == UNASKED for key in row.values) for row in history.rows]
        assert carry == [t >= known[lineage] for t in range(len(carry))], "only of new draws"
    kept = [path for path in before if path.parent.name not in ("lineages", "failures")]
    assert all(path.read_bytes() == before[path] for path in kept), "what is committed stays"
    assert Store(out).verify()[1] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_reported(name: str, out: str, tmp_path: Path) -> None:
    sweep = sweep_of(name, out)
    frame = from_store(sweep, progress=False)
    assert set(frame["lineage"]) == set(expected(name))
    written = page.write(sweep, tmp_path / "report", pictures=False)
    assert sweep.name in written.read_text()


def test_what_this_version_writes_of_its_rows_is_what_lies_there(out: str) -> None:
    """Row by row and key by key: the layout on disk has not changed, but for its number."""
    from engine.store.rows import SCHEMA, row_from_json
    from engine.store.seal import sealed, unsealed

    for path in [*Path(out).glob("*/*/row.json"), *Path(out).glob("blocks/*.json")]:
        data = path.read_bytes()
        value = unsealed(data)
        rows = value if isinstance(value, list) else [value]
        again = [row_from_json(row).to_json() for row in rows]
        assert [row.pop("schema") for row in again] == [SCHEMA] * len(rows)
        assert sealed(again if isinstance(value, list) else again[0]) == data
