"""Files that lie beside the experiment that names them: a script, a table, pictures.

A relative path of a part is looked for in the folder of the experiment file first; else it means
what the part says (below the data root, in the working directory).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine._annotations import names_files, with_paths
from engine.registry import KINDS, PartError, describe


def look_beside(values: Any, folder: Path) -> None:
    """Make those paths of an experiment's values whole that lead to something in this folder."""
    base, grid, metrics = (_of(values, key) for key in ("base", "grid", "metrics"))
    for kind in KINDS:
        for part in (_of(base, kind), *_items(_of(grid, kind))):
            _complete(kind, part, folder)
        name = _name(_of(base, kind))
        for parameter, annotation in _leading(kind, name):
            several = _of(grid, f"{kind}.{parameter}")
            if isinstance(several, list):
                several[:] = [_wholes(annotation, value, folder) for value in several]
    for metric in _items(metrics):
        _complete("metric", metric, folder)


def _complete(kind: str, part: Any, folder: Path) -> None:
    """The same of one part, and of those nested in it."""
    if not isinstance(part, dict):
        return
    for parameter, annotation in _leading(kind, _name(part)):
        if parameter in part:
            part[parameter] = _wholes(annotation, part[parameter], folder)
    for inner in KINDS:
        _complete(inner, part.get(inner), folder)


def _leading(kind: str, name: Any) -> Iterator[tuple[str, str]]:
    """The parameters of a part that may lead to files, and their types; none of one that is not
    there or not read.
    """
    try:
        known = describe(kind, name).parameters if isinstance(name, str) else {}
    except (KeyError, PartError):
        return  # said where the part is checked
    for key, about in known.items():
        if names_files(about.annotation):
            yield key, about.annotation


def _wholes(annotation: str, value: Any, folder: Path) -> Any:
    """A value of this type, with the paths in it that lead to something in the folder whole."""
    return with_paths(annotation, value, lambda _, path: _whole(path, folder))


def _whole(path: str, folder: Path) -> str:
    """A path that leads to something in the folder, whole; anything else as it is."""
    if not path or "\0" in path:
        return path
    found = folder / path
    try:
        return str(found.resolve()) if found.exists() else path
    except OSError:  # a name too long to be one
        return path


def _of(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, dict) else None


def _items(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def _name(part: Any) -> Any:
    return part.get("name") if isinstance(part, dict) else part
