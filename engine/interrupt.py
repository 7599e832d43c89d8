"""Ctrl-C and SIGTERM: the first asks for an end after the generations in flight, the second ends at once.

Either way the state is saved: what is committed stays, what was in flight is made again by the same command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupt:
    """The first signal received, or None."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator[Interrupt]:
        """Own handlers for as long as this lasts (only the main thread may set them)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self.listen()
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Take the handlers (again: Ray sets its own when it starts)."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # under nohup a closed terminal is no reason to stop
                    signal.signal(number, self._received)

    def _received(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            leave(128 + number)
        self.signal = number


def leave(code: int, why: str = "") -> None:
    """End this process at once, with the cursor visible again; why: for the terminal, wherever prints go by now."""
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), b"\x1b[?25h\n")
    if why:
        os.write(1, f"{why}\n".encode())
    os._exit(code)
