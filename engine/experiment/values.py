"""Checking a part's parameters against the signature of its constructor, and saying what is wrong
with them.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from engine._annotations import UNREADABLE, checked
from engine.experiment.yaml import Path
from engine.registry import KINDS, PartError, clash, describe, names, unknown
from engine.spec import Part

MEASURING = {"every": 1, "n": 2}  # of a metric, beside its parameters; the least that they may be
BE = "should be "  # before what pydantic wants of a value
_BRANCH = re.compile(
    r"(int|str|float|bool|Every)$|(literal|list|dict|function|constrained)\b|_"
)  # pydantic's names of union branches


@lru_cache(maxsize=4096)
def checked_part(kind: str, text: str) -> tuple[Part | None, list[tuple[str, Path]]]:
    """A part from its JSON, or (message, key path within it) for everything wrong with it."""
    value = json.loads(text)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None, [(f"a {kind} is {{name: ..., its parameters}}, got {value!r:.60}", ())]
    name, params = value.pop("name"), value
    if name not in names(kind):
        return None, [(unknown(kind, name), ("name",))]
    try:
        if refused := clash(kind, name):
            raise refused
        known = describe(kind, name).parameters
    except PartError as error:
        return None, [(f"the {kind} {name} cannot be read: {error}", ("name",))]
    complaints: list[tuple[str, Path]] = []
    params = {key: named(own) if key in KINDS else own for key, own in params.items()}
    for key in params:
        if key not in known:
            allowed = ", ".join(known) or "none"
            complaints.append(
                (
                    f"{kind} {name} has no parameter {key!r}{nearest(key, known)}; parameters: "
                    f"{allowed}",
                    (key,),
                )
            )
    for key, parameter in known.items():
        if key in params:
            params[key], wrong = _checked(key, parameter.annotation, params[key])
            complaints += [(f"{kind} {name}: {m}", (key, *below)) for m, below in wrong]
        elif parameter.required:
            complaints.append((f"{kind} {name} needs the parameter {key!r}", (key,)))
    return (None if complaints else Part(kind, name, params)), complaints


def _checked(key: str, annotation: str, value: Any) -> tuple[Any, list[tuple[str, Path]]]:
    """One parameter's value as its type spells it, and what is wrong with it, and where in it;
    nested parts are checked as parts of their kind.
    """
    if key in KINDS:
        nested = named(value)
        if not isinstance(nested, dict) or not isinstance(nested.get("name"), str):
            wanted = f"a {key} is {{name: ..., its parameters}}"
            return value, [(f"{key}: {wanted}, got {value!r:.60}", ())]
        part, complaints = checked_part(key, json.dumps(nested))
        found = nested if part is None else {"name": part.name, **part.params}
        return found, complaints
    try:
        return checked(annotation, value), []
    except ValidationError as error:
        return value, [(f"{key}: {explain(e, [])}", e["loc"]) for e in distinct(error)]
    except UNREADABLE:
        fault = f"{key}: its type {annotation} cannot be read; use those of engine/parts.py"
        return value, [(fault, ())]


def distinct(error: ValidationError) -> list[Any]:
    """One complaint per place: of a union's branches, the one that says most."""
    best: dict[tuple[Any, ...], Any] = {}
    for e in error.errors(include_url=False):
        own = (
            e["loc"][-1:] if e["type"] == "extra_forbidden" else ()
        )  # the file's word, even where it looks like a branch
        place = (
            *(
                p
                for p in e["loc"][: len(e["loc"]) - len(own)]
                if isinstance(p, int) or not _BRANCH.match(p)
            ),
            *own,
        )
        so_far = best.get(place)
        if so_far is None or so_far["type"].endswith("_type"):
            best[place] = {**e, "loc": place}
            if so_far is not None and e["type"] == "literal_error" and BE in so_far["msg"]:
                best[place]["msg"] += " or " + so_far["msg"].partition(BE)[2]
    return list(best.values())


def explain(error: Any, allowed: list[str]) -> str:
    got = f", got {error['input']!r:.60}"
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        return f"unknown key {key!r}{nearest(key, allowed)}" + (
            f"; allowed: {', '.join(allowed)}" if allowed else ""
        )
    if error["type"] == "missing":
        return f"{error['loc'][-1]} is missing"
    message = error["msg"][0].lower() + error["msg"][1:]
    return str(message).replace("input should be", "should be") + got


def keys_at(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that are allowed at a path below a section; of several kinds of section, of all."""
    kinds = [model]
    for word in path:
        fields = [kind.model_fields[word] for kind in kinds if word in kind.model_fields]
        if fields:
            kinds = [own for field in fields for own in _models_of(field.annotation)]
    return list(dict.fromkeys(name for kind in kinds for name in kind.model_fields))


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections that a type is made of: of a mapping, those of its values."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [own for inner in get_args(annotation) for own in _models_of(inner)]


def nearest(name: str, among: Any) -> str:
    near = difflib.get_close_matches(str(name), list(among), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def named(value: Any) -> Any:
    """A part may be given by its name alone."""
    return {"name": value} if isinstance(value, str) else value


def measured(value: Any) -> tuple[Any, dict[str, Any]]:
    """A metric as it is listed, without how it is measured (every, n), and that; a parameter of its
    own called so stays with it.
    """
    if not isinstance(value, dict):
        return value, {}
    own: Iterable[str] = ()
    if value.get("name") in names("metric"):
        with contextlib.suppress(PartError):
            own = describe("metric", value["name"]).parameters
    settings = {key: value[key] for key in MEASURING if key in value and key not in own}
    return {key: each for key, each in value.items() if key not in settings}, settings


def faulty(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with how a metric is measured, and of which key."""
    return [
        (f"{key} must be a whole number from {least}, got {settings[key]!r:.60}", key)
        for key, least in MEASURING.items()
        if key in settings and not (type(settings[key]) is int and settings[key] >= least)
    ]
