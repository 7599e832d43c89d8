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
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine._foreign import without_passwords
from engine.experiment.yaml import Path, parse_value
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


@dataclass(frozen=True)
class Override:
    """One value that is given beside the file.

    words    how it was given: `--set seeds=3`.
    written  the value as it was written.
    """

    key: str
    value: Any
    words: str
    written: str

    @property
    def path(self) -> Path:
        """Where it stands among the values: below grid a key is one word, its axis."""
        head, _, axis = self.key.partition(".")
        return (head, axis) if head == "grid" and axis else tuple(self.key.split("."))


def blamed(
    path: Path, overrides: Sequence[Override], lines: Mapping[Path, int]
) -> tuple[str, bool]:
    """The override to which what is wrong at a key path is due, and whether to it alone: it gave
    that value, or a key of it that does not stand in the file; ('', False) where none was given.
    """
    for override in reversed(overrides):
        if path[: len(override.path)] == override.path:
            return override.words, True
    below = [one.words for one in overrides if path and one.path[: len(path)] == path]
    return " ".join(below), path not in lines and bool(below)


def as_written(
    message: str, path: Path, overrides: Sequence[Override], written: Mapping[Path, str]
) -> str:
    """The message about a key path, with the number that it quotes as it was given; written: as
    numbers stand in the file.
    """
    quoted = re.search(r", got (-?[0-9][-+.e0-9]*)$", message)
    above = [one for one in overrides if path[: len(one.path)] == one.path]
    spelled = written.get(path, "")
    if above:
        spelled = above[-1].written if above[-1].path == path else ""
    return f"{message[: quoted.start(1)]}{spelled:.60}" if quoted and spelled else message


def read_overrides(overrides: Overrides, tell: Callable[[str, str], None]) -> list[Override]:
    """The overrides, in the order in which they are given.

    tell: hears of text that is no `key=value`, and of a key that is given twice; and of how it was
    given.
    """
    if isinstance(overrides, Mapping):
        flat = _flat(overrides, "")
        return [Override(key, value, f"{key}={value!r:.60}", repr(value)) for key, value in flat]
    found: dict[str, Override] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        words = f"--set {without_passwords(text)}"
        if not equals or not key:
            tell(f"--set wants key=value, got {text!r}", "")
            continue
        try:
            given_now = Override(key, parse_value(value), words, value)
        except ValueError as error:
            tell(str(error), words)
            continue
        before = found.setdefault(key, given_now)
        if before.words != words:
            tell(f"{key} is given a second time (first {before.words}); keep one", words)
    return list(found.values())


def _flat(values: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{above}.{key}" if above else str(key)
        inner = isinstance(value, Mapping) and value and not any(k in value for k in WHOLE)
        if inner and above != "grid":  # below grid a key is an axis, its value a list
            yield from _flat(value, path)
        else:
            yield path, plain(value, path)
