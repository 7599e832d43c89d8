"""What is given from Python or on the command line instead of in a file: values made plain, as a
file would hold them (a class or an instance of a part becomes its name and parameters), and
overrides as keys with their values.

    --set base.n_real=20                      {"base.n_real": 20}
    {"base": {"n_real": 20}}                  the same key
    {"grid": {"policy.synthetic_fraction": [0, 1]}}

A mapping goes into what is there (`{"resources": {"cpu": 2}}` leaves the rest of resources as it
is), but one that says which part or metric it is about (`name`, `metric`) takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engine.experiment.yaml import parse_value
from engine.registry import KINDS, given

Overrides = Sequence[str] | Mapping[str, Any]  # `key=value` as text, or keys with their values
WHOLE = ("name", "metric")  # a mapping with one of these replaces


def plain(value: Any, where: str = "") -> Any:
    """Return a value as JSON would hold it: numpy numbers and arrays, tuples, ranges and paths too.

    where: its key path; below the key of a kind (`base.generator`, `metrics.0`) a class or an
    instance is a part of one's own, see `registry.given`.  TypeError, which names the place, for
    anything else; PartError.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return _builtin(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v, f"{where}.{k}" if where else str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(v, f"{where}.{i}") for i, v in enumerate(value)]
    if hasattr(value, "tolist"):  # numpy's numbers and arrays, torch's tensors
        return plain(value.tolist(), where)
    if kind := _kind_of(where):
        return given(kind, value)
    raise TypeError(
        f"{where or 'a value'} is {type(value).__name__}, which an experiment cannot hold; it "
        "holds numbers, text, true, false, none, lists and mappings"
    )


def _kind_of(where: str) -> str:
    """The kind of part that stands at a key path, or ''."""
    for word in reversed(where.split(".")):
        if not word.isdecimal():
            return "metric" if word == "metrics" else word if word in KINDS else ""
    return ""


def _builtin(value: Any) -> Any:
    """Subclasses of the plain types (numpy's float64, enumerations) as the types themselves."""
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return value if type(value) is kind else kind(value)
    return value


def pairs(overrides: Overrides, tell: Callable[[str], None]) -> Iterator[tuple[str, Any]]:
    """Yield (key path, value) of every override, in the order in which they are given.

    tell: hears of text that is no `key=value`.
    """
    if isinstance(overrides, Mapping):
        yield from _flat(overrides, "")
        return
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            tell(f"--set wants key=value, got {text!r}")
            continue
        try:
            yield key, parse_value(value)
        except ValueError as error:
            tell(f"--set {key}: {error}")


def _flat(values: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{above}.{key}" if above else str(key)
        inner = isinstance(value, Mapping) and value and not any(k in value for k in WHOLE)
        if inner and above != "grid":  # below grid a key is an axis, its value a list
            yield from _flat(value, path)
        else:
            yield path, plain(value, path)
