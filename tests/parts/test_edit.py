"""Editing against its laws: which tokens are redrawn, from what, and what becomes of the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare, entropy

from engine.parts import Draw
from engine.registry import make
from engine.samples import Samples, Traits
from tests.support.around import around

P = np.array([0.55, 0.25, 0.12, 0.05, 0.03])


def independent(kind: str) -> tuple[Any, Samples]:
    """20,000 tokens in the proportions P and a model that has learnt them."""
    x = np.repeat(np.arange(5), (P * 20_000).astype(int))
    if kind == "tokens":
        data = Samples(x[:, None], traits=Traits("tokens", replicates=1))
        model = make("generator", "categorical")
    else:
        text = np.random.default_rng(9).permutation(x).reshape(-1, 1, 10).astype(np.uint8)
        data = Samples(text, traits=Traits("text", replicates=1, vocabulary=5))
        model = make("generator", "ngram", order=1, discount=0.0)
    model.fit(data, np.random.default_rng(0))
    return model, data


def edited(model: Any, real: Samples, n: int | None = None, **params: Any) -> Draw:
    sampling, beside = make("sampling", "edit", **params), around(real, n or len(real), model)
    beside = replace(beside, training=lambda: real, real_of=lambda t: real)
    return sampling.draw(model, n or len(real), beside, np.random.default_rng(1))


@pytest.mark.parametrize("kind", ["tokens", "text"])
def test_what_is_sure_is_redrawn_and_the_rest_stays(kind: str) -> None:
    model, real = independent(kind)
    draw = edited(model, real, threshold=0.2, top_k=0)
    law = np.array([0.44, 0.2, 0.216, 0.09, 0.054])
    seen = np.bincount(draw.samples.x.ravel(), minlength=5) / 20_000
    assert seen == pytest.approx(law, abs=0.012)
    assert draw.report["edited"] == pytest.approx(0.8)
    assert draw.report["changed"] == pytest.approx(0.435, abs=0.01)
    assert entropy(law) == pytest.approx(1.3885, abs=1e-4)  # one edit raises it
    assert entropy(P) == pytest.approx(1.1848, abs=1e-4)
    rare = real.x >= 2
    assert (draw.samples.x[rare] == real.x[rare]).all()
    assert draw.samples.x.shape == real.x.shape and draw.samples.x.dtype == real.x.dtype


@pytest.mark.parametrize("kind", ["tokens", "text"])
def test_threshold_1_is_the_identity_and_0_redraws_everything(kind: str) -> None:
    model, real = independent(kind)
    kept = edited(model, real, threshold=1.0)
    assert (kept.samples.x == real.x).all() and kept.report == {"edited": 0, "changed": 0}
    redrawn = edited(model, real, threshold=0.0, top_k=0)
    assert redrawn.report["edited"] == 1
    seen = np.bincount(redrawn.samples.x.ravel(), minlength=5)
    assert chisquare(seen, P * 20_000).pvalue > 1e-4


def test_only_the_likeliest_are_drawn_from() -> None:
    model, real = independent("text")
    draw = edited(model, real, threshold=0.0, top_k=2, temperature=0.5)
    seen = np.bincount(draw.samples.x.ravel(), minlength=5)
    law = np.square([0.55, 0.25]) / np.square([0.55, 0.25]).sum()
    assert not seen[2:].any() and chisquare(seen[:2], law * 20_000).pvalue > 1e-4


def test_a_token_is_redrawn_given_the_original_ones_before_it() -> None:
    """0 and 1 alternate with 2 and 3: an edited text would follow itself, an original one not."""
    rng = np.random.default_rng(0)
    x = rng.integers(2, size=(400, 1, 8)).astype(np.uint8)
    x[..., 1::2] = np.where(x[..., ::2] == 0, 2, 3)
    real = Samples(x, traits=Traits("text", replicates=1, vocabulary=4))
    model = make("generator", "ngram", order=2, discount=0.0)
    model.fit(real, rng)
    draw = edited(model, real, threshold=0.0, top_k=0)
    assert (draw.samples.x[..., 1::2] == x[..., 1::2]).all()
    assert 0.4 < np.mean(draw.samples.x[..., ::2] != x[..., ::2]) < 0.6
    assert draw.report["edited"] == 1


def test_a_token_that_the_model_never_saw_stays_unless_everything_is_redrawn() -> None:
    model, _ = independent("tokens")
    real = Samples(np.array([[9], [0], [9]]), traits=Traits("tokens", replicates=1))
    assert (edited(model, real, threshold=0.5).samples.x[[0, 2]] == 9).all()
    assert (edited(model, real, threshold=0.0).samples.x < 5).all()


@pytest.mark.parametrize("n", [10, 75])
def test_fewer_rows_are_some_of_them_and_more_are_all_in_turn(n: int) -> None:
    model, real = independent("text")
    few = real.take(np.arange(30))
    draw = edited(model, few, n, threshold=1.0).samples.x
    texts = [row.tobytes() for row in few.x]
    times = [texts.index(row.tobytes()) for row in draw]
    assert times == [i % 30 for i in range(75)] if n > 30 else len({*times}) == 10


def test_an_edited_text_keeps_its_class_and_is_judged_by_it() -> None:
    y = np.arange(40) % 2
    real = Samples(
        np.tile(y[:, None, None], 3).astype(np.uint8), y, traits=Traits("text", 2, 1, vocabulary=2)
    )
    model = make("generator", "ngram", discount=0.0)
    model.fit(real, np.random.default_rng(0))
    draw = edited(model, real, threshold=0.5)
    assert (draw.samples.y == y).all() and draw.report == {"edited": 1, "changed": 0}


# ---- regression ----


def pairs(**params: Any) -> tuple[Any, Samples]:
    real = make("dataset", "regression", d=2, replicates=3).sample(200, np.random.default_rng(0))
    model = make("generator", "linear_regression", **params)
    model.fit(real, np.random.default_rng(0))
    return model, real


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_labels_are_redrawn_with_the_share_asked(share: float) -> None:
    model, real = pairs()
    draw = edited(model, real, share=share)
    assert draw.report["edited"] == draw.report["changed"] == pytest.approx(share, abs=0.05)
    assert draw.samples.x is real.x
    residual = (draw.samples.y - model.predict(real.x))[draw.samples.y != real.y]
    assert not share or abs(residual.std() - 1) < 0.15


def test_a_model_with_covariates_of_its_own_redraws_pairs() -> None:
    model, real = pairs(covariates="fresh")
    draw = edited(model, real, share=0.5)
    moved = (draw.samples.x != real.x).all(-1)
    assert (moved == (draw.samples.y != real.y)).all() and 0.4 < moved.mean() < 0.6


def test_disjoint_edits_touch_no_label_twice_until_none_is_left() -> None:
    model, real = pairs()
    sampling = make("sampling", "edit", of="training", share=0.3, again=False)
    now, rng = real, np.random.default_rng(2)
    for t in range(5):
        beside = replace(around(real, 200, model), training=lambda now=now: now)
        draw = sampling.draw(model, 200, replace(beside, real_of=lambda t: real), rng)
        touched = draw.samples.y != now.y
        assert not (touched & (now.y != real.y)).any()
        expected = 0.3 if t < 3 else [0.1, 0.0][t - 3]
        assert draw.report["edited"] == pytest.approx(expected, abs=0.06)
        now = draw.samples.of(real.declared)


def test_disjoint_edits_of_other_covariates_are_refused() -> None:
    model, real = pairs()
    sampling = make("sampling", "edit", again=False)
    beside = replace(around(real, 200, model), real_of=lambda t: real.take(np.arange(199)))
    with pytest.raises(ValueError, match="again: false needs the covariates of the first real set"):
        sampling.draw(model, 200, beside, np.random.default_rng(0))
