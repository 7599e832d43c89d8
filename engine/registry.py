"""The parts an experiment can be made of, and how they are found.

The file name is the registry: `{name: kde, bandwidth: 0.3}` is class `Kde` in
`engine/generators/kde.py`, or in `generators/kde.py` of a folder or package of one's own
(engine/outside/places.py).  What is in the file is read by engine/_signatures.py.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import Any

from engine import commands
from engine._descriptions import Key, is_declared, keys_of
from engine._literals import module
from engine._signatures import (
    KINDS,
    Description,
    Parameter,
    PartError,
    class_name,
    described,
    read,
)
from engine.files import JsonObject
from engine.outside.found import Found, found
from engine.outside.given import parameters_of
from engine.outside.loading import PREFIX, load
from engine.outside.places import VARIABLE, Place, of_class, search_path
from engine.parts import PartDict
from engine.seams.kept import kept
from engine.seams.seam import Who, behind

__all__ = [
    "KINDS",
    "Description",
    "Parameter",
    "PartError",
    "adopt",
    "broken",
    "clash",
    "class_name",
    "command_lines",
    "describe",
    "described",
    "faults",
    "given",
    "key_of",
    "make",
    "names",
    "readable",
    "receive",
    "refresh",
    "travelling",
    "unchanged",
    "unknown",
    "where",
]

Address = tuple[str, str]  # kind and name

_classes: dict[Address, Place] = {}  # that the Python API was given
_received: list[Place] | None = None  # what this worker was sent: the only parts of one's own here
_looked: dict[
    str, Found
] = {}  # by the variable that names folders: what lay in them, and elsewhere
_read: dict[Address, Description] = {}  # of all parts, until `refresh`
_imported: dict[str, str] = {}  # modules of installed packages: the digest of what was imported


# ---- finding them --------------------------------------------------------------------------------


@cache
def _house(kind: str) -> list[str]:
    """The parts of the engine itself: the files of its folder."""
    folder = Path(__file__).parent / KINDS[kind]
    return sorted(p.stem for p in folder.glob("*.py") if not p.stem.startswith("_"))


def _own() -> Found:
    """The parts of one's own, looked for once until `refresh`."""
    named = os.environ.get(VARIABLE, "")
    if named not in _looked:
        house = {(kind, name): "the engine" for kind in KINDS for name in _house(kind)}
        _looked[named] = found(search_path(), _classes.values(), house, _received)
    return _looked[named]


def refresh() -> None:
    """Look for parts of one's own again, and into their files: as they are now."""
    _looked.clear()
    _read.clear()
    _who.cache_clear()


def names(kind: str) -> list[str]:
    """All parts of a kind, those of one's own too."""
    own = [name for of, name in _own().places if of == kind]
    return sorted({*_house(kind), *own}) if own else _house(kind)


