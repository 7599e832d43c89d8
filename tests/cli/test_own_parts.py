"""`--parts`, $OUROBOROS_PARTS and installed packages on the command line: run, threshold, report,
parts.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import own
from tests.support.ouro import ROOT, ouro


@pytest.mark.parametrize("door", ["folder", pytest.param("package", marks=pytest.mark.slow)])
def test_own_parts_are_run_searched_and_reported(
    door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text(own.EXPERIMENT)
    words, source = ["own.yaml"], ROOT
    if door == "folder":
        words += ["--parts", str(own.folder(tmp_path / "my parts"))]
    else:  # PYTHONPATH of the process: the engine, and where the package is installed
        source = Path(f"{ROOT}:{own.package(tmp_path / 'installed')}")
    ran = ouro("run", *words, "--local", cwd=tmp_path, source=source, columns=200)
    assert ran.returncode == 0 and "all 4 lineages have an outcome" in ran.stdout, ran.stderr
    assert ("--parts" in ran.stdout) == (door == "folder"), "the line that says how to go on"
    answer = ouro("threshold", *words, "--local", "--json", cwd=tmp_path, source=source)
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["workflows"]
    if door == "folder":
        monkeypatch.setenv("OUROBOROS_PARTS", words.pop())
        words.pop()
    wrote = ouro("report", *words, "--no-pictures", cwd=tmp_path, source=source)
    assert wrote.returncode == 0, wrote.stderr
    (page,) = (tmp_path / "runs" / "own" / "report").glob("*.html")
    assert "jitter" in page.read_text() and "spread" in page.read_text()


def test_own_parts_are_listed_with_where_they_are_from(tmp_path: Path) -> None:
    folder = own.folder(tmp_path / "parts")
    (folder / "generators" / "bad.py").write_text("class Good: ...\n")
    listed = ouro("parts", "--parts", "parts", cwd=tmp_path, columns=300)
    assert listed.returncode == 0
    for name, file in (("jitter", "generators/jitter.py"), ("ring", "datasets/ring.py")):
        lines = listed.stdout.splitlines()
        (at,) = [i for i, line in enumerate(lines) if line.strip().startswith(f"{name} ")]
        assert lines[at + 1].strip() == f"from {folder / file}"
    assert " vae " in listed.stdout and "bad.py:1: bad.py holds no class Bad" in listed.stderr
    told = json.loads(ouro("parts", "--json", "--parts", "parts", cwd=tmp_path).stdout)
    assert told["metric"]["spread"]["origin"] == str(folder / "metrics" / "spread.py")
    assert told["metric"]["fid"]["origin"] == "engine"


def test_a_folder_that_holds_no_parts_is_bad_input(tmp_path: Path) -> None:
    refused = ouro("parts", "--parts", "nowhere", cwd=tmp_path)
    assert refused.returncode == 2 and "no such folder" in refused.stderr
