"""Disks that are full, read-only, gone or somewhere else in the middle of a run.

Each time: a sentence and exit code 4, no traceback, nothing committed lost, and the same command on
a sound disk ends with the bits of a run that nothing happened to.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.cli.run import run_sweep
from engine.console.errors import errors
from engine.generators.gaussian import Gaussian
from engine.running import session
from engine.running import worker as work
from engine.running.failure import may_pass
from engine.running.session import Options
from engine.spec import Sweep
from engine.status import ExitCode
from engine.store import disk, locks
from engine.store.disk import Disk, Unwritable
from engine.store.store import Store
from tests.support.sweeps import GAUSSIAN, files, results, sweep_of

SMALL = ("grid={}", "seeds=2", "generations=2", "tracking=none")
ROOT = Path(__file__).parents[2]


class Small:
    """A disk with room for so many bytes; what does not fit is cut off where it is full."""

    def __init__(self, room: int) -> None:
        self.room, self.taken = room, 0

    def open(self, path: str, mode: str = "r", **how: Any) -> Any:
        return _File(self, path, how) if mode == "xb" else open(path, mode, **how)


class _File:
    def __init__(self, on: Small, path: str, how: dict[str, Any]) -> None:
        self.on = on
        self.file = open(path, "xb", buffering=0, **how)  # noqa: SIM115  # closed by __exit__

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> None:
        fits = min(len(data), max(0, self.on.room - self.on.taken))
        self.file.write(data[:fits])
        self.on.taken += fits
        if fits < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def whole_run(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """`ouro run --local`, in this process: its exit code, and everything that it says."""
    work._stores.clear()  # of a process that ran here before
    code = ExitCode.OK
    try:
        with errors(debug=False):
            code = run_sweep(sweep, Console(width=300), Options(local=True))
    except BaseException as end:
        code = getattr(end, "exit_code", -1)
    said = "".join(capsys.readouterr())
    assert "Traceback" not in said, said
    return code, said


@pytest.fixture
def sound(memory: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Path]:
    """A folder with `whole`: the output of a run that nothing happened to."""
    sweep = sweep_of(GAUSSIAN, memory, *SMALL, f"out={memory / 'whole'}")
    assert whole_run(sweep, capsys)[0] == ExitCode.OK
    yield memory


def check_ends_well(
    sweep: Sweep, whole: Path, before: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that was committed is lost, and the same command ends with the same bits."""
    now = files(Path(sweep.out))
    assert before.items() <= now.items()
    code, said = whole_run(sweep, capsys)
    assert code == ExitCode.OK, said
    assert results(sweep, Store(sweep.out)) == results(sweep, Store(str(whole)))
    assert files(Path(sweep.out)) == files(whole) and Store(sweep.out).verify()[1] == []
    assert not Store(sweep.out).names("damaged")


