"""The tidy frame as files: Parquet keeps types, CSV opens anywhere, and no cell of it is a formula
to a spreadsheet or an order to a terminal.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from engine._foreign import told
from engine.files import staged

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for the beginning of one


def write(frame: pd.DataFrame, path: Path) -> Path:
    """By the name's ending: .parquet or .csv; all of it or nothing.

    ValueError for another ending.
    """
    writers = {".parquet": _parquet, ".csv": _csv}
    named(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged(path) as temporary:
        writers[path.suffix](frame, temporary)
    return path


def named(path: Path) -> Path:
    """The path, whose name says which kind of table it is; ValueError for another one."""
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"{path} is no name of a table: it should end in .parquet or .csv")
    return path


def _parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path, index=False, compression="zstd")


def _csv(frame: pd.DataFrame, path: Path) -> None:
    harmless(frame).to_csv(path, index=False, lineterminator="\n")


def harmless(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with an apostrophe before every text that a spreadsheet would run as a formula, and
    what cannot be seen in a text written out; column names, too.
    """
    changed = {
        name: _quoted(frame[name])
        for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name])
    }
    return frame.assign(**changed).rename(
        columns=lambda name: _harmless(name) if isinstance(name, str) else name
    )


def _quoted(column: pd.Series) -> pd.Series:
    if isinstance(column.dtype, pd.CategoricalDtype):  # each distinct text once
        names = {name: _harmless(name) for name in column.cat.categories}
        return (
            column.cat.rename_categories(names)
            if len(set(names.values())) == len(names)
            else column.map(names)
        )
    return column.map(_harmless)


def _harmless(value: object) -> object:
    if not isinstance(value, str):
        return value
    return f"'{told(value)}" if value.startswith(FORMULA) else told(value)
