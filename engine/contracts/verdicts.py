"""Trying rules on a part: each ends in a verdict, `ok` or what broke, where, and how to mend it."""

from __future__ import annotations

import hashlib
import random
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from engine.registry import where
from engine.samples import Samples
from engine.seams.seam import WrongAnswer


@dataclass(frozen=True)
class Verdict:
    """One rule tried on one part; fault: what broke, '' when nothing did."""

    kind: str
    name: str
    rule: str
    fault: str = ""
    file: Path = Path()
    line: int = 0
    mend: str = ""

    def __str__(self) -> str:
        who = f"{self.kind} {self.name}: {self.rule}"
        if not self.fault:
            return f"{who}: ok"
        return f"{who}: BROKEN\n  {self.file}:{self.line}: {self.fault}; {self.mend}"


class Broken(Exception):
    """A rule does not hold; says what was seen."""


class Unneeded(Exception):
    """The rule is about something that is not on this machine, or is not so here."""


class Vital(Exception):
    """A rule broke without which the others say nothing."""


def require(holds: bool, fault: str) -> None:
    """Raise Broken with what was seen, unless it holds."""
    if not holds:
        raise Broken(fault)


@dataclass
class Tried:
    """The verdicts on one part; on: the kind of data it is tried on."""

    kind: str
    name: str
    on: str = ""
    verdicts: list[Verdict] = field(default_factory=list)
    moved: bool = False  # whether numpy's global state was drawn from
    left: bytes = b""  # that state as we left it

    def scramble(self) -> None:
        """Give the global random states another seed, on which nothing may depend."""
        state = _global_state()
        self.moved |= bool(self.left) and state != self.left
        np.random.seed(len(self.verdicts) + 1)  # noqa: NPY002  # the one that parts may not use
        random.seed(len(self.verdicts) + 1)
        self.left = _global_state()

    def rule(self, sentence: str, method: str, mend: str, *, vital: bool = False) -> Rule:
        """Try a rule inside `with`: whatever is raised there breaks it."""
        said = f"{sentence}, on {self.on}" if self.on else sentence
        return Rule(self, said, method, mend, vital)

    def add(
        self, rule: str, fault: str = "", place: tuple[Path, int] = (Path(), 0), mend: str = ""
    ) -> None:
        """Note the verdict on a rule."""
        self.verdicts.append(Verdict(self.kind, self.name, rule, fault, *place, mend))


@dataclass
class Rule:
    """A rule while it is tried."""

    tried: Tried
    sentence: str
    method: str
    mend: str
    vital: bool

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        if error is None:
            self.tried.add(self.sentence)
            return False
        if isinstance(error, Unneeded):
            return True
        if not isinstance(error, Exception | SystemExit) or isinstance(error, Vital):
            return False
        self._add(error)
        if self.vital:
            raise Vital from None
        return True

    def _add(self, error: BaseException) -> None:
        """Note what broke the rule: a fault that was seen, or whatever the part raised."""
        if isinstance(error, WrongAnswer):
            place = error.file, error.line
            return self.tried.add(self.sentence, error.rule, place, error.mend)
        place, fault = where(self.tried.kind, self.tried.name, self.method), str(error)
        if not isinstance(error, Broken):
            place = _raised(error, place[0]) or place
            fault = f"{type(error).__name__}: {error}"
        return self.tried.add(self.sentence, fault, place, self.mend)


def _raised(error: BaseException, file: Path) -> tuple[Path, int] | None:
    """Where in the part's own folder an error was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent == file.parent]
    return (Path(own[-1].filename), own[-1].lineno or 1) if own else None


def _global_state() -> bytes:
    """Of numpy's global random numbers."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    return repr(state).encode()


# ---- what is compared ----------------------------------------------------------------------------


def same(a: Samples, b: Samples) -> bool:
    """Whether two sets have the same bits."""
    if a.x.dtype != b.x.dtype or not np.array_equal(a.x, b.x, equal_nan=a.x.dtype.kind == "f"):
        return False
    if a.beside.keys() != b.beside.keys():
        return False
    if not all(np.array_equal(own, b.beside[name]) for name, own in a.beside.items()):
        return False
    return a.y is b.y or (a.y is not None and b.y is not None and np.array_equal(a.y, b.y))


def digest(samples: Samples) -> str:
    """Of all that a set holds, to see whether somebody wrote into it."""
    found = hashlib.sha256()
    for array in (samples.x, samples.y, samples.born, *samples.beside.values()):
        if array is not None:
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
