"""Heartbeat of Ray: when its local daemons die, running actors go on, nothing new starts and the
driver waits for ever.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import psutil

LOOK_SECONDS = 2.0
SILENT_SECONDS = 30.0  # how long Ray's control store may be out of reach, or a daemon stopped
# how long the driver may be silent before somebody looks beside it: it may hang in a call to a dead
# Ray
STALLED_SECONDS = 8.0
DAEMONS = {
    "raylet": "Ray's local daemon (raylet)",
    "gcs_server": "Ray's control store (gcs_server)",
}


class RayDied(RuntimeError):
    """Ray's own processes are gone; nothing new would start."""


class ProcessTree:
    """The process tree below this one, of those that came after this object; those whose parent
    dies are remembered.
    """

    def __init__(self) -> None:
        self.before = set(psutil.Process().children(recursive=True))
        self.seen: dict[int, psutil.Process] = {}

    def look(self) -> None:
        with contextlib.suppress(psutil.Error):
            below = set(psutil.Process().children(recursive=True)) - self.before
            self.seen = {process.pid: process for process in below} | self.seen

    def named(self, beginning: str) -> list[psutil.Process]:
        """Find those whose command begins so."""
        found = []
        for process in self.seen.values():
            with contextlib.suppress(psutil.Error):
                if process.is_running() and (
                    process.name() == beginning
                    or "".join(process.cmdline()[:1]).startswith(beginning)
                ):
                    found.append(process)
        return found

    def end(self, beginning: str = "") -> None:
        """End them at once, or those whose command begins so.  They are known by pid and start
        time.

        What they have committed is whole, and what they hold is released when they die; a stopped
        one hears no other signal.
        """
        self.look()
        found = self.named(beginning)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, timeout=3)


class Heartbeat:
    """Watches whether Ray is alive; check() raises RayDied.

    processes: of a Ray that this process has started; None: Ray runs elsewhere.
    """

    def __init__(self, control: str, processes: ProcessTree | None) -> None:
        host, _, port = control.rpartition(":")
        self.control, self.processes = (host.strip("[]"), int(port)), processes
        self.daemons: dict[str, psutil.Process] = {}
        self.looked = self.heard = self.beat = time.monotonic()
        self._look()

    def check(self) -> None:
        """Called several times a second by the driver."""
        self.beat = now = time.monotonic()
        if now - self.looked > LOOK_SECONDS:
            self._look()
            if why := self.dead():
                raise RayDied(why)

    def dead(self) -> str:
        """Why Ray is gone, or ''."""
        for name, process in self.daemons.items():
            if _state(process) in ("", psutil.STATUS_ZOMBIE):
                return f"{DAEMONS[name]} has died"
        if time.monotonic() - self.heard > SILENT_SECONDS:
            if stopped := self._stopped():
                return f"{DAEMONS[stopped]} has been stopped for {SILENT_SECONDS:.0f} s"
            return (
                f"Ray's control store at {self.control[0]}:{self.control[1]} has not "
                f"answered for {SILENT_SECONDS:.0f} s"
            )
        return ""

    def watch(self, stalled: Callable[[str], None]) -> threading.Event:
        """A thread beside the driver, for the case that the driver itself hangs in Ray; set the
        event to end it.
        """
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_SECONDS):
                if time.monotonic() - self.beat > STALLED_SECONDS:
                    self._look()
                    if (why := self.dead()) and not ended.is_set():
                        stalled(why)

        threading.Thread(target=look, daemon=True, name="heartbeat").start()
        return ended

    def _look(self) -> None:
        now = time.monotonic()
        if (
            now - self.looked > 2 * STALLED_SECONDS
        ):  # nobody looked: this process itself was stopped, and Ray with it perhaps
            self.heard = now
        self.looked = now
        with contextlib.suppress(OSError), socket.create_connection(self.control, timeout=1):
            if not self._stopped():  # a stopped process still takes connections
                self.heard = time.monotonic()
        if self.processes is not None:
            self.processes.look()
            missing = [name for name in DAEMONS if name not in self.daemons]
            self.daemons |= {
                name: process for name in missing for process in self.processes.named(name)[:1]
            }

    def _stopped(self) -> str:
        return next(
            (
                name
                for name, process in self.daemons.items()
                if _state(process) == psutil.STATUS_STOPPED
            ),
            "",
        )


def _state(process: psutil.Process) -> str:
    """Its status; '' when it is gone."""
    try:
        return str(process.status()) if process.is_running() else ""
    except psutil.NoSuchProcess:
        return ""