def written(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> int:
    """The bytes that a whole run writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "open", (there := Small(10**12)).open, raising=False)
        assert whole_run(sweep, capsys)[0] == ExitCode.OK
    shutil.rmtree(sweep.out)
    return there.taken


def check_full(sweep: Sweep, whole: Path, room: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "open", Small(room).open, raising=False)
        code, said = whole_run(sweep, capsys)
    assert code == ExitCode.ENVIRONMENT and "the disk is full" in said, (
        f"{room} bytes: {code}: {said}"
    )
    assert not list(Path(sweep.out).rglob("*.tmp")), "what did not fit was left there"
    check_ends_well(sweep, whole, files(Path(sweep.out)), capsys)
    shutil.rmtree(sweep.out)


@pytest.mark.parametrize(
    ("geometric", "dense"),
    [
        (6, 3),
        pytest.param(20, 30, marks=pytest.mark.faults),
        pytest.param(200, 4000, marks=pytest.mark.soak),
    ],
)
def test_a_disk_that_is_full_after_any_number_of_bytes(
    geometric: int, dense: int, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = sweep_of(GAUSSIAN, sound, *SMALL)
    total = written(sweep, capsys)
    rooms = {round(total ** (i / geometric)) for i in range(geometric)} | {
        total * i // dense for i in range(dense)
    }
    for room in sorted(rooms - {total}):
        check_full(sweep, sound / "whole", room, capsys)


# ---- while it runs -------------------------------------------------------------------------------


def refusing(number: int) -> Callable[..., Any]:
    """`open`, where nothing may be written any more."""

    def opened(path: str, mode: str = "r", **how: Any) -> Any:
        if mode == "rb":
            return open(path, mode, **how)
        raise OSError(number, os.strerror(number), path)

    return opened


def deleted(out: Path, patch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(out)


def moved(out: Path, patch: pytest.MonkeyPatch) -> None:
    out.rename(out.with_name("moved"))


def read_only(out: Path, patch: pytest.MonkeyPatch) -> None:
    for module in (disk, locks):
        patch.setattr(module, "open", refusing(errno.EROFS), raising=False)


def no_longer_ours(out: Path, patch: pytest.MonkeyPatch) -> None:
    for module in (disk, locks):
        patch.setattr(module, "open", refusing(errno.EACCES), raising=False)


def failing(out: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        disk.os,
        "fsync",
        lambda number: (_ for _ in ()).throw(OSError(errno.EIO, os.strerror(errno.EIO))),
    )


MISHAPS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], str]] = {
    "deleted": (deleted, "deleted or moved"),
    "moved": (moved, "deleted or moved"),
    "read-only": (read_only, "it is read-only"),
    "another's": (no_longer_ours, "may not write there"),
    "failing": (failing, "input/output error"),
}


def struck(
    sweep: Sweep, mishap: str, at: int, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """A run in whose `at`-th fit it happens."""
    fits, honest = 0, Gaussian.fit

    def fit(self: Gaussian, *given: Any) -> dict[str, float]:
        nonlocal fits
        fits += 1
        if fits == at:
            MISHAPS[mishap][0](Path(sweep.out), patch)
        return honest(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Gaussian, "fit", fit)
        return whole_run(sweep, capsys)


@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("mishap", MISHAPS)
def test_an_output_that_changes_while_it_is_written(
    mishap: str, at: int, sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = sweep_of(GAUSSIAN, sound, *SMALL)
    out = Path(sweep.out)
    code, said = struck(sweep, mishap, at, capsys)
    assert code == ExitCode.ENVIRONMENT and MISHAPS[mishap][1] in said and str(out) in said, (
        f"{code}: {said}"
    )
    if mishap in ("deleted", "moved"):
        assert not out.exists(), "half an output was made under the old name"
    if mishap == "moved":
        out.with_name("moved").rename(out)
    assert not list(out.rglob("*.tmp"))
    check_ends_well(sweep, sound / "whole", files(out), capsys)


def test_an_output_that_is_gone_at_the_end_is_not_summed_up(
    sound: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = sweep_of(GAUSSIAN, sound, *SMALL)
    honest = work.run_local

    def local(*given: Any) -> None:
        honest(*given)
        shutil.rmtree(sweep.out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "run_local", local)
        code, said = whole_run(sweep, capsys)
    assert (
        code == ExitCode.ENVIRONMENT and "deleted or moved" in said and not Path(sweep.out).exists()
    )
    check_ends_well(sweep, sound / "whole", {}, capsys)


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    there = Disk(str(tmp_path / "a" / "b"))
    there.write(str(tmp_path / "a" / "b" / "c" / "file"), b"1")
    shutil.rmtree(tmp_path / "a" / "b" / "c")
    there.write(str(tmp_path / "a" / "b" / "c" / "file"), b"1")
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(Unwritable, match="deleted or moved") as error:
        there.write(str(tmp_path / "a" / "b" / "c" / "file"), b"1")
    assert error.value.errno == errno.ENOENT and not (tmp_path / "a").exists()
    assert may_pass(error.value) is False, "it is no part's error, and no lineage's"


# ---- a real small disk, a real read-only one -----------------------------------------------------

MOUNTED = """
mount -t tmpfs -o size={size} tmpfs "$1" && cd "$1" && cp ../experiment.yaml . || exit 99
{before}
ouro="{python} -m engine.cli run experiment.yaml --local --set tracking=none"
$ouro --out "$1/out"; code=$?
mount -o remount,rw,size=64m "$1" && $ouro --out "$1/out" || exit 98
cp -r "$1/out" ../kept; exit $code
"""


def mounted(folder: Path, size: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """`ouro run` on a file system of its own in a name space of its own, and again once it is large
    and writable.
    """
    (folder / "mount").mkdir()
    script = MOUNTED.format(size=size, before=before, python=sys.executable)
    command = ["unshare", "-Urm", "bash", "-c", script, "bash", str(folder / "mount")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300", "TMPDIR": "/tmp"}
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command[:2], "mount", "-t", "tmpfs", "x", folder / "mount"]).returncode
    ):
        pytest.skip("no name spaces for users here")
    return subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.faults
@pytest.mark.parametrize(
    ("size", "before", "said"),
    [
        ("60k", "", "the disk is full"),
        ("200k", "", "the disk is full"),
        ("64m", 'mkdir out; mount -o remount,ro "$1"', "it is read-only"),
    ],
)
def test_a_real_disk(size: str, before: str, said: str, sound: Path) -> None:
    ran = mounted(sound, size, before)
    words = ran.stdout + ran.stderr
    assert ran.returncode == ExitCode.ENVIRONMENT and said in words and "Traceback" not in words, (
        words
    )
    full = sweep_of(GAUSSIAN, sound, f"out={sound / 'kept'}")
    assert len(results(full, Store(full.out))) == len(full.lineages) * (full.generations + 1)
