"""Wasserstein GAN for points, with gradient penalty (Gulrajani et al. 1704.00028) or clipped weights (Arjovsky 1701.07875).

The toy of Zverev 2512.11867 (a mixture of five Gaussians).  Both networks are MLPs, stacked over replicates: a batched product
trains all of them, each on minibatches and noise of its own.  Unconditional: labels are ignored.  Adam throughout, where the
clipping paper used RMSProp.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from engine import nets
from engine.parts import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from engine.samples import Samples


class PointGan(nn.Module):
    """Generator [replicates, b, latent] -> [replicates, b, d] and critic -> [replicates, b, 1], in standardised coordinates."""

    def __init__(self, replicates: int, d: int, latent: int, width: int, layers: int) -> None:
        super().__init__()
        hidden = [width] * layers
        self.standardise = nets.Standardise(replicates, d)
        self.generator = nets.stacked_mlp(replicates, (latent, *hidden, d), nn.ReLU)
        self.critic = nets.stacked_mlp(replicates, (d, *hidden, 1), nn.ReLU)


class Wgan:
    """Points [n, replicates, d], float32."""

    ACCEPTS = ("points",)
    COST = "small"
    TINY = {"steps": 10, "width": 8, "batch": 16, "critic_steps": 2}

    def __init__(
        self,
        *,
        steps: PositiveInt = 1000,  # generator updates
        critic_steps: PositiveInt = 5,  # critic updates before each
        batch: PositiveInt = 64,
        lr: PositiveFloat = 1e-3,
        betas: tuple[Fraction, Fraction] = (0.0, 0.9),
        width: PositiveInt = 64,
        layers: PositiveInt = 2,
        latent: PositiveInt = 2,
        penalty: Literal["gradient", "clip"] = "gradient",
        penalty_weight: NonNegativeFloat = 1.0,
        clip: PositiveFloat = 0.1,  # largest absolute weight of the critic, for penalty "clip"
        ema: Fraction = 0.0,
        warm_start: bool = False,
    ) -> None:
        if ema == 1:
            raise ValueError("ema=1.0 would never learn; allowed: 0 (off) up to just below 1, such as 0.99")
        if max(betas) == 1:
            raise ValueError(f"betas must be below 1, got {list(betas)}; Adam's usual ones are [0.0, 0.9] here")
        self.steps, self.critic_steps, self.batch, self.lr, self.betas = steps, critic_steps, batch, lr, tuple(betas)
        self.width, self.layers, self.latent = width, layers, latent
        self.penalty, self.penalty_weight, self.clip = penalty, penalty_weight, clip
        self.ema, self.warm_start = ema, warm_start
        self.model_: PointGan | None = None
        self.config_: dict[str, Any] = {}

    def fit(self, data: Samples, rng: np.random.Generator) -> dict[str, float]:
        x = data.x.astype(np.float32)  # [n, replicates, d]
        nets.refuse_non_finite_data([x])
        config = dict(replicates=x.shape[1], d=x.shape[2], latent=self.latent, width=self.width, layers=self.layers)
        with nets.seeded(rng):
            fresh = PointGan(**config)
        if self.model_ is None or not self.warm_start or config != self.config_:
            self.model_ = fresh
        self.config_ = config
        self.model_.standardise.learn(x)
        how = nets.Training(steps=self.steps, batch=self.batch, replicates=x.shape[1], ema=self.ema)
        return nets.train(self._turns(self.model_), [x], rng, how)

    def _turns(self, model: PointGan) -> list[nets.Turn]:
        critic = nets.Turn(
            model.critic,
            self._critic_loss,
            lr=self.lr,
            betas=self.betas,  # type: ignore[arg-type]
            repeats=self.critic_steps,
            after=self._clip_weights if self.penalty == "clip" else None,
            name="critic",
        )
        generator = nets.Turn(
            model.generator,
            self._generator_loss,
            lr=self.lr,
            betas=self.betas,  # type: ignore[arg-type]
            name="generator",
        )
        return [critic, generator]

    def _critic_loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        """E critic(fake) - E critic(real) + penalty: minus the Wasserstein-1 distance when the critic is 1-Lipschitz."""
        model = self.model_
        assert model is not None
        real = model.standardise(batch[0].transpose(0, 1))  # [replicates, b, d]
        with torch.no_grad():
            fake = self._fake(real.shape[1], noise)
        value = model.critic(torch.cat([fake, real], dim=1)).squeeze(-1)  # [replicates, 2 b]
        loss = value[:, : real.shape[1]].mean(1) - value[:, real.shape[1] :].mean(1)  # [replicates]
        if self.penalty == "gradient":
            loss = loss + self.penalty_weight * self._gradient_penalty(real, fake, noise)
        return loss

    def _gradient_penalty(self, real: Tensor, fake: Tensor, noise: torch.Generator) -> Tensor:
        """E (|gradient of the critic| - 1)^2 on segments between real and fake points, [replicates]."""
        assert self.model_ is not None
        along = torch.empty_like(real[..., :1]).uniform_(generator=noise)
        between = torch.lerp(real, fake, along).requires_grad_()
        value = self.model_.critic(between)
        (gradient,) = torch.autograd.grad(value, between, torch.ones_like(value), create_graph=True)
        return (torch.sqrt(gradient.square().sum(-1) + 1e-12) - 1).square().mean(1)

    def _generator_loss(self, batch: tuple[Tensor, ...], noise: torch.Generator) -> Tensor:
        assert self.model_ is not None
        return -self.model_.critic(self._fake(len(batch[0]), noise)).mean((1, 2))  # [replicates]

    def _fake(self, n: int, noise: torch.Generator) -> Tensor:
        assert self.model_ is not None
        z = torch.empty(self.config_["replicates"], n, self.latent, device=nets.device()).normal_(generator=noise)
        return self.model_.generator(z)

    @torch.no_grad()
    def _clip_weights(self) -> None:
        assert self.model_ is not None
        for weight in self.model_.critic.parameters():
            weight.clamp_(-self.clip, self.clip)

    def sample(self, n: int, rng: np.random.Generator, labels: np.ndarray | None = None, bias: float | None = None) -> Samples:
        """bias scales the latents' standard deviation (truncation)."""
        assert self.model_ is not None, "fit or load comes first"
        z = rng.standard_normal((n, self.config_["replicates"], self.latent), dtype=np.float32)
        z *= np.float32(1 if bias is None else bias)
        with torch.inference_mode():
            x = self.model_.standardise.inverse(self.model_.generator(nets.tensor(z, nets.device()).transpose(0, 1)))
        return Samples(x.transpose(0, 1).contiguous().cpu().numpy())

    def save(self, folder: Path) -> None:
        assert self.model_ is not None, "fit or load comes first"
        nets.save_weights(self.model_, folder, self.config_)

    def load(self, folder: Path) -> None:
        self.model_, self.config_ = nets.load_weights(folder, lambda config: PointGan(**config))  # type: ignore[assignment]
