"""MLflow's database: killed while it was made, beside an output of an odd name, made by two at
once; none of it costs a recorded run.
"""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from engine.tracking import mlflow as tracking
from engine.tracking import mlflow_runs
from engine.tracking.backoff import database, sqlite_uri
from engine.tracking.mlflow_database import is_whole, make_whole
from engine.tracking.mlflow_rows import local
from tests.support.mirrored import NAME, PARAMETERS, SWEEP, as_json, rows_of, spec

MOMENTS = (1, 5, 40, 150)  # after so many statements that write
ODD = ["a%20b%", "a?b=c&d#e", "[red] ü'\"\n"]
Made = Callable[[str], None]


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What a kill leaves at several moments of the real thing, in folders of their own; the last
    one was not killed.
    """
    base, found, seen = tmp_path_factory.mktemp("cut"), list[Path](), [0]
    file = base / "made" / "mlflow.db"
    file.parent.mkdir()

    def kill(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen[0] += not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))
        if seen[0] in MOMENTS[len(found) :]:
            found.append(shutil.copytree(file.parent, base / f"after {seen[0]}") / "mlflow.db")

    event.listen(Engine, "after_cursor_execute", kill)
    try:
        mlflow_runs.make_tables(sqlite_uri(file))
    finally:
        event.remove(Engine, "after_cursor_execute", kill)
    assert len(found) == len(MOMENTS)
    return [*found, file]


@pytest.fixture
def copied(cut: list[Path], monkeypatch: pytest.MonkeyPatch) -> Made:
    """In place of making the tables, which takes seconds: a copy of some that were made."""

    def make(uri: str) -> None:
        shutil.copy(cut[-1], database(uri) or "")

    monkeypatch.setattr(tracking, "make_tables", make)
    return make


def tracker_in(folder: Path) -> tracking.MlflowTracker:
    uri, artifacts = local(folder)
    return tracking.MlflowTracker(uri, NAME, SWEEP, artifacts)


@pytest.mark.parametrize("moment", range(len(MOMENTS)), ids=map(str, MOMENTS))
def test_a_database_that_was_killed_while_it_was_made_is_made_again(
    moment: int, cut: list[Path], copied: Made, tmp_path: Path
) -> None:
    shutil.copytree(cut[moment].parent, tmp_path / "out")
    assert not is_whole(tmp_path / "out" / "mlflow.db") and is_whole(cut[-1])
    tracker, s = tracker_in(tmp_path / "out"), spec()
    assert tracker.open_sweep("How much?", PARAMETERS, 1), tracker.trouble
    assert tracker.mirror(s, rows_of(s, 2)), tracker.trouble
    assert mlflow_runs.rows(tracker.uri, NAME) == as_json(rows_of(s, 2))
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.endswith((".tmp", "-journal"))]


def test_a_whole_one_is_never_made_again(cut: list[Path], tmp_path: Path) -> None:
    file = shutil.copy(cut[-1], tmp_path / "mlflow.db")
    make_whole(file, lambda uri: pytest.fail("made again"))
    file.write_bytes(b"")  # made by touch, and no more
    assert not is_whole(file)
    with sqlite3.connect(file) as foreign:
        foreign.execute("CREATE TABLE of_somebody_else (a)")
    foreign.close()
    make_whole(file, lambda uri: pytest.fail("made again"))  # MLflow adds its own
    file.write_bytes(b"no database, but somebody's words " * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        make_whole(file, lambda uri: pytest.fail("made again"))
    assert b"somebody's words" in file.read_bytes()


def test_two_that_make_it_at_once_agree(copied: Made, tmp_path: Path) -> None:
    made: list[str] = []

    def make(uri: str) -> None:
        made.append(uri)
        copied(uri)

    file = tmp_path / "mlflow.db"
    file.touch()
    both = [threading.Thread(target=make_whole, args=(file, make)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert is_whole(file) and len(made) == 1


@pytest.mark.parametrize("name", ODD)
def test_an_output_of_an_odd_name_is_recorded(name: str, copied: Made, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    tracker, s = tracker_in(tmp_path / name), spec()
    assert tracker.open_sweep("How much?", PARAMETERS, 1), tracker.trouble
    assert tracker.mirror(s, rows_of(s, 2)), tracker.trouble
    assert mlflow_runs.rows(tracker.uri, NAME) == as_json(rows_of(s, 2))
    assert [path.name for path in tmp_path.iterdir()] == [name]  # and nothing beside it
    assert {path.name for path in (tmp_path / name).iterdir()} == {"mlflow.db", "mlartifacts"}
