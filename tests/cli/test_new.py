"""`ouro new` writes an experiment file that runs as it is, and the wheel holds the experiments."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.experiment.sources import shipped
from tests.support.commands import ouro
from tests.support.ouro import ROOT, environment


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_experiment_runs_as_it_is() -> None:
    wrote = ouro("new", "mine")
    assert wrote.code == 0 and "ouro plan mine.yaml" in wrote.out
    text = Path("mine.yaml").read_text()
    assert text.startswith("# Question:") and "Expect:" in text and "Cost:" in text
    planned = ouro("plan", "mine.yaml", "--json").json
    assert (planned["name"], planned["cells"], planned["refused"]) == ("mine", 6, [])
    ran = ouro("run", "mine.yaml", "--local", "--set", "tracking=none")
    assert ran.code == 0, ran
    assert ouro("status", "runs/mine", "--json").json["statuses"] == {"ok": 18}


def test_it_never_overwrites() -> None:
    Path("mine.yaml").write_text("# mine")
    for name in ("mine", "mine.yaml"):
        refused = ouro("new", name)
        assert refused.code == 2 and "mine.yaml is there already" in refused.err
    assert Path("mine.yaml").read_text() == "# mine"
    assert ouro("new", "no/such/folder").code == 4


def test_it_begins_with_another_experiment() -> None:
    assert ouro("new", "mine", "--from", "quickstart").code == 0
    assert Path("mine.yaml").read_bytes() == shipped()["quickstart"].read_bytes()
    unknown = ouro("new", "other", "--from", "quikstart")
    assert unknown.code == 2 and "did you mean quickstart" in unknown.err
    assert not Path("other.yaml").exists()


def test_those_that_come_with_the_engine_are_listed() -> None:
    said = ouro("new", "--list").out
    for file in (ROOT / "experiments").glob("*.yaml"):
        assert file.stem in said
    assert "how much synthetic data can replace real digits" in said
    assert ouro("new").code == 2


@pytest.mark.slow
def test_the_wheel_runs_an_experiment_by_name_in_an_empty_folder(here: Path) -> None:
    """Built and unpacked as it would be installed; the libraries are those of this environment."""
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    copy = here / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if not name.startswith("tests/"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*build, "-q", "-w", str(here), str(copy)], check=True, cwd=here)
    with zipfile.ZipFile(next(here.glob("ouroboros_engine-*.whl"))) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
        wheel.extractall(here / "site")
    assert {top for top in tops if not top.endswith(".dist-info")} == {"analysis", "engine"}
    empty = here / "empty"
    empty.mkdir()

    def installed(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine.cli", *words]
        settings = environment(here / "site")
        settings |= {"OUROBOROS_CACHE": os.environ.get("OUROBOROS_CACHE", str(here / "cache"))}
        return subprocess.run(
            command, cwd=empty, env=settings, capture_output=True, text=True, check=False
        )

    planned = installed("plan", "quickstart")
    assert planned.returncode == 0 and "runs/quickstart" in planned.stdout, planned.stderr
    wrong = installed("plan", "quikstart")
    assert wrong.returncode == 2 and "did you mean quickstart" in wrong.stderr
    ran = installed("run", "quickstart", "--local", "--set", "seeds=1", "--set", "generations=1")
    assert ran.returncode == 0, ran.stderr
    assert "16 of 16 generations" in installed("status", "runs/quickstart").stdout
    assert installed("new", "mine").returncode == 0
    assert installed("plan", "mine.yaml").returncode == 0
