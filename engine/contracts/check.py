"""All contracts of a part, or of all parts of a folder."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine._descriptions import undescribed
from engine.commands import permitting
from engine.contracts.companions import accepted, constant, tiny
from engine.contracts.data import try_dataset
from engine.contracts.draws import try_reward, try_sampling
from engine.contracts.measures import try_metric
from engine.contracts.models import try_generator
from engine.contracts.recipes import try_policy
from engine.contracts.verdicts import Tried, Verdict, Vital, require
from engine.experiment.values import checked_part
from engine.outside.places import use
from engine.registry import KINDS, PartError, broken, describe, names, refresh
from engine.seams.kept import NUMPY, RANDOM, STREAM, kept

# what trying itself changes, and what importing a library may
UNSAID = {
    RANDOM,
    NUMPY,
    f"torch's {STREAM}",
    "os.environ",
    "filters of warnings",
    "the root of logging",
}
TRIES: dict[str, Callable[[Tried], None]] = {
    "dataset": try_dataset,
    "generator": try_generator,
    "policy": try_policy,
    "sampling": try_sampling,
    "reward": try_reward,
    "metric": try_metric,
}


def check_folder(folder: str | Path) -> Iterator[Verdict]:
    """Try every part of a folder of one's own; NotADirectoryError, ValueError: it holds none."""
    (whole,) = use([folder])
    refresh()
    for kind, room in KINDS.items():
        faults = broken(kind)
        own = {file.stem for file in (whole / room).glob("[!_]*.py")}
        for name in sorted(own):
            if name in faults:
                yield _unreadable(kind, name, faults[name])
            else:
                yield from check(kind, name)


def _unreadable(kind: str, name: str, error: PartError) -> Verdict:
    return Verdict(kind, name, "can be read", error.rule, error.file, error.line, error.mend)


def check(kind: str, name: str) -> list[Verdict]:
    """Try all rules of its kind on one part.  KeyError: there is no such part.

    Whoever asks for it has its code run, so its command lines may be run too.
    """
    with permitting():
        return _check(kind, name)


def _check(kind: str, name: str) -> list[Verdict]:
    if name in names(kind) and name in (faults := broken(kind)):
        return [_unreadable(kind, name, faults[name])]
    describe(kind, name)
    checked_part.cache_clear()  # of parts as they were
    tried = Tried(kind, name)
    with kept() as changed, contextlib.suppress(Vital):
        try:
            _try_signature(tried)
            tried.scramble()
            with tried.rule("can be tried", "__init__", "mend what was raised"):
                TRIES[kind](tried)
        finally:
            tried.scramble()
    _try_alone(tried, sorted(changed - UNSAID))
    return tried.verdicts


def _try_signature(tried: Tried) -> None:
    kind, name = tried.kind, tried.name
    part = describe(kind, name)
    with tried.rule("says what it is", "", "write a sentence on top of the file"):
        require(len(part.summary) > 20, f"its docstring is {part.summary!r}")
    with tried.rule("TINY holds parameters that an experiment may give", "", "mend TINY"):
        made, wrong = checked_part(
            kind, json.dumps({"name": name, **constant(kind, name, "TINY", {})})
        )
        require(made is not None, "; ".join(message for message, _ in wrong))
    with tried.rule("its parameters have types that a plan can check", "__init__", "mend the type"):
        for parameter in part.parameters:
            given = json.dumps({"name": name, parameter: {"no": ["such"]}})
            told = checked_part(kind, given)[1]
            unread = [message for message, _ in told if "cannot be read" in message]
            require(bool(told) and not unread, "; ".join(unread) or f"{parameter} takes anything")
    with tried.rule(
        "describes what it takes and returns", "", "say it in its docstring, of a metric in KEYS"
    ):
        require(not undescribed(part), "; ".join(undescribed(part)))
    with tried.rule("can be made", "__init__", "mend TINY, or the constructor", vital=True):
        tiny(kind, name)
    if kind in ("generator", "reward", "metric"):
        with tried.rule("accepts data that some data set gives", "", "mend ACCEPTS", vital=True):
            require(bool(accepted(kind, name)), f"ACCEPTS is {constant(kind, name, 'ACCEPTS')!r}")


def _try_alone(tried: Tried, changed: Sequence[str]) -> None:
    """Whether the part let the process be as it was; changed: what had to be put back."""
    mend = "draw from the rng that it is given"
    with tried.rule("draws from no global random state", "", mend):
        require(not tried.moved, "it draws from the global state of numpy.random")
    mend = "put back what a method changes: it is put back after every call"
    with tried.rule("leaves the process as it was", "", mend):
        require(not changed, f"it changes {', '.join(changed)}")
