"""`ouro` started in a blink: a process that has imported all it needs forks a child per command
line, and kills it if told.

with Zygote(folder) as zygote:                       # its TMPDIR is folder/tmp
    ended = zygote.ouro("run", "F", "--local")       # Ended(code, text): what came out of both
    streams, how it ended ended = zygote.ouro("run", "F", after=0.1)       # SIGKILL after so much
    processor time, if it has not ended by then
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ouro import ROOT


@dataclass(frozen=True)
class Ended:
    """code: the exit code, or -9; seconds: of processor time; left: processes of its group that
    outlived it.
    """

    code: int
    text: str
    seconds: float
    left: bool
    pid: int


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
        command = [sys.executable, __file__, str(states_every)]
        streams: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
        }
        self.pid = 0
        self.process = subprocess.Popen(command, cwd=folder, env={**os.environ, **own}, **streams)

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()

    def start(
        self, *words: str, after: float | None = None, settings: dict[str, str] | None = None
    ) -> None:
        """Begin, as process `pid`; `ended` waits for it."""
        assert self.process.stdin is not None
        self.process.stdin.write(
            json.dumps({"words": words, "after": after, "settings": settings or {}}) + "\n"
        )
        self.process.stdin.flush()
        self.pid = int(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ended(self) -> Ended:
        return Ended(**json.loads(self._answer()))

    def ouro(
        self, *words: str, after: float | None = None, settings: dict[str, str] | None = None
    ) -> Ended:
        self.start(*words, after=after, settings=settings)
        return self.ended()


# ---- in the zygote -------------------------------------------------------------------------------


def born(words: list[str], file: int) -> None:
    """The child: `ouro` with these words, then the names of all modules it has come to need."""
    from engine.cli import main as cli

    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = ["ouro", *words]
    code = 1
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    Path("zygote.modules").write_text("\n".join(sys.modules))
    os._exit(code)


def waited(pid: int, after: float | None) -> tuple[int, float]:
    """Its wait status and the processor time it took; it is killed when it has not ended within
    `after` of its own time.
    """
    used = 0.0
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status, used
        used = time.clock_gettime((~pid << 3) | 2)  # of that process: see clock_getcpuclockid(3)
        if after is not None and used >= after:
            os.kill(pid, signal.SIGKILL)
            after = None
        time.sleep(0.0005)


def lives(group: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
        return True
    return False


def live(words: list[str], after: float | None, settings: dict[str, str]) -> Ended:
    with open("zygote.out", "w+b") as file:
        if (pid := os.fork()) == 0:
            os.environ |= settings
            born(words, file.fileno())
        print(pid, flush=True)
        status, seconds = waited(pid, after)
        file.seek(0)
        text = file.read().decode(errors="replace")
    return Ended(os.waitstatus_to_exitcode(status), text, seconds, lives(pid), pid)


def learn() -> None:
    """Import what the last child came to need, so that the next one finds it."""
    names = Path("zygote.modules").read_text().split() if Path("zygote.modules").exists() else []
    for name in names:
        if name not in sys.modules:
            with suppress(Exception):
                importlib.import_module(name)
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
