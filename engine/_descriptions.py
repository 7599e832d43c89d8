"""What a part must say of itself: every parameter described, nothing described that is not there,
what None means; of a metric also the keys that it returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from engine._docstrings import split_docstring
from engine._signatures import Description
from engine.parts import HELD_OUT

SPOKEN_NONE = re.compile(r"\bNone\b")
KINDS_SAID = {
    "dataset": "The truth: what real samples are drawn from.",
    "generator": "The model that is trained again on its own samples.",
    "policy": "Which real and synthetic samples each generation trains on.",
    "sampling": "How the synthetic set is drawn: plain, biased, verified, curated.",
    "reward": "What a sampling judges samples by.",
    "metric": "What is measured of a generation.",
}
BETTER = ("lower", "higher", "near 0", "near 1", "")


def undescribed(part: Description) -> list[str]:
    """What the descriptions of a part lack, each as a sentence; nothing where all is well."""
    who = f"the {part.kind} {part.name}"
    found = []
    for name, parameter in part.parameters.items():
        said = parameter.words
        if not said:
            how = f"write `{name}  what it means, and its unit` into the docstring of its class"
            found.append(f"{who} does not describe its parameter {name!r}; {how}")
        elif parameter.default is None and not parameter.required and not SPOKEN_NONE.search(said):
            how = "add `None: what holds then` to its description"
            found.append(f"{who} does not say what None means for {name!r}; {how}")
    for name in split_docstring(part.text, part.parameters)[1]:
        if name not in part.parameters:
            allowed = ", ".join(part.parameters) or "none"
            fault = f"{who} describes {name!r}, which is not one of its parameters ({allowed})"
            found.append(f"{fault}; mend the name, or write one space after it")
    return found + (_faults_of_keys(part) if part.kind == "metric" else [])


@dataclass(frozen=True)
class Key:
    """A key of a metric's answers.

    better  lower, higher, near 0, near 1, or "" of a control, which is neither.
    by      the one way to compare it with a reference, ratio or difference; "": both.
    """

    name: str
    words: str
    unit: str
    better: str
    by: str = ""

    def means(self, key: str) -> bool:
        """Whether a key of an answer is this one; N stands for a whole number."""
        pattern = re.escape(self.name)
        if self.name.endswith("N"):
            pattern = pattern[:-1] + "(0|[1-9][0-9]*)"
        return re.fullmatch(pattern, key) is not None


def keys_of(metric: Description) -> list[Key]:
    """The keys that a metric declares, in its order, and those that are of each task, too."""
    by, keys = metric.trait("BY", {}), metric.trait("KEYS", {})
    found = {
        name: Key(name, words, unit, better, by.get(name, ""))
        for name, (words, unit, better) in keys.items()
    }
    tasks = [
        replace(own, name=f"{name}/task_N", words=f"of task N alone: {own.words}")
        for name, own in found.items()
        if name in metric.trait("PER_TASK", {})
    ]
    return [*found.values(), *tasks]


def undeclared(metric: Description, answer: Iterable[str]) -> list[str]:
    """The keys of an answer that its metric does not declare."""
    known = keys_of(metric)
    return [key for key in answer if not is_declared(key, known)]


def is_declared(key: str, known: Iterable[Key]) -> bool:
    """Whether a key is one of the known ones."""
    return any(own.means(key) for own in known)


def _faults_of_keys(metric: Description) -> list[str]:
    declared = metric.trait("KEYS", {})
    how = 'write KEYS = {"KEY": ("what it is", "its unit", "lower")} into its class'
    if not declared:
        return [f"the metric {metric.name} does not declare the keys that it returns; {how}"]
    found = []
    for key, about in declared.items():
        who = f"the key {key!r} of the metric {metric.name}"
        if not about[0] or not about[1]:
            found.append(f"{who} does not say what it is, or its unit; {how}")
        elif about[2] not in BETTER:
            allowed = ", ".join(map(repr, BETTER))
            found.append(f"{who} is better {about[2]!r}; allowed: {allowed} (neither)")
        if key.split("/")[0] != metric.name:
            found.append(f"{who} does not begin with the metric's name; keys are NAME or NAME/...")
    for kind, key in metric.trait("HEADLINE", {}).items():
        if key not in declared:
            fault = f"HEADLINE of the metric {metric.name} names {key!r} for {kind}"
            found.append(f"{fault}, which is none of its KEYS: {', '.join(declared)}")
    for key in metric.trait("BY", {}):
        if key not in declared:
            fault = f"BY of the metric {metric.name} names {key!r}"
            found.append(f"{fault}, which is none of its KEYS: {', '.join(declared)}")
    for key in metric.trait("PER_TASK", {}):
        if key not in declared:
            fault = f"PER_TASK of the metric {metric.name} names {key!r}"
            found.append(f"{fault}, which is none of its KEYS: {', '.join(declared)}")
    for bound in metric.trait("BOUNDS", {}) or ():
        if bound != HELD_OUT and bound not in metric.parameters:
            allowed = ", ".join((HELD_OUT, *metric.parameters))
            found.append(f"BOUNDS of the metric {metric.name} has {bound!r}; allowed: {allowed}")
    return found
