"""Records of one's own: JSON lines or a Parquet file with a prompt and a completion in each row, as
tokens of a pretrained tokenizer.

A row of tokens is the prompt, the completion and the token that ends a text, where the tokenizer
has one, cut at the length of a row and filled up to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from engine._tokenizers import Pretrained, pretrained
from engine._tokens import token_dtype
from engine.datasets._texts import How, text_of
from engine.samples import LENGTHS, PROMPT_LENGTHS, Samples

CUT = "cut"  # in the memo of rows: how many of them are longer than a row
PARQUET = (".parquet", ".pq")
Row = Mapping[str, object]  # cells by column
Record = tuple[str, str, str]  # where it stands, its prompt, its completion


@lru_cache(maxsize=2)
def records(place: Path, content: str, columns: tuple[str, str], how: How, length: int) -> Samples:
    """Rows [n, 1, length] of a file that holds this, with their lengths beside them; ValueError,
    with the line where it is known, for one that has other columns, other cells, or prompts that
    fill a row.
    """
    assert how.folder is not None
    pieces, found = pretrained(how.folder), list(_read(place, columns))
    if not found:
        raise ValueError(f"{place} holds no record; one on each line is wanted")
    prompts = pieces.encoded([prompt for _, prompt, _ in found])
    completions = pieces.encoded([completion for _, _, completion in found])
    end = [] if pieces.own.eos is None else [pieces.own.eos]
    rows = [[*a, *b, *end] for a, b in zip(prompts, completions, strict=True)]
    for (where, _, _), prompt, row in zip(found, prompts, rows, strict=True):
        _check(where, len(prompt), len(row), length)
    return _filled(rows, [len(prompt) for prompt in prompts], length, pieces)


def _check(where: str, prompt: int, tokens: int, length: int) -> None:
    if prompt >= length:
        raise ValueError(
            f"{where}: its prompt has {prompt:,} tokens, and a row has {length:,} (length), so "
            "that nothing of its completion is left; raise length"
        )
    if prompt == tokens:
        raise ValueError(f"{where}: its completion is empty")


def _filled(
    rows: Sequence[Sequence[int]], prompts: Sequence[int], length: int, pieces: Pretrained
) -> Samples:
    """Rows of one length, filled with the tokenizer's own padding, else with its end."""
    ends = (pieces.own.pad, pieces.own.eos, 0)
    fill = next(token for token in ends if token is not None)
    x = np.full((len(rows), 1, length), fill, dtype=token_dtype(pieces.vocabulary))
    for own, row in zip(x, rows, strict=True):
        own[0, : len(row)] = row[:length]
    lengths = np.array([min(len(row), length) for row in rows], dtype=np.int32)
    beside = {LENGTHS: lengths, PROMPT_LENGTHS: np.array(prompts, dtype=np.int32)}
    cut = sum(len(row) > length for row in rows)
    return Samples(x, beside=beside, memo={CUT: cut})


# ---- files ---------------------------------------------------------------------------------------


def _read(place: Path, columns: tuple[str, str]) -> Iterator[Record]:
    for where, row in _of_parquet(place, columns) if is_parquet(place) else _of_json(place):
        for column in columns:
            if column not in row:
                raise ValueError(_no_column(where, column, [*row]))
        yield where, _cell(where, row, columns[0]), _cell(where, row, columns[1])


def _cell(where: str, row: Row, column: str) -> str:
    found = row[column]
    if isinstance(found, str):
        return found
    said = json.dumps(found, default=str)
    raise ValueError(f"{where}: the cell of {column!r} is {said:.60}, and no text")


def is_parquet(place: Path) -> bool:
    """Whether a file is one by its name."""
    return place.suffix.lower() in PARQUET


def _no_column(where: str, column: str, there: Sequence[str]) -> str:
    return f"{where}: there is no column {column!r}; there are: {', '.join(there) or 'none'}"


def _of_json(place: Path) -> Iterator[tuple[str, Row]]:
    for i, line in enumerate(text_of(place).split("\n")):
        where = f"{place}, line {i + 1}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = f"{where}: this is no JSON ({error}); a record on each line is wanted"
            raise ValueError(said) from None
        if not isinstance(row, dict):
            raise ValueError(f"{where}: this is no record, such as {{...}}, but {line:.60}")
        yield where, row


def _of_parquet(place: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(place) as file:
            there = file.schema_arrow.names
            if lost := [column for column in columns if column not in there]:
                raise ValueError(_no_column(str(place), lost[0], there))
            rows = file.read(columns=[*dict.fromkeys(columns)]).to_pylist()
    except (ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{place} is no Parquet file that can be read: {said}") from None
    yield from ((f"{place}, row {i + 1}", row) for i, row in enumerate(rows))
