"""An output that was moved or copied takes its MLflow database along, which names the folder of its
artifacts by an absolute path, as MLflow does: before anything is read or written it is led to the
folder beside it, where the artifacts lie now.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from pathlib import Path

from engine.store.disk import Unwritable
from engine.tracking.backoff import database
from engine.tracking.mlflow_rows import ARTIFACTS, DATABASE

PLACES = {"experiments": "artifact_location", "runs": "artifact_uri"}  # table: column


def follow(uri: str) -> None:
    """Lead a database beside an output to its own artifacts; nothing to do for any other.

    Unwritable when it is read-only.
    """
    file = database(uri)
    if file is None or file.name != DATABASE or not file.exists() or not file.stat().st_size:
        return
    here = str(file.parent / ARTIFACTS)
    with contextlib.closing(sqlite3.connect(file, timeout=5.0)) as known:
        for there in _elsewhere(known, here):
            _lead(known, there, here)


def _elsewhere(known: sqlite3.Connection, here: str) -> list[str]:
    """The folders beside other places where this database has been."""
    try:
        found = known.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    except sqlite3.OperationalError:  # MLflow has not made its tables yet
        return []
    places = [str(place) for (place,) in found]
    return [place for place in places if Path(place).name == ARTIFACTS and place != here]


def _lead(known: sqlite3.Connection, there: str, here: str) -> None:
    try:
        with known:
            for table, column in PLACES.items():
                known.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(there) + 1, there, len(there) + 1, f"{there}/"),
                )
    except sqlite3.OperationalError as error:
        raise Unwritable.of(here, OSError(errno.EROFS, str(error))) from error
