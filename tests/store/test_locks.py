"""One holder per name: file locks, and leases whose holders sleep, die or lose the race.

Tests turn the hands of the clock.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import pytest

from engine.store import disk, locks
from engine.store.disk import Unwritable
from engine.store.locks import Busy, FileLocks, Leases
from engine.store.store import Store

FOLDER = "/test_locks/locks"
HEARTBEAT = Leases._beat


class Hand:
    """A clock that moves when a test says so; threads that wait on it do not beat."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(locks, "time", hand)
    monkeypatch.setattr(Leases, "_beat", lambda self: None)
    fs = fsspec.filesystem("memory")
    if fs.exists("/test_locks"):
        fs.rm("/test_locks", recursive=True)
    return hand


def leases() -> Leases:
    return Leases(fsspec.filesystem("memory"), FOLDER, lost_after=10.0)


def beat(who: Leases) -> None:
    for path, note in list(who._held.items()):
        who._renew(path, note)


def test_one_holds_and_the_next_takes_what_was_released(clock: Hand) -> None:
    a, b = leases(), leases()
    held = a.try_hold("key", "first")
    assert held is not None and b.try_hold("key") is None and b.holder("key") == "first"
    held.close()
    assert (
        b.try_hold("key", "second") is not None
        and a.holder("key") == "second"
        and a.try_hold("key") is None
    )


def test_a_lease_that_beats_is_never_taken(clock: Hand) -> None:
    a, b = leases(), leases()
    assert a.try_hold("key")
    for step in range(20):
        clock.now += 8
        beat(a)
        assert b.try_hold("key") is None
        assert b.alive("key") == (step > 0)


def test_a_silent_lease_is_taken_once_and_its_sleeper_learns_it(clock: Hand) -> None:
    a, b, c = leases(), leases(), leases()
    sleeper = a.try_hold("key", "a")
    assert (
        sleeper and b.try_hold("key") is None and c.try_hold("key") is None and not b.alive("key")
    )
    clock.now += 11
    new = b.try_hold("key", "b")
    assert new is not None and c.try_hold("key") is None, "c has not watched b's lease yet"
    sleeper.close()
    assert c.holder("key") == "b" and c.try_hold("key") is None, (
        "the sleeper's end must not end its successor's lease"
    )
    new.close()
    assert c.try_hold("key") is not None


def test_waking_up_after_others_came_and_went(clock: Hand) -> None:
    """The number is used again by a stranger: the sleeper may not renew, nor release, what is not
    its own.
    """
    a, b, c = leases(), leases(), leases()
    sleeper = a.try_hold("key", "a")
    b.try_hold("key")
    clock.now += 11
    taken = b.try_hold("key", "b")
    assert sleeper and taken
    taken.close()
    assert c.try_hold("key", "c") is not None
    beat(a)
    assert a._held == {} and c.holder("key") == "c"
    sleeper.close()
    assert b.try_hold("key") is None and b.holder("key") == "c"


def test_of_two_that_create_the_same_number_one_wins(
    clock: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = leases(), leases()
    monkeypatch.setattr(b, "_numbers", lambda name: [])  # b looked before a wrote
    assert a.try_hold("key") is not None and b.try_hold("key") is None


def test_another_clock_does_not_matter(clock: Hand) -> None:
    """What counts is how long the watcher sees no beat, not what the holder's clock says."""
    a, b = leases(), leases()
    assert a.try_hold("key")
    clock.now -= 10_000
    assert b.try_hold("key") is None
    clock.now += 5
    beat(a)
    assert b.try_hold("key") is None
    clock.now += 9
    assert b.try_hold("key") is None
    clock.now += 2
    assert b.try_hold("key") is not None


def test_the_heart_beats_and_stops_with_the_last_lease() -> None:
    fs = fsspec.filesystem("memory")
    mine = Leases(fs, "/test_locks/heart", beat=0.01)
    held = mine.try_hold("key")
    assert held is not None and mine._heart is not None
    thread, seen = mine._heart, set[int]()
    while len(seen) < 3:
        seen.add(json.loads(fs.cat_file("/test_locks/heart/key/000001"))["beats"])
    held.close()
    thread.join(timeout=10)
    assert not thread.is_alive() and not fs.exists("/test_locks/heart/key/000001")


class Counting:
    """An object store that says how often it is written to; the last write it takes loses the
    lease.
    """

    def __init__(self, last: int) -> None:
        self.last, self.writes, self.leases = last, 0, dict[str, Any]()
        self.memory = fsspec.filesystem("memory")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.memory, name)

    def pipe_file(self, path: str, data: bytes, **how: Any) -> None:
        self.writes += 1
        self.memory.pipe_file(path, data, **how)
        if self.writes == self.last:
            self.leases.clear()


