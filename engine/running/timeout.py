"""Timeout: an endless loop in somebody's part must not hold a machine for ever.

A thread watches.  When the time is up it raises OutOfTime in the thread that works, which ends any
loop of Python.  What sits in a library's own code and does not come back within a grace is given
up: `stuck` is called with where, and the process ends.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE_SECONDS = 30.0
Stuck = Callable[[Exception, traceback.StackSummary], None]


class OutOfTime(Exception):
    """A generation took longer than resources.timeout_minutes."""

    def __init__(self) -> None:
        super().__init__(
            "the generation took longer than resources.timeout_minutes; raise that, or find "
            "what does not end"
        )


@contextmanager
def limit(seconds: float | None, stuck: Stuck) -> Iterator[None]:
    """Inside, at most so many seconds; None: any number."""
    if seconds is None:
        yield
        return
    watch = _Watch(seconds, stuck)
    watch.start()
    try:
        yield
    finally:
        watch.end()


class _Watch(threading.Thread):
    def __init__(self, seconds: float, stuck: Stuck) -> None:
        super().__init__(name="timeout", daemon=True)
        self.seconds, self.stuck, self.works = seconds, stuck, threading.get_ident()
        self.ended, self.lock = threading.Event(), threading.Lock()

    def run(self) -> None:
        if self.ended.wait(self.seconds):
            return
        with self.lock:
            if not self.ended.is_set():
                _raise_in(self.works, OutOfTime)
        if not self.ended.wait(GRACE_SECONDS):
            self.stuck(OutOfTime(), traceback.extract_stack(sys._current_frames()[self.works]))
            os._exit(1)

    def end(self) -> None:
        with self.lock:
            self.ended.set()
            _raise_in(
                self.works, None
            )  # what was raised but has not arrived yet shall not arrive outside


def _raise_in(thread: int, error: type[Exception] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(error) if error else None
    )
