"""Contracts tried on parts with one mistake each: the rule that it breaks is named, with file, line
and mend.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import registry
from engine.contracts.check import check_folder
from engine.contracts.verdicts import Verdict
from engine.outside.places import VARIABLE
from tests.support import own
from tests.support.ouro import ouro


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, "")
    yield
    monkeypatch.undo()
    registry.refresh()


def broken(folder: Path) -> list[Verdict]:
    return [verdict for verdict in check_folder(folder) if verdict.fault]


def test_sound_parts_pass_every_rule(tmp_path: Path) -> None:
    found = list(check_folder(own.folder(tmp_path)))
    assert not [str(verdict) for verdict in found if verdict.fault]
    assert {verdict.name for verdict in found} == {"jitter", "spread", "ring"} and len(found) > 40


POLICY = '''"""Trains on what the newest generation has drawn, and on real rows beside it."""

from engine.parts import Pick


class Half:
    def recipe(self, sizes, t):
        return (Pick((t - 1,), sizes[t - 1]),)

    def needs(self, n_real):
        return n_real
'''
# a mistake: the file, what stands there, what instead, the rule, a word of the fault
MISTAKES = {
    "n - 1 rows": (
        "generators/jitter.py",
        "size=n)]",
        "size=n - 1)]",
        "draws exactly n",
        "it drew 29",
    ),
    "save and load differ": (
        "generators/jitter.py",
        'file["x"]',
        'file["x"] + 1',
        "load is",
        "other",
    ),
    "global numpy": (
        "generators/_noise.py",
        "rng.normal",
        "np.random.normal",
        "the same stream draws",
        "differ",
    ),
    "global numpy, unused": (
        "generators/jitter.py",
        "self.x_ = data.x\n",
        "self.x_ = data.x\n        np.random.rand()\n",
        "draws from no global",
        "numpy.random",
    ),
    "leaves the process otherwise": (
        "generators/jitter.py",
        "self.x_ = data.x\n",
        "import os, torch\n        self.x_ = data.x\n        os.chdir('/')\n"
        "        torch.set_default_dtype(torch.float64)\n",
        "leaves the process",
        "the working directory, torch's default type",
    ),
    "writes into its labels": (
        "generators/jitter.py",
        '("points",)',
        '("points",)\n    CONDITIONAL = True',
        "as the data have them",
        "lack labels",
    ),
    "writes into its input": (
        "generators/jitter.py",
        "self.x_ = data.x",
        "data.x[0] = 0\n        self.x_ = data.x",
        "fit leaves its input",
        "written to",
    ),
    "another shape": ("generators/jitter.py", "self.scale * bias\n", "1\n        x", "can be", ""),
    "raises": ("generators/jitter.py", "return {}", "return {}[0]", "fits, and", "KeyError: 0"),
    "reports texts": (
        "generators/jitter.py",
        "return {}",
        "return {'a': 'b'}",
        "fits",
        "a of the report is 'b', no number",
    ),
    "not finite": (
        "generators/_noise.py",
        "return x +",
        "return 0 * x + np.nan +",
        "draws what is",
        "nan",
    ),
    "same for every stream": ("generators/jitter.py", "bias is None else", "bias else 0 *", "", ""),
    "labels of its own": (
        "generators/jitter.py",
        "scale, rng))",
        "scale, rng), np.zeros(n, int))",
        "as the data have them",
        "the rows have labels",
    ),
    "TINY that is none": (
        "generators/jitter.py",
        "TINY = {}",
        "TINY = {'size': 3}",
        "TINY",
        "'size'",
    ),
    "a type nobody knows": (
        "generators/jitter.py",
        "scale: NonNegativeFloat",
        "scale: np.ndarray",
        "types",
        "np.ndarray",
    ),
    "data that nobody gives": (
        "generators/jitter.py",
        '("points",)',
        '("sounds",)',
        "accepts data",
        "sounds",
    ),
    "knows what it has not": (
        "generators/jitter.py",
        "TINY = {}",
        "TINY = {}\n    KNOWS = ('density',)",
        "KNOWS",
        "no log_density",
    ),
    "keys of another name": (
        "metrics/spread.py",
        'return {"spread"',
        'return {"width"',
        "keys that it declares",
        "the key 'width'",
    ),
    "a key that is not declared": (
        "metrics/spread.py",
        'KEYS = {"spread": ',
        'KEYS = {"spread/width": ',
        "keys that it declares",
        "the key 'spread'",
    ),
    "a number of nan": (
        "metrics/spread.py",
        "spread_of(synthetic.x)",
        "np.nan_to_num(spread_of(synthetic.x))",
        "makes no number",
        "spread",
    ),
    "a metric that draws": (
        "metrics/spread.py",
        "/ self.real_,",
        "/ self.real_ * np.random.rand(),",
        "same values",
        "",
    ),
    "a metric that writes": (
        "metrics/spread.py",
        "def spread_of(x):\n",
        "def spread_of(x):\n    x[0] = 0\n",
        "prepares",
        "written to",
    ),
    "an empty answer": ("metrics/spread.py", "return {", "return {} and {", "answers", "no key"),
    "held out like trained": (
        "datasets/ring.py",
        "default_rng(10**6)",
        "default_rng()",
        "holds out the same",
        "differ",
    ),
    "traits untold": ("datasets/ring.py", ".of(traits_of(self))", "", "", "do not say what they"),
    "other replicates": (
        "datasets/ring.py",
        'REPLICATES = "replicates"',
        "REPLICATES = 3",
        "as it declares them",
        "REPLICATES is 3, and x is an array [60, 2, 2]",
    ),
    "asks for too much": (
        "policies/half.py",
        "sizes[t - 1]),)",
        "2 * sizes[t - 1]),)",
        "fills every",
        "200 rows",
    ),
    "asks for what is to come": (
        "policies/half.py",
        "(t - 1,)",
        "(t,)",
        "fills every",
        "not there yet",
    ),
    "trains on nothing": ("policies/half.py", "sizes[t - 1]),)", "0),)", "fills every", "nothing"),
    "no class": ("policies/half.py", "class Half", "class Other", "can be read", "no class Half"),
    "a name that is taken": ("generators/vae.py", "", "", "can be read", "in the engine"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_file_line_rule_and_mend(mistake: str, tmp_path: Path) -> None:
    path, before, after, rule, fault = MISTAKES[mistake]
    own.folder(tmp_path)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "half.py").write_text(POLICY)
    noise = tmp_path / "generators" / "_noise.py"
    noise.write_text(noise.read_text().replace("SCALE", "import numpy as np\n\nSCALE", 1))
    file = tmp_path / path
    text = file.read_text() if file.exists() else "class Vae: ...\n"
    assert before in text
    file.write_text(text.replace(before, after, 1))
    found = broken(tmp_path)
    assert any(rule in v.rule and fault in v.fault for v in found), [str(v) for v in found]
    assert all(v.file.is_file() and v.line >= 1 and v.mend for v in found)


def test_the_command_says_one_line_per_rule_and_exits_by_what_it_found(tmp_path: Path) -> None:
    own.folder(tmp_path / "parts", spread=own.SPREAD.replace('return {"spread"', 'return {"width"'))
    checked = ouro("parts", "check", "parts", cwd=tmp_path, columns=200)
    assert checked.returncode == 2, checked.stderr
    assert "generator jitter: the same stream draws the same bits, on points: ok" in checked.stdout
    line = own.SPREAD.splitlines().index(
        "    def __call__(self, synthetic, generator, around, rng):"
    )
    place = tmp_path / "parts" / "metrics" / "spread.py"
    said = "the metric spread, __call__: it returned the key 'width'; call keys spread, spread/..."
    assert f"{place}:{line + 1}: {said}" in checked.stdout
    own.folder(tmp_path / "parts")
    assert ouro("parts", "check", "parts", cwd=tmp_path).returncode == 0
    nothing = ouro("parts", "check", "nowhere", cwd=tmp_path)
    assert nothing.returncode == 2 and "no such folder" in nothing.stderr
