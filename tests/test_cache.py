"""The cache: what is read from it is what was written, by whom it says; anything else is set aside,
named, and made again.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from engine import _cache as cache
from engine._cache import Kept
from engine.datasets._torchvision import kept
from engine.running.doctor import examine

PICTURES = Kept("images/ab-8.npz", "pictures, version 1")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / "cache"))
    cache._say_once.cache_clear()
    yield tmp_path / "cache"


def test_what_was_written_is_read(own_cache: Path) -> None:
    assert PICTURES.read() is None and not PICTURES.is_there
    for content in (b"", b"\n", b"{}\n", os.urandom(3000)):
        PICTURES.write(content)
        assert PICTURES.is_there and PICTURES.read() == content
    assert not list(own_cache.rglob("*.tmp")) and cache.set_aside() == []


# ---- what is no sound file -----------------------------------------------------------------------


def flipped(path: Path, outside: Path) -> None:
    data = bytearray(path.read_bytes())
    data[3] ^= 64
    path.write_bytes(data)


def flipped_in_the_seal(path: Path, outside: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"sha256": "', b'"sha256": "f', 1))


def cut(path: Path, outside: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path, outside: Path) -> None:
    path.write_bytes(b"")


def without_a_seal(path: Path, outside: Path) -> None:
    path.write_bytes(b"pixels")


def of_another_name(path: Path, outside: Path) -> None:
    Kept("images/cd-8.npz", PICTURES.made_by).write(b"other pixels")
    shutil.copy(path.with_name("cd-8.npz"), path)


def of_another_version(path: Path, outside: Path) -> None:
    Kept(PICTURES.name, "pictures, version 0").write(b"other pixels")


def a_folder(path: Path, outside: Path) -> None:
    path.unlink()
    (path / "below").mkdir(parents=True)


def a_link(path: Path, outside: Path) -> None:
    path.rename(outside / "moved")
    path.symlink_to(outside / "moved")


def a_link_to_nothing(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside / "nothing")


def a_link_to_itself(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def a_pipe(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_socket(path: Path, outside: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as it:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            it.bind(path.name)
        finally:
            os.chdir(here)


def a_link_above(path: Path, outside: Path) -> None:
    path.parent.rename(outside / "moved")
    path.parent.symlink_to(outside / "moved")


def a_file_above(path: Path, outside: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("in the way")


HARM: list[Callable[[Path, Path], None]] = [
    flipped,
    flipped_in_the_seal,
    cut,
    emptied,
    without_a_seal,
    of_another_name,
    of_another_version,
    a_folder,
    a_link,
    a_link_to_nothing,
    a_link_to_itself,
    a_pipe,
    a_socket,
    a_link_above,
    a_file_above,
]


@pytest.mark.parametrize("harm", HARM)
def test_what_is_no_sound_file_is_set_aside_named_and_made_again(
    harm: Callable[[Path, Path], None],
    tmp_path: Path,
    own_cache: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "outside").mkdir()
    PICTURES.write(b"pixels")
    harm(PICTURES.path, tmp_path / "outside")
    outside = sorted(tmp_path.joinpath("outside").rglob("*"))
    assert PICTURES.read() is None
    (aside,) = cache.set_aside()
    named = PICTURES.name if "above" not in harm.__name__ else "images"
    assert aside.partition("-")[2] == named.replace("/", "-")
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{named} in the cache is set aside and made again: ")
    PICTURES.write(b"pixels")
    assert PICTURES.read() == b"pixels" and len(cache.set_aside()) == 1
    assert sorted(tmp_path.joinpath("outside").rglob("*")) == outside, "a link was followed"


def test_of_each_name_the_last_damaged_file_is_kept(own_cache: Path) -> None:
    for text in ("first", "second"):
        PICTURES.write(b"pixels")
        PICTURES.path.write_text(text)
        assert PICTURES.read() is None
    (aside,) = cache.set_aside()
    assert (own_cache / "damaged" / aside).read_text() == "second"


def test_a_folder_for_damaged_files_that_is_a_link_is_not_followed(
    tmp_path: Path, own_cache: Path
) -> None:
    PICTURES.write(b"pixels")
    emptied(PICTURES.path, tmp_path)
    (tmp_path / "outside").mkdir()
    (own_cache / "damaged").symlink_to(tmp_path / "outside")
    assert PICTURES.read() is None and not list((tmp_path / "outside").iterdir())


def test_a_file_that_was_made_again_meanwhile_is_read(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two processes that find the same damage the slower one must not remove what the faster one
    made.
    """
    PICTURES.write(b"old")
    PICTURES.path.write_bytes(b"damaged")
    honest = cache.open_regular

    def slowly(path: Path) -> object:
        file = honest(path)
        PICTURES.write(b"new")
        monkeypatch.setattr(cache, "open_regular", honest)
        return file

    monkeypatch.setattr(cache, "open_regular", slowly)
    assert PICTURES.read() == b"new" and cache.set_aside() == []


