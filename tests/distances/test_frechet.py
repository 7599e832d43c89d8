"""The Frechet distance against the references' formulas, its definition and everything that can be
wrong with its input.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from engine._torchvision import torchvision  # noqa: F401  (before anything that imports torchvision itself)
from engine.distances.frechet import TOLERANCE, frechet, moments, moments_by_group, moments_of

# isort: split
from pytorch_fid.fid_score import calculate_frechet_distance
from torchmetrics.image.fid import _compute_fid


def features(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """ReLU features with a decaying spectrum, as a network's."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d)) * (1 + np.arange(d)) ** -0.5
    return np.maximum(rng.normal(size=(n, d)) @ mixing / np.sqrt(d) * 3 + 0.5 + shift, 0)


def by_definition(a: np.ndarray, b: np.ndarray) -> float:
    """Both covariances in full, symmetric roots."""
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(c1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ c2 @ root), 0, None)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * cross)


@pytest.mark.filterwarnings(
    "ignore:The `disp` argument:DeprecationWarning"
)  # pytorch-fid's call of scipy
@pytest.mark.parametrize(("n", "d"), [(400, 3), (400, 64), (900, 130), (600, 256)])
def test_agrees_with_torchmetrics_and_pytorch_fid(n: int, d: int) -> None:
    a, b = features(n, d, 1), features(n + 17, d, 2, shift=0.2)
    ours = float(frechet(moments_of(a), moments_of(b)))
    mu, cov = (a.mean(0), b.mean(0)), (np.cov(a, rowvar=False), np.cov(b, rowvar=False))
    tensors = [torch.from_numpy(x) for x in (mu[0], cov[0], mu[1], cov[1])]
    assert ours == pytest.approx(float(_compute_fid(*tensors)), rel=1e-6)
    assert ours == pytest.approx(
        float(calculate_frechet_distance(mu[0], cov[0], mu[1], cov[1])), rel=1e-6
    )


@pytest.mark.parametrize(
    ("n1", "n2", "d"),
    [(20, 20, 64), (20, 300, 64), (300, 20, 64), (65, 64, 64), (2, 2, 5), (40, 7, 512)],
)
def test_few_samples_agree_with_the_definition(n1: int, n2: int, d: int) -> None:
    a, b = features(n1, d, 1), features(n2, d, 2, shift=0.1)
    scale = np.var(a, 0).sum() + np.var(b, 0).sum()
    assert float(frechet(moments_of(a), moments_of(b))) == pytest.approx(
        by_definition(a, b), abs=1e-6 * scale
    )


def test_closed_form_in_one_dimension() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50, 1))
    b = 3 * b + 1
    expected = (a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2
    assert float(frechet(moments_of(a), moments_of(b))) == pytest.approx(expected, rel=1e-12)


def test_gram_and_covariance_forms_agree() -> None:
    """The same data, once in its own 30 dimensions (n > d) and once embedded in 200 by an isometry
    (n <= d).
    """
    a, b = features(120, 30, 3), features(110, 30, 4)
    isometry = np.linalg.qr(np.random.default_rng(5).normal(size=(200, 30)))[0].T  # [30, 200]
    low = float(frechet(moments_of(a), moments_of(b)))
    high = float(frechet(moments_of(a @ isometry), moments_of(b @ isometry)))
    assert low == pytest.approx(high, rel=1e-8)


def test_singular_covariances_with_many_samples() -> None:
    """Dead features, in one set or both: Cholesky fails and the symmetric root answers."""
    a, b = features(300, 40, 1), features(300, 40, 2)
    a[:, 5:20] = 0.0
    assert float(frechet(moments_of(a), moments_of(b))) == pytest.approx(
        by_definition(a, b), rel=1e-6
    )
    assert float(frechet(moments_of(b), moments_of(a))) == pytest.approx(
        by_definition(a, b), rel=1e-6
    )


@pytest.mark.parametrize("d", [128, 150])
def test_singular_covariances_of_wide_features(d: int) -> None:
    """From this d on a Cholesky factor goes another way through LAPACK, where the root of a
    singular covariance must not go.
    """
    a, b = features(400, d, 1), features(400, d, 2, shift=0.1)
    a[:, 20:60] = 0.0
    real, synthetic = moments_of(a), moments_of(b)
    assert float(frechet(real, synthetic)) == pytest.approx(by_definition(a, b), rel=1e-5)
    assert float(frechet(synthetic, real)) == pytest.approx(by_definition(a, b), rel=1e-5)
    assert float(frechet(real, moments_of(a[::-1]))) == pytest.approx(0, abs=1e-5 * real.trace)


@pytest.mark.parametrize("d", [1, 2, 40])
def test_replicates_are_the_same_as_one_by_one(d: int) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(30, 6, d)), rng.normal(size=(25, 6, d)) * 1.3
    together = frechet(moments_of(a), moments_of(b))
    alone = [float(frechet(moments_of(a[:, r]), moments_of(b[:, r]))) for r in range(6)]
    np.testing.assert_allclose(together, alone, rtol=1e-9)


