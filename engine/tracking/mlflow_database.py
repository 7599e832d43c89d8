"""A sqlite file of MLflow's: whole, or made anew.

MLflow makes its tables in place, in many steps; one that is killed meanwhile leaves a file that no
MLflow opens again.  So they are made elsewhere, and the whole file takes its place at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from engine.files import cache_folder, exclusive, staged
from engine.tracking.backoff import sqlite_uri

FIRST = {"experiments", "runs", "metrics", "params", "tags", "alembic_version"}  # that MLflow makes
STATE = {"alembic_version", "workspaces"}  # what it fills while it makes the others
BESIDE = ("-journal", "-wal", "-shm")  # of sqlite, of one file; they would spoil another one


def is_whole(file: Path) -> bool:
    """Whether MLflow can use a file: the last thing that it does in a new one is to put its first
    row in.

    A database of somebody else, where MLflow has not begun, is left to MLflow.  sqlite3.Error for
    what is none, or is locked.
    """
    if not file.exists() or not file.stat().st_size:
        return False
    place = f"{file.absolute().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(place, uri=True, timeout=2)) as known:
        found = known.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {str(name) for (name,) in found}
        if not tables & FIRST:
            return bool(tables)
        filled = (f'SELECT 1 FROM "{name}" LIMIT 1' for name in sorted(tables - STATE))
        return any(known.execute(query).fetchone() for query in filled)


def make_whole(file: Path, make: Callable[[str], None]) -> None:
    """Make a database where there is none, or one that was half made and holds nothing.

    make: makes MLflow's tables in a new file, by its URI.  Two processes that do it at once agree.
    """
    if is_whole(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:16]
    with exclusive(cache_folder() / "locks" / f"mlflow-{name}"):
        if is_whole(file):
            return
        with staged(file) as temporary, tempfile.TemporaryDirectory() as folder:
            temporary.touch()  # an error at once where nothing can be written
            new = Path(folder) / file.name
            make(sqlite_uri(new))
            with (
                contextlib.closing(sqlite3.connect(new)) as made,
                contextlib.closing(sqlite3.connect(temporary)) as copy,
            ):
                made.backup(copy)
            for ending in BESIDE:
                file.with_name(f"{file.name}{ending}").unlink(missing_ok=True)
