"""The source of a part from outside: its file and the files beside it that it imports, as texts.

What is in these texts is in the key, and they are what is run, here and on other machines: a part
that is edited while it runs changes nothing of it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine._literals import Module, asked
from engine._signatures import PartError

DIGITS = 16  # of a digest


@dataclass(frozen=True, eq=False)
class Sources:
    """A part's file and those it imports, by their paths below one root."""

    root: Path
    path: str  # of the part's own file
    files: Mapping[str, str]

    @property
    def file(self) -> Path:
        return self.root / self.path

    @cached_property
    def digest(self) -> str:
        """The first hex digits of the SHA-256 of the file; of several, of their list."""
        if len(self.files) == 1:
            return _sha(self.files[self.path])[:DIGITS]
        each = sorted((path, _sha(text)) for path, text in self.files.items())
        return _sha(json.dumps([self.path, each]))[:DIGITS]

    @cached_property
    def module(self) -> Module:
        """The part's file, parsed, with the others beside it; SyntaxError names the file."""
        beside: dict[str, Module] = {}
        for path, text in self.files.items():
            file = self.root / path
            beside[path] = Module(file, parsed(text, file), path, beside)
        return beside[self.path]


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parsed(text: str, file: Path) -> ast.Module:
    """A source text as a tree; SyntaxError names the file."""
    try:
        return ast.parse(text.removeprefix("\ufeff"), str(file))
    except ValueError as error:  # a null byte
        raise SyntaxError(str(error), (str(file), 1, 1, None)) from None


def gathered(root: Path, path: str, package: str = "") -> Sources:
    """Read a part's file and all below `root` that it imports, and they import; PartError.

    package: the installed package it is of, whose files are imported by their whole names; '':
    it lies in a folder of one's own, where imports are relative.
    """
    files: dict[str, str] = {}
    waiting = [path]
    while waiting:
        name = waiting.pop()
        if name not in files:
            files[name] = _text(root / name)
            waiting += _imports(root, name, files[name], package)
    return Sources(root, path, files)


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        fault = f"this is not text in UTF-8: {error.reason} at byte {error.start}"
        raise PartError(file, 1, fault, "save it as UTF-8") from None
    except OSError as error:
        fault = f"it cannot be read: {(error.strerror or str(error)).lower()}"
        raise PartError(file, 1, fault, "check the file and its permissions") from None


def _imports(root: Path, path: str, text: str, package: str) -> Iterator[str]:
    """The files of one's own that a file imports, wherever in it."""
    try:
        tree = parsed(text, root / path)
    except SyntaxError:
        return  # told when the part is read
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            absolute = isinstance(node, ast.Import) or not node.level
            if absolute and not package:
                _refuse_neighbours(root / path, node)
                continue
            found = [name for name in asked(path, node) if (root / name).is_file()]
            yield from (n for n in found if not absolute or n.startswith(f"{package}/"))


def _refuse_neighbours(file: Path, node: ast.Import | ast.ImportFrom) -> None:
    """PartError when an absolute import means a file beside this one, which it cannot find."""
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    for name in names:
        first = name.split(".")[0]
        if (file.parent / f"{first}.py").is_file() and not _importable(first):
            rule = f"its neighbour {first}.py is imported by an absolute name"
            raise PartError(file, node.lineno, rule, f"write `from .{name} import ...`")


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
