"""A table of one's own: read as it is written, refused by file, column and line."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.contents import Contents, Lack
from engine.datasets._table import read_table
from engine.experiment.reader import SpecError
from engine.experiment.sources import load
from engine.registry import make
from tests.support.ouro import ROOT

FRAME = pd.DataFrame(
    {
        "height": [1.5, -2.0, 3.25, 1e-3, 7.0, 8.0],
        "kind": ["wren", "owl", "owl", "wren", "owl", "wren"],
        "count": [3, 1, 4, 1, 5, 9],
        "note": ["a, b", 'says "no"', "two\nlines", "", "é", "-"],
    }
)
WRITERS: dict[str, Callable[[Path], Any]] = {
    "t.csv": lambda path: FRAME.to_csv(path, index=False),
    "t.tsv": lambda path: FRAME.to_csv(path, index=False, sep="\t"),
    "t.parquet": lambda path: FRAME.to_parquet(path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_is_read_value_by_value(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name)
    found = read_table(tmp_path / name, ["count", "height"], "kind")
    assert found.columns == ("count", "height") and found.x.dtype == np.float64
    assert np.array_equal(found.x, FRAME[["count", "height"]].to_numpy())
    assert found.classes == ("owl", "wren") and found.y is not None
    assert [found.classes[i] for i in found.y] == FRAME["kind"].tolist()


@pytest.mark.parametrize("labels", [[10, 2, 2, 10], ["10", "2", "2", " 10"], [True, False] * 2])
def test_labels_that_are_numbers_stand_in_their_order(labels: list[Any], tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(4), "label": labels})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    expected = ("False", "True") if labels[0] is True else ("2", "10")
    found = read_table(tmp_path / "a.csv", None, "label")
    assert found.classes == expected and found.columns == ("x",)
    same = read_table(tmp_path / "a.parquet", None, "label")
    assert [name.lower() for name in same.classes] == [name.lower() for name in expected]
    assert np.array_equal(found.y, same.y)


def test_spaces_around_names_empty_lines_and_a_mark_of_order_are_none(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"\xef\xbb\xbf\n x , y \n\n 1, 2.5\n\n3,4\r\n")
    found = read_table(file)
    assert found.columns == ("x", "y") and found.x.tolist() == [[1, 2.5], [3, 4]]


# ---- what is refused -----------------------------------------------------------------------------

TEXTS = {
    "x,y\n1,2\n3,four\n": r"a\.csv, line 3, column 'y' holds 'four', which is no number",
    "x,y\n1,2\n\n3,\n": r"a\.csv, line 4, column 'y' is empty",
    "x,y\n1,nan\n": r"a\.csv, line 2, column 'y' holds nan, which is not finite",
    "x,y\n1,2\n-inf,2\n": r"a\.csv, line 3, column 'x' holds -inf, which is not finite",
    "x,y\n1e999,2\n": r"a\.csv, line 2, column 'x' holds 1e999, which is not finite",
    "x,y\n1_000,2\n": r"a\.csv, line 2, column 'x' holds '1_000', which is no number",
    'x,y\n"1\n",2\n"3,5",2\n': r"a\.csv, line 4, column 'x' holds '3,5', which is no number",
    "x,y\n1,2\n3,٣\n": r"a\.csv, line 3, column 'y' holds '٣', which is no number",
    "x,y\n1,2\n3\n": r"a\.csv, line 3: 1 cells, but the header names 2",
    "x,y\n1,2,3\n": r"a\.csv, line 2: 3 cells, but the header names 2",
    "1.5,2\n3,4\n": r"a\.csv, line 1: the columns have no names, only numbers \('1\.5', '2'\)",
    "x,y,x\n1,2,3\n": r"a\.csv names a column twice: 'x'; rename one",
    "x,\n1,2\n": r"a\.csv, line 1: column 2 of 2 has no name",
    "x;y\n1;2\n": r"a\.csv, line 1: one column called 'x;y'; cells are separated by commas",
    "x,y\n": r"a\.csv has a header and no rows",
    "": r"a\.csv is empty; it needs a line of column names, and rows",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_csv_that_is_no_table_of_numbers_is_refused_by_its_place(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=TEXTS[text]):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("cell", "line"), [('"b', 2), ('"b\n3,4,a\n5,6,"c', 2), ('a\n3,4,"b" x', 3)]
)
def test_a_quote_that_is_not_closed_swallows_no_rows(cell: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"x,y,note\n1,2,{cell}\n7,8,a\n")
    with pytest.raises(ValueError, match=rf"a\.csv, line {line}: .* begins with a quote ends"):
        read_table(tmp_path / "a.csv", ["x", "y"])


def test_quotes_inside_a_cell_are_letters(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b'x,note\n1,5" e\n2,"a ""b""\n c"\n3,d\n')
    assert read_table(tmp_path / "a.csv", ["x"]).x.tolist() == [[1.0], [2.0], [3.0]]


def test_text_that_is_not_in_utf8_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("x,y\n1,2\n3,é\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"not text in UTF-8: .* after line"):
        read_table(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("columns", "label", "words"),
    [
        (["x", "z"], None, r"a\.csv has no column 'z'; it has: 'x', 'y', 'kind'"),
        (None, "type", r"a\.csv has no column 'type'"),
        (["x", "kind"], "kind", "column 'kind' cannot be a coordinate and the label too"),
        (["x", "x"], None, "columns names one twice"),
        (None, "x", r"column 'x' holds numbers such as 0\.5; labels are texts or whole numbers"),
        ([], None, "no column is left for the points"),
        (["x"], "kind", r"a\.csv, line 3, column 'kind' holds no label"),
    ],
)
def test_columns_that_are_not_there_or_no_labels_are_refused(
    columns: list[str] | None, label: str | None, words: str, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("x,y,kind\n0.5,2,1\n1.5,2, \n")
    if label == "x":
        columns = ["y"]
    with pytest.raises(ValueError, match=words):
        read_table(tmp_path / "a.csv", columns, label)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        ({"x": [1.0, None]}, r"a\.parquet, row 2, column 'x' is empty"),
        ({"x": [np.inf, 1.0]}, r"a\.parquet, row 1, column 'x' holds inf, which is not finite"),
        ({"x": ["1", "2"]}, r"a\.parquet, column 'x' holds (large_)?string, no numbers"),
        ({"x": [True, False]}, r"a\.parquet, column 'x' holds bool, no numbers"),
        ({"x": [1], "label": [0.5]}, r"column 'label' holds double; labels are texts or whole"),
        ({"x": [1, 2], "label": ["a", " "]}, r"row 2, column 'label' holds no label"),
        ({"x": [1, 2], "label": ["a", None]}, r"row 2, column 'label' holds no label"),
        ({"x": []}, r"a\.parquet has a header and no rows"),
    ],
)
def test_a_parquet_file_is_refused_by_column_and_row(
    frame: dict[str, Any], words: str, tmp_path: Path
) -> None:
    types = {"x": float} if not frame["x"] else {}
    pd.DataFrame(frame).astype(types).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=words):
        read_table(tmp_path / "a.parquet", None, "label" if "label" in frame else None)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    for name in ("a.xlsx", "a"):
        with pytest.raises(ValueError, match=r"is no table that can be read: \.csv, \.tsv"):
            read_table(tmp_path / name)
    (tmp_path / "a.parquet").write_text("x,y\n1,2\n")
    with pytest.raises(ValueError, match=r"a\.parquet cannot be read as Parquet"):
        read_table(tmp_path / "a.parquet")


# ---- as a data set -------------------------------------------------------------------------------


def iris(**own: Any) -> Any:
    known = {"path": "iris.csv", "label": "species", "root": str(ROOT / "experiments")}
    return make("dataset", "table", **{**known, **own})


def test_what_a_table_holds_is_told_before_anything_is_trained() -> None:
    told, data = iris(held_out_fraction=0.3).contents(), iris(held_out_fraction=0.3)
    assert isinstance(told, Contents) and told.shape == (1, 4)
    assert told.classes == ("setosa", "versicolor", "virginica")
    assert told.per_class == (35, 35, 35) and (told.train, told.held_out) == (105, 45)
    train, rest = data.training_set(), data.held_out(99)
    assert train.x.shape == (105, 1, 4) and np.bincount(train.y).tolist() == [35] * 3
    assert rest.x.shape == (45, 1, 4) and np.bincount(rest.y).tolist() == [15] * 3
    with (ROOT / "experiments" / "iris.csv").open() as file:
        rows = [tuple(map(float, row[:4])) for row in list(csv.reader(file))[1:]]
    assert sorted(map(tuple, np.concatenate([train.x, rest.x])[:, 0])) == sorted(rows)


def test_a_table_without_labels_gives_unlabelled_points() -> None:
    data = iris(label=None, columns=["petal_width"])
    drawn = data.sample(20, np.random.default_rng(0))
    assert drawn.y is None and drawn.x.shape == (20, 1, 1) and drawn.traits.classes == 0
    with pytest.raises(ValueError, match="balanced draws need classes"):
        iris(label=None, balanced=True)


def test_a_table_that_is_not_there_is_lacking(tmp_path: Path) -> None:
    assert isinstance(found := iris(root=str(tmp_path)).contents(), Lack)
    assert found.where == str(tmp_path / "iris.csv")
    with pytest.raises(FileNotFoundError, match=r"no table iris\.csv at .*: path is a \.csv"):
        iris(root=str(tmp_path)).sample(5, np.random.default_rng(0))


EXPERIMENT = """
base:
  dataset: {{name: table, path: mine.csv, root: {root}}}
  generator: gaussian
  n_real: {n}
