"""The type of a part's parameter, from its annotation: what may be given for it, and how a key
spells it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Literal

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from engine import parts

_NAMESPACE = {**{k: getattr(parts, k) for k in dir(parts)}, "Literal": Literal}
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
    """Whether a parameter names a file or folder, or several."""
    return "OnDisk" in annotation
