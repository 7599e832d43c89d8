"""Backoff: calls to a tracker may fail without stopping anything; a failure is noted, and followed
by a silence that fits its cost.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

log = logging.getLogger(__name__)

SHARE = 60  # seconds of silence for each second a failure cost
LONGEST = 600.0  # seconds
LONG = 1.0  # seconds of one call that are waiting rather than work
WAITED = 2.0  # seconds of such calls that one action may take together
SIZED = ("log_artifact", "log_artifacts")  # take as long as what they send is large


class Slow(TimeoutError):
    """It answers, but late."""


class Backoff:
    """Runs actions; after a failure it refuses all of them for a while (exponential backoff: 1 s,
    2 s, 4 s, ..., at least 60 times the cost).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.behind: set[str] = set()  # what failed or was refused, and has not succeeded since
        self.trouble = ""  # the last failure
        self.forget()

    def run(self, what: str, action: Callable[[], None]) -> bool:
        """Whether the action ran to its end."""
        started = time.monotonic()
        self.behind.add(what)
        if started < self._until:
            return False
        try:
            action()
        except Exception as error:
            self._failed(error, time.monotonic() - started)
            return False
        self.behind.discard(what)
        self.forget()
        return True

    def forget(self) -> None:
        """The next action is tried whatever was."""
        self._silence, self._until = 0.5, 0.0

    def _failed(self, error: Exception, cost: float) -> None:
        self.trouble = f"{type(error).__name__}: {error}"
        self._silence = min(max(2 * self._silence, SHARE * cost), LONGEST)
        self._until = time.monotonic() + self._silence
        log.warning(
            "%s is behind (%s); next try in %.0f s",
            self.name,
            self.trouble.splitlines()[0][:300],
            self._silence,
        )


def database(uri: str) -> Path | None:
    """The file of a sqlite URI."""
    return (
        Path(uri.removeprefix("sqlite:///").split("?")[0]) if uri.startswith("sqlite:///") else None
    )


def must_answer(uri: str, opened: bool) -> None:
    """Raises within 2 s when a server does not answer (any answer will do), or a file is locked,
    gone or cannot be written.
    """
    if uri.startswith(("http://", "https://")):
        with contextlib.suppress(requests.exceptions.SSLError):  # an answer, too
            requests.get(uri.rstrip("/") + "/health", timeout=2).close()
    elif (file := database(uri)) and (opened or file.exists()):
        with contextlib.closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=1)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()


class Timed:
    """A server's client; raises Slow after a call with which the long ones of an action have taken
    too long together.
    """

    def __init__(self, inner: Any) -> None:
        self.inner, self.waited = inner, 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def timed(*words: Any, **options: Any) -> Any:
            started = time.monotonic()
            answer = method(*words, **options)
            seconds = time.monotonic() - started
            if seconds > LONG and name not in SIZED:
                self.waited += seconds
            if self.waited > WAITED:
                raise Slow(f"it answers after {seconds:.1f} s")
            return answer

        return timed
