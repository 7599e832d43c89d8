"""Imports parts from their texts: no file is looked at again, and no bytecode of an older text.

Each text has a package of its own in `sys.modules`, so an edited part is another module.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import linecache
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

from engine.outside.sources import Sources

PREFIX = "ouroboros_part_"

_packages: dict[str, Sources] = {}


def load(sources: Sources) -> ModuleType:
    """The module of a part's file; whatever its lines raise."""
    text = json.dumps([sources.path, sorted(sources.files.items())])
    package = PREFIX + hashlib.sha256(text.encode()).hexdigest()[:24]
    _packages.setdefault(package, sources)
    if _FINDER not in sys.meta_path:
        sys.meta_path.append(_FINDER)
    inner = sources.path.removesuffix(".py").replace("/", ".")
    return importlib.import_module(f"{package}.{inner}")


class _Finder(MetaPathFinder):
    """Finds what `_packages` holds."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, inner = fullname.partition(".")
        sources = _packages.get(package)
        if sources is None:
            return None
        stem = inner.replace(".", "/")
        for name, holds in ((f"{stem}/__init__.py", True), (f"{stem}.py", False)):
            if name in sources.files:
                return spec_from_loader(fullname, _Text(sources, name), is_package=holds)
        if not stem or any(name.startswith(f"{stem}/") for name in sources.files):
            return spec_from_loader(fullname, _Text(sources, ""), is_package=True)
        return None


class _Text(Loader):
    """Runs one text; '' is a folder."""

    def __init__(self, sources: Sources, name: str) -> None:
        self.sources, self.name = sources, name

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if not self.name:
            return
        file, text = str(self.sources.root / self.name), self.sources.files[self.name]
        module.__file__ = file
        lines = text.splitlines(keepends=True)
        linecache.cache[file] = (len(text), None, lines, file)  # tracebacks show what was run
        exec(compile(text.removeprefix("\ufeff"), file, "exec"), module.__dict__)


_FINDER = _Finder()
