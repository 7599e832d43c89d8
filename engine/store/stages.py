"""How far the lineages at work are inside their generations, as their workers write it to the
output: for the screen of the session and for `ouro status`, on whatever machine.

    <out>/progress/<id>.json

Nothing depends on these files; one that is old or unreadable says nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Container
from dataclasses import asdict, dataclass

from engine.store import shapes
from engine.store.seal import Damaged
from engine.store.store import Store
from engine.training.progress import Stage

FOLDER = "progress"
MOST = 10_000  # bytes of a file
EVERY_SECONDS = 5.0  # a worker writes so often, once a generation has lasted so long ...
REMOTE_SECONDS = 30.0  # ... and so often to an object store, where every write has a price
FRESH = 3  # times that; what is older belongs to a worker that is gone


@dataclass
class Teller:
    """Writes how far one lineage is, not too often."""

    store: Store
    lineage: str

    def __post_init__(self) -> None:
        self.told = False
        self.last = time.monotonic()

    def hear(self, stage: Stage) -> None:
        """Write it when it is time; a disk that refuses is for the next commit to notice."""
        if time.monotonic() - self.last < every(self.store):
            return
        self.last, self.told = time.monotonic(), True
        with contextlib.suppress(OSError, Damaged):
            text = json.dumps({**asdict(stage), "time": time.time()})
            self.store.write(_path(self.store, self.lineage), text.encode())

    def committed(self) -> None:
        """The generation is over: what was written of it no longer holds."""
        self.last = time.monotonic()
        if self.told:
            self.told = False
            with contextlib.suppress(OSError, Damaged):
                self.store.remove(_path(self.store, self.lineage))


def every(store: Store) -> float:
    """Seconds between two looks, or two words, at the least."""
    return EVERY_SECONDS if store.local else REMOTE_SECONDS


def told(store: Store, lineages: Container[str]) -> dict[str, Stage]:
    """What the workers of these lineages have written of late, by lineage."""
    found = dict[str, Stage]()
    with contextlib.suppress(OSError):  # an object store that is busy
        for name in store.names(FOLDER):
            lineage = name.removesuffix(".json")
            stage = _read(store, lineage) if lineage in lineages else None
            if stage is not None:
                found[lineage] = stage
    return found


def _read(store: Store, lineage: str) -> Stage | None:
    try:
        data = store.read(_path(store, lineage), MOST)
        found = shapes.mapping(json.loads(data or b"null"))
        age = time.time() - shapes.number(found.get("time"))
        stage = Stage(
            t=shapes.integer(found.get("t"), most=shapes.LAST),
            what=shapes.text(found.get("what")),
            done=shapes.integer(found.get("done")),
            total=shapes.integer(found.get("total")),
            speed=shapes.number(found.get("speed")),
            left=shapes.number_or_none(found.get("left")),
        )
    except (Damaged, ValueError, RecursionError):
        return None
    return stage if math.fabs(age) < FRESH * every(store) else None


def _path(store: Store, lineage: str) -> str:
    return store.path(FOLDER, f"{lineage}.json")
