"""Texts of one's own: where they are cut, and what is said of files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.contents import Contents, Lack
from engine.parts import traits_of
from engine.registry import make

LINES = "".join(f"line {i} of a long story,\n" for i in range(200))


def text(folder: Path, data: str | bytes, **params: Any) -> Any:
    raw = data.encode() if isinstance(data, str) else data
    (folder / "own.txt").write_bytes(raw)
    return make("dataset", "text", path=str(folder / "own.txt"), **params)


def test_blocks_are_the_file_and_its_end_is_held_out(tmp_path: Path) -> None:
    own = text(tmp_path, LINES, length=10)
    train, held_out = own.training_set(), own.held_out(10**6)
    cut = len(LINES) - len(LINES) // 10
    said = "".join(own.decoded(row) for row in train.x[:, 0])
    assert said == LINES[: cut // 10 * 10]
    blocks = {LINES[i : i + 10] for i in range(cut, len(LINES) - 9, 10)}
    assert {own.decoded(row) for row in held_out.x[:, 0]} == blocks
    assert len(held_out) == (len(LINES) - cut) // 10
    known = own.contents()
    assert isinstance(known, Contents)
    assert (known.train, known.held_out) == (len(train), len(held_out))
    assert known.vocabulary == traits_of(own).vocabulary == len(set(LINES))
    assert train.x.dtype == np.uint8 and train.declared.vocabulary == known.vocabulary


def test_characters_beyond_ascii_are_one_token_and_several_bytes(tmp_path: Path) -> None:
    story = "Ünï⅔😀\r\n" * 100
    own = text(tmp_path, story, length=7)
    assert own.decoded(own.training_set().x[0, 0]) == story[:7]
    assert own.VOCABULARY == 7
    as_bytes = text(tmp_path, story, length=7, tokens="byte")
    assert as_bytes.VOCABULARY == 256
    assert as_bytes.training_set().x[0, 0].tobytes() == story.encode()[:7]


def test_a_symbol_that_only_the_end_has_is_in_the_vocabulary(tmp_path: Path) -> None:
    own = text(tmp_path, "ab" * 100 + "!", length=2)
    assert own.VOCABULARY == 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaa\n"[:-1] * 9, "holds nothing but 'a'"),
        (b"one line", r"has 8 characters, less than a block of 10; lower length"),
        (b"fine\nso\xff far" * 20, "line 2: the byte 0xff is no UTF-8"),
        (b"\xef\xbb\xbf" + LINES.encode(), "begins with a byte order mark, which would be"),
        (LINES.encode("utf-16"), "a byte order mark of UTF-16; save it as UTF-8"),
        (b"good\nba\0d" * 20, "line 2: a NUL byte, so it is no text"),
        (b"some words only", "none is held out"),
    ],
)
def test_a_file_that_is_no_text_gets_one_sentence(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        text(tmp_path, data, length=10).sample(1, np.random.default_rng(0))
    assert "\n" not in str(error.value)


def test_bytes_take_what_is_no_text(tmp_path: Path) -> None:
    own = text(tmp_path, b"\xff\0" * 200, length=10, tokens="byte")
    assert len(own.sample(5, np.random.default_rng(0))) == 5


def test_a_file_that_is_too_large_a_folder_or_absent_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.datasets.text.MOST_BYTES", 100)
    with pytest.raises(ValueError, match=r"own.txt has .* bytes, more than 100; use a part of it"):
        text(tmp_path, LINES).contents()
    with pytest.raises(ValueError, match="is no file; a plain text file"):
        make("dataset", "text", path=str(tmp_path)).contents()
    absent = make("dataset", "text", path=str(tmp_path / "none.txt"))
    assert isinstance(absent.contents(), Lack)
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        absent.sample(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        make("dataset", "text", path="x", held_out_fraction=1.0)


def test_more_blocks_than_there_are_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n=10000 real samples were asked of Text"):
        text(tmp_path, LINES).sample(10_000, np.random.default_rng(0))
