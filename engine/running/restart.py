"""Ray on this machine has died: this process becomes its own command line once more, which goes on
from the store.

Not Ray once more in the process as it is: it may hang in a call to the dead Ray, and threads of Ray
end it after a minute.  The lock of the output is free for the second that the start takes; whoever
takes it then does the same work.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading

from engine.console.live import Display
from engine.store.store import Store

TRIES = 3  # in a row, without a new row
NAME = (
    "OUROBOROS_RESTARTS"  # tells the next process: restarts without progress, rows that were there
)


class Restarts:
    """command: of this process; empty where it is somebody else's, who would not like to be
    replaced.
    """

    def __init__(self, command: tuple[str, ...], store: Store) -> None:
        self.command, self.store = command, store
        # where errors go now, and shall go again
        self.terminal = os.dup(2) if command else 2
        self.one_at_a_time = (
            threading.Lock()
        )  # the driver may come back from its hanging call just then

    def begin(self, why: str, display: Display) -> None:
        """Start again, which does not come back; unless there were too many without progress, or
        nobody said how.
        """
        if self.command:
            with self.one_at_a_time:
                self._begin(why, display)

    def _begin(self, why: str, display: Display) -> None:
        tried, before = map(int, os.environ.get(NAME, "0 -1").split())
        now = sum(1 for _ in self.store.rows())
        tried = 1 if now > before else tried + 1
        if tried > TRIES:
            return
        display.__exit__(None, None, None)
        display.warn(f"Ray died ({why}); starting it again ({tried} of {TRIES} without progress)")
        os.environ[NAME] = f"{tried} {now}"
        os.dup2(self.terminal, 2)
        with contextlib.suppress(OSError):
            os.execv(self.command[0], self.command)


def own_command() -> tuple[str, ...]:
    """How this process was started."""
    return (sys.executable, *sys.orig_argv[1:])
