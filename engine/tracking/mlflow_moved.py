"""The MLflow database of an output, which is as little trusted as the output: MLflow reads, writes
and removes where it says.

An output that was moved or copied takes its database along, which names the folder of its artifacts
by an absolute path, as MLflow does: before anything is read or written it is led to the folder
beside it, where the artifacts lie now.  One that then still leads elsewhere, or that is a link or
among links, is damage.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from engine.store.disk import Disk, Unwritable
from engine.store.outputs import is_output
from engine.store.seal import Damaged
from engine.store.shapes import is_below
from engine.store.store import Store
from engine.tracking.backoff import database
from engine.tracking.mlflow_rows import ARTIFACTS, DATABASE, artifacts_of

PLACES = {"experiments": "artifact_location", "runs": "artifact_uri"}  # table: column
FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", f"{DATABASE}-journal")
# where MLflow looks for files: of its own experiment 0, only if somebody has used that
LED = (
    "SELECT artifact_location FROM experiments WHERE experiment_id != 0 "
    "OR experiment_id IN (SELECT experiment_id FROM runs)",
    "SELECT artifact_uri FROM runs",
    "SELECT artifact_location FROM logged_models",
    "SELECT source FROM model_versions",
    "SELECT storage_location FROM model_versions",
    "SELECT value FROM trace_tags WHERE key = 'mlflow.artifactLocation'",
)


def follow(uri: str) -> None:
    """Lead a database beside an output to its own artifacts; nothing to do for any other.

    Unwritable when it is read-only, Damaged when it leads out of the output.
    """
    file = database(uri)
    if file is None or file.name != DATABASE:
        return
    of_output = is_output(Store(str(file.parent), repairs=False))
    if of_output:
        _regular(file.parent)
    if not file.exists() or not file.stat().st_size:
        return
    here = artifacts_of(file.parent)
    with contextlib.closing(sqlite3.connect(file, timeout=5.0)) as known:
        for there in _elsewhere(known, here):
            _lead(known, there, here)
        outside = next(_outside(known, here), None) if of_output else None
    if outside is not None:
        raise Damaged(str(file), f"it leads MLflow to {outside!r}, outside of the output")


def set_aside_if_damaged(uri: str) -> None:
    """By who holds the output: a database that is damaged is set aside, and made again."""
    file = database(uri)
    try:
        follow(uri)
    except Damaged:
        assert file is not None
        disk = Disk(str(file.parent))
        for name in FILES:
            disk.set_aside(str(file.parent / name))


def _regular(out: Path) -> None:
    """Damaged, which names it, where something else than files is below MLflow's names."""
    disk = Disk(str(out))
    for name in FILES:
        disk.has(str(out / name))
    disk.names(str(out / ARTIFACTS))
    for path in disk.strange(f"{ARTIFACTS}/"):
        raise Damaged(path, "this is neither file nor folder")


def _outside(known: sqlite3.Connection, here: str) -> Iterator[str]:
    """The places that a database leads to and that are not below a folder."""
    for question in LED:
        with contextlib.suppress(sqlite3.OperationalError):  # other versions lack the table
            for (place,) in known.execute(question):
                if place and str(place) != here and not _is_below(str(place), here):
                    yield str(place)


def _is_below(place: str, here: str) -> bool:
    return place.startswith(f"{here}/") and is_below(place[len(here) + 1 :])


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
