"""Latent alignment: optimal transport between real and generated features where both are
labelled.
"""

from __future__ import annotations

import numpy as np
import pytest

from analysis.report.alignment import alignment, compared
from engine.distances.transport import exact, labelled


def points(n: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    return rng.normal(size=(n, 4)) + 3 * y[:, None] + shift, y


def test_otdd_of_labelled_sets_stands_beside_its_floor() -> None:
    (real, real_y), (same, same_y), (moved, moved_y) = (
        points(120, 1),
        points(60, 2),
        points(60, 3, shift=1.5),
    )
    sets = {0: same, 1: moved, 2: moved}
    table = alignment(real, sets, real_y, {0: same_y, 1: moved_y, 2: None}).set_index("set")
    assert table.loc[0, "otdd"] == pytest.approx(table.loc["floor", "otdd"], rel=0.4)
    assert (
        table.loc[1, "otdd"] > table.loc["floor", "otdd"] + 4 * 1.5**2
    )  # a shift of each coordinate, in points and labels
    assert np.isnan(table.loc[2, "otdd"]) and table.loc[2, "undefined"] == ""
    swapped = alignment(
        real, {0: same}, real_y, {0: np.random.default_rng(0).permutation(same_y)}
    ).set_index("set")
    assert (
        swapped.loc[0, "otdd"] > 2 * table.loc[0, "otdd"]
        and swapped.loc[0, "auc"] == table.loc[0, "auc"]
    )


def test_otdd_is_the_exact_one_of_the_same_samples() -> None:
    (real, real_y), (moved, moved_y) = points(60, 1), points(60, 3, shift=1.0)
    rng = np.random.default_rng(0)
    expected = exact(labelled(real, real_y, 100, rng), labelled(moved, moved_y, 100, rng))
    assert compared(real, moved, (real_y, moved_y))["otdd"] == expected


def test_without_labels_there_is_none() -> None:
    table = alignment(points(60, 1)[0], {0: points(30, 2)[0]})
    assert table["otdd"].isna().all() and table["auc"].notna().all()
