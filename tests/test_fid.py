"""fid and conditional_fid: equal n on both sides, floors, and what they say of samples that no distance should judge."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from test_frechet import by_definition

from engine import features
from engine.parts import Undefined, make
from engine.samples import Samples


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
    metric.prepare(dataset, dataset.sample(n_real, np.random.default_rng(1)), n, np.random.default_rng(2))
    return metric


def measured(metric: Any, samples: Samples) -> dict[str, Any]:
    return metric(samples, None, np.random.default_rng(3))


def test_fid_is_the_distance_of_equally_many_samples() -> None:
    dataset = Points()
    metric = prepared("fid", dataset, 50, 80)
    synthetic = dataset.sample(80, np.random.default_rng(9))
    row = measured(metric, synthetic)
    reference = metric._real.x[:80, 0]
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
    """The floor of 400 independent replicates against the mean distance of fresh real sets, within 4 standard errors."""
    dataset = Unlabelled(replicates=400, d=3)
    metric = prepared("fid", dataset, 40, 40)
    rows = measured(metric, dataset.sample(40, np.random.default_rng(8)))
    spread = np.hypot(rows["fid/floor_sd"] / 20, rows["fid"].std() / 20)
    assert abs(rows["fid/excess"].mean()) < 4 * spread


def test_fid_of_the_same_inputs_has_the_same_bits() -> None:
    dataset = Points(replicates=3)
    synthetic = dataset.sample(60, np.random.default_rng(9))
    one, two = (measured(prepared("fid", dataset, 50, 60), Samples(synthetic.x, synthetic.y)) for _ in range(2))
    assert one["fid"].tobytes() == two["fid"].tobytes()
    assert one["fid/floor"] == two["fid/floor"]


def test_preparing_fid_on_digits_is_cheap() -> None:
    dataset = make("dataset", "digits")
    features.extract(dataset.held_out(10), "lenet", dataset)  # the LeNet is trained once per machine
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
