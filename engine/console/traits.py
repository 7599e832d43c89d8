"""What a part declares of itself, as sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine import _drawn_variance
from engine.registry import Description

COSTS = {"tiny": "milliseconds to train", "small": "seconds", "large": "minutes to hours"}
WHOSE = {"data": "the data set", "model": "the generator"}


def in_words(part: Description) -> list[str]:
    """What a part gives, takes, needs and can, a sentence each."""
    constant = part.constants.get
    return [
        *_data(part),
        *_learning(part),
        *_wishes(part),
        *_drawing(part),
        *_list("tells beyond samples: {}", constant("KNOWS", ())),
        *_list("only change how it is drawn from: {}", constant("DRAWING", ())),
        *_drawn_variance.told(part.constants),
        *(f"revision {n}" for n in (constant("REVISION", 1),) if n > 1),
    ]


def _data(part: Description) -> list[str]:
    """Of a data set."""
    if part.kind != "dataset":
        return []
    found = [f"gives {part.trait('GIVES', {})}"]
    classes = part.constants.get("CLASSES", 0)
    if isinstance(classes, str):
        found.append(f"labels: as many classes as {classes}")
    elif classes is None:
        found.append("labels: as many classes as the data have")
    elif classes:
        found.append(f"labels: {classes} classes")
    if size := part.constants.get("SIZE"):
        found.append(f"finite: {size[0]:,} samples to train on, {size[1]:,} held out")
    elif part.constants.get("FINITE"):
        found.append("finite: as many samples as its files hold")
    return found


def _learning(part: Description) -> list[str]:
    """Of a generator."""
    if part.kind != "generator":
        return []
    found = []
    for trait, said in (
        ("CONDITIONAL", "draws by class label or covariates"),
        ("CONTINUES", "goes on from the generation before it"),
    ):
        decided = part.constants.get(trait, False)
        if decided:
            found.append(said + (f", where {decided} is true" if isinstance(decided, str) else ""))
    cost = part.trait("COST", {})
    return [*found, f"cost: {cost} ({COSTS.get(cost, cost)})"]


def _wishes(part: Description) -> list[str]:
    """Which data it takes, and what else it needs."""
    if part.kind in ("dataset", "policy"):
        return []
    accepts = part.trait("ACCEPTS", {})
    if accepts is None:
        return ["takes data of every kind"]
    when = accepts if isinstance(accepts, Mapping) else {kind: {} for kind in accepts}
    found = [f"takes {'; '.join(kind + _where(of) for kind, of in when.items())}"]
    for need, of in part.trait("NEEDS", {}).items():
        found.append(f"needs {' or '.join(map(_needed, need.split('|')))}{_where(of)}")
    return found


def _drawing(part: Description) -> list[str]:
    """Of a sampling."""
    found = ["labels what it draws"] if part.constants.get("LABELS") is True else []
    if (kept := part.constants.get("DIRECTIONS")) is not None:
        parameter, switch = kept
        found.append(
            f"keeps moments of real rows: {parameter} must be below their number, of each class "
            f"where {switch} is true, and is better at most a quarter of it"
        )
    return found


def _where(when: Mapping[str, tuple[Any, ...]]) -> str:
    """The parameters, or the kind of data, under which something holds."""
    said = []
    for key, values in when.items():
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        said.append(f"{'data' if key == 'GIVES' else key}: {' or '.join(texts)}")
    return f" ({', '.join(said)})" if said else ""


def _needed(word: str) -> str:
    whose, _, what = word.partition(".")
    if what == "labels":
        return "data with class labels" if whose == "data" else "samples with class labels"
    if whose == "draws":
        return f"samples with {what}"
    return f"the {what} of {WHOSE[whose]}"


def _list(sentence: str, names: tuple[str, ...]) -> list[str]:
    return [sentence.format(", ".join(names))] if names else []