@pytest.mark.parametrize("harm", [a_link, a_link_to_nothing, a_folder, a_pipe])
def test_a_lock_is_a_file(
    harm: Callable[[Path, Path], None], tmp_path: Path, own_cache: Path
) -> None:
    with PICTURES.alone() as alone:
        assert alone
    (tmp_path / "outside").mkdir()
    harm(own_cache / "images" / "ab-8.npz.lock", tmp_path / "outside")
    with PICTURES.alone() as alone:
        assert alone
    assert not (tmp_path / "outside" / "nothing").exists()


# ---- no cache ------------------------------------------------------------------------------------


def no_folder(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    patch.setenv("OUROBOROS_CACHE", str(tmp_path / "file" / "cache"))


def no_home(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    for name in ("OUROBOROS_CACHE", "XDG_CACHE_HOME", "HOME"):
        patch.delenv(name, raising=False)
    patch.setattr("engine.files.os.getuid", lambda: 2**31 - 9)  # a number that has no name


def no_room(tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")

    def full(*_: object, **__: object) -> BinaryIO:
        return open("/dev/full", "wb", buffering=0)

    patch.setattr(cache, "open", full, raising=False)
    patch.setattr(cache.tempfile, "TemporaryFile", full)


@pytest.mark.parametrize(
    ("lack", "said"),
    [
        (no_folder, "cannot be written to (not a directory)"),
        (no_home, "this user has no home folder"),
        (no_room, "cannot be written to (no space left on device)"),
    ],
)
def test_no_cache_is_no_error_and_is_said_once(
    lack: Callable[[Path, pytest.MonkeyPatch], None],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lack(tmp_path, monkeypatch)
    x, y = np.zeros((2, 8, 8, 3), np.uint8), np.arange(2)
    for name in ("one", "two"):
        found = kept(name, lambda: (x, y))
        assert found[0] is x and found[1] is y
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == cache.problem() and line.startswith("no cache: ")
    assert line.endswith(f"{said}; set OUROBOROS_CACHE to a folder that can be written to")


def test_a_doctor_writes_to_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> tuple[str, bool]:
        monkeypatch.setattr("engine.running.doctor._libraries", list)
        (it,) = [f for f in examine(tmp_path / "out") if f.name == "cache"]
        return it.text, it.good

    assert found() == (f"{tmp_path / 'cache'} can be written", True)
    assert list((tmp_path / "cache").iterdir()) == [], "it leaves nothing"
    no_folder(tmp_path, monkeypatch)
    text, good = found()
    assert "cannot be written to (not a directory)" in text and not good


def test_what_processes_that_are_gone_had_begun_is_removed(own_cache: Path) -> None:
    PICTURES.write(b"pixels")
    gone, alive = "ab.npz.4194305-0123abcd.tmp", f"ab.npz.{os.getpid()}-0123abcd.tmp"
    (own_cache / "data").mkdir()
    for folder in ("images", "data", "."):
        for name in (gone, alive, "notes.tmp"):
            (own_cache / folder / name).write_text("")
    cache.remove_staged()
    left = {p.relative_to(own_cache).as_posix() for p in own_cache.rglob("*.tmp")}
    kept_ones = {f"{folder}{name}" for folder in ("images/", "") for name in (alive, "notes.tmp")}
    assert left == {*kept_ones, *(f"data/{name}" for name in (gone, alive, "notes.tmp"))}
    assert PICTURES.read() == b"pixels"


def test_yesterdays_files_are_made_again(own_cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    (own_cache / "images").mkdir(parents=True)
    np.savez(own_cache / "images" / "old.npz", x=np.ones((1, 8, 8, 3), np.uint8))
    x = np.zeros((1, 8, 8, 3), np.uint8)
    with caplog.at_level(logging.WARNING):
        assert kept("old", lambda: (x, None))[0] is x
    assert caplog.text.count("images/old.npz in the cache is set aside") == 1
    assert np.array_equal(kept("old", lambda: (x + 9, None))[0], x)