seeds: 1
generations: 1
"""


@pytest.mark.parametrize(
    ("rows", "n", "words"),
    [
        (["1,2"] * 9 + ["3,?"], 5, r"mine\.csv, line 11, column 'b' holds '\?', which is no"),
        (["1,2"] * 10, 9, r"mine\.csv has 8 training rows, n_real is 9; 2 more are held out"),
        (["1,2"], 1, r"of the 1 rows of mine\.csv none is held out"),
    ],
)
def test_a_plan_refuses_what_cannot_be_trained_on(
    rows: list[str], n: int, words: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.csv").write_text("\n".join(["a,b", *rows]) + "\n")
    (tmp_path / "e.yaml").write_text(EXPERIMENT.format(root=tmp_path, n=n))
    with pytest.raises(SpecError, match=words):
        load(tmp_path / "e.yaml")


def test_a_plan_of_other_data_imports_no_reader_of_tables() -> None:
    program = (
        "import sys; from engine.experiment.sources import load; load(sys.argv[1]); "
        "print([m for m in ('pandas', 'pyarrow') if m in sys.modules])"
    )
    for name, said in (("quickstart", "[]"), ("table_iris", "['pyarrow']")):
        file = str(ROOT / "experiments" / f"{name}.yaml")
        command = [sys.executable, "-c", program, file]
        end = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert end.stdout.strip() == said
