"""The Wasserstein GAN: all five modes live, penalties as defined, replicates apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.generators.wgan import PointGan, Wgan
from engine.parts import Finding
from engine.registry import make
from engine.samples import Samples


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def shares(x: np.ndarray, dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Share of the samples within 3 standard deviations of each centre [modes, replicates], and of
    any of them [replicates].
    """
    distance = np.linalg.norm(x[:, :, None] - dataset.centres_, axis=-1)  # [n, replicates, modes]
    near = distance < 3 * dataset.std
    return near.mean(0).T, near.any(-1).mean(0)


@pytest.mark.slow
@pytest.mark.parametrize("penalty", ["gradient", "clip"])
def test_all_five_modes_live(penalty: str) -> None:
    dataset = make("dataset", "mixture", replicates=2)
    wgan = Wgan(steps=400, lr=2e-3 if penalty == "gradient" else 1e-3, penalty=penalty)  # type: ignore[arg-type]
    report = wgan.fit(dataset.sample(2000, rng()), rng(1))
    each, good = shares(wgan.sample(2000, rng(2)).x, dataset)
    assert each.min() > 0.03 and good.min() > 0.4
    assert abs(report["critic"]) < 0.5 * abs(report["critic/first"])  # the estimated distance falls


@pytest.mark.slow
def test_the_defaults_learn_the_ring_in_every_replicate() -> None:
    dataset = make("dataset", "mixture", replicates=8)
    wgan = Wgan()
    wgan.fit(dataset.sample(5000, rng()), rng(1))
    drawn = wgan.sample(5000, rng(2)).x
    each, good = shares(drawn, dataset)
    assert each.min() > 0.1 and good.min() > 0.7
    assert (
        np.abs(drawn.mean(0)).max() < 0.3 and np.abs(drawn.var(0) - 2.04).max() < 0.4
    )  # the truth: 0 and 2.04


def test_same_stream_same_bits_also_after_a_file(tmp_path: Path) -> None:
    real = make("dataset", "mixture", replicates=2).sample(200, rng())
    draws = []
    for _ in range(2):
        wgan = Wgan(steps=5)
        wgan.fit(real, rng(1))
        draws.append(wgan.sample(50, rng(2)).x)
    wgan.save(tmp_path)
    loaded = Wgan(steps=5)
    loaded.load(tmp_path)
    assert draws[0].dtype == np.float32 and draws[0].shape == (50, 2, 2)
    assert np.array_equal(draws[0], draws[1]) and np.array_equal(
        draws[0], loaded.sample(50, rng(2)).x
    )
    assert not np.array_equal(draws[0][:, 0], draws[0][:, 1])


def test_a_replicate_does_not_see_the_others() -> None:
    real = make("dataset", "mixture", replicates=4).sample(300, rng())
    other = real.x.copy()
    other[:, 2] *= 5
    draws = []
    for x in (real.x, other):
        wgan = Wgan(steps=8)
        wgan.fit(Samples(x), rng(1))
        draws.append(wgan.sample(40, rng(2)).x)
    assert np.array_equal(draws[0][:, [0, 1, 3]], draws[1][:, [0, 1, 3]])
    assert not np.array_equal(draws[0][:, 2], draws[1][:, 2])


def test_the_gradient_penalty_of_a_linear_critic() -> None:
    """(norm of its weights - 1)^2, whatever the points."""
    wgan = Wgan()
    wgan.model_ = PointGan(replicates=2, d=2, latent=2, width=2, layers=1)
    wgan.model_.critic = torch.nn.Sequential(wgan.model_.critic[2])  # the last layer alone: 2 -> 1
    with torch.no_grad():
        wgan.model_.critic[0].weight.copy_(torch.tensor([[[3.0], [4.0]], [[0.6], [0.8]]]))
    x = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0))
    penalty = wgan._gradient_penalty(x, x + 1, torch.Generator().manual_seed(1))
    assert torch.allclose(penalty, torch.tensor([16.0, 0.0]), atol=1e-4)


def test_clipping_keeps_every_critic_weight_inside() -> None:
    wgan = Wgan(steps=10, penalty="clip", clip=0.05)
    wgan.fit(make("dataset", "mixture").sample(200, rng()), rng(1))
    assert wgan.model_ is not None
    assert (
        max(float(p.detach().abs().max()) for p in wgan.model_.critic.parameters()) <= 0.05 + 1e-8
    )
    assert max(float(p.detach().abs().max()) for p in wgan.model_.generator.parameters()) > 0.05


def test_truncation_narrows_the_latents() -> None:
    wgan = Wgan(steps=5)
    wgan.fit(make("dataset", "mixture").sample(200, rng()), rng(1))
    spread = [wgan.sample(400, rng(1), bias=b).x.std() for b in (0.0, 0.3, 1.0)]
    assert (
        spread[1] < spread[2] and np.ptp(wgan.sample(10, rng(1), bias=0.0).x, axis=0).max() < 1e-5
    )


def test_findings_and_bad_parameters() -> None:
    real = make("dataset", "mixture").sample(100, rng())
    with pytest.raises(Finding) as caught:
        Wgan(steps=100, lr=1e8).fit(real, rng())
    assert caught.value.status == "diverged"
    broken = real.x.copy()
    broken[0] = np.inf
    with pytest.raises(Finding, match="training set"):
        Wgan(steps=5).fit(Samples(broken), rng())
    with pytest.raises(ValueError, match="betas"):
        Wgan(betas=(0.5, 1.0))
    with pytest.raises(ValueError, match="ema"):
        Wgan(ema=1.0)


def test_warm_start_continues_from_both_networks() -> None:
    real = make("dataset", "mixture").sample(500, rng())
    warm = Wgan(steps=30, warm_start=True)
    warm.fit(real, rng(1))
    before = warm.sample(300, rng(2)).x
    assert warm.model_ is not None
    critic = warm.model_.critic[0].weight.detach().clone()
    warm.steps = 1
    warm.fit(real, rng(3))
    assert torch.allclose(
        warm.model_.critic[0].weight, critic, atol=0.02
    )  # five steps of 1e-3 away
    assert np.abs(warm.sample(300, rng(2)).x - before).max() < 0.2
