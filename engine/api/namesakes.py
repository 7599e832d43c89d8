"""A package `analysis` of the user's own, which Python finds before ours: beside a script, or where
a notebook runs.

Theirs stays what it is.  What it lacks is looked for in ours; where both have a part of one name,
neither can be meant by it, and theirs is named.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

NAME = "analysis"
OURS = Path(__file__).resolve().parents[2] / NAME


def make_room() -> None:
    """Let our package be found beside one of the user's; ImportError where that cannot be."""
    theirs = _found()
    if theirs is None or _FINDER in sys.meta_path:
        return
    folders = [Path(place) for place in theirs.submodule_search_locations or ()]
    if OURS in [folder.resolve() for folder in folders]:
        return
    if not folders:
        raise _hidden(str(theirs.origin), NAME)
    for name in _parts():
        for folder in folders:
            if (folder / name).is_dir() or (folder / f"{name}.py").is_file():
                raise _hidden(str(folder), f"{NAME}.{name}")
    sys.meta_path.insert(sys.meta_path.index(PathFinder) + 1, _FINDER)


def _found() -> ModuleSpec | None:
    there = sys.modules.get(NAME)
    return find_spec(NAME) if there is None else there.__spec__


def _parts() -> list[str]:
    return sorted(path.name for path in OURS.iterdir() if (path / "__init__.py").is_file())


def _hidden(theirs: str, name: str) -> ImportError:
    return ImportError(
        f"{theirs} is found where Ouroboros looks for its own {name}; give it another name"
    )


class _Ours(MetaPathFinder):
    """Asked after their package: for what it has not."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, name = fullname.rpartition(".")
        if package != NAME:
            return None
        theirs = sys.modules[NAME]
        if name in vars(theirs) and name in _parts():
            raise _hidden(str(theirs.__file__), fullname)
        return PathFinder.find_spec(fullname, [str(OURS)])


_FINDER = _Ours()
