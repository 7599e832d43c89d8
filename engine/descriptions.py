"""What a part must say of itself: every parameter described, nothing described that is not there,
and what None means.
"""

from __future__ import annotations

import re

from engine._docstrings import split_docstring
from engine.registry import Description

SPOKEN_NONE = re.compile(r"\bNone\b")


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
    return found
