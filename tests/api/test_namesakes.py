"""A package of the user's that is called `analysis`, beside a script or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from engine.api.namesakes import OURS, make_room


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A process in which nothing called `analysis` was imported yet."""
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_of(name)}
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in filter(_is_of, list(sys.modules)):
        del sys.modules[name]
    sys.modules.update(before)


def _is_of(name: str) -> bool:
    return name.split(".")[0] == "analysis"


def theirs(folder: Path, **files: str) -> None:
    (folder / "analysis").mkdir()
    for name, text in {"__init__": "", **files}.items():
        (folder / "analysis" / f"{name}.py").write_text(text)


def test_theirs_stays_and_what_it_lacks_is_ours(fresh: Path) -> None:
    theirs(fresh, mine="ANSWER = 42\n")
    make_room()
    make_room()
    assert import_module("analysis.mine").ANSWER == 42
    assert import_module("analysis.theory.discrete").__file__ == str(OURS / "theory/discrete.py")
    with pytest.raises(ModuleNotFoundError):
        import_module("analysis.no_such")


def test_a_part_of_the_same_name_is_refused_and_nothing_of_theirs_is_run(fresh: Path) -> None:
    theirs(fresh, __init__="raise SystemExit", report="")
    with pytest.raises(ImportError, match=r"its own analysis\.report; give it another name"):
        make_room()


def test_a_function_of_the_same_name_is_not_overwritten(fresh: Path) -> None:
    theirs(fresh, __init__="def report(): ...\n")
    make_room()
    with pytest.raises(ImportError, match=r"its own analysis\.report; "):
        import_module("analysis.report.page")
    assert callable(import_module("analysis").report)


def test_a_script_of_that_name_is_told(fresh: Path) -> None:
    (fresh / "analysis.py").write_text("raise SystemExit")
    with pytest.raises(ImportError, match=r"analysis\.py is found where Ouroboros looks"):
        make_room()


def test_ours_alone_changes_nothing() -> None:
    finders = list(sys.meta_path)
    make_room()
    assert sys.meta_path == finders
