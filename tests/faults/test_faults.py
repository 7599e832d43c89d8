"""Killed at any moment, run again: rows and samples bit-identical to an uninterrupted run."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.store.store import Store
from tests.support.sweeps import GAUSSIAN, files, lineages, results, run, sweep_of

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys; sys.path.insert(0, sys.argv[2])
from pathlib import Path
from tests.support.sweeps import GAUSSIAN, lineages, sweep_of
for chain in lineages(sweep_of(GAUSSIAN, Path(sys.argv[1]), 'generations=12')):
    while not chain.done:
        made = chain.fits
        chain.advance_for(float(sys.argv[3]))
        if chain.fits > made:
            print(chain.fits, flush=True)
"""


def child(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A run in a process of its own, which prints a line for every generation that it makes."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(ROOT), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen[str], after: int, seconds: float) -> bool:
    """SIGKILL some milliseconds after so many generations; False when the run had ended before."""
    with process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
        process.send_signal(signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_a_dozen_times_and_run_again(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    run(sweep_of(GAUSSIAN, whole, "generations=12"))
    choose = random.Random(7)
    for kill in range(12):
        assert killed(child(broken, 0), choose.randrange(10), choose.uniform(0, 0.03)), (
            f"the run had ended before kill {kill}"
        )
    sweep = sweep_of(GAUSSIAN, broken, "generations=12")
    run(sweep)
    assert results(sweep) == results(sweep_of(GAUSSIAN, whole, "generations=12"))
    assert files(broken / "out") == files(whole / "out")
    assert Store(sweep.out).verify()[1] == []


def test_killed_between_blocks(tmp_path: Path) -> None:
    assert killed(child(tmp_path, 0.05), 3, 0.01)
    sweep = sweep_of(GAUSSIAN, tmp_path, "generations=12")
    run(sweep, seconds=60)
    (whole := tmp_path / "whole").mkdir()
    run(sweep_of(GAUSSIAN, whole, "generations=12"))
    assert results(sweep) == results(sweep_of(GAUSSIAN, whole, "generations=12"))


def test_every_file_operation_of_a_commit_can_be_the_last(tmp_path: Path) -> None:
    """Stop at the k-th write of a lineage, for every k, then go on:
    nothing half done is believed.
    """
    text = ["grid={}", "seeds=1", "generations=2"]
    (whole := tmp_path / "whole").mkdir()
    run(sweep_of(GAUSSIAN, whole, *text))
    clean, k = results(sweep_of(GAUSSIAN, whole, *text)), 0
    while True:
        k += 1
        (folder := tmp_path / str(k)).mkdir()
        sweep = sweep_of(GAUSSIAN, folder, *text)
        store, writes = Store(sweep.out), 0
        honest = store.write

        def stopping(path: str, data: bytes) -> None:
            nonlocal writes
            writes += 1
            if writes == k:  # noqa: B023
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path + ".1-dead.tmp").write_bytes(data[: len(data) // 2])
                raise KeyboardInterrupt
            honest(path, data)  # noqa: B023

        store.write = stopping  # type: ignore[method-assign]
        try:
            run(sweep, store)
        except KeyboardInterrupt:
            run(sweep)
            assert results(sweep) == clean and files(folder / "out") == files(whole / "out"), (
                f"stopped at write {k}"
            )
            assert all(chain.complete() for chain in lineages(sweep))
        else:
            break
    assert k > 10


def test_a_read_only_output_is_an_error_that_loses_nothing(tmp_path: Path) -> None:
    import pytest

    sweep = sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1", "generations=1")
    run(sweep)
    before = files(tmp_path / "out")
    store = Store(sweep.out)

    def full(path: str, data: bytes) -> None:
        raise OSError(28, "No space left on device", path)

    store.write = full  # type: ignore[method-assign]
    with pytest.raises(OSError, match="No space left"):
        run(sweep_of(GAUSSIAN, tmp_path, "grid={}", "seeds=1", "generations=2"), store)
    assert files(tmp_path / "out") == before
