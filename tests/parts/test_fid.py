"""fid and conditional_fid: equal n on both sides, floors, and what they say of samples that no
distance should judge.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from engine.distances import features
from engine.distances.floors import disjoint_pairs, real_pool
from engine.lineage.measure import numbers_of
from engine.parts import Undefined
from engine.registry import make
from engine.samples import Samples
from tests.distances.test_frechet import by_definition
from tests.support.around import NOTHING


class Points:
    """An endless Gaussian truth with class labels; what a data set promises, no more."""

    GIVES, CLASSES = "points", 3

    def __init__(self, replicates: int = 1, d: int = 4) -> None:
        self.shape = (replicates, d)

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        y = rng.integers(self.CLASSES, size=n)
        return Samples(rng.normal(size=(n, *self.shape)) + 2 * y[:, None, None], y)

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(5))


class Unlabelled(Points):
    CLASSES = 0

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        return Samples(rng.normal(size=(n, *self.shape)))


def prepared(name: str, dataset: Any, n_real: int, n: int, **params: Any) -> Any:
    metric = make("metric", name, **params)
    metric.prepare(
        dataset, dataset.sample(n_real, np.random.default_rng(1)), n, np.random.default_rng(2)
    )
    return metric


def measured(metric: Any, samples: Samples) -> dict[str, Any]:
    return numbers_of(metric(samples, None, NOTHING, np.random.default_rng(3)))


def test_fid_is_the_distance_of_equally_many_samples() -> None:
    dataset = Points()
    metric = prepared("fid", dataset, 50, 80)
    synthetic = dataset.sample(80, np.random.default_rng(9))
    row = measured(metric, synthetic)
    real = dataset.sample(50, np.random.default_rng(1))
    reference = real_pool(dataset, real, 160, np.random.default_rng(2)).samples.x[:80, 0]
    assert row["fid"].shape == (1,)
    assert row["fid"][0] == pytest.approx(by_definition(reference, synthetic.x[:, 0]), rel=1e-9)
    assert row["fid/n"] == 80
    assert row["fid/excess"][0] == pytest.approx(row["fid"][0] - row["fid/floor"])


def test_digits_of_the_training_set_lie_at_the_floor() -> None:
    dataset = make("dataset", "digits")
    metric = prepared("fid", dataset, 1200, 1200)
    row = measured(metric, dataset.sample(1200, np.random.default_rng(4)))
    assert row["fid/n"] == 597  # all that were held out
    assert abs(row["fid/excess"]) < 6 * row["fid/floor_sd"] + 0.5 * row["fid/floor"]
    noisy = dataset.sample(1200, np.random.default_rng(4))
    noise = np.random.default_rng(0).normal(0, 60, noisy.x.shape)
    worse = measured(metric, Samples(np.clip(noisy.x + noise, 0, 255).astype(np.uint8), noisy.y))
    assert worse["fid"] > 5 * row["fid"]


def test_the_floor_is_what_the_truth_scores_on_average() -> None:
    """The floor of 400 independent replicates against the mean distance of fresh real sets, within
    4 standard errors.
    """
    dataset = Unlabelled(replicates=400, d=3)
    metric = prepared("fid", dataset, 40, 40)
    rows = measured(metric, dataset.sample(40, np.random.default_rng(8)))
    spread = np.hypot(rows["fid/floor_sd"] / 20, rows["fid"].std() / 20)
    assert abs(rows["fid/excess"].mean()) < 4 * spread


@pytest.mark.parametrize(
    ("dataset", "pairs"),
    [(Points(replicates=3), 5), (make("dataset", "gaussian", d=4, replicates=3), 2)],
    ids=["labelled", "independent replicates"],
)
def test_the_floor_is_the_mean_over_pairs_of_disjoint_real_sets(dataset: Any, pairs: int) -> None:
    """5 splits: 5 pairs where labels tie the replicates together, 2 where 3 replicates are splits
    of their own.
    """
    metric = prepared("fid", dataset, 60, 20, splits=5)
    stream = np.random.default_rng(2)  # as `prepared` gives it
    pool = real_pool(dataset, dataset.sample(60, np.random.default_rng(1)), 40, stream)
    between = []
    for one, other in disjoint_pairs(len(pool), 20, pairs, stream):
        x = pool.samples.x
        between += [by_definition(x[one, r], x[other, r]) for r in range(3)]
    row = measured(metric, dataset.sample(20, np.random.default_rng(9)))
    assert row["fid/floor"] == pytest.approx(np.mean(between), rel=1e-7)
    assert row["fid/floor_sd"] == pytest.approx(np.std(between, ddof=1), rel=1e-7)


def test_fid_of_the_same_inputs_has_the_same_bits() -> None:
    dataset = Points(replicates=3)
    synthetic = dataset.sample(60, np.random.default_rng(9))
    one, two = (
        measured(prepared("fid", dataset, 50, 60), Samples(synthetic.x, synthetic.y))
        for _ in range(2)
    )
    assert one["fid"].tobytes() == two["fid"].tobytes()
    assert one["fid/floor"] == two["fid/floor"]


def test_preparing_fid_on_digits_is_cheap() -> None:
    dataset = make("dataset", "digits")
    features.extract(
        dataset.held_out(10), "lenet", dataset
    )  # the LeNet is trained once per machine
    start = time.process_time()
    prepared("fid", dataset, 1200, 1200)
    assert time.process_time() - start < 0.3


SPOILT = {
    "nan": lambda x: np.where(np.arange(len(x))[:, None, None] == 3, np.nan, x),
    "inf": lambda x: np.where(np.arange(len(x))[:, None, None] == 3, np.inf, x),
    "constant": lambda x: np.full_like(x, 2.0),
    "overflow": lambda x: x * 1e200,
    "too few": lambda x: x[:20],
    "one": lambda x: x[:1],
    "none": lambda x: x[:0],
    "shape": lambda x: x[..., :2],
    "replicates": lambda x: x[:, :1],
}


@pytest.mark.parametrize("kind", SPOILT)
def test_fid_of_spoilt_samples_is_undefined_with_a_reason(kind: str) -> None:
    dataset = Points(replicates=2)
    x = SPOILT[kind](dataset.sample(60, np.random.default_rng(9)).x)
    row = measured(prepared("fid", dataset, 50, 60), Samples(x, np.zeros(len(x), dtype=int)))
    assert isinstance(row["fid"], Undefined)
    assert isinstance(row["fid/excess"], Undefined)
    assert row["fid"].reason
    assert np.isfinite(row["fid/floor"])


def test_a_floor_without_enough_real_samples_is_undefined() -> None:
    class Few(Points):
        def held_out(self, n: int) -> Samples:
            return super().held_out(30)

    row = measured(prepared("fid", Few(), 20, 60), Few().sample(60, np.random.default_rng(9)))
    assert np.isfinite(row["fid"]).all()
    assert isinstance(row["fid/floor"], Undefined)
    assert "50 real samples" in row["fid/floor"].reason


@pytest.mark.parametrize("name", ["fid", "kid", "precision_recall"])
def test_a_reason_names_the_side_that_lacks_samples(name: str) -> None:
    class Few(Points):
        def held_out(self, n: int) -> Samples:
            return super().held_out(1)

    row = measured(prepared(name, Few(), 12, 40), Few().sample(40, np.random.default_rng(9)))
    value, floor = {
        "precision_recall": ("precision_recall/recall", "precision_recall/recall_floor")
    }.get(name, (name, f"{name}/floor"))
    for said in (row[value], row[floor]):
        assert isinstance(said, Undefined)
        assert "the real data hold out 1; at least" in said.reason


def test_kid_of_two_real_samples_names_them() -> None:
    class Few(Points):
        def held_out(self, n: int) -> Samples:
            return super().held_out(2)

    row = measured(prepared("kid", Few(), 12, 40), Few().sample(40, np.random.default_rng(9)))
    assert row["kid"].reason == row["kid/floor"].reason
    assert "hold out 2; at least 3" in row["kid"].reason


# ---- by class ------------------------------------------------------------------------------------


def test_conditional_fid_is_the_mean_over_classes() -> None:
    dataset = Points(replicates=2)
    metric = prepared("conditional_fid", dataset, 50, 120)
    synthetic = dataset.sample(120, np.random.default_rng(9))
    row = measured(metric, synthetic)
    for k, r in ((0, 0), (2, 1)):
        ours = synthetic.x[synthetic.y == k][:, r]
        reference = metric._reference[k][:, r]
        n = min(len(ours), len(reference))
        assert row[f"conditional_fid/class_{k}"][r] == pytest.approx(
            by_definition(reference[:n], ours[:n]), rel=1e-6
        )
    per_class = np.mean([row[f"conditional_fid/class_{k}"] for k in range(3)], axis=0)
    np.testing.assert_allclose(row["conditional_fid"], per_class)
    assert row["conditional_fid/coverage"] == 1
    np.testing.assert_allclose(
        row["conditional_fid/excess"], row["conditional_fid"] - row["conditional_fid/floor"]
    )


def test_swapped_labels_move_conditional_fid_and_not_fid() -> None:
    dataset = make("dataset", "digits")
    real = dataset.sample(900, np.random.default_rng(4))
    wrong = Samples(real.x, (real.y + 1) % 10)
    per_class, whole = (prepared(name, dataset, 1200, 900) for name in ("conditional_fid", "fid"))
    assert measured(whole, wrong)["fid"] == measured(whole, real)["fid"]
    row = measured(per_class, real)
    assert measured(per_class, wrong)["conditional_fid"] > 5 * row["conditional_fid"]
    assert (
        0.5 * row["conditional_fid/floor"]
        < row["conditional_fid"]
        < 2 * row["conditional_fid/floor"]
    )


def test_a_vanished_class_is_undefined_and_the_others_keep_their_places() -> None:
    dataset = Points()
    metric = prepared("conditional_fid", dataset, 50, 120)
    full = dataset.sample(120, np.random.default_rng(9))
    before = measured(metric, full)
    kept = np.flatnonzero(full.y != 1)
    row = measured(metric, full.take(np.append(kept, np.flatnonzero(full.y == 1)[:1])))
    assert isinstance(row["conditional_fid/class_1"], Undefined)
    assert "class 1 has 1 synthetic samples" in row["conditional_fid/class_1"].reason
    assert row["conditional_fid/coverage"] == pytest.approx(2 / 3)
    for k in (0, 2):
        np.testing.assert_allclose(
            row[f"conditional_fid/class_{k}"], before[f"conditional_fid/class_{k}"]
        )
    live = (row["conditional_fid/class_0"] + row["conditional_fid/class_2"]) / 2
    np.testing.assert_allclose(row["conditional_fid"], live)
    assert (
        row["conditional_fid/floor"] != before["conditional_fid/floor"]
    )  # of the live classes alone


def test_a_class_that_the_real_data_lack_is_not_one_that_the_model_lost() -> None:
    class Rare(Points):
        def held_out(self, n: int) -> Samples:
            y = np.repeat([0, 1, 2], [30, 30, 1])
            return Samples(np.random.default_rng(5).normal(size=(61, *self.shape)), y)

    drawn = Rare().sample(60, np.random.default_rng(9))
    row = measured(prepared("conditional_fid", Rare(), 12, 60), drawn)
    said = row["conditional_fid/class_2"]
    assert isinstance(said, Undefined)
    assert "1 real samples that are held out" in said.reason
    assert row["conditional_fid/coverage"] == 1


def test_no_live_class_and_no_labels_are_undefined() -> None:
    dataset = Points()
    metric = prepared("conditional_fid", dataset, 50, 60)
    x = dataset.sample(60, np.random.default_rng(9)).x
    gone = measured(metric, Samples(x, np.full(60, 7)))
    assert isinstance(gone["conditional_fid"], Undefined)
    assert gone["conditional_fid/coverage"] == 0
    unlabelled = measured(metric, Samples(x))
    assert isinstance(unlabelled["conditional_fid"], Undefined)
    assert np.isfinite(unlabelled["conditional_fid/floor"])


@pytest.mark.parametrize("kind", ["nan", "inf", "constant", "one", "none", "shape", "replicates"])
def test_conditional_fid_of_spoilt_samples_is_undefined(kind: str) -> None:
    dataset = Points(replicates=2)
    x = SPOILT[kind](dataset.sample(60, np.random.default_rng(9)).x)
    row = measured(prepared("conditional_fid", dataset, 50, 60), Samples(x, np.arange(len(x)) % 3))
    assert isinstance(row["conditional_fid"], Undefined)
    assert isinstance(row["conditional_fid/excess"], Undefined)


def test_a_class_of_equal_samples_has_a_distance() -> None:
    """A point mass is a distribution: the distance is the real trace plus the gap."""
    dataset = Points()
    metric = prepared("conditional_fid", dataset, 50, 120)
    synthetic = dataset.sample(120, np.random.default_rng(9))
    synthetic.x[synthetic.y == 0] = 0.5
    n = min(int((synthetic.y == 0).sum()), len(metric._reference[0]))
    real = metric._reference[0][:n, 0]
    expected = np.square(real.mean(0) - 0.5).sum() + np.trace(np.cov(real, rowvar=False))
    np.testing.assert_allclose(
        measured(metric, synthetic)["conditional_fid/class_0"], expected, rtol=1e-6
    )


def test_the_floor_follows_the_counts() -> None:
    """Fewer samples, higher floor: about 1/n."""
    dataset = Points(d=3)
    floors = [
        measured(
            prepared("conditional_fid", dataset, 50, n), dataset.sample(n, np.random.default_rng(9))
        )["conditional_fid/floor"]
        for n in (60, 600)
    ]
    assert 5 < floors[0] / floors[1] < 20
