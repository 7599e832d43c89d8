"""Two sweeps on one output: one runs, the other ends with exit code 3 and says who has it.

And clocks that jump.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from engine.status import ExitCode
from engine.store.locks import Busy
from engine.store.store import Store
from tests.support.ouro import TINY, start
from tests.support.sweeps import GAUSSIAN, files, results, resume, run, sweep_of
from tests.support.zygote import Zygote

ENDLESS = ("generations=6000", "grid={}", "seeds=1", "tracking=none")


def holder(pid: int) -> str:
    """How the other sweep names the process that has the output."""
    since = r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    return (
        rf"in use by ouro run \S+ \(process {pid} on {re.escape(socket.gethostname())}, {since}\)"
    )


def check_pair(zygotes: list[Zygote], file: str, out: Path) -> None:
    """The one that is told ends first; the other one is at work, and is killed."""
    for zygote in zygotes:
        zygote.start(
            "run",
            file,
            "--local",
            *(word for value in ENDLESS for word in ("--set", value)),
            "--out",
            str(out),
        )
    with ThreadPoolExecutor() as pool:
        ends = {pool.submit(zygote.ended): zygote for zygote in zygotes}
        (first,), (second,) = wait(ends, return_when=FIRST_COMPLETED)
        told, at_work = first.result(), ends[second].pid
        os.kill(at_work, signal.SIGKILL)
        killed = second.result()
    assert (told.code, killed.code) == (ExitCode.BUSY, -9), (
        f"{told.code}: {told.text}\n{killed.code}: {killed.text}"
    )
    assert re.search(holder(at_work), " ".join(told.text.split())), told.text
    assert (
        told.seconds < 2
        and "Traceback" not in told.text + killed.text
        and not (told.left or killed.left)
    )


@pytest.mark.faults
def test_of_two_sweeps_one_runs_and_the_other_is_told_who_does(
    tmp_path: Path, memory: Path
) -> None:
    sweep = sweep_of(GAUSSIAN, memory, "grid={}")
    for name in "ab":
        (tmp_path / name).mkdir()
    with Zygote(tmp_path / "a") as a, Zygote(tmp_path / "b") as b:
        for zygote in (a, b):  # what they need is imported now
            assert (
                zygote.ouro(
                    "run",
                    sweep.source,
                    "--local",
                    "--set",
                    "tracking=none",
                    "--out",
                    str(memory / "warm"),
                ).code
                == ExitCode.OK
            )
        for pair in range(20):
            check_pair([a, b], sweep.source, memory / str(pair))


@pytest.mark.faults
def test_a_real_pair_of_commands(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    pair = [
        start("run", "tiny.yaml", "--local", "--set", "generations=3000", cwd=tmp_path)
        for _ in range(2)
    ]
    while all(process.poll() is None for process in pair):
        time.sleep(0.05)
    told, at_work = sorted(pair, key=lambda process: process.poll() is None)
    at_work.kill()
    said, rest = ("".join(process.communicate(timeout=60)) for process in (told, at_work))
    assert told.returncode == ExitCode.BUSY and re.search(
        holder(at_work.pid), " ".join(said.split())
    ), said
    assert "Traceback" not in said + rest


def test_whoever_ended_is_not_named_by_the_next(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "out"))
    with store.hold("the first"):
        assert "the first" in store.locks.holder("sweep")
    assert store.locks.holder("sweep") == "" and not store.locks.alive("sweep")
    with (
        store.hold("the second"),
        pytest.raises(Busy, match="the second"),
        Store(store.url).hold("the third"),
    ):
        pass


# ---- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [0, 60], ids=["rows", "blocks"])
@pytest.mark.parametrize("jump", [-(10**8), -1.0, 10**8])
def test_a_clock_that_jumps_between_and_during_runs(
    jump: float, block: float, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks, blocks that others commit, and what is there and what is not: none of it is decided by
    the time of day.
    """
    sweep = sweep_of(
        GAUSSIAN, memory, "seeds=1", "generations=2", "grid={policy: [replace, accumulate]}"
    )
    longer = sweep_of(
        GAUSSIAN, memory, "seeds=1", "generations=4", "grid={policy: [replace, accumulate]}"
    )
    run(
        sweep_of(
            GAUSSIAN,
            memory,
            *("seeds=1", "generations=4", "grid={policy: [replace, accumulate]}"),
            f"out={memory / 'w'}",
        )
    )
    other, calls, honest, honest_ns = Store(sweep.out), 0, time.time, time.time_ns

    def shift() -> float:
        nonlocal calls
        calls += 1
        return jump * (calls > 3)  # the hands are turned in the middle of the first run

    monkeypatch.setattr(time, "time", lambda: honest() + shift())
    monkeypatch.setattr(time, "time_ns", lambda: honest_ns() + int(shift() * 10**9))
    run(sweep, seconds=block)
    for path in Path(sweep.out).rglob(
        "*"
    ):  # as written by a machine whose clock is ahead, or behind
        os.utime(path, (honest() + jump, honest() + jump))
    assert len(results(sweep, other)) == len(results(sweep)) == 6, (
        "what another process committed is seen"
    )
    assert calls > 3
    resume(longer, Store(sweep.out), block)
    want = results(longer, Store(str(memory / "w")))
    assert results(longer, other) == want == results(longer, Store(sweep.out))
    if not block:
        assert files(Path(sweep.out)) == files(memory / "w")
    with (
        Store(sweep.out).hold("one"),
        pytest.raises(Busy, match="one"),
        Store(sweep.out).hold("two"),
    ):
        pass
