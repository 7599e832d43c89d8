"""The autoencoder: it learns digits and mixtures, its bound is a bound, its latents are the
stream's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm

from engine.generators.vae import ImageVae, Vae, halvings_of
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples, given
from engine.training import classifiers
from tests.support.around import NOTHING

QUICK: dict[str, Any] = {"steps": 300, "lr": 1e-2, "kl_weight": 0.3}  # the quickstart's


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def digits() -> Any:
    return make("dataset", "digits")


@pytest.fixture(scope="module")
def fitted() -> tuple[Vae, dict[str, float], Samples]:
    real = digits().sample(1200, rng())
    vae = Vae(**QUICK)
    return vae, vae.fit(real, rng(1)), real


def test_it_draws_digits_that_a_real_classifier_knows(
    fitted: tuple[Vae, dict[str, float], Samples],
) -> None:
    vae, report, real = fitted
    assert report["loss"] < 0.85 * report["loss/first"] and report["steps"] == 300
    drawn = vae.sample(1000, rng(2), given(real, 1000))
    judge = classifiers.fit(real, 10, rng(3), steps=200, lr=1e-2)
    assert np.mean(classifiers.logits(judge, drawn.x).argmax(1) == drawn.y) > 0.95


def test_a_classifier_trained_on_its_digits_reads_real_ones(
    fitted: tuple[Vae, dict[str, float], Samples],
) -> None:
    vae, _, real = fitted
    drawn = vae.sample(1200, rng(2), given(real, 1200))
    student = classifiers.fit(drawn, 10, rng(3), steps=200, lr=1e-2)
    held_out = digits().held_out(597)
    assert np.mean(classifiers.logits(student, held_out.x).argmax(1) == held_out.y) > 0.8


def test_same_stream_same_bits_also_after_a_file(tmp_path: Path) -> None:
    real = digits().sample(200, rng())
    draws = []
    for _ in range(2):
        vae = Vae(steps=15)
        vae.fit(real, rng(1))
        draws.append(vae.sample(50, rng(2)).x)
    vae.save(tmp_path)
    loaded = Vae(steps=15)
    loaded.load(tmp_path)
    assert np.array_equal(draws[0], draws[1]) and np.array_equal(
        draws[0], loaded.sample(50, rng(2)).x
    )
    assert not np.array_equal(draws[0], vae.sample(50, rng(3)).x)


def test_the_ith_sample_depends_on_its_own_latents_only(
    fitted: tuple[Vae, dict[str, float], Samples],
) -> None:
    vae = fitted[0]
    labels = np.arange(2000) % 10
    few, many = vae.sample(10, rng(5), labels[:10]), vae.sample(2000, rng(5), labels)
    assert (
        np.abs(few.x.astype(int) - many.x[:10].astype(int)).max() <= 1
    )  # another batch size may round otherwise


def test_labels_follow_the_training_set_when_none_are_given(
    fitted: tuple[Vae, dict[str, float], Samples],
) -> None:
    vae, _, real = fitted
    drawn = vae.sample(1200, rng())
    assert drawn.y is not None and np.array_equal(np.bincount(drawn.y), np.bincount(real.y))
    with pytest.raises(Finding, match="class 11"):
        vae.sample(3, rng(), np.array([0, 1, 11]))


def test_truncation_narrows_the_samples(fitted: tuple[Vae, dict[str, float], Samples]) -> None:
    vae = fitted[0]
    spread = [
        vae.sample(500, rng(1), np.full(500, 3), bias=b).x.std(0).mean() for b in (0.0, 0.5, 1.0)
    ]
    assert spread[0] == 0 < spread[1] < 0.8 * spread[2]
    assert np.array_equal(
        vae.sample(9, rng(1), np.arange(9), bias=1.0).x, vae.sample(9, rng(1), np.arange(9)).x
    )


def test_binarised_pixels_have_the_mean_picture_as_their_mean(
    fitted: tuple[Vae, dict[str, float], Samples],
) -> None:
    vae = fitted[0]
    threes = np.full(4000, 3)
    vae.binarise = True
    try:
        drawn = vae.sample(4000, rng(1), threes, bias=0.0).x
    finally:
        vae.binarise = False
    assert set(np.unique(drawn)) == {0, 255}
    mean = vae.sample(1, rng(1), threes[:1], bias=0.0).x[0]
    assert (
        np.abs(drawn.mean(0) - mean).max() < 4 * 127.5 / np.sqrt(4000) + 1
    )  # 4 standard errors, and rounding


@pytest.mark.parametrize(
    ("shape", "labelled"), [((28, 28, 1), True), ((32, 32, 3), False), ((12, 20, 3), True)]
)
def test_pictures_of_any_size_and_colour(shape: tuple[int, int, int], labelled: bool) -> None:
    x = rng().integers(0, 256, (24, *shape)).astype(np.uint8)
    vae = Vae(steps=2, width=4, latent=3)
    vae.fit(Samples(x, np.arange(24) % 3 if labelled else None), rng())
    drawn = vae.sample(7, rng())
    assert (
        drawn.x.shape == (7, *shape)
        and drawn.x.dtype == np.uint8
        and (drawn.y is not None) == labelled
    )


def test_a_size_it_cannot_halve_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"multiples of 4 .*got 30 x 30"):
        Vae(steps=1).fit(Samples(np.zeros((4, 30, 30, 1), np.uint8)), rng())


def test_divergence_ends_with_a_finding() -> None:
    with pytest.raises(Finding) as caught:
        Vae(steps=100, lr=1e6).fit(digits().sample(100, rng()), rng())
    assert caught.value.status == "diverged"


def test_warm_start_continues(fitted: tuple[Vae, dict[str, float], Samples]) -> None:
    real = fitted[2]
    warm = Vae(steps=100, lr=5e-3, warm_start=True)
    first = warm.fit(real, rng(1))
    second = warm.fit(real, rng(2))
    cold = Vae(steps=100, lr=5e-3)
    cold.fit(real, rng(1))
    assert second["loss/first"] < 0.9 * first["loss/first"]
    assert cold.fit(real, rng(1)) == first


@pytest.mark.parametrize("extra", [{"precision": "bf16"}, {"ema": 0.9}])
def test_other_precision_or_average_is_another_model_that_learns_as_well(
    extra: dict[str, Any],
) -> None:
    real = digits().sample(600, rng())
    plain, other = Vae(steps=80, lr=5e-3), Vae(steps=80, lr=5e-3, **extra)
    a, b = plain.fit(real, rng(1)), other.fit(real, rng(1))
    assert not np.array_equal(plain.sample(5, rng()).x, other.sample(5, rng()).x)
    assert abs(a["loss"] - b["loss"]) < 0.1 * a["loss"]
    assert np.mean(other.nelbo(real, rng())[0]) < 0.75 * a["loss/first"]


# ---- the bound -----------------------------------------------------------------------------------


def test_reconstruction_and_kl_are_those_of_the_distributions() -> None:
    vae = Vae(steps=5, latent=4, width=4)
    x = (rng().standard_normal((50, 2, 3)) * 3 + 1).astype(np.float32)
    vae.fit(Samples(x), rng())
    model = vae.model_
    assert model is not None
    with torch.no_grad():
        mean, log_variance = model.encode(torch.from_numpy(x), None)
        posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
        kl = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(
            -1
        )
        decoded = model.decode(mean, None)
        location = model.standardise.inverse(decoded).numpy()  # type: ignore[union-attr]
        sd = (model.standardise.sd * torch.exp(model.log_sd)).numpy()  # type: ignore[union-attr,operator]
        reconstruction = model.reconstruction(torch.from_numpy(x), decoded).numpy()
    assert np.allclose(vae.nelbo(Samples(x), rng())[1].T, kl, atol=1e-5)
    assert np.allclose(
        reconstruction, -norm.logpdf(x.swapaxes(0, 1), location, sd).sum(-1), atol=1e-3
    )


def test_the_bound_of_a_gaussian_lies_above_its_entropy_and_near_it() -> None:
    dataset = make("dataset", "gaussian", d=2, replicates=4)
    vae = Vae(steps=400, lr=3e-3, latent=2)
    vae.fit(dataset.sample(2000, rng()), rng(1))
    held_out = dataset.held_out(4000)
    bound = sum(vae.nelbo(held_out, rng(2))).mean(0)  # type: ignore[union-attr]
    nll = -dataset.log_density(held_out.x).mean(0)
    assert bound.shape == (4,) and (bound > nll - 0.02).all() and (bound < nll + 0.25).all()


# ---- points --------------------------------------------------------------------------------------


def test_points_of_a_labelled_mixture() -> None:
    dataset = make("dataset", "mixture", replicates=3)
    real = dataset.sample(1500, rng())
    vae = Vae(steps=500, latent=2)
    vae.fit(real, rng(1))
    drawn = vae.sample(2500, rng(2), np.arange(2500) % 5)
    assert drawn.x.shape == (2500, 3, 2) and drawn.x.dtype == np.float32
    for k in range(5):
        of_k = drawn.x[drawn.y == k]
        assert np.abs(of_k.mean(0) - dataset.centres_[k]).max() < 0.25
        assert np.all((of_k.std(0) > 0.15) & (of_k.std(0) < 0.25))  # the truth: 0.2


def test_rows_chosen_per_replicate_keep_their_labels() -> None:
    real = make("dataset", "mixture", replicates=2).sample(300, rng())
    rows = np.stack([rng(1).permutation(300), rng(2).permutation(300)], axis=1)
    vae = Vae(steps=300, lr=3e-3, latent=2)
    vae.fit(real.take(rows), rng(1))
    drawn = vae.sample(500, rng(2), np.full(500, 2))
    centre = make("dataset", "mixture").centres_[2]
    assert np.abs(drawn.x.mean(0) - centre).max() < 0.3


@pytest.mark.slow
def test_mnist(real_data: Path) -> None:
    """Yi's network on real MNIST: the bound falls below that of a model of independent pixels
    (about 206 nats), far.
    """
    real = make("dataset", "mnist", balanced=True).sample(5000, rng())
    vae = Vae(steps=500, lr=1e-3, batch=128)
    vae.fit(real, rng(1))
    metric = make("metric", "nelbo", n_test=1000)
    metric.prepare(make("dataset", "mnist"), real, 1000, rng())
    assert metric(real, vae, NOTHING, rng(2))["nelbo"] < 130
    judge = classifiers.fit(real, 10, rng(3), steps=300, lr=5e-3)
    drawn = vae.sample(500, rng(4), np.arange(500) % 10)
    assert np.mean(classifiers.logits(judge, drawn.x).argmax(1) == drawn.y) > 0.85


# ---- larger and coloured images ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "halvings"),
    [(8, 8, 2), (28, 28, 2), (32, 32, 3), (64, 64, 4), (36, 36, 2), (48, 32, 3), (128, 128, 5)],
)
def test_from_32_pixels_on_it_halves_down_to_4_x_4(height: int, width: int, halvings: int) -> None:
    assert halvings_of(height, width) == halvings


def test_depth_and_likelihood_are_kept_in_the_file(tmp_path: Path) -> None:
    x = rng().integers(0, 256, (24, 64, 32, 3)).astype(np.uint8)
    vae = Vae(steps=2, width=4, latent=3, likelihood="gaussian")
    real = Samples(x, np.arange(24) % 3)
    vae.fit(real, rng())
    assert vae.config_["halvings"] == 3 and vae.model_.small == (16, 8, 4)  # type: ignore[union-attr]
    vae.save(tmp_path)
    loaded = Vae()
    loaded.load(tmp_path)
    assert np.array_equal(vae.sample(5, rng()).x, loaded.sample(5, rng()).x)
    assert np.array_equal(vae.nelbo(real, rng())[0], loaded.nelbo(real, rng())[0])


def test_two_halvings_of_bernoulli_pixels_are_saved_as_ever(tmp_path: Path) -> None:
    """Rows of models that were trained before there was a choice name the digest of this file."""
    vae = Vae(steps=1)
    vae.fit(digits().sample(20, rng()), rng())
    assert set(vae.config_) == {"shape", "label_counts", "latent", "width"}


def test_gaussian_pixels_are_those_of_the_normal_distribution() -> None:
    model = ImageVae([8, 8, 3], classes=0, latent=2, width=4, gaussian=True)
    images = torch.from_numpy(rng().integers(0, 256, (6, 8, 8, 3)).astype(np.uint8))
    decoded = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = model.reconstruction(images, decoded)
        mean, sd = (
            torch.sigmoid(decoded).permute(0, 2, 3, 1).numpy(),
            float(torch.exp(model.log_sd)),
        )  # type: ignore[arg-type]
        assert np.allclose(
            ours, -norm.logpdf(images.numpy() / 255, mean, sd).sum((1, 2, 3)), rtol=1e-4
        )
        model.log_sd.fill_(-100.0)  # type: ignore[union-attr]
        assert torch.isfinite(model.reconstruction(images, decoded)).all()


def test_the_deviation_it_learns_is_that_of_its_errors() -> None:
    """sigma-VAE: at the optimum the deviation is the root mean squared error."""
    x = np.clip(128 + 40 * rng().standard_normal((600, 8, 8, 3)), 0, 255).astype(
        np.uint8
    )  # nothing to be learnt but noise
    vae = Vae(steps=400, lr=1e-2, width=4, latent=2, likelihood="gaussian")
    vae.fit(Samples(x), rng(1))
    sd = float(torch.exp(vae.model_.log_sd.detach()))  # type: ignore[union-attr]
    assert sd == pytest.approx(40 / 255, rel=0.05)
    assert np.abs(vae.sample(50, rng()).x.mean() - 128) < 6
    with pytest.raises(ValueError, match="binarise"):
        Vae(likelihood="gaussian", binarise=True)


def test_unconditional_by_choice(fitted: tuple[Vae, dict[str, float], Samples]) -> None:
    vae = Vae(steps=2, conditional=False)
    vae.fit(fitted[2], rng())
    assert np.isfinite(vae.nelbo(fitted[2], rng())[0]).all(), (
        "labels that it does not know are not read"
    )
    assert vae.sample(3, rng(), np.arange(3)).y is None
