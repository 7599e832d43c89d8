"""The one way to what lies below an output: no link is followed, only files are read, and what is
in the way of something to be written is set aside as what it is.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.files import GIVEN_UP, staged_name
from engine.store.disk import Disk
from engine.store.locks import FileLocks
from engine.store.seal import Damaged
from engine.store.store import Store
from engine.tracking.mlflow_moved import follow, set_aside_if_damaged
from tests.support.rows import failure
from tests.support.strangers import fingerprint, guard

GONE = 4194305  # more than any process's number


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    return guard(tmp_path / "outside")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out" / "draws" / "k").mkdir(parents=True)
    return tmp_path / "out"


def at(out: Path, name: str) -> str:
    return str(out / name)


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


PUT: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to(path.parents[3] / "outside" / "key"),
    "a pipe": os.mkfifo,
    "a socket": bound,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("kind", PUT)
def test_what_is_no_file_is_damage_and_set_aside_as_it_is(
    kind: str, out: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, row = fingerprint(outside), out / "draws/k/row.json"
    monkeypatch.chdir(row.parent)  # the path of a socket is short
    PUT[kind](Path("row.json") if kind == "a socket" else row)
    disk, store = Disk(str(out)), Store(str(out))
    with pytest.raises(Damaged, match=f"this is {kind}, not a file"):
        disk.read(str(row))
    assert store.row("draw", "k") is None and store.damage == ["draws/k/row.json"]
    (aside,) = (out / "damaged").iterdir()
    assert not os.path.lexists(row) and aside.is_symlink() == (kind == "a link")
    assert fingerprint(outside) == before
    disk.write(str(row), b"new")
    assert disk.read(str(row)) == b"new"


def test_a_folder_that_is_a_link_is_entered_by_nobody(out: Path, outside: Path) -> None:
    before = fingerprint(outside)
    for name in ("lineages", "failures", "partial", "locks", "logs", "damaged"):
        (out / name).symlink_to(outside)
    store = Store(str(out))
    assert list(store.lineages()) == [] and store.names("partial") == []
    store.fail("a", failure())
    store.write_partial("m-1", b"state")
    store.forget_failure("b")
    with store.hold("us"):
        store.disk.place(at(out, "logs/sweep.log")).write_text("said")
    assert fingerprint(outside) == before and not store.disk.strange()
    assert store.read_partial("m-1") == b"state" and store.failure("a") is not None
    assert sum(path.is_symlink() for path in (out / "damaged").iterdir()) == 6


def test_the_output_itself_may_be_a_link(out: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(out)
    store = Store(str(tmp_path / "linked"))
    store.fail("a", failure())
    assert Store(str(out)).failure("a") is not None and store.verify() == (0, [])


def test_a_lock_with_a_second_name_is_not_written_to(out: Path, outside: Path) -> None:
    (out / "locks").mkdir()
    os.link(outside / "key", out / "locks" / "sweep")
    locks = FileLocks(at(out, "locks"), Disk(str(out)))
    held = locks.try_hold("sweep", "us")
    assert held is not None and locks.holder("sweep") == "us"
    held.close()
    assert (outside / "key").read_text() == "secret\n"


def test_files_have_limits_and_names_lead_nowhere_else(out: Path) -> None:
    disk = Disk(str(out))
    disk.write(at(out, "a"), b"12345")
    assert disk.read(at(out, "a"), 5) == b"12345" and disk.read(at(out, "b")) is None
    with pytest.raises(Damaged, match="more than 4 bytes"):
        disk.read(at(out, "a"), 4)
    for path in (at(out, "../outside/key"), at(out, "a/../../x"), "/etc/passwd"):
        with pytest.raises(Damaged, match="a path out of the output"):
            disk.read(path)


def test_a_name_that_is_too_long_is_set_aside_too(out: Path) -> None:
    name = "/".join("x" * 120 for _ in range(4))
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to("nowhere")
    store = Store(str(out))
    assert store.verify()[1] == [name] and len(list((out / "damaged").iterdir())) == 1


def test_what_writers_that_are_gone_have_staged_is_removed(out: Path) -> None:
    mine, elsewhere = staged_name("row.json"), "row.json.0000000a-1-0123abcd.tmp"
    gone = mine.replace(f"-{os.getpid()}-", f"-{GONE}-")
    old = f"few.csv.0000000a-{os.getpid()}-0123abcd.tmp"
    former = [f"row.json.{GONE}-0123abcd.tmp", ".probe-0123abcd"]
    own = [f"row.json.{os.getpid()}-0123abcd.tmp", "notes.tmp"]
    for name in (mine, elsewhere, gone, old, *former, *own):
        (out / "draws" / "k" / name).write_text("half")
    (out / "draws" / "k" / old).touch()
    os.utime(out / "draws" / "k" / old, (0, GIVEN_UP))
    Store(str(out)).tidy()
    assert sorted(os.listdir(out / "draws" / "k")) == sorted([mine, elsewhere, *own])


# ---- MLflow's database ---------------------------------------------------------------------------


def database(out: Path, *places: object) -> str:
    """As MLflow makes it: its own experiment, and one with a run per place."""
    (out / "output.json").write_text("{}")
    with sqlite3.connect(out / "mlflow.db") as made:
        made.execute("CREATE TABLE experiments (experiment_id INTEGER, artifact_location TEXT)")
        made.execute("CREATE TABLE runs (experiment_id INTEGER, artifact_uri TEXT)")
        experiments = [(0, "/somewhere/mlruns/0"), (1, str(out / "mlartifacts"))]
        made.executemany("INSERT INTO experiments VALUES (?, ?)", experiments)
        made.executemany("INSERT INTO runs VALUES (1, ?)", [(str(place),) for place in places])
    made.close()
    return f"sqlite:///{out / 'mlflow.db'}"


def test_a_database_that_leads_out_of_the_output_is_damage(out: Path, outside: Path) -> None:
    here = out / "mlartifacts"
    follow(database(out, here / "1" / "artifacts"))
    (out / "mlflow.db").unlink()
    for place in (outside, f"{here}/../../outside", "s3://bucket/x", f"{here}2/x"):
        uri = database(out, here / "1" / "artifacts", place)
        with pytest.raises(Damaged, match="outside of the output"):
            follow(uri)
        set_aside_if_damaged(uri)
        assert not (out / "mlflow.db").exists()
    own = database(outside, "s3://bucket/x")  # of a user, who may keep artifacts anywhere
    (outside / "output.json").unlink()
    follow(own)


def test_a_database_or_artifacts_that_are_links_are_damage(out: Path, outside: Path) -> None:
    uri, before = database(out), fingerprint(outside)
    (out / "mlartifacts" / "1").mkdir(parents=True)
    (out / "mlartifacts" / "1" / "rows").symlink_to(outside)
    with pytest.raises(Damaged, match="rows"):
        follow(uri)
    Store(str(out)).tidy()
    follow(uri)
    (out / "mlflow.db-wal").symlink_to(outside / "key")
    with pytest.raises(Damaged, match="this is a link"):
        follow(uri)
    assert fingerprint(outside) == before
