"""The type of a part's parameter, from its annotation: what may be given for it, and how a key
spells it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, Literal

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from engine import parts

_NAMESPACE = {**{k: getattr(parts, k) for k in dir(parts)}, "Literal": Literal}
_WITHIN = re.compile(r"\b(list|dict)\[.*?OnDisk\]")  # paths inside of something
_MAPPING = re.compile(r"\bdict\[[^|]*OnDisk\]")
# what an annotation that no plan can read raises
UNREADABLE = (NameError, AttributeError, TypeError, SyntaxError, PydanticUserError)


@cache
def adapter(annotation: str) -> TypeAdapter[Any]:
    """pydantic's view of an annotation; one of UNREADABLE."""
    return TypeAdapter(eval(annotation, dict(_NAMESPACE)))


def spelled(annotation: str, value: Any) -> Any:
    """A value as its type spells it: 2 and "2" are 2.0 where a float is asked, so one number has
    one key.

    What does not fit, or has a type that cannot be read, stays as it is: checks tell of it.
    """
    try:
        return _spelled(annotation, json.dumps(value))
    except (ValidationError, TypeError, ValueError, *UNREADABLE):
        return value


def checked(annotation: str, value: Any) -> Any:
    """The same; ValidationError for what does not fit, one of UNREADABLE."""
    return _spelled(annotation, json.dumps(value))


@lru_cache(maxsize=4096)
def _spelled(annotation: str, text: str) -> Any:
    known = adapter(annotation)
    found = known.validate_json(text, strict=True)
    return _without_signs(json.loads(known.dump_json(found)))


def _without_signs(value: Any) -> Any:
    """-0.0 is 0.0."""
    if isinstance(value, float):
        return value + 0.0
    if isinstance(value, list):
        return [_without_signs(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _without_signs(item) for key, item in value.items()}
    return value


def names_files(annotation: str) -> bool:
    """Whether a parameter may name a file or folder, or several."""
    return "OnDisk" in annotation


def paths_in(annotation: str, value: Any) -> dict[str, str]:
    """The files and folders that a parameter's value names: of one "", of several ".0", ".1", of a
    mapping ".key".
    """
    found: dict[str, str] = {}
    with_paths(annotation, value, lambda place, path: found.setdefault(place, path))
    return found


def with_paths(annotation: str, value: Any, of: Callable[[str, str], Any]) -> Any:
    """The value, of(place, path) instead of each file or folder that it names; `char` of
    `Literal["char"] | dict[str, OnDisk]` names none.
    """
    if isinstance(value, str):
        alone = "OnDisk" in _WITHIN.sub("", annotation)
        return of("", value) if alone else value
    if isinstance(value, list) and "OnDisk" in annotation:
        return [of(f".{i}", own) if isinstance(own, str) else own for i, own in enumerate(value)]
    if isinstance(value, dict) and _MAPPING.search(annotation):
        return {k: of(f".{k}", own) if isinstance(own, str) else own for k, own in value.items()}
    return value
