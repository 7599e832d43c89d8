"""Values of constant expressions, read from source files that are not run: literals, constants by
name, and arithmetic of both.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitOr: operator.or_,
    ast.LShift: operator.lshift,
}


class Unreadable(Exception):
    """An expression that says nothing before it is run."""


@cache
def module(file: Path) -> Module:
    """A source file, parsed once; SyntaxError, UnicodeDecodeError."""
    return Module(file, ast.parse(file.read_text(encoding="utf-8"), str(file)))


@dataclass(frozen=True, eq=False)
class Module:
    """A source file: its classes, and the values of its constants.

    beside: the files that it may import from, by their paths, when it is none of the package's.
    """

    file: Path
    tree: ast.Module
    path: str = ""
    beside: Mapping[str, Module] = field(default_factory=dict)

    def class_of(self, name: str) -> ast.ClassDef | None:
        for node in self.tree.body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
        return None

    def base(self, node: ast.expr) -> tuple[Module, ast.ClassDef] | None:
        """The class that a base's name means, here or in a file it was imported from; None when
        that is not of the package.
        """
        if not isinstance(node, ast.Name):
            return None
        cls = self.class_of(node.id)
        if cls is not None:
            return self, cls
        there = self._imported(node.id)
        return None if there is None else there[0].base(ast.Name(there[1]))

    def value(self, node: ast.expr) -> Any:
        """The value of a constant expression; Unreadable."""
        try:
            return self._value(node)
        except (TypeError, ValueError) as error:  # unhashable, no mapping, too many digits
            raise Unreadable(f"{ast.unparse(node)}: {error}") from None
        except RecursionError:
            raise Unreadable("it is defined by itself") from None

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            items = [self.value(item) for item in node.elts]
            kinds = {ast.Tuple: tuple, ast.List: list, ast.Set: set}
            return kinds[type(node)](items)
        if isinstance(node, ast.Dict):
            return self._mapping(node)
        if isinstance(node, ast.BinOp):
            return self._computed(node)
        try:
            return ast.literal_eval(node)
        except ValueError:
            raise Unreadable(ast.unparse(node)) from None

    def _mapping(self, node: ast.Dict) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                found |= self.value(value)  # **others
            else:
                found[self.value(key)] = self.value(value)
        return found

    def _computed(self, node: ast.BinOp) -> Any:
        act = OPERATORS.get(type(node.op))
        if act is None:
            raise Unreadable(ast.unparse(node))
        try:
            return act(self.value(node.left), self.value(node.right))
        except (TypeError, ArithmeticError, ValueError) as error:
            raise Unreadable(f"{ast.unparse(node)}: {error}") from None

    def _named(self, name: str) -> Any:
        for node in self.tree.body:
            if isinstance(node, ast.Assign):
                targets: list[ast.expr] = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            else:
                continue
            if node.value is not None and any(_is(target, name) for target in targets):
                return self.value(node.value)
        there = self._imported(name)
        if there is None:
            raise Unreadable(name)
        return there[0]._named(there[1])

    def _imported(self, name: str) -> tuple[Module, str] | None:
        """The file that a name was imported from, and what it is called there; None when it is
        neither of the package nor beside this one.
        """
        for node in self.tree.body:
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            for alias in node.names:
                if (alias.asname or alias.name) == name and (there := self._module_of(node)):
                    return there, alias.name
        return None

    def _module_of(self, node: ast.ImportFrom) -> Module | None:
        assert node.module
        for path in asked(self.path, node):
            if path in self.beside:
                return self.beside[path]
        file = PACKAGE.parent / (node.module.replace(".", "/") + ".py")
        of_package = not node.level and node.module.split(".")[0] == PACKAGE.name
        return module(file) if of_package and file.is_file() else None


def asked(path: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """The paths of files that an import in the file at `path` may mean, all below one root."""
    if isinstance(node, ast.Import):
        stems = [alias.name.replace(".", "/") for alias in node.names]
    else:
        above = path.split("/")[:-1]
        if node.level > len(above) + 1:
            return  # above the root
        base = above[: len(above) - node.level + 1] if node.level else []
        base += node.module.split(".") if node.module else []
        stems = ["/".join(base), *("/".join([*base, alias.name]) for alias in node.names)]
    for stem in filter(None, stems):
        yield f"{stem}.py"
        yield f"{stem}/__init__.py"


def _is(target: ast.expr, name: str) -> bool:
    return isinstance(target, ast.Name) and target.id == name
