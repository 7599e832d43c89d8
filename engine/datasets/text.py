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

from engine import _digests as digests
from engine.contents import Lack, named
from engine.datasets._published_texts import command_for
from engine.datasets._records import is_parquet, records
from engine.datasets._text_set import TextSet
from engine.datasets._texts import WANTED, File, How, look_at
from engine.files import data_root, expanded, unread
from engine.parts import Fraction, OnDisk, Params, PositiveInt
from engine.samples import Samples

MOST_BYTES = 1 << 30


class Text(TextSet):
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
    balanced           draw equally many blocks of each file, and hold out as many of each as of
                       the one that has fewest.
    """

    TINY: ClassVar[Params] = {"path": "LICENSE", "length": 8, "root": "."}
    GIVES = "text"
    CLASSES: int | None = None  # as many as files in a list
    REPLICATES = 1
    FINITE = True
    LENGTH = "length"
    RECORDS = "records"
    KNOWS = ("all rows", "parts", "characters", "decoded")

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
        super().__init__(
            "text", tokens, vocabulary, alphabet, length, held_out_fraction, root, balanced
        )
        self.path, self.records = path, records
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
    def places(self) -> list[Path]:
        """Where the files lie."""
        return [data_root(self.root) / expanded(path) for path in self._paths]

    @property
    def _called(self) -> str:
        return named([place.name for place in self.places])

    def _absent(self) -> Lack | None:
        for path, place in zip(self._paths, self.places, strict=True):
            if not place.exists():
                fetch = command_for(path, self.root)
                fix = f"fetch it with `{fetch}`" if fetch else WANTED
                return Lack(f"text {place.name}", str(place), fix)
        return None

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

    def _files(self) -> tuple[File, ...]:
        for place in self.places:
            binary = self.records is not None and is_parquet(place)
            _require(place, None if binary else self._how)
        return tuple((place, digests.of_file(place)) for place in self.places)

    def _records(self) -> list[Samples] | None:
        if self.records is None:
            return None
        columns = self.records["prompt"], self.records["completion"]
        how, length = self._how, self.length
        files = zip(self.places, self._files(), strict=True)
        return [records(place, own, columns, how, length) for place, (_, own) in files]


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
        raise ValueError(unread(place, error)) from None
