"""What a process that works on lineages itself (`--local`) leaves behind when it dies in the middle
(a segmentation fault, `kill -9`), which it cannot record: what it was at, and what Python's fault
handler had to say of it.  The next run names it, and does not die of it for ever.

    <out>/logs/at_work    a line of JSON; after a fault also the signal and where it was.  Gone when
                          a run has ended by itself, however it ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import IO

from engine._foreign import one_line
from engine.running.failure import place_of
from engine.running.logs import Folder
from engine.status import FailureKind
from engine.store import shapes
from engine.store.disk import Unwritable
from engine.store.failures import Failure
from engine.store.seal import Damaged
from engine.store.store import Store

NAME = "at_work"
MOST_BYTES = 1 << 20
DEATHS = 3  # by faults, of a lineage that gets no further: then it is recorded, and others go on
FAULT = re.compile(r"^Fatal Python error: (.+)$", re.M)
STACK = re.compile(r"^Current thread .*\n((?:  .*\n)+)", re.M)
FRAME = re.compile(r'^  File "(.+)", line (\d+) in (.*)$', re.M)
KILLED = "killed from outside: kill -9, the system for its memory, or with the machine"


@dataclass(frozen=True)
class Note:
    """What a process is at.

    place  how far the lineage was when it was begun, as `place_in` says; "": it was not looked at.
    times  how many processes before this one have died there by faults of their own; who is killed
           from outside may be killed as often as one likes.
    """

    lineage: str
    place: str = ""
    times: int = 0

    @classmethod
    def from_json(cls, value: object) -> Note:
        """Raises Malformed."""
        found = shapes.mapping(value)
        times = shapes.integer(found.get("times"), most=10**6)
        return cls(shapes.text(found.get("lineage")), shapes.text(found.get("place")), times)


@dataclass(frozen=True)
class Death:
    """Of the process that left the note, by what the fault handler wrote behind it."""

    note: Note
    words: str = ""

    @property
    def faulted(self) -> bool:
        """Whether it died by a fault of its own, which Python's handler saw."""
        return FAULT.search(self.words) is not None

    @property
    def how(self) -> str:
        """The signal in words and the line of the part; or that nothing is known."""
        fault = FAULT.search(self.words)
        if fault is None:
            return KILLED
        file, line = place_of(self.stack)
        where = f" ({file}:{line})" if line else ""
        return one_line(fault[1].lower() + where)

    @property
    def stack(self) -> traceback.StackSummary:
        """Where it died, the innermost frame last; empty after a kill."""
        found = STACK.search(self.words)
        frames = FRAME.findall(found[1]) if found else []
        named = [(file, int(line), name, "") for file, line, name in reversed(frames)]
        return traceback.StackSummary.from_list(named)

    def failure(self, times: int, t: int) -> Failure:
        """What the store keeps of a lineage whose processes die by faults."""
        file, line = place_of(self.stack)
        return Failure(
            kind=FailureKind.BUG,
            error="ProcessDied",
            message=f"its process died {times} times at this generation ({self.how}); "
            "without --local it would end alone",
            t=t,
            file=file,
            line=line,
            traceback=self.words,
            time=time.time(),
        )


class AtWork:
    """The note in the folder of logs.  What is in the way of writing it stops nobody."""

    def __init__(self, folder: Folder, store: Store) -> None:
        self.folder = folder
        self.died = _read(folder, store)
        self._file: IO[str] | None = None

    @contextlib.contextmanager
    def noted(self, faults: bool) -> Iterator[None]:
        """Inside, a note can be taken.

        faults: the process is ours, and its fault handler too, unless somebody else has it.
        """
        with contextlib.suppress(Unwritable):
            self._file = self.folder.disk.append(self._path)
        handled = faults and self._file is not None and not faulthandler.is_enabled()
        if handled and self._file is not None:
            faulthandler.enable(self._file)
        try:
            yield
        finally:
            if handled:
                faulthandler.disable()
            if self._file is not None:
                self._file.close()
            self.forget()

    def begin(self, lineage: str, place: Callable[[], str]) -> int:
        """Note what is begun; how many processes have died there before by faults, without getting
        further.

        place: how far it is, which is looked at where the last process died of it.
        """
        note, before = Note(lineage), self.died.note if self.died else None
        if before is not None and before.lineage == lineage:
            here = place()
            alike = before.times if here == before.place else 0
            note = Note(lineage, here, alike + 1 if self.died and self.died.faulted else 0)
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk is for the next commit to notice
                self._file.truncate(0)
                self._file.write(json.dumps(asdict(note)) + "\n")
                self._file.flush()
        return note.times

    def forget(self) -> None:
        """Remove the note: whatever ended the work has said so."""
        with contextlib.suppress(OSError, Damaged):
            self.folder.disk.remove(self._path)

    @property
    def _path(self) -> str:
        return str(self.folder.path(NAME))


def _read(folder: Folder, store: Store) -> Death | None:
    """The death of the last process; None where it ended by itself, or recorded why not."""
    try:
        data = folder.disk.read(str(folder.path(NAME)), MOST_BYTES) or b""
        said, _, words = data.decode("utf-8", "replace").partition("\n")
        note = Note.from_json(json.loads(said or "null"))
        known = shapes.is_below(note.lineage) and store.failure(note.lineage) is not None
    except (OSError, Damaged, ValueError, RecursionError):
        return None
    return None if known else Death(note, words)


def place_in(store: Store, rows: int) -> str:
    """How far a lineage is: generations, and the newest state of a half-trained model."""
    newest = 0
    if store.local:
        for _, entry in store.disk.entries("partial/"):
            with contextlib.suppress(OSError):
                newest = max(newest, entry.stat(follow_symlinks=False).st_mtime_ns)
    return f"{rows} {newest}"
