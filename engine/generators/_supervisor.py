"""Runs one program, and ends all that it has started however it or its asker ends.

A process of its own (`python -I -S _supervisor.py PROGRAM WORD ...`), for a process that is killed
cannot tidy up.  Its standard input is a pipe that the asker holds open: when that closes, on
purpose or because the asker died, the program gets SIGTERM, a moment, and SIGKILL.  On Linux
children that have left the program's group are found too.  It ends as the program ended: with its
exit code, or by its signal.

What the program prints passes through here to the files that the asker gave: however much it is,
KEPT bytes of the beginning stay, and as many of the end.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import stat
import sys
import time
from collections.abc import Sequence

GRACE_SECONDS = 1.0  # between SIGTERM and SIGKILL
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of linux/prctl.h
NOT_STARTED = 127  # as a shell says it
KEPT = 256 << 10  # bytes of the beginning of what is printed to a stream, and of its end
CHUNK = 64 << 10  # bytes that are read at once: a pipe's
SHOWN_SECONDS = 1.0  # so often the end is written down while the program runs
MOST_CHUNKS = 256  # read when all is over, from a pipe that somebody holds open who was not found


def prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Stream:
    """What the program prints to a stream: the first KEPT bytes go to the file as they come; the
    last ones follow, with how many were left out between them.
    """

    def __init__(self, number: int) -> None:
        """number: of the stream, 1 or 2: the program's, and this process's, which is the file."""
        self.number = number
        self.source, self.programs = os.pipe()
        os.set_blocking(self.source, False)
        self.open, self.room, self.left_out, self.end = True, KEPT, 0, bytearray()
        self.mark = self.size = 0  # of the file: where the end begins, and what was written so far
        self.news, self.shown = False, 0.0

    def take(self) -> bool:
        """Read what there is, at most a chunk; whether there was something."""
        try:
            data = os.read(self.source, CHUNK) if self.open else b""
        except BlockingIOError:
            return False
        if not data:
            self.open = False
            return False
        first, rest = data[: self.room], data[self.room :]
        self.room -= len(first)
        self.write(first)
        if rest:
            self.end += rest
            self.news = True
        if len(self.end) > 2 * KEPT:
            self.shorten()
        return True

    def shorten(self) -> None:
        too_many = max(0, len(self.end) - KEPT)
        self.left_out += too_many
        del self.end[:too_many]

    def show(self) -> None:
        """Write the end down, in place of what was the end before."""
        if not self.news:
            return
        self.shorten()
        self.news, self.shown = False, time.monotonic()
        about = os.fstat(self.number)
        if not stat.S_ISREG(about.st_mode):
            return
        if self.mark and about.st_size == self.size:
            with contextlib.suppress(OSError):
                os.ftruncate(self.number, self.mark)
        else:  # the first time, or somebody else has written there
            self.mark = about.st_size
        if self.left_out:
            self.write(b"\n# %s bytes are left out here\n" % f"{self.left_out:,}".encode())
        self.write(bytes(self.end))
        self.size = os.fstat(self.number).st_size

    def write(self, data: bytes) -> None:
        """A full disk ends no program: what has no room is not kept."""
        left = memoryview(data)
        with contextlib.suppress(OSError):
            while left:
                left = left[os.write(self.number, left) :]


def listen(streams: Sequence[Stream], others: Sequence[int] = (), most: float = 3600) -> list[int]:
    """Take what is printed, and wait for it at most so many seconds; which others are ready."""
    now = time.monotonic()
    due = [stream.shown + SHOWN_SECONDS - now for stream in streams if stream.news]
    sources = {stream.source: stream for stream in streams if stream.open}
    ready, _, _ = select.select([*others, *sources], [], [], max(0.0, min([most, *due])))
    for source in sources.keys() & ready:
        sources[source].take()
    for stream in streams:
        if time.monotonic() >= stream.shown + SHOWN_SECONDS:
            stream.show()
    return [number for number in others if number in ready]


def finish(streams: Sequence[Stream]) -> None:
    """Take what is left in the pipes, and write the ends down."""
    for stream in streams:
        for _ in range(MOST_CHUNKS):
            if not stream.take():
                break
        stream.show()


def start(words: list[str], streams: Sequence[Stream]) -> int:
    """The program in a session of its own: no key pressed at the terminal reaches it."""
    pid = os.fork()
    if pid:
        for stream in streams:
            os.close(stream.programs)
        return pid
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in streams:
            os.dup2(stream.programs, stream.number)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def wait(pid: int, streams: Sequence[Stream]) -> int | None:
    """The wait status of the program; None when it shall end."""
    signals, here = os.pipe()
    os.set_blocking(here, False)
    signal.set_wakeup_fd(here, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        ready = listen(streams, (0, signals))
        if 0 in ready and not os.read(0, 1):
            return None
        if signals in ready and set(os.read(signals, 64)) - {signal.SIGCHLD}:
            return None


def end(pid: int, streams: Sequence[Stream]) -> None:
    """SIGTERM to the group of a program that runs, and a moment to save what it has."""
    send(-pid, signal.SIGTERM)
    until = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < until and not os.waitpid(pid, os.WNOHANG)[0]:
        listen(streams, most=0.02)


def end_all(pid: int) -> None:
    """SIGKILL to the group, and to whoever has become a child of ours since its parent died."""
    send(-pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # none is left
        while True:
            for child in children():
                send(child, signal.SIGKILL)
            os.waitpid(-1, 0)


def children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def main() -> None:
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    streams = [Stream(1), Stream(2)]
    pid = start(sys.argv[1:], streams)
    status = wait(pid, streams)
    if status is None:
        with contextlib.suppress(ChildProcessError):
            end(pid, streams)
    end_all(pid)
    finish(streams)
    if status is None:
        os._exit(NOT_STARTED)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


if __name__ == "__main__":
    main()
