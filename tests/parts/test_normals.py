"""The bulk normal numbers behind the closed forms: their law, independence, and sizes that do not
fit the chunks.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from engine.generators._normals import CHUNK, add_noise, normals

N = 4_000_000
Z = normals((N,), np.random.default_rng(11))


def test_moments_up_to_the_sixth() -> None:
    for power, expected, variance in (
        (1, 0, 1),
        (2, 1, 2),
        (3, 0, 15),
        (4, 3, 96),
        (6, 15, 10_170),
    ):
        assert abs((Z**power).mean() - expected) < 4 * np.sqrt(variance / N), power


def test_distribution_and_tails() -> None:
    assert stats.kstest(Z[:500_000], "norm").pvalue > 1e-3
    for bound in (2, 3, 4, 4.5):
        expected = 2 * stats.norm.sf(bound) * N
        assert abs((np.abs(Z) > bound).sum() - expected) < 4 * np.sqrt(expected), bound
    assert np.abs(Z).max() < 5.78


@pytest.mark.parametrize("lag", [1, 2, CHUNK // 2, CHUNK, 1000])
def test_numbers_at_a_distance_are_independent(lag: int) -> None:
    """Also their squares: the two numbers of a pair share a radius, and lie half a chunk apart."""
    a, b = Z[:-lag], Z[lag:]
    assert abs((a * b).mean()) < 4 / np.sqrt(len(a))
    assert abs(((a**2 - 1) * (b**2 - 1)).mean()) < 4 * 2 / np.sqrt(len(a))


@pytest.mark.parametrize(
    "shape", [(), (1,), (3,), (7, 5), (CHUNK - 1,), (CHUNK,), (CHUNK + 1,), (2, CHUNK, 3), (0, 4)]
)
def test_any_shape_is_filled_and_the_stream_decides(shape: tuple[int, ...]) -> None:
    first, second = (normals(shape, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == shape and first.dtype == np.float64
    assert (first == second).all() and (first != 0).all() and np.isfinite(first).all()
    assert len(np.unique(first)) > 0.99 * first.size - 1
    assert first.size == 0 or (first != normals(shape, np.random.default_rng(4))).any()


def test_noise_is_added_in_place() -> None:
    x = np.full((50, 7, 3), 10.0)
    add_noise(x, 0.5, np.random.default_rng(3))
    assert x == pytest.approx(10 + 0.5 * normals(x.shape, np.random.default_rng(3)), abs=1e-12)
    with pytest.raises(AssertionError, match="a copy"):
        add_noise(x.transpose(1, 0, 2), 0.5, np.random.default_rng(3))