@pytest.mark.parametrize("d", [8, 64])
def test_ragged_groups_are_the_same_as_one_by_one(d: int) -> None:
    sizes = [(20, 20), (3, 3), (33, 33), (2, 2), (50, 50)]
    a = [features(n, d, i) for i, (n, _) in enumerate(sizes)]
    b = [features(m, d, 50 + i, shift=0.3) for i, (_, m) in enumerate(sizes)]
    together = frechet(moments_by_group(a), moments_by_group(b))
    alone = [by_definition(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_groups_with_replicates() -> None:
    rng = np.random.default_rng(2)
    a = [rng.normal(size=(n, 4, 3)) for n in (9, 12)]
    b = [rng.normal(size=(n, 4, 3)) for n in (9, 12)]
    together = frechet(moments_by_group(a), moments_by_group(b))
    assert together.shape == (2, 4)
    assert together[1, 2] == pytest.approx(by_definition(a[1][:, 2], b[1][:, 2]), rel=1e-8)


@pytest.mark.parametrize("n", [3, 9, 20])
def test_equal_groups_with_replicates_are_the_same_as_one_by_one(n: int) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 5, n, 4, 6))  # [groups, n, replicates, d], with n <= d and n > d
    together = frechet(moments_by_group(list(a)), moments_by_group(list(b)))
    alone = [[by_definition(x[:, r], y[:, r]) for r in range(4)] for x, y in zip(a, b, strict=True)]
    assert together.shape == (5, 4)
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_groups_of_many_sizes_with_replicates_are_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(4)
    a = [rng.normal(size=(n, 4, 3)) for n in (9, 12, 2)]
    b = [rng.normal(size=(n, 4, 3)) for n in (5, 12, 30)]
    together = frechet(moments_by_group(a), moments_by_group(b))
    alone = [[by_definition(x[:, r], y[:, r]) for r in range(4)] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(together, alone, rtol=1e-6)


def test_a_vanished_group_is_nan_and_the_others_stay() -> None:
    a = [features(20, 16, i) for i in range(3)]
    b = [features(20, 16, 9), features(20, 16, 8)[:0], features(20, 16, 7)[:1]]
    values = frechet(moments_by_group(a), moments_by_group(b))
    assert np.isfinite(values[0])
    assert np.isnan(values[1:]).all()


def test_identical_sets_are_at_zero_and_order_does_not_matter() -> None:
    for d in (4, 90):
        a, b = features(60, d, 1), features(60, d, 2)
        assert float(frechet(moments_of(a), moments_of(a[::-1]))) == pytest.approx(0, abs=1e-6)
        back = float(frechet(moments_of(b), moments_of(a)))
        assert float(frechet(moments_of(a), moments_of(b))) == pytest.approx(back, rel=1e-9)


@pytest.mark.parametrize("d", [4, 90])
def test_nearly_identical_sets_are_at_zero_never_undefined(d: int) -> None:
    for seed in range(20):
        a = features(60, d, seed)
        again = np.random.default_rng(seed).permutation(a) * (1 + 1e-15)
        value, scale = float(frechet(moments_of(a), moments_of(again))), np.var(a, 0).sum()
        assert 0 <= value < 1e-6 * scale


@pytest.mark.parametrize("d", [4, 90])
def test_below_zero_by_rounding_is_zero_and_by_more_is_undefined(d: int) -> None:
    """A trace that is too small by a share makes the distance of a set to itself negative by half
    that share of both traces.
    """
    real = moments_of(features(60, d, 1))
    a_little, much = (
        replace(real, trace=real.trace * (1 - share * TOLERANCE)) for share in (0.5, 20)
    )
    assert float(frechet(real, a_little)) == 0
    assert np.isnan(frechet(real, much))


def test_a_point_mass_has_a_distance() -> None:
    a = features(60, 10, 1)
    point = np.tile(a.mean(0), (60, 1))
    assert float(frechet(moments_of(a), moments_of(point))) == pytest.approx(
        np.trace(np.cov(a, rowvar=False)), rel=1e-6
    )


def with_value(value: float, where: object = (0, 0)) -> Callable[[np.ndarray], np.ndarray]:
    def spoil(x: np.ndarray) -> np.ndarray:
        x = x.copy()
        x[where] = value
        return x

    return spoil


SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "one nan": with_value(np.nan),
    "one inf": with_value(np.inf),
    "one -inf": with_value(-np.inf),
    "inf and -inf": lambda x: with_value(np.inf)(with_value(-np.inf, (1, 0))(x)),
    "a row of nan": with_value(np.nan, np.s_[3]),
    "a column of nan": with_value(np.nan, np.s_[:, 2]),
    "a column of inf": with_value(np.inf, np.s_[:, 2]),
    "all nan": with_value(np.nan, np.s_[:]),
    "all inf": with_value(np.inf, np.s_[:]),
    "nan in the last place": with_value(np.nan, (-1, -1)),
    "float32 overflow": lambda x: x.astype(np.float32) * np.float32(1e38) * np.float32(1e10),
    "float16 overflow": lambda x: with_value(np.inf)(x.astype(np.float16)),
    "squares overflow": lambda x: x * 1e200,
    "sums overflow": with_value(1.7e308, np.s_[:]),
    "one sample": lambda x: x[:1],
    "no sample": lambda x: x[:0],
}
FINE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "constant": lambda x: np.ones_like(x),
    "all zero": lambda x: np.zeros_like(x),
    "one constant column": with_value(0.0, np.s_[:, 0]),
    "all rows twice": lambda x: np.concatenate([x, x]),
    "two samples": lambda x: x[:2],
    "equal columns": lambda x: np.repeat(x[:, :1], x.shape[1], axis=1),
    "far away": lambda x: x + 1e6,
    "huge but finite": lambda x: x * 1e60,
    "tiny": lambda x: x * 1e-150,
    "denormal": lambda x: x * 1e-310,
    "integers": lambda x: (x * 100).astype(np.int64),
    "one outlier": with_value(1e9),
    "not contiguous": lambda x: np.repeat(x, 2, axis=0)[::2],
}


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # the spoiling itself
@pytest.mark.parametrize("d", [6, 150])
@pytest.mark.parametrize("kind", SPOILT)
def test_spoilt_input_is_nan_at_once(kind: str, d: int) -> None:
    a, spoilt = features(60, d, 1), SPOILT[kind](features(60, d, 2))
    start = time.perf_counter()
    for one, other in ((a, spoilt), (spoilt, a), (spoilt, spoilt)):
        assert np.isnan(frechet(moments_of(one), moments_of(other)))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("d", [6, 150])
