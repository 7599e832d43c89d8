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
from engine.console.text import console
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


ON_RAY = """
import analysis.mine
import engine

if __name__ == "__main__":
    held = {"dataset": Ring(replicates=4), "generator": Jitter(scale=0.5), "metrics": [Spread]}
    sweep = engine.sweep(**held, n_real=40, seeds=4, generations=2, tracking="none", name="own")
    there, here = engine.run(sweep, out="ray", cpus=2), engine.run(sweep, out="local", local=True)
    assert there.complete and not len(there.failures), there.failures
    assert there.frame().equals(here.frame()) and there.frame()["spread"].notna().all()
    print(analysis.mine.ANSWER, there)
"""


def script(end: str = SCRIPT) -> str:
    """One file, with the three classes as somebody would write them in a notebook."""
    texts = [own.NOISE, own.JITTER, own.SPREAD, own.RING]
    held = "\n".join(texts).replace("from __future__ import annotations\n", "")
    held = held.replace("from ._noise import SCALE, noisy\n", "")
    head = "from __future__ import annotations\n"
    return f"{head}{held}\nEXPERIMENT = {own.EXPERIMENT!r}\n{end}"


def ran(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run it as a script in a folder, with a folder `analysis` of the user's beside it."""
    (folder / "script.py").write_text(text)
    (folder / "analysis").mkdir()
    (folder / "analysis" / "__init__.py").touch()
    (folder / "analysis" / "mine.py").write_text("ANSWER = 42\n")
    command = [sys.executable, str(folder / "script.py")]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


@pytest.mark.slow
def test_classes_of_a_script_are_run_searched_and_reported(tmp_path: Path) -> None:
    end = ran(tmp_path, script())
    assert end.stdout.splitlines()[-1:] == ["[0, 0]"], end.stdout + end.stderr
    found = [json.loads(line) for line in end.stdout.splitlines()[:-1]]
    assert all(report["exit"] == 0 for report in found) and len(found) == 2
    (page,) = (tmp_path / "page").glob("*.html")
    assert "jitter" in page.read_text() and "spread" in page.read_text()


@pytest.mark.slow
def test_classes_of_a_script_reach_two_workers_of_ray_from_python(tmp_path: Path) -> None:
    end = ran(tmp_path, script(ON_RAY))
    assert end.stdout.startswith("42 <Result own: 4 lineages (4 ok), out ray>"), end.stderr
    assert end.stderr == "", "nothing is printed unless asked"
