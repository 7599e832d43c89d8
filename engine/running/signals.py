"""Signals (Ctrl-C, SIGTERM): the first asks for an end after the generations in flight, the second
ends at once.

Nobody waits long: generations get a few seconds to end, and soon after the process leaves whatever
hangs.  Either way the state is saved: what is committed stays, what was in flight is made again by
the same command.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from io import FileIO
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GENERATION_SECONDS = 4.0  # for the generations in flight
LAST_SECONDS = 7.0  # for everything, summary and MLflow included
AGAIN = "the state is saved; the same command goes on"


class Interrupt:
    """The first signal received, or None.

    Python's own handlers wait until the main thread comes back from whatever library it is in, so a
    thread of ours reads signals from a pipe.

    exits     whether the process is ours: it is left when generations hang or at a second signal;
              else (a notebook, somebody's script) only Ctrl-C is taken, and then KeyboardInterrupt
              is raised.
    hurry     ends the generations in flight.
    leaving   what to do before the process ends.
    terminal  the file descriptor to say why to.
    """

    def __init__(self, exits: bool = True) -> None:
        self.exits, self.numbers = exits, SIGNALS if exits else (signal.SIGINT,)
        self.signal: int | None = None
        self.hurry: Callable[[], None] = lambda: None
        self.leaving: list[Callable[[], None]] = []
        self.terminal = 1
        self._timers: list[threading.Timer] = []  # of a process that is not ours

    def __bool__(self) -> bool:
        return self.signal is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator[Interrupt]:
        """Own handlers for as long as this lasts (only the main thread may set them)."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in self.numbers}
        try:
            with self._watched() if self.exits else contextlib.nullcontext():
                self.listen()
                yield self
        finally:
            for timer in self._timers:
                timer.cancel()
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """A thread that reads the signals while this lasts."""
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        pipe_before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        threading.Thread(
            target=self._listen_on, args=(read_end,), daemon=True, name="interrupt"
        ).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(pipe_before)
            os.close(write_end)

    def listen(self) -> None:
        """Take the handlers (again: Ray sets its own when it starts)."""
        if threading.current_thread() is threading.main_thread():
            for number in self.numbers:
                if (
                    signal.getsignal(number) != signal.SIG_IGN
                ):  # under nohup a closed terminal is no reason to stop
                    signal.signal(number, self._received)

    def _received(self, number: int, _: FrameType | None = None) -> None:
        if self.signal is not None and not self.exits:
            raise KeyboardInterrupt
        if self.signal is None and not self.exits:
            hurry = after(GENERATION_SECONDS, lambda: self.hurry())
            self._timers = [hurry, after(LAST_SECONDS, _thread.interrupt_main)]
        self.signal = self.signal or number

    def _listen_on(self, pipe: int) -> None:
        """In the thread: the first signal sets the time, whichever comes next, signal or end of
        time, ends the process.
        """
        with open(pipe, "rb", buffering=0) as reader:
            first = _next_signal(reader)
            if first is None:
                return
            self._received(first)
            hurry = after(GENERATION_SECONDS, lambda: self.hurry())
            end = after(
                LAST_SECONDS, self._leave, first, f"stopped after {LAST_SECONDS:.0f} s; {AGAIN}"
            )
            again = _next_signal(reader)
            hurry.cancel()
            end.cancel()
            if again is not None:
                self._leave(again, "")

    def leave_nothing(self) -> None:
        """Do what is to be done before leaving; again where it was done too early."""
        for action in self.leaving:
            with contextlib.suppress(Exception):
                action()

    def abandon(self, why: str) -> None:
        """End a main thread that hangs: with this process, or, where that is somebody else's, as
        Ctrl-C would.
        """
        if not self.exits:
            _thread.interrupt_main()
        elif not self:
            leave(4, f"{why}; {AGAIN}", self.terminal, self.leave_nothing)

    def _leave(self, number: int, why: str) -> None:
        leave(128 + number, why, self.terminal, self.leave_nothing)


def after(seconds: float, what: Callable[..., None], *given: object) -> threading.Timer:
    """Do it then, in a thread that keeps nobody from ending."""
    timer = threading.Timer(seconds, what, given)
    timer.daemon = True
    timer.start()
    return timer


def _next_signal(reader: FileIO) -> int | None:
    """Wait for the next signal that we take; None when the pipe was closed."""
    while byte := reader.read(1):
        if byte[0] in SIGNALS:
            return int(byte[0])
    return None


def leave(
    code: int, why: str = "", terminal: int = 1, first: Callable[[], None] | None = None
) -> None:
    """End this process within three seconds, with the cursor visible again; why:
    for the terminal.
    """
    after(3.0, os._exit, code)  # a disk or a terminal may hang
    if first is not None:
        first()
    with contextlib.suppress(OSError):  # a closed terminal
        if os.isatty(terminal):
            os.write(terminal, b"\x1b[?25h\n")
        if why:
            os.write(terminal, f"{why}\n".encode())
    os._exit(code)
