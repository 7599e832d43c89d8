"""Texts of one's own: where they are cut, and what is said of files that are none."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.contents import Contents, Lack
from engine.datasets import _texts
from engine.identity import Part
from engine.parts import traits_of
from engine.registry import make
from engine.samples import Samples
from tests.support.around import NOTHING

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


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, why in ((str(loop), "too many levels of symbolic"), ("a" * 300, "file name too")):
        part = Part("dataset", "text", {"path": path})
        assert part.unopened.startswith(f"dataset text: path: {path:.200} cannot be read: {why}")
    with pytest.raises(ValueError, match=r"dataset text: path a* cannot be read: file name"):
        _ = Part("dataset", "text", {"path": "a" * 300}).contents


def test_more_blocks_than_there_are_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="n=10000 real samples were asked of Text"):
        text(tmp_path, LINES).sample(10_000, np.random.default_rng(0))


# ---- several files, letters, pieces --------------------------------------------------------------


def several(folder: Path, *texts: str | bytes, **params: Any) -> Any:
    for i, data in enumerate(texts):
        raw = data.encode() if isinstance(data, str) else data
        (folder / f"part{i}.txt").write_bytes(raw)
    paths = [str(folder / f"part{i}.txt") for i in range(len(texts))]
    return make("dataset", "text", path=paths, **params)


def test_a_list_of_files_is_a_class_each_with_one_vocabulary(tmp_path: Path) -> None:
    own = several(tmp_path, "abcde" * 100, "fedcba" * 200, length=10, balanced=True)
    known, train = own.contents(), own.training_set()
    assert known.classes == ("part0", "part1") and known.vocabulary == own.VOCABULARY == 6
    assert (known.per_class, known.apart) == ((45, 108), (5, 5))
    assert traits_of(own).classes == 2 and np.bincount(train.y).tolist() == [45, 108]
    assert own.decoded(train.of_class(0).x[0, 0]) == "abcdeabcde"
    assert own.decoded(train.of_class(1).x[1, 0]) == "bafedcbafe"
    held_out = own.held_out(17)
    assert held_out.y.tolist() == [0, 1] * 5
    assert all("f" not in own.decoded(row[0]) for row in held_out.of_class(0).x)
    drawn = own.sample(20, np.random.default_rng(0))
    assert np.bincount(drawn.y).tolist() == [10, 10]


def test_a_list_is_known_by_what_is_in_its_files_in_their_order(tmp_path: Path) -> None:
    several(tmp_path, LINES, LINES.upper())
    a, b = (str(tmp_path / f"part{i}.txt") for i in (0, 1))
    keys = [Part("dataset", "text", {"path": p}).text for p in (a, [a], [a, b], [b, a])]
    assert len({*keys}) == 4 and not any(str(tmp_path) in key for key in keys)
    (tmp_path / "other").mkdir()
    moved = [str(Path(p).rename(tmp_path / "other" / Path(p).name)) for p in (a, b)]
    assert Part("dataset", "text", {"path": moved}).text == keys[2]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (b"", r"part1.txt is empty"),
        (b"one", r"part1.txt has 3 characters, less than a block"),
        (b"fine\nso\xff far", r"part1.txt, line 2: the byte 0xff is no UTF-8"),
        (b"a" * 99, r"part1.txt holds nothing but 'a'"),
        (b"ab" * 40, r"none held out is left of class part1 \(7 in all\)"),
    ],
)
def test_a_bad_file_of_a_list_is_named(tmp_path: Path, second: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        several(tmp_path, LINES, second, length=10).sample(1, np.random.default_rng(0))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"path": []}, "path is an empty list"),
        ({"path": ["a", "b", "a"]}, "path has a twice"),
        ({"path": "a", "balanced": True}, "balanced draws need classes"),
        ({"path": "a", "tokens": "bpe", "vocabulary": 256}, "give 257 or more"),
        ({"path": "a", "tokens": {}}, "tokens as a mapping is {tokenizer: FOLDER}"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make("dataset", "text", **params)


def test_letters_are_small_and_all_between_them_is_one_space(tmp_path: Path) -> None:
    story = "Hello, World -- 42!\n\nÉa " * 30
    own = text(tmp_path, story, alphabet="letters", length=15)
    assert own.decoded(own.training_set().x[0, 0]) == "hello world a h"
    assert own.VOCABULARY == 27
    assert own.contents().content == text(tmp_path, story).contents().content
    with pytest.raises(ValueError, match="holds nothing but ' '"):
        text(tmp_path, "1234\n" * 30, alphabet="letters").contents()


STORY = "".join(f"The {a} Müller 😀 {b}ed,\n\n" for a in "xyzuvw" for b in ("walk", "talk", "jump"))


def test_pieces_are_learnt_from_what_is_trained_on_and_lose_nothing(tmp_path: Path) -> None:
    story = STORY * 20 + "qqqqqqqq" * 60
    own = text(tmp_path, story, tokens="bpe", vocabulary=280, length=8)
    train, cut = own.training_set(), len(story) - len(story) // 10
    assert own.VOCABULARY == own.contents().vocabulary == 280
    assert train.x.dtype == np.uint16 and int(train.x.max()) < 280
    whole = train.x.reshape(-1)
    assert story.startswith(own.decoded(whole)) and len(own.decoded(whole)) > cut - 30
    assert len(whole) < len(own.decoded(whole).encode()) / 2
    assert "qq" not in {own.decoded(np.array([token])) for token in range(280)}
    small = text(tmp_path, "ab\n" * 99, tokens="bpe", length=8)  # nothing more to merge
    assert small.VOCABULARY == 257 and small.decoded(np.array([256])) == "ab"


def test_characters_of_pieces_and_bytes_are_counted_to_the_one(tmp_path: Path) -> None:
    for params in ({"tokens": "bpe", "vocabulary": 280}, {"tokens": "byte"}, {}):
        own = text(tmp_path, STORY * 9, length=7, held_out_fraction=0.3, **params)
        train = own.training_set()
        assert own.characters(train).sum() == len(own.decoded(train.x.reshape(-1)).rstrip("\ufffd"))


def test_pieces_are_the_same_when_they_are_learnt_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for i in (0, 1):
        monkeypatch.setenv("OUROBOROS_CACHE", str(tmp_path / f"cache{i}"))
        _texts.encoded.cache_clear()
        own = text(tmp_path, STORY * 9, tokens="bpe", vocabulary=290)
        found.append(own.training_set().x)
        assert len([*(tmp_path / f"cache{i}" / "tokenizers").glob("*.json")]) == 1
    _texts.encoded.cache_clear()
    monkeypatch.setattr("engine._tokenizers._trained", lambda *_: pytest.fail("it was kept"))
    found.append(text(tmp_path, STORY * 9, tokens="bpe", vocabulary=290).training_set().x)
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


def test_bits_per_character_do_not_depend_on_the_tokens(tmp_path: Path) -> None:
    """A model that gives every text of m characters the probability 2^-m, whatever its tokens."""
    for params in ({"tokens": "bpe", "vocabulary": 280}, {"tokens": "byte"}, {}):
        own = text(tmp_path, STORY * 9, length=7, held_out_fraction=0.3, **params)
        model = SimpleNamespace(
            KNOWS=("density",),
            log_density=lambda x, own=own: -np.log(2) * own.characters(Samples(x))[:, None],
        )
        metric = make("metric", "cross_entropy")
        metric.prepare(own, own.held_out(9), 9, np.random.default_rng(0))
        answer = metric(own.held_out(9), model, NOTHING, np.random.default_rng(0))
        assert answer["cross_entropy/bits"] == pytest.approx(1.0)
        per_token = float(answer["cross_entropy"].squeeze())
        assert (per_token == pytest.approx(np.log(2))) == (not params)


def test_what_is_no_text_is_told_by_its_beginning(tmp_path: Path) -> None:
    """A sparse file of 1 GB is not read to its end."""
    with open(tmp_path / "own.txt", "wb") as file:
        file.truncate(10**9)
    started = time.process_time()
    with pytest.raises(ValueError, match="line 1: a NUL byte"):
        make("dataset", "text", path=str(tmp_path / "own.txt")).contents()
    assert time.process_time() - started < 0.3