@pytest.mark.parametrize("names", [1, 3])
def test_a_heartbeat_writes_every_lease_once_a_beat(clock: Hand, names: int) -> None:
    beats, store = 10, Counting(last=names * 11)
    mine = Leases(store, FOLDER, beat=2.0)
    for name in range(names):
        assert mine.try_hold(f"key {name}") is not None
    assert store.writes == names, "each lease is created by one write"
    store.leases, before = mine._held, clock.now
    HEARTBEAT(mine)
    assert store.writes == names * (1 + beats) and clock.now - before == beats * 2.0


def test_a_sweep_on_an_object_store_is_refused_while_the_other_lives(clock: Hand) -> None:
    first, second = Store("memory://test_locks/out"), Store("memory://test_locks/out")
    assert isinstance(first.locks, Leases) and isinstance(second.locks, Leases)
    sleeps, sleep = [], clock.sleep

    def beating(seconds: float) -> None:
        sleeps.append(seconds)
        sleep(seconds)
        beat(first.locks)  # type: ignore[arg-type]

    clock.sleep = beating  # type: ignore[method-assign]
    with first.hold("sweep one"), pytest.raises(Busy, match="sweep one"), second.hold("sweep two"):
        pass
    assert sum(sleeps) <= 2
    with second.hold("sweep two"):
        assert second.locks.holder("sweep").startswith("sweep two")


def test_a_dead_sweep_on_an_object_store_is_waited_out(clock: Hand) -> None:
    first, second = Store("memory://test_locks/dead"), Store("memory://test_locks/dead")
    assert first.locks.try_hold("sweep", "a sweep that died")
    before = clock.now
    with second.hold("the next"):
        assert locks.LOST_AFTER <= clock.now - before <= locks.LOST_AFTER + 2


def test_file_locks_die_with_their_process(tmp_path: Path) -> None:
    program = (
        "import sys, os; from engine.store.locks import FileLocks\n"
        "held = FileLocks(sys.argv[1]).try_hold('key', 'the other process')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=-1, stdout=-1, env=env, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    mine = FileLocks(str(tmp_path))
    assert mine.try_hold("key") is None and mine.holder("key") == "the other process"
    other.kill()
    other.wait()
    assert mine.try_hold("key") is not None


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_that_cannot_lock_is_an_error_never_a_lock(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither held by us, which would let two write, nor by another, which would be waited for."""

    def refuse(file: Any, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = rf"cannot lock files in {tmp_path}: .* no locks .*--out on another disk"
    with pytest.raises(Unwritable, match=said) as found:
        FileLocks(str(tmp_path)).try_hold("key", "us")
    assert found.value.errno == code and (tmp_path / "key").read_text() == ""


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_lock_file_that_cannot_be_opened_is_an_error(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **more: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(disk, "open", refuse, raising=False)
    with pytest.raises(Unwritable, match=r"give .* --out"):
        FileLocks(str(tmp_path)).try_hold("key")


def test_a_lock_that_another_has_is_not_an_error(tmp_path: Path) -> None:
    first, second = FileLocks(str(tmp_path)), FileLocks(str(tmp_path))
    held = first.try_hold("key", "first")
    assert held is not None and second.try_hold("key") is None and second.holder("key") == "first"
    held.close()
    assert second.try_hold("key") is not None and second.holder("key") == ""
