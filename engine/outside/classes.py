"""A class of a script or notebook as a file of its own: its source, and that of what it uses there.

Functions, classes and constants that stand beside it come along; what comes from libraries is
imported.  Anything else is refused by name: it could be neither in a key nor on another machine.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import linecache
import re
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from engine._signatures import PartError

# modules whose names may be used although no `__module__` leads there: types and constants
NAMESPACES = ("engine.parts", "engine.samples", "engine.knowledge", "typing", "collections.abc")
LITERAL = (bool, int, float, complex, str, bytes, tuple, list, dict, set, type(None))
INSTALLED = {"site-packages", "dist-packages"}  # folders of libraries, wherever they lie


def part_name(cls: type) -> str:
    """The name under which an experiment knows a class: MyModel is my_model."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


def text_of(cls: type) -> str:
    """The text of a file that holds a class and all it uses; PartError."""
    found = _Gathered()
    found.define(cls)
    blocks = ["from __future__ import annotations", "\n".join(sorted(found.imports))]
    return "\n\n\n".join(filter(None, [*blocks, *found.texts])) + "\n"


class _Gathered:
    """Imports and definitions, those that are used before those that use them."""

    def __init__(self) -> None:
        self.imports: set[str] = set()
        self.texts: list[str] = []
        self.known: dict[str, object] = {}

    def define(self, what: Any) -> None:
        """Take in a class or function, after what it uses."""
        self.known[what.__name__] = what
        text, around = _source(what), _around(what)
        for name in sorted(_used(text) - {what.__name__}):
            self._need(name, around, what)
        self.texts.append(text)

    def _need(self, name: str, around: Mapping[str, Any], user: Any) -> None:
        """Make a name known that a class or function uses; PartError."""
        if name not in around:
            if not hasattr(builtins, name):
                raise _refused(user, f"it uses {name}, which is not there", f"define {name} first")
            return
        value = around[name]
        if name in self.known:
            if self.known[name] is not value and self.known[name] != value:
                raise _refused(user, f"{name} means two things in what it uses", "rename one")
            return
        self._take(name, value, user)

    def _take(self, name: str, value: Any, user: Any) -> None:
        line = _import_of(name, value)
        if line:
            self.imports.add(line)
        elif isinstance(value, type | FunctionType) and value.__name__ == name:
            self.define(value)
        elif isinstance(value, type | FunctionType) and value.__name__.isidentifier():
            self._need(value.__name__, {value.__name__: value}, user)
            self.texts.append(f"{name} = {value.__name__}")
        elif _literal(value):
            self.texts.append(f"{name} = {value!r}")
        else:
            rule = f"it uses {name}, {_what(value)} that cannot travel as text"
            mend = f"make {name} inside the class, or a parameter of it"
            raise _refused(user, rule, mend)
        self.known[name] = value


def _what(value: Any) -> str:
    if isinstance(value, ModuleType):
        return f"a file of yours ({value.__name__}) as a whole"
    return f"an object of type {type(value).__name__}"


def _refused(user: Any, rule: str, mend: str) -> PartError:
    code = next(_codes(user), None)
    file, line = (code.co_filename, code.co_firstlineno) if code else (user.__module__, 1)
    return PartError(Path(file), line, f"{user.__qualname__}: {rule}", mend)


# ---- its source ----------------------------------------------------------------------------------


def _codes(what: Any) -> Iterator[CodeType]:
    """The code of a function, or of the functions that a class defines itself."""
    if isinstance(what, FunctionType):
        yield what.__code__
        return
    for value in vars(what).values():
        inner = getattr(value, "__func__", getattr(value, "fget", value))
        inner = getattr(inner, "__wrapped__", inner)
        if isinstance(inner, FunctionType) and inner.__module__ == what.__module__:
            yield inner.__code__


def _source(what: Any) -> str:
    """The definition of a class or function as it was written; PartError."""
    for code in _codes(what):
        lines = linecache.getlines(code.co_filename)
        try:
            tree = ast.parse("".join(lines))
        except SyntaxError:  # a cell with magic commands
            tree = ast.parse("".join("\n" if re.match(r"\s*[%!?]", w) else w for w in lines))
        for node in ast.walk(tree):
            kinds = ast.ClassDef | ast.FunctionDef
            if isinstance(node, kinds) and node.name == what.__name__ and _spans(node, code):
                first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
                return textwrap.dedent("".join(lines[first - 1 : node.end_lineno])).rstrip()
    rule = "its source is not at hand"
    raise _refused(what, rule, "write it in a file, a script or a notebook, with its methods")


def _spans(node: ast.ClassDef | ast.FunctionDef, code: CodeType) -> bool:
    first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
    return first <= code.co_firstlineno <= (node.end_lineno or first)


def _used(text: str) -> set[str]:
    """The names that a definition takes from around it, those of its annotations too."""
    found: set[str] = set()
    waiting = [symtable.symtable(text, "part", "exec")]
    while waiting:
        scope = waiting.pop()
        waiting += scope.get_children()
        for name in scope.get_symbols():
            outside = name.is_global() or (scope.get_type() == "module" and not name.is_assigned())
            if outside and name.is_referenced() and not name.get_name().startswith("__"):
                found.add(name.get_name())
    return found


def _around(what: Any) -> dict[str, object]:
    """What a class or function sees: its module, and the variables of the function around it."""
    module = sys.modules.get(what.__module__)
    found: dict[str, object] = dict(vars(module)) if module else {}
    functions = [what] if isinstance(what, FunctionType) else list(vars(what).values())
    for function in functions:
        inner = getattr(function, "__func__", function)
        if isinstance(inner, FunctionType):
            found = {**inner.__globals__, **found}
            for name, cell in zip(
                inner.__code__.co_freevars, inner.__closure__ or (), strict=False
            ):
                with contextlib.suppress(ValueError):  # not filled yet
                    found[name] = cell.cell_contents
    bases = what.__bases__ if isinstance(what, type) else ()
    return {base.__name__: base for base in bases} | found


# ---- what it uses --------------------------------------------------------------------------------


def _import_of(name: str, value: Any) -> str:
    """The line that imports what a library or the engine has; '' for one's own."""
    if isinstance(value, ModuleType):
        return f"import {value.__name__} as {name}" if _of_library(value.__name__) else ""
    for module in NAMESPACES:
        if getattr(sys.modules.get(module), name, None) is value:
            return f"from {module} import {name}"
    home, own = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if not home or not own.isidentifier() or not _of_library(home):
        return ""
    if getattr(sys.modules.get(home), own, None) is not value:
        return ""
    return f"from {home} import {own}" + ("" if own == name else f" as {name}")


def _of_library(module: str) -> bool:
    """Whether a module is there wherever the engine is: installed, or the engine itself."""
    top = module.split(".")[0]
    if top in sys.stdlib_module_names:
        return True
    found = sys.modules.get(top)
    file = getattr(found, "__file__", None)
    if file is None:
        paths = list(getattr(found, "__path__", ()))
        file = paths[0] if paths else ""
    return top in ("engine", "analysis") or not INSTALLED.isdisjoint(Path(file).parts)


def _literal(value: Any) -> bool:
    """Whether a constant can be written down and read again."""
    if not isinstance(value, LITERAL):
        return False
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError):
        return False
