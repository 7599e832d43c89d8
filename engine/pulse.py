"""Is Ray alive?  When its local daemon dies, running actors go on, nothing new starts and the driver waits for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

import psutil

LOOK_SECONDS = 2.0
SILENT_SECONDS = 30.0  # how long Ray's control store may be out of reach
STALLED_SECONDS = 45.0  # how long the driver may hang in a call to a dead Ray, which ends it without a word after 60


class RayDied(RuntimeError):
    """Ray's own processes are gone; nothing new would start."""


class Pulse:
    """check() raises RayDied; end() ends what a dead Ray left running, all of it started by this process."""

    def __init__(self, control: str, local: bool) -> None:
        host, _, port = control.rpartition(":")
        self.control, self.local = (host.strip("[]"), int(port)), local
        self.family: dict[int, psutil.Process] = {}
        self.raylet: psutil.Process | None = None
        self.looked = self.heard = self.beat = time.monotonic()
        self._look()

    def check(self) -> None:
        """Called several times a second by the driver."""
        self.beat = now = time.monotonic()
        if now - self.looked > LOOK_SECONDS:
            self.looked = now
            self._look()
            if why := self.dead():
                raise RayDied(why)

    def dead(self) -> str:
        """Why Ray is gone, or ''."""
        if self.raylet is not None and not _running(self.raylet):
            return "Ray's local daemon (raylet) has died"
        if time.monotonic() - self.heard > SILENT_SECONDS:
            return f"Ray's control store at {self.control[0]}:{self.control[1]} has not answered for {SILENT_SECONDS:.0f} s"
        return ""

    def watch(self, stalled: Callable[[str], None]) -> threading.Event:
        """A thread beside the driver, for the case that the driver itself hangs in Ray; set the event to end it."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_SECONDS):
                if time.monotonic() - self.beat > STALLED_SECONDS:
                    self._look()
                    if why := self.dead():
                        stalled(why)

        threading.Thread(target=look, daemon=True, name="pulse").start()
        return ended

    def _look(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(self.control, timeout=1):
            self.heard = time.monotonic()
        if self.local:
            with contextlib.suppress(psutil.Error):
                self.family |= {p.pid: p for p in psutil.Process().children(recursive=True) if p.pid not in self.family}
            if self.raylet is None:
                self.raylet = next((p for p in self.family.values() if _name(p) == "raylet"), None)

    def end(self) -> None:
        """End the processes of a dead Ray: those seen below this process, recognised by pid and start time."""
        for process in self.family.values():
            with contextlib.suppress(psutil.Error):
                if process.is_running():
                    process.terminate()
        psutil.wait_procs(list(self.family.values()), timeout=3)


def _running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""
