"""The parameters of a part that was given as an object, by the habit of scikit-learn: the
constructor keeps each under its own name; one that is called as a method is, `fit`, as `fit_line`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from inspect import isfunction
from pathlib import Path
from typing import Any

import numpy as np

from engine._signatures import KINDS, Description, PartError
from engine.parts import Params, PartDict


def parameters_of(
    part: object, described: Description, nested: Callable[[str, Any], PartDict]
) -> Params:
    """What an object keeps under the names of its constructor's parameters; PartError.

    nested: a part that is a parameter of this one, as an experiment names it.
    """
    found: Params = {}
    for name in described.parameters:
        own = f"{name}_line" if isfunction(getattr(type(part), name, None)) else name
        if not hasattr(part, own):
            as_what = "under that name" if own == name else f"as {own}, for {name} is a method"
            rule = f"{type(part).__name__} does not keep its parameter {name!r} {as_what}"
            mend = f"write `self.{own} = {name}` in its constructor"
            raise PartError(_place(described), 1, rule, mend)
        found[name] = _plain(name, getattr(part, own), described, nested)
    return found


def _plain(
    name: str, value: Any, described: Description, nested: Callable[[str, Any], PartDict]
) -> Any:
    """A value as an experiment file holds it; PartError."""
    if name in KINDS and not isinstance(value, str | dict):
        return nested(name, value)
    if isinstance(value, np.generic):
        value = value.item()
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        rule = f"the parameter {name!r} is {type(value).__name__}, which no file can hold"
        mend = "give it as a number, a text, a list or a mapping"
        raise PartError(_place(described), 1, rule, mend) from None


def _place(described: Description) -> Path:
    return Path(described.origin or described.name)
