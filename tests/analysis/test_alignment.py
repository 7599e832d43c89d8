"""Latent alignment: generated features beside real ones, and optimal transport where both are
labelled.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.report.alignment import alignment, compared, embedded
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


def test_alignment_has_a_floor_of_the_same_size_and_reasons() -> None:
    rng = np.random.default_rng(1)
    broken = np.full((50, 3), np.nan)
    table = alignment(
        rng.normal(size=(100, 3)), {0: rng.normal(size=(80, 3)), 7: broken}
    ).set_index("set")
    assert (
        table["n"].tolist() == [50, 50, 50]
        and table.loc["floor", "auc_low"] < 0.5 < table.loc["floor", "auc_high"]
    )
    assert table.loc[7, "undefined"] and np.isnan(table.loc[7, "auc"])
    with pytest.raises(ValueError, match="alignment needs 10"):
        alignment(np.zeros((10, 2)), {})


@pytest.mark.slow
def test_the_embedding_is_fitted_on_real_samples_alone() -> None:
    rng = np.random.default_rng(2)
    real, other = rng.normal(size=(60, 4)), rng.normal(5, 1, size=(30, 4))
    one, two = embedded(real, {"a": other}), embedded(real, {"a": other[:10], "b": other})
    pd.testing.assert_frame_equal(one[one["set"] == "real"], two[two["set"] == "real"])
    from umap import distances, layouts, umap_, utils

    compiled = [
        function
        for module in (distances, layouts, umap_, utils)
        for function in vars(module).values()
        if getattr(function, "signatures", ())
    ]
    assert len(compiled) > 5 and all(function.stats.cache_path for function in compiled), (
        "every process would compile it anew"
    )


# ---- the threads of the process that asks --------------------------------------------------------

OTHER = (os.cpu_count() or 1) + 1  # threads, which numba would not choose


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(OTHER)
    yield OTHER
    torch.set_num_threads(before)


class Greedy:
    """An embedding that takes the threads of the whole process when it is made, as numba does."""

    def __init__(self, **_: Any) -> None:
        torch.set_num_threads(1)

    def fit(self, real: np.ndarray) -> Greedy:
        self.embedding_ = real[:, :2]
        return self

    def transform(self, x: np.ndarray) -> np.ndarray:
        return x[:, :2]


def test_an_embedding_gives_back_the_threads_that_it_takes(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    umap = ModuleType("umap")
    parts = {name: ModuleType(name) for name in ("distances", "layouts", "umap_", "utils")}
    vars(umap).update(parts, UMAP=Greedy)
    monkeypatch.setitem(sys.modules, "umap", umap)
    rng = np.random.default_rng(2)
    found = embedded(rng.normal(size=(20, 4)), {"a": rng.normal(size=(10, 4))})
    assert len(found) == 30 and torch.get_num_threads() == threads


@pytest.mark.slow
def test_umap_leaves_the_threads_of_the_process_as_they_were(threads: int) -> None:
    rng = np.random.default_rng(2)
    embedded(rng.normal(size=(30, 4)), {"a": rng.normal(size=(10, 4))})
    assert torch.get_num_threads() == threads
