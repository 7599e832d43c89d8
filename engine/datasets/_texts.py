"""Texts of one's own as tokens: each file is checked, its end held out, and all of them are encoded
with one vocabulary and cut into blocks.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from engine import _tokenizers as tokenizers
from engine._cache import Kept
from engine._tokens import token_dtype
from engine.samples import Tokenizer

WANTED = "a plain text file in UTF-8 is wanted"
BYTES = "or read its bytes (tokens: byte)"
LETTERS = " abcdefghijklmnopqrstuvwxyz"
HEAD = 1 << 16  # bytes by which what is no text is told before all of it is read


class Source(Protocol):
    """A file, or what stands for one; its `str` is its name for people."""

    def read_bytes(self) -> bytes: ...


File = tuple[Source, str]  # and the digest of what it holds
Part = tuple[np.ndarray, np.ndarray]  # tokens to train on, and held out


@dataclass(frozen=True)
class How:
    """How texts are read; `folder` is that of a pretrained tokenizer, instead of `tokens`."""

    tokens: Literal["char", "byte", "bpe"]
    folder: Path | None
    vocabulary: int
    letters: bool
    held_out_fraction: float

    @property
    def units(self) -> str:
        """What a text is counted in."""
        if self.folder is not None or self.tokens == "bpe":
            return "tokens"
        return "bytes" if self.tokens == "byte" else "characters"

    def cut(self, n: int) -> int:
        """How many of n are to be trained on."""
        return n - int(n * self.held_out_fraction)


class Coding(Protocol):
    """What tokens stand for."""

    @property
    def vocabulary(self) -> int: ...

    def decoded(self, tokens: Sequence[int]) -> str:
        """Their text."""
        ...

    def characters(self, tokens: np.ndarray) -> int:
        """How many characters of text tokens [m] are."""
        ...


@dataclass(frozen=True, eq=False)
class Alphabet:
    """One token for each character, in the order of their code points [V]."""

    points: np.ndarray

    @property
    def vocabulary(self) -> int:
        return len(self.points)

    def decoded(self, tokens: Sequence[int]) -> str:
        return "".join(chr(self.points[token]) for token in tokens)

    def characters(self, tokens: np.ndarray) -> int:
        return len(tokens)


class Octets:
    """One token for each byte; what is no UTF-8 as a replacement character."""

    vocabulary = 256

    def decoded(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode("utf-8", "replace")

    def characters(self, tokens: np.ndarray) -> int:
        return int((tokens & 0xC0 != 0x80).sum())  # bytes that continue none


@dataclass(frozen=True, eq=False)
class Encoded:
    """Texts as tokens: of each file the part to train on and the one held out, [tokens] each."""

    parts: tuple[Part, ...]
    coding: Coding
    tokenizer: Tokenizer | None = None


@lru_cache(maxsize=2)
def encoded(files: tuple[File, ...], how: How) -> Encoded:
    """Files that hold this: plan and run read them once.  ValueError, with the line where it is
    known, for a file that is no text.
    """
    if how.folder is not None:
        given = tokenizers.pretrained(how.folder)
        return Encoded(_in_pieces(files, how, given), given, given.own)
    if how.tokens == "bpe":
        pieces = _bpe(files, how)
        return Encoded(_in_pieces(files, how, pieces), pieces)
    if how.tokens == "byte" and not how.letters:
        octets = [np.frombuffer(_raw(place), np.uint8) for place, _ in files]
        return Encoded(tuple(_cut(codes, how) for codes in octets), Octets())
    points = [_points(place, how.letters) for place, _ in files]
    if how.tokens == "byte":
        return Encoded(tuple(_cut(codes, how) for codes in points), Octets())
    return _in_characters(points, how)


def _cut(codes: np.ndarray, how: How) -> Part:
    at = how.cut(len(codes))
    return codes[:at], codes[at:]


def _in_characters(points: Sequence[np.ndarray], how: How) -> Encoded:
    """By one alphabet: the characters of all files, or the letters."""
    there = np.array([ord(letter) for letter in LETTERS])
    if not how.letters:
        there = np.unique(np.concatenate([np.flatnonzero(np.bincount(p)) for p in points]))
    index = np.zeros(there[-1] + 1, dtype=token_dtype(len(there)))
    index[there] = np.arange(len(there))
    return Encoded(tuple(_cut(index[p], how) for p in points), Alphabet(there))


# ---- pieces --------------------------------------------------------------------------------------


def _bpe(files: Sequence[File], how: How) -> tokenizers.Bpe:
    """Trained on what is to be trained on."""

    def texts() -> list[str]:
        whole = [text_of(place, how.letters) for place, _ in files]
        return [text[: how.cut(len(text))] for text in whole]

    name = tokenizers.name_of([content for _, content in files], how)
    return tokenizers.trained(texts, how.vocabulary, name)


def _in_pieces(files: Sequence[File], how: How, pieces: tokenizers.Pieces) -> tuple[Part, ...]:
    found = list[Part]()
    for place, content in files:
        name = tokenizers.name_of(content, pieces.name, how.letters, how.held_out_fraction)
        kept = Kept(f"texts/{name}.npz", "tokens to train on and held out")
        parts = _read_tokens(kept)
        if parts is None:
            parts = _pieces_of(place, how, pieces)
            _write_tokens(kept, parts)
        found.append(parts)
    return tuple(found)


def _pieces_of(place: Source, how: How, pieces: tokenizers.Pieces) -> Part:
    text, dtype = text_of(place, how.letters), token_dtype(pieces.vocabulary)
    at = how.cut(len(text))
    train, held_out = (tokenizers.lines_encoded(pieces, own) for own in (text[:at], text[at:]))
    return train.astype(dtype), held_out.astype(dtype)


def _read_tokens(kept: Kept) -> Part | None:
    content = kept.read()
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        return file["train"], file["held_out"]


def _write_tokens(kept: Kept, parts: Part) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, train=parts[0], held_out=parts[1])
    kept.write(buffer.getvalue())


# ---- files ---------------------------------------------------------------------------------------


def look_at(place: Path, how: How) -> None:
    """ValueError for a file that is no text by its beginning: before all of it is read."""
    with open(place, "rb") as file:
        head = file.read(HEAD)
    if not head:
        raise ValueError(f"{place} is empty; {WANTED}")
    if how.tokens != "byte" or how.letters or how.folder is not None:
        _require_text(place, head)


def _raw(place: Source) -> bytes:
    data = place.read_bytes()
    if not data:
        raise ValueError(f"{place} is empty; {WANTED}")
    return data


def _require_text(place: Source, data: bytes) -> None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{place} begins with a byte order mark of UTF-16; save it as UTF-8")
    if data.startswith(b"\xef\xbb\xbf"):
        raise ValueError(
            f"{place} begins with a byte order mark, which would be a character of the text; save "
            "it as UTF-8 without one"
        )
    if (nul := data.find(b"\0")) >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise ValueError(f"{place}, line {line}: a NUL byte, so it is no text; {WANTED}, {BYTES}")


def text_of(place: Source, letters: bool = False) -> str:
    """The characters of a file, or its letters in small ones, all else as one space; ValueError for
    what is no plain UTF-8, or has but one character.
    """
    data = _raw(place)
    _require_text(place, data)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{place}, line {line}: the byte {data[error.start]:#04x} is no UTF-8; save it as "
            f"UTF-8, {BYTES}"
        ) from None
    if letters:
        text = re.sub("[^a-z]+", " ", text.lower())
    if not text.strip(text[0]):
        raise ValueError(
            f"{place} holds nothing but {text[0]!r}; a text has two different characters or more"
        )
    return text


def _points(place: Source, letters: bool) -> np.ndarray:
    """The code points of the characters of a file."""
    text = text_of(place, letters)
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
