"""Where parts of one's own are found: three doors.

1. Folders, by `--parts DIR` or $OUROBOROS_PARTS: DIR/generators/my_model.py is {name: my_model}.
2. Installed packages, by the entry-point group `ouroboros.parts`, which names a package that holds
   such folders.  Nothing is imported to find them.
3. Classes that were handed to the Python API.

An experiment file is no door: it may only name parts.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from engine._signatures import KINDS, PartError
from engine.files import JsonObject
from engine.outside.classes import part_name, text_of
from engine.outside.sources import Sources, gathered

VARIABLE = "OUROBOROS_PARTS"  # folders, separated as in PATH
GROUP = "ouroboros.parts"


@dataclass(frozen=True, eq=False)
class Place:
    """Where a part of one's own lies.

    origin: for people.  path: of its file, below the root.  module: as an installed package's file
    is imported; '' where its text is run.  files: its texts, where they lie in no file.
    """

    kind: str
    name: str
    origin: str
    root: Path
    path: str
    module: str = ""
    cls: str = ""  # its class, where that is not called as the file
    files: Mapping[str, str] | None = None

    @cached_property
    def sources(self) -> Sources:
        """Its texts, read once; PartError."""
        if self.files is not None:
            return Sources(self.root, self.path, self.files)
        return gathered(self.root, self.path, self.module.split(".")[0])

    def to_json(self) -> JsonObject:
        """As it travels to another process."""
        names = ("kind", "name", "origin", "path", "module", "cls")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "root": str(self.root), "files": dict(self.sources.files)}

    @classmethod
    def from_json(cls, values: JsonObject) -> Place:
        """The inverse of `to_json`."""
        return cls(**{**values, "root": Path(values["root"])})

    def differs(self) -> str:
        """The first file of an installed package that is another one here, or none; or ''."""
        top = _folder_of(self.module.split(".")[0])
        for path, text in sorted(self.sources.files.items()):
            file = top.parent / path if top else Path(path)
            if not file.is_file() or file.read_bytes() != text.encode():
                return path
        return ""


# ---- the three doors -----------------------------------------------------------------------------


def use(folders: Iterable[str | Path]) -> list[Path]:
    """Look for parts in these folders too, in this process and those that it starts.

    NotADirectoryError, or ValueError when a folder holds no parts.
    """
    found = [checked(_whole(folder)) for folder in folders]
    before = [path for path in search_path() if path not in found]
    if found:
        os.environ[VARIABLE] = os.pathsep.join(map(str, [*found, *before]))
    return found


def checked(folder: Path) -> Path:
    """The folder, which must hold one of parts; NotADirectoryError, ValueError."""
    wanted = ", ".join(f"{name}/" for name in KINDS.values())
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder}: no such folder; parts lie in its {wanted}")
    if not any((folder / name).is_dir() for name in KINDS.values()):
        raise ValueError(f"{folder} holds none of {wanted}; a generator is DIR/generators/name.py")
    return folder


def search_path() -> list[Path]:
    """The folders of $OUROBOROS_PARTS, as they are."""
    listed = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [_whole(name) for name in listed if name]


def _whole(folder: str | Path) -> Path:
    return Path(os.path.abspath(Path(folder).expanduser()))


def of_folder(folder: Path) -> Iterator[Place]:
    """The parts below one folder."""
    for kind, path in _files(folder):
        yield Place(kind, Path(path).stem, str(folder / path), folder, path)


def of_packages(faults: list[PartError]) -> Iterator[Place]:
    """The parts of installed packages; what is wrong with an entry point goes to `faults`."""
    for point in _points(tuple((place, _changed(place)) for place in map(_whole, sys.path))):
        folder = _folder_of(point.value)
        if folder is None:
            rule = f"the entry point {point.name} = {point.value} of {GROUP} leads to no package"
            mend = "name a package that holds generators/, metrics/, ..."
            faults.append(PartError(Path(_owner(point)), 1, rule, mend))
            continue
        root = folder.parents[point.value.count(".")]
        for kind, path in _files(folder):
            module = f"{point.value}.{path.removesuffix('.py').replace('/', '.')}"
            below = (folder / path).relative_to(root).as_posix()
            yield Place(kind, Path(path).stem, _owner(point), root, below, module)


@lru_cache(1)
def _points(installed: tuple[tuple[Path, int], ...]) -> list[EntryPoint]:
    """The entry points of the group, read again when a folder of installed packages has changed:
    that is a file of each of hundreds.
    """
    return sorted(entry_points(group=GROUP), key=lambda point: (point.value, point.name))


def _changed(place: Path) -> int:
    """When an entry was last added to a folder or removed, in nanoseconds; 0: no folder."""
    try:
        return place.stat().st_mtime_ns
    except OSError:
        return 0


def of_class(kind: str, cls: type) -> Place:
    """A class as a part, by its source; PartError."""
    name = part_name(cls)
    path = f"{KINDS[kind]}/{name}.py"
    origin = f"class {cls.__qualname__} of {cls.__module__}"
    return Place(kind, name, origin, Path("<class>"), path, "", cls.__name__, {path: text_of(cls)})


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """The files of parts below a folder, with their kinds."""
    for kind, room in KINDS.items():
        for file in sorted((folder / room).glob("*.py")):
            if not file.stem.startswith("_"):
                yield kind, f"{room}/{file.name}"


def _folder_of(module: str) -> Path | None:
    """The folder of a package, found without importing it."""
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    for place in (spec and spec.submodule_search_locations) or ():
        folder = Path(place, *rest)
        if folder.is_dir():
            return folder
    return None


def _owner(point: EntryPoint) -> str:
    """The distribution of an entry point, for people."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value
