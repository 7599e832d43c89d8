"""otdd: its exact invariants, POT on the full problem, the published number, and what collapse
makes of classes.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import ot
import pytest
from scipy.linalg import sqrtm
from scipy.special import logsumexp

from engine.distances import transport
from engine.distances.class_gaussians import class_gaussians, label_distances
from engine.distances.floors import real_pool
from engine.distances.transport import Labelled, exact, labelled, sinkhorn
from engine.lineage.measure import Measure
from engine.metrics.otdd import alike
from engine.parts import Undefined
from engine.registry import make
from engine.samples import Samples, proportional_labels
from engine.spec import MeasureSpec, Part
from tests.parts.test_fid import SPOILT, Points, Unlabelled, measured, prepared
from tests.support.around import NOTHING


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def side(x: np.ndarray, y: np.ndarray) -> Labelled:
    return labelled(x, y, 10_000, rng())


def clusters(
    n: int, d: int, counts: list[int], seed: int, shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """n points in classes with these counts, each class with a covariance of its own; in a random
    order.
    """
    r = rng(seed)
    y = r.permutation(np.repeat(np.arange(len(counts)), counts))
    assert len(y) == n
    centres, scales = (
        rng(99).normal(0, 2, (len(counts), d)),
        rng(98).uniform(0.5, 2, (len(counts), d)),
    )
    return centres[y] + shift + scales[y] * r.normal(size=(n, d)), y


def w2(a: np.ndarray, b: np.ndarray) -> float:
    """Bures-Wasserstein by scipy's matrix roots; a single point has covariance zero."""
    c1, c2 = (
        np.cov(s, rowvar=False) if len(s) > 1 else np.zeros((s.shape[1],) * 2) for s in (a, b)
    )
    common = 0.0
    if len(a) > 1 and len(b) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about singular matrices
            root = sqrtm(c1)
            common = float(np.trace(np.real(sqrtm(root @ c2 @ root))))
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(c1) + np.trace(c2) - 2 * common)


