"""The one seam between engine and parts: a part that was made answers through it.

`behind` gives a class whose methods call those of the part's class and look at what they return.
Whatever a part is, built in, of one's own or a program, the engine gets what it asked for, or
WrongAnswer, which names the part, its file and the mend.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine._foreign import one_line
from engine.parts import Finding
from engine.samples import Samples
from engine.seams import answers
from engine.seams.answers import Rows, Wrong
from engine.seams.kept import kept
from engine.status import ENDING


class WrongAnswer(Exception):
    """A part that returned what it was not asked for.

    rule: who was asked for what, and what came; file, line: where the method stands.
    """

    def __init__(self, file: Path, line: int, rule: str, mend: str) -> None:
        super().__init__(f"{file}:{line}: {rule}; {mend}")
        self.file, self.line, self.rule, self.mend = file, line, rule, mend

    def __reduce__(self) -> tuple[Any, ...]:
        return WrongAnswer, (self.file, self.line, self.rule, self.mend)


@dataclass(frozen=True)
class Who:
    """A part as it is blamed: where(method) is its file and line; declares(key) whether a metric
    says that it returns this key; own: not of the engine, so that the process is guarded.
    """

    kind: str
    name: str
    where: Callable[[str], tuple[Path, int]]
    declares: Callable[[str], bool]
    own: bool
    again: Callable[[str, str], Any]  # (kind, name) -> an empty one, for a copy or another process


ARGUMENTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("dataset", "sample"): ("n", "rng"),
    ("dataset", "held_out"): ("n",),
    ("generator", "fit"): ("data", "rng"),
    ("generator", "sample"): ("n", "rng", "labels", "bias"),
    ("generator", "save"): ("folder",),
    ("generator", "load"): ("folder",),
    ("policy", "recipe"): ("sizes", "t"),
    ("policy", "needs"): ("n_real",),
    ("sampling", "prepare"): ("dataset", "real", "founder", "rng"),
    ("sampling", "draw"): ("generator", "n", "around", "rng"),
    ("reward", "fit"): ("dataset", "real", "generator", "rng"),
    ("reward", "score"): ("samples",),
    ("metric", "prepare"): ("dataset", "real", "n", "rng"),
    ("metric", "__call__"): ("synthetic", "generator", "around", "rng"),
}
_asking: list[object] = []  # the parts that are at work, the innermost last
_rows: dict[int, Rows] = {}  # what generators were fitted to, by their ids


def expecting(generator: object, data: Samples) -> None:
    """From now on it is to draw rows like these."""
    if id(generator) not in _rows:
        weakref.finalize(generator, _rows.pop, id(generator), None)
    _rows[id(generator)] = Rows.of(data)


_shown: dict[int, str] = {}  # what parts are to people, by their ids


def shown_as(part: object, text: str) -> None:
    """From now on its repr is this, unless its class has one of its own."""
    if id(part) not in _shown:
        weakref.finalize(part, _shown.pop, id(part), None)
    _shown[id(part)] = one_line(text)


@functools.lru_cache(maxsize=256)
def behind(cls: type, who: Who) -> type:
    """The class behind the seam: the same, but that its answers are looked at."""
    about: dict[str, object] = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
    }

    def reduced(part: Any, protocol: Any) -> tuple[Any, ...]:
        return who.again, (who.kind, who.name), vars(part)

    if not any("__repr__" in vars(base) for base in cls.__mro__[:-1]):
        plain = f"<{who.kind.capitalize()} {who.name}>"
        about["__repr__"] = lambda part: _shown.get(id(part), plain)
    found = type(cls)(cls.__name__, (cls,), {**about, "unguarded_": cls, "__reduce_ex__": reduced})
    for (kind, method), names in ARGUMENTS.items():
        if kind == who.kind and callable(getattr(cls, method, None)):
            setattr(found, method, _asked(who, method, names, found))
    return found


def _asked(who: Who, method: str, names: tuple[str, ...], cls: type) -> Any:
    """A method of this class that calls the part's own, and looks at the answer unless the part
    asks itself.
    """

    @functools.wraps(getattr(cls, method))
    def asked(self: Any, *args: Any, **kwargs: Any) -> Any:
        own = getattr(super(cls, self), method)
        if any(part is self for part in _asking):
            return own(*args, **kwargs)
        _asking.append(self)
        try:
            if who.own:
                with kept():
                    answer = own(*args, **kwargs)
            else:
                answer = own(*args, **kwargs)
        except Exception as error:
            if (wrong := _unexpected(who, error)) is None:
                raise
            raise _blamed(who, method, wrong) from error
        finally:
            _asking.pop()
        try:
            _look(who, method, self, {**dict(zip(names, args, strict=False)), **kwargs}, answer)
        except Wrong as wrong:
            raise _blamed(who, method, wrong) from None
        return answer

    return asked


def _unexpected(who: Who, error: Exception) -> Wrong | None:
    """What is wrong with raising this: a finding that is none, or anything but a refusal by a
    policy, which a plan asks before there is a lineage that could fail.
    """
    if isinstance(error, Finding) and error.status not in ENDING:
        mend = f"use one of {', '.join(sorted(ENDING))}"
        return Wrong(f"it raised Finding({error.status!r})", mend)
    if who.kind == "policy" and not isinstance(error, ValueError | WrongAnswer):
        return Wrong(f"it raised {type(error).__name__}: {error}", "mend it")
    return None


def _blamed(who: Who, method: str, wrong: Wrong) -> WrongAnswer:
    file, line = who.where(method)
    return WrongAnswer(
        file, line, f"the {who.kind} {who.name}, {method}: {wrong.fault}", wrong.mend
    )


def _look(who: Who, method: str, part: Any, given: Mapping[str, Any], answer: Any) -> None:
    """Wrong unless the answer is what was asked for."""
    match who.kind, method:
        case "dataset", "sample":
            answers.of_dataset(part, answer, given["n"], given["n"])
        case "dataset", "held_out":
            answers.of_dataset(part, answer, given["n"], 0)
        case "generator", "fit":
            expecting(part, given["data"])
            answers.report(answer)
        case "generator", "sample":
            asked, rows = given.get("labels"), _rows.get(id(part))
            answers.of_generator(part, answer, given["n"], asked, rows)
        case "policy", "recipe":
            answers.recipe(answer, given["sizes"], given["t"])
        case "policy", "needs":
            answers.needs(answer, given["n_real"])
        case "sampling", "draw":
            answers.of_sampling(answer, given["n"], given["around"])
        case "reward", "fit":
            answers.report(answer)
        case "reward", "score":
            answers.scores(answer, given["samples"])
        case "metric", "__call__":
            answers.of_metric(who.name, answer, who.declares)
