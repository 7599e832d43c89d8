"""The power fails at every single operation of a commit, of a late metric, of a repair: then the
same command again.

What an uninterrupted run leaves is there to the bit, nothing that was committed is damaged, and no
half-written file counts.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.spec import Sweep
from engine.store.store import Store
from tests.support.disk import LOSSES, Disk, PowerFailure
from tests.support.sweeps import GAUSSIAN, files, lineages, results, resume, run, sweep_of

TINY = ("grid={}", "seeds=1", "generations=1")


def everything(out: Path) -> dict[str, bytes]:
    """The bytes of all that is committed and has no times in it."""
    lineage_files = {
        p.relative_to(out).as_posix(): p.read_bytes() for p in (out / "lineages").glob("*.json")
    }
    return files(out) | lineage_files


def crashed(out: Path, sweep: Sweep, at: int, seconds: float) -> Disk:
    """Run until the operation `at`, which is not done; all of it when there are not so many."""
    disk = Disk(at)
    with pytest.MonkeyPatch.context() as patch:
        store = disk.under(str(out), patch)
        try:
            run(sweep, store, seconds)
        except PowerFailure:
            return disk
    disk.fails_at = 0
    return disk


def check_after(
    out: Path, sweep: Sweep, seconds: float, whole: Path, damaged: list[str], what: str
) -> None:
    """Run again: as `whole`, and nothing but `damaged` was set aside; what had been, and was not
    yet made again, is pruned.
    """
    named = list[str]()
    store = Store(str(out), on_damage=named.append)
    staged = {p: p.read_bytes() for p in out.rglob("*.tmp")}
    resume(sweep, store, seconds)
    assert set(named) <= set(damaged), f"{what}: committed, and damaged: {named}"
    assert results(sweep, Store(str(out))) == results(sweep, Store(str(whole))), what
    there, pruned = everything(out), {name for name in damaged if not (out / name).exists()}
    assert there == {
        name: data for name, data in everything(whole).items() if name not in pruned
    }, what
    assert all(chain.complete() for chain in lineages(sweep, Store(str(out)))), what
    assert Store(str(out)).verify()[1] == [], what
    assert {p: p.read_bytes() for p in out.rglob("*.tmp")} == staged, (
        f"{what}: a staged file of the dead was touched"
    )
    recorded = [row.lineage for row in Store(str(out), repairs=False).lineages()]
    assert recorded == [spec.id for spec in sweep.lineages], f"{what}: strays are no lineages"


def check_every_crash(
    folder: Path,
    sweep: Sweep,
    *,
    seconds: float = 0,
    start: Path | None = None,
    damaged: tuple[str, ...] = (),
) -> int:
    """Fail at every operation of a run that begins from a copy of `start`; how many there are."""
    whole = folder / "whole"
    shutil.copytree(start, whole) if start else None
    operations = crashed(whole, sweep, 0, seconds).operations
    for at in range(1, operations + 1):
        for how in LOSSES:
            out = folder / "out"
            shutil.copytree(start, out) if start else None
            disk = crashed(out, sweep, at, seconds)
            assert disk.fails_at, f"operation {at} of {operations} never came"
            lost = disk.lose(how)
            check_after(out, sweep, seconds, whole, list(damaged), f"operation {at}, {how}")
            shutil.rmtree(out)
            if not lost:
                break  # nothing was unsynced: the four losses are one
    return operations


@pytest.mark.parametrize(("seconds", "fewest"), [(0, 50), (60, 30)], ids=["rows", "blocks"])
def test_every_operation_of_a_run_can_be_the_last(
    seconds: float, fewest: int, memory: Path
) -> None:
    assert check_every_crash(memory, sweep_of(GAUSSIAN, memory, *TINY), seconds=seconds) >= fewest


def test_every_operation_of_a_founder_alone_can_be_the_last(memory: Path) -> None:
    """No generation follows that would make up for what is missing."""
    assert check_every_crash(memory, sweep_of(GAUSSIAN, memory, *TINY[:2], "generations=0")) >= 20


def test_every_operation_of_a_late_metric_can_be_the_last(memory: Path) -> None:
    start = memory / "start"
    run(sweep_of(GAUSSIAN, memory, *TINY, "metrics=[]"), Store(str(start)))
    assert check_every_crash(memory, sweep_of(GAUSSIAN, memory, *TINY), start=start) >= 10


@pytest.mark.parametrize("name", ["row.json", "samples.safetensors", "strip.safetensors"])
def test_every_operation_of_a_repair_can_be_the_last(name: str, memory: Path) -> None:
    """A damaged file is set aside and made again, or neither, or it is set aside and counts as
    pruned.
    """
    start, sweep = memory / "start", sweep_of(GAUSSIAN, memory, *TINY)
    run(sweep, Store(str(start)))
    target = f"draws/{lineages(sweep)[0].path[1].draw}/{name}"
    (start / target).write_bytes(b"damage")
    assert check_every_crash(memory, sweep, start=start, damaged=(target,)) >= 5
