"""Text files of one's own: characters, bytes or pieces of words, cut into blocks of fixed length,
each of which begins anew after BOS (which is in no block).

The held-out part is the end of each file, as in nanoGPT: blocks held out at random would have their
neighbours among those to train on.  Cross entropies per token of different tokens are not
comparable; bits per character are.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from engine import _digests as digests
from engine._tokenizers import BYTES, digest_of, name_of, pretrained
from engine.contents import Contents, Lack, named
from engine.datasets._finite import SPLIT_SEED, FiniteSet
from engine.datasets._published_texts import command_for
from engine.datasets._records import is_parquet, records
from engine.datasets._texts import WANTED, Coding, Encoded, File, How, encoded, look_at
from engine.files import data_root, expanded
from engine.parts import Fraction, OnDisk, Params, PositiveInt
from engine.samples import Samples, Tokenizer, concat

MOST_BYTES = 1 << 30


class Text(FiniteSet):
    """Tokens [n, 1, length] of one file, or of several, whose classes they then are.

    path               the file, below the data root or absolute; or a list: a class for each file,
                       called as it is, and one vocabulary of all.
    tokens             char: the characters of files in UTF-8, in the order of their code points;
                       byte: their bytes, whatever they are; bpe: pieces of words, learnt from the
                       part to train on (byte-level, no piece goes over a line's end); or
                       {tokenizer: FOLDER}: those of a pretrained tokenizer, without tokens that
                       begin or end a text.
    vocabulary         of bpe: different tokens, of which 256 are the bytes; fewer where a text has
                       no more pairs to join.
    records            {prompt: COLUMN, completion: COLUMN}: the files are JSON lines or Parquet,
                       and a row is a prompt and its completion, up to `length` tokens of the
                       pretrained tokenizer; only those of the completion count.  None: texts.
    alphabet           all: every character; letters: a to z in small letters and the space, which
                       stands for all between them.
    length             tokens of a block; what is left at the end of a part is in none.
    held_out_fraction  share of each file, its end, that no model is trained on.
    root               the data root; None: $OUROBOROS_DATA, or the cache folder.
    balanced           draw equally many blocks of each file.
    """

    TINY: ClassVar[Params] = {"path": "LICENSE", "length": 8, "root": "."}
    GIVES = "text"
    CLASSES: int | None = None  # as many as files in a list
    REPLICATES = 1
    FINITE = True
    RECORDS = "records"
    KNOWS = ("all rows", "parts", "characters")

    def __init__(
        self,
        *,
        path: OnDisk | list[OnDisk],
        tokens: Literal["char", "byte", "bpe"] | dict[Literal["tokenizer"], OnDisk] = "char",
        vocabulary: PositiveInt = 512,
        records: dict[Literal["prompt", "completion"], str] | None = None,
        alphabet: Literal["all", "letters"] = "all",
        length: PositiveInt = 64,
        held_out_fraction: Fraction = 0.1,
        root: str | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(balanced=balanced)
        if not 0 < held_out_fraction < 1:
            raise ValueError(
                "text: held_out_fraction must lie strictly between 0 and 1, got "
                f"{held_out_fraction}"
            )
        if tokens == "bpe" and vocabulary <= BYTES:
            raise ValueError(
                f"text: vocabulary {vocabulary} leaves nothing to learn, {BYTES} tokens are the "
                f"bytes; give {BYTES + 1} or more"
            )
        self.path, self.tokens, self.vocabulary = path, tokens, vocabulary
        self.records, self.alphabet, self.length = records, alphabet, length
        self.held_out_fraction, self.root = held_out_fraction, root
        self.CLASSES = len(path) if isinstance(path, list) else 0
        self._check()

    def _check(self) -> None:
        if isinstance(self.path, list):
            if not self.path:
                raise ValueError("text: path is an empty list; give a file for each class")
            again = [path for path, times in Counter(self.path).items() if times > 1]
            if again:
                raise ValueError(f"text: path has {again[0]} twice; a class is a file of its own")
        if self.balanced and not self.CLASSES:
            raise ValueError("text: balanced draws need classes; give path as a list of files")
        if isinstance(self.tokens, dict) and "tokenizer" not in self.tokens:
            raise ValueError("text: tokens as a mapping is {tokenizer: FOLDER}")
        if self.records is not None:
            self._check_records({*self.records})

    def _check_records(self, named: set[Literal["prompt", "completion"]]) -> None:
        if named != {"prompt", "completion"}:
            raise ValueError("text: records is {prompt: COLUMN, completion: COLUMN}")
        if not isinstance(self.tokens, dict):
            raise ValueError(
                "text: records need a pretrained tokenizer, which knows where a text ends: tokens: "
                "{tokenizer: FOLDER}"
            )
        if self.alphabet != "all":
            raise ValueError("text: records are read as they are; leave alphabet out")

    @property
    def VOCABULARY(self) -> int:  # a trait that only the files can tell
        """How many different tokens there are."""
        return 256 if self.tokens == "byte" else self._coding.vocabulary

    @property
    def tokenizer_(self) -> Tokenizer | None:
        """The pretrained one."""
        folder = self._how.folder
        return None if folder is None else pretrained(folder).own

    @property
    def places(self) -> list[Path]:
        """Where the files lie."""
        return [data_root(self.root) / expanded(path) for path in self._paths]

    def contents(self) -> Contents | Lack:
        """ValueError, with the line where it is known, for a file that is no text, or of which no
        block can be made.
        """
        for path, place in zip(self._paths, self.places, strict=True):
            if not place.exists():
                fetch = command_for(path, self.root)
                fix = f"fetch it with `{fetch}`" if fetch else WANTED
                return Lack(f"text {place.name}", str(place), fix)
        folder = self._how.folder
        if folder is not None and not folder.exists():
            wanted = "a folder of a pretrained tokenizer is wanted, as save_pretrained writes it"
            return Lack("tokenizer", str(folder), wanted)
        parts, coding, content = self._both(), self._coding, self._content
        per_class = tuple(len(train) for train, _ in parts)
        apart = tuple(len(held_out) for _, held_out in parts)
        return Contents(
            named([place.name for place in self.places]),
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
            fingerprint=f"{content}-{self._how}-{self.length}-{self.records}",
            content=content,
        )

    def read(self) -> tuple[Samples, Samples]:
        found = self.contents()
        if isinstance(found, Lack):
            raise FileNotFoundError(str(found))
        if fault := found.split_refusal():
            raise ValueError(f"text: {fault}")
        train, held_out = (self._labelled(which) for which in (0, 1))
        order = np.random.default_rng(SPLIT_SEED).permutation(len(held_out))
        return train, held_out.take(order)

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
    def _paths(self) -> list[str]:
        return self.path if isinstance(self.path, list) else [self.path]

    @property
    def _names(self) -> tuple[str, ...]:
        """What the classes are called: as the files, with their folders where these are not told
        apart by them.
        """
        if not isinstance(self.path, list):
            return ()
        stems = tuple(place.stem for place in self.places)
        return stems if len({*stems}) == len(stems) else tuple(self.path)

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
        if self.records is not None:
            return f"{sum(map(len, self._records())):,} records"
        total = sum(len(train) + len(held_out) for train, held_out in self._encoded().parts)
        return f"{total:,} {self._how.units}, in blocks of {self.length:,}"

    def _both(self) -> list[tuple[Samples, Samples]]:
        """Of each file the rows to train on and those held out."""
        if self.records is None:
            parts = self._encoded().parts
            return [(self._blocks(train), self._blocks(rest)) for train, rest in parts]
        found = list[tuple[Samples, Samples]]()
        for whole in self._records():
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

    def _files(self) -> tuple[File, ...]:
        return tuple((place, digests.of_file(place)) for place in self.places)

    def _records(self) -> list[Samples]:
        """Of each file all rows."""
        for place in self.places:
            _require(place, None if is_parquet(place) else self._how)
        assert self.records is not None
        columns = self.records["prompt"], self.records["completion"]
        how, length = self._how, self.length
        return [records(place, own, columns, how, length) for place, own in self._files()]

    def _encoded(self) -> Encoded:
        """All files as tokens; ValueError for one that has less than a block."""
        for place in self.places:
            _require(place, self._how)
        found = encoded(self._files(), self._how)
        for place, parts in zip(self.places, found.parts, strict=True):
            if (there := sum(map(len, parts))) < self.length:
                raise ValueError(
                    f"{place} has {there:,} {self._how.units}, less than a block of "
                    f"{self.length:,}; lower length"
                )
        return found


def _require(place: Path, how: How | None) -> None:
    """ValueError, FileNotFoundError for what can be no file of text, by its size and beginning;
    None: whatever it begins with.
    """
    try:
        if not place.is_file():
            what = f"{place} is no file" if place.exists() else f"there is no file {place}"
            fault = ValueError if place.exists() else FileNotFoundError
            raise fault(f"{what}; {WANTED}")
        if (size := place.stat().st_size) > MOST_BYTES:
            raise ValueError(
                f"{place} has {size:,} bytes, more than {MOST_BYTES:,}; use a part of it"
            )
        if how is not None:
            look_at(place, how)
    except (FileNotFoundError, ValueError):
        raise
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise ValueError(f"{place} cannot be read: {said}") from None
