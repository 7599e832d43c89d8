"""Classifier accuracy with its controls, and the evidence lower bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.parts import Undefined, traits_of
from engine.registry import make
from engine.samples import Samples, given
from tests.support.around import NOTHING


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def prepared(dataset: Any, real: Samples, **params: Any) -> Any:
    metric = make("metric", "classifier_accuracy", **params)
    metric.prepare(dataset, real, len(real), rng(1))
    return metric


@pytest.fixture(scope="module")
def on_digits() -> tuple[Any, Samples]:
    dataset = make("dataset", "digits")
    real = dataset.sample(1200, rng())
    return prepared(dataset, real), real


def test_real_data_reach_the_ceiling(on_digits: tuple[Any, Samples]) -> None:
    metric, real = on_digits
    value = metric(real, None, NOTHING, rng(2))
    assert value["classifier_accuracy/ceiling"] > 0.95 and value[
        "classifier_accuracy/chance"
    ] == pytest.approx(61 / 597)
    assert value["classifier_accuracy"] == pytest.approx(
        value["classifier_accuracy/ceiling"], abs=0.03
    )
    assert value["classifier_accuracy/relative"] == pytest.approx(1, abs=0.04)
    assert metric(real, None, NOTHING, rng(2)) == value


def test_shuffled_labels_are_at_chance(on_digits: tuple[Any, Samples]) -> None:
    metric, real = on_digits
    value = metric(Samples(real.x, rng(3).permutation(real.y)), None, NOTHING, rng(2))
    assert value["classifier_accuracy"] < 0.25 and abs(value["classifier_accuracy/relative"]) < 0.15


def test_vanished_classes_cost_exactly_their_share(on_digits: tuple[Any, Samples]) -> None:
    metric, real = on_digits
    kept = real.take(np.flatnonzero(real.y < 5))
    value = metric(kept, None, NOTHING, rng(2))
    share = np.mean(metric.test_.y < 5)
    assert 0.9 * share < value["classifier_accuracy"] <= share
    one = metric(real.of_class(0), None, NOTHING, rng(2))
    assert one["classifier_accuracy"] == pytest.approx(np.mean(metric.test_.y == 0))


def test_what_cannot_be_measured_is_undefined(on_digits: tuple[Any, Samples]) -> None:
    metric, real = on_digits
    for samples in (Samples(real.x), real.take(np.arange(1)), real.take(np.arange(0))):
        value = metric(samples, None, NOTHING, rng())
        assert isinstance(value["classifier_accuracy"], Undefined) and isinstance(
            value["classifier_accuracy/relative"], Undefined
        )
        assert value["classifier_accuracy/ceiling"] > 0.9


def test_points_have_one_accuracy_per_replicate() -> None:
    dataset = make("dataset", "mixture", replicates=3)
    real = dataset.sample(800, rng())
    metric = prepared(dataset, real)
    collapsed = real.x.copy()
    collapsed[:, 1] = collapsed[
        rng().permutation(800), 1
    ]  # one replicate loses the link to its labels
    value = metric(Samples(collapsed, real.y), None, NOTHING, rng(2))
    accuracy = value["classifier_accuracy"]
    assert accuracy.shape == (3,) and accuracy[[0, 2]].min() > 0.99 and accuracy[1] < 0.45
    assert value["classifier_accuracy/relative"].shape == (3,)


def test_of_text_it_is_the_likeliest_of_models_that_learnt_a_class_each() -> None:
    truth = make("dataset", "languages", outcomes=6, length=8, replicates=2)
    real = truth.sample(150, rng())
    metric = prepared(truth, real, n_test=400)
    assert metric.about_ == {"network": "ngram"}
    found = metric(real, None, NOTHING, rng(2))["classifier_accuracy"]
    scores, one = [], make("dataset", "markov", outcomes=6, replicates=2)
    for k in range(3):
        model = make("generator", "ngram")
        model.fit(real.of_class(k).of(traits_of(one)), rng())
        scores.append(model.log_density(metric.test_.x))
    right = np.argmax(scores, axis=0) == metric.test_.y[:, None]
    assert found == pytest.approx(right.mean(0))
    bayes = np.argmax([law.log_density(metric.test_.x) for law in truth.laws_], axis=0)
    best = (bayes == metric.test_.y[:, None]).mean()
    chance = metric(Samples(real.x, rng(3).permutation(real.y)), None, NOTHING, rng(2))
    assert chance["classifier_accuracy"].mean() < 0.6 * found.mean() < 0.6 * best
    many = metric(truth.sample(3000, rng(4)), None, NOTHING, rng(2))
    assert many["classifier_accuracy"].mean() == pytest.approx(best, abs=0.02)
    assert (many["classifier_accuracy/ceiling"] < best).all()
    assert metric(real.of_class(1), None, NOTHING, rng(2))["classifier_accuracy"] == pytest.approx(
        np.mean(metric.test_.y == 1)
    )
    with pytest.raises(ValueError, match="'ngram' reads text, but Digits gives images"):
        make("metric", "classifier_accuracy", network="ngram").prepare(
            make("dataset", "digits"), real, 10, rng()
        )


def test_a_finite_set_smaller_than_the_draw_gives_the_ceiling_of_all_it_has() -> None:
    dataset = make("dataset", "digits")
    metric = make("metric", "classifier_accuracy", steps=50)
    metric.prepare(dataset, dataset.sample(1200, rng()), 5000, rng(1))
    assert metric.ceiling_ > 0.6


@pytest.mark.slow
def test_a_resnet_learns_too_and_the_answer_names_the_network(
    on_digits: tuple[Any, Samples],
) -> None:
    metric, real = on_digits
    assert metric.about_ == {"network": "lenet"} and metric.learner_.lr == 1e-2
    resnet = prepared(make("dataset", "digits"), real, network="resnet18", steps=25)
    assert (
        resnet.about_ == {"network": "resnet18"}
        and resnet.learner_.lr == 2e-3
        and resnet.ceiling_ > 0.6
    )
    with pytest.raises(ValueError, match="'lenet' reads images, but Mixture gives points"):
        prepared(
            make("dataset", "mixture"),
            make("dataset", "mixture").sample(50, rng()),
            network="lenet",
        )
    assert prepared(
        make("dataset", "mixture"), make("dataset", "mixture").sample(50, rng())
    ).about_ == {"network": "mlp"}


# ---- nelbo ---------------------------------------------------------------------------------------


def test_nelbo_binarises_images_and_adds_up() -> None:
    dataset = make("dataset", "digits")
    real = dataset.sample(600, rng())
    vae = make("generator", "vae", steps=150, lr=1e-2)
    vae.fit(real, rng(1))
    metric = make("metric", "nelbo", n_test=300)
    metric.prepare(dataset, real, 600, rng())
    assert set(np.unique(metric.test_.x)) == {0, 255} and len(metric.test_) == 300
    value = metric(vae.sample(10, rng(), given(real, 10)), vae, NOTHING, rng(2))
    assert (
        value["nelbo"] == pytest.approx(value["nelbo/reconstruction"] + value["nelbo/kl"])
        and value["nelbo/kl"] > 0
    )
    assert value["nelbo"] < 64 * np.log(2), "worse than a fair coin for every pixel"
    grey = make("metric", "nelbo", n_test=300, binarise=False)
    grey.prepare(dataset, real, 600, rng())
    assert len(np.unique(grey.test_.x)) > 10


def test_nelbo_of_a_density_is_its_negative_log_likelihood_and_of_a_gan_undefined() -> None:
    dataset = make("dataset", "gaussian", d=2, replicates=3)
    real = dataset.sample(500, rng())
    gaussian = make("generator", "gaussian")
    gaussian.fit(real, rng(1))
    metric = make("metric", "nelbo")
    metric.prepare(dataset, real, 500, rng())
    value = metric(real, gaussian, NOTHING, rng(2))
    assert (
        np.allclose(value["nelbo"], -gaussian.log_density(dataset.held_out(2000).x).mean(0))
        and not value["nelbo/kl"].any()
    )
    wgan = make("generator", "wgan", steps=1)
    assert isinstance(metric(real, wgan, NOTHING, rng(2))["nelbo"], Undefined)
