"""Calls that may fail without stopping anything: a failure is noted and followed by a silence in proportion to what it cost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

SHARE = 60  # seconds of silence for each second a failure cost
LONGEST = 600.0  # seconds


class Patience:
    """Runs actions; after a failure it refuses all of them for a while (1 s, 2 s, 4 s, ..., at least 60 times the cost)."""

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
        log.warning("%s is behind (%s); next try in %.0f s", self.name, self.trouble.splitlines()[0][:300], self._silence)
