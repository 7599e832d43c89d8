"""A text file of one's own: characters or bytes, cut into blocks of fixed length, each of which
begins anew after BOS (which is in no block).

The held-out part is the end of the file, as in nanoGPT: blocks held out at random would have their
neighbours among those to train on.  Cross entropies of characters and of bytes are not comparable.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine import _digests as digests
from engine._tokens import token_dtype
from engine.contents import Contents, Lack
from engine.datasets._finite import SPLIT_SEED, FiniteSet
from engine.files import data_root, expanded
from engine.parts import Fraction, OnDisk, Params, PositiveInt
from engine.samples import Samples

MOST_BYTES = 1 << 30
WANTED = "a plain text file in UTF-8 is wanted"
BYTES = "or read its bytes (tokens: byte)"


class Text(FiniteSet):
    """Tokens [n, 1, length]; the vocabulary is the file's characters in the order of their code
    points, or the 256 bytes.

    path               the file, below the data root or absolute.
    tokens             char: the characters of a file in UTF-8; byte: its bytes, whatever it is.
    length             tokens of a block; what is left at the end of a part is in none.
    held_out_fraction  share of the file, its end, that no model is trained on.
    root               the data root; None: $OUROBOROS_DATA, or the cache folder.
    """

    TINY: ClassVar[Params] = {"path": "LICENSE", "length": 8, "root": "."}
    GIVES = "text"
    CLASSES = 0
    REPLICATES = 1
    FINITE = True

    def __init__(
        self,
        *,
        path: OnDisk,
        tokens: Literal["char", "byte"] = "char",
        length: PositiveInt = 64,
        held_out_fraction: Fraction = 0.1,
        root: str | None = None,
    ) -> None:
        super().__init__()
        if not 0 < held_out_fraction < 1:
            raise ValueError(
                "text: held_out_fraction must lie strictly between 0 and 1, got "
                f"{held_out_fraction}"
            )
        self.path, self.tokens, self.length = path, tokens, length
        self.held_out_fraction, self.root = held_out_fraction, root

    @property
    def VOCABULARY(self) -> int:  # a trait that only the file can tell
        """How many different tokens there are."""
        return 256 if self.tokens == "byte" else len(self._encoded().alphabet)

    @property
    def place(self) -> Path:
        """Where the file lies."""
        return data_root(self.root) / expanded(self.path)

    def contents(self) -> Contents | Lack:
        """ValueError, with the line where it is known, for a file that is no text, or of which no
        block can be made.
        """
        place = self.place
        if not place.exists():
            return Lack(f"text {self.path}", str(place), WANTED)
        found = self._encoded()
        train, held_out = (len(part) for part in self._blocks(found))
        total = len(found.codes)
        why = f"held_out_fraction {self.held_out_fraction:g} of {total:,} {self._units}"
        why += f", in blocks of {self.length:,}"
        own = f"{found.content}-{self.tokens}-{self.length}-{self.held_out_fraction!r}"
        return Contents(
            place.name,
            train,
            held_out,
            why,
            shape=(1, self.length),
            vocabulary=len(found.alphabet),
            fingerprint=own,
            content=found.content,
        )

    def read(self) -> tuple[Samples, Samples]:
        found = self.contents()
        if isinstance(found, Lack):
            raise FileNotFoundError(str(found))
        if fault := found.split_refusal():
            raise ValueError(f"text: {fault}")
        train, held_out = self._blocks(self._encoded())
        order = np.random.default_rng(SPLIT_SEED).permutation(len(held_out))
        return Samples(train), Samples(held_out[order])

    def decoded(self, x: np.ndarray) -> str:
        """Tokens [length] as text; bytes that are no UTF-8 as a replacement character."""
        if self.tokens == "byte":
            return x.astype(np.uint8).tobytes().decode("utf-8", "replace")
        return "".join(chr(code) for code in self._encoded().alphabet[x])

    @property
    def _units(self) -> str:
        return "bytes" if self.tokens == "byte" else "characters"

    def _blocks(self, found: Encoded) -> tuple[np.ndarray, np.ndarray]:
        """To train on and held out, [n, 1, length] each.  ValueError for a file without a block."""
        codes, length = found.codes, self.length
        if len(codes) < length:
            raise ValueError(
                f"{self.place} has {len(codes):,} {self._units}, less than a block of {length:,}; "
                "lower length"
            )
        cut = len(codes) - int(len(codes) * self.held_out_fraction)
        parts = (codes[:cut], codes[cut:])
        train, held_out = (p[: len(p) // length * length].reshape(-1, 1, length) for p in parts)
        return train, held_out

    def _encoded(self) -> Encoded:
        place = self.place
        try:
            if not place.is_file():
                what = f"{place} is no file" if place.exists() else f"there is no file {place}"
                fault = ValueError if place.exists() else FileNotFoundError
                raise fault(f"{what}; {WANTED}")
            if (size := place.stat().st_size) > MOST_BYTES:
                raise ValueError(
                    f"{place} has {size:,} bytes, more than {MOST_BYTES:,}; use a part of it"
                )
            return _read_once(place, digests.of_file(place), self.tokens)
        except (FileNotFoundError, ValueError):
            raise
        except OSError as error:
            said = (error.strerror or str(error)).lower()
            raise ValueError(f"{place} cannot be read: {said}") from None


@dataclass(frozen=True, eq=False)
class Encoded:
    """A file as tokens: codes [tokens], of the alphabet's code points [V]."""

    codes: np.ndarray
    alphabet: np.ndarray
    content: str


@lru_cache(maxsize=2)
def _read_once(place: Path, content: str, tokens: str) -> Encoded:
    """A file that holds this: plan and run read it once."""
    data = place.read_bytes()
    if not data:
        raise ValueError(f"{place} is empty; {WANTED}")
    if tokens == "byte":
        return Encoded(np.frombuffer(data, np.uint8), np.arange(256), content)
    points = _code_points(place, data)
    there = np.flatnonzero(np.bincount(points))  # [V]
    if len(there) == 1:
        raise ValueError(
            f"{place} holds nothing but {chr(there[0])!r}; a text has two different characters or "
            "more"
        )
    index = np.zeros(there[-1] + 1, dtype=token_dtype(len(there)))
    index[there] = np.arange(len(there))
    return Encoded(index[points], there, content)


def _code_points(place: Path, data: bytes) -> np.ndarray:
    """Of the characters of a file.  ValueError for what is no plain UTF-8."""
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
    if data.isascii():
        return np.frombuffer(data, np.uint8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{place}, line {line}: the byte {data[error.start]:#04x} is no UTF-8; save it as "
            f"UTF-8, {BYTES}"
        ) from None
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)
