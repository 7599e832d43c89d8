"""`ouro` started in a blink: a process that has imported all it needs forks a child per command
line, and kills it if told.

with Zygote(folder) as zygote:                       # its TMPDIR is folder/tmp
    ended = zygote.ouro("run", "F", "--local")       # Ended(code, out, err): how it ended
    ended = zygote.ouro("run", "F", after=0.1)       # SIGKILL after so much processor time, if it
                                                     # has not ended by then
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ouro import ROOT

ANEW = ("mlflow", "ray")  # read the environment, or start threads: each child imports its own


@dataclass(frozen=True)
class Ended:
    """code: the exit code, or -9; out, err: its streams; seconds: of processor time; left:
    processes of its group that outlived it.
    """

    code: int
    out: str
    err: str
    seconds: float
    left: bool
    pid: int

    @property
    def text(self) -> str:
        return self.out + self.err


class Zygote:
    """states_every: seconds between two states of a half-trained model."""

    def __init__(self, folder: Path, states_every: float = 0.0) -> None:
        self.folder, self.tmp = folder, folder / "tmp"
        self.tmp.mkdir(exist_ok=True)
        own = {
            "TMPDIR": str(self.tmp),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "COLUMNS": "80",
        }
        self.environment = {**os.environ, **own}
        command = [sys.executable, __file__, str(states_every)]
        streams: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
        }
        self.pid = 0
        self.process = subprocess.Popen(command, cwd=folder, env=self.environment, **streams)

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()

    def start(
        self,
        *words: str,
        after: float | None = None,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Begin, as process `pid`; `ended` waits for it.

        settings: added to the environment, which is the zygote's unless given.
        """
        assert self.process.stdin is not None
        self.pid = 0
        asked = {
            "words": words,
            "after": after,
            "environment": {**(environment or self.environment), **(settings or {})},
            "cwd": str(cwd or self.folder),
        }
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        self.pid = int(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ended(self) -> Ended:
        return Ended(**json.loads(self._answer()))

    def ouro(self, *words: str, **how: Any) -> Ended:
        """`start` with these, and wait."""
        self.start(*words, **how)
        return self.ended()


# ---- in the zygote -------------------------------------------------------------------------------


def born(words: list[str], environment: dict[str, str], cwd: str, out: int, err: int) -> None:
    """The child: `ouro` with these words, then the names of all modules it has come to need."""
    from engine.cli import main as cli

    told = Path("zygote.modules").absolute()
    os.setpgid(0, 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["ouro", *words]
    sys.path[0] = cwd  # as with `python -m`
    sys.orig_argv = [sys.executable, "-m", "engine.cli", *words]
    code = 1
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    told.write_text("\n".join(sys.modules))
    atexit._run_exitfuncs()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def waited(pid: int, after: float | None) -> tuple[int, float]:
    """Its wait status and the processor time it took; it is killed when it has not ended within
    `after` of its own time.
    """
    while after is not None:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            break
        if time.clock_gettime((~pid << 3) | 2) >= after:  # of that process: clock_getcpuclockid(3)
            os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.0005)
    _, status, used = os.wait4(pid, 0)
    return status, used.ru_utime + used.ru_stime


def lives(group: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False


def live(words: list[str], after: float | None, environment: dict[str, str], cwd: str) -> Ended:
    with open("zygote.out", "w+b") as out, open("zygote.err", "w+b") as err:
        if (pid := os.fork()) == 0:
            born(words, environment, cwd, out.fileno(), err.fileno())
        print(pid, flush=True)
        status, seconds = waited(pid, after)
        said = [(file.seek(0), file.read().decode(errors="replace"))[1] for file in (out, err)]
    return Ended(os.waitstatus_to_exitcode(status), *said, seconds, lives(pid), pid)


def learn() -> None:
    """Import what the last child came to need, so that the next one finds it."""
    names = Path("zygote.modules").read_text().split() if Path("zygote.modules").exists() else []
    new = [n for n in names if n not in sys.modules and n.split(".")[0] not in ANEW]
    for name in new:
        with suppress(Exception):
            importlib.import_module(name)
    if new:
        gc.collect()
        gc.freeze()  # else every child copies what its first collection touches


def main() -> None:
    importlib.import_module("engine.running.session")
    from engine.training import resume

    resume.EVERY_SECONDS = float(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(live(**json.loads(line)).__dict__), flush=True)
        learn()


if __name__ == "__main__":
    main()
