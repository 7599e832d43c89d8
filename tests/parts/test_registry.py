"""Reading parts from their source: what works, and the one error of what does not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.experiment import values
from engine.registry import (
    KINDS,
    Description,
    Parameter,
    PartError,
    broken,
    describe,
    described,
    names,
)
from engine.spec import Part
from tests.support.ouro import ROOT, ouro

GOOD = '''"""A generator that was written by a stranger."""

RATE = 2e-3
KINDS = ("points",)


class Base:
    COST = "tiny"

    def __init__(self, *, rate: float = RATE, steps: int = 2 * 50) -> None: ...


class Mine(Base):
    ACCEPTS = (*KINDS, "images") if False else KINDS + ("images",)
    CONTINUES = "warm"
    KNOWS: tuple[str, ...] = ("density",)
    NOT_READ = open
'''


def read(folder: Path, text: str, name: str = "mine") -> Description:
    file = folder / f"{name}.py"
    file.write_text(text)
    return described("generator", name, file)


def test_named_constants_expressions_and_inheritance_are_read(tmp_path: Path) -> None:
    text = GOOD.replace('(*KINDS, "images") if False else ', "").replace(
        'CONTINUES = "warm"', "CONTINUES = True"
    )
    part = read(tmp_path, text)
    assert part.parameters["rate"].default == 2e-3 and part.parameters["steps"].default == 100
    assert part.constants["ACCEPTS"] == ("points", "images")
    assert part.constants["COST"] == "tiny" and part.constants["KNOWS"] == ("density",)
    assert "NOT_READ" not in part.constants, "what no plan reads may be anything"
    assert part.trait("CONTINUES", {}) is True and part.trait("CONDITIONAL", {}) is False


FAULTS = {
    "a default that must be run": (
        "import os\n\n\nclass Mine:\n    def __init__(self, *, n: int = os.getpid()): ...\n",
        5,
        "'n' cannot be read without running",
    ),
    "a parameter that is not keyword-only": (
        "class Mine:\n    def __init__(self, n: int = 3): ...\n",
        2,
        "'n' is not keyword-only",
    ),
    "parameters without names": (
        "class Mine:\n    def __init__(self, **rest: int): ...\n",
        2,
        "hides the names",
    ),
    "a class of another name": ("class Yours:\n    pass\n", 1, "holds no class Mine; it has Yours"),
    "no class": ("X = 1\n", 1, "it has no class"),
    "a constant that must be run": (
        "class Mine:\n    ACCEPTS = tuple(sorted('ab'))\n",
        2,
        "ACCEPTS cannot be read",
    ),
    "not Python": ("class Mine:\n  def\n", 2, "not Python"),
    "a trait left to a parameter that is not there": (
        'class Mine:\n    CONTINUES = "warm"\n',
        1,
        "left to the parameter 'warm'",
    ),
    "a nested part under another key": (
        "class Mine:\n    def __init__(self, *, wraps: PartDict): ...\n",
        2,
        "not called after a kind of part",
    ),
    "constants defined by each other": (
        "A = B\nB = A\n\n\nclass Mine:\n    def __init__(self, *, n: int = A): ...\n",
        6,
        "it is defined by itself",
    ),
    "classes that inherit from each other": (
        "class Mine(Other): ...\n\n\nclass Other(Mine): ...\n",
        1,
        "inherits from itself",
    ),
    "a key that cannot be one": ("class Mine:\n    TINY = {[1]: 2}\n", 2, "unhashable"),
    "others that are no mapping": ("X = 3\n\n\nclass Mine:\n    TINY = {**X}\n", 5, "{**X}"),
    "a trait that JSON cannot hold": ("class Mine:\n    ACCEPTS = {'points'}\n", 2, "tuples"),
    "TINY that is no mapping": ("class Mine:\n    TINY = 3\n", 2, "TINY is 3, and should be a map"),
    "ACCEPTS that is one text": (
        "class Mine:\n    ACCEPTS = 'points'\n",
        2,
        'a tuple of texts, such as ("points",)',
    ),
    "NEEDS of an unknown word": ("class Mine:\n    NEEDS = {'data.taste': {}}\n", 2, "data.labels"),
    "NEEDS without cases": ("class Mine:\n    NEEDS = {'data.labels': 3}\n", 2, "NEEDS is"),
    "KNOWS of an unknown word": ("class Mine:\n    KNOWS = ('taste',)\n", 2, "density"),
    "HALVES of one": ("class Mine:\n    HALVES = ('halvings',)\n", 2, "a parameter and a number"),
    "COST of an unknown word": ("class Mine:\n    COST = 'much'\n", 2, '"tiny", "small" or'),
    "SIZE of one number": ("class Mine:\n    SIZE = 100\n", 2, "(100, 20)"),
    "REVISION of nothing": ("class Mine:\n    REVISION = 0\n", 2, "from 1 on"),
    "CONDITIONAL of another type": ("class Mine:\n    CONDITIONAL = 1\n", 2, "True, False"),
    "a default that JSON cannot hold": (
        "class Mine:\n    def __init__(self, *, n: bytes = b'x'): ...\n",
        2,
        "the default of 'n' cannot be read",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_breaks_a_rule_is_told_by_file_line_rule_and_mend(
    fault: str, tmp_path: Path
) -> None:
    text, line, rule = FAULTS[fault]
    with pytest.raises(PartError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'mine.py'}:{line}: ")
    assert rule in str(error.value) and error.value.mend


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_bytes(b"# \xe9\nclass Mine: ...\n")
    with pytest.raises(PartError, match="not text in UTF-8"):
        described("generator", "mine", file)


def test_every_part_of_the_house_can_be_read() -> None:
    for kind in KINDS:
        assert names(kind) and not broken(kind)


@pytest.mark.parametrize(
    ("part", "params", "expected"),
    [("vae", {}, False), ("vae", {"warm_start": True}, True), ("gaussian", {}, False)],
)
def test_a_trait_may_be_left_to_a_parameter(
    part: str, params: dict[str, bool], expected: bool
) -> None:
    assert describe("generator", part).trait("CONTINUES", params) is expected


def test_one_broken_part_leaves_the_others_alone(tmp_path: Path) -> None:
    """In a copy of the package: `ouro parts` lists the rest, and says what is wrong with it."""
    house = tmp_path
    shutil.copytree(ROOT / "engine", house / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    bad = house / "engine" / "generators" / "mine.py"
    bad.write_text("class Yours:\n    pass\n")
    listed = ouro("parts", cwd=house, source=house)
    assert listed.returncode == 0 and "vae" in listed.stdout and "mine" not in listed.stdout
    assert f"{bad}:1: mine.py holds no class Mine" in listed.stderr
    asked = ouro("parts", "generator", "mine", cwd=house, source=house)
    assert asked.returncode == 2 and "holds no class Mine" in asked.stderr
    (house / "uses.yaml").write_text(
        "base: {dataset: gaussian, generator: mine, n_real: 9}\ngenerations: 1\n"
    )
    planned = ouro("plan", "uses.yaml", cwd=house, source=house)
    assert planned.returncode == 2 and "holds no class Mine" in planned.stderr


def test_a_type_that_no_plan_knows_is_told_where_its_parameter_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters = {"size": Parameter("size", "Size", 3, required=False)}
    mine = Description("generator", "gaussian", "", parameters, {})
    monkeypatch.setattr(values, "describe", lambda kind, name: mine)
    values.checked_part.cache_clear()
    part, complaints = values.checked_part("generator", '{"name": "gaussian", "size": 4}')
    values.checked_part.cache_clear()
    assert part is None and "its type Size cannot be read" in complaints[0][0]


@pytest.mark.parametrize(
    ("name", "params", "by_class"),
    [
        ("vae", {}, True),
        ("vae", {"conditional": True}, True),
        ("vae", {"conditional": False}, False),
        ("linear_regression", {}, True),
        ("gaussian", {}, False),
        ("kde", {}, False),
    ],
)
def test_a_generator_draws_by_class_where_its_kind_can_and_it_is_not_switched_off(
    name: str, params: dict[str, Any], by_class: bool
) -> None:
    assert Part("generator", name, params).conditional is by_class
