"""The Wasserstein GAN on images: sizes, labels, the penalty, what the stream decides; points are
told apart by labels too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.generators._dcgan import DcganCritic, DcganGenerator, halvings
from engine.generators.wgan import ImageGan, Wgan
from engine.lineage.recipe import path
from engine.parts import declared
from engine.registry import make
from engine.samples import Samples, given
from engine.spec import LineageSpec, Part
from engine.training import classifiers

SMALL: dict[str, Any] = {"steps": 4, "batch": 16, "width": 4, "latent": 5, "critic_steps": 2}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def digits(n: int = 200) -> Samples:
    return make("dataset", "digits").sample(n, rng())


@pytest.mark.parametrize(("side", "levels"), [(8, 1), (28, 2), (32, 3), (64, 4), (5, 1)])
def test_halvings_leave_at_least_4_x_4(side: int, levels: int) -> None:
    assert halvings(side, side) == levels
    assert halvings(side, 4 * side) == levels, "the smaller side decides"


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (30, 21, 3)])
@pytest.mark.parametrize("conditional", [True, False])
def test_pictures_of_any_size_and_colour(
    shape: tuple[int, int, int], conditional: bool, tmp_path: Path
) -> None:
    x = rng().integers(0, 256, (24, *shape)).astype(np.uint8)
    gan = Wgan(**{**SMALL, "steps": 1}, conditional=conditional)
    gan.fit(Samples(x, np.arange(24) % 3), rng())
    drawn = gan.sample(7, rng())
    assert (
        drawn.x.shape == (7, *shape)
        and drawn.x.dtype == np.uint8
        and (drawn.y is not None) == conditional
    )
    gan.save(tmp_path)
    loaded = Wgan()
    loaded.load(tmp_path)
    assert np.array_equal(drawn.x, loaded.sample(7, rng()).x)


def test_the_ith_sample_depends_on_the_stream_and_its_label_only() -> None:
    gan = Wgan(**SMALL, conditional=True)
    gan.fit(digits(), rng(1))
    labels = np.arange(2000) % 10
    few, many = gan.sample(10, rng(5), labels[:10]), gan.sample(2000, rng(5), labels)
    assert (
        np.abs(few.x.astype(int) - many.x[:10].astype(int)).max() <= 1
    )  # another batch size may round otherwise
    assert not np.array_equal(gan.sample(10, rng(5), labels[1:11]).x, few.x)
    spread = [
        gan.sample(400, rng(5), np.full(400, 3), bias=b).x.std(0).mean() for b in (0.0, 0.5, 1.0)
    ]
    assert spread[0] == 0 < spread[1] < spread[2]


def test_the_critic_sees_single_images_and_their_labels() -> None:
    """A gradient penalty is about the gradient at one image:
    it must not depend on its neighbours.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic, generator = DcganCritic([8, 8, 1], 3, 4), DcganGenerator([8, 8, 1], 3, 5, 4)
    x, y = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(6) % 3
    assert torch.allclose(critic(x, y)[2:3], critic(x[2:3], y[2:3]), atol=1e-6)
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(2))
    assert torch.allclose(generator(z, y)[2:3], generator(z[2:3], y[2:3]), atol=1e-6)
    assert not torch.allclose(critic(x, y), critic(x, y.roll(1))) and not torch.allclose(
        generator(z, y), generator(z, y.roll(1))
    )


def test_the_gradient_penalty_of_a_linear_critic() -> None:
    """(norm of its weights - 1)^2, whatever the images."""
    gan = Wgan()
    gan.model_ = ImageGan([8, 8, 1], 5, 4, [])
    gan.model_.critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 1))  # type: ignore[assignment]
    gan.model_.value = lambda x, y: gan.model_.critic(x)[:, 0]  # type: ignore[union-attr,method-assign,operator]
    torch.nn.init.constant_(gan.model_.critic[1].weight, 0.5)  # norm 4
    x = torch.randn(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    penalty = gan._gradient_penalty(x, x + 1, torch.Generator().manual_seed(1))
    assert penalty.shape == () and penalty.item() == pytest.approx(9.0, rel=1e-5)


def test_clipping_keeps_every_critic_weight_inside() -> None:
    gan = Wgan(**{**SMALL, "steps": 8}, penalty="clip", clip=0.01)
    gan.fit(digits(), rng(1))
    assert gan.model_ is not None
    assert max(float(p.detach().abs().max()) for p in gan.model_.critic.parameters()) <= 0.01 + 1e-8


def test_warm_start_goes_on_though_classes_are_counted_anew() -> None:
    gan = Wgan(**{**SMALL, "lr": 1e-9}, conditional=True, warm_start=True)
    gan.fit(digits(100), rng(1))
    before = gan.sample(20, rng(2), np.arange(20) % 10).x
    gan.fit(digits(200), rng(3))
    assert np.array_equal(before, gan.sample(20, rng(2), np.arange(20) % 10).x)


def test_points_of_a_labelled_mixture() -> None:
    dataset = make("dataset", "mixture", replicates=2)
    gan = Wgan(steps=150, lr=2e-3, conditional=True)
    gan.fit(dataset.sample(2000, rng()), rng(1))
    drawn = gan.sample(1000, rng(2), np.arange(1000) % 5)
    nearest = np.linalg.norm(drawn.x[:, :, None] - dataset.centres_, axis=-1).argmin(
        -1
    )  # [n, replicates]
    assert drawn.y is not None and np.mean(nearest == drawn.y[:, None]) > 0.95


def test_unconditional_points_are_saved_as_before(tmp_path: Path) -> None:
    """Their rows name the digest of this file."""
    gan = Wgan(steps=1)
    gan.fit(make("dataset", "mixture", replicates=2).sample(100, rng()), rng(1))
    gan.save(tmp_path)
    known = {"d": 2, "latent": 2, "layers": 2, "replicates": 2, "width": 64}
    assert json.loads((tmp_path / "config.json").read_text()) == known


@pytest.mark.parametrize(
    ("generator", "conditional"),
    [
        ({"name": "wgan"}, False),
        ({"name": "wgan", "conditional": True}, True),
        ({"name": "stylegan2"}, True),
        ({"name": "stylegan2", "conditional": False}, False),
        ({"name": "gaussian"}, False),
        ({"name": "linear_regression"}, True),
    ],
)
def test_a_generator_is_conditional_by_its_kind_and_its_parameter(
    generator: dict[str, Any], conditional: bool
) -> None:
    part = Part("generator", generator["name"], {k: v for k, v in generator.items() if k != "name"})
    assert part.conditional == conditional
    if "conditional" in generator:
        assert declared(part.make(), "CONDITIONAL") is conditional


def test_the_key_of_the_default_is_what_it_was() -> None:
    parts = {
        "dataset": Part("dataset", "mixture"),
        "policy": Part("policy", "replace"),
        "sampling": Part("sampling", "plain"),
    }
    spec = LineageSpec(
        generator=Part("generator", "wgan", {"steps": 100}), n_real=100, seed=0, **parts
    )
    assert spec.generator.canonical == {"name": "wgan", "steps": 100} and path(spec, 1)


@pytest.mark.slow
def test_its_digits_are_known_to_a_classifier_of_real_ones() -> None:
    real = digits(1200)
    gan = Wgan(steps=300, conditional=True)
    gan.fit(real, rng(1))
    judge = classifiers.fit(real, 10, rng(3), steps=200, lr=1e-2)
    drawn = gan.sample(500, rng(2), given(real, 500))
    assert np.mean(classifiers.logits(judge, drawn.x).argmax(1) == drawn.y) > 0.6
