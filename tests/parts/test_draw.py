"""The ratio of drawn to held-out variance: exact laws, hand-made classes, and where it is
undefined; in every row of a draw that is made, and in none that was made before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.frame.rows import from_store
from engine.lineage.measure import numbers_of
from engine.parts import Undefined
from engine.registry import make
from engine.samples import Samples
from engine.store.reader import UNASKED
from engine.store.store import Store
from tests.support.around import NOTHING
from tests.support.chains import assert_mean, chain, measured
from tests.support.sweeps import lineages, results, resume, run, sweep_of

CHAIN = """
base:
  dataset: {name: gaussian, d: 2, replicates: 3}
  generator: gaussian
  policy: replace
  n_real: 30
seeds: 2
generations: 3
metrics: [moments]
"""
CATEGORICAL = """
base:
  dataset: {name: categorical, outcomes: 4}
  generator: categorical
  n_real: 20
  policy: replace
generations: 1
"""


class Classes:
    """Two classes far apart, of variances 1 and 9 in one coordinate; what a data set promises."""

    GIVES, CLASSES = "points", 2
    apart, sds = 10.0, np.array([1.0, 3.0])

    def sample(self, n: int, rng: np.random.Generator) -> Samples:
        y = np.arange(n) % 2
        x = self.apart * y + self.sds[y] * rng.normal(size=n)
        return Samples(x[:, None, None], y)

    def held_out(self, n: int) -> Samples:
        return self.sample(n, np.random.default_rng(5))


class Constant(Classes):
    apart, sds = 0.0, np.zeros(2)


class NothingHeldOut(Classes):
    def held_out(self, n: int) -> Samples:
        return self.sample(0, np.random.default_rng(5))


def prepared(dataset: Any, n: int) -> Any:
    metric = make("metric", "draw")
    metric.prepare(
        dataset, dataset.sample(n, np.random.default_rng(1)), n, np.random.default_rng(2)
    )
    return metric


def of(metric: Any, samples: Samples) -> dict[str, Any]:
    return numbers_of(metric(samples, None, NOTHING, np.random.default_rng(3)))


@pytest.mark.parametrize("t", [0, 4])
def test_a_gaussian_of_divisor_n_draws_so_much_less_each_generation(t: int) -> None:
    """E of the drawn variance is (1 - 1/n)^(t+1) of the truth's under replace at fraction 1: what a
    chain that multiplies by the founder's ratio predicts.
    """
    n, d, replicates = 12, 3, 2500
    dataset = make("dataset", "gaussian", d=d, replicates=replicates)
    policy = {"name": "replace", "synthetic_fraction": 1.0}
    steps = chain(dataset, {"name": "gaussian"}, policy, n=n, generations=t)
    answer = numbers_of(measured(steps, {"name": "draw"}, dataset, {t})[t])
    law = (1 - 1 / n) ** (t + 1)
    of_reference = law * np.sqrt(2 / ((n - 1) * d * replicates))
    ratio = answer["draw/variance_ratio"]
    assert isinstance(ratio, np.ndarray) and ratio.shape == (replicates,)
    assert_mean(ratio, law, oracle_se=float(of_reference), what=f"generation {t}")
    assert abs(answer["draw/variance_ratio_floor"] - 1) < 4 * 2 / np.sqrt(n * d * replicates)


def test_within_the_classes_is_the_mean_of_their_variances() -> None:
    """A draw with .5 and .25 of the classes' deviations has (.25 + .0625 * 9) / (1 + 9) of the
    variance within them, whatever the share of the classes; between them it has all.
    """
    dataset, n = Classes(), 40_000
    metric = prepared(dataset, n)
    rng = np.random.default_rng(7)
    y = (np.arange(n) % 4 == 0).astype(int)  # a quarter instead of a half
    x = dataset.apart * y + np.array([0.5, 0.25])[y] * dataset.sds[y] * rng.normal(size=n)
    answer = of(metric, Samples(x[:, None, None], y))
    expected = (0.25 * 1 + 0.0625 * 9) / 10
    assert answer["draw/within_class_ratio"] == pytest.approx(expected, rel=0.05)
    own = x.var(ddof=1) / dataset.held_out(n).x.var(ddof=1)
    assert answer["draw/variance_ratio"] == pytest.approx(own, rel=0.02)
    for key in ("draw/variance_ratio", "draw/within_class_ratio"):
        assert answer[f"{key}_floor"] == pytest.approx(1, abs=0.05)
        assert 0 < answer[f"{key}_floor_sd"] < 0.05
    assert answer["draw/n"] == n


def test_a_draw_of_equal_samples_has_none_of_the_variance() -> None:
    metric = prepared(Classes(), 50)
    answer = of(metric, Samples(np.full((50, 1, 1), 3.0), np.arange(50) % 2))
    assert answer["draw/variance_ratio"] == 0 and answer["draw/within_class_ratio"] == 0


def test_pictures_are_compared_in_pieces_as_they_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    digits = make("dataset", "digits")
    real = digits.sample(200, np.random.default_rng(1))
    whole = of(prepared(digits, 200), real)
    monkeypatch.setattr("engine.metrics.draw.AT_ONCE", 1000)
    assert of(prepared(digits, 200), real) == pytest.approx(whole, rel=1e-12)
    assert whole["draw/within_class_ratio"] == pytest.approx(1, abs=0.1)


def test_however_the_replicates_lie_in_memory_the_ratio_is_the_same() -> None:
    dataset = make("dataset", "gaussian", d=3, replicates=20)
    metric = prepared(dataset, 40)
    rows = np.random.default_rng(0).normal(size=(20, 40, 3))
    apart = of(metric, Samples(rows.transpose(1, 0, 2)))["draw/variance_ratio"]
    together = of(metric, Samples(np.ascontiguousarray(rows.transpose(1, 0, 2))))
    assert apart == pytest.approx(together["draw/variance_ratio"], rel=1e-12)
    assert apart == pytest.approx(rows.var(1, ddof=1).sum(-1) / metric.total_, rel=1e-12)


@pytest.mark.parametrize(
    ("dataset", "y", "keys", "reason"),
    [
        (Constant(), True, "both", "the held-out samples do not vary"),
        (NothingHeldOut(), True, "both", "the real data hold out 0; at least 2 are needed"),
        (Classes(), False, "within_class_ratio", "the synthetic samples have no labels"),
        (Classes(), None, "within_class_ratio", "class 1 has 0 samples; at least 2 are needed"),
    ],
)
def test_it_is_undefined_for_a_reason(dataset: Any, y: bool | None, keys: str, reason: str) -> None:
    metric = prepared(dataset, 30)
    labels = np.zeros(30, int) if y is None else np.arange(30) % 2 if y else None
    answer = of(metric, Samples(np.random.default_rng(0).normal(size=(30, 1, 1)), labels))
    for name in ("variance_ratio", "within_class_ratio"):
        if keys in ("both", name):
            value = answer[f"draw/{name}"]
            assert isinstance(value, Undefined) and reason in value.reason
        else:
            assert answer[f"draw/{name}"] > 0


# ---- in rows -------------------------------------------------------------------------------------


def test_every_draw_carries_it_unasked_and_the_frame_has_it(tmp_path: Path) -> None:
    sweep = sweep_of(CHAIN, tmp_path, "metrics=[]")
    run(sweep)
    assert all("draw/variance_ratio_floor" in row["values"] for row in results(sweep).values())
    frame = from_store(sweep, progress=False)
    own = frame[frame["key"] == "draw/variance_ratio"]
    assert len(own) == 8 and own["floor"].notna().all() and own["se"].notna().all()


def test_asking_for_it_measures_it_once(tmp_path: Path) -> None:
    sweep = sweep_of(CHAIN, tmp_path, "metrics=[draw]")
    run(sweep)
    store = Store(sweep.out)
    draw = store.row("draw", lineages(sweep)[0].path[0].draw)
    assert draw is not None and list(draw.metrics) == [UNASKED]


def test_a_draw_without_it_is_whole_and_gets_it_only_when_asked(tmp_path: Path) -> None:
    sweep = sweep_of(CHAIN, tmp_path, "seeds=1")
    without = pytest.MonkeyPatch()
    without.setattr("engine.lineage.loop.ALWAYS", sweep.metrics[0])  # as former versions measured
    run(sweep)
    without.undo()
    assert all(chain.complete() for chain in lineages(sweep))
    assert not any("draw/" in key for row in results(sweep).values() for key in row["values"])
    asked = sweep_of(CHAIN, tmp_path, "seeds=1", "metrics=[moments, draw]")
    assert not any(chain.complete() for chain in lineages(asked))
    resume(asked, Store(asked.out))
    assert all("draw/variance_ratio" in row["values"] for row in results(asked).values())


def test_tokens_have_none_for_a_reason(tmp_path: Path) -> None:
    sweep = sweep_of(CATEGORICAL, tmp_path)
    run(sweep)
    for row in results(sweep).values():
        assert row["undefined"] == {"draw/variance_ratio": "no variance is measured of tokens"}


def test_what_nobody_asked_for_ends_no_lineage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("no rows\nto hold out")

    monkeypatch.setattr("engine.metrics.draw.Draw.prepare", fails)
    sweep = sweep_of(CHAIN, tmp_path, "base.n_real=17")
    (chain, *_) = run(sweep)
    assert chain.outcome.reason == "" and chain.t == 4
    said = next(iter(results(sweep).values()))["undefined"]["draw/variance_ratio"]
    assert said.startswith("measuring it failed with ") and "no rows\\nto hold out" in said


def test_a_fault_of_the_machine_is_none_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as time that is up: the generation ends with it, instead of a row that says so."""

    class OutOfTime(Exception):
        pass

    def ends(*_: object) -> None:
        raise OutOfTime

    monkeypatch.setattr("engine.metrics.draw.Draw.prepare", ends)
    sweep = sweep_of(CHAIN, tmp_path, "base.n_real=18")
    with pytest.raises(OutOfTime):
        run(sweep)
