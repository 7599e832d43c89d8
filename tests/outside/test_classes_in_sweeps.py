"""Classes of a script, handed to Python: run, searched and reported like parts of a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import own
from tests.support.ouro import environment

SCRIPT = """
from pathlib import Path

from analysis.report.page import write
from engine.cli.run import run_sweep
from engine.cli.threshold import search
from engine.console.errors import console
from engine.experiment.reader import read
from engine.experiment.yaml import parse
from engine.registry import given
from engine.running.session import Options

if __name__ == "__main__":
    values = parse(EXPERIMENT).values
    values["base"] |= {
        "dataset": given("dataset", Ring(replicates=4)),
        "generator": given("generator", Jitter(scale=0.5)),
    }
    values["metrics"] = [given("metric", Spread)]
    sweep = read(values, name="own", overrides=[f"out={Path('out').absolute()}"])
    how = Options(local=True, cpus=2, silent=True)
    codes = [run_sweep(sweep, console(machine=True), how)]
    codes.append(search(sweep, console(machine=True), how))
    write(sweep, Path("page"), pictures=False)
    print([int(code) for code in codes])
"""


def script() -> str:
    """One file, with the three classes as somebody would write them in a notebook."""
    texts = [own.NOISE, own.JITTER, own.SPREAD, own.RING]
    held = "\n".join(texts).replace("from __future__ import annotations\n", "")
    held = held.replace("from ._noise import SCALE, noisy\n", "")
    head = "from __future__ import annotations\n"
    return f"{head}{held}\nEXPERIMENT = {own.EXPERIMENT!r}\n{SCRIPT}"


@pytest.mark.slow
def test_classes_of_a_script_are_run_searched_and_reported(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(script())
    ran = subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert ran.stdout.splitlines()[-1:] == ["[0, 0]"], ran.stdout + ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines()[:-1]]
    assert all(report["exit"] == 0 for report in found) and len(found) == 2
    (page,) = (tmp_path / "page").glob("*.html")
    assert "jitter" in page.read_text() and "spread" in page.read_text()
