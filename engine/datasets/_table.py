"""Tables: CSV and Parquet files whose numeric columns are points, with a column of labels if there
is one.

What is wrong with a file is said with its column and its line.  pyarrow reads; a file that it
refuses is read again line by line to find the place.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATORS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*SEPARATORS, ".parquet")
MOST_NAMED = 12  # columns in a message


@dataclass(frozen=True, eq=False)
class Table:
    """What a table holds.

    columns  names of the coordinates, in the order of x.
    x        float64 [n, d].
    y        int64 [n], places in `classes`; None without a label column.
    classes  names of the labels: numbers in their order, texts by the alphabet.
    """

    columns: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray | None = None
    classes: tuple[str, ...] = ()


def read_table(path: Path, columns: Sequence[str] | None = None, label: str | None = None) -> Table:
    """Read a table; columns: the coordinates, in this order (None: all but the label).

    ValueError names the file, the column and the line (of Parquet: the row, from 1) of what is no
    finite number, and the columns that are missing or named twice.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"{path} is no table that can be read: {', '.join(ENDINGS)} can")
    if path.suffix.lower() == ".parquet":
        chosen, found = _read_parquet(path, columns, label)
    else:
        chosen, found = _read_csv(path, columns, label)
    if not found.num_rows:
        raise ValueError(f"{path} has a header and no rows")
    x = np.column_stack([_numbers(found, name) for name in chosen])  # [n, d]
    if label is None:
        return Table(chosen, x)
    y, classes = _labels(path, label, found)
    return Table(chosen, x, y, classes)


def _chosen(
    path: Path, names: Sequence[str], columns: Sequence[str] | None, label: str | None
) -> tuple[str, ...]:
    """The names of the coordinates; ValueError for what a header must not be."""
    twice = {name for name in names if list(names).count(name) > 1}
    if twice:
        raise ValueError(f"{path} names a column twice: {_named(sorted(twice))}; rename one")
    for name in [*(columns or ()), *([] if label is None else [label])]:
        if name not in names:
            raise ValueError(f"{path} has no column {name!r}; it has: {_named(names)}")
    if columns is not None and label in columns:
        raise ValueError(f"{path}: column {label!r} cannot be a coordinate and the label too")
    if columns is not None and len(set(columns)) < len(columns):
        raise ValueError(f"{path}: columns names one twice: {_named(columns)}")
    chosen = tuple(columns if columns is not None else (n for n in names if n != label))
    if not chosen:
        raise ValueError(f"{path}: no column is left for the points; it has: {_named(names)}")
    return chosen


def _named(names: Sequence[str]) -> str:
    more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(repr, names[:MOST_NAMED])) + more


def _numbers(found: pa.Table, name: str) -> np.ndarray:
    return _array(found.column(name))


