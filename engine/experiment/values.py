"""Checking a part's parameters against the signature of its constructor, and saying what is wrong
with them.
"""

from __future__ import annotations

import difflib
import json
import re
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from engine._annotations import UNREADABLE, checked
from engine.registry import KINDS, PartError, clash, describe, names, unknown
from engine.spec import Part

_BRANCH = re.compile(
    r"(int|str|float|bool)$|(literal|list|dict|function|constrained)\b|_"
)  # pydantic's names of union branches


@lru_cache(maxsize=4096)
def checked_part(kind: str, text: str) -> tuple[Part | None, list[tuple[str, str]]]:
    """A part from its JSON, or (message, key) for everything wrong with it."""
    value = json.loads(text)
    name, params = value.pop("name"), value
    if name not in names(kind):
        return None, [(unknown(kind, name), "name")]
    try:
        if refused := clash(kind, name):
            raise refused
        known = describe(kind, name).parameters
    except PartError as error:
        return None, [(f"the {kind} {name} cannot be read: {error}", "name")]
    complaints: list[tuple[str, str]] = []
    params = {key: named(own) if key in KINDS else own for key, own in params.items()}
    for key in params:
        if key not in known:
            allowed = ", ".join(known) or "none"
            complaints.append(
                (
                    f"{kind} {name} has no parameter {key!r}{nearest(key, known)}; parameters: "
                    f"{allowed}",
                    key,
                )
            )
    for key, parameter in known.items():
        if key in params:
            params[key], wrong = _checked(key, parameter.annotation, params[key])
            complaints += [(f"{kind} {name}: {m}", key) for m in wrong]
        elif parameter.required:
            complaints.append((f"{kind} {name} needs the parameter {key!r}", key))
    return (None if complaints else Part(kind, name, params)), complaints


def _checked(key: str, annotation: str, value: Any) -> tuple[Any, list[str]]:
    """One parameter's value as its type spells it, and what is wrong with it; nested parts are
    checked as parts of their kind.
    """
    if key in KINDS:
        nested = named(value)
        if not isinstance(nested, dict) or not isinstance(nested.get("name"), str):
            wanted = f"a {key} is {{name: ..., its parameters}}"
            return value, [f"{key}: {wanted}, got {value!r:.60}"]
        part, complaints = checked_part(key, json.dumps(nested))
        found = nested if part is None else {"name": part.name, **part.params}
        return found, [message for message, _ in complaints]
    try:
        return checked(annotation, value), []
    except ValidationError as error:
        return value, [f"{key}: {explain(e, [])}" for e in distinct(error)]
    except UNREADABLE:
        return value, [f"{key}: its type {annotation} cannot be read; use those of engine/parts.py"]


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
        if place not in best or best[place]["type"].endswith("_type"):
            best[place] = {**e, "loc": place}
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


def nearest(name: str, among: Any) -> str:
    near = difflib.get_close_matches(str(name), list(among), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def named(value: Any) -> Any:
    """A part may be given by its name alone."""
    return {"name": value} if isinstance(value, str) and value not in ("fixed", "fresh") else value
