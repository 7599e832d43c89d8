"""The shapes that values from a file must have; Malformed names what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
NOTHING: Mapping[str, Any] = {}
LAST = 2**31 - 1  # the greatest number of a generation
SHORT = 60  # characters that are no name too long, whatever they are
LONGEST_NAME, LONGEST_PATH = 255, 1000  # bytes of a file's name, characters of a path in an output


class Malformed(ValueError):
    """A value read from a file that has another shape than what it should be."""


def text(value: object) -> str:
    """A text that can be written anywhere: half a letter (a lone surrogate) becomes `?`."""
    if type(value) is not str:
        raise Malformed(f"a text is expected, not {shown(value)}")
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def name(value: object) -> str:
    """A name that leads nowhere else than below the folder it is joined to (path traversal)."""
    name = text(value)
    if not is_below(name):
        raise Malformed(f"{shown(name)} is no name, but a path out of the output")
    return name


def is_below(name: str) -> bool:
    """Whether a relative path can be one, and stays below the folder that it is joined to."""
    if len(name) < SHORT and name.isalnum():
        return True
    steps = [step.encode("utf-8", "surrogatepass") for step in name.split("/")]
    return len(name) < LONGEST_PATH and not any(
        step in (b"", b".", b"..") or b"\0" in step or len(step) > LONGEST_NAME for step in steps
    )


def integer(value: object, least: int = 0, most: int = 2**62) -> int:
    if type(value) is not int or not least <= value <= most:
        raise Malformed(f"a whole number of at least {least} is expected, not {shown(value)}")
    return value


def schema(value: Mapping[str, Any]) -> int:
    """The schema number of a row or lineage; 1 where there is none."""
    return integer(value.get("schema", 1), least=1)


def member(value: object, of: type[E]) -> E:
    """The member of an enumeration that a text names."""
    try:
        return of(text(value))
    except ValueError:
        raise Malformed(f"{shown(value)} is none of {', '.join(of)}") from None


def number(value: object) -> float:
    if type(value) is int and abs(value) <= 2**53:
        return float(value)
    if type(value) is not float or not math.isfinite(value):
        raise Malformed(f"a finite number is expected, not {shown(value)}")
    return value


def number_or_none(value: object) -> float | None:
    return None if value is None else number(value)


def text_or_integer(value: object) -> str | int:
    return integer(value) if type(value) is int else text(value)


def mapping(value: object) -> Mapping[str, Any]:
    if type(value) is not dict:
        raise Malformed(f"a mapping is expected, not {shown(value)}")
    return value


def mapping_of(value: object, of: Callable[[object], T]) -> Mapping[str, T]:
    """A mapping, each of whose values has the shape that `of` checks."""
    found = mapping(value)
    return {name: of(item) for name, item in found.items()} if found else NOTHING


def items(value: object) -> list[Any]:
    if type(value) is not list:
        raise Malformed(f"a list is expected, not {shown(value)}")
    return value


def shown(value: object) -> str:
    """A value for a message, which may be as large as somebody's file."""
    kind = type(value).__name__
    return f"{value[:60]!r}" if isinstance(value, str) else f"a value of type {kind}"
