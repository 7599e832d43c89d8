"""Parts that raise what can neither be printed nor pickled, leave by sys.exit, or allocate without
end.

Their lineage fails, with file and line, and the others finish.
"""

from __future__ import annotations

import json
import pickle
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import _memory as memory
from engine.generators.gaussian import Gaussian
from engine.lineage.history import histories
from engine.running.failure import MayPass, exit_code, failure_of, may_pass
from engine.running.job import Job
from engine.running.worker import Work, run_local
from engine.store.store import Store
from engine.tracking.tracker import Nop
from tests.support.sweeps import GAUSSIAN, sweep_of

SMALL = ("grid={policy: [replace, accumulate]}", "seeds=1", "generations=3")


class Holding(Exception):
    """Neither can be pickled."""

    def __init__(self) -> None:
        super().__init__("holds what cannot travel")
        self.lock, self.socket = threading.Lock(), socket.socket()


class Needy(Exception):
    """Cannot be made again from its args."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("needs two")


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class Lost(ConnectionError):
    """May pass, and does not travel."""

    def __init__(self, line: socket.socket) -> None:
        super().__init__("the line is dead")
        self.line = line


def recursing() -> None:
    recursing()


def allocating() -> None:
    held = []
    while True:
        held.append(bytearray(1 << 20))  # without end


def throwing(error: Callable[[], BaseException]) -> Callable[[], None]:
    def throw() -> None:
        raise error()

    return throw


FAULTS: dict[str, tuple[Callable[[], None], str]] = {
    "unpicklable": (throwing(Holding), "Holding: holds what cannot travel"),
    "needy": (throwing(lambda: Needy(1, 2)), "Needy: needs two"),
    "mute": (throwing(Mute), "Mute: (its message cannot be told: RuntimeError in Mute.__str__)"),
    "endless words": (throwing(lambda: ValueError("x" * 10**6)), "1,000,000 characters"),
    "half a letter": (throwing(lambda: ValueError("\udcff")), "ValueError"),
    "exit": (lambda: sys.exit(0), "SystemExit: 0"),
    "recursion": (recursing, "RecursionError"),
    "network": (throwing(lambda: Lost(socket.socket())), "Lost: the line is dead"),
    "memory": (allocating, "MemoryError"),
}


@pytest.fixture(autouse=True)
def _limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    memory._begun_with.cache_clear()
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)
    memory._begun_with.cache_clear()


class Heard(Nop):
    """Hears nothing in particular."""

    def row(self, *_: Any) -> None: ...
    def ended(self, *_: Any) -> None: ...
    def tick(self) -> None: ...


@pytest.mark.parametrize("fault", FAULTS)
def test_the_lineage_fails_with_file_and_line_and_the_others_finish(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "memory" and not Path("/proc/self/status").exists():
        pytest.skip("no limit of memory here")
    sweep = sweep_of(GAUSSIAN + "resources: {memory: 0.1}\n", tmp_path, *SMALL)
    Path(sweep.out).mkdir()
    store, honest, fits = Store(sweep.out), Gaussian.fit, 0

    def fit(self: Gaussian, *given: Any) -> dict[str, float]:
        nonlocal fits
        fits += 1
        if fits == 3:  # of the first lineage
            FAULTS[fault][0]()
        return honest(self, *given)

    monkeypatch.setattr(Gaussian, "fit", fit)
    jobs = [Job.of(sweep, store, spec, sweep.generations) for spec in sweep.lineages]
    run_local([Job(**{**job.__dict__, "together": 0.0}) for job in jobs], Heard())
    found = histories(sweep, store)
    first, *others = (found[spec.id] for spec in sweep.lineages)
    assert first.status == "failed" and first.t == 1 and FAULTS[fault][1] in first.reason, (
        first.reason
    )
    assert (
        first.reason.endswith(")")
        and "tests/parts/test_bad_parts.py:" in first.reason
        and len(first.reason) < 3000
    )
    assert all(h.status == "ok" for h in others) and exit_code(found.values()) == 1
    assert len(json.dumps(first.failure.to_json())) < 100_000
    first.reason.encode("utf-8", errors="replace")


def test_what_may_pass_travels_with_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray sends it to the driver: as it is, it could not be pickled, and would have lost its
    traceback.
    """
    sweep = sweep_of(GAUSSIAN, tmp_path, *SMALL)
    Path(sweep.out).mkdir()
    monkeypatch.setattr(Gaussian, "fit", lambda *_: throwing(lambda: Lost(socket.socket()))())
    with pytest.raises(MayPass, match="Lost: the line is dead") as error:
        Work(Job.of(sweep, Store(sweep.out), sweep.lineages[0], 3)).step()
    again = pickle.loads(pickle.dumps(error.value))
    assert str(again) == "Lost: the line is dead" and again.failure.file.endswith(
        "test_bad_parts.py"
    )
    assert again.failure == error.value.failure and may_pass(again)


def test_a_traceback_that_cannot_be_told_is_told_without_its_message() -> None:
    try:
        throwing(Mute)()
    except Mute as error:
        found = failure_of(error, 2)
    assert (
        found.t == 2
        and "raise error()" in found.traceback
        and found.file.endswith("test_bad_parts.py")
    )


def test_a_limit_of_memory_is_beyond_what_there_was() -> None:
    before = memory._begun_with()
    memory.limit_memory(1e9)
    memory.limit_memory(2e9)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == before + 2_000_000_000
    memory.limit_memory(None)
    assert before < resource.getrlimit(resource.RLIMIT_DATA)[0] <= before + memory.memory_here()
