"""A column of texts of a data set of Hugging Face's library `datasets`, as `text` gives a file: a
line for each row, cut into blocks of tokens, the end held out.

Needs the extra `hf`.  A folder that `save_to_disk` wrote, or a set of the library's cache, which is
opened offline: nothing is fetched, and no code of a data set is run.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.contents import Lack
from engine.datasets._hf import Column, place_of
from engine.datasets._text_set import TextSet
from engine.datasets._texts import File
from engine.files import data_root, expanded
from engine.parts import Fraction, OnDisk, Params, PositiveInt


class HfText(TextSet):
    """Tokens [n, 1, length].

    path               a folder that Dataset.save_to_disk wrote, below the data root or absolute;
                       None: it is a cached set.
    cached             the name of a set in the library's cache, such as user/set; None: it is a
                       folder.
    config             the configuration of a cached set; None: the only one.
    split              which part of it: train, test, ...
    column             the column of texts.
    tokens             char, byte, bpe, or {tokenizer: FOLDER}, as of `text`.
    vocabulary         of bpe: different tokens, of which 256 are the bytes.
    alphabet           all: every character; letters: a to z and the space.
    length             tokens of a block.
    held_out_fraction  share of the text, its end, that no model is trained on.
    root               the data root; None: $OUROBOROS_DATA, or the cache folder.
    """

    TINY: ClassVar[Params] = {"path": "tales", "length": 8}
    GIVES = "text"
    CLASSES: int | None = 0
    REPLICATES = 1
    FINITE = True
    LENGTH = "length"
    KNOWS = ("all rows", "parts", "characters", "decoded")

    def __init__(
        self,
        *,
        path: OnDisk | None = None,
        cached: str | None = None,
        config: str | None = None,
        split: str = "train",
        column: str = "text",
        tokens: Literal["char", "byte", "bpe"] | dict[Literal["tokenizer"], OnDisk] = "char",
        vocabulary: PositiveInt = 512,
        alphabet: Literal["all", "letters"] = "all",
        length: PositiveInt = 64,
        held_out_fraction: Fraction = 0.1,
        root: str | None = None,
    ) -> None:
        super().__init__("hf_text", tokens, vocabulary, alphabet, length, held_out_fraction, root)
        self.path, self.cached, self.config = path, cached, config
        self.split, self.column = split, column
        folder = None if path is None else data_root(root) / expanded(path)
        place = place_of("hf_text", path, folder, cached, (config, split))
        self._column = Column(place, column)

    @property
    def _called(self) -> str:
        return f"{self.path or self.cached} ({self.split}, {self.column})"

    def _absent(self) -> Lack | None:
        return self._column.place.lack()

    def _files(self) -> tuple[File, ...]:
        return ((self._column, self._column.place.content),)
