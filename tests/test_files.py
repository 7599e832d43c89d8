"""Files outside the store: whole or as they were, and found where the environment says."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine import files
from engine.files import cache_folder, data_root, expanded, staged, write_atomically


def test_concurrent_writers_never_show_half_a_file(tmp_path: Path) -> None:
    path, contents, seen = tmp_path / "w", [bytes([i]) * 200_000 for i in range(4)], set()
    write_atomically(path, contents[0])
    writers = [
        threading.Thread(target=lambda c=c: [write_atomically(path, c) for _ in range(25)])
        for c in contents
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen.add(path.read_bytes())
    assert seen <= set(contents) and [p.name for p in tmp_path.iterdir()] == ["w"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_atomically(tmp_path / "below" / "numbers.csv", "old")
    with pytest.raises(RuntimeError, match="half way"), staged(path) as temporary:
        temporary.write_text("ne")
        raise RuntimeError("half way")
    assert path.read_text() == "old" and list(path.parent.iterdir()) == [path]


def test_the_cache_folder_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUROBOROS_CACHE", "/somewhere/own")
    assert cache_folder() == Path("/somewhere/own")
    monkeypatch.delenv("OUROBOROS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/ouroboros")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home-of-a-user")
    assert cache_folder() == Path("/home-of-a-user/.cache/ouroboros")


def test_a_folder_that_goes_while_those_of_dead_processes_are_looked_for_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, dead = tmp_path / "ouro-0-gone", tmp_path / "ouro-0-dead"  # no process has the number 0
    dead.mkdir()
    monkeypatch.setattr(files, "_folders", lambda pattern: [gone, dead])
    assert files.of_dead_processes() == [dead]


def test_paths_are_filled_in_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINE", "m$ne")
    assert expanded("~/a") == f"{tmp_path}/a"
    assert expanded("$HOME/${MINE}/$MINE.npz") == f"{tmp_path}/m$ne/m$ne.npz"
    assert data_root("~/data") == tmp_path / "data"
    for path in ("$NOT_SET/a", "a/${NOT_SET}"):
        with pytest.raises(ValueError, match=r"NOT_SET\}? is not set"):
            expanded(path)
