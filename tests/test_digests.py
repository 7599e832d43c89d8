"""Digests of files: told from content, cached by what the system says of a file, and never wrong
for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import _digests as digests

LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "UNSETTLED_NS", -(10**12))  # no test waits for files to settle
    monkeypatch.setattr(digests, "_distrusted", None)
    yield tmp_path / "cache"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose bytes are read."""
    found: list[str] = []
    really = digests._of_bytes

    def noted(algorithm: str, path: str) -> bytes:
        found.append(Path(path).name)
        return really(algorithm, path)

    monkeypatch.setattr(digests, "_of_bytes", noted)
    return found


def folder(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_folder_is_what_its_files_are_called_and_hold(tmp_path: Path) -> None:
    one = digests.content(folder(tmp_path / "one", a="1", b="2"))
    assert digests.content(folder(tmp_path / "moved", a="1", b="2")) == one
    assert digests.content(folder(tmp_path / "renamed", a="1", c="2")) != one
    assert digests.content(folder(tmp_path / "swapped", a="2", b="1")) != one
    assert digests.content(folder(tmp_path / "more", a="1", b="2", c="")) != one
    assert digests.content(tmp_path / "nowhere") is None


def test_hidden_files_are_not_there(tmp_path: Path) -> None:
    before = digests.content(folder(tmp_path / "set", a="1"))
    (tmp_path / "set" / ".DS_Store").write_text("x")
    folder(tmp_path / "set" / "__MACOSX", a="1")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    assert digests.content(tmp_path / "set") == before


def test_only_what_was_written_anew_is_read_again(tmp_path: Path, read: list[str]) -> None:
    place = folder(tmp_path / "set", a="1", b="2")
    first = digests.content(place)
    assert sorted(read) == ["a", "b"] and digests.content(place) == first and len(read) == 2
    (place / "b").write_text("3")
    assert digests.content(place) != first and read[2:] == ["b"]


def test_content_is_seen_where_size_time_and_inode_stay(tmp_path: Path) -> None:
    """An editor that saves in place keeps the inode, an unpacked archive the time of writing."""
    place = folder(tmp_path / "set", a="1")
    os.utime(place / "a", ns=(LONG_AGO, LONG_AGO))
    before, inode = digests.content(place), (place / "a").stat().st_ino
    (place / "a").write_text("2")
    os.utime(place / "a", ns=(LONG_AGO, LONG_AGO))
    assert (place / "a").stat().st_ino == inode and digests.content(place) != before


def test_a_file_that_was_just_written_is_not_yet_believed(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be written again within one tick of the file system's clock."""
    monkeypatch.setattr(digests, "UNSETTLED_NS", 10**12)
    place = folder(tmp_path / "set", a="1")
    assert digests.content(place) == digests.content(place) and read == ["a", "a"]


@pytest.mark.parametrize("damage", [b"", b"no npz", None])
def test_a_damaged_cache_is_made_again(
    tmp_path: Path, own_cache: Path, read: list[str], damage: bytes | None
) -> None:
    place = folder(tmp_path / "set", a="1", b="2")
    before = digests.content(place)
    (file,) = (own_cache / "digests").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert digests.content(place) == before and len(read) == 4
    assert digests.content(place) == before and len(read) == 4


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUROBOROS_CACHE", "/dev/null/cache")
    place = folder(tmp_path / "set", a="1")
    assert digests.content(place) == digests.content(place)


def test_a_place_has_one_cache_file(tmp_path: Path, own_cache: Path) -> None:
    place = folder(tmp_path / "set", **{f"{i}": str(i) for i in range(20)})
    digests.content(place)
    digests.content(place)
    assert len(list(own_cache.rglob("*.*"))) == 1


def test_a_cache_that_is_distrusted_is_not_believed_once(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(tmp_path / "set", a="1")
    digests.content(place)
    digests.distrust_cache()
    digests.content(place)
    digests.content(place)
    assert read == ["a", "a"]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        digests.content(tmp_path / "pipe")
