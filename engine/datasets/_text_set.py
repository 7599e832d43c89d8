"""What data sets of text share: tokens of several sources under one vocabulary, cut into blocks,
the end of each source held out.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import numpy as np

from engine._tokenizers import BYTES, digest_of, name_of, pretrained
from engine.contents import Contents, Lack
from engine.datasets._finite import SPLIT_SEED, FiniteSet
from engine.datasets._records import CUT
from engine.datasets._texts import Coding, Encoded, File, How, encoded
from engine.files import data_root, expanded
from engine.samples import Samples, Tokenizer, concat

Tokens = Literal["char", "byte", "bpe"] | dict[Literal["tokenizer"], str]


class TextSet(FiniteSet):
    """Tokens [n, 1, length]; a data set says where its texts are.

    length             tokens of a block; what is left at the end of a part is in none.
    held_out_fraction  share of each text, its end, that no model is trained on.
    """

    def __init__(
        self,
        name: str,
        tokens: Tokens,
        vocabulary: int,
        alphabet: Literal["all", "letters"],
        length: int,
        held_out_fraction: float,
        root: str | None,
        balanced: bool = False,
    ) -> None:
        super().__init__(balanced=balanced)
        if not 0 < held_out_fraction < 1:
            raise ValueError(
                f"{name}: held_out_fraction must lie strictly between 0 and 1, got "
                f"{held_out_fraction}"
            )
        if tokens == "bpe" and vocabulary <= BYTES:
            raise ValueError(
                f"{name}: vocabulary {vocabulary} leaves nothing to learn, {BYTES} tokens are the "
                f"bytes; give {BYTES + 1} or more"
            )
        if isinstance(tokens, dict) and "tokenizer" not in tokens:
            raise ValueError(f"{name}: tokens as a mapping is {{tokenizer: FOLDER}}")
        self.tokens, self.vocabulary, self.alphabet, self.length = (
            tokens,
            vocabulary,
            alphabet,
            length,
        )
        self.held_out_fraction, self.root = held_out_fraction, root
        self.CLASSES: int | None = 0

    # ---- what a data set says --------------------------------------------------------------------

    @property
    @abstractmethod
    def _called(self) -> str:
        """Its texts, for people."""

    @abstractmethod
    def _absent(self) -> Lack | None:
        """What of it is not on this computer."""

    @abstractmethod
    def _files(self) -> tuple[File, ...]:
        """Its texts, each with the digest of what it holds; ValueError for one that is none."""

    @property
    def _names(self) -> tuple[str, ...]:
        """What the classes are called: each text is one; none."""
        return ()

    def _records(self) -> list[Samples] | None:
        """Of each source all rows, where these are records; None: they are blocks."""
        return None

    # ---- what they share -------------------------------------------------------------------------

    @property
    def VOCABULARY(self) -> int:  # a trait that only the files can tell
        """How many different tokens there are."""
        return 256 if self.tokens == "byte" else self._coding.vocabulary

    @property
    def tokenizer_(self) -> Tokenizer | None:
        """The pretrained one."""
        folder = self._how.folder
        return None if folder is None else pretrained(folder).own

    def contents(self) -> Contents | Lack:
        """ValueError, with the line where it is known, for what is no text, or of which no block
        can be made.
        """
        if (absent := self._absent()) is not None:
            return absent
        folder = self._how.folder
        if folder is not None and not folder.exists():
            wanted = "a folder of a pretrained tokenizer is wanted, as save_pretrained writes it"
            return Lack("tokenizer", str(folder), wanted)
        parts, coding, content = self._both(), self._coding, self._content
        per_class = tuple(len(train) for train, _ in parts)
        apart = tuple(len(held_out) for _, held_out in parts)
        apart = (min(apart),) * len(apart) if self.balanced else apart
        return Contents(
            self._called,
            sum(per_class),
            sum(apart),
            f"held_out_fraction {self.held_out_fraction:g} of {self._total}",
            shape=(1, self.length),
            classes=self._names,
            per_class=per_class if self.CLASSES else (),
            apart=apart if self.CLASSES else (),
            balanced=self.balanced,
            vocabulary=coding.vocabulary,
            tokenizer=self.tokenizer_,
            cut=sum(whole.memo[CUT] for whole in self._records() or ()),
            fingerprint=f"{content}-{self._how}-{self.length}-{bool(self._records())}",
            content=content,
        )

    def read(self) -> tuple[Samples, Samples]:
        found = self.contents()
        if isinstance(found, Lack):
            raise FileNotFoundError(str(found))
        if fault := found.split_refusal():
            raise ValueError(fault)
        train, held_out = (self._labelled(which) for which in (0, 1))
        order = np.random.default_rng(SPLIT_SEED).permutation(len(held_out))
        held_out = held_out.take(order)
        return train, _evenly(held_out) if self.balanced else held_out

    def decoded(self, x: np.ndarray) -> str:
        """Tokens [length] as text; bytes that are no UTF-8 as a replacement character."""
        return self._coding.decoded(x.tolist())

    def characters(self, samples: Samples) -> np.ndarray:
        """How many characters of text each row is, of a record its completion: [n]."""
        rows, coding = list(samples.x[:, 0]), self._coding
        if samples.lengths is not None and samples.prompt_lengths is not None:
            ends = zip(samples.prompt_lengths, samples.lengths, strict=True)
            rows = [row[begin:end] for row, (begin, end) in zip(rows, ends, strict=True)]
        return np.array([coding.characters(row) for row in rows], dtype=np.int64)

    @property
    def _how(self) -> How:
        folder = None
        if isinstance(self.tokens, dict):
            folder = data_root(self.root) / expanded(self.tokens["tokenizer"])
        tokens = "bpe" if isinstance(self.tokens, dict) else self.tokens
        letters = self.alphabet == "letters"
        return How(tokens, folder, self.vocabulary, letters, self.held_out_fraction)

    @property
    def _coding(self) -> Coding:
        folder = self._how.folder
        return self._encoded().coding if folder is None else pretrained(folder)

    @property
    def _total(self) -> str:
        """How much there is, and in what."""
        if (whole := self._records()) is not None:
            return f"{sum(map(len, whole)):,} records"
        total = sum(len(train) + len(held_out) for train, held_out in self._encoded().parts)
        return f"{total:,} {self._how.units}, in blocks of {self.length:,}"

    def _both(self) -> list[tuple[Samples, Samples]]:
        """Of each source the rows to train on and those held out."""
        records = self._records()
        if records is None:
            parts = self._encoded().parts
            return [(self._blocks(train), self._blocks(rest)) for train, rest in parts]
        found = list[tuple[Samples, Samples]]()
        for whole in records:
            cut = self._how.cut(len(whole))
            found.append((whole.take(slice(0, cut)), whole.take(slice(cut, None))))
        return found

    def _blocks(self, tokens: np.ndarray) -> Samples:
        many = len(tokens) // self.length
        return Samples(tokens[: many * self.length].reshape(-1, 1, self.length))

    def _labelled(self, which: int) -> Samples:
        """To train on (0) or held out (1), file by file."""
        parts = [part[which] for part in self._both()]
        whole = concat(parts)
        if not self.CLASSES:
            return whole
        y = np.repeat(np.arange(len(parts), dtype=np.int64), [len(part) for part in parts])
        return Samples(whole.x, y, beside=whole.beside)

    @property
    def _content(self) -> str:
        """The digest of all files: of one its own."""
        found = [content for _, content in self._files()]
        folder = self._how.folder
        if folder is not None:
            found.append(digest_of(folder))
        return found[0] if len(found) == 1 else name_of(*found)

    def _encoded(self) -> Encoded:
        """All sources as tokens; ValueError for one that has less than a block."""
        files = self._files()
        found = encoded(files, self._how)
        for (place, _), parts in zip(files, found.parts, strict=True):
            if (there := sum(map(len, parts))) < self.length:
                raise ValueError(
                    f"{place} has {there:,} {self._how.units}, less than a block of "
                    f"{self.length:,}; lower length"
                )
        return found


def _evenly(samples: Samples) -> Samples:
    """The first rows of each class, as many as the smallest one has, in turn: the first rows of
    these are so, too.
    """
    assert samples.y is not None
    each = [np.flatnonzero(samples.y == k) for k in range(samples.y.max() + 1)]
    least = min(map(len, each))
    return samples.take(np.stack([rows[:least] for rows in each], axis=1).ravel())
