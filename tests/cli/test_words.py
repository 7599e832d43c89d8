"""How much `ouro` says, and what a shell completes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.cli import completion
from tests.support.commands import GAUSSIANS, ouro
from tests.support.ouro import environment


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("few.yaml").write_text(GAUSSIANS)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_quiet_says_only_how_it_ended() -> None:
    said = ouro("run", "few.yaml", "--local", "-q")
    assert said.code == 0 and said.err == ""
    (line,) = said.out.split("\n\n")[0].strip().splitlines()
    assert line.startswith("all 2 lineages have an outcome, after ")
    found = json.loads(ouro("run", "few.yaml", "--local", "--quiet", "--json").out)
    assert found["exit"] == 0, "machines are told all the same"
    refused = ouro("run", "few.yaml", "--local", "-q", "--set", "seeds=none")
    assert refused.code == 2 and "seeds" in refused.err, "an error is always said"


@pytest.mark.usefixtures("here")
def test_verbose_says_every_generation_that_was_made() -> None:
    said = ouro("run", "few.yaml", "--local", "-v")
    assert said.code == 0
    last = [line for line in said.out.splitlines() if ": generation 2, moments" in line]
    assert {line.split(":")[0] for line in last} == {"replace 1, seed 0", "accumulate, seed 0"}
    assert ": generation" not in ouro("run", "few.yaml", "--local", "-v").out, "none was made"


@pytest.mark.usefixtures("here")
def test_quiet_and_verbose_are_one_of_two() -> None:
    refused = ouro("run", "few.yaml", "-q", "-v")
    assert refused.code == 2 and "one of the two" in refused.err
    assert ouro("threshold", "few.yaml", "--quiet", "--verbose").code == 2


@pytest.mark.usefixtures("here")
def test_files_outputs_and_parts_are_completed() -> None:
    Path("runs/one").mkdir(parents=True)
    Path("notes.txt").touch()
    Path(".hidden").mkdir()
    assert completion.experiments("quick") == ["quickstart"]
    assert completion.experiments("few") == ["few.yaml"]
    assert completion.experiments("runs/") == ["runs/one/"]
    assert {"few.yaml", "runs/", "quickstart"} < {*completion.experiments("")}
    assert not {"notes.txt", ".hidden/"} & {*completion.experiments("")}
    assert completion.experiments("nowhere/") == []
    assert completion.parts("ddp") == ["ddpm"] and "metric" in completion.parts("me")


def test_a_shell_asks_and_is_answered(here: Path) -> None:
    asked = {"_OURO_COMPLETE": "complete_bash", "COMP_WORDS": "ouro status fe", "COMP_CWORD": "2"}
    program = "import sys; sys.argv = ['ouro']; from engine.cli.main import main; main()"
    said = subprocess.run(
        [sys.executable, "-c", program],
        cwd=here,
        env=environment() | asked,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == ["few.yaml"]
