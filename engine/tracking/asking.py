"""Asking a tracker for what it has: each call has a deadline for its whole answer, and whatever
goes wrong there is one sentence that names the place.

Writing is another matter: it may fail, and is tried again (engine/tracking/backoff.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from engine._deadline import within
from engine._foreign import without_passwords
from engine._lasting import in_words
from engine.status import EnvironmentProblem
from engine.store.seal import Damaged
from engine.tracking.backoff import database, must_answer

SECONDS = 30.0  # of one call
SECONDS_OF_FILES = 120.0
FILES = ("download_artifacts",)
T = TypeVar("T")


class Unread(EnvironmentProblem):
    """A tracker, for a reason of its server or database."""


def answer(uri: str, seconds: float, call: Callable[[], T]) -> T:
    """What a call of the tracker at `uri` returns; Unread when it fails or takes longer."""
    try:
        return within(seconds, call)
    except (Damaged, EnvironmentProblem):
        raise
    except Exception as error:
        place = without_passwords(uri)
        raise Unread(f"what is tracked at {place} cannot be read: {in_words(error)}") from error


class Asked:
    """A client to read with, made once its place answers.

    make: makes the client, which may connect.
    """

    def __init__(self, uri: str, make: Callable[[str], Any]) -> None:
        self.uri = uri
        must_be_there(uri)
        self.inner = answer(uri, SECONDS, lambda: make(uri))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        seconds = SECONDS_OF_FILES if name in FILES else SECONDS

        def asked(*words: Any, **options: Any) -> Any:
            return answer(self.uri, seconds, lambda: method(*words, **options))

        return asked


def must_be_there(uri: str) -> None:
    """Raises Unread when no server answers; KeyError when there is no such file."""
    file = database(uri)
    if file is None:
        answer(uri, SECONDS, lambda: must_answer(uri, opened=True))
    elif not file.exists():
        raise KeyError(f"nothing is recorded: there is no {file}")
