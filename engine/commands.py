"""Command lines that an experiment file may hold: their placeholders, and who may run them.

A command line is run without a shell: it is cut into words once, and each placeholder is replaced
within its word.  What comes from a file is run only where a person has said so (`--allow-commands`,
`allow_commands=True`): the permission travels with the job, never with a file or an output.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

PLACEHOLDER = re.compile(r"\{(\w+)\}")
KNOWN = {  # placeholders of each line; True: it must be there
    "fit": {"data": True, "model": True, "seed": False, "n": False},
    "sample": {
        "model": True,
        "n": True,
        "out": True,
        "seed": True,
        "labels": False,
        "bias": False,
    },
}
LINES = ("FitLine", "SampleLine")  # the types of parameters that hold command lines


class NotAllowed(PermissionError):
    """A command line of an experiment file that nobody has allowed to be run."""


# ---- what a line may say -------------------------------------------------------------------------


def words_of(line: str) -> list[str]:
    """Its words; ValueError for quotes that are not closed, and for none."""
    words = shlex.split(line)
    if not words:
        raise ValueError("it is empty")
    return words


def placeholders(line: str) -> list[str]:
    return list(dict.fromkeys(PLACEHOLDER.findall(line)))


def problem(which: str, line: str) -> str:
    """What is wrong with a `fit` or a `sample` line, or ''."""
    try:
        words_of(line)
    except ValueError as error:
        return f"this is no command line: {error}"
    known, found = KNOWN[which], placeholders(line)
    allowed = ", ".join(f"{{{name}}}" for name in known)
    for name in found:
        if name not in known:
            return f"a {which} line has no placeholder {{{name}}}; it may have {allowed}"
    for name, needed in known.items():
        if needed and name not in found:
            return f"a {which} line must have {{{name}}}; it may have {allowed}"
    return ""


def mismatch(sample: str, conditional: bool) -> str:
    """Why a sample line does not go with drawing by label, or without; or ''."""
    if conditional == ("labels" in placeholders(sample)):
        return ""
    if conditional:
        return "conditional is on, but the sample line has no {labels} to be told what to draw"
    return "the sample line has {labels}, but conditional is off: it is given no labels"


def filled(line: str, values: Mapping[str, object]) -> list[str]:
    """Its words with every placeholder replaced; a word stays one word whatever it then holds."""
    return [PLACEHOLDER.sub(lambda found: str(values[found[1]]), w) for w in words_of(line)]


def _fit(line: str) -> str:
    return _checked("fit", line)


def _sample(line: str) -> str:
    return _checked("sample", line)


def _checked(which: str, line: str) -> str:
    if why := problem(which, line):
        raise PydanticCustomError("command_line", "{why}", {"why": why})
    return line


FitLine = Annotated[str, AfterValidator(_fit)]
SampleLine = Annotated[str, AfterValidator(_sample)]


# ---- who may run them ----------------------------------------------------------------------------

PRINTED = (".out", ".err")  # endings of the files that hold what programs print
Logs = Path | Callable[[], Path] | None


@dataclass(frozen=True)
class Permit:
    """What the work at hand may do.

    allowed  whether command lines of an experiment file may be run.
    logs     what programs print goes to this path, with .out and .err at its end; or who is asked
             for it when a program starts; None: nowhere.
    """

    allowed: bool = False
    logs: Logs = None


NOTHING = Permit()
_permit: ContextVar[Permit] = ContextVar("permit", default=NOTHING)


@contextmanager
def permitting(allowed: bool = True, logs: Logs = None) -> Iterator[None]:
    """Inside, parts with command lines of a file can be made, or not."""
    token = _permit.set(Permit(allowed, logs))
    try:
        yield
    finally:
        _permit.reset(token)


def permit() -> Permit:
    return _permit.get()


def refuse(kind: str, name: str, lines: Mapping[str, str]) -> None:
    """NotAllowed when there are lines, and no permission to run them."""
    if lines and not permit().allowed:
        said = "; ".join(f"{key}: {line}" for key, line in lines.items())
        raise NotAllowed(
            f"the {kind} {name} would run programs on this computer ({said}); look at them, then "
            "allow it: --allow-commands on the command line, allow_commands=True in Python"
        )
