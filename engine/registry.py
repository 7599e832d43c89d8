"""The parts an experiment can be made of, and how they are found.

The file name is the registry: `{name: kde, bandwidth: 0.3}` is class `Kde` in
`engine/generators/kde.py`.  What is in the file is read by engine/_signatures.py.
"""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from pathlib import Path
from typing import Any

from engine._signatures import KINDS, Description, Parameter, PartError, class_name, described

__all__ = [
    "KINDS",
    "Description",
    "Parameter",
    "PartError",
    "broken",
    "class_name",
    "describe",
    "described",
    "make",
    "names",
    "readable",
    "unknown",
]

# ---- finding them --------------------------------------------------------------------------------


@cache
def names(kind: str) -> list[str]:
    """All parts of a kind: the files of its folder."""
    folder = Path(__file__).parent / KINDS[kind]
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))


def unknown(kind: str, name: str) -> str:
    """The message for a name that is not there."""
    near = difflib.get_close_matches(name, names(kind), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"no {kind} is called {name!r}{hint} (there are: {', '.join(names(kind))})"


def make(kind: str, name: str, **params: Any) -> Any:
    """The part, constructed.

    KeyError for an unknown name, ValueError or TypeError for bad parameters.
    """
    if name not in names(kind):
        raise KeyError(unknown(kind, name))
    found = importlib.import_module(f"engine.{KINDS[kind]}.{name}")
    return getattr(found, class_name(name))(**params)


# ---- reading them --------------------------------------------------------------------------------


@cache
def describe(kind: str, name: str) -> Description:
    """The part's description, without importing it.

    KeyError with the list of names when there is no such part; PartError when its file breaks a
    rule.
    """
    if name not in names(kind):
        raise KeyError(unknown(kind, name))
    return described(kind, name, Path(__file__).parent / KINDS[kind] / f"{name}.py")


def broken(kind: str) -> dict[str, PartError]:
    """The parts of a kind whose files break a rule, by name: the others are not touched by it."""
    found = {}
    for name in names(kind):
        try:
            describe(kind, name)
        except PartError as error:
            found[name] = error
    return found


def readable(kind: str) -> list[str]:
    """The names of the parts that can be read."""
    bad = broken(kind)
    return [name for name in names(kind) if name not in bad]
