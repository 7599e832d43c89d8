"""What the values of declared traits may be (engine/parts.py lists the traits)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.knowledge import OF_DATA, OF_MODELS

WORDS = {*OF_DATA, *OF_MODELS}
NEEDED = {"data.labels", "data.texts", "draws.labels", "draws.prompts"}
NEEDED |= {f"data.{word}" for word in OF_DATA} | {f"model.{word}" for word in OF_MODELS}


def _whole(least: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and value >= least


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _texts(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(map(_text, value))


def _mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value))


def _accepts(value: Any) -> bool:
    if value is None or _texts(value):
        return True
    return _mapping(value) and all(map(_cases, value.values()))


def _needs(value: Any) -> bool:
    if not _mapping(value) or not all(map(_cases, value.values())):
        return False
    return {word for need in value for word in need.split("|")} <= NEEDED


def _cases(value: Any) -> bool:
    """Parameters, each with the values that it is about."""
    return _mapping(value) and all(isinstance(each, tuple | list) for each in value.values())


def _size(value: Any) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return value is None or (pair and all(map(_whole(0), value)))


def _known(value: Any) -> bool:
    return _texts(value) and {*value} <= WORDS


def _keys(value: Any) -> bool:
    return _mapping(value) and all(map(_told, value.values()))


def _told(about: Any) -> bool:
    """What a key is, its unit, and which is better."""
    listed = isinstance(about, tuple | list) and len(about) == 3
    return listed and all(isinstance(each, str) for each in about)


def _headline(value: Any) -> bool:
    return _mapping(value) and all(_text(key) for pair in value.items() for key in pair)


def _by(value: Any) -> bool:
    return _mapping(value) and all(way in ("ratio", "difference") for way in value.values())


def _halves(value: Any) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return value is None or (pair and _text(value[0]) and _whole(0)(value[1]))


def _variance(value: Any) -> bool:
    return _mapping(value) and all(map(_band, value.values()))


def _band(value: Any) -> bool:
    """The lowest and the highest ratio."""
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(map(_ratio, value)) and value[0] <= value[1]


def _ratio(value: Any) -> bool:
    return type(value) in (int, float) and value >= 0


def _coarse(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, tuple | list) or len(value) != 3:
        return False
    method, steps, left = value
    return _text(method) and _text(steps) and _mapping(left) and all(map(_by_steps, left.values()))


def _by_steps(value: Any) -> bool:
    if not isinstance(value, dict) or not value:
        return False
    return all(map(_whole(1), value)) and all(map(_ratio, value.values()))


MANY = 'a tuple of texts, such as ("points",)'
RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "TINY": (_mapping, "a mapping of parameters, such as {'steps': 2}"),
    "REVISION": (_whole(1), "a whole number from 1 on"),
    "GIVES": (_text, 'a kind of data, such as "points"'),
    "CLASSES": (
        lambda v: v is None or _text(v) or _whole(0)(v),
        "a whole number, None, or the name of a parameter",
    ),
    "REPLICATES": (
        lambda v: v is None or _text(v) or _whole(1)(v),
        "a whole number from 1 on, None, or the name of a parameter",
    ),
    "VOCABULARY": (
        lambda v: v is None or _text(v) or _whole(1)(v),
        "a whole number from 1 on, None, or the name of a parameter",
    ),
    "LENGTH": (
        lambda v: v is None or _text(v) or _whole(1)(v),
        "a whole number from 1 on, None, or the name of a parameter",
    ),
    "RECORDS": (
        lambda v: isinstance(v, bool) or _text(v),
        "True, False, or the name of a parameter",
    ),
    "FINITE": (lambda v: isinstance(v, bool), "True or False"),
    "SIZE": (_size, "None, or how many rows to train on and held out: (100, 20)"),
    "CONDITIONAL": (
        lambda v: isinstance(v, bool) or _text(v),
        "True, False, or the name of a parameter",
    ),
    "CONTINUES": (
        lambda v: isinstance(v, bool) or _text(v),
        "True, False, or the name of a parameter",
    ),
    "TOKENIZER": (lambda v: v is None or _text(v), "None, or the name of a parameter"),
    "STACKS": (_texts, MANY),
    "PER_TASK": (_texts, 'a tuple of keys, such as ("fid",)'),
    "DRAWING": (_texts, 'a tuple of parameters\' names, such as ("temperature",)'),
    "VARIANCE": (_variance, 'a mapping of kinds of data: {"points": (0.7, 0.9)}'),
    "COARSE": (_coarse, 'None, or a tuple such as ("solver", "steps", {"euler": {10: 0.67}})'),
    "HALVES": (_halves, 'None, or a parameter and a number: ("halvings", 2)'),
    "COST": (lambda v: v in ("tiny", "small", "large"), '"tiny", "small" or "large"'),
    "KNOWS": (_known, f"a tuple out of {', '.join(sorted(WORDS))}"),
    "ACCEPTS": (_accepts, f"None, {MANY}, or a mapping of these with the parameters they go with"),
    "NEEDS": (_needs, f"a mapping such as {{'data.labels': {{}}}} of {', '.join(sorted(NEEDED))}"),
    "TASKS": (lambda v: isinstance(v, bool), "True or False"),
    "SPANS": (
        lambda v: _text(v) or _whole(0)(v),
        "a whole number, or the name of a parameter",
    ),
    "PROMPTS": (
        lambda v: _text(v) or _whole(0)(v),
        "a whole number, or the name of a parameter",
    ),
    "DIRECTIONS": (
        lambda v: v is None or (_texts(v) and len(v) == 2),
        'None, or the names of two parameters: ("r", "per_class")',
    ),
    "LABELS": (
        lambda v: isinstance(v, bool) or _text(v),
        "True, False, or the name of a parameter",
    ),
    "KEYS": (_keys, 'a mapping such as {"fid": ("what it is", "its unit", "lower")}'),
    "HEADLINE": (_headline, 'a mapping of kinds of data: {"regression": "moments/weight_error"}'),
    "BY": (_by, 'a mapping of keys to "ratio" or "difference": {"nll": "difference"}'),
    "READS": (_known, f"a tuple out of {', '.join(sorted(WORDS))}"),
    "COVARIANCE": (lambda v: v in (None, "set", "class"), 'None, "set" or "class"'),
    "BOUNDS": (
        lambda v: v is None or _texts(v),
        'None, or a tuple of "held out" and names of parameters',
    ),
}


def wanted(name: str, value: Any) -> str:
    """What a trait must be where its value is something else; '' where it may be that."""
    if name not in RULES:
        return ""
    allowed, words = RULES[name]
    return "" if allowed(value) else words
