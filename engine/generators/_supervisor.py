"""Runs one program, and ends all that it has started however it or its asker ends.

A process of its own (`python -I -S _supervisor.py PROGRAM WORD ...`), for a process that is killed
cannot tidy up.  Its standard input is a pipe that the asker holds open: when that closes, on
purpose or because the asker died, the program gets SIGTERM, a moment, and SIGKILL.  On Linux
children that have left the program's group are found too.  It ends as the program ended: with its
exit code, or by its signal.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time

GRACE_SECONDS = 1.0  # between SIGTERM and SIGKILL
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # of linux/prctl.h
NOT_STARTED = 127  # as a shell says it


def prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def start(words: list[str]) -> int:
    """The program in a session of its own: no key pressed at the terminal reaches it."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def wait(pid: int) -> int | None:
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
        ready, _, _ = select.select([0, signals], [], [])
        if 0 in ready and not os.read(0, 1):
            return None
        if signals in ready and set(os.read(signals, 64)) - {signal.SIGCHLD}:
            return None


def end(pid: int) -> None:
    """SIGTERM to the group of a program that runs, and a moment to save what it has."""
    send(-pid, signal.SIGTERM)
    until = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < until and not os.waitpid(pid, os.WNOHANG)[0]:
        time.sleep(0.02)


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
    pid = start(sys.argv[1:])
    status = wait(pid)
    if status is None:
        with contextlib.suppress(ChildProcessError):
            end(pid)
    end_all(pid)
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
