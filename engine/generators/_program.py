"""A program that a generator runs: where it works, what it finds there, and how it ends.

It works in an empty folder that holds copies of its files, with few variables of the environment.
What it prints goes to the logs of the output: of each run 256 KB of the beginning and as many of
the end (engine/generators/_supervisor.py), of all runs of a lineage 2 MB.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from engine.commands import PRINTED, permit
from engine.files import expanded, weights_folder, write_atomically

SUPERVISOR = Path(__file__).with_name("_supervisor.py")
# what a program learns of this process's environment: no password and no token is among them
PASSED = (
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
NOT_COPIED = (".*", "__pycache__", "__MACOSX")  # of folders: what is in no key
# in an error, all of which is kept (engine/running/failure.py): of what it printed, and its command
LAST_LINES, LAST_BYTES, MOST_WORDS = 20, 1200, 500
MOST_PRINTED = 2 << 20  # bytes of a log; a longer one keeps a quarter of that of each end
LEFT_OUT = re.compile(rb"\n# ([\d,]+) bytes are left out here\n")
END_SECONDS = 5.0  # for the supervisor to end all


class ProgramFailed(RuntimeError):
    """A program that did not end well."""


@contextlib.contextmanager
def workplace(files: Sequence[str]) -> Iterator[Path]:
    """A folder that is gone afterwards, with `work` in it, where copies of these files lie."""
    with weights_folder() as name:
        place = Path(name)
        for folder in ("work", "tmp"):
            (place / folder).mkdir()
        for file in map(Path, map(expanded, files)):
            target = place / "work" / file.absolute().name
            if file.is_dir():
                shutil.copytree(file, target, ignore=shutil.ignore_patterns(*NOT_COPIED))
            elif file.is_file():
                shutil.copy(file, target)
            else:
                raise FileNotFoundError(f"command: no file {file} (looked in {Path.cwd()})")
        yield place


def run(which: str, words: Sequence[str], place: Path, minutes: float | None) -> None:
    """Run a program in a workplace; FileNotFoundError when there is none of this name,
    ProgramFailed when it ends otherwise than with exit code 0, or not within the minutes.
    """
    environment, work = _environment(place), place / "work"
    if shutil.which(words[0] if "/" not in words[0] else work / words[0], path=_path()) is None:
        raise FileNotFoundError(f"command: no program {words[0]!r} for the {which} line on PATH")
    with _printed(place, which, words) as (out, err):
        begun = err.seek(0, os.SEEK_END)
        start = time.monotonic()
        command = [sys.executable, "-I", "-S", str(SUPERVISOR), *words]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            cwd=work,
            env=environment,
            start_new_session=True,
        )
        code = _ended(process, None if minutes is None else 60 * minutes)
        if code != 0:
            how = f"{_how(code, minutes)}, after {time.monotonic() - start:.1f} s"
            said = shlex.join(words)
            said = said if len(said) <= MOST_WORDS else f"{said[:MOST_WORDS]}..."
            raise ProgramFailed(f"command: the {which} line {how}: {said}\n{_last(err, begun)}")


def _ended(process: subprocess.Popen[bytes], seconds: float | None) -> int | None:
    """Its exit code, or minus its signal; None when time was up.  Whatever is raised here, nothing
    of it goes on.
    """
    until = None if seconds is None else time.monotonic() + seconds
    try:
        while until is None or time.monotonic() < until:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(0.2)  # short: what is raised in this thread arrives between
        return None
    finally:
        assert process.stdin is not None
        process.stdin.close()  # the supervisor ends all
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def _how(code: int | None, minutes: float | None) -> str:
    if code is None:
        return f"took longer than minutes: {minutes:g} and was killed"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _path() -> str:
    """PATH, with the folder of this Python first: `python` is the one that runs here."""
    own = str(Path(sys.executable).parent)
    return os.pathsep.join([own, os.environ.get("PATH", os.defpath)])


def _environment(place: Path) -> dict[str, str]:
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    own = {"TMPDIR": str(place / "tmp"), "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    return {**passed, **own, "PATH": _path()}


# ---- what it prints ------------------------------------------------------------------------------


@contextlib.contextmanager
def _printed(place: Path, which: str, words: Sequence[str]) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The files that it prints to: in the logs where there are any, else in the workplace."""
    logs = permit().logs
    stem = logs() if callable(logs) else logs or place / "printed"
    stem.parent.mkdir(parents=True, exist_ok=True)
    title = f"# {time.strftime('%Y-%m-%d %H:%M:%S')} {which}: {shlex.join(words)}\n".encode()
    for ending in PRINTED:
        shorten(Path(f"{stem}{ending}"))
    with open(f"{stem}.out", "ab+") as out, open(f"{stem}.err", "ab+") as err:
        for file in (out, err):
            file.write(title)
            file.flush()
        yield out, err


def shorten(log: Path) -> None:
    """Of a log that many generations have made long, leave the beginning and the end."""
    if not log.is_file() or log.stat().st_size <= MOST_PRINTED:
        return
    text, kept = log.read_bytes(), MOST_PRINTED // 4
    between = text[kept:-kept]
    before = sum(int(found.replace(b",", b"")) for found in LEFT_OUT.findall(between))
    note = f"\n# {len(between) + before:,} bytes are left out here\n".encode()
    write_atomically(log, text[:kept] + note + text[-kept:])


def _last(err: BinaryIO, begun: int) -> str:
    """The last lines that it printed to stderr."""
    end = err.seek(0, os.SEEK_END)
    err.seek(max(begun, end - LAST_BYTES))
    lines = err.read().decode(errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join(lines) if lines else "(it printed nothing to stderr)"
