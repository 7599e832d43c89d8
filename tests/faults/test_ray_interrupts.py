"""A sweep on Ray is interrupted, or its driver killed: it says so, leaves no process and no scratch
folder, and the same command goes on to the bits of an undisturbed run.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.houses import (
    LINEAGES,
    SLOWEST,
    alive,
    assert_nothing_is_left,
    assert_same,
    begun,
    below,
    ended_as,
    eventually,
    impatient,
    run_alone,
    undisturbed,
)
from tests.support.ouro import environment, ouro

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with impatient(tmp_path_factory.mktemp("house")) as root:
        yield root


@pytest.fixture(scope="module")
def whole(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undisturbed(house, tmp_path_factory.mktemp("whole") / "out")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_sweeps_say_so_and_go_on(
    number: int, code: int, house: Path, whole: Path, tmp_path: Path
) -> None:
    process = begun(tmp_path / "out", house)
    process.send_signal(number)
    rc, stdout, stderr = ended_as(process)
    assert rc == code and "the same command goes on" in stdout and not stderr
    assert_nothing_is_left(house, seconds=0)
    assert run_alone(house, "slow.yaml", tmp_path / "out").returncode == 0
    assert_same(tmp_path / "out", whole)


@pytest.mark.faults
@pytest.mark.parametrize("words", [["--local"], []], ids=["alone", "on Ray"])
def test_nobody_waits_for_a_generation_of_a_minute(
    words: list[str], house: Path, tmp_path: Path
) -> None:
    """Ctrl-C reaches every process of the terminal."""
    command = [
        sys.executable,
        "-m",
        "engine.cli",
        "run",
        "long.yaml",
        "--out",
        str(tmp_path / "out"),
        *words,
    ]
    process = subprocess.Popen(
        command,
        cwd=house,
        env=environment(house),
        stdout=-1,
        stderr=-1,
        text=True,
        start_new_session=True,
    )
    training = (
        (lambda: (tmp_path / "out" / "locks").exists())
        if words
        else (lambda: below(process, f"{LINEAGES}.train"))
    )
    assert eventually(training, SLOWEST)
    time.sleep(1)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    rc, stdout, stderr = ended_as(process)
    assert time.monotonic() - began < 10
    assert rc == 130 and "the same command goes on" in stdout and not stderr, stdout + stderr
    assert_nothing_is_left(house, seconds=2)
    assert run_alone(house, "slow.yaml", tmp_path / "out").returncode == 0


@pytest.mark.slow
def test_a_second_signal_ends_at_once(house: Path, tmp_path: Path) -> None:
    process = begun(tmp_path / "out", house)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    assert eventually(lambda: not alive(house), 30)  # the scratch folder may need the next run


@pytest.mark.slow
def test_a_killed_driver_loses_nothing_that_was_committed(
    house: Path, whole: Path, tmp_path: Path
) -> None:
    """Actors outlive their driver by seconds and still write: the second start waits for their
    locks.
    """
    process = begun(tmp_path / "out", house)
    process.kill()
    process.wait()
    again = ouro("run", "slow.yaml", "--out", str(tmp_path / "out"), cwd=house, source=house)
    assert again.returncode == 0, again.stderr
    assert_nothing_is_left(house)
    assert_same(tmp_path / "out", whole)


@pytest.mark.faults
def test_after_the_drivers_death_nobody_is_left(house: Path, tmp_path: Path) -> None:
    """The shell that started it is killed first, which is nothing to it; one actor is in the middle
    of a long generation.
    """
    command = [
        sys.executable,
        "-m",
        "engine.cli",
        "run",
        "long.yaml",
        "--out",
        str(tmp_path / "out"),
        "--cpus",
        "2",
    ]
    shell = subprocess.Popen(
        ["bash", "-c", '"$@" & wait', "bash", *command],
        cwd=house,
        env=environment(house),
        stdout=-1,
        stderr=-1,
    )
    assert eventually(
        lambda: [p for p in below(shell, LINEAGES) if "train" in p.cmdline()[0]], SLOWEST
    )  # type: ignore[arg-type]
    driver = psutil.Process(shell.pid).children()[0]
    shell.kill()
    shell.wait()
    time.sleep(1)
    assert driver.is_running() and len(alive(house)) > 4
    driver.kill()
    assert eventually(lambda: not alive(house), 30), [
        process.cmdline()[:2] for process in alive(house)
    ]
