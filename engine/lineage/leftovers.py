"""What lies in an output and nothing needs any more, and its removal, by who holds the output.

Only files that the store itself writes are ever named, each below the output: links are not
followed, and what else people put there stays.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from engine.files import is_of_the_dead, is_staged
from engine.store.outputs import OURS
from engine.store.rows import block_from_json
from engine.store.seal import Damaged
from engine.store.store import KIND_FOLDERS, Kind, Store

PRINTED = re.compile(r"commands/([0-9a-f]{16})\.(?:out|err)")  # by programs of a lineage
PARTIAL = re.compile(r"([0-9a-f]{24})-\d+")
KINDS: dict[str, Kind] = {folder: kind for kind, folder in KIND_FOLDERS.items()}


class Why(StrEnum):
    """Why nothing needs a file."""

    UNREACHED = "of lineages that no kept experiment has"
    UNCOMMITTED = "written by a process that died before it committed them"
    DAMAGED = "damaged, set aside and made again since"
    STAGED = "staged by processes that died"
    HALF_TRAINED = "half-trained states of models that are done or not needed"


@dataclass(frozen=True)
class Needed:
    """What the experiments of an output need: keys of models and draws, ids of lineages."""

    keys: frozenset[tuple[Kind, str]]
    lineages: frozenset[str]


@dataclass(frozen=True)
class Leftover:
    """A file, by its path within the output."""

    path: str
    why: Why
    bytes: int


def leftovers(store: Store, needed: Needed) -> list[Leftover]:
    """Every file that nothing needs, sorted by path."""
    store.refresh()
    files = dict(_files(store))
    found = []
    for path in sorted(files):
        why = _why(store, path, files, needed)
        if why is not None:
            found.append(Leftover(path, why, files[path].bytes))
    return found


def remove(store: Store, found: Iterable[Leftover]) -> int:
    """Remove files, and the folders that are empty then; the bytes freed."""
    freed, folders = 0, set[str]()
    for leftover in found:
        store.remove(store.path(leftover.path))
        freed += leftover.bytes
        above = posixpath.dirname(leftover.path)
        while above:
            folders.add(above)
            above = posixpath.dirname(above)
    for folder in sorted(folders, reverse=True) if store.local else ():
        store.disk.remove_empty(store.path(folder))
    return freed


@dataclass(frozen=True)
class _File:
    bytes: int
    changed: float  # seconds since the epoch


def _files(store: Store) -> Iterator[tuple[str, _File]]:
    """Every file below the output; what a link leads to is not below it."""
    if not store.local:
        for path, about in store.fs.find(store.root, detail=True).items():
            yield posixpath.relpath(path, store.root), _File(int(about["size"] or 0), time.time())
        return
    for path, entry in store.disk.entries():
        with contextlib.suppress(FileNotFoundError):
            about = entry.stat(follow_symlinks=False)
            yield path, _File(about.st_size, about.st_mtime)


def _why(store: Store, path: str, files: dict[str, _File], needed: Needed) -> Why | None:
    """Why nothing needs a file; None when something does, or it is not ours."""
    top, _, rest = path.partition("/")
    name = posixpath.basename(path)
    if is_staged(name):
        return Why.STAGED if is_of_the_dead(name, files[path].changed) else None
    if top == "damaged":
        return Why.DAMAGED
    if top in KINDS:
        key = rest.partition("/")[0]
        return _why_of_key(store, KINDS[top], key, files, needed) if "/" in rest else None
    if top == "blocks":
        return _why_of_block(store, rest, needed)
    if top in ("lineages", "failures") and OURS["lineages"].fullmatch(rest):
        lost = rest.removesuffix(".json") not in needed.lineages
        return Why.UNREACHED if lost else None
    if top == "logs" and (printed := PRINTED.fullmatch(rest)):
        return None if printed[1] in needed.lineages else Why.UNREACHED
    if top == "partial" and (partial := PARTIAL.fullmatch(rest)):
        key = partial[1]
        done = ("model", key) not in needed.keys or store.row("model", key) is not None
        return Why.HALF_TRAINED if done else None
    return None


def _why_of_key(
    store: Store, kind: Kind, key: str, files: dict[str, _File], needed: Needed
) -> Why | None:
    if not OURS[KIND_FOLDERS[kind]].fullmatch(key):
        return None
    if (kind, key) not in needed.keys:
        return Why.UNREACHED
    if f"{KIND_FOLDERS[kind]}/{key}/row.json" in files or store.row(kind, key) is not None:
        return None
    return Why.UNCOMMITTED


def _why_of_block(store: Store, name: str, needed: Needed) -> Why | None:
    """A block goes when nothing needs any of its rows."""
    if not OURS["blocks"].fullmatch(name):
        return None
    try:
        rows = store.read_json(store.path("blocks", name), block_from_json) or []
    except Damaged:  # whoever runs next sets it aside
        return None
    unneeded = rows and not any((row.kind, row.key) in needed.keys for row in rows)
    return Why.UNREACHED if unneeded else None
