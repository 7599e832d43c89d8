"""Arguments by name: a misspelt one is a TypeError that names the nearest one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from engine.experiment.values import nearest

P = ParamSpec("P")
R = TypeVar("R")
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


def named(function: Callable[P, R]) -> Callable[P, R]:
    """The same function; a keyword that it does not have is refused with the nearest one."""
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind not in POSITIONAL and p.name != "self"]
    label = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                raise TypeError(
                    f"{label}() has no argument {name!r}{nearest(name, known)}; it has: "
                    f"{', '.join(known)}"
                )
        return function(*args, **kwargs)

    return call
