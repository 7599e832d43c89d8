"""Labels of a classifier that has learnt from the same training set as the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.lineage.loop import Lineage
from engine.refusals import lacking, refusals
from engine.registry import make
from engine.samples import Samples
from engine.spec import LineageSpec, Part
from engine.store.store import Store
from tests.support.around import around


class Digits:
    """Draws real digits; of the labels that it is asked for it gives the next one's picture."""

    CONDITIONAL = True

    def __init__(self, rows: Samples, shift: int) -> None:
        self.rows, self.shift = rows, shift
        self.truth = np.zeros(0, dtype=int)

    def sample(
        self, n: int, rng: np.random.Generator, labels: np.ndarray | None = None, bias: Any = None
    ) -> Samples:
        if labels is None:
            rows = np.arange(n) % len(self.rows)
            self.truth = self.rows.y[rows]
            return Samples(self.rows.x[rows])
        self.truth = (labels + self.shift) % 10
        own = [np.flatnonzero(self.rows.y == k) for k in self.truth]
        return Samples(self.rows.x[[rows[i % len(rows)] for i, rows in enumerate(own)]], labels)


def relabelled(model: Digits, real: Samples, *, labels: bool, **params: Any) -> Any:
    sampling = make("sampling", "relabel", steps=150, **params)
    dataset = make("dataset", "digits")
    sampling.prepare(dataset, real, model, np.random.default_rng(0))
    about = around(real, 200, model)
    about = about if labels else replace(about, labels=None)
    asked = []

    def training() -> Samples:
        asked.append(1)
        return real

    draw = sampling.draw(model, 200, replace(about, training=training), np.random.default_rng(0))
    assert len(asked) == 1
    return draw


def test_a_draw_gets_the_labels_of_what_it_shows() -> None:
    real = make("dataset", "digits").sample(600, np.random.default_rng(0))
    model = Digits(real, shift=1)
    draw = relabelled(model, real, labels=True)
    assert np.mean(draw.samples.y == model.truth) > 0.95
    assert draw.report["changed"] > 0.9 and 0.8 < draw.report["confidence"] <= 1


def test_a_model_without_labels_gets_them() -> None:
    real = make("dataset", "digits").sample(600, np.random.default_rng(0))
    model = Digits(real, shift=0)
    draw = relabelled(model, real, labels=False, sampling={"name": "plain"})
    assert np.mean(draw.samples.y == model.truth) > 0.95 and "changed" not in draw.report


UNLABELLED = Part("generator", "vae", {"conditional": False, "steps": 5, "width": 8})
RELABEL = Part("sampling", "relabel", {"steps": 5})
DIGITS = Part("dataset", "digits")


def test_a_chain_of_a_generator_without_labels_is_labelled_by_its_solvers(tmp_path: Path) -> None:
    """Its training sets keep the labels of real digits, and have those of the draws."""
    policy = Part("policy", "replace", {"synthetic_fraction": 0.5})
    spec = LineageSpec(DIGITS, UNLABELLED, policy, RELABEL, n_real=60, seed=0)
    chain = Lineage(spec, Store(str(tmp_path)), generations=1)
    rows = [chain.advance() for _ in range(2)]
    assert "changed" not in rows[1].report and 0 < rows[1].report["confidence"] <= 1
    data = chain.cache.training_set(chain.path[1])
    assert data.y is not None and (data.born == 0).sum() == 30
    np.testing.assert_array_equal(chain.cache.real(0).y, chain.cache.training_set(chain.path[0]).y)


def test_what_needs_labels_is_refused_where_nothing_gives_them() -> None:
    otdd, plain = Part("metric", "otdd"), Part("sampling", "plain")
    assert "draws none" in lacking(otdd, DIGITS, UNLABELLED, plain)
    inner = {"name": "relabel", "steps": 5}
    for sampling in (RELABEL, Part("sampling", "correct", {"sampling": inner})):
        assert not lacking(otdd, DIGITS, UNLABELLED, sampling)
    assert lacking(otdd, DIGITS, UNLABELLED, Part("sampling", "correct"))
    imperfect = {"rule": "imperfect", "reward": {"name": "classifier"}}
    assert refusals(DIGITS, UNLABELLED, Part("sampling", "verify", imperfect))
    assert not refusals(
        DIGITS, UNLABELLED, Part("sampling", "verify", {**imperfect, "sampling": inner})
    )


def test_no_class_is_given_of_which_the_training_set_has_no_row() -> None:
    """However little the classifier has learnt."""
    real = make("dataset", "digits").sample(600, np.random.default_rng(0))
    few = real.take(np.flatnonzero(np.isin(real.y, (3, 7))))
    sampling, model = make("sampling", "relabel", steps=1), Digits(real, shift=0)
    sampling.prepare(make("dataset", "digits"), real, model, np.random.default_rng(0))
    about = replace(around(real, 200, model), training=lambda: few)
    draw = sampling.draw(model, 200, about, np.random.default_rng(0))
    assert {*draw.samples.y.tolist()} <= {3, 7} and 0 < draw.report["confidence"] <= 1


def test_labels_given_by_a_sampling_are_selected_from_in_their_proportions() -> None:
    real = make("dataset", "digits").sample(600, np.random.default_rng(0))
    few = real.take(np.flatnonzero(np.isin(real.y, (3, 7))))
    inner = {"name": "relabel", "steps": 1}
    sampling, model = make("sampling", "select", r=2, sampling=inner), Digits(real, shift=0)
    sampling.prepare(make("dataset", "digits"), real, model, np.random.default_rng(0))
    about = replace(around(real, 50, model), training=lambda: few)
    draw = sampling.draw(model, 50, about, np.random.default_rng(0))
    assert len(draw.samples) == 50 and {*draw.samples.y.tolist()} <= {3, 7}
