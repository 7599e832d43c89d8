"""Why a worker process died: what Ray says of it, and the last words on its stderr."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Never

from engine.running.failure import MayPass, failure_of
from engine.store.failures import Failure

PID = re.compile(r"\bpid: (\d+)")
DETAIL = re.compile(r"Worker exit detail: (.*?)\s*(?:Some common causes|$)", re.S)
SIGNAL = re.compile(r"\*\*\* (SIG\w+) received")  # as Ray notes it on the stderr of the dying
NOISE = re.compile(
    r":\w+:|\*\*\* |PC: @|@ |\[\d{4}-|Stack \(most|Extension modules"
)  # of Ray itself
LEFT = re.compile(r"\*\*\* left by os\._exit\((.*)\)")
FATAL = re.compile("Fatal Python error")
MOST_LINES, LONGEST = 4, 600


class WorkerDied(RuntimeError):
    """The process of a lineage died; says how, and its last words."""


_told: list[int] = []  # processes that tell


def tell_exits() -> None:
    """Let this process say so before it is left by os._exit, which nobody else would hear of."""
    leave: Callable[[int], Never] = os._exit
    if os.getpid() in _told:
        return
    _told.append(os.getpid())

    def said(code: int) -> Never:
        with contextlib.suppress(OSError, ValueError):
            print(f"*** left by os._exit({code})", file=sys.__stderr__, flush=True)
        leave(code)

    vars(os)["_exit"] = said


def error_of(trial: Any) -> Any:
    """A trial's last error: Tune writes it beside the trial, and looks for it elsewhere."""
    there = Path(trial.storage.trial_fs_path)
    there.mkdir(parents=True, exist_ok=True)
    for name in (trial.error_file, trial.pickled_error_file):
        if name and Path(name).is_file():
            shutil.copy(name, there)
    return trial.get_pickled_error() or trial.get_error()


def gave_up(cause: object, tries: int) -> Failure:
    """What the store keeps of a lineage whose tries are spent."""
    error = cause if isinstance(cause, Exception) else RuntimeError(str(cause))
    failure = error.failure if isinstance(error, MayPass) else failure_of(error, -1)
    first = (failure.message.strip().splitlines() or ["no message"])[0]
    file = "" if failure.file == "?" else failure.file  # of an error without a traceback
    return replace(failure, file=file, message=f"gave up after {tries} tries: {first}")


def why(ray: str, logs: Path | None) -> str:
    """Why a process died, in one line.

    ray: what Ray says of it.  logs: of a Ray on this machine, with the stderr of every worker.
    """
    pid = PID.search(ray)
    stderr = _stderr(logs, pid[1]) if logs and pid else ""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    own = [line for line in lines if not NOISE.match(line)]
    died = f"its process died ({_how(ray, stderr)})"
    if not own:
        return f"{died} without a word on stderr: killed from outside, perhaps for its memory"
    return f"{died}; its last words: {' | '.join(_last(own))[-LONGEST:]}"


def _how(ray: str, stderr: str) -> str:
    """Signal or exit code, as far as they are known."""
    if signal := SIGNAL.search(stderr):
        return f"signal {signal[1]}"
    if code := LEFT.search(stderr):
        return f"exit code {code[1]}"
    detail = DETAIL.search(ray)
    return " ".join(detail[1].split()).rstrip(".") if detail else "unexpectedly"


def _last(lines: list[str]) -> list[str]:
    """The last lines; of a fault of Python itself the first ones, which say what and where."""
    for i, line in enumerate(lines):
        if FATAL.match(line):
            return lines[max(0, i - 1) : i + 2]
    return lines[-MOST_LINES:]


def _stderr(logs: Path, pid: str) -> str:
    for file in logs.glob(f"worker-*-{pid}.err"):
        with contextlib.suppress(OSError):
            return file.read_text(errors="replace")[-20000:]
    return ""