def unknown(kind: str, name: str) -> str:
    """The message for a name that is not there."""
    near = difflib.get_close_matches(name, names(kind), 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    own = "" if near else "; parts of your own are found by --parts DIR"
    return f"no {kind} is called {name!r}{hint} (there are: {', '.join(names(kind))}){own}"


def command_lines(kind: str, name: str, params: Mapping[str, Any]) -> dict[str, str]:
    """The command lines that these parameters would have a part run, by parameter."""
    known = describe(kind, name).parameters
    lines = {own.name for own in known.values() if _runs(own.annotation)}
    return {k: v for k, v in params.items() if k in lines}


def _runs(annotation: str) -> bool:
    """Whether the type of a parameter is that of a command line."""
    return any(line in annotation for line in commands.LINES)


def make(kind: str, name: str, **params: Any) -> Any:
    """The part, constructed.

    KeyError for an unknown name, ValueError or TypeError for bad parameters, NotAllowed for command
    lines that nobody has allowed to be run.
    """
    place = _own().places.get((kind, name))
    if place is None and name not in _house(kind):
        raise KeyError(unknown(kind, name))
    commands.refuse(kind, name, command_lines(kind, name, params))
    if place is None:
        return _behind(kind, name)(**params)
    with kept():  # its file runs here for the first time
        return _behind(kind, name)(**params)


def _behind(kind: str, name: str) -> Any:
    """The class of a part, behind the seam."""
    place = _own().places.get((kind, name))
    if place is not None:
        return behind(_class_of(place), _who(kind, name, own=True))
    held = importlib.import_module(f"engine.{KINDS[kind]}.{name}")
    return behind(getattr(held, class_name(name)), _who(kind, name, own=False))


@cache
def _who(kind: str, name: str, own: bool) -> Who:
    """A part as its wrong answers blame it."""

    @cache
    def declares(key: str) -> bool:
        return is_declared(key, keys_of(describe(kind, name)))

    return Who(kind, name, partial(where, kind, name), declares, own, _empty)


def _empty(kind: str, name: str) -> Any:
    """A part whose attributes come later."""
    cls = _behind(kind, name)
    return cls.__new__(cls)


def _class_of(place: Place) -> Any:
    """The class of a part of one's own, from the text that its description was read from."""
    describe(place.kind, place.name)  # PartError
    held = _installed(place) if place.module else load(place.sources)
    return getattr(held, place.cls or class_name(place.name))


def _installed(place: Place) -> ModuleType:
    """The module of an installed package's part, if it is what was described; PartError."""
    source, file = place.sources.digest, place.sources.file
    if other := place.differs():
        rule = f"{other} of {place.origin} is another file on this machine, or missing"
        raise PartError(file, 1, rule, "install the same version on every machine")
    if _imported.setdefault(place.module, source) != source:
        rule = f"{place.name} has changed since this process imported it"
        raise PartError(file, 1, rule, "start the process again")
    return importlib.import_module(place.module)


# ---- parts of one's own --------------------------------------------------------------------------


def adopt(kind: str, cls: type) -> str:
    """Take a class as a part; the name under which an experiment knows it.

    Its source, and that of what it uses beside it, is in its key and travels to workers.  A class
    of the same name that came before is replaced.  PartError.
    """
    if name := _known(kind, cls):
        return name
    cls = getattr(cls, "unguarded_", cls)  # of a part that the engine made
    place = of_class(kind, cls)
    before = _classes.get((kind, place.name))
    if before is None or before.sources.digest != place.sources.digest:
        _classes[kind, place.name] = place
        refresh()
    if refused := clash(kind, place.name):
        del _classes[kind, place.name]
        refresh()
        raise refused
    describe(kind, place.name)
    return place.name


def _known(kind: str, cls: type) -> str:
    """The name of a class that is that of a part already, or ''."""
    for name in names(kind):
        place = _own().places.get((kind, name))
        if place and not place.module:
            if cls.__module__.startswith(PREFIX) and _class_of(place) is cls:
                return name
            continue
        home = place.module if place else f"engine.{KINDS[kind]}.{name}"
        if (cls.__module__, cls.__name__) == (home, class_name(name)):
            return name
    return ""


def given(kind: str, value: Any) -> PartDict:
    """A part that was given as a class or as an instance, as an experiment names it.

    An instance keeps each parameter of its constructor under the parameter's name.  PartError.
    """
    if isinstance(value, type):
        return {"name": adopt(kind, value)}
    name = adopt(kind, type(value))
    return {"name": name, **parameters_of(value, describe(kind, name), given)}


def unchanged(kind: str, name: str, source: str) -> None:
    """PartError when a part's source is no longer that of this digest."""
    now = describe(kind, name)
    if now.source != source:
        rule = f"the source of the {kind} {name} has changed since it was named"
        mend = "make the sweep again; its keys are of the source"
        raise PartError(Path(now.origin or name), 1, rule, mend)


def clash(kind: str, name: str) -> PartError | None:
    """Why a name means two parts, where it does."""
    return _own().clashes.get((kind, name))


def faults() -> list[PartError]:
    """What is wrong with doors themselves: entry points that lead nowhere."""
    return _own().faults


def travelling() -> list[JsonObject]:
    """The parts of one's own that can be read, as they travel to workers."""
    sent = []
    for (kind, name), place in _own().places.items():
        if name not in broken(kind):
            sent.append(place.to_json())
    return sent


def receive(sent: Iterable[JsonObject]) -> None:
    """Take parts of one's own from the process that asks for work, and no others."""
    global _received
    _received = [Place.from_json(values) for values in sent]
    refresh()


# ---- reading them --------------------------------------------------------------------------------


def describe(kind: str, name: str) -> Description:
    """The part's description, without importing it.

    KeyError with the list of names when there is no such part; PartError when its file breaks a
    rule.
    """
    known = _read.get((kind, name))
    if known is not None:
        return known
    place = _own().places.get((kind, name))
    known = _of_house(kind, name) if place is None else _of_own(place)
    _read[kind, name] = known
    return known


@cache
def _of_house(kind: str, name: str) -> Description:
    if name not in _house(kind):
        raise KeyError(unknown(kind, name))
    file = Path(__file__).parent / KINDS[kind] / f"{name}.py"
    return read(kind, name, file, lambda: module(file))


def key_of(key: str) -> Key | None:
    """What a key of a sweep's rows (`fid.extractor-lenet/excess`) is, as its metric declares it;
    None of metrics that are not there or cannot be read.
    """
    id_, slash, rest = key.partition("/")
    name = id_.partition(".")[0]
    try:
        known = keys_of(describe("metric", name))
    except (KeyError, PartError):
        return None
    return next((own for own in known if own.means(f"{name}{slash}{rest}")), None)


def _of_own(place: Place) -> Description:
    file = place.root / place.path
    if not place.name.isidentifier():
        rule = f"the name {place.name!r} is no word of letters, digits and _"
        raise PartError(file, 1, rule, "call the file otherwise")
    plain = read(place.kind, place.name, file, lambda: place.sources.module, place.cls)
    return replace(plain, source=place.sources.digest, origin=place.origin)


def where(kind: str, name: str, method: str = "") -> tuple[Path, int]:
    """File and line of a part's class, or of a method that it has itself."""
    place = _own().places.get((kind, name))
    file = Path(__file__).parent / KINDS[kind] / f"{name}.py"
    home = place.sources.module if place else module(file)
    cls = home.class_of((place and place.cls) or class_name(name))
    own = [node for node in cls.body if isinstance(node, ast.FunctionDef)] if cls else []
    line = next((node.lineno for node in own if node.name == method), cls.lineno if cls else 1)
    return (place.sources.file if place else file), line


def broken(kind: str) -> dict[str, PartError]:
    """The parts of a kind whose files break a rule, by name: the others are not touched by it."""
    wrong = {name: error for (of, name), error in _own().clashes.items() if of == kind}
    return wrong | _unreadable(kind)


def _unreadable(kind: str) -> dict[str, PartError]:
    wrong = {}
    for name in names(kind):
        try:
            describe(kind, name)
        except PartError as error:
            wrong[name] = error
    return wrong


def readable(kind: str) -> list[str]:
    """The names of the parts that can be read."""
    bad = _unreadable(kind)
    return [name for name in names(kind) if name not in bad]
