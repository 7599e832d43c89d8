"""Rewards: what each of them prefers, on small real things."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from engine.registry import make
from engine.samples import Samples


def taught(
    name: str, dataset: Any, real: Samples, generator: Any = None, **params: Any
) -> tuple[Any, dict[str, float]]:
    reward = make("reward", name, **params)
    return reward, reward.fit(dataset, real, generator, np.random.default_rng(7))


class Shifted:
    """A model of a mixture that is off by a little, and knows nothing of labels being wrong."""

    def __init__(self, dataset: Any, shift: float) -> None:
        self.dataset, self.shift = dataset, shift

    def sample(
        self, n: int, rng: np.random.Generator, labels: Any = None, bias: float | None = None
    ) -> Samples:
        drawn = self.dataset.sample(n, rng)
        x = (
            drawn.x + self.shift
            if drawn.x.ndim == 3
            else np.clip(drawn.x * (1 - self.shift), 0, 255).astype(np.uint8)
        )
        return Samples(x, drawn.y)


def mixture() -> tuple[Any, Samples]:
    dataset = make("dataset", "mixture", replicates=3, std=0.3)
    return dataset, dataset.sample(400, np.random.default_rng(1))


def test_true_density_is_the_density() -> None:
    dataset, real = mixture()
    reward, _ = taught("true_density", dataset, real)
    at = real.x[:20, 1]
    expected = np.mean(
        [multivariate_normal.pdf(at, c, 0.09 * np.eye(2)) for c in dataset.centres_], axis=0
    )
    np.testing.assert_allclose(reward.score(real)[:20, 1], np.log(expected), rtol=1e-10)


def test_true_density_of_labels_is_bayes_rule() -> None:
    dataset = make("dataset", "mixture", modes=3, weights=[1.0, 2.0, 3.0], std=1.5)
    real = dataset.sample(50, np.random.default_rng(1))
    reward, _ = taught("true_density", dataset, real, of="label")
    each = [
        multivariate_normal.pdf(real.x[:, 0], centre, 2.25 * np.eye(2))
        for centre in dataset.centres_
    ]
    joint = np.array([1, 2, 3])[:, None] * each
    expected = joint[real.y, np.arange(50)] / joint.sum(0)
    np.testing.assert_allclose(np.exp(reward.score(real)[:, 0]), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("of", "message"), [("sample", "no closed-form density"), ("label", "no labelled components")]
)
def test_true_density_of_images_is_refused(of: str, message: str) -> None:
    dataset = make("dataset", "digits")
    with pytest.raises(ValueError, match=message):
        taught("true_density", dataset, dataset.sample(20, np.random.default_rng(0)), of=of)


def test_classifier_of_points_prefers_the_right_label() -> None:
    dataset, real = mixture()
    reward, report = taught("classifier", dataset, real, steps=300)
    assert report["accuracy"] > 0.97
    new = dataset.sample(300, np.random.default_rng(5))
    right, wrong = reward.score(new), reward.score(Samples(new.x, (new.y + 1) % 5))
    assert right.shape == (300, 3)
    assert np.median(right) > 0.9
    assert np.mean(right > wrong) > 0.97


def test_classifier_of_one_target_is_a_scaled_probability() -> None:
    dataset, real = mixture()
    scores = []
    for k in range(5):
        reward, _ = taught("classifier", dataset, real, steps=60, target=k, scale=5.0)
        scores.append(reward.score(Samples(real.x)))
    np.testing.assert_allclose(
        np.sum(scores, axis=0), 5.0, rtol=1e-6
    )  # r = 5 q_k, and the q_k of one classifier sum to 1
    assert np.corrcoef(scores[2][:, 0], real.y == 2)[0, 1] > 0.8


def test_classifier_of_images() -> None:
    dataset = make("dataset", "digits")
    real = dataset.sample(600, np.random.default_rng(1))
    reward, report = taught("classifier", dataset, real, steps=200)
    held_out = dataset.held_out(300)
    assert report["accuracy"] > 0.9
    assert reward.score(held_out).shape == (300,)
    assert np.median(reward.score(held_out)) > 0.9
    assert np.median(reward.score(Samples(held_out.x, (held_out.y + 1) % 10))) < 0.05


def test_classifier_refuses_what_it_cannot_do() -> None:
    dataset, real = mixture()
    with pytest.raises(ValueError, match="target must be below 5"):
        taught("classifier", dataset, real, target=5)
    gaussian = make("dataset", "gaussian")
    with pytest.raises(ValueError, match="needs labels"):
        taught("classifier", gaussian, gaussian.sample(9, np.random.default_rng(0)))
    reward, _ = taught("classifier", dataset, real, steps=2)
    with pytest.raises(ValueError, match="no labels"):
        reward.score(Samples(real.x))


@pytest.mark.parametrize("conditional", [False, True])
def test_discriminator_of_points_tells_real_from_synthetic(conditional: bool) -> None:
    dataset, real = mixture()
    model = Shifted(dataset, 0.8)
    reward, report = taught(
        "discriminator", dataset, real, model, steps=300, conditional=conditional
    )
    assert report["accuracy"] > 0.8
    new, drawn = (
        dataset.sample(200, np.random.default_rng(5)),
        model.sample(200, np.random.default_rng(6)),
    )
    assert reward.score(new).shape == (200, 3)
    assert reward.score(new).mean() > reward.score(drawn).mean() + (0.3 if conditional else 1)


def test_a_conditional_discriminator_sees_wrong_labels() -> None:
    """The model draws the true points with labels moved on by one: only the pair of point and label
    is wrong.
    """
    dataset, real = mixture()

    class Mislabelled(Shifted):
        def sample(
            self, n: int, rng: np.random.Generator, labels: Any = None, bias: float | None = None
        ) -> Samples:
            drawn = dataset.sample(n, rng)
            return Samples(drawn.x, (drawn.y + 1) % 5)

    _, blind = taught("discriminator", dataset, real, Mislabelled(dataset, 0), steps=300)
    _, seeing = taught(
        "discriminator", dataset, real, Mislabelled(dataset, 0), steps=300, conditional=True
    )
    assert blind["accuracy"] < 0.6
    assert seeing["accuracy"] > 0.9


@pytest.mark.parametrize("conditional", [False, True])
def test_discriminator_of_images(conditional: bool) -> None:
    dataset = make("dataset", "digits")
    real = dataset.sample(400, np.random.default_rng(1))
    model = Shifted(dataset, 0.35)
    reward, report = taught(
        "discriminator", dataset, real, model, steps=150, conditional=conditional
    )
    assert report["accuracy"] > 0.7
    assert reward.score(dataset.held_out(50)).shape == (50,)


def test_discriminator_against_the_truth_itself_is_at_chance() -> None:
    dataset, real = mixture()
    _, report = taught("discriminator", dataset, real, Shifted(dataset, 0.0), steps=200)
    assert 0.4 < report["accuracy"] < 0.6


@pytest.mark.parametrize("name", ["classifier", "discriminator"])
def test_the_same_stream_teaches_the_same_bits(name: str) -> None:
    dataset, real = mixture()
    one, two = (
        taught(name, dataset, real, Shifted(dataset, 0.5), steps=20)[0].score(real)
        for _ in range(2)
    )
    assert one.tobytes() == two.tobytes()


def test_a_reward_may_know_more_real_samples_than_the_lineage() -> None:
    dataset = make("dataset", "digits")
    few = dataset.sample(40, np.random.default_rng(1))
    _, poor = taught("classifier", dataset, few, steps=200)
    _, rich = taught("classifier", dataset, few, steps=200, n_real=1200)
    assert rich["accuracy"] > poor["accuracy"] + 0.05
