"""Ray's scratch folders: one per run, named by the process that made it, so that those of dead runs
are known and removed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = "ouro-"
TRIES = 10
# characters of the folder above: Ray puts sockets below, and their paths are limited to about 100
LONGEST = 20


def make() -> Path:
    """A new folder of this process."""
    base = tempfile.gettempdir()
    base = base if len(base) <= LONGEST else "/tmp"
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))


def dead() -> list[Path]:
    """Our folders whose process is gone."""
    found = {
        p
        for base in {tempfile.gettempdir(), "/tmp"}
        for p in Path(base).glob(f"{PREFIX}*-*")
        if p.is_dir()
    }
    return sorted(
        p for p in found if p.stat().st_uid == os.getuid() and not _alive(p.name.split("-")[1])
    )


def former() -> list[Path]:
    """What this process left when it was started anew in its own place: Ray's threads may write to
    the very end.
    """
    here = {
        p
        for base in {tempfile.gettempdir(), "/tmp"}
        for p in Path(base).glob(f"{PREFIX}{os.getpid()}-*")
    }
    return sorted(p for p in here if "-weights-" not in p.name)


def remove(folders: list[Path]) -> None:
    """Remove them; a process of Ray that is just ending may still write there,
    so try a few times.
    """
    for folder in folders:
        for _ in range(TRIES):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.2)


def _alive(pid: str) -> bool:
    return not pid.isdigit() or Path(f"/proc/{pid}").exists()
