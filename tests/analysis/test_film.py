"""The film strip and the curves: own classes by name and number, few seeds as points, what a metric
is read against, and nothing of what never changes.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis.frame.tables import over_seeds
from analysis.plots import curves as plots
from analysis.plots.samples import film
from analysis.report.figures import constants, keys_shown
from engine.samples import Samples
from tests.analysis.test_threshold_figures import NAN


def pictures(*labels: int) -> Samples:
    y = np.array(labels)
    return Samples(np.full((len(y), 4, 4, 1), 200, dtype=np.uint8), y)


def ticks(figure: Figure) -> tuple[list[str], list[str]]:
    axis = figure.axes[0]
    x, y = axis.get_xticklabels(), axis.get_yticklabels()
    return [own.get_text() for own in x], [own.get_text() for own in y]


THREE = {0: "0 circle", 1: "1 cross", 2: "2 square"}


def test_three_classes_are_three_rows_by_number_and_name() -> None:
    frames = {"replace 1": {t: pictures(0, 1, 2) for t in range(5)}}
    figure = film(frames, classes=THREE, real=pictures(2, 1, 0))
    assert ticks(figure) == (["real", "0", "1", "2", "3", "4"], ["0 circle", "1 cross", "2 square"])
    image = figure.axes[0].images[0].get_array()
    assert image is not None and image.shape[:2] == (3 * 5, 6 * 5), "no place of a fourth class"


def test_a_class_that_vanished_is_crossed_and_no_other() -> None:
    def crossed(frames: dict[int, Samples]) -> bool:
        figure = film({"replace 1": frames}, classes=THREE)
        image = np.asarray(figure.axes[0].images[0].get_array())
        return bool((image == 240).any())

    assert not crossed({0: pictures(0, 1, 2), 1: pictures(0, 1, 2)})
    assert crossed({0: pictures(0, 1, 2), 1: pictures(0, 2)})


def test_many_classes_stand_side_by_side_and_those_left_out_are_named() -> None:
    many = {i: str(i) for i in range(25)}
    figure = film({"a": {0: pictures(*range(25)), 1: pictures(*range(25))}}, classes=many)
    assert ticks(figure) == ([str(i) for i in range(20)], ["0", "1"])
    said = " ".join(text.get_text() for text in figure.texts).replace("\n", " ")
    assert "20, 21, 22, 23, 24 (5 of 25 classes)" in said


# ---- curves --------------------------------------------------------------------------------------


def rows(seeds: int, key: str = "fid") -> pd.DataFrame:
    """A cell of so many seeds, which drift apart."""
    names = ("dataset", "generator", "sampling", "policy", "n_synthetic")
    about = dict.fromkeys(names, "same") | {"cell": "c", "key": key, "n_real": 9}
    found = [
        {**about, "t": t, "value": 1.0 + t * (1 + 0.3 * seed), "n": 60.0}
        for t in range(4)
        for seed in range(seeds)
    ]
    empty = {"synthetic_fraction": 1.0, "floor": NAN, "floor_sd": NAN, "se": NAN}
    return pd.DataFrame(found).assign(**empty)


@pytest.mark.parametrize(("seeds", "bands"), [(3, 0), (12, 1)])
def test_bands_of_a_few_seeds_are_points(seeds: int, bands: int) -> None:
    frame = rows(seeds)
    figure = plots.curves(over_seeds(frame, "fid"), name="fid", points=frame)
    axis = figure.axes[0]
    dots = [own for own in axis.lines if own.get_marker() == "."]
    assert len(axis.collections) == bands and sum(len(own.get_xdata()) for own in dots) == (
        0 if bands else 4 * seeds
    )


def test_the_axis_says_extractor_and_n_and_what_the_metric_is_read_against() -> None:
    frame = rows(3)
    against = {"ceiling": 0.98, "chance": 0.1}
    table = over_seeds(frame, "fid")
    axis = plots.curves(table, name="fid", by="lenet", marks_at=against).axes[0]
    assert " ".join(axis.get_ylabel().split()) == "fid (lenet, n = 60)"
    assert {text.get_text() for text in axis.texts} == {"ceiling", "chance"}
    low, high = axis.get_ylim()
    assert low < 0.1 and high > 0.98


def test_more_lines_than_can_be_read_have_no_bands() -> None:
    cells = [rows(12).assign(cell=str(i), synthetic_fraction=i / 20) for i in range(12)]
    table = over_seeds(pd.concat(cells, ignore_index=True), "fid")
    axis = plots.curves(table, name="fid").axes[0]
    assert len(axis.collections) == 0 and len(axis.lines) == 12


def test_what_never_changes_has_no_figure() -> None:
    flat = rows(2, "conditional_fid").assign(value=3.0)
    frame = pd.concat([rows(2), flat], ignore_index=True)
    assert constants(frame) == {"conditional_fid": 3.0} and keys_shown(frame) == ["fid"]
    assert keys_shown(frame, "conditional_fid") == ["conditional_fid", "fid"], "of the rule"
