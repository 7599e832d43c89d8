"""The source of engine/ and analysis/ as modules, imports and floors: what the house rules read."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

PACKAGES = ("engine", "analysis")
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def files(root: Path) -> list[Path]:
    return [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]


def modules(root: Path) -> dict[str, ast.Module]:
    """Every module by name; a package's `__init__` under the name of the package."""
    found = {}
    for path in files(root):
        name = ".".join(path.relative_to(root).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = parsed(path.read_text())
    return found


@cache
def parsed(text: str) -> ast.Module:
    """A source file, parsed once: most files of a changed copy are as they were."""
    return ast.parse(text)


def imported(tree: ast.AST, known: Mapping[str, object] = {}) -> set[str]:
    """What a module imports, anywhere in it; a module out of a package counts as itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                whole = f"{module}.{alias.name}"
                found.add(whole if whole in known else module)
    return found


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """The statements that run when a module is imported: not the bodies of its functions, nor what
    only type checkers read.
    """
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        node = waiting.pop()
        typing = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not typing and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            waiting += ast.iter_child_nodes(node)


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def upward_imports(root: Path, floors: Sequence[str]) -> list[str]:
    """Every import that points up, every room without a floor; in words, sorted."""
    trees = modules(root)
    found = {f"{room(name)} has no floor" for name in trees if room(name) not in floors}
    floor = {name: floors.index(room(name)) for name in trees if room(name) in floors}
    for name in floor:
        for other in imported(trees[name], trees):
            if other.startswith("."):
                found.add(f"{name} imports {other} by a relative name")
            if floor.get(other, -1) > floor[name]:
                found.add(f"{name} imports upwards: {other}")
    for package in PACKAGES:
        found |= _imported_too_early(package, trees[package])
    return sorted(found)


def _imported_too_early(package: str, tree: ast.Module) -> set[str]:
    """The top `__init__` is run before everything else: it may import only inside its functions."""
    statements = (node for node in at_import(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    others = set[str]().union(*map(imported, statements))
    return {
        f"{package}/__init__ imports {other} before it is asked for"
        for other in others
        if other.split(".")[0] in PACKAGES
    }


def libraries(root: Path) -> set[str]:
    """The first names of everything that the packages import, the standard library's too."""
    names = {name for tree in modules(root).values() for name in imported(tree)}
    return {name.split(".")[0] for name in names} - {"", *PACKAGES}


def nested_comprehensions(tree: ast.AST) -> list[int]:
    """Lines of comprehensions that hold another one."""
    outer = (node for node in ast.walk(tree) if isinstance(node, COMPREHENSIONS))
    return sorted({node.lineno for node in outer if _holds_another(node)})


def _holds_another(node: ast.AST) -> bool:
    return any(isinstance(inner, COMPREHENSIONS) and inner is not node for inner in ast.walk(node))