def table(x: np.ndarray, y: np.ndarray, z: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.array([[w2(x[y == k], z[v == j]) for j in np.unique(v)] for k in np.unique(y)])


def by_pot(x: np.ndarray, y: np.ndarray, z: np.ndarray, v: np.ndarray) -> float:
    """The definition: the full cost with dense label distances, and POT's exact solver."""
    blocks = table(x, y, z, v)[np.searchsorted(np.unique(y), y)][
        :, np.searchsorted(np.unique(v), v)
    ]
    cost = (ot.dist(x, z) + blocks) / 2
    return float(
        ot.emd2(
            np.full(len(x), 1 / len(x)), np.full(len(z), 1 / len(z)), cost, numItermax=1_000_000
        )
    )


# ---- the distance --------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[20, 20, 20], [35, 20, 5], [58, 1, 1], [60]])
@pytest.mark.parametrize("d", [2, 7])
def test_it_is_pot_on_the_full_problem(counts: list[int], d: int) -> None:
    x, y = clusters(60, d, [20, 20, 20], 1)
    z, v = clusters(60, d, counts, 2, 0.5)
    expected = by_pot(x, y, z, v)
    assert exact(side(x, y), side(z, v)) == pytest.approx(expected, rel=1e-6)
    assert exact(side(z, v), side(x, y)) == pytest.approx(expected, rel=1e-6)


def test_sides_may_differ_in_size() -> None:
    (x, y), (z, v) = clusters(60, 3, [20, 20, 20], 1), clusters(45, 3, [20, 20, 5], 2)
    assert exact(side(x, y), side(z, v)) == pytest.approx(by_pot(x, y, z, v), rel=1e-6)


@pytest.mark.parametrize(
    ("d", "counts", "unused"),
    [
        (6, [30, 30, 30], "ot"),
        (6, [31, 30, 29], "linear_sum_assignment"),
        (2, [30, 30, 30], "linear_sum_assignment"),
    ],
)
def test_the_solver_follows_the_class_counts(
    d: int, counts: list[int], unused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (x, y), (z, v) = clusters(90, d, [30, 30, 30], 1), clusters(90, d, counts, 2, 0.4)
    monkeypatch.setattr(transport, unused, None)
    assert exact(side(x, y), side(z, v)) == pytest.approx(by_pot(x, y, z, v), rel=1e-9)


def test_a_set_is_at_distance_zero_from_itself_and_label_names_do_not_matter() -> None:
    (x, y), (z, v) = clusters(80, 6, [40, 25, 10, 5], 1), clusters(80, 6, [20, 20, 20, 20], 2)
    assert exact(side(x, y), side(x, y)) == pytest.approx(0, abs=1e-12)
    order = rng().permutation(80)
    assert exact(side(x, y), side(x[order], y[order])) == pytest.approx(0, abs=1e-12)
    names = np.array([7, -3, 100, 2])
    assert exact(side(x, y), side(z, names[v])) == pytest.approx(
        exact(side(x, y), side(z, v)), rel=1e-12
    )
    assert exact(side(x, y), side(z, rng().permutation(v))) > 1.05 * exact(side(x, y), side(z, v))


def test_one_gaussian_class_per_side_is_its_wasserstein_distance() -> None:
    """1/2 of W2^2 from the points and 1/2 from the label:
    the points' half falls to it as n grows.
    """
    scales = np.array([1.0, 2.0])
    truth = 3.0**2 + np.square(scales - 1).sum()
    gaps = []
    for n in (60, 600):
        x, z = rng(1).normal(size=(n, 2)) * scales, rng(2).normal((3, 0), size=(n, 2))
        gaps.append(abs(exact(side(x, np.zeros(n)), side(z, np.ones(n))) / truth - 1))
    assert gaps[1] < 0.05 and gaps[1] < gaps[0]


@pytest.mark.parametrize(("n", "d"), [(12, 40), (40, 12), (1, 5), (9, 9)])
def test_label_distances_are_those_of_matrix_roots(n: int, d: int) -> None:
    x, z = rng(1).normal(size=(3 * n, d)), rng(2).normal(0.2, 1.5, size=(3 * n, d))
    y = np.arange(3 * n) % 3
    np.testing.assert_allclose(
        label_distances(class_gaussians(x, y), class_gaussians(z, y)), table(x, y, z, y), rtol=1e-6
    )
    own = label_distances(class_gaussians(x, y), class_gaussians(x, y))
    assert np.abs(np.diag(own)).max() < 1e-12 and np.allclose(own, own.T, rtol=1e-10)


def test_classes_of_fewer_samples_than_dimensions_leave_no_noise() -> None:
    """POT's own formula is nan here, which a solver turns into a distance of zero."""
    x, y = clusters(60, 50, [20, 20, 20], 1)
    z, v = clusters(60, 50, [30, 20, 10], 2, 0.5)
    assert exact(side(x, y), side(z, v)) == pytest.approx(by_pot(x, y, z, v), rel=1e-6)


def test_beyond_the_most_a_stratified_part_is_coupled_but_all_points_make_the_labels() -> None:
    x, y = clusters(400, 3, [200, 120, 80], 1)
    part = labelled(x, y, 100, rng(3))
    assert len(part.x) == 100 and np.bincount(part.y).tolist() == [50, 30, 20]
    assert np.array_equal(part.classes.mean, side(x, y).classes.mean)
    assert not np.array_equal(part.x, labelled(x, y, 100, rng(4)).x)
    assert np.array_equal(part.x, labelled(x, y, 100, rng(3)).x)


# ---- the published implementation's number -------------------------------------------------------


def augmented(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, v: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points with their class as a last column, the second set's after the first's, and the block
    of label distances.
    """
    blocks = np.block(
        [[table(x, y, x, y), table(x, y, z, v)], [table(z, v, x, y), table(z, v, z, v)]]
    )
    return np.column_stack([x, y]), np.column_stack([z, v + y.max() + 1]), blocks


def direct_divergence(a: np.ndarray, b: np.ndarray, blocks: np.ndarray) -> float:
    """Debiased Sinkhorn by its formulas, one pair of sets at a time (Feydy et al. 2019): symmetric,
    averaged, annealed.
    """
    both = np.concatenate([a, b])
    diameter = np.linalg.norm(both.max(0) - both.min(0))
    schedule = [
        diameter**2,
        *np.exp(np.arange(2 * np.log(diameter), np.log(0.1), 2 * np.log(0.5))),
        0.1,
    ]

    def potentials(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = blocks[p[:, -1].astype(int)][:, q[:, -1].astype(int)]
        cost = (ot.dist(p[:, :-1], q[:, :-1]) + labels) / 2
        f, g = np.zeros(len(p)), np.zeros(len(q))

        def step(t: float) -> tuple[np.ndarray, np.ndarray]:
            return (
                -t * (logsumexp(g[None, :] / t - cost / t, axis=1) - np.log(len(q))),
                -t * (logsumexp(f[:, None] / t - cost / t, axis=0) - np.log(len(p))),
            )

        f, g = step(schedule[0])
        for t in schedule:
            f, g = (f + step(t)[0]) / 2, (g + step(t)[1]) / 2
        return step(0.1)

    (f, g), (p, _), (q, _) = potentials(a, b), potentials(a, a), potentials(b, b)
    return float((f - p).mean() + (g - q).mean())


@pytest.mark.parametrize("counts", [[20, 20, 20], [40, 15, 5]])
def test_the_published_number_is_a_debiased_sinkhorn_divergence(counts: list[int]) -> None:
    (x, y), (z, v) = clusters(60, 4, [20, 20, 20], 1), clusters(60, 4, counts, 2, 0.5)
    assert sinkhorn(side(x, y), side(z, v)) == pytest.approx(
        direct_divergence(*augmented(x, y, z, v)), rel=1e-6
    )
    assert sinkhorn(side(x, y), side(x, y)) == pytest.approx(0, abs=1e-9)


def test_the_published_number_is_that_of_geomloss() -> None:
    geomloss = pytest.importorskip("geomloss")
    import torch

    (x, y), (z, v) = clusters(80, 4, [30, 30, 20], 1), clusters(80, 4, [50, 20, 10], 2, 0.5)
    a, b, blocks = augmented(x, y, z, v)
    labels = torch.from_numpy(blocks)

    def cost(p: Any, q: Any) -> Any:
        label = labels[p[0, :, -1].long()][:, q[0, :, -1].long()]
        return (torch.cdist(p[..., :-1], q[..., :-1]) ** 2 + label[None]) / 2

    loss = geomloss.SamplesLoss(
        "sinkhorn", p=2, blur=0.1**0.5, cost=cost, debias=True, backend="tensorized"
    )
    theirs = float(loss(torch.from_numpy(a), torch.from_numpy(b)))
    assert sinkhorn(side(x, y), side(z, v)) == pytest.approx(theirs, rel=1e-6)


def test_the_published_number_is_low_where_proportions_differ() -> None:
    """Exact OT has to carry mass between classes; one step per temperature is not enough to notice
    all of it.
    """
    (x, y), (z, v) = clusters(300, 2, [100, 100, 100], 1), clusters(300, 2, [200, 80, 20], 2)
    assert 0 < sinkhorn(side(x, y), side(z, v)) < 0.95 * exact(side(x, y), side(z, v))


def test_rows_of_the_published_number_have_a_name_of_their_own() -> None:
    dataset, part = Points(), Part("metric", "otdd", {"method": "sinkhorn"})
    metric = part.make()
    metric.prepare(dataset, dataset.sample(50, rng(1)), 50, rng(2))
    measure = Measure(metric, MeasureSpec(part))
    row = measure(dataset.sample(50, rng(9)), None, NOTHING, rng(3)).values  # type: ignore[arg-type]
    assert {"otdd.method-sinkhorn", "otdd.method-sinkhorn/floor"} < row.keys()
    assert all(key.split("/")[0] == "otdd.method-sinkhorn" for key in row)


# ---- the metric ----------------------------------------------------------------------------------


def test_one_value_per_replicate_with_a_floor() -> None:
    dataset = Points(replicates=3)
    metric = prepared("otdd", dataset, 50, 60)
    synthetic = dataset.sample(90, rng(9))
    synthetic.x[:, 1] += 2
    row = measured(metric, synthetic)
    assert (
        row["otdd"].shape == (3,)
        and row["otdd"].argmax() == 1
        and row["otdd/n"] == 60
        and row["otdd/coverage"] == 1
    )
    real = metric._real[2]
    assert row["otdd"][2] == pytest.approx(
        by_pot(real.x, real.y, synthetic.x[:60, 2], synthetic.y[:60]), rel=1e-6
    )
    np.testing.assert_allclose(row["otdd/excess"], row["otdd"] - row["otdd/floor"])
    assert row["otdd/floor_sd"] > 0
    assert measured(prepared("otdd", dataset, 50, 60, replicates=2), synthetic)["otdd"].shape == (
        2,
    )


def test_vanished_classes_and_single_samples() -> None:
    dataset = Points()
    metric = prepared("otdd", dataset, 50, 60)
    full = dataset.sample(200, rng(9))
    others = np.flatnonzero(full.y != 1)
    lost = measured(metric, full.take(others))
    assert lost["otdd/coverage"] == pytest.approx(2 / 3)
    real, kept = metric._real[0], full.take(others[:60])
    assert lost["otdd"][0] == pytest.approx(by_pot(real.x, real.y, kept.x[:, 0], kept.y), rel=1e-6)
    alone = full.take(np.append(np.flatnonzero(full.y == 1)[:1], others))
    row = measured(metric, alone)
    assert row["otdd/coverage"] == 1
    assert row["otdd"][0] == pytest.approx(
        by_pot(real.x, real.y, alone.x[:60, 0], alone.y[:60]), rel=1e-6
    )


def test_no_labels_have_no_distance() -> None:
    metric = prepared("otdd", Points(), 50, 60)
    row = measured(metric, Samples(Points().sample(60, rng(9)).x))
    for key in ("otdd", "otdd/excess", "otdd/coverage"):
        assert isinstance(row[key], Undefined) and "no labels" in row[key].reason
    with pytest.raises(ValueError, match="otdd needs labels; data set Unlabelled"):
        prepared("otdd", Unlabelled(), 50, 60)


@pytest.mark.parametrize("method", ["exact", "sinkhorn"])
@pytest.mark.parametrize("kind", SPOILT)
def test_otdd_of_spoilt_samples_is_undefined_with_a_reason(kind: str, method: str) -> None:
    dataset = Points(replicates=2)
    x = SPOILT[kind](dataset.sample(60, rng(9)).x)
    with np.errstate(all="ignore"):
        row = measured(
            prepared("otdd", dataset, 50, 60, method=method, splits=1),
            Samples(x, np.arange(len(x)) % 3),
        )
    assert (
        isinstance(row["otdd"], Undefined)
        and row["otdd"].reason
        and isinstance(row["otdd/excess"], Undefined)
    )
    assert np.isfinite(row["otdd/floor"])


def test_real_digits_lie_at_the_floor_and_noise_far_above() -> None:
    dataset = make("dataset", "digits")
    metric = prepared("otdd", dataset, 1200, 1200)
    real = dataset.sample(1200, rng(4))
    row = measured(metric, real)
    assert row["otdd/n"] == 597 and metric.about_ == {"extractor": "lenet"}
    assert abs(row["otdd/excess"]) < 0.5 * row["otdd/floor"]
    noise = Samples(rng().integers(0, 256, real.x.shape).astype(np.uint8), real.y)
    assert measured(metric, noise)["otdd"] > 5 * row["otdd"]
    shuffled = Samples(real.x, rng().permutation(real.y))
    assert measured(metric, shuffled)["otdd"] > 1.5 * row["otdd"]


def test_the_same_inputs_give_the_same_bits() -> None:
    dataset = Points()
    synthetic = dataset.sample(60, rng(9))
    one, two = (
        measured(prepared("otdd", dataset, 50, 60, most=40), Samples(synthetic.x, synthetic.y))
        for _ in range(2)
    )
    assert one["otdd"].tobytes() == two["otdd"].tobytes() and one["otdd/floor"] == two["otdd/floor"]


def test_the_floor_has_the_class_counts_of_the_comparison() -> None:
    y = np.repeat([0, 1, 2], [60, 30, 5])
    one, two = np.repeat([0, 1, 2], [20, 10, 3]), np.repeat([0, 1, 2], [18, 12, 3])
    for a, b in alike(y, one, two, 5, rng()):
        assert np.bincount(y[a]).tolist() == [20, 10, 2] and np.bincount(y[b]).tolist() == [
            18,
            12,
            2,
        ]
        assert not set(a) & set(b)
    assert not list(alike(y[:60], one, two, 5, rng()))


def test_chance_in_the_class_counts_is_no_distance() -> None:
    """Of faithful draws in the real proportions, against 12 references: classes lie far apart, so
    the value follows the counts that a reference happens to have, and the excess does not.
    """
    dataset = make("dataset", "mixture")
    real = dataset.sample(400, rng(1))
    wanted, rows = np.bincount(proportional_labels(real.y, 200)), []
    for s in range(12):
        metric = make("metric", "otdd")
        metric.prepare(dataset, real, 200, rng(s))
        many = dataset.sample(1200, rng(100 + s))
        faithful = np.concatenate(
            [np.flatnonzero(many.y == k)[:count] for k, count in enumerate(wanted)]
        )
        rows.append(measured(metric, many.take(faithful)))
    value, excess = (
        np.array([float(row[key][0]) for row in rows]) for key in ("otdd", "otdd/excess")
    )
    assert abs(excess.mean()) < 4 * excess.std() / 12**0.5 and excess.std() < 0.3 * value.std()


def test_the_floor_is_the_mean_over_disjoint_real_sets_a_replicate_for_each() -> None:
    dataset, n, splits = Points(replicates=2), 30, 3
    metric = prepared("otdd", dataset, 50, n, splits=splits)
    real, stream = dataset.sample(50, rng(1)), rng(2)  # as `prepared` gives them
    pool = real_pool(dataset, real, 3 * n, stream).samples
    assert real.y is not None and pool.y is not None
    between = []
    usual = proportional_labels(real.y, n)
    for i, (one, other) in enumerate(alike(pool.y, pool.y[:n], usual, splits, stream)):
        x = pool.x[:, i % 2]
        between.append(exact(side(x[one], pool.y[one]), side(x[other], pool.y[other])))
    row = measured(metric, dataset.sample(n, rng(9)))
    assert row["otdd/floor"] == pytest.approx(np.mean(between), rel=1e-9)
    assert row["otdd/floor_sd"] == pytest.approx(np.std(between, ddof=1), rel=1e-9)
    np.testing.assert_allclose(row["otdd/excess"], row["otdd"] - row["otdd/floor"])
