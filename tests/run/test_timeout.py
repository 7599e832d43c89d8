"""A generation that does not end: raised out of Python, given up in a library's code, left alone
when it is in time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.generators.gaussian import Gaussian
from engine.running import timeout
from engine.running import worker as work
from engine.running.job import Job
from engine.running.timeout import OutOfTime, limit
from engine.running.worker import Work
from engine.store.store import Store
from tests.support.sweeps import GAUSSIAN, sweep_of

ROOT = Path(__file__).parents[2]


def never(*_: object) -> None:
    raise AssertionError("nothing was stuck")


def test_an_endless_loop_of_python_ends_where_it_stands() -> None:
    with pytest.raises(OutOfTime, match="timeout_minutes"), limit(0.05, never):
        while True:
            pass


def test_what_is_in_time_is_left_alone() -> None:
    for _ in range(200):
        with limit(5, never):
            pass
    with limit(None, never):
        pass
    total = sum(range(100_000))  # nothing arrives late
    assert total == 4_999_950_000


def test_what_does_not_come_back_is_given_up(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom engine.running import timeout\ntimeout.GRACE_SECONDS = 0.05\n"
        "def stuck(error, where): print(type(error).__name__, where[-1].line, flush=True)\n"
        "with timeout.limit(0.05, stuck):\n    time.sleep(60)\n"
    )
    (tmp_path / "program.py").write_text(program)
    started = time.monotonic()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (
        run.returncode == 1
        and run.stdout == "OutOfTime time.sleep(60)\n"
        and time.monotonic() - started < 30
    )


def test_a_lineage_out_of_time_has_failed_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(self: Gaussian, *_: object) -> dict[str, float]:
        while True:
            pass

    sweep = sweep_of(GAUSSIAN + "resources: {timeout_minutes: 0.002}\n", tmp_path)
    Path(sweep.out).mkdir()
    store = Store(sweep.out)
    job = Job.of(sweep, store, sweep.lineages[0], 3)
    monkeypatch.setattr(Gaussian, "fit", endless)
    report = Work(job).step()
    failure = store.failure(job.spec.id)
    assert report["done"] and work.STATUSES[int(report["status"])] == "failed"
    assert (
        failure
        and failure.error == "OutOfTime"
        and failure.t == 0
        and failure.file.endswith("test_timeout.py")
    )
    assert timeout.GRACE_SECONDS > 1