@pytest.mark.parametrize("kind", FINE)
def test_degenerate_but_finite_input_has_a_value(kind: str, d: int) -> None:
    a, degenerate = features(60, d, 1), FINE[kind](features(60, d, 2))
    value = float(frechet(moments_of(a), moments_of(degenerate)))
    with np.errstate(all="ignore"):
        expected = by_definition(a, np.asarray(degenerate, dtype=float))
    assert value == pytest.approx(expected, rel=1e-5)


def test_one_bad_replicate_does_not_spoil_the_others() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 20, 5, 3))
    b[4, 2, 1] = np.nan
    values = frechet(moments_of(a), moments_of(b))
    assert np.isnan(values).tolist() == [False, False, True, False, False]


def test_agrees_with_a_matrix_root() -> None:
    a, b = features(200, 12, 1), features(200, 12, 2)
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real
    )
    assert float(frechet(moments_of(a), moments_of(b))) == pytest.approx(expected, rel=1e-8)


def test_counts_cut_the_padding_off() -> None:
    x = features(30, 8, 1)
    padded = np.concatenate([x, np.full((5, 8), 7.0)])
    cut = moments(padded[None], np.array([30]))
    np.testing.assert_allclose(cut.covariance, np.cov(x, rowvar=False)[None], atol=1e-12)


@pytest.mark.parametrize("n", [0, 1])
def test_groups_that_are_all_too_small_are_nan(n: int) -> None:
    a, b = [features(20, 16, i) for i in range(3)], [features(20, 16, i)[:n] for i in range(3)]
    assert np.isnan(frechet(moments_by_group(a), moments_by_group(b))).all()
    assert np.isnan(frechet(moments_by_group(b), moments_by_group(b))).all()
