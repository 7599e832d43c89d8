"""What is an output of ours, whether it can be reached, who it is, and which is nearest where one
that was named is none.

<out>/output.json   its identity: the same wherever the output is moved or copied to
"""

from __future__ import annotations

import contextlib
import difflib
import os
import posixpath
import re
import uuid
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from engine._deadline import within
from engine._foreign import HoldsPassword, NoPlace, without_passwords
from engine._lasting import in_words, remedy
from engine.files import JsonObject
from engine.spec import digest
from engine.status import EnvironmentProblem
from engine.store import shapes
from engine.store.rows import Newer
from engine.store.seal import Damaged
from engine.store.store import Store

IDENTITY = "output.json"
OURS = {  # what committed things are called, by the folder that they lie in
    "lineages": re.compile(r"[0-9a-f]{16}\.json"),
    "blocks": re.compile(r"[0-9a-f]{24}\.json"),
    "models": re.compile(r"[0-9a-f]{24}"),
    "draws": re.compile(r"[0-9a-f]{24}"),
}
# what stands beside them before anything is committed
BESIDE = (IDENTITY, "experiments", "locks", "mlflow.db", "mlflow.db-shm", "mlflow.db-wal")
SECONDS = 15.0  # until an object store has said whether it lets us in
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # what sends s3:// elsewhere
MOST_NAMED = 3  # outputs that are near


class NoOutput(Exception):
    """An output that was named and is none."""


class Unreachable(EnvironmentProblem):
    """An output, for a reason of the place where it is."""


# ---- whether it can be looked at -----------------------------------------------------------------


def reached(url: str) -> Store:
    """Open an output to look at, which need not be there yet; makes nothing.

    Unreachable, within seconds and in one sentence, when nobody answers there or lets us in.
    """
    try:
        store = Store(url, repairs=False)
        if not store.local:
            within(SECONDS, lambda: _must_answer(store))
    except Exception as error:
        raise closed(url, error) from None
    return store


def _must_answer(store: Store) -> None:
    """Raises when an object store does not let us list, or is none."""
    if store.names(""):
        return
    try:
        store.fs.cat_file(store.path(f".probe-{uuid.uuid4().hex}"))
    except FileNotFoundError as error:
        if remedy(error):  # not the output, but the bucket
            raise
    else:
        raise ValueError("what nobody has put there is there, too: this is no object store")


def closed(url: str, error: Exception) -> Exception:
    """Why an output cannot be opened: the libraries of fsspec each have errors of their own."""
    ours = NoOutput | Damaged | Newer | HoldsPassword | NoPlace | EnvironmentProblem
    if isinstance(error, ours):
        return error
    if "://" not in url and not isinstance(error, OSError | ValueError | ImportError):
        return error
    said = f"cannot open the output {url}: {in_words(error)}"
    if url.startswith("s3"):
        for name in filter(os.environ.get, ENDPOINTS):
            return Unreachable(f"{said} ({name} is {without_passwords(os.environ[name])})")
    return Unreachable(said)


def is_output(store: Store) -> bool:
    """Whether a run has left anything there."""
    return IDENTITY in store.names("") or has_rows(store)


def has_rows(store: Store) -> bool:
    """Whether anything was committed there, or is about to be."""
    there = set(store.names(""))
    return any(
        any(map(OURS[folder].fullmatch, store.names(folder))) for folder in OURS if folder in there
    )


def forget(store: Store, before: Container[str]) -> None:
    """Remove what a session leaves in an output before it commits anything, as far as the disk
    lets us: why it refused was said already.

    before: the names that were there when it began, which stay.
    """
    for name in (name for name in BESIDE if name not in before):
        with contextlib.suppress(OSError):
            store.fs.rm(store.path(name), recursive=True)


def existing(store: Store) -> Store:
    """The same store; NoOutput, which names what is near, when it is no output."""
    if is_output(store):
        return store
    if store.local and os.path.isfile(store.root):
        said = "that is a file"
    elif store.local and not os.path.isdir(store.root):
        said = "there is no such folder"
    else:
        said = "nothing there was made by `ouro run`"
    raise NoOutput(f"{store.url} is no output: {said}{_near(store)}")


def _near(store: Store) -> str:
    """Which outputs are near, as the rest of a sentence."""
    if not store.local:
        return _guess(posixpath.basename(store.root), _siblings(store))
    root, place = Path(store.root), Path(store.root)
    while not place.is_dir():
        place = place.parent
    near = _outputs_in(place) or _outputs_in(root.parent)
    if near:
        return _guess(root.name, near)
    return "" if place == root else f"; the nearest that exists is {_short(place)}"


def _guess(name: str, outputs: dict[str, str]) -> str:
    """The outputs whose names are nearest, else the first ones; outputs: name -> place."""
    close = difflib.get_close_matches(name, outputs, 1)
    named = [outputs[each] for each in close or sorted(outputs)[:MOST_NAMED]]
    return f"; did you mean {' or '.join(named)}?" if named else ""


def _outputs_in(folder: Path) -> dict[str, str]:
    """The outputs directly below a folder: name -> place."""
    found = {}
    with contextlib.suppress(OSError):
        for child in folder.iterdir():
            with contextlib.suppress(OSError):
                if child.is_dir() and is_output(Store(str(child), repairs=False)):
                    found[child.name] = _short(child)
    return found


def _siblings(store: Store) -> dict[str, str]:
    above = posixpath.dirname(store.url.rstrip("/"))
    names = Store(above, repairs=False).names("") if "/" in store.root else []
    return {name: f"{above}/{name}" for name in names}


def _short(place: Path) -> str:
    """A folder as seen from the working directory, where that is shorter."""
    seen = os.path.relpath(place)
    return str(place) if seen.startswith("..") else seen


# ---- who it is -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """Who an output is.

    origin   what tells it from all others: of outputs that older versions began, where they were.
    earlier  ids of lineages that older versions put there, which kept no experiment.
    """

    origin: str
    earlier: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: object) -> Identity:
        found = shapes.mapping(value)
        earlier = tuple(map(shapes.name, shapes.items(found.get("earlier", []))))
        return cls(shapes.text(found.get("origin")), earlier)

    def to_json(self) -> JsonObject:
        return {"origin": self.origin, "earlier": list(self.earlier)}


def identity(store: Store) -> Identity | None:
    """Who an output is; None where nobody has said it yet, or what was said is damaged."""
    return store.found(store.path(IDENTITY), Identity.from_json)


def identify(store: Store, own: Iterable[str]) -> Identity:
    """Say who an output is, for who holds it; what was said stays.

    own  ids of lineages whose experiment is kept from now on.
    """
    found = identity(store)
    if found is not None:
        return found
    there = {name.removesuffix(".json") for name in store.names("lineages")}
    if is_output(store):  # an older version began it, and knew it by where it was
        made = Identity(store.url, tuple(sorted(there - set(own))))
    else:
        made = Identity(uuid.uuid4().hex)
    store.write_json(store.path(IDENTITY), made.to_json())
    return made


def sweep_id(store: Store, name: str) -> str:
    """By what a tracker knows the sweep of an experiment in an output, wherever that is moved."""
    found = identity(store)
    return digest({"sweep": name, "out": store.url if found is None else found.origin}, 16)
