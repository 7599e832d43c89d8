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
from urllib.parse import unquote

import requests

from engine._deadline import Slow as Slow
from engine._deadline import within as within
from engine._foreign import without_passwords
from engine._lasting import remedy

log = logging.getLogger(__name__)

SHARE = 60  # seconds of silence for each second a failure cost
LONGEST = 600.0  # seconds
LONG = 1.0  # seconds of one call that are waiting rather than work
WAITED = 2.0  # seconds of such calls that one action may take together
ANSWERS = 2.0  # seconds in which a server must say anything at all
OPENING = 60.0  # seconds; in a new database on a server MLflow makes its tables first
SERVERS = ("postgresql", "mysql", "mssql")  # of databases
SIZED = ("log_artifact", "log_artifacts")  # take as long as what they send is large
SLOWEST = 100_000.0  # bytes per second that a server takes of such at least


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
        self.trouble = without_passwords(f"{type(error).__name__}: {error}")
        wait = LONGEST if remedy(self.trouble) else max(2 * self._silence, SHARE * cost)
        self._silence = min(wait, LONGEST)
        self._until = time.monotonic() + self._silence
        log.warning(
            "%s is behind (%s); next try in %.0f s",
            self.name,
            self.trouble.splitlines()[0][:300],
            self._silence,
        )


def database(uri: str) -> Path | None:
    """The file of a sqlite URI."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").split("?")[0]))


def sqlite_uri(file: Path) -> str:
    """The URI of a sqlite file, in which only those signs are quoted that mean something there."""
    return f"sqlite:///{str(file).replace('%', '%25').replace('?', '%3F')}"


def unquoted(uri: str, private: Path) -> str:
    """The URI of a sqlite file in which nothing is quoted: by a link in a private folder.

    MLflow makes a folder of what is quoted, and its server is another process.
    """
    file = database(uri)
    if file is None or "%" not in uri:
        return uri
    (private / "output").symlink_to(file.absolute().parent)
    return sqlite_uri(private / "output" / file.name)


def must_answer(uri: str, opened: bool) -> None:
    """Raises within 2 s when a server does not answer (any answer will do), or a file is locked,
    gone or cannot be written.
    """
    scheme = uri.partition("://")[0].partition("+")[0]
    if uri.startswith(("http://", "https://")):
        with contextlib.suppress(requests.exceptions.SSLError):  # an answer, too
            within(ANSWERS, lambda: requests.get(uri.rstrip("/") + "/health", timeout=2).close())
    elif (file := database(uri)) and (opened or file.exists()):
        with contextlib.closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=1)
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    elif scheme in SERVERS:
        _must_connect(uri)


def _must_connect(uri: str) -> None:
    """The same for a database that is a server: MLflow would try for minutes."""
    from sqlalchemy import create_engine  # half a second to import

    engine = create_engine(uri)
    words, options = engine.dialect.create_connect_args(engine.url)
    within(ANSWERS, lambda: engine.dialect.connect(*words, **options).close())


class Timed:
    """A server's client; raises Slow when the long calls of an action take too long together."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.waited = inner, 0.0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)

        def timed(*words: Any, **options: Any) -> Any:
            started = time.monotonic()
            most = LONG + WAITED - self.waited
            if name in SIZED:
                most = LONG + WAITED + _bytes(Path(words[1])) / SLOWEST
            answer = within(most, lambda: method(*words, **options))
            seconds = time.monotonic() - started
            if seconds > LONG and name not in SIZED:
                self.waited += seconds
            if self.waited > WAITED:
                raise Slow(f"it answers after {seconds:.1f} s")
            return answer

        return timed


def opened(uri: str, make: Callable[[str], Any]) -> Any:
    """The client that `make` makes: as it is of a file, of a server one with deadlines."""
    if database(uri):
        return make(uri)
    return Timed(within(OPENING, lambda: make(uri)))


def _bytes(place: Path) -> int:
    """Of a file, or of the files in a folder."""
    files = place.rglob("*") if place.is_dir() else [place]
    return sum(file.stat().st_size for file in files if file.is_file())