def _array(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers none of which is missing; pyarrow's own way to numpy imports pandas."""
    values: np.ndarray = np.from_dlpack(column.combine_chunks())
    return values


# ---- CSV -----------------------------------------------------------------------------------------


def _read_csv(
    path: Path, columns: Sequence[str] | None, label: str | None
) -> tuple[tuple[str, ...], pa.Table]:
    line, names = _header(path)
    chosen = _chosen(path, names, columns, label)
    import pyarrow as pa
    from pyarrow import csv as arrow

    types = dict.fromkeys(chosen, pa.float64()) | ({} if label is None else {label: pa.string()})
    try:
        found = arrow.read_csv(
            path,
            arrow.ReadOptions(skip_rows=line, column_names=names),
            arrow.ParseOptions(delimiter=_separator(path), newlines_in_values=True),
            arrow.ConvertOptions(column_types=types, include_columns=list(types), null_values=[]),
        )
    except pa.ArrowInvalid as error:
        _complain(path, names, chosen, label)
        raise ValueError(f"{path} cannot be read: {error}") from None
    _check_quotes(path)
    finite = all(np.isfinite(_numbers(found, name)).all() for name in chosen)
    if not finite or (label is not None and _blank(found, label)):
        _complain(path, names, chosen, label)
    return chosen, found


def _check_quotes(path: Path) -> None:
    """ValueError for a quote that is not closed: pyarrow would take the rows behind it, up to the
    next one, for a part of its cell.
    """
    with path.open("rb") as file:
        quoted = any(b'"' in block for block in iter(lambda: file.read(1 << 20), b""))
    for _ in _rows(path) if quoted else ():
        pass


def _separator(path: Path) -> str:
    return SEPARATORS[path.suffix.lower()]


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line on which a row begins, and its cells; empty lines are none."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=_separator(path), strict=True)
        line = 1
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
        except UnicodeDecodeError as error:
            problem = f"{error.reason} after line {reader.line_num}"
            raise ValueError(f"{path} is not text in UTF-8: {problem}") from None
        except csv.Error as error:
            mend = "a cell that begins with a quote ends with one, and those inside are doubled"
            raise ValueError(f"{path}, line {line}: {error}; {mend}") from None


def _header(path: Path) -> tuple[int, list[str]]:
    """The line with the names of the columns, and these, without spaces around them."""
    first = next(_rows(path), None)
    if first is None:
        raise ValueError(f"{path} is empty; it needs a line of column names, and rows")
    line, names = first[0], [cell.strip() for cell in first[1]]
    if all(_is_number(name) for name in names):
        raise ValueError(
            f"{path}, line {line}: the columns have no names, only numbers ({_named(names)}); "
            "write a first line with a name for each"
        )
    if "" in names:
        place = names.index("") + 1
        raise ValueError(f"{path}, line {line}: column {place} of {len(names)} has no name")
    if len(names) == 1 and ";" in names[0]:
        raise ValueError(
            f"{path}, line {line}: one column called {names[0]!r:.60}; cells are separated by "
            "commas (.csv) or tabs (.tsv), not by semicolons"
        )
    return line, names


def _complain(path: Path, names: list[str], chosen: Sequence[str], label: str | None) -> None:
    """ValueError for the first place at which a file is no table of finite numbers."""
    wanted: dict[str, Callable[[str], str]] = dict.fromkeys(chosen, _problem)
    if label is not None:
        wanted[label] = lambda cell: "" if cell.strip() else "holds no label"
    rows = _rows(path)
    next(rows)
    for line, cells in rows:
        if len(cells) != len(names):
            raise ValueError(
                f"{path}, line {line}: {len(cells)} cells, but the header names {len(names)}"
            )
        for name, cell in zip(names, cells, strict=True):
            if name in wanted and (problem := wanted[name](cell)):
                raise ValueError(f"{path}, line {line}, column {name!r} {problem}")


def _problem(cell: str) -> str:
    """What is wrong with a cell that must be a finite number, or ''."""
    if not cell.strip():
        return "is empty; leave such rows out, or choose other `columns`"
    if not _is_number(cell):
        return f"holds {cell!r:.60}, which is no number; choose `columns`, or make it the `label`"
    return "" if math.isfinite(float(cell)) else f"holds {cell.strip():.60}, which is not finite"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell and cell.isascii()  # not Python's 1_000, nor digits of other scripts


# ---- Parquet -------------------------------------------------------------------------------------


def _read_parquet(
    path: Path, columns: Sequence[str] | None, label: str | None
) -> tuple[tuple[str, ...], pa.Table]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path)
        chosen = _chosen(path, schema.names, columns, label)
        found = parquet.read_table(path, columns=[*chosen, *([] if label is None else [label])])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    for name in chosen:
        found = found.set_column(
            found.schema.get_field_index(name), name, _as_float(path, name, found.column(name))
        )
    if label is not None:
        place = found.schema.get_field_index(label)
        found = found.set_column(place, label, _as_text(path, label, found.column(label)))
    return chosen, found


def _as_float(path: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """float64; ValueError with the row of what is missing or not finite."""
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise ValueError(
            f"{path}, column {name!r} holds {kind}, no numbers; choose `columns`, or make it the "
            "`label`"
        )
    values = column.cast(pa.float64(), safe=False).fill_null(pa.scalar(math.nan, pa.float64()))
    numbers = _array(values)
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        row = int(bad[0])
        empty = column[row].as_py() is None
        problem = _problem("" if empty else str(numbers[row]))
        raise ValueError(f"{path}, row {row + 1}, column {name!r} {problem}")
    return values


def _as_text(path: Path, label: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Labels as text; ValueError for another type, and with the row of a missing one."""
    import pyarrow as pa
    from pyarrow import compute

    kind: Any = column.type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind)):
        raise ValueError(
            f"{path}, column {label!r} holds {kind}; labels are texts or whole numbers"
        )
    texts = column.cast(kind).cast(pa.string())
    blank = compute.equal(compute.utf8_trim_whitespace(texts), "").fill_null(True)
    if (row := blank.index(pa.scalar(True)).as_py()) >= 0:
        raise ValueError(f"{path}, row {row + 1}, column {label!r} holds no label")
    return texts


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


# ---- labels --------------------------------------------------------------------------------------


def _blank(found: pa.Table, label: str) -> bool:
    """Whether a label is missing."""
    from pyarrow import compute

    lengths = compute.binary_length(compute.utf8_trim_whitespace(found.column(label)))
    return bool(compute.min(lengths).as_py() == 0)


def _labels(path: Path, label: str, found: pa.Table) -> tuple[np.ndarray, tuple[str, ...]]:
    """Each row's place [n] in the names of the classes, and these."""
    from pyarrow import compute

    coded = compute.utf8_trim_whitespace(found.column(label)).combine_chunks().dictionary_encode()
    met: list[str] = coded.dictionary.to_pylist()
    names = _sorted(path, label, met)
    place = np.array([names.index(name) for name in met], dtype=np.int64)
    y: np.ndarray = place[np.from_dlpack(coded.indices)]
    return y, tuple(names)


def _sorted(path: Path, label: str, names: list[str]) -> list[str]:
    """Whole numbers by size, texts by the alphabet; ValueError for fractions, which are no
    classes.
    """
    if all(name.removeprefix("-").isdecimal() for name in names):
        return sorted(names, key=int)
    if all(_is_number(name) for name in names):
        raise ValueError(
            f"{path}, column {label!r} holds numbers such as {names[0]}; labels are texts or whole "
            "numbers, other numbers are coordinates"
        )
    return sorted(names)
