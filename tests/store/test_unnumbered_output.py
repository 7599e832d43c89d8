"""An output of the version before rows had a schema number is read, continued to the numbers that
the same run from scratch gives, and what has other keys now is named; one of a newer version is
refused in a sentence.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from analysis.frame.rows import from_store
from engine.experiment.sources import load
from engine.lineage.recorded import changes
from engine.spec import Sweep
from engine.store.keys import metric_of
from engine.store.reader import UNASKED
from engine.store.rows import SCHEMA, Newer
from engine.store.seal import sealed, unsealed
from engine.store.store import Store
from tests.support.commands import ouro
from tests.support.sweeps import lineages, results, resume, run

OLD = Path(__file__).parent / "unnumbered"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD / "out", tmp_path / "out"))


def sweep_of(name: str, out: Path, further: int = 0) -> Sweep:
    found = load(OLD / f"{name}.yaml")
    return dataclasses.replace(found, out=str(out), generations=found.generations + further)


def fits_of(sweep: Sweep) -> int:
    return sum(chain.fits for chain in run(sweep))


@pytest.mark.parametrize("name", ["gaussian", "kde", "regression"])
def test_it_is_continued_to_the_numbers_of_a_run_from_scratch(
    name: str, out: Path, tmp_path: Path
) -> None:
    sweep, scratch = sweep_of(name, out, 2), sweep_of(name, tmp_path / "scratch", 2)
    resume(sweep, Store(str(out)))
    run(scratch)
    continued, made = results(sweep), results(scratch)
    assert continued.keys() == made.keys()
    for key, row in made.items():
        there = continued[key]["values"]  # rows of old draws carry no ratio of variances
        asked = {name: v for name, v in row["values"].items() if metric_of(name) != UNASKED}
        assert {name: there[name] for name in asked} == pytest.approx(asked, rel=1e-9)
    assert Store(str(out)).verify()[1] == []


def test_keys_that_are_what_they_were_are_found(out: Path) -> None:
    sweep = sweep_of("gaussian", out)
    assert all(chain.complete() for chain in lineages(sweep)) and fits_of(sweep) == 0
    assert changes(sweep, Store(str(out))) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("kde", "2 lineages were made: bandwidth of generator kde is 2.0 now, not 2: one number"),
        ("regression", "1 lineage was made: noise of generator linear_regression only changes dra"),
    ],
)
def test_keys_that_are_others_now_are_named_with_the_reason(
    name: str, said: str, out: Path
) -> None:
    sweep = sweep_of(name, out)
    (line,) = changes(sweep, Store(str(out)))
    assert said in line
    run(sweep)
    assert changes(sweep, Store(str(out))) == []


def test_all_of_its_lineages_are_read_without_an_experiment(out: Path) -> None:
    assert from_store(str(out))["lineage"].nunique() == 5


@pytest.mark.parametrize("pattern", ["lineages/*", "blocks/*", "draws/*/row.json"])
def test_an_output_of_a_newer_version_is_refused(out: Path, pattern: str) -> None:
    for path in out.glob(pattern):
        value = unsealed(path.read_bytes())
        rows = value if isinstance(value, list) else [value]
        newer = [{**row, "schema": SCHEMA + 1} for row in rows]
        path.write_bytes(sealed(newer if isinstance(value, list) else newer[0]))
    before = {path: path.read_bytes() for path in out.rglob("*.json")}
    with pytest.raises(Newer, match=f"newer version of ouroboros .schema {SCHEMA + 1}"):
        Store(str(out)).verify()
    assert {path: path.read_bytes() for path in out.rglob("*.json")} == before, "nothing is moved"
    said = ouro("verify", str(OLD / "gaussian.yaml"), "--out", str(out))
    assert said.code == 2 and "install that version" in said.err
