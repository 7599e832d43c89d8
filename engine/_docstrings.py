"""What a class's docstring says of its parameters, and what else it says.

steps  optimiser steps; the learning
       rate falls over them.              a name, two or more spaces, a text; what is indented
                                          further than the name goes on with it
Args:
    steps (int): optimiser steps.         Google's style, under Args: or Parameters:; elsewhere
                                          `name: text` counts where the name is a parameter's
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection

SPACED = re.compile(r"(\w+)\s{2,}(\S.*)")
COLON = re.compile(r"\*{0,2}(\w+)(?:\s*\([^)]*\))?:(?:\s+(.*))?")
HEADING = re.compile(r"(Args|Arguments|Parameters|Params):")


def split_docstring(docstring: str, parameters: Collection[str]) -> tuple[str, dict[str, str]]:
    """The prose of a docstring, and the texts of the names that it describes.

    A name that is described may be no parameter: who asks can tell.
    """
    prose: list[str] = []
    texts: dict[str, list[str]] = {}
    name, margin = "", 0  # of the text that lines go on with
    section = -1  # indent of the heading of a section of parameters; -1: outside of one
    for line in inspect.cleandoc(docstring).splitlines():
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if text and indent <= section:
            section = -1
        if name and (not text or indent > margin):
            texts[name].append(text)
        elif HEADING.fullmatch(text):
            name, section = "", indent
        elif begun := _entry(text, parameters, inside=indent > section >= 0):
            name, margin = begun[0], indent
            texts.setdefault(name, []).append(begun[1])
        else:
            name = ""
            prose.append(line)
    joined = {name: " ".join(filter(None, lines)) for name, lines in texts.items()}
    return "\n".join(prose).strip(), joined


def _entry(text: str, parameters: Collection[str], inside: bool) -> tuple[str, str] | None:
    """The name and the first line of its text, where a line begins a description."""
    if found := SPACED.fullmatch(text):
        return found[1], found[2]
    found = COLON.fullmatch(text)
    if found and (inside or found[1] in parameters):
        return found[1], found[2] or ""
    return None
